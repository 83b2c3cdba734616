/*
 * The switch: who gets a frame, and who does not.
 * links: net-server/switch.c net-server/frame.c net-server/copy.c
 */
#include "unit_test.h"

#include "net_packets.h"
#include "net-server/switch.h"

LOG_STUB

enum { PORTS = 6, KHZ = 1000000 };
/* Ports 0, 1, 2 are cards of network 0 and 5 is its uplink; 3 and 4 are cards of network 1. */
static struct network networks[2];
static struct plan_network plans[2];
static struct port ports[PORTS];
static unsigned got[PORTS];
static uint8_t last[PORTS][2048];
static uint32_t last_bytes[PORTS], last_flags[PORTS];
static uint8_t buffer[NETWORK_FRAME_MAX];

static bool deliver(struct port *port, struct frame *frame)
{
    unsigned n = (unsigned)(port - ports);
    struct frame_cursor cursor = frame_at(frame, 0);
    got[n]++;
    last_bytes[n] = frame_copy(&cursor, last[n], sizeof last[n]);
    last_flags[n] = frame->offload.flags;
    return true;
}

static void start(void)
{
    memset(networks, 0, sizeof networks);
    memset(plans, 0, sizeof plans);
    memset(got, 0, sizeof got);
    log_lines = 0;
    switch_clock = (struct switch_clock){1000000, KHZ * 1000ull};
    for (unsigned i = 0; i < 2; i++)
        networks[i].plan = &plans[i];
    for (unsigned i = 0; i < PORTS; i++) {
        ports[i] = (struct port){.name = "p", .one_address = i != 5, .deliver = deliver};
        ports[i].mac[0] = 2;
        ports[i].mac[5] = (uint8_t)(i + 1);
        CHECK(port_join(&ports[i], &networks[i == 3 || i == 4]));
    }
}

/* What is in the buffer, from a port. */
static void send_buffer(unsigned from, uint32_t size_bytes, struct network_offload offload)
{
    struct frame frame;
    frame_begin(&frame);
    frame_add(&frame, buffer, size_bytes);
    frame.offload = offload;
    switch_send(&ports[from], &frame);
}

/* From a port, between addresses 02:0:0:0:0:xx; 0xff is broadcast. */
static void send(unsigned from, uint8_t source, uint8_t to)
{
    memset(buffer, 0, 64);
    buffer[0] = buffer[6] = 2;
    buffer[5] = to;
    buffer[11] = source;
    if (to == 0xff)
        memset(buffer, 0xff, 6);
    memset(got, 0, sizeof got);
    send_buffer(from, 64, (struct network_offload){0});
}

static void expect(unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f)
{
    const unsigned right[PORTS] = {a, b, c, d, e, f};
    for (unsigned i = 0; i < PORTS; i++)
        EXPECT(got[i], right[i]);
}

TEST(net_switch_delivers,
     "a frame goes to the port whose address it has, a broadcast to all others of its network")
{
    start();
    send(0, 1, 2);
    expect(0, 1, 0, 0, 0, 0);
    send(1, 2, 1);
    expect(1, 0, 0, 0, 0, 0);
    send(0, 1, 0xff);
    expect(0, 1, 1, 0, 0, 1);
    send(0, 1, 1);
    expect(0, 0, 0, 0, 0, 0);
}

TEST(net_switch_isolates,
     "no frame passes from one network to another, to whatever address it goes")
{
    start();
    for (unsigned round = 0; round < 20000; round++) {
        unsigned from = (unsigned)(unit_random() % PORTS);
        bool second = from == 3 || from == 4;
        send(from, (uint8_t)(from + 1), (uint8_t)unit_random());
        for (unsigned i = 0; i < PORTS; i++)
            CHECK((i == 3 || i == 4) == second || got[i] == 0);
    }
}

TEST(net_switch_spoof, "a card sends from its own address alone; the first attempt is in the log, "
                       "and none goes anywhere")
{
    start();
    send(0, 2, 3);
    expect(0, 0, 0, 0, 0, 0);
    send(0, 77, 0xff);
    expect(0, 0, 0, 0, 0, 0);
    EXPECT(log_lines, 1);
    EXPECT(ports[0].counts.dropped, 2);
    /* From outside nobody comes with a card's address, or with a group's. */
    send(5, 1, 2);
    expect(0, 0, 0, 0, 0, 0);
    buffer[6] = 3;
    send_buffer(5, 64, (struct network_offload){0});
    expect(0, 0, 0, 0, 0, 0);
    send(5, 99, 2);
    expect(0, 1, 0, 0, 0, 0);
}

TEST(net_switch_learns, "an unknown address is looked for at the uplink and at who listens to all; "
                        "once learned, at the uplink alone, until it is old")
{
    start();
    ports[2].promiscuous = true;
    send(0, 1, 50);
    expect(0, 0, 1, 0, 0, 1);
    send(5, 50, 1);
    expect(1, 0, 0, 0, 0, 0);
    send(0, 1, 50);
    expect(0, 0, 0, 0, 0, 1);
    send(5, 51, 50);
    expect(0, 0, 0, 0, 0, 0);
    switch_clock.now += (SWITCH_AGE_SECONDS + 1) * switch_clock.per_second;
    send(0, 1, 50);
    expect(0, 0, 1, 0, 0, 1);
    send(5, 50, 1);
    port_leave(&ports[5]);
    send(0, 1, 50);
    expect(0, 0, 1, 0, 0, 0);
}

TEST(net_switch_addresses_differ,
     "two ports of a network can't have one address; in two networks they can")
{
    start();
    struct port port = {.name = "p", .one_address = true, .deliver = deliver};
    memcpy(port.mac, ports[0].mac, 6);
    CHECK(!port_join(&port, &networks[0]));
    CHECK(port_join(&port, &networks[1]));
    port_leave(&port);
    port_leave(&ports[0]);
    CHECK(port_join(&port, &networks[0]));
}

TEST(net_switch_neighbours,
     "what is between neighbours on a wire (01-80-c2-00-00-0x) passes no switch")
{
    static const uint8_t group[6] = {0x01, 0x80, 0xc2, 0, 0, 0x02};
    start();
    send(0, 1, 0xff);
    memset(got, 0, sizeof got);
    memcpy(buffer, group, 6);
    send_buffer(0, 64, (struct network_offload){0});
    expect(0, 0, 0, 0, 0, 0);
    buffer[5] = 0x10;
    send_buffer(0, 64, (struct network_offload){0});
    expect(0, 1, 1, 0, 0, 1);
}

TEST(net_switch_broadcast_limit,
     "of broadcasts no more pass in a second than the network allows each port")
{
    start();
    for (unsigned i = 0; i < PORTS; i++) {
        port_leave(&ports[i]);
        plans[0].broadcast_rate = 40;
        CHECK(port_join(&ports[i], &networks[i == 3 || i == 4]));
    }
    unsigned passed = 0;
    for (unsigned ms = 0; ms < 5000; ms++) {
        switch_clock.now += switch_clock.per_second / 1000;
        send(0, 1, 0xff);
        passed += got[1];
        /* What is sent to one is not limited, and another's broadcasts are its own. */
        if (ms % 100 == 0) {
            send(0, 1, 2);
            EXPECT(got[1], 1);
            send(1, 2, 0xff);
            EXPECT(got[0], 1);
        }
    }
    CHECK(passed >= 195 && passed <= 210);
}

TEST(net_switch_rate,
     "a rate lets through what it says, whatever the sizes, and says when it goes on")
{
    start();
    struct rate rate;
    rate_set(&rate, 1000000);
    uint64_t taken = 0, begun = switch_clock.now;
    while (switch_clock.now - begun < 10 * switch_clock.per_second) {
        while (rate_allows(&rate)) {
            uint64_t size = 1 + unit_random() % 60000;
            rate_take(&rate, size);
            taken += size;
        }
        uint64_t deadline = rate_deadline(&rate);
        CHECK(deadline > switch_clock.now);
        switch_clock.now = deadline;
        CHECK(rate_allows(&rate));
    }
    CHECK(taken > 9900000 && taken < 10250000);
    /* Who was silent for long has saved nothing. */
    while (rate_allows(&rate))
        rate_take(&rate, 1000);
    switch_clock.now += 100 * switch_clock.per_second;
    for (taken = 0; rate_allows(&rate); taken += 1000)
        rate_take(&rate, 1000);
    CHECK(taken < 1000000 / 10);
    rate_set(&rate, UINT64_MAX);
    switch_clock.now += UINT64_MAX / 2;
    CHECK(rate_allows(&rate));
}

TEST(net_switch_offload, "a frame that is still to be cut or summed arrives so where that is "
                         "accepted, and finished where not")
{
    start();
    uint32_t size = make_tcp(buffer, false, 5000, 0x18, unit_random);
    ports[1].accepts = NETWORK_ACCEPTS_CHECKSUM | NETWORK_ACCEPTS_TCP4;
    send_buffer(0, size, tcp_offload(false, 1400));
    expect(0, 1, 0, 0, 0, 0);
    EXPECT(last_flags[1], NETWORK_NEEDS_CHECKSUM);
    EXPECT(ports[1].counts.bytes_received, size);
    for (unsigned checksum = 0; checksum < 2; checksum++) {
        ports[1].accepts = checksum ? NETWORK_ACCEPTS_CHECKSUM : 0;
        memset(got, 0, sizeof got);
        send_buffer(0, size, tcp_offload(false, 1400));
        expect(0, 4, 0, 0, 0, 0);
        EXPECT(last_flags[1], checksum ? NETWORK_NEEDS_CHECKSUM : NETWORK_CHECKSUM_GOOD);
        EXPECT(tcp_is_right(last[1], last_bytes[1]), !checksum);
    }
}
