/* Bytes in memory as firmware reads them: little-endian words, and sums that are to be zero. */
#ifndef TESTS_UNIT_BYTES_H
#define TESTS_UNIT_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t word(const uint8_t *at, unsigned size_bytes)
{
    uint64_t value = 0;
    memcpy(&value, at, size_bytes);
    return value;
}

static inline uint8_t sum(const uint8_t *data, size_t size_bytes)
{
    uint8_t result = 0;
    for (size_t i = 0; i < size_bytes; i++)
        result = (uint8_t)(result + data[i]);
    return result;
}

#endif
