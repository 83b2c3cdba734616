/*
 * A buddy allocator for blocks of 1, 2, 4 and 8 frames. Free blocks are linked through themselves;
 * one byte a frame, at the start of the region, says whether a free block begins there and how
 * large it is.
 */
#include "core/quota.h"

#include "core/list.h"
#include "core/spinlock.h"

#define ORDERS 4u

uint64_t frames_offset;

static struct {
    struct spinlock lock;
    uint8_t *window;
    paddr_t base;
    uint64_t total, free; /* frames */
    uint8_t *block;       /* order + 1 of the free block that begins at a frame, else 0 */
    struct list lists[ORDERS];
} pool;

static struct list *link_of(uint64_t index)
{
    return (struct list *)(pool.window + index * PAGE_SIZE);
}

static void put(uint64_t index, unsigned order)
{
    pool.block[index] = (uint8_t)(order + 1);
    list_prepend(&pool.lists[order], link_of(index));
}

static void take(uint64_t index)
{
    pool.block[index] = 0;
    list_remove(link_of(index));
}

void frames_init(paddr_t base, uint64_t size_bytes, void *window)
{
    /* Blocks are aligned by physical address: begin at a multiple of the largest. */
    uint64_t skip = -base & ((PAGE_SIZE << (ORDERS - 1)) - 1);
    pool.window = (uint8_t *)window + skip;
    pool.base = base + skip;
    frames_offset = (uint64_t)(uintptr_t)window - base;
    pool.total = size_bytes > skip ? (size_bytes - skip) / PAGE_SIZE : 0;
    pool.free = 0;
    pool.block = pool.window;
    for (unsigned order = 0; order < ORDERS; order++)
        list_init(&pool.lists[order]);
    memset(pool.block, 0, pool.total);

    uint64_t index = (pool.total + PAGE_SIZE - 1) / PAGE_SIZE;
    while (index < pool.total) {
        unsigned order = ORDERS - 1;
        while (index & ((1ull << order) - 1) || pool.total - index < 1ull << order)
            order--;
        put(index, order);
        index += 1ull << order;
        pool.free += 1ull << order;
    }
}

void *frames_alloc_raw(unsigned order)
{
    spinlock_acquire(&pool.lock);
    unsigned found = order;
    while (found < ORDERS && list_empty(&pool.lists[found]))
        found++;
    if (found >= ORDERS) {
        spinlock_release(&pool.lock);
        return NULL;
    }
    uint8_t *frames = (uint8_t *)pool.lists[found].next;
    uint64_t index = (uint64_t)(frames - pool.window) / PAGE_SIZE;
    take(index);
    while (found-- > order)
        put(index + (1ull << found), found);
    pool.free -= 1ull << order;
    spinlock_release(&pool.lock);
    return frames;
}

void *frames_alloc(unsigned order)
{
    void *frames = frames_alloc_raw(order);
    return frames ? memset(frames, 0, PAGE_SIZE << order) : NULL;
}

void frames_free(void *frames, unsigned order)
{
    uint64_t index = (uint64_t)((uint8_t *)frames - pool.window) / PAGE_SIZE;
    spinlock_acquire(&pool.lock);
    ASSERT(index < pool.total && !pool.block[index]);
    pool.free += 1ull << order;
    for (; order < ORDERS - 1; order++) {
        uint64_t buddy = index ^ 1ull << order;
        if (buddy >= pool.total || pool.block[buddy] != order + 1)
            break;
        take(buddy);
        index &= ~(1ull << order);
    }
    put(index, order);
    spinlock_release(&pool.lock);
}

uint64_t frames_free_count(void)
{
    return pool.free;
}

bool frame_is_kernel(paddr_t physical)
{
    return physical - pool.base < pool.total * PAGE_SIZE;
}
