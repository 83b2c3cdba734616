#include "disk.h"

#include "string.h"

#define FAULTS_LOGGED 4u

_Static_assert(DISK_SEGMENTS_MAX <= BLOCK_SEGMENTS_MAX, "a request is what a server takes");
_Static_assert(BLOCK_REQUESTS_MAX < DISK_NONE, "numbers of requests fit");

static void complain(struct disk *disk, const char *what)
{
    if (disk->faults++ < FAULTS_LOGGED)
        print(disk->host->log, "%s: the block server broke a rule: %s; that is ignored%s\n",
              disk->name, what, disk->faults == FAULTS_LOGGED ? " (no more of these)" : "");
}

/* ---- the list of requests without an answer ----------------------------------------------------- */

static uint8_t list_add(struct disk *disk)
{
    uint8_t n = disk->free;
    struct disk_request *request = &disk->list[n];
    disk->free = request->next;
    *request = (struct disk_request){.previous = disk->last, .next = DISK_NONE};
    if (disk->last == DISK_NONE)
        disk->first = n;
    else
        disk->list[disk->last].next = n;
    disk->last = n;
    return n;
}

static void list_remove(struct disk *disk, uint8_t n)
{
    struct disk_request *request = &disk->list[n];
    if (disk->unsent == n)
        disk->unsent = request->next;
    if (request->previous == DISK_NONE)
        disk->first = request->next;
    else
        disk->list[request->previous].next = request->next;
    if (request->next == DISK_NONE)
        disk->last = request->previous;
    else
        disk->list[request->next].previous = request->previous;
    *request = (struct disk_request){.next = disk->free};
    disk->free = n;
}

/* One that the model has forgotten is over; with the last the guest may go on. */
static void forget(struct disk *disk, uint8_t n)
{
    list_remove(disk, n);
    if (--disk->forgotten == 0)
        disk->host->hold(disk->host, false);
}

/* ---- to the server ------------------------------------------------------------------------------ */

bool disk_holds(const struct disk *disk, uint64_t sector, uint64_t sectors)
{
    return sector <= disk->volume.sectors && sectors <= disk->volume.sectors - sector;
}

void disk_add_segment(const struct disk *disk, struct disk_entry *entry, const uint8_t *data,
                      uint64_t size_bytes)
{
    uint64_t offset = (uint64_t)(data - disk->peer.memory);
    uint32_t count = entry->request.segments;
    struct block_segment *next = &entry->segments[count];
    if (size_bytes == 0)
        return;
    if (count && next[-1].offset + next[-1].size_bytes == offset) {
        next[-1].size_bytes += size_bytes;
        return;
    }
    *next = (struct block_segment){offset, size_bytes};
    entry->request.segments = count + 1;
}

static bool server_has_room(struct disk *disk)
{
    return disk->volume.generation && ring_room(&disk->requests) >= sizeof(struct disk_entry);
}

bool disk_has_room(struct disk *disk)
{
    return disk->unsent == DISK_NONE && disk->free != DISK_NONE && server_has_room(disk);
}

static void send(struct disk *disk, uint8_t n, struct disk_entry *entry)
{
    disk->list[n].sent = disk->submitted = true;
    entry->request.id = n;
    entry->request.generation = disk->volume.generation;
    ring_write(&disk->requests, entry,
               sizeof entry->request + entry->request.segments * sizeof *entry->segments);
}

uint8_t disk_submit(struct disk *disk, struct disk_entry *entry)
{
    uint8_t n = list_add(disk);
    send(disk, n, entry);
    return n;
}

/* Again to a restarted server, in the old order, before anything new. */
static void send_again(struct disk *disk)
{
    struct disk_entry entry;
    while (disk->unsent != DISK_NONE && server_has_room(disk)) {
        uint8_t n = disk->unsent;
        disk->unsent = disk->list[n].next;
        if (disk->operations->again(disk, n, &entry))
            send(disk, n, &entry);
        else
            list_remove(disk, n);
    }
}

/* ---- from the server ---------------------------------------------------------------------------- */

static void take_completions(struct disk *disk)
{
    struct block_completion completion;
    size_t filled;
    while ((filled = ring_filled(&disk->completions)) >= sizeof completion) {
        ring_read(&disk->completions, &completion, sizeof completion);
        const struct disk_request *request = &disk->list[completion.id % BLOCK_REQUESTS_MAX];
        uint8_t n = (uint8_t)completion.id;
        if (completion.id >= BLOCK_REQUESTS_MAX || !request->sent) {
            complain(disk, "an answer to a request that it does not have");
            continue;
        }
        if (request->forgotten) {
            forget(disk, n);
            continue;
        }
        list_remove(disk, n);
        disk->operations->done(disk, n, completion.status);
    }
    if (filled) {
        complain(disk, "an answer that is not whole");
        disk->completions.broken = true;
    }
}

static const struct block_volume *shared_volume(const struct disk *disk)
{
    return (const void *)((const char *)disk->peer.channel + BLOCK_VOLUME_OFFSET);
}

/* What the server says of the volume, each word read once; written while we read: once more. */
static void copy_volume(struct disk *disk)
{
    const struct block_volume *shared = shared_volume(disk);
    uint32_t generation;
    do {
        generation = __atomic_load_n(&shared->generation, __ATOMIC_ACQUIRE);
        memcpy(&disk->volume, shared, sizeof disk->volume);
        __asm__ volatile("" : "+m"(disk->volume));
        disk->volume.generation = generation;
    } while (__atomic_load_n(&shared->generation, __ATOMIC_ACQUIRE) != generation);
}

/* All answers of the old server are in: it is gone. What it has not answered is to be sent again. */
static void begin_generation(struct disk *disk)
{
    uint64_t sectors = disk->volume.sectors;
    uint8_t next;
    copy_volume(disk);
    for (uint8_t n = disk->first; n != DISK_NONE; n = next) {
        next = disk->list[n].next;
        disk->list[n].sent = false;
        if (disk->list[n].forgotten)
            forget(disk, n);
    }
    disk->unsent = disk->first;
    if (disk->volume.sectors != sectors && disk->operations->resized)
        disk->operations->resized(disk);
}

static bool is_new_generation(const struct disk *disk)
{
    return __atomic_load_n(&shared_volume(disk)->generation, __ATOMIC_ACQUIRE) !=
           disk->volume.generation;
}

static void settle(struct disk *disk)
{
    bool restarted =
        is_new_generation(disk); /* before the last answers of the old are looked for */
    take_completions(disk);
    if (restarted)
        begin_generation(disk);
    if (disk->unsent != DISK_NONE)
        send_again(disk);
    disk->operations->pull(disk);
}

/* As long as we look ourselves the server need not ring; it may answer before its doorbell returns. */
void disk_work(struct disk *disk)
{
    ring_reader_looks(&disk->completions);
    do {
        settle(disk);
        while (disk->submitted) {
            disk->submitted = false;
            if (!ring_writer_must_ring(&disk->requests))
                break;
            disk->peer.ring(disk->peer.number);
            settle(disk);
        }
    } while (!ring_reader_waits(&disk->completions));
}

void disk_forget(struct disk *disk)
{
    unsigned before = disk->forgotten;
    uint8_t next;
    for (uint8_t n = disk->first; n != DISK_NONE; n = next) {
        struct disk_request *request = &disk->list[n];
        next = request->next;
        if (!request->sent)
            list_remove(disk, n);
        else if (!request->forgotten) {
            request->forgotten = true;
            disk->forgotten++;
        }
    }
    if (!before && disk->forgotten)
        disk->host->hold(disk->host, true);
}

void disk_init(struct disk *disk, const struct disk_operations *operations,
               struct device_host *host, const struct device_peer *peer, const char *name)
{
    char *channel = peer->channel;
    memset(disk, 0, sizeof *disk);
    disk->operations = operations;
    disk->host = host;
    disk->name = name;
    disk->peer = *peer;
    for (unsigned n = 0; n < BLOCK_REQUESTS_MAX; n++)
        disk->list[n].next = (uint8_t)(n + 1 < BLOCK_REQUESTS_MAX ? n + 1 : DISK_NONE);
    disk->first = disk->last = disk->unsent = DISK_NONE;
    ring_join_writer(&disk->requests, channel + BLOCK_REQUESTS_OFFSET, BLOCK_REQUESTS_BYTES);
    ring_join_reader(&disk->completions, channel + BLOCK_COMPLETIONS_OFFSET,
                     BLOCK_COMPLETIONS_BYTES);
    copy_volume(disk);
    /* The server rings when it has restarted, also while nothing is asked of it. */
    ring_reader_waits(&disk->completions);
}
