/* System calls: dispatch and the pattern of their handlers. */
#pragma once

#include "core/thread.h"

/*
 * A handler reads its arguments from caller->registers (rdi rsi rdx r10 r8 r9, deadline in rbx), puts
 * results there and returns the status, which the dispatcher stores in rax. A handler that did only part
 * of its work rewrites its arguments to what is left and returns SYSCALL_RESTART: the call is made again
 * when the thread runs next.
 */
#define SYSCALL_RESTART ((enum septum_status)0x100)
/* The handler has set the thread up itself (it blocks, or was switched away from). */
#define SYSCALL_SWITCHED ((enum septum_status)0x101)

/* sys_map is in mapping.c, sys_unmap in revoke.c, the others where their names say. */
#define SYSCALL(number, name, arguments, errors, meaning)                                          \
    enum septum_status sys_##name(struct thread *caller);
#include "abi/syscalls.def"
#undef SYSCALL

/* A way of ipc from entry.S: arguments in C's registers, the preserved registers saved. */
typedef void ipc_path(uint64_t target, uint64_t tag, uint64_t w0, uint64_t w1, uint64_t w2,
                      uint64_t w3);

/* The general one, also where a fast one does not do: the shape in caller->registers.rax. */
_Noreturn ipc_path ipc_general;

/* Puts the current thread's message into its registers: there it is for message_transfer. */
static inline void ipc_save(struct thread *caller, uint64_t target, uint64_t tag, uint64_t w0,
                            uint64_t w1, uint64_t w2, uint64_t w3)
{
    caller->registers.rdi = target;
    caller->registers.rsi = tag;
    caller->registers.rdx = w0;
    caller->registers.r10 = w1;
    caller->registers.r8 = w2;
    caller->registers.r9 = w3;
    caller->resume = RESUME_SYSRET;
}
/* The end of an ipc that leaves to another thread, or (status) back to the caller. */
_Noreturn void ipc_return(struct thread *caller, enum septum_status status);

/* Called between steps of long work: lets interrupts in; true when the caller should give way (return
 * SYSCALL_RESTART). */
bool syscall_preempted(void);
