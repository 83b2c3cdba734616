/*
 * An 82077AA floppy controller in AT mode, with one drive of 1.44 MB.
 *
 * State:    the registers; the command under way; where each drive's head stands; a buffer for one cylinder.
 * Features: READ DATA, READ TRACK, WRITE DATA, VERIFY, FORMAT TRACK, READ ID, RECALIBRATE, SEEK, RELATIVE SEEK, SENSE
 *           INTERRUPT and DRIVE STATUS, SPECIFY, CONFIGURE with implied seeks, VERSION, DUMPREG, PERPENDICULAR MODE, LOCK;
 *           many tracks; data by DMA channel 2 or by the port; disks of 1.44 MB and 720 KB, each at its data rate; disk
 *           change; write protection.
 * Missing:  deleted data, SCAN; gaps and the time that a disk takes to turn and a head to move; sectors of other sizes
 *           than 512 bytes (they are not found).
 * Spec:     Intel 82077AA CHMOS Single-Chip Floppy Disk Controller, 290166: registers 2, commands 5 and 6, status 7.
 *
 * A read fetches all up to the end of the track (of both, if many were asked for) at once, and gives what is wanted.
 */
#include "devices/floppy_internal.h"

#include "string.h"

enum { PORT_OUTPUT = 2, PORT_TAPE = 3, PORT_STATUS = 4, PORT_DATA = 5 };
enum { MAIN_READY = 0x80, MAIN_TO_HOST = 0x40, MAIN_BY_PORT = 0x20, MAIN_COMMAND = 0x10 };
#define SELECT_RESET          0x80u
#define INPUT_CHANGE          0x80u
#define DEFAULT_CONFIGURATION 0x20u /* the FIFO is off */

/* ---- the phases of a command ---------------------------------------------------------------------- */

static void answer(struct floppy *floppy, uint8_t byte)
{
    floppy->result[0] = byte;
    begin_result(floppy, 1);
}

static void settle(struct floppy *floppy)
{
    if (floppy->wanted)
        disk_work(&floppy->disk);
}

void floppy_attend(struct floppy *floppy, uint64_t bits)
{
    if (floppy->present && bits >> floppy->disk.peer.number & 1)
        disk_work(&floppy->disk);
}

/* ---- other commands -------------------------------------------------------------------------------- */

/* The head has moved, or could not. */
static void end_seek(struct floppy *floppy, unsigned drive, bool good)
{
    floppy->sense[drive] = (uint8_t)(ST0_SEEK_END | (good ? 0 : ST0_ABNORMAL | ST0_CHECK) | drive);
    floppy->sensed |= (uint8_t)(1 << drive);
    begin_result(floppy, 0);
    set_interrupt(floppy, true);
}

static void seek(struct floppy *floppy)
{
    unsigned drive = drive_of(floppy), track = floppy->command[2], from = floppy->track[drive];
    if (floppy->command[0] & COMMAND_MANY) /* relative: inwards with bit 6 */
        track = floppy->command[0] & 0x40 ? from + track : from > track ? from - track : 0;
    floppy_move_head(floppy, drive, track < UINT8_MAX ? (uint8_t)track : UINT8_MAX);
    end_seek(floppy, drive, true);
}

/* Without a drive there is no signal of track 0 (5.2.2). */
static void recalibrate(struct floppy *floppy)
{
    unsigned drive = drive_of(floppy);
    bool there = drive == 0 && floppy->present;
    floppy_move_head(floppy, drive, 0);
    end_seek(floppy, drive, there);
}

static void sense_interrupt(struct floppy *floppy)
{
    for (unsigned drive = 0; drive < FLOPPY_DRIVES; drive++) {
        if (!(floppy->sensed >> drive & 1))
            continue;
        floppy->sensed &= (uint8_t) ~(1u << drive);
        floppy->result[0] = floppy->sense[drive];
        floppy->result[1] = floppy->track[drive];
        begin_result(floppy, 2);
        set_interrupt(floppy, false);
        return;
    }
    answer(floppy, ST0_INVALID); /* there is nothing to sense */
}

static void sense_drive(struct floppy *floppy)
{
    unsigned drive = drive_of(floppy);
    uint8_t st3 = (uint8_t)(floppy->command[1] & 7);
    if (drive == 0 && floppy->present)
        st3 |= ST3_READY | ST3_TWO_SIDES | (floppy->track[0] == 0 ? ST3_TRACK_0 : 0) |
               (floppy_is_protected(floppy) ? ST3_PROTECTED : 0);
    answer(floppy, st3);
}

static void dump_registers(struct floppy *floppy)
{
    memcpy(floppy->result, floppy->track, FLOPPY_DRIVES);
    memcpy(floppy->result + 4, floppy->specified, 2);
    floppy->result[6] = floppy->command[6]; /* the last sector of the last command on data */
    floppy->result[7] = (uint8_t)((floppy->locked ? 0x80 : 0) | (floppy->perpendicular & 0x7f));
    floppy->result[8] = floppy->configured;
    floppy->result[9] = floppy->precompensation;
    begin_result(floppy, 10);
}

/* ---- commands by their codes ------------------------------------------------------------------------- */

/* How many bytes a command has with its parameters; 0: it is not known (table 5-1). */
static unsigned bytes_of(uint8_t code)
{
    switch (code & 0x1f) {
    case READ_DATA:
    case WRITE_DATA:
    case READ_TRACK:
    case VERIFY: return 9;
    case FORMAT_TRACK: return 6;
    case CONFIGURE: return 4;
    case SPECIFY:
    case SEEK: return 3;
    case SENSE_DRIVE:
    case RECALIBRATE:
    case READ_ID:
    case PERPENDICULAR: return 2;
    case SENSE_INTERRUPT:
    case DUMP_REGISTERS:
    case VERSION:
    case LOCK: return 1;
    default: return 0;
    }
}

static void configure(struct floppy *floppy)
{
    floppy->configured = floppy->command[2] & 0x7f;
    floppy->precompensation = floppy->command[3];
    begin_result(floppy, 0);
}

static void carry_out(struct floppy *floppy)
{
    floppy->command_count = 0;
    switch (floppy->command[0] & 0x1f) {
    case READ_DATA:
    case READ_TRACK:
    case VERIFY: floppy_transfer(floppy, false); break;
    case WRITE_DATA: floppy_transfer(floppy, true); break;
    case FORMAT_TRACK: floppy_format(floppy); break;
    case READ_ID: floppy_read_id(floppy); break;
    case SEEK: seek(floppy); break;
    case RECALIBRATE: recalibrate(floppy); break;
    case SENSE_INTERRUPT: sense_interrupt(floppy); break;
    case SENSE_DRIVE: sense_drive(floppy); break;
    case SPECIFY:
        memcpy(floppy->specified, floppy->command + 1, 2);
        begin_result(floppy, 0);
        break;
    case CONFIGURE: configure(floppy); break;
    case PERPENDICULAR:
        floppy->perpendicular = floppy->command[1];
        begin_result(floppy, 0);
        break;
    case LOCK:
        floppy->locked = floppy->command[0] & COMMAND_MANY;
        answer(floppy, floppy->locked ? 0x10 : 0);
        break;
    case VERSION: answer(floppy, 0x90); break;
    default: dump_registers(floppy); break;
    }
}

/* ---- the data port ----------------------------------------------------------------------------------- */

static uint8_t read_data(struct floppy *floppy)
{
    uint8_t value = 0;
    if (floppy->phase == FLOPPY_IN) {
        value = floppy->buffer[floppy->position++];
        if (floppy->position == floppy->end)
            floppy_end_by_port(floppy);
    } else if (floppy->phase == FLOPPY_RESULT) {
        set_interrupt(floppy, false);
        value = floppy->result[floppy->result_count++];
        if (floppy->result_count == floppy->result_bytes)
            floppy->phase = FLOPPY_IDLE;
    }
    return value;
}

static void write_data(struct floppy *floppy, uint8_t value)
{
    if (floppy->phase == FLOPPY_OUT) {
        floppy->buffer[floppy->position++] = value;
        if (floppy->position == floppy->end)
            floppy_end_by_port(floppy);
    } else if (floppy->phase == FLOPPY_IDLE || floppy->phase == FLOPPY_COMMAND) {
        if (floppy->phase == FLOPPY_IDLE) {
            floppy->command_count = 0;
            floppy->command_bytes = bytes_of(value);
            floppy->phase = FLOPPY_COMMAND;
        }
        floppy->command[floppy->command_count++] = value;
        if (floppy->command_bytes == 0)
            answer(floppy, ST0_INVALID);
        else if (floppy->command_count == floppy->command_bytes)
            carry_out(floppy);
    }
    settle(floppy);
}

/* ---- resets ---------------------------------------------------------------------------------------------- */

/* 8: what LOCK protects stays over a software reset. */
static void reset(struct floppy *floppy)
{
    if (floppy->phase == FLOPPY_DISK)
        disk_forget(&floppy->disk);
    floppy->wanted = false;
    floppy->phase = FLOPPY_IDLE;
    floppy->command_count = floppy->result_count = floppy->result_bytes = 0;
    floppy->sensed = 0;
    if (!floppy->locked) {
        floppy->configured = DEFAULT_CONFIGURATION;
        floppy->precompensation = 0;
    }
    floppy->perpendicular &= 0x3c;
    set_interrupt(floppy, false);
}

/* It has polled its drives, and found all of them changed (6.2.4). */
static void end_reset(struct floppy *floppy)
{
    if (floppy->configured & 0x10) { /* polling is off */
        set_interrupt(floppy, true);
        return;
    }
    for (unsigned drive = 0; drive < FLOPPY_DRIVES; drive++)
        floppy->sense[drive] = (uint8_t)(ST0_POLLED | drive);
    floppy->sensed = 0x0f;
    set_interrupt(floppy, true);
}

/* ---- registers ------------------------------------------------------------------------------------------- */

static uint8_t main_status(const struct floppy *floppy)
{
    if (!(floppy->output & OUTPUT_RUNS))
        return 0;
    switch (floppy->phase) {
    case FLOPPY_IDLE: return MAIN_READY;
    case FLOPPY_COMMAND: return MAIN_READY | MAIN_COMMAND;
    case FLOPPY_IN: return MAIN_READY | MAIN_TO_HOST | MAIN_BY_PORT | MAIN_COMMAND;
    case FLOPPY_OUT: return MAIN_READY | MAIN_BY_PORT | MAIN_COMMAND;
    case FLOPPY_RESULT: return MAIN_READY | MAIN_TO_HOST | MAIN_COMMAND;
    default: return MAIN_COMMAND;
    }
}

static bool read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct floppy *floppy = device;
    if (size_bytes != 1)
        return false;
    switch (offset) {
    case PORT_OUTPUT: *value = floppy->output; break;
    case PORT_TAPE: *value = floppy->tape; break;
    case PORT_STATUS: *value = main_status(floppy); break;
    case PORT_DATA:
        *value = floppy->output & OUTPUT_RUNS ? read_data(floppy) : 0;
        settle(floppy);
        break;
    default: *value = 0xff; break; /* status registers A and B: there are none in AT mode */
    }
    return true;
}

static void write_output(struct floppy *floppy, uint8_t value)
{
    bool ran = floppy->output & OUTPUT_RUNS;
    floppy->output = value;
    if (!(value & OUTPUT_RUNS))
        reset(floppy);
    else if (!ran)
        end_reset(floppy);
    set_interrupt(floppy, floppy->interrupt);
}

static bool write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct floppy *floppy = device;
    if (size_bytes != 1)
        return false;
    switch (offset) {
    case PORT_OUTPUT: write_output(floppy, (uint8_t)value); break;
    case PORT_TAPE: floppy->tape = value & 3; break;
    case PORT_STATUS: /* the data rate select register */
        floppy->rate = value & 3;
        if (value & SELECT_RESET && floppy->output & OUTPUT_RUNS) {
            reset(floppy);
            end_reset(floppy);
        }
        break;
    case PORT_DATA:
        if (floppy->output & OUTPUT_RUNS)
            write_data(floppy, (uint8_t)value);
        break;
    default: break;
    }
    return true;
}

/* 2.1.7, AT mode: the disk change line of the drive that is selected and turns. */
static bool read_input(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    const struct floppy *floppy = device;
    unsigned drive = floppy->output & OUTPUT_DRIVE;
    (void)offset;
    if (size_bytes != 1)
        return false;
    bool change = floppy->present && drive == 0 && floppy->output & 0x10 &&
                  (floppy->changed || !floppy_has_disk(floppy));
    *value = change ? INPUT_CHANGE : 0;
    return true;
}

static bool write_rate(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct floppy *floppy = device;
    (void)offset;
    if (size_bytes != 1)
        return false;
    floppy->rate = value & 3;
    return true;
}

/* ---- putting it together ---------------------------------------------------------------------------------- */

void floppy_init(struct floppy *floppy, struct device_host *host, uint8_t *buffer,
                 const struct floppy_dma *dma, struct interrupt_line *line)
{
    memset(floppy, 0, sizeof *floppy);
    floppy->host = host;
    floppy->line = line;
    floppy->dma = *dma;
    floppy->buffer = buffer;
    floppy->configured = DEFAULT_CONFIGURATION;
    floppy->rate = 2;
}

bool floppy_insert(struct floppy *floppy, const struct device_peer *peer)
{
    disk_init(&floppy->disk, &floppy_disk_operations, floppy->host, peer, "floppy");
    floppy->present = floppy->changed = true;
    return floppy_has_disk(floppy);
}

bool floppy_attach(struct floppy *floppy, struct bus *ports)
{
    static const struct bus_operations operations = {.read = read, .write = write};
    static const struct bus_operations last = {.read = read_input, .write = write_rate};
    const struct bus_range ranges[] = {
        {0x3f0, 6, &operations, floppy, "floppy controller"},
        {0x3f7, 1, &last, floppy, "floppy controller's data rate"},
    };
    return bus_add(ports, &ranges[0]) && bus_add(ports, &ranges[1]);
}
