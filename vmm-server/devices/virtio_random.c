/*
 * virtio-rng.
 *
 * State:    a generator's key.
 * Features: buffers are filled at once, up to a page of a chain; the driver comes back for more.
 * Missing:  leak detection (VIRTIO 1.3).
 * Spec:     OASIS VIRTIO 1.2, section 5.4.
 */
#include "devices/virtio_random.h"

#include "string.h"

/* 5.4.6.2 lets a device fill less than it is asked for: so that a huge buffer does not hold up the machine. */
#define FILL_MAX 4096u

static void notify(struct virtio_device *device, unsigned number)
{
    struct virtio_random *random = (struct virtio_random *)device; /* its first member */
    struct virtio_queue *queue = &device->queues[number];
    struct virtio_chain chain;
    while (virtio_queue_take(queue, &chain)) {
        uint32_t total = 0;
        for (unsigned i = 0; i < chain.writable && total < FILL_MAX; i++) {
            const struct virtio_segment *segment = &chain.segments[chain.readable + i];
            uint32_t room = FILL_MAX - total;
            uint32_t count = segment->size_bytes < room ? segment->size_bytes : room;
            chacha_fill(&random->generator, segment->data, count);
            total += count;
        }
        virtio_queue_give(queue, chain.head, total);
    }
    virtio_queue_signal(queue);
}

static void reset(struct virtio_device *device)
{
    (void)device; /* the generator knows no driver */
}

void virtio_random_init(struct virtio_random *random, struct device_host *host,
                        const uint8_t seed[CHACHA_KEY_BYTES], struct interrupt_line *line)
{
    static const struct virtio_operations operations = {
        .device_id = 4,
        .queue_count = 1,
        .notify = notify,
        .reset = reset,
    };
    memset(random, 0, sizeof *random);
    virtio_init(&random->device, &operations, host, line, "virtio-rng");
    chacha_seed(&random->generator, seed);
}
