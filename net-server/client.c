#include "client.h"

#include "string.h"
#include "task.h"

/* What one client may send before it is another's turn, and how many turns there are before the cards'. */
enum { TURN_FRAMES = 16, ROUNDS = 8 };

struct clients clients;

static void break_client(struct client *client, const char *why)
{
    if (client->broken)
        return;
    client->broken = true;
    port_leave(&client->port);
    task_print("%s: %s: its network card is off until it starts again\n", client->name, why);
}

/* A place in the client's memory; NULL: not all of it is in there. */
static uint8_t *memory_at(const struct client *client, uint64_t offset, uint64_t size_bytes)
{
    if (offset > client->memory_bytes || size_bytes > client->memory_bytes - offset)
        return NULL;
    return client->memory + offset;
}

static void drain(struct ring *ring)
{
    uint8_t dropped[256];
    while (ring_read(ring, dropped, sizeof dropped))
        continue;
}

/* ---- to the client --------------------------------------------------------------------------------------- */

static uint32_t load32(const uint32_t *at)
{
    return __atomic_load_n(at, __ATOMIC_RELAXED);
}

/* What the card's driver has chosen; it may change with each frame. */
static void read_wishes(struct client *client)
{
    uint32_t accepts = load32(&client->link->accepts);
    uint32_t headroom = load32(&client->link->headroom_bytes);
    uint32_t queues = load32(&client->link->queues);
    client->queue_count = queues == 0 || queues > NETWORK_QUEUES_MAX ? 1 : queues;
    client->merge = accepts & NETWORK_ACCEPTS_MERGE;
    client->port.accepts =
        accepts & (NETWORK_ACCEPTS_CHECKSUM | NETWORK_ACCEPTS_TCP4 | NETWORK_ACCEPTS_TCP6);
    client->port.promiscuous = load32(&client->link->promiscuous) != 0;
    client->headroom_bytes = headroom <= NETWORK_HEADROOM_MAX ? headroom : NETWORK_HEADROOM_MAX;
}

static bool take_buffer(struct client *client, const struct network_buffer *buffer)
{
    uint8_t *at = memory_at(client, buffer->offset, buffer->size_bytes);
    struct client_queue *queue =
        buffer->queue < NETWORK_QUEUES_MAX ? &client->queues[buffer->queue] : NULL;
    if (!queue || queue->count == NETWORK_POSTED_MAX) {
        break_client(client, queue ? "posted more receive buffers of a queue than it may have"
                                   : "posted a receive buffer of a queue that there is not");
        return false;
    }
    if (!at || buffer->size_bytes <= client->headroom_bytes) {
        break_client(client, at ? "posted a receive buffer without room"
                                : "posted a receive buffer outside its memory");
        return false;
    }
    uint32_t place = (queue->first + queue->count++) % NETWORK_POSTED_MAX;
    queue->posted[place] = (struct client_buffer){at, buffer->id, buffer->size_bytes};
    return true;
}

/* Takes posted buffers from the ring, some at once, until the queue has `wanted`, or there are no more. */
static void take_buffers(struct client *client, const struct client_queue *queue, uint32_t wanted)
{
    struct network_buffer some[16];
    while (queue->count < wanted) {
        size_t places = NETWORK_POSTED_MAX - queue->count;
        size_t most = places < sizeof some / sizeof some[0] ? places : sizeof some / sizeof some[0];
        size_t n = ring_read(&client->buffers, some, most * sizeof some[0]);
        if (n % sizeof some[0])
            break_client(client, "posted a part of a receive buffer's description");
        if (n == 0 || client->broken)
            return;
        for (size_t i = 0; i < n / sizeof some[0]; i++)
            if (some[i].generation == client->generation && !take_buffer(client, &some[i]))
                return;
    }
}

/* How many buffers a frame of so many bytes takes; 0: they are not there, or it may not have so many. */
static uint32_t buffers_for(struct client *client, const struct client_queue *queue,
                            uint32_t size_bytes)
{
    uint64_t room = 0, needed = (uint64_t)size_bytes + client->headroom_bytes;
    uint32_t most = client->merge ? CLIENT_BUFFERS_MAX : 1;
    take_buffers(client, queue, 1);
    if (queue->count == 0)
        return 0;
    /* The wish may have changed since the buffer was posted. */
    if (queue->posted[queue->first].size_bytes <= client->headroom_bytes) {
        break_client(client, "wants more room before a frame than its buffers have");
        return 0;
    }
    for (uint32_t n = 0; n < most; n++) {
        if (queue->count == n)
            take_buffers(client, queue, n + 1);
        if (queue->count == n)
            return 0;
        room += queue->posted[(queue->first + n) % NETWORK_POSTED_MAX].size_bytes;
        if (room >= needed)
            return n + 1;
    }
    return 0;
}

static bool deliver(struct port *port, struct frame *frame)
{
    struct client *client = (struct client *)port;
    struct client_queue *queue = client->queues;
    if (client->queue_count > 1)
        queue += flows_queue(&client->flows, frame, client->queue_count);
    uint32_t count = buffers_for(client, queue, frame->size_bytes);
    if (count == 0 || client->broken ||
        ring_room(&client->received) < count * sizeof(struct network_received))
        return false;
    struct frame_cursor cursor = frame_at(frame, 0);
    struct network_received entries[CLIENT_BUFFERS_MAX];
    for (uint32_t i = 0, skip = client->headroom_bytes; i < count; i++, skip = 0) {
        const struct client_buffer *buffer =
            &queue->posted[(queue->first + i) % NETWORK_POSTED_MAX];
        entries[i] = (struct network_received){.id = buffer->id};
        entries[i].size_bytes = frame_copy(&cursor, buffer->at + skip, buffer->size_bytes - skip);
    }
    queue->first = (queue->first + count) % NETWORK_POSTED_MAX;
    queue->count -= count;
    entries[0].buffers = (uint16_t)count;
    entries[0].offload = frame->offload;
    ring_write(&client->received, entries, count * sizeof entries[0]);
    clients.to_ring |= 1ull << client->number;
    return true;
}

/* ---- from the client ------------------------------------------------------------------------------------- */

/* LATER: its rate is used up. WAITS: for the network card, which makes all clients ready again. */
enum taken { TAKEN_NONE, TAKEN_ONE, TAKEN_LATER, TAKEN_WAITS };

/* Its bytes, and what is to be done to it. False: the client has broken the rules. */
static bool read_frame(struct client *client, const struct network_frame *header,
                       struct frame *frame)
{
    struct network_segment segments[NETWORK_SEGMENTS_MAX];
    size_t size_bytes = header->segments * sizeof segments[0];
    if (header->segments == 0 || header->segments > NETWORK_SEGMENTS_MAX ||
        ring_read(&client->send, segments, size_bytes) != size_bytes) {
        break_client(client, "sent a frame with a wrong number of segments");
        return false;
    }
    frame_begin(frame);
    frame->offload = header->offload;
    /* What a sender says of its checksums is not believed. */
    frame->offload.flags &= NETWORK_NEEDS_CHECKSUM;
    for (uint32_t i = 0; i < header->segments; i++) {
        uint8_t *at = memory_at(client, segments[i].offset, segments[i].size_bytes);
        if (!at || segments[i].size_bytes > NETWORK_FRAME_MAX ||
            !frame_add(frame, at, (uint32_t)segments[i].size_bytes)) {
            break_client(client, at ? "sent a frame that is too long"
                                    : "sent a frame from outside its memory");
            return false;
        }
    }
    return true;
}

static void bad_frame(struct client *client)
{
    client->port.counts.dropped++;
    if (!client->bad_frame_reported)
        task_print("%s: sent a frame that is too long or can't be cut: such frames are dropped\n",
                   client->name);
    client->bad_frame_reported = true;
}

/* first: it has looked for itself at all before, or been told. */
static void tell_later(struct client *client, bool first)
{
    uint64_t bit = 1ull << client->number;
    if (first || !(clients.to_tell & bit))
        client->tell_at = switch_clock.now + switch_clock.per_second / 1000000 * CLIENT_TELL_US;
    clients.to_tell |= bit;
}

static enum taken take_frame(struct client *client)
{
    struct network_frame header;
    struct frame frame;
    if (client->broken || ring_filled(&client->send) == 0)
        return TAKEN_NONE;
    if (!rate_allows(&client->bytes))
        return TAKEN_LATER;
    if (client->port.network->congested)
        return TAKEN_WAITS;
    size_t room = ring_room(&client->sent);
    if (room < sizeof header.id) {
        /* It reads no answers: it rings when it does. */
        return ring_writer_waits(&client->sent) ? TAKEN_NONE : TAKEN_ONE;
    }
    if (ring_read(&client->send, &header, sizeof header) != sizeof header) {
        break_client(client, "sent a part of a frame's description");
        return TAKEN_NONE;
    }
    if (!read_frame(client, &header, &frame))
        return TAKEN_NONE;
    if (header.generation != client->generation)
        return TAKEN_ONE;
    rate_take(&client->bytes, frame.size_bytes);
    if (client->queue_count > 1)
        flows_sent(&client->flows, &frame, header.queue);
    if (frame_offload_valid(&frame))
        switch_send(&client->port, &frame);
    else
        bad_frame(client);
    ring_write(&client->sent, &header.id, sizeof header.id);
    tell_later(client, room == client->sent.size);
    return TAKEN_ONE;
}

static bool ring_is_broken(const struct client *client)
{
    return client->send.broken || client->sent.broken || client->buffers.broken ||
           client->received.broken;
}

/* One turn of a client; it stays ready if it has more. */
static void take_turn(struct client *client)
{
    uint64_t bit = 1ull << client->number;
    for (unsigned i = 0; i < TURN_FRAMES; i++) {
        enum taken taken = take_frame(client);
        if (taken == TAKEN_ONE)
            continue;
        if (ring_is_broken(client))
            break_client(client, "has set a ring to a position that can't be");
        if (taken == TAKEN_LATER) {
            uint64_t deadline = rate_deadline(&client->bytes);
            if (deadline < clients.deadline)
                clients.deadline = deadline;
            clients.ready &= ~bit;
        } else if (taken == TAKEN_WAITS || client->broken || ring_filled(&client->send) ||
                   ring_reader_waits(&client->send)) {
            /* Filled: it is the other ring that the client must read first. */
            clients.ready &= ~bit;
        }
        return;
    }
    if (ring_reader_must_ring(&client->send))
        client_ring(client->number, client->ring_bits);
}

/* The client takes back what it has sent and posted: nothing of it is kept over a round. */
static void reset(struct client *client, uint32_t resets)
{
    drain(&client->send);
    drain(&client->buffers);
    for (unsigned n = 0; n < NETWORK_QUEUES_MAX; n++)
        client->queues[n].count = 0;
    client->resets = resets;
    __atomic_store_n(&client->link->resets_done, resets, __ATOMIC_RELEASE);
    client_ring(client->number, client->ring_bits);
}

void clients_refresh(void)
{
    for (uint64_t left = clients.attached; left; left &= left - 1) {
        struct client *client = &clients.client[__builtin_ctzll(left)];
        uint32_t resets = __atomic_load_n(&client->link->resets, __ATOMIC_ACQUIRE);
        if (resets != client->resets)
            reset(client, resets);
        read_wishes(client);
    }
}

bool clients_send(void)
{
    if (switch_clock.now >= clients.deadline) {
        clients.deadline = UINT64_MAX;
        clients.ready = (1ull << SERVICE_CLIENTS_MAX) - 1;
    }
    clients.ready &= clients.attached;
    for (unsigned round = 0; round < ROUNDS && clients.ready; round++)
        for (uint64_t left = clients.ready; left; left &= left - 1)
            take_turn(&clients.client[__builtin_ctzll(left)]);
    return clients.ready != 0;
}

static void show_counts(const struct client *client)
{
    const struct port_counts *counts = &client->port.counts;
    if (!clients.status)
        return;
    clients.status->client[client->number].frames_sent = counts->frames_sent;
    clients.status->client[client->number].bytes_sent = counts->bytes_sent;
    clients.status->client[client->number].frames_received = counts->frames_received;
    clients.status->client[client->number].bytes_received = counts->bytes_received;
    clients.status->client[client->number].dropped = counts->dropped;
}

/* Has it been long, or are there many that it does not know to be sent? It may have looked for itself. */
static bool must_tell(struct client *client)
{
    size_t unread = client->sent.size - ring_room(&client->sent);
    bool many = unread >= CLIENT_TELL_FRAMES * sizeof(uint64_t);
    return unread && (many || switch_clock.now >= client->tell_at) &&
           ring_writer_must_ring(&client->sent);
}

void clients_ring(void)
{
    clients.tell_at = UINT64_MAX;
    for (uint64_t left = clients.to_ring | clients.to_tell; left; left &= left - 1) {
        uint32_t n = (uint32_t)__builtin_ctzll(left);
        struct client *client = &clients.client[n];
        if (!client->attached || client->broken) {
            clients.to_tell &= ~(1ull << n);
            continue;
        }
        show_counts(client);
        bool sent = clients.to_tell >> n & 1 && must_tell(client);
        bool received = clients.to_ring >> n & 1 && ring_writer_must_ring(&client->received);
        bool taken = ring_reader_must_ring(&client->send);
        bool posted = ring_reader_must_ring(&client->buffers);
        bool rings = sent || received || taken || posted;
        if (rings)
            client_ring(n, client->ring_bits);
        if (rings || switch_clock.now >= client->tell_at)
            clients.to_tell &= ~(1ull << n);
        else if (clients.to_tell >> n & 1 && client->tell_at < clients.tell_at)
            clients.tell_at = client->tell_at;
    }
    clients.to_ring = 0;
}

/* ---- attaching --------------------------------------------------------------------------------------------- */

/* The client's memory without gaps; 0: it has some, or none. */
static uint64_t extents_bytes(const struct service_attach *attach)
{
    uint64_t end = 0;
    if (attach->extents > SERVICE_EXTENTS_MAX)
        return 0;
    for (uint64_t i = 0; i < attach->extents; i++) {
        const struct service_extent *extent = &attach->extent[i];
        if (extent->offset != end || extent->size_bytes > SERVICE_MEMORY_STRIDE - end)
            return 0;
        end += extent->size_bytes;
    }
    return end;
}

static void open_rings(struct client *client, char *channel)
{
    ring_join_reader(&client->send, channel + NETWORK_SEND_OFFSET, NETWORK_SEND_BYTES);
    ring_join_writer(&client->sent, channel + NETWORK_SENT_OFFSET, NETWORK_SENT_BYTES);
    ring_join_reader(&client->buffers, channel + NETWORK_BUFFERS_OFFSET, NETWORK_BUFFERS_BYTES);
    ring_join_writer(&client->received, channel + NETWORK_RECEIVED_OFFSET, NETWORK_RECEIVED_BYTES);
    /* What was for a predecessor is lost; entries are written whole, so what comes now begins with one. */
    drain(&client->send);
    drain(&client->buffers);
}

unsigned client_attach(uint64_t number, struct network *network, uint64_t ring_bits,
                       const struct service_attach *attach, void *channel, void *memory)
{
    if (number >= SERVICE_CLIENTS_MAX || clients.client[number].attached)
        return SERVICE_BAD_CLIENT;
    struct client *client = &clients.client[number];
    uint64_t memory_bytes = extents_bytes(attach);
    if (memory_bytes == 0 || attach->name[TASK_NAME_MAX - 1] != 0)
        return SERVICE_BAD_REQUEST;
    memset(client, 0, sizeof *client);
    client->number = (uint32_t)number;
    client->link = channel;
    client->memory = memory;
    client->memory_bytes = memory_bytes;
    client->ring_bits = ring_bits;
    memcpy(client->name, attach->name, sizeof client->name);
    client->port.name = client->name;
    client->port.one_address = true;
    client->port.deliver = deliver;
    write_be16(client->port.mac, (uint32_t)(attach->parameter >> 32));
    write_be32(client->port.mac + 2, (uint32_t)attach->parameter);
    rate_set(&client->bytes, attach->rate_bytes);
    flows_begin(&client->flows);
    if (client->port.mac[0] & 1 || !port_join(&client->port, network)) {
        task_print("%s: another card of network \"%s\" has its MAC address, or it is no address of "
                   "a card: it gets no link; give it another in the partition file (mac)\n",
                   client->name, network->plan->name);
        return SERVICE_BAD_REQUEST;
    }
    open_rings(client, channel);
    client->attached = true;
    clients.attached |= 1ull << number;
    client->link->up = 1;
    client->link->mtu = ETHERNET_FRAME_MAX - ETHERNET_TAG_BYTES - ETHERNET_HEADER_BYTES;
    memcpy(client->link->mac, client->port.mac, sizeof client->link->mac);
    client->resets = load32(&client->link->resets);
    client->link->resets_done = client->resets;
    client->generation = load32(&client->link->generation) + 1;
    client->generation += client->generation == 0;
    __atomic_store_n(&client->link->generation, client->generation, __ATOMIC_RELEASE);
    clients.ready |= 1ull << number;
    client_ring((uint32_t)number, ring_bits);
    return SERVICE_OK;
}

unsigned client_detach(uint64_t number)
{
    if (number >= SERVICE_CLIENTS_MAX || !clients.client[number].attached)
        return SERVICE_BAD_CLIENT;
    port_leave(&clients.client[number].port);
    clients.client[number].attached = false;
    clients.attached &= ~(1ull << number);
    return SERVICE_OK;
}
