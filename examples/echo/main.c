/*
 * An echo server (RFC 862) as a native task: port 7 by TCP (IPv4 and IPv6) and by UDP, several connections at once. It has no thread but
 * one, which waits for all its sockets together. When the network server dies, all of them end with SOCKET_RESET; then it
 * opens new ones.
 */
#include "message.h"
#include "socket.h"
#include "task.h"

enum { ECHO_PORT = 7, CONNECTIONS = 8, RETRY_MS = 200 };

static struct socket listeners[2], datagrams, connections[CONNECTIONS];

/* Any of Septum's addresses in the network, of this family. */
static enum socket_error open_one(struct socket *socket, enum socket_kind kind,
                                  enum socket_family family)
{
    const struct socket_address any = {.family = (uint8_t)family, .port = ECHO_PORT};
    enum socket_error error = socket_open(socket, 0, kind, family);
    if (error == SOCKET_OK)
        error = socket_bind(socket, &any);
    if (error == SOCKET_OK && kind == SOCKET_TCP)
        error = socket_listen(socket, 4);
    return error;
}

static enum socket_error open_all(void)
{
    enum socket_error error = open_one(&listeners[0], SOCKET_TCP, SOCKET_IPV4);
    if (error == SOCKET_OK)
        error = open_one(&listeners[1], SOCKET_TCP, SOCKET_IPV6);
    if (error == SOCKET_OK)
        error = open_one(&datagrams, SOCKET_UDP, SOCKET_IPV4);
    return error;
}

static void close_all(void)
{
    socket_close(&listeners[0]);
    socket_close(&listeners[1]);
    socket_close(&datagrams);
    for (unsigned i = 0; i < CONNECTIONS; i++)
        socket_close(&connections[i]);
}

static struct socket *free_connection(void)
{
    for (unsigned i = 0; i < CONNECTIONS; i++)
        if (!connections[i].open)
            return &connections[i];
    return NULL;
}

/* What one connection has sent goes back. A peer that does not read what it gets is waited for no longer than this. */
static void echo_stream(struct socket *connection)
{
    uint8_t data[2048];
    size_t size;
    enum socket_error error = socket_receive(connection, data, sizeof data, &size, DEADLINE_POLL);
    if (error == SOCKET_OK && size)
        error = socket_send(connection, data, size, NULL, socket_deadline(5000));
    if (error != SOCKET_OK || size == 0)
        socket_close(connection);
}

static void echo_datagram(void)
{
    struct socket_address from;
    uint8_t data[SOCKET_DATAGRAM_MAX];
    size_t size;
    if (socket_receive_from(&datagrams, data, sizeof data, &size, &from, DEADLINE_POLL) ==
        SOCKET_OK)
        socket_send_to(&datagrams, data, size, &from, socket_deadline(1000));
}

/* SOCKET_OK: there was none, or a connection has begun. */
static enum socket_error welcome(struct socket *listener)
{
    struct socket *next = free_connection();
    enum socket_error error =
        next ? socket_accept(listener, next, NULL, DEADLINE_POLL) : SOCKET_AGAIN;
    return error == SOCKET_AGAIN || error == SOCKET_TIMED_OUT ? SOCKET_OK : error;
}

/* Until the sockets end. New connections wait while there are as many as there can be. */
static enum socket_error serve(void)
{
    enum socket_error error = SOCKET_OK;
    while (error == SOCKET_OK) {
        struct socket_wait waits[CONNECTIONS + 3] = {{&datagrams, SOCKET_READABLE, 0}};
        unsigned count = 1;
        for (unsigned i = 0; i < CONNECTIONS; i++)
            if (connections[i].open)
                waits[count++] = (struct socket_wait){&connections[i], SOCKET_READABLE, 0};
        for (unsigned i = 0; i < 2 && free_connection(); i++)
            waits[count++] = (struct socket_wait){&listeners[i], SOCKET_READABLE, 0};
        sockets_wait(waits, count, DEADLINE_NEVER);
        for (unsigned i = 0; i < count && error == SOCKET_OK; i++) {
            if (!waits[i].ready)
                continue;
            if (waits[i].socket == &datagrams)
                echo_datagram();
            else if (waits[i].socket == &listeners[0] || waits[i].socket == &listeners[1])
                error = welcome(waits[i].socket);
            else
                echo_stream(waits[i].socket);
        }
    }
    return error;
}

void program_start(const void *argument)
{
    task_init(argument);
    if (sockets_start() == 0) {
        task_print("it is in no network: add `network NAME` to the task in the partition file\n");
        task_finish(false);
    }
    task_ready();
    for (;;) {
        enum socket_error error = open_all();
        if (error == SOCKET_OK) {
            task_print("echo: TCP and UDP, port %u\n", (unsigned)ECHO_PORT);
            error = serve();
        }
        task_print("echo: %s\n", socket_error_text(error));
        close_all();
        if (error == SOCKET_DROPPED)
            task_finish(false);
        message_wait(TASK_SLOT_NOTIFICATION, socket_deadline(RETRY_MS));
    }
}
