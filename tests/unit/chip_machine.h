/* A bus, a clock of the test's own, timers and interrupt lines, for tests of the chips of a `pc`. */
#ifndef CHIP_MACHINE_H
#define CHIP_MACHINE_H

#include "device.h"

#include <septum.h>

#define TSC_KHZ    1000000ull /* a tick of the TSC is a nanosecond */
#define US         1000ull
#define MS         1000000ull
#define SECOND_TSC 1000000000ull

static uint64_t clock_tsc;
static struct bus ports, addresses;
static struct device_timer *timers;

struct test_line {
    struct interrupt_line line;
    bool high;
    unsigned rises;
};

static uint64_t test_now(void)
{
    return clock_tsc;
}

static void test_add_timer(struct device_host *host, struct device_timer *timer)
{
    (void)host;
    timer->next = timers;
    timers = timer;
}

static struct device_host host __attribute__((unused)) = {.ports = &ports,
                                                          .addresses = &addresses,
                                                          .tsc_khz = TSC_KHZ,
                                                          .now = test_now,
                                                          .add_timer = test_add_timer};

static void set_test_line(struct interrupt_line *line, bool high)
{
    struct test_line *test = (struct test_line *)line;
    test->rises += high && !test->high;
    test->high = high;
}

/* Everything is as new. */
static inline void machine_start(void)
{
    memset(&ports, 0, sizeof ports);
    memset(&addresses, 0, sizeof addresses);
    timers = NULL;
    clock_tsc = 12345678;
}

static inline struct test_line new_line(void)
{
    return (struct test_line){{set_test_line}, false, 0};
}

static inline void out(uint16_t port, uint8_t value)
{
    CHECK(bus_write(&ports, port, 1, value));
}

static inline uint8_t in(uint16_t port)
{
    uint64_t value = 0;
    CHECK(bus_read(&ports, port, 1, &value));
    return (uint8_t)value;
}

static inline uint64_t next_deadline(void)
{
    uint64_t next = DEADLINE_NEVER;
    for (struct device_timer *timer = timers; timer; timer = timer->next)
        next = timer->deadline_tsc < next ? timer->deadline_tsc : next;
    return next;
}

/* Whoever looks at the timers was away for so long: each that is due runs once, at the end. */
static inline void sleep_through(uint64_t tsc)
{
    clock_tsc += tsc;
    for (struct device_timer *timer = timers; timer; timer = timer->next)
        if (timer->deadline_tsc <= clock_tsc)
            timer->expired(timer);
}

/* So much time passes, and every timer runs when it is due. */
static inline void run_for(uint64_t tsc)
{
    uint64_t end = clock_tsc + tsc, next;
    while ((next = next_deadline()) <= end)
        sleep_through(next > clock_tsc ? next - clock_tsc : 0);
    sleep_through(end - clock_tsc);
}

#endif
