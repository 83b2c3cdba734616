/*
 * Frames in pieces: checksums and TCP segmentation, against a model that goes byte by byte.
 * links: net-server/frame.c net-server/copy.c
 */
#include "unit_test.h"

#include "net-server/copy.h"
#include "net_packets.h"

static uint8_t data[NETWORK_FRAME_MAX], out[NETWORK_FRAME_MAX], joined[NETWORK_FRAME_MAX];

/* Cuts memory into pieces of random sizes, as a guest's descriptors may have it. Each in memory of its own, so that
 * the sanitizer sees a byte read too far. */
static uint8_t *copies[NETWORK_SEGMENTS_MAX];

static void scatter(struct frame *frame, const uint8_t *from, uint32_t size_bytes)
{
    frame_begin(frame);
    for (unsigned i = 0; i < NETWORK_SEGMENTS_MAX && size_bytes; i++) {
        uint32_t piece = (uint32_t)(unit_random() % (size_bytes / 4 + 3));
        if (piece > size_bytes || i + 1 == NETWORK_SEGMENTS_MAX)
            piece = size_bytes;
        free(copies[i]);
        copies[i] = malloc(piece ? piece : 1);
        memcpy(copies[i], from, piece);
        CHECK(frame_add(frame, copies[i], piece));
        from += piece;
        size_bytes -= piece;
    }
}

static uint32_t gather(const struct frame *frame, uint8_t *to)
{
    struct frame_cursor cursor = frame_at(frame, 0);
    return frame_copy(&cursor, to, NETWORK_FRAME_MAX);
}

TEST(net_frame_pieces_are_whole,
     "taking the beginning of a frame in pieces, and dropping of it, loses and doubles no byte")
{
    for (unsigned round = 0; round < 3000; round++) {
        struct frame frame;
        uint32_t size = 60 + (uint32_t)(unit_random() % 1400), drop = 0;
        for (uint32_t i = 0; i < size; i++)
            data[i] = (uint8_t)unit_random();
        scatter(&frame, data, size);
        for (unsigned i = 0; i < 4; i++) {
            uint32_t head = (uint32_t)(unit_random() % (FRAME_HEAD_MAX + 10));
            bool fits = head <= FRAME_HEAD_MAX && head <= frame.size_bytes;
            EXPECT(frame_take_head(&frame, head), fits || head <= frame.head_bytes);
        }
        if (frame.head_bytes && unit_random() % 2) {
            drop = (uint32_t)(unit_random() % frame.head_bytes) + 1;
            frame_drop(&frame, drop);
        }
        EXPECT(frame.size_bytes, size - drop);
        EXPECT(gather(&frame, out), size - drop);
        CHECK(memcmp(out, data + drop, size - drop) == 0);
    }
}

TEST(net_frame_head_is_private,
     "what the sender changes after the frame's beginning was read does not go out")
{
    struct frame frame;
    memset(data, 'a', 100);
    frame_begin(&frame);
    frame_add(&frame, data, 100);
    CHECK(frame_take_head(&frame, 14));
    memset(data, 'b', 100);
    EXPECT(gather(&frame, out), 100);
    CHECK(memcmp(out, "aaaaaaaaaaaaaabb", 16) == 0);
}

TEST(net_frame_sum_is_right, "the sum over pieces of any size and place is that of the model")
{
    for (unsigned round = 0; round < 3000; round++) {
        struct frame frame;
        uint32_t size = (uint32_t)(unit_random() % 3000), from = (uint32_t)(unit_random() % 100);
        bool ones = unit_random() % 4 == 0;
        for (uint32_t i = 0; i < size; i++)
            data[i] = ones ? 0xff : (uint8_t)unit_random();
        scatter(&frame, data, size);
        uint16_t right = from < size ? model_sum(0, data + from, size - from) : 0;
        EXPECT(frame_sum(&frame, from), right);
    }
}

TEST(net_frame_copy_is_right,
     "copies and their sums are right with and without wide registers, for any size and place, and "
     "touch nothing beside")
{
    for (unsigned round = 0; round < 4000; round++) {
        uint32_t size = (uint32_t)(unit_random() % (round % 8 ? 3000 : 65000));
        uint8_t *from = malloc(size + 1), *to = malloc(size + 1);
        uint8_t fill = round % 5 == 0 ? 0xff : 0;
        for (uint32_t i = 0; i < size; i++)
            from[i] = fill | (uint8_t)unit_random();
        to[0] = 0x77;
        copy_wide = false;
        if (round % 2)
            copy_init();
        EXPECT(sum_fold(copy_sum(to + 1, from, size)), model_sum(0, from, size));
        CHECK(memcmp(to + 1, from, size) == 0);
        memset(to + 1, 0, size);
        copy_bytes(to + 1, from, size);
        CHECK(memcmp(to + 1, from, size) == 0 && to[0] == 0x77);
        EXPECT(sum_fold(sum_bytes(from, size)), model_sum(0, from, size));
        free(from);
        free(to);
    }
}

TEST(net_frame_checksum_is_right, "a checksum that the sender left out is put in as a card would")
{
    for (unsigned round = 0; round < 500; round++) {
        struct frame frame;
        bool v6 = unit_random() % 2;
        uint32_t size = make_tcp(data, v6, (uint32_t)(unit_random() % 1400), 0x18, unit_random);
        scatter(&frame, data, size);
        frame.offload = tcp_offload(v6, 0);
        CHECK(frame_offload_valid(&frame));
        CHECK(frame_finish_checksum(&frame));
        EXPECT(frame.offload.flags, NETWORK_CHECKSUM_GOOD);
        EXPECT(gather(&frame, out), size);
        CHECK(tcp_is_right(out, size));
    }
}

/* The next part as it goes onto the wire, of memory that has just room for it, is the one in out[]. */
static void cut_on_wire(struct frame_cutter *cutter, uint32_t size_bytes, uint32_t vlan)
{
    uint32_t tag = vlan ? ETHERNET_TAG_BYTES : 0;
    uint8_t *wire = malloc(size_bytes + tag);
    EXPECT(frame_cut_write(cutter, wire, vlan), size_bytes + tag);
    if (vlan) {
        EXPECT(read_be16(wire + 12), ETHERNET_TYPE_TAG);
        EXPECT(read_be16(wire + 14), vlan);
        CHECK(memcmp(wire, out, 12) == 0);
        CHECK(memcmp(wire + 16, out + 12, size_bytes - 12) == 0);
    } else {
        CHECK(memcmp(wire, out, size_bytes) == 0);
    }
    free(wire);
}

/* Cuts a frame and checks each part; the data of all, one behind the other, into joined. */
static uint32_t cut(struct frame *whole, bool v6, uint16_t segment_bytes, uint8_t flags)
{
    struct frame_cutter cutter, wires;
    struct frame part;
    uint32_t tcp = v6 ? PACKET_TCP6 : PACKET_TCP4, header = tcp + PACKET_TCP_BYTES;
    uint32_t length = whole->size_bytes - header, done = 0, index = 0;
    uint32_t vlan = unit_random() % 2 ? 77 : 0;
    CHECK(frame_cut_begin(&cutter, whole) && frame_cut_begin(&wires, whole));
    while (frame_cut_next(&cutter, &part)) {
        bool last = done + part.size_bytes - header == length;
        CHECK(frame_finish_checksum(&part));
        EXPECT(gather(&part, out), part.size_bytes);
        CHECK(tcp_is_right(out, part.size_bytes));
        cut_on_wire(&wires, part.size_bytes, vlan);
        CHECK(last || part.size_bytes - header == segment_bytes);
        EXPECT(read_be32(out + tcp + 4), 0xfffff000u + done);
        if (!v6)
            EXPECT(read_be16(out + PACKET_IP + 4), (uint16_t)(0xfffe + index));
        uint8_t right = flags;
        if (!last)
            right &= (uint8_t)~9u;
        if (index)
            right &= 0x7f;
        EXPECT(out[tcp + 13], right);
        memcpy(joined + done, out + header, part.size_bytes - header);
        done += part.size_bytes - header;
        index++;
    }
    EXPECT(frame_cut_write(&wires, out, vlan), 0);
    return done;
}

TEST(net_frame_cut_is_right,
     "TCP data is cut into parts with right headers and checksums that together are the whole")
{
    for (unsigned round = 0; round < 300; round++) {
        struct frame frame;
        bool v6 = unit_random() % 2;
        uint8_t flags = (uint8_t)(unit_random() % 2 ? 0x99 : 0x10);
        uint16_t segment_bytes = (uint16_t)(100 + unit_random() % 1300);
        copy_wide = false;
        if (round % 2)
            copy_init();
        uint32_t most = NETWORK_FRAME_MAX - PACKET_TCP6 - PACKET_TCP_BYTES - 100;
        uint32_t length = 1 + (uint32_t)(unit_random() % most);
        uint32_t size = make_tcp(data, v6, length, flags, unit_random);
        scatter(&frame, data, size);
        frame.offload = tcp_offload(v6, segment_bytes);
        CHECK(frame_offload_valid(&frame));
        EXPECT(cut(&frame, v6, segment_bytes, flags), length);
        CHECK(memcmp(joined, data + size - length, length) == 0);
    }
}

TEST(net_frame_refuses_nonsense, "frames whose offload can't be carried out are refused, whatever "
                                 "they say, and none reads beyond its end")
{
    unsigned valid = 0;
    for (unsigned round = 0; round < 60000; round++) {
        struct frame frame;
        bool v6 = unit_random() % 2;
        uint32_t size = make_tcp(data, v6, (uint32_t)(unit_random() % 3000), 0x18, unit_random);
        for (unsigned i = 0; i < unit_random() % 3; i++)
            data[unit_random() % 70] = (uint8_t)unit_random();
        if (unit_random() % 4 == 0)
            size = (uint32_t)(unit_random() % size);
        scatter(&frame, data, size);
        frame.offload = tcp_offload(v6, unit_random() % 2 ? 1000 : 0);
        for (unsigned i = 0; i < unit_random() % 3; i++)
            ((uint8_t *)&frame.offload)[unit_random() % sizeof frame.offload] =
                (uint8_t)unit_random();
        if (!frame_offload_valid(&frame))
            continue;
        valid++;
        struct frame_cutter cutter;
        struct frame part;
        if (frame.offload.segmentation == NETWORK_WHOLE) {
            CHECK(frame.size_bytes <= ETHERNET_FRAME_MAX);
            if (frame.offload.flags & NETWORK_NEEDS_CHECKSUM)
                CHECK(frame_finish_checksum(&frame));
            continue;
        }
        CHECK(frame_cut_begin(&cutter, &frame));
        while (frame_cut_write(&cutter, joined, 1))
            CHECK(cutter.header_bytes <= ETHERNET_FRAME_MAX);
        CHECK(frame_cut_begin(&cutter, &frame));
        while (frame_cut_next(&cutter, &part)) {
            CHECK(part.size_bytes <= ETHERNET_FRAME_MAX);
            CHECK(frame_finish_checksum(&part));
            CHECK(gather(&part, out) == part.size_bytes);
        }
    }
    CHECK(valid > 1000);
}

TEST(net_frame_bounds, "a frame has no more pieces and bytes than its place")
{
    struct frame frame;
    frame_begin(&frame);
    for (unsigned i = 0; i < FRAME_PIECES_MAX - 1; i++)
        CHECK(frame_add(&frame, data + i, 1));
    CHECK(!frame_add(&frame, data, 1));
    CHECK(frame_take_head(&frame, 14));
    EXPECT(gather(&frame, out), FRAME_PIECES_MAX - 1);
    frame_begin(&frame);
    CHECK(frame_add(&frame, data, NETWORK_FRAME_MAX));
    CHECK(!frame_add(&frame, data, 1));
    CHECK(!frame_add(&frame, data, UINT32_MAX));
}
