/* virtio-blk over a channel to the block server. The model's contract is at the head of virtio_block.c. */
#ifndef VMM_DEVICES_VIRTIO_BLOCK_H
#define VMM_DEVICES_VIRTIO_BLOCK_H

#include "devices/virtio.h"
#include "disk.h"

/* A chain that has no answer yet. */
struct virtio_block_request {
    uint8_t *status;        /* where the driver wants its answer; NULL: a flush of our own */
    uint32_t written_bytes; /* of the chain, if it goes well */
    uint32_t done,
        left; /* sectors of a transfer before the part that is asked for, and behind it */
    uint16_t head;
    uint8_t queue;
};

struct virtio_block {
    struct virtio_device device;
    struct disk disk;
    struct virtio_block_request requests[BLOCK_REQUESTS_MAX]; /* by the disk's number */
    /* Transfers of which a part is done, and that there was no room for to go on. */
    struct virtio_block_request begun[BLOCK_REQUESTS_MAX];
    unsigned begun_count;
    uint32_t part_sectors; /* at most so many are asked for at a time */
    uint32_t stalled;      /* bit n: queue n may hold chains that there was no room for */
    uint32_t given;        /* bit n: chains of queue n were given back and not yet signalled */
    bool waits;            /* the guest is held: it would only look for its answer */
    bool cache_chosen, cache_on; /* the driver has turned the volume's cache on or off */
    /* It has turned it off, and the guest is held until what was in it is on the disk: still to be asked for, or asked. */
    bool flushes, flush_due;
};

/* The volume's features are those that it has now: call it when the server is there. `queues`: at most
 * VIRTIO_QUEUES_MAX. The guest's RAM must stay where it is. */
void virtio_block_init(struct virtio_block *block, struct device_host *host,
                       const struct device_peer *peer, unsigned queues,
                       struct interrupt_line *line);
/* The server has rung. */
void virtio_block_attend(struct virtio_block *block);

#endif
