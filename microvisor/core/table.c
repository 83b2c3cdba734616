/* The walker of all radix tables. */
#include "core/table.h"

#include "check/check.h"

uint64_t *table_garbage;

/* ---- walking --------------------------------------------------------------------------------- */

static bool is_present(const struct table *table, uint64_t entry)
{
    return entry & table->format->present_mask;
}

static bool is_directory(const struct table_format *format, uint64_t entry, unsigned level)
{
    return entry & format->present_mask && level && !(entry & format->large);
}

static unsigned index_of(uint64_t address, unsigned level)
{
    return address >> (PAGE_SHIFT + 9 * level) & (TABLE_ENTRIES - 1);
}

/* The first address that the entry of that level for `address` does not cover. */
static uint64_t next_entry(uint64_t address, unsigned level)
{
    return (address | (table_span(level) - 1)) + 1;
}

static void write_entry(uint64_t *entry, uint64_t value)
{
    __atomic_store_n(entry, value, __ATOMIC_RELEASE);
}

/* The entries on the way to an address, by level. */
struct path {
    uint64_t *entry[TABLE_LEVELS];
};

/* Goes down to an entry that points to no table; returns its level. */
static unsigned descend(const struct table *table, uint64_t address, struct path *path)
{
    const uint64_t present = table->format->present_mask, large = table->format->large;
    const uint64_t address_mask = table->format->address_mask;
    uint64_t *entries = table->root;
    for (unsigned level = TABLE_LEVELS - 1;; level--) {
        uint64_t *place = path->entry[level] = &entries[index_of(address, level)], entry = *place;
        if (!(entry & present) || !level || entry & large)
            return level;
        entries = frame_virtual(entry & address_mask);
    }
}

/* ---- clearing -------------------------------------------------------------------------------- */

/* Unlinks the table that holds path->entry[level] if it is empty, and those above that become so. */
static void unlink_empty(struct table *table, unsigned level, struct path *path)
{
    for (; level < TABLE_LEVELS - 1; level++) {
        uint64_t *entries = (uint64_t *)((uintptr_t)path->entry[level] & ~PAGE_MASK);
        uint64_t from = (uint64_t)(path->entry[level] - entries);
        for (uint64_t i = from; i < from + TABLE_ENTRIES; i++) { /* neighbours are likely there */
            if (entries[i % TABLE_ENTRIES])
                return;
        }
        write_entry(path->entry[level + 1], 0);
        ledger_cleared(table);
        if (entries == table->recent)
            table->recent = NULL;
        entries[0] = (uintptr_t)table_garbage;
        entries[1] = (uintptr_t)table->quota;
        table_garbage = entries;
    }
}

bool table_clear(struct table *table, uint64_t address, uint64_t size, unsigned *budget)
{
    uint64_t end = address + size;
    while (address < end) {
        struct path path;
        unsigned level = descend(table, address, &path);
        uint64_t *entry = path.entry[level];
        if (!*budget)
            return false;
        (*budget)--; /* a look at a table costs as much as a leaf */
        do {
            if (is_directory(table->format, *entry, level) || (*entry && !*budget))
                break;
            if (*entry) {
                ASSERT(!(address & (table_span(level) - 1)));
                write_entry(entry, 0);
                ledger_cleared(table);
                (*budget)--;
            }
            entry++;
            address = next_entry(address, level);
        } while (address < end && index_of(address, level));
        unlink_empty(table, level, &path);
    }
    return true;
}

void table_free_garbage(void)
{
    while (table_garbage) {
        uint64_t *entries = table_garbage;
        struct quota *quota = (struct quota *)(uintptr_t)entries[1];
        table_garbage = (uint64_t *)(uintptr_t)entries[0];
        ledger_page_freed(quota);
        quota_free_pages(quota, entries, 0);
    }
}

/* ---- mapping --------------------------------------------------------------------------------- */

/* Finds the entry of that level for `at`, adding the tables that are missing: an error may leave some. */
static __attribute__((noinline)) enum septum_status make_entry(struct table *table, uint64_t at,
                                                               unsigned to_level, uint64_t **found)
{
    uint64_t *entry = &table->root[index_of(at, TABLE_LEVELS - 1)];
    for (unsigned level = TABLE_LEVELS - 1; level > to_level; level--) {
        if (!is_directory(table->format, *entry, level)) {
            uint64_t *fresh = *entry ? NULL : quota_alloc_pages(table->quota, 0);
            if (!fresh)
                return *entry ? STATUS_BAD_ARGUMENT : STATUS_NO_QUOTA;
            write_entry(entry, frame_physical(fresh) | table->format->directory);
        }
        entry = frame_virtual(*entry & table->format->address_mask);
        if (level == 1) {
            table->recent = entry;
            table->recent_at = at / table_span(1);
        }
        entry += index_of(at, level - 1);
    }
    *found = entry;
    return STATUS_OK;
}

enum septum_status table_map(struct table *table, uint64_t address, uint64_t *size,
                             const struct table_leaf *leaf, unsigned leaves)
{
    const struct table_format *format = table->format;
    uint64_t bits = table_leaf_bits(format, leaf);
    uint64_t at = address, end = address + *size;
    enum septum_status status;
    ledger_filled(table);
    do { /* for each table: a larger leaf can begin only where a table begins */
        unsigned leaf_level = end - at < table_span(1) ? 0 : format->largest_leaf;
        while (leaf_level && ((at | bits) & (table_span(leaf_level) - PAGE_SIZE) ||
                              end - at < table_span(leaf_level)))
            leaf_level--;
        uint64_t *entry;
        if (!leaf_level && at / table_span(1) == table->recent_at && table->recent) {
            entry = table->recent + index_of(at, 0);
        } else {
            status = make_entry(table, at, leaf_level, &entry);
            if (status != STATUS_OK)
                goto failed;
        }
        uint64_t span = table_span(leaf_level), large = leaf_level ? format->large : 0;
        do {
            status = STATUS_BAD_ARGUMENT;
            if (unlikely(*entry))
                goto failed;
            write_entry(entry++, bits | large);
            bits += span;
            at += span;
        } while (--leaves && end - at >= span && (uintptr_t)entry & PAGE_MASK);
    } while (leaves && at < end);
    *size = at - address;
    return STATUS_OK;
failed:;
    unsigned budget = UINT32_MAX;
    struct path path;
    table_clear(table, address, at - address, &budget);
    unlink_empty(table, descend(table, at, &path), &path); /* what was added for the next one */
    return status;
}

bool table_split(struct table *table, uint64_t address, uint64_t *start, uint64_t *end)
{
    for (;;) {
        struct path path;
        unsigned level = descend(table, address, &path);
        uint64_t entry = *path.entry[level];
        *end = next_entry(address, level);
        *start = *end - table_span(level);
        if (!is_present(table, entry) || *start == address)
            return true;
        uint64_t *parts = quota_alloc_pages(table->quota, 0);
        if (!parts)
            return false;
        if (level == 1)
            entry &= ~table->format->large;
        for (unsigned i = 0; i < TABLE_ENTRIES; i++)
            parts[i] = entry + i * table_span(level - 1);
        write_entry(path.entry[level], frame_physical(parts) | table->format->directory);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

bool table_next(const struct table *table, uint64_t address, struct table_entry *entry)
{
    struct path path;
    while (table->root && address < table->end) {
        unsigned level = descend(table, address, &path);
        const uint64_t *place = path.entry[level], span = table_span(level);
        /* Nobody is preempted meanwhile: what is empty in one table is passed without going down again. */
        for (; !is_present(table, *place); place++) {
            address = next_entry(address, level);
            if (!index_of(address, level) || address >= table->end)
                break;
        }
        uint64_t raw = *place;
        if (is_present(table, raw) && !is_directory(table->format, raw, level)) {
            *entry = (struct table_entry){
                .address = address & ~(span - 1), .size_bytes = span, .raw = raw};
            entry->frame = raw & table->format->address_mask & ~(span - 1);
            table->format->decode(raw, &entry->rights, &entry->cache);
            return true;
        }
    }
    return false;
}
