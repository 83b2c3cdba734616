/*
 * Boots a guest by firmware: SeaBIOS, another image that ends below 4 GiB, OVMF. The first vCPU begins as a processor
 * comes out of reset, and the firmware learns of the machine by fw_cfg.
 */
#ifndef VMM_BOOT_BIOS_H
#define VMM_BOOT_BIOS_H

#include "machine.h"

/* Does the partition begin with firmware? */
bool bios_wanted(const struct vmm_start *start);
/* Maps the image and makes fw_cfg with what the firmware asks for. Part of machine_init, when all devices are there.
 * False: `why` says what is wrong. */
bool bios_init(struct machine *machine, const struct acpi_machine *acpi, char *why,
               size_t why_bytes);

#endif
