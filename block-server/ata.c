#include "ata.h"

/* Words of IDENTIFY DEVICE (ACS-3, 7.12.7). */
enum {
    WORD_CAPABILITIES = 49,
    WORD_SECTORS_28 = 60,
    WORD_COMMAND_SETS = 83,
    WORD_SECTORS_48 = 100,
    WORD_SECTOR_SIZE = 106
};
enum { CAPABILITY_DMA = 1 << 8, CAPABILITY_LBA = 1 << 9 };
enum { SET_LBA48 = 1 << 10, SET_FLUSH = 1 << 12, SET_FLUSH_EXT = 1 << 13 };
enum { SIZE_LARGE_LOGICAL = 1 << 12, SIZE_SEVERAL_LOGICAL = 1 << 13 };

#define SECTORS_28_MAX 256u
#define BYTES_48_MAX   (1u << 20)
#define PAUSE_MS       64u /* between two looks at a drive that is waited for */

/* Bits 15 and 14 are 0 and 1 in words of flags that mean something. */
static uint16_t flags(const uint16_t *words, unsigned n)
{
    return words[n] >> 14 == 1 ? words[n] : 0;
}

const char *ata_identify(struct disk *disk, const uint16_t words[ATA_IDENTIFY_WORDS], bool *lba48)
{
    uint16_t capabilities = words[WORD_CAPABILITIES], sets = flags(words, WORD_COMMAND_SETS),
             size = flags(words, WORD_SECTOR_SIZE);
    if (!(capabilities & CAPABILITY_LBA) || !(capabilities & CAPABILITY_DMA))
        return "it has no LBA or no DMA";
    if (size & SIZE_LARGE_LOGICAL)
        return "its logical sectors are not of 512 bytes";
    disk->sectors = words[WORD_SECTORS_28] | (uint64_t)words[WORD_SECTORS_28 + 1] << 16;
    disk->bytes_max = SECTORS_28_MAX * BLOCK_SECTOR_BYTES;
    *lba48 = sets & SET_LBA48;
    if (*lba48) {
        disk->sectors = 0;
        for (unsigned i = 0; i < 4; i++)
            disk->sectors |= (uint64_t)words[WORD_SECTORS_48 + i] << 16 * i;
        disk->bytes_max = BYTES_48_MAX;
        if (disk->sectors >> 48)
            return "it says that it has more sectors than a command can name";
    }
    if (disk->sectors == 0)
        return "it has no sectors";
    disk->physical_bytes = BLOCK_SECTOR_BYTES;
    if (size & SIZE_SEVERAL_LOGICAL)
        disk->physical_bytes <<= size & 15;
    disk->flushes = sets & (*lba48 ? SET_FLUSH_EXT : SET_FLUSH);
    return NULL;
}

uint8_t ata_command_of(const struct disk_command *command, bool lba48)
{
    switch (command->operation) {
    case BLOCK_READ: return lba48 ? ATA_READ_DMA_EXT : ATA_READ_DMA;
    case BLOCK_WRITE: return lba48 ? ATA_WRITE_DMA_EXT : ATA_WRITE_DMA;
    default: return lba48 ? ATA_FLUSH_EXT : ATA_FLUSH;
    }
}

void ata_wait_begin(struct ata_wait *wait, uint64_t now, uint64_t ticks_per_ms, unsigned limit_ms)
{
    *wait = (struct ata_wait){now + limit_ms * ticks_per_ms, now, ticks_per_ms};
}

bool ata_wait_goes_on(struct ata_wait *wait, uint64_t now, uint64_t ticks_per_ms)
{
    if (now > wait->end)
        return false;
    wait->next = now + wait->pause;
    if (wait->pause < PAUSE_MS * ticks_per_ms)
        wait->pause *= 2;
    return true;
}

unsigned ide_regions(struct ide_region *regions, unsigned most, const struct dma_piece *pieces,
                     unsigned count)
{
    unsigned n = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t at = pieces[i].physical, left = pieces[i].size_bytes;
        while (left) {
            uint64_t room = IDE_REGION_BYTES - at % IDE_REGION_BYTES;
            uint64_t some = left < room ? left : room;
            if (n == most)
                return 0;
            regions[n++] = (struct ide_region){(uint32_t)at, (uint16_t)some, 0};
            at += some, left -= some;
        }
    }
    if (n)
        regions[n - 1].flags = IDE_REGION_LAST;
    return n;
}
