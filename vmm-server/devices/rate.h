/*
 * A device's own clock, computed from the host's TSC: so a counter is read without anything having counted.
 */
#ifndef VMM_DEVICES_RATE_H
#define VMM_DEVICES_RATE_H

#include <stdint.h>

struct rate {
    uint64_t ticks_per_tsc; /* times 2^64 */
    uint64_t tsc_per_tick;  /* times 2^32, rounded up */
};

/* hertz below the TSC's. */
void rate_init(struct rate *rate, uint64_t hertz, uint64_t tsc_khz);
/* Whole ticks in a time. */
uint64_t rate_ticks(const struct rate *rate, uint64_t tsc);
/* The time of so many ticks, rounded up: rate_ticks of it is at least `ticks`. Saturates far above all deadlines. */
uint64_t rate_tsc(const struct rate *rate, uint64_t ticks);

#endif
