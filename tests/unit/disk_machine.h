/* A PC's memory, ports and interrupt lines, with block servers, for the controllers of old disks. */
#ifndef DISK_MACHINE_H
#define DISK_MACHINE_H

#include "unit_test.h"

#include "disk.h"

#include <stdbool.h>

#define RAM_BYTES 0x200000u
#define BUFFERS   0xa0000u
#define SERVERS   4u
#ifndef SECTORS_MAX
#define SECTORS_MAX 4096u
#endif

static uint8_t ram[RAM_BYTES] __attribute__((aligned(4096)));
static struct guest_memory memory;
static struct bus ports;
static struct device_host host;
static char text[4096];
static size_t text_count;
static int held;

/* ---- Interrupt lines --------------------------------------------------------------------------- */

static struct test_line {
    struct interrupt_line line;
    bool high;
    unsigned edges;
} lines[2];

static inline void set_line(struct interrupt_line *line, bool high)
{
    struct test_line *of = (struct test_line *)line;
    of->edges += high && !of->high;
    of->high = high;
}

/* ---- Servers ------------------------------------------------------------------------------------- */

struct request_entry {
    struct block_request request;
    struct block_segment segments[BLOCK_SEGMENTS_MAX];
};

static struct server {
    uint64_t channel[SERVICE_CHANNEL_BYTES / 8];
    uint8_t data[SECTORS_MAX * 512];
    struct ring requests, completions;
    struct request_entry last;
    unsigned bells, taken;
    uint32_t status; /* of all answers */
} servers[SERVERS];
static bool answers_at_once;

static inline struct block_volume *volume_of(unsigned n)
{
    return (struct block_volume *)servers[n].channel;
}

/* Takes one request; checks what a server would drop a client for. */
static inline bool server_take(unsigned n)
{
    struct server *server = &servers[n];
    struct block_request *request = &server->last.request;
    uint64_t total = 0;
    if (ring_read(&server->requests, request, sizeof *request) == 0)
        return false;
    CHECK(request->segments <= BLOCK_SEGMENTS_MAX);
    size_t bytes = request->segments * sizeof *server->last.segments;
    EXPECT(ring_read(&server->requests, server->last.segments, bytes), bytes);
    for (unsigned i = 0; i < request->segments; i++) {
        const struct block_segment *segment = &server->last.segments[i];
        CHECK(segment->size_bytes && segment->size_bytes % 512 == 0);
        CHECK(segment->offset < RAM_BYTES && segment->size_bytes <= RAM_BYTES - segment->offset);
        total += segment->size_bytes;
    }
    CHECK(request->operation >= BLOCK_READ && request->operation <= BLOCK_FLUSH);
    CHECK(request->operation != BLOCK_FLUSH || (request->sector == 0 && request->sectors == 0));
    EXPECT(total, request->sectors * 512ull);
    CHECK(total <= BLOCK_BYTES_MAX && request->id < BLOCK_REQUESTS_MAX);
    CHECK(request->sector <= volume_of(n)->sectors &&
          request->sectors <= volume_of(n)->sectors - request->sector);
    EXPECT(request->generation, volume_of(n)->generation);
    server->taken++;
    return true;
}

static inline void server_answer(unsigned n)
{
    struct server *server = &servers[n];
    const struct request_entry *entry = &server->last;
    const struct block_completion completion = {entry->request.id, server->status, 0};
    uint8_t *at = server->data + entry->request.sector * 512;
    for (unsigned i = 0; server->status == BLOCK_OK && i < entry->request.segments; i++) {
        const struct block_segment *segment = &entry->segments[i];
        if (entry->request.operation == BLOCK_READ)
            memcpy(ram + segment->offset, at, segment->size_bytes);
        else
            memcpy(at, ram + segment->offset, segment->size_bytes);
        at += segment->size_bytes;
    }
    EXPECT(ring_write(&server->completions, &completion, sizeof completion), sizeof completion);
}

static inline void server_run(unsigned n)
{
    while (server_take(n))
        server_answer(n);
}

static inline void bell(unsigned number)
{
    servers[number].bells++;
    if (answers_at_once) {
        server_run(number);
        ring_reader_waits(&servers[number].requests);
    }
}

/* A server comes, or comes again. */
static inline void server_begin(unsigned n, uint32_t generation)
{
    struct server *server = &servers[n];
    char gone[64];
    ring_join_reader(&server->requests, (char *)server->channel + BLOCK_REQUESTS_OFFSET,
                     BLOCK_REQUESTS_BYTES);
    ring_join_writer(&server->completions, (char *)server->channel + BLOCK_COMPLETIONS_OFFSET,
                     BLOCK_COMPLETIONS_BYTES);
    while (ring_read(&server->requests, gone, sizeof gone))
        ;
    ring_reader_waits(&server->requests);
    volume_of(n)->generation = generation;
}

static inline struct device_peer start_server(unsigned n, uint64_t sectors, uint32_t flags)
{
    struct server *server = &servers[n];
    memset(server, 0, sizeof *server);
    *volume_of(n) =
        (struct block_volume){0, flags, sectors, 512, 4096, 0, 0, "0123456789abcdefghi"};
    for (unsigned i = 0; i < sizeof server->data; i++)
        server->data[i] = (uint8_t)(i / 512 * 7 + i + n);
    server_begin(n, 1);
    return (struct device_peer){server->channel, ram, n, bell};
}

/* ---- The machine --------------------------------------------------------------------------------- */

static inline void log_write(struct sink *sink, const char *data, size_t count)
{
    (void)sink;
    CHECK(text_count + count < sizeof text);
    memcpy(text + text_count, data, count);
    text[text_count += count] = 0;
}

static inline void hold_guest(struct device_host *of, bool on)
{
    EXPECT(of, &host);
    held += on ? 1 : -1;
    CHECK(held >= 0 && held <= (int)SERVERS);
}

static inline void start_board(void)
{
    static struct sink log = {.write = log_write};
    memset(ram, 0, sizeof ram);
    memset(&ports, 0, sizeof ports);
    memset(&memory, 0, sizeof memory);
    memory.regions[0].size_bytes = RAM_BYTES;
    memory.regions[0].host = ram;
    memory.count = 1;
    host =
        (struct device_host){.ports = &ports, .memory = &memory, .log = &log, .hold = hold_guest};
    for (unsigned i = 0; i < 2; i++)
        lines[i] = (struct test_line){.line = {set_line}};
    text_count = 0;
    held = 0;
    answers_at_once = true;
}

static inline uint32_t in(uint16_t port, unsigned size_bytes)
{
    uint64_t value = 0;
    CHECK(bus_read(&ports, port, size_bytes, &value));
    return (uint32_t)value;
}

static inline void out(uint16_t port, unsigned size_bytes, uint32_t value)
{
    CHECK(bus_write(&ports, port, size_bytes, value));
}

#endif
