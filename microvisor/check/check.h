/*
 * What debug builds check while the kernel runs; in release builds, and in unit tests, nothing of it is
 * there. Of translations the kernel says what it takes; what is flushed, check/watch.h sees by itself.
 */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include <stdbool.h>
#include <stdint.h>

struct object;
struct quota;
struct spinlock;
struct table;
struct task;
struct vcpu;

#if defined(SEPTUM_DEBUG) && !defined(SEPTUM_UNIT_TEST)
#define HOOK(name, parameters) void name parameters;
#else
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define HOOK(name, parameters)                                                                     \
    static inline void name parameters                                                             \
    {                                                                                              \
    }
#endif

/* tlb_ledger.c */
HOOK(ledger_task_begins, (struct task * task))
HOOK(ledger_task_ends, (struct task * task))  /* nothing of it runs any more */
HOOK(ledger_task_ended, (struct task * task)) /* its tables and its PCID are about to be others' */
HOOK(ledger_cleared, (const struct table *table))          /* an entry has just been cleared */
HOOK(ledger_filled, (const struct table *table))           /* some are about to be written */
HOOK(ledger_page_freed, (const struct quota *quota))       /* a table of that task's */
HOOK(ledger_cr3_loaded, (uint64_t cr3))                    /* on this CPU */
HOOK(ledger_told, (void))                                  /* this CPU has got a flush's demand */
HOOK(ledger_vmrun_done, (bool entered))                    /* if it did, it has flushed as asked */
HOOK(ledger_slot_emptied, (struct object * object))        /* of a capability to it */
HOOK(ledger_quiescent, (void))                             /* this CPU refers to no object */
HOOK(ledger_object_ends, (const struct object *object))
HOOK(ledger_unlock, (const struct spinlock *lock))         /* is about to be released */

#undef HOOK
#if !defined(SEPTUM_DEBUG) || defined(SEPTUM_UNIT_TEST)
#pragma GCC diagnostic pop
#endif

#endif
