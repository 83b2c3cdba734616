/*
 * Reading tar archives (POSIX.1-2017, pax: "ustar Interchange Format"): regular files alone, each header checked.
 */
#include "archive.h"

#include "string.h"

#define BLOCK     512u
#define ALIGNMENT 4096u
/* The cure of whatever is wrong with one. */
#define MAKE_ANEW ". Make it anew, with `septum run` or `septum iso`."

struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
    char type, link[100], magic[6], version[2], user[32], group[32], major[8], minor[8];
    char prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is a block");

/* An octal number of at most `digits` characters, ended by a space or a zero; UINT64_MAX: it is none. */
static uint64_t octal(const char *text, unsigned digits)
{
    uint64_t value = 0;
    unsigned i = 0;
    while (i < digits && text[i] >= '0' && text[i] <= '7')
        value = value * 8 + (uint64_t)(text[i++] - '0');
    return i > 0 && (i == digits || text[i] == ' ' || text[i] == 0) ? value : UINT64_MAX;
}

static bool is_zero(const uint8_t *block)
{
    for (unsigned i = 0; i < BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

static bool sum_agrees(const struct header *header)
{
    const uint8_t *bytes = (const uint8_t *)header;
    size_t from = offsetof(struct header, checksum), to = from + sizeof header->checksum;
    uint64_t sum = 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += i >= from && i < to ? ' ' : bytes[i];
    return octal(header->checksum, sizeof header->checksum) == sum;
}

static size_t length(const char *text, size_t limit)
{
    size_t n = 0;
    while (n < limit && text[n])
        n++;
    return n;
}

/* One header at *position, which moves behind its content. NULL, or what is wrong. */
static const char *read_member(const struct archive *archive, size_t *position,
                               struct archive_member *member)
{
    const struct header *header = (const struct header *)(archive->base + *position);
    size_t data = *position + BLOCK;
    if (memcmp(header->magic, "ustar", 6) != 0 || !sum_agrees(header))
        return "the archive is damaged: a header's checksum is wrong" MAKE_ANEW;
    uint64_t size = octal(header->size, sizeof header->size);
    if (size > archive->size_bytes - data)
        return "the archive is cut off: a file in it is longer than what is there" MAKE_ANEW;
    if (header->type != '0')
        return "the archive has a member that is no regular file" MAKE_ANEW;
    size_t prefix = length(header->prefix, sizeof header->prefix);
    size_t name = length(header->name, sizeof header->name);
    if (name == 0 || prefix + 1 + name >= sizeof member->name)
        return "the archive has a file without a name" MAKE_ANEW;
    memcpy(member->name, header->prefix, prefix);
    if (prefix)
        member->name[prefix++] = '/';
    memcpy(member->name + prefix, header->name, name);
    member->name[prefix + name] = 0;
    member->data = archive->base + data;
    member->size_bytes = size;
    if (strcmp(member->name, ".pad") != 0 && size && data % ALIGNMENT)
        return "a file in the archive does not begin at a page" MAKE_ANEW;
    *position = data + (size + BLOCK - 1) / BLOCK * BLOCK;
    return NULL;
}

const char *archive_check(const struct archive *archive)
{
    struct archive_member member;
    for (size_t position = 0;;) {
        if (position > archive->size_bytes || archive->size_bytes - position < BLOCK)
            return "the archive is cut off: it has no end marker" MAKE_ANEW;
        if (is_zero(archive->base + position))
            return NULL;
        const char *wrong = read_member(archive, &position, &member);
        if (wrong)
            return wrong;
    }
}

bool archive_next(const struct archive *archive, size_t *position, struct archive_member *member)
{
    do {
        if (*position > archive->size_bytes || archive->size_bytes - *position < BLOCK ||
            is_zero(archive->base + *position) || read_member(archive, position, member))
            return false;
    } while (strcmp(member->name, ".pad") == 0);
    return true;
}

bool archive_find(const struct archive *archive, const char *name, struct archive_member *member)
{
    size_t position = 0;
    while (archive_next(archive, &position, member))
        if (strcmp(member->name, name) == 0)
            return true;
    return false;
}
