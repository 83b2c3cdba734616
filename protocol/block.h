/*
 * The block server and its clients: a channel of SERVICE_CHANNEL_BYTES, made by root (service.h).
 *
 * The client writes requests (a struct block_request followed by its segments) into a ring of bytes, the server
 * answers with struct block_completion in another, in any order. Flush: everything that was completed before
 * the flush was submitted is on stable storage when the flush completes. A request with BLOCK_FUA is so itself.
 *
 * When the server is restarted, what its predecessor had not completed is lost: the new one sets a new
 * `generation`, drops what is in the ring from the old, and rings; the client submits everything that has no
 * completion again, in the old order. A request with another generation than the server's is dropped unanswered,
 * so nothing is done twice after it was completed once.
 */
#ifndef PROTOCOL_BLOCK_H
#define PROTOCOL_BLOCK_H

#include "grant.h"
#include "service.h"

#include "partition/plan.h"

#define BLOCK_SECTOR_BYTES 512u
#define BLOCK_SEGMENTS_MAX 128u
#define BLOCK_BYTES_MAX    (4u << 20) /* of one request */
#define BLOCK_REQUESTS_MAX 128u       /* of one client, not yet completed */

/* Offsets in the channel. The rings are struct ring_shared (lib/ring.h). */
#define BLOCK_VOLUME_OFFSET      0u
#define BLOCK_REQUESTS_OFFSET    4096u
#define BLOCK_REQUESTS_BYTES     32768u
#define BLOCK_COMPLETIONS_OFFSET 40960u
#define BLOCK_COMPLETIONS_BYTES  16384u

enum block_operation {
    BLOCK_READ = 1,
    BLOCK_WRITE = 2,
    BLOCK_FLUSH = 3,
    BLOCK_DISCARD = 4, /* `sectors` sectors, no segments */
    BLOCK_WRITE_ZEROES = 5,
};
#define BLOCK_FUA   1u
#define BLOCK_UNMAP 2u /* with WRITE_ZEROES: they may be given back */

struct block_request {
    uint32_t operation; /* enum block_operation */
    uint32_t flags;
    uint64_t id; /* the client's; comes back in the completion */
    uint64_t sector;
    uint32_t sectors; /* of DISCARD and WRITE_ZEROES; else the sum of the segments */
    uint32_t generation;
    uint32_t segments; /* so many struct block_segment follow */
    uint32_t reserved;
};

struct block_segment {
    uint64_t offset;     /* in the client's memory */
    uint64_t size_bytes; /* whole sectors */
};

enum block_status {
    BLOCK_OK = 0,
    BLOCK_IO_ERROR = 1,    /* the disk said so */
    BLOCK_UNSUPPORTED = 2, /* of this volume */
    BLOCK_READ_ONLY = 3,
    BLOCK_OUT_OF_RANGE =
        4, /* sectors beyond the end; segments beyond the client's memory, not whole sectors */
    BLOCK_NO_SPACE = 5, /* a private copy has no room for more changes */
};

struct block_completion {
    uint64_t id;
    uint32_t status; /* enum block_status */
    uint32_t reserved;
};

/* At BLOCK_VOLUME_OFFSET; written by the server. generation 0: there is no server yet. */
struct block_volume {
    uint32_t generation; /* written last */
    uint32_t flags;      /* BLOCK_VOLUME_* */
    uint64_t sectors;
    uint32_t logical_bytes, physical_bytes; /* block sizes; logical is 512 */
    uint32_t discard_sectors_max, zeroes_sectors_max;
    char serial[20]; /* not zero-terminated if it is full */
};
#define BLOCK_VOLUME_READ_ONLY 1u
#define BLOCK_VOLUME_FLUSH     2u /* it has a volatile cache: flushes mean something */
#define BLOCK_VOLUME_DISCARD   4u
#define BLOCK_VOLUME_ZEROES    8u

/*
 * The changes of a client of a private volume are in memory of root's, so that they outlive the client and the server:
 * zeroed when the client is made, and left as they are from then on. Before SERVICE_ATTACH root maps
 * BLOCK_CHANGES_BYTES(plan_volume.changes_bytes) at BLOCK_CHANGES_BASE + n * SERVICE_MEMORY_STRIDE.
 */
#define BLOCK_CHANGES_BASE       0x200000000000ull
#define BLOCK_CHANGE_BYTES       4096ull /* what a change takes at least */
#define BLOCK_CHANGE_TABLE_BYTES 16ull   /* for each of them, beside its data */
#define BLOCK_CHANGES_BYTES(bytes)                                                        \
    ((((bytes) / BLOCK_CHANGE_BYTES * BLOCK_CHANGE_TABLE_BYTES + 64 + 4095) & ~4095ull) + \
     (bytes) / BLOCK_CHANGE_BYTES * BLOCK_CHANGE_BYTES)

/* What root gives it of heap (struct task_start), and of memory for DMA (below 4 GiB). */
#define BLOCK_HEAP_BYTES(devices) (98304ull + (devices)*180224ull)
#define BLOCK_DMA_BYTES(devices)  (32768ull + (devices)*131072ull)

/* struct task_start.role of the block server. */
struct block_start {
    uint32_t device_count, volume_count;
    struct device_grant devices[DEVICES_MAX];
    struct device_memory memory;
    struct plan_volume volumes[PLAN_VOLUMES_MAX];
    /* Image files of volumes, read-only; 0: not from a file. Same index as volumes. */
    struct {
        uint64_t address, size_bytes, physical;
    } files[PLAN_VOLUMES_MAX];
    uint64_t status_address; /* struct block_server_status, written by the server, read by root */
};

struct block_disk_status {
    uint64_t sectors;
    char name[TASK_NAME_MAX]; /* "virtio-blk 00:03.0" */
};

struct block_client_status {
    uint64_t reads, writes, flushes, read_bytes, written_bytes, errors;
};

/* Counts since the server began; root believes nothing of it. */
struct block_server_status {
    uint32_t disks, reserved;
    struct block_disk_status disk[8];
    struct block_client_status client[SERVICE_CLIENTS_MAX];
};
_Static_assert(sizeof(struct block_server_status) <= 4096, "the status is one page");

#endif
