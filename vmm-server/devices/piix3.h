/* The south bridge of a `pc`: ISA bridge and power management function. The contract is at the head of piix3.c. */
#ifndef VMM_DEVICES_PIIX3_H
#define VMM_DEVICES_PIIX3_H

#include "devices/pci.h"

#define PIIX3_SLOT           1u
#define PIIX3_FUNCTION_IDE   1u /* devices/ide.c's place */
#define PIIX3_FUNCTION_POWER 3u
#define PIIX3_PIRQS          4u
#define PIIX3_ISA_LINES      16u
#define PIIX3_SCI            9u
#define PIIX3_PM_BASE        0x600u /* where this machine's own set-up puts it, as SeaBIOS does */

struct piix3 {
    struct pci_function isa, power;
    struct interrupt_line *lines[PIIX3_ISA_LINES];
    unsigned asserted[PIIX3_PIRQS]; /* by so many functions */
    uint16_t driven;                /* ISA lines that are high because of these */
    /* The registers of power management are at this port from now on, or not there. NULL: nobody asks. */
    void (*power_moved)(struct piix3 *piix3, uint16_t port, bool on);
    void *machine; /* for it */
    uint16_t power_port;
    bool power_on;
};

/* Puts its functions onto the bus, and takes the bus's INTx. `lines` is filled in before. False: a slot is taken. */
bool piix3_init(struct piix3 *piix3, struct pci_bus *bus);
/* The ISA line that a PIRQ (0 to 3) is routed to; PIIX3_ISA_LINES: to none. */
unsigned piix3_line_of(const struct piix3 *piix3, unsigned pirq);
/* The PIRQ that pin 0 to 3 of a slot is wired to. */
unsigned piix3_pirq_of(unsigned slot, unsigned pin);
/* What firmware does: PIRQs to the lines 10, 10, 11, 11, the power registers at PIIX3_PM_BASE. */
void piix3_set_up(struct piix3 *piix3);

#endif
