/*
 * Kernel memory, as a whole and by task. A task's quota is a number of frames; small objects come from
 * frames that belong to that task alone, so nobody's fragmentation is another's.
 * Lock: the quota's own, taken after mapping_lock and before frames_lock.
 */
#pragma once

#include "core/list.h"
#include "core/spinlock.h"

/* ---- frames (frames.c) ------------------------------------------------------------------------ */

/*
 * The kernel's own memory: one contiguous region of frames set aside at boot, mapped writable and
 * not executable at a fixed offset. All kernel objects, tables and message buffers lie in it. Lock:
 * frames_lock, innermost.
 */

/* base: physical, page aligned; window: where the region is mapped. Called once, at boot. */
void frames_init(paddr_t base, uint64_t size_bytes, void *window);

/* 2^order contiguous frames aligned to their size, zeroed; NULL when the pool is empty. order <= 3
 * */
void *frames_alloc(unsigned order);
void *frames_alloc_raw(unsigned order); /* with what was there before */
void frames_free(void *frames, unsigned order);

uint64_t frames_free_count(void);

/* A frame's kernel address less its physical address: the same for all frames inside the pool. */
extern uint64_t frames_offset;

static inline paddr_t frame_physical(const void *frame)
{
    return (uint64_t)(uintptr_t)frame - frames_offset;
}

static inline void *frame_virtual(paddr_t physical)
{
    return (void *)(uintptr_t)(physical + frames_offset);
}

bool frame_is_kernel(paddr_t physical);

/* ---- quotas ----------------------------------------------------------------------------------- */

#define QUOTA_CLASSES 6 /* 64, 128, 256, 512, 1024 and 2048 bytes */

struct quota {
    struct spinlock lock;
    uint32_t granted; /* pages; includes those given on */
    uint32_t used;
    uint32_t given;                     /* to tasks below */
    struct list partial[QUOTA_CLASSES]; /* slabs with room */
};

/* The list for objects of that size. */
static inline unsigned quota_class(size_t size_bytes)
{
    return size_bytes <= 64 ? 0 : 58u - (unsigned)__builtin_clzll(size_bytes - 1);
}
void *quota_alloc_class(struct quota *quota, unsigned class);

void quota_init(struct quota *quota, uint32_t pages);

/* Moves pages from one quota to another; false, and nothing done, if `from` has too few. */
bool quota_move(struct quota *from, struct quota *to, uint32_t pages);
/* The reverse, at a task's end: all that `from` was granted goes back. from->used must be 0. */
void quota_return(struct quota *from, struct quota *to);

void *quota_alloc_pages(struct quota *quota, unsigned order); /* zeroed; NULL: NO_QUOTA */
void quota_free_pages(struct quota *quota, void *pages, unsigned order);

/* <= 2048; NULL: NO_QUOTA */
void *quota_alloc(struct quota *quota, size_t size_bytes); /* zeroed */
/* With what was there before; mostly of a size that the compiler knows. */
static inline void *quota_alloc_raw(struct quota *quota, size_t size_bytes)
{
    return quota_alloc_class(quota, quota_class(size_bytes));
}
void quota_free(struct quota *quota, void *object, size_t size_bytes);

/* Pages that could still be charged. */
uint32_t quota_left(const struct quota *quota);
