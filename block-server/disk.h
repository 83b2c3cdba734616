/*
 * What the server asks of a disk's driver. A driver has up to `depth` commands in flight; who submits counts
 * them (disk.c), sees to their deadlines, and resets a disk that misses one.
 */
#ifndef BLOCK_SERVER_DISK_H
#define BLOCK_SERVER_DISK_H

#include "dma.h"
#include "protocol/block.h"

#include <stdbool.h>

#define DISKS_MAX       8u
#define DISK_PIECES_MAX 128u

/* Beside enum block_status: the disk was reset, and the command did not end; it is to be submitted again. */
#define DISK_LOST 256u

struct disk;

/* How far a reset is: it goes on; the disk takes commands again; it does not come back. */
enum disk_progress { DISK_WAITS, DISK_READY, DISK_GONE };

struct disk_command {
    uint32_t operation; /* enum block_operation */
    bool unmap;         /* of BLOCK_WRITE_ZEROES */
    bool tried;         /* it was in flight once when the disk was reset */
    bool failed;        /* it has ended with an error, for which the disk is reset */
    uint64_t sector;
    uint32_t sectors; /* READ, WRITE: 512 times this is the sum of the pieces */
    /* Called once for each submission that was taken: status is an enum block_status, or DISK_LOST. It may submit
     * this or another command. */
    void (*done)(struct disk_command *command, unsigned status);
    /* Of disk.c and the driver. */
    struct disk *disk;
    struct disk_command *previous, *next;
    uint64_t submitted; /* TSC */
    unsigned slot;
};

struct disk_operations {
    /* The pieces are the caller's again at return. False: the device takes no commands any more. */
    bool (*submit)(struct disk *disk, struct disk_command *command, const struct dma_piece *pieces,
                   unsigned count);
    /* After the last of some submits. */
    void (*kick)(struct disk *disk);
    /* It has interrupted, perhaps: acknowledges that to the device. */
    void (*interrupt)(struct disk *disk);
    /* Ends what the device has done (disk_finish). */
    void (*poll)(struct disk *disk);
    /* Before waiting: false if there is something to poll; else an interrupt will come. */
    bool (*waits)(struct disk *disk);
    /* Begins to stop the device and to start it again. From then on the driver has no command; their memory is free when
     * `resume` has said how it ended. Neither waits. No other operation but `interrupt` is called meanwhile. */
    void (*reset)(struct disk *disk);
    /* Goes on with the reset as far as that is possible now. DISK_WAITS: *look is when to call again. */
    enum disk_progress (*resume)(struct disk *disk, uint64_t *look);
};

struct disk {
    const struct disk_operations *operations;
    char name[TASK_NAME_MAX];
    uint64_t sectors;
    uint64_t interrupts; /* bits of the notification that mean it */
    uint32_t physical_bytes;
    unsigned depth, pieces_max;
    uint32_t bytes_max, piece_bytes_max; /* of a command, of one piece of it */
    uint64_t physical_end;               /* the device reaches what is below; 0: everything */
    uint32_t piece_alignment;            /* of a piece's address and size; 0 and 1: any */
    uint32_t discard_sectors_max, zeroes_sectors_max; /* 0: it can't */
    bool flushes;                                     /* it has a volatile cache */
    bool read_only;
    uint8_t *bounce; /* for pieces out of reach; only disks with depth 1 have it */
    uint64_t bounce_physical;
    uint32_t bounce_bytes;
    /* Of disk.c. */
    bool dead;
    bool resetting;
    bool complained; /* of a lost interrupt */
    unsigned in_flight;
    struct disk_command *oldest, *newest;
};

/* Does it take a command now? One that is reset takes none until it is back; a dead one refuses each. */
static inline bool disk_has_room(const struct disk *disk)
{
    return !disk->resetting && disk->in_flight < disk->depth;
}
/* False: the disk is dead, and `done` is not called. There must be room. */
bool disk_submit(struct disk *disk, struct disk_command *command, const struct dma_piece *pieces,
                 unsigned count, uint64_t now);
/* For drivers: the command has ended. */
void disk_finish(struct disk_command *command, unsigned status);
/* For drivers: the command has ended with an error, and the disk must be reset before it takes another. */
void disk_fail(struct disk_command *command);
/* For drivers: the disk has to wait for another's reset; the time of its commands begins anew. */
void disk_delay(struct disk *disk, uint64_t now);
/* Ends what the device has done, unless it is being reset. */
void disk_poll(struct disk *disk);
/* Looks after resets, and commands that take long; returns when it wants to be called next, UINT64_MAX if there are none.
 * ticks_per_ms: of the TSC. */
uint64_t disk_watch(struct disk *disk, uint64_t now, uint64_t ticks_per_ms);
/* May the device use this piece as it is? */
bool disk_reaches(const struct disk *disk, const struct dma_piece *piece);

#endif
