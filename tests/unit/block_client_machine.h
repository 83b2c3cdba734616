/* The block server's clients and a disk, in the test. */
#ifndef BLOCK_CLIENT_MACHINE_H
#define BLOCK_CLIENT_MACHINE_H

#include "unit_test.h"

#include <stdarg.h>
#include <stdbool.h>

#include "block-server/server.h"

/*
 * The server without its main loop, on a disk that is an array: it keeps commands as long as the test likes and ends
 * them in any order. Physical addresses of clients' memory are not where the process sees it.
 */
#define SECTORS     512u
#define MEMORY      65536u
#define CLIENTS     3u
#define PHYSICAL(n) (0x100000000ull * ((n) + 1))
#define CHANGES     (32u * 4096u)
#define BOUNCE      0x5000u
#define DEPTH       8u

static struct server server;
static struct block_server_status status;
static uint8_t *channels[CLIENTS], *memories[CLIENTS], *changes[CLIENTS];
static unsigned rings[CLIENTS], log_lines;
static struct plan_volume plans[3] = {
    {.name = "whole", .access = PLAN_ACCESS_READ_WRITE},
    {.name = "mine", .access = PLAN_ACCESS_PRIVATE, .changes_bytes = CHANGES},
    {.name = "image", .disk = PLAN_DISK_NONE, .access = PLAN_ACCESS_READ_ONLY}};

void server_log(const char *format, ...)
{
    (void)format;
    log_lines++;
}

void server_ring(const struct client *client)
{
    rings[client->number]++;
}

static struct request arena[16];
static unsigned arena_used;

void *server_allocate(size_t size_bytes)
{
    EXPECT(size_bytes, sizeof *arena);
    CHECK(arena_used < sizeof arena / sizeof *arena);
    return memset(&arena[arena_used++], 0, size_bytes);
}

/* ---- the disk ---- */

struct held {
    struct disk_command *command;
    unsigned count;
    struct dma_piece pieces[DISK_PIECES_MAX];
};
static struct {
    struct disk disk;
    uint8_t data[SECTORS * 512];
    bool cached[SECTORS]; /* written and not flushed */
    struct held held[DEPTH];
    unsigned count, submitted, resets, flushes;
    bool dies;
    uint64_t returns_at; /* after a reset */
} disk;
static uint8_t bounce[4096];

static inline uint8_t *reach(uint64_t physical, uint64_t size_bytes)
{
    if (physical >= BOUNCE && physical + size_bytes <= BOUNCE + sizeof bounce)
        return bounce + (physical - BOUNCE);
    for (unsigned n = 0; n < CLIENTS; n++)
        if (physical >= PHYSICAL(n) && physical + size_bytes <= PHYSICAL(n) + 2 * MEMORY) {
            /* Two halves, with a hole between. */
            uint64_t offset = physical - PHYSICAL(n);
            if (offset + size_bytes <= MEMORY / 2)
                return memories[n] + offset;
            CHECK(offset >= MEMORY && offset + size_bytes <= MEMORY + MEMORY / 2);
            return memories[n] + offset - MEMORY / 2;
        }
    unit_fail(__FILE__, __LINE__, "the disk was given memory of nobody");
}

static inline bool disk_take(struct disk *of, struct disk_command *command,
                             const struct dma_piece *pieces, unsigned count)
{
    CHECK(of->in_flight < of->depth && disk.count < of->depth && count <= of->pieces_max);
    struct held *held = &disk.held[disk.count++];
    held->command = command;
    held->count = count;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        held->pieces[i] = pieces[i];
        CHECK(disk_reaches(of, &pieces[i]) && pieces[i].size_bytes > 0 &&
              pieces[i].size_bytes <= of->piece_bytes_max);
        bytes += pieces[i].size_bytes;
    }
    if (command->operation == BLOCK_READ || command->operation == BLOCK_WRITE) {
        EXPECT(bytes, command->sectors * 512ull);
        CHECK(bytes > 0 && bytes <= of->bytes_max);
    }
    CHECK(command->sector + command->sectors <= SECTORS);
    disk.submitted++;
    return true;
}

static inline void disk_end(unsigned n, unsigned with)
{
    struct held held = disk.held[n];
    disk.held[n] = disk.held[--disk.count];
    uint8_t *at = disk.data + held.command->sector * 512;
    for (unsigned i = 0; i < held.count && with == BLOCK_OK; i++) {
        uint8_t *memory = reach(held.pieces[i].physical, held.pieces[i].size_bytes);
        if (held.command->operation == BLOCK_READ)
            memcpy(memory, at, held.pieces[i].size_bytes);
        else
            memcpy(at, memory, held.pieces[i].size_bytes);
        at += held.pieces[i].size_bytes;
    }
    if (held.command->operation == BLOCK_WRITE_ZEROES)
        memset(at, 0, held.command->sectors * 512);
    if (held.command->operation == BLOCK_FLUSH) {
        disk.flushes++;
        memset(disk.cached, 0, sizeof disk.cached);
    } else if (held.command->operation != BLOCK_READ) {
        memset(&disk.cached[held.command->sector], 1, held.command->sectors);
    }
    disk_finish(held.command, with);
}

static inline void disk_nothing(struct disk *of)
{
    (void)of;
}

static inline bool disk_waits(struct disk *of)
{
    (void)of;
    return true;
}

static inline void disk_reset(struct disk *of)
{
    (void)of;
    disk.resets++;
    disk.count = 0;
}

static inline enum disk_progress disk_resume(struct disk *of, uint64_t *look)
{
    (void)of;
    *look = server.now + 1000;
    return disk.returns_at > server.now ? DISK_WAITS : disk.dies ? DISK_GONE : DISK_READY;
}

static const struct disk_operations operations = {
    disk_take, disk_nothing, disk_nothing, disk_nothing, disk_waits, disk_reset, disk_resume};

/* ---- the clients' side ---- */

static struct ring requests[CLIENTS], completions[CLIENTS];

static inline struct block_volume *volume_page(unsigned n)
{
    return (struct block_volume *)channels[n];
}

static inline unsigned attach(unsigned n, unsigned volume)
{
    struct service_attach words = {.name = "guest", .extents = 2};
    words.extent[0] = (struct service_extent){0, PHYSICAL(n), MEMORY / 2};
    words.extent[1] = (struct service_extent){MEMORY / 2, PHYSICAL(n) + MEMORY, MEMORY / 2};
    const uint64_t w[4] = {n, volume, 1, 0};
    return client_attach(&server, w, &words, channels[n], memories[n], changes[n]);
}

static inline void machine(void)
{
    static struct request pool[DEPTH];
    for (unsigned n = 0; n < CLIENTS; n++) {
        free(channels[n]), free(memories[n]), free(changes[n]);
        channels[n] = calloc(1, SERVICE_CHANNEL_BYTES);
        memories[n] = calloc(1, MEMORY);
        changes[n] = calloc(1, BLOCK_CHANGES_BYTES(CHANGES));
        rings[n] = 0;
        ring_join_writer(&requests[n], channels[n] + BLOCK_REQUESTS_OFFSET, BLOCK_REQUESTS_BYTES);
        ring_join_reader(&completions[n], channels[n] + BLOCK_COMPLETIONS_OFFSET,
                         BLOCK_COMPLETIONS_BYTES);
    }
    arena_used = 0;
    memset(&server, 0, sizeof server);
    memset(&status, 0, sizeof status);
    memset(&disk, 0, sizeof disk);
    for (unsigned i = 0; i < sizeof disk.data; i++)
        disk.data[i] = (uint8_t)(i / 512 * 7 + i);
    disk.disk = (struct disk){.operations = &operations,
                              .sectors = SECTORS,
                              .depth = DEPTH,
                              .pieces_max = 5,
                              .bytes_max = 16384,
                              .piece_bytes_max = 8192,
                              .flushes = true,
                              .discard_sectors_max = 64,
                              .zeroes_sectors_max = 64,
                              .physical_bytes = 512};
    server.disks[0] = &disk.disk;
    server.disk_count = 1;
    server.status = &status;
    server.ticks_per_ms = 1000;
    server.now = 1000000;
    server.volume_count = 3;
    static uint8_t image[SECTORS * 512];
    memcpy(image, disk.data, sizeof image);
    server.volumes[0] = (struct volume){.plan = &plans[0], .disk = &disk.disk, .sectors = SECTORS};
    server.volumes[1] =
        (struct volume){.plan = &plans[1], .disk = &disk.disk, .first = 100, .sectors = 240};
    server.volumes[2] = (struct volume){.plan = &plans[2], .file = image, .sectors = SECTORS};
    for (unsigned i = 0; i < DEPTH; i++) {
        pool[i].next_free = server.free;
        server.free = &pool[i];
    }
    log_lines = 0;
}

static inline void ask(unsigned n, struct block_request request,
                       const struct block_segment *segments)
{
    uint8_t entry[sizeof request + BLOCK_SEGMENTS_MAX * sizeof *segments];
    size_t size_bytes = sizeof request + request.segments * sizeof *segments;
    if (!request.generation)
        request.generation = volume_page(n)->generation;
    memcpy(entry, &request, sizeof request);
    memcpy(entry + sizeof request, segments, request.segments * sizeof *segments);
    EXPECT(ring_write(&requests[n], entry, size_bytes), size_bytes);
    client_rung(&server, n);
}

static inline void work(void)
{
    for (unsigned i = 0; i < 200 && clients_work(&server); i++)
        ;
    clients_ring(&server);
}

static inline bool answered(unsigned n, struct block_completion *completion)
{
    return ring_read(&completions[n], completion, sizeof *completion) == sizeof *completion;
}

static inline unsigned answer_of(unsigned n, struct block_request request,
                                 const struct block_segment *segments)
{
    struct block_completion completion;
    ask(n, request, segments);
    work();
    while (disk.count) {
        disk_end(0, BLOCK_OK);
        work();
    }
    CHECK(answered(n, &completion));
    EXPECT(completion.id, request.id);
    CHECK(!answered(n, &completion));
    return completion.status;
}

#endif
