/*
 * A vCPU's memory type range registers (Intel SDM 3A, 12.11): kept and checked as a processor does, and of no effect:
 * a guest's memory is write-back throughout. A `pc` has them, because firmware and old systems count on them.
 */
#ifndef VMM_CPU_MTRR_H
#define VMM_CPU_MTRR_H

#include <stdbool.h>
#include <stdint.h>

#define MTRR_VARIABLE 8u
#define MTRR_FIXED    11u

struct mtrr {
    uint64_t default_type;
    uint64_t fixed[MTRR_FIXED];
    uint64_t variable[2 * MTRR_VARIABLE]; /* base, mask; base, mask ... */
};

/* As firmware leaves them: all is write-back, but for the window of the screen. After reset all are 0. */
void mtrr_as_by_firmware(struct mtrr *mtrr);
/* False: there is no such register, or the processor would not take the value: #GP. */
bool mtrr_read(const struct mtrr *mtrr, uint32_t index, uint64_t *value);
bool mtrr_write(struct mtrr *mtrr, unsigned physical_bits, uint32_t index, uint64_t value);

#endif
