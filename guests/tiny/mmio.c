/* What a register in memory costs: reads and writes of the IOAPIC's window, in TSC ticks of guest and host together. */
#include "tiny.h"

enum { WARM_UP = 100, ROUNDS = 10000, VERSION = 1 };

#define IOAPIC_SELECT ((volatile uint32_t *)0xfec00000ul)
#define IOAPIC_WINDOW ((volatile uint32_t *)0xfec00010ul)

static uint64_t reads(unsigned rounds, uint32_t *sum)
{
    uint64_t start = ticks();
    for (unsigned i = 0; i < rounds; i++)
        *sum += *IOAPIC_WINDOW;
    return (ticks() - start) / rounds;
}

static uint64_t writes(unsigned rounds)
{
    uint64_t start = ticks();
    for (unsigned i = 0; i < rounds; i++)
        *IOAPIC_SELECT = VERSION;
    return (ticks() - start) / rounds;
}

/* The same without a register in memory: what is left is the loop. */
static uint64_t nothing(unsigned rounds, volatile uint32_t *memory)
{
    uint64_t start = ticks();
    for (unsigned i = 0; i < rounds; i++)
        *memory = VERSION;
    return (ticks() - start) / rounds;
}

void tiny_main(const uint8_t *boot_params)
{
    uint32_t sum = 0, expected;
    volatile uint32_t memory;
    (void)boot_params;
    say("SEPTUM-GUEST-UP mmio\n");
    *IOAPIC_SELECT = VERSION;
    expected = *IOAPIC_WINDOW * ROUNDS;
    reads(WARM_UP, &sum);
    sum = 0;
    uint64_t read = reads(ROUNDS, &sum);
    writes(WARM_UP);
    uint64_t write = writes(ROUNDS), loop = nothing(ROUNDS, &memory);
    say("MMIO read ");
    say_number(read - loop);
    say(" write ");
    say_number(write - loop);
    say(sum == expected ? " good\n" : " wrong\n");
}
