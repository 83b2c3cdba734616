/*
 * TCP's acknowledgements in a row, as a network card hands them over: what is left out, and what never is.
 * links: net-server/acks.c net-server/switch.c net-server/frame.c net-server/copy.c lib/print.c
 */
#include "unit_test.h"

#include "net_packets.h"
#include "net-server/acks.h"

LOG_STUB

enum { ACK = 16, PSH = 8, FIN = 1, STAMPS_BYTES = 12, NUMBER = 1000, GOT_MAX = 8 };

static struct plan_network plan;
static struct network network;
static struct port card, guest;
static struct ack held;
static unsigned got;
static uint8_t last[GOT_MAX][256];
static uint32_t last_bytes[GOT_MAX];

static bool deliver(struct port *port, struct frame *frame)
{
    struct frame_cursor cursor = frame_at(frame, 0);
    CHECK(port == &guest && got < GOT_MAX);
    last_bytes[got] = frame_copy(&cursor, last[got], sizeof last[got]);
    got++;
    return true;
}

static void start(void)
{
    network = (struct network){.plan = &plan};
    held = (struct ack){0};
    got = 0;
    card = (struct port){.name = "card", .deliver = deliver};
    guest = (struct port){
        .name = "guest", .one_address = true, .mac = {2, 0, 0, 0, 0, 2}, .deliver = deliver};
    CHECK(port_join(&card, &network) && port_join(&guest, &network));
}

/* A packet of one connection, always the same but for what the test changes. */
struct packet {
    uint8_t bytes[256];
    uint32_t size_bytes, tcp;
};

static uint64_t constant(void)
{
    return 0x5a;
}

static struct packet make(bool v6, uint32_t data_bytes, uint32_t number)
{
    struct packet packet = {.tcp = v6 ? PACKET_TCP6 : PACKET_TCP4};
    packet.size_bytes = make_tcp(packet.bytes, v6, data_bytes, ACK, constant);
    write_be32(packet.bytes + packet.tcp + 8, number);
    write_be16(packet.bytes + packet.tcp + 14, number);
    return packet;
}

/* With time stamps, which lie where data would. */
static struct packet make_stamped(bool v6, uint32_t number)
{
    struct packet packet = make(v6, STAMPS_BYTES, number);
    packet.bytes[packet.tcp + 12] = 0x80;
    write_be32(packet.bytes + packet.tcp + 20, 0x0101080a);
    write_be32(packet.bytes + packet.tcp + 24, number);
    return packet;
}

static void come(const struct packet *packet)
{
    struct frame frame;
    frame_begin(&frame);
    CHECK(frame_add(&frame, packet->bytes, packet->size_bytes));
    CHECK(frame_take_head(&frame, packet->size_bytes < FRAME_HEAD_MAX ? packet->size_bytes
                                                                      : ETHERNET_HEADER_BYTES));
    if (!ack_hold(&held, &card, &frame))
        switch_send(&card, &frame);
}

static void expect(unsigned n, const struct packet *packet)
{
    CHECK(n < got);
    EXPECT(last_bytes[n], packet->size_bytes);
    CHECK(memcmp(last[n], packet->bytes, packet->size_bytes) == 0);
}

/* Both of two packets come through, in their order, as they are. */
static void expect_both(const struct packet *a, const struct packet *b)
{
    start();
    come(a);
    come(b);
    ack_release(&held);
    EXPECT(got, 2);
    expect(0, a);
    expect(1, b);
}

TEST(net_acks_row,
     "of a row of acknowledgements the last comes through, at the row's end: with and "
     "without time stamps, across the number's overflow")
{
    for (unsigned kind = 0; kind < 4; kind++) {
        struct packet packet = {0};
        start();
        for (uint32_t i = 0; i < 5; i++) {
            uint32_t number = 0xfffffffeu + i;
            packet = kind & 2 ? make_stamped(kind & 1, number) : make(kind & 1, 0, number);
            if (!(kind & 1))
                write_be16(packet.bytes + PACKET_IP + 4, i); /* IPv4's identification */
            come(&packet);
            EXPECT(got, 0);
        }
        ack_release(&held);
        EXPECT(got, 1);
        expect(0, &packet);
        ack_release(&held);
        EXPECT(got, 1);
    }
}

TEST(net_acks_padded,
     "an acknowledgement that is filled up to Ethernet's shortest frame is one, with "
     "other filling it is as good; a longer frame is none")
{
    struct packet a = make(false, 0, NUMBER), b = make(false, 0, NUMBER + 1);
    a.size_bytes = b.size_bytes = 60;
    b.bytes[59] = 1;
    start();
    come(&a);
    come(&b);
    EXPECT(got, 0);
    ack_release(&held);
    EXPECT(got, 1);
    expect(0, &b);
    a.size_bytes = b.size_bytes = 61;
    expect_both(&a, &b);
}

TEST(net_acks_repeated,
     "an acknowledgement that repeats a number, or goes back, comes through like "
     "the one before it: TCP counts them")
{
    for (unsigned v6 = 0; v6 < 2; v6++)
        for (int step = -1; step <= 0; step++) {
            struct packet a = make(v6, 0, NUMBER), b = make(v6, 0, NUMBER + (uint32_t)step);
            write_be16(b.bytes + b.tcp + 14, 77);
            expect_both(&a, &b);
        }
}

TEST(net_acks_others_kept,
     "an acknowledgement of another connection, with other flags, with data, with "
     "other options, or of a fragment leaves none out")
{
    for (unsigned v6 = 0; v6 < 2; v6++) {
        const struct packet a = make(v6, 0, NUMBER), more = make(v6, 0, NUMBER + 1);
        uint32_t tcp = a.tcp;
        const struct {
            uint32_t at;
            uint8_t bits;
        } changes[] = {{11, 1},           {tcp - 1, 1},     {tcp + 1, 1},     {tcp + 3, 1},
                       {tcp + 7, 1},      {tcp + 13, FIN},  {tcp + 13, PSH},  {tcp + 13, 64},
                       {tcp + 13, 128},   {tcp + 13, ACK},  {tcp + 12, 0x30}, {15, v6 ? 16 : 1},
                       {v6 ? 20 : 23, 1}, {v6 ? 19 : 21, 1}};
        for (unsigned i = 0; i < sizeof changes / sizeof changes[0]; i++) {
            struct packet b = more;
            b.bytes[changes[i].at] ^= changes[i].bits;
            expect_both(&a, &b);
            expect_both(&b, &more);
        }
        struct packet data = make(v6, 4, NUMBER + 1), sack = make_stamped(v6, NUMBER + 1);
        expect_both(&a, &data);
        sack.bytes[sack.tcp + 22] = 5;
        expect_both(&a, &sack);
        expect_both(&sack, &a);
        struct packet stamped = make_stamped(v6, NUMBER + 2);
        expect_both(&a, &stamped);
        expect_both(&sack, &stamped);
        expect_both(&stamped, &more);
    }
}

TEST(net_acks_order, "a frame that comes between two acknowledgements stays between them")
{
    struct packet a = make(false, 0, NUMBER), data = make(false, 100, NUMBER),
                  b = make(false, 0, NUMBER + 1), c = make(false, 0, NUMBER + 2);
    start();
    come(&a);
    come(&data);
    EXPECT(got, 2);
    come(&b);
    come(&c);
    ack_release(&held);
    EXPECT(got, 3);
    expect(0, &a);
    expect(1, &data);
    expect(2, &c);
}

TEST(net_acks_ports, "acknowledgements of two networks of a card are never of one row")
{
    struct packet a = make(false, 0, NUMBER), b = make(false, 0, NUMBER + 1);
    static struct network other;
    static struct port there;
    start();
    other = (struct network){.plan = &plan};
    there = (struct port){.name = "card", .deliver = deliver};
    CHECK(port_join(&there, &other));
    come(&a);
    struct frame frame;
    frame_begin(&frame);
    frame_add(&frame, b.bytes, b.size_bytes);
    CHECK(frame_take_head(&frame, b.size_bytes));
    CHECK(ack_hold(&held, &there, &frame));
    EXPECT(got, 1);
    expect(0, &a);
    CHECK(held.from == &there);
}

TEST(net_acks_renewed, "bytes that no frame was made of renew what is held, or change nothing")
{
    for (unsigned kind = 0; kind < 4; kind++) {
        bool v6 = kind & 1, stamped = kind & 2;
        struct packet first = stamped ? make_stamped(v6, NUMBER) : make(v6, 0, NUMBER);
        struct packet next = stamped ? make_stamped(v6, NUMBER + 1) : make(v6, 0, NUMBER + 1);
        struct packet bad = next;
        uint32_t tcp = first.tcp;
        start();
        CHECK(!ack_renew(&held, next.bytes, next.size_bytes));
        come(&first);
        CHECK(!ack_renew(&held, first.bytes, first.size_bytes));
        CHECK(!ack_renew(&held, next.bytes, next.size_bytes + 1));
        bad.bytes[tcp + 13] |= FIN;
        CHECK(!ack_renew(&held, bad.bytes, bad.size_bytes));
        bad = next;
        bad.bytes[v6 ? 19 : 17]++;
        CHECK(!ack_renew(&held, bad.bytes, bad.size_bytes));
        bad = next;
        bad.bytes[tcp + 22] = 5;
        EXPECT(stamped && ack_renew(&held, bad.bytes, bad.size_bytes), 0);
        CHECK(memcmp(held.bytes, first.bytes, first.size_bytes) == 0);
        CHECK(ack_renew(&held, next.bytes, next.size_bytes));
        ack_release(&held);
        EXPECT(got, 1);
        expect(0, &next);
    }
}
