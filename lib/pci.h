/*
 * PCI configuration space, for the one task that may touch it: which functions there are, what they decode, what
 * they can do, and how they interrupt. What a device says of itself is believed no further than it could be true:
 * lists end, sizes are powers of two, structures lie within their BAR.
 *
 * Spec: PCI Local Bus 3.0, chapter 6; PCI-to-PCI Bridge 1.2, 3.2.5; VIRTIO 1.2, 4.1.4.
 */
#ifndef LIB_PCI_H
#define LIB_PCI_H

#include <stdbool.h>
#include <stdint.h>

/* A function's place: bus << 8 | device << 3 | function. */
#define PCI_LOCATION(bus, device, function) ((uint32_t)((bus) << 8 | (device) << 3 | (function)))

/* Reads and writes aligned 32-bit registers. */
struct pci {
    uint32_t (*read)(const struct pci *pci, uint32_t location, unsigned offset);
    void (*write)(const struct pci *pci, uint32_t location, unsigned offset, uint32_t value);
};

/* By the ports 0xcf8 and 0xcfc (PCI 3.0, 3.2.2.3.2): one thread's at a time. */
extern const struct pci pci_ports;
#define PCI_PORTS_FIRST 0xcf8u
#define PCI_PORTS_COUNT 8u

struct pci_function {
    uint32_t location;
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint32_t class_code; /* base class << 16 | subclass << 8 | programming interface */
    uint8_t interrupt_line, interrupt_pin; /* pin 0: it has none */
};

/* All functions that are no bridges, behind bridges too, by rising place below each bus. How many there are; at most
 * `max` are noted. */
unsigned pci_scan(const struct pci *pci, struct pci_function *functions, unsigned max);

#define PCI_BARS 6u
struct pci_bar {
    uint64_t base, size_bytes; /* size 0: there is none, or the firmware gave it no place */
    bool is_port;
};
/* What a function decodes, by asking it: its decoding is off for that moment. Index: the BAR's number; the upper
 * half of a 64-bit BAR has size 0. */
void pci_bars(const struct pci *pci, uint32_t location, struct pci_bar bars[PCI_BARS]);

/* Bits of the command register. */
enum pci_command {
    PCI_DECODES_PORTS = 1,
    PCI_DECODES_MEMORY = 2,
    PCI_MASTER = 4, /* it may read and write memory by itself, and send MSIs */
    PCI_NO_LINE = 1 << 10,
};
void pci_command(const struct pci *pci, uint32_t location, unsigned set, unsigned clear);

enum pci_capability {
    PCI_CAPABILITY_MSI = 5,
    PCI_CAPABILITY_VENDOR = 9,
    PCI_CAPABILITY_MSIX = 0x11,
};
/* The next capability of a kind behind `after` (0: the first); 0: there is none. */
unsigned pci_capability(const struct pci *pci, uint32_t location, enum pci_capability kind,
                        unsigned after);

/* The interrupt's message goes to address, with data; the function's line is off then. */
void pci_msi_set(const struct pci *pci, uint32_t location, unsigned capability, uint64_t address,
                 uint32_t data);

struct pci_msix {
    uint32_t bar, offset, entries; /* of the table: PCI_MSIX_ENTRY_BYTES each */
};
#define PCI_MSIX_ENTRY_BYTES 16u
/* Where the table is. False: not where it could be. */
bool pci_msix_table(const struct pci *pci, uint32_t location, unsigned capability,
                    const struct pci_bar bars[PCI_BARS], struct pci_msix *table);
/* Entry n of a mapped table: unmasked with this message, or masked. */
void pci_msix_entry(volatile uint32_t *table, unsigned n, uint64_t address, uint32_t data);
void pci_msix_mask(volatile uint32_t *table, unsigned n);
void pci_msix_enable(const struct pci *pci, uint32_t location, unsigned capability, bool on);
/* No MSI, no MSI-X, no line. */
void pci_interrupts_off(const struct pci *pci, uint32_t location);

/* A structure of a virtio device. Its kinds: VIRTIO 1.2, 4.1.4, cfg_type. */
#define PCI_VIRTIO_KINDS 5u
struct pci_virtio_part {
    uint32_t bar, offset, size_bytes; /* size 0: it has none */
    uint32_t notify_multiplier;
};
/* parts[kind - 1]: the first of each kind that lies within its BAR, as the specification has it. */
void pci_virtio_parts(const struct pci *pci, uint32_t location, const struct pci_bar bars[PCI_BARS],
                      struct pci_virtio_part parts[PCI_VIRTIO_KINDS]);

#endif
