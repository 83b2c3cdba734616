/*
 * The floppy controller's commands on data (82077AA, 5.1): which sectors they mean, and how they go between the host and
 * the server.
 */
#include "devices/floppy_internal.h"

#include "string.h"

#include <stddef.h>

/* ---- what the disk is ---------------------------------------------------------------------------- */

unsigned floppy_track_sectors(const struct floppy *floppy)
{
    return (unsigned)(floppy->disk.volume.sectors / (TRACKS * HEADS));
}

bool floppy_has_disk(const struct floppy *floppy)
{
    uint64_t sectors = floppy->disk.volume.sectors;
    return floppy->present && (sectors == SECTORS_1440K || sectors == SECTORS_1440K / 2);
}

/* Data is found at the rate at which it was written: 500 kbit/s, or 250 with half the sectors. */
static bool is_readable(const struct floppy *floppy, unsigned drive)
{
    uint8_t rate = floppy->disk.volume.sectors == SECTORS_1440K ? 0 : 2;
    return drive == 0 && floppy_has_disk(floppy) && floppy->rate == rate &&
           floppy->track[0] < TRACKS;
}

bool floppy_is_protected(const struct floppy *floppy)
{
    return (floppy->disk.volume.flags & BLOCK_VOLUME_READ_ONLY) != 0;
}

/* The result of a command on data: ST0 to ST2, and cylinder, head, sector, size. */
static void end_data(struct floppy *floppy, uint8_t st1, uint8_t st2, const uint8_t id[4])
{
    uint8_t head = floppy->command[1] & 4;
    floppy->result[0] = (uint8_t)((st1 || st2 ? ST0_ABNORMAL : 0) | head | drive_of(floppy));
    floppy->result[1] = st1;
    floppy->result[2] = st2;
    memcpy(floppy->result + 3, id, 4);
    begin_result(floppy, 7);
    set_interrupt(floppy, true);
}

static void fail_data(struct floppy *floppy, uint8_t st1, uint8_t st2)
{
    end_data(floppy, st1, st2, floppy->command + 2);
}

/* Table 6-5: what stands in the result behind `done` sectors. */
static void end_transfer(struct floppy *floppy, uint32_t done, uint8_t st1)
{
    const uint8_t *command = floppy->command;
    bool many = command[0] & COMMAND_MANY;
    uint8_t id[4] = {command[2], command[3], command[4], command[5]}, last = command[6];
    if ((command[0] & 0x1f) == READ_TRACK)
        id[2] = 1;
    for (; done; done--) {
        if (id[2] != last) {
            id[2]++;
            continue;
        }
        id[2] = 1;
        if (!many || id[1] & 1)
            id[0]++;
        if (many)
            id[1] ^= 1;
    }
    end_data(floppy, st1, 0, id);
}

static uint32_t sectors_done(const struct floppy *floppy)
{
    return (floppy->position + SECTOR - 1) / SECTOR;
}

/* ---- the server ------------------------------------------------------------------------------------ */

static void ask(struct floppy *floppy, enum block_operation operation)
{
    floppy->entry.request = (struct block_request){
        .operation = operation, .sector = floppy->sector, .sectors = floppy->sectors};
    disk_add_segment(&floppy->disk, &floppy->entry, floppy->buffer,
                     (uint64_t)floppy->sectors * SECTOR);
    floppy->phase = FLOPPY_DISK;
    floppy->wanted = true;
}

static bool by_dma(const struct floppy *floppy)
{
    return !(floppy->specified[1] & 1);
}

/* The data of a read is in the buffer. */
static void give(struct floppy *floppy)
{
    bool end = false;
    floppy->position = 0;
    if (!by_dma(floppy)) {
        floppy->phase = FLOPPY_IN;
        set_interrupt(floppy, true);
        return;
    }
    floppy->position =
        floppy->dma.move(floppy->dma.device, true, floppy->buffer, floppy->end, &end);
    /* 6.1.1: without a terminal count it goes on behind the last sector of the track, which is an error. */
    end_transfer(floppy, sectors_done(floppy),
                 end                              ? 0
                 : floppy->position < floppy->end ? ST1_OVERRUN
                                                  : ST1_END_OF_CYLINDER);
}

static void end_write(struct floppy *floppy)
{
    if (floppy->command[0] % 0x20 == FORMAT_TRACK)
        end_data(floppy, 0, 0, floppy->command + 2);
    else
        end_transfer(floppy, floppy->sectors, floppy->terminal ? 0 : ST1_END_OF_CYLINDER);
}

static struct floppy *floppy_of(struct disk *disk)
{
    return (struct floppy *)((char *)disk - offsetof(struct floppy, disk));
}

static void done(struct disk *disk, uint8_t n, uint32_t status)
{
    struct floppy *floppy = floppy_of(disk);
    uint8_t command = floppy->command[0] & 0x1f;
    (void)n;
    if (status == BLOCK_READ_ONLY)
        fail_data(floppy, ST1_NOT_WRITABLE, 0);
    else if (status != BLOCK_OK)
        fail_data(floppy, ST1_DATA_ERROR, ST2_DATA_ERROR);
    else if (floppy->entry.request.operation == BLOCK_WRITE)
        end_write(floppy);
    else if (command == VERIFY)
        end_transfer(floppy, floppy->sectors, 0);
    else
        give(floppy);
}

static bool again(struct disk *disk, uint8_t n, struct disk_entry *entry)
{
    (void)n;
    memcpy(entry, &floppy_of(disk)->entry, sizeof *entry);
    return true;
}

static void pull(struct disk *disk)
{
    struct floppy *floppy = floppy_of(disk);
    if (!floppy->wanted || !disk_has_room(disk))
        return;
    floppy->wanted = false;
    disk_submit(disk, &floppy->entry);
}

/* ---- writing ------------------------------------------------------------------------------------- */

/* The host has given so much of what it writes: whole sectors of it go to the disk, the last filled up with zeroes. */
static void take(struct floppy *floppy)
{
    uint32_t whole = sectors_done(floppy) * SECTOR;
    if (whole == 0) {
        end_transfer(floppy, 0, floppy->terminal ? 0 : ST1_OVERRUN);
        return;
    }
    memset(floppy->buffer + floppy->position, 0, whole - floppy->position);
    floppy->sectors = whole / SECTOR;
    ask(floppy, BLOCK_WRITE);
}

/* All headers are there: each must be of this track. */
static void fill_track(struct floppy *floppy)
{
    unsigned sides = floppy_track_sectors(floppy), head = floppy->command[1] >> 2 & 1;
    for (unsigned i = 0; i < sides; i++) {
        const uint8_t *header = floppy->buffer + i * 4;
        if (floppy->position < (i + 1) * 4 || header[0] != floppy->track[0] || header[1] != head ||
            header[2] == 0 || header[2] > sides || header[3] != 2) {
            fail_data(floppy, ST1_NO_DATA, 0);
            return;
        }
    }
    memset(floppy->buffer, floppy->command[5], sides * SECTOR);
    floppy->sectors = sides;
    ask(floppy, BLOCK_WRITE);
}

/* What the host writes for the command is in the buffer. */
static void end_of_data(struct floppy *floppy)
{
    if ((floppy->command[0] & 0x1f) == FORMAT_TRACK)
        fill_track(floppy);
    else
        take(floppy);
}

/* There is no terminal count on a PC without DMA. */
void floppy_end_by_port(struct floppy *floppy)
{
    if (floppy->phase == FLOPPY_IN)
        end_transfer(floppy, floppy->sectors, ST1_END_OF_CYLINDER);
    else
        end_of_data(floppy);
}

static void begin_writing(struct floppy *floppy)
{
    floppy->position = 0;
    floppy->terminal = false;
    if (!by_dma(floppy)) {
        floppy->phase = FLOPPY_OUT;
        set_interrupt(floppy, true);
        return;
    }
    floppy->position =
        floppy->dma.move(floppy->dma.device, false, floppy->buffer, floppy->end, &floppy->terminal);
    end_of_data(floppy);
}

/* ---- which sectors ------------------------------------------------------------------------------- */

void floppy_move_head(struct floppy *floppy, unsigned drive, uint8_t track)
{
    floppy->track[drive] = track < TRACKS_MAX ? track : TRACKS_MAX;
    if (drive == 0 && floppy_has_disk(floppy))
        floppy->changed = false;
}

/* READ and WRITE DATA, READ TRACK, VERIFY: which sectors they are. False: they are not there, and the command is over. */
static bool find_sectors(struct floppy *floppy)
{
    const uint8_t *command = floppy->command;
    unsigned drive = drive_of(floppy), sides = floppy_track_sectors(floppy),
             head = command[1] >> 2 & 1;
    bool many = command[0] & COMMAND_MANY, track_read = (command[0] & 0x1f) == READ_TRACK;
    unsigned from = track_read ? 1 : command[4], last = command[6];
    if (floppy->configured & 0x40 && drive == 0)
        floppy_move_head(floppy, drive, command[2]); /* an implied seek */
    if (!is_readable(floppy, drive)) {
        fail_data(floppy, ST1_NO_MARK, 0);
        return false;
    }
    if (command[2] != floppy->track[drive]) {
        fail_data(floppy, ST1_NO_DATA, ST2_WRONG_CYLINDER);
        return false;
    }
    if (command[3] != head || command[5] != 2 || from == 0 || from > last || from > sides) {
        fail_data(floppy, ST1_NO_DATA, 0);
        return false;
    }
    if (last > sides)
        last = sides;
    floppy->sector = (command[2] * HEADS + head) * sides + from - 1;
    floppy->sectors = last - from + 1 + (many && !head && last == sides ? sides : 0);
    if ((command[0] & 0x1f) == VERIFY && command[1] & VERIFY_COUNTS && command[8] &&
        command[8] < floppy->sectors)
        floppy->sectors = command[8];
    floppy->end = floppy->sectors * SECTOR;
    return true;
}

void floppy_transfer(struct floppy *floppy, bool write)
{
    if (!find_sectors(floppy))
        return;
    if (!write)
        ask(floppy, BLOCK_READ);
    else if (floppy_is_protected(floppy))
        fail_data(floppy, ST1_NOT_WRITABLE, 0);
    else
        begin_writing(floppy);
}

/* 5.1.8: the sectors' headers come as data; the sectors are filled with the last byte of the command. */
void floppy_format(struct floppy *floppy)
{
    unsigned sides = floppy_track_sectors(floppy), head = floppy->command[1] >> 2 & 1;
    if (!is_readable(floppy, drive_of(floppy))) {
        fail_data(floppy, ST1_NO_MARK, 0);
    } else if (floppy_is_protected(floppy)) {
        fail_data(floppy, ST1_NOT_WRITABLE, 0);
    } else if (floppy->command[2] != 2 || floppy->command[3] != sides) {
        fail_data(floppy, ST1_NO_DATA, 0); /* another format than the image can hold */
    } else {
        floppy->sector = (floppy->track[0] * HEADS + head) * sides;
        floppy->end = sides * 4;
        begin_writing(floppy);
    }
}

void floppy_read_id(struct floppy *floppy)
{
    unsigned sides = floppy_track_sectors(floppy);
    uint8_t head = floppy->command[1] >> 2 & 1;
    if (!is_readable(floppy, drive_of(floppy))) {
        const uint8_t none[4] = {0};
        end_data(floppy, ST1_NO_MARK, 0, none);
        return;
    }
    floppy->next_sector = (uint8_t)(floppy->next_sector % sides + 1);
    const uint8_t id[4] = {floppy->track[0], head, floppy->next_sector, 2};
    end_data(floppy, 0, 0, id);
}

const struct disk_operations floppy_disk_operations = {.again = again, .done = done, .pull = pull};
