/* links: vmm-server/devices/pit.c vmm-server/devices/rate.c vmm-server/devices/system_control.c vmm-server/bus.c
 * lib/print.c */
#include "unit_test.h"

#include "chip_machine.h"

#include "devices/pit.h"
#include "devices/system_control.h"

static struct pit pit;
static struct system_control control;
static struct test_line line;
static bool waits;
static unsigned resets;

static bool edge_waits(struct pit *from)
{
    CHECK(from == &pit);
    return waits;
}

static void reset(struct system_control *from)
{
    CHECK(from == &control);
    resets++;
}

static bool a20;
static void set_a20(struct system_control *from, bool on)
{
    CHECK(from == &control);
    a20 = on;
}

static int held;
static void hold(struct device_host *from, bool on)
{
    CHECK(from == &host);
    held += on ? 1 : -1;
    CHECK(held == 0 || held == 1);
}

static void begin(void)
{
    machine_start();
    host.hold = hold;
    held = 0;
    line = new_line();
    waits = false;
    resets = 0;
    pit_init(&pit, &host, &line.line, edge_waits, NULL);
    CHECK(pit_attach(&pit, &ports));
    system_control_init(&control, &pit, NULL);
    control.a20 = set_a20;
    control.reset = reset;
    CHECK(system_control_attach(&control, &ports));
}

/* The TSC of the test runs at 1 GHz: 838.1 to a tick. */
static uint64_t ticks_tsc(uint64_t ticks)
{
    return ticks * SECOND_TSC / PIT_HERTZ + 1;
}

static void program(unsigned channel, unsigned mode, uint16_t count)
{
    out(0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
    out((uint16_t)(0x40 + channel), (uint8_t)count);
    out((uint16_t)(0x40 + channel), (uint8_t)(count >> 8));
}

static uint16_t count_of(unsigned channel)
{
    out(0x43, (uint8_t)(channel << 6));
    uint8_t low = in((uint16_t)(0x40 + channel));
    return (uint16_t)(low | in((uint16_t)(0x40 + channel)) << 8);
}

static uint8_t status_of(unsigned channel)
{
    out(0x43, (uint8_t)(0xe0 | 2u << channel));
    return in((uint16_t)(0x40 + channel));
}

TEST(pit_rate_generator,
     "mode 2 interrupts channel 0 once a period, counts down, and does not drift")
{
    begin();
    program(0, 2, 1193);
    EXPECT(count_of(0), 1193);
    run_for(ticks_tsc(193));
    EXPECT(count_of(0), 1000);
    EXPECT(line.rises, 0);
    run_for(ticks_tsc(1001));
    EXPECT(line.rises, 1);
    run_for(10 * SECOND_TSC);
    CHECK(line.rises >= 10001 && line.rises <= 10003); /* 1193182 / 1193 a second */
}

TEST(pit_square_wave,
     "mode 3 interrupts once a period, its output is high in the first half, and it counts by two")
{
    begin();
    program(0, 3, 0);
    run_for(SECOND_TSC);
    EXPECT(line.rises, 18);
    program(0, 3, 1000);
    run_for(ticks_tsc(100));
    CHECK(count_of(0) >= 796 && count_of(0) <= 800);
    EXPECT(status_of(0) & 0x80, 0x80);
    run_for(ticks_tsc(500));
    CHECK(count_of(0) >= 796 && count_of(0) <= 800);
    EXPECT(status_of(0) & 0x80, 0);
}

TEST(pit_terminal_count, "mode 0's output rises once at the end; the count goes on from the top")
{
    begin();
    program(0, 0, 100);
    EXPECT(line.high, false);
    EXPECT(status_of(0), 0x30);
    run_for(ticks_tsc(101));
    EXPECT(line.high, true);
    EXPECT(status_of(0), 0xb0);
    EXPECT(count_of(0), 0xffff);
    run_for(SECOND_TSC);
    EXPECT(line.rises, 1);
    /* The first byte of a new count stops it. */
    out(0x40, 50);
    EXPECT(line.high, false);
    run_for(SECOND_TSC);
    EXPECT(line.rises, 1);
    out(0x40, 0);
    run_for(ticks_tsc(51));
    EXPECT(line.rises, 2);
}

TEST(pit_software_strobe, "mode 4 interrupts once, a tick after the end")
{
    begin();
    program(0, 4, 1000);
    run_for(ticks_tsc(998));
    EXPECT(line.rises, 0);
    EXPECT(status_of(0) & 0x80, 0x80);
    run_for(ticks_tsc(4));
    EXPECT(line.rises, 1);
    run_for(SECOND_TSC);
    EXPECT(line.rises, 1);
}

TEST(pit_new_count,
     "a new count in mode 2 waits for the end of the period, and the null-count bit says so")
{
    begin();
    program(0, 2, 1000);
    run_for(ticks_tsc(400));
    out(0x40, 0xf4), out(0x40, 0x01); /* 500 */
    EXPECT(status_of(0) & 0x40, 0x40);
    run_for(ticks_tsc(500));
    EXPECT(line.rises, 0);
    run_for(ticks_tsc(102));
    EXPECT(line.rises, 1);
    EXPECT(status_of(0) & 0x40, 0);
    run_for(ticks_tsc(500));
    EXPECT(line.rises, 2);
}

TEST(pit_latch,
     "a latched count holds until both bytes are read, and a second latch does not change it")
{
    begin();
    program(0, 2, 5000);
    run_for(ticks_tsc(1000));
    out(0x43, 0x00);
    run_for(ticks_tsc(1000));
    out(0x43, 0x00);
    EXPECT(in(0x40), 4000 & 0xff);
    run_for(ticks_tsc(1000));
    EXPECT(in(0x40), 4000 >> 8);
    EXPECT(in(0x40), (5000 - 3000) & 0xff);
    EXPECT(in(0x40), (5000 - 3000) >> 8);
}

TEST(pit_read_back, "read-back latches status and counts of several channels, status first")
{
    begin();
    program(0, 2, 5000);
    program(2, 3, 600);
    out(0x43, 0xc0 | 0x02 | 0x08);
    EXPECT(in(0x40), 0xb4);
    EXPECT(in(0x40), 5000 & 0xff);
    EXPECT(in(0x40), 5000 >> 8);
    EXPECT(in(0x42) & 0x3f, 0x36);
}

TEST(pit_one_byte, "access by low or high byte alone sets and shows that byte")
{
    begin();
    out(0x43, 0x14), out(0x40, 200); /* low byte, mode 2 */
    EXPECT(in(0x40), 200);
    EXPECT(in(0x40), 200);
    out(0x43, 0x24), out(0x40, 4); /* high byte */
    EXPECT(in(0x40), 4);
    out(0x43, 0x00);
    EXPECT(in(0x40), 4);
}

TEST(pit_bcd, "decimal counts are written and read as such, and 0 is 10000")
{
    begin();
    out(0x43, 0x35), out(0x40, 0x00), out(0x40, 0x12);
    run_for(ticks_tsc(201));
    EXPECT(count_of(0), 0x0999);
    out(0x43, 0x35), out(0x40, 0), out(0x40, 0);
    run_for(ticks_tsc(1));
    EXPECT(count_of(0), 0x9999);
    run_for(ticks_tsc(10000));
    EXPECT(count_of(0), 0x9999);
}

TEST(pit_modes_6_and_7, "modes 6 and 7 are 2 and 3")
{
    begin();
    program(0, 6, 100);
    EXPECT(status_of(0) & 0x0e, 0x04);
    program(0, 7, 100);
    EXPECT(status_of(0) & 0x0e, 0x06);
}

TEST(pit_gate_of_channel_2, "port 0x61 starts, stops and shows channel 2")
{
    begin();
    program(2, 0, 1000);
    EXPECT(in(0x61) & 0x21, 0);
    run_for(ticks_tsc(2000));
    EXPECT(in(0x61) & 0x20, 0); /* the gate is low */
    out(0x61, 0x01);
    run_for(ticks_tsc(500));
    out(0x61, 0x00);
    run_for(ticks_tsc(5000));
    EXPECT(in(0x61) & 0x20, 0);
    EXPECT(count_of(2), 500);
    out(0x61, 0x01);
    run_for(ticks_tsc(501));
    EXPECT(in(0x61) & 0x21, 0x21);
}

TEST(pit_one_shot, "mode 1 starts with the gate, again with each, and takes a new count then")
{
    begin();
    program(2, 1, 1000);
    EXPECT(in(0x61) & 0x20, 0x20);
    out(0x61, 1);
    EXPECT(in(0x61) & 0x20, 0);
    run_for(ticks_tsc(600));
    out(0x61, 0), out(0x61, 1);
    run_for(ticks_tsc(600));
    EXPECT(in(0x61) & 0x20, 0);
    out(0x42, 100), out(0x42, 0);
    run_for(ticks_tsc(401));
    EXPECT(in(0x61) & 0x20, 0x20);
    out(0x61, 0), out(0x61, 1);
    run_for(ticks_tsc(99));
    EXPECT(in(0x61) & 0x20, 0);
    run_for(ticks_tsc(2));
    EXPECT(in(0x61) & 0x20, 0x20);
}

TEST(pit_gate_of_a_period, "in mode 3 a low gate stops the count, and its rise begins a period")
{
    begin();
    out(0x61, 1);
    program(2, 3, 1000);
    run_for(ticks_tsc(600));
    EXPECT(in(0x61) & 0x20, 0);
    out(0x61, 0);
    EXPECT(in(0x61) & 0x20, 0x20);
    out(0x61, 1);
    EXPECT(count_of(2), 1000);
    run_for(ticks_tsc(499));
    EXPECT(in(0x61) & 0x20, 0x20);
}

TEST(pit_refresh_toggle, "the refresh bit of port 0x61 changes every 15 microseconds")
{
    begin();
    unsigned changes = 0;
    uint8_t last = in(0x61) & 0x10;
    for (unsigned us = 0; us < 1500; us++) {
        run_for(US);
        changes += (in(0x61) & 0x10) != last;
        last = in(0x61) & 0x10;
    }
    CHECK(changes >= 98 && changes <= 100);
}

TEST(pit_owes_ticks,
     "ticks that passed while nobody looked are given after, at twice the rate, and none is lost")
{
    begin();
    program(0, 2, 1193);
    run_for(10 * MS + 100 * US);
    EXPECT(line.rises, 10);
    sleep_through(50 * MS);
    EXPECT(line.rises, 11);
    run_for(20 * MS);
    CHECK(line.rises >= 49 && line.rises <= 52);
    run_for(80 * MS);
    EXPECT(line.rises, 160);
}

TEST(pit_waits_for_the_processor,
     "a tick does not come on top of one that was not taken; it is kept")
{
    begin();
    program(0, 2, 1193);
    run_for(10 * MS + 100 * US);
    waits = true;
    run_for(20 * MS);
    EXPECT(line.rises, 10);
    waits = false;
    run_for(60 * MS);
    EXPECT(line.rises, 90);
}

TEST(pit_forgets_a_long_sleep,
     "after a minute without a look no more than half a second's ticks are owed")
{
    begin();
    program(0, 2, 1193);
    sleep_through(60 * SECOND_TSC);
    run_for(2 * SECOND_TSC);
    CHECK(line.rises > 2400 && line.rises < 2600);
}

TEST(pit_short_periods,
     "a period of one tick does not run its timer more often than every 20 microseconds")
{
    begin();
    program(0, 2, 1);
    unsigned looks = 0;
    for (uint64_t end = clock_tsc + 10 * MS; clock_tsc < end; looks++)
        sleep_through(next_deadline() - clock_tsc);
    CHECK(looks > 100 && looks <= 500);
}

TEST(system_control_port_92, "port 0x92 keeps A20, and its reset bit acts when it rises")
{
    begin();
    EXPECT(in(0x92), 0x02);
    out(0x92, 0x00);
    EXPECT(a20, false);
    EXPECT(in(0x92), 0x00);
    system_control_show_a20(&control, true);
    EXPECT(in(0x92), 0x02);
    out(0x92, 0x03);
    EXPECT(resets, 1);
    out(0x92, 0x03);
    EXPECT(resets, 1);
    out(0x92, 0x02), out(0x92, 0x03);
    EXPECT(resets, 2);
}

TEST(pit_random, "no order of accesses breaks it, and its timer always comes to rest")
{
    begin();
    srand((unsigned)unit_seed);
    for (unsigned i = 0; i < 200000; i++) {
        uint16_t port = (uint16_t)(rand() % 5 == 4 ? 0x61 : 0x40 + rand() % 4);
        if (rand() % 2)
            out(port, (uint8_t)rand());
        else
            in(port);
        sleep_through((uint64_t)rand() % (100 * US));
        CHECK(pit.timer.deadline_tsc > clock_tsc);
    }
}

TEST(system_control_polled, "who looks for the timer's output thousands of times is held for parts "
                            "of the time that is to go, and sees it rise")
{
    begin();
    out(0x61, 1);
    program(2, 0, 0xffff);
    unsigned looks = 0, holds = 0;
    for (; !(in(0x61) & 0x20); looks++) {
        CHECK(looks < 3000);
        if (!held)
            continue;
        EXPECT(in(0x61) & 0x20, 0); /* another processor's look changes nothing */
        CHECK(next_deadline() > clock_tsc && next_deadline() <= clock_tsc + MS / 2);
        sleep_through(next_deadline() - clock_tsc);
        EXPECT(held, 0);
        holds++;
    }
    EXPECT(held, 0);
    CHECK(looks > 2000 && holds >= 110 && holds < 115);
    /* One that does not come is not waited for. */
    out(0x61, 0);
    for (unsigned n = 0; n < 5000; n++)
        in(0x61);
    EXPECT(held, 0);
}
