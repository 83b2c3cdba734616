#include "pci.h"

#include "port.h"

#include <stddef.h>

#define ADDRESS_PORT 0xcf8u
#define DATA_PORT    0xcfcu
#define ENABLE       (1u << 31)

/* Registers, by offset (PCI 3.0, 6.1 and 6.2). */
enum {
    ID = 0x00,
    COMMAND = 0x04, /* the upper half is status */
    CLASS = 0x08,
    HEADER = 0x0c,
    BAR = 0x10,
    BUSES = 0x18, /* of a bridge: primary, secondary, subordinate bus */
    SUBSYSTEM = 0x2c,
    CAPABILITIES = 0x34,
    INTERRUPT = 0x3c,
    SPACE_BYTES = 0x100,
};
#define STATUS_HAS_CAPABILITIES (1u << 20)
#define HEADER_KIND(value)      ((value) >> 16 & 0x7f)
#define HEADER_MANY(value)      ((value) >> 16 & 0x80)
#define HEADER_BRIDGE           1u
#define NO_VENDOR               0xffffu
#define DEVICES                 32u
#define FUNCTIONS               8u
#define BUS_COUNT               256u
/* The first 64 bytes are the header; a capability begins at a multiple of 4. */
#define CAPABILITY_FIRST 0x40u

#define BAR_IS_PORT      1u
#define BAR_KIND         6u
#define BAR_IS_64_BIT    4u

#define MSI_ENABLE       (1u << 16)
#define MSI_COUNT        (7u << 20)
#define MSI_64_BIT       (1u << 23)
#define MSIX_ENABLE      (1u << 31)
#define MSIX_ALL_MASKED  (1u << 30)
#define MSIX_MASKED      1u

/* ---- ports ---------------------------------------------------------------------------------------- */

static void choose(uint32_t location, unsigned offset)
{
    port_write32(ADDRESS_PORT, ENABLE | location << 8 | (offset & 0xfc));
}

static uint32_t read_port(const struct pci *pci, uint32_t location, unsigned offset)
{
    (void)pci;
    choose(location, offset);
    return port_read32(DATA_PORT);
}

static void write_port(const struct pci *pci, uint32_t location, unsigned offset, uint32_t value)
{
    (void)pci;
    choose(location, offset);
    port_write32(DATA_PORT, value);
}

const struct pci pci_ports = {read_port, write_port};

/* ---- which functions there are ---------------------------------------------------------------------- */

struct scan {
    const struct pci *pci;
    struct pci_function *functions;
    unsigned max, count;
    uint64_t to_do[BUS_COUNT / 64], seen[BUS_COUNT / 64]; /* buses */
};

static void note_bus(struct scan *scan, unsigned bus)
{
    uint64_t bit = 1ull << bus % 64;
    if (!(scan->seen[bus / 64] & bit))
        scan->to_do[bus / 64] |= bit;
    scan->seen[bus / 64] |= bit;
}

/* Bridges lead to buses; other functions are noted. */
static void note_function(struct scan *scan, uint32_t location, uint32_t header)
{
    const struct pci *pci = scan->pci;
    if (HEADER_KIND(header) == HEADER_BRIDGE)
        note_bus(scan, pci->read(pci, location, BUSES) >> 8 & 0xff);
    if (HEADER_KIND(header) != 0)
        return;
    if (scan->count < scan->max) {
        uint32_t id = pci->read(pci, location, ID);
        uint32_t subsystem = pci->read(pci, location, SUBSYSTEM);
        uint32_t interrupt = pci->read(pci, location, INTERRUPT);
        scan->functions[scan->count] = (struct pci_function){
            .location = location,
            .vendor = (uint16_t)id,
            .device = (uint16_t)(id >> 16),
            .subsystem_vendor = (uint16_t)subsystem,
            .subsystem = (uint16_t)(subsystem >> 16),
            .class_code = pci->read(pci, location, CLASS) >> 8,
            .interrupt_line = (uint8_t)interrupt,
            .interrupt_pin = (uint8_t)(interrupt >> 8),
        };
    }
    scan->count++;
}

static void scan_device(struct scan *scan, unsigned bus, unsigned device)
{
    const struct pci *pci = scan->pci;
    for (unsigned function = 0; function < FUNCTIONS; function++) {
        uint32_t location = PCI_LOCATION(bus, device, function);
        if ((pci->read(pci, location, ID) & 0xffff) == NO_VENDOR) {
            if (function == 0)
                return; /* function 0 is always there (PCI 3.0, 3.2.2.3.4) */
            continue;
        }
        uint32_t header = pci->read(pci, location, HEADER);
        note_function(scan, location, header);
        if (function == 0 && !HEADER_MANY(header))
            return;
    }
}

static int next_bus(struct scan *scan)
{
    for (unsigned word = 0; word < BUS_COUNT / 64; word++)
        if (scan->to_do[word]) {
            int bit = __builtin_ctzll(scan->to_do[word]);
            scan->to_do[word] &= scan->to_do[word] - 1;
            return (int)word * 64 + bit;
        }
    return -1;
}

unsigned pci_scan(const struct pci *pci, struct pci_function *functions, unsigned max)
{
    struct scan scan = {.pci = pci, .functions = functions, .max = max};
    int bus;
    note_bus(&scan, 0);
    while ((bus = next_bus(&scan)) >= 0)
        for (unsigned device = 0; device < DEVICES; device++)
            scan_device(&scan, (unsigned)bus, device);
    return scan.count;
}

/* ---- what it decodes ----------------------------------------------------------------------------------- */

/* What stays of all ones: the bits that can be set are those above the size. */
static uint32_t probe(const struct pci *pci, uint32_t location, unsigned n, uint32_t old)
{
    pci->write(pci, location, BAR + 4 * n, UINT32_MAX);
    uint32_t mask = pci->read(pci, location, BAR + 4 * n);
    pci->write(pci, location, BAR + 4 * n, old);
    return mask;
}

/* The size is the lowest bit that can be set; a mask with holes is no size. */
static uint64_t size_of(uint64_t mask, uint64_t end)
{
    uint64_t size = mask & -mask;
    return mask && (mask | (size - 1)) == end ? size : 0;
}

/* Fills bars[n]; returns how many of the six it takes. */
static unsigned size_bar(const struct pci *pci, uint32_t location, unsigned n, struct pci_bar *bar)
{
    uint32_t low = pci->read(pci, location, BAR + 4 * n), mask = probe(pci, location, n, low);
    if (low & BAR_IS_PORT) {
        bar->is_port = true;
        bar->base = low & 0xfffc;
        bar->size_bytes = size_of(mask & 0xfffc, 0xffff); /* the upper half may be wired to 0 */
    } else if ((low & BAR_KIND) == BAR_IS_64_BIT && n + 1 < PCI_BARS) {
        uint32_t high = pci->read(pci, location, BAR + 4 * (n + 1));
        uint64_t wide = (uint64_t)probe(pci, location, n + 1, high) << 32 | (mask & ~15u);
        bar->base = (uint64_t)high << 32 | (low & ~15u);
        bar->size_bytes = size_of(wide, UINT64_MAX);
    } else {
        bar->base = low & ~15u;
        bar->size_bytes = size_of(mask & ~15u, UINT32_MAX);
    }
    if (bar->base == 0 || bar->base + bar->size_bytes < bar->base ||
        (bar->size_bytes && bar->base % bar->size_bytes))
        bar->size_bytes = 0;
    return !bar->is_port && (low & BAR_KIND) == BAR_IS_64_BIT ? 2 : 1;
}

void pci_bars(const struct pci *pci, uint32_t location, struct pci_bar bars[PCI_BARS])
{
    uint32_t command = pci->read(pci, location, COMMAND) & 0xffff;
    pci_command(pci, location, 0, PCI_DECODES_PORTS | PCI_DECODES_MEMORY);
    for (unsigned n = 0; n < PCI_BARS; n++)
        bars[n] = (struct pci_bar){0};
    for (unsigned n = 0; n < PCI_BARS;)
        n += size_bar(pci, location, n, &bars[n]);
    pci_command(pci, location, command & (PCI_DECODES_PORTS | PCI_DECODES_MEMORY), 0);
}

void pci_command(const struct pci *pci, uint32_t location, unsigned set, unsigned clear)
{
    /* The status in the upper half is cleared by ones: zeroes leave it. */
    uint32_t command = pci->read(pci, location, COMMAND) & 0xffff;
    pci->write(pci, location, COMMAND, (command & ~clear) | set);
}

/* ---- what it can do --------------------------------------------------------------------------------------- */

unsigned pci_capability(const struct pci *pci, uint32_t location, enum pci_capability kind,
                        unsigned after)
{
    bool behind = after == 0;
    if (!(pci->read(pci, location, COMMAND) & STATUS_HAS_CAPABILITIES))
        return 0;
    unsigned at = pci->read(pci, location, CAPABILITIES) & 0xfc;
    /* A list that goes in circles is longer than there is room for. */
    for (unsigned i = 0; i < (SPACE_BYTES - CAPABILITY_FIRST) / 4; i++) {
        if (at < CAPABILITY_FIRST)
            return 0;
        uint32_t head = pci->read(pci, location, at);
        if (behind && (head & 0xff) == kind)
            return at;
        behind |= at == after;
        at = head >> 8 & 0xfc;
    }
    return 0;
}

/* A register of a capability; 0 where it would be beyond configuration space. */
static uint32_t read_in(const struct pci *pci, uint32_t location, unsigned capability,
                        unsigned offset)
{
    return capability + offset < SPACE_BYTES ? pci->read(pci, location, capability + offset) : 0;
}

/* PCI 3.0, 6.8.1: one message. */
void pci_msi_set(const struct pci *pci, uint32_t location, unsigned capability, uint64_t address,
                 uint32_t data)
{
    uint32_t head = pci->read(pci, location, capability) & ~(MSI_ENABLE | MSI_COUNT);
    unsigned data_at = capability + (head & MSI_64_BIT ? 12 : 8);
    if (data_at >= SPACE_BYTES)
        return;
    pci->write(pci, location, capability, head);
    pci->write(pci, location, capability + 4, (uint32_t)address);
    if (head & MSI_64_BIT)
        pci->write(pci, location, capability + 8, (uint32_t)(address >> 32));
    pci->write(pci, location, data_at, data);
    pci->write(pci, location, capability, head | MSI_ENABLE);
    pci_command(pci, location, PCI_NO_LINE, 0);
}

bool pci_msix_table(const struct pci *pci, uint32_t location, unsigned capability,
                    const struct pci_bar bars[PCI_BARS], struct pci_msix *table)
{
    uint32_t place = read_in(pci, location, capability, 4);
    table->entries = (pci->read(pci, location, capability) >> 16 & 0x7ff) + 1;
    table->bar = place & 7;
    table->offset = place & ~7u;
    if (table->bar >= PCI_BARS || bars[table->bar].is_port)
        return false;
    uint64_t size = bars[table->bar].size_bytes;
    return table->offset < size &&
           (uint64_t)table->entries * PCI_MSIX_ENTRY_BYTES <= size - table->offset;
}

/* PCI 3.0, 6.8.2.6 to 6.8.2.9. */
void pci_msix_entry(volatile uint32_t *table, unsigned n, uint64_t address, uint32_t data)
{
    volatile uint32_t *entry = table + n * (PCI_MSIX_ENTRY_BYTES / 4);
    pci_msix_mask(table, n);
    entry[0] = (uint32_t)address;
    entry[1] = (uint32_t)(address >> 32);
    entry[2] = data;
    entry[3] &= ~MSIX_MASKED;
}

void pci_msix_mask(volatile uint32_t *table, unsigned n)
{
    table[n * (PCI_MSIX_ENTRY_BYTES / 4) + 3] |= MSIX_MASKED;
}

void pci_msix_enable(const struct pci *pci, uint32_t location, unsigned capability, bool on)
{
    uint32_t head = pci->read(pci, location, capability) & ~(MSIX_ENABLE | MSIX_ALL_MASKED);
    pci->write(pci, location, capability, head | (on ? MSIX_ENABLE : 0));
    if (on)
        pci_command(pci, location, PCI_NO_LINE, 0);
}

void pci_interrupts_off(const struct pci *pci, uint32_t location)
{
    unsigned msi = pci_capability(pci, location, PCI_CAPABILITY_MSI, 0);
    unsigned msix = pci_capability(pci, location, PCI_CAPABILITY_MSIX, 0);
    if (msi)
        pci->write(pci, location, msi, pci->read(pci, location, msi) & ~MSI_ENABLE);
    if (msix)
        pci_msix_enable(pci, location, msix, false);
    pci_command(pci, location, PCI_NO_LINE, 0);
}

/* VIRTIO 1.2, 4.1.4: struct virtio_pci_cap. */
static void note_part(const struct pci *pci, uint32_t location, unsigned at,
                      const struct pci_bar *bars, struct pci_virtio_part *parts)
{
    enum { KIND_NOTIFY = 2, PART_BYTES = 16 };
    uint32_t head = pci->read(pci, location, at);
    unsigned length = head >> 16 & 0xff, kind = head >> 24;
    uint32_t bar = read_in(pci, location, at, 4) & 0xff;
    struct pci_virtio_part part = {bar, read_in(pci, location, at, 8),
                                   read_in(pci, location, at, 12), 0};
    if (length < PART_BYTES || kind == 0 || kind > PCI_VIRTIO_KINDS || bar >= PCI_BARS ||
        bars[bar].is_port || parts[kind - 1].size_bytes || part.size_bytes == 0 ||
        (uint64_t)part.offset + part.size_bytes > bars[bar].size_bytes)
        return;
    if (kind == KIND_NOTIFY && length >= PART_BYTES + 4)
        part.notify_multiplier = read_in(pci, location, at, PART_BYTES);
    parts[kind - 1] = part;
}

void pci_virtio_parts(const struct pci *pci, uint32_t location, const struct pci_bar bars[PCI_BARS],
                      struct pci_virtio_part parts[PCI_VIRTIO_KINDS])
{
    unsigned at = 0;
    for (unsigned i = 0; i < PCI_VIRTIO_KINDS; i++)
        parts[i] = (struct pci_virtio_part){0};
    for (unsigned i = 0; i < SPACE_BYTES / 4; i++) {
        at = pci_capability(pci, location, PCI_CAPABILITY_VENDOR, at);
        if (!at)
            return;
        note_part(pci, location, at, bars, parts);
    }
}
