/*
 * One request on its way: it is cut into runs that lie in one place (changes or image in memory, or the disk), and those
 * of the disk into commands that the disk takes. One command of a request is in flight at a time.
 */
#include "server.h"

#include "string.h"

static void step(struct request *request);

/* ---- the client's memory -------------------------------------------------------------------------------------- */

/* How much of the segment lies behind the cursor; the cursor goes on to the next segment at the end of one. */
static uint32_t left_in_segment(const struct request *request, struct cursor *cursor)
{
    const struct block_segment *segment = &request->segments[cursor->segment];
    if (cursor->within == segment->size_bytes) {
        *cursor = (struct cursor){cursor->segment + 1, 0};
        segment++;
    }
    return (uint32_t)segment->size_bytes - cursor->within;
}

static uint64_t offset_at(const struct request *request, const struct cursor *cursor)
{
    return request->segments[cursor->segment].offset + cursor->within;
}

/* Between memory of ours and the client's, from the cursor on; `to` NULL: zeroes. */
static void copy(const struct request *request, struct cursor *cursor, uint8_t *ours,
                 uint64_t size_bytes, bool to_client)
{
    while (size_bytes) {
        uint64_t n = left_in_segment(request, cursor);
        if (n > size_bytes)
            n = size_bytes;
        uint8_t *theirs = request->client->memory + offset_at(request, cursor);
        if (to_client)
            memcpy(theirs, ours, n);
        else
            memcpy(ours, theirs, n);
        ours += n, size_bytes -= n;
        cursor->within += (uint32_t)n;
    }
}

/* The physical memory at an offset of the client's, at most size_bytes. *at: the extent of an earlier one, where this may be
 * too. */
static struct dma_piece piece_at(const struct client *client, const struct service_extent **at,
                                 uint64_t offset, uint64_t size_bytes)
{
    const struct service_extent *extent = *at;
    if (offset < extent->offset)
        extent = client->extents;
    while (offset - extent->offset >= extent->size_bytes)
        extent++;
    *at = extent;
    uint64_t within = offset - extent->offset;
    if (size_bytes > extent->size_bytes - within)
        size_bytes = extent->size_bytes - within;
    return (struct dma_piece){extent->physical + within, (uint32_t)size_bytes, 0};
}

/* Cuts the tail off, so that whole sectors remain. */
static void trim(struct dma_piece *pieces, unsigned *count, uint32_t excess)
{
    while (excess) {
        struct dma_piece *last = &pieces[*count - 1];
        uint32_t n = excess < last->size_bytes ? excess : last->size_bytes;
        last->size_bytes -= n, excess -= n;
        *count -= last->size_bytes == 0;
    }
}

static void advance(const struct request *request, struct cursor *cursor, uint64_t size_bytes)
{
    while (size_bytes) {
        uint64_t n = left_in_segment(request, cursor);
        if (n > size_bytes)
            n = size_bytes;
        cursor->within += (uint32_t)n;
        size_bytes -= n;
    }
}

/* The pieces of a whole request whose segments lie in one extent and are pieces as they are, as most do; returns how many.
 * 0: this one is to be gathered with care. This runs for each page of each request. */
static unsigned gather_whole(const struct request *request, const struct disk *disk,
                             struct dma_piece *pieces)
{
    const struct block_segment *segment = request->segments;
    const struct block_segment *end = segment + request->segment_count;
    const struct service_extent *extent = request->client->extents;
    if (request->segment_count > disk->pieces_max || disk->physical_end ||
        disk->piece_alignment > 1)
        return 0;
    while (segment->offset - extent->offset >= extent->size_bytes)
        extent++;
    const uint64_t offset = extent->offset, size_bytes = extent->size_bytes;
    const uint64_t physical = extent->physical, piece_max = disk->piece_bytes_max;
    for (; segment < end; segment++, pieces++) {
        uint64_t within = segment->offset - offset;
        if (within >= size_bytes || segment->size_bytes > size_bytes - within ||
            segment->size_bytes > piece_max)
            return 0;
        *pieces = (struct dma_piece){physical + within, (uint32_t)segment->size_bytes, 0};
    }
    return request->segment_count;
}

/* Pieces for up to size_bytes from the cursor on, as many as one command takes; `after` is the cursor behind them. Returns
 * how many bytes they are; 0: the first sector lies where the disk does not reach. What the loop needs is held in
 * registers: it runs for each page of each request. */
static uint32_t gather(struct request *request, const struct disk *disk, uint32_t size_bytes,
                       struct dma_piece *pieces, unsigned *count)
{
    /* All of it: then the cursor is at its beginning. */
    if (size_bytes == request->sectors * BLOCK_SECTOR_BYTES &&
        (*count = gather_whole(request, disk, pieces)) != 0) {
        const struct block_segment *last = &request->segments[*count - 1];
        request->after = (struct cursor){*count - 1, (uint32_t)last->size_bytes};
        return size_bytes;
    }
    const struct client *client = request->client;
    const struct block_segment *segment = &request->segments[request->cursor.segment];
    const struct service_extent *extent = client->extents;
    const uint32_t piece_max = disk->piece_bytes_max;
    const bool everywhere = disk->physical_end == 0 && disk->piece_alignment < 2;
    const unsigned most = disk->pieces_max;
    uint64_t within = request->cursor.within, physical_end = 0;
    uint32_t total = 0;
    unsigned n = 0;
    while (total < size_bytes) {
        if (within == segment->size_bytes) {
            segment++;
            within = 0;
        }
        uint64_t want = segment->size_bytes - within;
        if (want > size_bytes - total)
            want = size_bytes - total;
        if (want > piece_max)
            want = piece_max;
        struct dma_piece piece = piece_at(client, &extent, segment->offset + within, want);
        if (!everywhere && !disk_reaches(disk, &piece))
            break;
        if (n && piece.physical == physical_end &&
            piece.size_bytes <= piece_max - pieces[n - 1].size_bytes)
            pieces[n - 1].size_bytes += piece.size_bytes;
        else if (n < most)
            pieces[n++] = piece;
        else
            break;
        physical_end = piece.physical + piece.size_bytes;
        total += piece.size_bytes;
        within += piece.size_bytes;
    }
    *count = n;
    request->after = (struct cursor){(uint32_t)(segment - request->segments), (uint32_t)within};
    uint32_t excess = total % BLOCK_SECTOR_BYTES;
    if (excess) {
        trim(pieces, count, excess);
        request->after = request->cursor;
        advance(request, &request->after, total - excess);
    }
    return total - excess;
}

/* ---- commands for the disk ------------------------------------------------------------------------------------- */

static void command_done(struct disk_command *command, unsigned status)
{
    struct request *request = (struct request *)command;
    if (status == DISK_LOST) {
        step(request);
        return;
    }
    if (status == BLOCK_OK && request->bounced_bytes && request->operation == BLOCK_READ) {
        struct cursor cursor = request->cursor;
        copy(request, &cursor, command->disk->bounce, request->bounced_bytes, true);
    }
    if (status != BLOCK_OK || request->flushing) {
        client_complete(request, status);
        return;
    }
    request->cursor = request->after;
    request->done += command->sectors;
    step(request);
}
_Static_assert(offsetof(struct request, command) == 0, "command_done");

static void submit(struct request *request, struct disk *disk, const struct dma_piece *pieces,
                   unsigned count)
{
    request->command.done = command_done;
    if (!disk_submit(disk, &request->command, pieces, count, request->client->server->now))
        client_complete(request, BLOCK_IO_ERROR);
}

/* READ or WRITE of so many sectors on the disk, or of fewer. */
static void transfer(struct request *request, struct disk *disk, uint64_t sector, uint32_t sectors)
{
    struct dma_piece pieces[DISK_PIECES_MAX];
    unsigned count;
    uint32_t most = disk->bytes_max / BLOCK_SECTOR_BYTES;
    uint32_t size_bytes = (sectors < most ? sectors : most) * BLOCK_SECTOR_BYTES;
    uint32_t bytes = gather(request, disk, size_bytes, pieces, &count);
    request->bounced_bytes = 0;
    if (bytes == 0) {
        request->after = request->cursor;
        bytes = size_bytes < disk->bounce_bytes ? size_bytes : disk->bounce_bytes;
        if (bytes == 0) {
            client_complete(request, BLOCK_IO_ERROR);
            return;
        }
        if (request->operation == BLOCK_WRITE) {
            struct cursor cursor = request->cursor;
            copy(request, &cursor, disk->bounce, bytes, false);
        }
        request->bounced_bytes = bytes;
        pieces[0] = (struct dma_piece){disk->bounce_physical, bytes, 0};
        count = 1;
        advance(request, &request->after, bytes);
    }
    request->command.operation = request->operation;
    request->command.sector = sector;
    request->command.sectors = bytes / BLOCK_SECTOR_BYTES;
    submit(request, disk, pieces, count);
}

static void other(struct request *request, struct disk *disk, uint32_t operation, uint64_t sector,
                  uint32_t sectors)
{
    request->bounced_bytes = 0;
    request->after = request->cursor;
    request->command.operation = operation;
    request->command.unmap = request->flags & BLOCK_UNMAP;
    request->command.sector = sector;
    request->command.sectors = sectors;
    submit(request, disk, NULL, 0);
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static void moved(struct request *request, uint32_t sectors)
{
    request->done += sectors;
}

/* A write to a private volume. False: there is no room for it. */
static bool change(struct request *request)
{
    struct changes *changes = &request->client->changes;
    while (request->done < request->sectors) {
        uint64_t sector = request->sector + request->done;
        uint32_t n = request->sectors - request->done;
        uint8_t *memory = changes_prepare(changes, sector, &n);
        if (!memory)
            return false;
        if (request->operation == BLOCK_WRITE)
            copy(request, &request->cursor, memory, (uint64_t)n * BLOCK_SECTOR_BYTES, false);
        else
            memset(memory, 0, (size_t)n * BLOCK_SECTOR_BYTES);
        changes_commit(changes, sector, n);
        moved(request, n);
    }
    return true;
}

/* Reads on as far as memory has it. */
static void read(struct request *request)
{
    const struct volume *volume = request->client->volume;
    bool is_private = volume->plan->access == PLAN_ACCESS_PRIVATE;
    while (request->done < request->sectors) {
        uint64_t sector = request->sector + request->done;
        uint32_t n = request->sectors - request->done;
        uint8_t *memory = NULL;
        if (is_private)
            n = changes_find(&request->client->changes, sector, n, &memory);
        if (!memory && volume->disk) {
            transfer(request, volume->disk, volume->first + sector, n);
            return;
        }
        /* An image is only read: `copy` to the client leaves it as it is. */
        if (!memory)
            memory = (uint8_t *)volume->file + sector * BLOCK_SECTOR_BYTES;
        copy(request, &request->cursor, memory, (uint64_t)n * BLOCK_SECTOR_BYTES, true);
        moved(request, n);
    }
    client_complete(request, BLOCK_OK);
}

/* ---- */

static __attribute__((noinline)) void step_but_read(struct request *request)
{
    const struct volume *volume = request->client->volume;
    bool to_disk = volume->disk && volume->plan->access == PLAN_ACCESS_READ_WRITE;
    bool flushes = to_disk && volume->disk->flushes;
    uint32_t left = request->sectors - request->done;
    if (request->operation == BLOCK_FLUSH || (left == 0 && request->flags & BLOCK_FUA && flushes)) {
        request->flushing = true;
        if (flushes)
            other(request, volume->disk, BLOCK_FLUSH, 0, 0);
        else
            client_complete(request, BLOCK_OK);
    } else if (left == 0) {
        client_complete(request, BLOCK_OK);
    } else if (!to_disk) {
        client_complete(request, change(request) ? BLOCK_OK : BLOCK_NO_SPACE);
    } else if (request->operation == BLOCK_WRITE) {
        transfer(request, volume->disk, volume->first + request->sector + request->done, left);
    } else {
        other(request, volume->disk, request->operation,
              volume->first + request->sector + request->done, left);
    }
}

/* The request goes on where it is. */
static void step(struct request *request)
{
    if (request->operation == BLOCK_READ)
        read(request);
    else
        step_but_read(request);
}

void request_start(struct request *request)
{
    request->done = 0;
    request->flushing = false;
    request->cursor = (struct cursor){0, 0};
    request->command.tried = false;
    step(request);
}
