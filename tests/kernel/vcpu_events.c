/* vCPUs: events. Injected, refused, waited for, cut by an exit and injected again. Real mode, where the
 * vector table is at 0 and a handler is a word of segment and a word of offset. */
#include "vm.h"

#define CODE     0x1000u
#define HANDLER  0x2000u
#define COUNT    0x3000u
#define PUSHED_IP 0x3004u
#define PUSHED_FLAGS 0x3008u
#define UNMAPPED 0x80000u
#define POPPING 0x2100u
#define TF 0x100u
#define IF 0x200u
#define EXTERNAL(vector) VCPU_EVENT(vector, VCPU_EVENT_EXTERNAL)
#define NMI              VCPU_EVENT(2, VCPU_EVENT_NMI)
#define EXCEPTION(vector) VCPU_EVENT(vector, VCPU_EVENT_EXCEPTION)
#define SOFTWARE(vector, length) \
    (VCPU_EVENT(vector, VCPU_EVENT_SOFTWARE_INTERRUPT) | (uint64_t)(length) << VCPU_EVENT_LENGTH_SHIFT)

static uint32_t word(const struct vm *vm, uint64_t address)
{
    return *(volatile uint32_t *)(vm->memory + address);
}

static void set_vector(struct vm *vm, unsigned vector, uint16_t segment, uint16_t offset)
{
    *(volatile uint32_t *)(vm->memory + vector * 4) = (uint32_t)segment << 16 | offset;
}

/* A guest in real mode with the handler in place for vectors 1, 2, 3, 0x40 and 0x80. */
#define PREPARE(vm, guest, handler)                      \
    do {                                                 \
        vm_create(vm, 16);                               \
        VM_LOAD(vm, CODE, guest);                        \
        VM_LOAD(vm, HANDLER, handler);                   \
        vm_real_mode(vm, CODE);                          \
        set_vector(vm, 1, 0, HANDLER);                   \
        set_vector(vm, 2, 0, HANDLER);                   \
        set_vector(vm, 3, 0, HANDLER);                   \
        set_vector(vm, 0x40, 0, HANDLER);                \
        set_vector(vm, 0x80, 0, HANDLER);                \
    } while (0)

static void set_interruptible(struct vm *vm, bool on)
{
    vm_read(vm, VCPU_GROUP_RIP);
    vm_state(vm)->rflags = on ? IF | 2 : 2;
    vm_write(vm, VCPU_GROUP_RIP);
}

static struct message inject(struct vm *vm, uint64_t event)
{
    return vm_run(vm, 0, event, 0, 0, far_deadline());
}

static void expect_reply(const struct message *exit, enum vcpu_exit reason,
                         enum vcpu_event_outcome outcome)
{
    EXPECT_OK(exit->status);
    EXPECT(vm_exit_reason(exit), reason);
    EXPECT(vm_event_outcome(exit), outcome);
}

/* ---- delivery -------------------------------------------------------------------------------- */

TEST_VM(vcpu_inject_external, "an external interrupt is delivered to its handler, once")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    set_interruptible(&vm, true);
    struct message exit = inject(&vm, EXTERNAL(0x80));
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 1);
    EXPECT(word(&vm, PUSHED_IP), CODE);
    EXPECT(word(&vm, PUSHED_FLAGS) & IF, IF);
    exit = vm_continue(&vm, &exit, 1);
    EXPECT(word(&vm, COUNT), 1);
}

TEST_VM(vcpu_inject_nmi, "an NMI is delivered with interrupts off")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    struct message exit = inject(&vm, NMI);
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 1);
    EXPECT(vm_interruptibility(&exit) & VCPU_BLOCKED_BY_NMI, 0);
}

TEST_VM(vcpu_inject_exception, "an exception without an error code is delivered")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    struct message exit = inject(&vm, EXCEPTION(1));
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 1);
    EXPECT(word(&vm, PUSHED_IP), CODE);
}

TEST_VM(vcpu_inject_software, "a software interrupt returns behind its instruction, INT3 too")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    struct message exit = inject(&vm, SOFTWARE(0x40, 2));
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, PUSHED_IP), CODE + 2);
    EXPECT(exit.w[2], CODE + 4);
    exit = vm_run(&vm, VCPU_SET_RIP,
                  VCPU_EVENT(3, VCPU_EVENT_SOFTWARE_EXCEPTION) | 1 << VCPU_EVENT_LENGTH_SHIFT, 0, CODE,
                  far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, PUSHED_IP), CODE + 1);
    EXPECT(word(&vm, COUNT), 2);
}

/* Interrupt gates for vectors 6, 13 and 14 at 0x6000 in protected mode. */
static void write_idt(struct vm *vm, uint32_t handler)
{
    static const uint8_t vectors[] = {3, 6, 13, 14, 0x40};
    uint64_t gate = (handler & 0xffff) | VM_CODE32 << 16 | 0x8e00ull << 32 |
                    (uint64_t)(handler >> 16) << 48;
    for (unsigned i = 0; i < sizeof vectors; i++)
        *(uint64_t *)(vm->memory + 0x6000 + vectors[i] * 8) = gate;
    vm_state(vm)->idtr = (struct vcpu_table){.base = 0x6000, .limit = 0x7ff};
    vm_write(vm, VCPU_GROUP_TABLES);
}

TEST_VM(vcpu_inject_error_code, "an exception with an error code pushes it")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_nothing);
    VM_LOAD(&vm, HANDLER, guest_error_handler);
    vm_protected_mode(&vm, CODE);
    write_idt(&vm, HANDLER);
    struct message exit = inject(&vm, EXCEPTION(13) | VCPU_EVENT_HAS_ERROR | 0x1238ull << 32);
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 1);
    EXPECT(word(&vm, PUSHED_IP), 0x1238);
}

/* ---- refused --------------------------------------------------------------------------------- */

static void expect_refused(struct vm *vm, uint64_t event)
{
    struct message reply = inject(vm, event);
    EXPECT_STATUS(reply.status, STATUS_BAD_ARGUMENT);
    EXPECT(reply.w[0], VCPU_GROUP_EVENT);
}

TEST_VM(vcpu_event_illegal, "an event that no processor takes is refused, and the guest does not run")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    set_interruptible(&vm, true);
    uint64_t entries = vm_state(&vm)->entries;
    expect_refused(&vm, 0x80);                                     /* not valid */
    expect_refused(&vm, VCPU_EVENT(0x80, 1));                      /* no such type */
    expect_refused(&vm, VCPU_EVENT(0x80, 5));
    expect_refused(&vm, VCPU_EVENT(0x80, 7));
    expect_refused(&vm, VCPU_EVENT(3, VCPU_EVENT_NMI));            /* NMI is 2 */
    expect_refused(&vm, EXCEPTION(2));                             /* 2 is the NMI's */
    expect_refused(&vm, EXCEPTION(32));                            /* no exception */
    expect_refused(&vm, EXCEPTION(6) | VCPU_EVENT_HAS_ERROR);      /* #UD has none */
    expect_refused(&vm, EXTERNAL(0x80) | VCPU_EVENT_HAS_ERROR);
    expect_refused(&vm, EXTERNAL(0x80) | 1ull << 32);              /* error without its bit */
    expect_refused(&vm, EXCEPTION(13) | VCPU_EVENT_HAS_ERROR | 0x8000ull << 32);
    expect_refused(&vm, EXTERNAL(0x80) | 1 << 12);                 /* reserved */
    expect_refused(&vm, EXTERNAL(0x80) | 1 << 20);
    expect_refused(&vm, SOFTWARE(0x40, 0));                        /* no length */
    expect_refused(&vm, VCPU_EVENT(5, VCPU_EVENT_SOFTWARE_EXCEPTION) | 1 << 16);
    EXPECT(vm_state(&vm)->entries, entries);
    EXPECT(word(&vm, COUNT), 0);
}

TEST_VM(vcpu_event_not_interruptible, "an interrupt that the guest cannot take now is refused")
{
    struct vm vm;
    PREPARE(&vm, guest_sti_shadow, guest_handler);
    expect_refused(&vm, EXTERNAL(0x80)); /* IF is 0 */
    struct message exit = vm_expect(&vm, 0, EXIT_HLT); /* in the shadow of STI */
    EXPECT(vm_interruptibility(&exit) & (VCPU_IF | VCPU_BLOCKED_BY_STI),
           VCPU_IF | VCPU_BLOCKED_BY_STI);
    expect_refused(&vm, EXTERNAL(0x80));
    exit = vm_run(&vm, VCPU_SET_RIP, EXTERNAL(0x80), 0, exit.w[2] + 1, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED); /* behind the HLT the shadow is over */
    EXPECT(word(&vm, COUNT), 1);
}

/* ---- windows --------------------------------------------------------------------------------- */

TEST_VM(vcpu_interrupt_window, "the interrupt window opens behind the instruction that follows STI")
{
    struct vm vm;
    PREPARE(&vm, guest_sti, guest_handler);
    memset(vm_state(&vm)->subscription, 0, sizeof vm_state(&vm)->subscription); /* the plainest of exits */
    struct message exit = vm_run(&vm, VCPU_EXIT_INTERRUPTIBLE, 0, 0, 0, far_deadline());
    expect_reply(&exit, EXIT_INTERRUPTIBLE, VCPU_EVENT_NONE);
    EXPECT(exit.w[2], CODE + 10);
    EXPECT(vm_interruptibility(&exit), VCPU_IF);
    EXPECT(vm_state(&vm)->gpr[0] & 0xffff, 3);
    exit = inject(&vm, EXTERNAL(0x80));
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, PUSHED_IP), CODE + 10);
    vm_read(&vm, VCPU_GROUP_TIME); /* a call that writes something looks at all that is pending */
    exit = vm_run(&vm, VCPU_SET_RIP, 0, VCPU_GROUP_TIME, CODE + 10, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_NONE);
    EXPECT(word(&vm, COUNT), 1);
}

TEST_VM(vcpu_interrupt_window_open, "a window that is open already ends the call before the next instruction")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    set_interruptible(&vm, true);
    struct message exit = vm_run(&vm, VCPU_EXIT_INTERRUPTIBLE, 0, 0, 0, far_deadline());
    expect_reply(&exit, EXIT_INTERRUPTIBLE, VCPU_EVENT_NONE);
    EXPECT(exit.w[2], CODE);
    exit = vm_run(&vm, 0, 0, 0, 0, far_deadline()); /* and the flag is gone with its call */
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_NONE);
}

TEST_VM(vcpu_interrupt_window_after_event, "with an event and a window, the event comes first")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    set_interruptible(&vm, true);
    struct message exit = vm_run(&vm, VCPU_EXIT_INTERRUPTIBLE, EXTERNAL(0x80), 0, 0, far_deadline());
    expect_reply(&exit, EXIT_INTERRUPTIBLE, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 1);
    EXPECT(exit.w[2], CODE); /* the handler has run, and its IRET set IF */
}

/* Interrupts of the host come at many places of the handler. The result: how often it has begun. */
static uint32_t deliver_to_slow_handler(struct vm *vm, uint64_t flags)
{
    set_interruptible(vm, true);
    *(uint32_t *)(vm->memory + COUNT) = 0;
    struct message exit =
        vm_run(vm, flags | VCPU_SET_RIP, EXTERNAL(0x80), 0, CODE, ticks() + microseconds(200));
    while (exit.status == STATUS_TIMEOUT)
        exit = vm_run(vm, flags, 0, 0, 0, ticks() + microseconds(200));
    EXPECT_OK(exit.status);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    return word(vm, COUNT);
}

TEST_VM(vcpu_interrupt_once, "an interrupt is delivered once, though the host's own come while it is handled")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_slow_handler);
    for (unsigned i = 0; i < 5; i++) {
        EXPECT(deliver_to_slow_handler(&vm, 0), 1);
        EXPECT(deliver_to_slow_handler(&vm, VCPU_EXIT_INTERRUPTIBLE), 1);
    }
}

TEST_VM(vcpu_event_before_interrupt, "an interrupt is delivered once, wherever near the entry the host's own comes")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    for (unsigned delay = 0; delay < 3000; delay += 30) {
        set_interruptible(&vm, true);
        *(uint32_t *)(vm.memory + COUNT) = 0;
        struct message exit = vm_run(&vm, VCPU_SET_RIP, EXTERNAL(0x80), 0, CODE, ticks() + delay);
        if (exit.status == STATUS_TIMEOUT)
            exit = inject(&vm, vm_event_outcome(&exit) == VCPU_EVENT_NOT_TRIED ? EXTERNAL(0x80) : 0);
        EXPECT_OK(exit.status);
        EXPECT(vm_exit_reason(&exit), EXIT_HLT);
        EXPECT(word(&vm, COUNT), 1);
    }
}

TEST_VM(vcpu_nmi_window, "an NMI blocks the next until its handler's IRET, and the window opens there")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_halting_handler);
    struct message exit = inject(&vm, NMI);
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(vm_interruptibility(&exit) & VCPU_BLOCKED_BY_NMI, VCPU_BLOCKED_BY_NMI);
    expect_refused(&vm, NMI);
    exit = vm_run(&vm, VCPU_SET_RIP | VCPU_EXIT_NMI_WINDOW, 0, 0, exit.w[2] + 1, far_deadline());
    expect_reply(&exit, EXIT_NMI_WINDOW, VCPU_EVENT_NONE);
    EXPECT(exit.w[2], CODE); /* behind the IRET */
    EXPECT(word(&vm, COUNT), 2);
    EXPECT(vm_state(&vm)->rflags & 0x100, 0);
    exit = inject(&vm, NMI);
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 3);
}

TEST_VM(vcpu_nmi_window_open, "an NMI window that is open ends the call at once")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    struct message exit = vm_run(&vm, VCPU_EXIT_NMI_WINDOW, 0, 0, 0, far_deadline());
    expect_reply(&exit, EXIT_NMI_WINDOW, VCPU_EVENT_NONE);
    EXPECT(exit.w[2], CODE);
}

TEST_VM(vcpu_nmi_blocking_written, "blocking by NMI can be written, and lasts until the guest's IRET")
{
    struct vm vm;
    PREPARE(&vm, guest_halting_handler, guest_handler);
    struct vcpu_state *state = vm_state(&vm);
    *(uint16_t *)(vm.memory + VM_STACK - 6) = CODE + 0x20; /* what the guest's IRET pops */
    *(uint16_t *)(vm.memory + VM_STACK - 4) = 0;
    *(uint16_t *)(vm.memory + VM_STACK - 2) = 2;
    vm.memory[CODE + 0x20] = 0xf4;
    state->gpr[4] = VM_STACK - 6;
    state->interruptibility = VCPU_BLOCKED_BY_NMI;
    vm_write(&vm, VCPU_GROUP_RIP);
    struct message exit = vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(vm_interruptibility(&exit) & VCPU_BLOCKED_BY_NMI, VCPU_BLOCKED_BY_NMI);
    exit = vm_continue(&vm, &exit, 1);
    EXPECT(exit.w[2], CODE + 0x20);
    EXPECT(vm_interruptibility(&exit) & VCPU_BLOCKED_BY_NMI, 0);
}

/* ---- cut by an exit -------------------------------------------------------------------------- */

/* Makes the delivery of any event fault: the stack is where there is no memory. */
static void take_stack_away(struct vm *vm)
{
    struct vcpu_state *state = vm_state(vm);
    vm_read(vm, VCPU_GROUP_SEGMENTS);
    state->segment[VCPU_SS].selector = UNMAPPED >> 4;
    state->segment[VCPU_SS].base = UNMAPPED;
    vm_write(vm, VCPU_GROUP_SEGMENTS);
}

static void give_stack(struct vm *vm)
{
    uint64_t physical;
    pages_new(16, 1, &physical);
    vm_map(vm, UNMAPPED, physical, 16, MAP_RIGHTS);
}

static struct message wait_for(struct vm *vm, uint64_t event)
{
    return vm_run(vm, VCPU_EVENT_WAITS, event, 0, 0, far_deadline());
}

TEST_VM(vcpu_waiting_taken, "an interrupt that waits is taken as soon as it can be, and no exit comes of it")
{
    struct vm vm;
    PREPARE(&vm, guest_sti, guest_handler);
    memset(vm_state(&vm)->subscription, 0, sizeof vm_state(&vm)->subscription);
    struct message exit = wait_for(&vm, EXTERNAL(0x80));
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 1);
    EXPECT(word(&vm, PUSHED_IP), CODE + 10); /* behind the instruction that follows STI */
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_NONE);
    EXPECT(word(&vm, COUNT), 1); /* it came once */
    exit = vm_run(&vm, VCPU_SET_RIP | VCPU_EVENT_WAITS, EXTERNAL(0x40), 0, CODE, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 2); /* the guest was open: before its first instruction */
    EXPECT(word(&vm, PUSHED_IP), CODE);
}

TEST_VM(vcpu_waiting_given_back, "an interrupt that the guest did not take is the VMM's again, and forgotten")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    struct message exit = wait_for(&vm, EXTERNAL(0x80));
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_NONE | VCPU_EVENT_WAITING);
    set_interruptible(&vm, true);
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_NONE);
    EXPECT(word(&vm, COUNT), 0);
    set_interruptible(&vm, false);
    vm_read(&vm, VCPU_GROUP_TIME); /* a call that writes something is told the same */
    exit = vm_run(&vm, VCPU_SET_RIP | VCPU_EVENT_WAITS, EXTERNAL(0x80), VCPU_GROUP_TIME, CODE, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_NONE | VCPU_EVENT_WAITING);
    exit = vm_run(&vm, VCPU_EVENT_WAITS, EXTERNAL(0x80), 0, 0, DEADLINE_POLL);
    EXPECT_STATUS(exit.status, STATUS_TIMEOUT);
    EXPECT(vm_event_outcome(&exit), VCPU_EVENT_NONE | VCPU_EVENT_WAITING);
    EXPECT(word(&vm, COUNT), 0);
}

TEST_VM(vcpu_waiting_cut, "an interrupt that waited and whose delivery was cut is the kernel's, which injects it again")
{
    struct vm vm;
    PREPARE(&vm, guest_sti, guest_handler);
    take_stack_away(&vm);
    struct message exit = wait_for(&vm, EXTERNAL(0x80));
    expect_reply(&exit, EXIT_GUEST_FAULT, VCPU_EVENT_PENDING);
    EXPECT(exit.w[2], CODE + 10);
    vm_read(&vm, VCPU_GROUP_EVENT);
    EXPECT(vm_state(&vm)->pending_event, EXTERNAL(0x80));
    give_stack(&vm);
    exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 1);
}

TEST_VM(vcpu_waiting_again, "an interrupt that waits is taken once, wherever the host's own come meanwhile")
{
    struct vm vm;
    PREPARE(&vm, guest_slow_handler, guest_handler);
    vm.memory[CODE + 15] = 0xfb; /* STI in place of its HLT, and then the HLT */
    vm.memory[CODE + 16] = 0x90;
    vm.memory[CODE + 17] = 0xf4;
    for (unsigned i = 0; i < 5; i++) {
        set_interruptible(&vm, false);
        *(uint32_t *)(vm.memory + COUNT) = 0;
        uint64_t flags = VCPU_SET_RIP | VCPU_EVENT_WAITS;
        struct message exit = vm_run(&vm, flags, EXTERNAL(0x80), 0, CODE, ticks() + microseconds(200));
        EXPECT_STATUS(exit.status, STATUS_TIMEOUT);
        EXPECT(vm_event_outcome(&exit), VCPU_EVENT_NONE | VCPU_EVENT_WAITING);
        while (exit.status == STATUS_TIMEOUT) {
            bool waits = vm_event_outcome(&exit) & VCPU_EVENT_WAITING;
            exit = vm_run(&vm, waits ? VCPU_EVENT_WAITS : 0, waits ? EXTERNAL(0x80) : 0, 0, 0,
                          ticks() + microseconds(200));
        }
        EXPECT_OK(exit.status);
        EXPECT(vm_exit_reason(&exit), EXIT_HLT);
        EXPECT(word(&vm, COUNT), 2);
    }
}

TEST_VM(vcpu_waiting_refused, "only external interrupts wait, alone, and not with a window")
{
    struct vm vm;
    PREPARE(&vm, guest_sti, guest_handler);
    static const uint64_t events[] = {0, NMI, EXCEPTION(13), SOFTWARE(0x80, 2), EXTERNAL(0x80) | 1ull << 40};
    for (unsigned i = 0; i < sizeof events / sizeof *events; i++) {
        struct message exit = wait_for(&vm, events[i]);
        EXPECT_STATUS(exit.status, STATUS_BAD_ARGUMENT);
        EXPECT(exit.w[0], VCPU_GROUP_EVENT);
    }
    struct message exit = vm_run(&vm, VCPU_EVENT_WAITS | VCPU_EXIT_INTERRUPTIBLE, EXTERNAL(0x80), 0, 0, far_deadline());
    EXPECT_STATUS(exit.status, STATUS_BAD_ARGUMENT);
    EXPECT(exit.w[0], 0);
    take_stack_away(&vm);
    exit = inject(&vm, EXCEPTION(3));
    expect_reply(&exit, EXIT_GUEST_FAULT, VCPU_EVENT_PENDING);
    exit = wait_for(&vm, EXTERNAL(0x80));
    EXPECT_STATUS(exit.status, STATUS_BAD_ARGUMENT);
    EXPECT(exit.w[0], VCPU_GROUP_EVENT);
}

static void expect_cut_and_again(struct vm *vm, uint64_t event)
{
    take_stack_away(vm);
    struct message exit = inject(vm, event);
    expect_reply(&exit, EXIT_GUEST_FAULT, VCPU_EVENT_PENDING);
    CHECK(exit.w[0] & VCPU_ACCESS_WRITE);
    EXPECT(exit.w[2], CODE);
    vm_read(vm, VCPU_GROUP_EVENT);
    EXPECT(vm_state(vm)->pending_event, event);
    EXPECT(word(vm, COUNT), 0);
    expect_refused(vm, event); /* one more does not fit */
    exit = vm_run(vm, 0, 0, 0, 0, far_deadline()); /* it is tried again, and cut again */
    expect_reply(&exit, EXIT_GUEST_FAULT, VCPU_EVENT_PENDING);
    give_stack(vm);
    exit = vm_run(vm, 0, 0, 0, 0, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(vm, COUNT), 1);
    vm_read(vm, VCPU_GROUP_EVENT);
    EXPECT(vm_state(vm)->pending_event, 0);
}

TEST_VM(vcpu_event_cut_external, "an interrupt cut by a guest-physical fault is injected again by the kernel")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    set_interruptible(&vm, true);
    expect_cut_and_again(&vm, EXTERNAL(0x80));
}

TEST_VM(vcpu_event_cut_nmi, "the same with an NMI, which does not block itself")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    expect_cut_and_again(&vm, NMI);
}

TEST_VM(vcpu_event_cut_exception, "the same with an exception")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    expect_cut_and_again(&vm, EXCEPTION(1));
}

TEST_VM(vcpu_event_cut_software, "the same with a software interrupt, which returns behind its instruction")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    expect_cut_and_again(&vm, SOFTWARE(0x40, 2));
    EXPECT(word(&vm, PUSHED_IP), CODE + 2);
}

TEST_VM(vcpu_event_cut_own, "a guest's own INT and exceptions survive being cut")
{
    struct vm vm;
    PREPARE(&vm, guest_software_interrupt, guest_handler);
    take_stack_away(&vm);
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_GUEST_FAULT);
    EXPECT(exit.w[2], CODE);
    give_stack(&vm);
    exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(word(&vm, COUNT), 1);
    EXPECT(word(&vm, PUSHED_IP), CODE + 2);
    EXPECT(vm_state(&vm)->gpr[0] & 0xffff, 7);
}

TEST_VM(vcpu_event_cleared, "CLEAR_EVENT forgets a pending event, and another can be injected instead")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    set_interruptible(&vm, true);
    take_stack_away(&vm);
    struct message exit = inject(&vm, EXTERNAL(0x80));
    expect_reply(&exit, EXIT_GUEST_FAULT, VCPU_EVENT_PENDING);
    exit = vm_run(&vm, VCPU_CLEAR_EVENT, 0, 0, 0, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_NONE);
    EXPECT(word(&vm, COUNT), 0);
    exit = vm_run(&vm, VCPU_SET_RIP, EXTERNAL(0x80), 0, CODE, far_deadline());
    expect_reply(&exit, EXIT_GUEST_FAULT, VCPU_EVENT_PENDING);
    give_stack(&vm);
    set_vector(&vm, 0x80, 0, 0); /* would end in the vector table */
    exit = vm_run(&vm, VCPU_CLEAR_EVENT, EXTERNAL(0x40), 0, 0, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 1);
}

TEST_VM(vcpu_event_pending_written, "a pending event can be written, as a restore does")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    set_interruptible(&vm, true);
    vm_state(&vm)->pending_event = EXTERNAL(0x80);
    vm_write(&vm, VCPU_GROUP_EVENT);
    struct message exit = inject(&vm, EXTERNAL(0x40)); /* not two at once */
    EXPECT_STATUS(exit.status, STATUS_BAD_ARGUMENT);
    EXPECT(exit.w[0], VCPU_GROUP_EVENT);
    exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(word(&vm, COUNT), 1);
}

TEST_VM(vcpu_event_not_tried, "an event of a call that ends before the guest is entered stays the VMM's")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    set_interruptible(&vm, true);
    EXPECT_OK(sys_control(vm.vcpu[0], CONTROL_VCPU_FORCE_EXIT, 0, 0, 0, 0).status);
    struct message exit = inject(&vm, EXTERNAL(0x80));
    expect_reply(&exit, EXIT_FORCED, VCPU_EVENT_NOT_TRIED);
    exit = vm_run(&vm, 0, EXTERNAL(0x40), 0, 0, DEADLINE_POLL);
    EXPECT_STATUS(exit.status, STATUS_TIMEOUT);
    EXPECT(vm_event_outcome(&exit), VCPU_EVENT_NOT_TRIED);
    exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_NONE);
    EXPECT(word(&vm, COUNT), 0);
}

/* ---- shadows and traps ------------------------------------------------------------------------ */

TEST_VM(vcpu_shadow_kept, "an interrupt shadow is reported, kept over an exit, and ended by SET_RIP")
{
    struct vm vm;
    PREPARE(&vm, guest_mov_ss, guest_handler);
    struct message exit = vm_expect(&vm, 0, EXIT_HLT);
    uint32_t shadow = VCPU_BLOCKED_BY_STI | VCPU_BLOCKED_BY_MOV_SS;
    CHECK(vm_interruptibility(&exit) & shadow);
    EXPECT(vm_state(&vm)->interruptibility, vm_interruptibility(&exit));
    exit = vm_run(&vm, 0, 0, 0, 0, far_deadline()); /* the HLT again, in the same shadow */
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    exit = vm_continue(&vm, &exit, 1);
    EXPECT(vm_interruptibility(&exit) & shadow, 0);
    EXPECT(vm_state(&vm)->gpr[0] & 0xffff, 5);
}

TEST_VM(vcpu_shadow_kept_over_faults, "the shadow of STI is kept over faults of the instruction in it")
{
    /* STI, MOV EAX from where there is no memory, HLT */
    static const uint8_t code[] = {0xfb, 0xa1, 0, 0, 2, 0, 0xf4};
    struct vm vm;
    vm_create(&vm, 16);
    memcpy(vm.memory + CODE, code, sizeof code);
    vm_protected_mode(&vm, CODE);
    for (unsigned i = 0; i < 3; i++) {
        struct message exit = vm_expect(&vm, 0, EXIT_GUEST_FAULT);
        EXPECT(exit.w[2], CODE + 1);
        EXPECT(vm_interruptibility(&exit), VCPU_IF | VCPU_BLOCKED_BY_STI);
    }
    vm_map(&vm, 0x20000, vm.physical, 1, MAP_READ);
    struct message exit = vm_run(&vm, VCPU_EXIT_INTERRUPTIBLE, 0, 0, 0, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_INTERRUPTIBLE);
    EXPECT(exit.w[2], CODE + 6);
}

TEST_VM(vcpu_shadow_ends, "SET_RIP ends a shadow as the instruction would have done")
{
    struct vm vm;
    PREPARE(&vm, guest_sti_halt_halt, guest_handler);
    struct message exit = vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(vm_interruptibility(&exit), VCPU_IF | VCPU_BLOCKED_BY_STI);
    vm_state(&vm)->subscription[EXIT_HLT] = 0; /* the plainest of calls */
    exit = vm_continue(&vm, &exit, 1);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(vm_interruptibility(&exit), VCPU_IF);
}

TEST_VM(vcpu_shadow_flags, "the flags that an instruction in the shadow of STI saves are the guest's, while an interrupt waits")
{
    /* INT 0x40, INT3, UD2, PUSHF; then POP DX and HLT, as in the handler, behind POP AX and POP CX */
    static const uint8_t codes[][4] = {{0xcd, 0x40}, {0xcc}, {0x0f, 0x0b}, {0x9c, 0x5a, 0xf4}};
    static const uint8_t handler[] = {0x58, 0x59, 0x5a, 0xf4}, vectors[] = {0x40, 3, 6};
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    memcpy(vm.memory + POPPING, handler, sizeof handler);
    for (unsigned i = 0; i < sizeof vectors; i++)
        set_vector(&vm, vectors[i], 0, POPPING);
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) {
        memcpy(vm.memory + CODE, codes[i], sizeof codes[i]);
        vm_read(&vm, VCPU_GROUP_RIP);
        vm_state(&vm)->rip = CODE;
        vm_state(&vm)->rflags = IF | 2;
        vm_state(&vm)->interruptibility = VCPU_BLOCKED_BY_STI;
        vm_write(&vm, VCPU_GROUP_RIP);
        struct message exit = wait_for(&vm, EXTERNAL(0x80));
        EXPECT_OK(exit.status);
        EXPECT(vm_exit_reason(&exit), EXIT_HLT);
        vm_read(&vm, VCPU_GROUP_RIP);
        EXPECT(vm_state(&vm)->gpr[2] & 0xffff, IF | 2);
        EXPECT(vm_state(&vm)->rflags & TF, 0);
    }
}

TEST_VM(vcpu_single_step, "a guest single-steps itself: #DB reaches its handler with DR6.BS")
{
    struct vm vm;
    PREPARE(&vm, guest_single_step, guest_halting_handler);
    struct message exit = vm_expect(&vm, 0, EXIT_HLT); /* in the handler */
    EXPECT(word(&vm, COUNT), 1);
    vm_read(&vm, VCPU_GROUP_DEBUG);
    EXPECT(vm_state(&vm)->dr6 & 0x4000, 0x4000);
    vm_state(&vm)->dr6 = 0xffff0ff0;
    exit = vm_run(&vm, VCPU_SET_RIP, 0, VCPU_GROUP_DEBUG, exit.w[2] + 1, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
}

TEST_VM(vcpu_breakpoint, "a guest's data breakpoint raises #DB in the guest, and in the guest alone")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_set_breakpoint);
    VM_LOAD(&vm, HANDLER, guest_error_handler); /* halts; its pop takes EIP */
    vm_protected_mode(&vm, CODE);
    write_idt(&vm, HANDLER);
    *(uint64_t *)(vm.memory + 0x6000 + 8) = *(uint64_t *)(vm.memory + 0x6000 + 6 * 8);
    struct vcpu_state *state = vm_state(&vm);
    state->gpr[3] = 0x5000;
    state->gpr[7] = 0x400 | 1 | 0xd0000; /* DR0, writes, 4 bytes */
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    if (vm_is_qemu())
        EXPECT(vm_exit_reason(&exit), EXIT_DR); /* what the VMM then loads, VMRUN does not arm */
    if (vm_is_qemu())
        return;
    EXPECT(vm_exit_reason(&exit), EXIT_CPUID);
    volatile uint32_t *same_page = (volatile uint32_t *)(vm.memory + 0x5000);
    *same_page = 1; /* by its physical address the same, but ours */
    exit = vm_continue(&vm, &exit, 2);
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_NONE);
    EXPECT(word(&vm, COUNT), 1);
    EXPECT(*same_page, state->gpr[0] & UINT32_MAX);
    vm_read(&vm, VCPU_GROUP_DEBUG);
    if (!vm_is_svm()) /* Bochs: an intercepted #DB leaves DR6 alone */
        EXPECT(state->dr6 & 1, 1);
    EXPECT(state->dr[0], 0x5000);
}

TEST_VM(vcpu_breakpoint_host, "a guest's breakpoint at an address of ours does not trap us")
{
    static volatile uint64_t watched;
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_arm_breakpoint);
    vm_long_mode(&vm, CODE);
    vm_state(&vm)->gpr[3] = (uint64_t)&watched;
    vm_state(&vm)->gpr[7] = 0x400 | 1 | 0xd0000;
    vm_expect(&vm, 0, vm_is_qemu() ? EXIT_DR : EXIT_HLT);
    watched = 1;
    EXPECT(watched, 1);
}

TEST_VM(vcpu_halted, "a vCPU whose activity is halted exits at once until an event comes")
{
    struct vm vm;
    PREPARE(&vm, guest_nops, guest_handler);
    set_interruptible(&vm, true);
    vm_state(&vm)->activity = VCPU_ACTIVITY_HALTED;
    vm_write(&vm, VCPU_GROUP_RIP);
    uint64_t entries = vm_state(&vm)->entries;
    struct message exit = vm_run(&vm, 0, 0, 0, 0, far_deadline());
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_NONE);
    EXPECT(exit.w[2], CODE);
    EXPECT(vm_state(&vm)->entries, entries);
    exit = inject(&vm, EXTERNAL(0x80));
    expect_reply(&exit, EXIT_HLT, VCPU_EVENT_DELIVERED);
    EXPECT(exit.w[2], CODE + 4);
    EXPECT(vm_state(&vm)->activity, VCPU_ACTIVITY_ACTIVE);
}
