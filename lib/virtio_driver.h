/*
 * The driver's side of virtio devices on PCI (VIRTIO 1.2, 2, 3 and 4.1): feature negotiation, split virtqueues
 * with indirect descriptors and event indices. For block-server and net-server; root has found the registers
 * (struct device_grant) and, for MSI-X, written entry 0 of the table.
 *
 * To start a device: virtio_driver_open, virtio_driver_negotiate, virtqueue_start for each queue,
 * virtio_driver_ready. After a device has failed, the same again, with the same structures.
 */
#ifndef LIB_VIRTIO_DRIVER_H
#define LIB_VIRTIO_DRIVER_H

#include <stdbool.h>

#include "dma.h"

#define VIRTIO_VENDOR 0x1af4u

/* Feature bits of all devices (VIRTIO 1.2, 6). */
#define VIRTIO_FEATURE_INDIRECT        (1ull << 28)
#define VIRTIO_FEATURE_EVENT_INDEX     (1ull << 29)
#define VIRTIO_FEATURE_VERSION_1       (1ull << 32)
#define VIRTIO_FEATURE_ACCESS_PLATFORM (1ull << 33)

/* Bits of virtio_driver_interrupt. */
#define VIRTIO_INTERRUPT_QUEUE  1u
#define VIRTIO_INTERRUPT_CONFIG 2u

struct virtio_driver {
    const struct device_grant *grant;
    volatile uint8_t *common, *notify, *isr, *config;
    uint32_t notify_bytes, config_bytes;
    uint64_t features; /* negotiated */
};

/* Resets the device, and says that there is a driver. NULL, or why it can't be driven (for the log). */
const char *virtio_driver_open(struct virtio_driver *driver, const struct device_grant *grant);
/* Takes those of the features that the device offers; VERSION_1 is always wanted. */
const char *virtio_driver_negotiate(struct virtio_driver *driver, uint64_t wanted);
/* All queues have been started: the device may begin. */
void virtio_driver_ready(struct virtio_driver *driver);
/* Stops the device: afterwards it touches no memory. False: it does not answer. */
bool virtio_driver_reset(struct virtio_driver *driver);
/* The same for who has other things to do: begins it; has it come to pass? */
void virtio_driver_stop(struct virtio_driver *driver);
bool virtio_driver_stopped(const struct virtio_driver *driver);
/* Has the device asked for a reset (VIRTIO 1.2, 2.1.2)? */
bool virtio_driver_failed(const struct virtio_driver *driver);
/* What an interrupt is about: VIRTIO_INTERRUPT_*. Lowers the line of INTx; 0: it was not this device. */
unsigned virtio_driver_interrupt(struct virtio_driver *driver);
/* A field of 1, 2, 4 or 8 bytes of the device's own configuration; 0 if it has none there. */
uint64_t virtio_driver_config(const struct virtio_driver *driver, uint32_t offset,
                              unsigned size_bytes);

#define VIRTQUEUE_SIZE_MAX 256u

/* VIRTIO 1.2, 2.7.5. */
struct virtqueue_descriptor {
    uint64_t physical;
    uint32_t size_bytes;
    uint16_t flags, next;
};

/* Memory for the descriptors of one chain, given by the caller: the chain then takes one place in the queue. It must
 * stay until the chain is taken back. */
struct virtqueue_table {
    struct virtqueue_descriptor *descriptors;
    uint64_t physical;
};

struct virtqueue {
    struct virtqueue_descriptor *descriptors;
    volatile uint16_t *available, *used; /* VIRTIO 1.2, 2.7.6 and 2.7.8 */
    volatile uint16_t *doorbell;
    uint64_t physical;
    uint16_t number, size;
    uint16_t free_head, free_count;
    uint16_t next_available, announced; /* announced: next_available as the device was told */
    uint16_t last_used;
    bool event_index;
    bool broken; /* the device's used ring makes no sense: reset it */
    uint16_t next[VIRTQUEUE_SIZE_MAX];
    uint16_t length[VIRTQUEUE_SIZE_MAX]; /* of the chain that begins here; 0: none does */
    void *cookies[VIRTQUEUE_SIZE_MAX];
};

/* Makes queue `number` of the device, with at most size_max places (a power of two) in memory of `area`; a second
 * time it takes the memory that it has. NULL, or why not. */
const char *virtqueue_start(struct virtio_driver *driver, struct virtqueue *queue, uint16_t number,
                            uint16_t size_max, struct dma_area *area);
/* A chain: first `readable` pieces for the device to read, then `writable` ones for it to write. table: NULL, or
 * for so many descriptors, with VIRTIO_FEATURE_INDIRECT. False: no room now. The device is told by virtqueue_kick. */
bool virtqueue_add(struct virtqueue *queue, const struct dma_piece *pieces, unsigned readable,
                   unsigned writable, const struct virtqueue_table *table, void *cookie);
/* The chain that virtqueue_take has just given, of one piece: once more, as it was. */
void virtqueue_add_again(struct virtqueue *queue);
/* Tells the device of all that was added, if it wants to be told. */
void virtqueue_kick(struct virtqueue *queue);
/* The next chain that the device is done with; false: none, or the queue is broken. written_bytes is what the
 * device says: not more than the chain's writable pieces only if the device is right. */
bool virtqueue_take(struct virtqueue *queue, void **cookie, uint32_t *written_bytes);
/* From here on, until virtqueue_waits: the caller looks for itself, and an interrupt need not come. */
void virtqueue_looks(struct virtqueue *queue);
/* Before waiting, after all was taken: true if there is still nothing, and an interrupt will come. */
bool virtqueue_waits(struct virtqueue *queue);

#endif
