/* virtio-net over a channel to the network server. The model's contract is at the head of virtio_net.c. */
#ifndef VMM_DEVICES_VIRTIO_NET_H
#define VMM_DEVICES_VIRTIO_NET_H

#include "devices/virtio.h"

#include "protocol/network.h"
#include "ring.h"

#define VIRTIO_NET_FRAMES_MAX  VIRTIO_QUEUE_SIZE_MAX
#define VIRTIO_NET_BUFFERS_MAX VIRTIO_QUEUE_SIZE_MAX
#define VIRTIO_NET_PAIRS_MAX   NETWORK_QUEUES_MAX

/* A chain that was sent and is not yet done with. Free ones are linked by `next`. */
struct virtio_net_frame {
    uint16_t head, next;
    uint8_t pair;
    bool used;
};

/* A chain for what is received. */
struct virtio_net_buffer {
    uint8_t *header; /* where the driver wants the frame's header */
    uint64_t offset; /* the memory that the server gets */
    uint32_t size_bytes;
    uint16_t head, next;
    uint8_t pair;
    bool used, posted;
};

struct virtio_net {
    struct virtio_device device;
    struct device_peer peer;
    struct network_link *link;
    uint32_t generation, mtu; /* copies of the server's words */
    bool up;
    uint8_t mac[6];
    struct ring send, sent, buffers, received;
    struct virtio_net_frame frames[VIRTIO_NET_FRAMES_MAX];
    struct virtio_net_buffer posts[VIRTIO_NET_BUFFERS_MAX];
    uint16_t free_frame, free_post;
    unsigned frames_used, posts_used;
    /* Pairs of queues: those that there are, those that the driver uses, and from which frames are taken first. */
    unsigned pairs_max, pairs, turn;
    unsigned pair_posts[VIRTIO_NET_PAIRS_MAX]; /* of posts_used */
    unsigned unposted; /* buffers that a restarted server does not know of */
    /* A received frame of which some buffers are not in yet: the driver must see all of them at once. */
    unsigned frame_left, frame_buffers, frame_pair;
    uint8_t *frame_header;
    uint32_t headroom_bytes; /* of the header, in the first buffer */
    uint32_t resets;
    bool resetting; /* the guest is held until the server has given its buffers back */
    bool submitted; /* since the server was last rung */
    bool rung;      /* by the server */
    bool looks;     /* for what the server has sent */
    bool promiscuous, more_addresses; /* what the driver asked for */
    unsigned faults;                  /* of the server: only the first few are logged */
};

/* `mac`: as in struct plan_card; `pairs`: of queues, from 1 to VIRTIO_NET_PAIRS_MAX. The guest's RAM must stay where it
 * is. */
void virtio_net_init(struct virtio_net *net, struct device_host *host,
                     const struct device_peer *peer, uint64_t mac, unsigned pairs,
                     struct interrupt_line *line);
/* The server has rung. */
void virtio_net_attend(struct virtio_net *net);

#endif
