#include "pc/lines.h"

#include <stddef.h>

#define IRQ_TIMER                        0u
#define IOAPIC_PIN_TIMER                 2u

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static void set(struct interrupt_line *line, bool high)
{
    struct isa_line *input = CONTAINER(line, struct isa_line, line);
    struct isa_lines *lines = input->lines;
    unsigned pin = input->irq == IRQ_TIMER ? IOAPIC_PIN_TIMER : input->irq;
    struct interrupt_line *wire = ioapic_input(lines->ioapic, pin);
    if (lines->pic)
        lines->pic(lines->pics, input->irq, high);
    wire->set(wire, high);
}

void isa_lines_init(struct isa_lines *lines, struct ioapic *ioapic)
{
    *lines = (struct isa_lines){.ioapic = ioapic};
    for (unsigned irq = 0; irq < ISA_LINES; irq++)
        lines->line[irq] = (struct isa_line){{set}, lines, irq};
}

struct interrupt_line *isa_line(struct isa_lines *lines, unsigned irq)
{
    return &lines->line[irq].line;
}
