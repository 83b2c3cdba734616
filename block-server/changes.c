#include "changes.h"

#include "protocol/block.h"

#include "string.h"

#define MAGIC         0x736567616e6863ull /* "changes" */
#define BLOCK_SECTORS (BLOCK_CHANGE_BYTES / BLOCK_SECTOR_BYTES)
_Static_assert(BLOCK_SECTORS == 8, "a byte holds a bit for each sector");

struct changes_header {
    uint64_t magic;
    uint64_t capacity;
    uint64_t used; /* entries and blocks are used from the first on; none is ever given back */
    uint64_t reserved[5];
};
_Static_assert(sizeof(struct changes_header) == 64, "as BLOCK_CHANGES_BYTES has it");

/* Two places for each block, so that chains of full places stay short. */
static uint64_t place_of(const struct changes *changes, uint64_t block)
{
    uint64_t hash = block * 0x9e3779b97f4a7c15ull;
    return (uint64_t)((unsigned __int128)hash * (2 * changes->capacity) >> 64);
}

/* The place of a block in the index, or the free one where it belongs. */
static uint32_t *look_up(const struct changes *changes, uint64_t block)
{
    uint64_t place = place_of(changes, block);
    while (changes->index[place] && changes->entries[changes->index[place] - 1] >> 8 != block)
        place = place + 1 < 2 * changes->capacity ? place + 1 : 0;
    return &changes->index[place];
}

bool changes_join(struct changes *changes, void *memory, uint64_t changes_bytes)
{
    uint64_t capacity = changes_bytes / BLOCK_CHANGE_BYTES;
    struct changes_header *header = memory;
    *changes = (struct changes){
        .header = header,
        .entries = (uint64_t *)(header + 1),
        .index = (uint32_t *)((uint64_t *)(header + 1) + capacity),
        .blocks =
            (uint8_t *)memory + BLOCK_CHANGES_BYTES(changes_bytes) - capacity * BLOCK_CHANGE_BYTES,
        .capacity = capacity,
    };
    if (capacity == 0 || capacity >= UINT32_MAX)
        return false;
    if (header->magic == 0) {
        header->capacity = capacity;
        __atomic_store_n(&header->magic, MAGIC, __ATOMIC_RELEASE);
    }
    if (header->magic != MAGIC || header->capacity != capacity || header->used > capacity)
        return false;
    /* The predecessor may have ended between an entry and its place in the index: it is made anew. */
    memset(changes->index, 0, 2 * capacity * sizeof *changes->index);
    for (uint64_t i = 0; i < header->used; i++)
        *look_up(changes, changes->entries[i] >> 8) = (uint32_t)i + 1;
    return true;
}

uint32_t changes_find(const struct changes *changes, uint64_t sector, uint32_t count,
                      uint8_t **memory)
{
    uint32_t n = 0;
    *memory = NULL;
    while (n < count) {
        uint64_t block = (sector + n) / BLOCK_SECTORS;
        unsigned within = (unsigned)((sector + n) % BLOCK_SECTORS);
        uint32_t number = *look_up(changes, block);
        unsigned mask = number ? changes->entries[number - 1] & 0xff : 0;
        for (; within < BLOCK_SECTORS && n < count; within++, n++) {
            bool changed = mask >> within & 1;
            if (n == 0 && changed)
                *memory = changes->blocks + (uint64_t)(number - 1) * BLOCK_CHANGE_BYTES +
                          within * BLOCK_SECTOR_BYTES;
            if (changed != (*memory != NULL))
                return n;
        }
        if (*memory) /* the next block is elsewhere */
            return n;
    }
    return n;
}

uint8_t *changes_prepare(struct changes *changes, uint64_t sector, uint32_t *count)
{
    uint64_t block = sector / BLOCK_SECTORS;
    uint32_t within = (uint32_t)(sector % BLOCK_SECTORS);
    uint32_t *place = look_up(changes, block);
    if (*count > BLOCK_SECTORS - within)
        *count = (uint32_t)BLOCK_SECTORS - within;
    if (*place == 0) {
        struct changes_header *header = changes->header;
        if (header->used == changes->capacity)
            return NULL;
        changes->entries[header->used] = block << 8;
        *place = (uint32_t)header->used + 1;
        __atomic_store_n(&header->used, header->used + 1, __ATOMIC_RELEASE);
    }
    return changes->blocks + (uint64_t)(*place - 1) * BLOCK_CHANGE_BYTES +
           within * BLOCK_SECTOR_BYTES;
}

void changes_commit(struct changes *changes, uint64_t sector, uint32_t count)
{
    uint64_t *entry = &changes->entries[*look_up(changes, sector / BLOCK_SECTORS) - 1];
    uint64_t mask = ((1ull << count) - 1) << (sector % BLOCK_SECTORS);
    /* The data before the bits that make it count. */
    __atomic_store_n(entry, *entry | mask, __ATOMIC_RELEASE);
}
