/* Figures: what bench/run.py collects from the serial line, and how they are measured. */
#ifndef BENCH_KERNEL_BENCH_H
#define BENCH_KERNEL_BENCH_H

#include "tests/kernel/kit.h"

#define ROUNDS 10000u
#define WARM_UP 100u

/* One line for bench/run.py: FIGURE name value unit comment. */
void figure(const char *name, uint64_t value, const char *unit, const char *comment);

/* Counts over a measured loop: ticks of the time-stamp counter (under -icount: instructions), and
 * events of CPU 0 that cost more on a real processor than an instruction does. */
struct measurement {
    uint64_t ticks, counters[32];
};
void measure_begin(struct measurement *m);
/* Prints the ticks of one round, rounded to the nearest, and each of the named events that happened. */
void measure_end(struct measurement *m, const char *name, uint64_t rounds, const char *comment);

#endif
