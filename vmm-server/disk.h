/*
 * A volume of the block server's, as a device model uses it (protocol/block.h): virtio-blk, IDE and the floppy
 * controller have one each.
 *
 * Data is not touched: the server and its disk move it between the guest's memory and the volume. A model asks with
 * disk_submit, and is told the end by `done`; what has no answer when the server is restarted is asked of its
 * model once more, in the old order, before anything new.
 */
#ifndef VMM_DISK_H
#define VMM_DISK_H

#include "device.h"

#include "protocol/block.h"
#include "ring.h"

#define DISK_NONE         0xffu /* no request */
#define DISK_SEGMENTS_MAX 64u

struct disk;

/* A request as it goes into the channel. */
struct disk_entry {
    struct block_request request;
    struct block_segment segments[DISK_SEGMENTS_MAX];
};

/* What a model does. They are called inside of disk_work, with the machine's lock, and may submit. */
struct disk_operations {
    /* Fills in request n once more: the server has restarted. False: it can't be any more; it is dropped. */
    bool (*again)(struct disk *disk, uint8_t n, struct disk_entry *entry);
    /* Request n is over; status is an enum block_status. */
    void (*done)(struct disk *disk, uint8_t n, uint32_t status);
    /* There may be room for more (disk_has_room). */
    void (*pull)(struct disk *disk);
    /* The volume has another size. NULL: nothing to do. */
    void (*resized)(struct disk *disk);
};

/* A request without an answer. Those in use are listed in the order in which they came. */
struct disk_request {
    bool sent, forgotten;
    uint8_t previous, next;
};

struct disk {
    const struct disk_operations *operations;
    struct device_host *host;
    const char *name; /* in the log */
    struct device_peer peer;
    struct block_volume volume; /* our copy; generation 0: no server has been there yet */
    struct ring requests, completions;
    struct disk_request list[BLOCK_REQUESTS_MAX];
    uint8_t first, last, free; /* free ones are linked by `next` */
    uint8_t unsent;            /* the first that a restarted server does not know of */
    unsigned forgotten;        /* so many of them: the guest is held */
    bool submitted;            /* since the server was last rung */
    unsigned faults;           /* of the server: only the first few are logged */
};

/* The volume is as it is now: call it when the server is there. The guest's RAM must stay where it is. */
void disk_init(struct disk *disk, const struct disk_operations *operations,
               struct device_host *host, const struct device_peer *peer, const char *name);
/* Is there a server that has room for one more? */
bool disk_has_room(struct disk *disk);
/* Asks; there must be room. Id and generation are filled in here. Returns the request's number, which it keeps until it
 * is over. It goes out with the next disk_work. */
uint8_t disk_submit(struct disk *disk, struct disk_entry *entry);
/* Adds size_bytes of this task's memory at `data`, which must be the guest's (disk->peer.memory), to a request's
 * segments. There must be a free one. */
void disk_add_segment(const struct disk *disk, struct disk_entry *entry, const uint8_t *data,
                      uint64_t size_bytes);
/* Does all there is to do, in both directions. Called when something was submitted, and when the server has rung. */
void disk_work(struct disk *disk);
/*
 * The model wants no answer to what it has asked: its device was reset. The server may still write into the
 * guest's memory for that, so the guest is held (device_host.hold) until all is answered; it can't see the device
 * between. A restarted server does not know them.
 */
void disk_forget(struct disk *disk);
/* Is a range of sectors part of the volume? */
bool disk_holds(const struct disk *disk, uint64_t sector, uint64_t sectors);

#endif
