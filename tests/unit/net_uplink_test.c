/*
 * Network cards: tags that tell networks apart, and a card that is full or stuck.
 * links: net-server/uplink.c net-server/acks.c net-server/switch.c net-server/frame.c net-server/copy.c lib/print.c
 */
#include "unit_test.h"

#include "net_packets.h"
#include "net-server/client.h"
#include "net-server/uplink.h"

LOG_STUB

struct clients clients;

enum { NETWORKS = 3, TAG_A = 7, TAG_B = 9, FRAME = 80 };

static struct network networks[NETWORKS];
static struct network_start plan;
static struct port ports[NETWORKS]; /* a client in each */
static unsigned got[NETWORKS];
static uint8_t last[NETWORKS][256];
static uint32_t last_bytes, last_checksum_start;

/* A card that a test can look at. */
static unsigned card_starts, card_sent;
static uint8_t wire[4096];
static bool card_full;

static bool fake_fits(const struct device_grant *grant)
{
    return grant->vendor == 1;
}

static const char *fake_start(struct uplink *uplink)
{
    card_starts++;
    uplink->accepts = NETWORK_ACCEPTS_CHECKSUM;
    return NULL;
}

static bool fake_send(struct uplink *uplink, const struct frame *frame, uint32_t vlan)
{
    struct frame_cursor cursor = frame_at(frame, 0);
    (void)uplink;
    if (card_full)
        return false;
    uplink_fill(&cursor, wire, frame->size_bytes + (vlan ? ETHERNET_TAG_BYTES : 0), vlan);
    card_sent++;
    return true;
}

static uint8_t *fake_place(struct uplink *uplink)
{
    (void)uplink;
    return card_full ? NULL : wire;
}

static void fake_send_placed(struct uplink *uplink, uint32_t size_bytes)
{
    (void)uplink;
    CHECK(size_bytes <= UPLINK_PART_MAX);
    card_sent++;
}

static bool fake_poll(struct uplink *uplink)
{
    (void)uplink;
    return false;
}

static bool fake_has_room(struct uplink *uplink)
{
    (void)uplink;
    return !card_full;
}

static bool fake_waits(struct uplink *uplink, bool room)
{
    (void)uplink, (void)room;
    return true;
}

static void fake_nothing(struct uplink *uplink)
{
    (void)uplink;
}

static bool fake_kick(struct uplink *uplink)
{
    (void)uplink;
    return false;
}

const struct uplink_driver virtio_net_driver = {
    "fake",    fake_fits,     fake_start, fake_send,    fake_place, fake_send_placed,
    fake_poll, fake_has_room, fake_waits, fake_nothing, fake_kick};

static bool never_fits(const struct device_grant *grant)
{
    (void)grant;
    return false;
}

const struct uplink_driver e1000_driver = {.name = "none", .fits = never_fits};

static bool deliver(struct port *port, struct frame *frame)
{
    unsigned n = (unsigned)(port - ports);
    struct frame_cursor cursor = frame_at(frame, 0);
    got[n]++;
    last_bytes = frame_copy(&cursor, last[n], sizeof last[n]);
    last_checksum_start = frame->offload.checksum_start;
    return true;
}

static void connect(void)
{
    static const uint32_t tags[NETWORKS] = {0, TAG_A, TAG_B};
    for (unsigned i = 0; i < NETWORKS; i++) {
        const uint8_t *mac = NULL;
        plan.networks[i] = (struct plan_network){.uplink = 0, .vlan = tags[i]};
        networks[i] = (struct network){.plan = &plan.networks[i]};
        CHECK(uplink_connect(&networks[i], &mac) && mac == uplinks[0].mac);
        ports[i] = (struct port){.name = "p",
                                 .one_address = true,
                                 .accepts = NETWORK_ACCEPTS_CHECKSUM,
                                 .mac = {2, 0, 0, 0, 0, 1},
                                 .deliver = deliver};
        CHECK(port_join(&ports[i], &networks[i]));
    }
}

static void start(void)
{
    memset(uplinks, 0, sizeof uplinks);
    memset(&plan, 0, sizeof plan);
    memset(got, 0, sizeof got);
    card_starts = card_sent = log_lines = 0;
    card_full = false;
    clients = (struct clients){.attached = 7};
    switch_clock = (struct switch_clock){1000000, 1000000000};
    plan.device_count = 1;
    plan.devices[0].vendor = 1;
    uplinks_start(&plan);
    connect();
}

/* From 02:..:from to 02:..:to, with a type, and what follows it. */
static void make(uint8_t *bytes, uint8_t from, uint8_t to, uint32_t type, uint32_t tag)
{
    memset(bytes, 0, FRAME);
    bytes[0] = bytes[6] = 2;
    bytes[5] = to;
    bytes[11] = from;
    write_be16(bytes + 12, type);
    write_be16(bytes + 14, tag);
    bytes[FRAME - 1] = 0x5a;
}

static void send_out(unsigned network, uint32_t type, uint32_t tag)
{
    uint8_t bytes[FRAME];
    struct frame frame;
    make(bytes, 1, 50, type, tag);
    frame_begin(&frame);
    frame_add(&frame, bytes, FRAME);
    switch_send(&ports[network], &frame);
}

static void come_in(uint32_t type, uint32_t tag)
{
    uint8_t bytes[FRAME];
    struct frame frame;
    make(bytes, 50, 1, type, tag);
    memset(got, 0, sizeof got);
    frame_begin(&frame);
    frame_add(&frame, bytes, FRAME);
    if (type == ETHERNET_TYPE_TAG)
        frame.offload = (struct network_offload){
            .flags = NETWORK_NEEDS_CHECKSUM, .checksum_start = 38, .checksum_offset = 6};
    uplink_receive(&uplinks[0], &frame);
}

static void expect(unsigned a, unsigned b, unsigned c)
{
    EXPECT(got[0], a);
    EXPECT(got[1], b);
    EXPECT(got[2], c);
}

/* ---- tags ------------------------------------------------------------------------------------------------ */

TEST(net_uplink_tags_out, "what a network sends has its tag on the wire; a tag of the sender's own "
                          "goes nowhere")
{
    start();
    send_out(0, 0x0800, 0);
    EXPECT(card_sent, 1);
    EXPECT(read_be16(wire + 12), 0x0800);
    EXPECT(wire[FRAME - 1], 0x5a);
    send_out(1, 0x0800, 0);
    EXPECT(card_sent, 2);
    EXPECT(read_be16(wire + 12), ETHERNET_TYPE_TAG);
    EXPECT(read_be16(wire + 14), TAG_A);
    EXPECT(read_be16(wire + 16), 0x0800);
    EXPECT(wire[FRAME + 3], 0x5a);
    static const uint32_t types[] = {ETHERNET_TYPE_TAG, ETHERNET_TYPE_SERVICE_TAG,
                                     ETHERNET_TYPE_OLD_TAG};
    for (unsigned i = 0; i < 3; i++)
        for (unsigned n = 0; n < NETWORKS; n++)
            send_out(n, types[i], TAG_B);
    EXPECT(card_sent, 2);
    expect(0, 0, 0);
}

TEST(net_uplink_tags_in,
     "what comes in goes to the network of its tag alone, and without it; another's "
     "tag to none")
{
    start();
    come_in(0x0800, 0);
    expect(1, 0, 0);
    come_in(ETHERNET_TYPE_TAG, TAG_A);
    expect(0, 1, 0);
    EXPECT(last_bytes, FRAME - 4);
    EXPECT(last[1][FRAME - 5], 0x5a);
    EXPECT(last_checksum_start, 34);
    come_in(ETHERNET_TYPE_TAG, TAG_B | 0xe000); /* the upper bits are a priority */
    expect(0, 0, 1);
    come_in(ETHERNET_TYPE_TAG, 0x6000);
    expect(1, 0, 0);
    come_in(ETHERNET_TYPE_TAG, 8);
    expect(0, 0, 0);
}

TEST(net_uplink_tag_once,
     "two networks can't have the same tag on a card, or a card that is not there")
{
    start();
    const uint8_t *mac;
    struct plan_network more[2] = {{.uplink = 0, .vlan = TAG_A}, {.uplink = 1}};
    struct network other[2] = {{.plan = &more[0]}, {.plan = &more[1]}};
    CHECK(!uplink_connect(&other[0], &mac));
    CHECK(!uplink_connect(&other[1], &mac));
}

/* ---- frames that are to be cut ------------------------------------------------------------------------------ */

/* A frame of so many bytes of data, to be cut into parts of so many. */
static void send_flagged(unsigned network, uint32_t data_bytes, uint16_t segment_bytes,
                         uint8_t flags)
{
    static uint8_t bytes[NETWORK_FRAME_MAX];
    struct frame frame;
    frame_begin(&frame);
    frame_add(&frame, bytes, make_tcp(bytes, false, data_bytes, flags, unit_random));
    frame.offload = tcp_offload(false, segment_bytes);
    CHECK(frame_offload_valid(&frame));
    switch_send(&ports[network], &frame);
}

static void send_large(unsigned network, uint32_t data_bytes)
{
    send_flagged(network, data_bytes, 1000, 0x10);
}

TEST(net_uplink_cuts, "a frame that the card does not cut goes out in parts, each with the "
                      "network's tag; a card that "
                      "does gets it whole")
{
    start();
    send_large(0, 2500);
    EXPECT(card_sent, 3);
    CHECK(tcp_is_right(wire, 54 + 500));
    send_large(1, 2500);
    EXPECT(card_sent, 6);
    EXPECT(read_be16(wire + 12), ETHERNET_TYPE_TAG);
    EXPECT(read_be16(wire + 14), TAG_A);
    EXPECT(read_be16(wire + 16), ETHERNET_TYPE_IPV4);
    uplinks[0].accepts |= NETWORK_ACCEPTS_TCP6;
    send_large(0, 2500);
    EXPECT(card_sent, 9);
    uplinks[0].accepts |= NETWORK_ACCEPTS_TCP4;
    send_large(0, 2500);
    EXPECT(card_sent, 10);
    EXPECT(read_be16(wire + PACKET_IP + 2), 40 + 2500);
    uplinks[0].accepts = 0;
    card_full = true;
    send_large(0, 2500);
    EXPECT(card_sent, 10);
    EXPECT(uplinks[0].ports[0].port.counts.dropped, 1);
    CHECK(networks[0].congested);
}

TEST(net_uplink_cuts_what_a_card_should_not,
     "a card that cuts is given no frame with CWR, which only the first part "
     "may have, and none that would become a heap of crumbs")
{
    start();
    uplinks[0].accepts |= NETWORK_ACCEPTS_TCP4;
    send_flagged(0, 2500, 1000, 0x90);
    EXPECT(card_sent, 3);
    EXPECT(wire[PACKET_TCP4 + 13], 0x10);
    send_flagged(0, 2500, UPLINK_SEGMENT_MIN, 0x10);
    EXPECT(card_sent, 4);
    send_flagged(0, 2500, UPLINK_SEGMENT_MIN - 1, 0x10);
    EXPECT(card_sent, 4 + 10);
    CHECK(tcp_is_right(wire, 54 + 2500 % (UPLINK_SEGMENT_MIN - 1)));
}

/* ---- a card that takes no more ----------------------------------------------------------------------------- */

TEST(net_uplink_full, "a card without room makes all of its networks wait, until it has some")
{
    start();
    card_full = true;
    send_out(1, 0x0800, 0);
    for (unsigned i = 0; i < NETWORKS; i++)
        CHECK(networks[i].congested);
    EXPECT(uplinks[0].ports[1].port.counts.dropped, 1);
    CHECK(!uplinks_poll() && networks[0].congested);
    card_full = false;
    clients.ready = 0;
    uplinks_poll();
    for (unsigned i = 0; i < NETWORKS; i++)
        CHECK(!networks[i].congested);
    EXPECT(clients.ready, clients.attached);
    EXPECT(card_starts, 1);
}

TEST(net_uplink_stuck,
     "a card that sends nothing for two seconds is started anew, and not for ever")
{
    start();
    card_full = true;
    for (unsigned i = 0; i < 3 * UPLINK_STARTS_MAX; i++) {
        uint64_t deadline = UINT64_MAX;
        send_out(0, 0x0800, 0);
        CHECK(uplinks_wait(&deadline) && deadline > switch_clock.now);
        switch_clock.now += 3 * switch_clock.per_second;
        uplinks_poll();
        uplinks[0].congested_since = switch_clock.now;
    }
    EXPECT(card_starts, UPLINK_STARTS_MAX);
}
