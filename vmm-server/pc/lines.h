/*
 * The sixteen interrupt lines of a `pc`: each goes to the pair of 8259s and to a pin of the IOAPIC. IRQ 0 is on
 * pin 2 there, as the MADT and the MP table say; 2 is the cascade, and no line.
 */
#ifndef VMM_PC_LINES_H
#define VMM_PC_LINES_H

#include "devices/ioapic.h"

#define ISA_LINES 16u

struct isa_lines {
    struct ioapic *ioapic;
    /* The 8259s' side of a line; NULL as long as there are none. */
    void (*pic)(void *pics, unsigned irq, bool high);
    void *pics;
    struct isa_line {
        struct interrupt_line line;
        struct isa_lines *lines;
        unsigned irq;
    } line[ISA_LINES];
};

void isa_lines_init(struct isa_lines *lines, struct ioapic *ioapic);
/* The line that a device is wired to. */
struct interrupt_line *isa_line(struct isa_lines *lines, unsigned irq);

#endif
