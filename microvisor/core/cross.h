/*
 * Work on other CPUs. A *post* is asynchronous and carries its own memory; a *call* is done when it
 * returns. An *urgent* call (flushes) is answered even by a CPU that spins on a lock, so
 * it may be made with mapping_lock held; any other work is done only where the kernel's structures
 * are whole: at an interrupt from user, guest or idle, at a preemption point, or by a CPU that itself
 * waits in cross_call. An ordinary call must be made without locks. A CPU does posts and calls in the
 * order in which they came: an object's last call (its end) comes after all others, and who has posted
 * something and then makes a call (to cancel it, say) finds the post done.
 */
#pragma once

#include "core/types.h"

struct cross_post {
    struct cross_post *next;
    void (*run)(struct cross_post *post);
    uint32_t queued; /* set while on a CPU's list */
};

/* Where a CPU finds its work: lock-free stacks of posts. */
enum cross_kind {
    CROSS_ORDERLY,
    CROSS_URGENT,  /* also while spinning */
    CROSS_QUIESCE, /* when the CPU holds no reference to any object */
    CROSS_KINDS,
};

/* Posts work to a CPU, unless this post is on its way already: it will run once. */
void cross_post(unsigned cpu, struct cross_post *post);

/* Runs run(argument) on that CPU, interrupts off, and waits. On this CPU it is a plain call. */
void cross_call(unsigned cpu, void (*run)(void *), void *argument);

/* Runs run(argument) on every CPU of the mask (this one included, if named), and waits. */
void cross_call_urgent(uint64_t cpu_mask, void (*run)(void *), void *argument);

/*
 * Waits until every other CPU has passed a point where it held no reference to an object: it was in user
 * or guest mode, idle, or itself in here. Without locks. The current thread may be gone afterwards.
 */
void cross_quiesce(void);
/* Answers those who wait in cross_quiesce; where this CPU leaves the kernel. */
void cross_quiescent(void);

/* Answers urgent requests; called by spinning loops. */
void cross_call_poll(void);

/* The interrupt's handler: answers everything. */
void cross_interrupt(void);

/* Answers what may be answered in the middle of a system call; for loops that wait for another CPU. */
void cross_wait(void);
