/*
 * 8254 programmable interval timer.
 *
 * State:    three channels: mode, initial count, latches, gate, and the tick at which counting began. A count is
 *           computed when it is read.
 * Features: modes 0 to 5, binary and BCD; one-byte and two-byte access; counter latch and read-back of count and
 *           status; a new count in modes 2 and 3 takes effect at the end of a period, in modes 1 and 5 at the next
 *           trigger. Channel 0 drives IRQ 0; channel 2 has its gate and output at port 0x61.
 * Missing:  the one tick of delay between a write and its count; what mode 3's counter shows of odd counts (they
 *           are read as if even); the falling edge of channel 0, which nothing sees: its line falls just before it
 *           rises again.
 * Ticks:    an edge of channel 0 that comes while the last one still waits for the processor, or that passed while
 *           nobody looked, is owed. What is owed is given at twice the rate, so a guest that counts ticks keeps
 *           its time; but never more than half a second's, so one that stood still is not flooded.
 * Spec:     Intel 8254, September 1993 (order 231164-005), "Programming the 8254", "Mode Definitions".
 */
#include "devices/pit.h"

#include <stddef.h>
#include <septum.h>

#define PORT           0x40u
#define PORTS          4u
#define CONTROL        3u

#define WHOLE          0x10000u /* what a count of 0 means */
#define WHOLE_BCD      10000u

#define SELECT_BACK    3u /* of the control word: read-back */
#define BACK_NO_COUNT  0x20u
#define BACK_NO_STATUS 0x10u

#define STATUS_OUTPUT  0x80u
#define STATUS_NULL    0x40u

#define ACCESS_LOW     1u
#define ACCESS_HIGH    2u
#define ACCESS_BOTH    3u

#define OWED_PART      2u  /* of a second */
#define SHORTEST       24u /* ticks between two looks of channel 0: 20 us */

enum pit_mode {
    MODE_TERMINAL_COUNT,
    MODE_ONE_SHOT,
    MODE_RATE,
    MODE_SQUARE,
    MODE_SOFTWARE_STROBE,
    MODE_HARDWARE_STROBE,
};

/* ---- time -------------------------------------------------------------------------------------------- */

uint64_t pit_ticks(const struct pit *pit)
{
    return rate_ticks(&pit->rate, pit->host->now() - pit->epoch_tsc);
}

static bool is_periodic(const struct pit_channel *channel)
{
    return channel->mode == MODE_RATE || channel->mode == MODE_SQUARE;
}

static bool is_triggered(const struct pit_channel *channel)
{
    return channel->mode == MODE_ONE_SHOT || channel->mode == MODE_HARDWARE_STROBE;
}

static uint32_t whole(const struct pit_channel *channel)
{
    return channel->bcd ? WHOLE_BCD : WHOLE;
}

/* A new count whose time has come is the one that counts. */
static void settle(struct pit_channel *channel, uint64_t now)
{
    if (!channel->next || now < channel->next_at)
        return;
    channel->initial = channel->next;
    channel->start = channel->next_at;
    channel->next = 0;
    channel->null_count = false;
}

/* The count element's value; after its end it goes on from the top, but in the periodic modes. */
static uint32_t count_at(const struct pit_channel *channel, uint64_t now)
{
    uint64_t gone = now - channel->start, initial = channel->initial;
    if (!channel->counting)
        return channel->paused;
    if (channel->mode == MODE_RATE)
        return (uint32_t)(initial - gone % initial);
    if (channel->mode == MODE_SQUARE)
        return (uint32_t)(initial - gone * 2 % initial);
    gone %= whole(channel);
    return (uint32_t)(initial >= gone ? initial - gone : initial + whole(channel) - gone);
}

static bool output_at(const struct pit_channel *channel, uint64_t now)
{
    uint64_t gone = now - channel->start, initial = channel->initial;
    switch ((enum pit_mode)channel->mode) {
    case MODE_TERMINAL_COUNT: return channel->counting && gone >= initial;
    case MODE_ONE_SHOT: return !channel->counting || gone >= initial;
    case MODE_RATE: return !channel->counting || gone % initial != initial - 1;
    case MODE_SQUARE: return !channel->counting || gone % initial < (initial + 1) / 2;
    case MODE_SOFTWARE_STROBE:
    case MODE_HARDWARE_STROBE: return !channel->counting || gone != initial;
    }
    return true;
}

/* ---- channel 0's interrupt ------------------------------------------------------------------------------ */

/* The first rising edge of its output after `now`; DEADLINE_NEVER: none comes. */
static uint64_t next_edge(const struct pit_channel *channel, uint64_t now)
{
    uint64_t end = channel->start + channel->initial;
    if (!channel->counting)
        return DEADLINE_NEVER;
    if (is_periodic(channel)) {
        if (channel->next)
            return channel->next_at;
        return now - (now - channel->start) % channel->initial + channel->initial;
    }
    if (channel->mode == MODE_SOFTWARE_STROBE || channel->mode == MODE_HARDWARE_STROBE)
        end++;
    return end > now ? end : DEADLINE_NEVER;
}

static uint64_t tsc_of(const struct pit *pit, uint64_t tick)
{
    return pit->epoch_tsc + rate_tsc(&pit->rate, tick);
}

static void arm(struct pit *pit)
{
    const struct pit_channel *channel = &pit->channels[0];
    uint64_t now = pit->host->now(), soon = now + rate_tsc(&pit->rate, channel->initial / 2 + 1);
    uint64_t deadline = pit->edge == DEADLINE_NEVER ? DEADLINE_NEVER : tsc_of(pit, pit->edge);
    if (pit->owed && soon < deadline)
        deadline = soon;
    /* A period of a few ticks must not leave the guest without time to run in. */
    soon = now + rate_tsc(&pit->rate, SHORTEST);
    device_timer_set(&pit->timer, deadline < soon ? soon : deadline);
}

/* Channel 0 is programmed anew. */
static void restart(struct pit *pit, uint64_t now)
{
    pit->owed = 0;
    pit->edge = next_edge(&pit->channels[0], now);
    if (pit->channels[0].mode == MODE_TERMINAL_COUNT)
        pit->line->set(pit->line, false);
    arm(pit);
}

/* Counts what has passed since the edge that was waited for. */
static void count_edges(struct pit *pit, uint64_t now)
{
    struct pit_channel *channel = &pit->channels[0];
    uint64_t most = PIT_HERTZ / OWED_PART / channel->initial + 1, passed = pit->owed;
    while (pit->edge <= now) {
        uint64_t edge = pit->edge;
        settle(channel, edge);
        /* All but the first of one period's edges at once: only a change of the count comes between. */
        uint64_t more =
            is_periodic(channel) && !channel->next ? (now - edge) / channel->initial : 0;
        passed += 1 + more;
        pit->edge = next_edge(channel, edge + more * channel->initial);
    }
    pit->owed = (uint32_t)(passed < most ? passed : most);
}

static void expired(struct device_timer *timer)
{
    struct pit *pit = (struct pit *)((char *)timer - offsetof(struct pit, timer));
    count_edges(pit, pit_ticks(pit));
    if (pit->owed && !pit->edge_waits(pit)) {
        pit->owed--;
        pit->line->set(pit->line, false);
        pit->line->set(pit->line, true);
    }
    arm(pit);
}

/* ---- counts ----------------------------------------------------------------------------------------------- */

static uint32_t from_bcd(uint32_t value)
{
    return (value >> 12 & 15) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 +
           (value & 15);
}

static uint16_t to_bcd(uint32_t value)
{
    return (uint16_t)(value / 1000 % 10 << 12 | value / 100 % 10 << 8 | value / 10 % 10 << 4 |
                      value % 10);
}

/* As the guest reads it: 65536 and 10000 are 0. */
static uint16_t shown(const struct pit_channel *channel, uint32_t count)
{
    return channel->bcd ? to_bcd(count) : (uint16_t)count;
}

static void load(struct pit *pit, struct pit_channel *channel, uint32_t written)
{
    uint64_t now = pit_ticks(pit);
    uint32_t count = channel->bcd ? from_bcd(written) : written;
    if (count == 0)
        count = whole(channel);
    settle(channel, now);
    if (is_periodic(channel) && channel->counting) {
        channel->next = count;
        channel->next_at = now - (now - channel->start) % channel->initial + channel->initial;
        channel->null_count = true;
        if (channel == &pit->channels[0] && pit->edge > channel->next_at)
            pit->edge = channel->next_at;
        return;
    }
    if (is_triggered(channel)) {
        /* One that runs goes on with the old count until its trigger. */
        channel->next = count;
        channel->next_at = DEADLINE_NEVER;
        channel->null_count = true;
        return;
    }
    channel->initial = channel->paused = count;
    channel->next = 0;
    channel->null_count = false;
    channel->counting = channel->gate;
    channel->start = now;
    if (channel == &pit->channels[0])
        restart(pit, now);
}

static void write_count(struct pit *pit, struct pit_channel *channel, uint8_t value)
{
    switch (channel->access) {
    case ACCESS_LOW: load(pit, channel, value); return;
    case ACCESS_HIGH: load(pit, channel, (uint32_t)value << 8); return;
    case ACCESS_BOTH: break;
    }
    if (channel->write_high) {
        channel->write_high = false;
        load(pit, channel, (uint32_t)value << 8 | channel->low_byte);
        return;
    }
    channel->low_byte = value;
    channel->write_high = true;
    if (channel->mode == MODE_TERMINAL_COUNT) {
        /* The first byte stops it, and its output is low at once. */
        channel->paused = count_at(channel, pit_ticks(pit));
        channel->counting = false;
        channel->null_count = true;
        if (channel == &pit->channels[0])
            restart(pit, pit_ticks(pit));
    }
}

static uint8_t read_count(struct pit *pit, struct pit_channel *channel)
{
    uint64_t now = pit_ticks(pit);
    if (channel->status_latched) {
        channel->status_latched = false;
        return channel->status;
    }
    if (channel->latched_bytes) {
        bool high = channel->access == ACCESS_HIGH ||
                    (channel->access == ACCESS_BOTH && channel->latched_bytes == 1);
        channel->latched_bytes--;
        return (uint8_t)(high ? channel->latched >> 8 : channel->latched);
    }
    settle(channel, now);
    bool high = channel->access == ACCESS_HIGH || channel->read_high;
    if (channel->access == ACCESS_BOTH)
        channel->read_high = !channel->read_high;
    uint16_t count = shown(channel, count_at(channel, now));
    return (uint8_t)(high ? count >> 8 : count);
}

/* ---- the control word -------------------------------------------------------------------------------------- */

static void latch_count(struct pit_channel *channel, uint64_t now)
{
    if (channel->latched_bytes)
        return; /* the first latch holds until it is read */
    channel->latched = shown(channel, count_at(channel, now));
    channel->latched_bytes = channel->access == ACCESS_BOTH ? 2 : 1;
    channel->read_high = false;
}

static void latch_status(struct pit_channel *channel, uint64_t now)
{
    if (channel->status_latched)
        return;
    channel->status = (uint8_t)((output_at(channel, now) ? STATUS_OUTPUT : 0) |
                                (channel->null_count ? STATUS_NULL : 0) | channel->access << 4 |
                                channel->mode << 1 | channel->bcd);
    channel->status_latched = true;
}

static void set_mode(struct pit *pit, struct pit_channel *channel, uint8_t word)
{
    uint8_t mode = word >> 1 & 7;
    bool gate = channel->gate;
    uint32_t initial = channel->initial, count = count_at(channel, pit_ticks(pit));
    *channel = (struct pit_channel){
        .mode = mode > MODE_HARDWARE_STROBE ? mode - 4 : mode, /* 6 and 7 are 2 and 3 */
        .access = word >> 4 & 3,
        .bcd = word & 1,
        .gate = gate,
        .null_count = true,
        .initial = initial,
        .paused = count,
    };
    if (channel == &pit->channels[0])
        restart(pit, pit_ticks(pit));
}

static void read_back(struct pit *pit, uint8_t word)
{
    uint64_t now = pit_ticks(pit);
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        struct pit_channel *channel = &pit->channels[i];
        if (!(word >> (i + 1) & 1))
            continue;
        settle(channel, now);
        if (!(word & BACK_NO_COUNT))
            latch_count(channel, now);
        if (!(word & BACK_NO_STATUS))
            latch_status(channel, now);
    }
}

static void control(struct pit *pit, uint8_t word)
{
    if (word >> 6 == SELECT_BACK) {
        read_back(pit, word);
        return;
    }
    struct pit_channel *channel = &pit->channels[word >> 6];
    uint64_t now = pit_ticks(pit);
    settle(channel, now);
    if (word >> 4 & 3)
        set_mode(pit, channel, word);
    else
        latch_count(channel, now);
}

/* ---- channel 2's gate ---------------------------------------------------------------------------------------- */

static void gate_rises(struct pit_channel *channel, uint64_t now)
{
    switch ((enum pit_mode)channel->mode) {
    case MODE_TERMINAL_COUNT:
    case MODE_SOFTWARE_STROBE: /* goes on where it was */
        if (channel->null_count || channel->counting)
            return;
        channel->start = now - (channel->initial - channel->paused);
        channel->counting = true;
        return;
    case MODE_RATE:
    case MODE_SQUARE:
        if (channel->null_count && !channel->next)
            return; /* no count has been written since the mode was */
        break;
    case MODE_ONE_SHOT:
    case MODE_HARDWARE_STROBE:
        if (!channel->next && !channel->counting)
            return;
        break;
    }
    if (channel->next)
        channel->initial = channel->next;
    channel->next = 0;
    channel->null_count = false;
    channel->start = now;
    channel->counting = true;
}

/* Then nothing is left for the gate to stop but a count that nobody needs. */
static bool has_ended(const struct pit_channel *channel, uint64_t now)
{
    return now - channel->start > channel->initial;
}

void pit_set_gate(struct pit *pit, bool high)
{
    struct pit_channel *channel = &pit->channels[2];
    uint64_t now = pit_ticks(pit);
    if (channel->gate == high)
        return;
    settle(channel, now);
    channel->gate = high;
    if (high) {
        gate_rises(channel, now);
    } else if (!is_triggered(channel) && (is_periodic(channel) || !has_ended(channel, now))) {
        channel->paused = count_at(channel, now);
        channel->counting = false;
    }
}

bool pit_gate(const struct pit *pit)
{
    return pit->channels[2].gate;
}

bool pit_output(struct pit *pit)
{
    uint64_t now = pit_ticks(pit);
    settle(&pit->channels[2], now);
    return output_at(&pit->channels[2], now);
}

uint64_t pit_output_rises(struct pit *pit)
{
    const struct pit_channel *channel = &pit->channels[2];
    uint64_t now = pit_ticks(pit);
    if (pit_output(pit) || !channel->counting)
        return DEADLINE_NEVER;
    uint64_t edge = next_edge(channel, now);
    return edge == DEADLINE_NEVER ? DEADLINE_NEVER : tsc_of(pit, edge);
}

/* ---- the machine's side ---------------------------------------------------------------------------------------- */

static bool pit_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct pit *pit = device;
    /* The control word can't be read. */
    *value = offset == CONTROL ? 0xff : read_count(pit, &pit->channels[offset]);
    return size_bytes == 1;
}

static bool pit_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct pit *pit = device;
    if (size_bytes != 1)
        return false;
    if (offset == CONTROL)
        control(pit, (uint8_t)value);
    else
        write_count(pit, &pit->channels[offset], (uint8_t)value);
    return true;
}

void pit_init(struct pit *pit, struct device_host *host, struct interrupt_line *line,
              bool (*edge_waits)(struct pit *pit), void *machine)
{
    *pit = (struct pit){.host = host,
                        .line = line,
                        .edge_waits = edge_waits,
                        .machine = machine,
                        .epoch_tsc = host->now(),
                        .timer = {.deadline_tsc = DEADLINE_NEVER, .expired = expired}};
    rate_init(&pit->rate, PIT_HERTZ, host->tsc_khz);
    host->add_timer(host, &pit->timer);
    pit_reset(pit);
}

/* The chip has no reset: this is the state in which it counts nothing. */
void pit_reset(struct pit *pit)
{
    for (unsigned i = 0; i < PIT_CHANNELS; i++)
        pit->channels[i] = (struct pit_channel){.mode = MODE_RATE,
                                                .access = ACCESS_BOTH,
                                                .gate = i != 2,
                                                .null_count = true,
                                                .initial = WHOLE};
    restart(pit, pit_ticks(pit));
}

bool pit_attach(struct pit *pit, struct bus *ports)
{
    static const struct bus_operations operations = {.read = pit_read, .write = pit_write};
    return bus_add(ports, &(struct bus_range){PORT, PORTS, &operations, pit, "interval timer"});
}

void pit_dump(struct pit *pit, struct sink *sink)
{
    uint64_t now = pit_ticks(pit);
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        struct pit_channel *channel = &pit->channels[i];
        settle(channel, now);
        print(sink, "  pit %u mode %u initial %u count %u output %u gate %u owed %u\n", i,
              channel->mode, channel->initial, count_at(channel, now), output_at(channel, now),
              channel->gate, i ? 0 : pit->owed);
    }
}
