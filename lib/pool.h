/* Pools of numbers (frames, pages of addresses, slots): what is free, as a few sorted ranges. */
#ifndef LIB_POOL_H
#define LIB_POOL_H

#include <stdbool.h>
#include <stdint.h>

#define POOL_RANGES_MAX 64u

struct pool {
    struct {
        uint64_t base, count;
    } free[POOL_RANGES_MAX]; /* by rising base, never touching */
    unsigned ranges;
};

#define POOL_NONE UINT64_MAX

/* The lowest `count` numbers that begin at a multiple of `alignment`; POOL_NONE if there are
 * none. */
uint64_t pool_take(struct pool *pool, uint64_t count, uint64_t alignment);
/* Gives numbers back, or adds them at first. False if there are too many holes: they are lost. */
bool pool_give(struct pool *pool, uint64_t base, uint64_t count);
/* How many are free in all. */
uint64_t pool_count(const struct pool *pool);

#endif
