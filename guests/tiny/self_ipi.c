/* What a self-IPI costs: write the ICR, enable interrupts, take it; in TSC ticks, loop subtracted. */
#include "tiny.h"

enum { ICR = 0x830, SELF = 1 << 18, VECTOR = 0x40, ROUNDS = 10000 };

void tiny_main(const uint8_t *boot_params)
{
    (void)boot_params;
    say("SEPTUM-GUEST-UP self-ipi\n");
    if (!apic_enable()) {
        say("SELF-IPI needs an x2APIC\n");
        return;
    }
    uint64_t start = ticks();
    for (unsigned i = 0; i < ROUNDS; i++) {
        __asm__ volatile("wrmsr; sti; nop; cli"
                         :
                         : "a"(SELF | VECTOR), "d"(0), "c"(ICR)
                         : "memory");
    }
    uint64_t end = ticks();
    say("SELF-IPI ");
    say_number((end - start) / ROUNDS);
    say(" taken ");
    say_number(interrupts_taken);
    say("\n");
}
