/*
 * Tries to reach what is not its own: every 2 MiB of 512 GiB of guest-physical addresses (and each page close to the end
 * of its RAM and below 4 GiB where devices live), all ports in all sizes, all MSRs of the ranges that processors have.
 * What is not RAM must read as nothing, and nothing of it may change what another place holds.
 *
 *   sample    the command line: of the addresses above RAM only every sixteenth
 */
#include "tiny.h"

#define CMD_LINE_PTR 0x228

enum { STEP = 0x200000, SAMPLE = 16 };

static uint64_t reached, refused, foreign;

/* What reads as ones is nothing, or cannot be told from it by what is written there: that is left out but for a sample, as each
 * access is an exit. */
static void touch(uint64_t address, bool is_sample)
{
    uint8_t before, after, inverse;
    if (!read_byte(address, &before)) {
        refused++;
        return;
    }
    if (before == 0xff && !is_sample) {
        reached++;
        return;
    }
    inverse = before ^ 0xff;
    if (!write_byte(address, inverse) || !read_byte(address, &after)) {
        refused++;
        return;
    }
    reached++;
    /* Memory holds what is written to it. That is RAM: nobody else has a right to be it. */
    if (after == inverse && before != 0xff)
        foreign++;
    write_byte(address, before);
}

static void count(const char *what)
{
    say("ISOLATION ");
    say(what);
    say(" reached ");
    say_number(reached);
    say(" refused ");
    say_number(refused);
    say(" foreign ");
    say_number(foreign);
    say("\n");
    reached = refused = foreign = 0;
}

static void memory(uint64_t end, uint64_t step)
{
    for (uint64_t page = 0; page < 512; page++)
        touch(end + page * 4096, true);
    count("behind-ram");
    for (uint64_t address = (end + 0x3fffff) & ~0x1fffffull; address < 1ull << 39; address += step)
        touch(address + 0x1234, address / STEP % SAMPLE == 0);
    count("everywhere");
}

static void ports(void)
{
    enum { COM1 = 0x3f8, COM1_END = 0x400 };
    static const unsigned sizes[] = {1, 2, 4};
    for (uint32_t port = 0; port < 0x10000; port++) {
        if (port + 4 > COM1 && port < COM1_END)
            continue;
        for (unsigned i = 0; i < 3; i++) {
            uint32_t value;
            bool ok = port_in((uint16_t)port, sizes[i], &value);
            *(ok ? &reached : &refused) += 1;
        }
    }
    count("ports");
}

static void msrs(void)
{
    static const uint32_t bases[] = {0, 0x40000000, 0x4b564d00, 0xc0000000, 0xc0010000};
    for (unsigned i = 0; i < 5; i++) {
        for (uint32_t n = 0; n < 0x2000; n++) {
            uint64_t value;
            bool ok = read_msr(bases[i] + n, &value);
            *(ok ? &reached : &refused) += 1;
        }
    }
    count("msrs");
}

void tiny_main(const uint8_t *boot_params)
{
    const uint8_t *words =
        (const uint8_t *)(uint64_t) * (const uint32_t *)(boot_params + CMD_LINE_PTR);
    uint64_t end = ram_end(boot_params, 0x1000000);
    say("SEPTUM-GUEST-UP isolation\n");
    memory(end, *words == 's' ? STEP * SAMPLE : STEP);
    ports();
    msrs();
    say("ISOLATION done\n");
}
