/* links: lib/virtio_driver.c */
#include "unit_test.h"

#include <stdbool.h>

#include "virtio_driver.h"

/*
 * A device whose registers are plain memory, with a small device side of the queue: it reads what the driver has
 * made available, keeps it as long as it likes, and completes in any order.
 */
#define PHYSICAL   0x7000000000ull /* of the memory for DMA: not where the process sees it */
#define AREA_BYTES 65536u
#define QUEUE_SIZE 16u
#define PIECES_MAX 6u
#define BAR_BYTES  4096u

enum { NOTIFY_AT = 0x100, ISR_AT = 0x200, CONFIG_AT = 0x300 };

static uint8_t *area_memory, *bar;
static struct dma_area area;
static struct device_grant grant;
static struct virtio_driver driver;
static struct virtqueue queue;

static void machine(uint32_t features, uint16_t size)
{
    free(area_memory);
    free(bar);
    area_memory = calloc(1, AREA_BYTES);
    bar = calloc(1, BAR_BYTES);
    area = (struct dma_area){.memory = {(uint64_t)area_memory, PHYSICAL, AREA_BYTES}};
    grant = (struct device_grant){
        .vendor = VIRTIO_VENDOR,
        .interrupt = DEVICE_INTERRUPT_MSIX,
        .bars[2] = {.address = (uint64_t)bar, .size_bytes = BAR_BYTES},
        .virtio = {
            {2, 0, 0x38, 0}, {2, NOTIFY_AT, 64, 4}, {2, ISR_AT, 1, 0}, {2, CONFIG_AT, 16, 0}}};
    memset(&queue, 0, sizeof queue);
    *(uint32_t *)(bar + 0x04) = features | 1; /* the same in both halves: bit 32 is VERSION_1 */
    *(uint16_t *)(bar + 0x12) = 1;
    *(uint16_t *)(bar + 0x18) = size;
    *(uint16_t *)(bar + 0x1e) = 3;
}

static void started(uint32_t features)
{
    machine(features, QUEUE_SIZE);
    CHECK(virtio_driver_open(&driver, &grant) == NULL);
    CHECK(virtio_driver_negotiate(&driver, features) == NULL);
    CHECK(virtqueue_start(&driver, &queue, 0, 256, &area) == NULL);
    virtio_driver_ready(&driver);
    EXPECT(bar[0x14], 1 | 2 | 4 | 8);
}

static void *at(uint64_t physical, uint64_t size_bytes)
{
    CHECK(physical >= PHYSICAL && physical + size_bytes <= PHYSICAL + AREA_BYTES);
    return area_memory + (physical - PHYSICAL);
}

/* ---- the device side ---- */

static struct virtqueue_descriptor *descriptors(void)
{
    return at(*(uint64_t *)(bar + 0x20), QUEUE_SIZE * 16);
}

static uint16_t *available(void)
{
    return at(*(uint64_t *)(bar + 0x28), 4 + 2 * QUEUE_SIZE + 2);
}

static uint16_t *used(void)
{
    return at(*(uint64_t *)(bar + 0x30), 4 + 8 * QUEUE_SIZE + 2);
}

struct taken {
    uint16_t head;
    unsigned count, readable;
    struct dma_piece pieces[PIECES_MAX];
};

static struct taken device_take(uint16_t index)
{
    struct taken taken = {.head = available()[2 + index % QUEUE_SIZE]};
    CHECK(taken.head < QUEUE_SIZE);
    const struct virtqueue_descriptor *table = descriptors(), *d = &table[taken.head];
    unsigned places = QUEUE_SIZE;
    if (d->flags & 4) {
        EXPECT(d->flags, 4);
        EXPECT(d->size_bytes % 16, 0);
        places = d->size_bytes / 16;
        table = at(d->physical, d->size_bytes);
        d = table;
    }
    for (;;) {
        CHECK(taken.count < PIECES_MAX);
        taken.pieces[taken.count++] = (struct dma_piece){d->physical, d->size_bytes, 0};
        taken.readable += !(d->flags & 2);
        CHECK(!(d->flags & 2) || taken.readable < taken.count);
        if (!(d->flags & 1))
            return taken;
        CHECK(d->next < places);
        d = &table[d->next];
    }
}

static void device_complete(uint32_t head, uint32_t written)
{
    uint16_t *ring = used();
    uint32_t *entry = (uint32_t *)&ring[2 + 4 * (ring[1] % QUEUE_SIZE)];
    entry[0] = head, entry[1] = written;
    ring[1]++;
}

/* ---- tests ---- */

struct model {
    bool used;
    unsigned readable, writable;
    struct dma_piece pieces[PIECES_MAX];
    struct virtqueue_table table;
};

/* Random chains, completed in random order; what the device sees is what was asked for, and comes back once. */
static void random_traffic(uint32_t features, bool indirect)
{
    static struct model models[QUEUE_SIZE];
    struct taken held[QUEUE_SIZE];
    unsigned held_count = 0, added = 0, returned = 0;
    uint16_t seen = 0;
    started(features);
    memset(models, 0, sizeof models);
    for (unsigned i = 0; i < QUEUE_SIZE; i++)
        models[i].table.descriptors =
            dma_take(&area, PIECES_MAX * 16, 16, &models[i].table.physical);
    for (unsigned step = 0; step < 20000; step++) {
        switch (unit_random() % 3) {
        case 0: {
            unsigned n = 0;
            while (n < QUEUE_SIZE && models[n].used)
                n++;
            if (n == QUEUE_SIZE)
                break;
            struct model *model = &models[n];
            model->readable = (unsigned)(unit_random() % 3);
            model->writable = 1 + (unsigned)(unit_random() % 3);
            unsigned count = model->readable + model->writable;
            for (unsigned i = 0; i < count; i++)
                model->pieces[i] = (struct dma_piece){unit_random(), (uint32_t)unit_random(), 0};
            unsigned before = queue.free_count, places = indirect ? 1 : count;
            model->used = virtqueue_add(&queue, model->pieces, model->readable, model->writable,
                                        indirect ? &model->table : NULL, model);
            EXPECT(model->used, before >= places);
            added += model->used;
            virtqueue_kick(&queue);
            break;
        }
        case 1:
            while (seen != available()[1])
                held[held_count++] = device_take(seen++);
            CHECK(held_count <= QUEUE_SIZE);
            break;
        default: {
            void *cookie;
            uint32_t written;
            if (held_count) {
                unsigned n = (unsigned)(unit_random() % held_count);
                struct taken taken = held[n];
                held[n] = held[--held_count];
                CHECK(virtqueue_waits(&queue));
                device_complete(taken.head, taken.head * 7u);
                CHECK(!virtqueue_waits(&queue));
                CHECK(virtqueue_take(&queue, &cookie, &written));
                EXPECT(written, taken.head * 7u);
                struct model *model = cookie;
                CHECK(model >= models && model < models + QUEUE_SIZE && model->used);
                EXPECT(taken.readable, model->readable);
                EXPECT(taken.count, model->readable + model->writable);
                CHECK(memcmp(taken.pieces, model->pieces, taken.count * sizeof *taken.pieces) == 0);
                model->used = false;
                returned++;
            }
            CHECK(!virtqueue_take(&queue, &cookie, &written) && !queue.broken);
        }
        }
    }
    CHECK(added > 1000 && added - returned <= QUEUE_SIZE);
}

TEST(virtio_driver_chains,
     "random chains of descriptors reach the device as they are and come back once each")
{
    random_traffic(0, false);
}

TEST(virtio_driver_indirect,
     "the same with tables of their own and event indices: a chain takes one place")
{
    random_traffic(VIRTIO_FEATURE_INDIRECT | VIRTIO_FEATURE_EVENT_INDEX, true);
}

TEST(virtio_driver_kick, "the device is rung exactly when it wants to be")
{
    const struct dma_piece piece = {PHYSICAL, 512, 0};
    started(VIRTIO_FEATURE_EVENT_INDEX);
    volatile uint16_t *doorbell = (uint16_t *)(bar + NOTIFY_AT + 12);
    for (uint16_t i = 0; i < 6; i++) {
        *doorbell = 0xaaaa;
        used()[2 + 4 * QUEUE_SIZE] = i < 3 ? i : 4;
        CHECK(virtqueue_add(&queue, &piece, 0, 1, NULL, NULL));
        EXPECT(available()[1], i);
        virtqueue_kick(&queue);
        EXPECT(available()[1], i + 1);
        EXPECT(*doorbell == 0, i < 3 || i == 4);
    }
    started(0);
    doorbell = (uint16_t *)(bar + NOTIFY_AT + 12);
    for (uint16_t i = 0; i < 4; i++) {
        *doorbell = 0xaaaa;
        used()[0] = i & 1;
        CHECK(virtqueue_add(&queue, &piece, 1, 0, NULL, NULL));
        virtqueue_kick(&queue);
        EXPECT(*doorbell == 0, !(i & 1));
        *doorbell = 0xaaaa;
        virtqueue_kick(&queue); /* nothing new */
        EXPECT(*doorbell, 0xaaaa);
    }
}

TEST(virtio_driver_again,
     "a chain of one piece that was taken goes back as it was, in the order of the queue")
{
    struct dma_piece piece = {PHYSICAL, 512, 0};
    static int cookies[QUEUE_SIZE];
    void *cookie;
    uint32_t written;
    started(0);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        piece.physical = PHYSICAL + 512 * i;
        CHECK(virtqueue_add(&queue, &piece, 0, 1, NULL, &cookies[i]));
    }
    for (unsigned round = 0; round < 5 * QUEUE_SIZE; round++) {
        unsigned place = (round * 3 + 1) % QUEUE_SIZE;
        uint16_t head = 0;
        while (queue.cookies[head] != &cookies[place])
            head++;
        virtqueue_kick(&queue);
        device_complete(head, 7);
        CHECK(virtqueue_take(&queue, &cookie, &written) && cookie == &cookies[place]);
        EXPECT(queue.free_count, 1);
        virtqueue_add_again(&queue);
        EXPECT(queue.free_count, 0);
        EXPECT(available()[2 + (QUEUE_SIZE + round) % QUEUE_SIZE], head);
        EXPECT(queue.descriptors[head].physical, PHYSICAL + 512 * place);
        CHECK(!virtqueue_add(&queue, &piece, 0, 1, NULL, NULL));
    }
}

TEST(virtio_driver_looks,
     "who looks for itself is told of nothing, and of the next one when it waits again")
{
    const struct dma_piece piece = {PHYSICAL, 512, 0};
    void *cookie;
    uint32_t written;
    started(VIRTIO_FEATURE_EVENT_INDEX);
    volatile uint16_t *wish = &available()[2 + QUEUE_SIZE];
    for (uint16_t i = 0; i < 2 * QUEUE_SIZE; i++) {
        virtqueue_looks(&queue);
        CHECK(virtqueue_add(&queue, &piece, 0, 1, NULL, NULL));
        virtqueue_kick(&queue);
        /* 2.7.7.2: an interrupt for the used entry of the index that stands there. */
        EXPECT((uint16_t)(*wish + 1), i);
        device_complete(available()[2 + i % QUEUE_SIZE], 0);
        CHECK(!virtqueue_waits(&queue));
        CHECK(virtqueue_take(&queue, &cookie, &written));
        CHECK(virtqueue_waits(&queue));
        EXPECT(*wish, (uint16_t)(i + 1));
    }
    started(0);
    virtqueue_looks(&queue);
    EXPECT(available()[2 + QUEUE_SIZE], 0);
}

TEST(virtio_driver_broken,
     "a device that completes what it was not given breaks its queue, and nothing else")
{
    const struct dma_piece piece = {PHYSICAL, 512, 0};
    void *cookie;
    uint32_t written;
    for (unsigned kind = 0; kind < 4; kind++) {
        started(0);
        CHECK(virtqueue_add(&queue, &piece, 1, 0, NULL, NULL));
        virtqueue_kick(&queue);
        switch (kind) {
        case 0: device_complete(QUEUE_SIZE, 0); break;
        case 1: device_complete(available()[2] + 1u, 0); break;
        case 2: used()[1] = QUEUE_SIZE + 1; break;
        case 3:
            device_complete(available()[2], 0);
            CHECK(virtqueue_take(&queue, &cookie, &written));
            device_complete(available()[2], 0);
            break;
        }
        CHECK(!virtqueue_take(&queue, &cookie, &written) && queue.broken);
        CHECK(!virtqueue_add(&queue, &piece, 1, 0, NULL, NULL));
        uint64_t used_bytes = area.used_bytes;
        CHECK(virtio_driver_open(&driver, &grant) == NULL);
        CHECK(virtio_driver_negotiate(&driver, 0) == NULL);
        CHECK(virtqueue_start(&driver, &queue, 0, 256, &area) == NULL);
        EXPECT(area.used_bytes, used_bytes); /* the second time with the memory of the first */
        CHECK(virtqueue_add(&queue, &piece, 1, 0, NULL, NULL));
    }
}

TEST(virtio_driver_refuses,
     "registers outside their BAR, an old device, queues of odd sizes, too little memory")
{
    machine(0, QUEUE_SIZE);
    grant.virtio[0].offset_bytes = BAR_BYTES - 0x37;
    CHECK(virtio_driver_open(&driver, &grant) != NULL);
    machine(0, QUEUE_SIZE);
    grant.virtio[0].offset_bytes = UINT32_MAX;
    CHECK(virtio_driver_open(&driver, &grant) != NULL);
    machine(0, QUEUE_SIZE);
    grant.virtio[1].size_bytes = 0;
    CHECK(virtio_driver_open(&driver, &grant) != NULL);
    machine(0, QUEUE_SIZE);
    grant.virtio[2].bar = DEVICE_BARS;
    CHECK(virtio_driver_open(&driver, &grant) != NULL);

    machine(0, QUEUE_SIZE);
    *(uint32_t *)(bar + 4) = 0xfffffffe;
    CHECK(virtio_driver_open(&driver, &grant) == NULL);
    CHECK(virtio_driver_negotiate(&driver, 0) != NULL);

    for (unsigned kind = 0; kind < 5; kind++) {
        machine(0, kind == 0 ? 0 : kind == 1 ? 12 : QUEUE_SIZE);
        CHECK(virtio_driver_open(&driver, &grant) == NULL);
        CHECK(virtio_driver_negotiate(&driver, 0) == NULL);
        if (kind == 2)
            area.memory.size_bytes = 64;
        if (kind == 3)
            *(uint16_t *)(bar + 0x1e) = 16; /* doorbell 16 * 4 is behind 64 bytes */
        CHECK(virtqueue_start(&driver, &queue, kind == 4, 256, &area) != NULL);
    }
}

TEST(virtio_driver_config, "fields of the device's configuration, and nothing beyond its end")
{
    started(0);
    for (unsigned i = 0; i < 16; i++)
        bar[CONFIG_AT + i] = (uint8_t)(i + 1);
    EXPECT(virtio_driver_config(&driver, 0, 8), 0x0807060504030201);
    EXPECT(virtio_driver_config(&driver, 12, 4), 0x100f0e0d);
    EXPECT(virtio_driver_config(&driver, 15, 1), 16);
    EXPECT(virtio_driver_config(&driver, 12, 8), 0);
    EXPECT(virtio_driver_config(&driver, UINT32_MAX, 4), 0);
}
