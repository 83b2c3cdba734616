/*
 * Packed virtqueues: virtio.c calls these in place of its own where the driver has agreed on RING_PACKED. The contract is at
 * the head of virtio_packed.c.
 */
#ifndef VMM_DEVICES_VIRTIO_PACKED_H
#define VMM_DEVICES_VIRTIO_PACKED_H

#include "devices/virtio.h"

/* 2.7.5 */
struct virtio_descriptor {
    uint64_t address;
    uint32_t size_bytes;
    uint16_t flags, next;
};

enum virtio_descriptor_flags {
    DESCRIPTOR_NEXT = 1,
    DESCRIPTOR_WRITE = 2,
    DESCRIPTOR_INDIRECT = 4,
};

/* Beside the rings: of each chain that the device has, its descriptors, because their places in the ring are written anew
 * while it is out. */
struct virtio_packed {
    uint16_t first[VIRTIO_QUEUE_SIZE_MAX], count[VIRTIO_QUEUE_SIZE_MAX]; /* by the chain's id */
    struct virtio_descriptor saved[VIRTIO_QUEUE_SIZE_MAX];
    uint16_t next[VIRTIO_QUEUE_SIZE_MAX]; /* of saved descriptors, and of free places */
    uint16_t free;
    uint16_t first_flags; /* of what was given first since the last signal: written last */
};

/* virtio.c's, for both kinds of rings: NULL, or the rule that was broken. */
const char *virtio_add_segment(struct virtio_queue *queue, struct virtio_chain *chain,
                               const struct virtio_descriptor *descriptor, uint64_t *total);
const char *virtio_enter_indirect(struct virtio_queue *queue,
                                  const struct virtio_descriptor *descriptor, const uint8_t **table,
                                  uint32_t *count);
bool virtio_copy_descriptor(const uint8_t *table, uint32_t count, uint32_t index,
                            struct virtio_descriptor *descriptor);

/* Never a part of virtio.c's functions, which would save more registers for it where rings are split. */
#define VIRTIO_PACKED __attribute__((noinline))

/* The rings are where they may be. */
VIRTIO_PACKED bool virtio_packed_start(struct virtio_queue *queue);
VIRTIO_PACKED bool virtio_packed_take(struct virtio_queue *queue, struct virtio_chain *chain);
VIRTIO_PACKED const char *virtio_packed_walk(struct virtio_queue *queue, uint16_t id,
                                             struct virtio_chain *chain);
VIRTIO_PACKED void virtio_packed_give(struct virtio_queue *queue, uint16_t id,
                                      uint32_t written_bytes);
/* Shows what was given; does the driver want an interrupt for it? */
VIRTIO_PACKED bool virtio_packed_show(struct virtio_queue *queue);
VIRTIO_PACKED bool virtio_packed_is_polled(const struct virtio_queue *queue);

#endif
