/* System calls: from entry.S to their handlers and back. */
#include "core/syscall.h"

#include "core/trace.h"
#include "x86/processor.h"

#define SYSCALL_INSTRUCTION_BYTES 2u

/* Read by entry.S. ipc has its own way in. */
enum septum_status (*const syscall_table[SYSCALL_COUNT])(struct thread *) = {
#define SYSCALL(number, name, arguments, errors, meaning) [number] = sys_##name,
#include "abi/syscalls.def"
#undef SYSCALL
};

_Noreturn void syscall_finish(enum septum_status status);
void syscall_trace(const struct thread *caller);

/* Calls other than ipc, while a trace is on. */
void syscall_trace(const struct thread *caller)
{
    TRACE(TRACE_SYSCALL, caller->registers.rax & 0xff, caller->registers.rdi, caller->registers.rsi);
}

/* The end of a call after which the scheduler runs, or which is to be made again. The current thread may
 * have been destroyed by it: then it is the idle one that takes the result. */
_Noreturn void syscall_finish(enum septum_status status)
{
    struct thread *caller = current_thread();

    if (status == SYSCALL_RESTART)
        caller->registers.rip -= SYSCALL_INSTRUCTION_BYTES;
    else if (status != SYSCALL_SWITCHED)
        caller->registers.rax = status;
    caller->resume = RESUME_SYSRET;
    sched_exit();
}

_Noreturn void ipc_return(struct thread *caller, enum septum_status status)
{
    if (status != SYSCALL_SWITCHED) {
        caller->registers.rax = status;
        if (!this_cpu()->reschedule)
            processor_return_sysret(caller);
    }
    sched_exit();
}

_Noreturn void ipc_general(uint64_t target, uint64_t tag, uint64_t w0, uint64_t w1, uint64_t w2,
                           uint64_t w3)
{
    struct thread *caller = current_thread();
    ipc_save(caller, target, tag, w0, w1, w2, w3);
    TRACE(TRACE_SYSCALL, SYSCALL_ipc, target, tag);
    ipc_return(caller, sys_ipc(caller));
}

bool syscall_preempted(void)
{
    struct cpu *cpu = this_cpu();
    cpu->busy++;
    processor_interrupt_window();
    cpu->busy--;
    return cpu->reschedule;
}
