/*
 * The Ethernet switches: one for each network of the partition file. A frame passes between ports of one network and
 * no others: whoever sends it names no port, and a port belongs to one network from port_join to port_leave.
 *
 * Ports are clients (client.c), Septum itself (host.c), and network cards (uplink.c), one for each network that a
 * card carries.
 */
#ifndef NET_SERVER_SWITCH_H
#define NET_SERVER_SWITCH_H

#include "frame.h"

/* Clients, and each network's uplink and Septum itself. */
#define SWITCH_PORTS_MAX   (SERVICE_CLIENTS_MAX + 2u)
#define SWITCH_LEARNED_MAX 256u /* a power of two */
#define SWITCH_AGE_SECONDS 300u /* IEEE 802.1Q, 8.8.3 */

/* So much a second; a port that has taken more waits. */
struct rate {
    uint64_t per_second; /* 0: no limit */
    int64_t left;
    uint64_t filled_at; /* in ticks */
};

struct port_counts {
    uint64_t frames_sent, bytes_sent, frames_received, bytes_received, dropped;
};

struct port {
    struct network *network; /* NULL: in none */
    const char *name;
    uint8_t mac[ETHERNET_ADDRESS_BYTES];
    bool
        one_address; /* it sends from `mac` alone, and is sent what goes there; else: whatever is beyond it */
    bool promiscuous;    /* it is sent what the switch has no port for */
    bool spoof_reported; /* in the log, once */
    uint32_t accepts;    /* NETWORK_ACCEPTS_*, without MERGE */
    struct rate broadcasts;
    struct port_counts counts; /* as the port sees it: sent by it */
    /* Takes a whole frame or drops it; the port counts what it took. */
    bool (*deliver)(struct port *port, struct frame *frame);
};

struct network {
    const struct plan_network *plan;
    struct port *ports[SWITCH_PORTS_MAX];
    uint32_t port_count;
    bool congested; /* its uplink has no room: who sends, waits */
    struct {
        uint8_t mac[ETHERNET_ADDRESS_BYTES];
        struct port *port; /* NULL: nothing is learned here */
        uint64_t seen_at;
    } learned[SWITCH_LEARNED_MAX];
};

/* What all of the server goes by: set before each round of the main loop. */
struct switch_clock {
    uint64_t now, per_second; /* ticks */
};
extern struct switch_clock switch_clock;

void rate_set(struct rate *rate, uint64_t per_second);
/* May something be taken now? */
bool rate_allows(struct rate *rate);
void rate_take(struct rate *rate, uint64_t amount);
/* When it allows again, if it does not now. */
uint64_t rate_deadline(const struct rate *rate);

/* False: it has no place, or another port of the network has the address. */
bool port_join(struct port *port, struct network *network);
void port_leave(struct port *port);

/* A frame that `from` sends, its offload checked (frame_offload_valid): to whom it concerns. */
void switch_send(struct port *from, struct frame *frame);

/* FNV-1a over a MAC address or a name. */
uint32_t switch_hash(const void *data, size_t size_bytes);

#endif
