/*
 * The device side of virtio 1.x: a transport by registers (virtio-mmio, section 4.2, or PCI, virtio_pci.h, with the
 * same queues) and virtqueues, split or packed, whose every index, address and length is checked where it is read. A
 * driver that breaks the rules gets DEVICE_NEEDS_RESET for its device and a line in the log; nothing else happens.
 */
#ifndef VMM_DEVICES_VIRTIO_H
#define VMM_DEVICES_VIRTIO_H

#include "device.h"

#define VIRTIO_QUEUES_MAX     9u /* four pairs, and one for commands */
#define VIRTIO_QUEUE_SIZE_MAX 256u
#define VIRTIO_SEGMENTS_MAX   64u
#define VIRTIO_MMIO_BYTES     0x200u
#define VIRTIO_MESSAGE_CONFIG UINT32_MAX

struct virtio_device;
struct virtio_packed;

struct virtio_queue {
    struct virtio_device *device;
    uint16_t size, size_max;
    bool ready;
    gpa_t descriptors, available, used; /* as the driver has written them */
    struct virtio_packed *packed;       /* NULL: split rings */
    /* The same in our space, checked when the driver made the queue ready. */
    const uint8_t *descriptor_table, *available_ring;
    uint8_t *used_ring;
    uint8_t *packed_ring; /* in place of the table, to be written too */
    /* Split: as they are in the rings. Packed: places from 0 to twice the size; in the first half the wrap counter is 1. */
    uint16_t next_available, next_used;
    uint16_t signalled_used; /* event index: what the driver has been told */
};

struct virtio_segment {
    uint8_t *data;
    uint32_t size_bytes;
};

/* A chain of one buffer to write, in RAM: as drivers of network cards give them. */
struct virtio_plain {
    uint8_t *data;
    uint32_t size_bytes;
    uint16_t head;
};

/* A chain of descriptors that the driver has made available: first those to read, then those to write. Their
 * content can change at any time: copy, then check. */
struct virtio_chain {
    uint16_t head;
    unsigned readable, writable;
    struct virtio_segment segments[VIRTIO_SEGMENTS_MAX];
};

/* 2.7.8: a chain that is done, as it stands in the used ring. */
struct virtio_used {
    uint32_t head, written_bytes;
};

/* How far a chain's readable bytes have been read. */
struct virtio_cursor {
    unsigned segment;
    uint32_t offset;
};

struct virtio_operations {
    uint32_t device_id;
    uint64_t
        features; /* of the device type, beside VERSION_1, RING_INDIRECT_DESC and RING_EVENT_IDX */
    unsigned queue_count;
    void (*notify)(struct virtio_device *device, unsigned queue); /* the driver has rung */
    /* Forget the chains that are held; also if a queue is stopped or started. Where somebody else may still write to
     * their memory, the guest is held (device_host.hold) until that is over. */
    void (*reset)(struct virtio_device *device);
    void (*ready)(struct virtio_device *device); /* DRIVER_OK; NULL: nothing to do */
    bool (*read_config)(struct virtio_device *device, uint32_t offset, unsigned size_bytes,
                        uint64_t *value);
    bool (*write_config)(struct virtio_device *device, uint32_t offset, unsigned size_bytes,
                         uint64_t value);
};

struct virtio_device {
    const struct virtio_operations *operations;
    struct device_host *host;
    struct interrupt_line *line;
    /* Interrupts by a message in place of the line, of a queue or of VIRTIO_MESSAGE_CONFIG; false: by the line. NULL: the
     * transport has none. */
    bool (*message)(struct virtio_device *device, unsigned queue);
    void *transport; /* of its own */
    /* Status or configuration have changed, and the guest is to see that in registers that it reads without us. NULL: it
     * reads none so. */
    void (*changed)(struct virtio_device *device);
    uint8_t *page; /* virtio_mmio_show; and where the guest finds it */
    uint64_t page_address;
    uint32_t *interrupt_shown;    /* where it reads interrupt_status without us; NULL: nowhere */
    struct virtio_packed *packed; /* for each queue; NULL: split rings alone are offered */
    const char *name;
    uint64_t features;    /* those of the operations; a model may change them, */
    unsigned queue_count; /* and take fewer queues away, before the driver sees the device */
    uint64_t driver_features;
    uint32_t status, interrupt_status, config_generation;
    unsigned failures; /* since the machine was put together: only the first few are logged */
    uint32_t feature_select, driver_feature_select, queue_select;
    struct virtio_queue queues[VIRTIO_QUEUES_MAX];
};

void virtio_init(struct virtio_device *device, const struct virtio_operations *operations,
                 struct device_host *host, struct interrupt_line *line, const char *name);
/* Packed rings are offered beside split ones. `packed`: one for each queue, which stay the device's. Before the driver sees
 * the device. */
void virtio_offer_packed(struct virtio_device *device, struct virtio_packed *packed);
/* As after a reset by the driver. */
void virtio_reset(struct virtio_device *device);
bool virtio_mmio_attach(struct virtio_device *device, struct bus *addresses, uint64_t address);
/* From now on the guest reads the registers at `address` from `page`, without exits, if the machine can do that. The page is
 * the device's for good, and zero. After virtio_mmio_attach; the model and its configuration must be there. */
void virtio_mmio_show(struct virtio_device *device, uint64_t address, uint8_t *page);

/* The transport's: a queue becomes ready (false: the driver's settings make none, and the device has failed), the
 * driver has rung, has written `status`. */
bool virtio_queue_start(struct virtio_queue *queue);
void virtio_notify(struct virtio_device *device, uint32_t queue);
void virtio_set_status(struct virtio_device *device, uint32_t status);
uint64_t virtio_features(const struct virtio_device *device);
void virtio_acknowledge(struct virtio_device *device, uint32_t interrupts);

/* The next chain of a queue; false: none, or the ring is broken (the device then needs a reset). */
bool virtio_queue_take(struct virtio_queue *queue, struct virtio_chain *chain);
/* The next chains of a queue, at most so many, as long as each is plain; returns how many. Fewer: what is next is for
 * virtio_queue_take, be it another kind of chain, none, or a broken rule. */
unsigned virtio_queue_take_plain(struct virtio_queue *queue, struct virtio_plain *chains,
                                 unsigned most);
/* Reads a chain that has been taken a second time: it may have changed. False: it is none now, the device has failed. */
bool virtio_queue_look(struct virtio_queue *queue, uint16_t head, struct virtio_chain *chain);
/* A chain is done, with so many bytes written. The driver sees it, with others, when virtio_queue_signal is called for the
 * batch. */
void virtio_queue_give(struct virtio_queue *queue, uint16_t head, uint32_t written_bytes);
/* Several at once. */
void virtio_queue_give_all(struct virtio_queue *queue, const struct virtio_used *used,
                           unsigned count);
void virtio_queue_signal(struct virtio_queue *queue);
/* The driver says now that it wants no interrupt for what it has asked: it looks again and again. */
bool virtio_queue_is_polled(const struct virtio_queue *queue);
/* Copies from the chain's readable bytes, and moves on; false: it has not so many left. */
bool virtio_chain_read(const struct virtio_chain *chain, struct virtio_cursor *cursor, void *to,
                       size_t size_bytes);
void virtio_config_changed(struct virtio_device *device);
/* The driver broke a rule: `why` goes to the log. */
void virtio_fail(struct virtio_device *device, const char *why);
bool virtio_has_feature(const struct virtio_device *device, unsigned bit);
/* Its driver and we say in the rings at which place the other is to be told (2.7.10). */
bool virtio_has_event_index(const struct virtio_device *device);
void virtio_dump(const struct virtio_device *device, struct sink *sink);

#endif
