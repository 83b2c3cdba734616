/*
 * virtio-blk over a channel to the block server.
 *
 * State:    the volume (disk.h); of each chain that has no answer yet, where the driver wants it.
 * Features: SIZE_MAX, SEG_MAX, BLK_SIZE, TOPOLOGY, MQ; RO, FLUSH, DISCARD, WRITE_ZEROES as the volume has them; GET_ID;
 *           a volume that changes its size; CONFIG_WCE where there is FLUSH. A driver that knows neither gets every write
 *           on stable storage.
 * Missing:  GEOMETRY, LIFETIME, SECURE_ERASE, zones; discards of several
 *           ranges in one request; buffers that are cut within a sector, which get VIRTIO_BLK_S_IOERR.
 * Spec:     OASIS VIRTIO 1.2, section 5.2.
 *
 * A request goes into the channel as it comes out of the queue; without room in the channel it stays in the queue. When
 * the server is restarted, requests without an answer are read from the guest's rings once more, and checked once more.
 * A driver that has not agreed on SIZE_MAX and SEG_MAX, as firmware, asks for as much as it likes: the server gets such
 * a transfer in parts, one after the other, and the chain is read and checked anew for each.
 *
 * A driver that turns the cache off flushes no more, neither what it has written before: that is flushed here, and the
 * guest is held until it is on the disk.
 */
#include "devices/virtio_block.h"

#include "string.h"

#include <stddef.h>

#define SIZE_MAX_BYTES 65536u
#define SEGMENTS_MAX   (VIRTIO_SEGMENTS_MAX - 2) /* beside header and status */
#define ID_BYTES       20u
/* What a used element's length, which counts the status too, can tell of. */
#define TRANSFER_BYTES_MAX (UINT32_MAX - BLOCK_SECTOR_BYTES)
#define RANGE_FLAG_FREE    1u /* of a range of WRITE_ZEROES */

_Static_assert((uint64_t)SEGMENTS_MAX *SIZE_MAX_BYTES <= BLOCK_BYTES_MAX, "one part is enough");
_Static_assert(VIRTIO_SEGMENTS_MAX <= DISK_SEGMENTS_MAX, "a chain fits into a request");

/* 5.2.3 */
enum {
    FEATURE_SIZE_MAX = 1,
    FEATURE_SEG_MAX = 2,
    FEATURE_READ_ONLY = 5,
    FEATURE_BLK_SIZE = 6,
    FEATURE_FLUSH = 9,
    FEATURE_TOPOLOGY = 10,
    FEATURE_CONFIG_WCE = 11,
    FEATURE_MQ = 12,
    FEATURE_DISCARD = 13,
    FEATURE_WRITE_ZEROES = 14,
};

/* 5.2.4 */
struct block_config {
    uint64_t capacity;
    uint32_t size_max, seg_max;
    uint8_t geometry[4];
    uint32_t blk_size;
    uint8_t physical_block_exponent, alignment_offset;
    uint16_t min_io_size;
    uint32_t opt_io_size;
    uint8_t writeback, unused;
    uint16_t num_queues;
    uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
    uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap, unused1[3];
};
_Static_assert(sizeof(struct block_config) == 64, "5.2.4, rounded up to whole words of 8 bytes");
#define CONFIG_BYTES 60u
#define CONFIG_CACHE offsetof(struct block_config, writeback)

/* 5.2.6 */
enum {
    TYPE_IN = 0,
    TYPE_OUT = 1,
    TYPE_FLUSH = 4,
    TYPE_GET_ID = 8,
    TYPE_DISCARD = 11,
    TYPE_ZEROES = 13
};
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

struct block_header {
    uint32_t type, reserved;
    uint64_t sector;
};

struct block_range {
    uint64_t sector;
    uint32_t sectors, flags;
};

/* What becomes of a chain: an answer of ours, or */
#define TO_SERVER (-1)

static struct virtio_block *block_of(struct virtio_device *device)
{
    return (struct virtio_block *)device; /* its first member */
}

static struct virtio_block *block_of_disk(struct disk *disk)
{
    return (struct virtio_block *)((char *)disk - offsetof(struct virtio_block, disk));
}

/* ---- from a chain to a request -------------------------------------------------------------------- */

/* The buffers of a read or a write, without header and status; those that lie behind each other in memory are one piece.
 * This runs for each page of each request. */
static int fill_transfer(struct virtio_block *block, const struct virtio_chain *chain,
                         struct virtio_cursor from, bool read, struct disk_entry *entry)
{
    const uint8_t *memory = block->disk.peer.memory;
    const struct virtio_segment *next = chain->segments + (read ? chain->readable : from.segment);
    const struct virtio_segment *end =
        chain->segments + chain->readable + (read ? chain->writable : 0);
    struct block_segment *to = entry->segments;
    struct block_request *request = &entry->request;
    uint64_t first = 0, behind = 0, total = 0, odd = 0;
    if (next < end) {
        uint64_t offset = (uint64_t)(next->data - memory);
        first = read ? offset : offset + from.offset;
        behind = offset + next->size_bytes;
        next++;
    }
    for (; next < end; next++) {
        uint64_t offset = (uint64_t)(next->data - memory);
        if (offset != behind) {
            *to++ = (struct block_segment){first, behind - first};
            odd |= behind - first;
            total += behind - first;
            first = behind = offset;
        }
        behind += next->size_bytes;
    }
    behind -= read; /* the byte for the status */
    if (behind != first)
        *to++ = (struct block_segment){first, behind - first};
    odd |= behind - first;
    total += behind - first;
    if (odd % BLOCK_SECTOR_BYTES || total == 0 || total > TRANSFER_BYTES_MAX)
        return S_IOERR;
    request->segments = (uint32_t)(to - entry->segments);
    request->sectors = (uint32_t)(total / BLOCK_SECTOR_BYTES);
    if (!disk_holds(&block->disk, request->sector, request->sectors))
        return S_IOERR;
    return TO_SERVER;
}

/* 5.2.6.2: flags that are not known are not supported, and a discard has none. */
static int fill_range(struct virtio_block *block, const struct virtio_chain *chain,
                      struct virtio_cursor from, bool discard, struct block_request *request)
{
    const struct block_volume *volume = &block->disk.volume;
    uint32_t max = discard ? volume->discard_sectors_max : volume->zeroes_sectors_max;
    struct block_range range;
    if (!(volume->flags & (discard ? BLOCK_VOLUME_DISCARD : BLOCK_VOLUME_ZEROES)))
        return S_UNSUPP;
    if (!virtio_chain_read(chain, &from, &range, sizeof range) || from.segment != chain->readable)
        return S_IOERR;
    if (range.flags & ~(discard ? 0 : RANGE_FLAG_FREE))
        return S_UNSUPP;
    if (range.sectors == 0 || range.sectors > max ||
        !disk_holds(&block->disk, range.sector, range.sectors))
        return S_IOERR;
    request->sector = range.sector;
    request->sectors = range.sectors;
    request->flags = range.flags & RANGE_FLAG_FREE ? BLOCK_UNMAP : 0;
    return TO_SERVER;
}

/* 5.2.6: the volume's serial number, answered here. */
static uint32_t write_id(struct virtio_block *block, const struct virtio_chain *chain)
{
    unsigned count = chain->readable + chain->writable;
    uint32_t done = 0;
    for (unsigned i = chain->readable; i < count && done < ID_BYTES; i++) {
        uint32_t room = chain->segments[i].size_bytes - (i == count - 1);
        uint32_t part = room < ID_BYTES - done ? room : ID_BYTES - done;
        memcpy(chain->segments[i].data, block->disk.volume.serial + done, part);
        done += part;
    }
    return done;
}

/* 5.2.5, 5.2.6.2: may a write that is answered still be in the volume's cache? */
static bool writes_back(const struct virtio_block *block)
{
    return block->cache_chosen ? block->cache_on
                               : virtio_has_feature(&block->device, FEATURE_FLUSH);
}

/* The request that a chain stands for, or the answer that it gets at once. */
static int translate(struct virtio_block *block, const struct virtio_chain *chain,
                     const struct block_header *header, struct virtio_cursor from,
                     struct disk_entry *entry)
{
    bool read_only = (block->disk.volume.flags & BLOCK_VOLUME_READ_ONLY) != 0;
    bool cache = (block->disk.volume.flags & BLOCK_VOLUME_FLUSH) != 0;
    struct block_request *request = &entry->request;
    *request = (struct block_request){.sector = header->sector};
    switch (header->type) {
    case TYPE_IN: request->operation = BLOCK_READ; break;
    case TYPE_OUT: request->operation = BLOCK_WRITE; break;
    case TYPE_FLUSH:
        *request = (struct block_request){.operation = BLOCK_FLUSH};
        return cache ? TO_SERVER : S_OK;
    case TYPE_DISCARD:
    case TYPE_ZEROES:
        request->operation = header->type == TYPE_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
        return read_only ? S_IOERR
                         : fill_range(block, chain, from, header->type == TYPE_DISCARD, request);
    default: return S_UNSUPP;
    }
    if (header->type == TYPE_OUT && read_only)
        return S_IOERR;
    if (header->type == TYPE_OUT && cache && !writes_back(block))
        request->flags = BLOCK_FUA;
    return fill_transfer(block, chain, from, header->type == TYPE_IN, entry);
}

/* ---- to the server ------------------------------------------------------------------------------ */

static void answer(struct virtio_block *block, unsigned queue, uint16_t head, uint8_t *status,
                   uint8_t value, uint32_t written_bytes)
{
    *status = value;
    virtio_queue_give(&block->device.queues[queue], head, written_bytes + 1);
    block->given |= 1u << queue;
}

/* Leaves of a transfer the part that begins `done` sectors in. Returns the sectors behind it. */
static uint32_t take_part(struct disk_entry *entry, uint32_t done, uint32_t sectors)
{
    struct block_request *request = &entry->request;
    uint32_t all = request->sectors - done;
    uint64_t skip = (uint64_t)done * BLOCK_SECTOR_BYTES;
    sectors = all < sectors ? all : sectors;
    uint64_t room = (uint64_t)sectors * BLOCK_SECTOR_BYTES;
    struct block_segment *to = entry->segments;
    for (unsigned i = 0; i < request->segments; i++) {
        struct block_segment segment = entry->segments[i];
        uint64_t before = segment.size_bytes < skip ? segment.size_bytes : skip;
        uint64_t size_bytes = segment.size_bytes - before;
        skip -= before;
        size_bytes = size_bytes < room ? size_bytes : room;
        room -= size_bytes;
        if (size_bytes)
            *to++ = (struct block_segment){segment.offset + before, size_bytes};
    }
    request->segments = (uint32_t)(to - entry->segments);
    request->sector += done;
    request->sectors = sectors;
    return all - sectors;
}

/* The header, and where the data begins behind it; false: the chain has none. Most are a buffer of their own. */
static bool read_header(const struct virtio_chain *chain, struct block_header *header,
                        struct virtio_cursor *cursor)
{
    *cursor = (struct virtio_cursor){0};
    if (!chain->readable || chain->segments[0].size_bytes != sizeof *header)
        return virtio_chain_read(chain, cursor, header, sizeof *header);
    __builtin_memcpy(header, chain->segments[0].data, sizeof *header);
    __asm__ volatile("" : "+m"(*header)); /* the copy is not made a second time */
    cursor->segment = 1;
    return true;
}

/* What a chain is to become, of a transfer what is behind its first `done` sectors, into `entry`. False: it is answered,
 * or the driver has made it useless. */
static bool begin(struct virtio_block *block, unsigned queue, const struct virtio_chain *chain,
                  uint32_t done, struct virtio_block_request *request, struct disk_entry *entry)
{
    struct virtio_cursor cursor;
    struct block_header header;
    if (!chain->writable || !read_header(chain, &header, &cursor)) {
        virtio_fail(&block->device, "a request without a header or without room for its status");
        return false;
    }
    const struct virtio_segment *last = &chain->segments[chain->readable + chain->writable - 1];
    uint8_t *status = last->data + last->size_bytes - 1;
    bool id = header.type == TYPE_GET_ID;
    int outcome = id ? S_OK : translate(block, chain, &header, cursor, entry);
    bool transfer = outcome == TO_SERVER && entry->request.operation <= BLOCK_WRITE;
    if (done && outcome == TO_SERVER && !(transfer && done < entry->request.sectors))
        outcome = S_IOERR; /* the driver has changed it meanwhile */
    if (outcome != TO_SERVER) {
        answer(block, queue, chain->head, status, (uint8_t)outcome,
               id ? write_id(block, chain) : 0);
        return false;
    }
    *request = (struct virtio_block_request){
        .status = status,
        .written_bytes = entry->request.operation == BLOCK_READ
                             ? entry->request.sectors * BLOCK_SECTOR_BYTES
                             : 0,
        .done = done,
        .head = chain->head,
        .queue = (uint8_t)queue,
    };
    if (transfer && (done || entry->request.sectors > block->part_sectors))
        request->left = take_part(entry, done, block->part_sectors);
    return true;
}

/* The flush of what was written before the cache was turned off; it belongs to no chain. */
static void fill_own_flush(struct virtio_block_request *request, struct disk_entry *entry)
{
    *request = (struct virtio_block_request){.status = NULL};
    entry->request = (struct block_request){.operation = BLOCK_FLUSH};
}

static bool again(struct disk *disk, uint8_t n, struct disk_entry *entry)
{
    struct virtio_block *block = block_of_disk(disk);
    struct virtio_block_request *request = &block->requests[n];
    struct virtio_chain chain;
    if (!request->status) {
        fill_own_flush(request, entry);
        return true;
    }
    return virtio_queue_look(&block->device.queues[request->queue], request->head, &chain) &&
           begin(block, request->queue, &chain, request->done, request, entry);
}

static void take_chains(struct virtio_block *block, unsigned number)
{
    struct virtio_queue *queue = &block->device.queues[number];
    struct virtio_block_request request;
    struct virtio_chain chain;
    struct disk_entry entry;
    block->stalled |= 1u << number;
    while (disk_has_room(&block->disk)) {
        if (!virtio_queue_take(queue, &chain)) {
            block->stalled &= ~(1u << number);
            return;
        }
        if (begin(block, number, &chain, 0, &request, &entry))
            block->requests[disk_submit(&block->disk, &entry)] = request;
    }
}

/* Asks for the next parts. */
static void go_on(struct virtio_block *block)
{
    struct disk *disk = &block->disk;
    struct disk_entry entry;
    while (block->begun_count && disk_has_room(disk)) {
        struct virtio_block_request request = block->begun[--block->begun_count];
        struct virtio_chain chain;
        struct virtio_queue *queue = &block->device.queues[request.queue];
        if (virtio_queue_look(queue, request.head, &chain) &&
            begin(block, request.queue, &chain, request.done, &request, &entry))
            block->requests[disk_submit(disk, &entry)] = request;
    }
}

static __attribute__((noinline)) void pull_stalled(struct virtio_block *block)
{
    struct disk *disk = &block->disk;
    go_on(block);
    if (block->flush_due && disk_has_room(disk)) {
        struct virtio_block_request request;
        struct disk_entry entry;
        fill_own_flush(&request, &entry);
        block->requests[disk_submit(disk, &entry)] = request;
        block->flush_due = false;
    }
    for (unsigned n = 0; block->stalled >> n; n++)
        if (block->stalled >> n & 1)
            take_chains(block, n);
}

static void pull(struct disk *disk)
{
    struct virtio_block *block = block_of_disk(disk);
    if (block->stalled | block->flush_due | block->begun_count)
        pull_stalled(block);
}

/* ---- from the server ------------------------------------------------------------------------------ */

static uint8_t status_of(uint32_t status)
{
    return status == BLOCK_OK ? S_OK : status == BLOCK_UNSUPPORTED ? S_UNSUPP : S_IOERR;
}

static void end_own_flush(struct virtio_block *block)
{
    if (!block->flushes)
        return;
    block->flushes = block->flush_due = false;
    block->disk.host->hold(block->disk.host, false);
}

static void done(struct disk *disk, uint8_t n, uint32_t status)
{
    struct virtio_block *block = block_of_disk(disk);
    const struct virtio_block_request *request = &block->requests[n];
    uint8_t told = status_of(status);
    if (!request->status) {
        end_own_flush(block);
        return;
    }
    if (told == S_OK && request->left) {
        struct virtio_block_request *next = &block->begun[block->begun_count++];
        *next = *request;
        next->done += block->part_sectors;
        return; /* disk_work pulls when it has taken all answers */
    }
    answer(block, request->queue, request->head, request->status, told,
           told == S_OK ? request->written_bytes : 0);
}

static void resized(struct disk *disk)
{
    virtio_config_changed(&block_of_disk(disk)->device);
}

/* Firmware asks for one thing at a time and then looks for its end, an exit or more each time: it is held instead. */
static void hold_a_poller(struct virtio_block *block)
{
    const struct disk *disk = &block->disk;
    if (!block->waits && virtio_has_event_index(&block->device))
        return; /* such a driver's rings say nothing of it */
    bool wait = disk->first != DISK_NONE && !disk->forgotten &&
                virtio_queue_is_polled(&block->device.queues[block->requests[disk->first].queue]);
    if (wait == block->waits)
        return;
    block->waits = wait;
    block->disk.host->hold(block->disk.host, wait);
}

/* The driver is told once for all answers. */
static void work(struct virtio_block *block)
{
    disk_work(&block->disk);
    for (unsigned n = 0; block->given >> n; n++)
        if (block->given >> n & 1)
            virtio_queue_signal(&block->device.queues[n]);
    block->given = 0;
    hold_a_poller(block);
}

void virtio_block_attend(struct virtio_block *block)
{
    work(block);
}

static void notify(struct virtio_device *device, unsigned queue)
{
    block_of(device)->stalled |= 1u << queue;
    work(block_of(device));
}

static void reset(struct virtio_device *device)
{
    struct virtio_block *block = block_of(device);
    disk_forget(&block->disk);
    block->cache_chosen = false;
    end_own_flush(
        block); /* what it wrote may have been a driver's that is gone: no other waits for it */
    block->stalled = block->given = block->begun_count = 0;
    hold_a_poller(block); /* no more: disk_forget holds it now */
}

/* ---- configuration --------------------------------------------------------------------------------- */

static uint8_t exponent_of(const struct block_volume *volume)
{
    uint8_t exponent = 0;
    while (exponent < 16 && BLOCK_SECTOR_BYTES << exponent < volume->physical_bytes)
        exponent++;
    return exponent;
}

static bool read_config(struct virtio_device *device, uint32_t offset, unsigned size_bytes,
                        uint64_t *value)
{
    const struct block_volume *volume = &block_of(device)->disk.volume;
    uint8_t exponent = exponent_of(volume);
    const struct block_config config = {
        .capacity = volume->sectors,
        .size_max = SIZE_MAX_BYTES,
        .seg_max = SEGMENTS_MAX,
        .blk_size = BLOCK_SECTOR_BYTES,
        .physical_block_exponent = exponent,
        .min_io_size = (uint16_t)(exponent < 16 ? 1u << exponent : 1),
        .writeback = writes_back(block_of(device)),
        .num_queues = (uint16_t)device->queue_count,
        .max_discard_sectors = volume->discard_sectors_max,
        .max_discard_seg = 1,
        .discard_sector_alignment = 1,
        .max_write_zeroes_sectors = volume->zeroes_sectors_max,
        .max_write_zeroes_seg = 1,
        .write_zeroes_may_unmap = 1,
    };
    if (offset >= CONFIG_BYTES || size_bytes > CONFIG_BYTES - offset)
        return false;
    *value = 0;
    memcpy(value, (const uint8_t *)&config + offset, size_bytes);
    return true;
}

/* 5.2.5.2: the cache alone can be set, to 0 or 1. */
static bool write_config(struct virtio_device *device, uint32_t offset, unsigned size_bytes,
                         uint64_t value)
{
    struct virtio_block *block = block_of(device);
    if (offset != CONFIG_CACHE || size_bytes != 1 || value > 1 ||
        !virtio_has_feature(device, FEATURE_CONFIG_WCE))
        return false;
    bool ends = writes_back(block) && !value;
    block->cache_chosen = true;
    block->cache_on = value;
    if (!ends || block->flushes || !block->disk.volume.generation)
        return true;
    block->flushes = block->flush_due = true;
    device->host->hold(device->host, true);
    work(block);
    return true;
}

static uint64_t features_of(uint32_t flags)
{
    return (flags & BLOCK_VOLUME_READ_ONLY ? 1ull << FEATURE_READ_ONLY : 0) |
           (flags & BLOCK_VOLUME_FLUSH ? 1ull << FEATURE_FLUSH | 1ull << FEATURE_CONFIG_WCE : 0) |
           (flags & BLOCK_VOLUME_DISCARD ? 1ull << FEATURE_DISCARD : 0) |
           (flags & BLOCK_VOLUME_ZEROES ? 1ull << FEATURE_WRITE_ZEROES : 0);
}

void virtio_block_init(struct virtio_block *block, struct device_host *host,
                       const struct device_peer *peer, unsigned queues, struct interrupt_line *line)
{
    static const struct virtio_operations operations = {
        .device_id = 2,
        .features = 1ull << FEATURE_SIZE_MAX | 1ull << FEATURE_SEG_MAX | 1ull << FEATURE_BLK_SIZE |
                    1ull << FEATURE_TOPOLOGY | 1ull << FEATURE_MQ,
        .queue_count = VIRTIO_QUEUES_MAX,
        .notify = notify,
        .reset = reset,
        .read_config = read_config,
        .write_config = write_config,
    };
    static const struct disk_operations disk_operations = {
        .again = again, .done = done, .pull = pull, .resized = resized};
    memset(block, 0, sizeof *block);
    virtio_init(&block->device, &operations, host, line, "virtio-blk");
    block->device.queue_count = queues;
    block->part_sectors = BLOCK_BYTES_MAX / BLOCK_SECTOR_BYTES;
    disk_init(&block->disk, &disk_operations, host, peer, block->device.name);
    block->device.features |= features_of(block->disk.volume.flags);
}
