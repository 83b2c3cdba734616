/*
 * What a client of a private volume has changed: blocks of 4 KiB in memory, with a bit for each sector that was
 * written. Nothing is ever read from the base to fill a block up, so a change never waits for a disk.
 *
 * The memory is root's and outlives this server (protocol/block.h). A server that is killed at any
 * moment leaves it so that all completed writes are in it.
 */
#ifndef BLOCK_SERVER_CHANGES_H
#define BLOCK_SERVER_CHANGES_H

#include <stdbool.h>
#include <stdint.h>

struct changes {
    struct changes_header *header;
    uint64_t
        *entries;    /* of each block that is used: its number << 8 | which sectors were written */
    uint32_t *index; /* by a hash of the number: which block + 1, or 0 */
    uint8_t *blocks;
    uint64_t capacity; /* blocks */
};

/* Joins memory of BLOCK_CHANGES_BYTES(changes_bytes), with what is in it. False: it is that of another volume. */
bool changes_join(struct changes *changes, void *memory, uint64_t changes_bytes);
/* Where the sectors from `sector` on are: *memory is the first's, NULL for the base's. Returns for how many of the
 * `count` that is so. */
uint32_t changes_find(const struct changes *changes, uint64_t sector, uint32_t count,
                      uint8_t **memory);
/* Memory for what is to be written from `sector` on, for *count sectors or fewer, as *count then says; NULL: there is no
 * room. It counts when it was committed, with the same sector and count. */
uint8_t *changes_prepare(struct changes *changes, uint64_t sector, uint32_t *count);
void changes_commit(struct changes *changes, uint64_t sector, uint32_t count);

#endif
