#include "guest_memory.h"

#include "string.h"

static uint64_t room_in_region(const struct guest_memory *memory, gpa_t gpa, bool write,
                               uint8_t **host)
{
    for (unsigned i = 0; i < memory->count; i++) {
        uint64_t offset = gpa - memory->regions[i].base;
        if (gpa < memory->regions[i].base || offset >= memory->regions[i].size_bytes)
            continue;
        *host = memory->regions[i].host + offset;
        return write && memory->regions[i].read_only ? 0 : memory->regions[i].size_bytes - offset;
    }
    return 0;
}

/* The window that holds gpa, or the next one above it; a copy. False: there is none. */
static bool find_window(const struct guest_windows *windows, gpa_t gpa, struct guest_window *found)
{
    uint32_t sequence;
    bool there;
    do {
        sequence = __atomic_load_n(&windows->sequence, __ATOMIC_ACQUIRE);
        const struct guest_window_table *table = &windows->tables[sequence & 1];
        unsigned count = __atomic_load_n(&table->count, __ATOMIC_RELAXED), i = 0;
        count = count < GUEST_WINDOWS_MAX ? count : GUEST_WINDOWS_MAX;
        while (i < count && gpa >= table->list[i].base &&
               gpa - table->list[i].base >= table->list[i].size_bytes)
            i++;
        there = i < count;
        if (there)
            *found = table->list[i];
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        /* The table that is read is written to only after it was replaced. */
    } while (__atomic_load_n(&windows->sequence, __ATOMIC_RELAXED) != sequence);
    return there;
}

static __attribute__((noinline)) uint64_t room_with_windows(const struct guest_memory *memory,
                                                            gpa_t gpa, bool write, uint8_t **host)
{
    struct guest_window window = {0};
    if (!find_window(memory->windows, gpa, &window))
        return room_in_region(memory, gpa, write, host);
    if (gpa < window.base) { /* RAM, as far as the window */
        uint64_t room = room_in_region(memory, gpa, write, host);
        return room < window.base - gpa ? room : window.base - gpa;
    }
    if (!window.host)
        return 0;
    *host = window.host + (gpa - window.base);
    return write && window.read_only ? 0 : window.size_bytes - (gpa - window.base);
}

/* What is there from gpa to the end of its region or window; 0: nothing (or it may not be written). */
static uint64_t room_at(const struct guest_memory *memory, gpa_t gpa, bool write, uint8_t **host)
{
    if (__builtin_expect(memory->windows != NULL, 0))
        return room_with_windows(memory, gpa, write, host);
    return room_in_region(memory, gpa, write, host);
}

static __attribute__((noinline)) void *at_window(const struct guest_memory *memory, gpa_t gpa,
                                                 uint64_t size_bytes, bool write)
{
    uint8_t *host = NULL;
    uint64_t room = room_with_windows(memory, gpa, write, &host);
    return room && size_bytes <= room ? host : NULL;
}

struct guest_region guest_memory_usual(const struct guest_memory *memory)
{
    const struct guest_windows *windows = memory->windows;
    if (!windows)
        return memory->regions[0].read_only ? (struct guest_region){0} : memory->regions[0];
    uint32_t sequence = __atomic_load_n(&windows->sequence, __ATOMIC_ACQUIRE);
    const struct guest_region *usual = &windows->tables[sequence & 1].usual;
    struct guest_region found = {
        .base = __atomic_load_n(&usual->base, __ATOMIC_RELAXED),
        .size_bytes = __atomic_load_n(&usual->size_bytes, __ATOMIC_RELAXED),
        .host = __atomic_load_n(&usual->host, __ATOMIC_RELAXED),
    };
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    /* As in find_window; who is too late looks the long way. */
    if (__atomic_load_n(&windows->sequence, __ATOMIC_RELAXED) != sequence)
        found.size_bytes = 0;
    return found;
}

/* Of every buffer that a driver gives: short where there are no windows. */
void *guest_memory_at(const struct guest_memory *memory, gpa_t gpa, uint64_t size_bytes, bool write)
{
    if (memory->windows) {
        struct guest_region usual = guest_memory_usual(memory);
        uint64_t offset = gpa - usual.base; /* below it: more than any size */
        return offset < usual.size_bytes && size_bytes <= usual.size_bytes - offset
                   ? usual.host + offset
                   : at_window(memory, gpa, size_bytes, write);
    }
    const struct guest_region *end = memory->regions + memory->count;
    for (const struct guest_region *region = memory->regions; region < end; region++) {
        uint64_t offset = gpa - region->base;
        if (offset >= region->size_bytes)
            continue;
        bool good = size_bytes <= region->size_bytes - offset && !(write && region->read_only);
        return good ? region->host + offset : NULL;
    }
    return NULL;
}

static bool is_there(const struct guest_memory *memory, gpa_t gpa, size_t size_bytes, bool write)
{
    uint8_t *host;
    while (size_bytes) {
        uint64_t room = room_at(memory, gpa, write, &host);
        if (room == 0)
            return false;
        uint64_t part = room < size_bytes ? room : size_bytes;
        size_bytes -= part;
        gpa += part;
        if (size_bytes && gpa == 0)
            return false;
    }
    return true;
}

bool guest_memory_read(const struct guest_memory *memory, gpa_t gpa, void *data, size_t size_bytes)
{
    uint8_t *host = NULL, *to = data;
    if (!is_there(memory, gpa, size_bytes, false))
        return false;
    while (size_bytes) {
        uint64_t room = room_at(memory, gpa, false, &host);
        size_t part = room < size_bytes ? room : size_bytes;
        memcpy(to, host, part);
        to += part, gpa += part, size_bytes -= part;
    }
    return true;
}

bool guest_memory_write(const struct guest_memory *memory, gpa_t gpa, const void *data,
                        size_t size_bytes)
{
    uint8_t *host = NULL;
    const uint8_t *from = data;
    if (!is_there(memory, gpa, size_bytes, true))
        return false;
    while (size_bytes) {
        uint64_t room = room_at(memory, gpa, true, &host);
        size_t part = room < size_bytes ? room : size_bytes;
        memcpy(host, from, part);
        from += part, gpa += part, size_bytes -= part;
    }
    return true;
}

/* ---- windows ---------------------------------------------------------------------------------------------- */

uint8_t *guest_memory_ram(const struct guest_memory *memory, gpa_t gpa, uint64_t size_bytes)
{
    uint8_t *host = NULL;
    return room_in_region(memory, gpa, false, &host) >= size_bytes && size_bytes ? host : NULL;
}

/* Is there RAM at any place from gpa on? */
static bool has_ram(const struct guest_memory *memory, gpa_t gpa, uint64_t size_bytes)
{
    for (unsigned i = 0; i < memory->count; i++)
        if (gpa - memory->regions[i].base < memory->regions[i].size_bytes ||
            memory->regions[i].base - gpa < size_bytes)
            return true;
    return false;
}

/* Behind the others, or as the last one's continuation. False: it is full. */
static bool append(struct guest_window_table *table, struct guest_window window)
{
    struct guest_window *last = table->count ? &table->list[table->count - 1] : NULL;
    if (window.size_bytes == 0)
        return true;
    if (last && last->base + last->size_bytes == window.base &&
        last->read_only == window.read_only &&
        (last->host ? last->host + last->size_bytes == window.host : !window.host)) {
        last->size_bytes += window.size_bytes;
        return true;
    }
    if (table->count == GUEST_WINDOWS_MAX)
        return false;
    table->list[table->count++] = window;
    return true;
}

/* `window` without what is outside from base to end. */
static struct guest_window part_of(struct guest_window window, gpa_t base, gpa_t end)
{
    gpa_t window_end = window.base + window.size_bytes;
    gpa_t from = window.base > base ? window.base : base;
    gpa_t to = window_end < end ? window_end : end;
    if (from >= to)
        return (struct guest_window){0};
    return (struct guest_window){
        from, to - from, window.host ? window.host + (from - window.base) : NULL, window.read_only};
}

/* The writable RAM between two addresses, if that is more than what was found before. */
static void find_usual_between(const struct guest_memory *memory, gpa_t base, gpa_t end,
                               struct guest_region *usual)
{
    for (unsigned i = 0; i < memory->count; i++) {
        const struct guest_region *region = &memory->regions[i];
        gpa_t from = region->base > base ? region->base : base;
        gpa_t to =
            region->base + region->size_bytes < end ? region->base + region->size_bytes : end;
        if (!region->read_only && from < to && to - from > usual->size_bytes)
            *usual =
                (struct guest_region){from, to - from, region->host + (from - region->base), false};
    }
}

static void find_usual(const struct guest_memory *memory, struct guest_window_table *table)
{
    struct guest_region usual = {0};
    gpa_t from = 0;
    for (unsigned i = 0; i < table->count; i++) {
        find_usual_between(memory, from, table->list[i].base, &usual);
        from = table->list[i].base + table->list[i].size_bytes;
    }
    find_usual_between(memory, from, UINT64_MAX, &usual);
    __atomic_store_n(&table->usual.base, usual.base, __ATOMIC_RELAXED);
    __atomic_store_n(&table->usual.size_bytes, usual.size_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&table->usual.host, usual.host, __ATOMIC_RELAXED);
}

bool guest_memory_cover(struct guest_memory *memory, gpa_t gpa, uint64_t size_bytes, uint8_t *host,
                        bool writable)
{
    struct guest_windows *windows = memory->windows;
    if (!windows || size_bytes == 0 || gpa + size_bytes <= gpa)
        return false;
    const struct guest_window_table *old = &windows->tables[windows->sequence & 1];
    struct guest_window_table *new = &windows->tables[~windows->sequence & 1];
    struct guest_window window = {gpa, size_bytes, host, host && !writable};
    if (host ? writable && host == guest_memory_ram(memory, gpa, size_bytes)
             : !has_ram(memory, gpa, size_bytes))
        window.size_bytes = 0; /* as it is without windows */
    bool good = true;
    new->count = 0;
    for (unsigned i = 0; i < old->count; i++)
        good = good && append(new, part_of(old->list[i], 0, gpa));
    good = good && append(new, window);
    for (unsigned i = 0; i < old->count; i++)
        good = good && append(new, part_of(old->list[i], gpa + size_bytes, UINT64_MAX));
    find_usual(memory, new);
    if (good)
        __atomic_store_n(&windows->sequence, windows->sequence + 1, __ATOMIC_RELEASE);
    return good;
}

uint32_t guest_memory_changes(const struct guest_memory *memory)
{
    return memory->windows ? __atomic_load_n(&memory->windows->sequence, __ATOMIC_ACQUIRE) : 0;
}
