/*
 * The sockets of native tasks (protocol/socket.h): clients, their rings and requests, all that is checked. What moves the
 * bytes further is behind socket_transport.h, and lwIP behind that.
 */
#ifndef NET_SERVER_SOCKETS_H
#define NET_SERVER_SOCKETS_H

#include "protocol/socket.h"
#include "ring.h"
#include "switch.h"

/* A socket that is closed while data is still on the way waits so long for its peer. */
#define SOCKET_LINGER_SECONDS 20u

enum socket_use {
    SOCKET_UNUSED,
    SOCKET_NEW,
    SOCKET_BOUND,
    SOCKET_LISTENING,
    SOCKET_CONNECTING,
    SOCKET_STREAM, /* connected */
    SOCKET_QUEUED, /* connected, and waits to be accepted from `listener` */
    SOCKET_CLOSING /* the client has closed it; what it has sent still goes out */
};

struct socket {
    struct sockets_client *client;
    uint32_t number;
    enum socket_use use;
    enum socket_kind kind;
    enum socket_family family;
    void *transport;         /* lwIP's part; NULL: there is none any more */
    bool over;               /* `transport` has ended by itself: */
    enum socket_error error; /* how */
    bool shut, ended;        /* SHUTDOWN was asked for; and the transport knows it */
    uint32_t unsent;         /* bytes that the transport has, not acknowledged */
    uint32_t unread;         /* bytes of the stream in `received`, as the transport knows it */
    struct ring send, received;
    struct socket *listener;
    uint32_t backlog, waiting; /* of a listener: how many may wait, and do */
    uint64_t queued;           /* the order in which they came */
    uint64_t deadline;         /* of SOCKET_CLOSING */
};

struct sockets_client {
    bool attached, broken;
    const char *fault; /* a rule that it has broken: seen to at its next turn */
    bool ring_now;     /* it is rung when the turn ends */
    uint32_t number;
    char name[TASK_NAME_MAX];
    const struct network *network;
    struct socket_board *board;
    uint8_t *memory; /* of its rings */
    uint64_t ring_bits;
    struct ring requests, answers;
    uint32_t unsent; /* of all its sockets */
    struct socket sockets[SOCKETS_MAX];
    struct {
        uint64_t id, token; /* token 0: none is asked for */
    } names[SOCKET_RESOLVES_MAX];
};

/* Requests of root: enum service_error. channel: where its memory is; memory: the client's own. */
unsigned sockets_attach(uint64_t number, const struct network *network, uint64_t ring_bits,
                        const struct service_attach *attach, void *channel, void *memory);
unsigned sockets_detach(uint64_t number);
/* Clients that have rung, a bit each; others are left alone. */
void sockets_rung(uint64_t bits);
/* Everything that can be done now, each client so much that others have their turn too. */
void sockets_turn(void);
/* Is there more to do at once? */
bool sockets_ready(void);
/* When there is something to do without being rung. */
uint64_t sockets_deadline(void);
/* Rings those who have something new. */
void sockets_ring(void);

/* ---- for socket_transport.h's other side: what befalls a socket -------------------------------------------- */

void socket_connected(struct socket *socket);
/* Bytes of the stream. The window is no larger than the ring: false means that the peer does not keep to it. */
bool socket_received(struct socket *socket, const void *data, uint32_t size_bytes);
/* The peer sends no more. */
void socket_peer_done(struct socket *socket);
/* The transport has ended, and `transport` with it. SOCKET_OK: both sides have sent their end. */
void socket_over(struct socket *socket, enum socket_error error);
/* So many bytes are acknowledged. */
void socket_sent(struct socket *socket, uint32_t size_bytes);
void socket_datagram_received(struct socket *socket, const struct socket_address *from,
                              const void *data, uint32_t size_bytes);
/* Someone has connected to a listener: the socket for it, or NULL: there is no place. */
struct socket *socket_incoming(struct socket *listener, void *transport);
/* A name's address, or an error. */
void socket_resolved(uint64_t token, enum socket_error error, const struct socket_address *address);

#endif
