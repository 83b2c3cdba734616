/* Clients: virtual network cards, each a port of its network. */
#ifndef NET_SERVER_CLIENT_H
#define NET_SERVER_CLIENT_H

#include "flow.h"
#include "ring.h"
#include "switch.h"

/* That frames are sent is told by a doorbell of its own only if nothing else rings for so long, or for so many frames. */
#define CLIENT_TELL_US     100u
#define CLIENT_TELL_FRAMES 16u

/* As many as the largest frame takes, of the smallest buffers that a card posts (1,526 bytes). */
#define CLIENT_BUFFERS_MAX 64u

struct client_buffer {
    uint8_t *at;
    uint32_t id, size_bytes;
};

/* Buffers of one queue: posted and taken from the ring, not used yet. A circle. */
struct client_queue {
    struct client_buffer posted[NETWORK_POSTED_MAX];
    uint32_t first, count;
};

struct client {
    struct port port; /* first: the switch knows it by this */
    bool attached;
    bool broken; /* it has broken the rules: nothing is done for it until it is detached */
    uint32_t number;
    char name[TASK_NAME_MAX];
    struct network_link *link;
    uint32_t generation;
    uint32_t resets; /* of the client's that have been carried out */
    uint8_t *memory; /* the client's, mapped here */
    uint64_t memory_bytes;
    uint64_t ring_bits;
    uint64_t tell_at; /* that frames are sent, if its bit of clients.to_tell is set */
    struct ring send, sent, buffers, received;
    struct rate bytes;
    uint32_t headroom_bytes;
    bool merge;
    bool bad_frame_reported;
    uint32_t queue_count; /* that it uses */
    struct client_queue queues[NETWORK_QUEUES_MAX];
    struct flows flows; /* if it uses several */
};

struct clients {
    struct client client[SERVICE_CLIENTS_MAX];
    uint64_t attached;                    /* bit n: there is a client n */
    uint64_t ready;                       /* bit n: client n may have frames to send */
    uint64_t to_ring;                     /* has something new in a ring */
    struct network_server_status *status; /* where the counts are shown; NULL: nowhere */
    uint64_t deadline;                    /* a client that has used up its rate may send again */
    uint64_t
        to_tell; /* has not been told yet that frames of its are sent: with the next that it receives, */
    uint64_t tell_at; /* or when the first's tell_at is; UINT64_MAX: there is none */
};
extern struct clients clients;

/* Requests of root: enum service_error. channel: where its memory is; memory: the client's own. */
unsigned client_attach(uint64_t number, struct network *network, uint64_t ring_bits,
                       const struct service_attach *attach, void *channel, void *memory);
unsigned client_detach(uint64_t number);

/* Reads anew what the clients accept: before a round of the main loop. */
void clients_refresh(void);
/* Moves frames of all clients that are ready, fairly. Afterwards none is, or they wait for clients.deadline, or
 * there was so much that others should have their turn first (true). */
bool clients_send(void);
/* Rings all who have something new, and shows their counts. */
void clients_ring(void);
/* main.c, or a test: raises bits of a client's notification. */
void client_ring(uint32_t number, uint64_t bits);

#endif
