/*
 * The loop of a vCPU's thread. Whatever happens to the vCPU from outside (interrupts, INIT, commands) sets bits somewhere
 * and raises the thread's notification; that ends a wait or a call of the vCPU, and the loop looks at everything again.
 */
#include "vcpu_thread.h"

#include "boot/bios.h"
#include "boot/loader.h"
#include "exit.h"
#include "message.h"
#include "pc/chips.h"
#include "report.h"
#include "string.h"
#include "task.h"

#define SHADOW        (VCPU_BLOCKED_BY_STI | VCPU_BLOCKED_BY_MOV_SS)
#define RFLAGS_ONE    2ull
#define RFLAGS_IF     (1ull << 9)
#define CR0_PE        1ull
#define CR0_ET        16ull
#define CR0_NE        32ull
#define CR0_RESET     0x60000010ull /* CD, NW, ET (SDM 3, table 10-1) */
#define CR0_PG        (1ull << 31)
#define CR4_PAE       32ull
#define EFER_LONG     (1ull << 8 | 1ull << 10)
#define PAT_RESET     0x0007040600070406ull
#define DR6_RESET     0xffff0ff0ull
#define DR7_RESET     0x400ull
#define CPUID_FAMILY6 0x600ull

/* Segment attributes: struct vcpu_segment. */
#define ATTRIBUTES_CODE16 0x9bu
#define ATTRIBUTES_DATA16 0x93u
#define ATTRIBUTES_CODE64 0xa09bu
#define ATTRIBUTES_CODE32 0xc09bu
#define ATTRIBUTES_DATA32 0xc093u
#define ATTRIBUTES_TSS    0x8bu
#define ATTRIBUTES_LDT    0x82u

#define MSR_DIRECT                                                               \
    (VCPU_MSR_FS_GS_BASE | VCPU_MSR_SYSCALL | VCPU_MSR_SYSENTER | VCPU_MSR_PAT | \
     VCPU_MSR_TSC_AUX | VCPU_MSR_SPEC_CTRL)

#define STATE_GROUPS                                                                 \
    (VCPU_GROUP_RIP | VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS | VCPU_GROUP_TABLES | \
     VCPU_GROUP_SYSCALL | VCPU_GROUP_DEBUG)

/* ---- the state page ------------------------------------------------------------------------------ */

static struct vcpu_segment segment(uint16_t selector, uint64_t base, uint32_t limit,
                                   uint32_t attributes)
{
    return (struct vcpu_segment){
        .selector = selector, .base = base, .limit = limit, .attributes = attributes};
}

/* As INIT and a start-up message leave it (SDM 3, table 10-1 and 9.4.4.1): real mode, at vector * 4096. */
static void begin_real_mode(struct vcpu *vcpu, uint8_t vector)
{
    struct vcpu_state *state = vcpu->state;
    memset(state->gpr, 0, sizeof state->gpr);
    state->gpr[2] = CPUID_FAMILY6;
    state->rip = 0;
    state->rflags = RFLAGS_ONE;
    state->interruptibility = 0;
    state->activity = VCPU_ACTIVITY_ACTIVE;
    state->cr0 = CR0_RESET;
    state->cr2 = state->cr3 = state->cr4 = state->cr8 = state->efer = 0;
    state->xcr0 = 1;
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
        state->segment[i] = segment(0, 0, 0xffff, ATTRIBUTES_DATA16);
    state->segment[VCPU_CS] =
        segment((uint16_t)(vector << 8), (uint64_t)vector << 12, 0xffff, ATTRIBUTES_CODE16);
    state->segment[VCPU_LDTR] = segment(0, 0, 0xffff, ATTRIBUTES_LDT);
    state->segment[VCPU_TR] = segment(0, 0, 0xffff, ATTRIBUTES_TSS);
    state->gdtr = state->idtr = (struct vcpu_table){.limit = 0xffff};
    memset(state->dr, 0, sizeof state->dr);
    state->dr6 = DR6_RESET;
    state->dr7 = DR7_RESET;
    state->debugctl = 0;
    vcpu->dirty |= STATE_GROUPS;
    vcpu->interruptibility = 0;
    vcpu->set_rip = false;
}

void vcpu_begin_reset(struct vcpu *vcpu)
{
    begin_real_mode(vcpu, 0);
    vcpu->state->segment[VCPU_CS] = segment(0xf000, 0xffff0000, 0xffff, ATTRIBUTES_CODE16);
    vcpu->state->rip = 0xfff0;
    vcpu->phase = VCPU_RUNS;
}

void vcpu_begin(struct vcpu *vcpu, const struct boot_entry *entry)
{
    struct vcpu_state *state = vcpu->state;
    bool is_long = entry->mode == BOOT_LONG;
    begin_real_mode(vcpu, 0);
    state->gpr[0] = entry->rax;
    state->gpr[2] = 0;
    state->gpr[3] = entry->rbx;
    state->gpr[6] = entry->rsi;
    state->rip = entry->rip;
    state->cr0 = CR0_PE | CR0_ET | (is_long ? CR0_NE | CR0_PG : 0);
    state->cr3 = is_long ? entry->page_tables : 0;
    state->cr4 = is_long ? CR4_PAE : 0;
    state->efer = is_long ? EFER_LONG : 0;
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
        state->segment[i] = segment(0x18, 0, 0xffffffff, ATTRIBUTES_DATA32);
    state->segment[VCPU_CS] =
        segment(0x10, 0, 0xffffffff, is_long ? ATTRIBUTES_CODE64 : ATTRIBUTES_CODE32);
    state->gdtr = (struct vcpu_table){.base = entry->gdt, .limit = entry->gdt_limit};
    vcpu->phase = VCPU_RUNS;
}

void vcpu_need(struct vcpu *vcpu, uint32_t groups)
{
    groups &= ~(vcpu->dirty | vcpu->state->subscription[vcpu->reason]);
    if (groups)
        sys_control(vcpu->slot, CONTROL_VCPU_READ, groups, 0, 0, 0);
}

bool vcpu_try_write(struct vcpu *vcpu, uint32_t group, uint64_t *word, uint64_t value)
{
    uint64_t old = *word;
    *word = value;
    if (sys_control(vcpu->slot, CONTROL_VCPU_WRITE, group, 0, 0, 0).status == STATUS_OK)
        return true;
    *word = old;
    return false;
}

void vcpu_undo_point(struct vcpu *vcpu)
{
    const struct vcpu_state *state = vcpu->state;
    if (!vcpu->undo.valid) {
        vcpu->undo.valid = true;
        vcpu->undo.cr0 = state->cr0, vcpu->undo.cr3 = state->cr3;
        vcpu->undo.cr4 = state->cr4, vcpu->undo.efer = state->efer;
        vcpu->undo.xcr0 = state->xcr0, vcpu->undo.rip = vcpu->rip;
    }
}

/* False: it was not a control register that the kernel refused. */
static bool undo(struct vcpu *vcpu)
{
    struct vcpu_state *state = vcpu->state;
    if (!vcpu->undo.valid)
        return false;
    state->cr0 = vcpu->undo.cr0, state->cr3 = vcpu->undo.cr3;
    state->cr4 = vcpu->undo.cr4, state->efer = vcpu->undo.efer;
    state->xcr0 = vcpu->undo.xcr0;
    vcpu->undo.valid = false;
    vcpu->rip = vcpu->undo.rip;
    vcpu_inject(vcpu, EVENT_GP);
    return true;
}

void vcpu_skip(struct vcpu *vcpu, unsigned length)
{
    vcpu->rip += length;
    vcpu->set_rip = true;
}

void vcpu_inject(struct vcpu *vcpu, uint64_t event)
{
    vcpu->event = event;
    vcpu->state->rip = vcpu->rip;
    vcpu->set_rip = (vcpu->dirty & VCPU_GROUP_RIP) != 0;
}

void vcpu_take_state(struct vcpu *vcpu, uint32_t changed)
{
    struct vcpu_state *state = vcpu->state;
    if (changed & VCPU_GROUP_RIP) {
        state->interruptibility = vcpu->interruptibility & VCPU_BLOCKED_BY_NMI;
        state->activity = VCPU_ACTIVITY_ACTIVE;
        vcpu->interruptibility =
            state->interruptibility | (state->rflags & RFLAGS_IF ? VCPU_IF : 0);
    }
    vcpu->dirty |= changed;
}

void vcpu_set_tsc_offset(struct vcpu *vcpu, uint64_t offset)
{
    vcpu->tsc_offset = offset;
    vcpu->state->tsc_offset = offset;
    vcpu->dirty |= VCPU_GROUP_TIME;
    local_apic_set_tsc_offset(&vcpu->apic, offset, ticks());
}

void vcpu_stop_guest(struct vcpu *vcpu, const char *why)
{
    report(vcpu, why, NULL);
    machine_end(vcpu->machine, ROOT_GUEST_PANIC);
}

/* ---- events --------------------------------------------------------------------------------------- */

static void take_events(struct vcpu *vcpu)
{
    uint32_t events = local_apic_events(&vcpu->apic);
    if (!events)
        return;
    vcpu->nmi_pending |= (events & APIC_EVENT_NMI) != 0;
    vcpu->extint_pending |= (events & APIC_EVENT_EXTINT) && vcpu->machine->pc;
    if (events & APIC_EVENT_INIT) {
        local_apic_reset(&vcpu->apic, true);
        vcpu->phase = VCPU_WAITS_FOR_STARTUP;
        vcpu->event = 0;
        vcpu->nmi_pending = vcpu->extint_pending = false;
        /* SDM 3, 9.4.2: the bootstrap processor begins at the reset vector, where firmware waits for it. */
        if (vcpu->number == 0 && bios_wanted(vcpu->machine->start))
            vcpu_begin_reset(vcpu);
    }
    if (events & APIC_EVENT_STARTUP && vcpu->phase == VCPU_WAITS_FOR_STARTUP) {
        begin_real_mode(vcpu, vcpu->apic.startup_vector);
        vcpu->phase = VCPU_RUNS;
    }
}

/* Does it owe the 8259s an acknowledge: by its pin, or by a message that said so? */
static bool wants_acknowledge(const struct vcpu *vcpu)
{
    return vcpu->extint_pending || (__atomic_load_n(&vcpu->apic.pins, __ATOMIC_RELAXED) &&
                                    local_apic_wants_acknowledge(&vcpu->apic));
}

/* Chooses what to inject next (docs/vcpu.md, "Events"); the call's flags. */
static uint64_t choose_event(struct vcpu *vcpu)
{
    uint32_t shadow = vcpu->set_rip ? 0 : vcpu->interruptibility & SHADOW;
    bool free = !vcpu->event && !vcpu->event_in_flight;
    uint64_t flags = 0;
    if (vcpu->nmi_pending) {
        if (free && !shadow && !(vcpu->interruptibility & VCPU_BLOCKED_BY_NMI)) {
            vcpu->event = VCPU_EVENT(2, VCPU_EVENT_NMI);
            vcpu->nmi_pending = free = false;
        } else {
            flags |= VCPU_EXIT_NMI_WINDOW;
        }
    }
    if (wants_acknowledge(vcpu)) {
        /* Only who can take it now may acknowledge: the vector is what is most urgent at that moment. */
        if (!free || shadow || !(vcpu->interruptibility & VCPU_IF))
            return flags | VCPU_EXIT_INTERRUPTIBLE;
        vcpu->extint_pending = free = false;
        vcpu->event = VCPU_EVENT((unsigned)chips_acknowledge(vcpu->machine), VCPU_EVENT_EXTERNAL);
    }
    int vector = local_apic_pending(&vcpu->apic);
    if (vector < 0)
        return flags;
    if (free && (shadow || !(vcpu->interruptibility & VCPU_IF))) {
        vcpu->waiting = VCPU_EVENT((unsigned)vector, VCPU_EVENT_EXTERNAL);
        local_apic_hand_out(&vcpu->apic, (uint8_t)vector);
        return flags | VCPU_EVENT_WAITS;
    }
    if (!free)
        return flags | VCPU_EXIT_INTERRUPTIBLE;
    vcpu->event = VCPU_EVENT((unsigned)vector, VCPU_EVENT_EXTERNAL);
    local_apic_accept(&vcpu->apic, (uint8_t)vector);
    return local_apic_pending(&vcpu->apic) < 0 ? flags : flags | VCPU_EXIT_INTERRUPTIBLE;
}

static bool is_woken(struct vcpu *vcpu)
{
    if (vcpu->event || vcpu->nmi_pending)
        return true;
    return vcpu->interruptibility & VCPU_IF &&
           (wants_acknowledge(vcpu) || local_apic_pending(&vcpu->apic) >= 0);
}

/* ---- the loop --------------------------------------------------------------------------------------- */

static void attend(struct vcpu *vcpu, uint64_t bits)
{
    if (vcpu->number == 0 && bits & ~MACHINE_BIT_KICK)
        machine_attend(vcpu->machine, bits);
}

static void wait(struct vcpu *vcpu, uint64_t deadline)
{
    struct message message = message_wait(0, deadline);
    if (message.status == STATUS_OK || message.status == STATUS_INTERRUPTED)
        attend(vcpu, message.w[0]);
}

static void count(struct vcpu *vcpu, uint64_t since)
{
    struct vmm_status *status = vcpu->machine->status;
    __atomic_fetch_add(&status->exits[vcpu->reason].count, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&status->exits[vcpu->reason].ticks, ticks() - since, __ATOMIC_RELAXED);
}

static void take_waiting(struct vcpu *vcpu, bool taken)
{
    if (vcpu->waiting)
        local_apic_hand_back(&vcpu->apic, (uint8_t)vcpu->waiting, taken);
    vcpu->waiting = 0;
}

/* The reply of a call that the kernel carried out. */
static void take_reply(struct vcpu *vcpu, const struct message *reply)
{
    uint32_t said = TAG_LABEL(reply->tag) >> 8 & 0xff;
    enum vcpu_event_outcome outcome =
        (enum vcpu_event_outcome)(said & ~(uint32_t)VCPU_EVENT_WAITING);
    vcpu->dirty = 0;
    vcpu->set_rip = false;
    vcpu->undo.valid = false;
    if (outcome != VCPU_EVENT_NOT_TRIED)
        vcpu->event = 0;
    vcpu->event_in_flight = outcome == VCPU_EVENT_PENDING;
    /* Before the exit is handled: it may be the end of that interrupt. */
    take_waiting(vcpu, !(said & VCPU_EVENT_WAITING) && outcome != VCPU_EVENT_NOT_TRIED);
    vcpu->reason = (enum vcpu_exit)(TAG_LABEL(reply->tag) & 0xff);
    vcpu->rip = reply->w[2];
    vcpu->interruptibility = (uint32_t)(reply->w[3] >> 8);
}

struct message vcpu_run_plainly(struct vcpu *vcpu, uint64_t deadline)
{
    const uint64_t w[4] = {0, vcpu->dirty, vcpu->rip, 0};
    __atomic_fetch_add(&vcpu->machine->status->entries, 1, __ATOMIC_RELAXED);
    struct message reply =
        ipc(IPC_CALL, vcpu->slot, TAG(vcpu->set_rip ? VCPU_SET_RIP : 0, 3, 0), w, deadline);
    if (reply.status == STATUS_OK || reply.status == STATUS_TIMEOUT ||
        reply.status == STATUS_INTERRUPTED || reply.status == STATUS_ENTRY_FAILED)
        take_reply(vcpu, &reply);
    return reply;
}

static void enter(struct vcpu *vcpu, uint64_t deadline)
{
    if (vcpu->yields) {
        vcpu->yields = false;
        sys_schedule(0, SCHEDULE_YIELD, 0, 0);
    }
    uint64_t flags = choose_event(vcpu) | (vcpu->set_rip ? VCPU_SET_RIP : 0);
    const uint64_t w[4] = {vcpu->event | vcpu->waiting, vcpu->dirty, vcpu->rip, 0};
    uint64_t now;
    __atomic_fetch_add(&vcpu->machine->status->entries, 1, __ATOMIC_RELAXED);
    struct message reply = ipc(IPC_CALL, vcpu->slot, TAG(flags, 3, 0), w, deadline);
    switch (reply.status) {
    case STATUS_OK:
        now = ticks();
        take_reply(vcpu, &reply);
        exit_handle(vcpu, vcpu->reason, &reply);
        count(vcpu, now);
        break;
    case STATUS_TIMEOUT:
    case STATUS_INTERRUPTED:
        take_reply(vcpu, &reply);
        if (reply.status == STATUS_INTERRUPTED)
            attend(vcpu, reply.w[0]);
        break;
    case STATUS_ENTRY_FAILED:
        take_reply(vcpu, &reply);
        task_print("the processor refused the guest's state: rule %u, %s (code 0x%lx)\n",
                   vcpu->state->failed_rule_number, vcpu->state->failed_rule, reply.w[0]);
        vcpu_stop_guest(vcpu, "it brought its processor into a state that can't be");
        break;
    default:
        take_waiting(vcpu, false);
        if (reply.status == STATUS_BAD_ARGUMENT && undo(vcpu))
            break;
        task_print("the kernel refused a run of vCPU %u: status %lu, group 0x%lx\n", vcpu->number,
                   reply.status, reply.w[0]);
        vcpu_stop_guest(vcpu, "its vCPU can't be run; this is an error of the VMM");
    }
}

static void step(struct vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    uint64_t now = ticks();
    uint64_t devices = vcpu->number == 0 ? machine_timers(machine, now) : DEADLINE_NEVER;
    uint64_t deadline = devices;
    if (vcpu->apic.deadline_tsc <= now)
        local_apic_timer(&vcpu->apic, now);
    if (vcpu->apic.deadline_tsc < deadline)
        deadline = vcpu->apic.deadline_tsc;
    take_events(vcpu);
    uint32_t stands = __atomic_load_n(&machine->ended, __ATOMIC_ACQUIRE) |
                      __atomic_load_n(&machine->paused, __ATOMIC_ACQUIRE);
    if (stands | __atomic_load_n(&machine->held, __ATOMIC_ACQUIRE) ||
        vcpu->phase == VCPU_WAITS_FOR_STARTUP) {
        /* A device that holds the guest may do so until its timer expires. */
        if (!vcpu_parks(vcpu))
            wait(vcpu, stands ? DEADLINE_NEVER : devices);
        return;
    }
    if (vcpu->phase == VCPU_HALTED) {
        if (!is_woken(vcpu)) {
            wait(vcpu, deadline);
            return;
        }
        vcpu->phase = VCPU_RUNS;
    }
    enter(vcpu, deadline);
}

/* What this processor and kernel offer is read back from the vCPU. */
static bool set_up(struct vcpu *vcpu)
{
    struct vcpu_state *state = vcpu->state;
    struct machine *machine = vcpu->machine;
    if (vcpu->number != 0 && sys_create(vcpu->notification, OBJECT_NOTIFICATION, TASK_SLOT_SELF,
                                        task->threads[vcpu->number].cpu, 0, 0) != STATUS_OK)
        return false;
    if (sys_control(TASK_SLOT_THREAD + vcpu->number, CONTROL_THREAD_BIND_NOTIFICATION,
                    vcpu->notification, 0, 0, 0)
            .status != STATUS_OK)
        return false;
    uint64_t tsc_offset = vcpu->tsc_offset;
    if (sys_control(vcpu->slot, CONTROL_VCPU_READ, VCPU_GROUP_POLICY | VCPU_GROUP_MISC, 0, 0, 0)
            .status != STATUS_OK)
        return false;
    exit_subscribe(state);
    state->intercepts = VCPU_INTERCEPT_CR8 | (machine->shares_cpu ? VCPU_INTERCEPT_PAUSE : 0);
    state->cr0_guest_owned = state->cr4_guest_owned = UINT64_MAX;
    state->msr_direct = MSR_DIRECT;
    state->tsc_offset = tsc_offset;
    state->pat = PAT_RESET;
    if (sys_control(vcpu->slot, CONTROL_VCPU_WRITE,
                    VCPU_GROUP_POLICY | VCPU_GROUP_MISC | VCPU_GROUP_TIME, 0, 0, 0)
                .status != STATUS_OK ||
        sys_control(vcpu->slot, CONTROL_VCPU_READ, VCPU_GROUP_POLICY, 0, 0, 0).status != STATUS_OK)
        return false;
    vcpu->msr_direct = state->msr_direct;
    if (vcpu->number == 0)
        machine_know_processor(machine, state->xcr0_allowed,
                               (state->msr_direct & VCPU_MSR_SPEC_CTRL) != 0);
    return true;
}

void vcpu_init(struct vcpu *vcpu, struct machine *machine, unsigned number)
{
    vcpu->machine = machine;
    vcpu->number = number;
    vcpu->slot = TASK_SLOT_VCPU + number;
    vcpu->notification = number ? TASK_SLOT_FREE + number : TASK_SLOT_NOTIFICATION;
    vcpu->state = (struct vcpu_state *)task->threads[number].vcpu_state;
    vcpu->phase = VCPU_WAITS_FOR_STARTUP;
    vcpu->world.state = vcpu->state;
}

void vcpu_thread(void *argument)
{
    struct vcpu *vcpu = argument;
    if (!set_up(vcpu)) {
        task_print("vCPU %u can't be set up; this is an error of the VMM\n", vcpu->number);
        machine_end(vcpu->machine, ROOT_GUEST_REFUSED);
    }
    for (;;)
        step(vcpu);
}
