/* Between the files of the floppy controller. */
#ifndef VMM_DEVICES_FLOPPY_INTERNAL_H
#define VMM_DEVICES_FLOPPY_INTERNAL_H

#include "devices/floppy.h"

#define SECTOR        BLOCK_SECTOR_BYTES
#define TRACKS        80u
#define HEADS         2u
#define SECTORS_1440K 2880u
#define TRACKS_MAX    83u /* steps from the outermost track that the head can do */

enum { OUTPUT_DRIVE = 0x03, OUTPUT_RUNS = 0x04, OUTPUT_GATE = 0x08 };

/* 7: ST0, ST1, ST2 of a result; ST3. */
enum {
    ST0_ABNORMAL = 0x40,
    ST0_INVALID = 0x80,
    ST0_POLLED = 0xc0,
    ST0_SEEK_END = 0x20,
    ST0_CHECK = 0x10
};
enum {
    ST1_END_OF_CYLINDER = 0x80,
    ST1_DATA_ERROR = 0x20,
    ST1_OVERRUN = 0x10,
    ST1_NO_DATA = 0x04,
    ST1_NOT_WRITABLE = 0x02,
    ST1_NO_MARK = 0x01
};
enum { ST2_DATA_ERROR = 0x20, ST2_WRONG_CYLINDER = 0x10 };
enum { ST3_PROTECTED = 0x40, ST3_READY = 0x20, ST3_TRACK_0 = 0x10, ST3_TWO_SIDES = 0x08 };

enum {
    READ_TRACK = 0x02,
    SPECIFY = 0x03,
    SENSE_DRIVE = 0x04,
    WRITE_DATA = 0x05,
    READ_DATA = 0x06,
    RECALIBRATE = 0x07,
    SENSE_INTERRUPT = 0x08,
    READ_ID = 0x0a,
    FORMAT_TRACK = 0x0d,
    DUMP_REGISTERS = 0x0e,
    SEEK = 0x0f,
    VERSION = 0x10,
    PERPENDICULAR = 0x12,
    CONFIGURE = 0x13,
    LOCK = 0x14,
    VERIFY = 0x16
};
#define COMMAND_MANY  0x80u /* many tracks; LOCK; RELATIVE SEEK */
#define VERIFY_COUNTS 0x80u /* of its second byte */

static inline void set_interrupt(struct floppy *floppy, bool on)
{
    floppy->interrupt = on;
    floppy->line->set(floppy->line, on && floppy->output & OUTPUT_GATE);
}

static inline void begin_result(struct floppy *floppy, unsigned bytes)
{
    floppy->phase = bytes ? FLOPPY_RESULT : FLOPPY_IDLE;
    floppy->result_bytes = bytes;
    floppy->result_count = 0;
}

static inline unsigned drive_of(const struct floppy *floppy)
{
    return floppy->command[1] & OUTPUT_DRIVE;
}

/* ---- floppy_data.c ---- */

extern const struct disk_operations floppy_disk_operations;
/* The sectors of a track of the disk that is in. */
unsigned floppy_track_sectors(const struct floppy *floppy);
/* Is there a disk in the drive, of a size that it knows? */
bool floppy_has_disk(const struct floppy *floppy);
bool floppy_is_protected(const struct floppy *floppy);
void floppy_move_head(struct floppy *floppy, unsigned drive, uint8_t track);
/* READ and WRITE DATA, READ TRACK, VERIFY. */
void floppy_transfer(struct floppy *floppy, bool write);
void floppy_format(struct floppy *floppy);
void floppy_read_id(struct floppy *floppy);
/* All bytes of a command's data have gone by the port. */
void floppy_end_by_port(struct floppy *floppy);

#endif
