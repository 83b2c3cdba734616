/*
 * Floating pointer and configuration table (MultiProcessor Specification 1.4, Intel 242016-006, chapter 4): processors, a
 * PCI and an ISA bus, one IOAPIC, its inputs as the MADT has them, and the local inputs of all processors.
 */
#include "firmware/mp_table.h"

#include "devices/ioapic.h"
#include "string.h"

#define APIC_ADDRESS      0xfee00000u
#define APIC_VERSION      0x14u
#define IOAPIC_VERSION    0x11u
#define ALL_PROCESSORS    0xffu

#define BUS_PCI           0u
#define BUS_ISA           1u
#define ISA_LINES         16u
#define IRQ_TIMER         0u
#define INPUT_TIMER       2u
#define IRQ_CASCADE       2u
#define PCI_PINS          4u

#define PROCESSOR_ENABLED 1u
#define PROCESSOR_FIRST   2u
#define IOAPIC_ENABLED    1u

enum { ENTRY_PROCESSOR, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_INTERRUPT, ENTRY_LOCAL };
enum { KIND_INTERRUPT, KIND_NMI, KIND_SMI, KIND_EXTERNAL };

/* Polarity and trigger (4.3.4): as the bus has them; active high and level. */
enum { AS_THE_BUS = 0, LEVEL_HIGH = 0xd };

struct floating_pointer { /* 4.1 */
    char signature[4];
    uint32_t table;
    uint8_t length, revision, sum, features[5];
} __attribute__((packed));
_Static_assert(sizeof(struct floating_pointer) == 16, "MP 1.4, 4.1");

struct table_header { /* 4.2 */
    char signature[4];
    uint16_t length;
    uint8_t revision, sum;
    char oem[8], product[12];
    uint32_t oem_table;
    uint16_t oem_bytes, entries;
    uint32_t local_apic;
    uint16_t extended_bytes;
    uint8_t extended_sum, reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct table_header) == 44, "MP 1.4, 4.2");

struct processor_entry { /* 4.3.1 */
    uint8_t type, id, version, flags;
    uint32_t signature, features, reserved[2];
} __attribute__((packed));

struct bus_entry { /* 4.3.2 */
    uint8_t type, id;
    char name[6];
} __attribute__((packed));

struct ioapic_entry { /* 4.3.3 */
    uint8_t type, id, version, flags;
    uint32_t address;
} __attribute__((packed));

struct interrupt_entry { /* 4.3.4 and 4.3.5 */
    uint8_t type, kind;
    uint16_t flags;
    uint8_t bus, source, apic, input;
} __attribute__((packed));

struct writer {
    uint8_t *data;
    size_t size_bytes, used;
    unsigned entries;
    bool full;
};

static void add(struct writer *writer, const void *entry, size_t size_bytes)
{
    if (writer->size_bytes - writer->used < size_bytes) {
        writer->full = true;
        return;
    }
    memcpy(writer->data + writer->used, entry, size_bytes);
    writer->used += size_bytes;
    writer->entries++;
}

static void add_interrupt(struct writer *writer, const struct interrupt_entry *entry)
{
    add(writer, entry, sizeof *entry);
}

static uint8_t sum(const void *data, size_t size_bytes)
{
    uint8_t result = 0;
    for (size_t i = 0; i < size_bytes; i++)
        result = (uint8_t)(result + ((const uint8_t *)data)[i]);
    return result;
}

static void add_processors(struct writer *writer, const struct mp_machine *machine)
{
    for (unsigned n = 0; n < machine->vcpu_count; n++) {
        const struct processor_entry entry = {
            .type = ENTRY_PROCESSOR,
            .id = (uint8_t)n,
            .version = APIC_VERSION,
            .flags = (uint8_t)(PROCESSOR_ENABLED | (n == 0 ? PROCESSOR_FIRST : 0)),
            .signature = machine->signature,
            .features = machine->features,
        };
        add(writer, &entry, sizeof entry);
    }
}

/* A PCI source is slot * 4 + pin (D.3). Which inputs of the IOAPIC they take. */
static uint32_t add_pci(struct writer *writer, const struct mp_machine *machine, uint8_t ioapic)
{
    uint32_t taken = 0;
    for (unsigned source = 0; source < machine->pci_slots * PCI_PINS; source++) {
        unsigned input = machine->input_of(machine->board, source / PCI_PINS, source % PCI_PINS);
        const struct interrupt_entry entry = {ENTRY_INTERRUPT, KIND_INTERRUPT,  LEVEL_HIGH,
                                              BUS_PCI,         (uint8_t)source, ioapic,
                                              (uint8_t)input};
        taken |= 1u << input;
        add_interrupt(writer, &entry);
    }
    return taken;
}

static void add_interrupts(struct writer *writer, const struct mp_machine *machine, uint8_t ioapic)
{
    uint32_t taken = add_pci(writer, machine, ioapic);
    for (unsigned irq = 0; irq < ISA_LINES; irq++)
        if (irq != IRQ_CASCADE && !(taken >> irq & 1))
            add_interrupt(
                writer, &(struct interrupt_entry){ENTRY_INTERRUPT, KIND_INTERRUPT, AS_THE_BUS,
                                                  BUS_ISA, (uint8_t)irq, ioapic,
                                                  (uint8_t)(irq == IRQ_TIMER ? INPUT_TIMER : irq)});
    add_interrupt(writer, &(struct interrupt_entry){ENTRY_LOCAL, KIND_EXTERNAL, AS_THE_BUS, BUS_ISA,
                                                    0, ALL_PROCESSORS, 0});
    add_interrupt(writer, &(struct interrupt_entry){ENTRY_LOCAL, KIND_NMI, AS_THE_BUS, BUS_ISA, 0,
                                                    ALL_PROCESSORS, 1});
}

bool mp_table_write(void *table, size_t size_bytes, uint32_t address,
                    const struct mp_machine *machine)
{
    struct floating_pointer pointer = {.signature = {'_', 'M', 'P', '_'},
                                       .table = address + (uint32_t)sizeof pointer,
                                       .length = 1,
                                       .revision = 4};
    struct table_header header = {
        .signature = {'P', 'C', 'M', 'P'},
        .revision = 4,
        .oem = {'S', 'E', 'P', 'T', 'U', 'M', ' ', ' '},
        .product = {'P', 'A', 'R', 'T', 'I', 'T', 'I', 'O', 'N', ' ', ' ', ' '},
        .local_apic = APIC_ADDRESS};
    const size_t head = sizeof pointer + sizeof header;
    const uint8_t ioapic_id = 0; /* as its register has it */
    if (size_bytes < head)
        return false;
    struct writer writer = {(uint8_t *)table + head, size_bytes - head, 0, 0, false};
    add_processors(&writer, machine);
    add(&writer, &(struct bus_entry){ENTRY_BUS, BUS_PCI, {'P', 'C', 'I', ' ', ' ', ' '}}, 8);
    add(&writer, &(struct bus_entry){ENTRY_BUS, BUS_ISA, {'I', 'S', 'A', ' ', ' ', ' '}}, 8);
    add(&writer,
        &(struct ioapic_entry){ENTRY_IOAPIC, ioapic_id, IOAPIC_VERSION, IOAPIC_ENABLED,
                               (uint32_t)IOAPIC_ADDRESS},
        8);
    add_interrupts(&writer, machine, ioapic_id);
    if (writer.full)
        return false;
    header.length = (uint16_t)(sizeof header + writer.used);
    header.entries = (uint16_t)writer.entries;
    header.sum = (uint8_t) - (sum(&header, sizeof header) + sum(writer.data, writer.used));
    pointer.sum = (uint8_t)-sum(&pointer, sizeof pointer);
    memcpy(table, &pointer, sizeof pointer);
    memcpy((uint8_t *)table + sizeof pointer, &header, sizeof header);
    return true;
}
