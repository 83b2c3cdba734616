/* Between the files of the IDE controller. */
#ifndef VMM_DEVICES_IDE_INTERNAL_H
#define VMM_DEVICES_IDE_INTERNAL_H

#include "devices/ide.h"

#define SECTOR BLOCK_SECTOR_BYTES

/* Status (ATA/ATAPI-6, 7.15) and error (7.9). */
enum {
    DRIVE_ERROR = 0x01,
    DRIVE_REQUEST = 0x08,
    DRIVE_SEEK_DONE = 0x10,
    DRIVE_FAULT = 0x20,
    DRIVE_READY = 0x40,
    DRIVE_BUSY = 0x80,
    DRIVE_IDLE = DRIVE_READY | DRIVE_SEEK_DONE,
};
enum {
    ERROR_DIAGNOSED = 0x01, /* after a reset: no fault was found */
    ERROR_ABORTED = 0x04,
    ERROR_NOT_FOUND = 0x10,
    ERROR_UNCORRECTABLE = 0x40
};
#define DEVICE_LBA           0x40u
#define DEVICE_SECOND        0x10u
#define CONTROL_NO_INTERRUPT 0x02u
#define CONTROL_RESET        0x04u
#define CONTROL_PREVIOUS     0x80u

/* Interrupt reason (7.13, PACKET): what stands in the sector count. */
enum { REASON_COMMAND = 1, REASON_TO_HOST = 2 };

/* ---- ide.c ---- */

/* Raises the channel's interrupt. */
void ide_interrupt(struct ide_channel *channel);
/* The command is over: status without error, and an interrupt. */
void ide_finish(struct ide_drive *drive);
/* The same with this error (enum above). */
void ide_fail(struct ide_drive *drive, uint8_t error);
/* Signature and registers as a reset leaves them (9.12). */
void ide_set_signature(struct ide_drive *drive);
/* Ends what is under way on a channel; the guest is held while the server still writes for it. */
void ide_abandon(struct ide_channel *channel);
/* Begins a transfer in a phase; the caller then says what is moved. */
struct ide_transfer *ide_begin(struct ide_drive *drive, enum ide_phase phase);
/* Asks the disk for `asked` sectors; the segments are in the transfer's entry. */
void ide_ask(struct ide_channel *channel, enum block_operation operation, uint32_t sectors);
/* A transfer of sectors of the volume begins or goes on. */
void ide_go_on(struct ide_channel *channel);
/* `end` bytes are in the buffer: the host fetches them, by the transfer's phase. */
void ide_offer(struct ide_channel *channel, uint32_t size_bytes);

/* ---- ide_ata.c ---- */

/* A command for a hard disk; for a CD-ROM, what both know. */
void ide_ata_command(struct ide_drive *drive, uint8_t command);
/* SET FEATURES, power and the like, for both. False: it is none of these. */
bool ide_common_command(struct ide_drive *drive, uint8_t command);
/* Writes where a command stands into its registers, as its addressing wants. */
void ide_ata_set_address(struct ide_drive *drive, uint64_t sector);
/* `text` as words of a drive's identification, filled up with spaces. */
void ide_put_text(uint16_t *words, unsigned count, const char *text, unsigned length);

/* ---- ide_atapi.c ---- */

void ide_atapi_command(struct ide_drive *drive, uint8_t command);
/* The packet is in the buffer. */
void ide_atapi_packet(struct ide_drive *drive);
/* The end of a packet's command. */
void ide_atapi_finish(struct ide_drive *drive);
void ide_atapi_fail(struct ide_drive *drive, uint8_t key, uint8_t code, uint8_t qualifier);

/* ---- ide_dma.c ---- */

/* Moves what can be moved now: the host has started the bus master, or the drive is ready. */
void ide_dma_run(struct ide_channel *channel);
/* The disk has done what was asked for the bus master's sake. False: the memory wasn't there; the command has failed. */
bool ide_dma_arrived(struct ide_channel *channel, uint32_t size_bytes);
/* The bus master's part of a command's end. */
void ide_dma_finish(struct ide_channel *channel);

#endif
