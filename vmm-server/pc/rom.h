/* Expansion ROMs of PCI functions (PCI Local Bus 3.0, 6.2.5.2 and 6.3): files of the boot bundle. */
#ifndef VMM_PC_ROM_H
#define VMM_PC_ROM_H

#include "devices/pci.h"
#include "protocol/vmm.h"

/* The range of a function's ROM: the file, which stays, and ones behind it. Called by who makes the function. */
struct pci_bar pc_rom_bar(const struct vmm_file *file, const char *name);

#endif
