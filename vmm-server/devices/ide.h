/* The IDE controller of a PIIX3 with up to four drives. The model's contract is at the head of ide.c. */
#ifndef VMM_DEVICES_IDE_H
#define VMM_DEVICES_IDE_H

#include "devices/pci.h"
#include "disk.h"

#define IDE_CHANNELS     2u
#define IDE_DRIVES       2u     /* of a channel */
#define IDE_BUFFER_BYTES 49152u /* of a channel */
#define IDE_PACKET_BYTES 12u

enum ide_kind { IDE_NONE, IDE_DISK, IDE_CDROM };

/* What is under way on a channel. */
enum ide_phase {
    IDE_IDLE,
    IDE_PACKET, /* the host writes a packet */
    IDE_PIO_IN,
    IDE_PIO_OUT,
    IDE_DMA_IN,
    IDE_DMA_OUT,
    IDE_SILENT /* the host moves nothing: a flush, a verification */
};

/* The command block as the host writes it; a 48-bit command takes what was written before that too. */
struct ide_registers {
    uint8_t features, count, lba[3];
};

struct ide_sense {
    uint8_t key, code, qualifier;
};

struct ide_drive {
    struct ide_channel *channel;
    enum ide_kind kind;
    unsigned number; /* 0 to 3 */
    struct disk disk;
    struct ide_registers now, previous;
    uint8_t device, status, error;
    uint8_t multiple;              /* sectors of a block of READ MULTIPLE; 0: it is off */
    uint8_t mode;                  /* of transfer, as SET FEATURES gives it */
    uint8_t power;                 /* what CHECK POWER MODE says */
    bool no_cache;                 /* the host has turned the write cache off */
    uint16_t heads, track_sectors; /* how the host has said that it counts; 0: not yet */
    struct ide_sense sense;        /* of a CD-ROM */
    bool attention;                /* it was reset, which the host is still to be told */
    bool locked, open;             /* the tray */
    bool tray_event;               /* was opened or closed, which the host has not asked for yet */
};

/* A walk through a table of physical regions. */
struct ide_cursor {
    uint32_t next;    /* the next descriptor's address */
    uint32_t address; /* what is left of the present region */
    uint32_t left;
    bool last; /* there is no next */
};

struct ide_transfer {
    struct ide_drive *drive; /* NULL: none is under way */
    enum ide_phase phase;
    enum { IDE_CHS, IDE_LBA28, IDE_LBA48 } addressing; /* of the command */
    uint64_t sector;                                   /* of the volume, where `sectors` begin */
    uint32_t sectors;                                  /* that are left, with those asked for */
    uint32_t asked;                    /* sectors that the disk was asked for by `entry` */
    uint32_t block_bytes;              /* so much goes from interrupt to interrupt */
    uint32_t position, block_end, end; /* in the buffer: of the host, its block, all of it */
    bool wanted;                       /* `entry` waits for room */
    bool bounced;                      /* DMA: the data goes by the buffer */
    bool packet;                       /* its phases are a packet's */
    struct disk_entry entry;
};

struct ide_channel {
    struct ide *ide;
    struct interrupt_line *line;
    struct ide_drive drives[IDE_DRIVES];
    unsigned selected;
    uint8_t control;
    bool interrupt;
    uint8_t *buffer; /* IDE_BUFFER_BYTES of memory that the block server sees */
    struct ide_transfer transfer;
    uint8_t master_command, master_status;
    uint32_t table;
    struct ide_cursor cursor;
};

struct ide {
    struct device_host *host;
    struct pci_function function;
    struct ide_channel channels[IDE_CHANNELS];
};

/* A controller without drives. `buffers`: for each channel IDE_BUFFER_BYTES of the guest's memory that no guest uses. */
void ide_init(struct ide *ide, struct device_host *host, uint8_t *buffers,
              struct interrupt_line *first, struct interrupt_line *second);
/* Puts a drive in place 0 to 3 (first master, first slave, second master, second slave): before the guest runs. */
void ide_add_drive(struct ide *ide, unsigned place, enum ide_kind kind,
                   const struct device_peer *peer);
/* The ports of compatibility mode. False: there is no room. */
bool ide_attach(struct ide *ide, struct bus *ports);
/* The function on the PCI bus, with the bus master's ports. False: its place is taken. */
bool ide_attach_function(struct ide *ide, struct pci_bus *bus, unsigned slot, unsigned number);
/* A server has rung one of these channels (bit n: channel n of the VMM's). */
void ide_attend(struct ide *ide, uint64_t bits);

#endif
