/*
 * Tar archives as root reads them: what the format says, and that a damaged one does no harm.
 * links: lib/archive.c
 */
#include "archive.h"
#include "unit_test.h"

enum { BLOCK = 512, PAGE = 4096, ROOM = 16 * PAGE };

/* An archive that grows at the end of a page-aligned buffer of its own size. */
struct tar {
    uint8_t *bytes;
    size_t size_bytes;
};

static _Alignas(PAGE) uint8_t room[ROOM];
static struct tar tar;

static void set_sum(uint8_t *header)
{
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (unsigned i = 0; i < BLOCK; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
}

static uint8_t *add(const char *prefix, const char *name, const char *data, size_t size_bytes)
{
    uint8_t *header = tar.bytes + tar.size_bytes;
    memset(header, 0, BLOCK);
    strncpy((char *)header, name, 100);
    memcpy(header + 100, "0000644", 8);
    snprintf((char *)header + 124, 12, "%011zo", size_bytes);
    header[156] = '0';
    memcpy(header + 257, "ustar\00000", 8);
    strncpy((char *)header + 345, prefix, 155);
    set_sum(header);
    memcpy(header + BLOCK, data, size_bytes);
    tar.size_bytes += BLOCK + (size_bytes + BLOCK - 1) / BLOCK * BLOCK;
    return header;
}

/* So that the next content begins at a page. */
static void pad(void)
{
    static const char zeroes[PAGE];
    size_t gap = (PAGE - (tar.size_bytes + BLOCK) % PAGE) % PAGE;
    if (gap)
        add("", ".pad", zeroes, (gap - BLOCK) % PAGE);
}

static void start(void)
{
    memset(room, 0, sizeof room);
    tar = (struct tar){room, 0};
    pad();
    add("", "partition.conf", "a.conf\n", 7);
    pad();
    add("conf", "a.conf", "partition a { }\n", 16);
}

/* The check of a copy that ends with its memory. */
static const char *check_bytes(size_t size_bytes)
{
    uint8_t *copy = aligned_alloc(PAGE, (size_bytes + PAGE) / PAGE * PAGE);
    uint8_t *at = copy;
    memcpy(at, tar.bytes, size_bytes);
    const struct archive archive = {at, size_bytes};
    const char *wrong = archive_check(&archive);
    struct archive_member member;
    size_t position = 0;
    while (!wrong && archive_next(&archive, &position, &member)) {
        CHECK(member.data >= at && member.data + member.size_bytes <= at + size_bytes);
        CHECK(memchr(member.name, 0, sizeof member.name));
    }
    free(copy);
    return wrong;
}

static const char *check(void)
{
    return check_bytes(tar.size_bytes + 2 * BLOCK);
}

static bool says(const char *wrong, const char *word)
{
    return wrong && strstr(wrong, word);
}

TEST(archive_reads, "members are found by their whole names, and pads are passed over")
{
    struct archive_member member;
    start();
    const struct archive archive = {tar.bytes, tar.size_bytes + BLOCK};
    CHECK(archive_check(&archive) == NULL);
    CHECK(archive_find(&archive, "conf/a.conf", &member));
    EXPECT(member.size_bytes, 16);
    CHECK(memcmp(member.data, "partition a { }\n", 16) == 0);
    EXPECT((uintptr_t)member.data % PAGE, 0);
    CHECK(!archive_find(&archive, "a.conf", &member));
    CHECK(!archive_find(&archive, ".pad", &member));
    size_t position = 0;
    CHECK(archive_next(&archive, &position, &member) && strcmp(member.name, "partition.conf") == 0);
    CHECK(archive_next(&archive, &position, &member));
    CHECK(!archive_next(&archive, &position, &member));
}

TEST(archive_empty_members, "a member without content may begin anywhere")
{
    start();
    add("", "empty", "", 0);
    CHECK(check() == NULL);
}

TEST(archive_cut_off, "an archive that was cut off at any block is refused, or has no end marker")
{
    start();
    for (size_t size = 0; size <= tar.size_bytes; size += 64)
        CHECK(says(check_bytes(size), "cut off"));
    CHECK(check_bytes(tar.size_bytes + BLOCK) == NULL);
}

TEST(archive_checksum, "a header in which any byte was changed is refused")
{
    for (unsigned i = 0; i < BLOCK; i++) {
        start();
        uint8_t *header = tar.bytes + tar.size_bytes - 2 * BLOCK;
        header[i] ^= 0x40;
        /* The checksum's own unused end is no part of the sum. */
        CHECK(check() != NULL || i == 155);
    }
}

TEST(archive_kinds, "links, folders, other formats and nameless members are refused")
{
    start();
    uint8_t *header = add("", "link", "", 0);
    header[156] = '2';
    set_sum(header);
    CHECK(says(check(), "regular"));
    start();
    header = add("", "gnu", "", 0);
    memcpy(header + 257, "ustar  ", 8);
    set_sum(header);
    CHECK(check() != NULL);
    start();
    add("", "", "", 0);
    CHECK(says(check(), "name"));
}

TEST(archive_alignment, "content that does not begin at a page is refused")
{
    start();
    add("", "odd", "x", 1);
    CHECK(says(check(), "page"));
}

TEST(archive_long_names,
     "the longest names fill prefix and name; longer than 255 together is refused")
{
    char prefix[156], name[101];
    struct archive_member member;
    memset(prefix, 'p', sizeof prefix);
    memset(name, 'n', sizeof name);
    prefix[154] = name[100] = 0;
    start();
    add(prefix, name, "", 0);
    CHECK(check() == NULL);
    const struct archive archive = {tar.bytes, tar.size_bytes + BLOCK};
    size_t position = 0;
    while (archive_next(&archive, &position, &member))
        ;
    EXPECT(strlen(member.name), 255);
    start();
    prefix[154] = 'p';
    prefix[155] = 0;
    add(prefix, name, "", 0);
    CHECK(says(check(), "name"));
}

TEST(archive_sizes, "a size that is no octal number, or leads beyond the end, is refused")
{
    static const char *const sizes[] = {"77777777777", "00000000009", "-0000000001", "           ",
                                        "00001000000"};
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        start();
        uint8_t *header = add("", "x", "", 0);
        memcpy(header + 124, sizes[i], 11);
        set_sum(header);
        CHECK(check() != NULL);
    }
}

TEST(archive_fuzz, "random damage, with checksums that fit, reads nothing outside of the archive")
{
    unsigned refused = 0;
    for (unsigned round = 0; round < 20000; round++) {
        start();
        size_t header = round % 2 ? tar.size_bytes - 2 * BLOCK : 0;
        for (unsigned n = 1 + unit_random() % 8; n; n--)
            tar.bytes[header + unit_random() % BLOCK] = (uint8_t)(unit_random() >> 32);
        if (unit_random() % 8)
            set_sum(tar.bytes + header);
        refused += check_bytes(unit_random() % (tar.size_bytes + 2 * BLOCK)) != NULL;
    }
    CHECK(refused > 10000);
}
