/*
 * The bridges of a `pc`: shadow memory of the 440FX, interrupt routes and power management of the PIIX.
 * links: vmm-server/devices/i440fx.c vmm-server/devices/piix3.c vmm-server/devices/pci.c vmm-server/bus.c
 *        vmm-server/guest_memory.c lib/print.c
 */
#include "pci_machine.h"

#include "devices/i440fx.h"
#include "devices/piix3.h"

#define ROM_BYTES 0x20000u
#define ROM_BASE  0xe0000u

static struct i440fx host_bridge;
static struct piix3 piix3;
static uint8_t rom[ROM_BYTES] __attribute__((aligned(4096)));
static struct interrupt_line lines[PIIX3_ISA_LINES];
static bool high[PIIX3_ISA_LINES];
static unsigned power_moves;
static uint16_t power_port;
static bool power_on;

static void set_isa(struct interrupt_line *line, bool to)
{
    high[line - lines] = to;
}

static void power_moved(struct piix3 *device, uint16_t port, bool on)
{
    (void)device;
    power_moves++, power_port = port, power_on = on;
}

static void begin(void)
{
    machine_begin();
    host_bridge = (struct i440fx){0};
    piix3 = (struct piix3){.power_moved = power_moved};
    memset(high, 0, sizeof high);
    power_moves = 0;
    for (unsigned i = 0; i < PIIX3_ISA_LINES; i++) {
        lines[i].set = set_isa;
        piix3.lines[i] = &lines[i];
    }
    memset(rom, 0xaa, sizeof rom);
    CHECK(i440fx_init(&host_bridge, &machine_pci) && piix3_init(&piix3, &machine_pci));
    CHECK(i440fx_set_rom(&host_bridge, ROM_BASE, ROM_BYTES, rom));
}

static void *seen(gpa_t gpa, bool write)
{
    return guest_memory_at(&machine_memory, gpa, 16, write);
}

/* ---- 440FX ------------------------------------------------------------------------------------------ */

TEST(i440fx_identity, "the host bridge is the one that firmware for virtual machines looks for")
{
    begin();
    EXPECT(config_read(0, 0, 0, 4), 0x12378086);
    EXPECT(config_read(0, 0, 8, 4), 0x06000002);
    EXPECT(config_read(0, 0, 0x2c, 4), 0x11001af4);
    EXPECT(config_read(0, 0, 0x72, 1), 2);
}

TEST(i440fx_reset_state,
     "after reset there is ROM below 1 MiB, nothing where it does not reach, and no picture memory")
{
    begin();
    EXPECT(seen(0x9fff0, true), machine_ram + 0x9fff0);
    EXPECT(seen(0xa0000, false), NULL);
    EXPECT(seen(0xbfff0, false), NULL);
    EXPECT(seen(0xc0000, false), NULL);
    EXPECT(seen(0xe0000, false), rom);
    EXPECT(seen(0xe0000, true), NULL);
    EXPECT(seen(0xffff0, false), rom + 0x1fff0);
    EXPECT(seen(0x100000, true), machine_ram + 0x100000);
}

TEST(i440fx_segments, "each half of a register governs its segment and no other")
{
    static const struct {
        unsigned offset, shift;
        gpa_t base;
        uint64_t size_bytes;
    } segments[] = {
        {0x59, 4, 0xf0000, 0x10000}, {0x5a, 0, 0xc0000, 0x4000}, {0x5a, 4, 0xc4000, 0x4000},
        {0x5b, 0, 0xc8000, 0x4000},  {0x5b, 4, 0xcc000, 0x4000}, {0x5c, 0, 0xd0000, 0x4000},
        {0x5c, 4, 0xd4000, 0x4000},  {0x5d, 0, 0xd8000, 0x4000}, {0x5d, 4, 0xdc000, 0x4000},
        {0x5e, 0, 0xe0000, 0x4000},  {0x5e, 4, 0xe4000, 0x4000}, {0x5f, 0, 0xe8000, 0x4000},
        {0x5f, 4, 0xec000, 0x4000},
    };
    for (unsigned i = 0; i < sizeof segments / sizeof *segments; i++) {
        gpa_t base = segments[i].base, last = base + segments[i].size_bytes - 16;
        begin();
        config_write(0, 0, segments[i].offset, 1, 3u << segments[i].shift);
        EXPECT(seen(base, true), machine_ram + base);
        EXPECT(seen(last, true), machine_ram + last);
        if (last + 16 < 0x100000)
            EXPECT(seen(last + 16, true), NULL);
        config_write(0, 0, segments[i].offset, 1, 1u << segments[i].shift);
        EXPECT(seen(base, false), machine_ram + base);
        EXPECT(seen(base, true), NULL);
        config_write(0, 0, segments[i].offset, 1, 0);
        EXPECT(seen(base, false), base < ROM_BASE ? NULL : rom + (base - ROM_BASE));
    }
}

TEST(i440fx_split,
     "where ROM is read and RAM is written, writes arrive in the RAM that is read later")
{
    begin();
    config_write(0, 0, 0x59, 1, 0x20);
    EXPECT(seen(0xf0000, false), rom + 0x10000);
    EXPECT(seen(0xf0000, true), NULL);
    CHECK(bus_write(&machine_addresses, 0xf1234, 4, 0x12345678));
    CHECK(bus_write(&machine_addresses, 0xfffff, 1, 0x55));
    EXPECT(rom[0x11234], 0xaa);
    config_write(0, 0, 0x59, 1, 0x30);
    EXPECT(*(uint32_t *)seen(0xf1234, true), 0x12345678);
    EXPECT(machine_ram[0xfffff], 0x55);
    CHECK(!bus_write(&machine_addresses, 0xf1234, 4, 0));
}

TEST(i440fx_nobody, "where neither RAM nor ROM answers, ones are read, and what is written is lost")
{
    uint64_t value = 0;
    begin();
    memset(machine_ram + 0xc0000, 0x77, 0x40000);
    CHECK(bus_read(&machine_addresses, 0xc0000, 2, &value));
    EXPECT((uint16_t)value, 0xffff);
    CHECK(bus_read(&machine_addresses, 0xdfff8, 8, &value));
    EXPECT(value, UINT64_MAX);
    CHECK(bus_write(&machine_addresses, 0xc0000, 4, 0));
    CHECK(bus_write(&machine_addresses, 0xf0000, 4, 0)); /* ROM */
    config_write(0, 0, 0x5a, 1, 0x01);
    CHECK(bus_write(&machine_addresses, 0xc0000, 4, 0)); /* protected RAM */
    EXPECT(machine_ram[0xc0000], 0x77);
    EXPECT(machine_ram[0xf0000], 0x77);
    EXPECT(rom[0x10000], 0xaa);
    i440fx_open(&host_bridge);
    CHECK(!bus_read(&machine_addresses, 0xc0000, 2, &value));
    EXPECT(machine_addresses.count, 0);
}

TEST(i440fx_copies, "firmware that copies itself goes on in RAM, and may protect it")
{
    begin();
    for (unsigned i = 0x59; i < 0x60; i++)
        config_write(0, 0, i, 1, 0xff);
    EXPECT(config_read(0, 0, 0x59, 1), 0x30);
    EXPECT(config_read(0, 0, 0x5f, 1), 0x33);
    EXPECT(guest_memory_at(&machine_memory, 0xc0000, 0x100000, true), machine_ram + 0xc0000);
    unsigned before = maps;
    config_write(0, 0, 0x59, 1, 0x30);
    EXPECT(maps, before); /* nothing changes, nothing is done */
    config_write(0, 0, 0x59, 1, 0x10);
    EXPECT(maps, before + 1);
    EXPECT(seen(0xf0000, true), NULL);
    pci_bus_reset(&machine_pci);
    EXPECT(seen(0xf0000, false), rom + 0x10000);
    i440fx_open(&host_bridge);
    EXPECT(guest_memory_at(&machine_memory, 0xc0000, 0x140000, true), machine_ram + 0xc0000);
}

/* ---- PIIX ------------------------------------------------------------------------------------------- */

TEST(piix3_identity, "the ISA bridge is one of several functions; power management is the fourth")
{
    begin();
    EXPECT(config_read(1, 0, 0, 4), 0x70008086);
    EXPECT(config_read(1, 0, 8, 4), 0x06010000);
    EXPECT(config_read(1, 0, 0xe, 1), 0x80);
    EXPECT(config_read(1, 3, 0, 4), 0x71138086);
    EXPECT(config_read(1, 3, 8, 4), 0x06800003);
    EXPECT(config_read(1, 0, 0x60, 4), 0x80808080);
    EXPECT(config_read(1, 3, 0x58, 4), 0x02000000); /* no firmware tries system management mode */
}

TEST(piix3_routes,
     "a slot's pin reaches the line of its PIRQ, and follows when that is routed elsewhere")
{
    begin();
    machine_pci.route(&machine_pci, 3, 0, true); /* PIRQ C */
    config_write(1, 0, 0x62, 1, 11);
    CHECK(high[11]);
    config_write(1, 0, 0x62, 1, 10);
    CHECK(!high[11] && high[10]);
    machine_pci.route(&machine_pci, 2, 1, true); /* the same PIRQ */
    machine_pci.route(&machine_pci, 3, 0, false);
    CHECK(high[10]);
    machine_pci.route(&machine_pci, 2, 1, false);
    CHECK(!high[10]);
    EXPECT(piix3_pirq_of(1, 0), 0);
    EXPECT(piix3_pirq_of(4, 3), 2);
}

TEST(piix3_shared, "two PIRQs on one line: it is high as long as one of them is")
{
    begin();
    config_write(1, 0, 0x60, 4, 0x0b0b0b0b);
    machine_pci.route(&machine_pci, 1, 0, true);
    machine_pci.route(&machine_pci, 1, 1, true);
    machine_pci.route(&machine_pci, 1, 0, false);
    CHECK(high[11]);
    config_write(1, 0, 0x61, 1, 0x80);
    CHECK(!high[11]);
}

TEST(piix3_no_line, "lines that a PIRQ may not have stay as they are")
{
    static const uint8_t never[] = {0, 1, 2, 8, 13};
    for (unsigned i = 0; i < sizeof never; i++) {
        begin();
        config_write(1, 0, 0x60, 1, never[i]);
        machine_pci.route(&machine_pci, 1, 0, true);
        CHECK(!high[never[i]]);
        EXPECT(piix3_line_of(&piix3, 0), PIIX3_ISA_LINES);
    }
}

TEST(piix3_power, "the power registers are where the guest puts them while they are enabled")
{
    begin();
    EXPECT(config_read(1, 3, 0x40, 4), 1);
    config_write(1, 3, 0x40, 4, 0xb001);
    EXPECT(power_moves, 0);
    config_write(1, 3, 0x80, 1, 1);
    EXPECT(power_moves, 1);
    EXPECT(power_port, 0xb000);
    CHECK(power_on);
    config_write(1, 3, 0x40, 4, 0xffffffff);
    EXPECT(config_read(1, 3, 0x40, 4), 0xffc1);
    EXPECT(power_moves, 3);
    EXPECT(power_port, 0xffc0);
    config_write(1, 3, 0x80, 1, 0);
    EXPECT(power_moves, 4);
    CHECK(!power_on);
    piix3_set_up(&piix3);
    EXPECT(power_port, PIIX3_PM_BASE);
    EXPECT(config_read(1, 0, 0x60, 4), 0x0b0b0a0a);
    pci_bus_reset(&machine_pci);
    CHECK(!power_on);
    EXPECT(config_read(1, 3, 0x40, 4), 1);
}

TEST(bridges_hostile,
     "random writes to both bridges keep memory, routes and ports within what can be")
{
    begin();
    for (unsigned i = 0; i < 5000; i++) {
        unsigned bridge = unit_random() % 3;
        unsigned offset = bridge ? unit_random() % 256 : 0x58 + unit_random() % 8;
        config_write(bridge ? 1 : 0, bridge == 2 ? 3 : 0, offset, 1, (uint32_t)unit_random());
        machine_pci.route(&machine_pci, i % 7, i % 4, true);
        CHECK(!high[0] && !high[1] && !high[2] && !high[8] && !high[13]);
        machine_pci.route(&machine_pci, i % 7, i % 4, false);
        EXPECT(piix3.driven, 0);
        CHECK(machine_addresses.count <= I440FX_SEGMENTS);
        EXPECT(seen(0xa0000, false), NULL);
        EXPECT(seen(0x100000, true), machine_ram + 0x100000);
    }
}
