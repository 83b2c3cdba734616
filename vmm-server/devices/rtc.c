/*
 * MC146818 real-time clock with 128 bytes of CMOS memory.
 *
 * State:    the memory, the time as a number of seconds and where the divider chain stood then, interrupt flags.
 * Features: BCD and binary, 12 and 24 hours, century (byte 0x32), SET, divider reset; update-in-progress as long as in
 *           the chip; alarm with don't-cares; periodic, alarm and update-ended interrupts, each flag also without its
 *           interrupt. All of it is computed when it is looked at; the timer runs only for interrupts that are on.
 * Missing:  daylight saving, square-wave output, a battery that fails, NMI gating by bit 7 of port 0x70, the extended
 *           bank of 128 bytes.
 * Ticks:    a periodic interrupt that passed before register C was read is owed, and comes soon after, up to half a
 *           second's worth: as the interval timer's (pit.c).
 * Spec:     Motorola MC146818A, 1984; the memory bytes: SeaBIOS, src/hw/rtc.h.
 */
#include "devices/rtc.h"

#include <stddef.h>
#include <septum.h>

#define PORT       0x70u
#define PORTS      2u
#define INDEX_MASK 0x7fu

#define HERTZ      32768u
#define DAY        86400u
/* An update takes 1984 us, and is announced 244 us before (table 5). */
#define UPDATE_TICKS (HERTZ * 2228ull / 1000000 + 1)
#define OWED_PART    2u

enum register_number {
    SECOND,
    SECOND_ALARM,
    MINUTE,
    MINUTE_ALARM,
    HOUR,
    HOUR_ALARM,
    WEEKDAY,
    DAY_OF_MONTH,
    MONTH,
    YEAR,
    REGISTER_A,
    REGISTER_B,
    REGISTER_C,
    REGISTER_D,
    BASE_MEMORY = 0x15,
    EXTENDED_MEMORY = 0x17,
    EXTENDED_MEMORY_AGAIN = 0x30,
    CENTURY = 0x32,
    MEMORY_ABOVE_16M = 0x34,
    MEMORY_ABOVE_4G = 0x5b,
};

enum {
    A_UPDATE = 0x80,
    A_RATE = 0x0f,
    A_DIVIDER = 0x70,
    A_DIVIDER_RESET = 0x60,
    A_NORMAL = 0x26, /* 32768 Hz, 1024 interrupts a second */
    B_SET = 0x80,
    B_PERIODIC = 0x40,
    B_ALARM = 0x20,
    B_UPDATE = 0x10,
    B_BINARY = 0x04,
    B_24_HOURS = 0x02,
    C_REQUEST = 0x80,
    C_FLAGS = 0x70, /* each where its enable bit is in B */
    D_VALID = 0x80,
    ALARM_ANY = 0xc0,
    AFTERNOON = 0x80,
};

static const uint8_t month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

/* ---- formats ------------------------------------------------------------------------------------------ */

static uint8_t encode(const struct rtc *rtc, unsigned value)
{
    return (uint8_t)(rtc->cmos[REGISTER_B] & B_BINARY ? value : value / 10 % 10 << 4 | value % 10);
}

static unsigned decode(const struct rtc *rtc, uint8_t value)
{
    return rtc->cmos[REGISTER_B] & B_BINARY ? value : (value >> 4) * 10u + (value & 15);
}

static uint8_t encode_hour(const struct rtc *rtc, unsigned hour)
{
    if (rtc->cmos[REGISTER_B] & B_24_HOURS)
        return encode(rtc, hour);
    return (uint8_t)(encode(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? AFTERNOON : 0));
}

static unsigned decode_hour(const struct rtc *rtc, uint8_t value)
{
    if (rtc->cmos[REGISTER_B] & B_24_HOURS)
        return decode(rtc, value) % 24;
    return decode(rtc, value & ~AFTERNOON) % 12 + (value & AFTERNOON ? 12 : 0);
}

static bool is_leap(unsigned year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned days_of(unsigned year, unsigned month)
{
    return month_days[month] + (month == 1 && is_leap(year) ? 1u : 0u);
}

/* Puts a time into the registers. */
static void show(struct rtc *rtc, uint64_t seconds)
{
    uint64_t days = seconds / DAY, second = seconds % DAY;
    unsigned year = 1970, month = 0;
    rtc->cmos[WEEKDAY] = encode(rtc, (unsigned)((days + 4 + rtc->weekday_shift) % 7) + 1);
    /* Whole 400 years have the same days; then at most 400 steps. */
    year += (unsigned)(days / 146097 * 400), days %= 146097;
    for (; days >= (is_leap(year) ? 366u : 365u); year++)
        days -= is_leap(year) ? 366u : 365u;
    for (; days >= days_of(year, month); month++)
        days -= days_of(year, month);
    rtc->cmos[SECOND] = encode(rtc, (unsigned)(second % 60));
    rtc->cmos[MINUTE] = encode(rtc, (unsigned)(second / 60 % 60));
    rtc->cmos[HOUR] = encode_hour(rtc, (unsigned)(second / 3600));
    rtc->cmos[DAY_OF_MONTH] = encode(rtc, (unsigned)days + 1);
    rtc->cmos[MONTH] = encode(rtc, month + 1);
    rtc->cmos[YEAR] = encode(rtc, year % 100);
    rtc->cmos[CENTURY] = encode(rtc, year / 100 % 100);
}

/* The time that is in the registers, as near as they name one. */
static uint64_t told(struct rtc *rtc)
{
    unsigned year =
        decode(rtc, rtc->cmos[CENTURY]) % 100 * 100 + decode(rtc, rtc->cmos[YEAR]) % 100;
    unsigned month = (decode(rtc, rtc->cmos[MONTH]) + 11) % 12;
    unsigned day = decode(rtc, rtc->cmos[DAY_OF_MONTH]);
    uint64_t days = 0;
    if (year < 1970)
        year = year % 100 + (year % 100 < 70 ? 2000 : 1900);
    for (unsigned y = 1970; y < year; y++)
        days += is_leap(y) ? 366 : 365;
    for (unsigned m = 0; m < month; m++)
        days += days_of(year, m);
    days += day ? day - 1 : 0;
    rtc->weekday_shift = (uint8_t)((decode(rtc, rtc->cmos[WEEKDAY]) + 6 + 7 - (days + 4) % 7) % 7);
    return days * DAY + decode_hour(rtc, rtc->cmos[HOUR]) * 3600u +
           decode(rtc, rtc->cmos[MINUTE]) % 60 * 60u + decode(rtc, rtc->cmos[SECOND]) % 60;
}

/* ---- time ------------------------------------------------------------------------------------------------ */

/* Where the divider chain stands, in 32768ths of a second. */
static uint64_t chain(const struct rtc *rtc)
{
    return rate_ticks(&rtc->rate, rtc->host->now() - rtc->epoch_tsc);
}

static bool stands(const struct rtc *rtc)
{
    return rtc->cmos[REGISTER_B] & B_SET ||
           (rtc->cmos[REGISTER_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

static uint64_t second_at(const struct rtc *rtc, uint64_t now)
{
    return rtc->seconds + (stands(rtc) ? 0 : (now - rtc->since) / HERTZ);
}

/* Ticks of the chain between periodic interrupts (table 3); 0: none. */
static uint64_t period(const struct rtc *rtc)
{
    unsigned rate = rtc->cmos[REGISTER_A] & A_RATE;
    if (rate == 0 || (rtc->cmos[REGISTER_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET)
        return 0;
    return 1ull << ((rate <= 2 ? rate + 7 : rate) - 1);
}

static bool alarm_is(uint8_t alarm, uint8_t value)
{
    return (alarm & ALARM_ANY) == ALARM_ANY || alarm == value;
}

/* The first second from `from` on at which the alarm goes off; DEADLINE_NEVER: it names no time. */
static uint64_t next_alarm(const struct rtc *rtc, uint64_t from)
{
    const uint8_t *cmos = rtc->cmos;
    uint64_t at = from;
    while (at <= from + DAY) {
        unsigned second = (unsigned)(at % 60), minute = (unsigned)(at / 60 % 60);
        if (!alarm_is(cmos[HOUR_ALARM], encode_hour(rtc, (unsigned)(at / 3600 % 24))))
            at += 3600 - at % 3600;
        else if (!alarm_is(cmos[MINUTE_ALARM], encode(rtc, minute)))
            at += 60 - at % 60;
        else if (!alarm_is(cmos[SECOND_ALARM], encode(rtc, second)))
            at++;
        else
            return at;
    }
    return DEADLINE_NEVER;
}

/* ---- interrupts -------------------------------------------------------------------------------------------- */

static void update_line(struct rtc *rtc)
{
    uint8_t *flags = &rtc->cmos[REGISTER_C];
    bool high = *flags & rtc->cmos[REGISTER_B] & C_FLAGS;
    *flags = (uint8_t)((*flags & C_FLAGS) | (high ? C_REQUEST : 0));
    rtc->line->set(rtc->line, high);
}

/* Notes in register C what has happened since the last look. */
static void settle(struct rtc *rtc)
{
    uint64_t now = chain(rtc), second = second_at(rtc, now), each = period(rtc);
    uint8_t *flags = &rtc->cmos[REGISTER_C];
    if (each && now / each > rtc->settled_period) {
        uint64_t passed = now / each - rtc->settled_period + rtc->owed;
        uint64_t most = HERTZ / OWED_PART / each + 1;
        rtc->owed = (uint32_t)(passed < most ? passed : most);
        rtc->settled_period = now / each;
        if (!(rtc->cmos[REGISTER_B] & B_PERIODIC))
            rtc->owed = 1; /* a flag that is polled knows no number */
    }
    if (rtc->owed && !(*flags & B_PERIODIC)) {
        rtc->owed--;
        *flags |= B_PERIODIC;
    }
    if (second > rtc->settled_second) {
        *flags |= B_UPDATE;
        if (next_alarm(rtc, rtc->settled_second + 1) <= second)
            *flags |= B_ALARM;
        rtc->settled_second = second;
    }
    update_line(rtc);
}

static uint64_t tsc_of_second(const struct rtc *rtc, uint64_t second)
{
    if (second == DEADLINE_NEVER)
        return second;
    return rtc->epoch_tsc + rate_tsc(&rtc->rate, rtc->since + (second - rtc->seconds) * HERTZ);
}

/* The timer runs for the next interrupt that is on. */
static void arm(struct rtc *rtc)
{
    uint8_t on = rtc->cmos[REGISTER_B];
    uint64_t deadline = DEADLINE_NEVER, each = period(rtc), at;
    if (on & B_PERIODIC && each) {
        deadline = rtc->epoch_tsc + rate_tsc(&rtc->rate, (rtc->settled_period + 1) * each);
        at = rtc->host->now() + rate_tsc(&rtc->rate, each / 2);
        if (rtc->owed && at < deadline)
            deadline = at;
    }
    if (!stands(rtc) && on & B_UPDATE) {
        at = tsc_of_second(rtc, rtc->settled_second + 1);
        deadline = at < deadline ? at : deadline;
    }
    if (!stands(rtc) && on & B_ALARM) {
        at = tsc_of_second(rtc, next_alarm(rtc, rtc->settled_second + 1));
        deadline = at < deadline ? at : deadline;
    }
    device_timer_set(&rtc->timer, deadline);
}

static void expired(struct device_timer *timer)
{
    struct rtc *rtc = (struct rtc *)((char *)timer - offsetof(struct rtc, timer));
    settle(rtc);
    arm(rtc);
}

/* ---- registers ---------------------------------------------------------------------------------------------- */

static bool is_time(unsigned index)
{
    return index == SECOND || index == MINUTE || index == HOUR || index == CENTURY ||
           (index >= WEEKDAY && index <= YEAR);
}

static uint8_t read_a(struct rtc *rtc)
{
    uint64_t left = HERTZ - (chain(rtc) - rtc->since) % HERTZ;
    return (uint8_t)(rtc->cmos[REGISTER_A] | (!stands(rtc) && left <= UPDATE_TICKS ? A_UPDATE : 0));
}

static uint8_t read_c(struct rtc *rtc)
{
    settle(rtc);
    uint8_t value = rtc->cmos[REGISTER_C];
    rtc->cmos[REGISTER_C] = 0;
    update_line(rtc);
    arm(rtc);
    return value;
}

static uint8_t read_register(struct rtc *rtc, unsigned index)
{
    if (is_time(index) && !stands(rtc))
        show(rtc, second_at(rtc, chain(rtc)));
    switch (index) {
    case REGISTER_A: return read_a(rtc);
    case REGISTER_C: return read_c(rtc);
    case REGISTER_D: return D_VALID;
    default: return rtc->cmos[index];
    }
}

/* The clock stops: registers hold the time, and `seconds` and `since` where the second was. */
static void stop(struct rtc *rtc)
{
    uint64_t now = chain(rtc);
    rtc->seconds += (now - rtc->since) / HERTZ;
    rtc->since = now - (now - rtc->since) % HERTZ;
    show(rtc, rtc->seconds);
}

/* It goes on with what the registers say. SET leaves the chain alone, so a second ends where it would have; out of a
 * reset of the chain the first update comes after half a second. */
static void go_on(struct rtc *rtc, bool from_reset)
{
    uint64_t now = chain(rtc);
    rtc->seconds = rtc->settled_second = told(rtc);
    rtc->since = from_reset ? now - HERTZ / 2 : now - (now - rtc->since) % HERTZ;
}

static void write_control(struct rtc *rtc, unsigned index, uint8_t value)
{
    bool stood = stands(rtc);
    bool was_reset = (rtc->cmos[REGISTER_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
    settle(rtc);
    if (!stood &&
        (index == REGISTER_B ? value & B_SET : (value & A_DIVIDER_RESET) == A_DIVIDER_RESET))
        stop(rtc);
    /* A new format is one of the registers to come; a clock that runs is shown in it at once. */
    rtc->cmos[index] = index == REGISTER_A ? value & (A_DIVIDER | A_RATE) : value;
    if (index == REGISTER_B && value & B_SET)
        rtc->cmos[REGISTER_B] &= (uint8_t)~B_UPDATE; /* SET clears UIE */
    if (stood && !stands(rtc))
        go_on(rtc, was_reset);
    rtc->owed = 0;
    rtc->settled_period = period(rtc) ? chain(rtc) / period(rtc) : 0;
    update_line(rtc);
    arm(rtc);
}

static void write_register(struct rtc *rtc, unsigned index, uint8_t value)
{
    if (index == REGISTER_A || index == REGISTER_B) {
        write_control(rtc, index, value);
        return;
    }
    if (index == REGISTER_C || index == REGISTER_D)
        return;
    settle(rtc);
    if (is_time(index) && !stands(rtc)) {
        stop(rtc);
        rtc->cmos[index] = value;
        go_on(rtc, false);
    } else {
        rtc->cmos[index] = value;
    }
    arm(rtc);
}

static bool rtc_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct rtc *rtc = device;
    *value = offset == 0 ? 0xff : read_register(rtc, rtc->index);
    return size_bytes == 1;
}

static bool rtc_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct rtc *rtc = device;
    if (offset == 0)
        rtc->index = value & INDEX_MASK;
    else if (size_bytes == 1)
        write_register(rtc, rtc->index, (uint8_t)value);
    /* A word to the index port is index and data at once. */
    if (offset == 0 && size_bytes == 2)
        write_register(rtc, rtc->index, (uint8_t)(value >> 8));
    return size_bytes <= 2;
}

/* ---- the machine's side ---------------------------------------------------------------------------------------- */

void rtc_init(struct rtc *rtc, struct device_host *host, struct interrupt_line *line,
              uint64_t seconds)
{
    *rtc = (struct rtc){.host = host,
                        .line = line,
                        .seconds = seconds,
                        .settled_second = seconds,
                        .epoch_tsc = host->now(),
                        .timer = {.deadline_tsc = DEADLINE_NEVER, .expired = expired}};
    rate_init(&rtc->rate, HERTZ, host->tsc_khz);
    rtc->cmos[REGISTER_A] = A_NORMAL;
    rtc->cmos[REGISTER_B] = B_24_HOURS;
    host->add_timer(host, &rtc->timer);
}

static void set_word(struct rtc *rtc, unsigned index, uint64_t value, uint64_t most)
{
    value = value < most ? value : most;
    for (unsigned i = 0; most; i++, value >>= 8, most >>= 8)
        rtc->cmos[index + i] = (uint8_t)value;
}

/* In KiB, KiB above 1 MiB, and units of 64 KiB above 16 MiB and 4 GiB. */
void rtc_set_memory(struct rtc *rtc, uint64_t below_4g, uint64_t above_4g)
{
    uint64_t extended = below_4g > 1u << 20 ? (below_4g - (1u << 20)) >> 10 : 0;
    uint64_t high = below_4g > 1u << 24 ? (below_4g - (1u << 24)) >> 16 : 0;
    set_word(rtc, BASE_MEMORY, below_4g >> 10 < 640 ? below_4g >> 10 : 640, 0xffff);
    set_word(rtc, EXTENDED_MEMORY, extended, 0xffff);
    set_word(rtc, EXTENDED_MEMORY_AGAIN, extended, 0xffff);
    set_word(rtc, MEMORY_ABOVE_16M, high, 0xffff);
    set_word(rtc, MEMORY_ABOVE_4G, above_4g >> 16, 0xffffff);
}

void rtc_set_byte(struct rtc *rtc, unsigned index, uint8_t value)
{
    rtc->cmos[index % RTC_BYTES] = value;
}

uint8_t rtc_byte(const struct rtc *rtc, unsigned index)
{
    return rtc->cmos[index % RTC_BYTES];
}

bool rtc_attach(struct rtc *rtc, struct bus *ports)
{
    static const struct bus_operations operations = {.read = rtc_read, .write = rtc_write};
    return bus_add(ports, &(struct bus_range){PORT, PORTS, &operations, rtc, "clock and CMOS"});
}

void rtc_dump(struct rtc *rtc, struct sink *sink)
{
    print(sink, "  rtc a %x b %x c %x second %lu index %x\n", rtc->cmos[REGISTER_A],
          rtc->cmos[REGISTER_B], rtc->cmos[REGISTER_C], (unsigned long)second_at(rtc, chain(rtc)),
          rtc->index);
}
