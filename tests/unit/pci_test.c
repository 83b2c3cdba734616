/*
 * PCI configuration space: a machine of registers that answers as devices do, also as bad ones.
 * links: lib/pci.c
 */
#include "../../lib/pci.h"
#include "unit_test.h"

enum { FUNCTIONS = 12, SPACE = 256 };

/* A function: its registers, and which bits of them can be written. */
static struct fake {
    uint32_t location;
    uint8_t space[SPACE];
    uint32_t writable[SPACE / 4];
} fakes[FUNCTIONS];
static unsigned fake_count, reads, sized_while_decoding;

static struct fake *find(uint32_t location)
{
    for (unsigned i = 0; i < fake_count; i++)
        if (fakes[i].location == location)
            return &fakes[i];
    return NULL;
}

static uint32_t get(const struct fake *fake, unsigned offset)
{
    uint32_t value;
    memcpy(&value, fake->space + offset, 4);
    return value;
}

static void set(struct fake *fake, unsigned offset, uint32_t value)
{
    memcpy(fake->space + offset, &value, 4);
}

static uint32_t fake_read(const struct pci *pci, uint32_t location, unsigned offset)
{
    (void)pci;
    CHECK(offset < SPACE && offset % 4 == 0);
    CHECK(location < 0x10000);
    reads++;
    const struct fake *fake = find(location);
    return fake ? get(fake, offset) : UINT32_MAX;
}

static void fake_write(const struct pci *pci, uint32_t location, unsigned offset, uint32_t value)
{
    (void)pci;
    CHECK(offset < SPACE && offset % 4 == 0);
    struct fake *fake = find(location);
    CHECK(fake);
    if (offset >= 0x10 && offset < 0x28 && get(fake, 4) & 3)
        sized_while_decoding++;
    uint32_t mask = fake->writable[offset / 4];
    set(fake, offset, (get(fake, offset) & ~mask) | (value & mask));
}

static const struct pci fake_pci = {fake_read, fake_write};

static void begin(void)
{
    fake_count = reads = sized_while_decoding = 0;
}

static struct fake *add(uint32_t location, uint32_t id, uint32_t class_code)
{
    struct fake *fake = &fakes[fake_count++];
    memset(fake, 0, sizeof *fake);
    fake->location = location;
    set(fake, 0, id);
    set(fake, 4, 3);
    set(fake, 8, class_code << 8);
    fake->writable[1] = 0x0000ffff;
    return fake;
}

/* A machine of this function alone. */
static struct fake *begin_with(uint32_t id, uint32_t class_code)
{
    begin();
    return add(PCI_LOCATION(0, 3, 0), id, class_code);
}

static struct fake *add_bridge(uint32_t location, unsigned secondary)
{
    struct fake *fake = add(location, 0x12348086, 0x060400);
    set(fake, 0x0c, 1 << 16);
    set(fake, 0x18, secondary << 8);
    return fake;
}

static void add_bar(struct fake *fake, unsigned n, uint32_t value, uint32_t writable)
{
    set(fake, 0x10 + 4 * n, value);
    fake->writable[4 + n] = writable;
}

/* A capability's first word; the list begins with the last that was added. */
static void add_capability(struct fake *fake, unsigned at, uint32_t kind, unsigned next)
{
    set(fake, 4, get(fake, 4) | 1u << 20);
    set(fake, 0x34, at);
    set(fake, at, (get(fake, at) & 0xffff0000) | next << 8 | kind);
}

/* ---- which functions there are ------------------------------------------------------------------------ */

TEST(pci_scan_goes_behind_bridges, "functions on bus 0, of a device with several, and behind two "
                                   "bridges are found; bridges are not")
{
    struct pci_function found[FUNCTIONS];
    begin();
    add(PCI_LOCATION(0, 0, 0), 0x12378086, 0x060000);
    struct fake *many = add(PCI_LOCATION(0, 1, 0), 0x70008086, 0x060100);
    set(many, 0x0c, 0x80 << 16);
    add(PCI_LOCATION(0, 1, 3), 0x71138086, 0x068000);
    add_bridge(PCI_LOCATION(0, 2, 0), 1);
    add_bridge(PCI_LOCATION(1, 0, 0), 7);
    struct fake *last = add(PCI_LOCATION(7, 31, 0), 0x10421af4, 0x010000);
    set(last, 0x2c, 0x11001af4);
    set(last, 0x3c, 0x010b);
    EXPECT(pci_scan(&fake_pci, found, FUNCTIONS), 4);
    EXPECT(found[1].location, PCI_LOCATION(0, 1, 0));
    EXPECT(found[2].location, PCI_LOCATION(0, 1, 3));
    EXPECT(found[3].location, PCI_LOCATION(7, 31, 0));
    EXPECT(found[3].vendor, 0x1af4);
    EXPECT(found[3].device, 0x1042);
    EXPECT(found[3].subsystem_vendor, 0x1af4);
    EXPECT(found[3].subsystem, 0x1100);
    EXPECT(found[3].class_code, 0x010000);
    EXPECT(found[3].interrupt_line, 11);
    EXPECT(found[3].interrupt_pin, 1);
}

TEST(pci_scan_ends, "bridges that lead to their own bus, or to each other, are gone through once")
{
    struct pci_function found[2];
    begin();
    add_bridge(PCI_LOCATION(0, 1, 0), 0);
    add_bridge(PCI_LOCATION(0, 2, 0), 3);
    add_bridge(PCI_LOCATION(3, 0, 0), 0);
    add_bridge(PCI_LOCATION(3, 1, 0), 3);
    add(PCI_LOCATION(0, 3, 0), 0x100e8086, 0x020000);
    EXPECT(pci_scan(&fake_pci, found, 2), 1);
    EXPECT(found[0].device, 0x100e);
}

TEST(pci_scan_notes_no_more_than_asked,
     "more functions than there is room for are counted, not noted")
{
    struct pci_function found[2] = {{0}, {.vendor = 0x5555}};
    begin();
    for (unsigned i = 0; i < 5; i++)
        add(PCI_LOCATION(0, i, 0), 0x100e8086, 0x020000);
    EXPECT(pci_scan(&fake_pci, found, 1), 5);
    EXPECT(found[1].vendor, 0x5555);
}

/* ---- BARs --------------------------------------------------------------------------------------------- */

TEST(pci_bars_are_sized, "memory of 32 and 64 bits and ports are sized; registers end as they were")
{
    struct pci_bar bars[PCI_BARS];
    struct fake *fake = begin_with(0x10411af4, 0x020000);
    set(fake, 4, 0x0107);
    add_bar(fake, 0, 0xc041, 0xffe0);         /* 32 ports */
    add_bar(fake, 1, 0xfebd1000, 0xfffff000); /* 4 KiB */
    add_bar(fake, 2, 0, 0);                   /* none */
    add_bar(fake, 3, 0, 0xffffff00);          /* the firmware gave it no place */
    add_bar(fake, 4, 0xfe00000c, 0xffffc000); /* 16 KiB, 64 bits, prefetchable */
    add_bar(fake, 5, 0x7f, 0xffffffff);
    struct fake before = *fake;
    pci_bars(&fake_pci, fake->location, bars);
    CHECK(memcmp(&before, fake, sizeof before) == 0);
    EXPECT(sized_while_decoding, 0);
    CHECK(bars[0].is_port);
    EXPECT(bars[0].base, 0xc040);
    EXPECT(bars[0].size_bytes, 32);
    EXPECT(bars[1].base, 0xfebd1000);
    EXPECT(bars[1].size_bytes, 4096);
    EXPECT(bars[2].size_bytes, 0);
    EXPECT(bars[3].size_bytes, 0);
    EXPECT(bars[4].base, 0x7ffe000000);
    EXPECT(bars[4].size_bytes, 16384);
    EXPECT(bars[5].size_bytes, 0);
}

TEST(pci_bars_of_liars,
     "sizes with holes, stuck bits, half of a BAR of 64 bits: none, or no more than is true")
{
    struct pci_bar bars[PCI_BARS];
    struct fake *fake = begin_with(0x100e8086, 0x020000);
    add_bar(fake, 0, 0xe0000000, 0xffff0ff0);
    add_bar(fake, 1, 0xe0001000, 0xffffe000);
    add_bar(fake, 2, 0xc001, 0xc0);
    add_bar(fake, 3, 0xfffffff0, 0xfffffff0);
    add_bar(fake, 5, 0xe0000004, 0xffff0000); /* 64 bits in the last */
    pci_bars(&fake_pci, fake->location, bars);
    EXPECT(bars[0].size_bytes, 0);
    EXPECT(bars[1].size_bytes, 0x1000); /* a bit that is stuck at 1 counts as one that can be set */
    EXPECT(bars[2].size_bytes, 0);
    EXPECT(bars[3].size_bytes, 16);
    EXPECT(bars[5].size_bytes, 65536); /* read as one of 32 bits */
}

TEST(pci_bars_of_random_registers,
     "whatever the registers do, a BAR is within the address space and aligned")
{
    struct pci_bar bars[PCI_BARS];
    for (unsigned round = 0; round < 20000; round++) {
        struct fake *fake = begin_with(0x100e8086, 0x020000);
        for (unsigned n = 0; n < PCI_BARS; n++)
            add_bar(fake, n, (uint32_t)unit_random() << (unit_random() % 32),
                    UINT32_MAX << (unit_random() % 32));
        pci_bars(&fake_pci, fake->location, bars);
        for (unsigned n = 0; n < PCI_BARS; n++) {
            uint64_t size = bars[n].size_bytes;
            if (size == 0)
                continue;
            EXPECT(size & (size - 1), 0);
            EXPECT(bars[n].base % size, 0);
            CHECK(bars[n].base + (size - 1) >= bars[n].base);
            CHECK(!bars[n].is_port || bars[n].base + size <= 0x10000);
        }
    }
}

TEST(pci_command_leaves_the_rest, "bits are set and cleared, others and the status stay")
{
    struct fake *fake = begin_with(0x100e8086, 0x020000);
    set(fake, 4, 0x02900103);
    pci_command(&fake_pci, fake->location, PCI_MASTER, 0);
    EXPECT(get(fake, 4), 0x02900107);
    pci_command(&fake_pci, fake->location, PCI_NO_LINE, PCI_MASTER);
    EXPECT(get(fake, 4), 0x02900503);
}

/* ---- capabilities -------------------------------------------------------------------------------------- */

TEST(pci_capabilities_are_found, "each of a kind in turn, and none without the status bit")
{
    struct fake *fake = begin_with(0x10421af4, 0x010000);
    add_capability(fake, 0x98, PCI_CAPABILITY_MSIX, 0);
    add_capability(fake, 0x84, PCI_CAPABILITY_VENDOR, 0x98);
    add_capability(fake, 0x70, PCI_CAPABILITY_VENDOR, 0x84);
    EXPECT(pci_capability(&fake_pci, fake->location, PCI_CAPABILITY_MSIX, 0), 0x98);
    EXPECT(pci_capability(&fake_pci, fake->location, PCI_CAPABILITY_MSI, 0), 0);
    EXPECT(pci_capability(&fake_pci, fake->location, PCI_CAPABILITY_VENDOR, 0), 0x70);
    EXPECT(pci_capability(&fake_pci, fake->location, PCI_CAPABILITY_VENDOR, 0x70), 0x84);
    EXPECT(pci_capability(&fake_pci, fake->location, PCI_CAPABILITY_VENDOR, 0x84), 0);
    set(fake, 4, 3);
    EXPECT(pci_capability(&fake_pci, fake->location, PCI_CAPABILITY_MSIX, 0), 0);
}

TEST(pci_capability_lists_that_are_hostile,
     "loops, pointers into the header and odd pointers end, and soon")
{
    struct pci_bar bars[PCI_BARS] = {{.base = 0x1000, .size_bytes = 0x1000}};
    struct pci_virtio_part parts[PCI_VIRTIO_KINDS];
    for (unsigned round = 0; round < 5000; round++) {
        struct fake *fake = begin_with(0x10421af4, 0x010000);
        for (unsigned at = 0x40; at < SPACE; at++)
            fake->space[at] = unit_random() % 3 ? (uint8_t)unit_random() : PCI_CAPABILITY_VENDOR;
        set(fake, 0x34, (uint32_t)unit_random());
        set(fake, 4, 1u << 20 | 3);
        unsigned at = pci_capability(&fake_pci, fake->location, PCI_CAPABILITY_VENDOR, 0);
        CHECK(at == 0 || (at >= 0x40 && at < SPACE && at % 4 == 0));
        reads = 0;
        pci_virtio_parts(&fake_pci, fake->location, bars, parts);
        CHECK(reads < 6000);
        for (unsigned i = 0; i < PCI_VIRTIO_KINDS; i++)
            CHECK(parts[i].size_bytes == 0 ||
                  (parts[i].bar == 0 && (uint64_t)parts[i].offset + parts[i].size_bytes <= 0x1000));
        pci_interrupts_off(&fake_pci, fake->location);
    }
}

static void add_part(struct fake *fake, unsigned at, unsigned next, unsigned kind, uint32_t bar,
                     uint32_t offset, uint32_t size)
{
    set(fake, at, kind << 24 | (kind == 2 ? 20u : 16u) << 16);
    set(fake, at + 4, bar);
    set(fake, at + 8, offset);
    set(fake, at + 12, size);
    add_capability(fake, at, PCI_CAPABILITY_VENDOR, next);
}

TEST(pci_virtio_parts_are_checked, "the first of each kind that lies within its BAR is taken")
{
    struct pci_bar bars[PCI_BARS] = {
        {.base = 0xc000, .size_bytes = 0x4000, .is_port = true},
        [4] = {.base = 0xfe000000, .size_bytes = 0x4000},
    };
    struct pci_virtio_part parts[PCI_VIRTIO_KINDS];
    struct fake *fake = begin_with(0x10421af4, 0x010000);
    add_part(fake, 0x40, 0, 1, 4, 0x1000, 0x1000); /* a second common structure */
    add_part(fake, 0x50, 0x40, 2, 4, 0x3000, 0x1000);
    set(fake, 0x60, 4);
    add_part(fake, 0x64, 0x50, 1, 4, 0, 0x1000);
    add_part(fake, 0x74, 0x64, 1, 4, 0x3001, 0x1000); /* beyond the BAR's end */
    add_part(fake, 0x84, 0x74, 4, 4, UINT32_MAX, 2);  /* so far beyond that it wraps */
    add_part(fake, 0x94, 0x84, 3, 0, 0, 4);           /* in ports */
    add_part(fake, 0xa4, 0x94, 3, 9, 0, 4);           /* no such BAR */
    add_part(fake, 0xb4, 0xa4, 200, 4, 0, 4);         /* no such kind */
    pci_virtio_parts(&fake_pci, fake->location, bars, parts);
    EXPECT(parts[0].bar, 4);
    EXPECT(parts[0].offset, 0);
    EXPECT(parts[0].size_bytes, 0x1000);
    EXPECT(parts[1].offset, 0x3000);
    EXPECT(parts[1].notify_multiplier, 4);
    EXPECT(parts[2].size_bytes, 0);
    EXPECT(parts[3].size_bytes, 0);
}

/* ---- interrupts ----------------------------------------------------------------------------------------- */

TEST(pci_msi_is_set, "with addresses of 32 and of 64 bits: one message, and the line off")
{
    for (unsigned wide = 0; wide < 2; wide++) {
        struct fake *fake = begin_with(0x29228086, 0x010601);
        for (unsigned i = 0x80 / 4; i < 0x98 / 4; i++)
            fake->writable[i] = i == 0x80 / 4 ? 0x710000 : UINT32_MAX;
        set(fake, 0x80, (wide ? 0x80u : 0) << 16 | 0x300000);
        add_capability(fake, 0x80, PCI_CAPABILITY_MSI, 0);
        pci_msi_set(&fake_pci, fake->location, 0x80, 0x1fee00000, 0x41);
        EXPECT(get(fake, 0x84), 0xfee00000);
        EXPECT(get(fake, 0x88), wide ? 1 : 0x41);
        EXPECT(get(fake, 0x8c), wide ? 0x41 : 0);
        EXPECT(get(fake, 0x80) >> 16 & 0x71, 1);
        EXPECT(get(fake, 4) & PCI_NO_LINE, PCI_NO_LINE);
        pci_interrupts_off(&fake_pci, fake->location);
        EXPECT(get(fake, 0x80) >> 16 & 1, 0);
    }
}

TEST(pci_msi_at_the_end, "a capability that would reach beyond configuration space is not written")
{
    struct fake *fake = begin_with(0x29228086, 0x010601);
    set(fake, 0xfc, 0x80 << 16);
    add_capability(fake, 0xfc, PCI_CAPABILITY_MSI, 0);
    pci_msi_set(&fake_pci, fake->location, 0xfc, 0xfee00000, 0x41);
    EXPECT(get(fake, 0xfc) >> 16, 0x80);
}

TEST(pci_msix_tables_are_checked,
     "a table within its BAR is found, its entries written; others are refused")
{
    static const struct {
        uint32_t place, entries;
        bool good;
    } cases[] = {
        {0x0001, 3, true},         {0x0801, 128, true}, {0x0801, 129, false}, {0x1001, 1, false},
        {0xfffffff9, 2048, false}, {0x0000, 1, false},  {0x0007, 1, false},   {0x0002, 1, false},
    };
    struct pci_bar bars[PCI_BARS] = {
        {.base = 0xc000, .size_bytes = 0x4000, .is_port = true},
        {.base = 0xfebd1000, .size_bytes = 4096},
    };
    struct pci_msix table;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fake *fake = begin_with(0x10421af4, 0x010000);
        fake->writable[0x98 / 4] = 0xc0000000;
        set(fake, 0x98, (cases[i].entries - 1) << 16);
        set(fake, 0x9c, cases[i].place);
        add_capability(fake, 0x98, PCI_CAPABILITY_MSIX, 0);
        EXPECT(pci_msix_table(&fake_pci, fake->location, 0x98, bars, &table), cases[i].good);
        pci_msix_enable(&fake_pci, fake->location, 0x98, true);
        EXPECT(get(fake, 0x98) >> 30, 2);
        pci_msix_enable(&fake_pci, fake->location, 0x98, false);
        EXPECT(get(fake, 0x98) >> 30, 0);
    }
}

TEST(pci_msix_entries_are_written, "an entry has its message and is unmasked; its neighbours stay")
{
    uint32_t table[12];
    for (unsigned i = 0; i < 12; i++)
        table[i] = 0xffffffff;
    pci_msix_entry(table, 1, 0x2fee01000, 0x52);
    EXPECT(table[3], 0xffffffff);
    EXPECT(table[4], 0xfee01000);
    EXPECT(table[5], 2);
    EXPECT(table[6], 0x52);
    EXPECT(table[7], 0xfffffffe);
    EXPECT(table[8], 0xffffffff);
    pci_msix_mask(table, 1);
    EXPECT(table[7], 0xffffffff);
}
