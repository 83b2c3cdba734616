/*
 * What core/ and virt/ need from any processor: the one header of x86/ that core/ includes.
 * All of it is called with interrupts off.
 */
#pragma once

#include "check/check.h"
#include "core/thread.h"
#include "x86/mitigations.h"

static inline struct cpu *this_cpu(void)
{
    struct cpu *cpu;
    __asm__("mov %%gs:0, %0" : "=r"(cpu)); /* constant while in the kernel: not volatile */
    return cpu;
}

static inline struct thread *current_thread(void)
{
    struct thread *thread;
    __asm__ volatile("mov %%gs:8, %0" : "=r"(thread));
    return thread;
}
_Static_assert(offsetof(struct cpu, self) == 0 && offsetof(struct cpu, current) == 8, "read above");

/* May this CPU change the object? */
static inline bool object_is_here(const struct object *object)
{
    return object->home == this_cpu()->number;
}

static inline uint64_t processor_ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

extern uint64_t tsc_khz; /* ticks per millisecond */

/* ---- leaving the kernel (entry.S) ------------------------------------------------------------ */

/* Go on in user mode with thread->registers. Both reset the kernel stack. */
_Noreturn void processor_return_sysret(struct thread *thread);
_Noreturn void processor_return_iret(struct thread *thread);
static inline _Noreturn void processor_return(struct thread *thread) /* by thread->resume */
{
    if (thread->resume == RESUME_IRET)
        processor_return_iret(thread);
    processor_return_sysret(thread);
}
/* Waits for an interrupt; does not return, the interrupt's exit goes through sched_exit. */
_Noreturn void processor_idle(void);

/* ---- switching ------------------------------------------------------------------------------- */

/* What a switch to another task needs beyond CR3: FPU, port permissions, barriers. Called when
 * cpu->switch_slow is set, before the address space is switched; recomputes cpu->switch_slow. */
void processor_switch_slow(struct cpu *cpu, struct thread *next);
/* Loads the current task's port permissions into the TSS; false if they were there, or it has none. */
bool processor_load_ports(struct cpu *cpu, struct task *task);

/* With KPTI the instruction is patched away: the kernel stays on its own table, and the way out to
 * user mode loads loaded_cr3. */
static inline void processor_load_cr3(struct cpu *cpu, uint64_t cr3)
{
    ledger_cr3_loaded(cr3);
    cpu->loaded_cr3 = cr3;
    cpu->counters[COUNTER_cr3_loads]++;
    __asm__ volatile("1: mov %0, %%cr3\n"
                     ".pushsection .patch, \"a\"\n.quad 1b, 0\n.long 0, 0\n.popsection"
                     :
                     : "R"(cr3)
                     : "memory");
}

/* Makes `next` the current thread: address space, FPU, FS base, ports. */
static inline void processor_switch(struct cpu *cpu, struct thread *next)
{
    if (unlikely(cpu->switch_slow))
        processor_switch_slow(cpu, next);
    if (cpu->loaded_cr3 != next->task->host_cr3)
        processor_load_cr3(cpu, next->task->host_cr3);
    cpu->current = next;
}

/* The same when the scheduler chose it: if its port permissions are still in the TSS they are in force at
 * once, without a fault. (A server that is called may do without, and is sooner back.) */
static inline void processor_switch_scheduled(struct cpu *cpu, struct thread *next)
{
    processor_switch(cpu, next);
    if (unlikely(cpu->x86.ports_loaded == next->task))
        processor_load_ports(cpu, next->task);
}

/* The way out to user mode, for the fast path's assembly: as in entry.S, with the places that are patched
 * where mitigations ask for it. */
#define USER_SYSRET                                                                                \
    ".pushsection .patch, \"a\"\n\t"                                                              \
    ".quad 881f, verw_sysret\n\t.long 2, 0\n\t"                                                   \
    ".quad 881f, kpti_sysret\n\t.long 1, 0\n\t"                                                   \
    ".popsection\n"                                                                                \
    "881: swapgs\n\t"                                                                             \
    "sysretq"
_Static_assert(PATCH_KPTI == 1 && PATCH_VERW == 2, "named by number above");

/* Live FPU registers, if they are not those of next's task, are put away. False: they are. */
bool processor_put_fpu_away(struct cpu *cpu, const struct thread *next);

/* switch_slow and the threads' attention say `why` the fast path might not do: does it all the same?
 * If all that is asked for is to fill the return stack, that is done here. */
static inline __attribute__((always_inline)) bool
processor_switch_quick(struct cpu *cpu, uint64_t why, const struct thread *next)
{
    if (why != SWITCH_SLOW_RSB)
        return false;
    if (cpu->x86.barrier_task != next->task) {
        cpu->x86.barrier_task = next->task;
        mitigation_fill_rsb();
    }
    return true;
}

/* ---- timer and interrupts -------------------------------------------------------------------- */

/* The timer interrupt comes at or shortly after this TSC value; the past means at once. */
void processor_timer_arm(uint64_t deadline_tsc);
/* The local APIC's end of interrupt. */
void apic_eoi(void);
/* Wakes a CPU: its cross_interrupt runs soon; a guest exits. */
void processor_send_interrupt(unsigned cpu);
/* Lets pending interrupts in for one instruction: a preemption point. */
void processor_interrupt_window(void);

/* IOAPIC and vectors. processor_gsi_route programs a line (masked) to (cpu, vector). */
#define GSI_MAX 256u
#define GSI_DMA_FAULT GSI_MAX /* no line: the IOMMU's own message. Routed and masked like one. */
extern unsigned gsi_count; /* the highest line there is, and one */
bool processor_gsi_exists(uint64_t gsi);
void processor_gsi_route(uint32_t gsi, unsigned cpu, unsigned vector, uint32_t mode);
void processor_gsi_mask(uint32_t gsi, bool masked);
/* A vector of this CPU that nobody uses, 0 if all are taken. */
unsigned processor_vector_alloc(unsigned cpu);
void processor_vector_free(unsigned cpu, unsigned vector);
/* The message that raises it. source: what alone may send it, where that can be checked; UINT32_MAX: anything. */
void processor_msi_message(unsigned cpu, unsigned vector, uint32_t source, uint64_t *address,
                           uint64_t *data);

/* ---- TLB and quiescence (tlb.c) -------------------------------------------------------------- */

/* What was taken in one step. */
struct flush {
    struct task *task; /* the only one that lost something, or the last of several */
    bool several;
    bool quiesce;    /* capabilities or objects went: every CPU has to pass a quiescent point */
    uint32_t spaces; /* bit n: something of enum space_kind n */
    uint64_t cpus;   /* those that may still use it */
};
/* After the entries were cleared. */
void flush_add(struct flush *flush, struct task *task, enum space_kind space);
/* When it returns no CPU can use what was taken. May be called with mapping_lock held. */
void flush_commit(struct flush *flush);

/* ---- the IOMMU (vtd.c) ------------------------------------------------------------------------ */

extern bool dma_confined; /* there is one, and devices reach memory only through it */
extern bool interrupts_remapped; /* and raise interrupts only by it */
/* After entries of a DMA table were made or cleared: when it returns, all units see it, and no transfer uses what went.
 * May be called with mapping_lock held. */
void dma_flush(void);
/* What units tell translations apart by; 0: none left. mapping_lock held. */
unsigned dma_domain_alloc(void);
void dma_domain_free(unsigned domain);
/* The requester (bus << 8 | device << 3 | function) reaches memory through the task's DMA space, which has been made.
 * BUSY: it does already, through some task's; NO_QUOTA; NOT_SUPPORTED: no unit sees it. */
enum septum_status dma_attach(uint32_t requester, struct task *task);
void dma_detach(uint32_t requester, struct task *task);
/* The oldest that is noted of what requesters were refused: requester | reason << 16 | write << 24. False: none. */
bool dma_fault_next(uint64_t *what, uint64_t *address);

/* ---- address spaces and threads -------------------------------------------------------------- */

/* A fresh host table of `task` gets the kernel's half and a PCID; false: none left. */
bool processor_task_init(struct task *task);
void processor_task_end(struct task *task); /* drops what CPUs may remember of it */
void processor_thread_end(struct thread *thread); /* forgets live FPU registers, frees their memory */
/* Sets a thread's FS base, on its home CPU. */
void processor_set_fs_base(struct thread *thread, uint64_t base);
/* User-writable bits of rflags kept, the rest set to what user code may have. */
uint64_t processor_user_rflags(uint64_t rflags);

/* ---- stopping -------------------------------------------------------------------------------- */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The boot console: %s %c %u %x %lu %lx, numbers also with 0 and the least count of digits, at most 20. */
void printk(const char *format, ...) __attribute__((format(printf, 1, 2)));
