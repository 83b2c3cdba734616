/* Traps in C: from user mode to a message, from the kernel to a report. */
#include "x86/trap.h"

#include "core/interrupt.h"
#include "core/trace.h"
#include "x86/fpu.h"
#include "x86/platform.h"
#include "x86/processor.h"

#define RFLAGS_TF 0x100ull
#define RFLAGS_RF 0x10000ull

_Noreturn void trap_user(uint64_t vector, uint64_t error, struct thread *thread);
void trap_kernel(struct trap_frame *frame);
void trap_paranoid(struct trap_frame *frame);

static inline void interrupt(unsigned vector)
{
    TRACE(TRACE_INTERRUPT, vector, 0, 0);
    if (likely(vector >= VECTOR_DEVICE_FIRST && vector <= VECTOR_DEVICE_LAST)) {
        interrupt_dispatch(vector);
        return;
    }
    if (vector == VECTOR_SPURIOUS)
        return;
    apic_eoi();
    if (vector == VECTOR_TIMER) {
        COUNT(timer_interrupts);
        sched_timer_interrupt();
    } else if (vector == VECTOR_CROSS) {
        COUNT(cross_calls);
        cross_interrupt();
    } else { /* a device that sends what it likes */
        COUNT(spurious_interrupts);
    }
}

static void exception(struct thread *thread, uint64_t vector, uint64_t error)
{
    switch (vector) {
    case TRAP_PAGE_FAULT:
        fault_raise(thread, ORIGIN_PAGE_FAULT, read_cr2(), error);
        return;
    case TRAP_DEVICE_NOT_AVAILABLE:
        if (fpu_use(thread))
            return;
        break;
    case TRAP_GENERAL_PROTECTION:
        if (processor_load_ports(this_cpu(), thread->task))
            return;
        break;
    default:
        break;
    }
    fault_raise(thread, ORIGIN_EXCEPTION, vector, error);
}

/* From user mode, registers saved; on the CPU's own stack. */
_Noreturn void trap_user(uint64_t vector, uint64_t error, struct thread *thread)
{
    if (unlikely(vector < 32)) {
        TRACE(TRACE_FAULT, vector, error, thread->registers.rip);
        exception(thread, vector, error);
    } else {
        interrupt((unsigned)vector);
    }
    if (!this_cpu()->reschedule)
        processor_return_iret(thread);
    sched_exit();
}

/* From the kernel: an interrupt in the idle loop or a preemption point, or a fault. */
void trap_kernel(struct trap_frame *frame)
{
    struct cpu *cpu = this_cpu();
    if (frame->vector < 32)
        panic_trap(frame, "kernel");
    interrupt((unsigned)frame->vector);
    if (cpu->current == cpu->idle && cpu->reschedule)
        sched_exit();
}

/* At any instruction at all, on a stack of its own: touches nothing that others use. */
void trap_paranoid(struct trap_frame *frame)
{
    if (frame->vector == TRAP_NMI) {
        if (panic_under_way) /* sent by the CPU that reports */
            halt_forever();
        this_cpu()->counters[COUNTER_nmis]++;
        return;
    }
    if (frame->vector == TRAP_DEBUG) {
        /* User code's single step, or breakpoint, that came too late: not ours, go on without. */
        frame->rflags = (frame->rflags & ~RFLAGS_TF) | RFLAGS_RF;
        return;
    }
    if (frame->vector == TRAP_MACHINE_CHECK && machine_check_report(frame))
        return;
    panic_trap(frame, frame->vector == TRAP_MACHINE_CHECK ? "machine check" : "double fault");
}
