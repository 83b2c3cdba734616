/*
 * The scheduler of each CPU: fixed priorities, budgets per period, one timer.
 *
 * The running thread is on no queue. It is put back in front of its equals when it is preempted, so
 * messages switch threads without touching the queues. Everything here belongs to one CPU and is
 * changed by it alone.
 */
#include "core/sched.h"

#include "core/syscall.h"
#include "core/trace.h"
#include "virt/vcpu.h"
#include "x86/processor.h"

static struct thread idle_threads[CPUS_MAX];

void sched_init_cpu(void)
{
    struct cpu *cpu = this_cpu();
    for (unsigned i = 0; i <= PRIORITY_MAX; i++)
        list_init(&cpu->ready[i]);
    list_init(&cpu->timed);
    list_init(&cpu->depleted);
    cpu->armed_deadline = UINT64_MAX;
    cpu->idle = &idle_threads[cpu->number];
    cpu->current = cpu->idle;
    cpu->reschedule = 1;
}

unsigned sched_priority(const struct thread *thread)
{
    unsigned priority = thread->sched->priority;
    return thread->boost > priority ? thread->boost - 1 : priority;
}

static bool runnable(const struct thread *thread)
{
    return thread->state == THREAD_READY && !(thread->attention & ATTENTION_STOP) && thread->sched;
}

/* ---- ready queues ---------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void
enqueue(struct cpu *cpu, struct thread *thread, bool front)
{
    unsigned priority = sched_priority(thread);

    thread->attention |= ATTENTION_QUEUED;
    thread->ready_priority = priority;
    if (front)
        list_prepend(&cpu->ready[priority], &thread->ready_link);
    else
        list_append(&cpu->ready[priority], &thread->ready_link);
    cpu->ready_mask |= 1ull << priority;
}

void sched_unready(struct thread *thread)
{
    struct cpu *cpu = this_cpu();
    if (thread == cpu->next)
        cpu->next = NULL;
    if (!(thread->attention & ATTENTION_QUEUED))
        return;
    thread->attention &= ~(uint64_t)ATTENTION_QUEUED;
    list_remove(&thread->ready_link);
    if (list_empty(&cpu->ready[thread->ready_priority]))
        cpu->ready_mask &= ~(1ull << thread->ready_priority);
}

/*
 * Whoever should run before all others needs no queue: he is handed the CPU. The scheduler looks only
 * whether somebody better came after him.
 */
void sched_ready(struct thread *thread, bool front)
{
    struct cpu *cpu = this_cpu();
    if (!runnable(thread) || thread == cpu->current || thread == cpu->next ||
        thread->attention & ATTENTION_QUEUED)
        return;
    unsigned priority = sched_priority(thread);
    bool first = priority >= cpu->running;
    if (likely(first))
        cpu->reschedule = 1;
    if (likely(first && !cpu->next && !(cpu->ready_mask >> priority))) {
        thread->ready_priority = priority;
        cpu->next = thread;
        return;
    }
    enqueue(cpu, thread, front);
    if (priority + 1 == cpu->running)
        sched_arm(cpu->slice_end);
}

void sched_requeue(struct thread *thread)
{
    struct cpu *cpu = this_cpu();
    if (thread == cpu->next || thread->attention & ATTENTION_QUEUED) {
        sched_unready(thread);
        sched_ready(thread, false);
    } else if (thread == cpu->current) {
        cpu->reschedule = 1;
    }
}

/* ---- budgets --------------------------------------------------------------------------------- */

static inline bool has_budget(const struct sched *sched)
{
    return !sched->limited || sched->remaining;
}

/* Starts the period that `now` falls into, if it is a new one. */
static void replenish(struct sched *sched, uint64_t now)
{
    uint64_t passed = now - sched->period_start;
    if (!sched->limited || passed < sched->period_ticks)
        return;
    sched->period_start = now - passed % sched->period_ticks;
    sched->remaining = sched->budget_ticks;
}

static void deplete(struct cpu *cpu, struct sched *sched)
{
    if (!sched->limited || sched->remaining || !list_empty(&sched->depleted_link))
        return;
    list_append(&cpu->depleted, &sched->depleted_link);
    sched_arm(sched->period_start + sched->period_ticks);
}

/* What ran pays for it. */
static inline void pay(struct cpu *cpu, uint64_t now)
{
    struct sched *ran = cpu->charged;
    if (unlikely(!ran))
        return;
    uint64_t ticks = now - cpu->charged_since;
    ran->used += ticks;
    if (ran->limited) {
        ran->remaining = ran->remaining > ticks ? ran->remaining - ticks : 0;
        replenish(ran, now);
        deplete(cpu, ran);
    }
}

static inline void begin(struct cpu *cpu, struct sched *next, uint64_t now)
{
    if (next->limited) {
        replenish(next, now);
        if (next->remaining)
            sched_arm(now + next->remaining);
    }
    cpu->charged = next;
    cpu->charged_since = now;
}

void sched_charge(struct sched *next)
{
    struct cpu *cpu = this_cpu();
    uint64_t now = processor_ticks();
    pay(cpu, now);
    if (next)
        begin(cpu, next, now);
}

/* It has budget again: its threads that can run go on, in the order in which they found none. */
static void ready_bound(struct sched *sched)
{
    for (struct list *l = sched->bound.next; l != &sched->bound; l = l->next)
        sched_ready(list_entry(l, struct thread, sched_link), false);
}

static void replenish_depleted(struct cpu *cpu, uint64_t now)
{
    struct list *next;
    for (struct list *l = cpu->depleted.next; l != &cpu->depleted; l = next) {
        struct sched *sched = list_entry(l, struct sched, depleted_link);
        next = l->next;
        replenish(sched, now);
        if (sched->remaining) {
            list_remove(&sched->depleted_link);
            ready_bound(sched);
        } else {
            sched_arm(sched->period_start + sched->period_ticks);
        }
    }
}

void sched_update_budget(struct sched *sched)
{
    sched->budget_ticks =
        sched->limited
            ? sched->period_ticks * (sched->bandwidth_ppm - sched->children_ppm) / 1000000
            : 0;
    if (sched->remaining > sched->budget_ticks)
        sched->remaining = sched->budget_ticks;
    deplete(this_cpu(), sched);
}

void sched_set(struct sched *sched, unsigned priority, uint32_t period_us)
{
    bool was_limited = sched->limited;
    sched->priority = priority;
    sched->period_us = period_us;
    sched->limited = period_us;
    sched->period_ticks = period_us * tsc_khz / 1000;
    if (!was_limited) {
        sched->period_start = processor_ticks();
        sched->remaining = sched->parent && sched->parent->limited ? 0 : UINT64_MAX;
    }
    list_remove(&sched->depleted_link);
    sched_update_budget(sched);
    for (struct list *l = sched->bound.next; l != &sched->bound; l = l->next)
        sched_requeue(list_entry(l, struct thread, sched_link));
    ready_bound(sched);
    if (this_cpu()->charged == sched)
        sched_charge(sched);
}

void sched_end_loan(struct thread *server, struct sched *lent)
{
    while (server && object_is_here(&server->object) && server->sched == lent &&
           server->own_sched != lent) {
        server->sched = server->own_sched;
        sched_requeue(server);
        server = server->state == THREAD_CALLING ? server->reply_at : NULL;
    }
}

/* ---- deadlines ------------------------------------------------------------------------------- */

void sched_arm(uint64_t deadline)
{
    struct cpu *cpu = this_cpu();
    if (deadline < cpu->armed_deadline) {
        cpu->armed_deadline = deadline;
        processor_timer_arm(deadline);
    }
}

void sched_set_deadline(struct thread *thread, uint64_t deadline)
{
    thread->deadline = deadline;
    if (thread->attention & ATTENTION_UNTIMED) {
        thread->attention &= ~(uint64_t)ATTENTION_UNTIMED;
        list_append(&this_cpu()->timed, &thread->timed_link);
    }
    sched_arm(deadline);
}

/*
 * A thread stays on the list when its wait ends before its deadline, so that the next wait need not
 * put it there; here such threads are dropped. Ending a wait may answer other CPUs' calls, which may
 * change the list: then it is read from the start.
 */
static void expire_deadlines(struct cpu *cpu, uint64_t now)
{
    struct list *l = cpu->timed.next;
    while (l != &cpu->timed) {
        struct thread *thread = list_entry(l, struct thread, timed_link);
        l = l->next;
        if ((thread_waits(thread) || thread->vcpu) && thread->deadline > now) {
            sched_arm(thread->deadline);
            continue;
        }
        list_remove(&thread->timed_link);
        thread->attention |= ATTENTION_UNTIMED;
        if (thread->vcpu) {
            thread->attention |= ATTENTION_TIMEOUT;
        } else if (thread_waits(thread)) {
            ipc_cancel(thread, STATUS_TIMEOUT);
            l = cpu->timed.next;
        }
    }
}

void sched_timer_interrupt(void)
{
    struct cpu *cpu = this_cpu();
    uint64_t now = processor_ticks();

    cpu->armed_deadline = UINT64_MAX;
    sched_charge(cpu->charged);
    replenish_depleted(cpu, now);
    expire_deadlines(cpu, now);
    if (!runnable(cpu->current) || !has_budget(cpu->current->sched)) {
        cpu->reschedule = 1;
        return;
    }
    if (cpu->ready_mask >> sched_priority(cpu->current) & 1) {
        if (now >= cpu->slice_end)
            cpu->reschedule = 1;
        else
            sched_arm(cpu->slice_end);
    }
}

/* ---- choosing -------------------------------------------------------------------------------- */

/* The next thread to run, taken off the queues; NULL: none. */
static struct thread *pick(struct cpu *cpu, uint64_t now)
{
    while (cpu->ready_mask) {
        unsigned priority = 63 - (unsigned)__builtin_clzll(cpu->ready_mask);
        struct thread *thread = list_first(&cpu->ready[priority], struct thread, ready_link);
        sched_unready(thread);
        if (has_budget(thread->sched)) {
            if (cpu->ready_mask >> priority & 1)
                sched_arm(now + thread->slice_left);
            return thread;
        }
        if (thread->sched != thread->own_sched) {
            /* The loan ends early: the caller has no budget left to lend. */
            thread->sched = thread->own_sched;
            if (thread->sched) /* it may be the current thread, which sched_ready leaves alone */
                enqueue(cpu, thread, false);
            continue;
        }
        list_remove(&thread->sched_link); /* until the next period, see ready_bound */
        list_append(&thread->sched->bound, &thread->sched_link);
    }
    return NULL;
}

static inline struct thread *choose(struct cpu *cpu)
{
    struct thread *current = cpu->current, *next = cpu->next;
    uint64_t now = processor_ticks();
    int64_t left = (int64_t)(cpu->slice_end - now);

    cpu->reschedule = 0;
    pay(cpu, now); /* its budget decides who can be chosen */
    bool goes_on = runnable(current) && !(current->attention & ATTENTION_QUEUED);
    if (likely(goes_on && left > 0)) {
        current->slice_left = (uint64_t)left; /* else his equals might never have their turn */
        enqueue(cpu, current, true);
    } else {
        current->slice_left = SLICE_MS * tsc_khz;
        if (goes_on)
            enqueue(cpu, current, false);
    }
    if (likely(next)) {
        cpu->next = NULL;
        if (unlikely(cpu->ready_mask >> next->ready_priority || !has_budget(next->sched))) {
            enqueue(cpu, next, true);
            next = NULL;
        }
    }
    if (!next)
        next = pick(cpu, now);
    if (unlikely(!next)) {
        cpu->running = 0;
        cpu->charged = NULL;
        cpu->current = cpu->idle;
        return NULL;
    }
    begin(cpu, next->sched, now);
    cpu->slice_end = now + next->slice_left;
    cpu->running = next->ready_priority + 1;
    if (next != current || left <= 0) {
        cpu->counters[COUNTER_context_switches]++;
        TRACE(TRACE_SWITCH, 0, (uintptr_t)current, (uintptr_t)next);
    }
    processor_switch_scheduled(cpu, next);
    return next;
}

_Noreturn void sched_exit(void)
{
    struct cpu *cpu = this_cpu();
    for (;;) {
        if (unlikely(cpu->posts[CROSS_QUIESCE]))
            cross_quiescent();
        struct thread *next = choose(cpu);
        if (!next)
            processor_idle();
        if (unlikely(next->resume == RESUME_VCPU) &&
            (vcpu_continue(next) == SYSCALL_SWITCHED || cpu->reschedule))
            continue;
        processor_return(next);
    }
}
