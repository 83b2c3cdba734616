/* The PCI bus of a `pc`: its bridges, what is on it, and what firmware would do with it. */
#ifndef VMM_PC_PCI_H
#define VMM_PC_PCI_H

#include "devices/i440fx.h"
#include "devices/piix3.h"
#include "devices/virtio.h"

#define PC_PCI_SLOT_DISPLAY 2u
#define PC_PCI_SLOT_FREE    3u /* and those that follow: virtio devices */

struct machine;
struct vmm_file;

struct pc_pci {
    struct pci_bus bus;
    struct i440fx host_bridge;
    struct piix3 piix3;
    unsigned next_slot;
};

/* Called by pc_init when the lines are there. False: it does not fit. */
bool pc_pci_init(struct machine *machine);
/* A place for a virtio device: the line for its x_init; NULL: no memory. Then, when it is made: puts it onto the bus,
 * with this file as its ROM, or NULL. */
struct interrupt_line *pc_pci_virtio_line(void);
bool pc_pci_add_virtio(struct machine *machine, struct virtio_device *device,
                       const struct vmm_file *rom);
/* Called by machine_devices_init when all is on the bus. Where no firmware runs, places are given to all ranges, and the
 * interrupts' routes are set, as firmware does. */
void pc_pci_set_up(struct machine *machine);

#endif
