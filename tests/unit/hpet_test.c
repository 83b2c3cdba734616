/* links: vmm-server/devices/hpet.c vmm-server/devices/rate.c vmm-server/bus.c lib/print.c */
#include "unit_test.h"

#include "chip_machine.h"

#include "devices/hpet.h"

#define CONFIG     0x010
#define STATUS     0x020
#define COUNTER    0x0f0
#define TIMER(n)   (0x100u + 0x20u * (n))
#define COMPARE(n) (TIMER(n) + 8)
#define ROUTE(pin) ((uint64_t)(pin) << 9)
#define LEVEL      0x02
#define ENABLE     0x04
#define PERIODIC   0x08
#define SET_VALUE  0x40
#define NARROW     0x100
#define HERTZ      14318180ull

static struct hpet hpet;
static struct test_line pins[HPET_PINS], legacy[2];

static void begin(void)
{
    machine_start();
    hpet_init(&hpet, &host);
    for (unsigned i = 0; i < HPET_PINS; i++) {
        pins[i] = new_line();
        hpet.pins[i] = &pins[i].line;
    }
    for (unsigned i = 0; i < 2; i++) {
        legacy[i] = new_line();
        hpet.legacy[i] = &legacy[i].line;
    }
    CHECK(hpet_attach(&hpet, &addresses));
}

static uint64_t get(unsigned offset)
{
    uint64_t value = 0;
    CHECK(bus_read(&addresses, HPET_ADDRESS + offset, 8, &value));
    return value;
}

static void set(unsigned offset, uint64_t value)
{
    CHECK(bus_write(&addresses, HPET_ADDRESS + offset, 8, value));
}

TEST(hpet_counter,
     "the counter runs at the rate that its capabilities tell, and only while it is enabled")
{
    begin();
    uint64_t period = get(0) >> 32;
    EXPECT(get(0) & 0xffffffff, 0x8086a201);
    run_for(SECOND_TSC);
    EXPECT(get(COUNTER), 0);
    set(COUNTER, 1000);
    set(CONFIG, 1);
    run_for(SECOND_TSC);
    uint64_t expected = 1000 + 1000000000000000ull / period;
    CHECK(get(COUNTER) >= expected - 2 && get(COUNTER) <= expected + 2);
    set(CONFIG, 0);
    uint64_t stands = get(COUNTER);
    run_for(SECOND_TSC);
    EXPECT(get(COUNTER), stands);
}

TEST(hpet_one_shot, "a one-shot timer interrupts its pin once")
{
    begin();
    set(CONFIG, 1);
    set(TIMER(2), ENABLE | ROUTE(20));
    set(COMPARE(2), get(COUNTER) + HERTZ / 100);
    run_for(9 * MS);
    EXPECT(pins[20].rises, 0);
    run_for(2 * MS);
    EXPECT(pins[20].rises, 1);
    run_for(SECOND_TSC);
    EXPECT(pins[20].rises, 1);
    EXPECT(get(STATUS), 0);
}

TEST(hpet_level, "a level-triggered timer holds its pin until its status bit is cleared")
{
    begin();
    set(CONFIG, 1);
    set(TIMER(1), ENABLE | LEVEL | ROUTE(17));
    set(COMPARE(1), get(COUNTER) + 1000);
    run_for(MS);
    EXPECT(pins[17].high, true);
    EXPECT(get(STATUS), 2);
    set(STATUS, 1);
    EXPECT(pins[17].high, true);
    set(STATUS, 2);
    EXPECT(pins[17].high, false);
    EXPECT(get(STATUS), 0);
}

TEST(hpet_periodic, "a periodic timer begins at the value written first and goes on by the second")
{
    begin();
    set(CONFIG, 1);
    set(TIMER(0), ENABLE | PERIODIC | SET_VALUE | ROUTE(16));
    set(COMPARE(0), get(COUNTER) + HERTZ / 200);
    set(COMPARE(0), HERTZ / 1000);
    run_for(4900 * US);
    EXPECT(pins[16].rises, 0);
    run_for(200 * US);
    EXPECT(pins[16].rises, 1);
    run_for(100 * MS);
    EXPECT(pins[16].rises, 101);
    sleep_through(50 * MS);
    EXPECT(pins[16].rises, 102); /* what passed unseen is one */
    run_for(10 * MS);
    EXPECT(pins[16].rises, 112);
}

TEST(hpet_legacy, "in legacy replacement timers 0 and 1 drive IRQ 0 and 8, timer 2 its pin")
{
    begin();
    set(CONFIG, 3);
    EXPECT(hpet_replaces(&hpet), true);
    for (unsigned i = 0; i < 3; i++) {
        set(TIMER(i), ENABLE | ROUTE(18 + i));
        set(COMPARE(i), get(COUNTER) + 1000 * (i + 1));
    }
    run_for(MS);
    EXPECT(legacy[0].rises, 1);
    EXPECT(legacy[1].rises, 1);
    EXPECT(pins[18].rises + pins[19].rises, 0);
    EXPECT(pins[20].rises, 1);
    set(CONFIG, 1);
    EXPECT(legacy[0].high, false);
    EXPECT(hpet_replaces(&hpet), false);
}

TEST(hpet_narrow, "a 32-bit timer meets the counter's lower half, and again after its turn")
{
    begin();
    set(COUNTER, 0x1fffff000ull);
    set(TIMER(0), ENABLE | NARROW | ROUTE(16));
    set(COMPARE(0), 0x700000100ull);
    EXPECT(get(COMPARE(0)), 0x100);
    set(CONFIG, 1);
    run_for(10 * MS);
    EXPECT(pins[16].rises, 1);
    run_for(0x100000000ull * 70);
    EXPECT(pins[16].rises, 2);
}

TEST(hpet_routes, "a route that is not offered does not stick")
{
    begin();
    EXPECT(get(TIMER(0)) >> 32, 0x00ff0000);
    set(TIMER(0), ENABLE | ROUTE(23));
    EXPECT(get(TIMER(0)) >> 9 & 31, 23);
    set(TIMER(0), ENABLE | ROUTE(2));
    EXPECT(get(TIMER(0)) >> 9 & 31, 0);
    set(CONFIG, 1);
    set(COMPARE(0), 100);
    run_for(MS);
    EXPECT(pins[2].rises, 0);
}

TEST(hpet_halves, "registers are read and written by halves; other sizes are not defined")
{
    uint64_t value;
    begin();
    CHECK(bus_write(&addresses, HPET_ADDRESS + COMPARE(0), 4, 0x11111111));
    CHECK(bus_write(&addresses, HPET_ADDRESS + COMPARE(0) + 4, 4, 0x22222222));
    EXPECT(get(COMPARE(0)), 0x2222222211111111);
    CHECK(bus_read(&addresses, HPET_ADDRESS + COMPARE(0) + 4, 4, &value));
    EXPECT(value, 0x22222222);
    CHECK(!bus_read(&addresses, HPET_ADDRESS, 2, &value));
    CHECK(!bus_write(&addresses, HPET_ADDRESS + 2, 4, 0));
}

TEST(hpet_short_periods,
     "a period of one tick does not run its timer more often than every 20 microseconds")
{
    begin();
    set(CONFIG, 1);
    set(TIMER(0), ENABLE | PERIODIC | SET_VALUE | ROUTE(16));
    set(COMPARE(0), get(COUNTER) + 10);
    set(COMPARE(0), 1);
    unsigned looks = 0;
    for (uint64_t end = clock_tsc + 10 * MS; clock_tsc < end; looks++)
        sleep_through(next_deadline() > clock_tsc ? next_deadline() - clock_tsc : 0);
    CHECK(looks > 100 && looks <= 502);
}

TEST(hpet_random, "no order of accesses breaks it, and its timer always comes to rest")
{
    begin();
    srand((unsigned)unit_seed);
    for (unsigned i = 0; i < 200000; i++) {
        unsigned offset = (unsigned)rand() % 0x60 * 4, size_bytes = rand() % 2 ? 4 : 8;
        uint64_t value =
            rand() % 2 ? (uint64_t)rand() << 31 ^ (uint64_t)rand() : (uint64_t)rand() % 512;
        if (offset % size_bytes)
            continue;
        if (rand() % 3)
            CHECK(bus_write(&addresses, HPET_ADDRESS + offset, size_bytes, value));
        else
            CHECK(bus_read(&addresses, HPET_ADDRESS + offset, size_bytes, &value));
        sleep_through((uint64_t)rand() % MS);
        CHECK(hpet.timer.deadline_tsc > clock_tsc);
    }
}
