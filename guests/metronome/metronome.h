/*
 * metronome: a small real-time kernel. One task wakes at fixed deadlines, does one step of a control loop, and
 * goes back to sleep. What it measures is how late it wakes.
 *
 *   timer.c      interrupts, and sleep to a deadline by the local APIC
 *   control.c    the loop: a sensor, a PI controller, an actuator, and a check sum of all that they did
 *   lateness.c   the distribution
 *   main.c       the task, and its report
 */
#ifndef GUESTS_METRONOME_H
#define GUESTS_METRONOME_H

#include "../say.h"

#include <stdbool.h>
#include <stdint.h>

/* ---- timer.c ----------------------------------------------------------------------------------- */
static inline uint64_t ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* False, with a line that says why, if this processor has no timer of the kind that is needed. */
bool timer_start(void);
/* TSC ticks of a microsecond, or 0 if nobody says. */
uint64_t ticks_per_us(void);
/*
 * Sleeps until the TSC reaches the deadline; returns the TSC at the timer's interrupt. One that is past comes
 * at once.
 */
uint64_t sleep_until(uint64_t deadline);

/* ---- control.c --------------------------------------------------------------------------------- */
struct loop {
    int32_t value;    /* of the plant: what the sensor is to show */
    int32_t integral; /* of the controller */
    uint32_t noise;   /* state of the sensor's pseudo-random disturbance */
    uint32_t step;
    uint64_t check_sum;
};

void loop_start(struct loop *loop);
void loop_step(struct loop *loop);

/* ---- lateness.c -------------------------------------------------------------------------------- */
enum { LATENESS_MOST = 65536, LATENESS_BANDS = 64 };

struct lateness {
    uint32_t count;
    uint64_t all[LATENESS_MOST];
    uint32_t
        bands[LATENESS_BANDS]; /* [n]: how many lie in 2^n .. 2^(n+1) - 1; 0 and 1 in the first */
};

void lateness_add(struct lateness *lateness, uint64_t ticks);
/* Sorts: after it, lateness_part may be asked. */
void lateness_sort(struct lateness *lateness);
/* The smallest value that `per_mille` of all do not exceed. */
uint64_t lateness_part(const struct lateness *lateness, unsigned per_mille);

#endif
