/*
 * Making sure that nobody can use what was taken: translations, port permissions, references.
 *
 * Whole address spaces are dropped, not pages: revocation takes ranges, and one INVPCID costs less
 * than a few INVLPGs. Every other CPU is told by an urgent call; the interrupt itself takes it out of
 * user or guest mode, so it also passes a quiescent point.
 */
#include "check/check.h"
#include "x86/features.h"
#include "x86/instructions.h"
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"

#include "check/watch.h"

#define PCID_COUNT 4096u
#define INVPCID_ONE_CONTEXT 1ull

static bool pcids_used[PCID_COUNT]; /* 0 is the kernel's own */

/* ---- flushing (called after the entries were cleared) ------------------------------------------ */

void flush_add(struct flush *flush, struct task *task, enum space_kind space)
{
    flush->several |= flush->task && flush->task != task;
    flush->task = task;
    flush->spaces |= 1u << space;
    if (space == SPACE_HOST || space == SPACE_PORT) {
        flush->cpus |= task->host_cpus;
    } else {
        /* Each vCPU compares at its next entry; the interrupt makes a running one enter anew. */
        __atomic_add_fetch(&task->guest_generation, 1, __ATOMIC_SEQ_CST);
        flush->cpus |= task->guest_cpus;
    }
}

/* Drops this CPU's translations of one task's host space. */
static void flush_host(struct cpu *cpu, const struct task *task)
{
    if (!features.pcid) { /* with KPTI the way out to user mode loads CR3 anyway */
        if (cpu->loaded_cr3 == task->host_cr3 && !mitigations.kpti)
            write_cr3(cpu->loaded_cr3);
    } else {
        invpcid(INVPCID_ONE_CONTEXT, task->pcid);
    }
}

static void drop_ports(struct cpu *cpu)
{
    cpu->x86.ports_loaded = NULL;
    cpu->x86.tss.io_bitmap = TSS_NO_BITMAP;
    cpu->switch_slow &= ~(uint64_t)SLOW_PORTS;
}

static void flush_here(void *argument)
{
    const struct flush *flush = argument;
    struct cpu *cpu = this_cpu();
    ledger_told();
    if (flush->spaces & 1u << SPACE_HOST && flush->several)
        paging_flush_all(NULL);
    else if (flush->spaces & 1u << SPACE_HOST)
        flush_host(cpu, flush->task);
    if (flush->spaces & 1u << SPACE_PORT)
        drop_ports(cpu);
}

void flush_commit(struct flush *flush)
{
    uint64_t mask = flush->quiesce ? cpus_online() : flush->cpus;
    if (unlikely(flush->spaces & 1u << SPACE_DMA))
        dma_flush();
    if (mask & ~(1ull << this_cpu()->number))
        COUNT(tlb_shootdowns);
    if (mask)
        cross_call_urgent(mask, flush_here, flush);
    *flush = (struct flush){0};
}

/* ---- address spaces -------------------------------------------------------------------------- */

/* 0: none is left. */
static unsigned pcid_alloc(void)
{
    unsigned pcid = PCID_COUNT - 1;
    while (pcid && __atomic_exchange_n(&pcids_used[pcid], true, __ATOMIC_ACQUIRE))
        pcid--;
    return pcid;
}

bool processor_task_init(struct task *task)
{
    task->pcid = 0;
    if (features.pcid) {
        task->pcid = (uint16_t)pcid_alloc();
        if (!task->pcid)
            return false;
    }
    task->host.root[KERNEL_TOP_INDEX] = paging_user_top;
    task->host_cr3 = frame_physical(task->host.root) | task->pcid | (task->pcid ? CR3_NO_FLUSH : 0);
    ledger_task_begins(task);
    return true;
}

static void forget_task(void *argument)
{
    struct task *task = argument;
    struct cpu *cpu = this_cpu();
    if (cpu->loaded_cr3 == task->host_cr3)
        processor_load_cr3(cpu, cpu->x86.kernel_cr3);
    if (features.pcid)
        flush_host(cpu, task);
    if (cpu->x86.ports_loaded == task)
        drop_ports(cpu);
    if (cpu->x86.barrier_task == task)
        cpu->x86.barrier_task = NULL;
}

void processor_task_end(struct task *task)
{
    ledger_task_ends(task);
    cross_call_urgent(cpus_online(), forget_task, task);
    ledger_task_ended(task);
    if (task->pcid)
        __atomic_store_n(&pcids_used[task->pcid], false, __ATOMIC_RELEASE);
}
