/* Floods its console with lines, without end. */
#include "tiny.h"

void tiny_main(const uint8_t *boot_params)
{
    (void)boot_params;
    say("SEPTUM-GUEST-UP flood\n");
    for (;;)
        say("a line that floods the console\n");
}
