/*
 * A guest's ACPI tables. `lean`: RSDP, XSDT, FADT (hardware-reduced), MADT, DSDT. `pc`: besides RSDT, FACS, HPET, and a
 * full FADT.
 */
#ifndef VMM_FIRMWARE_ACPI_H
#define VMM_FIRMWARE_ACPI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACPI_RSDP_BYTES 36u
#define ACPI_TABLES_MAX 4u
#define ACPI_LINKS_MAX  24u

struct acpi_machine {
    unsigned vcpu_count;
    unsigned virtio_count; /* virtio-mmio devices, from LAYOUT_VIRTIO on */
    bool uart;
    bool pc; /* the board; what follows is of a `pc` alone */
    bool second_uart, floppy;
    uint16_t pm_base;  /* of the power management registers */
    uint32_t pci_hole; /* where PCI's memory begins, below 4 GiB */
};

/* What firmware must correct when it puts the tables elsewhere; offsets from the RSDP. */
struct acpi_links {
    struct {
        uint32_t offset;
        uint8_t size_bytes;
    } pointers[ACPI_LINKS_MAX];
    struct {
        uint32_t offset, length; /* of what is summed */
        uint32_t sum;            /* where the sum's byte is */
    } sums[ACPI_LINKS_MAX];
    unsigned pointer_count, sum_count;
    uint32_t used; /* bytes of tables in all */
};

/* Writes all tables into size_bytes at `tables`, which the guest will see at `address`; the RSDP comes first.
 * links: filled in, if not NULL. False: there is too little room. */
bool acpi_write(void *tables, size_t size_bytes, uint32_t address,
                const struct acpi_machine *machine, struct acpi_links *links);

#endif
