/*
 * The seven system calls as inline functions. Registers: see abi/syscalls.def.
 *
 * A program that wants to count what came back defines SYSCALL_RETURNED(number, status) before it
 * includes this; the fast stubs at the end are never counted.
 */
#ifndef LIB_SYSCALL_H
#define LIB_SYSCALL_H

#include <septum.h>

#ifndef SYSCALL_RETURNED
#define SYSCALL_RETURNED(number, status) ((void)0)
#endif

/* All that a system call returns. `ipc`: badge, tag and words of what was received; the other calls
 * return their results in w[]. */
struct message {
    uint64_t status; /* enum septum_status */
    uint64_t badge;
    uint64_t tag;
    uint64_t w[4];
};

/* Any system call: rax and rbx as given, arguments in the order of the registers. */
static inline struct message syscall_raw(uint64_t rax, uint64_t rdi, uint64_t rsi, uint64_t rdx,
                                         uint64_t a3, uint64_t a4, uint64_t a5, uint64_t rbx)
{
    register uint64_t r10 __asm__("r10") = a3;
    register uint64_t r8 __asm__("r8") = a4;
    register uint64_t r9 __asm__("r9") = a5;
    __asm__ volatile("syscall"
                     : "+a"(rax), "+D"(rdi), "+S"(rsi), "+d"(rdx), "+r"(r10), "+r"(r8), "+r"(r9)
                     : "b"(rbx)
                     : "rcx", "r11", "memory");
    return (struct message){rax, rdi, rsi, {rdx, r10, r8, r9}};
}

/* `ipc` with everything; w may be NULL (four zeroes). */
static inline struct message ipc(enum ipc_shape shape, uint64_t target, uint64_t tag,
                                 const uint64_t *w, uint64_t deadline)
{
    struct message result = syscall_raw(IPC_RAX(shape), target, tag, w ? w[0] : 0, w ? w[1] : 0,
                                        w ? w[2] : 0, w ? w[3] : 0, deadline);
    SYSCALL_RETURNED(SYSCALL_ipc, result.status);
    return result;
}

static inline uint64_t sys_create(uint64_t slot, uint64_t type, uint64_t owner, uint64_t a0,
                                  uint64_t a1, uint64_t a2)
{
    uint64_t status = syscall_raw(SYSCALL_create, slot, type, owner, a0, a1, a2, 0).status;
    SYSCALL_RETURNED(SYSCALL_create, status);
    return status;
}

static inline uint64_t sys_map(uint64_t task, uint64_t how, uint64_t source, uint64_t target,
                               uint64_t count, uint64_t badge)
{
    uint64_t status = syscall_raw(SYSCALL_map, task, how, source, target, count, badge, 0).status;
    SYSCALL_RETURNED(SYSCALL_map, status);
    return status;
}

static inline uint64_t sys_unmap(uint64_t task, uint64_t how, uint64_t base, uint64_t count)
{
    uint64_t status = syscall_raw(SYSCALL_unmap, task, how, base, count, 0, 0, 0).status;
    SYSCALL_RETURNED(SYSCALL_unmap, status);
    return status;
}

static inline struct message sys_control(uint64_t object, uint64_t operation, uint64_t a0,
                                         uint64_t a1, uint64_t a2, uint64_t a3)
{
    struct message result = syscall_raw(SYSCALL_control, object, operation, a0, a1, a2, a3, 0);
    SYSCALL_RETURNED(SYSCALL_control, result.status);
    return result;
}

static inline uint64_t sys_schedule(uint64_t sched, uint64_t operation, uint64_t a0, uint64_t a1)
{
    uint64_t status = syscall_raw(SYSCALL_schedule, sched, operation, a0, a1, 0, 0, 0).status;
    SYSCALL_RETURNED(SYSCALL_schedule, status);
    return status;
}

static inline struct message sys_inspect(uint64_t selector, uint64_t object, uint64_t a0,
                                         uint64_t a1)
{
    struct message result = syscall_raw(SYSCALL_inspect, selector, object, a0, a1, 0, 0, 0);
    SYSCALL_RETURNED(SYSCALL_inspect, result.status);
    return result;
}

static inline uint64_t ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* ---- fast stubs: what the hot loops of servers use ------------------------------------------- */

/* A call with an empty message. *tag: the message's tag, then the reply's. Returns the status. */
static inline uint64_t ipc_call_0(uint64_t target, uint64_t *tag, uint64_t deadline)
{
    uint64_t rax = IPC_RAX(IPC_CALL);
    uint64_t rsi = *tag;
    __asm__ volatile("syscall"
                     : "+a"(rax), "+D"(target), "+S"(rsi)
                     : "b"(deadline)
                     : "rcx", "rdx", "r8", "r9", "r10", "r11", "memory");
    *tag = rsi;
    return rax;
}

/* A call with four words, replaced by the reply's. */
static inline uint64_t ipc_call_4(uint64_t target, uint64_t *tag, uint64_t w[4], uint64_t deadline)
{
    struct message m =
        syscall_raw(IPC_RAX(IPC_CALL), target, *tag, w[0], w[1], w[2], w[3], deadline);
    *tag = m.tag;
    w[0] = m.w[0], w[1] = m.w[1], w[2] = m.w[2], w[3] = m.w[3];
    return m.status;
}

/* Answers the current caller with an empty message and waits for the next. *tag: the reply's tag,
 * then the request's; *badge: whose. */
static inline uint64_t ipc_reply_wait_0(uint64_t target, uint64_t *tag, uint64_t *badge,
                                        uint64_t deadline)
{
    uint64_t rax = IPC_RAX(IPC_REPLY_WAIT);
    uint64_t rsi = *tag;
    __asm__ volatile("syscall"
                     : "+a"(rax), "+D"(target), "+S"(rsi)
                     : "b"(deadline)
                     : "rcx", "rdx", "r8", "r9", "r10", "r11", "memory");
    *tag = rsi;
    *badge = target;
    return rax;
}

/* The same with four words: the reply's, then the request's. */
static inline uint64_t ipc_reply_wait_4(uint64_t target, uint64_t *tag, uint64_t *badge,
                                        uint64_t w[4], uint64_t deadline)
{
    struct message m =
        syscall_raw(IPC_RAX(IPC_REPLY_WAIT), target, *tag, w[0], w[1], w[2], w[3], deadline);
    *tag = m.tag;
    *badge = m.badge;
    w[0] = m.w[0], w[1] = m.w[1], w[2] = m.w[2], w[3] = m.w[3];
    return m.status;
}

#endif
