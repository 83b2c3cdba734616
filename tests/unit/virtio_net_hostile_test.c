/*
 * virtio-net: drivers and servers that break the rules, and random ones.
 * links: vmm-server/devices/virtio.c vmm-server/devices/virtio_packed.c vmm-server/devices/virtio_mmio.c vmm-server/devices/virtio_console.c
 *        vmm-server/devices/virtio_random.c vmm-server/devices/chacha.c vmm-server/devices/virtio_net.c vmm-server/devices/virtio_net_control.c
 *        vmm-server/devices/virtio_net_receive.c
 *        lib/print.c lib/ring.c
 */
#include "virtio_net_machine.h"

TEST(virtio_net_hostile_driver,
     "receive buffers without room, loops and addresses outside end the card's use")
{
    static const struct {
        uint64_t address;
        uint32_t size_bytes;
        uint16_t flags;
    } cases[] = {{DATA, 11, WRITE},    {DATA, 12, WRITE},
                 {DATA, 100, 0},       {DATA, 100, WRITE | NEXT},
                 {0x1000, 100, WRITE}, {RAM_BASE + RAM_BYTES - 1, 100, WRITE}};
    for (unsigned i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        unsigned n = i / 2;
        start_net(i % 2 ? BIT(15) : 0, 0); /* without merged buffers, and with them */
        describe(RX, 0, cases[n].address, cases[n].size_bytes, cases[n].flags, 0);
        offer(RX, 0);
        ring(RX);
        CHECK(failed());
        EXPECT(ring_filled(&buffers), 0);
    }
    start_net(0, 0);
    describe(RX, 0, DATA, 11, WRITE | NEXT, 1); /* a header in two pieces */
    describe(RX, 1, DATA + 11, 100, WRITE, 0);
    offer(RX, 0);
    ring(RX);
    CHECK(failed());
    EXPECT(ring_filled(&buffers), 0);
}

TEST(virtio_net_hostile_faster,
     "buffers offered again and again before they come back: their ring is gone around, not left")
{
    enum { SMALL = 4, ROUNDS = 3 };
    static const uint8_t kept[sizeof rings(RX)->used.entries - SMALL * 8];
    start_net(0, 0);
    net.device.queues[RX].size = SMALL;
    for (unsigned n = 0; n < SMALL; n++) {
        describe(RX, n, DATA + n * 512, 256, WRITE, 0);
        rings(RX)->available.entries[n] = (uint16_t)n;
    }
    for (unsigned round = 0; round < ROUNDS; round++) {
        rings(RX)->available.index += SMALL;
        ring(RX);
    }
    server_take_buffers();
    EXPECT(posted_count, SMALL * ROUNDS);
    for (unsigned n = 0; n < SMALL * ROUNDS; n++)
        server_fill(n, 20 + n, 1, 'f');
    virtio_net_attend(&net);
    EXPECT(rings(RX)->used.index, SMALL * ROUNDS);
    for (unsigned n = 0; n < SMALL; n++)
        EXPECT(rings(RX)->used.entries[n].written, HEADER + 20 + SMALL * (ROUNDS - 1) + n);
    EXPECT(memcmp(&rings(RX)->used.entries[SMALL], kept, sizeof kept), 0);
}

static void expect_broken(void)
{
    virtio_net_attend(&net);
    virtio_net_attend(&net);
    CHECK(net.received.broken || net.sent.broken);
    CHECK(!failed());
    server_begin(net_link->generation + 1);
    virtio_net_attend(&net);
    CHECK(!net.received.broken && !net.sent.broken);
    server_take_buffers();
    CHECK(posted_count);
    unsigned before = rings(RX)->used.index;
    server_fill(0, 20, 1, 'z');
    virtio_net_attend(&net);
    EXPECT(rings(RX)->used.index, before + 1);
}

TEST(virtio_net_hostile_server,
     "numbers that are none, frames that do not fit: the card waits for the next server")
{
    static const struct network_received cases[] = {
        {8, 100, 1, 0, {0}, 0},        {1ull << 40, 100, 1, 0, {0}, 0}, {0, 245, 1, 0, {0}, 0},
        {0, UINT32_MAX, 1, 0, {0}, 0}, {0, 100, 0, 0, {0}, 0},          {0, 100, 9, 0, {0}, 0}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        start_net(0, 0);
        offer_buffers(8, 256);
        ring_write(&received, &cases[i], sizeof cases[i]);
        expect_broken();
    }
    start_net(0, 0);
    offer_buffers(8, 256);
    server_fill(0, 100, 2, 'a');
    server_fill(1, 100, 1, 'b'); /* a new frame in the middle of one */
    expect_broken();
    start_net(0, 0);
    offer_buffers(8, 256);
    server_sent(3);
    expect_broken();
    start_net(0, 0);
    offer_buffers(8, 256);
    ring_write(&done, "abc", 3);
    expect_broken();
    start_net(0, 0);
    offer_buffers(8, 256);
    ring_write(&received, "abc", 3);
    expect_broken();
    start_net(BIT(15), 0);
    offer_buffers(8, 256);
    server_fill(0, 100, 2, 'a'); /* merging was not agreed on */
    expect_broken();
}

/* ---- Random -------------------------------------------------------------------------------------- */

static void fuzz_driver(uint64_t random)
{
    unsigned queue = (random >> 4 & 7) % (control + 1);
    if (disturb(queue, random >> 8 & 15, random))
        return;
    switch (random & 15) {
    case 8:
    case 9:
        transmit(random >> 8 & 7,
                 (struct header){random >> 16 & 1, random >> 20 & 1, 0, 0, 0, 0, 0},
                 random >> 32 & 0xff);
        break;
    case 10:
        queue = random >> 12 & 1 && control > CONTROL ? 2 : RX;
        describe(queue, random >> 8 & 15, DATA + (random >> 32 & 0x7000), random >> 16 & 0x3ff,
                 WRITE, 0);
        offer(queue, random >> 8 & 15);
        break;
    default: ring(queue); break;
    }
}

static void fuzz_server(uint64_t random)
{
    switch (random & 15) {
    case 0:
    case 1: server_send_all(); break;
    case 2:
    case 3:
        server_take_buffers();
        if (posted_count && net_link->resets == net_link->resets_done) {
            uint32_t room = posted[posted_count - 1].size_bytes - net_link->headroom_bytes;
            server_fill(--posted_count, (uint32_t)(random >> 8) % (room + 1), 1, (uint8_t)random);
        }
        break;
    case 4: server_begin(net_link->generation + 1); break;
    case 5: server_forget(); break;
    case 6: ring_reader_waits(&frames); break;
    case 7: net_link->up = random >> 8 & 1; break;
    default: virtio_net_attend(&net); break;
    }
    if (held) {
        server_forget();
        virtio_net_attend(&net);
    }
}

TEST(virtio_net_fuzz, "random drivers, restarts and resets: the server sees good entries alone, "
                      "and a reset always helps")
{
    for (unsigned round = 0; round < 4000; round++) {
        start_pairs(1 + round % 3, unit_random() & (BIT(15) | BIT(1) | BIT(18) | BIT(22)),
                    unit_random() & (WITH_EVENTS | WITH_TABLES));
        if (control > CONTROL) {
            const uint16_t pairs = (uint16_t)(control / 2);
            EXPECT(command(4, 0, &pairs, 2), 0);
        }
        for (unsigned i = 0; i < 80; i++) {
            fuzz_driver(unit_random());
            fuzz_server(unit_random());
            EXPECT(held, 0);
            if (failed()) {
                resets_at_once = true;
                drive(net.device.features, 3);
                resets_at_once = false;
            }
        }
        resets_at_once = true;
        drive(net.device.features, 3);
        EXPECT(held, 0);
        EXPECT(net.posts_used + net.frames_used, 0);
        server_begin(net_link->generation + 1);
        virtio_net_attend(&net);
        transmit(0, (struct header){0}, 60);
        ring(TX);
        server_send_all();
        virtio_net_attend(&net);
        EXPECT(rings(TX)->used.index, 1);
    }
}
