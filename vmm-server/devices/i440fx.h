/* The host bridge of a `pc`. The contract is at the head of i440fx.c. */
#ifndef VMM_DEVICES_I440FX_H
#define VMM_DEVICES_I440FX_H

#include "devices/pci.h"

#define I440FX_SEGMENTS 13u

struct i440fx {
    struct pci_function function;
    uint8_t modes
        [I440FX_SEGMENTS]; /* as they are in the guest's memory: of each segment its two bits */
    bool settled;          /* `modes` says so */
    /* What is read below 1 MiB where a segment's reads do not go to RAM: the end of the firmware's ROM. */
    gpa_t rom_base;
    uint64_t rom_bytes;
    uint8_t *rom;
};

/* Puts it onto the bus, as slot 0. The legacy picture memory becomes a hole. False: the slot is taken, or a window does
 * not fit. */
bool i440fx_init(struct i440fx *bridge, struct pci_bus *bus);
/* ROM (of this task, whole pages) from rom_base on, to 1 MiB at most; before the guest runs. */
bool i440fx_set_rom(struct i440fx *bridge, gpa_t rom_base, uint64_t rom_bytes, uint8_t *rom);
/* As firmware leaves it for a system: all of it is RAM. */
void i440fx_open(struct i440fx *bridge);

#endif
