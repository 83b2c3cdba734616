/*
 * Clients of the network server that keep its rules, on rings and memory as they share them.
 * links: net-server/client.c net-server/flow.c net-server/switch.c net-server/frame.c net-server/copy.c lib/ring.c
 */
#include "net_client_machine.h"

TEST(net_client_passes_frames,
     "a frame goes from one client's memory into the other's buffer, unchanged, and is answered")
{
    struct network_received entry;
    start();
    sides[1].link->headroom_bytes = 12;
    post(1, 7, 512, 2048);
    send(0, 1, FRAME);
    serve();
    CHECK(answered(0));
    CHECK(received(1, &entry));
    EXPECT(entry.id, 7);
    EXPECT(entry.size_bytes, FRAME);
    EXPECT(entry.buffers, 1);
    CHECK(memcmp(sides[1].memory + 512 + 12, sides[0].memory + 4096, FRAME) == 0);
    for (unsigned i = 0; i < 12; i++)
        EXPECT(sides[1].memory[512 + i], 0);
    EXPECT(sides[1].memory[512 + 12 + FRAME], 0);
    CHECK(!received(1, &entry) && !received(2, &entry) && !answered(0));
    EXPECT(status.client[0].frames_sent, 1);
    EXPECT(status.client[1].bytes_received, FRAME);
}

TEST(net_client_rings, "who waits is rung when there is something, and not when there is nothing")
{
    start();
    memset(rung, 0, sizeof rung);
    CHECK(ring_reader_waits(&sides[1].received));
    serve();
    EXPECT(rung[1], 0);
    post(1, 7, 512, 2048);
    send(0, 1, FRAME);
    serve();
    EXPECT(rung[1], 1);
    EXPECT(rung[0], 0);
    /* And the client is asked to ring when it sends the next. */
    CHECK(ring_writer_must_ring(&sides[0].send));
}

TEST(net_client_told_later, "that its frames are sent is told a client with the next that it "
                            "receives, at the sixteenth, or "
                            "after a while; not if it has looked")
{
    uint64_t id;
    start();
    serve();
    for (unsigned how = 0; how < 4; how++) {
        memset(rung, 0, sizeof rung);
        switch_clock.now += 10 * switch_clock.per_second;
        serve();
        ring_reader_wishes(&sides[0].sent);
        ring_reader_waits(&sides[0].received);
        for (unsigned n = 0; n < 15; n++)
            send(0, 1, FRAME);
        serve();
        EXPECT(rung[0], 0);
        CHECK(clients.to_tell & 1 && clients.tell_at > switch_clock.now);
        switch_clock.now = clients.tell_at - 1;
        serve();
        EXPECT(rung[0], 0);
        switch (how) {
        case 0: switch_clock.now++; break;
        case 1: send(0, 1, FRAME); break;
        case 2:
            post(0, 7, 512, 2048);
            send(1, 0, FRAME);
            break;
        default:
            while (ring_read(&sides[0].sent, &id, sizeof id))
                continue;
            switch_clock.now++;
        }
        serve();
        EXPECT(rung[0], how < 3);
        CHECK(!(clients.to_tell & 1));
        switch_clock.now += switch_clock.per_second;
        serve();
        EXPECT(rung[0], how < 3);
        while (ring_read(&sides[0].sent, &id, sizeof id))
            continue;
    }
}

TEST(net_client_told_anew,
     "a client that has looked for itself is told of its next frames after the whole while")
{
    uint64_t id;
    start();
    serve();
    memset(rung, 0, sizeof rung);
    ring_reader_wishes(&sides[0].sent);
    ring_reader_waits(&sides[0].received);
    send(0, 1, FRAME);
    serve();
    uint64_t first = clients.tell_at;
    switch_clock.now = first - 1;
    while (ring_read(&sides[0].sent, &id, sizeof id))
        continue;
    send(0, 1, FRAME);
    serve();
    EXPECT(clients.tell_at, first - 1 + switch_clock.per_second / 1000000 * CLIENT_TELL_US);
    switch_clock.now = first;
    serve();
    EXPECT(rung[0], 0);
    switch_clock.now = clients.tell_at;
    serve();
    EXPECT(rung[0], 1);
}

TEST(net_client_no_common_network,
     "two clients without a common network get nothing of each other, broadcasts and all")
{
    struct network_received entry;
    start();
    for (unsigned n = 0; n < CLIENTS; n++)
        for (unsigned i = 0; i < 8; i++)
            post(n, i, 65536 + 2048 * i, 2048);
    sides[2].link->promiscuous = 1;
    send(0, 2, FRAME);
    serve();
    send(0, 99, FRAME);
    serve();
    send(0, 0xff, FRAME);
    serve();
    CHECK(received(1, &entry));
    CHECK(!received(2, &entry));
    send(2, 0, FRAME);
    serve();
    send(2, 0xff, FRAME);
    serve();
    CHECK(!received(0, &entry));
}

TEST(
    net_client_merges,
    "a large frame fills several buffers where the client takes that, and comes in parts where not")
{
    struct network_received entry;
    uint32_t size;
    start();
    size = make_tcp(sides[0].memory + 4096, false, 9000, 0x18, unit_random);
    sides[0].memory[4096 + 11] = 1;
    struct network_segment segments[2] = {{4096, 700}, {4796, size - 700}};
    struct network_frame header = header_of(0, 2);
    header.offload = tcp_offload(false, 1448);
    sides[1].link->accepts =
        NETWORK_ACCEPTS_CHECKSUM | NETWORK_ACCEPTS_TCP4 | NETWORK_ACCEPTS_MERGE;
    sides[1].link->headroom_bytes = 12;
    for (unsigned i = 0; i < 10; i++)
        post(1, i, 65536 + 2048 * i, 1500);
    send_segments(0, header, segments);
    serve();
    uint32_t done = 0;
    for (unsigned i = 0; i < 7; i++) {
        CHECK(received(1, &entry));
        EXPECT(entry.buffers, i == 0 ? 7 : 0);
        uint32_t skip = i == 0 ? 12 : 0;
        CHECK(memcmp(sides[1].memory + 65536 + 2048 * i + skip, sides[0].memory + 4096 + done,
                     entry.size_bytes) == 0);
        if (i == 0)
            EXPECT(entry.offload.segmentation, NETWORK_TCP4);
        done += entry.size_bytes;
    }
    EXPECT(done, size);
    CHECK(!received(1, &entry));
    sides[1].link->accepts = NETWORK_ACCEPTS_MERGE;
    for (unsigned i = 0; i < 4; i++)
        post(1, i, 65536 + 2048 * (10 + i), 1600);
    send_segments(0, header, segments);
    serve();
    unsigned parts = 0;
    while (received(1, &entry)) {
        EXPECT(entry.offload.segmentation, 0);
        if (entry.buffers == 0)
            continue;
        EXPECT(entry.offload.flags, NETWORK_CHECKSUM_GOOD);
        parts++;
    }
    /* 3 buffers of 1,500 bytes and 4 of 1,600 are there; a part is 1,502 bytes, with 12 before it. */
    EXPECT(parts, 5);
}

TEST(net_client_without_buffers, "a client that posts no buffers, or too small ones, loses frames, "
                                 "and the sender has its answer all the same")
{
    struct network_received entry;
    start();
    post(1, 1, 0, 64);
    send(0, 1, FRAME);
    serve();
    CHECK(answered(0));
    CHECK(!received(1, &entry));
    EXPECT(clients.client[1].port.counts.dropped, 1);
    CHECK(!clients.client[1].broken);
}

TEST(net_client_generation, "frames and buffers of another generation are dropped; a new server "
                            "takes over and drops what it finds")
{
    struct network_received entry;
    start();
    struct network_segment segment = {4096, FRAME};
    struct network_frame header = header_of(0, 1);
    write_frame(0, 1, 4096, FRAME);
    post(1, 5, 0, 2048);
    header.generation++;
    send_segments(0, header, &segment);
    serve();
    CHECK(!answered(0) && !received(1, &entry));
    /* It dies with things in its rings. */
    send(0, 1, FRAME);
    memset(&clients, 0, sizeof clients);
    memset(networks, 0, sizeof networks);
    networks[0].plan = &plans[0];
    networks[1].plan = &plans[1];
    clients.deadline = UINT64_MAX;
    for (unsigned n = 0; n < CLIENTS; n++)
        EXPECT(attach(n, 0), SERVICE_OK);
    EXPECT(sides[0].link->generation, 2);
    serve();
    CHECK(!answered(0) && !received(1, &entry));
    post(1, 6, 0, 2048);
    send(0, 1, FRAME);
    serve();
    CHECK(answered(0) && received(1, &entry));
    EXPECT(entry.id, 6);
}

TEST(net_client_reset, "a card that is reset has its buffers and frames back, and nothing of "
                       "before is used afterwards")
{
    struct network_received entry;
    start();
    post(1, 5, 0, 2048);
    send(0, 1, FRAME);
    serve();
    CHECK(received(1, &entry));
    for (unsigned i = 0; i < 10; i++)
        post(1, 100 + i, 0, 2048);
    send(0, 1, FRAME);
    serve();
    CHECK(received(1, &entry)); /* by now the server has taken buffers from the ring */
    send(1, 0, FRAME);
    sides[1].link->resets = 9;
    post(0, 3, 0, 2048);
    serve();
    EXPECT(sides[1].link->resets_done, 9);
    CHECK(!received(0, &entry) && !answered(1));
    send(0, 1, FRAME);
    serve();
    CHECK(!received(1, &entry));
    post(1, 6, 0, 2048);
    send(0, 1, FRAME);
    serve();
    CHECK(received(1, &entry));
    EXPECT(entry.id, 6);
}

TEST(net_client_rate,
     "a card with a limit sends what it says in a second, loses nothing, and others are not slowed")
{
    struct network_received entry;
    start();
    EXPECT(client_detach(0), SERVICE_OK);
    EXPECT(attach(0, 100000), SERVICE_OK);
    uint64_t bytes = 0, other = 0;
    for (unsigned ms = 0; ms < 4000; ms++) {
        switch_clock.now += switch_clock.per_second / 1000;
        for (unsigned n = 0; n < 2; n++)
            if (ring_room(&sides[n].buffers) > 64)
                post(n, ms, 65536, 2048);
        if (ring_room(&sides[0].send) > 4096)
            send(0, 1, 1000);
        send(1, 0, 1000);
        clients_refresh();
        clients.ready |= 2 | ring_writer_must_ring(&sides[0].send);
        clients_send();
        clients_ring();
        while (received(1, &entry))
            bytes += entry.size_bytes;
        while (received(0, &entry))
            other += entry.size_bytes;
        while (answered(0) || answered(1))
            continue;
    }
    CHECK(bytes > 390000 && bytes < 412000);
    EXPECT(other, 4000 * 1000);
    EXPECT(clients.client[0].port.counts.dropped, 0);
}
