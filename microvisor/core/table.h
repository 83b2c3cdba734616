/*
 * Radix tables: one walker for the host's page tables, EPT, NPT and the IOMMU's. All are trees of
 * 512 entries of 8 bytes, leaves at level 0 (4 KiB), 1 (2 MiB) and 2 (1 GiB); what differs is in
 * struct table_format. Changes are made under mapping_lock. But for the top, no table is ever
 * empty: the last entry takes its table with it.
 */
#pragma once

#include "core/quota.h"

#define TABLE_LEVELS  4u
#define TABLE_ENTRIES 512u

struct table_format {
    uint64_t present_mask; /* an entry is present if any of these bits is set */
    uint64_t directory;    /* bits of an entry that points to a table */
    uint64_t large;        /* the bit that makes an entry of level 1 or 2 a leaf */
    uint64_t address_mask; /* physical address bits of an entry */
    unsigned largest_leaf; /* highest leaf level that the processor has, 1 or 2: set at boot */
    /* Leaf bits by enum map_right, which include MAP_READ, and by enum map_cache; without `large`. */
    uint64_t rights[MAP_RIGHTS + 1], memory[3], device[3];
    void (*decode)(uint64_t entry, unsigned *rights, enum map_cache *cache);
};

struct table {
    const struct table_format *format;
    uint64_t *root; /* kernel address of the top table, NULL until made */
    uint64_t end; /* first address beyond the range that may be mapped: what is there is not ours */
    struct quota *quota; /* pays */
    uint64_t *recent;    /* where a page was mapped last: a table of level 0, NULL if it is gone, */
    uint64_t recent_at;  /* and what it spans: address / table_span(1) */
};

/*
 * Tables that nothing points to any more, until every processor has been told: none when mapping_lock is
 * free. The first entries hold the link and the quota: aligned addresses, without a bit that would make
 * an entry present.
 */
extern uint64_t *table_garbage;

/* Bytes that a leaf or an entry of that level spans. */
static inline uint64_t table_span(unsigned level)
{
    return PAGE_SIZE << 9 * level;
}

/* What a leaf is to say. */
struct table_leaf {
    paddr_t frame;
    unsigned rights;
    enum map_cache cache;
    bool device;
};

static inline uint64_t table_leaf_bits(const struct table_format *format,
                                       const struct table_leaf *leaf)
{
    return leaf->frame | format->rights[leaf->rights] |
           (leaf->device ? format->device : format->memory)[leaf->cache];
}

/*
 * Maps [address, address+*size), with the largest leaves that fit and at most `leaves` of them;
 * *size says how far it got. On an error nothing is left of it, but what was tried has to be flushed
 * and the garbage freed then: BAD_ARGUMENT, something is mapped there; NO_QUOTA.
 */
enum septum_status table_map(struct table *table, uint64_t address, uint64_t *size,
                             const struct table_leaf *leaf, unsigned leaves);

/*
 * Makes sure that no leaf lies across `address`, splitting those that do. False if the quota does
 * not allow it: then [*start, *end) is the leaf.
 */
bool table_split(struct table *table, uint64_t address, uint64_t *start, uint64_t *end);

/*
 * Clears [address, address+size), whose ends no leaf may lie across. Takes from *budget what it
 * costs and stops (false) when that is used up: what is done is done, call it again.
 */
bool table_clear(struct table *table, uint64_t address, uint64_t size, unsigned *budget);

/* After the flush: gives the tables back. */
void table_free_garbage(void);

/* The first leaf that ends above `address`, as the hardware would find it: for the audit. */
struct table_entry {
    uint64_t address, size_bytes, raw;
    paddr_t frame;
    unsigned rights;
    enum map_cache cache;
};
bool table_next(const struct table *table, uint64_t address, struct table_entry *entry);

extern struct table_format table_format_host; /* x86/paging_format.c; serves for NPT as well */
extern struct table_format table_format_dma;  /* the same */
extern struct table_format table_format_ept;  /* virt/ept.c */
