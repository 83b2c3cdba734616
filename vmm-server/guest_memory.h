/*
 * A guest's memory as its VMM sees it: a few regions of RAM by guest-physical addresses, each one piece of the VMM's
 * own space, and windows in which a guest finds something else than the RAM behind them (ROM, a picture's memory), or
 * nothing. Every address that a guest gives goes through here; nobody adds to a guest's address first.
 *
 * Regions never change. Windows may while vCPUs' threads look things up: what is found through one that is just being
 * replaced is what was there before. All of it is this task's memory for as long as it lives.
 */
#ifndef VMM_GUEST_MEMORY_H
#define VMM_GUEST_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_MEMORY_REGIONS_MAX 8u
#define GUEST_WINDOWS_MAX        48u

typedef uint64_t gpa_t;

struct guest_region {
    gpa_t base;
    uint64_t size_bytes;
    uint8_t *host;
    bool read_only;
};

struct guest_window {
    gpa_t base;
    uint64_t size_bytes;
    uint8_t *host; /* NULL: nothing is there, not even RAM */
    bool read_only;
};

/* By rising base, never overlapping. Two tables: one is in use, the other becomes the next. */
struct guest_windows {
    uint32_t sequence; /* counts changes: its lowest bit tells which table is in use */
    struct guest_window_table {
        struct guest_region usual; /* the largest piece of writable RAM between windows */
        unsigned count;
        struct guest_window list[GUEST_WINDOWS_MAX];
    } tables[2];
};

struct guest_memory {
    struct guest_region regions[GUEST_MEMORY_REGIONS_MAX];
    unsigned count;
    struct guest_windows *windows; /* NULL: there can be none, as on `lean` */
};

/* The VMM's address of size_bytes at gpa, all inside one region or window; NULL if not, or if `write` and read-only.
 * What is read through it can change at any time: copy, then check. */
void *guest_memory_at(const struct guest_memory *memory, gpa_t gpa, uint64_t size_bytes,
                      bool write);
/* Where most addresses that a guest gives lie: a piece of RAM that may be written, without windows; of 0 bytes: there is none. */
struct guest_region guest_memory_usual(const struct guest_memory *memory);
/* Copies across regions. False (and nothing done) if a byte is not there. */
bool guest_memory_read(const struct guest_memory *memory, gpa_t gpa, void *data, size_t size_bytes);
bool guest_memory_write(const struct guest_memory *memory, gpa_t gpa, const void *data,
                        size_t size_bytes);

/* The RAM at gpa, whatever window is before it; NULL: there is none, or not so much. For board models. */
uint8_t *guest_memory_ram(const struct guest_memory *memory, gpa_t gpa, uint64_t size_bytes);
/* From now on `host` is found at gpa; NULL: nothing. The RAM of that place, writable, ends what windows there are. False, and
 * nothing is done: there are no windows, or no room for one more. One caller at a time (the machine's lock). */
bool guest_memory_cover(struct guest_memory *memory, gpa_t gpa, uint64_t size_bytes, uint8_t *host,
                        bool writable);
/* How often windows have changed; 0 where there can be none. */
uint32_t guest_memory_changes(const struct guest_memory *memory);

#endif
