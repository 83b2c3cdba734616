/*
 * virtio-net: frames, buffers, offloads, the control queue, restarts and resets, with a server in the test.
 * links: vmm-server/devices/virtio.c vmm-server/devices/virtio_packed.c vmm-server/devices/virtio_mmio.c vmm-server/devices/virtio_console.c
 *        vmm-server/devices/virtio_random.c vmm-server/devices/chacha.c vmm-server/devices/virtio_net.c vmm-server/devices/virtio_net_control.c
 *        vmm-server/devices/virtio_net_receive.c
 *        lib/print.c lib/ring.c
 */
#include "virtio_net_machine.h"

/* ---- Good drivers ---------------------------------------------------------------------------- */

TEST(virtio_net_config, "address, link and MTU; the server learns what the driver accepts")
{
    start_net(0, 0);
    EXPECT(get(8), 1);
    EXPECT(get(0x100), 0x9a785602);
    EXPECT(get(0x104), 0x1debc);
    EXPECT(get(0x108), 1400u << 16 | 1);
    EXPECT(net_link->accepts, NETWORK_ACCEPTS_CHECKSUM | NETWORK_ACCEPTS_TCP4 |
                                  NETWORK_ACCEPTS_TCP6 | NETWORK_ACCEPTS_MERGE);
    EXPECT(net_link->headroom_bytes, HEADER);
    start_net(BIT(1), 0);
    EXPECT(net_link->accepts, NETWORK_ACCEPTS_MERGE);
    start_net(BIT(15), 0);
    EXPECT(net_link->accepts, NETWORK_ACCEPTS_CHECKSUM);
    EXPECT(net_link->headroom_bytes, 0);
    start_net(BIT(7), 0);
    EXPECT(net_link->accepts,
           NETWORK_ACCEPTS_CHECKSUM | NETWORK_ACCEPTS_TCP6 | NETWORK_ACCEPTS_MERGE);
    EXPECT(window.operations->write(window.device, 0x100, 1, 0), false);
}

TEST(virtio_net_link, "the link goes down and up with the server's word, and the driver is told")
{
    start_net(0, 0);
    net_link->up = 0;
    virtio_net_attend(&net);
    EXPECT(get(0x60), 2);
    EXPECT(get(0x104) >> 16, 0);
    set(0x64, 2);
    virtio_net_attend(&net);
    EXPECT(get(0x60), 0);
    net_link->up = 1;
    virtio_net_attend(&net);
    EXPECT(get(0x104) >> 16, 1);
    CHECK(high);
}

TEST(virtio_net_sends, "frames go to the server without their header, and are done when it says so")
{
    start_net(0, 0);
    *(struct header *)data(0) = (struct header){0};
    describe(TX, 0, DATA, HEADER, NEXT, 1);
    describe(TX, 1, DATA + 64, 14, NEXT, 2);
    describe(TX, 2, DATA + 78, 50, NEXT, 3);
    describe(TX, 3, DATA + 2048, 100, 0, 0);
    offer(TX, 0);
    transmit(5, (struct header){0}, 60);
    ring(TX);
    EXPECT(bells, 1);
    CHECK(server_take());
    EXPECT(frame.frame.segments, 2);
    EXPECT(frame.segments[0].offset, 0x8000 + 64);
    EXPECT(frame.segments[0].size_bytes, 64);
    EXPECT(frame.segments[1].size_bytes, 100);
    uint64_t first = frame.frame.id;
    CHECK(server_take());
    EXPECT(frame.frame.segments, 1);
    EXPECT(frame.segments[0].offset, 0x8000 + 5 * 512 + HEADER);
    server_sent(frame.frame.id);
    EXPECT(rings(TX)->used.index, 0);
    virtio_net_attend(&net);
    EXPECT(rings(TX)->used.index, 1);
    EXPECT(rings(TX)->used.entries[0].head, 5);
    server_sent(first);
    virtio_net_attend(&net);
    EXPECT(rings(TX)->used.entries[1].head, 0);
    EXPECT(net.frames_used, 0);
}

TEST(virtio_net_offloads,
     "checksums and segmentation as agreed on; other frames are dropped, not sent")
{
    static const struct {
        uint64_t without;
        struct header header;
        uint32_t size_bytes;
        bool sent;
        uint8_t flags, segmentation;
    } cases[] = {
        {0, {1, 0, 0, 0, 34, 16, 9}, 60, true, 1, 0},
        {0, {0xff, 0, 0, 0, 34, 16, 0}, 60, true, 1, 0},
        {0, {1, 1, 54, 1448, 34, 16, 0}, 400, true, 1, 1},
        {0, {1, 4, 54, 1448, 34, 16, 0}, 400, true, 1, 4},
        {0, {0, 1, 54, 1448, 34, 16, 0}, 400, false, 0, 0},
        {0, {1, 3, 54, 1448, 34, 16, 0}, 400, false, 0, 0},
        {0, {1, 0x81, 54, 1448, 34, 16, 0}, 400, false, 0, 0},
        {BIT(0), {1, 0, 0, 0, 34, 16, 0}, 60, true, 0, 0},
        {BIT(11), {1, 1, 54, 1448, 34, 16, 0}, 400, false, 0, 0},
        {BIT(12), {1, 4, 54, 1448, 34, 16, 0}, 400, false, 0, 0},
        {0, {0}, 13, false, 0, 0},
        {0, {0}, 14, true, 0, 0},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        start_net(cases[i].without, 0);
        transmit(0, cases[i].header, cases[i].size_bytes);
        ring(TX);
        EXPECT(server_take(), cases[i].sent);
        EXPECT(rings(TX)->used.index, !cases[i].sent);
        if (cases[i].sent) {
            EXPECT(frame.frame.offload.flags, cases[i].flags);
            EXPECT(frame.frame.offload.segmentation, cases[i].segmentation);
            EXPECT(frame.frame.offload.header_bytes, cases[i].header.hdr_len);
            EXPECT(frame.frame.offload.segment_bytes, cases[i].header.gso_size);
            EXPECT(frame.frame.offload.checksum_start, cases[i].header.csum_start);
            EXPECT(frame.frame.offload.checksum_offset, cases[i].header.csum_offset);
        }
        CHECK(!failed());
    }
}

TEST(virtio_net_short_chains, "a chain without a whole header, or of buffers to write, is dropped")
{
    start_net(0, 0);
    describe(TX, 0, DATA, HEADER - 1, 0, 0);
    offer(TX, 0);
    describe(TX, 1, DATA, HEADER, 0, 0);
    offer(TX, 1);
    describe(TX, 2, DATA, 100, WRITE, 0);
    offer(TX, 2);
    ring(TX);
    EXPECT(rings(TX)->used.index, 3);
    EXPECT(ring_filled(&frames), 0);
    CHECK(!failed());
}

TEST(virtio_net_long_chains,
     "a frame of the greatest size is sent, one that is a byte longer is dropped")
{
    enum { PARTS = 8, PART = NETWORK_FRAME_MAX / PARTS, REST = NETWORK_FRAME_MAX % PARTS };
    for (unsigned more = 0; more < 2; more++) {
        start_net(0, 0);
        describe(TX, 0, DATA, HEADER + REST + more, NEXT, 1);
        for (uint16_t i = 1; i <= PARTS; i++)
            describe(TX, i, DATA, PART, i < PARTS ? NEXT : 0, (uint16_t)(i + 1));
        offer(TX, 0);
        ring(TX);
        EXPECT(rings(TX)->used.index, more);
        CHECK((ring_filled(&frames) == 0) == (more == 1));
        CHECK(!failed());
    }
}

TEST(virtio_net_receives,
     "a frame gets its header, in one buffer or in several that appear at once")
{
    start_net(0, 0);
    offer_buffers(8, 256);
    EXPECT(posted_count, 8);
    EXPECT(posted[3].offset, 0x8000 + 3 * 512);
    EXPECT(posted[3].size_bytes, 256);
    server_fill(2, 100, 1, 'a');
    virtio_net_attend(&net);
    EXPECT(rings(RX)->used.index, 1);
    EXPECT(rings(RX)->used.entries[0].head, 2);
    EXPECT(rings(RX)->used.entries[0].written, 112);
    const struct header *header = (struct header *)data(2 * 512);
    EXPECT(header->num_buffers, 1);
    EXPECT(header->flags, 1);
    EXPECT(header->gso_type, 1);
    EXPECT(header->gso_size, 1448);
    EXPECT(header->csum_offset, 16);
    EXPECT(*data(2 * 512 + HEADER), 'a');
    EXPECT(*data(2 * 512 + 111), 'a');
    CHECK(high);
    set(0x64, 3);
    server_fill(4, 244, 3, 'b');
    server_fill(0, 256, 0, 'c');
    virtio_net_attend(&net);
    EXPECT(rings(RX)->used.index, 1); /* one is missing */
    CHECK(!high);
    server_fill(1, 7, 0, 'd');
    virtio_net_attend(&net);
    EXPECT(rings(RX)->used.index, 4);
    CHECK(high);
    header = (struct header *)data(4 * 512);
    EXPECT(header->num_buffers, 3);
    EXPECT(rings(RX)->used.entries[1].written, 256);
    EXPECT(rings(RX)->used.entries[2].written, 256);
    EXPECT(rings(RX)->used.entries[3].written, 7);
    EXPECT(*data(0), 'c');
    EXPECT(net.posts_used, 4);
}

TEST(virtio_net_plain_buffers,
     "buffers of one piece and of several come in their order, in RAM that may be written")
{
    static struct guest_windows windows;
    start_net(0, 0);
    describe(RX, 0, DATA, 256, WRITE, 0);
    describe(RX, 1, DATA + 512, 256, WRITE | NEXT, 2);
    describe(RX, 2, DATA + 768, 256, WRITE, 0);
    describe(RX, 3, DATA + 1024, 128, WRITE, 0);
    offer(RX, 0);
    offer(RX, 1);
    offer(RX, 3);
    ring(RX);
    server_take_buffers();
    EXPECT(posted_count, 3);
    for (unsigned n = 0; n < 3; n++) {
        EXPECT(posted[n].offset, DATA - RAM_BASE + 512 * n);
        EXPECT(posted[n].size_bytes, 128u << (n < 2) << (n == 1));
    }
    /* Not by way of the region, then. */
    start_net(0, 0);
    memory.regions[0].read_only = true;
    memory.regions[0].host += 4096;
    offer_buffers(1, 256);
    EXPECT(posted_count, 1);
    EXPECT(posted[0].offset, DATA - RAM_BASE);
    start_net(0, 0);
    memory.windows = &windows;
    offer_buffers(1, 256);
    CHECK(failed()); /* the test's machine has no RAM behind windows */
}

TEST(virtio_net_batches_wrap, "many that come at once go on at the used ring's beginning")
{
    start_net(0, 0);
    for (unsigned round = 0; round < 5; round++) {
        posted_count = 0;
        offer_buffers(13, 256);
        EXPECT(posted_count, 13);
        for (unsigned n = 0; n < 13; n++)
            server_fill(n, 20 + n, 1, 'w');
        virtio_net_attend(&net);
        EXPECT(rings(RX)->used.index, 13 * (round + 1));
        for (unsigned n = 0; n < 13; n++) {
            unsigned place = (13 * round + n) % SIZE;
            EXPECT(rings(RX)->used.entries[place].head, n);
            EXPECT(rings(RX)->used.entries[place].written, HEADER + 20 + n);
        }
    }
}

TEST(virtio_net_receives_simply, "without merged buffers the server gets what is behind the header")
{
    start_net(BIT(15) | BIT(1), 0);
    describe(RX, 0, DATA, HEADER, WRITE | NEXT, 1);
    describe(RX, 1, DATA + 16, 1000, WRITE | NEXT, 2);
    describe(RX, 2, DATA + 1016, 1000, WRITE | NEXT, 3);
    describe(RX, 3, DATA + 4096, 1000, WRITE, 0);
    offer(RX, 0);
    describe(RX, 4, DATA + 8192, 1526, WRITE, 0);
    offer(RX, 4);
    ring(RX);
    server_take_buffers();
    EXPECT(posted_count, 2);
    EXPECT(posted[0].offset, 0x8010);
    EXPECT(posted[0].size_bytes, 2000);
    EXPECT(posted[1].offset, 0x8000 + 8192 + HEADER);
    EXPECT(posted[1].size_bytes, 1514);
    server_fill(0, 60, 1, 'x');
    virtio_net_attend(&net);
    EXPECT(rings(RX)->used.entries[0].written, 72);
    EXPECT(((struct header *)data(0))->num_buffers, 1);
    EXPECT(((struct header *)data(0))->flags, 0); /* GUEST_CSUM was not agreed on */
    EXPECT(*data(16), 'x');
}

TEST(virtio_net_control, "promiscuous mode and address tables; what is not known is refused")
{
    static const uint8_t on = 1, off = 0;
    static const uint8_t none[8], one[14] = {1}, multicast[14] = {0, 0, 0, 0, 1}, wrong[14] = {2};
    start_net(0, 0);
    EXPECT(net_link->promiscuous, 0);
    EXPECT(command(0, 0, &on, 1), 0);
    EXPECT(net_link->promiscuous, 1);
    EXPECT(command(0, 1, &on, 1), 0);
    EXPECT(command(0, 0, &off, 1), 0);
    EXPECT(net_link->promiscuous, 0);
    EXPECT(command(1, 0, multicast, 14), 0);
    EXPECT(net_link->promiscuous, 0);
    EXPECT(command(1, 0, one, 14), 0);
    EXPECT(net_link->promiscuous, 1);
    EXPECT(command(1, 0, wrong, 14), 1);
    EXPECT(command(1, 0, none, 8), 0);
    EXPECT(net_link->promiscuous, 0);
    EXPECT(command(0, 2, &on, 1), 1);
    EXPECT(command(4, 0, &on, 1), 1);
    EXPECT(command(1, 1, one, 6), 1);
    EXPECT(command(0, 0, &on, 1), 0);
    set(0x70, 0);
    EXPECT(net_link->promiscuous, 0);
    start_net(BIT(18), 0);
    EXPECT(command(0, 0, &on, 1), 1);
    describe(CONTROL, 0, DATA, 3, 0, 0);
    offer(CONTROL, 0);
    ring(CONTROL);
    CHECK(failed());
}

/* ---- Economy and limits ------------------------------------------------------------------------ */

TEST(virtio_net_bells, "a batch rings once; a server that sends at once need not ring back; no "
                       "kicks while it has enough")
{
    start_net(0, WITH_EVENTS);
    sends_at_once = true;
    for (unsigned n = 0; n < 16; n++)
        transmit(n, (struct header){0}, 60);
    ring(TX);
    EXPECT(bells, 1);
    EXPECT(rings(TX)->used.index, 16);
    EXPECT(rings(TX)->used.available_event, 16);
    rings(TX)->available.used_event = 80; /* no interrupt before the 81st */
    set(0x64, 3);
    for (unsigned round = 0; round < 5; round++) {
        CHECK(!high);
        for (unsigned n = 0; n < 16; n++)
            transmit(n, (struct header){0}, 60);
        ring(TX);
    }
    EXPECT(bells, 6);
    CHECK(high);
}

TEST(virtio_net_sent_waits,
     "of few frames the driver is not told that they are sent until it receives one, or the server "
     "rings for it; the server knows that it may")
{
    start_net(0, WITH_EVENTS);
    sends_at_once = true;
    offer_buffers(4, 256);
    set(0x64, 3);
    for (unsigned round = 1; round <= 3; round++) {
        for (unsigned n = 0; n < 3; n++)
            transmit(n, (struct header){0}, 60);
        rings(TX)->available.used_event = (uint16_t)(3 * round - 3);
        ring(TX);
        EXPECT(bells, 1 + round);
        EXPECT(rings(TX)->used.index, 3 * (round - 1));
        CHECK(!high);
        CHECK(ring_writer_must_ring(&done));
        if (round == 2) {
            server_fill(0, 60, 1, 'a');
            CHECK(ring_writer_must_ring(&received));
        }
        virtio_net_attend(&net);
        EXPECT(rings(TX)->used.index, 3 * round);
        EXPECT(rings(RX)->used.index, round >= 2);
        CHECK(high);
        set(0x64, 3);
    }
}

TEST(virtio_net_sent_with_received,
     "with a frame that the driver receives it is told of those that are sent, rung for or not")
{
    start_net(0, WITH_EVENTS);
    sends_at_once = true;
    offer_buffers(4, 256);
    for (unsigned n = 0; n < 3; n++)
        transmit(n, (struct header){0}, 60);
    ring(TX);
    EXPECT(rings(TX)->used.index, 0);
    server_fill(0, 60, 1, 'a');
    transmit(3, (struct header){0}, 60);
    ring(TX);
    EXPECT(rings(RX)->used.index, 1);
    EXPECT(rings(TX)->used.index, 3);
    CHECK(ring_writer_must_ring(&done));
}

TEST(virtio_net_sent_polled,
     "a driver that polls, or whose queue is small, sees at once that frames are sent")
{
    start_net(0, 0);
    sends_at_once = true;
    rings(TX)->available.flags = 1;
    transmit(0, (struct header){0}, 60);
    ring(TX);
    EXPECT(rings(TX)->used.index, 1);
    rings(TX)->available.flags = 0;
    transmit(1, (struct header){0}, 60);
    ring(TX);
    EXPECT(rings(TX)->used.index, 1);
    for (unsigned n = 2; n < 1 + SIZE / 4; n++)
        transmit(n, (struct header){0}, 60);
    ring(TX);
    EXPECT(rings(TX)->used.index, 1 + SIZE / 4);
}

TEST(virtio_net_enough_buffers,
     "with three quarters of the buffers at the server the queue is left alone")
{
    start_net(0, WITH_EVENTS);
    for (unsigned round = 0; round < 3; round++)
        offer_buffers(SIZE, 256);
    EXPECT(posted_count, 192);
    offer_buffers(SIZE, 256);
    EXPECT(posted_count, 192);
    EXPECT(rings(RX)->used.available_event, 192);
    server_fill(0, 60, 1, 'a');
    virtio_net_attend(&net);
    server_take_buffers();
    EXPECT(posted_count, 256);
    EXPECT(rings(RX)->used.available_event, 256);
}

TEST(virtio_net_full, "frames that the channel has no room for stay in the queue")
{
    start_net(0, 0);
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned n = 0; n < SIZE; n++)
            transmit(n, (struct header){0}, 60);
        ring(TX);
        if (net.device.queues[TX].next_available != (round + 1) * SIZE)
            break;
    }
    CHECK(!failed());
    unsigned taken = net.device.queues[TX].next_available;
    EXPECT(taken, VIRTIO_NET_FRAMES_MAX);
    server_send_all();
    virtio_net_attend(&net);
    server_send_all();
    virtio_net_attend(&net);
    EXPECT(rings(TX)->used.index, rings(TX)->available.index);
    EXPECT(net.frames_used, 0);
}

/* ---- The server's restart, the device's reset -------------------------------------------------- */

TEST(virtio_net_restart,
     "a new server: sent frames are done, buffers are posted again, cut frames end")
{
    start_net(0, 0);
    offer_buffers(6, 256);
    for (unsigned n = 0; n < 4; n++)
        transmit(n + 10, (struct header){0}, 60);
    ring(TX);
    CHECK(server_take());
    server_sent(frame.frame.id);
    server_fill(5, 100, 1, 'a');
    server_fill(0, 244, 3, 'b');
    server_fill(1, 256, 0, 'c'); /* and dies */
    server_begin(6);
    EXPECT(rings(TX)->used.index, 0);
    virtio_net_attend(&net);
    EXPECT(rings(TX)->used.index, 4);
    EXPECT(rings(RX)->used.index, 3);
    EXPECT(((struct header *)data(0))->num_buffers, 2); /* what came of three */
    server_take_buffers();
    EXPECT(posted_count, 3);
    EXPECT(posted[0].offset, 0x8000 + 2 * 512);
    server_fill(0, 100, 1, 'e');
    virtio_net_attend(&net);
    EXPECT(rings(RX)->used.index, 4);
    EXPECT(text_count, 0);
}

TEST(virtio_net_late_server, "a server that comes late: the link comes up, and what waits goes out")
{
    start_net(0, 0);
    net_link->generation = 0;
    virtio_net_init(&net, &host, &(struct device_peer){channel, ram, 4, bell}, 1, 1, &line);
    drive(net.device.features, 3);
    EXPECT(get(0x104) >> 16, 0);
    transmit(0, (struct header){0}, 60);
    ring(TX);
    offer_buffers(4, 256);
    EXPECT(posted_count, 0);
    server_begin(1);
    virtio_net_attend(&net);
    EXPECT(get(0x104) >> 16, 1);
    EXPECT(get(0x60) & 2, 2);
    CHECK(server_take());
    server_take_buffers();
    EXPECT(posted_count, 4);
}

TEST(virtio_net_reset,
     "a reset takes the buffers back, and holds the guest until the server has given them")
{
    start_net(0, 0);
    offer_buffers(6, 256);
    transmit(10, (struct header){0}, 60);
    ring(TX);
    bells = 0;
    set(0x70, 0);
    EXPECT(held, 1);
    EXPECT(bells, 1);
    EXPECT(net_link->resets, 1);
    server_fill(0, 100, 1, 'a'); /* the last before it looks */
    virtio_net_attend(&net);
    EXPECT(held, 1);
    server_forget();
    virtio_net_attend(&net);
    EXPECT(held, 0);
    EXPECT(net.posts_used, 0);
    EXPECT(net.frames_used, 0);
    EXPECT(rings(RX)->used.index, 0);
    drive(net.device.features, 3);
    EXPECT(held, 0); /* nothing to give back */
    offer_buffers(6, 256);
    EXPECT(posted_count, 6);
    server_fill(0, 100, 1, 'a');
    virtio_net_attend(&net);
    EXPECT(rings(RX)->used.index, 1);
    resets_at_once = true;
    set(0x70, 0);
    EXPECT(held, 0);
    resets_at_once = false;
    drive(net.device.features, 3);
    offer_buffers(6, 256);
    set(0x70, 0);
    EXPECT(held, 1);
    server_begin(9); /* it need not answer: it has nothing */
    virtio_net_attend(&net);
    EXPECT(held, 0);
}

/* ---- Several pairs of queues ----------------------------------------------------------------- */

enum { RX1 = 2, TX1 = 3 };

static uint8_t set_pairs(uint16_t pairs)
{
    return command(4, 0, &pairs, sizeof pairs);
}

static void offer_on(unsigned queue, unsigned n)
{
    describe(queue, n, DATA + n * 512, 512, WRITE, 0);
    offer(queue, (uint16_t)n);
    ring(queue);
}

TEST(virtio_net_pairs, "frames and buffers go with the number of their pair, and come back to it")
{
    start_pairs(2, 0, 0);
    EXPECT(get(0x108) & 0xffff, 2);
    EXPECT(net_link->queues, 1);
    transmit_from(TX1, 5, (struct header){0}, 60);
    offer_on(RX1, 20);
    ring(TX1);
    CHECK(!server_take());
    server_take_buffers();
    EXPECT(posted_count, 0);
    EXPECT(set_pairs(2), 0); /* what waits is taken at once */
    EXPECT(net_link->queues, 2);
    CHECK(server_take());
    EXPECT(frame.frame.queue, 1);
    server_sent(frame.frame.id);
    transmit(6, (struct header){0}, 60);
    ring(TX);
    CHECK(server_take());
    EXPECT(frame.frame.queue, 0);
    offer_on(RX, 21);
    server_take_buffers();
    EXPECT(posted_count, 2);
    EXPECT(posted[0].queue, 1);
    EXPECT(posted[1].queue, 0);
    server_fill(0, 100, 1, 'b');
    virtio_net_attend(&net);
    EXPECT(rings(TX1)->used.entries[0].head, 5);
    EXPECT(rings(TX)->used.index, 0);
    EXPECT(rings(RX1)->used.entries[0].head, 20);
    EXPECT(rings(RX1)->used.entries[0].written, 100 + HEADER);
    EXPECT(rings(RX)->used.index, 0);
}

TEST(virtio_net_pairs_fewer,
     "a pair that is given up gets no frame any more, and keeps its buffers")
{
    start_pairs(2, 0, 0);
    EXPECT(set_pairs(2), 0);
    offer_on(RX1, 20);
    transmit_from(TX1, 5, (struct header){0}, 60);
    ring(TX1);
    server_take_buffers();
    CHECK(server_take());
    EXPECT(set_pairs(1), 0);
    EXPECT(net_link->queues, 1);
    server_fill(0, 100, 1, 'b'); /* it was about to */
    server_sent(frame.frame.id);
    virtio_net_attend(&net);
    EXPECT(rings(RX1)->used.index, 0);
    EXPECT(rings(TX1)->used.index, 1);
    server_take_buffers();
    EXPECT(posted_count, 2);
    EXPECT(posted[1].id, posted[0].id);
    EXPECT(set_pairs(2), 0);
    server_fill(1, 100, 1, 'c');
    virtio_net_attend(&net);
    EXPECT(rings(RX1)->used.entries[0].head, 20);
    CHECK(!failed());
    resets_at_once = true;
    set(0x70, 0);
    EXPECT(net_link->queues, 1);
    EXPECT(net.posts_used + net.frames_used + net.pair_posts[0] + net.pair_posts[1], 0);
}

TEST(virtio_net_pairs_refused,
     "numbers of pairs that there are not, and drivers that know one alone")
{
    start_pairs(2, 0, 0);
    EXPECT(set_pairs(0), 1);
    EXPECT(set_pairs(3), 1);
    EXPECT(command(4, 1, "\2", 2), 1);
    EXPECT(command(4, 0, "\2", 1), 1);
    EXPECT(net_link->queues, 1);
    EXPECT(command(0, 0, "\1", 1), 0);
    EXPECT(net_link->promiscuous, 1);
    start_pairs(2, BIT(22), 0);
    EXPECT(set_pairs(2), 1);
    EXPECT(command(0, 0, "\1", 1), 0); /* behind the first pair */
    EXPECT(net_link->queues, 1);
    start_pairs(2, BIT(18), 0);
    EXPECT(command(0, 0, "\1", 1), 1);
    EXPECT(set_pairs(2), 0);
    start_net(0, 0);
    EXPECT(net.device.features & BIT(22), 0);
    EXPECT(get(0x108) & 0xffff, 1);
}

TEST(virtio_net_pairs_mixed, "a frame in buffers of two pairs is none; and of a pair with too few")
{
    start_pairs(2, 0, 0);
    EXPECT(set_pairs(2), 0);
    offer_on(RX, 20);
    offer_on(RX, 22);
    offer_on(RX1, 21);
    server_take_buffers();
    server_fill(0, 100, 2, 'a');
    server_fill(2, 100, 0, 'b');
    virtio_net_attend(&net);
    CHECK(strstr(text, "a received frame that does not fit"));
    EXPECT(rings(RX1)->used.index, 0);
    start_pairs(2, 0, 0);
    EXPECT(set_pairs(2), 0);
    offer_on(RX, 20);
    offer_on(RX, 22);
    offer_on(RX1, 21);
    server_take_buffers();
    server_fill(2, 100, 2, 'a');
    virtio_net_attend(&net);
    CHECK(strstr(text, "a received frame that does not fit"));
}

TEST(virtio_net_pairs_turn, "with room for one frame at a time each pair has its turn")
{
    start_pairs(2, 0, 0);
    EXPECT(set_pairs(2), 0);
    unsigned of[2] = {0};
    for (uint16_t n = 0; n < VIRTIO_NET_FRAMES_MAX - 1; n++) { /* all but one place */
        net.free_frame = net.frames[net.free_frame].next;
        net.frames_used++;
    }
    for (unsigned n = 0; n < 8; n++) {
        transmit_from(TX, n, (struct header){0}, 60);
        transmit_from(TX1, 8 + n, (struct header){0}, 60);
    }
    ring(TX);
    for (unsigned n = 0; n < 8; n++) {
        CHECK(server_take());
        of[frame.frame.queue]++;
        CHECK(!server_take());
        server_sent(frame.frame.id);
        virtio_net_attend(&net);
    }
    EXPECT(of[0], 4);
    EXPECT(of[1], 4);
}
