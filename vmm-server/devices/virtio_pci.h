/* virtio devices as functions of a PCI bus. The contract is at the head of virtio_pci.c. */
#ifndef VMM_DEVICES_VIRTIO_PCI_H
#define VMM_DEVICES_VIRTIO_PCI_H

#include "devices/msix.h"
#include "devices/virtio.h"

#define VIRTIO_PCI_NO_VECTOR 0xffffu

struct virtio_pci {
    struct pci_function function;
    struct virtio_device *device;
    struct msix msix;
    uint16_t config_vector, queue_vectors[VIRTIO_QUEUES_MAX];
    uint8_t window; /* the capability that gives access by configuration */
};

/* The INTx line for the device's x_init, which comes before virtio_pci_attach. `pci` is all zero. */
struct interrupt_line *virtio_pci_line(struct virtio_pci *pci);
/* Puts a device onto the bus, with this expansion ROM, or NULL. False: the slot is taken, or the bus is full. */
bool virtio_pci_attach(struct virtio_pci *pci, struct virtio_device *device, struct pci_bus *bus,
                       unsigned slot, const struct pci_bar *rom);

#endif
