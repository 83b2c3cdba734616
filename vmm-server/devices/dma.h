/* The two 8237 DMA controllers. The model's contract is at the head of dma.c. */
#ifndef VMM_DEVICES_DMA_H
#define VMM_DEVICES_DMA_H

#include "device.h"

#define DMA_CHANNELS 8u

struct dma_channel {
    uint16_t base_address, base_count; /* what was written */
    uint16_t address, count;
    uint8_t mode;
    bool masked;
};

struct dma {
    const struct guest_memory *memory;
    struct dma_channel channels[DMA_CHANNELS]; /* from 4 on: of the second, which moves words */
    struct {
        uint8_t command, status, request;
        bool high_byte; /* the flip-flop */
    } chips[2];
    uint8_t pages[16]; /* ports 0x80 to 0x8f, also those that belong to no channel */
};

enum dma_direction { DMA_TO_MEMORY, DMA_FROM_MEMORY };

void dma_init(struct dma *dma, const struct guest_memory *memory);
void dma_reset(struct dma *dma);
bool dma_attach(struct dma *dma, struct bus *ports);
/* A device on a channel moves bytes, as many as the channel takes: how many it took; 0: it is masked, off, or programmed for
 * the other direction. *ended: the count has run out (terminal count). A place without memory reads as ones and
 * takes writes. */
unsigned dma_transfer(struct dma *dma, unsigned channel, enum dma_direction direction,
                      uint8_t *data, unsigned size_bytes, bool *ended);
/* Will dma_transfer take something? */
bool dma_is_ready(const struct dma *dma, unsigned channel, enum dma_direction direction);
void dma_dump(const struct dma *dma, struct sink *sink);

#endif
