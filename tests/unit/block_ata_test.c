/* links: block-server/ata.c */
#include "unit_test.h"

#include <stdbool.h>

#include "block-server/ata.h"

TEST(block_ata_regions, "regions are the pieces, in order, none across 64 KiB, the last one marked")
{
    struct ide_region regions[256];
    for (unsigned round = 0; round < 20000; round++) {
        struct dma_piece pieces[DISK_PIECES_MAX];
        unsigned count = 1 + (unsigned)(unit_random() % DISK_PIECES_MAX);
        for (unsigned i = 0; i < count; i++) {
            uint64_t size_bytes =
                2 + 2 * (unit_random() % (unit_random() % 2 ? 256 : IDE_REGION_BYTES / 2));
            uint64_t physical = unit_random() % ((1ull << 32) - size_bytes) & ~1ull;
            if (unit_random() % 4 == 0) /* ends at a boundary, or right at the end of memory */
                physical = ((physical | 0xffff) + 1) - size_bytes;
            if (physical + size_bytes > 1ull << 32)
                physical = (1ull << 32) - size_bytes;
            if (size_bytes > IDE_REGION_BYTES)
                size_bytes = IDE_REGION_BYTES;
            pieces[i] = (struct dma_piece){physical, (uint32_t)size_bytes, 0};
        }
        unsigned n = ide_regions(regions, 256, pieces, count), at = 0;
        CHECK(n >= count);
        for (unsigned i = 0; i < count; i++) {
            uint64_t next = pieces[i].physical, end = next + pieces[i].size_bytes;
            while (next < end) {
                uint64_t size_bytes =
                    regions[at].size_bytes ? regions[at].size_bytes : IDE_REGION_BYTES;
                EXPECT(regions[at].physical, next);
                EXPECT(next / IDE_REGION_BYTES, (next + size_bytes - 1) / IDE_REGION_BYTES);
                next += size_bytes;
                EXPECT(regions[at].flags, at + 1 == n ? IDE_REGION_LAST : 0);
                at++;
            }
            EXPECT(next, end);
        }
        EXPECT(at, n);
        EXPECT(ide_regions(regions, n - 1, pieces, count), 0);
    }
}

static void words_of(uint16_t words[ATA_IDENTIFY_WORDS])
{
    memset(words, 0, ATA_IDENTIFY_WORDS * sizeof *words);
    words[49] = 1 << 8 | 1 << 9;
    words[60] = 0x1234, words[61] = 0x0056;
    words[83] = 1 << 14 | 1 << 12;
}

TEST(block_ata_identify, "what a drive says of itself, and what can't be true")
{
    uint16_t words[ATA_IDENTIFY_WORDS];
    struct disk disk = {0};
    bool lba48;
    words_of(words);
    CHECK(!ata_identify(&disk, words, &lba48) && !lba48);
    EXPECT(disk.sectors, 0x561234);
    EXPECT(disk.bytes_max, 256 * 512);
    CHECK(disk.flushes);

    words[83] = 1 << 14 | 1 << 10 | 1 << 13;
    words[100] = 1, words[102] = 2;
    words[106] = 1 << 14 | 1 << 13 | 3;
    CHECK(!ata_identify(&disk, words, &lba48) && lba48);
    EXPECT(disk.sectors, 0x200000001);
    EXPECT(disk.physical_bytes, 4096);
    CHECK(disk.flushes);

    words[83] = 0xffff; /* a word that nobody has filled in */
    CHECK(!ata_identify(&disk, words, &lba48) && !lba48 && !disk.flushes);

    words[83] = 1 << 14 | 1 << 10;
    words[103] = 1;
    CHECK(ata_identify(&disk, words, &lba48));
    words_of(words);
    words[60] = words[61] = 0;
    CHECK(ata_identify(&disk, words, &lba48));
    words_of(words);
    words[49] = 1 << 9;
    CHECK(ata_identify(&disk, words, &lba48));
    words_of(words);
    words[106] = 1 << 14 | 1 << 12;
    CHECK(ata_identify(&disk, words, &lba48));
}
