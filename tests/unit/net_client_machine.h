/* A network server with three clients, each with rings and memory as they are shared. */
#ifndef NET_CLIENT_MACHINE_H
#define NET_CLIENT_MACHINE_H

#include "unit_test.h"

#include "net_packets.h"
#include "net-server/client.h"

LOG_STUB

enum { CLIENTS = 3, MEMORY = 1 << 20, FRAME = 100 };
static struct network networks[2];
static struct plan_network plans[2];
static struct network_server_status status;
static unsigned rung[SERVICE_CLIENTS_MAX];

/* A client's side: 0 and 1 are in network 0, 2 is in network 1. Memory and channel in malloc's, for the sanitizer. */
static struct side {
    uint8_t *memory;
    char *channel;
    struct network_link *link;
    struct ring send, sent, buffers, received;
} sides[CLIENTS];

void client_ring(uint32_t number, uint64_t bits)
{
    CHECK(bits == 1ull << (number + 8));
    rung[number]++;
}

static inline void open_side(struct side *side)
{
    side->link = (struct network_link *)side->channel;
    ring_join_writer(&side->send, side->channel + NETWORK_SEND_OFFSET, NETWORK_SEND_BYTES);
    ring_join_reader(&side->sent, side->channel + NETWORK_SENT_OFFSET, NETWORK_SENT_BYTES);
    ring_join_writer(&side->buffers, side->channel + NETWORK_BUFFERS_OFFSET, NETWORK_BUFFERS_BYTES);
    ring_join_reader(&side->received, side->channel + NETWORK_RECEIVED_OFFSET,
                     NETWORK_RECEIVED_BYTES);
}

static inline unsigned attach(unsigned n, uint64_t rate)
{
    struct service_attach attach = {
        .name = "guest",
        .parameter = 0x020000000001ull + n,
        .rate_bytes = rate,
        .extents = 2,
        .extent = {{0, 0x1000000, MEMORY / 2}, {MEMORY / 2, 0x5000000, MEMORY / 2}}};
    return client_attach(n, &networks[n == 2], 1ull << (n + 8), &attach, sides[n].channel,
                         sides[n].memory);
}

static inline void start(void)
{
    memset(&clients, 0, sizeof clients);
    memset(networks, 0, sizeof networks);
    memset(plans, 0, sizeof plans);
    memset(rung, 0, sizeof rung);
    log_lines = 0;
    clients.deadline = UINT64_MAX;
    clients.status = &status;
    switch_clock = (struct switch_clock){1000000, 1000000000};
    networks[0].plan = &plans[0];
    networks[1].plan = &plans[1];
    for (unsigned n = 0; n < CLIENTS; n++) {
        free(sides[n].memory);
        free(sides[n].channel);
        sides[n].memory = calloc(1, MEMORY);
        sides[n].channel = calloc(1, SERVICE_CHANNEL_BYTES);
        open_side(&sides[n]);
        EXPECT(attach(n, 0), SERVICE_OK);
        EXPECT(sides[n].link->generation, 1);
        EXPECT(sides[n].link->up, 1);
    }
}

static inline void serve(void)
{
    clients.ready = clients.attached;
    clients_refresh();
    for (unsigned i = 0; i < 100 && clients_send(); i++)
        continue;
    clients_ring();
}

static inline void post_to(unsigned n, uint32_t queue, uint64_t id, uint64_t offset,
                           uint32_t size_bytes)
{
    struct network_buffer buffer = {(uint32_t)id, queue, offset, size_bytes,
                                    sides[n].link->generation};
    EXPECT(ring_write(&sides[n].buffers, &buffer, sizeof buffer), sizeof buffer);
}

static inline void post(unsigned n, uint64_t id, uint64_t offset, uint32_t size_bytes)
{
    post_to(n, 0, id, offset, size_bytes);
}

static inline struct network_frame header_of(unsigned n, uint16_t segments)
{
    return (struct network_frame){
        .id = 42, .generation = sides[n].link->generation, .segments = segments};
}

static inline void send_segments(unsigned n, struct network_frame header,
                                 const struct network_segment *segments)
{
    EXPECT(ring_write(&sides[n].send, &header, sizeof header), sizeof header);
    ring_write(&sides[n].send, segments, header.segments * sizeof *segments);
}

/* A frame of size_bytes at `offset` of the client's memory, from client n to client `to` (0xff: to all). */
static inline void write_frame(unsigned n, unsigned to, uint64_t offset, uint32_t size_bytes)
{
    uint8_t *at = sides[n].memory + offset;
    for (uint32_t i = 14; i < size_bytes; i++)
        at[i] = (uint8_t)(i * 7 + n);
    memset(at, to == 0xff ? 0xff : 0, 12);
    if (to != 0xff) {
        at[0] = 2;
        at[5] = (uint8_t)(to + 1);
    }
    memset(at + 6, 0, 6);
    at[6] = 2;
    at[11] = (uint8_t)(n + 1);
}

static inline void send(unsigned n, unsigned to, uint32_t size_bytes)
{
    struct network_segment segment = {4096, size_bytes};
    write_frame(n, to, 4096, size_bytes);
    send_segments(n, header_of(n, 1), &segment);
}

static inline bool received(unsigned n, struct network_received *entry)
{
    return ring_read(&sides[n].received, entry, sizeof *entry) == sizeof *entry;
}

static inline bool answered(unsigned n)
{
    uint64_t id;
    return ring_read(&sides[n].sent, &id, sizeof id) == sizeof id && id == 42;
}

#endif
