/* A virtio disk, with its server and a driver in the test. */
#ifndef VIRTIO_BLOCK_MACHINE_H
#define VIRTIO_BLOCK_MACHINE_H

#define SIZE 64u
#include "virtio_machine.h"

#include "devices/virtio_block.h"

/* ---- The server ------------------------------------------------------------------------------ */

#define SECTORS 64u

static uint64_t channel[SERVICE_CHANNEL_BYTES / 8];
static struct block_volume *const volume = (struct block_volume *)channel;
static uint8_t disk_data[SECTORS * 512];
static struct virtio_block disk;
static struct ring requests, completions;
static unsigned bells;
static int held;
static bool answers_at_once;

static struct entry {
    struct block_request request;
    struct block_segment segments[BLOCK_SEGMENTS_MAX];
} taken[200];
static unsigned taken_count;

/* Takes one; checks what a server would drop a client for. */
static inline bool server_take(void)
{
    struct entry *entry = &taken[taken_count % 200];
    struct block_request *request = &entry->request;
    uint64_t total = 0;
    if (ring_read(&requests, request, sizeof *request) == 0)
        return false;
    CHECK(request->segments <= BLOCK_SEGMENTS_MAX);
    size_t bytes = request->segments * sizeof *entry->segments;
    EXPECT(ring_read(&requests, entry->segments, bytes), bytes);
    for (unsigned i = 0; i < request->segments; i++) {
        const struct block_segment *segment = &entry->segments[i];
        CHECK(segment->size_bytes && segment->size_bytes % 512 == 0);
        CHECK(segment->offset < RAM_BYTES && segment->size_bytes <= RAM_BYTES - segment->offset);
        total += segment->size_bytes;
    }
    if (request->operation <= BLOCK_WRITE)
        EXPECT(total, request->sectors * 512ull);
    CHECK(request->operation >= BLOCK_READ && request->operation <= BLOCK_WRITE_ZEROES);
    CHECK(request->sector <= SECTORS && request->sectors <= SECTORS - request->sector);
    CHECK(total <= disk.part_sectors * 512ull && request->id < BLOCK_REQUESTS_MAX);
    EXPECT(request->generation, volume->generation);
    taken_count++;
    return true;
}

static inline void server_move(const struct entry *entry)
{
    uint8_t *at = disk_data + entry->request.sector * 512;
    for (unsigned i = 0; i < entry->request.segments; i++) {
        const struct block_segment *segment = &entry->segments[i];
        if (entry->request.operation == BLOCK_READ)
            memcpy(ram + segment->offset, at, segment->size_bytes);
        else
            memcpy(at, ram + segment->offset, segment->size_bytes);
        at += segment->size_bytes;
    }
    if (entry->request.operation >= BLOCK_DISCARD)
        memset(at, 0, entry->request.sectors * 512);
}

static inline void server_answer(const struct entry *entry, uint32_t status)
{
    const struct block_completion completion = {entry->request.id, status, 0};
    if (status == BLOCK_OK)
        server_move(entry);
    EXPECT(ring_write(&completions, &completion, sizeof completion), sizeof completion);
}

/* Takes and answers all there is. */
static inline void server_run(void)
{
    while (server_take())
        server_answer(&taken[(taken_count - 1) % 200], BLOCK_OK);
}

static inline void bell(unsigned number)
{
    EXPECT(number, 3);
    bells++;
    if (answers_at_once) {
        server_run();
        ring_reader_waits(&requests);
    }
}

static inline void server_begin(uint32_t generation)
{
    ring_join_reader(&requests, (char *)channel + BLOCK_REQUESTS_OFFSET, BLOCK_REQUESTS_BYTES);
    ring_join_writer(&completions, (char *)channel + BLOCK_COMPLETIONS_OFFSET,
                     BLOCK_COMPLETIONS_BYTES);
    char gone[64];
    while (ring_read(&requests, gone, sizeof gone))
        ;
    ring_reader_waits(&requests);
    volume->generation = generation;
}

static inline void hold_guest(struct device_host *of, bool on)
{
    EXPECT(of, &host);
    held += on ? 1 : -1;
    CHECK(held >= 0 && held <= 2);
}

#define ALL_FLAGS (BLOCK_VOLUME_FLUSH | BLOCK_VOLUME_DISCARD | BLOCK_VOLUME_ZEROES)

/* Features of the driver: what the device offers, and these of the ring. */
static inline void start_disk(uint32_t flags, uint64_t ring_features)
{
    const struct device_peer peer = {channel, ram, 3, bell};
    start_machine();
    memset(channel, 0, sizeof channel);
    *volume = (struct block_volume){0, flags, SECTORS, 512, 4096, 16, 32, "0123456789abcdefghi"};
    volume->serial[19] = 'j';
    for (unsigned i = 0; i < sizeof disk_data; i++)
        disk_data[i] = (uint8_t)(i / 512 + i);
    bells = taken_count = 0;
    held = 0;
    answers_at_once = false;
    host.hold = hold_guest;
    server_begin(7);
    virtio_block_init(&disk, &host, &peer, 2, &line);
    CHECK(virtio_mmio_attach(&disk.device, NULL, 0xd0000000));
    drive(disk.device.features | ring_features, 2);
}

/* ---- The driver ------------------------------------------------------------------------------ */

enum { IN = 0, OUT = 1, FLUSH = 4, GET_ID = 8, DISCARD = 11, ZEROES = 13 };

struct header {
    uint32_t type, reserved;
    uint64_t sector;
};

#define STATUS_AT 0x7000u

/* Chain n of a queue: header and status in places of their own, the data at `offset` of the data. */
static inline void request(unsigned queue, unsigned n, uint32_t type, uint64_t sector,
                           unsigned offset, uint32_t size_bytes)
{
    bool in = type == IN || type == GET_ID;
    *(struct header *)data(0x6000 + n * 16) = (struct header){type, 0, sector};
    *data(STATUS_AT + n) = 0xee;
    describe(queue, n * 3, DATA + 0x6000 + n * 16, 16, NEXT,
             (uint16_t)(n * 3 + (size_bytes ? 1 : 2)));
    describe(queue, n * 3 + 1, DATA + offset, size_bytes, (in ? WRITE : 0) | NEXT,
             (uint16_t)(n * 3 + 2));
    describe(queue, n * 3 + 2, DATA + STATUS_AT + n, 1, WRITE, 0);
    offer(queue, (uint16_t)(n * 3));
}

static inline uint8_t status_of(unsigned n)
{
    return *data(STATUS_AT + n);
}

/* Asks, and gives the answer of the device, which asks the server or not. */
static inline uint8_t ask(uint32_t type, uint64_t sector, uint32_t size_bytes)
{
    request(0, 0, type, sector, 0, size_bytes);
    ring(0);
    server_run();
    virtio_block_attend(&disk);
    return status_of(0);
}

#endif
