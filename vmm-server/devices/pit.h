/* 8254 interval timer. The model's contract is at the head of pit.c. */
#ifndef VMM_DEVICES_PIT_H
#define VMM_DEVICES_PIT_H

#include "device.h"
#include "devices/rate.h"

#define PIT_HERTZ    1193182u
#define PIT_CHANNELS 3u

struct pit_channel {
    uint8_t mode;   /* 0 to 5 */
    uint8_t access; /* 1: low byte, 2: high byte, 3: both */
    bool bcd;
    bool gate;
    bool null_count;            /* what was written is not counted yet */
    bool counting;              /* from `start` on */
    bool write_high, read_high; /* the second of two bytes is next */
    bool status_latched;
    uint8_t latched_bytes; /* still to be read of `latched`; 0: not latched */
    uint8_t low_byte;      /* of a count that is being written */
    uint8_t status;
    uint16_t latched;
    uint32_t initial;        /* 1 to 65536 */
    uint32_t next;           /* takes the place of `initial` at `next_at`; 0: nothing does */
    uint64_t next_at, start; /* ticks */
    uint32_t paused;         /* the count where the gate stopped it */
};

struct pit {
    struct device_host *host;
    struct interrupt_line *line; /* channel 0's output */
    /* Is channel 0's last edge still waiting to be taken? Then the next must wait too. */
    bool (*edge_waits)(struct pit *pit);
    void *machine;
    struct pit_channel channels[PIT_CHANNELS];
    struct rate rate;
    uint64_t epoch_tsc;
    struct device_timer timer;
    uint64_t edge; /* tick of channel 0's next rising edge; DEADLINE_NEVER: there is none */
    uint32_t owed; /* edges that have passed and were not given */
};

void pit_init(struct pit *pit, struct device_host *host, struct interrupt_line *line,
              bool (*edge_waits)(struct pit *pit), void *machine);
void pit_reset(struct pit *pit);
bool pit_attach(struct pit *pit, struct bus *ports);
/* Channel 2's gate and output, for port 0x61. */
void pit_set_gate(struct pit *pit, bool high);
bool pit_gate(const struct pit *pit);
bool pit_output(struct pit *pit);
/* The host's TSC at which that output rises by itself; DEADLINE_NEVER: it is high, or does not. */
uint64_t pit_output_rises(struct pit *pit);
/* Ticks since the start: the clock of the board's refresh, too. */
uint64_t pit_ticks(const struct pit *pit);
void pit_dump(struct pit *pit, struct sink *sink);

#endif
