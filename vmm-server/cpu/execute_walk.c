/* Walks of the guest's page tables: 32-bit, PAE and long mode (SDM 3A, chapter 4). */
#include "cpu/execute_internal.h"

#define LEVELS_MAX EXECUTE_LEVELS_MAX
#define PAGE       4096u

enum {
    ENTRY_PRESENT = 1 << 0,
    ENTRY_WRITABLE = 1 << 1,
    ENTRY_USER = 1 << 2,
    ENTRY_ACCESSED = 1 << 5,
    ENTRY_DIRTY = 1 << 6,
    ENTRY_LARGE = 1 << 7,
};
#define ENTRY_NX (1ull << 63)

enum page_fault_error {
    ERROR_PRESENT = 1 << 0,
    ERROR_WRITE = 1 << 1,
    ERROR_USER = 1 << 2,
    ERROR_RESERVED = 1 << 3,
    ERROR_FETCH = 1 << 4,
};

/* The shape of the tables, and what has been found on the way down. */
struct walk {
    struct execute_world *world;
    unsigned levels, entry_bytes, index_bits;
    bool pae;          /* the 4-entry top table of PAE mode */
    uint64_t reserved; /* bits that are 0 in every present entry */
    void *pointers[LEVELS_MAX];
    uint64_t entries[LEVELS_MAX], addresses[LEVELS_MAX];
    unsigned leaf; /* the level of the last entry read */
    uint64_t gpa;
    uint64_t common; /* what all entries have: writable, user, accessed */
    uint64_t nx;     /* what any has */
};

enum walk_result { WALK_FOUND, WALK_ABSENT, WALK_RESERVED, WALK_NOWHERE };

static uint64_t load_entry(const struct walk *walk, const void *pointer)
{
    return walk->entry_bytes == 8 ? __atomic_load_n((const uint64_t *)pointer, __ATOMIC_RELAXED)
                                  : __atomic_load_n((const uint32_t *)pointer, __ATOMIC_RELAXED);
}

/* Sets bits unless the entry has changed since it was read. */
static bool set_bits(const struct walk *walk, void *pointer, uint64_t entry, uint64_t bits)
{
    uint32_t small = (uint32_t)entry;
    if (walk->entry_bytes == 8)
        return __atomic_compare_exchange_n((uint64_t *)pointer, &entry, entry | bits, false,
                                           __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
    return __atomic_compare_exchange_n((uint32_t *)pointer, &small, (uint32_t)(entry | bits), false,
                                       __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Bits that must be 0 in a present entry (tables 4-8 to 4-20), whatever its level. */
static uint64_t reserved_everywhere(const struct walk *walk)
{
    const struct vcpu_state *state = walk->world->state;
    if (walk->entry_bytes == 4)
        return 0;
    return (~0ull << walk->world->physical_bits & 0x000fffffffffffffull) |
           (state->efer & EFER_NXE ? 0 : ENTRY_NX) | (walk->pae ? 0x7ff0000000000000ull : 0);
}

/* And those of a page-directory-pointer entry in PAE mode, or of one with ENTRY_LARGE. Level 1 is the page table. */
static uint64_t reserved_more(const struct walk *walk, unsigned level, bool large)
{
    if (walk->pae && level == 3) /* but for the accessed bit, which QEMU 7.2 sets there */
        return ENTRY_NX | 0x1c6;
    if (level > 3)
        return ENTRY_LARGE;
    if (!large)
        return 0;
    return walk->entry_bytes == 4 ? 1u << 21 : level == 3 ? 0x3fffe000 : 0x1fe000;
}

static bool is_large(const struct walk *walk, unsigned level)
{
    if (walk->entry_bytes == 4)
        return level == 2 && (walk->world->state->cr4 & CR4_PSE);
    return level == 2 || (level == 3 && !walk->pae);
}

static uint64_t leaf_address(const struct walk *walk, unsigned level, uint64_t entry,
                             uint64_t linear)
{
    uint64_t offset = (1ull << (12 + walk->index_bits * (level - 1))) - 1;
    if (walk->entry_bytes == 4 && level == 2) /* PSE-36 */
        return (entry & 0xffc00000) | (entry & 0x1fe000) << 19 | (linear & offset);
    return (entry & 0x000ffffffffff000ull & ~offset) | (linear & offset);
}

/* One pass from the top; nothing is changed. */
static enum walk_result descend(struct walk *walk, uint64_t linear)
{
    const struct vcpu_state *state = walk->world->state;
    uint64_t table = state->cr3 & (walk->pae                ? 0xffffffe0ull
                                   : walk->entry_bytes == 4 ? 0xfffff000ull
                                                            : 0x000ffffffffff000ull);
    walk->common = ~0ull;
    walk->nx = 0;
    for (unsigned level = walk->levels; level > 0; level--) {
        unsigned shift = 12 + walk->index_bits * (level - 1);
        bool pointer_table = walk->pae && level == 3, large = false;
        uint64_t index = linear >> shift & (pointer_table ? 3 : (1u << walk->index_bits) - 1);
        uint64_t address = table + index * walk->entry_bytes, reserved = walk->reserved, entry;
        void *pointer = walk->world->ram_at(walk->world, address, walk->entry_bytes, false);
        if (!pointer)
            return WALK_NOWHERE;
        entry = load_entry(walk, pointer);
        if (!(entry & ENTRY_PRESENT))
            return WALK_ABSENT;
        if ((entry & ENTRY_LARGE) || pointer_table) {
            large = (entry & ENTRY_LARGE) && is_large(walk, level);
            reserved |= reserved_more(walk, level, large);
        }
        if (entry & reserved)
            return WALK_RESERVED;
        walk->pointers[level - 1] = pointer;
        walk->entries[level - 1] = entry;
        walk->addresses[level - 1] = address;
        if (!pointer_table) {
            walk->common &= entry;
            walk->nx |= entry & ENTRY_NX;
        }
        if (large || level == 1) {
            walk->leaf = level;
            walk->gpa = leaf_address(walk, level, entry, linear);
            return WALK_FOUND;
        }
        table = entry & 0x000ffffffffff000ull;
    }
    return WALK_ABSENT;
}

/* Section 4.6. */
static bool permitted(const struct walk *walk, unsigned access)
{
    const struct vcpu_state *state = walk->world->state;
    bool user = (access & EXECUTE_ACCESS_USER) != 0;
    bool user_page = (walk->common & ENTRY_USER) != 0;
    if (user && !user_page)
        return false;
    if ((access & VCPU_ACCESS_WRITE) && !(walk->common & ENTRY_WRITABLE) &&
        (user || (state->cr0 & CR0_WP)))
        return false;
    if (access & VCPU_ACCESS_EXECUTE)
        return !(walk->nx && (state->efer & EFER_NXE)) &&
               (user || !user_page || !(state->cr4 & CR4_SMEP));
    return user || !user_page || !(state->cr4 & CR4_SMAP) || (state->rflags & RFLAGS_AC);
}

/* Accessed in all entries that were used, dirty in the last. False: one has changed meanwhile. */
static bool mark(struct walk *walk, unsigned access, bool *nowhere)
{
    uint64_t dirty = access & VCPU_ACCESS_WRITE ? ENTRY_DIRTY : 0;
    if ((walk->common & ENTRY_ACCESSED) && (walk->entries[walk->leaf - 1] & dirty) == dirty)
        return true;
    for (unsigned level = walk->levels; level >= walk->leaf; level--) {
        uint64_t entry = walk->entries[level - 1], bits = ENTRY_ACCESSED;
        if (walk->pae && level == 3)
            continue;
        if (level == walk->leaf)
            bits |= dirty;
        if ((entry & bits) == bits)
            continue;
        /* A table in ROM can be read, but not be marked. */
        if (!walk->world->ram_at(walk->world, walk->addresses[level - 1], walk->entry_bytes,
                                 true)) {
            *nowhere = true;
            return true;
        }
        if (!set_bits(walk, walk->pointers[level - 1], entry, bits))
            return false;
        /* What is remembered: a guest that clears them has them set again. */
        walk->entries[level - 1] |= bits;
    }
    return true;
}

static uint64_t page_fault(const struct walk *walk, uint64_t linear, unsigned access,
                           enum walk_result why)
{
    struct vcpu_state *state = walk->world->state;
    uint64_t error = why == WALK_ABSENT ? 0 : ERROR_PRESENT;
    if (why == WALK_RESERVED)
        error |= ERROR_RESERVED;
    if (access & VCPU_ACCESS_WRITE)
        error |= ERROR_WRITE;
    if (access & EXECUTE_ACCESS_USER)
        error |= ERROR_USER;
    if ((access & VCPU_ACCESS_EXECUTE) &&
        (((state->efer & EFER_NXE) && walk->entry_bytes == 8) || (state->cr4 & CR4_SMEP)))
        error |= ERROR_FETCH;
    execute_need(walk->world, VCPU_GROUP_CONTROL);
    state->cr2 = linear;
    return VCPU_EVENT(EXCEPTION_PAGE, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR | error << 32;
}

/* The tables' shape by the mode of the processor. */
static void set_shape(struct walk *walk, struct execute_world *world)
{
    const struct vcpu_state *state = world->state;
    bool long_mode = (state->efer & EFER_LMA) != 0;
    walk->world = world;
    walk->pae = (state->cr4 & CR4_PAE) && !long_mode;
    walk->entry_bytes = state->cr4 & CR4_PAE ? 8 : 4;
    walk->index_bits = state->cr4 & CR4_PAE ? 9 : 10;
    walk->levels = long_mode ? (state->cr4 & CR4_LA57 ? 5 : 4) : walk->pae ? 3 : 2;
    walk->reserved = reserved_everywhere(walk);
}

/* The guest's device drivers come from the same few pages each time. */
static struct execute_walk *walk_for(struct execute_world *world, uint64_t linear)
{
    return &world->walks[linear / PAGE % EXECUTE_WALKS];
}

/* Has everything that this walk depended on stayed? Accessed and dirty bits are among the entries. */
static bool still_good(const struct execute_walk *known, const struct vcpu_state *state,
                       uint64_t linear, unsigned access)
{
    if (known->levels == 0 || known->linear != linear / PAGE || known->access != access ||
        known->cr3 != state->cr3 || known->cr0 != state->cr0 || known->cr4 != state->cr4 ||
        known->efer != state->efer || (known->rflags ^ state->rflags) & RFLAGS_AC)
        return false;
    for (unsigned i = 0; i < known->levels; i++)
        if (__atomic_load_n(known->pointers[i], __ATOMIC_RELAXED) != known->entries[i])
            return false;
    return true;
}

/* Only of tables with entries of 8 bytes. */
static void remember(const struct walk *walk, uint64_t linear, unsigned access)
{
    const struct vcpu_state *state = walk->world->state;
    struct execute_walk *known = walk_for(walk->world, linear);
    if (walk->entry_bytes != 8)
        return;
    *known = (struct execute_walk){.linear = linear / PAGE,
                                   .access = access,
                                   .cr0 = state->cr0,
                                   .cr3 = state->cr3,
                                   .cr4 = state->cr4,
                                   .efer = state->efer,
                                   .rflags = state->rflags,
                                   .gpa = walk->gpa & ~(uint64_t)(PAGE - 1)};
    for (unsigned level = walk->levels; level >= walk->leaf; level--) {
        known->pointers[known->levels] = walk->pointers[level - 1];
        known->entries[known->levels++] = walk->entries[level - 1];
    }
}

bool execute_walked(const struct execute_world *world, uint64_t linear, unsigned access,
                    uint64_t *gpa)
{
    const struct execute_walk *known = &world->walks[linear / PAGE % EXECUTE_WALKS];
    if (!(world->state->cr0 & CR0_PG) || !still_good(known, world->state, linear, access))
        return false;
    *gpa = known->gpa | linear % PAGE;
    return true;
}

bool execute_translate(struct execute_world *world, uint64_t linear, unsigned access, uint64_t *gpa,
                       uint64_t *event)
{
    const struct execute_walk *known = walk_for(world, linear);
    struct walk walk;
    bool nowhere = false;

    *event = 0;
    if (!(world->state->cr0 & CR0_PG)) {
        *gpa = linear & 0xffffffff;
        return true;
    }
    if (still_good(known, world->state, linear, access)) {
        *gpa = known->gpa | linear % PAGE;
        return true;
    }
    set_shape(&walk, world);
    do {
        enum walk_result result = descend(&walk, linear);
        if (result == WALK_NOWHERE)
            return false;
        if (result != WALK_FOUND || !permitted(&walk, access)) {
            *event = page_fault(&walk, linear, access, result);
            return false;
        }
    } while (!mark(&walk, access, &nowhere));
    *gpa = walk.gpa;
    if (!nowhere)
        remember(&walk, linear, access);
    return !nowhere;
}
