/*
 * Memory and capability slots of a first task: frames from the ranges of boot_info, addresses in
 * its own space, slots of its own capability space. One instance, for the program that is the first
 * task. Not for several threads at once.
 */
#ifndef LIB_MEMORY_H
#define LIB_MEMORY_H

#include <stddef.h>

#include "message.h"
#include "pool.h"

struct memory {
    struct pool frames;    /* RAM that nobody uses, by frame number */
    struct pool addresses; /* pages of the task's own address space, by page number */
    struct pool slots;
};

extern struct memory memory;

/* Addresses handed out by memory_map and address_take lie in here. */
#define MEMORY_ADDRESS_BASE 0x0000001000000000ull
#define MEMORY_ADDRESS_END  0x0000002000000000ull

/* Fills the pools. slots_end: the first slot that may not be used. */
void memory_init(const struct boot_info *boot, cap_slot_t slots_end);

/* Physical memory: contiguous pages at a multiple of `alignment` pages; POOL_NONE if there are
 * none. */
uint64_t frames_take(uint64_t pages, uint64_t alignment);
void frames_give(uint64_t physical, uint64_t pages);

/* Unused addresses of the task's own space. */
uint64_t address_take(uint64_t pages, uint64_t alignment);
void address_give(uint64_t address, uint64_t pages);

/* An unused slot, or 0. */
cap_slot_t slot_take(void);
void slot_give(cap_slot_t slot);

/* Maps physical pages where `address` says, in the space of the task in slot `task`. */
uint64_t memory_map_at(cap_slot_t task, enum space_kind space, uint64_t address, uint64_t physical,
                       uint64_t pages, unsigned rights);

/* Zeroed pages somewhere in the task's own space (read and write), aligned to `alignment` pages;
 * NULL if there are none. *physical, if not NULL, becomes their physical address. */
void *memory_take(uint64_t pages, uint64_t alignment, uint64_t *physical);
/* Takes them back from everyone to whom they were delegated. */
void memory_give(void *address, uint64_t physical, uint64_t pages);

#endif
