/* virtio-rng: random bytes. The model's contract is at the head of virtio_random.c. */
#ifndef VMM_DEVICES_VIRTIO_RANDOM_H
#define VMM_DEVICES_VIRTIO_RANDOM_H

#include "devices/chacha.h"
#include "devices/virtio.h"

struct virtio_random {
    struct virtio_device device;
    struct chacha generator;
};

/* `seed`: from chacha_gather; the caller forgets it. */
void virtio_random_init(struct virtio_random *random, struct device_host *host,
                        const uint8_t seed[CHACHA_KEY_BYTES], struct interrupt_line *line);

#endif
