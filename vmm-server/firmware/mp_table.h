/* The MultiProcessor Specification's table, of a `pc` whose kernel is booted directly: systems from before ACPI read it. */
#ifndef VMM_FIRMWARE_MP_TABLE_H
#define VMM_FIRMWARE_MP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mp_machine {
    unsigned vcpu_count;
    uint32_t signature, features; /* of the processor: CPUID 1, EAX and EDX */
    /* The IOAPIC's input, 0 to 15, of a PCI slot's pin (0 to 3). */
    unsigned (*input_of)(void *board, unsigned slot, unsigned pin);
    void *board;
    unsigned pci_slots; /* slots 0 to here are described */
};

/* Writes the floating pointer and the table into size_bytes at `table`, which the guest sees at `address`: a multiple of
 * 16 between 0xf0000 and 0xfffff. False: there is too little room. */
bool mp_table_write(void *table, size_t size_bytes, uint32_t address,
                    const struct mp_machine *machine);

#endif
