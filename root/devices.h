/*
 * PCI devices that servers drive. Root finds them, and keeps what could do harm: configuration space, the tables of
 * interrupt messages, the switch that lets a device reach memory by itself. A server has the registers.
 */
#ifndef ROOT_DEVICES_H
#define ROOT_DEVICES_H

#include "pci.h"
#include "protocol/grant.h"
#include "root.h"

/* A device of a server: what root knows of it, and what the server is told. */
struct device {
    const struct device_kind *kind;
    struct pci_function function;
    struct pci_bar bars[PCI_BARS]; /* those that the server has; of the others the size is 0 */
    volatile uint32_t *msix_table; /* root's view, NULL: it does not interrupt by that */
    uint64_t msi_address, msi_data;
    unsigned msi_capability;
    bool confined;   /* by an IOMMU */
    cap_slot_t slot; /* of its object in the kernel, while it is bound; 0: not yet taken */
    struct device_grant
        grant; /* without the addresses, which are new in each of the server's lives */
};

#define DEVICE_INTERRUPTS 8u
struct device_set {
    struct device devices[DEVICES_MAX];
    unsigned count;
    /* What TASK_SLOT_INTERRUPT + n is to be, and its line (UINT32_MAX: a message). */
    struct {
        cap_slot_t slot;
        uint32_t line;
    } interrupts[DEVICE_INTERRUPTS];
    unsigned interrupt_count;
};

/* Finds all devices of a kind of server, and makes their interrupts, which raise bits of its notification on a CPU.
 * Says what it finds and what it has to refuse. They do nothing yet. */
void devices_find(struct device_set *set, enum plan_device what, const char *server,
                  cap_slot_t notification, unsigned cpu);
/* The server gets the registers and interrupts; grants: DEVICES_MAX of them. */
void devices_give(const struct device_set *set, struct resident *task, struct device_grant *grants);
/* Reset, then they may reach memory, the task's alone if they are confined, and interrupt. */
void devices_go(struct device_set *set, struct resident *task);
/* They reach no memory any more, and what was under way has ended. */
void devices_stop(struct device_set *set);
/* Does one of them reach all memory? */
bool devices_are_trusted(const struct device_set *set);

/* A line of the monitor about one. */
void device_show(struct sink *sink, const struct device *device);
/* For the audit. */
bool devices_have_ports(const struct device_set *set, uint64_t first, uint64_t last);

/* ---- confine.c: the IOMMU ------------------------------------------------------------------------------ */

/* Before the first server is started: root is told of faults. */
void confine_start(void);
/* Is there an IOMMU that confines this device? virtio_common: the registers of a virtio device, else NULL. */
bool confine_can(const struct device *device, volatile uint32_t *virtio_common);
/* From here on they reach what is in the task's DMA space; and nothing. */
void confine_bind(struct device_set *set, struct resident *task);
void confine_unbind(const struct device_set *set);
/* Memory comes into the task's DMA space, at its physical address, and goes. A status of the kernel. */
uint64_t confine_give(const struct resident *task, uint64_t physical, uint64_t pages);
void confine_take(const struct resident *task, uint64_t physical, uint64_t pages);
/* Tells of what devices were refused; whose device it was has failed. */
void confine_faults(void);

#endif
