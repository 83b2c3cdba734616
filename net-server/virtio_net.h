/* A virtio network card as the host has it: what its driver keeps. */
#ifndef NET_SERVER_VIRTIO_NET_H
#define NET_SERVER_VIRTIO_NET_H

#include "buffers.h"
#include "virtio_driver.h"

struct virtio_net {
    struct virtio_driver device;
    struct virtqueue receive, send;
    struct buffers received, sent;
};

#endif
