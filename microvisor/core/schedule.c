/* schedule: scheduling contexts as objects, and who runs on them. */
#include "core/syscall.h"
#include "x86/processor.h"

#define PERIOD_US_MIN 100u /* shorter ones would be all timer interrupts */
#define NO_LIMIT UINT32_MAX

/* A capability's limits: the highest priority, the largest share in millionths. */
#define LIMIT_PRIORITY(badge) ((unsigned)((badge) & 0xff))
#define LIMIT_PPM(badge) ((uint32_t)((badge) >> 32))

struct set {
    struct sched *sched;
    uint64_t limits, priority;
    uint32_t budget_us, period_us;
    enum septum_status status;
};

/* May it have this priority and share? BAD_ARGUMENT, NO_BANDWIDTH. A new context has no share yet. */
static enum septum_status check(const struct set *set, uint32_t share)
{
    const struct sched *sched = set->sched, *parent = sched->parent;

    if (set->priority > PRIORITY_MAX || set->budget_us > set->period_us ||
        (set->period_us && (set->period_us < PERIOD_US_MIN || !set->budget_us)))
        return STATUS_BAD_ARGUMENT;
    if (set->priority > LIMIT_PRIORITY(set->limits) || share > LIMIT_PPM(set->limits) ||
        sched->children_ppm > share)
        return STATUS_NO_BANDWIDTH;
    if (!parent || parent->bandwidth_ppm == NO_LIMIT)
        return STATUS_OK;
    uint64_t others = parent->children_ppm - sched->bandwidth_ppm;
    return share != NO_LIMIT && others + share <= parent->bandwidth_ppm ? STATUS_OK
                                                                        : STATUS_NO_BANDWIDTH;
}

static void account(struct sched *sched, uint32_t share)
{
    struct sched *parent = sched->parent;
    if (!parent || parent->bandwidth_ppm == NO_LIMIT)
        return;
    parent->children_ppm += share - sched->bandwidth_ppm;
    sched_update_budget(parent);
}

/* On the context's CPU, which is also its parent's: the share is checked where it is taken. */
static void set_here(void *argument)
{
    struct set *set = argument;
    struct sched *sched = set->sched;
    uint32_t share = set->period_us ? (uint32_t)(set->budget_us * 1000000ull / set->period_us)
                                    : NO_LIMIT;
    set->status = check(set, share);
    if (set->status != STATUS_OK)
        return;
    account(sched, share);
    sched->bandwidth_ppm = share;
    sched->budget_us = set->budget_us;
    sched_set(sched, (unsigned)set->priority, set->period_us);
    if (sched->parent && list_empty(&sched->child_link)) /* a new one */
        list_append(&sched->parent->children, &sched->child_link);
}

static enum septum_status set(struct sched *sched, uint64_t limits, uint64_t priority,
                              uint64_t budget_period)
{
    struct set set = {sched, limits, priority, (uint32_t)budget_period,
                      (uint32_t)(budget_period >> 32), STATUS_OK};
    cross_call(sched->object.home, set_here, &set);
    return set.status;
}

static enum septum_status create(struct object *object, const struct create_request *request)
{
    struct sched *sched = (struct sched *)object;
    list_init(&sched->depleted_link);
    list_init(&sched->bound);
    list_init(&sched->children);
    list_init(&sched->child_link);
    sched->parent = request->sched;
    if (!sched->parent) {
        sched->priority = PRIORITY_MAX / 2;
        sched->bandwidth_ppm = NO_LIMIT;
        return STATUS_OK;
    }
    return set(sched, request->sched_limits, request->a1, request->a2);
}

/* Without a share: limited, with no budget ever. */
static void end_share(struct sched *sched)
{
    sched->limited = true;
    sched->bandwidth_ppm = sched->children_ppm;
    sched_update_budget(sched);
}

/* Its threads have no context any more and do not run; what it lent goes back. */
static bool end(struct object *object)
{
    struct sched *sched = (struct sched *)object;
    struct cpu *cpu = this_cpu();

    while (!list_empty(&sched->bound))
        thread_bind_sched(list_first(&sched->bound, struct thread, sched_link), NULL);
    while (!list_empty(&sched->children)) { /* what was cut from its share ends with it */
        struct sched *child = list_first(&sched->children, struct sched, child_link);
        list_remove(&child->child_link);
        child->parent = NULL;
        if (sched->limited)
            end_share(child);
    }
    account(sched, 0);
    list_remove(&sched->child_link);
    list_remove(&sched->depleted_link);
    if (cpu->charged == sched)
        cpu->charged = NULL;
    return true;
}

const struct object_kind sched_kind = OBJECT_KIND(sched, create, end, NULL);

enum septum_status sys_schedule(struct thread *caller)
{
    const struct registers *in = &caller->registers;
    enum septum_status status = STATUS_OK;

    if (in->rsi == SCHEDULE_YIELD) {
        if (in->rdi)
            return STATUS_BAD_ARGUMENT;
        this_cpu()->slice_end = 0;
        this_cpu()->reschedule = 1;
        return STATUS_OK;
    }
    if (in->rsi != SCHEDULE_SET && in->rsi != SCHEDULE_BIND)
        return STATUS_BAD_ARGUMENT;
    uint64_t limits = capability_lookup(&caller->task->capabilities, in->rdi)->badge;
    struct sched *sched = (struct sched *)capability_object(caller->task, in->rdi, OBJECT_SCHED,
                                                            RIGHT_CONTROL, &status);
    if (!sched)
        return status;
    if (in->rsi == SCHEDULE_SET)
        return set(sched, limits, in->rdx, in->r10);
    struct object *object =
        capability_object(caller->task, in->rdx, OBJECT_THREAD, RIGHT_CONTROL, &status);
    if (!object)
        return status;
    if (object->home != sched->object.home)
        return STATUS_WRONG_CPU;
    thread_bind_sched(container_of(object, struct thread, object), sched);
    return STATUS_OK;
}
