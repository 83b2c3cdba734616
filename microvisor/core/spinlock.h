/* Spinlocks. The kernel runs with interrupts off, so a lock never waits for its own CPU. While it
 * spins a CPU answers cross calls (cross_call_poll), so a holder may wait for all CPUs. */
#pragma once

#include "check/check.h"
#include "core/types.h"

/* First come, first served: a CPU that takes and releases a lock in a loop can't keep others out. */
struct spinlock {
    uint32_t next, serving;
};

void cross_call_poll(void);

static inline void spinlock_acquire(struct spinlock *lock)
{
    uint32_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) != ticket) {
        cross_call_poll();
        __builtin_ia32_pause();
    }
}

static inline void spinlock_release(struct spinlock *lock)
{
    ledger_unlock(lock);
    __atomic_store_n(&lock->serving, lock->serving + 1, __ATOMIC_RELEASE);
}
