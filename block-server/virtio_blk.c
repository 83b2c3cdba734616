/*
 * virtio-blk on PCI.
 *
 * State:    one queue; for each place a header, a status byte and a table of descriptors in DMA memory.
 * Features: read, write, flush, discard, write zeroes; indirect descriptors, event index; up to 64 in flight; reset.
 * Missing:  several queues, logical blocks of more than 512 bytes, change of capacity, secure erase, zones.
 * Spec:     VIRTIO 1.2, 5.2.
 */
#include "drivers.h"

#include "print.h"
#include "string.h"
#include "virtio_driver.h"

enum {
    FEATURE_SIZE_MAX = 1 << 1,
    FEATURE_SEG_MAX = 1 << 2,
    FEATURE_RO = 1 << 5,
    FEATURE_BLK_SIZE = 1 << 6,
    FEATURE_FLUSH = 1 << 9,
    FEATURE_TOPOLOGY = 1 << 10,
    FEATURE_DISCARD = 1 << 13,
    FEATURE_WRITE_ZEROES = 1 << 14
};
enum { TYPE_IN = 0, TYPE_OUT = 1, TYPE_FLUSH = 4, TYPE_DISCARD = 11, TYPE_WRITE_ZEROES = 13 };
enum { ANSWER_OK = 0, ANSWER_UNSUPPORTED = 2, ANSWER_NONE = 0xff };
enum { RANGE_UNMAP = 1 };

/* struct virtio_blk_config (5.2.4). */
enum {
    CONFIG_CAPACITY = 0,
    CONFIG_SIZE_MAX = 8,
    CONFIG_SEG_MAX = 12,
    CONFIG_BLK_SIZE = 20,
    CONFIG_PHYSICAL_EXPONENT = 24,
    CONFIG_DISCARD_SECTORS = 36,
    CONFIG_ZEROES_SECTORS = 48
};

#define DEPTH        64u
#define RESET_MS     3000u
#define TABLE_PLACES 64u /* header, data, status */
#define DATA_PLACES  (TABLE_PLACES - 2)
/* Without indirect descriptors each command takes as many places of the queue. */
#define DIRECT_PLACES 16u

struct slot_memory {
    struct virtqueue_descriptor table[TABLE_PLACES];
    uint32_t type, reserved;
    uint64_t sector;
    struct {
        uint64_t sector;
        uint32_t sectors, flags;
    } range; /* DISCARD, WRITE_ZEROES */
    volatile uint8_t answer;
    uint8_t pad[31];
};
_Static_assert(sizeof(struct slot_memory) == TABLE_PLACES * 16 + 64,
               "16-byte aligned, one after the other");

struct virtio_blk {
    struct disk disk;
    struct probe probe;
    struct server *server;
    uint64_t reset_end;
    const struct device_grant *grant;
    struct dma_area *area;
    struct virtio_driver driver;
    struct virtqueue queue;
    struct slot_memory *slots;
    uint64_t slots_physical;
    unsigned free_count;
    uint8_t free[DEPTH];
};

static struct virtio_blk *of(struct disk *disk)
{
    return (struct virtio_blk *)disk;
}

/* Everything up to DRIVER_OK; also after a reset. */
static const char *bring_up(struct virtio_blk *blk)
{
    const char *problem = virtio_driver_open(&blk->driver, blk->grant);
    if (!problem)
        problem = virtio_driver_negotiate(
            &blk->driver, VIRTIO_FEATURE_INDIRECT | VIRTIO_FEATURE_EVENT_INDEX |
                              VIRTIO_FEATURE_ACCESS_PLATFORM | FEATURE_SIZE_MAX | FEATURE_SEG_MAX |
                              FEATURE_RO | FEATURE_BLK_SIZE | FEATURE_FLUSH | FEATURE_TOPOLOGY |
                              FEATURE_DISCARD | FEATURE_WRITE_ZEROES);
    if (!problem)
        problem = virtqueue_start(&blk->driver, &blk->queue, 0, DEPTH, blk->area);
    if (problem)
        return problem;
    blk->free_count = 0;
    for (unsigned i = 0; i < blk->disk.depth; i++)
        blk->free[blk->free_count++] = (uint8_t)i;
    virtio_driver_ready(&blk->driver);
    return NULL;
}

static unsigned place(struct dma_piece *pieces, unsigned at, uint64_t physical, uint64_t size_bytes)
{
    pieces[at] = (struct dma_piece){physical, (uint32_t)size_bytes, 0};
    return at + 1;
}

static bool submit(struct disk *disk, struct disk_command *command, const struct dma_piece *pieces,
                   unsigned count)
{
    static const uint32_t types[] = {
        [BLOCK_READ] = TYPE_IN,
        [BLOCK_WRITE] = TYPE_OUT,
        [BLOCK_FLUSH] = TYPE_FLUSH,
        [BLOCK_DISCARD] = TYPE_DISCARD,
        [BLOCK_WRITE_ZEROES] = TYPE_WRITE_ZEROES,
    };
    struct virtio_blk *blk = of(disk);
    struct dma_piece all[TABLE_PLACES];
    if (blk->free_count == 0 || count > DATA_PLACES)
        return false;
    unsigned number = blk->free[blk->free_count - 1], n = 0;
    struct slot_memory *slot = &blk->slots[number];
    uint64_t physical = blk->slots_physical + number * sizeof *slot;
    bool is_range = command->operation == BLOCK_DISCARD || command->operation == BLOCK_WRITE_ZEROES;
    slot->type = types[command->operation];
    slot->sector = is_range || command->operation == BLOCK_FLUSH ? 0 : command->sector;
    slot->answer = ANSWER_NONE;
    n = place(all, n, physical + offsetof(struct slot_memory, type), 16);
    if (is_range) {
        slot->range.sector = command->sector;
        slot->range.sectors = command->sectors;
        slot->range.flags =
            command->operation == BLOCK_WRITE_ZEROES && command->unmap ? RANGE_UNMAP : 0;
        n = place(all, n, physical + offsetof(struct slot_memory, range), sizeof slot->range);
    }
    memcpy(&all[n], pieces, count * sizeof *pieces);
    n += count;
    unsigned readable = command->operation == BLOCK_READ ? 1 : n;
    n = place(all, n, physical + offsetof(struct slot_memory, answer), 1);
    const struct virtqueue_table table = {slot->table, physical};
    bool indirect = blk->driver.features & VIRTIO_FEATURE_INDIRECT;
    if (!virtqueue_add(&blk->queue, all, readable, n - readable, indirect ? &table : NULL, command))
        return false;
    blk->free_count--;
    command->slot = number;
    return true;
}

/* The server looks at its disks before it waits. */
static void kick(struct disk *disk)
{
    virtqueue_looks(&of(disk)->queue);
    virtqueue_kick(&of(disk)->queue);
}

static void poll(struct disk *disk)
{
    struct virtio_blk *blk = of(disk);
    void *cookie;
    uint32_t written;
    while (virtqueue_take(&blk->queue, &cookie, &written)) {
        struct disk_command *command = cookie;
        uint8_t answer = blk->slots[command->slot].answer;
        blk->free[blk->free_count++] = (uint8_t)command->slot;
        disk_finish(command, answer == ANSWER_OK            ? BLOCK_OK
                             : answer == ANSWER_UNSUPPORTED ? BLOCK_UNSUPPORTED
                                                            : BLOCK_IO_ERROR);
    }
}

static void interrupt(struct disk *disk)
{
    virtio_driver_interrupt(&of(disk)->driver);
}

static bool waits(struct disk *disk)
{
    return virtqueue_waits(&of(disk)->queue);
}

static void reset(struct disk *disk)
{
    struct virtio_blk *blk = of(disk);
    virtio_driver_stop(&blk->driver);
    blk->reset_end = blk->server->now + RESET_MS * blk->server->ticks_per_ms;
}

static enum disk_progress resume(struct disk *disk, uint64_t *next)
{
    struct virtio_blk *blk = of(disk);
    uint64_t now = blk->server->now;
    if (virtio_driver_stopped(&blk->driver))
        return bring_up(blk) ? DISK_GONE : DISK_READY;
    *next = now + blk->server->ticks_per_ms;
    return now < blk->reset_end ? DISK_WAITS : DISK_GONE;
}

static const struct disk_operations operations = {submit, kick,  interrupt, poll,
                                                  waits,  reset, resume};

/* What the device says of itself, within what there is memory for. */
static const char *read_config(struct virtio_blk *blk)
{
    struct virtio_driver *driver = &blk->driver;
    struct disk *disk = &blk->disk;
    uint64_t features = driver->features;
    if (features & FEATURE_BLK_SIZE &&
        virtio_driver_config(driver, CONFIG_BLK_SIZE, 4) != BLOCK_SECTOR_BYTES)
        return "its logical blocks are not of 512 bytes";
    disk->sectors = virtio_driver_config(driver, CONFIG_CAPACITY, 8);
    disk->physical_bytes = BLOCK_SECTOR_BYTES;
    if (features & FEATURE_TOPOLOGY)
        disk->physical_bytes <<= virtio_driver_config(driver, CONFIG_PHYSICAL_EXPONENT, 1) & 15;
    bool indirect = features & VIRTIO_FEATURE_INDIRECT;
    uint32_t places = indirect ? TABLE_PLACES : DIRECT_PLACES;
    if (places > blk->queue.size)
        places = blk->queue.size;
    if (places < 3)
        return "its queue is too small";
    uint64_t pieces =
        features & FEATURE_SEG_MAX ? virtio_driver_config(driver, CONFIG_SEG_MAX, 4) : 0;
    disk->pieces_max = pieces && pieces < places - 2 ? (unsigned)pieces : places - 2;
    disk->depth = indirect ? blk->queue.size : blk->queue.size / places;
    disk->bytes_max = BLOCK_BYTES_MAX;
    disk->piece_bytes_max = BLOCK_BYTES_MAX;
    uint64_t size_max = virtio_driver_config(driver, CONFIG_SIZE_MAX, 4);
    if (features & FEATURE_SIZE_MAX && size_max < BLOCK_BYTES_MAX)
        disk->piece_bytes_max = (uint32_t)size_max;
    if (disk->piece_bytes_max < BLOCK_SECTOR_BYTES)
        return "it takes no piece of a sector";
    disk->flushes = features & FEATURE_FLUSH;
    disk->read_only = features & FEATURE_RO;
    if (features & FEATURE_DISCARD)
        disk->discard_sectors_max =
            (uint32_t)virtio_driver_config(driver, CONFIG_DISCARD_SECTORS, 4);
    if (features & FEATURE_WRITE_ZEROES)
        disk->zeroes_sectors_max = (uint32_t)virtio_driver_config(driver, CONFIG_ZEROES_SECTORS, 4);
    return NULL;
}

const char *virtio_blk_start(struct server *server, const struct device_grant *grant,
                             struct dma_area *area)
{
    struct virtio_blk *blk = server_allocate(sizeof *blk);
    if (!blk)
        return "there is too little memory for its driver";
    blk->server = server;
    blk->probe = (struct probe){.grant = grant, .ended = true};
    blk->grant = grant;
    blk->area = area;
    blk->disk.operations = &operations;
    blk->disk.interrupts = TASK_BIT_INTERRUPT(grant->interrupt_number);
    print_buffer(blk->disk.name, sizeof blk->disk.name, "virtio-blk %02x:%02x.%u",
                 grant->location >> 8, grant->location >> 3 & 31, grant->location & 7);
    const char *problem = bring_up(blk);
    if (!problem)
        problem = read_config(blk);
    if (problem)
        return problem;
    blk->slots = dma_take(area, blk->disk.depth * sizeof *blk->slots, 16, &blk->slots_physical);
    if (!blk->slots)
        return "there is too little memory for its commands";
    while (blk->free_count < blk->disk.depth) {
        blk->free[blk->free_count] = (uint8_t)blk->free_count;
        blk->free_count++;
    }
    probe_found(&blk->probe, &blk->disk);
    probe_add(server, &blk->probe);
    return NULL;
}
