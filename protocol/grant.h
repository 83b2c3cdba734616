/*
 * What root hands a server of the PCI devices that it drives (in its role: struct block_start, struct
 * network_start). Root alone touches configuration space: it has found and sized the BARs, turned bus mastering on,
 * routed the interrupt. A driver has its device's registers, its interrupt (TASK_SLOT_INTERRUPT + n, raising
 * TASK_BIT_INTERRUPT(n)), and memory whose physical address it knows; nothing of any other device.
 */
#ifndef PROTOCOL_GRANT_H
#define PROTOCOL_GRANT_H

#include <stdint.h>

#define DEVICES_MAX         4u /* of one server */
#define DEVICE_BARS         6u
#define DEVICE_VIRTIO_PARTS 5u

/* A base address register: memory, mapped uncached at `address`; or I/O ports. size_bytes 0: there is none. */
struct device_bar {
    uint64_t address;
    uint64_t size_bytes;
    uint32_t port; /* nonzero: its first I/O port, and size_bytes of them */
    uint32_t reserved;
};

/* Where a virtio device has a structure (VIRTIO 1.2, 4.1.4). size_bytes 0: it has none. */
struct device_virtio_part {
    uint32_t bar, offset_bytes, size_bytes;
    uint32_t notify_multiplier; /* of the notification structure */
};

enum device_interrupt {
    DEVICE_INTERRUPT_LINE, /* level: acknowledge it to the device, then CONTROL_INTERRUPT_ACK */
    DEVICE_INTERRUPT_MSI, /* one vector; with MSI-X it is entry 0 of the table, which root has written */
    DEVICE_INTERRUPT_MSIX,
};

struct device_grant {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint32_t class_code; /* base class << 16 | subclass << 8 | programming interface */
    uint32_t location;   /* bus << 8 | device << 3 | function: for messages */
    uint32_t interrupt;  /* enum device_interrupt */
    uint32_t
        interrupt_number; /* TASK_SLOT_INTERRUPT + this; legacy IDE has two: this and the next */
    struct device_bar bars[DEVICE_BARS]; /* legacy IDE: 0x1f0, 0x3f6, 0x170, 0x376 stand in 0-3 */
    struct device_virtio_part
        virtio[DEVICE_VIRTIO_PARTS]; /* [cfg_type - 1]: common, notify, ISR, device, - */
};

/* Memory for DMA: contiguous, zeroed, mapped write-back. */
struct device_memory {
    uint64_t address, physical, size_bytes;
};

#endif
