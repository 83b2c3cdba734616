/*
 * How root gives a client (a VMM's virtual disk or network card, a native task) to a server that it shares, and
 * takes it back: the same for block-server and net-server. What then passes between client and server is in
 * block.h and network.h.
 *
 * A client's bulk data lies in its *client memory* (a guest's RAM): the requests in the channel name offsets in it.
 * Only root says where that is, so a client can name no byte that it does not have. The server sees it at
 * SERVICE_MEMORY_BASE + n * SERVICE_MEMORY_STRIDE, and knows its physical addresses for DMA.
 */
#ifndef PROTOCOL_SERVICE_H
#define PROTOCOL_SERVICE_H

#include "task.h"

#define SERVICE_CLIENTS_MAX   30u
#define SERVICE_EXTENTS_MAX   16u
#define SERVICE_CHANNEL_BYTES 65536u
#define SERVICE_MEMORY_BASE   0x100000000000ull
#define SERVICE_CHANNEL_BASE \
    0x2000000000ull /* + n * SERVICE_CHANNEL_BYTES: where the server has channels */
#define SERVICE_SLOT_CLIENT   (TASK_SLOT_FREE) /* + n: where it has client n's notification */
#define SERVICE_BADGE(n)      ((n) + 1ull) /* of client n, at the server's endpoint; root has 0 */
#define SERVICE_MEMORY_STRIDE (1ull << 39)

/* Requests on the server's endpoint; the answer's label: enum service_error. All are root's but SERVICE_RING. A server
 * takes no items there, from nobody: what it is given root maps. */
enum service_request {
    /* w0 = client number n (bit n of the server's notification is its doorbell), w1 = what it is a client of
     * (index of plan.volumes or plan.networks), w2 = bits that ring the client, w3 = SERVICE_* flags.
     * Words: struct service_attach from word 4 on. The channel, the client's memory and its notification have been
     * mapped before; a server that refuses gives channel and notification back. A number that was detached may be
     * attached again. */
    SERVICE_ATTACH = 1,
    /* w0 = client. Answered when no device reads or writes its memory any more: root then takes the memory and
     * the channel away. */
    SERVICE_DETACH = 2,
    /* Whatever a client says is this: it has something in its channel, as if it had raised its doorbell's bit. Answered
     * with SERVICE_OK when the server has looked at it: the same as the doorbell for a client on the server's CPU, but
     * for the scheduler, and on the client's budget. */
    SERVICE_RING = 3,
};

#define SERVICE_SOCKETS 1ull /* flag: a native task, which has no card but sockets (socket.h) */

enum service_error {
    SERVICE_OK = 0,
    SERVICE_BAD_CLIENT = 1,
    SERVICE_BAD_REQUEST = 2,
    SERVICE_NO_MEMORY = 3,
    SERVICE_NO_SUCH =
        4, /* there is no such volume, disk or network on this machine: its log says why */
};

/* Client memory from `offset` on is at `physical`. */
struct service_extent {
    uint64_t offset, physical, size_bytes;
};

/* In the message's words from word 4 on; as many extents as `extents` says. */
struct service_attach {
    char name[TASK_NAME_MAX]; /* of the client: for the log and the status */
    uint64_t parameter;       /* block: plan_disk.flags; network: the MAC address, low 48 bits; with
                                 SERVICE_SOCKETS: where in the client's memory its rings begin */
    uint64_t rate_bytes;      /* a second; 0: no limit */
    uint64_t rate_requests;   /* a second; 0: no limit */
    uint64_t extents;
    struct service_extent extent[SERVICE_EXTENTS_MAX];
};
_Static_assert(4 * 8 + sizeof(struct service_attach) <= MESSAGE_WORDS_MAX * 8, "fits in a message");

#endif
