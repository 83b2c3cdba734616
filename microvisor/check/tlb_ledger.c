/*
 * The TLB ledger: what was taken from a task's tables and which CPU has flushed since. Emulators flush
 * more than they have to, so no test that only runs can catch a flush that is missing.
 *
 * All that happens gets a number, in one sequence.
 *
 * Host tables: before mapping_lock is released, a page of a table is freed, an entry is written again, or a
 * PCID is given back, each CPU that may hold translations of the task has flushed them since the last
 * entry was cleared. A CPU without PCIDs holds those of the loaded CR3 alone.
 *
 * Guest tables: at the same points each CPU where the task has vCPUs has been told since, and so has left
 * its guest. No VM entry uses a tag (ASID, VPID, EPT pointer) that was last empty before the last clearing
 * that is over, or that holds another's translations. A tag that the processor refuses, as a test may ask
 * for it (CONTROL_VCPU_VIOLATE), holds none: ASID or VPID 0, an EPT pointer of another format.
 *
 * References: every CPU has been told since a slot was emptied before mapping_lock is released, and been
 * quiescent before the object ends.
 */
#include "check/check.h"
#include "core/mapping.h"
#include "core/object.h"
#include "core/task.h"
#include "virt/vmx.h"
#include "x86/features.h"
#include "x86/instructions.h"
#include "x86/mitigations.h"
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"

#include "check/watch.h"
#undef write_cr3
#undef write_cr4
#undef invpcid
#undef invept
#undef invvpid
#undef vmx_run

#define TASKS 512u /* more than that at a time are not watched */
#define PCIDS 4096u
#define TAGGED_CPUS 4u /* guests of other CPUs are not watched */
#define TAGS 512u      /* of two with the same place the newer stays */
#define TAG_EPT (1ull << 63)

struct entry {
    struct task *task;
    uint64_t host_due;      /* CPUs that have not flushed since host_cleared */
    uint64_t host_cleared;
    uint64_t guest_cleared; /* 0: nothing since the last check */
    uint64_t guest_since;   /* what a guest uses must have been empty after this */
    bool ends;              /* without mapping_lock */
};

struct tag {
    uint64_t name;
    uint64_t since; /* when it was last empty */
    const void *user;
};

static struct entry entries[TASKS];
static struct entry *pcid_entry[PCIDS];
static struct tag tags[TAGGED_CPUS][TAGS];
static uint64_t tags_flushed[TAGGED_CPUS]; /* all of them */
static struct asked {
    uint64_t when;
    struct tag tag;
    bool all;
} asked[TAGGED_CPUS]; /* of the last VMRUN */
static uint64_t all_flushed[CPUS_MAX], told[CPUS_MAX], quiescent[CPUS_MAX];
static uint64_t sequence, slot_emptied;
static bool pending; /* there is something to settle */
static uint32_t locked;

/* Its holder waits for nobody, so unlike a kernel lock it answers no calls. */
static void acquire(void)
{
    while (__atomic_exchange_n(&locked, 1, __ATOMIC_ACQUIRE))
        __builtin_ia32_pause();
}

static void release(void)
{
    __atomic_store_n(&locked, 0, __ATOMIC_RELEASE);
}

static uint64_t next(void)
{
    return ++sequence;
}

/* ---- reports --------------------------------------------------------------------------------- */

static char *put(char *at, const char *text)
{
    while (*text)
        *at++ = *text++;
    return at;
}

static char *put_hex(char *at, uint64_t number)
{
    for (int shift = number >> 32 ? 60 : 12; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[number >> shift & 15];
    return at;
}

static _Noreturn void missing(const char *what, const void *subject, const char *space, unsigned cpu)
{
    static char text[160];
    char *at = put(put(put_hex(put(put(text, what), ": "), (uint64_t)subject), " "), space);
    *put_hex(put(at, ", cpu "), cpu) = 0;
    assertion_failed("TLB ledger", (unsigned)sequence, text);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static struct entry *entry_of(const struct task *task)
{
    uint64_t start = (uint64_t)task / 64;
    for (unsigned i = 0; i < TASKS; i++) {
        struct entry *entry = &entries[(start + i) % TASKS];
        if (entry->task == task)
            return entry;
    }
    return NULL;
}

static void check_host(struct entry *entry, const char *when)
{
    for (uint64_t due = entry->host_due; due; due &= due - 1) {
        unsigned cpu = (unsigned)__builtin_ctzll(due);
        bool empty = all_flushed[cpu] > entry->host_cleared ||
                     (!features.pcid && cpus[cpu]->loaded_cr3 != entry->task->host_cr3);
        if (!empty)
            missing(when, entry->task, "host", cpu);
    }
    entry->host_due = 0;
}

static void check_guest(struct entry *entry, const char *when)
{
    if (!entry->guest_cleared)
        return;
    for (uint64_t left = entry->task->guest_cpus; left; left &= left - 1) {
        unsigned cpu = (unsigned)__builtin_ctzll(left);
        if (told[cpu] < entry->guest_cleared)
            missing(when, entry->task, "guest", cpu);
    }
    entry->guest_since = entry->guest_cleared;
    entry->guest_cleared = 0;
}

void ledger_task_begins(struct task *task)
{
    acquire();
    struct entry *entry = entry_of(NULL);
    if (entry) {
        *entry = (struct entry){.task = task, .guest_since = next()};
        pcid_entry[task->pcid] = entry;
    }
    release();
}

void ledger_task_ends(struct task *task)
{
    acquire();
    struct entry *entry = entry_of(task);
    if (entry) {
        entry->ends = true;
        entry->host_due = cpus_online();
        entry->host_cleared = next();
    }
    release();
}

void ledger_task_ended(struct task *task)
{
    acquire();
    struct entry *entry = entry_of(task);
    if (entry) {
        check_host(entry, "a task ends and is not flushed");
        pcid_entry[task->pcid] = NULL;
        *entry = (struct entry){0};
    }
    release();
}

/* ---- what is taken --------------------------------------------------------------------------- */

/* The format does not tell: AMD-V's guest tables have that of the host's. */
static struct entry *entry_of_table(const struct table *table, bool *is_host)
{
    const char *at = (const char *)table;
    struct entry *entry = entry_of((const struct task *)(at - offsetof(struct task, host)));
    *is_host = entry != NULL;
    return entry ? entry : entry_of((const struct task *)(at - offsetof(struct task, guest)));
}

void ledger_cleared(const struct table *table)
{
    bool is_host;
    acquire();
    struct entry *entry = entry_of_table(table, &is_host);
    pending = true;
    if (is_host) {
        entry->host_due = entry->task->host_cpus;
        entry->host_cleared = next();
    } else if (entry) {
        entry->guest_cleared = next();
    }
    release();
}

static void check_entry(struct entry *entry, const char *when)
{
    if (!entry)
        return;
    check_host(entry, when);
    check_guest(entry, when);
}

void ledger_filled(const struct table *table)
{
    bool is_host;
    acquire();
    check_entry(entry_of_table(table, &is_host), "mapped again before the flush");
    release();
}

void ledger_page_freed(const struct quota *quota)
{
    acquire();
    check_entry(entry_of(container_of(quota, const struct task, quota)), "freed before the flush");
    release();
}

void ledger_slot_emptied(struct object *object)
{
    acquire();
    pending = true;
    slot_emptied = next();
    object->emptied = (uint32_t)slot_emptied;
    release();
}

void ledger_object_ends(const struct object *object)
{
    for (unsigned cpu = 0; cpu < cpu_count; cpu++) {
        if (cpu != this_cpu()->number && (int32_t)((uint32_t)quiescent[cpu] - object->emptied) < 0)
            missing("an object ends that may be in use", object, "capabilities", cpu);
    }
}

void ledger_unlock(const struct spinlock *lock)
{
    if (lock != &mapping_lock)
        return;
    acquire();
    for (unsigned i = 0; pending && i < TASKS; i++) {
        if (entries[i].task && !entries[i].ends)
            check_entry(&entries[i], "unlocked before the flush");
    }
    for (unsigned cpu = 0; pending && cpu < cpu_count; cpu++) {
        if (told[cpu] < slot_emptied)
            missing("unlocked before look-ups are over", NULL, "capabilities", cpu);
    }
    slot_emptied = 0;
    pending = false;
    release();
}

/* ---- what is flushed: noted before it is done, so that it is not taken for later than it was -- */

static void note(uint64_t *when)
{
    acquire();
    *when = next();
    release();
}

void ledger_told(void)
{
    note(&told[this_cpu()->number]);
    if (mitigations.kpti && !features.pcid) /* the way into the kernel loads CR3 */
        note(&all_flushed[this_cpu()->number]);
}

void ledger_quiescent(void)
{
    note(&quiescent[this_cpu()->number]);
}

static void flushed_pcid(uint64_t pcid)
{
    acquire();
    if (pcid_entry[pcid])
        pcid_entry[pcid]->host_due &= ~(1ull << this_cpu()->number);
    release();
}

void ledger_cr3_loaded(uint64_t cr3)
{
    if (!features.pcid)
        note(&all_flushed[this_cpu()->number]);
    else if (!(cr3 & CR3_NO_FLUSH))
        flushed_pcid(cr3 & PAGE_MASK);
}

void ledger_write_cr3(uint64_t value)
{
    ledger_cr3_loaded(value);
    write_cr3(value);
}

void ledger_write_cr4(uint64_t value)
{
    if ((read_cr4() ^ value) & CR4_PGE)
        note(&all_flushed[this_cpu()->number]);
    write_cr4(value);
}

void ledger_invpcid(uint64_t type, uint64_t pcid)
{
    flushed_pcid(pcid);
    invpcid(type, pcid);
}

/* ---- guests ---------------------------------------------------------------------------------- */

static struct tag *tag_of(uint64_t name)
{
    unsigned cpu = this_cpu()->number;
    return &tags[cpu][(name / PAGE_SIZE + name) % TAGS];
}

/* The tag is empty: it was flushed, or has not been used since all were. */
static void empty_tag(uint64_t name)
{
    *tag_of(name) = (struct tag){name, next(), NULL};
}

/* A VM entry on this CPU will fill this tag. */
static void use_tag(uint64_t name, const void *user, const struct entry *entry)
{
    struct tag *tag = tag_of(name);
    if (tag->name != name || tag->since < tags_flushed[this_cpu()->number])
        empty_tag(name);
    if ((entry && tag->since < entry->guest_since) || (tag->user && tag->user != user))
        missing("a guest entered with translations that are gone", user, "guest", this_cpu()->number);
    tag->user = user;
}

static const struct entry *entered(const struct vcpu *vcpu)
{
    const struct task *owner = vcpu->object.owner;
    unsigned cpu = this_cpu()->number;
    if (!(owner->guest_cpus & 1ull << cpu))
        missing("a guest entered where nobody looks for it", vcpu, "guest", cpu);
    return entry_of(owner);
}

void ledger_vmrun(const struct vcpu *vcpu, uint32_t asid, bool flush_all, bool flush_one)
{
    unsigned cpu = this_cpu()->number;
    if (cpu >= TAGGED_CPUS)
        return;
    acquire();
    const struct entry *entry = entered(vcpu);
    asked[cpu] = (struct asked){next(), {asid, next(), vcpu}, flush_all};
    if (!flush_all && !flush_one && asid)
        use_tag(asid, vcpu, entry);
    release();
}

void ledger_vmrun_done(bool entered)
{
    unsigned cpu = this_cpu()->number;
    if (cpu >= TAGGED_CPUS || !entered)
        return;
    acquire();
    if (asked[cpu].all)
        tags_flushed[cpu] = asked[cpu].when;
    *tag_of(asked[cpu].tag.name) = asked[cpu].tag;
    release();
}

_Noreturn void ledger_vmx_run(uint64_t *gpr, bool launched)
{
    const struct vcpu *vcpu = this_cpu()->in_guest;
    if (this_cpu()->number < TAGGED_CPUS) {
        acquire();
        const struct entry *entry = entered(vcpu);
        uint64_t ept = vmcs_read(FIELD_EPT_POINTER), vpid = vmcs_read(FIELD_VPID);
        if ((ept & PAGE_MASK) == EPT_POINTER_FLAGS)
            use_tag(ept | TAG_EPT, vcpu->object.owner, entry);
        if (vpid)
            use_tag(vpid, vcpu, NULL);
        release();
    }
    vmx_run(gpr, launched);
}

bool ledger_invept(uint64_t type, struct vmx_context one)
{
    acquire();
    if (this_cpu()->number < TAGGED_CPUS && type == INVALIDATE_ONE)
        empty_tag(one.name | TAG_EPT);
    release();
    return invept(type, one);
}

bool ledger_invvpid(uint64_t type, struct vmx_context one)
{
    acquire();
    if (this_cpu()->number < TAGGED_CPUS) {
        if (type == INVALIDATE_ONE)
            empty_tag(one.name);
        for (unsigned i = 0; i < TAGS && type == INVALIDATE_ALL; i++) {
            if (!(tags[this_cpu()->number][i].name & TAG_EPT))
                tags[this_cpu()->number][i] = (struct tag){0};
        }
    }
    release();
    return invvpid(type, one);
}
