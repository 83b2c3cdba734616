/*
 * A guest's PCI bus: configuration, ranges, expansion ROMs, INTx, MSI-X.
 * links: vmm-server/devices/pci.c vmm-server/devices/msix.c vmm-server/pc/rom.c vmm-server/bus.c vmm-server/guest_memory.c
 */
#include "pci_machine.h"

#include "devices/msix.h"
#include "pc/rom.h"

#define SLOT 5u

static struct pci_function card, other;
static uint64_t card_offset, card_value;
static unsigned moves;
static uint64_t moved_to;
static bool moved_on;

static bool card_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)size_bytes;
    card_offset = offset;
    *value = (uintptr_t)device;
    return true;
}

static bool card_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    (void)device, (void)size_bytes;
    card_offset = offset, card_value = value;
    return true;
}

static const struct bus_operations card_operations = {.read = card_read, .write = card_write};

static void card_moved(struct pci_function *function, unsigned bar, uint64_t address, bool mapped)
{
    (void)function, (void)bar;
    moves++, moved_to = address, moved_on = mapped;
}

static const struct pci_identity identity = {0x1234, 0x5678, 0x1af4, 0x1100, 0x020000, 7, 1, false};

static void add_bar(struct pci_function *function, unsigned number, enum pci_bar_kind kind,
                    uint64_t size_bytes, uintptr_t device)
{
    pci_function_add_bar(function, number,
                         &(struct pci_bar){.kind = kind,
                                           .size_bytes = size_bytes,
                                           .operations = &card_operations,
                                           .device = (void *)device,
                                           .name = "card",
                                           .moved = card_moved});
}

/* BAR 0: 32 ports; 1: 4 KiB; 2: 64 KiB of 64 bits; ROM: 2 KiB. */
static void begin(void)
{
    machine_begin();
    card = other = (struct pci_function){0};
    moves = 0;
    pci_function_init(&card, &identity, &card);
    add_bar(&card, 0, PCI_BAR_PORTS, 32, 1);
    add_bar(&card, 1, PCI_BAR_MEMORY, 0x1000, 2);
    add_bar(&card, 2, PCI_BAR_MEMORY_64, 0x10000, 3);
    add_bar(&card, PCI_ROM, PCI_BAR_MEMORY, 0x800, 4);
    CHECK(pci_bus_add(&machine_pci, &card, SLOT, 0));
}

/* Who answers at an address; 0: nobody. */
static uint64_t at(struct bus *bus, uint64_t address)
{
    uint64_t value = 0;
    return bus_read(bus, address, 4, &value) ? value : 0;
}

TEST(pci_bus_configuration, "the head of a function is read by bytes, words and doublewords")
{
    begin();
    EXPECT(config_read(SLOT, 0, 0, 4), 0x56781234);
    EXPECT(config_read(SLOT, 0, 2, 2), 0x5678);
    EXPECT(config_read(SLOT, 0, 3, 1), 0x56);
    EXPECT(config_read(SLOT, 0, 8, 4), 0x02000007);
    EXPECT(config_read(SLOT, 0, 0x2c, 4), 0x11001af4);
    EXPECT(config_read(SLOT, 0, 0x3d, 1), 1);
    EXPECT(config_read(SLOT, 1, 0, 4), 0xffffffff);
    EXPECT(config_read(SLOT + 1, 0, 0, 2), 0xffff);
    config_write(SLOT, 0, 0, 4, 0);
    EXPECT(config_read(SLOT, 0, 0, 4), 0x56781234);
    config_write(SLOT, 0, 0x3c, 1, 11);
    EXPECT(config_read(SLOT, 0, 0x3c, 2), 0x10b);
}

TEST(pci_bus_address,
     "without the enable bit, and on other buses, there is nobody; the address reads back")
{
    uint64_t value;
    begin();
    CHECK(bus_write(&machine_ports, 0xcf8, 4, 0xffffffff));
    CHECK(bus_read(&machine_ports, 0xcf8, 4, &value));
    EXPECT(value, 0x80fffffc);
    CHECK(bus_write(&machine_ports, 0xcf8, 4, SLOT << 11));
    CHECK(bus_read(&machine_ports, 0xcfc, 4, &value));
    EXPECT((uint32_t)value, 0xffffffff);
    CHECK(bus_write(&machine_ports, 0xcf8, 4, 0x80010000 | SLOT << 11));
    CHECK(bus_read(&machine_ports, 0xcfc, 4, &value));
    EXPECT((uint32_t)value, 0xffffffff);
}

TEST(pci_bus_behind, "what is none of configuration goes to the device that had the ports before")
{
    uint64_t value;
    machine_begin();
    machine_ports = (struct bus){0};
    CHECK(bus_add(&machine_ports,
                  &(struct bus_range){0xcf8, 8, &card_operations, (void *)99, "reset"}));
    CHECK(pci_bus_attach(&machine_pci, &machine_ports));
    CHECK(bus_write(&machine_ports, 0xcf9, 1, 6));
    EXPECT(card_offset, 1);
    EXPECT(card_value, 6);
    CHECK(bus_read(&machine_ports, 0xcf9, 1, &value));
    EXPECT(value, 99);
    CHECK(bus_write(&machine_ports, 0xcf8, 4, 0x80000000));
    EXPECT(card_value, 6);
}

TEST(pci_bus_sizing, "a BAR written with ones tells its size and kind")
{
    begin();
    for (unsigned offset = 0x10; offset <= 0x30; offset += 4)
        config_write(SLOT, 0, offset, 4, 0xffffffff);
    EXPECT(config_read(SLOT, 0, 0x10, 4), 0xffffffe1);
    EXPECT(config_read(SLOT, 0, 0x14, 4), 0xfffff000);
    EXPECT(config_read(SLOT, 0, 0x18, 4), 0xffff0004);
    EXPECT(config_read(SLOT, 0, 0x1c, 4), 0xffffffff);
    EXPECT(config_read(SLOT, 0, 0x20, 4), 0);
    EXPECT(config_read(SLOT, 0, 0x30, 4), 0xfffff801);
    EXPECT(machine_addresses.count, 0);
    config_write(SLOT, 0, 4, 2,
                 7); /* decoding on, and still nothing is there: the ends of the space */
    EXPECT(at(&machine_addresses, 0xfffff000), 0);
    EXPECT(at(&machine_ports, 0xffe0), 0);
}

TEST(pci_bus_ranges,
     "ranges are where the guest puts them while decoding is on, and follow when it moves them")
{
    begin();
    config_write(SLOT, 0, 0x10, 4, 0xc000);
    config_write(SLOT, 0, 0x14, 4, 0xe0000000);
    config_write(SLOT, 0, 0x18, 4, 0x10000);
    config_write(SLOT, 0, 0x1c, 4, 0x8);
    config_write(SLOT, 0, 0x30, 4, 0xe1000001);
    EXPECT(at(&machine_addresses, 0xe0000000), 0);
    config_write(SLOT, 0, 4, 2, 2);
    EXPECT(at(&machine_ports, 0xc000), 0);
    EXPECT(at(&machine_addresses, 0xe0000ffc), 2);
    EXPECT(card_offset, 0xffc);
    EXPECT(at(&machine_addresses, 0x800010000), 3);
    EXPECT(at(&machine_addresses, 0xe1000000), 4);
    config_write(SLOT, 0, 4, 1, 3);
    EXPECT(at(&machine_ports, 0xc01c), 1);
    config_write(SLOT, 0, 0x16, 2, 0xe100); /* half a register: onto the ROM, which stays */
    EXPECT(at(&machine_addresses, 0xe0000000), 0);
    EXPECT(at(&machine_addresses, 0xe1000000), 4);
    config_write(SLOT, 0, 0x30, 4, 0xe1000000);
    EXPECT(at(&machine_addresses, 0xe1000000), 2);
    moves = 0;
    config_write(SLOT, 0, 4, 2, 0);
    EXPECT(moves, 3);
    EXPECT(moved_on, false);
    EXPECT(machine_addresses.count, 0);
}

TEST(pci_rom_reads_as_its_file,
     "an expansion ROM has a power of two's bytes: the file's, then ones; it can't be written")
{
    static struct pci_function function;
    const uint64_t size_bytes = 3003;
    uint8_t *bytes =
        malloc(size_bytes); /* of its own size, so that the sanitizer sees a byte read too far */
    const struct vmm_file file = {(uint64_t)bytes, size_bytes};
    struct pci_bar bar = pc_rom_bar(&file, "ROM");
    machine_begin();
    for (unsigned i = 0; i < size_bytes; i++)
        bytes[i] = (uint8_t)i;
    function = (struct pci_function){0};
    pci_function_init(&function, &identity, NULL);
    pci_function_add_bar(&function, PCI_ROM, &bar);
    CHECK(pci_bus_add(&machine_pci, &function, SLOT, 0));
    config_write(SLOT, 0, 0x30, 4, 0xffffffff);
    EXPECT(config_read(SLOT, 0, 0x30, 4), 0xfffff001);
    config_write(SLOT, 0, 0x30, 4, 0xe1000001);
    config_write(SLOT, 0, 4, 2, 2);
    EXPECT(at(&machine_addresses, 0xe1000000), 0x03020100);
    EXPECT(at(&machine_addresses, 0xe1000000 + 3000), 0xffbab9b8);
    EXPECT(at(&machine_addresses, 0xe1000ffc), 0xffffffff);
    CHECK(bus_write(&machine_addresses, 0xe1000000, 4, 0));
    EXPECT(at(&machine_addresses, 0xe1000000), 0x03020100);
    free(bytes);
    CHECK(pc_rom_bar(&(struct vmm_file){1, 1}, "ROM").size_bytes == 2048);
    CHECK(pc_rom_bar(&(struct vmm_file){1, 2049}, "ROM").size_bytes == 4096);
}

TEST(pci_bus_overlaps, "of two ranges at one place the first stays, and the second comes when that "
                       "goes; RAM stays RAM")
{
    begin();
    pci_function_init(&other, &identity, &other);
    add_bar(&other, 1, PCI_BAR_MEMORY, 0x1000, 7);
    CHECK(pci_bus_add(&machine_pci, &other, SLOT, 1));
    CHECK(!pci_bus_add(&machine_pci, &other, SLOT, 1));
    config_write(SLOT, 0, 0x14, 4, 0xe0000000);
    config_write(SLOT, 0, 4, 2, 2);
    config_write(SLOT, 1, 0x14, 4, 0xe0000000);
    config_write(SLOT, 1, 4, 2, 2);
    EXPECT(at(&machine_addresses, 0xe0000000), 2);
    config_write(SLOT, 0, 0x14, 4, 0xe0001000);
    EXPECT(at(&machine_addresses, 0xe0000000), 7);
    EXPECT(at(&machine_addresses, 0xe0001000), 2);
    config_write(SLOT, 0, 0x14, 4, 0x1ff000);
    EXPECT(at(&machine_addresses, 0x1ff000), 0);
    EXPECT(at(&machine_addresses, 0xe0001000), 0);
    config_write(SLOT, 0, 0x14, 4, 0x200000);
    EXPECT(at(&machine_addresses, 0x200000), 2);
}

TEST(pci_bus_intx, "INTx respects Interrupt Disable, and Interrupt Status tells of it")
{
    struct interrupt_line *line;
    begin();
    line = pci_function_line(&card);
    line->set(line, true);
    line->set(line, true);
    EXPECT(intx[0], 1);
    EXPECT(config_read(SLOT, 0, 6, 2) & 8, 8);
    config_write(SLOT, 0, 4, 2, 0x400);
    EXPECT(intx[0], 0);
    EXPECT(config_read(SLOT, 0, 6, 2) & 8, 8);
    config_write(SLOT, 0, 4, 2, 0);
    EXPECT(intx[0], 1);
    line->set(line, false);
    EXPECT(intx[0], 0);
    EXPECT(config_read(SLOT, 0, 6, 2) & 8, 0);
}

TEST(pci_bus_status, "an error bit is cleared by a 1 and kept by a 0")
{
    begin();
    pci_function_put(&card, PCI_STATUS, 2, 0xf900);
    config_write(SLOT, 0, 6, 2, 0x2000);
    EXPECT(config_read(SLOT, 0, 6, 2), 0xd900);
    config_write(SLOT, 0, 4, 4, 0xffff0000);
    EXPECT(config_read(SLOT, 0, 6, 2), 0);
}

TEST(pci_bus_capabilities, "capabilities are a list, and end where there is no room")
{
    unsigned first, second, count = 0;
    begin();
    EXPECT(config_read(SLOT, 0, 0x34, 1), 0);
    first = pci_function_add_capability(&card, 9, 13);
    second = pci_function_add_capability(&card, 5, 10);
    EXPECT(first, 0x40);
    EXPECT(second, 0x50);
    EXPECT(config_read(SLOT, 0, 0x34, 1), second);
    EXPECT(config_read(SLOT, 0, second, 2), first << 8 | 5);
    EXPECT(config_read(SLOT, 0, first, 2), 9);
    EXPECT(config_read(SLOT, 0, 6, 2) & 0x10, 0x10);
    while (pci_function_add_capability(&card, 9, 16))
        count++;
    EXPECT(count, (0x100 - 0x5c) / 16);
    CHECK(pci_function_add_capability(&card, 9, 4) != 0);
    EXPECT(pci_function_add_capability(&card, 9, 4), 0);
}

TEST(pci_bus_hostile, "random configuration accesses keep ranges apart and the head as it is")
{
    begin();
    pci_function_init(&other, &identity, &other);
    add_bar(&other, 0, PCI_BAR_MEMORY, 0x100000, 8);
    add_bar(&other, 5, PCI_BAR_PORTS, 4, 9);
    CHECK(pci_bus_add(&machine_pci, &other, SLOT, 7));
    for (unsigned i = 0; i < 20000; i++) {
        unsigned offset = unit_random() % 260, size = 1u << unit_random() % 3;
        uint32_t value = (uint32_t)(unit_random() % 3 ? unit_random() : 0xe0000007);
        uint64_t read;
        bus_write(&machine_ports, 0xcf8, 4,
                  0x80000000u | SLOT << 11 | (unit_random() % 2 ? 7u << 8 : 0) | (offset & 0xfc));
        bus_write(&machine_ports, 0xcfc + offset % 4, size, value);
        bus_read(&machine_ports, 0xcf8 + offset % 8, size, &read);
        for (unsigned n = 1; n < machine_addresses.count; n++)
            CHECK(machine_addresses.ranges[n].base - machine_addresses.ranges[n - 1].base >=
                  machine_addresses.ranges[n - 1].size);
    }
    EXPECT(config_read(SLOT, 0, 0, 4), 0x56781234);
    EXPECT(config_read(SLOT, 7, 0x2c, 4), 0x11001af4);
    pci_bus_reset(&machine_pci);
    EXPECT(machine_addresses.count, 0);
    EXPECT(config_read(SLOT, 0, 4, 2), 0);
    EXPECT(config_read(SLOT, 0, 0x10, 4), 1);
}

/* ---- MSI-X ----------------------------------------------------------------------------------------- */

static struct msix msix;
static unsigned place;

static void begin_msix(unsigned vectors)
{
    begin();
    CHECK(msix_init(&msix, &card, vectors, 1, 0, 0x800));
    place = config_read(SLOT, 0, 0x34, 1);
}

static void set_entry(unsigned vector, uint64_t address, uint32_t data, uint32_t control)
{
    CHECK(msix_table_write(&msix, vector * 16, 8, address));
    CHECK(msix_table_write(&msix, vector * 16 + 8, 4, data));
    CHECK(msix_table_write(&msix, vector * 16 + 12, 4, control));
}

static uint64_t waiting(void)
{
    uint64_t value = 0;
    CHECK(msix_pending_read(&msix, 0, 8, &value));
    return value;
}

TEST(msix_capability, "the capability tells how many vectors there are, and where")
{
    begin_msix(3);
    EXPECT(config_read(SLOT, 0, place, 1), 0x11);
    EXPECT(config_read(SLOT, 0, place + 2, 2), 2);
    EXPECT(config_read(SLOT, 0, place + 4, 4), 1);
    EXPECT(config_read(SLOT, 0, place + 8, 4), 0x801);
    config_write(SLOT, 0, place + 2, 2, 0xffff);
    EXPECT(config_read(SLOT, 0, place + 2, 2), 0xc002);
    CHECK(!msix_init(&msix, &card, MSIX_VECTORS_MAX + 1, 1, 0, 0x800));
}

TEST(msix_sends,
     "a message goes out as the entry says, if nothing masks it; else it is pending until then")
{
    begin_msix(3);
    set_entry(1, 0xfee01003, 0x4041, 0);
    CHECK(!msix_send(&msix, 1)); /* not enabled: nothing, and nothing is kept */
    EXPECT(waiting(), 0);
    config_write(SLOT, 0, 4, 2, 4);
    config_write(SLOT, 0, place + 2, 2, 0x8000);
    msix_send(&msix, 1);
    EXPECT(message_count, 1);
    EXPECT(messages[0].address, 0xfee01000);
    EXPECT(messages[0].data, 0x4041);
    msix_send(&msix, 0); /* an entry begins masked */
    msix_send(&msix, 3);
    msix_send(&msix, UINT32_MAX);
    EXPECT(waiting(), 1);
    EXPECT(message_count, 1);
    set_entry(0, 0xfee02000, 0x33, 0);
    EXPECT(message_count, 2);
    EXPECT(messages[1].data, 0x33);
    EXPECT(waiting(), 0);
}

TEST(msix_masks, "the function's mask, and a function that is no master, hold messages back")
{
    begin_msix(2);
    set_entry(0, 0xfee00000, 0x31, 0);
    config_write(SLOT, 0, place + 2, 2, 0xc000);
    msix_send(&msix, 0);
    EXPECT(waiting(), 1);
    config_write(SLOT, 0, place + 2, 2, 0x8000);
    msix_written(&msix);
    EXPECT(message_count, 0);
    config_write(SLOT, 0, 4, 2, 4);
    msix_written(&msix);
    EXPECT(message_count, 1);
    EXPECT(waiting(), 0);
    msix_reset(&msix);
    CHECK(!msix_send(&msix, 0));
}

TEST(msix_undefined, "bytes, words, odd places and what is beyond the table are refused")
{
    uint64_t value;
    begin_msix(2);
    CHECK(!msix_table_write(&msix, 0, 1, 1) && !msix_table_write(&msix, 0, 2, 1));
    CHECK(!msix_table_write(&msix, 32, 4, 1) && !msix_table_write(&msix, 4, 8, 1));
    CHECK(!msix_table_read(&msix, 28, 8, &value) && !msix_table_read(&msix, 2, 4, &value));
    CHECK(!msix_pending_read(&msix, 8, 4, &value) && !msix_pending_read(&msix, 1, 1, &value));
    CHECK(msix_table_read(&msix, 28, 4, &value));
    EXPECT(value, 1);
    CHECK(msix_table_write(&msix, 28, 4, 0xfffffffe));
    CHECK(msix_table_read(&msix, 28, 4, &value));
    EXPECT(value, 0);
}
