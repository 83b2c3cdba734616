#include "disk.h"

#include "server.h"

/*
 * A command that takes this long is looked for without an interrupt; one that takes longer than the limit is
 * given up with all others of its disk. Disks that spin up take 10 s and more, but then firmware has waited for
 * them; a drive that reads a bad sector again and again takes up to 7 s. While it is reset, which may take longer, its
 * requests wait and the other disks go on.
 */
#define POLL_MS  500u
#define LIMIT_MS 10000u

static void unlink_command(struct disk_command *command)
{
    struct disk *disk = command->disk;
    if (command->previous)
        command->previous->next = command->next;
    else
        disk->oldest = command->next;
    if (command->next)
        command->next->previous = command->previous;
    else
        disk->newest = command->previous;
    disk->in_flight--;
}

bool disk_submit(struct disk *disk, struct disk_command *command, const struct dma_piece *pieces,
                 unsigned count, uint64_t now)
{
    if (disk->dead || disk->resetting || !disk->operations->submit(disk, command, pieces, count))
        return false;
    command->disk = disk;
    command->failed = false;
    command->submitted = now;
    command->next = NULL;
    command->previous = disk->newest;
    *(disk->newest ? &disk->newest->next : &disk->oldest) = command;
    disk->newest = command;
    disk->in_flight++;
    return true;
}

void disk_finish(struct disk_command *command, unsigned status)
{
    unlink_command(command);
    command->tried = false;
    command->done(command, status);
}

bool disk_reaches(const struct disk *disk, const struct dma_piece *piece)
{
    return (disk->physical_end == 0 || piece->physical + piece->size_bytes <= disk->physical_end) &&
           (disk->piece_alignment < 2 ||
            ((piece->physical | piece->size_bytes) & (disk->piece_alignment - 1)) == 0);
}

void disk_poll(struct disk *disk)
{
    if (!disk->resetting)
        disk->operations->poll(disk);
}

/* What is in flight stays so until the reset is over: the device may still be at its memory. */
static void begin_reset(struct disk *disk)
{
    disk->resetting = true;
    disk->operations->reset(disk);
}

void disk_fail(struct disk_command *command)
{
    command->failed = true;
    begin_reset(command->disk);
}

void disk_delay(struct disk *disk, uint64_t now)
{
    for (struct disk_command *command = disk->oldest; command; command = command->next)
        command->submitted = now;
}

/* All that was in flight is answered: once again for each, then with an error. */
static void end_reset(struct disk *disk, bool back)
{
    disk->resetting = false;
    disk->dead = !back;
    if (disk->dead)
        server_log("%s: it does not come back: all requests end with an error from now on\n",
                   disk->name);
    /* What is submitted meanwhile belongs to a new list. */
    struct disk_command *command = disk->oldest;
    disk->oldest = disk->newest = NULL;
    disk->in_flight = 0;
    while (command) {
        struct disk_command *next = command->next;
        bool again = !disk->dead && !command->tried && !command->failed;
        command->tried = true;
        command->done(command, again ? DISK_LOST : BLOCK_IO_ERROR);
        command = next;
    }
    disk->operations->kick(disk);
}

uint64_t disk_watch(struct disk *disk, uint64_t now, uint64_t ticks_per_ms)
{
    uint64_t look;
    if (disk->resetting) {
        enum disk_progress progress = disk->operations->resume(disk, &look);
        if (progress == DISK_WAITS)
            return look;
        end_reset(disk, progress == DISK_READY);
        return now; /* requests have waited for it */
    }
    if (!disk->oldest)
        return UINT64_MAX;
    uint64_t poll = POLL_MS * ticks_per_ms, limit = LIMIT_MS * ticks_per_ms;
    if (now - disk->oldest->submitted < poll)
        return disk->oldest->submitted + poll;
    const struct disk_command *oldest = disk->oldest;
    uint64_t submitted = oldest->submitted;
    disk->operations->poll(disk);
    if (disk->resetting)
        return now;
    bool moved = disk->oldest != oldest || oldest->submitted != submitted;
    if (moved && !disk->complained) {
        disk->complained = true;
        server_log("%s: a command was done, but its interrupt did not come\n", disk->name);
    }
    if (!moved && now - submitted >= limit) {
        server_log("%s: no answer in %u s: it is reset\n", disk->name, LIMIT_MS / 1000);
        begin_reset(disk);
        return now;
    }
    return now + poll;
}
