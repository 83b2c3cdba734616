/* Memory that devices read and write: what root has given for it (protocol/grant.h), and pieces of a transfer. */
#ifndef LIB_DMA_H
#define LIB_DMA_H

#include <stddef.h>
#include <stdint.h>

#include "protocol/grant.h"

/* Physically contiguous. */
struct dma_piece {
    uint64_t physical;
    uint32_t size_bytes;
    uint32_t reserved;
};

/* What one area has left. Nothing is ever given back. */
struct dma_area {
    struct device_memory memory;
    uint64_t used_bytes;
};

/* A part of it, physically aligned to a power of two; NULL if there is not so much left. */
static inline void *dma_take(struct dma_area *area, uint64_t size_bytes, uint64_t alignment,
                             uint64_t *physical)
{
    uint64_t begin = ((area->memory.physical + area->used_bytes + alignment - 1) & -alignment) -
                     area->memory.physical;
    if (begin > area->memory.size_bytes || size_bytes > area->memory.size_bytes - begin)
        return NULL;
    area->used_bytes = begin + size_bytes;
    *physical = area->memory.physical + begin;
    return (void *)(area->memory.address + begin);
}

#endif
