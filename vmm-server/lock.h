/* A lock between the threads of a VMM. It is held for the few instructions of a device model, so who waits yields. */
#ifndef VMM_LOCK_H
#define VMM_LOCK_H

#include "syscall.h"

struct lock {
    uint32_t held;
};

static inline void lock_take(struct lock *lock)
{
    while (__atomic_exchange_n(&lock->held, 1, __ATOMIC_ACQUIRE))
        sys_schedule(0, SCHEDULE_YIELD, 0, 0);
}

static inline void lock_give(struct lock *lock)
{
    __atomic_store_n(&lock->held, 0, __ATOMIC_RELEASE);
}

#endif
