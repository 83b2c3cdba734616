/* Registers of 32 bits in memory. Host tests have their own. */
#ifndef BLOCK_SERVER_MMIO_H
#define BLOCK_SERVER_MMIO_H

#include <stdint.h>

static inline uint32_t mmio_get(const volatile uint8_t *registers, unsigned offset)
{
    return *(const volatile uint32_t *)(registers + offset);
}

static inline void mmio_put(volatile uint8_t *registers, unsigned offset, uint32_t value)
{
    *(volatile uint32_t *)(registers + offset) = value;
}

#endif
