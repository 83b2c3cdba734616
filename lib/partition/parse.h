/*
 * From the text of a partition file to a plan. Compiled twice: into the host tool and into root.
 * The language is described in docs/partition-file.md; its words are the table of schema.c.
 */
#ifndef LIB_PARTITION_PARSE_H
#define LIB_PARTITION_PARSE_H

#include "files.h"
#include "plan.h"

#include <stdbool.h>
#include <stddef.h>

/* Paths are shorter than PLAN_PATH_MAX, because they are names in the bundle with "file/" before
 * them. */
#define PARTITION_PATH_LONGEST 240u
/* A message, its end included. */
#define PARTITION_MESSAGE_MAX 1024u
/* Of the machine's memory this is not for guests: Septum itself and its servers. */
#define PARTITION_RESERVE_BYTES (48ull << 20)

/* What a file that is no partition's own must be. */
enum partition_image { PARTITION_IMAGE_DISK, PARTITION_IMAGE_FLOPPY, PARTITION_IMAGE_ANY };

/* How the parser reads files: sets *text and *size_bytes (valid until the parse ends); false:
 * not there. */
struct partition_reader {
    bool (*read)(struct partition_reader *reader, const char *path, const char **text,
                 size_t *size_bytes);
    /* Why a file of a partition can't be used, as a sentence with its cure; NULL: it can. May be
     * missing: then nothing is asked. */
    const char *(*check_file)(struct partition_reader *reader,
                              const struct plan_partition *partition, const struct plan_file *file);
    /* The same of a volume's image, or of a file that is served; may be missing. */
    const char *(*check_image)(struct partition_reader *reader, const char *path,
                               enum partition_image image);
};

/* Where errors go, one call an error; first those of single words in the order of the file, then
 * those between partitions. A message is complete: "FILE:LINE:COLUMN: partition \"NAME\": what
 * is wrong. The cure." */
struct partition_errors {
    void (*report)(struct partition_errors *errors, const char *message);
    unsigned count;
};

/* What is known of the machine, to check against. Zeroes: what the file itself says of it. */
struct partition_machine {
    uint32_t cpus;
    uint64_t memory_bytes; /* for guests */
    const uint32_t *cores; /* by CPU: the number of its core; NULL: `threads` CPUs in a row are one */
};

/* Parses `path` and its includes, fills defaults in, checks everything. True if there was no error.
 * One parse at a time: the parser's state is static, because root's stacks are small. */
bool partition_parse(struct plan *plan, const char *path, struct partition_reader *reader,
                     const struct partition_machine *machine, struct partition_errors *errors);

#endif
