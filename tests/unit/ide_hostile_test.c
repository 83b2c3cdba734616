/*
 * IDE: drivers that do anything, and servers that come and go.
 * links: vmm-server/devices/ide.c vmm-server/devices/ide_ata.c vmm-server/devices/ide_atapi.c
 *        vmm-server/devices/ide_dma.c vmm-server/disk.c vmm-server/bus.c vmm-server/guest_memory.c
 *        lib/print.c lib/ring.c
 */
#include "ide_machine.h"

static uint64_t state;

static uint64_t next_random(void)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state * 0x2545f4914f6cdd1dull;
}

static void random_access(uint16_t port, uint64_t random)
{
    static uint8_t data[8192];
    const unsigned sizes[] = {1, 2, 4, 2};
    unsigned size = sizes[random & 3], count = 1 + (unsigned)(random >> 8) % 2048;
    uint64_t value;
    switch (random >> 4 & 3) {
    case 0: bus_read(&ports, port, size, &value); break;
    case 1: bus_write(&ports, port, size, random >> 32); break;
    case 2: CHECK(bus_read_string(&ports, port, size, data, count) <= count); break;
    default: CHECK(bus_write_string(&ports, port, size, data, count) <= count); break;
    }
}

/* A command that means something, with addresses that may be there. */
static void likely_command(uint64_t random)
{
    static const uint8_t codes[] = {0x20, 0x30, 0xc4, 0xc5, 0xc8, 0xca, 0x25,
                                    0x35, 0x24, 0x34, 0x40, 0xe7, 0xec, 0xa1,
                                    0xa0, 0xef, 0xc6, 0x91, 0x90, 0x08, 0xf8};
    uint8_t code = codes[(random >> 8) % sizeof codes];
    unsigned place = random & 3;
    out(base_of(place) + 1, 1, random >> 48 & 3);
    if (random & 4)
        command48(place, code, random >> 16 & 0xfff, random >> 32 & 0x1ff);
    else
        command28(place, code, random >> 16 & 0xfff, (uint8_t)(random >> 32));
}

static void random_table(uint64_t random)
{
    for (unsigned i = 0; i < 8; i++) {
        uint64_t r = next_random();
        region(i, (uint32_t)(r & (r >> 63 ? 0x1ffffe : 0xfffffffe)),
               (uint32_t)(r >> 32 & (random & 16 ? 0xfe00 : 0xfffe)), (r >> 60 & 3) == 0);
    }
}

static void random_packet(uint64_t random)
{
    static const uint8_t codes[] = {0,    3,    0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2b,
                                    0x43, 0x46, 0x4a, 0x51, 0x5a, 0xa8, 0xbd, 0xbe};
    uint8_t bytes[12];
    for (unsigned i = 0; i < 12; i++)
        bytes[i] = random & 1 ? (uint8_t)next_random() : 0;
    bytes[0] = codes[(random >> 8) % sizeof codes];
    bytes[5] = (uint8_t)(random >> 16 & 127);
    bytes[8] = (uint8_t)(random >> 24 & 31);
    select_drive(2, 0);
    out(0x171, 1, random >> 40 & 1);
    out(0x174, 1, random >> 48 & 255);
    out(0x177, 1, 0xa0);
    bus_write_string(&ports, 0x170, 2, bytes, 6);
}

static void random_server(uint64_t random)
{
    unsigned n = random & 3;
    switch (random >> 4 & 7) {
    case 0: server_begin(n, volume_of(n)->generation + 1); break;
    case 1: servers[n].status = random >> 8 & 1 ? (random >> 16) % 7 : 0; break;
    case 2: answers_at_once = random >> 8 & 1; break;
    default: server_run(n); ring_reader_waits(&servers[n].requests);
    }
    ide_attend(&ide, 15);
}

TEST(ide_fuzz, "whatever a driver writes: requests that a server takes, memory in bounds, no guest "
               "held for good")
{
    for (unsigned round = 0; round < 40; round++) {
        state = unit_seed * 1000 + round + 1;
        start_ide();
        const struct device_peer fourth = start_server(3, 333, BLOCK_VOLUME_FLUSH);
        ide_add_drive(&ide, 3, IDE_DISK, &fourth);
        for (unsigned step = 0; step < 4000; step++) {
            uint64_t random = next_random();
            uint16_t base = random & 1 ? 0x170 : 0x1f0;
            switch (random >> 1 & 15) {
            case 0:
            case 1: likely_command(next_random()); break;
            case 2: random_packet(next_random()); break;
            case 3: random_table(random >> 8); break;
            case 4: start_master(random >> 8 & 3, random >> 10 & 1); break;
            case 5: random_access((uint16_t)(MASTER + (random >> 8 & 15)), next_random()); break;
            case 6: is_master = random >> 8 & 7; break;
            case 7: out(base + 0x206, 1, random >> 8 & 31 ? 0 : random >> 16 & 0xff); break;
            case 8:
            case 9: random_server(next_random()); break;
            case 10:
            case 11:
            case 12: random_access(base, next_random()); break;
            default: random_access((uint16_t)(base + (random >> 8 & 7)), next_random()); break;
            }
            for (unsigned n = 0; held && n < SERVERS; n++) { /* no guest runs meanwhile */
                server_run(n);
                ide_attend(&ide, 15);
            }
            EXPECT(held, 0);
        }
        /* And after a reset all of it works. */
        answers_at_once = true;
        for (unsigned n = 0; n < SERVERS; n++) {
            servers[n].status = BLOCK_OK;
            server_run(n);
            ring_reader_waits(&servers[n].requests);
        }
        ide_attend(&ide, 15);
        static uint8_t data[512];
        out(0x3f6, 1, 4);
        out(0x3f6, 1, 0);
        command28(0, 0x20, 77, 1);
        EXPECT(status_of(0), 0x58);
        read_words(0, data, 256);
        CHECK(memcmp(data, servers[0].data + 77 * 512, 512) == 0);
    }
}

TEST(ide_hostile_server, "answers to nothing and nonsense in the rings end no machine")
{
    const struct block_completion wrong = {0, 0, 0};
    start_ide();
    for (unsigned i = 0; i < 20; i++) {
        ring_write(&servers[0].completions, &wrong, sizeof wrong);
        ide_attend(&ide, 1);
    }
    CHECK(strstr(text, "ide 0 master: the block server broke a rule") != NULL);
    servers[0].completions.shared->written += 1u << 20;
    command28(0, 0x20, 1, 1);
    EXPECT(in(0x3f6, 1), 0x80);
    EXPECT(ide.channels[0].drives[0].disk.completions.broken, true);
    out(0x3f6, 1, 4); /* nobody will answer: the guest is held, as caveats.md says */
    EXPECT(held, 1);
}
