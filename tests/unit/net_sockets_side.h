/* Both ends of net-server/sockets.c for its unit tests: clients, and a transport that only notes what it is told. */
#ifndef NET_SOCKETS_SIDE_H
#define NET_SOCKETS_SIDE_H

#include "unit_test.h"

#include "net_packets.h"
#include "net-server/socket_transport.h"

LOG_STUB

enum { CLIENTS = 2, ROOM = 8192, SECOND = 1000000000 };

/* One connection, as lwIP would have it. */
struct line {
    struct socket *socket;
    uint8_t bytes[1 << 16];
    uint32_t size, pushed, read, room;
    bool listens, connects, ended, closed, aborted;
    struct socket_address to;
};
static struct line lines[256];
static unsigned line_count, open_lines, sent_datagrams;
static enum socket_error next_error;
static bool no_memory;
static uint64_t last_token;

static struct plan_network plan = {.uplink = 0};
static struct network network = {.plan = &plan};
static unsigned rung[SERVICE_CLIENTS_MAX];

struct switch_clock switch_clock;

/* A client's side. Memory and channel in malloc's, for the sanitizer. */
static struct side {
    uint8_t *memory, *channel;
    struct socket_board *board;
    struct ring requests, answers;
} sides[CLIENTS];

void client_ring(uint32_t number, uint64_t bits)
{
    CHECK(bits == 1ull << (number + 8));
    rung[number]++;
}

/* ---- the transport --------------------------------------------------------------------------------------- */

static inline struct line *line_of(const struct socket *socket)
{
    struct line *line = socket->transport;
    CHECK(line && !line->closed && !line->aborted);
    return line;
}

static inline struct line *new_line(struct socket *socket)
{
    struct line *line = &lines[line_count++ % 256];
    *line = (struct line){.socket = socket, .room = ROOM};
    open_lines++;
    return line;
}

enum socket_error transport_open(struct socket *socket)
{
    enum socket_error error = next_error;
    next_error = SOCKET_OK;
    if (error == SOCKET_OK)
        socket->transport = new_line(socket);
    return error;
}

enum socket_error transport_bind(struct socket *socket, struct socket_address *address)
{
    line_of(socket);
    address->port += address->port == 0 ? 49152 : 0;
    return next_error;
}

enum socket_error transport_listen(struct socket *socket)
{
    line_of(socket)->listens = true;
    return SOCKET_OK;
}

enum socket_error transport_connect(struct socket *socket, const struct socket_address *address)
{
    line_of(socket)->connects = true;
    line_of(socket)->to = *address;
    return SOCKET_OK;
}

void transport_accept(struct socket *socket, struct socket_address *peer)
{
    *peer = line_of(socket)->to;
}

uint32_t transport_room(const struct socket *socket)
{
    return line_of(socket)->room;
}

bool transport_write(struct socket *socket, const void *data, uint32_t size_bytes)
{
    struct line *line = line_of(socket);
    CHECK(size_bytes && size_bytes <= line->room && !line->ended);
    if (no_memory)
        return false;
    CHECK(line->size + size_bytes <= sizeof line->bytes);
    memcpy(line->bytes + line->size, data, size_bytes);
    line->size += size_bytes;
    line->room -= size_bytes;
    return true;
}

void transport_push(struct socket *socket)
{
    line_of(socket)->pushed = line_of(socket)->size;
}

bool transport_send(struct socket *socket, const struct socket_address *to, const void *data,
                    uint32_t size_bytes)
{
    struct line *line = line_of(socket);
    CHECK(size_bytes <= SOCKET_DATAGRAM_MAX);
    memcpy(line->bytes, data, size_bytes);
    line->size = size_bytes;
    line->to = *to;
    sent_datagrams++;
    return true;
}

void transport_read(struct socket *socket, uint32_t size_bytes)
{
    if (socket->transport)
        line_of(socket)->read += size_bytes;
}

bool transport_end(struct socket *socket)
{
    return line_of(socket)->ended = !no_memory;
}

void transport_close(struct socket *socket)
{
    line_of(socket)->closed = true;
    socket->transport = NULL;
    open_lines--;
}

void transport_abort(struct socket *socket)
{
    line_of(socket)->aborted = true;
    socket->transport = NULL;
    open_lines--;
}

enum socket_error transport_resolve(const struct network *where, const char *name,
                                    enum socket_family family, uint64_t token,
                                    struct socket_address *address)
{
    (void)where, (void)family, (void)address;
    CHECK(strlen(name) > 0);
    last_token = token;
    return SOCKET_AGAIN;
}

/* The peer breaks it off. */
static inline void fail(struct line *line, enum socket_error error)
{
    line->closed = true;
    open_lines--;
    socket_over(line->socket, error);
}

static inline void acknowledge(struct line *line, uint32_t size_bytes)
{
    line->room += size_bytes;
    socket_sent(line->socket, size_bytes);
}

/* ---- a client -------------------------------------------------------------------------------------------- */

static inline unsigned attach(unsigned n)
{
    struct service_attach attach = {
        .name = "task", .extents = 1, .extent = {{0, 0x1000000, SOCKET_MEMORY_BYTES}}};
    attach.name[4] = (char)('0' + n);
    unsigned error =
        sockets_attach(n, &network, 1ull << (n + 8), &attach, sides[n].channel, sides[n].memory);
    ring_join_writer(&sides[n].requests, sides[n].channel + SOCKET_REQUESTS_OFFSET,
                     SOCKET_REQUESTS_BYTES);
    ring_join_reader(&sides[n].answers, sides[n].channel + SOCKET_ANSWERS_OFFSET,
                     SOCKET_ANSWERS_BYTES);
    return error;
}

static inline void start(void)
{
    switch_clock = (struct switch_clock){1000000, SECOND};
    for (unsigned n = 0; n < CLIENTS; n++) {
        sockets_detach(n);
        free(sides[n].memory);
        free(sides[n].channel);
        sides[n].memory = calloc(1, SOCKET_MEMORY_BYTES);
        sides[n].channel = calloc(1, SERVICE_CHANNEL_BYTES);
        sides[n].board = (struct socket_board *)sides[n].channel;
        EXPECT(attach(n), SERVICE_OK);
        EXPECT(sides[n].board->generation, 1);
    }
    EXPECT(open_lines, 0);
    line_count = sent_datagrams = 0;
    next_error = SOCKET_OK;
    no_memory = false;
    plan.uplink = 0;
    plan.dhcp = 0;
    log_lines = 0;
}

static inline void serve(void)
{
    sockets_rung(~0ull);
    for (unsigned i = 0; i < 200 && sockets_ready(); i++)
        sockets_turn();
    CHECK(!sockets_ready());
    sockets_ring();
}

static inline void put(unsigned n, const struct socket_request *request)
{
    EXPECT(ring_write(&sides[n].requests, request, sizeof *request), sizeof *request);
}

static inline struct socket_answer answer_of(unsigned n)
{
    struct socket_answer answer = {0};
    EXPECT(ring_read(&sides[n].answers, &answer, sizeof answer), sizeof answer);
    return answer;
}

static inline struct socket_answer ask(unsigned n, struct socket_request request)
{
    static uint64_t id;
    request.id = ++id;
    put(n, &request);
    serve();
    struct socket_answer answer = answer_of(n);
    EXPECT(answer.id, id);
    return answer;
}

static inline unsigned error_of(unsigned n, enum socket_operation operation, unsigned socket,
                                unsigned argument, unsigned port, unsigned family)
{
    return ask(n, (struct socket_request){.operation = operation,
                                          .socket = socket,
                                          .argument = argument,
                                          .address = {.port = (uint16_t)port,
                                                      .family = (uint8_t)family}})
        .error;
}

static inline unsigned open_one(unsigned n, enum socket_kind kind)
{
    struct socket_answer answer =
        ask(n, (struct socket_request){
                   .operation = SOCKET_OPEN, .argument = kind, .address.family = SOCKET_IPV4});
    EXPECT(answer.error, SOCKET_OK);
    return answer.socket;
}

static inline struct ring send_ring(unsigned n, unsigned socket)
{
    struct ring ring;
    ring_join_writer(&ring, sides[n].memory + SOCKET_SEND_OFFSET(socket), SOCKET_RING_BYTES);
    return ring;
}

static inline struct ring received_ring(unsigned n, unsigned socket)
{
    struct ring ring;
    ring_join_reader(&ring, sides[n].memory + SOCKET_RECEIVED_OFFSET(socket), SOCKET_RING_BYTES);
    return ring;
}

/* A stream, and its line. */
static inline unsigned connect_one(unsigned n, struct line **line)
{
    unsigned socket = open_one(n, SOCKET_TCP);
    *line = &lines[line_count - 1];
    EXPECT(error_of(n, SOCKET_CONNECT, socket, 0, 80, SOCKET_IPV4), SOCKET_OK);
    EXPECT(sides[n].board->sockets[socket].state, SOCKET_OPEN_NOW);
    socket_connected((*line)->socket);
    EXPECT(sides[n].board->sockets[socket].state, SOCKET_OPEN_NOW | SOCKET_CONNECTED);
    return socket;
}

static inline unsigned listen_one(unsigned n, unsigned backlog, struct line **line)
{
    unsigned socket = open_one(n, SOCKET_TCP);
    *line = &lines[line_count - 1];
    EXPECT(error_of(n, SOCKET_BIND, socket, 0, 7, SOCKET_IPV4), SOCKET_OK);
    EXPECT(error_of(n, SOCKET_LISTEN, socket, backlog, 0, 0), SOCKET_OK);
    EXPECT(sides[n].board->sockets[socket].state, SOCKET_OPEN_NOW | SOCKET_LISTENS);
    return socket;
}

static inline void write_data(unsigned n, unsigned socket, uint32_t from, uint32_t size_bytes)
{
    struct ring ring = send_ring(n, socket);
    for (uint32_t i = 0; i < size_bytes; i++) {
        uint8_t byte = (uint8_t)((from + i) * 7);
        EXPECT(ring_write(&ring, &byte, 1), 1);
    }
}

static inline void put_datagram(unsigned n, unsigned socket, uint32_t said, uint32_t put_bytes,
                                unsigned port)
{
    static uint8_t bytes[sizeof(struct socket_datagram) + 2000];
    struct socket_datagram head = {.address = {.family = SOCKET_IPV4, .port = (uint16_t)port},
                                   .size_bytes = said};
    struct ring ring = send_ring(n, socket);
    memcpy(bytes, &head, sizeof head);
    memset(bytes + sizeof head, 'd', put_bytes);
    ring_write(&ring, bytes, sizeof head + put_bytes);
}

#endif
