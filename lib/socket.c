#include "socket.h"

#include "message.h"
#include "string.h"
#include "task.h"

/* A request is answered at once, unless the server has just died: then root starts it again within seconds, or never. */
#define ANSWER_MS    5000u
#define NETWORKS_MAX PLAN_CARDS_MAX

static struct {
    unsigned count;
    uint64_t next_id;
    struct {
        unsigned channel; /* of the task */
        struct socket_board *board;
        uint8_t *memory;
        uint32_t generation; /* that the rings belong to */
        struct ring requests, answers;
    } network[NETWORKS_MAX];
} all;

const char *task_arguments(void)
{
    return ((const struct native_start *)task->role)->arguments;
}

unsigned sockets_start(void)
{
    const struct native_start *start = (const struct native_start *)task->role;
    sys_control(TASK_SLOT_THREAD, CONTROL_THREAD_BIND_NOTIFICATION, TASK_SLOT_NOTIFICATION, 0, 0,
                0);
    for (unsigned i = 0; i < task->channel_count && all.count < NETWORKS_MAX; i++) {
        if (task->channels[i].kind != TASK_CHANNEL_SOCKET)
            continue;
        all.network[all.count].channel = i;
        all.network[all.count].board = (struct socket_board *)task->channels[i].address;
        all.network[all.count].memory =
            (uint8_t *)start->memory_address + all.count * SOCKET_MEMORY_BYTES;
        all.count++;
    }
    return all.count;
}

unsigned sockets_network(const char *name)
{
    unsigned n = 0;
    while (n < all.count && strcmp(task->channels[all.network[n].channel].name, name) != 0)
        n++;
    return n;
}

uint64_t socket_deadline(uint64_t milliseconds)
{
    return ticks() + milliseconds * task->tsc_khz;
}

const char *socket_error_text(enum socket_error error)
{
    static const char *const texts[SOCKET_ERRORS] = {
        [SOCKET_OK] = "all is well",
        [SOCKET_AGAIN] = "not now",
        [SOCKET_BAD_SOCKET] = "there is no such socket",
        [SOCKET_BAD_REQUEST] = "the request makes no sense",
        [SOCKET_BAD_STATE] = "the socket is not in a state for this",
        [SOCKET_TOO_MANY] = "there are too many sockets",
        [SOCKET_NO_MEMORY] = "the network server has no memory left",
        [SOCKET_IN_USE] = "the port is in use",
        [SOCKET_NO_ADDRESS] = "Septum has no such address",
        [SOCKET_NO_ROUTE] = "nothing leads there",
        [SOCKET_REFUSED] = "the connection was refused",
        [SOCKET_RESET] = "the connection was broken off",
        [SOCKET_TIMED_OUT] = "the time is up",
        [SOCKET_NO_NAME] = "the name is not known",
        [SOCKET_DROPPED] = "the network server has dropped this task",
        [SOCKET_ENDED] = "the stream was ended",
        [SOCKET_TOO_LONG] = "it is too long",
    };
    return error < SOCKET_ERRORS ? texts[error] : "an error that is not known";
}

/* ---- waiting --------------------------------------------------------------------------------------------- */

static uint32_t load32(const uint32_t *at)
{
    return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

/* Until the server rings. False: the deadline has passed. */
static bool wait_ring(uint64_t deadline)
{
    struct message message = message_wait(TASK_SLOT_NOTIFICATION, deadline);
    return message.status == STATUS_OK;
}

static const struct socket_shown *shown_of(const struct socket *socket)
{
    return &all.network[socket->network].board->sockets[socket->number];
}

/* What ends all calls of a socket; SOCKET_OK: nothing does. */
static enum socket_error fate_of(const struct socket *socket)
{
    const struct socket_board *board;
    if (!socket->open)
        return SOCKET_BAD_SOCKET;
    board = all.network[socket->network].board;
    if (load32(&board->generation) != socket->generation)
        return SOCKET_RESET;
    if (load32(&board->dropped))
        return SOCKET_DROPPED;
    const struct socket_shown *shown = shown_of(socket);
    if (load32(&shown->state) & SOCKET_FAILED)
        return (enum socket_error)load32(&shown->error);
    return SOCKET_OK;
}

/* Does the board speak of this socket? */
static bool is_shown(const struct socket *socket)
{
    const struct socket_board *board = all.network[socket->network].board;
    return socket->open && load32(&board->generation) == socket->generation &&
           !load32(&board->dropped);
}

static void ring(const struct socket *socket)
{
    task_channel_ring(all.network[socket->network].channel);
}

/* ---- requests -------------------------------------------------------------------------------------------- */

/* A server that was started anew has emptied the rings. */
static uint32_t join(unsigned n)
{
    uint8_t *channel = (uint8_t *)all.network[n].board;
    uint32_t generation = load32(&all.network[n].board->generation);
    if (generation == all.network[n].generation)
        return generation;
    ring_join_writer(&all.network[n].requests, channel + SOCKET_REQUESTS_OFFSET,
                     SOCKET_REQUESTS_BYTES);
    ring_join_reader(&all.network[n].answers, channel + SOCKET_ANSWERS_OFFSET,
                     SOCKET_ANSWERS_BYTES);
    ring_skip(&all.network[n].answers, ring_filled(&all.network[n].answers));
    all.network[n].generation = generation;
    return generation;
}

/* Sends a request and waits for its answer; those of earlier requests that were given up are thrown away. */
static enum socket_error ask(unsigned n, struct socket_request *request,
                             struct socket_answer *answer, uint64_t deadline)
{
    struct socket_board *board = all.network[n].board;
    uint32_t generation;
    while ((generation = join(n)) == 0)
        if (!wait_ring(deadline))
            return SOCKET_TIMED_OUT;
    if (load32(&board->dropped))
        return SOCKET_DROPPED;
    request->id = ++all.next_id;
    struct ring *requests = &all.network[n].requests, *answers = &all.network[n].answers;
    if (ring_room(requests) < sizeof *request)
        return SOCKET_NO_MEMORY;
    ring_write(requests, request, sizeof *request);
    if (ring_writer_must_ring(requests))
        task_channel_ring(all.network[n].channel);
    for (;;) {
        if (load32(&board->generation) != generation)
            return SOCKET_RESET;
        if (load32(&board->dropped))
            return SOCKET_DROPPED;
        while (ring_filled(answers) >= sizeof *answer) {
            ring_read(answers, answer, sizeof *answer);
            if (answer->id == request->id)
                return (enum socket_error)answer->error;
        }
        if (!wait_ring(deadline))
            return SOCKET_TIMED_OUT;
    }
}

/* About a socket that is open. */
static enum socket_error ask_of(const struct socket *socket, struct socket_request *request,
                                struct socket_answer *answer)
{
    enum socket_error fate = fate_of(socket);
    if (fate != SOCKET_OK && request->operation != SOCKET_CLOSE)
        return fate;
    request->socket = socket->number;
    return ask(socket->network, request, answer, socket_deadline(ANSWER_MS));
}

/* What an answer calls a new socket. */
static void take(struct socket *socket, unsigned network, const struct socket_answer *answer,
                 enum socket_kind kind, enum socket_family family)
{
    uint32_t number = answer->socket % SOCKETS_MAX;
    uint8_t *memory = all.network[network].memory;
    *socket = (struct socket){.network = network,
                              .number = number,
                              .generation = all.network[network].generation,
                              .kind = kind,
                              .family = family,
                              .open = true};
    ring_join_writer(&socket->send, memory + SOCKET_SEND_OFFSET(number), SOCKET_RING_BYTES);
    ring_join_reader(&socket->received, memory + SOCKET_RECEIVED_OFFSET(number), SOCKET_RING_BYTES);
}

enum socket_error socket_open(struct socket *socket, unsigned network, enum socket_kind kind,
                              enum socket_family family)
{
    struct socket_request request = {
        .operation = SOCKET_OPEN, .argument = kind, .address.family = (uint8_t)family};
    struct socket_answer answer;
    socket->open = false;
    if (network >= all.count)
        return SOCKET_BAD_REQUEST;
    enum socket_error error = ask(network, &request, &answer, socket_deadline(ANSWER_MS));
    if (error == SOCKET_OK)
        take(socket, network, &answer, kind, family);
    return error;
}

enum socket_error socket_bind(struct socket *socket, const struct socket_address *address)
{
    struct socket_request request = {.operation = SOCKET_BIND, .address = *address};
    struct socket_answer answer;
    return ask_of(socket, &request, &answer);
}

enum socket_error socket_listen(struct socket *socket, unsigned backlog)
{
    struct socket_request request = {.operation = SOCKET_LISTEN, .argument = backlog};
    struct socket_answer answer;
    return ask_of(socket, &request, &answer);
}

enum socket_error socket_accept(struct socket *listener, struct socket *connection,
                                struct socket_address *peer, uint64_t deadline)
{
    struct socket_wait wait = {listener, SOCKET_READABLE, 0};
    connection->open = false;
    for (;;) {
        struct socket_request request = {.operation = SOCKET_ACCEPT};
        struct socket_answer answer;
        enum socket_error error = sockets_wait(&wait, 1, deadline);
        if (error == SOCKET_OK)
            error = ask_of(listener, &request, &answer);
        if (error == SOCKET_AGAIN && deadline != DEADLINE_POLL)
            continue;
        if (error == SOCKET_OK)
            take(connection, listener->network, &answer, SOCKET_TCP, listener->family);
        if (error == SOCKET_OK && peer)
            *peer = answer.address;
        return error;
    }
}

enum socket_error socket_connect(struct socket *socket, const struct socket_address *address,
                                 uint64_t deadline)
{
    struct socket_request request = {.operation = SOCKET_CONNECT, .address = *address};
    struct socket_answer answer;
    enum socket_error error = ask_of(socket, &request, &answer);
    while (error == SOCKET_OK) {
        error = fate_of(socket);
        if (error != SOCKET_OK || load32(&shown_of(socket)->state) & SOCKET_CONNECTED)
            return error;
        if (!wait_ring(deadline))
            error = SOCKET_TIMED_OUT;
    }
    return error;
}

enum socket_error socket_shutdown(struct socket *socket)
{
    struct socket_request request = {.operation = SOCKET_SHUTDOWN};
    struct socket_answer answer;
    socket->ended = true;
    return ask_of(socket, &request, &answer);
}

void socket_close(struct socket *socket)
{
    struct socket_request request = {.operation = SOCKET_CLOSE};
    struct socket_answer answer;
    if (!socket->open)
        return;
    if (is_shown(socket))
        ask_of(socket, &request, &answer);
    socket->open = false;
}

enum socket_error socket_resolve(unsigned network, const char *name, enum socket_family family,
                                 struct socket_address *address, uint64_t deadline)
{
    struct socket_request request = {.operation = SOCKET_RESOLVE,
                                     .address.family = (uint8_t)family};
    struct socket_answer answer;
    if (network >= all.count)
        return SOCKET_BAD_REQUEST;
    if (strlen(name) >= sizeof request.name)
        return SOCKET_TOO_LONG;
    memcpy(request.name, name, strlen(name) + 1);
    enum socket_error error = ask(network, &request, &answer, deadline);
    *address = answer.address;
    return error;
}

/* ---- data ------------------------------------------------------------------------------------------------ */

/* To be writable: one byte, or the largest datagram. */
static size_t needed_room(const struct socket *socket)
{
    return socket->kind == SOCKET_UDP ? sizeof(struct socket_datagram) + SOCKET_DATAGRAM_MAX : 1;
}

/* What of `wanted` holds now. With an error everything does: the next call tells it. */
static uint32_t ready_of(struct socket *socket, uint32_t wanted)
{
    enum socket_error fate = fate_of(socket);
    uint32_t state, ready = 0;
    if (!is_shown(socket))
        return wanted;
    const struct socket_shown *shown = shown_of(socket);
    state = load32(&shown->state);
    if (fate != SOCKET_OK || state & SOCKET_PEER_DONE || load32(&shown->waiting) ||
        ring_filled(&socket->received))
        ready |= SOCKET_READABLE;
    if (fate != SOCKET_OK || ring_room(&socket->send) >= needed_room(socket))
        ready |= SOCKET_WRITABLE;
    return ready & wanted;
}

/* Asks to be rung. False: there is something to do already. */
static bool may_wait(struct socket *socket, uint32_t wanted)
{
    bool may = true;
    if (wanted & SOCKET_READABLE)
        may &= ring_reader_waits(&socket->received);
    if (wanted & SOCKET_WRITABLE)
        ring_writer_wishes(&socket->send);
    return may && ready_of(socket, wanted) == 0;
}

enum socket_error sockets_wait(struct socket_wait *waits, unsigned count, uint64_t deadline)
{
    for (;;) {
        bool any = false, may = true;
        for (unsigned i = 0; i < count; i++) {
            waits[i].ready = ready_of(waits[i].socket, waits[i].wanted);
            any |= waits[i].ready != 0;
        }
        if (any)
            return SOCKET_OK;
        for (unsigned i = 0; i < count; i++)
            may &= may_wait(waits[i].socket, waits[i].wanted);
        if (may && !wait_ring(deadline))
            return SOCKET_TIMED_OUT;
    }
}

static enum socket_error wait_for(struct socket *socket, uint32_t wanted, uint64_t deadline)
{
    struct socket_wait wait = {socket, wanted, 0};
    return sockets_wait(&wait, 1, deadline);
}

enum socket_error socket_send(struct socket *socket, const void *data, size_t size_bytes,
                              size_t *sent, uint64_t deadline)
{
    size_t done = 0;
    enum socket_error error = SOCKET_OK;
    while (error == SOCKET_OK && done < size_bytes) {
        error = socket->open && socket->ended ? SOCKET_ENDED : fate_of(socket);
        if (error != SOCKET_OK)
            break;
        done += ring_write(&socket->send, (const uint8_t *)data + done, size_bytes - done);
        if (ring_writer_must_ring(&socket->send))
            ring(socket);
        if (done < size_bytes)
            error = wait_for(socket, SOCKET_WRITABLE, deadline);
    }
    if (sent)
        *sent = done;
    return error;
}

/* After something was read: does the server wait for room? */
static void tell_read(struct socket *socket)
{
    if (ring_reader_must_ring(&socket->received))
        ring(socket);
}

enum socket_error socket_receive(struct socket *socket, void *data, size_t size_bytes,
                                 size_t *received, uint64_t deadline)
{
    *received = 0;
    for (;;) {
        enum socket_error fate = fate_of(socket), error;
        if (!is_shown(socket))
            return fate;
        /* Before the ring is looked at: what comes before the end is in it when the end is shown. */
        uint32_t state = load32(&shown_of(socket)->state);
        *received = ring_read(&socket->received, data, size_bytes);
        if (*received) {
            tell_read(socket);
            return SOCKET_OK;
        }
        if (fate != SOCKET_OK || state & SOCKET_PEER_DONE)
            return fate;
        error = wait_for(socket, SOCKET_READABLE, deadline);
        if (error != SOCKET_OK)
            return error;
    }
}

enum socket_error socket_send_to(struct socket *socket, const void *data, size_t size_bytes,
                                 const struct socket_address *to, uint64_t deadline)
{
    struct {
        struct socket_datagram head;
        uint8_t data[SOCKET_DATAGRAM_MAX];
    } datagram = {.head = {.address = *to, .size_bytes = (uint32_t)size_bytes}};
    if (size_bytes > SOCKET_DATAGRAM_MAX)
        return SOCKET_TOO_LONG;
    enum socket_error error = wait_for(socket, SOCKET_WRITABLE, deadline);
    if (error == SOCKET_OK)
        error = fate_of(socket);
    if (error != SOCKET_OK)
        return error;
    memcpy(datagram.data, data, size_bytes);
    /* In one piece: the server takes datagrams whole. */
    ring_write(&socket->send, &datagram, sizeof datagram.head + size_bytes);
    if (ring_writer_must_ring(&socket->send))
        ring(socket);
    return SOCKET_OK;
}

enum socket_error socket_receive_from(struct socket *socket, void *data, size_t size_bytes,
                                      size_t *received, struct socket_address *from,
                                      uint64_t deadline)
{
    struct socket_datagram head;
    enum socket_error error = SOCKET_OK;
    *received = 0;
    while (error == SOCKET_OK) {
        error = fate_of(socket);
        if (error != SOCKET_OK || ring_filled(&socket->received) >= sizeof head)
            break;
        error = wait_for(socket, SOCKET_READABLE, deadline);
    }
    if (error != SOCKET_OK)
        return error;
    ring_read(&socket->received, &head, sizeof head);
    *from = head.address;
    *received = ring_read(&socket->received, data,
                          head.size_bytes < size_bytes ? head.size_bytes : size_bytes);
    ring_skip(&socket->received, head.size_bytes - *received);
    tell_read(socket);
    return SOCKET_OK;
}
