/* What the kernel keeps for each CPU. Reached through GS; only its own CPU changes it, but for the
 * posts, which others append to. */
#pragma once

#include "core/cross.h"
#include "core/list.h"
#include "x86/processor_types.h"

enum counter {
#define COUNTER(name, meaning) COUNTER_##name,
#include "abi/counters.def"
#undef COUNTER
    COUNTER_COUNT
};

struct cpu {
    struct cpu *self;
    struct thread *current;
    uint64_t kernel_stack; /* top of this CPU's only stack */
    uint64_t user_rsp;     /* scratch of the system-call entry */
    /*
     * Nonzero when a switch to another task needs more than CR3: live FPU registers, port permissions,
     * a barrier. The fast path tests this one word.
     */
    uint64_t switch_slow;
    uint64_t armed_deadline; /* the timer will fire at or before this TSC value */
    uint64_t loaded_cr3;
    uint32_t number;
    uint32_t reschedule; /* the scheduler must run before user space does */

    struct list ready[PRIORITY_MAX + 1]; /* threads that may run, by effective priority */
    uint64_t ready_mask;                 /* bit n: ready[n] is not empty */
    struct thread *next;                 /* will run, unless somebody better comes: on no queue */
    struct list timed;                   /* threads whose deadline has to be looked at (lazily) */
    struct list depleted;                /* scheduling contexts that wait for their period */
    struct sched *charged;               /* runs on the CPU now */
    uint64_t charged_since;              /* TSC */
    uint64_t slice_end;                  /* when a thread of equal priority has its turn; 0: now */
    uint32_t running; /* priority of the current thread + 1; stale if it cannot go on: see reschedule */
    struct thread *idle;                 /* stands for no thread at all */

    struct vcpu *in_guest; /* published before VM entry, cleared after exit */

    struct cross_post *posts[CROSS_KINDS]; /* from other CPUs */
    struct cross_post *accepted;           /* orderly ones taken from there, oldest first */
    uint32_t busy; /* interrupts are let in, but a system call is under way */

    struct interrupt *devices[DEVICE_VECTORS]; /* bound, by vector from VECTOR_DEVICE_FIRST */

    struct trace_record *trace; /* a ring, NULL until a trace is set */
    uint64_t trace_next;

    uint64_t counters[COUNTER_COUNT];
    struct processor x86;
};

/* Bits of switch_slow that the fast path knows; the others are in x86/platform.h. None of them is one of
 * thread.attention's. */
#define SWITCH_SLOW_TRACE (1ull << 32) /* a trace is on */
#define SWITCH_SLOW_RSB (1ull << 33)   /* the return stack is to be filled: no reason to be slow */
#define SWITCH_SLOW_FPU (1ull << 34)   /* FPU registers are live; for a call they are put away */

extern struct cpu *cpus[CPUS_MAX]; /* by number; NULL: absent */
extern unsigned cpu_count;

static inline uint64_t cpus_online(void)
{
    return ~0ull >> (64 - cpu_count);
}

#define COUNT(event) (this_cpu()->counters[COUNTER_##event]++)
