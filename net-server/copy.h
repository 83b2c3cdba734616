/*
 * Copies of what frames carry, and sums of them for the Internet checksum in the same walk. With AVX2, where the processor
 * has it, for what is long: a copy that fills a few buffers is most of what a frame costs.
 */
#ifndef NET_SERVER_COPY_H
#define NET_SERVER_COPY_H

#include <stdbool.h>
#include <stdint.h>

/* Are long copies made with AVX2? Set by copy_init; false at first. */
extern bool copy_wide;

/* Once, by the thread that copies: asks the processor, and takes the memory for the thread's wide registers. */
void copy_init(void);

void copy_bytes(void *to, const void *from, uint32_t size_bytes);
/* Copies; returns the sum of what it has written, as 16-bit words as the machine reads them, modulo 2^64 - 1. An odd last
 * byte counts as if a zero followed. */
uint64_t copy_sum(void *to, const void *from, uint32_t size_bytes);
/* The same sum without a copy. */
uint64_t sum_bytes(const void *from, uint32_t size_bytes);

/* A sum as 16 bits (RFC 1071), its high byte being the first of a word in a frame. */
uint16_t sum_fold(uint64_t sum);

static inline uint64_t sum_add(uint64_t a, uint64_t b)
{
    uint64_t sum = a + b;
    return sum + (sum < a);
}

#endif
