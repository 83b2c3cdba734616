/* Memory of a card, in pieces of one size: free ones hang in a list. */
#ifndef NET_SERVER_BUFFERS_H
#define NET_SERVER_BUFFERS_H

#include "dma.h"

#include <stdbool.h>

#define BUFFER_BYTES 2048u
#define BUFFERS_MAX  128u
#define BUFFER_NONE  0xffffu

struct buffers {
    uint8_t *memory;
    uint64_t physical;
    uint16_t count, free_count, free_first;
    uint16_t next[BUFFERS_MAX]; /* in the list; or, of a frame's buffers, the next of the frame */
};

/* Memory once, all free now. False: the area has not so much. */
static inline bool buffers_start(struct buffers *buffers, struct dma_area *area, uint16_t count)
{
    if (!buffers->memory)
        buffers->memory = dma_take(area, (uint64_t)count * BUFFER_BYTES, 64, &buffers->physical);
    if (!buffers->memory)
        return false;
    buffers->count = buffers->free_count = count;
    buffers->free_first = 0;
    for (uint16_t i = 0; i < count; i++)
        buffers->next[i] = (uint16_t)(i + 1);
    return true;
}

/* The caller knows that there is one. */
static inline uint16_t buffer_take(struct buffers *buffers)
{
    uint16_t buffer = buffers->free_first;
    buffers->free_first = buffers->next[buffer];
    buffers->free_count--;
    buffers->next[buffer] = BUFFER_NONE;
    return buffer;
}

static inline void buffer_give(struct buffers *buffers, uint16_t buffer)
{
    buffers->next[buffer] = buffers->free_first;
    buffers->free_first = buffer;
    buffers->free_count++;
}

static inline uint8_t *buffer_at(const struct buffers *buffers, uint16_t buffer)
{
    return buffers->memory + (uint64_t)buffer * BUFFER_BYTES;
}

static inline uint64_t buffer_physical(const struct buffers *buffers, uint16_t buffer)
{
    return buffers->physical + (uint64_t)buffer * BUFFER_BYTES;
}

#endif
