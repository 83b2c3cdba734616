/*
 * I/O APIC, 82093AA.
 *
 * State:    24 redirection entries with remote IRR, the level of each pin, register select, ID.
 * Features: edge and level triggering, masks, all delivery modes as messages, end of interrupt by the local
 *           APICs' broadcast; a write that makes an entry edge-triggered clears its remote IRR.
 * Missing:  polarity (a line is high when it is asserted, whatever the entry says), the EOI register of later
 *           versions, the arbitration ID (reads as the ID).
 * Spec:     Intel 82093AA I/O Advanced Programmable Interrupt Controller, May 1996, sections 3.1-3.2.
 */
#include "devices/ioapic.h"

#include "string.h"

#define WINDOW_BYTES  0x1000u
#define OFFSET_SELECT 0x00u
#define OFFSET_DATA   0x10u

/* Version 0x11, number of the last entry in bits 16-23 (section 3.2.2). */
#define VERSION (0x11u | (IOAPIC_PINS - 1) << 16)

enum ioapic_register {
    REGISTER_ID = 0,
    REGISTER_VERSION = 1,
    REGISTER_ARBITRATION = 2,
    REGISTER_ENTRIES = 0x10, /* two for each pin, low half first */
};

/* A redirection entry (section 3.2.4). */
#define ENTRY_VECTOR            0xffull
#define ENTRY_DELIVERY_SHIFT    8
#define ENTRY_LOGICAL           (1ull << 11)
#define ENTRY_REMOTE_IRR        (1ull << 14)
#define ENTRY_LEVEL             (1ull << 15)
#define ENTRY_MASKED            (1ull << 16)
#define ENTRY_DESTINATION_SHIFT 56
/* What can be written: all but delivery status (12) and remote IRR. */
#define ENTRY_WRITABLE 0xff0000000001afffull

static void send(struct ioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->entries[pin];
    uint32_t destination = (uint32_t)(entry >> ENTRY_DESTINATION_SHIFT);
    struct apic_message message = {
        .destination = destination == 0xff ? APIC_BROADCAST : destination,
        .vector = (uint8_t)(entry & ENTRY_VECTOR),
        .delivery = (uint8_t)(entry >> ENTRY_DELIVERY_SHIFT & 7),
        .logical = (entry & ENTRY_LOGICAL) != 0,
        .level = (entry & ENTRY_LEVEL) != 0,
        .assert = true,
    };
    if (message.level)
        ioapic->entries[pin] |= ENTRY_REMOTE_IRR;
    ioapic->send(ioapic, &message);
}

/* A level-triggered pin sends while it is high, unmasked, and its last message has been ended. */
static void settle_level(struct ioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->entries[pin];
    if ((ioapic->lines >> pin & 1) && (entry & ENTRY_LEVEL) &&
        !(entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)))
        send(ioapic, pin);
}

static void set_line(struct interrupt_line *line, bool high)
{
    struct ioapic_line *input = (struct ioapic_line *)line; /* its first member */
    struct ioapic *ioapic = input->ioapic;
    uint32_t bit = 1u << input->pin;
    bool rises = high && !(ioapic->lines & bit);
    uint64_t entry = ioapic->entries[input->pin];

    ioapic->lines = high ? ioapic->lines | bit : ioapic->lines & ~bit;
    if (entry & ENTRY_LEVEL)
        settle_level(ioapic, input->pin);
    else if (rises && !(entry & ENTRY_MASKED)) /* an edge on a masked pin is lost (3.2.4) */
        send(ioapic, input->pin);
}

static uint32_t read_register(const struct ioapic *ioapic, uint32_t select)
{
    switch (select) {
    case REGISTER_ID:
    case REGISTER_ARBITRATION: return ioapic->id << 24;
    case REGISTER_VERSION: return VERSION;
    }
    if (select < REGISTER_ENTRIES || select >= REGISTER_ENTRIES + 2 * IOAPIC_PINS)
        return 0;
    uint64_t entry = ioapic->entries[(select - REGISTER_ENTRIES) / 2];
    return (uint32_t)(select & 1 ? entry >> 32 : entry);
}

static void write_entry(struct ioapic *ioapic, unsigned pin, bool high_half, uint32_t value)
{
    uint64_t old = ioapic->entries[pin];
    uint64_t new =
        high_half ? (uint64_t)value << 32 | (uint32_t)old : (old & ~0xffffffffull) | value;
    new &= ENTRY_WRITABLE;
    if (new &ENTRY_LEVEL)
        new |= old &ENTRY_REMOTE_IRR;
    ioapic->entries[pin] = new;
    settle_level(ioapic, pin);
}

static bool ioapic_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    const struct ioapic *ioapic = device;
    if (size_bytes != 4)
        return false;
    switch (offset) {
    case OFFSET_SELECT: *value = ioapic->select; return true;
    case OFFSET_DATA: *value = read_register(ioapic, ioapic->select); return true;
    }
    return false;
}

static bool ioapic_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct ioapic *ioapic = device;
    if (size_bytes != 4)
        return false;
    switch (offset) {
    case OFFSET_SELECT: ioapic->select = value & 0xff; return true;
    case OFFSET_DATA:
        if (ioapic->select == REGISTER_ID)
            ioapic->id = (uint32_t)value >> 24 & 0xf;
        else if (ioapic->select >= REGISTER_ENTRIES &&
                 ioapic->select < REGISTER_ENTRIES + 2 * IOAPIC_PINS)
            write_entry(ioapic, (ioapic->select - REGISTER_ENTRIES) / 2, ioapic->select & 1,
                        (uint32_t)value);
        return true;
    }
    return false;
}

void ioapic_init(struct ioapic *ioapic, void (*send)(struct ioapic *, const struct apic_message *),
                 void *machine)
{
    memset(ioapic, 0, sizeof *ioapic);
    ioapic->send = send;
    ioapic->machine = machine;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->inputs[pin] = (struct ioapic_line){{set_line}, ioapic, pin};
    ioapic_reset(ioapic);
}

void ioapic_reset(struct ioapic *ioapic)
{
    ioapic->id = ioapic->select = 0;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->entries[pin] = ENTRY_MASKED;
}

bool ioapic_attach(struct ioapic *ioapic, struct bus *addresses, uint64_t address)
{
    static const struct bus_operations operations = {.read = ioapic_read, .write = ioapic_write};
    struct bus_range range = {address, WINDOW_BYTES, &operations, ioapic, "IOAPIC"};
    return bus_add(addresses, &range);
}

struct interrupt_line *ioapic_input(struct ioapic *ioapic, unsigned pin)
{
    return &ioapic->inputs[pin].line;
}

void ioapic_end_of_interrupt(struct ioapic *ioapic, uint8_t vector)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t entry = ioapic->entries[pin];
        if ((entry & ENTRY_REMOTE_IRR) && (entry & ENTRY_VECTOR) == vector) {
            ioapic->entries[pin] &= ~ENTRY_REMOTE_IRR;
            settle_level(ioapic, pin);
        }
    }
}

void ioapic_dump(const struct ioapic *ioapic, struct sink *sink)
{
    print(sink, "  ioapic id %u lines %x\n", ioapic->id, ioapic->lines);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if (!(ioapic->entries[pin] & ENTRY_MASKED))
            print(sink, "    pin %u entry %lx\n", pin, (unsigned long)ioapic->entries[pin]);
    }
}
