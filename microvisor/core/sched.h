/* Scheduling contexts and the scheduler of each CPU. */
#pragma once

#include "core/object.h"

struct thread;

#define SLICE_MS 10u /* a turn among threads of equal priority */

struct sched {
    struct object object;  /* object.home is its CPU */
    struct sched *parent;
    uint32_t priority;
    uint32_t bandwidth_ppm;  /* budget/period; UINT32_MAX: no limit */
    uint32_t children_ppm;   /* given to contexts derived from it */
    uint32_t budget_us, period_us;
    bool limited;
    uint64_t budget_ticks, period_ticks; /* the budget without what children were given of it */
    uint64_t remaining;      /* ticks left in this period */
    uint64_t period_start;
    uint64_t used;           /* ticks in all */
    struct list depleted_link;  /* cpu->depleted, while without budget */
    struct list bound;       /* threads bound to it, thread.sched_link: last who last found no budget */
    struct list children, child_link;
};

/* At boot, on each CPU: queues of struct cpu. */
void sched_init_cpu(void);

/* Makes `thread` ready on its (this) CPU, in front of its equals if it was switched to by a message; sets
 * cpu->reschedule if it should run before the current. */
void sched_ready(struct thread *thread, bool front);
/* Takes it off the ready queue if it is there. */
void sched_unready(struct thread *thread);
/* Charges the running context up to now; `next` is charged from now on. */
void sched_charge(struct sched *next);
/* The priority at which a thread runs: its context's, or what it was lent. */
unsigned sched_priority(const struct thread *thread);

/* The timer's interrupt: deadlines, budgets, replenishment. */
void sched_timer_interrupt(void);
/* Makes sure that the timer fires at or before `deadline`. */
void sched_arm(uint64_t deadline);
/* Registers a deadline for the thread's wait or vCPU call. */
void sched_set_deadline(struct thread *thread, uint64_t deadline);
/* Its effective priority may have changed. */
void sched_requeue(struct thread *thread);
/* `lent` goes back to its owner: `server`, and those it has called in turn, go on with their own. */
void sched_end_loan(struct thread *server, struct sched *lent);
/* What its children were given has changed. */
void sched_update_budget(struct sched *sched);
/* Sets a context's priority and period, checked by the caller, and what follows from its share. What is
 * left of the present period's budget can only shrink, and a context that is cut from another's share
 * begins with the next period: else changing and making contexts would make time. */
void sched_set(struct sched *sched, unsigned priority, uint32_t period_us);
/* Leaves kernel mode to whoever should run now. */
_Noreturn void sched_exit(void);
