/*
 * The block server's state. One thread does everything; `server` in main.c is the only instance.
 *
 * A request: client ring -> client_next (client.c: whose turn it is, checked) -> request_start (request.c: cut
 * into what memory answers, and commands for the disk) -> disk_submit (disk.c) -> driver; then back through
 * the command's `done` to client_complete, which writes the completion.
 */
#ifndef BLOCK_SERVER_SERVER_H
#define BLOCK_SERVER_SERVER_H

#include "changes.h"
#include "disk.h"
#include "protocol/block.h"
#include "ring.h"

struct client;
struct probe;
struct server;

/* What a volume is on this machine. */
struct volume {
    const struct plan_volume *plan;
    bool pending;        /* it is not known yet: its disk is being looked for */
    const char *problem; /* why there is none; NULL: there is */
    struct disk *disk;   /* NULL: memory at `file` */
    const uint8_t *file;
    uint64_t first, sectors; /* on the disk */
};

/* Where in its segments a request is. */
struct cursor {
    uint32_t segment, within;
};

struct request {
    struct disk_command command;
    struct client *client;
    struct request *next_free;
    uint64_t id, sector;
    uint32_t operation, flags;
    uint32_t sectors, done; /* all of it, and what has been done */
    uint32_t bounced_bytes; /* of the command that is under way */
    bool flushing; /* the command that is under way is the flush of a write with BLOCK_FUA */
    uint32_t segment_count;
    struct cursor cursor, after; /* before and behind the command that is under way */
    struct block_segment segments[BLOCK_SEGMENTS_MAX];
};

/* A limit on something a second: the time at which all that was let through is paid for. */
struct rate {
    uint64_t per_second; /* 0: none */
    uint64_t paid;       /* TSC */
};

struct client {
    struct server *server;
    unsigned number;
    bool attached;
    bool broken; /* it broke the rules: nothing is taken from it any more */
    bool waits_for_room;
    char name[TASK_NAME_MAX];
    uint64_t ring_bits;
    struct volume *volume;
    struct block_volume about; /* what the volume is to it; without a generation */
    struct lane *lane;
    struct changes changes; /* of a private volume */
    uint8_t *channel, *memory;
    uint64_t memory_bytes;
    unsigned extent_count;
    struct service_extent extents[SERVICE_EXTENTS_MAX];
    uint32_t generation;
    unsigned in_flight;
    struct ring requests, completions;
    struct rate bytes_rate, requests_rate;
    uint64_t credit;        /* bytes that it may still move before it is another's turn */
    struct request *staged; /* the next request; taken from the ring if `is_staged` */
    bool is_staged;
};

/* Clients that want the same disk, or memory, and whose turn it is. */
struct lane {
    struct disk *disk; /* NULL: memory */
    uint32_t ready;    /* bit n: client n may have requests */
    unsigned turn;
};
#define LANES_MAX   (DISKS_MAX + 1)
#define LANE_MEMORY DISKS_MAX

struct server {
    unsigned disk_count, volume_count;
    struct disk *disks[DISKS_MAX];
    struct volume volumes[PLAN_VOLUMES_MAX];
    struct client clients[SERVICE_CLIENTS_MAX];
    struct lane lanes[LANES_MAX];
    struct probe *probes; /* those that go on, and those that wait for an earlier one */
    struct request *free; /* as many as all disks take at once */
    struct block_server_status *status;
    uint64_t now; /* TSC, as of the last look */
    uint64_t ticks_per_ms;
    /* Bit n: client n */
    uint32_t served;    /* is attached, keeps the rules, and is not to go */
    uint32_t detaching; /* is to go when nothing of it is in flight */
    uint32_t to_ring;   /* has had something since it was rung */
    uint32_t limited;   /* waits for its rate, */
    uint64_t resume;    /* the first of them until then */
};

/* ---- volume.c ----------------------------------------------------------------------------------------------- */

/* At the start: what is in images is there, what is on disks is pending. */
void volumes_begin(struct server *server, const struct block_start *start);
/* A disk has got its number: finds the volumes on it. read: as in struct table_reader. */
void volumes_of_disk(struct server *server, unsigned number,
                     bool (*read)(struct disk *disk, uint64_t sector, void *data));
/* No further disk comes: what is still pending is not there. */
void volumes_end(struct server *server);
bool volumes_pending(const struct server *server);

/* ---- client.c ----------------------------------------------------------------------------------------------- */

/* Root's requests; each returns an enum service_error. channel, memory: where this task sees them. */
unsigned client_attach(struct server *server, const uint64_t w[4],
                       const struct service_attach *attach, void *channel, void *memory,
                       void *changes);
/* It ends when client_is_gone says its number. */
unsigned client_detach(struct server *server, uint64_t number);
/* The volume is there: those that wait for it begin. */
void clients_begin(struct server *server, const struct volume *volume);
/* One of those that are to go, and of whom no device has anything any more. */
bool client_is_gone(struct server *server, unsigned *number);

/* Its doorbell was rung. */
void client_rung(struct server *server, unsigned number);
/* Takes and starts requests, in turns. True: there is more to do at once. */
bool clients_work(struct server *server);
/* Rings those that have completions and want to be rung. */
void clients_ring(struct server *server);
/* Before waiting: false if a client has something after all; else they will ring. */
bool clients_wait(struct server *server);
/* The request is done: the completion goes to the client, the request back to those that are free. */
void client_complete(struct request *request, unsigned status);

/* ---- request.c ---------------------------------------------------------------------------------------------- */

/* Begins a checked request of a client, and ends it at once if memory alone is concerned. */
void request_start(struct request *request);

/* ---- main.c (host tests have their own) ---------------------------------------------------------------------- */

void server_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
void server_ring(const struct client *client);
void *server_allocate(size_t size_bytes);

#endif
