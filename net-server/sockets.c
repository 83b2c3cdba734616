/*
 * What a client says is read once, into memory that it does not see, and checked there. Its rings can hold anything:
 * ring.h keeps the positions, and whoever sets one to nonsense is dropped. Transports never end from within what they
 * tell (lwIP does not want that): a fault is noted then, and seen to at the client's turn.
 */
#include "sockets_internal.h"

#include "client.h"
#include "socket_transport.h"
#include "string.h"
#include "task.h"

enum {
    TURN_DATAGRAMS = 16, /* of one client, before others have their turn */
    WRITE_BYTES = 1460,
    WINDOW_STEP = 1460, /* so much the client may have read before it rings */
    RETRY_MS = 50,      /* the transport had no memory */
    BYTES_OF_A_RING = sizeof(struct ring_shared) + SOCKET_RING_BYTES,
};
_Static_assert(BYTES_OF_A_RING <= SOCKET_RING_STRIDE, "a ring has its place");
_Static_assert(SOCKET_ANSWERS_OFFSET + SOCKET_ANSWERS_BYTES + sizeof(struct ring_shared) <=
                   SERVICE_CHANNEL_BYTES,
               "the channel holds all");

static struct {
    struct sockets_client client[SERVICE_CLIENTS_MAX];
    uint64_t attached, ready; /* bit n: client n */
    uint64_t deadline;
} all = {.deadline = UINT64_MAX};

uint64_t sockets_count(void)
{
    static uint64_t counter;
    return ++counter;
}

void sockets_want_turn(uint64_t at)
{
    if (at < all.deadline)
        all.deadline = at;
}

static void ready(const struct sockets_client *client)
{
    all.ready |= 1ull << client->number;
}

/* ---- the board ------------------------------------------------------------------------------------------- */

static void show(struct socket *socket, uint32_t set)
{
    uint32_t *state = &socket->client->board->sockets[socket->number].state;
    __atomic_store_n(state, set, __ATOMIC_RELEASE);
    socket->client->ring_now = true;
}

/* Of what this server knows: the client can write on the board too. */
void socket_show_state(struct socket *socket, bool peer_done)
{
    bool streams = socket->use == SOCKET_STREAM || socket->use == SOCKET_QUEUED;
    show(socket, socket->use == SOCKET_UNUSED
                     ? 0
                     : SOCKET_OPEN_NOW | (streams ? SOCKET_CONNECTED : 0) |
                           (peer_done ? SOCKET_PEER_DONE : 0) |
                           (socket->error ? SOCKET_FAILED : 0) |
                           (socket->use == SOCKET_LISTENING ? SOCKET_LISTENS : 0));
}

void socket_show_waiting(const struct socket *listener)
{
    __atomic_store_n(&listener->client->board->sockets[listener->number].waiting, listener->waiting,
                     __ATOMIC_RELEASE);
    listener->client->ring_now = true;
}

/* ---- sockets --------------------------------------------------------------------------------------------- */

struct socket *socket_take(struct sockets_client *client, enum socket_kind kind,
                           enum socket_family family)
{
    uint32_t n = 0;
    while (n < SOCKETS_MAX && client->sockets[n].use != SOCKET_UNUSED)
        n++;
    if (n == SOCKETS_MAX)
        return NULL;
    struct socket *socket = &client->sockets[n];
    uint8_t *send = client->memory + SOCKET_SEND_OFFSET(n);
    uint8_t *received = client->memory + SOCKET_RECEIVED_OFFSET(n);
    *socket = (struct socket){
        .client = client, .number = n, .use = SOCKET_NEW, .kind = kind, .family = family};
    memset(send, 0, sizeof(struct ring_shared));
    memset(received, 0, sizeof(struct ring_shared));
    ring_join_reader(&socket->send, send, SOCKET_RING_BYTES);
    ring_join_writer(&socket->received, received, SOCKET_RING_BYTES);
    client->board->sockets[n] = (struct socket_shown){0};
    return socket;
}

static void forget_unsent(struct socket *socket)
{
    socket->client->unsent -= socket->unsent;
    socket->unsent = 0;
}

void socket_release(struct socket *socket, bool at_once)
{
    struct sockets_client *client = socket->client;
    for (uint32_t n = 0; socket->use == SOCKET_LISTENING && n < SOCKETS_MAX; n++)
        if (client->sockets[n].use == SOCKET_QUEUED && client->sockets[n].listener == socket)
            socket_release(&client->sockets[n], true);
    if (socket->use == SOCKET_QUEUED)
        socket->listener->waiting--;
    if (socket->transport && at_once)
        transport_abort(socket);
    else if (socket->transport)
        transport_close(socket);
    forget_unsent(socket);
    socket->use = SOCKET_UNUSED;
    socket->over = false;
    socket->error = SOCKET_OK;
    socket_show_state(socket, false);
}

static void drop_all(struct sockets_client *client)
{
    for (uint32_t n = 0; n < SOCKETS_MAX; n++)
        if (client->sockets[n].use != SOCKET_UNUSED)
            socket_release(&client->sockets[n], true);
    memset(client->names, 0, sizeof client->names);
}

static void see_to_fault(struct sockets_client *client)
{
    if (!client->fault || client->broken)
        return;
    task_print("%s: %s: its sockets are closed until it is started anew\n", client->name,
               client->fault);
    drop_all(client);
    client->broken = true;
    __atomic_store_n(&client->board->dropped, 1, __ATOMIC_RELEASE);
    client->ring_now = true;
}

void sockets_break(struct sockets_client *client, const char *fault)
{
    if (!client->fault)
        client->fault = fault;
    ready(client);
}

/* ---- data ------------------------------------------------------------------------------------------------ */

static void retry_later(void)
{
    sockets_want_turn(switch_clock.now + switch_clock.per_second / 1000 * RETRY_MS);
}

/* From the send ring to the transport. */
static void send_stream(struct socket *socket)
{
    struct sockets_client *client = socket->client;
    uint8_t data[WRITE_BYTES];
    bool wrote = false, has_memory = true;
    while (!socket->ended) {
        uint32_t room = transport_room(socket), share = SOCKET_UNSENT_MAX - client->unsent;
        size_t size = ring_filled(&socket->send);
        if (size == 0) {
            if (socket->send.broken || socket->shut || ring_reader_waits(&socket->send))
                break;
            continue;
        }
        room = room < share ? room : share;
        room = room < sizeof data ? room : sizeof data;
        size = ring_peek(&socket->send, data, size < room ? size : room);
        if (size == 0)
            break; /* it goes on when something is acknowledged */
        has_memory = transport_write(socket, data, (uint32_t)size);
        if (!has_memory)
            break;
        ring_skip(&socket->send, size);
        socket->unsent += (uint32_t)size;
        client->unsent += (uint32_t)size;
        wrote = true;
    }
    if (wrote)
        transport_push(socket);
    if (wrote && ring_reader_must_ring(&socket->send))
        client->ring_now = true;
    if (socket->shut && !socket->ended && ring_filled(&socket->send) == 0 && !socket->send.broken)
        has_memory = socket->ended = transport_end(socket);
    if (!has_memory)
        retry_later();
}

/* What the client has read meanwhile opens the window. */
static void open_window(struct socket *socket)
{
    for (unsigned i = 0; i < 2; i++) {
        size_t held = SOCKET_RING_BYTES - ring_room(&socket->received);
        if (socket->received.broken)
            return;
        if (held < socket->unread)
            transport_read(socket, socket->unread - (uint32_t)held);
        if (held < socket->unread)
            socket->unread = (uint32_t)held;
        if (socket->unread < WINDOW_STEP)
            return;
        ring_writer_wishes(&socket->received); /* and look again */
    }
}

/* True: there are more. */
static bool send_datagrams(struct socket *socket)
{
    struct {
        struct socket_datagram head;
        uint8_t data[SOCKET_DATAGRAM_MAX];
    } datagram;
    struct sockets_client *client = socket->client;
    for (unsigned i = 0; i < TURN_DATAGRAMS; i++) {
        size_t filled = ring_filled(&socket->send);
        if (socket->send.broken || (filled == 0 && ring_reader_waits(&socket->send)))
            return false;
        if (filled == 0)
            continue;
        size_t got = ring_peek(&socket->send, &datagram, sizeof datagram);
        if (got < sizeof datagram.head || datagram.head.size_bytes > SOCKET_DATAGRAM_MAX ||
            filled < sizeof datagram.head + datagram.head.size_bytes) {
            sockets_break(client, "has sent a datagram that is not whole, or too long");
            return false;
        }
        ring_skip(&socket->send, sizeof datagram.head + datagram.head.size_bytes);
        if (ring_reader_must_ring(&socket->send))
            client->ring_now = true;
        if (datagram.head.address.family != socket->family || datagram.head.address.port == 0 ||
            !transport_send(socket, &datagram.head.address, datagram.data,
                            datagram.head.size_bytes))
            client->board->sockets[socket->number].dropped++;
    }
    return true;
}

/* True: there is more to do at once. */
static bool move_data(struct socket *socket)
{
    bool more = false;
    if (socket->transport && socket->kind == SOCKET_UDP)
        more = send_datagrams(socket);
    else if (socket->transport && (socket->use == SOCKET_STREAM || socket->use == SOCKET_CLOSING)) {
        send_stream(socket);
        open_window(socket);
    }
    if (socket->send.broken || socket->received.broken)
        sockets_break(socket->client, "has set a ring to a position that can't be");
    else if (socket->use == SOCKET_CLOSING && (socket->over || (socket->ended && !socket->unsent)))
        socket_release(socket, false);
    else if (socket->use == SOCKET_CLOSING && switch_clock.now >= socket->deadline)
        socket_release(socket, true);
    else if (socket->use == SOCKET_CLOSING)
        sockets_want_turn(socket->deadline);
    return more;
}

static bool turn(struct sockets_client *client)
{
    bool more = sockets_take_requests(client);
    for (uint32_t n = 0; n < SOCKETS_MAX && !client->fault; n++)
        if (client->sockets[n].use != SOCKET_UNUSED)
            more |= move_data(&client->sockets[n]);
    see_to_fault(client);
    return more && !client->broken;
}

void sockets_turn(void)
{
    if (switch_clock.now >= all.deadline) {
        all.deadline = UINT64_MAX;
        all.ready = all.attached;
    }
    for (uint64_t left = all.ready & all.attached; left; left &= left - 1) {
        struct sockets_client *client = &all.client[__builtin_ctzll(left)];
        all.ready &= ~(1ull << client->number);
        if (!client->broken && turn(client))
            ready(client);
    }
}

bool sockets_ready(void)
{
    return all.ready != 0;
}

uint64_t sockets_deadline(void)
{
    return all.deadline;
}

void sockets_rung(uint64_t bits)
{
    all.ready |= bits & all.attached;
}

void sockets_ring(void)
{
    for (uint64_t left = all.attached; left; left &= left - 1) {
        struct sockets_client *client = &all.client[__builtin_ctzll(left)];
        if (client->ring_now)
            client_ring(client->number, client->ring_bits);
        client->ring_now = false;
    }
}

/* ---- what befalls a socket ------------------------------------------------------------------------------- */

void socket_connected(struct socket *socket)
{
    socket->use = SOCKET_STREAM;
    socket_show_state(socket, false);
    ready(socket->client);
}

bool socket_received(struct socket *socket, const void *data, uint32_t size_bytes)
{
    if (socket->use == SOCKET_CLOSING) {
        transport_read(socket, size_bytes);
        return true;
    }
    if (ring_write(&socket->received, data, size_bytes) != size_bytes)
        return false;
    socket->unread += size_bytes;
    if (ring_writer_must_ring(&socket->received))
        socket->client->ring_now = true;
    if (socket->unread >= WINDOW_STEP)
        ready(socket->client);
    return true;
}

void socket_peer_done(struct socket *socket)
{
    socket_show_state(socket, true);
}

void socket_over(struct socket *socket, enum socket_error error)
{
    struct socket_shown *shown = &socket->client->board->sockets[socket->number];
    socket->over = true;
    socket->error = error;
    socket->transport = NULL;
    forget_unsent(socket);
    shown->error = error;
    socket_show_state(socket, true);
    ready(socket->client);
}

void socket_sent(struct socket *socket, uint32_t size_bytes)
{
    size_bytes = size_bytes < socket->unsent ? size_bytes : socket->unsent;
    socket->unsent -= size_bytes;
    socket->client->unsent -= size_bytes;
    ready(socket->client);
}

void socket_datagram_received(struct socket *socket, const struct socket_address *from,
                              const void *data, uint32_t size_bytes)
{
    struct {
        struct socket_datagram head;
        uint8_t data[SOCKET_DATAGRAM_MAX];
    } datagram = {.head = {.address = *from, .size_bytes = size_bytes}};
    size_t whole = sizeof datagram.head + size_bytes;
    if (size_bytes > SOCKET_DATAGRAM_MAX || ring_room(&socket->received) < whole) {
        socket->client->board->sockets[socket->number].dropped++;
        return;
    }
    memcpy(datagram.data, data, size_bytes);
    ring_write(&socket->received, &datagram, whole);
    if (ring_writer_must_ring(&socket->received))
        socket->client->ring_now = true;
}

struct socket *socket_incoming(struct socket *listener, void *transport)
{
    if (listener->waiting >= listener->backlog)
        return NULL;
    struct socket *socket = socket_take(listener->client, SOCKET_TCP, listener->family);
    if (!socket)
        return NULL;
    socket->transport = transport;
    socket->use = SOCKET_QUEUED;
    socket->listener = listener;
    socket->queued = sockets_count();
    listener->waiting++;
    socket_show_state(socket, false);
    socket_show_waiting(listener);
    return socket;
}

void socket_resolved(uint64_t token, enum socket_error error, const struct socket_address *address)
{
    struct sockets_client *client = &all.client[token % SERVICE_CLIENTS_MAX];
    for (uint32_t n = 0; client->attached && !client->broken && n < SOCKET_RESOLVES_MAX; n++)
        if (client->names[n].token == token) {
            const struct socket_answer told = {
                .id = client->names[n].id, .error = error, .address = *address};
            client->names[n].token = 0;
            sockets_answer(client, &told);
        }
}

/* ---- attaching ------------------------------------------------------------------------------------------- */

unsigned sockets_attach(uint64_t number, const struct network *network, uint64_t ring_bits,
                        const struct service_attach *attach, void *channel, void *memory)
{
    if (number >= SERVICE_CLIENTS_MAX || all.client[number].attached)
        return SERVICE_BAD_CLIENT;
    if (attach->extents != 1 || attach->extent[0].offset != 0 ||
        attach->parameter > attach->extent[0].size_bytes ||
        attach->extent[0].size_bytes - attach->parameter < SOCKET_MEMORY_BYTES ||
        attach->name[TASK_NAME_MAX - 1] != 0)
        return SERVICE_BAD_REQUEST;
    struct sockets_client *client = &all.client[number];
    uint8_t *at = channel;
    *client = (struct sockets_client){.attached = true,
                                      .number = (uint32_t)number,
                                      .network = network,
                                      .board = channel,
                                      .memory = (uint8_t *)memory + attach->parameter,
                                      .ring_bits = ring_bits};
    memcpy(client->name, attach->name, sizeof client->name);
    ring_join_reader(&client->requests, at + SOCKET_REQUESTS_OFFSET, SOCKET_REQUESTS_BYTES);
    ring_join_writer(&client->answers, at + SOCKET_ANSWERS_OFFSET, SOCKET_ANSWERS_BYTES);
    /* What was for a predecessor is not answered. */
    ring_skip(&client->requests, ring_filled(&client->requests));
    uint32_t generation = __atomic_load_n(&client->board->generation, __ATOMIC_RELAXED) + 1;
    memset(client->board->sockets, 0, sizeof client->board->sockets);
    client->board->dropped = 0;
    __atomic_store_n(&client->board->generation, generation + (generation == 0), __ATOMIC_RELEASE);
    client->ring_now = true;
    all.attached |= 1ull << number;
    ready(client);
    return SERVICE_OK;
}

unsigned sockets_detach(uint64_t number)
{
    if (number >= SERVICE_CLIENTS_MAX || !all.client[number].attached)
        return SERVICE_BAD_CLIENT;
    drop_all(&all.client[number]);
    all.client[number].attached = false;
    all.attached &= ~(1ull << number);
    return SERVICE_OK;
}
