/*
 * The task. Command line, all of it optional: `periods=N` wake-ups a report, `us=N` between two of them,
 * `reports=N`.
 */
#include "metronome.h"

#define CMD_LINE_PTR 0x228 /* in boot_params: x86 boot protocol, "cmd_line_ptr" */

enum {
    PERIODS = 1000,
    PERIOD_US = 1000,
    REPORTS = 1,
    PERIOD_US_LEAST = 50,
    PERIOD_US_MOST = 1000000
};

static struct lateness lateness;

/*
 * The number behind `word=` in the command line, within its bounds; what is not said, or is no number, has its
 * default.
 */
static uint64_t option(const char *line, const char *word, uint64_t value, uint64_t least,
                       uint64_t most)
{
    for (const char *at = line; *at; at++) {
        const char *w = word;
        const char *p = at;
        if (at != line && at[-1] != ' ')
            continue;
        for (; *w && *p == *w; w++)
            p++;
        if (*w || *p < '0' || *p > '9')
            continue;
        for (value = 0; *p >= '0' && *p <= '9' && value <= most; p++)
            value = value * 10 + (uint64_t)(*p - '0');
    }
    return value < least ? least : value > most ? most : value;
}

static void say_of(const char *what, uint64_t number)
{
    say(what);
    say_number(number);
}

static void report(uint64_t missed, uint64_t check_sum)
{
    lateness_sort(&lateness);
    for (unsigned i = 0; i < LATENESS_BANDS; i++) {
        if (!lateness.bands[i])
            continue;
        say_of("METRONOME late ", i ? 1ull << i : 0);
        say_of(" count ", lateness.bands[i]);
        say("\n");
    }
    say_of("METRONOME periods ", lateness.count);
    say_of(" min ", lateness.all[0]);
    say_of(" median ", lateness_part(&lateness, 500));
    say_of(" p99 ", lateness_part(&lateness, 990));
    say_of(" max ", lateness.all[lateness.count - 1]);
    say_of(" missed ", missed);
    say(" check ");
    say_hex(check_sum);
    say("\n");
    lateness.count = 0;
    for (unsigned i = 0; i < LATENESS_BANDS; i++)
        lateness.bands[i] = 0;
}

/*
 * A deadline is the one before and a period; those that have gone by when the step is done are missed, and left
 * out.
 */
static uint64_t run(struct loop *loop, uint64_t periods, uint64_t period)
{
    uint64_t missed = 0;
    uint64_t deadline = ticks() + period;
    for (uint64_t i = 0; i < periods; i++) {
        uint64_t woken = sleep_until(deadline);
        lateness_add(&lateness, woken - deadline);
        loop_step(loop);
        deadline += period;
        for (uint64_t now = ticks(); deadline <= now; missed++)
            deadline += period;
    }
    return missed;
}

void metronome_main(const uint8_t *boot_params);

void metronome_main(const uint8_t *boot_params)
{
    const char *line = (const char *)(uint64_t) * (const uint32_t *)(boot_params + CMD_LINE_PTR);
    if (!line)
        line = "";
    uint64_t periods = option(line, "periods=", PERIODS, 1, LATENESS_MOST);
    uint64_t us = option(line, "us=", PERIOD_US, PERIOD_US_LEAST, PERIOD_US_MOST);
    uint64_t reports = option(line, "reports=", REPORTS, 1, UINT64_MAX / 16);
    struct loop loop;
    if (!timer_start())
        return;
    if (!ticks_per_us()) {
        say("METRONOME does not know how fast the time-stamp counter runs: CPUID 40000010 says "
            "nothing\n");
        return;
    }
    loop_start(&loop);
    say_of("SEPTUM-GUEST-UP metronome, period ", us);
    say_of(" us of ", ticks_per_us());
    say(" ticks\n");
    for (; reports; reports--) {
        uint64_t missed = run(&loop, periods, us * ticks_per_us());
        report(missed, loop.check_sum);
    }
    say("METRONOME done\n");
}
