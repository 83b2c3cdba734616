/* What IDE and AHCI have in common: commands and what a drive says of itself (ACS-3, 7). */
#ifndef BLOCK_SERVER_ATA_H
#define BLOCK_SERVER_ATA_H

#include "disk.h"

enum ata_status { ATA_ERROR = 0x01, ATA_REQUEST = 0x08, ATA_FAULT = 0x20, ATA_BUSY = 0x80 };
enum ata_command {
    ATA_READ_DMA = 0xc8,
    ATA_WRITE_DMA = 0xca,
    ATA_READ_DMA_EXT = 0x25,
    ATA_WRITE_DMA_EXT = 0x35,
    ATA_FLUSH = 0xe7,
    ATA_FLUSH_EXT = 0xea,
    ATA_IDENTIFY = 0xec
};
#define ATA_IDENTIFY_WORDS 256u

/* Fills in what the drive says: sectors, physical block, cache, how much a command moves. *lba48: it has 48-bit commands.
 * NULL, or why it can't be driven. */
const char *ata_identify(struct disk *disk, const uint16_t words[ATA_IDENTIFY_WORDS], bool *lba48);
/* Of READ, WRITE or FLUSH. */
uint8_t ata_command_of(const struct disk_command *command, bool lba48);

/* For a drive that spins up (ATA/ATAPI-7 volume 2, 9.2: a drive waits so long for the other of its channel). */
#define ATA_RESET_MS 31000u

/* Something that a drive is waited for: looked at soon, then less and less often. */
struct ata_wait {
    uint64_t end, next, pause;
};

void ata_wait_begin(struct ata_wait *wait, uint64_t now, uint64_t ticks_per_ms, unsigned limit_ms);
/* It was looked at in vain: when to look again. False: the time was over when it was looked at. */
bool ata_wait_goes_on(struct ata_wait *wait, uint64_t now, uint64_t ticks_per_ms);

/* A physical region descriptor (Programming Interface for Bus Master IDE Controller, 1.2): at most 64 KiB, which it may
 * not cross. */
struct ide_region {
    uint32_t physical;
    uint16_t size_bytes; /* 0: 64 KiB */
    uint16_t flags;
};
#define IDE_REGION_BYTES 65536u
#define IDE_REGION_LAST  0x8000u

/* Regions for the pieces, all below 4 GiB; returns how many, 0: they are more than `most`. */
unsigned ide_regions(struct ide_region *regions, unsigned most, const struct dma_piece *pieces,
                     unsigned count);

#endif
