/* The audit's look at capabilities and MSRs. */
#include "audit.h"

#include "service.h"
#include "string.h"
#include "thread.h"

#define HELD_MAX 1536u

static struct held held[HELD_MAX];
static unsigned held_count;

/* ---- capabilities --------------------------------------------------------------------------------------- */

static void collect(const struct resident *task)
{
    const uint64_t *found;
    uint64_t base = 0;
    while (
        (found = audit_look(INSPECT_RANGE, task->slots + RESIDENT_TASK, SPACE_CAPABILITY, base))) {
        base = found[0] + 1;
        audit_count.capabilities++;
        if (held_count == HELD_MAX) {
            audit_violation(
                "%s has more capabilities than the audit can hold: not all were looked at",
                task->name);
            return;
        }
        held[held_count++] = (struct held){.object = found[2],
                                           .badge = found[7],
                                           .task = task,
                                           .slot = (uint32_t)found[0],
                                           .type = (uint32_t)(found[3] >> 8),
                                           .rights = (uint32_t)(found[3] & 255)};
    }
}

/* The object behind one of root's own slots. */
static uint64_t object_of(cap_slot_t slot)
{
    const uint64_t *found = audit_look(INSPECT_RANGE, BOOT_SLOT_TASK, SPACE_CAPABILITY, slot);
    return found && found[0] == slot ? found[2] : 0;
}

static const char *type_name(uint32_t type)
{
    static const char *const names[OBJECT_TYPE_COUNT] = {
        "nothing",      "task",      "thread", "vCPU",   "endpoint",
        "notification", "interrupt", "sched",  "device", "reply"};
    return type < OBJECT_TYPE_COUNT ? names[type] : "object";
}

static bool may_hold_interrupt(const struct held *h)
{
    cap_slot_t slot = 0;
    if (h->task == server_task())
        return h->object == object_of(server_interrupt());
    for (unsigned n = 0; (slot = service_interrupt(h->task, n)); n++)
        if (h->object == object_of(slot))
            return true;
    return false;
}

/* What a task may hold by itself, whoever else does. */
static bool may_hold(const struct held *h)
{
    switch (h->type) {
    case OBJECT_TASK:
        return h->object == object_of(h->task->slots + RESIDENT_TASK) &&
               !(h->rights & ~(unsigned)(RIGHT_CREATE | RIGHT_MAP | RIGHT_INSPECT));
    case OBJECT_INTERRUPT: return may_hold_interrupt(h);
    case OBJECT_SCHED:
    case OBJECT_DEVICE: return false;
    default: return true;
    }
}

static bool may_ring(const struct held *sender, const struct held *waiter)
{
    return server_may_ring(sender->task, waiter->task, sender->badge) ||
           service_may_ring(sender->task, waiter->task, sender->badge);
}

/* Its own threads may ring each other. */
static bool waits_for(const struct held *held)
{
    return (held->rights & ~(unsigned)RIGHT_SEND) == RIGHT_RECEIVE;
}

/* Root's, which each may send to with its own badge; a server's, which its clients may send to with theirs. */
static bool may_share_endpoint(const struct held *a, const struct held *b)
{
    static const unsigned sends = RIGHT_SEND;
    if (a->object == object_of(ROOT_SLOT_ENDPOINT))
        return a->rights == sends && b->rights == sends && a->badge == a->task->id &&
               b->badge == b->task->id;
    if (waits_for(a) && b->rights == sends)
        return service_may_call(b->task, a->task, b->badge);
    if (waits_for(b) && a->rights == sends)
        return service_may_call(a->task, b->task, a->badge);
    return a->rights == sends && b->rights == sends && a->badge && b->badge && a->badge != b->badge;
}

/* Two tasks may hold: some endpoints; a notification, one to wait for it, the others to raise no more than their bits. */
static bool may_share(const struct held *a, const struct held *b)
{
    static const unsigned sends = RIGHT_SEND;
    if (a->type == OBJECT_ENDPOINT)
        return may_share_endpoint(a, b);
    if (a->type != OBJECT_NOTIFICATION)
        return false;
    if (waits_for(a) && b->rights == sends)
        return may_ring(b, a);
    if (waits_for(b) && a->rights == sends)
        return may_ring(a, b);
    return a->rights == sends && b->rights == sends && !(a->badge & b->badge) && a->badge &&
           b->badge;
}

void audit_capabilities(void)
{
    held_count = 0;
    for (unsigned i = 0; i < TASKS_MAX; i++)
        if (residents[i].lives)
            collect(&residents[i]);
    for (unsigned i = 0; i < held_count; i++)
        if (!may_hold(&held[i]))
            audit_violation("%s holds a capability that it was not given, in slot %u: %s",
                            held[i].task->name, held[i].slot, type_name(held[i].type));
    audit_sort(held, held_count, sizeof *held);
    for (unsigned i = 0; i < held_count; i++)
        for (unsigned j = i + 1; j < held_count && held[j].object == held[i].object; j++)
            if (held[i].task != held[j].task && !may_share(&held[i], &held[j]))
                audit_violation("one %s is reachable from %s, by slot %u, and from %s, by slot %u",
                                type_name(held[i].type), held[i].task->name, held[i].slot,
                                held[j].task->name, held[j].slot);
}

/* ---- MSRs ------------------------------------------------------------------------------------------------- */

enum { LETS_READ = 1, LETS_WRITE = 2 };

/* All that the kernel switches (abi/vcpu.h, enum vcpu_msr_direct). */
static bool is_switched(uint32_t msr, unsigned how)
{
    static const struct {
        uint32_t first, last;
        unsigned how;
    } switched[] = {
        {0xc0000100, 0xc0000102, 3}, /* FS, GS and kernel GS base */
        {0xc0000081, 0xc0000084, 3}, /* STAR, LSTAR, CSTAR, SFMASK */
        {0x174, 0x176, 3},           /* SYSENTER */
        {0x277, 0x277, 3},           /* PAT */
        {0xc0000103, 0xc0000103, 3}, /* TSC_AUX */
        {0x48, 0x48, 3},             /* SPEC_CTRL */
        {0x49, 0x49, LETS_WRITE},    /* PRED_CMD: a barrier, no state */
    };
    for (unsigned i = 0; i < sizeof switched / sizeof *switched; i++)
        if (msr >= switched[i].first && msr <= switched[i].last && !(how & ~switched[i].how))
            return true;
    return false;
}

static void check_msr(const struct resident *task, unsigned vcpu, uint32_t msr, unsigned how)
{
    if (!is_switched(msr, how))
        audit_violation("MSR 0x%x is let through to %s's vCPU %u, for %s", msr, task->name, vcpu,
                        how == LETS_READ    ? "reading"
                        : how == LETS_WRITE ? "writing"
                                            : "reading and writing");
}

/* A part of the map of AMD-V (APM 2, 15.11): two bits an MSR, the first for reads; of VT-x (SDM 3, 25.6.9): one bit. */
static void check_part(const struct resident *task, unsigned vcpu, unsigned part,
                       const uint64_t *words, unsigned count)
{
    static const uint32_t amd_first[] = {0, 0xc0000000, 0xc0010000};
    for (unsigned bit = 0; bit < count * 64; bit++) {
        if (words[bit / 64] == UINT64_MAX) {
            bit |= 63;
        } else if (boot->virtualization == BOOT_VIRT_SVM) {
            unsigned how = ~(unsigned)(words[bit / 64] >> bit % 64) & 3;
            if (how && part < 3)
                check_msr(task, vcpu, amd_first[part] + bit / 2, how);
            bit++;
        } else if (!(words[bit / 64] >> bit % 64 & 1)) {
            check_msr(task, vcpu, (bit >= 8192 ? 0xc0000000 : 0) + bit % 8192,
                      part == 0 ? LETS_READ : LETS_WRITE);
        }
    }
}

static void check_vcpu(const struct resident *task, unsigned n)
{
    uint64_t words[sizeof((struct message_buffer){0}.output) / 8];
    for (unsigned part = 0;; part++) {
        struct message m = sys_inspect(INSPECT_MSRS, task->slots + RESIDENT_VCPU + n, part, 0);
        if (m.status != STATUS_OK || m.w[0] == 0 || m.w[0] > sizeof words / 8)
            return;
        audit_count.vcpus += part == 0;
        memcpy(words, thread_buffer()->output, m.w[0] * 8);
        check_part(task, n, part, words, (unsigned)m.w[0]);
    }
}

void audit_msrs(void)
{
    for (unsigned i = 0; i < PLAN_PARTITIONS_MAX; i++)
        for (unsigned n = 0; residents[i].lives && n < residents[i].start->thread_count; n++)
            if (residents[i].start->threads[n].vcpu_state)
                check_vcpu(&residents[i], n);
}
