/*
 * The 82540EM's driver against a model of the card: what goes onto the wire, what comes in, and when it interrupts.
 * links: net-server/e1000.c net-server/uplink.c net-server/acks.c net-server/switch.c net-server/frame.c net-server/copy.c lib/print.c
 */
#include "unit_test.h"

#include "net_packets.h"
#include "net-server/client.h"
#include "net-server/uplink.h"

LOG_STUB

struct clients clients;

enum { FRAME = 80, PHYSICAL = 0x100000, WIRE_MAX = 300, MODEL_MAX = 1 << 17 };
enum {
    ICR = 0xc0 / 4,
    IMS = 0xd0 / 4,
    IMC = 0xd8 / 4,
    RDT = 0x2818 / 4,
    TDT = 0x3818 / 4,
};

static uint32_t registers[0x6000 / 4];
static uint8_t memory[(E1000_RECEIVE_PLACES + E1000_SEND_PLACES) * (BUFFER_BYTES + 16) + 4096]
    __attribute__((aligned(4096)));

static bool never_fits(const struct device_grant *grant)
{
    (void)grant;
    return false;
}

const struct uplink_driver virtio_net_driver = {.name = "none", .fits = never_fits};

static struct plan_network plan;
static struct network network;
static struct port client;
static unsigned got;
static uint8_t last[256];

static bool deliver(struct port *port, struct frame *frame)
{
    struct frame_cursor cursor = frame_at(frame, 0);
    CHECK(port == &client);
    frame_copy(&cursor, last, sizeof last);
    got++;
    return true;
}

/* ---- the card, by the manual's 3.3 and 3.5 ----------------------------------------------------------------------- */

static struct {
    uint32_t head;    /* TDH */
    uint64_t sums[2]; /* the context */
    bool in_frame, segments;
    uint64_t first; /* the frame's first piece of data: its command */
    uint8_t data[MODEL_MAX];
    uint32_t size_bytes;
} model;

/* What was sent. */
static struct {
    uint8_t bytes[UPLINK_PART_MAX + 8];
    uint32_t size_bytes;
} wire[WIRE_MAX];
static unsigned wire_count;

static uint32_t bits(uint64_t value, unsigned shift, unsigned count)
{
    return (uint32_t)(value >> shift & ((1ull << count) - 1));
}

/* As the card does it: what is in the field counts, and 0 is written as 0xffff. */
static void put_sum(uint8_t *at, uint32_t start, uint32_t to, uint32_t end)
{
    CHECK(start < to && to + 2 <= end);
    uint16_t sum = (uint16_t)~model_sum(0, at + start, end - start);
    write_be16(at + to, sum ? sum : 0xffff);
}

static void put_on_wire(const uint8_t *bytes, uint32_t size_bytes)
{
    CHECK(wire_count < WIRE_MAX && size_bytes <= UPLINK_PART_MAX);
    memcpy(wire[wire_count].bytes, bytes, size_bytes);
    wire[wire_count++].size_bytes = size_bytes;
}

/* 3.5: each part gets the headers, with its own lengths, identification, number, flags and sums. */
static void cut(void)
{
    uint32_t ip = bits(model.sums[0], 0, 8), tcp = bits(model.sums[0], 32, 8);
    uint32_t header_bytes = bits(model.sums[1], 40, 8), most = bits(model.sums[1], 48, 16);
    uint32_t data_bytes = bits(model.sums[1], 0, 20);
    CHECK(bits(model.sums[1], 24, 8) == 0x27); /* extended, segments, IPv4, TCP */
    CHECK(most && header_bytes + data_bytes == model.size_bytes && header_bytes >= tcp + 20);
    for (uint32_t done = 0, n = 0; done < data_bytes; done += most, n++) {
        uint8_t part[UPLINK_PART_MAX];
        uint32_t size_bytes = data_bytes - done < most ? data_bytes - done : most;
        CHECK(header_bytes + size_bytes <= sizeof part);
        memcpy(part, model.data, header_bytes);
        memcpy(part + header_bytes, model.data + header_bytes + done, size_bytes);
        size_bytes += header_bytes;
        write_be16(part + ip + 2, size_bytes - ip);
        write_be16(part + ip + 4, read_be16(part + ip + 4) + n);
        write_be32(part + tcp + 4, read_be32(part + tcp + 4) + done);
        if (done + most < data_bytes)
            part[tcp + 13] &= 0xf6; /* FIN, PSH */
        uint32_t pseudo = read_be16(part + tcp + 16) + size_bytes - tcp;
        write_be16(part + tcp + 16, (pseudo & 0xffff) + (pseudo >> 16));
        put_sum(part, tcp, bits(model.sums[0], 40, 8), size_bytes);
        put_sum(part, ip, bits(model.sums[0], 8, 8), bits(model.sums[0], 16, 16) + 1);
        put_on_wire(part, size_bytes);
    }
}

static void finish(void)
{
    CHECK(bits(model.first, 25, 1)); /* the check sequence is wanted */
    if (!bits(model.first, 29, 1)) {
        put_on_wire(model.data, model.size_bytes);
        return;
    }
    CHECK(bits(model.first, 40, 8) == (model.segments ? 3 : 2));
    CHECK(bits(model.sums[0], 48, 16) == 0);
    if (model.segments) {
        cut();
        return;
    }
    put_sum(model.data, bits(model.sums[0], 32, 8), bits(model.sums[0], 40, 8), model.size_bytes);
    put_on_wire(model.data, model.size_bytes);
}

static void take_data(volatile struct e1000_sent *descriptor)
{
    uint64_t command = descriptor->command, at = descriptor->address - PHYSICAL;
    uint32_t size_bytes = bits(command, 0, 16);
    CHECK(bits(command, 16, 4) == 0 && size_bytes && size_bytes <= BUFFER_BYTES);
    CHECK(at < sizeof memory && size_bytes <= sizeof memory - at);
    if (!model.in_frame) {
        model.first = command;
        model.segments = bits(command, 26, 1);
        model.size_bytes = 0;
    }
    CHECK(((model.first ^ command) & 0x26000000) == 0); /* all pieces say the same */
    CHECK(model.size_bytes + size_bytes <= MODEL_MAX);
    memcpy(model.data + model.size_bytes, memory + at, size_bytes);
    model.size_bytes += size_bytes;
    model.in_frame = !bits(command, 24, 1);
    if (!model.in_frame)
        finish();
}

/* Sends all that it has been given; what is done is reported where that is asked for, if `reports`. */
static void card_runs(bool reports)
{
    volatile struct e1000_sent *ring = uplinks[0].card.e1000.send;
    for (; model.head != registers[TDT]; model.head = (model.head + 1) % E1000_SEND_PLACES) {
        volatile struct e1000_sent *descriptor = &ring[model.head];
        if (bits(descriptor->command, 29, 1) && bits(descriptor->command, 20, 4) == 0) {
            CHECK(!model.in_frame && !bits(descriptor->command, 27, 1));
            model.sums[0] = descriptor->address;
            model.sums[1] = descriptor->command;
            continue;
        }
        take_data(descriptor);
        CHECK(bits(descriptor->command, 27, 1) == !model.in_frame);
        if (reports && !model.in_frame)
            descriptor->command |= 1ull << 32;
    }
}

/* ---- a card that has been started ------------------------------------------------------------------------------- */

static struct e1000 *begin(void)
{
    struct uplink *uplink = &uplinks[0];
    struct e1000 *card = &uplink->card.e1000;
    memset(uplinks, 0, sizeof uplinks);
    memset(memory, 0, sizeof memory);
    memset(registers, 0, sizeof registers);
    memset(&model, 0, sizeof model);
    wire_count = got = 0;
    switch_clock = (struct switch_clock){1000000, 1000000000};
    uplink_count = 1;
    uplink->driver = &e1000_driver;
    uplink->accepts = NETWORK_ACCEPTS_CHECKSUM | NETWORK_ACCEPTS_TCP4;
    uplink->area = (struct dma_area){{(uint64_t)memory, PHYSICAL, sizeof memory}, 0};
    card->registers = registers;
    card->receive = dma_take(&uplink->area, E1000_RECEIVE_PLACES * sizeof *card->receive, 128,
                             &card->receive_physical);
    card->send =
        dma_take(&uplink->area, E1000_SEND_PLACES * sizeof *card->send, 128, &card->send_physical);
    CHECK(buffers_start(&card->received, &uplink->area, E1000_RECEIVE_PLACES) &&
          buffers_start(&card->sent, &uplink->area, E1000_SEND_PLACES));
    const uint8_t *mac;
    plan = (struct plan_network){.uplink = 0};
    network = (struct network){.plan = &plan};
    CHECK(uplink_connect(&network, &mac));
    client = (struct port){
        .name = "p", .one_address = true, .mac = {2, 0, 0, 0, 0, 1}, .deliver = deliver};
    CHECK(port_join(&client, &network));
    return card;
}

/* From 02:..:50 to the client, with a number behind the type. */
static void make(uint8_t *bytes, uint32_t number)
{
    memset(bytes, 0, FRAME);
    bytes[0] = bytes[6] = 2;
    bytes[5] = 1;
    bytes[11] = 50;
    write_be16(bytes + 12, 0x0800);
    write_be16(bytes + 14, number);
    bytes[FRAME - 1] = 0x5a;
}

static bool give(uint32_t size_bytes)
{
    static uint8_t bytes[2 * BUFFER_BYTES];
    struct frame frame;
    make(bytes, size_bytes);
    frame_begin(&frame);
    frame_add(&frame, bytes, size_bytes);
    return e1000_driver.send(&uplinks[0], &frame, 0);
}

static bool kick(void)
{
    return e1000_driver.kick(&uplinks[0]);
}

/* ---- sending ------------------------------------------------------------------------------------------------------- */

TEST(net_e1000_sends,
     "every place of the ring but one is used, and again when the card is done with "
     "it; a frame that no buffer holds is refused")
{
    struct e1000 *card = begin();
    CHECK(!give(BUFFER_BYTES + 1));
    for (unsigned round = 0; round < 3; round++) {
        uint32_t first = card->send_next, second = (first + 1) % E1000_SEND_PLACES;
        wire_count = 0;
        for (unsigned i = 0; i < E1000_SEND_PLACES - 1; i++) {
            CHECK(e1000_driver.has_room(&uplinks[0]) ==
                  (i <= E1000_SEND_PLACES - 1 - UPLINK_PARTS));
            CHECK(give(FRAME + i));
        }
        CHECK(!give(FRAME) && !e1000_driver.place(&uplinks[0]));
        CHECK(kick() && !kick());
        card_runs(false);
        EXPECT(wire_count, E1000_SEND_PLACES - 1);
        for (unsigned i = 0; i < wire_count; i++) {
            EXPECT(wire[i].size_bytes, FRAME + i);
            EXPECT(read_be16(wire[i].bytes + 14), FRAME + i);
        }
        /* Done out of order: room comes with the oldest alone. */
        card->send[second].command |= 1ull << 32;
        CHECK(!give(FRAME));
        for (unsigned i = 0; i < E1000_SEND_PLACES; i++)
            card->send[i].command |= 1ull << 32;
    }
}

TEST(net_e1000_places, "a frame that is written into its place goes out as it is")
{
    struct e1000 *card = begin();
    for (unsigned i = 0; i < 3 * E1000_SEND_PLACES; i++) {
        uint8_t *at = e1000_driver.place(&uplinks[0]);
        CHECK(at);
        make(at, i);
        e1000_driver.send_placed(&uplinks[0], FRAME + i);
        CHECK(kick());
        wire_count = 0;
        card_runs(true);
        EXPECT(wire_count, 1);
        EXPECT(wire[0].size_bytes, FRAME + i);
        CHECK(memcmp(wire[0].bytes, buffer_at(&card->sent, (uint16_t)(i % E1000_SEND_PLACES)),
                     FRAME) == 0);
    }
}

/* A TCP frame of so much data, in pieces as a guest's memory has them. */
static uint8_t large[NETWORK_FRAME_MAX];
static bool send_tcp(bool v6, uint32_t data_bytes, uint16_t segment_bytes, uint32_t vlan)
{
    struct frame frame;
    uint32_t size_bytes = make_tcp(large, v6, data_bytes, 0x19, unit_random);
    uint32_t at = 0, piece = 1 + (uint32_t)(unit_random() % 9000);
    frame_begin(&frame);
    while (at < size_bytes) {
        uint32_t run = size_bytes - at < piece ? size_bytes - at : piece;
        CHECK(frame_add(&frame, large + at, run));
        at += run;
        piece = 4096;
    }
    frame.offload = tcp_offload(v6, segment_bytes);
    CHECK(frame_offload_valid(&frame));
    return e1000_driver.send(&uplinks[0], &frame, vlan);
}

/* Takes the tag out of a frame on the wire. */
static uint32_t take_tag(unsigned n)
{
    uint32_t tag = read_be16(wire[n].bytes + 14);
    EXPECT(read_be16(wire[n].bytes + 12), ETHERNET_TYPE_TAG);
    wire[n].size_bytes -= 4;
    memmove(wire[n].bytes + 12, wire[n].bytes + 16, wire[n].size_bytes - 12);
    return tag;
}

/* All parts of what send_tcp made are on the wire, right in every byte. */
static void expect_parts(uint32_t data_bytes, uint32_t segment_bytes, uint32_t vlan)
{
    EXPECT(wire_count, (data_bytes + segment_bytes - 1) / segment_bytes);
    for (uint32_t n = 0, done = 0; n < wire_count; n++, done += segment_bytes) {
        const uint8_t *at = wire[n].bytes;
        bool is_last = n == wire_count - 1;
        if (vlan)
            EXPECT(take_tag(n), vlan);
        EXPECT(wire[n].size_bytes, 54 + (is_last ? data_bytes - done : segment_bytes));
        CHECK(tcp_is_right(at, wire[n].size_bytes));
        CHECK(memcmp(at, large, 16) == 0 && memcmp(at + 20, large + 20, 4) == 0);
        EXPECT(read_be16(at + 18), (0xfffe + n) & 0xffff);
        CHECK(memcmp(at + 26, large + 26, 12) == 0);
        EXPECT(read_be32(at + 38), 0xfffff000u + done);
        EXPECT(at[47], is_last ? 0x19 : 0x10);
        CHECK(memcmp(at + 54, large + 54 + done, wire[n].size_bytes - 54) == 0);
    }
}

TEST(net_e1000_cuts, "the card is told how to cut a large frame: every part has its own lengths, "
                     "numbers, flags and sums, with and without a tag, from any place of the ring")
{
    begin();
    for (unsigned i = 0; i < 400; i++) {
        uint32_t vlan = unit_random() % 2 ? 7 : 0;
        uint32_t segment_bytes = 256 + (uint32_t)(unit_random() % (1460 - 256 + 1));
        uint32_t most = NETWORK_FRAME_MAX - 54, data_bytes = 1 + (uint32_t)(unit_random() % most);
        if (i % 4 == 0)
            data_bytes = most;
        if (i % 4 == 1)
            data_bytes -= data_bytes % segment_bytes;
        data_bytes += data_bytes == 0;
        wire_count = 0;
        CHECK(e1000_driver.has_room(&uplinks[0]) &&
              send_tcp(false, data_bytes, (uint16_t)segment_bytes, vlan));
        CHECK(kick());
        card_runs(true);
        expect_parts(data_bytes, segment_bytes, vlan);
    }
}

TEST(net_e1000_cuts_in_turn,
     "a large frame's places are free when the card has reported its last, and a frame that finds "
     "too few is refused and leaves nothing")
{
    struct e1000 *card = begin();
    unsigned frames = 0;
    while (send_tcp(false, NETWORK_FRAME_MAX - 54, 1460, 0))
        frames++;
    EXPECT(frames, (E1000_SEND_PLACES - 1) / 34);
    EXPECT(card->send_next, frames * 34);
    CHECK(give(FRAME) && kick());
    wire_count = 0;
    card_runs(false);
    EXPECT(wire_count, frames * 45 + 1);
    CHECK(!e1000_driver.has_room(&uplinks[0]));
    card->send[33].command |= 1ull << 32;
    CHECK(!e1000_driver.has_room(&uplinks[0])); /* 34 and those that were left */
    card->send[67].command |= 1ull << 32;
    CHECK(e1000_driver.has_room(&uplinks[0]));
    EXPECT(card->send_done, 68);
}

TEST(net_e1000_sums,
     "what a sender left to be summed is summed by the card, of either IP, with and "
     "without a tag; what is whole goes out as it came")
{
    begin();
    for (unsigned i = 0; i < 200; i++) {
        bool v6 = unit_random() % 2;
        uint32_t vlan = unit_random() % 2 ? 9 : 0, data_bytes = (uint32_t)(unit_random() % 1440);
        wire_count = 0;
        CHECK(send_tcp(v6, data_bytes, 0, vlan) && give(FRAME) && kick());
        card_runs(true);
        EXPECT(wire_count, 2);
        if (vlan)
            EXPECT(take_tag(0), vlan);
        EXPECT(wire[0].size_bytes, (v6 ? 74 : 54) + data_bytes);
        CHECK(tcp_is_right(wire[0].bytes, wire[0].size_bytes));
        EXPECT(wire[1].size_bytes, FRAME);
        EXPECT(wire[1].bytes[FRAME - 1], 0x5a);
    }
}

TEST(net_e1000_full_with_sums,
     "a frame that the card sums takes a place more, and finds it or goes "
     "nowhere")
{
    begin();
    for (unsigned i = 0; i < E1000_SEND_PLACES - 2; i++)
        CHECK(give(FRAME));
    CHECK(!send_tcp(false, 100, 0, 0));
    CHECK(give(FRAME) && !give(FRAME) && kick());
    card_runs(true);
    EXPECT(wire_count, E1000_SEND_PLACES - 1);
    CHECK(send_tcp(false, 100, 0, 0));
}

/* ---- receiving ------------------------------------------------------------------------------------------------------ */

TEST(net_e1000_receives,
     "whole frames come in, in the ring's order; what is cut, wrong or longer than its "
     "buffer does not, and its place is given back")
{
    static const struct {
        uint64_t result;
        unsigned comes;
    } kinds[] = {{0x300000000ull | FRAME, 1},
                 {0x100000000ull | FRAME, 0},
                 {0x10300000000ull | FRAME, 0},
                 {0x300000000ull | (BUFFER_BYTES + 1), 0},
                 {0x300000000ull | 5, 0}};
    struct e1000 *card = begin();
    for (uint32_t n = 0; n < 3 * E1000_RECEIVE_PLACES; n++) {
        uint16_t place = (uint16_t)(n % E1000_RECEIVE_PLACES);
        unsigned kind = n % 5;
        make(buffer_at(&card->received, place), n);
        got = 0;
        card->receive[place].result = kinds[kind].result;
        CHECK(!e1000_driver.waits(&uplinks[0], false));
        CHECK(!e1000_driver.poll(&uplinks[0]));
        EXPECT(got, kinds[kind].comes);
        if (got)
            EXPECT(read_be16(last + 14), n);
        EXPECT(card->receive[place].result, 0);
        CHECK(e1000_driver.waits(&uplinks[0], false));
        CHECK(!kick());
        EXPECT(registers[RDT], place);
    }
}

TEST(net_e1000_acknowledgements,
     "of a row of acknowledgements the last comes, from where the card has put it")
{
    struct e1000 *card = begin();
    for (uint16_t i = 0; i < 30; i++) {
        uint8_t *at = buffer_at(&card->received, i);
        make_tcp(at, false, 0, 0x10, unit_random);
        if (i)
            memcpy(at, buffer_at(&card->received, 0), 54);
        at[0] = at[6] = 2;
        at[5] = 1;
        at[11] = 50;
        write_be32(at + PACKET_TCP4 + 8, 1000 + i);
        memset(at + 54, 0, 6);
        card->receive[i].result = 0x300000000ull | 60;
    }
    CHECK(!e1000_driver.poll(&uplinks[0]));
    EXPECT(got, 0);
    ack_release(&uplinks[0].ack);
    EXPECT(got, 1);
    EXPECT(read_be32(last + PACKET_TCP4 + 8), 1029);
}

/* ---- interrupts ------------------------------------------------------------------------------------------------------ */

TEST(net_e1000_interrupts, "interrupts are let in only when the server waits and nothing has come, "
                           "and kept out from the first one, or the next frame that is sent, on")
{
    struct e1000 *card = begin();
    card->receive[0].result = 0x300000000ull | FRAME;
    CHECK(!e1000_driver.waits(&uplinks[0], false));
    EXPECT(registers[IMS], 0);
    CHECK(!e1000_driver.poll(&uplinks[0]));
    CHECK(e1000_driver.waits(&uplinks[0], false));
    EXPECT(registers[IMS], 0xd4);
    registers[IMS] = registers[IMC] = 0;
    CHECK(e1000_driver.waits(&uplinks[0], false));
    EXPECT(registers[IMS], 0); /* they are let in already */
    CHECK(!kick());
    EXPECT(registers[IMC], 0);
    CHECK(give(FRAME) && kick());
    EXPECT(registers[IMC], UINT32_MAX);
    CHECK(e1000_driver.waits(&uplinks[0], false));
    EXPECT(registers[IMS], 0xd4);
    registers[IMS] = registers[IMC] = 0;
    e1000_driver.interrupt(&uplinks[0]);
    EXPECT(registers[IMC], UINT32_MAX);
    card_runs(true);
    CHECK(!e1000_driver.waits(&uplinks[0], true)); /* there is room */
    for (unsigned i = 0; i < E1000_SEND_PLACES - 1; i++)
        CHECK(give(FRAME));
    CHECK(kick() && e1000_driver.waits(&uplinks[0], true));
    EXPECT(registers[IMS], 0xd5);
}
