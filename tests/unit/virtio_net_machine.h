/* A virtio network card, with its server and a driver in the test. */
#ifndef VIRTIO_NET_MACHINE_H
#define VIRTIO_NET_MACHINE_H

#define SIZE 64u
#include "virtio_machine.h"

#include "devices/virtio_net.h"

enum { RX, TX, CONTROL };

#define HEADER 12u

/* ---- The server ------------------------------------------------------------------------------ */

static uint64_t channel[SERVICE_CHANNEL_BYTES / 8];
static struct network_link *const net_link = (struct network_link *)channel;
static struct virtio_net net;
static unsigned control = CONTROL; /* the queue; behind all pairs, if several are agreed on */
static struct ring frames, done, buffers, received;
static unsigned bells;
static int held;
static bool sends_at_once, resets_at_once;

static struct {
    struct network_frame frame;
    struct network_segment segments[NETWORK_SEGMENTS_MAX];
} frame;
static struct network_buffer posted[1024];
static unsigned posted_count;

static inline bool in_memory(uint64_t offset, uint64_t size_bytes)
{
    return offset <= RAM_BYTES && size_bytes <= RAM_BYTES - offset;
}

/* Takes a frame; checks what a server would drop a client for. */
static inline bool server_take(void)
{
    uint64_t total = 0;
    if (ring_read(&frames, &frame.frame, sizeof frame.frame) == 0)
        return false;
    CHECK(frame.frame.segments && frame.frame.segments <= NETWORK_SEGMENTS_MAX);
    size_t bytes = frame.frame.segments * sizeof *frame.segments;
    EXPECT(ring_read(&frames, frame.segments, bytes), bytes);
    for (unsigned i = 0; i < frame.frame.segments; i++) {
        CHECK(in_memory(frame.segments[i].offset, frame.segments[i].size_bytes));
        total += frame.segments[i].size_bytes;
    }
    CHECK(total >= 14 && total <= NETWORK_FRAME_MAX);
    EXPECT(frame.frame.offload.reserved, 0);
    EXPECT(frame.frame.generation, net_link->generation);
    return true;
}

static inline void server_sent(uint64_t id)
{
    EXPECT(ring_write(&done, &id, sizeof id), sizeof id);
}

static inline void server_send_all(void)
{
    while (server_take())
        server_sent(frame.frame.id);
}

static inline void server_take_buffers(void)
{
    while (ring_read(&buffers, &posted[posted_count], sizeof *posted)) {
        const struct network_buffer *buffer = &posted[posted_count++];
        CHECK(in_memory(buffer->offset, buffer->size_bytes));
        CHECK(buffer->size_bytes > net_link->headroom_bytes);
        EXPECT(buffer->generation, net_link->generation);
        CHECK(posted_count < 1024);
    }
}

static inline void server_forget(void)
{
    char gone[64];
    while (ring_read(&frames, gone, sizeof gone) || ring_read(&buffers, gone, sizeof gone))
        ;
    posted_count = 0;
    net_link->resets_done = net_link->resets;
}

static inline void server_begin(uint32_t generation)
{
    char *memory = (char *)channel;
    ring_join_reader(&frames, memory + NETWORK_SEND_OFFSET, NETWORK_SEND_BYTES);
    ring_join_writer(&done, memory + NETWORK_SENT_OFFSET, NETWORK_SENT_BYTES);
    ring_join_reader(&buffers, memory + NETWORK_BUFFERS_OFFSET, NETWORK_BUFFERS_BYTES);
    ring_join_writer(&received, memory + NETWORK_RECEIVED_OFFSET, NETWORK_RECEIVED_BYTES);
    server_forget();
    ring_reader_waits(&frames);
    ring_reader_waits(&buffers);
    net_link->generation = generation;
}

/* Fills the n-th posted buffer with `size_bytes` of a byte; `of` buffers of a frame, 0: one that follows. */
static inline void server_fill(unsigned n, uint32_t size_bytes, uint16_t of, uint8_t byte)
{
    const struct network_received entry = {
        posted[n].id,
        size_bytes,
        of,
        0,
        {NETWORK_NEEDS_CHECKSUM, NETWORK_TCP4, 54, 1448, 34, 16, 0},
        0};
    uint32_t headroom = of ? net_link->headroom_bytes : 0;
    CHECK(size_bytes <= posted[n].size_bytes - headroom);
    memset(ram + posted[n].offset + headroom, byte, size_bytes);
    EXPECT(ring_write(&received, &entry, sizeof entry), sizeof entry);
}

static inline void bell(unsigned number)
{
    EXPECT(number, 4);
    bells++;
    if (resets_at_once && net_link->resets != net_link->resets_done)
        server_forget();
    if (sends_at_once) {
        server_send_all();
        ring_reader_waits(&frames);
    }
}

static inline void hold_guest(struct device_host *of, bool on)
{
    EXPECT(of, &host);
    held += on ? 1 : -1;
    CHECK(held == 0 || held == 1);
}

static inline void start_pairs(unsigned pairs, uint64_t without, uint64_t ring_features)
{
    const struct device_peer peer = {channel, ram, 4, bell};
    start_machine();
    memory = (struct guest_memory){.regions = {{RAM_BASE, RAM_BYTES, ram, false}}, .count = 1};
    memset(channel, 0, sizeof channel);
    *net_link = (struct network_link){.up = 1, .mtu = 1400};
    bells = posted_count = 0;
    held = 0;
    sends_at_once = resets_at_once = false;
    host.hold = hold_guest;
    server_begin(5);
    virtio_net_init(&net, &host, &peer, 0x0256789abcdeull, pairs, &line);
    CHECK(virtio_mmio_attach(&net.device, NULL, 0xd0000000));
    control = without & 1ull << 22 ? CONTROL : 2 * pairs;
    drive((net.device.features & ~without) | ring_features, control + 1);
}

static inline void start_net(uint64_t without, uint64_t ring_features)
{
    start_pairs(1, without, ring_features);
}

/* ---- The driver ------------------------------------------------------------------------------ */

struct header {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

/* Frame n: header and data in one buffer. */
static inline void transmit_from(unsigned queue, unsigned n, struct header header,
                                 uint32_t size_bytes)
{
    memcpy(data(n * 512), &header, sizeof header);
    describe(queue, n, DATA + n * 512, HEADER + size_bytes, 0, 0);
    offer(queue, (uint16_t)n);
}

static inline void transmit(unsigned n, struct header header, uint32_t size_bytes)
{
    transmit_from(TX, n, header, size_bytes);
}

static inline void offer_buffers(unsigned count, uint32_t size_bytes)
{
    for (unsigned n = 0; n < count; n++) {
        describe(RX, n, DATA + n * 512, size_bytes, WRITE, 0);
        offer(RX, (uint16_t)n);
    }
    ring(RX);
    server_take_buffers();
}

static inline uint8_t command(uint8_t class, uint8_t number, const void *words, uint32_t size_bytes)
{
    *data(0) = class;
    *data(1) = number;
    memcpy(data(2), words, size_bytes);
    *data(600) = 0xee;
    describe(control, 0, DATA, 2, NEXT, 1);
    describe(control, 1, DATA + 2, size_bytes, NEXT, 2);
    describe(control, 2, DATA + 600, 1, WRITE, 0);
    offer(control, 0);
    ring(control);
    return *data(600);
}

#define BIT(n) (1ull << (n))

#endif
