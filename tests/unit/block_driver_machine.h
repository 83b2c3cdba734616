/* A driver of the block server in the test: what its loop does with probes and disks, at a time that the test has. */
#ifndef BLOCK_DRIVER_MACHINE_H
#define BLOCK_DRIVER_MACHINE_H

#include "unit_test.h"

#include <stdbool.h>

#include "block-server/drivers.h"

#define MS       1000ull /* ticks */
#define PHYSICAL 0x100000u
#define AREA     131072u

static struct server server;
static struct block_server_status status;
static struct dma_area area;
static _Alignas(4096) uint8_t memory[AREA], arena[65536];
static size_t arena_used;
static void (*device)(void); /* what it does by itself as time goes by; NULL: nothing */

void server_log(const char *format, ...)
{
    (void)format;
}

void *server_allocate(size_t size_bytes)
{
    void *at = arena + arena_used;
    arena_used += (size_bytes + 63) & ~(size_t)63;
    CHECK(arena_used <= sizeof arena);
    return memset(at, 0, size_bytes);
}

static inline void begin_server(void)
{
    memset(memory, 0, sizeof memory);
    memset(&server, 0, sizeof server);
    area = (struct dma_area){.memory = {(uint64_t)memory, PHYSICAL, AREA}};
    arena_used = 0;
    server.status = &status;
    server.ticks_per_ms = MS;
    server.now = 5000 * MS;
}

/* Once. Returns when the loop wants to again. */
static inline uint64_t look_around(void)
{
    uint64_t until = UINT64_MAX;
    for (unsigned i = 0; i < server.disk_count; i++) {
        uint64_t next = disk_watch(server.disks[i], server.now, MS);
        until = next < until ? next : until;
    }
    probes_look(&server, &until);
    while (probes_take(&server))
        ;
    return until;
}

/* The same for so long, at the times that the drivers ask for; none may want to look without end. Returns how many. */
static inline unsigned pass(unsigned ms)
{
    uint64_t end = server.now + ms * MS;
    unsigned looks = 0;
    while (server.now < end) {
        if (device)
            device();
        uint64_t next = look_around();
        CHECK(++looks < 5000);
        if (next > server.now)
            server.now = next < end ? next : end;
    }
    return looks;
}

/* ---- commands of clients ---- */

#define COMMANDS 2u
static struct {
    struct disk_command command;
    unsigned dones, lost, result;
} asked[COMMANDS];

static inline void command_done(struct disk_command *command, unsigned with)
{
    const struct dma_piece piece = {PHYSICAL, 512, 0};
    for (unsigned i = 0; i < COMMANDS; i++) {
        if (command != &asked[i].command)
            continue;
        asked[i].dones++;
        asked[i].result = with;
        if (with != DISK_LOST)
            continue;
        asked[i].lost++;
        CHECK(disk_submit(command->disk, command, &piece, 1, server.now));
    }
}

static inline void ask(unsigned n, struct disk *disk)
{
    const struct dma_piece piece = {PHYSICAL, 512, 0};
    memset(&asked[n], 0, sizeof asked[n]);
    asked[n].command = (struct disk_command){
        .operation = BLOCK_WRITE, .sector = 7 + n, .sectors = 1, .done = command_done};
    CHECK(disk_has_room(disk));
    CHECK(disk_submit(disk, &asked[n].command, &piece, 1, server.now));
}

/* IDENTIFY DEVICE: LBA, DMA, 0x1000 sectors, a cache. */
static inline void identity(uint16_t words[256])
{
    memset(words, 0, 512);
    words[49] = 0x0300;
    words[60] = 0x1000;
    words[83] = 0x4000 | 1u << 12;
}

#endif
