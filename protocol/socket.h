/*
 * Sockets: how a native task (`task` of the partition file) uses lwIP in the network server. A task has a channel of
 * SERVICE_CHANNEL_BYTES and SOCKET_MEMORY_BYTES of client memory (service.h) for each `network` that it names; both are
 * made by root, and shown to the server with SERVICE_ATTACH and the flag SERVICE_SOCKETS. lib/socket.h is the client's side.
 *
 * The channel holds three things:
 *   struct socket_board    written by the server: how each socket fares now
 *   requests               a ring of struct socket_request, from the client
 *   answers                a ring of struct socket_answer, one for each request, from the server
 * The client memory holds two rings of bytes for each socket: what the task sends, and what it has received. So data
 * never passes through a message, and a socket that stands still holds up no other.
 *
 * All requests are answered at once, but SOCKET_RESOLVE, which is answered when the name server has. What takes time is
 * shown on the board: a CONNECT is answered "begun", and SOCKET_CONNECTED or an error appears there later. After a change
 * of the board, of `received` or of a send ring for which the client waits, the server rings the client. The client
 * rings the server after a request, after it has written data, and after it has read some, if the ring's other side
 * waits (ring.h).
 *
 * TCP: the rings hold the bytes of the stream. UDP: each datagram is a struct socket_datagram and its bytes, and is
 * written and read whole; one that finds no room when it comes in is dropped, and counted on the board.
 *
 * The server zeroes both rings of a socket before it answers OPEN, and before an accepted connection appears in
 * `waiting`; both sides begin at position 0 then.
 *
 * Rules. A request that can't be is answered with an error: a wrong number, an unknown kind, an address in use, too many
 * sockets. A client that breaks the rules of the channel itself is dropped, with one line in the log: requests that are
 * not whole, positions that jump, a datagram that is not whole or too long, answers that are not read. All its
 * connections are reset then, the board says `dropped`, and nothing more is done for it until it is started anew. A
 * client that ends is detached by root: the same without a line.
 *
 * A restarted server begins with an empty board and a new `generation`: what a client held before is gone
 * (SOCKET_RESET), and it may open anew. Requests on their way are not answered.
 */
#ifndef PROTOCOL_SOCKET_H
#define PROTOCOL_SOCKET_H

#include <stdbool.h>

#include "service.h"

#include "partition/plan.h"

#define SOCKETS_MAX         16u /* of one client, closing and not yet accepted ones included */
#define SOCKET_BACKLOG_MAX  8u  /* connections that wait to be accepted, of one listening socket */
#define SOCKET_RESOLVES_MAX 2u  /* names that a client asks for at once */
#define SOCKET_UNSENT_MAX \
    24576u /* bytes that all sockets of a client have with lwIP, not acknowledged */
#define SOCKET_NAME_MAX 128u /* of a host, with the terminating zero */

/* The channel. */
#define SOCKET_BOARD_OFFSET    0u
#define SOCKET_REQUESTS_OFFSET 4096u
#define SOCKET_REQUESTS_BYTES  8192u
#define SOCKET_ANSWERS_OFFSET  16384u
#define SOCKET_ANSWERS_BYTES   4096u

/* Client memory: socket n's rings, each with its header (ring.h), in pages of their own. */
#define SOCKET_RING_BYTES         16384u
#define SOCKET_RING_STRIDE        (SOCKET_RING_BYTES + 4096u)
#define SOCKET_SEND_OFFSET(n)     ((n)*2u * SOCKET_RING_STRIDE)
#define SOCKET_RECEIVED_OFFSET(n) (((n)*2u + 1u) * SOCKET_RING_STRIDE)
#define SOCKET_MEMORY_BYTES       (SOCKETS_MAX * 2u * SOCKET_RING_STRIDE)

enum socket_family { SOCKET_IPV4 = 4, SOCKET_IPV6 = 6 };
enum socket_kind { SOCKET_TCP = 1, SOCKET_UDP = 2 };

/* Octets in the order of the network; of IPv4 the first four, the others 0. All zero: any address of Septum's in the
 * network. */
struct socket_address {
    uint8_t octets[16];
    uint16_t port;  /* in the processor's order; 0 with BIND: any free one */
    uint8_t family; /* enum socket_family */
    uint8_t reserved[5];
};
_Static_assert(sizeof(struct socket_address) == 24, "no holes");

enum socket_operation {
    SOCKET_OPEN = 1,    /* argument: enum socket_kind; address.family. Answer: socket */
    SOCKET_BIND = 2,    /* to address. Answer: the address that it has now */
    SOCKET_LISTEN = 3,  /* argument: how many may wait, 1 to SOCKET_BACKLOG_MAX. TCP, bound */
    SOCKET_ACCEPT = 4,  /* Answer: socket, and its peer's address; or SOCKET_AGAIN */
    SOCKET_CONNECT = 5, /* TCP: to address. Answered when it has begun */
    SOCKET_SHUTDOWN =
        6,              /* TCP: what is in the send ring goes out, and then the end of the stream */
    SOCKET_CLOSE = 7,   /* the same, and the number is free for another then. Answered at once */
    SOCKET_RESOLVE = 8, /* the name in name[], family in address.family. Answer: address */
};

struct socket_request {
    uint64_t id;        /* the client's: in the answer */
    uint32_t operation; /* enum socket_operation */
    uint32_t socket;
    uint32_t argument;
    uint32_t reserved;
    struct socket_address address;
    char name[SOCKET_NAME_MAX]; /* of RESOLVE; else not looked at */
};
_Static_assert(sizeof(struct socket_request) == 176, "no holes");

enum socket_error {
    SOCKET_OK = 0,
    SOCKET_AGAIN = 1,       /* not now: nobody waits to be accepted */
    SOCKET_BAD_SOCKET = 2,  /* there is no socket of this number */
    SOCKET_BAD_REQUEST = 3, /* no such operation, kind or family; or a value out of range */
    SOCKET_BAD_STATE = 4,   /* not for a socket that is bound already, or connected, or not yet */
    SOCKET_TOO_MANY = 5,    /* the client has SOCKETS_MAX, or SOCKET_RESOLVES_MAX */
    SOCKET_NO_MEMORY = 6,   /* the server has none left */
    SOCKET_IN_USE = 7,      /* another has this port */
    SOCKET_NO_ADDRESS = 8,  /* it is not Septum's, or Septum has none in this network (yet) */
    SOCKET_NO_ROUTE = 9,    /* nothing leads there from this network */
    SOCKET_REFUSED = 10,    /* the peer does not want the connection */
    SOCKET_RESET = 11,      /* the peer broke it off; or the server was started anew */
    SOCKET_TIMED_OUT = 12,  /* the peer does not answer; or the caller's deadline has passed */
    SOCKET_NO_NAME = 13,    /* the name server does not know it, or there is none */
    SOCKET_DROPPED = 14,    /* the client has broken the rules */
    SOCKET_ENDED = 15,      /* nothing can be sent any more: SHUTDOWN was asked for */
    SOCKET_TOO_LONG = 16,   /* a datagram that no ring or frame holds; a name of too many letters */
};
#define SOCKET_ERRORS 17u

struct socket_answer {
    uint64_t id;
    uint32_t error; /* enum socket_error */
    uint32_t socket;
    struct socket_address address;
};
_Static_assert(sizeof(struct socket_answer) == 40, "no holes");

/* Bits of socket_shown.state. */
#define SOCKET_OPEN_NOW  1u  /* there is a socket of this number */
#define SOCKET_CONNECTED 2u  /* TCP: data can pass */
#define SOCKET_PEER_DONE 4u  /* TCP: what is in `received` is the last: the peer has sent its end */
#define SOCKET_FAILED    8u  /* `error` says how; what was received before can still be read */
#define SOCKET_LISTENS   16u /* `waiting` counts */

/* What the server shows of one socket. */
struct socket_shown {
    uint32_t state;
    uint32_t error;   /* enum socket_error, of SOCKET_FAILED */
    uint32_t waiting; /* connections that can be accepted */
    uint32_t dropped; /* datagrams: no room for them, or no way to where they were to go */
};

struct socket_board {
    uint32_t generation; /* written last; 0: there is no server yet */
    uint32_t dropped;    /* 1: the client has broken the rules */
    uint32_t reserved[2];
    struct socket_shown sockets[SOCKETS_MAX];
};

/* Before a datagram's bytes in a ring: where it is to go, or came from. */
struct socket_datagram {
    struct socket_address address;
    uint32_t size_bytes; /* at most SOCKET_DATAGRAM_MAX */
    uint32_t reserved;
};
_Static_assert(sizeof(struct socket_datagram) == 32, "no holes");
#define SOCKET_DATAGRAM_MAX 1452u /* what fits a frame by IPv4 and by IPv6 */

/* struct task_start.role of a native task. */
struct native_start {
    uint64_t memory_address; /* of the n-th network: + n * SOCKET_MEMORY_BYTES */
    uint64_t memory_bytes;   /* 0: it is in no network */
    char arguments[PLAN_COMMAND_LINE_MAX];
};

#endif
