/* A floppy controller with one drive. The model's contract is at the head of floppy.c. */
#ifndef VMM_DEVICES_FLOPPY_H
#define VMM_DEVICES_FLOPPY_H

#include "disk.h"

#define FLOPPY_BUFFER_BYTES 18432u /* both sides of a cylinder */
#define FLOPPY_COMMAND_MAX  9u
#define FLOPPY_RESULT_MAX   10u
#define FLOPPY_DRIVES       4u /* that the controller can name; it has the first */

/* The ISA DMA controller's side. */
struct floppy_dma {
    void *device;
    /* Moves up to size_bytes between `data` and where the channel points; how many. *end: that was all it was told to. */
    uint32_t (*move)(void *device, bool to_memory, uint8_t *data, uint32_t size_bytes, bool *end);
};

enum floppy_phase {
    FLOPPY_IDLE,
    FLOPPY_COMMAND, /* takes parameters */
    FLOPPY_DISK,    /* the server has a request */
    FLOPPY_IN,      /* the host reads data by the port */
    FLOPPY_OUT,
    FLOPPY_RESULT
};

struct floppy {
    struct device_host *host;
    struct interrupt_line *line;
    struct floppy_dma dma;
    struct disk disk;
    bool present; /* there is a drive, with a disk in it */
    enum floppy_phase phase;
    uint8_t output, tape, rate; /* DOR, TDR; data rate: 0 500, 1 300, 2 250, 3 1000 kbit/s */
    bool interrupt;
    bool changed; /* the disk, since the head has last moved */
    uint8_t specified[2], configured, precompensation, perpendicular;
    bool locked;
    uint8_t track[FLOPPY_DRIVES];
    uint8_t sense[FLOPPY_DRIVES]; /* ST0 for SENSE INTERRUPT STATUS */
    uint8_t sensed;               /* bit n: there is one of drive n */
    uint8_t command[FLOPPY_COMMAND_MAX], result[FLOPPY_RESULT_MAX];
    unsigned command_count, command_bytes, result_count, result_bytes;
    uint8_t next_sector; /* that READ ID finds */
    /* Of the command under way. */
    uint8_t *buffer; /* FLOPPY_BUFFER_BYTES of memory that the block server sees */
    uint32_t position, end;
    uint32_t sector, sectors; /* of the volume */
    bool wanted, terminal;    /* terminal: the DMA channel has had all that it wanted */
    struct disk_entry entry;
};

/* A controller without a drive. `buffer`: of the guest's memory, that no guest uses. */
void floppy_init(struct floppy *floppy, struct device_host *host, uint8_t *buffer,
                 const struct floppy_dma *dma, struct interrupt_line *line);
/* Puts a disk into its drive: before the guest runs. False: the volume has not a floppy's size. */
bool floppy_insert(struct floppy *floppy, const struct device_peer *peer);
/* Its ports. False: there is no room. */
bool floppy_attach(struct floppy *floppy, struct bus *ports);
/* The server has rung. */
void floppy_attend(struct floppy *floppy, uint64_t bits);

#endif
