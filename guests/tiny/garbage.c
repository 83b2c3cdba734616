/* Writes garbage over the registers of all devices that a lean machine has, from a fixed seed, without end. */
#include "tiny.h"

static uint64_t state = 0x9e3779b97f4a7c15ull;

static uint64_t random(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state;
}

void tiny_main(const uint8_t *boot_params)
{
    (void)boot_params;
    say("SEPTUM-GUEST-UP garbage\n");
    for (uint64_t round = 0;; round++) {
        uint64_t r = random();
        /* virtio, IOAPIC, local APIC: pages from 0xfe000000 to the end of 4 GiB; ports but the console's. */
        uint64_t address = 0xfe000000 + (r & 0x1ffffff);
        SURVIVES("movl %0, (%1)",
                 :
                 : "r"((uint32_t)(r >> 32)), "r"(address & ~3ull)
                 : "r11", "memory");
        SURVIVES("movl (%0), %%eax", : : "r"(address & ~3ull) : "rax", "r11", "memory");
        if (round % 10000 == 0) {
            say("GARBAGE ");
            say_number(round);
            say("\n");
        }
    }
}
