/*
 * One instruction of a guest by its own processor, on scratch pages that stand for a device's (cpu/execute_step.c says for
 * which, and what goes to and from the device). The guest's processor runs with RFLAGS.TF set and all exceptions intercepted:
 * behind the instruction #DB comes, instead of it the exception that it raises, which is the guest's. Anything else
 * ends the guest with a report.
 *
 * Scratch pages are in the guest's physical space, which its vCPUs share: the others are stopped meanwhile. They
 * come to their loops when they are kicked, find the machine held, and say that they are parked; so one that is in a guest
 * that never exits is reached too, and an ordinary entry asks for nothing more than before. One vCPU of a guest steps at a
 * time; who wants to as well is parked until it may.
 */
#include "vcpu_thread.h"

#include "message.h"
#include "task.h"

/* Far more than an instruction takes on a processor that is shared: who waits longer has been led astray. */
#define STEP_SECONDS   60u

#define RFLAGS_TF      (1ull << 8)
#define RFLAGS_CHANGED 0x108d5ull /* CF PF AF ZF SF OF, and RF */
#define DR6_RESET      0xffff0ff0ull
#define DR6_HITS       15ull
#define DR6_BS         (1ull << 14)
#define VECTOR_DB      1u
#define VECTOR_PF      14u
#define VECTORS_ALL    0xffffffffu /* the kernel leaves out NMI and #MC */
/* #DF, #TS to #PF, #AC, #CP (SDM 3, table 6-1). */
#define HAS_ERROR(vector) (0x227d00u >> (vector)&1)

/* ---- the others ---------------------------------------------------------------------------------- */

/* Until its thread's notification rings; what rang beside a kick is for machine_attend. */
static uint64_t wait_for_bits(void)
{
    struct message message = message_wait(0, DEADLINE_NEVER);
    return message.status == STATUS_OK || message.status == STATUS_INTERRUPTED ? message.w[0] : 0;
}

static uint32_t stepping(const struct machine *machine)
{
    return __atomic_load_n(&machine->stepping, __ATOMIC_SEQ_CST);
}

/* Two flags, each written by one side and then read by the other: whoever steps sees that this one has gone on, or this one
 * sees that somebody steps. */
static uint64_t park(struct vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    uint64_t bits = 0;
    uint32_t who;
    while ((who = stepping(machine)) != 0) {
        __atomic_store_n(&vcpu->parked, 1, __ATOMIC_SEQ_CST);
        machine_kick(machine, who - 1);
        while (stepping(machine) == who)
            bits |= wait_for_bits();
        __atomic_store_n(&vcpu->parked, 0, __ATOMIC_SEQ_CST);
    }
    return bits;
}

static void attend(struct vcpu *vcpu, uint64_t bits)
{
    if (vcpu->number == 0 && bits & ~MACHINE_BIT_KICK)
        machine_attend(vcpu->machine, bits);
}

bool vcpu_parks(struct vcpu *vcpu)
{
    if (!stepping(vcpu->machine))
        return false;
    attend(vcpu, park(vcpu));
    return true;
}

static void kick_others(const struct vcpu *vcpu)
{
    for (unsigned i = 0; i < vcpu->machine->vcpu_count; i++)
        machine_kick(vcpu->machine, i);
}

static uint64_t stop_others(struct vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    uint64_t bits = 0;
    uint32_t nobody = 0;
    while (!__atomic_compare_exchange_n(&machine->stepping, &nobody, 1 + vcpu->number, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        bits |= park(vcpu);
        nobody = 0;
    }
    __atomic_add_fetch(&machine->held, 1, __ATOMIC_SEQ_CST);
    kick_others(vcpu);
    for (unsigned i = 0; i < machine->vcpu_count; i++)
        while (i != vcpu->number && !__atomic_load_n(&machine->vcpus[i].parked, __ATOMIC_SEQ_CST))
            bits |= wait_for_bits();
    return bits;
}

static void let_others_go(struct vcpu *vcpu)
{
    __atomic_sub_fetch(&vcpu->machine->held, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&vcpu->machine->stepping, 0, __ATOMIC_SEQ_CST);
    kick_others(vcpu);
}

/* ---- scratch pages --------------------------------------------------------------------------------- */

static void hide(const struct execute_step *step, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        machine_memory_take_back(step->pages[i].gpa);
}

static bool show(const struct execute_step *step)
{
    for (unsigned i = 0; i < step->page_count; i++) {
        const uint8_t *page = step->scratch + i * SEPTUM_PAGE_SIZE;
        if (!machine_memory_lend(step->pages[i].gpa, page, step->pages[i].write)) {
            hide(step, i);
            return false;
        }
    }
    return true;
}

/* ---- the instruction ------------------------------------------------------------------------------- */

/* What the guest has of its own of that which a step uses. */
struct before {
    uint64_t rip, rflags, dr6, dr7;
};

/* A device's doorbell or the like may end calls before the guest is entered: then again. */
static struct message run(struct vcpu *vcpu, uint64_t *bits)
{
    uint64_t rip = vcpu->rip, deadline = ticks() + task->tsc_khz * 1000 * STEP_SECONDS;
    struct message reply;
    bool again;
    do {
        reply = vcpu_run_plainly(vcpu, deadline);
        again = reply.status == STATUS_INTERRUPTED ||
                (reply.status == STATUS_OK &&
                 (vcpu->reason == EXIT_NONE || vcpu->reason == EXIT_FORCED));
        if (reply.status == STATUS_INTERRUPTED)
            *bits |= reply.w[0];
    } while (again && vcpu->rip == rip && ticks() < deadline);
    return reply;
}

/* The guest's own again; what the instruction has changed stays. */
static void restore(struct vcpu *vcpu, const struct before *before)
{
    struct vcpu_state *state = vcpu->state;
    /* No such instruction has more flags than these; QEMU 7.2 leaves some in RFLAGS behind ADOX that are none. */
    state->rflags = (before->rflags & ~RFLAGS_CHANGED) | (state->rflags & RFLAGS_CHANGED);
    state->dr6 = before->dr6, state->dr7 = before->dr7;
    state->exception_exits = 0;
    vcpu_take_state(vcpu, VCPU_GROUP_RIP | VCPU_GROUP_DEBUG | VCPU_GROUP_POLICY);
}

/* Behind the instruction: `hits` are breakpoints that it met. */
static void finish(struct vcpu *vcpu, const struct before *before, uint64_t hits)
{
    struct vcpu_state *state = vcpu->state;
    if (!execute_step_end(&vcpu->world, &vcpu->machine->step)) {
        vcpu->rip = before->rip;
        vcpu_inject(vcpu, EVENT_GP);
        return;
    }
    hits |= before->rflags & RFLAGS_TF ? DR6_BS : 0;
    state->dr6 |= hits;
    if (hits)
        vcpu_inject(vcpu, VCPU_EVENT(VECTOR_DB, VCPU_EVENT_EXCEPTION));
}

/* The instruction's own exception, or a breakpoint on it: nothing of it has been done. */
static void pass_on(struct vcpu *vcpu, const struct message *exit, uint64_t hits)
{
    unsigned vector = exit->w[0] & 31;
    uint64_t event = VCPU_EVENT(vector, VCPU_EVENT_EXCEPTION);
    if (HAS_ERROR(vector))
        event |= VCPU_EVENT_HAS_ERROR | exit->w[0] >> 32 << 32;
    if (vector == VECTOR_PF) {
        vcpu_need(vcpu, VCPU_GROUP_CONTROL);
        vcpu->state->cr2 = exit->w[1];
        vcpu_take_state(vcpu, VCPU_GROUP_CONTROL);
    }
    if (vector == VECTOR_DB)
        vcpu->state->dr6 |= hits;
    vcpu_inject(vcpu, event);
}

static const char *execute_there(struct vcpu *vcpu, uint64_t *bits)
{
    struct vcpu_state *state = vcpu->state;
    const struct execute_step *step = &vcpu->machine->step;
    vcpu_need(vcpu, VCPU_GROUP_RIP | VCPU_GROUP_DEBUG);
    const struct before before = {state->rip, state->rflags, state->dr6, state->dr7};
    if (!show(step))
        return "one on memory that has been shown to the guest, or the kernel has no room for it";
    state->rflags |= RFLAGS_TF;
    state->dr6 = DR6_RESET;
    state->exception_exits = VECTORS_ALL;
    vcpu_take_state(vcpu, VCPU_GROUP_RIP | VCPU_GROUP_DEBUG | VCPU_GROUP_POLICY);
    /* The exit that led here; the loop counts the one that ends this. */
    __atomic_fetch_add(&vcpu->machine->status->exits[vcpu->reason].count, 1, __ATOMIC_RELAXED);
    struct message exit = run(vcpu, bits);
    hide(step, step->page_count);
    vcpu_need(vcpu, VCPU_GROUP_RIP | VCPU_GROUP_DEBUG);
    uint64_t hits = state->dr6 & DR6_HITS;
    restore(vcpu, &before);
    if (exit.status != STATUS_OK || vcpu->reason != EXIT_EXCEPTION) {
        task_print("its step ended with status %lu, exit %u, at RIP 0x%lx\n", exit.status,
                   vcpu->reason, vcpu->rip);
        return "one whose step did not end as it should";
    }
    if ((exit.w[0] & 31) == VECTOR_DB)
        hits |= exit.w[1] & DR6_HITS;
    if ((exit.w[0] & 31) == VECTOR_DB && vcpu->rip != before.rip)
        finish(vcpu, &before, hits);
    else
        pass_on(vcpu, &exit, hits);
    return NULL;
}

const char *vcpu_step(struct vcpu *vcpu)
{
    uint64_t bits = stop_others(vcpu), event = 0;
    uint32_t changed = 0;
    const char *what = NULL;
    switch (execute_step_begin(&vcpu->world, &vcpu->machine->step, &event, &changed, &what)) {
    case EXECUTE_DONE: what = execute_there(vcpu, &bits); break;
    case EXECUTE_FAULT:
        vcpu_take_state(vcpu, changed);
        vcpu_inject(vcpu, event);
        what = NULL;
        break;
    case EXECUTE_NOWHERE:
        vcpu_inject(vcpu, EVENT_GP);
        what = NULL;
        break;
    case EXECUTE_UNKNOWN: what = what ? what : "unknown"; break;
    }
    let_others_go(vcpu);
    attend(vcpu, bits);
    return what;
}
