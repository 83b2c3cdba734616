/* What a `pc` has for firmware, and what it puts in the place of firmware for a kernel that is booted directly. */
#ifndef VMM_PC_FIRMWARE_H
#define VMM_PC_FIRMWARE_H

#include "protocol/vmm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine;

/* Where PCI's memory begins, below 4 GiB: where SeaBIOS puts it for so much RAM there. */
uint32_t pc_firmware_hole(uint64_t low_bytes);
/* The firmware's end is what is read below 1 MiB. False: there is no room for its windows. */
bool pc_firmware_shadow(struct machine *machine, const struct vmm_file *image);
/* SMBIOS and MP table, beside the ACPI tables, for a kernel that no firmware has started. False: there is too little
 * room. */
bool pc_firmware_tables(struct machine *machine);
/* How SeaBIOS calls the partition's disk n (its src/boot.c: bootprio_find_pci_device and the functions beside it). */
void pc_firmware_disk_path(const struct machine *machine, unsigned n, char *path,
                           size_t size_bytes);
/* The same of its network card n. */
void pc_firmware_card_path(const struct machine *machine, unsigned n, char *path,
                           size_t size_bytes);

#endif
