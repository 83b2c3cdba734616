/*
 * A ring of bytes in memory that two tasks share: one writes, one reads, neither trusts the other.
 * Each side keeps its own position privately and publishes it; what the peer publishes is read
 * once and checked. A peer that publishes nonsense makes the ring broken for good, and harms nothing else.
 *
 * Doorbells: a side that is about to wait says so with ring_*_waits and looks again; the other side, after
 * it has moved, asks ring_*_must_ring whether to raise the notification.
 */
#ifndef LIB_RING_H
#define LIB_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In shared memory. `size` bytes of data follow the header; size is a power of two known to both sides. */
struct ring_shared {
    uint32_t written;      /* by the writer: total bytes, modulo 2^32 */
    uint32_t writer_waits; /* by the writer: 1 = ring me when there is room */
    uint8_t pad0[56];
    uint32_t read;         /* by the reader */
    uint32_t reader_waits; /* by the reader: 1 = ring me when there is data */
    uint8_t pad1[56];
    uint8_t data[];
};

/* Private to one side. */
struct ring {
    struct ring_shared *shared;
    uint32_t size;     /* bytes of data */
    uint32_t position; /* own total */
    bool broken;       /* the peer's position made no sense */
};

/* Both sides begin with an all-zero header. A side that joins a ring in use (a restarted server) takes over
 * the position that its predecessor published. */
void ring_join_writer(struct ring *ring, void *shared, uint32_t size);
void ring_join_reader(struct ring *ring, void *shared, uint32_t size);

/* How many bytes were taken; less than asked for if the ring is full or broken (then 0). */
size_t ring_write(struct ring *ring, const void *data, size_t size_bytes);
size_t ring_room(struct ring *ring);
/* How many bytes came; 0 if it is empty or broken. */
size_t ring_read(struct ring *ring, void *data, size_t size_bytes);
size_t ring_filled(struct ring *ring);
/* What ring_read would give, which stays; and so many bytes of it go. */
size_t ring_peek(struct ring *ring, void *data, size_t size_bytes);
void ring_skip(struct ring *ring, size_t size_bytes);

/* Before waiting: true if there is still nothing to do, and the peer will ring. */
bool ring_writer_waits(struct ring *ring);
bool ring_reader_waits(struct ring *ring);
/* The writer wants to be rung when something is read, however much room there is now; it then looks again. The reader, when
 * the writer finds it time, however much there is now. */
void ring_writer_wishes(struct ring *ring);
void ring_reader_wishes(struct ring *ring);
/* From here on, until it waits again: it looks for itself, and need not be rung. */
void ring_reader_looks(struct ring *ring);
/* After a write (or read): does the peer want to be rung? Clears its wish. */
bool ring_writer_must_ring(struct ring *ring);
bool ring_reader_must_ring(struct ring *ring);

#endif
