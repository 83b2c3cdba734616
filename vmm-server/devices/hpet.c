/*
 * High precision event timer with three timers.
 *
 * State:    configuration, status, where the counter stood and when, and for each timer configuration and comparator.
 * Features: a 64-bit counter of 14.318180 MHz, computed when it is read; one-shot and periodic timers, 32 and 64 bits,
 *           edge and level, routed to IOAPIC pins 16 to 23; legacy replacement of IRQ 0 and IRQ 8.
 * Missing:  messages (FSB delivery).
 * Ticks:    periods that passed unseen are one interrupt: who uses this timer reads its counter for the time.
 * Spec:     Intel, IA-PC HPET Specification 1.0a, October 2004, 2.3.
 */
#include "devices/hpet.h"

#include <stddef.h>
#include <septum.h>

#define BYTES     0x400u
#define HERTZ     14318180u
#define PERIOD_FS 69841279ull
#define CAPABILITIES \
    (PERIOD_FS << 32 | 0x8086a201u) /* 64 bits, legacy replacement, 3 timers, revision 1 */
#define ROUTES   0x00ff0000ull      /* pins that a timer can go to */
#define SHORTEST 286u               /* ticks between two looks: 20 us */

enum {
    OFFSET_CAPABILITIES = 0x000,
    OFFSET_CONFIG = 0x010,
    OFFSET_STATUS = 0x020,
    OFFSET_COUNTER = 0x0f0,
    OFFSET_TIMERS = 0x100,
    TIMER_BYTES = 0x20,
    TIMER_CONFIG = 0x00,
    TIMER_COMPARATOR = 0x08,
};

enum {
    CONFIG_ENABLE = 1,
    CONFIG_LEGACY = 2,
    TIMER_LEVEL = 0x0002,
    TIMER_ENABLE = 0x0004,
    TIMER_PERIODIC = 0x0008,
    TIMER_CAN_PERIODIC = 0x0010,
    TIMER_CAN_64 = 0x0020,
    TIMER_SET_VALUE = 0x0040,
    TIMER_32 = 0x0100,
    TIMER_ROUTE_SHIFT = 9,
    TIMER_ROUTE_MASK = 0x1f,
    TIMER_WRITABLE = 0x3f0e,
};

/* ---- the counter ---------------------------------------------------------------------------------------- */

static uint64_t counter(const struct hpet *hpet)
{
    if (!(hpet->config & CONFIG_ENABLE))
        return hpet->base;
    return hpet->base + rate_ticks(&hpet->rate, hpet->host->now() - hpet->since_tsc);
}

static uint64_t width(const struct hpet_timer *timer)
{
    return timer->config & TIMER_32 ? UINT32_MAX : UINT64_MAX;
}

bool hpet_replaces(const struct hpet *hpet)
{
    return (hpet->config & CONFIG_LEGACY) != 0;
}

/* ---- interrupts ------------------------------------------------------------------------------------------ */

static unsigned number_of(const struct hpet *hpet, const struct hpet_timer *timer)
{
    return (unsigned)(timer - hpet->timers);
}

/* NULL: it is routed to where it can't go. */
static struct interrupt_line *line_of(const struct hpet *hpet, const struct hpet_timer *timer)
{
    unsigned number = number_of(hpet, timer);
    unsigned pin = timer->config >> TIMER_ROUTE_SHIFT & TIMER_ROUTE_MASK;
    if (hpet_replaces(hpet) && number < 2)
        return hpet->legacy[number];
    return ROUTES >> pin & 1 ? hpet->pins[pin] : NULL;
}

static void set_level(struct hpet *hpet, struct hpet_timer *timer, bool high)
{
    struct interrupt_line *line = line_of(hpet, timer);
    if (high == timer->high)
        return;
    timer->high = high;
    if (line)
        line->set(line, high);
}

/* An edge: the line falls just before it rises, so that what waits for the processor is not taken back. */
static void fire(struct hpet *hpet, struct hpet_timer *timer)
{
    if (timer->config & TIMER_LEVEL)
        hpet->status |= 1ull << number_of(hpet, timer);
    if (!(timer->config & TIMER_ENABLE))
        return;
    set_level(hpet, timer, timer->config & TIMER_LEVEL ? timer->high : false);
    set_level(hpet, timer, true);
}

/* When the counter meets the comparator next, from `now` on. */
static void set_up(const struct hpet *hpet, struct hpet_timer *timer, uint64_t now)
{
    uint64_t left = (timer->comparator - now) & width(timer);
    timer->armed_for = DEADLINE_NEVER;
    if (hpet->config & CONFIG_ENABLE && left <= DEADLINE_NEVER - 1 - now)
        timer->armed_for = now + left;
}

static void pass(struct hpet *hpet, struct hpet_timer *timer, uint64_t now)
{
    if (timer->armed_for > now)
        return;
    if (timer->config & TIMER_PERIODIC && timer->period) {
        uint64_t passed = (now - timer->armed_for) / timer->period + 1;
        timer->comparator = (timer->comparator + passed * timer->period) & width(timer);
        set_up(hpet, timer, now);
    } else if (width(timer) == UINT32_MAX) {
        timer->armed_for += 1ull << 32; /* it meets it again after the counter's turn */
    } else {
        timer->armed_for = DEADLINE_NEVER;
    }
    fire(hpet, timer);
}

static void update(struct hpet *hpet)
{
    uint64_t now = counter(hpet), next = DEADLINE_NEVER;
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        struct hpet_timer *timer = &hpet->timers[i];
        if (hpet->config & CONFIG_ENABLE)
            pass(hpet, timer, now);
        if (timer->config & TIMER_ENABLE && timer->armed_for < next)
            next = timer->armed_for;
    }
    device_timer_set(&hpet->timer, DEADLINE_NEVER);
    if (!(hpet->config & CONFIG_ENABLE) || next == DEADLINE_NEVER)
        return;
    /* A period of a few ticks must not leave the guest without time to run in. */
    if (next < now + SHORTEST)
        next = now + SHORTEST;
    uint64_t tsc = rate_tsc(&hpet->rate, next - now);
    device_timer_set(&hpet->timer, hpet->host->now() + tsc);
}

static void expired(struct device_timer *timer)
{
    update((struct hpet *)((char *)timer - offsetof(struct hpet, timer)));
}

/* ---- registers ---------------------------------------------------------------------------------------------- */

static void set_up_all(struct hpet *hpet)
{
    uint64_t now = counter(hpet);
    for (unsigned i = 0; i < HPET_TIMERS; i++)
        set_up(hpet, &hpet->timers[i], now);
}

static void write_config(struct hpet *hpet, uint64_t value)
{
    uint64_t now = counter(hpet);
    for (unsigned i = 0; i < 2 && (value ^ hpet->config) & CONFIG_LEGACY; i++)
        set_level(hpet, &hpet->timers[i], false); /* off the line that it leaves */
    hpet->base = now;
    hpet->since_tsc = hpet->host->now();
    hpet->config = value & (CONFIG_ENABLE | CONFIG_LEGACY);
    set_up_all(hpet);
}

/* A 1 takes back a level. */
static void write_status(struct hpet *hpet, uint64_t value)
{
    hpet->status &= ~value;
    for (unsigned i = 0; i < HPET_TIMERS; i++)
        if (value >> i & 1 && hpet->timers[i].config & TIMER_LEVEL)
            set_level(hpet, &hpet->timers[i], false);
}

static void write_timer_config(struct hpet *hpet, struct hpet_timer *timer, uint64_t value)
{
    set_level(hpet, timer, false);
    timer->sets_value = (value & TIMER_SET_VALUE) != 0;
    timer->config = value & TIMER_WRITABLE;
    /* What can't be routed to reads back as what was possible: software finds out by trying (2.3.8). */
    if (!(ROUTES >> (value >> TIMER_ROUTE_SHIFT & TIMER_ROUTE_MASK) & 1))
        timer->config &= ~((uint32_t)TIMER_ROUTE_MASK << TIMER_ROUTE_SHIFT);
    timer->comparator &= width(timer);
    timer->period &= width(timer);
    set_up(hpet, timer, counter(hpet));
    if (timer->config & TIMER_LEVEL && timer->config & TIMER_ENABLE &&
        hpet->status >> number_of(hpet, timer) & 1)
        set_level(hpet, timer, true);
}

static void write_comparator(struct hpet *hpet, struct hpet_timer *timer, uint64_t value)
{
    bool periodic = (timer->config & TIMER_PERIODIC) != 0;
    value &= width(timer);
    if (!periodic || timer->sets_value)
        timer->comparator = value;
    if (periodic)
        timer->period = value;
    timer->sets_value = false;
    set_up(hpet, timer, counter(hpet));
}

static uint64_t read_register(const struct hpet *hpet, uint64_t offset)
{
    const struct hpet_timer *timer =
        &hpet->timers[offset >= OFFSET_TIMERS ? (offset - OFFSET_TIMERS) / TIMER_BYTES % HPET_TIMERS
                                              : 0];
    switch (offset) {
    case OFFSET_CAPABILITIES: return CAPABILITIES;
    case OFFSET_CONFIG: return hpet->config;
    case OFFSET_STATUS: return hpet->status;
    case OFFSET_COUNTER: return counter(hpet);
    }
    if (offset < OFFSET_TIMERS || offset >= OFFSET_TIMERS + HPET_TIMERS * TIMER_BYTES)
        return 0;
    switch (offset % TIMER_BYTES) {
    case TIMER_CONFIG: return ROUTES << 32 | timer->config | TIMER_CAN_PERIODIC | TIMER_CAN_64;
    case TIMER_COMPARATOR: return timer->comparator;
    }
    return 0;
}

static void write_register(struct hpet *hpet, uint64_t offset, uint64_t value)
{
    switch (offset) {
    case OFFSET_CONFIG: write_config(hpet, value); return;
    case OFFSET_STATUS: write_status(hpet, value); return;
    case OFFSET_COUNTER:
        hpet->base = value;
        hpet->since_tsc = hpet->host->now();
        set_up_all(hpet);
        return;
    }
    if (offset < OFFSET_TIMERS || offset >= OFFSET_TIMERS + HPET_TIMERS * TIMER_BYTES)
        return;
    struct hpet_timer *timer = &hpet->timers[(offset - OFFSET_TIMERS) / TIMER_BYTES];
    if (offset % TIMER_BYTES == TIMER_CONFIG)
        write_timer_config(hpet, timer, value);
    else if (offset % TIMER_BYTES == TIMER_COMPARATOR)
        write_comparator(hpet, timer, value);
}

/* Registers have 64 bits, and are reached by aligned halves or as a whole. */
static bool is_defined(uint64_t offset, unsigned size_bytes)
{
    return (size_bytes == 4 || size_bytes == 8) && offset % size_bytes == 0;
}

static bool hpet_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct hpet *hpet = device;
    if (!is_defined(offset, size_bytes))
        return false;
    if ((offset & ~7ull) != OFFSET_COUNTER)
        update(hpet);
    uint64_t whole = read_register(hpet, offset & ~7ull);
    *value = size_bytes == 8 ? whole : (uint32_t)(whole >> 8 * (offset & 4));
    return true;
}

static bool hpet_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct hpet *hpet = device;
    uint64_t at = offset & ~7ull;
    if (!is_defined(offset, size_bytes))
        return false;
    update(hpet);
    if (size_bytes == 4) {
        /* Of the status the other half must stay, of others it is what it was. */
        uint64_t old = at == OFFSET_STATUS ? 0 : read_register(hpet, at);
        value =
            offset & 4 ? (old & UINT32_MAX) | value << 32 : (old & ~(uint64_t)UINT32_MAX) | value;
    }
    write_register(hpet, at, value);
    update(hpet);
    return true;
}

/* ---- the machine's side ---------------------------------------------------------------------------------------- */

void hpet_init(struct hpet *hpet, struct device_host *host)
{
    *hpet =
        (struct hpet){.host = host, .timer = {.deadline_tsc = DEADLINE_NEVER, .expired = expired}};
    rate_init(&hpet->rate, HERTZ, host->tsc_khz);
    host->add_timer(host, &hpet->timer);
    hpet_reset(hpet);
}

void hpet_reset(struct hpet *hpet)
{
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        set_level(hpet, &hpet->timers[i], false);
        hpet->timers[i] =
            (struct hpet_timer){.comparator = UINT64_MAX, .armed_for = DEADLINE_NEVER};
    }
    hpet->config = hpet->status = hpet->base = 0;
    update(hpet);
}

bool hpet_attach(struct hpet *hpet, struct bus *addresses)
{
    static const struct bus_operations operations = {.read = hpet_read, .write = hpet_write};
    return bus_add(addresses, &(struct bus_range){HPET_ADDRESS, BYTES, &operations, hpet, "HPET"});
}

void hpet_dump(const struct hpet *hpet, struct sink *sink)
{
    print(sink, "  hpet config %lx status %lx counter %lx\n", (unsigned long)hpet->config,
          (unsigned long)hpet->status, (unsigned long)counter(hpet));
    for (unsigned i = 0; i < HPET_TIMERS; i++)
        print(sink, "    timer %u config %x comparator %lx period %lx\n", i, hpet->timers[i].config,
              (unsigned long)hpet->timers[i].comparator, (unsigned long)hpet->timers[i].period);
}
