/*
 * To which queue of a client a flow's frames come.
 * links: net-server/client.c net-server/flow.c net-server/switch.c net-server/frame.c net-server/copy.c lib/ring.c
 */
#include "unit_test.h"

#include "net_packets.h"
#include "net-server/client.h"

LOG_STUB

#define MS 1000000ull

static struct flows flows;
static uint8_t bytes[2][256];
static uint32_t sizes[2];

void client_ring(uint32_t number, uint64_t bits)
{
    (void)number, (void)bits;
}

/* A connection: 0 goes one way, 1 is the answer. */
static void connect(bool v6)
{
    uint32_t address = v6 ? 16 : 4, at = PACKET_IP + (v6 ? 8 : 12);
    uint32_t tcp = v6 ? PACKET_TCP6 : PACKET_TCP4;
    sizes[0] = sizes[1] = make_tcp(bytes[0], v6, 30, 0x10, unit_random);
    write_be16(bytes[0] + tcp, (uint32_t)unit_random());
    memcpy(bytes[1], bytes[0], sizes[0]);
    memcpy(bytes[1] + at, bytes[0] + at + address, address);
    memcpy(bytes[1] + at + address, bytes[0] + at, address);
    memcpy(bytes[1] + tcp, bytes[0] + tcp + 2, 2);
    memcpy(bytes[1] + tcp + 2, bytes[0] + tcp, 2);
}

static struct frame *frame_of(unsigned way)
{
    static struct frame frame;
    frame_begin(&frame);
    CHECK(frame_add(&frame, bytes[way], sizes[way]));
    return &frame;
}

static void start(void)
{
    switch_clock = (struct switch_clock){1000 * MS, 1000000000};
    flows_begin(&flows);
}

TEST(net_flow_follows_the_sender, "answers come to the queue from which was sent")
{
    for (unsigned round = 0; round < 400; round++) {
        start();
        connect(round & 1);
        uint32_t queue = round / 2 % 4;
        flows_sent(&flows, frame_of(0), queue);
        EXPECT(flows_queue(&flows, frame_of(1), 4), queue);
        EXPECT(flows_queue(&flows, frame_of(0), 4), queue);
        EXPECT(flows_queue(&flows, frame_of(1), 1), 0);
        CHECK(flows_queue(&flows, frame_of(1), 3) < 3);
    }
}

TEST(net_flow_keeps_its_order, "a flow on which frames come stays; after a rest it follows")
{
    start();
    connect(false);
    flows_sent(&flows, frame_of(0), 1);
    for (unsigned i = 0; i < 20; i++) {
        EXPECT(flows_queue(&flows, frame_of(1), 4), 1);
        switch_clock.now += FLOW_REST_MS * MS;
        flows_sent(&flows, frame_of(0), 2 + i % 2);
    }
    EXPECT(flows_queue(&flows, frame_of(1), 4), 1);
    switch_clock.now += FLOW_REST_MS * MS + 1;
    flows_sent(&flows, frame_of(0), 3);
    EXPECT(flows_queue(&flows, frame_of(1), 4), 3);
}

TEST(net_flow_spreads, "flows of many ports use all queues, and pieces of a datagram one")
{
    unsigned seen[4] = {0};
    start();
    connect(false);
    for (unsigned port = 0; port < 400; port++) {
        write_be16(bytes[1] + PACKET_TCP4, port);
        seen[flows_queue(&flows, frame_of(1), 4)]++;
    }
    for (unsigned queue = 0; queue < 4; queue++)
        CHECK(seen[queue] > 20);
    /* RFC 791: the pieces behind the first have data where that has its ports; datagrams' ports do not count. */
    for (unsigned kind = 0; kind < 3; kind++) {
        bytes[1][PACKET_IP + 9] = kind == 0 ? 17 : 6;
        write_be16(bytes[1] + PACKET_IP + 6, kind == 0 ? 0 : kind == 1 ? 0x2000 : 0x0010);
        uint32_t queue = flows_queue(&flows, frame_of(1), 4);
        for (unsigned port = 0; port < 100; port++) {
            write_be16(bytes[1] + PACKET_TCP4, port);
            EXPECT(flows_queue(&flows, frame_of(1), 4), queue);
        }
    }
}

TEST(net_flow_any_bytes, "frames that are cut, with lengths that can't be, have a queue too")
{
    start();
    for (unsigned round = 0; round < 20000; round++) {
        connect(round & 1);
        sizes[0] = ETHERNET_HEADER_BYTES + (uint32_t)(unit_random() % 60);
        bytes[0][PACKET_IP] = (uint8_t)unit_random();
        uint8_t *copy = malloc(sizes[0]); /* for the sanitizer */
        struct frame frame;
        memcpy(copy, bytes[0], sizes[0]);
        frame_begin(&frame);
        CHECK(frame_add(&frame, copy, sizes[0]));
        flows_sent(&flows, &frame, (uint32_t)unit_random());
        CHECK(flows_queue(&flows, &frame, 4) < 4);
        EXPECT(frame.size_bytes, sizes[0]);
        free(copy);
    }
}
