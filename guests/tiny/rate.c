/*
 * Counts the rounds of arithmetic that it gets done in each period of the time-stamp counter, says so of all periods of a
 * batch, and begins anew. Between the periods of a batch it says nothing: that would take of the next one's time.
 *
 *   TICKS COUNT    the command line: a period's length, and how many are a batch
 */
#include "tiny.h"

#define CMD_LINE_PTR 0x228

enum { MOST = 64, ROUNDS = 100 };

static uint64_t number(const uint8_t **at)
{
    uint64_t value = 0;
    while (**at == ' ')
        ++*at;
    for (; **at >= '0' && **at <= '9'; ++*at)
        value = value * 10 + (**at - (uint64_t)'0');
    return value;
}

static uint64_t rounds_until(uint64_t end)
{
    uint64_t count = 0, x = 1;
    for (; ticks() < end; count++) {
        for (unsigned i = 0; i < ROUNDS; i++)
            __asm__ volatile("imul $3, %0, %0; inc %0" : "+r"(x));
    }
    return count;
}

void tiny_main(const uint8_t *boot_params)
{
    static uint64_t counts[MOST];
    const uint8_t *words =
        (const uint8_t *)(uint64_t) * (const uint32_t *)(boot_params + CMD_LINE_PTR);
    uint64_t period = number(&words), count = number(&words);
    say("SEPTUM-GUEST-UP rate\n");
    while (count <= MOST) {
        uint64_t end = ticks();
        for (uint64_t i = 0; i < count; i++)
            counts[i] = rounds_until(end += period);
        say("RATE");
        for (uint64_t i = 0; i < count; i++) {
            say(" ");
            say_number(counts[i]);
        }
        say("\n");
    }
}
