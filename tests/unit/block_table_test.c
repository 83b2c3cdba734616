/* links: block-server/table.c */
#include "unit_test.h"

#include <stdbool.h>

#include "block-server/table.h"

#define SECTORS 4096u

struct image {
    struct table_reader reader;
    uint8_t data[SECTORS][512];
    uint64_t bad; /* a sector that can't be read, or 0 */
};
static struct image image;
static struct table table;

static bool read_image(struct table_reader *reader, uint64_t sector, void *data)
{
    struct image *of = (struct image *)reader;
    if (sector >= SECTORS || (of->bad && sector == of->bad))
        return false;
    memcpy(data, of->data[sector], 512);
    return true;
}

static void put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, 4);
}

static void put64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, 8);
}

static void mbr_entry(uint64_t sector, unsigned i, uint8_t type, uint32_t first, uint32_t sectors)
{
    uint8_t *entry = &image.data[sector][446 + 16 * i];
    entry[4] = type;
    put32(entry + 8, first);
    put32(entry + 12, sectors);
    image.data[sector][510] = 0x55, image.data[sector][511] = 0xaa;
}

static void clear(void)
{
    memset(&image, 0, sizeof image);
    image.reader.read = read_image;
}

static void seal(uint64_t lba, uint64_t entries)
{
    uint8_t *header = image.data[lba];
    put32(header + 88, table_crc32(0, (uint8_t *)image.data + entries * 512, 128 * 128));
    put32(header + 16, 0);
    put32(header + 16, table_crc32(0, header, 92));
}

static void gpt_header(uint64_t lba, uint64_t entries)
{
    uint8_t *header = image.data[lba];
    memcpy(header, "EFI PART", 8);
    put32(header + 8, 0x10000);
    put32(header + 12, 92);
    put64(header + 24, lba);
    put64(header + 32, SECTORS - lba);
    put64(header + 40, 34);
    put64(header + 48, SECTORS - 34);
    put64(header + 72, entries);
    put32(header + 80, 128);
    put32(header + 84, 128);
    seal(lba, entries);
}

static void gpt_entry(uint64_t entries, unsigned i, uint64_t first, uint64_t last)
{
    uint8_t *entry = (uint8_t *)image.data[entries] + 128ul * i;
    memset(entry, 0x11, 32);
    put64(entry + 32, first);
    put64(entry + 40, last);
}

enum { BACKUP = SECTORS - 1, BACKUP_ENTRIES = SECTORS - 33 };

static void gpt(uint64_t first_0, uint64_t last_0, uint64_t first_1, uint64_t last_1)
{
    clear();
    mbr_entry(0, 0, 0xee, 1, SECTORS - 1);
    for (unsigned copy = 0; copy < 2; copy++) {
        uint64_t entries = copy ? BACKUP_ENTRIES : 2;
        gpt_entry(entries, 0, first_0, last_0);
        gpt_entry(entries, 4, first_1, last_1);
        gpt_header(copy ? BACKUP : 1, entries);
    }
}

static void look(void)
{
    table_read(&table, &image.reader, SECTORS);
}

TEST(block_table_crc, "CRC-32 of its test vector")
{
    EXPECT(table_crc32(0, "123456789", 9), 0xcbf43926);
}

TEST(block_table_gpt, "the partitions of a good GPT, under their numbers")
{
    gpt(100, 199, 200, 200);
    look();
    CHECK(!table.problem && !table.remark);
    EXPECT(table.parts[1].first, 100);
    EXPECT(table.parts[1].sectors, 100);
    EXPECT(table.parts[5].first, 200);
    EXPECT(table.parts[5].sectors, 1);
    EXPECT(table.parts[2].sectors, 0);
}

TEST(block_table_gpt_damage,
     "any damaged byte of header or entries: the copy at the end is used; both: none")
{
    for (unsigned i = 0; i < 400; i++) {
        gpt(100, 199, 200, 200);
        unsigned at = (unsigned)(unit_random() % (92 + 128 * 128));
        uint8_t *byte = (uint8_t *)image.data + 512 + (at < 92 ? at : 512 + at - 92);
        *byte ^= (uint8_t)(1u << unit_random() % 8);
        look();
        CHECK(!table.problem && table.remark);
        EXPECT(table.parts[5].first, 200);
        image.data[BACKUP][unit_random() % 92] ^= 4;
        look();
        CHECK(table.problem != NULL);
        EXPECT(table.parts[1].sectors, 0);
    }
    gpt(100, 199, 200, 200);
    image.bad = 3;
    look();
    CHECK(!table.problem && table.remark);
    EXPECT(table.parts[1].first, 100);
}

TEST(block_table_gpt_refused,
     "partitions that overlap, lie outside what is usable, or end before they begin")
{
    static const uint64_t bad[][4] = {
        {100, 199, 199, 300},
        {100, 199, 50, 100},
        {100, 199, 120, 130},
        {33, 40, 50, 60},
        {100, SECTORS - 33, 50, 60},
        {100, 99, 50, 60},
        {100, UINT64_MAX, 50, 60},
        {UINT64_MAX, UINT64_MAX, 50, 60},
        {0, 0, 50, 60},
        {100, 4, 50, 60},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gpt(bad[i][0], bad[i][1], bad[i][2], bad[i][3]);
        look();
        CHECK(table.problem != NULL);
    }
}

TEST(block_table_gpt_header, "headers with good sums and impossible numbers are not believed")
{
    static const struct {
        unsigned at, size_bytes;
        uint64_t value;
    } bad[] = {
        {24, 8, 2},          {48, 8, SECTORS},    {48, 8, UINT64_MAX},  {40, 8, SECTORS},
        {72, 8, SECTORS},    {72, 8, UINT64_MAX}, {72, 8, SECTORS - 1}, {80, 4, UINT32_MAX},
        {80, 4, 0},          {84, 4, 0},          {84, 4, 127},         {84, 4, 1024},
        {84, 4, UINT32_MAX}, {8, 4, 0x20000},     {72, 8, 0},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gpt(100, 199, 200, 200);
        memcpy(&image.data[1][bad[i].at], &bad[i].value, bad[i].size_bytes);
        put32(&image.data[1][16], 0);
        put32(&image.data[1][16], table_crc32(0, image.data[1], 92));
        look();
        CHECK(table.remark != NULL && !table.problem);
        EXPECT(table.parts[1].first, 100);
    }
}

TEST(block_table_mbr, "primary and logical partitions, with the numbers that Linux gives them")
{
    clear();
    mbr_entry(0, 0, 0x83, 64, 100);
    mbr_entry(0, 2, 0x82, 200, 50);
    mbr_entry(0, 3, 0x05, 1000, 1000);
    mbr_entry(1000, 0, 0x83, 1, 99);
    mbr_entry(1000, 1, 0x05, 500, 300);
    mbr_entry(1500, 0, 0x83, 10, 90);
    look();
    CHECK(!table.problem);
    EXPECT(table.parts[1].first, 64);
    EXPECT(table.parts[1].sectors, 100);
    EXPECT(table.parts[2].sectors, 0);
    EXPECT(table.parts[3].first, 200);
    EXPECT(table.parts[5].first, 1001);
    EXPECT(table.parts[5].sectors, 99);
    EXPECT(table.parts[6].first, 1510);
    EXPECT(table.parts[6].sectors, 90);
}

TEST(block_table_mbr_refused,
     "no signature, overlaps, partitions beyond the end, chains that never end")
{
    clear();
    look();
    CHECK(table.problem != NULL);
    static const uint32_t bad[][4] = {{64, 100, 163, 10},
                                      {64, 100, 60, 5},
                                      {64, SECTORS, 5000, 10},
                                      {SECTORS - 1, 2, 64, 1},
                                      {UINT32_MAX, UINT32_MAX, 64, 1},
                                      {64, 0, 100, 1},
                                      {0, 10, 100, 1}};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        clear();
        mbr_entry(0, 0, 0x83, bad[i][0], bad[i][1]);
        mbr_entry(0, 1, 0x83, bad[i][2], bad[i][3]);
        look();
        CHECK(table.problem != NULL);
    }
    /* A ring of two empty links; a link to itself; a link outside; a logical partition outside. */
    for (unsigned kind = 0; kind < 5; kind++) {
        clear();
        mbr_entry(0, 0, 0x0f, 1000, kind == 4 ? SECTORS : 1000);
        mbr_entry(1000, 0, kind == 3 ? 0x83 : 0, 900, 200);
        mbr_entry(1000, 1, 0x05, kind == 2 ? 1000 : 500, 10);
        mbr_entry(1500, 1, 0x05, kind == 1 ? 500 : 1, 10);
        mbr_entry(1001, 1, 0x05, 500, 10);
        look();
        CHECK(table.problem != NULL);
    }
}

TEST(block_table_random,
     "random damage of good tables: what is found lies on the disk and does not overlap")
{
    for (unsigned i = 0; i < 3000; i++) {
        if (i & 1) {
            gpt(100, 199, 200, 300);
            for (unsigned n = 0; n < 4; n++)
                image.data[2 + unit_random() % 2][unit_random() % 512] = (uint8_t)unit_random();
            seal(1, 2);
        } else {
            clear();
            mbr_entry(0, 0, 0x83, 64, 100);
            mbr_entry(0, 3, 0x05, 1000, 1000);
            mbr_entry(1000, 0, 0x83, 1, 99);
            mbr_entry(1000, 1, 0x05, 500, 300);
            mbr_entry(1500, 0, 0x83, 10, 90);
            for (unsigned n = 0; n < 2; n++)
                image.data[unit_random() % 3 * 500 % 1500][446 + unit_random() % 64] =
                    (uint8_t)unit_random();
        }
        look();
        for (unsigned a = 1; a <= TABLE_PARTITIONS_MAX && !table.problem; a++) {
            uint64_t end = table.parts[a].first + table.parts[a].sectors;
            CHECK(end <= SECTORS && table.parts[a].first <= end);
            for (unsigned b = 1; b < a; b++)
                CHECK(!table.parts[a].sectors || !table.parts[b].sectors ||
                      end <= table.parts[b].first ||
                      table.parts[b].first + table.parts[b].sectors <= table.parts[a].first);
        }
    }
}
