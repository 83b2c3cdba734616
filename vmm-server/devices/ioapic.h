/* IOAPIC with 24 pins at a guest-physical address: turns lines into interrupt messages. */
#ifndef VMM_DEVICES_IOAPIC_H
#define VMM_DEVICES_IOAPIC_H

#include "device.h"
#include "devices/local_apic.h"

#define IOAPIC_PINS    24u
#define IOAPIC_ADDRESS 0xfec00000ull

struct ioapic {
    /* Delivers a message to the local APICs that it names. */
    void (*send)(struct ioapic *ioapic, const struct apic_message *message);
    void *machine;
    uint32_t id, select;
    uint64_t entries[IOAPIC_PINS];
    uint32_t lines; /* levels of the pins */
    struct ioapic_line {
        struct interrupt_line line;
        struct ioapic *ioapic;
        unsigned pin;
    } inputs[IOAPIC_PINS];
};

void ioapic_init(struct ioapic *ioapic, void (*send)(struct ioapic *, const struct apic_message *),
                 void *machine);
void ioapic_reset(struct ioapic *ioapic);
bool ioapic_attach(struct ioapic *ioapic, struct bus *addresses, uint64_t address);
/* The line that a device is wired to. */
struct interrupt_line *ioapic_input(struct ioapic *ioapic, unsigned pin);
/* A local APIC's EOI of a level-triggered vector. */
void ioapic_end_of_interrupt(struct ioapic *ioapic, uint8_t vector);
void ioapic_dump(const struct ioapic *ioapic, struct sink *sink);

#endif
