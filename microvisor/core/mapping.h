/*
 * The mapping database: who holds which range of which space, and from whom he has it. It holds
 * ranges, not pages. Ranges of one space never overlap; each is the child of the range that it was
 * delegated from, so taking one back takes back its whole subtree. Lock: mapping_lock, for all
 * ranges, derivations of capabilities, tables and port bitmaps; held for a bounded number of steps.
 * Order: mapping_lock, quota, frames_lock.
 */
#pragma once

#include "core/capability.h"
#include "core/table.h"
#include "core/tree.h"

struct thread;

extern struct spinlock mapping_lock;

/*
 * A range in a space, in bytes or ports. Its frames are consecutive, and are among its parent's. For
 * ports the "frames" are the ports.
 */
struct range {
    struct tree_node place; /* in the space's tree, by address */
    uint64_t frame;         /* of its start */
    struct task *task;
    struct range *parent;
    struct list children, sibling;
    struct range *after;          /* who has what is behind the cut, and the children there */
    uint64_t cut_start, cut_last; /* frames that are being taken back, if `cut` */
    uint8_t space;                /* enum space_kind */
    uint8_t rights;               /* enum map_right */
    uint8_t cache;                /* enum map_cache */
    bool device;                  /* not RAM: uncached unless write-combining was asked for */
    bool cut;                     /* revocation is under way here (revoke.c): grows no more */
};
_Static_assert(sizeof(struct range) == 128, "31 ranges a page");

/* The ranges of one space of one task. */
struct range_tree {
    struct tree_node *root;
    struct range
        *source;         /* the last that something was delegated from; NULL: none, or it is gone */
    struct range *below; /* the last that was delegated, the same */
    uint64_t free_last;  /* from there on to here nothing is mapped */
};

/* The range that covers `base`, or the first above it; NULL if none. */
static inline struct range *range_find(const struct range_tree *tree, uint64_t base)
{
    struct tree_node *node = tree_first(tree->root, base);
    return node ? container_of(node, struct range, place) : NULL;
}

static inline uint64_t range_size(const struct range *range)
{
    return range->place.last - range->place.start + 1;
}

static inline uint64_t range_last_frame(const struct range *range)
{
    return range->frame + (range->place.last - range->place.start);
}

/* Puts a fresh range, of which all else is set, into its space and among its parent's children. */
void range_link(struct range *range);
/* The reverse; its memory is given back. */
void range_end(struct range *range);

/* What holds for all spaces of a kind. */
struct space {
    uint64_t end;            /* the highest base + size */
    uint64_t mask;           /* bits that a base has not */
    uint32_t shift;          /* of a page, a port, a slot */
    uint16_t targets;        /* bit n: can be delegated to spaces of kind n */
    uint16_t needed, rights; /* a delegation has to name these rights, and can name those */
    uint16_t cache;          /* highest enum map_cache */
};
extern const struct space spaces[SPACE_KIND_COUNT];

/* Are these units of the space? */
static inline bool space_holds(enum space_kind kind, uint64_t base, uint64_t count)
{
    const struct space *space = &spaces[kind];
    return !(base & space->mask) && base < space->end &&
           count - 1 < (space->end - base) >> space->shift;
}

/* Allows or denies ports in the hardware's bitmap behind a space of ports. */
void ports_set(struct task *task, enum space_kind space, uint64_t first, uint64_t count, bool allow);

/*
 * Makes the hardware behind a space let through [address, address+*size), which no range has yet:
 * all, or as far as so many leaves of a table reach; *size says how far. On an error nothing was
 * done: NO_QUOTA, or BAD_ARGUMENT where a page of the kernel is mapped. mapping_lock held.
 */
enum septum_status space_map(struct task *task, enum space_kind space, uint64_t address,
                             uint64_t *size, const struct table_leaf *leaf, unsigned leaves);
/* Tells all CPUs that something of a space was taken, and gives back what came free. */
void space_flush(struct task *task, enum space_kind space);

/* Leaves, or slots, that one step handles; larger requests are split and can be preempted. */
#define MAP_STEP 512u

/* A message's items: all are mapped, or on an error none. */
enum septum_status map_items(struct thread *from, struct thread *to, unsigned count);

/* Boot only: gives the first task a range that comes from nowhere: SPACE_PHYSICAL, SPACE_PORT,
 * SPACE_HOST. */
bool mapping_grant(struct task *task, enum space_kind space, uint64_t base, uint64_t size_bytes,
                   uint64_t frame, unsigned rights, bool device);

/* ---- taking back (revoke.c) ------------------------------------------------------------------ */

/*
 * Work is done in bounded steps; between them the caller may be preempted, and the call is then started
 * again: what was taken stays taken, so it comes to an end.
 */

/*
 * One step of taking back [*base, end) of a space of `task` (bytes, ports or slots): everything
 * delegated from it, and with `self` the range itself. Flushes every CPU (TLB, guest TLB, I/O
 * permissions, capability look-ups) before it returns. True when nothing of it is left; else *base
 * has moved on, and the next step goes on from there. A range of nothing: a step of what is under way.
 */
bool revoke_step(struct task *task, enum space_kind space, uint64_t *base, uint64_t end, bool self);

/* Capabilities to this one's object are being taken back: nobody may derive more. mapping_lock
 * held. */
bool revoke_in_progress(const struct capability *capability);

/* Takes an object's first capability, and so all of them. False when there is more to do. */
bool revoke_object(struct object *object);

/*
 * One step of taking apart objects whose last capability went. False when there are none left.
 * Called without locks; the current thread may be gone afterwards (this_cpu()->reschedule is set
 * then).
 */
bool revoke_reap_step(void);
