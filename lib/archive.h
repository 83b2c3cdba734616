/*
 * The boot bundle: root's ELF file, padded to a page, then a tar archive (POSIX ustar). The host tool
 * writes it so that the content of every member begins at a multiple of 4096 bytes of the bundle (by members
 * named ".pad" before it), so that root can hand files out without copying. Root believes nothing of that:
 * each header is checked, and a member that is not aligned is refused.
 *
 * Members, in this order: "partition.conf" holds one line, the path of the partition file as the user wrote
 * it; "conf/PATH" the partition file and each file that it includes; "program/NAME" the ELF files of
 * vmm-server and the servers, with symbols; "file/PATH" what the partition file names (kernels, initrds).
 */
#ifndef LIB_ARCHIVE_H
#define LIB_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct archive {
    const uint8_t *base;
    size_t size_bytes;
};

struct archive_member {
    char name[256]; /* prefix and name joined */
    const uint8_t *data;
    size_t size_bytes;
};

/* Why an archive can't be used: NULL, or a sentence. Checks each header, to the end marker. */
const char *archive_check(const struct archive *archive);
/* Finds a member of a checked archive. */
bool archive_find(const struct archive *archive, const char *name, struct archive_member *member);
/* Goes through them: *position begins with 0. False at the end. */
bool archive_next(const struct archive *archive, size_t *position, struct archive_member *member);

#endif
