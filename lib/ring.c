#include "ring.h"

#include "string.h"

#define MOVES_MAX 64u /* bytes that are copied without a loop */

void ring_join_writer(struct ring *ring, void *shared, uint32_t size)
{
    struct ring_shared *header = shared;
    *ring = (struct ring){header, size, __atomic_load_n(&header->written, __ATOMIC_RELAXED), false};
}

void ring_join_reader(struct ring *ring, void *shared, uint32_t size)
{
    struct ring_shared *header = shared;
    *ring = (struct ring){header, size, __atomic_load_n(&header->read, __ATOMIC_RELAXED), false};
}

/* How far the peer is ahead (`ahead`: it is the writer) or behind; 0 where it claims the impossible. */
static uint32_t distance(struct ring *ring, const uint32_t *peer, bool ahead)
{
    if (ring->broken)
        return 0;
    uint32_t position = __atomic_load_n(peer, __ATOMIC_ACQUIRE);
    uint32_t filled = ahead ? position - ring->position : ring->position - position;
    ring->broken = filled > ring->size;
    return ring->broken ? 0 : ahead ? filled : ring->size - filled;
}

size_t ring_room(struct ring *ring)
{
    return distance(ring, &ring->shared->read, false);
}

size_t ring_filled(struct ring *ring)
{
    return distance(ring, &ring->shared->written, true);
}

/* How much lies in one piece from the position on. */
static size_t to_end(const struct ring *ring)
{
    return ring->size - (ring->position & (ring->size - 1));
}

static uint8_t *place(const struct ring *ring)
{
    return &ring->shared->data[ring->position & (ring->size - 1)];
}

/* Short records of a size that the compiler knows take a few moves. What is copied is not read a second time. */
static inline __attribute__((always_inline)) void copy(void *to, const void *from,
                                                       size_t size_bytes)
{
    if (__builtin_constant_p(size_bytes) && size_bytes <= MOVES_MAX)
        __builtin_memcpy(to, from, size_bytes);
    else
        memcpy(to, from, size_bytes);
    __asm__ volatile("" : : : "memory");
}

/* As much as there is room for, around the end. */
static __attribute__((noinline)) size_t write_around(struct ring *ring, const void *data,
                                                     size_t size_bytes, size_t room)
{
    size_t first = to_end(ring);
    size_bytes = size_bytes < room ? size_bytes : room;
    first = first < size_bytes ? first : size_bytes;
    memcpy(place(ring), data, first);
    memcpy(ring->shared->data, (const uint8_t *)data + first, size_bytes - first);
    return size_bytes;
}

size_t ring_write(struct ring *ring, const void *data, size_t size_bytes)
{
    size_t room = ring_room(ring);
    if (__builtin_expect(size_bytes <= room && size_bytes <= to_end(ring), 1))
        copy(place(ring), data, size_bytes);
    else
        size_bytes = write_around(ring, data, size_bytes, room);
    ring->position += (uint32_t)size_bytes;
    __atomic_store_n(&ring->shared->written, ring->position, __ATOMIC_RELEASE);
    return size_bytes;
}

static __attribute__((noinline)) size_t peek_around(const struct ring *ring, void *data,
                                                    size_t size_bytes, size_t filled)
{
    size_t first = to_end(ring);
    size_bytes = size_bytes < filled ? size_bytes : filled;
    first = first < size_bytes ? first : size_bytes;
    memcpy(data, place(ring), first);
    memcpy((uint8_t *)data + first, ring->shared->data, size_bytes - first);
    return size_bytes;
}

size_t ring_peek(struct ring *ring, void *data, size_t size_bytes)
{
    size_t filled = ring_filled(ring);
    if (__builtin_expect(size_bytes > filled || size_bytes > to_end(ring), 0))
        return peek_around(ring, data, size_bytes, filled);
    copy(data, place(ring), size_bytes);
    return size_bytes;
}

void ring_skip(struct ring *ring, size_t size_bytes)
{
    ring->position += (uint32_t)size_bytes;
    __atomic_store_n(&ring->shared->read, ring->position, __ATOMIC_RELEASE);
}

size_t ring_read(struct ring *ring, void *data, size_t size_bytes)
{
    size_bytes = ring_peek(ring, data, size_bytes);
    ring_skip(ring, size_bytes);
    return size_bytes;
}

/*
 * The wish is published before the peer's position is looked at again, and the peer publishes its
 * position before it looks for the wish: one of the two sees the other. Both are full barriers.
 */
static bool waits(struct ring *ring, uint32_t *wish, size_t (*ready)(struct ring *ring))
{
    __atomic_exchange_n(wish, 1, __ATOMIC_SEQ_CST);
    if (!ready(ring))
        return true;
    __atomic_store_n(wish, 0, __ATOMIC_RELAXED);
    return false;
}

static bool must_ring(uint32_t *wish)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return __atomic_load_n(wish, __ATOMIC_RELAXED) &&
           __atomic_exchange_n(wish, 0, __ATOMIC_SEQ_CST);
}

bool ring_writer_waits(struct ring *ring)
{
    return waits(ring, &ring->shared->writer_waits, ring_room);
}

bool ring_reader_waits(struct ring *ring)
{
    return waits(ring, &ring->shared->reader_waits, ring_filled);
}

void ring_writer_wishes(struct ring *ring)
{
    __atomic_exchange_n(&ring->shared->writer_waits, 1, __ATOMIC_SEQ_CST);
}

void ring_reader_wishes(struct ring *ring)
{
    __atomic_exchange_n(&ring->shared->reader_waits, 1, __ATOMIC_SEQ_CST);
}

void ring_reader_looks(struct ring *ring)
{
    __atomic_store_n(&ring->shared->reader_waits, 0, __ATOMIC_RELAXED);
}

bool ring_writer_must_ring(struct ring *ring)
{
    return must_ring(&ring->shared->reader_waits);
}

bool ring_reader_must_ring(struct ring *ring)
{
    return must_ring(&ring->shared->writer_waits);
}
