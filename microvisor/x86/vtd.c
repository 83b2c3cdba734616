/*
 * Intel VT-d, in legacy mode (VT-d 3.4, chapters 3, 5, 6, 9 and 11). One root table serves all units. It
 * is empty at first: from the moment that a unit is on, no device reaches memory, but for what a device object puts
 * there. Where the units can do it, one table of interrupts serves all of them too, and what a message names is an entry of
 * it: one for each vector of each CPU, which says who may use it.
 *
 * Invalidation is always of everything. It is needed when root rearranges devices and partitions, and then seldom.
 */
#include "core/quota.h"
#include "core/spinlock.h"
#include "core/task.h"
#include "x86/features.h"
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"

enum { /* registers (11.4) */
       CAPABILITY = 0x08,
       EXTENDED = 0x10,
       COMMAND = 0x18,
       STATUS = 0x1c,
       ROOT_TABLE = 0x20,
       FAULT_STATUS = 0x34,
       FAULT_CONTROL = 0x38,
       FAULT_DATA = 0x3c,
       FAULT_ADDRESS = 0x40,
       FAULT_ADDRESS_HIGH = 0x44,
       QUEUE_TAIL = 0x88,
       QUEUE = 0x90,
       INTERRUPT_TABLE = 0xb8
};

/* Bits of COMMAND, which STATUS shows again. */
#define TRANSLATE                    (1u << 31)
#define SET_ROOT                     (1u << 30)
#define USE_QUEUE                    (1u << 26)
#define REMAP                        (1u << 25)
#define SET_INTERRUPTS               (1u << 24)

#define CAPABILITY_48_BITS           (1ull << 10)             /* tables of four levels */
#define CAPABILITY_LARGE(capability) ((capability) >> 34 & 3) /* bit 0: 2 MiB, bit 1: 1 GiB */
#define EXTENDED_COHERENT            1u
#define EXTENDED_QUEUE               2u
#define EXTENDED_REMAPS              8u
#define EXTENDED_WIDE                16u /* destinations of 32 bits, as x2APIC has them */

#define FAULT_MASKED                 (1u << 31)
#define FAULT_OVERFLOW               1u
#define RECORD_THERE                 (1ull << 63)
#define RECORD_READ                  (1ull << 62)

/* Descriptors of the queue (6.5.2): all contexts, all translations; then a word is written. */
#define INVALIDATE_CONTEXTS (1ull | 1 << 4)
#define INVALIDATE_IOTLB    (2ull | 1 << 4) /* and bits 6, 7: transfers under way end first */
#define INVALIDATE_REMAPPED 4ull
#define INVALIDATE_WAIT     (5ull | 1 << 5 | 1ull << 32)
#define QUEUE_ENTRIES       256u

#define PRESENT             1ull
#define CONTEXT_48_BITS     2ull
#define CONTEXT_DOMAIN      8

/* An entry of the interrupt table (9.10), and its register (11.4.17). */
#define REMAP_LEVEL  (1ull << 4)
#define REMAP_VECTOR 16
#define REMAP_NARROW 40           /* the destination, of 8 bits */
#define REMAP_WIDE   32           /* of 32 */
#define REMAP_VERIFY (1ull << 18) /* the whole source */
#define TABLE_WIDE   (1ull << 11)
#define TABLE_SIZE   7u /* with the order of pages added: 256 << order entries */

typedef uint64_t wide_entry[2];

static struct unit {
    volatile uint8_t *registers;
    volatile wide_entry *queue, *faults;
    uint32_t tail, fault_count;
    uint32_t command; /* what is on */
    volatile uint32_t done;
    uint64_t drain; /* bits of INVALIDATE_IOTLB */
} units[DMAR_UNITS_MAX];
static unsigned unit_count;
static bool coherent; /* units see what is in the processors' caches */
static volatile wide_entry *roots, *interrupts;
static unsigned interrupts_order;
static bool wide; /* destinations */
static struct spinlock units_lock; /* after mapping_lock, before a quota's */
static uint64_t domains_used = 1;  /* 0 is not for us (6.1: caching mode) */
static unsigned domains_end;

bool dma_confined, interrupts_remapped;

/* ---- registers ------------------------------------------------------------------------------------ */

static void write32(const struct unit *unit, unsigned at, uint32_t value)
{
    *(volatile uint32_t *)(unit->registers + at) = value;
}

static uint64_t read64(const struct unit *unit, unsigned at)
{
    return *(volatile uint64_t *)(unit->registers + at);
}

static void write64(const struct unit *unit, unsigned at, uint64_t value)
{
    *(volatile uint64_t *)(unit->registers + at) = value;
}

static void await(const volatile uint32_t *at, uint32_t bits, uint32_t value)
{
    uint64_t limit = processor_ticks() + tsc_khz * 1000;
    while ((*at & bits) != value) {
        if (processor_ticks() > limit)
            panic("an IOMMU does not answer");
    }
}

/* Switches on or off what a bit of the command register says, and waits until it is so. */
static void command(struct unit *unit, uint32_t bits, bool on)
{
    uint32_t want = on ? unit->command | bits : unit->command & ~bits;
    write32(unit, COMMAND, want);
    await((volatile uint32_t *)(unit->registers + STATUS), bits, on ? bits : 0);
    unit->command = want & (TRANSLATE | USE_QUEUE | REMAP);
}

/* ---- forgetting ----------------------------------------------------------------------------------- */

static void enqueue(struct unit *unit, uint64_t low, uint64_t high)
{
    unit->queue[unit->tail][0] = low;
    unit->queue[unit->tail][1] = high;
    unit->tail = (unit->tail + 1) % QUEUE_ENTRIES;
}

/* units_lock held. When it returns no unit knows what is not in the tables any more, and no transfer uses it. */
static void flush_units(void)
{
    if (!coherent)
        __asm__ volatile("wbinvd" : : : "memory");
    for (struct unit *unit = units; unit < units + unit_count; unit++) {
        unit->done = 0;
        enqueue(unit, INVALIDATE_CONTEXTS, 0);
        enqueue(unit, INVALIDATE_IOTLB | unit->drain, 0);
        if (interrupts)
            enqueue(unit, INVALIDATE_REMAPPED, 0);
        enqueue(unit, INVALIDATE_WAIT, image_physical((void *)&unit->done));
        write64(unit, QUEUE_TAIL, unit->tail << 4);
        await(&unit->done, 1, 1);
    }
}

void dma_flush(void)
{
    spinlock_acquire(&units_lock);
    flush_units();
    spinlock_release(&units_lock);
}

/* ---- devices -------------------------------------------------------------------------------------- */

unsigned dma_domain_alloc(void)
{
    uint64_t used = __atomic_load_n(&domains_used, __ATOMIC_ACQUIRE);
    unsigned domain = ~used ? (unsigned)__builtin_ctzll(~used) : domains_end;
    if (domain >= domains_end)
        return 0;
    __atomic_fetch_or(&domains_used, 1ull << domain, __ATOMIC_RELAXED);
    return domain;
}

void dma_domain_free(unsigned domain)
{
    __atomic_fetch_and(&domains_used, ~(1ull << domain), __ATOMIC_RELEASE);
}

static volatile uint64_t *context_of(uint32_t requester)
{
    uint64_t table = roots[requester >> 8][0];
    return table ? (uint64_t *)frame_virtual(table & ~PAGE_MASK) + 2 * (requester & 255) : NULL;
}

/* It stands in the firmware's table, as a device or an IOAPIC. */
static bool is_seen(uint32_t requester)
{
    bool found = acpi.dmar.all_devices && requester <= UINT16_MAX;
    for (unsigned i = 0; i < acpi.dmar.device_count; i++)
        found |= acpi.dmar.devices[i] == requester;
    for (unsigned i = 0; i < acpi.dmar.ioapic_count; i++)
        found |= acpi.dmar.ioapics[i].source == requester;
    return found;
}

/* A bus's table is everybody's who has a device there: the first task pays. */
static struct quota *payer(struct task *task)
{
    while (task->object.owner)
        task = task->object.owner;
    return &task->quota;
}

enum septum_status dma_attach(uint32_t requester, struct task *task)
{
    enum septum_status status = STATUS_OK;
    if (!is_seen(requester))
        return STATUS_NOT_SUPPORTED;
    spinlock_acquire(&units_lock);
    void *table = roots[requester >> 8][0] ? NULL : quota_alloc_pages(payer(task), 0);
    if (table)
        roots[requester >> 8][0] = frame_physical(table) | PRESENT;
    volatile uint64_t *context = context_of(requester);
    if (!context) {
        status = STATUS_NO_QUOTA;
    } else if (context[0]) {
        status = STATUS_BUSY;
    } else {
        context[1] = CONTEXT_48_BITS | (uint64_t)task->domain << CONTEXT_DOMAIN;
        context[0] = frame_physical(task->dma.root) | PRESENT;
        flush_units();
    }
    spinlock_release(&units_lock);
    return status;
}

void dma_detach(uint32_t requester, struct task *task)
{
    spinlock_acquire(&units_lock);
    volatile uint64_t *context = context_of(requester), used = 0;
    uint64_t *table = (uint64_t *)((uintptr_t)context & ~PAGE_MASK);
    context[0] = 0;
    for (unsigned i = 0; i < TABLE_ENTRIES; i += 2)
        used |= table[i];
    if (!used)
        roots[requester >> 8][0] = 0;
    flush_units();
    if (!used)
        quota_free_pages(payer(task), table, 0);
    spinlock_release(&units_lock);
}

/* ---- interrupts ----------------------------------------------------------------------------------- */

uint32_t remap_ioapic(uint8_t id)
{
    for (unsigned i = 0; i < acpi.dmar.ioapic_count; i++)
        if (acpi.dmar.ioapics[i].id == id)
            return acpi.dmar.ioapics[i].source;
    return SOURCE_ANY;
}

static void remap_write(unsigned cpu, unsigned vector, uint64_t low, uint64_t high)
{
    volatile uint64_t *entry = interrupts[REMAP_INDEX(cpu, vector)];
    spinlock_acquire(&units_lock);
    entry[0] = 0;
    entry[1] = high;
    entry[0] = low;
    flush_units();
    spinlock_release(&units_lock);
}

bool remap_set(unsigned cpu, unsigned vector, bool level, uint32_t source)
{
    if (!interrupts_remapped)
        return false;
    uint64_t destination = (uint64_t)cpus[cpu]->x86.apic_id << (wide ? REMAP_WIDE : REMAP_NARROW);
    remap_write(cpu, vector,
                PRESENT | (level ? REMAP_LEVEL : 0) | (uint64_t)vector << REMAP_VECTOR | destination,
                is_seen(source) ? REMAP_VERIFY | source : 0);
    return true;
}

void remap_clear(unsigned cpu, unsigned vector)
{
    if (interrupts_remapped)
        remap_write(cpu, vector, 0, 0);
}

/* ---- faults --------------------------------------------------------------------------------------- */

bool dma_fault_next(uint64_t *what, uint64_t *address)
{
    bool found = false;
    spinlock_acquire(&units_lock);
    for (struct unit *unit = units; unit < units + unit_count && !found; unit++) {
        for (uint32_t i = 0; i < unit->fault_count && !found; i++) {
            uint64_t record = unit->faults[i][1];
            if (!(record & RECORD_THERE))
                continue;
            *address = unit->faults[i][0];
            *what = (record & 0xffff) | (record >> 32 & 0xff) << 16 | !(record & RECORD_READ) << 24;
            unit->faults[i][1] = RECORD_THERE; /* clears it */
            found = true;
        }
        if (!found)
            write32(unit, FAULT_STATUS, FAULT_OVERFLOW);
    }
    spinlock_release(&units_lock);
    return found;
}

void dma_fault_mask(bool masked)
{
    for (struct unit *unit = units; unit < units + unit_count; unit++)
        write32(unit, FAULT_CONTROL, masked ? FAULT_MASKED : 0);
}

void dma_fault_route(unsigned cpu, unsigned vector)
{
    for (struct unit *unit = units; unit < units + unit_count; unit++) {
        write32(unit, FAULT_DATA, vector);
        write32(unit, FAULT_ADDRESS, 0xfee00000u | cpus[cpu]->x86.apic_id << 12);
        write32(unit, FAULT_ADDRESS_HIGH, 0);
    }
}

/* ---- starting ------------------------------------------------------------------------------------- */

/* Finds out what all units have in common. NULL, or why they can't be used. */
static const char *unit_probe(struct unit *unit, paddr_t address, uint32_t *extended)
{
    unit->registers = window_map(address, PAGE_SIZE, PAGE_UNCACHED);
    if (!unit->registers)
        return "there is no room for its registers";
    uint64_t capability = read64(unit, CAPABILITY), faults = (capability >> 24 & 0x3ff) * 16;
    *extended &= (uint32_t)read64(unit, EXTENDED);
    unit->fault_count = (capability >> 40 & 0xff) + 1;
    unit->faults = (volatile wide_entry *)(unit->registers + faults);
    unit->drain = (capability >> 54 & 3) << 6;
    unsigned domains = 16u << 2 * (capability & 7);
    if (domains < domains_end)
        domains_end = domains;
    while (!(CAPABILITY_LARGE(capability) >> (table_format_dma.largest_leaf - 1) & 1) &&
           table_format_dma.largest_leaf)
        table_format_dma.largest_leaf--;
    if (!(capability & CAPABILITY_48_BITS))
        return "a unit has no tables of four levels (QEMU: aw-bits=48)";
    if (faults + unit->fault_count * sizeof(wide_entry) > PAGE_SIZE)
        return "a unit has registers beyond its first page";
    return NULL;
}

/* NULL, or why interrupts are not remapped. */
static const char *remap_probe(uint32_t extended)
{
    for (unsigned i = 0; i < acpi.ioapic_count; i++)
        if (remap_ioapic(acpi.ioapics[i].id) == SOURCE_ANY)
            return "the firmware's table leaves an IOAPIC out";
    wide = features.x2apic;
    if (!acpi.dmar.remaps_interrupts || !(extended & EXTENDED_REMAPS) ||
        (wide && !(extended & EXTENDED_WIDE)))
        return "the IOMMU can't";
    while (1u << interrupts_order < acpi.cpu_count)
        interrupts_order++;
    interrupts = frames_alloc(interrupts_order);
    return interrupts ? NULL : "the kernel pool is too small: use a larger pool=SIZE";
}

/* What firmware or a loader may have left on is switched off before. */
static void unit_start(struct unit *unit)
{
    command(unit, TRANSLATE | USE_QUEUE | REMAP, false);
    write64(unit, QUEUE, frame_physical((void *)unit->queue));
    write64(unit, QUEUE_TAIL, 0);
    write64(unit, ROOT_TABLE, frame_physical((void *)roots));
    command(unit, SET_ROOT, true);
    command(unit, USE_QUEUE, true);
    if (interrupts) {
        write64(unit, INTERRUPT_TABLE, frame_physical((void *)interrupts) | (wide ? TABLE_WIDE : 0) |
                                           (TABLE_SIZE + interrupts_order));
        command(unit, SET_INTERRUPTS, true);
    }
}

const char *vtd_init(void)
{
    const struct dmar_facts *dmar = &acpi.dmar;
    uint32_t extended = ~0u;
    const char *why = NULL;

    domains_end = 64;
    for (unsigned i = 0; i < dmar->unit_count && !why; i++)
        why = unit_probe(&units[i], dmar->units[i], &extended);
    if (why)
        return why;
    if (!(extended & EXTENDED_QUEUE))
        return "a unit has no queue of invalidations";
    coherent = extended & EXTENDED_COHERENT;
    roots = frames_alloc(0);
    for (unsigned i = 0; i < dmar->unit_count; i++)
        units[i].queue = frames_alloc(0);
    if (!roots || !units[dmar->unit_count - 1].queue)
        return "the kernel pool is too small: use a larger pool=SIZE";
    const char *not_remapped = remap_probe(extended);
    unit_count = dmar->unit_count;
    for (struct unit *unit = units; unit < units + unit_count; unit++)
        unit_start(unit);
    flush_units();
    for (struct unit *unit = units; unit < units + unit_count; unit++)
        command(unit, TRANSLATE, true);
    for (struct unit *unit = units; unit < units + unit_count && interrupts; unit++)
        command(unit, REMAP, true);
    dma_confined = true;
    interrupts_remapped = interrupts != NULL;
    printk("DMA: confined by VT-d, units: %u; interrupts %s%s\n", unit_count,
           not_remapped ? "not remapped: " : "remapped", not_remapped ? not_remapped : "");
    return NULL;
}
