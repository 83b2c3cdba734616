/* Spins with interrupts off and never leaves by itself: only its CPU share holds it. */
#include "tiny.h"

void tiny_main(const uint8_t *boot_params)
{
    (void)boot_params;
    say("SEPTUM-GUEST-UP spin\n");
    for (;;)
        __asm__ volatile("");
}
