/*
 * The kernel's own memory: one contiguous region of frames set aside at boot, mapped writable and
 * not executable at a fixed offset. All kernel objects, tables and message buffers lie in it. Lock:
 * frames_lock, innermost.
 */
#pragma once

#include "core/types.h"

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
