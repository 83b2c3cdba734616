/* First fit over sorted ranges. */
#include "pool.h"

static void remove_range(struct pool *pool, unsigned index)
{
    pool->ranges--;
    for (unsigned i = index; i < pool->ranges; i++)
        pool->free[i] = pool->free[i + 1];
}

static bool insert_range(struct pool *pool, unsigned index, uint64_t base, uint64_t count)
{
    if (pool->ranges == POOL_RANGES_MAX)
        return false;
    for (unsigned i = pool->ranges++; i > index; i--)
        pool->free[i] = pool->free[i - 1];
    pool->free[index].base = base;
    pool->free[index].count = count;
    return true;
}

uint64_t pool_take(struct pool *pool, uint64_t count, uint64_t alignment)
{
    for (unsigned i = 0; i < pool->ranges; i++) {
        uint64_t base = pool->free[i].base, end = base + pool->free[i].count;
        uint64_t start = (base + alignment - 1) / alignment * alignment;
        if (start < base || start > end || end - start < count)
            continue;
        if (start + count < end && start > base && !insert_range(pool, i + 1, 0, 0))
            continue; /* would make a hole in the middle, and there is no room to note it */
        if (start > base) {
            pool->free[i].count = start - base;
            if (start + count < end) {
                pool->free[i + 1].base = start + count;
                pool->free[i + 1].count = end - start - count;
            }
        } else if (start + count < end) {
            pool->free[i].base = start + count;
            pool->free[i].count = end - start - count;
        } else {
            remove_range(pool, i);
        }
        return start;
    }
    return POOL_NONE;
}

bool pool_give(struct pool *pool, uint64_t base, uint64_t count)
{
    unsigned i = 0;
    while (i < pool->ranges && pool->free[i].base < base)
        i++;
    bool joins_before = i > 0 && pool->free[i - 1].base + pool->free[i - 1].count == base;
    bool joins_after = i < pool->ranges && base + count == pool->free[i].base;
    if (joins_before && joins_after) {
        pool->free[i - 1].count += count + pool->free[i].count;
        remove_range(pool, i);
    } else if (joins_before) {
        pool->free[i - 1].count += count;
    } else if (joins_after) {
        pool->free[i].base = base;
        pool->free[i].count += count;
    } else {
        return insert_range(pool, i, base, count);
    }
    return true;
}

uint64_t pool_count(const struct pool *pool)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < pool->ranges; i++)
        count += pool->free[i].count;
    return count;
}
