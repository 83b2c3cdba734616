/*
 * What a switch of tasks needs beyond CR3: FPU registers, port permissions, FS base, barriers.
 * cpu->switch_slow says that there is any of it, so that the usual switch tests one word.
 */
#include "x86/fpu.h"
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"
#include "x86/trap.h"

/* Live registers stay among the threads and vCPUs of one task; each thread sees only its own. */
static void switch_fpu(struct cpu *cpu, struct thread *next)
{
    if (cpu->x86.fpu_task != next->task)
        fpu_release(cpu);
    else if (cpu->x86.fpu_owner == next)
        clear_ts();
    else if (!(read_cr0() & CR0_TS))
        write_cr0(read_cr0() | CR0_TS);
}

bool processor_put_fpu_away(struct cpu *cpu, const struct thread *next)
{
    if (cpu->switch_slow & SWITCH_SLOW_FPU && cpu->x86.fpu_task != next->task)
        fpu_release(cpu);
    return !(cpu->switch_slow & SWITCH_SLOW_FPU);
}

static __attribute__((noinline)) void switch_others(struct cpu *cpu, struct thread *next)
{
    if (cpu->switch_slow & SWITCH_SLOW_FPU)
        switch_fpu(cpu, next);
    if (cpu->switch_slow & SLOW_FS) {
        /* Always: by loading a selector a thread can have changed it behind our back. */
        write_msr(MSR_FS_BASE, next->x86.fs_base);
        cpu->x86.loaded_fs_base = next->x86.fs_base;
    }
    if (cpu->switch_slow & (SLOW_BARRIER | SWITCH_SLOW_RSB) && next->task &&
        cpu->x86.barrier_task != next->task) {
        mitigations_between_tasks();
        cpu->x86.barrier_task = next->task;
    }
}

void processor_switch_slow(struct cpu *cpu, struct thread *next)
{
    if (cpu->switch_slow & SLOW_PORTS && cpu->x86.ports_loaded != next->task) {
        /* The copy stays, for when its task is the next with permissions. */
        cpu->x86.tss.io_bitmap = TSS_NO_BITMAP;
        cpu->switch_slow &= ~(uint64_t)SLOW_PORTS;
    }
    if (cpu->switch_slow & ~(uint64_t)SLOW_PORTS)
        switch_others(cpu, next);
}

void processor_set_fs_base(struct thread *thread, uint64_t base)
{
    struct cpu *cpu = this_cpu();
    thread->x86.fs_base = base;
    if (base)
        cpu->switch_slow |= SLOW_FS;
    if (thread == cpu->current) {
        write_msr(MSR_FS_BASE, base);
        cpu->x86.loaded_fs_base = base;
    }
}

/* After a VM exit the task register's limit is 0x67 (SDM 3, 28.5.2), which hides the bitmap. */
static bool renew_tr(struct cpu *cpu)
{
    if (cpu->x86.tr_loaded_at == cpu->counters[COUNTER_vm_entries])
        return false;
    cpu_load_tr(cpu);
    cpu->x86.tr_loaded_at = cpu->counters[COUNTER_vm_entries];
    return true;
}

bool processor_load_ports(struct cpu *cpu, struct task *task)
{
    struct processor *x86 = &cpu->x86;
    if (!task->ports)
        return false;
    bool changed = renew_tr(cpu);
    if (x86->ports_loaded != task) {
        memcpy(x86->tss.bitmap, task->ports, PORT_BITMAP_BYTES);
        x86->ports_loaded = task;
        changed = true;
    }
    if (x86->tss.io_bitmap == TSS_NO_BITMAP) {
        x86->tss.io_bitmap = offsetof(struct tss, bitmap);
        changed = true;
    }
    cpu->switch_slow |= SLOW_PORTS;
    return changed;
}

void processor_thread_end(struct thread *thread)
{
    unsigned home = thread->object.home;
    /* It runs no more, so it can only cease to be live: looking from afar is safe. */
    if (__atomic_load_n(&cpus[home]->x86.fpu_owner, __ATOMIC_RELAXED) == thread)
        cross_call(home, fpu_sync, thread);
    if (thread->x86.fpu)
        fpu_free(&thread->task->quota, thread->x86.fpu);
    thread->x86.fpu = NULL;
}
