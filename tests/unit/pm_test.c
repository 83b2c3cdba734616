/* links: vmm-server/devices/pm.c vmm-server/devices/rate.c vmm-server/bus.c lib/print.c */
#include "unit_test.h"

#include "chip_machine.h"

#include "devices/pm.h"

#define BASE    0x600u
#define STATUS  (BASE + 0x0)
#define ENABLE  (BASE + 0x2)
#define CONTROL (BASE + 0x4)
#define TIMER   (BASE + 0x8)
#define HERTZ   3579545ull

static struct pm pm;
static struct test_line sci;
static unsigned offs;
static char said[256];

static void say(struct sink *sink, const char *text, size_t size_bytes)
{
    (void)sink;
    strncat(said, text, size_bytes);
}

static void power_off(struct pm *from)
{
    CHECK(from == &pm);
    offs++;
}

static void begin(void)
{
    static struct sink log = {say};
    machine_start();
    host.log = &log;
    said[0] = 0;
    sci = new_line();
    offs = 0;
    pm_init(&pm, &host, &sci.line, NULL);
    pm.power_off = power_off;
    CHECK(pm_attach(&pm, &ports));
    pm_move(&pm, &ports, BASE, true);
}

static uint64_t get(uint16_t port, unsigned size_bytes)
{
    uint64_t value = 0;
    CHECK(bus_read(&ports, port, size_bytes, &value));
    return value;
}

static void set(uint16_t port, unsigned size_bytes, uint64_t value)
{
    CHECK(bus_write(&ports, port, size_bytes, value));
}

TEST(pm_timer_rate, "the timer counts 3579545 a second, and its bytes are of one moment")
{
    begin();
    uint64_t from = get(TIMER, 4);
    run_for(SECOND_TSC);
    uint64_t passed = get(TIMER, 4) - from;
    CHECK(passed >= HERTZ - 1 && passed <= HERTZ);
    EXPECT(get(TIMER + 1, 1), get(TIMER, 4) >> 8 & 0xff);
}

TEST(pm_timer_carry, "the carry sets its status every 600 seconds, and interrupts only if enabled")
{
    begin();
    run_for(601 * SECOND_TSC);
    EXPECT(get(STATUS, 2), 0x0001);
    EXPECT(sci.high, false);
    set(STATUS, 2, 0x0001);
    EXPECT(get(STATUS, 2), 0);
    set(ENABLE, 2, 0x0001);
    run_for(590 * SECOND_TSC);
    EXPECT(sci.high, false);
    run_for(20 * SECOND_TSC);
    EXPECT(sci.high, true);
    set(STATUS, 2, 0x0001);
    EXPECT(sci.high, false);
}

TEST(pm_button, "the power button holds the SCI until its status is cleared")
{
    begin();
    pm_press(&pm);
    EXPECT(sci.high, false);
    EXPECT(get(STATUS, 2), 0x0100);
    set(ENABLE, 2, 0x0100);
    EXPECT(sci.high, true);
    set(STATUS, 2, 0x0001);
    EXPECT(sci.high, true);
    set(STATUS + 1, 1, 0x01);
    EXPECT(sci.high, false);
}

TEST(pm_soft_off,
     "sleep type 0 with its enable bit switches off; another type, or the type alone, does not")
{
    begin();
    set(CONTROL, 2, 0x0400);
    set(CONTROL, 2, 0x2400);
    EXPECT(offs, 0);
    set(CONTROL, 2, 0x0001);
    EXPECT(offs, 0);
    set(CONTROL, 2, 0x2001);
    EXPECT(offs, 1);
    EXPECT(get(CONTROL, 2), 0x0001); /* the enable bit reads as 0 */
    set(CONTROL + 1, 1, 0x20);
    EXPECT(offs, 2);
}

TEST(pm_acpi_mode, "the SMI command port switches ACPI on and off, and with it the SCI")
{
    begin();
    EXPECT(get(CONTROL, 2) & 1, 1);
    set(ENABLE, 2, 0x0100);
    pm_press(&pm);
    EXPECT(sci.high, true);
    out(0xb2, 0xf0);
    EXPECT(get(CONTROL, 2) & 1, 0);
    EXPECT(sci.high, false);
    out(0xb2, 0xf1);
    EXPECT(sci.high, true);
    EXPECT(in(0xb2), 0xf1);
    out(0xb3, 0x5a);
    EXPECT(in(0xb3), 0x5a);
}

TEST(pm_wide, "status and enable are one word of 32 bits, too")
{
    begin();
    set(STATUS, 4, 0x01210000);
    EXPECT(get(ENABLE, 2), 0x0121);
    pm_press(&pm);
    EXPECT(get(STATUS, 4), 0x01210100);
}

TEST(pm_moves, "the registers go where the guest puts them; onto another's place they do not")
{
    static const struct bus_operations other = {0};
    uint64_t value;
    begin();
    CHECK(bus_add(&ports, &(struct bus_range){0xb010, 1, &other, NULL, "other"}));
    pm_move(&pm, &ports, BASE, false);
    CHECK(!bus_read(&ports, TIMER, 4, &value));
    pm_move(&pm, &ports, 0xb000, true);
    CHECK(strstr(said, "0xb000"));
    pm_move(&pm, &ports, 0xb000, false);
    pm_move(&pm, &ports, 0xb040, true);
    CHECK(bus_read(&ports, 0xb048, 4, &value));
}
