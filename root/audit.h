/*
 * The audit: walks what the processor itself uses (page tables, nested tables, port and MSR bitmaps) and all
 * capabilities of all tasks, and proves against the partition file that no frame, port, interrupt, endpoint or MSR
 * is within reach of a task that was not given it, or of two.
 */
#ifndef ROOT_AUDIT_H
#define ROOT_AUDIT_H

#include "root.h"

/* Says each violation, then a summary. The number of violations. */
unsigned audit(void);

/*
 * The same while partitions run: in thin slices of the processor, so that a guest of high priority waits for one of
 * them at most, not for all of the audit.
 */
unsigned audit_in_slices(void);
/* The last one's result in words; before the first: empty. */
extern char audit_result[64];

/* ---- for the audit's own files ------------------------------------------------------------------------- */

/* A run of frames or ports that a task reaches. */
struct reach {
    uint64_t first, last; /* bytes of memory, or ports */
    uint64_t address;
    const struct resident *task;
    uint32_t space, rights;
};

struct held {
    uint64_t object, badge;
    const struct resident *task;
    uint32_t slot, type, rights;
};

struct audit_count {
    unsigned tasks, entries, capabilities, vcpus, shared, violations;
};
extern struct audit_count audit_count;

/* Says a violation. */
void audit_violation(const char *format, ...) __attribute__((format(printf, 1, 2)));
void audit_memory(void);
void audit_ports(void);
void audit_capabilities(void);
void audit_msrs(void);
/* Sorts by the first 64-bit word of each element. */
void audit_sort(void *elements, unsigned count, unsigned size_bytes);
/* What the kernel says of the first thing at or above base; NULL: there is nothing. Words of inspect's output. */
const uint64_t *audit_look(enum inspect_selector selector, cap_slot_t task, enum space_kind space,
                           uint64_t base);

/* Debug builds: plants what `plant=` on the command line names. */
void audit_plant(void);

#endif
