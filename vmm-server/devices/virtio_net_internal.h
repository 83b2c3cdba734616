/* What the parts of virtio-net share. */
#ifndef VMM_DEVICES_VIRTIO_NET_INTERNAL_H
#define VMM_DEVICES_VIRTIO_NET_INTERNAL_H

#include "devices/virtio_net.h"

#define HEADER_BYTES 12u

/* 5.1.2: of the first pair, and what is behind all that there are. */
enum { QUEUE_RECEIVE, QUEUE_TRANSMIT, QUEUES_OF_PAIR };

/* 5.1.3 */
enum {
    FEATURE_CSUM = 0,
    FEATURE_GUEST_CSUM = 1,
    FEATURE_MTU = 3,
    FEATURE_MAC = 5,
    FEATURE_GUEST_TSO4 = 7,
    FEATURE_GUEST_TSO6 = 8,
    FEATURE_HOST_TSO4 = 11,
    FEATURE_HOST_TSO6 = 12,
    FEATURE_MRG_RXBUF = 15,
    FEATURE_STATUS = 16,
    FEATURE_CTRL_VQ = 17,
    FEATURE_CTRL_RX = 18,
    FEATURE_MQ = 22,
};

static inline struct virtio_queue *virtio_net_queue(struct virtio_net *net, unsigned pair,
                                                    unsigned which)
{
    return &net->device.queues[pair * QUEUES_OF_PAIR + which];
}

/* Tells of a rule that the server broke; a few times. */
void virtio_net_complain(struct virtio_net *net, const char *what);

/* Offers the server what the driver has offered. */
void virtio_net_take_buffers(struct virtio_net *net);
/* Gives the driver what the server has filled; true: there was something. */
bool virtio_net_take_received(struct virtio_net *net);
/* Offers a new server the buffers that the old one had. */
void virtio_net_post_again(struct virtio_net *net);
/* A frame that will not be whole any more: the driver gets what there is, and finds it too short. */
void virtio_net_cut_frame(struct virtio_net *net);
/* A buffer is the server's no more. */
void virtio_net_free_post(struct virtio_net *net, uint16_t n);

/* Carries out the commands that wait in the control queue, tells the server, and answers. */
void virtio_net_take_commands(struct virtio_net *net, struct virtio_queue *queue);
/* Tells the server what the driver has asked for. */
void virtio_net_publish(struct virtio_net *net);

#endif
