/* Floods its VMM with exits: CPUID, ports that nobody has, MSR reads, device registers, without end. */
#include "tiny.h"

void tiny_main(const uint8_t *boot_params)
{
    (void)boot_params;
    say("SEPTUM-GUEST-UP exits\n");
    for (;;) {
        uint32_t a = 0, b, c = 0, d;
        uint64_t value;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        port_in(0x1234, 1, &a);
        read_msr(0x277, &value);
        read_byte(0xfec00000, (uint8_t *)&b);
    }
}
