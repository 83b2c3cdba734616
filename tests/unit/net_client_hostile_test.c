/*
 * Clients of the network server that break its rules, on rings and memory as they share them.
 * links: net-server/client.c net-server/flow.c net-server/switch.c net-server/frame.c net-server/copy.c lib/ring.c
 */
#include "net_client_machine.h"

static void expect_broken(unsigned n)
{
    struct network_received entry;
    serve();
    CHECK(clients.client[n].broken);
    EXPECT(log_lines, 1);
    /* The others go on, and it does not come back by itself. */
    post(1, 1, 0, 2048);
    send(0, 1, FRAME);
    serve();
    CHECK(answered(0) == (n != 0));
    CHECK(received(1, &entry) == (n != 0));
    EXPECT(client_detach(n), SERVICE_OK);
    memset(sides[n].channel, 0, SERVICE_CHANNEL_BYTES);
    open_side(&sides[n]);
    EXPECT(attach(n, 0), SERVICE_OK);
    EXPECT(log_lines, 1);
}

TEST(net_client_segment_outside, "a frame from outside the client's memory, or around its end, "
                                 "switches the client off and moves no byte")
{
    static const struct network_segment bad[] = {
        {MEMORY, 60},       {MEMORY - 59, 60},        {0, UINT64_MAX},
        {UINT64_MAX, 60},   {UINT64_MAX - 59, 60},    {1, UINT64_MAX},
        {0, MEMORY + 1ull}, {0, 0x100000000ull + 60}, {0, NETWORK_FRAME_MAX + 1}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        start();
        send_segments(0, header_of(0, 1), &bad[i]);
        expect_broken(0);
    }
}

TEST(net_client_buffer_outside, "a buffer outside the client's memory switches the client off")
{
    static const struct network_buffer bad[] = {{1, 0, MEMORY, 2048, 1},
                                                {1, 0, MEMORY - 2047, 2048, 1},
                                                {1, 0, UINT64_MAX, 2048, 1},
                                                {1, 0, UINT64_MAX - 2047, 2048, 1},
                                                {1, 0, 0, UINT32_MAX, 1},
                                                {1, 0, 0, 0, 1},
                                                {1, NETWORK_QUEUES_MAX, 0, 2048, 1},
                                                {1, UINT32_MAX, 0, 2048, 1}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        start();
        ring_write(&sides[1].buffers, &bad[i], sizeof bad[i]);
        send(0, 1, FRAME);
        serve();
        CHECK(clients.client[1].broken);
        CHECK(!clients.client[0].broken && answered(0));
        EXPECT(log_lines, 1);
    }
}

TEST(net_client_headroom_grows,
     "room before frames that is more than a posted buffer has switches the client off")
{
    start();
    post(1, 1, 0, 40);
    post(1, 2, 64, 2048);
    sides[1].link->accepts = NETWORK_ACCEPTS_MERGE;
    send(0, 1, FRAME);
    clients_refresh();
    post(1, 3, 4096, 40);
    serve();
    CHECK(!clients.client[1].broken);
    sides[1].link->headroom_bytes = UINT32_MAX;
    send(0, 1, FRAME);
    serve();
    CHECK(clients.client[1].broken);
}

TEST(net_client_headroom_taken,
     "the same for a buffer that the server has taken already, whose frame was too long for it")
{
    start();
    post(1, 1, 0, 40);
    sides[1].link->accepts = NETWORK_ACCEPTS_MERGE;
    send(0, 1, FRAME);
    serve();
    CHECK(!clients.client[1].broken && clients.client[1].queues[0].count == 1);
    sides[1].link->headroom_bytes = UINT32_MAX;
    post(1, 2, 4096, 2048);
    send(0, 1, FRAME);
    serve();
    CHECK(clients.client[1].broken);
}

TEST(net_client_checksum_believed, "no client can say of its own frame that its checksum is good")
{
    struct network_received entry;
    struct network_segment segment = {4096, FRAME};
    struct network_frame header;
    start();
    sides[1].link->accepts = NETWORK_ACCEPTS_CHECKSUM;
    post(1, 7, 512, 2048);
    write_frame(0, 1, 4096, FRAME);
    header = header_of(0, 1);
    header.offload.flags = NETWORK_CHECKSUM_GOOD;
    send_segments(0, header, &segment);
    serve();
    CHECK(received(1, &entry));
    EXPECT(entry.offload.flags, 0);
}

TEST(net_client_received_full,
     "what a client does not read is not written over: frames are lost, no buffer is")
{
    enum { ENTRIES = NETWORK_RECEIVED_BYTES / sizeof(struct network_received) };
    struct network_received entry;
    start();
    for (unsigned n = 0; n < ENTRIES + 3; n++) {
        if (n <= ENTRIES)
            post(1, n, 0, 2048);
        send(0, 1, FRAME);
        serve();
        CHECK(answered(0));
    }
    for (unsigned n = 0; n < ENTRIES; n++) {
        CHECK(received(1, &entry));
        EXPECT(entry.id, n);
    }
    CHECK(!received(1, &entry) && !clients.client[1].broken);
    EXPECT(clients.client[1].port.counts.dropped, 3);
    send(0, 1, FRAME);
    serve();
    CHECK(received(1, &entry));
    EXPECT(entry.id, ENTRIES);
}

TEST(net_client_reset_taken,
     "a buffer that the server had taken for a frame that was too long is the card's after a reset")
{
    struct network_received entry;
    start();
    sides[1].link->accepts = NETWORK_ACCEPTS_MERGE;
    post(1, 5, 0, 40);
    send(0, 1, FRAME);
    serve();
    CHECK(!received(1, &entry));
    sides[1].link->resets = 1;
    serve();
    EXPECT(sides[1].link->resets_done, 1);
    post(1, 6, 4096, 2048);
    send(0, 1, FRAME);
    serve();
    CHECK(received(1, &entry));
    EXPECT(entry.id, 6);
    EXPECT(entry.buffers, 1);
}

TEST(net_client_bad_counts,
     "a frame without segments, with too many, or with a part of them switches the client off")
{
    static const struct network_segment none[NETWORK_SEGMENTS_MAX + 1];
    static const uint16_t counts[] = {0, NETWORK_SEGMENTS_MAX + 1, UINT16_MAX};
    for (unsigned i = 0; i < 3; i++) {
        start();
        struct network_frame header = header_of(0, counts[i]);
        ring_write(&sides[0].send, &header, sizeof header);
        ring_write(&sides[0].send, none, sizeof none);
        expect_broken(0);
    }
    start();
    struct network_frame header = header_of(0, 2);
    ring_write(&sides[0].send, &header, sizeof header);
    ring_write(&sides[0].send, none, sizeof none[0]);
    expect_broken(0);
    start();
    ring_write(&sides[0].send, &header, sizeof header - 8);
    expect_broken(0);
}

TEST(net_client_positions, "a ring whose position jumps switches the client off, whichever it is")
{
    for (unsigned ring = 0; ring < 3; ring++) {
        start();
        struct ring *of[] = {&sides[0].send, &sides[0].sent, &sides[0].buffers};
        send(0, 1, FRAME);
        post(0, 1, 0, 2048);
        if (ring == 1)
            of[ring]->shared->read = 0x40000000;
        else
            of[ring]->shared->written = 0x40000000;
        if (ring == 2)
            send(1, 0, FRAME);
        serve();
        serve();
        CHECK(clients.client[0].broken);
        EXPECT(log_lines, 1);
        CHECK(!clients.client[1].broken);
    }
}

TEST(net_client_answers_full,
     "a client that reads no answers is not served on until it does, and nothing is lost")
{
    start();
    unsigned sent = 0, back = 0;
    for (unsigned i = 0; i < 2000; i++)
        if (ring_room(&sides[0].send) > 1024) {
            send(0, 1, FRAME);
            sent++;
        } else {
            serve();
        }
    serve();
    CHECK(ring_filled(&sides[0].sent) == NETWORK_SENT_BYTES);
    CHECK(sides[0].sent.shared->writer_waits);
    for (unsigned i = 0; i < 20; i++) {
        while (answered(0))
            back++;
        serve();
    }
    EXPECT(back, sent);
}

TEST(net_client_attach_checks,
     "what root says of a client is checked too: number, memory without gaps, address")
{
    start();
    struct service_attach good = {
        .name = "g", .parameter = 0x020000000077ull, .extents = 1, .extent = {{0, 0, 4096}}};
    struct service_attach bad = good;
    void *channel = calloc(1, SERVICE_CHANNEL_BYTES), *memory = calloc(1, 4096);
    EXPECT(client_attach(0, networks, 1, &good, channel, memory), SERVICE_BAD_CLIENT);
    EXPECT(client_attach(SERVICE_CLIENTS_MAX, networks, 1, &good, channel, memory),
           SERVICE_BAD_CLIENT);
    bad.extent[0].offset = 4096;
    EXPECT(client_attach(5, networks, 1, &bad, channel, memory), SERVICE_BAD_REQUEST);
    bad = good;
    bad.extents = SERVICE_EXTENTS_MAX + 1;
    EXPECT(client_attach(5, networks, 1, &bad, channel, memory), SERVICE_BAD_REQUEST);
    bad = good;
    bad.extent[0].size_bytes = SERVICE_MEMORY_STRIDE + 1;
    EXPECT(client_attach(5, networks, 1, &bad, channel, memory), SERVICE_BAD_REQUEST);
    bad = good;
    bad.parameter = 0x020000000001ull; /* client 0 has it */
    EXPECT(client_attach(5, networks, 1, &bad, channel, memory), SERVICE_BAD_REQUEST);
    bad.parameter = 0x010000000077ull; /* a group's */
    EXPECT(client_attach(5, networks, 1, &bad, channel, memory), SERVICE_BAD_REQUEST);
    EXPECT(client_detach(5), SERVICE_BAD_CLIENT);
    free(channel);
    free(memory);
}

TEST(net_client_random, "clients that write anything at all into channels and memory disturb "
                        "neither the server nor the third")
{
    for (unsigned round = 0; round < 300; round++) {
        struct network_received entry;
        start();
        for (unsigned step = 0; step < 40; step++) {
            unsigned n = (unsigned)(unit_random() % 2);
            switch (unit_random() % 8) {
            case 0:
                sides[n].channel[unit_random() % SERVICE_CHANNEL_BYTES] = (char)unit_random();
                break;
            case 1: sides[n].send.shared->written += (uint32_t)(unit_random() % 200); break;
            case 2: sides[n].buffers.shared->written += (uint32_t)(unit_random() % 200); break;
            case 3:
                post(n, unit_random(), unit_random() % MEMORY, (uint32_t)(unit_random() % 4096));
                break;
            case 4:
                if (ring_room(&sides[n].send) > 2048)
                    send(n, (unsigned)(unit_random() % 4), 60 + (uint32_t)(unit_random() % 1600));
                break;
            case 5: sides[n].link->accepts = (uint32_t)unit_random(); break;
            case 6: sides[n].link->resets += unit_random() % 2; break;
            default: serve(); break;
            }
            open_side(&sides[n]);
        }
        post(2, 1, 0, 2048);
        serve();
        CHECK(!clients.client[2].broken && !received(2, &entry));
    }
}

TEST(net_client_queues,
     "frames come in buffers of the flow's queue alone; too many posted are an end")
{
    struct network_received entry;
    start();
    sides[1].link->queues = 2;
    for (unsigned n = 0; n < 4; n++)
        post_to(1, n % 2, n, n * 2048, 2048);
    struct network_frame header = header_of(1, 1);
    struct network_segment segment = {8192, FRAME};
    write_frame(1, 0, 8192, FRAME);
    header.queue = 1;
    clients_refresh();
    send_segments(1, header, &segment);
    serve(); /* all that is no IP is one flow */
    send(0, 1, FRAME);
    send(0, 1, FRAME);
    send(0, 1, FRAME);
    serve();
    CHECK(received(1, &entry) && entry.id == 1);
    CHECK(received(1, &entry) && entry.id == 3);
    CHECK(!received(1, &entry));
    EXPECT(clients.client[1].port.counts.dropped, 1);
    for (unsigned n = 0; n < NETWORK_POSTED_MAX; n++)
        post_to(1, 0, n, 0, 2048);
    send(0, 1, FRAME);
    serve();
    CHECK(clients.client[1].broken);
    CHECK(!clients.client[0].broken);
}
