/* links: vmm-server/devices/rtc.c vmm-server/devices/rate.c vmm-server/bus.c lib/print.c */
#include "unit_test.h"

#include "chip_machine.h"

#include "devices/rtc.h"

/* Thursday, 29 February 2024, 23:59:50. */
#define LEAP_EVENING 1709251190ull

static struct rtc rtc;
static struct test_line line;

static void begin(uint64_t seconds)
{
    machine_start();
    line = new_line();
    rtc_init(&rtc, &host, &line.line, seconds);
    CHECK(rtc_attach(&rtc, &ports));
}

static uint8_t get(uint8_t index)
{
    out(0x70, index);
    return in(0x71);
}

static void set(uint8_t index, uint8_t value)
{
    out(0x70, index);
    out(0x71, value);
}

/* Year, month, day, hour, minute, second as the registers have them. */
static uint64_t shown(void)
{
    return (uint64_t)get(0x32) << 48 | (uint64_t)get(9) << 40 | (uint64_t)get(8) << 32 |
           (uint64_t)get(7) << 24 | (uint64_t)get(4) << 16 | (uint64_t)get(2) << 8 | get(0);
}

TEST(rtc_shows_the_date,
     "time and date are shown in decimal digits, and pass over a leap day's end")
{
    begin(LEAP_EVENING);
    EXPECT(shown(), 0x20240229235950);
    EXPECT(get(6), 5); /* Sunday is 1 */
    EXPECT(get(0x0d), 0x80);
    run_for(10 * SECOND_TSC + US);
    EXPECT(shown(), 0x20240301000000);
    EXPECT(get(6), 6);
    run_for(366ull * 86400 * SECOND_TSC);
    EXPECT(shown(), 0x20250302000000);
}

TEST(rtc_formats, "binary and 12-hour formats: midnight and noon are 12")
{
    begin(LEAP_EVENING);
    set(0x0b, 0x06);
    EXPECT(get(4), 23);
    EXPECT(get(9), 24);
    EXPECT(get(0), 50);
    set(0x0b, 0x00);
    EXPECT(get(4), 0x91);
    run_for(10 * SECOND_TSC + US);
    EXPECT(get(4), 0x12);
    run_for(12 * 3600 * SECOND_TSC);
    EXPECT(get(4), 0x92);
    set(0x0b, 0x04);
    EXPECT(get(4), 0x8c);
}

TEST(rtc_is_set, "with SET on the time stands and is written; with SET off it goes on from there")
{
    begin(LEAP_EVENING);
    set(0x0b, 0x82);
    set(0, 0x58), set(2, 0x59), set(4, 0x23), set(7, 0x31), set(8, 0x12), set(9, 0x99);
    set(0x32, 0x19), set(6, 6);
    run_for(5 * SECOND_TSC);
    EXPECT(shown(), 0x19991231235958);
    set(0x0b, 0x02);
    EXPECT(shown(), 0x19991231235958);
    EXPECT(get(6), 6);
    run_for(2 * SECOND_TSC);
    EXPECT(shown(), 0x20000101000000);
    EXPECT(get(6), 7);
}

TEST(rtc_one_register, "a register written while the clock runs changes that alone")
{
    begin(LEAP_EVENING);
    set(2, 0x30);
    EXPECT(shown(), 0x20240229233050);
}

TEST(rtc_update_in_progress, "UIP is set 2.2 ms before each second, and not while SET is on")
{
    begin(LEAP_EVENING);
    run_for(990 * MS);
    EXPECT(get(0x0a), 0x26);
    run_for(8 * MS);
    EXPECT(get(0x0a), 0xa6);
    EXPECT(get(0), 0x50);
    run_for(2 * MS + US);
    EXPECT(get(0x0a), 0x26);
    EXPECT(get(0), 0x51);
    set(0x0b, 0x82);
    run_for(998 * MS);
    EXPECT(get(0x0a), 0x26);
}

TEST(rtc_divider_reset, "out of a reset of the divider the first update comes after half a second")
{
    begin(LEAP_EVENING);
    run_for(300 * MS);
    set(0x0a, 0x76);
    run_for(3 * SECOND_TSC);
    EXPECT(get(0), 0x50);
    set(0x0a, 0x26);
    run_for(490 * MS);
    EXPECT(get(0), 0x50);
    run_for(20 * MS);
    EXPECT(get(0), 0x51);
}

TEST(rtc_update_interrupt,
     "update-ended interrupts come once a second, until register C is read for the next")
{
    begin(LEAP_EVENING);
    set(0x0b, 0x12);
    run_for(3 * SECOND_TSC + MS);
    EXPECT(line.rises, 1);
    EXPECT(get(0x0c), 0xd0); /* the periodic flag is set without its interrupt */
    EXPECT(line.high, false);
    EXPECT(get(0x0c) & 0x90, 0);
    run_for(SECOND_TSC);
    EXPECT(line.rises, 2);
    EXPECT(get(0x0c) & 0xb0, 0x90);
}

TEST(rtc_alarm, "the alarm goes off at its time, and with don't-cares every minute")
{
    begin(LEAP_EVENING);
    set(1, 0x05), set(3, 0x00), set(5, 0x00);
    set(0x0b, 0x22);
    run_for(14 * SECOND_TSC);
    EXPECT(line.rises, 0);
    run_for(2 * SECOND_TSC);
    EXPECT(line.rises, 1);
    EXPECT(get(0x0c) & 0xa0, 0xa0);
    run_for(3600 * SECOND_TSC);
    EXPECT(line.rises, 1);
    set(3, 0xc0), set(5, 0xff);
    for (unsigned i = 0; i < 10; i++) {
        run_for(60 * SECOND_TSC);
        EXPECT(get(0x0c) & 0xa0, 0xa0);
    }
    EXPECT(line.rises, 11);
}

TEST(rtc_alarm_polled,
     "the alarm's flag is set without its interrupt, also if nobody looked for a day")
{
    begin(LEAP_EVENING);
    set(1, 0x05), set(3, 0x00), set(5, 0x12);
    get(0x0c);
    run_for(3600 * SECOND_TSC);
    EXPECT(get(0x0c) & 0x20, 0);
    run_for(30 * 3600 * SECOND_TSC);
    EXPECT(get(0x0c) & 0xa0, 0x20);
    EXPECT(line.rises, 0);
}

TEST(rtc_impossible_alarm, "an alarm at no time never comes, and costs no timer")
{
    begin(LEAP_EVENING);
    set(1, 0x99), set(3, 0x00), set(5, 0x12);
    set(0x0b, 0x22);
    EXPECT(rtc.timer.deadline_tsc, DEADLINE_NEVER);
}

TEST(rtc_periodic,
     "periodic interrupts come at the rate of register A, one for each reading of register C")
{
    begin(LEAP_EVENING);
    set(0x0b, 0x42);
    unsigned count = 0;
    for (unsigned i = 0; i < 10000; i++) {
        run_for(100 * US);
        if (line.high) {
            EXPECT(get(0x0c) & 0xc0, 0xc0);
            count++;
        }
    }
    CHECK(count >= 1023 && count <= 1025);
    set(0x0a, 0x2d); /* 8 Hz */
    count = 0;
    for (unsigned i = 0; i < 100; i++) {
        run_for(10 * MS);
        count += line.high;
        get(0x0c);
    }
    CHECK(count >= 7 && count <= 8);
}

TEST(rtc_owes_ticks, "periodic interrupts that passed unread are given after, and none is lost")
{
    begin(LEAP_EVENING);
    set(0x0b, 0x42);
    sleep_through(100 * MS);
    unsigned count = 0;
    for (unsigned i = 0; i < 4000; i++) {
        run_for(100 * US);
        if (line.high) {
            get(0x0c);
            count++;
        }
    }
    CHECK(count >= 511 && count <= 513); /* half a second of 1024 */
}

TEST(rtc_cmos, "memory sizes are where firmware looks for them, other bytes are kept")
{
    begin(LEAP_EVENING);
    rtc_set_memory(&rtc, 3ull << 30, 2ull << 30);
    EXPECT(get(0x15) | get(0x16) << 8, 640);
    EXPECT(get(0x17) | get(0x18) << 8, 0xffff);
    EXPECT(get(0x30) | get(0x31) << 8, 0xffff);
    EXPECT(get(0x34) | get(0x35) << 8, (3072 - 16) * 16);
    EXPECT(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, 2048 * 16);
    rtc_set_memory(&rtc, 8ull << 20, 0);
    EXPECT(get(0x17) | get(0x18) << 8, 7 * 1024);
    EXPECT(get(0x34) | get(0x35) << 8, 0);
    set(0x0f, 0x0a);
    EXPECT(rtc_byte(&rtc, RTC_SHUTDOWN_STATUS), 0x0a);
    out(0x70, 0x80 | 0x40), out(0x71, 0x5a); /* bit 7 is not of the index */
    EXPECT(get(0x40), 0x5a);
    CHECK(bus_write(&ports, 0x70, 2, 0x1241));
    EXPECT(get(0x41), 0x12);
}

TEST(rtc_random, "no order of accesses breaks it, and its timer is never far behind")
{
    begin(LEAP_EVENING);
    srand((unsigned)unit_seed);
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t index = (uint8_t)(rand() % 3 ? rand() % 16 : rand());
        if (rand() % 2)
            set(index, (uint8_t)rand());
        else
            get(index);
        sleep_through((uint64_t)rand() % (10 * MS));
        CHECK(rtc.timer.deadline_tsc > clock_tsc);
    }
}
