/*
 * Packed virtqueues, from VIRTIO 1.2, section 2.8: a driver in the test, good and hostile, on the device for random numbers; and
 * a disk whose server dies.
 * links: vmm-server/devices/virtio.c vmm-server/devices/virtio_packed.c vmm-server/devices/virtio_mmio.c
 *        vmm-server/devices/virtio_console.c vmm-server/devices/virtio_random.c vmm-server/devices/chacha.c
 *        vmm-server/devices/virtio_block.c vmm-server/disk.c lib/print.c lib/ring.c
 */
#include "virtio_block_machine.h"

#include "devices/virtio_packed.h"

#define PACKED (1ull << 34)

enum { AVAILABLE = 0x80, USED = 0x8000 };

struct place {
    uint64_t address;
    uint32_t size_bytes;
    uint16_t id, flags;
};

static struct virtio_packed states[VIRTIO_QUEUES_MAX];
static unsigned ring_size, next, next_used;
static bool wrap, used_wrap;

static struct place *place_at(unsigned n)
{
    return (struct place *)ram + n;
}

static uint32_t *driver_event(void)
{
    return (uint32_t *)(ram + 0x400);
}

static uint32_t device_event(void)
{
    return *(uint32_t *)(ram + 0x800);
}

/* The driver's queue, ready; every page beside it is free. */
static void set_ring(unsigned size)
{
    ring_size = size;
    next = next_used = 0;
    wrap = used_wrap = true;
    set(0x30, 0);
    set(0x38, size);
    set(0x80, RAM_BASE);
    set(0x84, 0);
    set(0x90, RAM_BASE + 0x400);
    set(0x94, 0);
    set(0xa0, RAM_BASE + 0x800);
    set(0xa4, 0);
    set(0x44, 1);
}

static void start_packed(unsigned size, uint64_t features)
{
    static const uint8_t seed[CHACHA_KEY_BYTES] = {1, 2, 3};
    start_machine();
    virtio_random_init(&source, &host, seed, &line);
    virtio_offer_packed(&source.device, states);
    CHECK(virtio_mmio_attach(&source.device, NULL, 0xd0000000));
    memset(ram, 0, sizeof ram);
    negotiate(features | PACKED | VERSION_1);
    EXPECT(get(0x70), 11);
    set_ring(size);
    set(0x70, 15);
}

static void put(uint64_t address, uint32_t size_bytes, uint16_t flags, uint16_t id)
{
    *place_at(next) =
        (struct place){address, size_bytes, id, (uint16_t)(flags | (wrap ? AVAILABLE : USED))};
    if (++next == ring_size) {
        next = 0;
        wrap = !wrap;
    }
}

/* Is the next used descriptor there? `places`: of its chain. */
static bool take_used(uint16_t id, uint32_t written, unsigned places)
{
    const struct place *at = place_at(next_used);
    uint16_t flags = used_wrap ? AVAILABLE | USED : 0;
    if ((at->flags & (AVAILABLE | USED)) != flags)
        return false;
    EXPECT(at->id, id);
    EXPECT(at->size_bytes, written);
    EXPECT(at->flags, flags | (written ? WRITE : 0));
    next_used += places;
    if (next_used >= ring_size) {
        next_used -= ring_size;
        used_wrap = !used_wrap;
    }
    return true;
}

static bool is_filled(unsigned offset, unsigned size_bytes)
{
    unsigned zeroes = 0;
    for (unsigned i = 0; i < size_bytes; i++)
        zeroes += *data(offset + i) == 0;
    return zeroes < size_bytes / 2;
}

/* ---- Good drivers ---------------------------------------------------------------------------- */

TEST(virtio_packed_offered,
     "packed rings are offered where there is memory for them, split ones go on")
{
    start_random(0);
    set(0x14, 1);
    EXPECT(get(0x10) & 4, 0);
    negotiate(PACKED | VERSION_1);
    EXPECT(get(0x70), 3);
    start_packed(SIZE, 0);
    set(0x14, 1);
    EXPECT(get(0x10) & 4, 4);
    set(0x70, 0);
    drive(0, 1);
    describe(0, 0, DATA, 64, WRITE, 0);
    offer(0, 0);
    ring(0);
    EXPECT(rings(0)->used.index, 1);
}

TEST(virtio_packed_rounds,
     "buffers come back in their places, with the wrap counter of each round; any size of ring")
{
    static const unsigned sizes[] = {1, 2, 5, 8, 64};
    for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        start_packed(sizes[s], 0);
        for (unsigned n = 0; n < 5 * sizes[s]; n++) {
            uint16_t id = (uint16_t)(n * 3 % sizes[s]);
            memset(data(0), 0, 64);
            put(DATA, 64, WRITE, id);
            CHECK(!take_used(id, 64, 1));
            high = false;
            ring(0);
            CHECK(take_used(id, 64, 1));
            CHECK(is_filled(0, 64));
            CHECK(high);
        }
        CHECK(!failed());
    }
}

TEST(virtio_packed_chains,
     "the last descriptor has the id; one used descriptor stands for all of them")
{
    start_packed(5, WITH_TABLES);
    for (unsigned round = 0; round < 20; round++) {
        memset(data(0), 0, 0x400);
        put(DATA, 32, WRITE | NEXT, 0x1234);
        put(DATA + 64, 32, WRITE | NEXT, 0x4321);
        put(DATA + 128, 32, WRITE, 3);
        ring(0);
        CHECK(take_used(3, 96, 3));
        CHECK(is_filled(0, 32) && is_filled(64, 32) && is_filled(128, 32));
        EXPECT(*data(160), 0);
        /* A table: its descriptors follow one another, whatever their ids and other flags say. */
        struct place *table = (struct place *)data(0x200);
        table[0] = (struct place){DATA + 256, 32, 77, WRITE};
        table[1] = (struct place){DATA + 320, 32, 78, WRITE | INDIRECT | USED};
        put(DATA + 0x200, 32, INDIRECT, 4);
        ring(0);
        CHECK(take_used(4, 64, 1));
        CHECK(is_filled(256, 32) && is_filled(320, 32));
    }
    CHECK(!failed());
}

TEST(virtio_packed_batch,
     "of what is given before a signal the driver sees nothing, for the first is not shown")
{
    struct virtio_chain chain[3];
    struct virtio_queue *queue = &source.device.queues[0];
    start_packed(8, 0);
    for (unsigned round = 0; round < 6; round++) {
        for (uint16_t n = 0; n < 3; n++)
            put(DATA + n * 64, 64, WRITE, n);
        for (unsigned n = 0; n < 3; n++)
            CHECK(virtio_queue_take(queue, &chain[n]));
        CHECK(!virtio_queue_take(queue, &chain[0]));
        virtio_queue_give(queue, 2, 5);
        virtio_queue_give(queue, 0, 0);
        virtio_queue_give(queue, 2, 9); /* it is not out any more */
        virtio_queue_give(queue, 200, 9);
        CHECK(!take_used(2, 5, 1));
        virtio_queue_signal(queue);
        CHECK(take_used(2, 5, 1));
        CHECK(take_used(0, 0, 1));
        CHECK(!take_used(1, 0, 1));
        virtio_queue_give(queue, 1, 0);
        virtio_queue_signal(queue);
        CHECK(take_used(1, 0, 1));
    }
}

TEST(virtio_packed_interrupts,
     "interrupts as the driver's event structure says: always, never, at a place")
{
    for (unsigned with = 0; with < 2; with++) {
        start_packed(4, with ? WITH_EVENTS : 0);
        for (unsigned n = 0; n < 24; n++) {
            unsigned place = n % 8, kind = n % 5;
            uint16_t here = (uint16_t)(place % 4 | (place < 4 ? 0x8000 : 0));
            uint16_t later = (uint16_t)((place + 1) % 8 % 4 | ((place + 1) % 8 < 4 ? 0x8000 : 0));
            *driver_event() = kind == 0   ? 0
                              : kind == 1 ? 1u << 16
                              : kind == 2 ? 2u << 16 | here
                              : kind == 3 ? 2u << 16 | later
                                          : 2u << 16 | (here ^ 0x8000); /* the round before */
            put(DATA, 16, WRITE, 0);
            ring(0);
            CHECK(take_used(0, 16, 1));
            bool wanted = kind == 0 || kind == 2 || (kind > 2 && !with);
            EXPECT(get(0x60), wanted);
            set(0x64, 1);
        }
    }
}

TEST(virtio_packed_doorbells, "an empty ring says at which place it wants to be rung")
{
    start_packed(3, WITH_EVENTS);
    ring(0);
    EXPECT(device_event(), 2u << 16 | 0x8000);
    for (unsigned n = 1; n < 14; n++) {
        put(DATA, 16, WRITE, 1);
        ring(0);
        EXPECT(device_event(), 2u << 16 | (n % 6 < 3 ? 0x8000 : 0) | n % 3);
    }
    start_packed(3, 0);
    ring(0);
    EXPECT(device_event(), 0);
    CHECK(!virtio_queue_is_polled(&source.device.queues[0]));
    *driver_event() = 1u << 16;
    CHECK(virtio_queue_is_polled(&source.device.queues[0]));
}

/* ---- A disk: what is out is given back in another order, and asked again ------------------------ */

static void start_packed_disk(void)
{
    const struct device_peer peer = {channel, ram, 3, bell};
    start_disk(ALL_FLAGS, 0);
    virtio_block_init(&disk, &host, &peer, 1, &line);
    virtio_offer_packed(&disk.device, states);
    CHECK(virtio_mmio_attach(&disk.device, NULL, 0xd0000000));
    memset(ram, 0, sizeof ram);
    negotiate(disk.device.features | PACKED | VERSION_1);
    set_ring(8);
    set(0x70, 15);
}

static void put_request(uint16_t id, uint32_t type, uint64_t sector)
{
    *(struct header *)data(0x6000 + id * 16u) = (struct header){type, 0, sector};
    *data(STATUS_AT + id) = 0xee;
    put(DATA + 0x6000 + id * 16u, 16, NEXT, 0);
    put(DATA + id * 512u, 512, (type == IN ? WRITE : 0) | NEXT, 0);
    put(DATA + STATUS_AT + id, 1, WRITE, id);
}

TEST(virtio_packed_out_of_order,
     "answers in another order are written over requests that are out; these are not lost")
{
    start_packed_disk();
    put_request(0, IN, 3);
    put_request(1, IN, 4);
    ring(0);
    CHECK(server_take() && server_take());
    server_answer(&taken[1], BLOCK_OK);
    virtio_block_attend(&disk);
    CHECK(take_used(1, 513, 3)); /* where request 0 was */
    put_request(2, IN, 5);
    ring(0);
    server_begin(8);
    virtio_block_attend(&disk);
    CHECK(server_take() && server_take());
    EXPECT(taken[2].request.sector, 3);
    EXPECT(taken[3].request.sector, 5);
    server_answer(&taken[3], BLOCK_OK);
    server_answer(&taken[2], BLOCK_OK);
    virtio_block_attend(&disk);
    CHECK(take_used(2, 513, 3));
    CHECK(take_used(0, 513, 3));
    EXPECT(status_of(0) | status_of(1) | status_of(2), 0);
    CHECK(memcmp(data(0), disk_data + 3 * 512, 512) == 0);
    CHECK(memcmp(data(1024), disk_data + 5 * 512, 512) == 0);
    CHECK(!failed());
}

/* ---- Hostile drivers --------------------------------------------------------------------------- */

static void expect_failure(const char *why)
{
    ring(0);
    CHECK(failed());
    CHECK(strstr(text, why));
    text_count = 0;
    text[0] = 0;
}

TEST(virtio_packed_hostile_chains, "each broken rule ends the device's use, until it is reset")
{
    static const struct {
        struct place places[3];
        const char *why;
    } cases[] = {
        {{{DATA, 16, 4, WRITE}}, "id beyond the queue"},
        {{{DATA, 16, 0xffff, WRITE}}, "id beyond the queue"},
        {{{0, 16, 0, WRITE}}, "outside the guest's memory"},
        {{{UINT64_MAX - 7, 16, 0, WRITE}}, "outside the guest's memory"},
        {{{DATA, UINT32_MAX, 0, WRITE}}, "outside the guest's memory"},
        {{{RAM_BASE + RAM_BYTES - 15, 16, 0, WRITE}}, "outside the guest's memory"},
        {{{DATA, 16, 0, WRITE | NEXT}, {DATA, 16, 0, 0}}, "to read behind one to write"},
        {{{DATA, 16, 0, INDIRECT | NEXT}, {DATA, 16, 0, 0}}, "indirect descriptor in a chain"},
        {{{DATA, 16, 0, NEXT}, {DATA, 16, 0, INDIRECT}}, "indirect descriptor in a chain"},
        {{{DATA, 15, 0, INDIRECT}}, "not a whole number of descriptors"},
        {{{DATA, 0, 0, INDIRECT}}, "not a whole number of descriptors"},
        {{{DATA, 5 * 16, 0, INDIRECT}}, "longer than its queue"},
        {{{DATA, 0xfffffff0, 0, INDIRECT}}, "table outside the guest's memory"},
        {{{UINT64_MAX - 15, 16, 0, INDIRECT}}, "table outside the guest's memory"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        start_packed(4, WITH_TABLES);
        for (unsigned n = 0; n < 3 && cases[i].places[n].size_bytes + cases[i].places[n].flags; n++)
            put(cases[i].places[n].address, cases[i].places[n].size_bytes, cases[i].places[n].flags,
                cases[i].places[n].id);
        expect_failure(cases[i].why);
    }
    start_packed(4, 0);
    put(DATA, 16, INDIRECT, 0);
    expect_failure("was not agreed on");
    start_packed(4, 0);
    for (unsigned n = 0; n < 4; n++)
        put(DATA, 16, WRITE | NEXT, 0);
    expect_failure("more descriptors made available than the queue has, or a loop");
}

TEST(virtio_packed_hostile_ids, "an id that is out, and more than the queue has, are no chains")
{
    struct virtio_chain chain;
    struct virtio_queue *queue = &source.device.queues[0];
    start_packed(4, 0);
    put(DATA, 16, WRITE, 2);
    put(DATA, 16, WRITE, 2);
    CHECK(virtio_queue_take(queue, &chain));
    CHECK(!virtio_queue_take(queue, &chain));
    CHECK(failed());
    CHECK(strstr(text, "a buffer's id that the device has already"));
    /* All are out, or given and not shown: whatever the ring says, there can be no more. */
    start_packed(4, 0);
    for (uint16_t n = 0; n < 4; n++)
        put(DATA, 16, WRITE, n);
    for (unsigned n = 0; n < 4; n++)
        CHECK(virtio_queue_take(queue, &chain));
    virtio_queue_give(queue, 0, 0);
    put(DATA, 16, WRITE, 0);
    CHECK(!virtio_queue_take(queue, &chain));
    CHECK(failed());
}

TEST(virtio_packed_hostile_wraps,
     "flags of another round are no descriptors; nor is what comes behind them")
{
    static const uint16_t flags[] = {0, USED, AVAILABLE | USED};
    for (unsigned i = 0; i < 3; i++) {
        start_packed(4, 0);
        put(DATA, 16, WRITE, 0);
        put(DATA, 16, WRITE, 1);
        place_at(0)->flags = flags[i] | WRITE;
        ring(0);
        CHECK(!failed());
        EXPECT(source.device.queues[0].next_available, 0);
        place_at(0)->flags = AVAILABLE | WRITE;
        ring(0);
        CHECK(take_used(0, 16, 1) && take_used(1, 16, 1));
        /* In the second half it is the other way. */
        for (unsigned n = 0; n < 4; n++) {
            put(DATA, 16, WRITE, 0);
            ring(0);
            CHECK(take_used(0, 16, 1));
        }
        place_at(2)->flags = AVAILABLE | WRITE; /* of the first round */
        ring(0);
        CHECK(!take_used(0, 16, 1) && !failed());
        put(DATA, 16, WRITE, 3);
        ring(0);
        CHECK(take_used(3, 16, 1));
    }
}

TEST(virtio_packed_hostile_rings,
     "rings that lie nowhere, in part outside, askew; sizes that there are not")
{
    static const struct {
        uint32_t offset, value;
        const char *why;
    } cases[] = {
        {0x38, 0, "size is not one"},
        {0x38, VIRTIO_QUEUE_SIZE_MAX + 1, "size is not one"},
        {0x80, RAM_BASE + 8, "not aligned"},
        {0x90, RAM_BASE + 0x402, "not aligned"},
        {0xa0, RAM_BASE + 0x802, "not aligned"},
        {0x80, 0, "outside"},
        {0x90, 0, "outside"},
        {0xa0, 0, "outside"},
        {0x84, 1, "outside"},
        {0x80, RAM_BASE + RAM_BYTES - 48, "outside"},
        {0x90, RAM_BASE + RAM_BYTES, "outside"},
        {0xa0, RAM_BASE + RAM_BYTES, "outside"},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        start_packed(4, 0);
        set(0x70, 0);
        negotiate(PACKED | VERSION_1);
        set(0x30, 0);
        set(0x38, 4);
        set(0x80, RAM_BASE);
        set(0x90, RAM_BASE + 0x400);
        set(0xa0, RAM_BASE + 0x800);
        set(cases[i].offset, cases[i].value);
        set(0x44, 1);
        CHECK(failed());
        CHECK(strstr(text, cases[i].why));
        EXPECT(get(0x44), 0);
    }
}

/* ---- Random rings -------------------------------------------------------------------------------- */

static void scribble(uint64_t random)
{
    struct place *at = place_at(random >> 8 & 63);
    switch (random & 15) {
    case 0: at->address = unit_random(); break;
    case 1: at->address = DATA + (random >> 32 & 0x7fff); break;
    case 2: at->size_bytes = (uint32_t)(random >> 32); break;
    case 3: at->size_bytes = random >> 32 & 0xff; break;
    case 4: at->flags = (uint16_t)(random >> 32); break;
    case 5: at->id = (uint16_t)(random >> 32); break;
    case 6: *driver_event() = (uint32_t)(random >> 32); break;
    case 7: *data(random >> 32 & 0x7fff) = (uint8_t)(random >> 16); break;
    case 8: set(0x70, random >> 32 & 1 ? 0 : 15); break;
    case 9:
        put(DATA + (random >> 32 & 0xfff), random >> 48 & 0xf0, INDIRECT, random >> 16 & 15);
        break;
    default:
        put(DATA + (random >> 32 & 0xfff), random >> 48 & 0xff,
            (uint16_t)((random >> 12 & NEXT) | WRITE), random >> 16 & 15);
    }
}

TEST(virtio_packed_fuzz,
     "whatever a ring holds, the device reads and writes where it may, and a reset helps")
{
    for (unsigned round = 0; round < 6000; round++) {
        unsigned size = 1 + (unsigned)(unit_random() % 64);
        start_packed(size, unit_random() & (WITH_EVENTS | WITH_TABLES));
        struct virtio_queue *queue = &source.device.queues[0];
        uint16_t out[64], count = 0;
        struct virtio_chain chain;
        for (unsigned i = 0; i < 60; i++) {
            uint64_t random = unit_random();
            scribble(random);
            if (!queue->ready)
                break;
            switch (random >> 60) {
            case 0:
            case 1:
                if (count < 64 && virtio_queue_take(queue, &chain)) {
                    CHECK(chain.head < size);
                    out[count++] = chain.head;
                }
                break;
            case 2:
            case 3:
                if (count) {
                    uint16_t n = (uint16_t)(random >> 20) % count;
                    CHECK(virtio_queue_look(queue, out[n], &chain) || failed());
                    virtio_queue_give(queue, out[n], random >> 24 & 0xff);
                    out[n] = out[--count];
                }
                break;
            case 4: virtio_queue_signal(queue); break;
            default: ring(0); break;
            }
            CHECK(queue->next_available < 2 * size && queue->next_used < 2 * size);
        }
        set(0x70, 0);
        negotiate(PACKED | VERSION_1);
        memset(ram, 0, 4096);
        set_ring(size);
        set(0x70, 15);
        put(DATA, 64, WRITE, 0);
        ring(0);
        CHECK(take_used(0, 64, 1));
    }
}
