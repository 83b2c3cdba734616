/*
 * The network server and its clients: a channel of SERVICE_CHANNEL_BYTES, made by root (service.h), with four
 * rings of bytes. To send, a client writes a struct network_frame and its segments; the server answers with the frame's id
 * when it needs its memory no more. To receive, the client posts buffers; the server fills them, a frame into one or
 * (NETWORK_MERGE) into several, and says how much is in each.
 *
 * A restarted server sets a new `generation`, drops what is in the rings, and rings: frames on their way are lost, as on
 * any network; the client completes its sent frames itself and posts its buffers again, with the new generation.
 *
 * A client takes its buffers and frames back (a guest resets its card) by counting network_link.resets up and ringing:
 * the server forgets all that it has of it and all that is in the rings, unanswered; when nothing reads or writes the
 * client's memory any more, it stores the number in resets_done and rings. Until then the client writes nothing into the
 * rings. A server that begins (generation) has carried out all resets.
 *
 * A client with several queues (network_link.queues) says of each frame and of each buffer which queue it is of. A frame
 * comes in buffers of one queue: the one from which the client last sent a frame of the same flow, but a flow on which
 * frames come stays where it is, so that they keep their order. Of each queue at most NETWORK_POSTED_MAX buffers are
 * posted at a time.
 */
#ifndef PROTOCOL_NETWORK_H
#define PROTOCOL_NETWORK_H

#include "grant.h"
#include "service.h"

#include "partition/plan.h"

#define NETWORK_SEGMENTS_MAX    64u
#define NETWORK_FRAME_MAX       65550u /* with segmentation offload */
#define NETWORK_QUEUES_MAX      4u     /* of a client, in one channel */
#define NETWORK_POSTED_MAX      128u

#define NETWORK_LINK_OFFSET     0u
#define NETWORK_SEND_OFFSET     4096u /* struct network_frame + segments, from the client */
#define NETWORK_SEND_BYTES      16384u
#define NETWORK_SENT_OFFSET     24576u /* uint64_t ids, from the server */
#define NETWORK_SENT_BYTES      4096u
#define NETWORK_BUFFERS_OFFSET  32768u /* struct network_buffer, from the client */
#define NETWORK_BUFFERS_BYTES   16384u
#define NETWORK_RECEIVED_OFFSET 53248u /* struct network_received, from the server */
#define NETWORK_RECEIVED_BYTES  8192u

/* Segments and buffers outside the client's memory, entries that are not whole, positions that jump: the server drops
 * the client, until it is detached. Frames that are not as they should be, or from a foreign MAC address: these alone. */

/* Offloads, as in struct virtio_net_hdr (VIRTIO 1.2, 5.1.6). */
#define NETWORK_NEEDS_CHECKSUM \
    1u /* the checksum from checksum_start on is to be put at + checksum_offset */
#define NETWORK_CHECKSUM_GOOD 2u /* received: it is known to be right */
enum network_segmentation {
    NETWORK_WHOLE = 0,
    NETWORK_TCP4 = 1,
    NETWORK_TCP6 = 4,
}; /* frames of other kinds are dropped: a virtual card does not offer them */

struct network_offload {
    uint8_t flags;                        /* NETWORK_NEEDS_CHECKSUM, NETWORK_CHECKSUM_GOOD */
    uint8_t segmentation;                 /* enum network_segmentation */
    uint16_t header_bytes, segment_bytes; /* of a frame that is to be cut */
    uint16_t checksum_start, checksum_offset;
    uint16_t reserved;
};

struct network_segment {
    uint64_t offset; /* in the client's memory */
    uint64_t size_bytes;
};

struct network_frame {
    uint64_t id;
    uint32_t generation;
    uint16_t
        segments; /* so many struct network_segment follow: the frame from its destination address on */
    uint16_t queue;
    struct network_offload offload;
    uint32_t reserved2;
};
_Static_assert(sizeof(struct network_frame) == 32, "no holes");

struct network_buffer {
    uint32_t id;
    uint32_t queue;
    uint64_t offset;
    uint32_t size_bytes;
    uint32_t generation;
};

struct network_received {
    uint64_t id; /* of the buffer */
    uint32_t size_bytes;
    uint16_t buffers; /* in the frame's first: how many it takes; in the others 0 */
    uint16_t reserved;
    struct network_offload offload; /* in the frame's first */
    uint32_t reserved2;
};
_Static_assert(sizeof(struct network_received) == 32, "no holes");

/* At NETWORK_LINK_OFFSET. The first part is written by the server, the second by the client. */
struct network_link {
    uint32_t generation; /* written last; 0: there is no server yet */
    uint32_t up;         /* the link's state */
    uint32_t mtu;
    uint32_t resets_done; /* the client's `resets` that have been carried out */
    uint8_t mac[6];
    uint8_t reserved2[42];
    uint32_t accepts; /* NETWORK_ACCEPTS_*, set before the first buffer is posted */
    uint32_t
        promiscuous; /* it wants all frames of its network that the switch floods; multicast always comes */
    uint32_t
        headroom_bytes; /* left free at the beginning of a frame's first buffer, and not counted as
                           received: for the header of a virtual card. At most NETWORK_HEADROOM_MAX */
    uint32_t resets;    /* see above */
    uint32_t queues;    /* 0 and 1: one */
};
#define NETWORK_HEADROOM_MAX     64u
#define NETWORK_ACCEPTS_CHECKSUM 1u /* frames whose checksum is still to be computed */
#define NETWORK_ACCEPTS_TCP4     2u /* frames that are still to be cut */
#define NETWORK_ACCEPTS_TCP6     4u
#define NETWORK_ACCEPTS_MERGE    8u /* a frame in several buffers */

/* What the server wants of heap (struct task_start), and of memory for DMA (below 4 GiB). */
#define NETWORK_HEAP_BYTES         4096ull
#define NETWORK_DMA_BYTES(devices) ((devices)*393216ull)

/* A file that is served, read-only from a page's beginning on; the page before it is the server's own. */
struct network_file {
    uint32_t network, reserved; /* index of networks */
    char name[PLAN_SERVED_NAME_MAX];
    uint64_t address, size_bytes;
};

/* struct task_start.role of the network server. */
struct network_start {
    uint32_t device_count, network_count;
    struct device_grant devices[DEVICES_MAX];
    struct device_memory memory;
    struct plan_network networks[PLAN_NETWORKS_MAX];
    uint32_t file_count, reserved;
    struct network_file files[PLAN_SERVED_MAX];
    uint64_t
        system_address; /* struct system_status (status.h), read-only: for the status page; 0: none */
    /* The picture that root has last made for it (system_status.picture_done), read-only; the page before it is the server's
     * own. 0: there are none. */
    uint64_t picture_address;
    uint64_t status_address; /* struct network_server_status */
};

struct network_server_status {
    uint32_t uplinks;
    /* A picture of this partition's screen (its place in the plan) is wanted; the number of the request, written last. */
    uint32_t picture_partition, picture_wanted, reserved;
    struct {
        uint64_t frames_sent, bytes_sent, frames_received, bytes_received, dropped;
    } client[SERVICE_CLIENTS_MAX];
};
_Static_assert(sizeof(struct network_server_status) <= 4096, "the status is one page");

#endif
