/*
 * The board `pc`: an i440FX board with a PIIX3, as systems from the eighties on expect it. Each part of it is
 * put together by a file of this folder; docs/machine-pc.md shows the whole.
 */
#ifndef VMM_PC_PC_H
#define VMM_PC_PC_H

#include "pc/chips.h"
#include "pc/lines.h"
#include "pc/pci.h"
#include "pc/storage.h"

struct machine;
struct display;
struct acpi_machine;

struct pc {
    struct machine *machine;
    struct display *display;
    struct isa_lines lines;
    struct chips chips;
    struct pc_pci pci;
    struct storage storage;
};

/* Makes the board and its devices. Called by machine_devices_init when the IOAPIC and a UART are there, before virtio
 * devices are put onto its PCI bus. False: they do not fit together, or there is no memory. */
bool pc_init(struct machine *machine, struct acpi_machine *acpi);

#endif
