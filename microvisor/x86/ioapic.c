/*
 * Device interrupts: the IOAPICs' lines, the vectors of each CPU, MSI messages.
 * (82093AA data sheet, 3.2; SDM 3, 11.11.)
 */
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"
#include "x86/trap.h"

enum { IOAPIC_SELECT = 0, IOAPIC_DATA = 4 }; /* as words */
#define IOAPIC_VERSION 1u
#define IOAPIC_ENTRY(line) (0x10u + 2 * (line))
#define ENTRY_ACTIVE_LOW (1u << 13)
#define ENTRY_LEVEL (1u << 15)
#define ENTRY_MASKED (1u << 16)
/* The upper half, where messages are remapped (VT-d 3.4, 5.1.5.1): the format, and which entry of the table. */
#define ENTRY_REMAPPED (1u << 16)
#define ENTRY_INDEX(index) ((index) << 17)
/* The same of an MSI's address (5.1.5.2). */
#define MSI_ADDRESS 0xfee00000u
#define MSI_REMAPPED (1u << 4)
#define MSI_INDEX(index) ((index) << 5)

static struct line {
    volatile uint32_t *registers; /* of its IOAPIC: select, data; NULL: none */
    uint32_t index, low;          /* its entry, and what the low half holds */
} lines[GSI_MAX];
static uint32_t sources[GSI_MAX]; /* what their messages name; apart, so that a line is found by a shift */
unsigned gsi_count;
static struct spinlock ioapic_lock; /* select and data go together; line.low */

/* ioapic_lock held, or at boot. */
static void write_low(struct line *line, uint32_t low)
{
    volatile uint32_t *registers = line->registers;
    line->low = low;
    registers[IOAPIC_SELECT] = line->index;
    registers[IOAPIC_DATA] = low;
}

void ioapic_init(void)
{
    /* The legacy controllers: vectors away from the exceptions, then all lines masked. */
    static const uint8_t pic_words[][2] = {{0x20, 0x11}, {0xa0, 0x11}, {0x21, 0x20}, {0xa1, 0x28},
                                           {0x21, 4},    {0xa1, 2},    {0x21, 1},    {0xa1, 1},
                                           {0x21, 0xff}, {0xa1, 0xff}};
    for (unsigned i = 0; i < ARRAY_SIZE(pic_words); i++)
        out8(pic_words[i][0], pic_words[i][1]);

    for (unsigned i = 0; i < acpi.ioapic_count; i++) {
        const struct ioapic_facts *facts = &acpi.ioapics[i];
        volatile uint32_t *base = window_map(facts->address, 0x20, PAGE_UNCACHED);
        if (!base)
            continue;
        base[IOAPIC_SELECT] = IOAPIC_VERSION;
        uint32_t end = facts->gsi_base + (base[IOAPIC_DATA] >> 16 & 0xff) + 1;
        for (uint32_t gsi = facts->gsi_base; gsi < end && gsi < GSI_MAX; gsi++) {
            lines[gsi] = (struct line){base, IOAPIC_ENTRY(gsi - facts->gsi_base), 0};
            sources[gsi] = remap_ioapic(facts->id);
            write_low(&lines[gsi], ENTRY_MASKED);
            gsi_count = gsi < gsi_count ? gsi_count : gsi + 1;
        }
    }
}

bool processor_gsi_exists(uint64_t gsi)
{
    return gsi < GSI_MAX && lines[gsi].registers;
}

void processor_gsi_route(uint32_t gsi, unsigned cpu, unsigned vector, uint32_t mode)
{
    struct line *line = &lines[gsi];
    if (gsi == GSI_DMA_FAULT) {
        dma_fault_route(cpu, vector);
        return;
    }
    bool remapped = remap_set(cpu, vector, mode & INTERRUPT_LEVEL, sources[gsi]);
    spinlock_acquire(&ioapic_lock);
    write_low(line, ENTRY_MASKED | vector | (mode & INTERRUPT_LEVEL ? ENTRY_LEVEL : 0) |
                        (mode & INTERRUPT_ACTIVE_LOW ? ENTRY_ACTIVE_LOW : 0));
    line->registers[IOAPIC_SELECT] = line->index + 1;
    line->registers[IOAPIC_DATA] = remapped
                                       ? ENTRY_REMAPPED | ENTRY_INDEX(REMAP_INDEX(cpu, vector))
                                       : cpus[cpu]->x86.apic_id << 24;
    spinlock_release(&ioapic_lock);
}

void processor_gsi_mask(uint32_t gsi, bool masked)
{
    struct line *line = &lines[gsi];
    if (unlikely(gsi == GSI_DMA_FAULT)) {
        dma_fault_mask(masked);
        return;
    }
    spinlock_acquire(&ioapic_lock);
    write_low(line, masked ? line->low | ENTRY_MASKED : line->low & ~ENTRY_MASKED);
    spinlock_release(&ioapic_lock);
}

/* ---- vectors --------------------------------------------------------------------------------- */

static uint64_t vectors_used[CPUS_MAX][256 / 64];

unsigned processor_vector_alloc(unsigned cpu)
{
    for (unsigned vector = VECTOR_DEVICE_FIRST; vector <= VECTOR_DEVICE_LAST; vector++) {
        uint64_t bit = 1ull << vector % 64;
        uint64_t *word = &vectors_used[cpu][vector / 64];
        if (!(__atomic_fetch_or(word, bit, __ATOMIC_ACQUIRE) & bit))
            return vector;
    }
    return 0;
}

void processor_vector_free(unsigned cpu, unsigned vector)
{
    remap_clear(cpu, vector);
    __atomic_fetch_and(&vectors_used[cpu][vector / 64], ~(1ull << vector % 64), __ATOMIC_RELEASE);
}

void processor_msi_message(unsigned cpu, unsigned vector, uint32_t source, uint64_t *address,
                           uint64_t *data)
{
    bool remapped = remap_set(cpu, vector, false, source);
    *address = MSI_ADDRESS | (remapped ? MSI_REMAPPED | MSI_INDEX(REMAP_INDEX(cpu, vector))
                                       : cpus[cpu]->x86.apic_id << 12); /* physical, fixed */
    *data = remapped ? 0 : vector;                                      /* edge */
}
