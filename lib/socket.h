/*
 * TCP and UDP for native tasks, by the network server (protocol/socket.h).
 *
 *     task_init(argument);
 *     sockets_start();
 *     struct socket listener, peer;
 *     socket_open(&listener, 0, SOCKET_TCP, SOCKET_IPV4);
 *     socket_bind(&listener, &(struct socket_address){.family = SOCKET_IPV4, .port = 7});
 *     socket_listen(&listener, 4);
 *     socket_accept(&listener, &peer, DEADLINE_NEVER);
 *
 * Deadlines are those of the kernel: ticks (rdtsc) at which a call gives up with SOCKET_TIMED_OUT, DEADLINE_NEVER, or
 * DEADLINE_POLL: it does what can be done now. socket_deadline(ms) makes one. All calls return an enum socket_error, and
 * socket_error_text tells it in words. The network server may die and be started again: its sockets end with
 * SOCKET_RESET then, as if all peers had gone; the task closes them and opens new ones.
 *
 * One thread of a task uses all of this.
 */
#ifndef LIB_SOCKET_H
#define LIB_SOCKET_H

#include "protocol/socket.h"
#include "ring.h"

/* One socket; its fields are this library's. */
struct socket {
    uint32_t network, number, generation;
    enum socket_kind kind;
    enum socket_family family;
    bool open, ended;
    struct ring send, received;
};

/* What the partition file tells the program (`arguments`). */
const char *task_arguments(void);

/* After task_init: binds the notification to this thread. Returns how many networks the task is in. They are numbered
 * in the order of its `network` statements. */
unsigned sockets_start(void);
/* The number of a network by its name; of none: sockets_start's result. */
unsigned sockets_network(const char *name);

uint64_t socket_deadline(uint64_t milliseconds);
const char *socket_error_text(enum socket_error error);

enum socket_error socket_open(struct socket *socket, unsigned network, enum socket_kind kind,
                              enum socket_family family);
/* Address all zero: any of Septum's; port 0: any. */
enum socket_error socket_bind(struct socket *socket, const struct socket_address *address);
/* backlog: at most SOCKET_BACKLOG_MAX. */
enum socket_error socket_listen(struct socket *socket, unsigned backlog);
/* A connection that came in, in *connection; peer may be NULL. */
enum socket_error socket_accept(struct socket *listener, struct socket *connection,
                                struct socket_address *peer, uint64_t deadline);
enum socket_error socket_connect(struct socket *socket, const struct socket_address *address,
                                 uint64_t deadline);
/* Puts all into the send ring, waiting for room; *sent (may be NULL) says how much, also after an error. */
enum socket_error socket_send(struct socket *socket, const void *data, size_t size_bytes,
                              size_t *sent, uint64_t deadline);
/* Waits for the first byte, then takes what is there. *received 0 with SOCKET_OK: the peer has sent all. */
enum socket_error socket_receive(struct socket *socket, void *data, size_t size_bytes,
                                 size_t *received, uint64_t deadline);
/* UDP: one datagram of at most SOCKET_DATAGRAM_MAX bytes. Of a larger one than asked for, the rest is lost. */
enum socket_error socket_send_to(struct socket *socket, const void *data, size_t size_bytes,
                                 const struct socket_address *to, uint64_t deadline);
enum socket_error socket_receive_from(struct socket *socket, void *data, size_t size_bytes,
                                      size_t *received, struct socket_address *from,
                                      uint64_t deadline);
/* Nothing more will be sent; what was is delivered. */
enum socket_error socket_shutdown(struct socket *socket);
/* The same, and the socket is given back. What was sent is delivered in the background. Also of one that failed. */
void socket_close(struct socket *socket);
/* A host's address, its port 0. */
enum socket_error socket_resolve(unsigned network, const char *name, enum socket_family family,
                                 struct socket_address *address, uint64_t deadline);

#define SOCKET_READABLE 1u /* something to receive, to accept, the peer's end, or an error */
#define SOCKET_WRITABLE 2u /* room to send, or an error */

struct socket_wait {
    struct socket *socket;
    uint32_t wanted, ready; /* SOCKET_READABLE, SOCKET_WRITABLE */
};
/* Waits for any of several; sets all `ready`. SOCKET_TIMED_OUT: none is. */
enum socket_error sockets_wait(struct socket_wait *waits, unsigned count, uint64_t deadline);

#endif
