/* vCPUs: the groups of the state page, written and read, as the guest sees them, and refused. */
#include "vm.h"

#define CODE 0x1000u
#define DATA 0x3000u
#define PE   1ull
#define NE   0x20ull
#define NW   (1ull << 29)
#define CD   (1ull << 30)
#define PG   (1ull << 31)
#define LME  0x100ull
#define LMA  0x400ull
#define NXE  0x800ull

static uint64_t quad(const struct vm *vm, uint64_t offset)
{
    return *(volatile uint64_t *)(vm->memory + DATA + offset);
}

/* A machine in long mode, all groups read. */
static struct vcpu_state *prepare(struct vm *vm)
{
    vm_create(vm, 16);
    vm_long_mode(vm, CODE);
    vm_read(vm, VCPU_GROUP_ALL);
    return vm_state(vm);
}

/* ---- written and read back ------------------------------------------------------------------- */

/* Writes one group, spoils the page, reads it again. */
static void write_and_read(struct vm *vm, uint32_t group, struct vcpu_state *expected)
{
    struct vcpu_state *state = vm_state(vm);
    vm_write(vm, group);
    memcpy(expected, state, offsetof(struct vcpu_state, subscription));
    memset(state, 0x5a, offsetof(struct vcpu_state, subscription));
    vm_read(vm, group);
}

static struct vcpu_state expected;

#define SAME(member) EXPECT(state->member, expected.member)

TEST_VM(vcpu_state_rip, "group RIP is read as it was written")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    state->rip = 0xffff800012345678;
    state->gpr[4] = 0x123456789abcdef0;
    state->rflags = 0x3f7fd7 & ~(1ull << 17);
    state->interruptibility = VCPU_BLOCKED_BY_STI | VCPU_BLOCKED_BY_NMI;
    state->activity = VCPU_ACTIVITY_HALTED;
    write_and_read(&vm, VCPU_GROUP_RIP, &expected);
    SAME(rip);
    SAME(gpr[4]);
    SAME(rflags);
    SAME(activity);
    EXPECT(state->interruptibility & ~VCPU_IF, expected.interruptibility);
}

TEST_VM(vcpu_state_control, "group CONTROL is read as it was written")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    state->cr0 = PE | PG | NE | 0x10 | 0x10000 | 8 | CD | NW;
    state->cr2 = 0x1122334455667788;
    state->cr3 = VM_TABLES | 0x18;
    state->cr4 = 0x6b0; /* PSE PAE PGE OSFXSR OSXMMEXCPT */
    state->cr8 = 11;
    state->efer = LME | LMA | NXE | 1;
    state->xcr0 = 1;
    write_and_read(&vm, VCPU_GROUP_CONTROL, &expected);
    SAME(cr0);
    SAME(cr2);
    SAME(cr3);
    SAME(cr4);
    SAME(cr8);
    SAME(efer);
    SAME(xcr0);
}

TEST_VM(vcpu_state_segments, "group SEGMENTS is read as it was written, unusable segments too")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    for (unsigned i = 0; i < VCPU_SEGMENT_COUNT; i++)
        state->segment[i].base = 0x10000 * i;
    state->segment[VCPU_CS].base = 0;
    state->segment[VCPU_FS].base = 0xffff800000001000;
    state->segment[VCPU_GS].base = 0x7fffffff0000;
    state->segment[VCPU_ES].selector = 0x1234 & ~7u;
    state->segment[VCPU_DS] = (struct vcpu_segment){.attributes = VCPU_SEGMENT_UNUSABLE};
    state->segment[VCPU_LDTR] = (struct vcpu_segment){.attributes = VCPU_SEGMENT_UNUSABLE};
    write_and_read(&vm, VCPU_GROUP_SEGMENTS, &expected);
    for (unsigned i = 0; i < VCPU_SEGMENT_COUNT; i++) {
        uint32_t unusable = expected.segment[i].attributes & VCPU_SEGMENT_UNUSABLE;
        EXPECT(state->segment[i].attributes & VCPU_SEGMENT_UNUSABLE, unusable);
        if (unusable)
            continue;
        SAME(segment[i].selector);
        SAME(segment[i].base);
        SAME(segment[i].limit);
        SAME(segment[i].attributes);
    }
}

TEST_VM(vcpu_state_tables, "group TABLES is read as it was written")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    state->gdtr = (struct vcpu_table){.base = 0xffff800000002000, .limit = 0xffff};
    state->idtr = (struct vcpu_table){.base = 0x12345000, .limit = 0xfff};
    write_and_read(&vm, VCPU_GROUP_TABLES, &expected);
    SAME(gdtr.base);
    SAME(gdtr.limit);
    SAME(idtr.base);
    SAME(idtr.limit);
}

TEST_VM(vcpu_state_syscall, "group SYSCALL is read as it was written")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    state->star = 0x0023001000000000;
    state->lstar = 0xffffffff81000000;
    state->cstar = 0xffffffff81000100;
    state->fmask = 0x47700;
    state->kernel_gs_base = 0xffff888000000000;
    state->sysenter_cs = 0x10;
    state->sysenter_esp = 0xfffffe0000003000;
    state->sysenter_eip = 0xffffffff81000200;
    write_and_read(&vm, VCPU_GROUP_SYSCALL, &expected);
    SAME(star);
    SAME(lstar);
    SAME(cstar);
    SAME(fmask);
    SAME(kernel_gs_base);
    SAME(sysenter_cs);
    SAME(sysenter_esp);
    SAME(sysenter_eip);
}

TEST_VM(vcpu_state_debug, "group DEBUG is read as it was written")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    for (unsigned i = 0; i < 4; i++)
        state->dr[i] = 0xffff800000001000 + i * 0x1111;
    state->dr6 = 0xffff4ff1;
    state->dr7 = 0x455;
    write_and_read(&vm, VCPU_GROUP_DEBUG, &expected);
    for (unsigned i = 0; i < 4; i++)
        SAME(dr[i]);
    SAME(dr6);
    SAME(dr7);
}

TEST_VM(vcpu_state_debug_loaded, "debug registers that are written while the guest's are in the processor replace them")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_protected);
    vm_protected_mode(&vm, CODE);
    vm_expect(&vm, 0, EXIT_HLT);
    struct vcpu_state *state = vm_state(&vm);
    state->dr[0] = 0xffff800000001000;
    state->dr[3] = 0x3333;
    write_and_read(&vm, VCPU_GROUP_DEBUG, &expected);
    SAME(dr[0]);
    SAME(dr[3]);
}

TEST_VM(vcpu_state_misc, "groups TIME and MISC are read as they were written")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    state->tsc_offset = 0xfedcba9876543210;
    state->pat = 0x0105040600070106;
    state->tsc_aux = 0x12345678;
    write_and_read(&vm, VCPU_GROUP_TIME | VCPU_GROUP_MISC, &expected);
    SAME(tsc_offset);
    SAME(pat);
    SAME(tsc_aux);
    EXPECT(state->xss, 0);
}

TEST_VM(vcpu_state_policy, "group POLICY is read as it was written, without MSRs that are not there")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    state->intercepts = VCPU_INTERCEPT_CR3 | VCPU_INTERCEPT_DR;
    state->exception_exits = 1 << 14 | 1 << 6;
    state->cr0_guest_owned = 10;
    state->cr4_guest_owned = 0x80;
    state->msr_direct = VCPU_MSR_FS_GS_BASE | VCPU_MSR_SYSCALL;
    write_and_read(&vm, VCPU_GROUP_POLICY, &expected);
    SAME(intercepts);
    SAME(exception_exits);
    SAME(cr0_guest_owned);
    SAME(cr4_guest_owned);
    SAME(msr_direct);
    SAME(xcr0_allowed);
    state->msr_direct = VCPU_MSR_XSS;
    state->exception_exits = UINT32_MAX;
    write_and_read(&vm, VCPU_GROUP_POLICY, &expected);
    EXPECT(state->msr_direct, 0);
    EXPECT(state->exception_exits, UINT32_MAX & ~(1u << 2 | 1u << 18)); /* never NMI and #MC */
}

/* How many accesses the processor's map lets through: a bit for reading and one for writing each MSR. */
static unsigned let_through(const struct vm *vm)
{
    unsigned zeros = 0;
    for (uint64_t part = 0;; part++) {
        struct message m = sys_inspect(INSPECT_MSRS, vm->vcpu[0], part, 0);
        EXPECT_OK(m.status);
        for (uint64_t bit = 0; bit < m.w[0] * 64; bit++)
            zeros += !(thread_buffer()->output[bit / 64] >> bit % 64 & 1);
        if (m.w[0] == 0)
            return zeros;
    }
}

TEST_VM(vcpu_inspect_msrs, "the processor's map lets through the MSRs that were asked for, and none before")
{
    struct vm vm;
    vm_create(&vm, 16);
    EXPECT(let_through(&vm), 0);
    vm_read(&vm, VCPU_GROUP_POLICY);
    struct vcpu_state *state = vm_state(&vm);
    state->msr_direct = VCPU_MSR_FS_GS_BASE | VCPU_MSR_SYSCALL;
    vm_write(&vm, VCPU_GROUP_POLICY);
    EXPECT(let_through(&vm), 2 * (3 + 4));
    EXPECT_STATUS(sys_inspect(INSPECT_MSRS, BOOT_SLOT_TASK, 0, 0).status, STATUS_BAD_CAPABILITY);
}

TEST_VM(vcpu_state_groups_apart, "reading one group leaves the others in the page as they are")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    memset(state, 0x5a, offsetof(struct vcpu_state, subscription));
    vm_read(&vm, VCPU_GROUP_TABLES);
    EXPECT(state->rip, 0x5a5a5a5a5a5a5a5a);
    EXPECT(state->cr0, 0x5a5a5a5a5a5a5a5a);
    EXPECT(state->segment[0].base, 0x5a5a5a5a5a5a5a5a);
    EXPECT(state->star, 0x5a5a5a5a5a5a5a5a);
    EXPECT(state->pat, 0x5a5a5a5a5a5a5a5a);
    EXPECT(state->gdtr.base, VM_GDT);
}

/* ---- as the guest sees them ------------------------------------------------------------------- */

TEST_VM(vcpu_guest_registers, "general registers go in, and come out")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    VM_LOAD(&vm, CODE, guest_store_registers);
    for (unsigned i = 0; i < 16; i++)
        state->gpr[i] = 0x1111111111111111ull * i + 7;
    state->gpr[4] = VM_STACK;
    struct message exit = vm_run(&vm, 0, 0, VCPU_GROUP_RIP, 0, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    for (unsigned i = 0; i < 16; i++)
        EXPECT(quad(&vm, i * 8), i == 4 ? VM_STACK : 0x1111111111111111ull * i + 7);
    exit = vm_continue(&vm, &exit, 1);
    for (unsigned i = 0; i < 16; i++)
        EXPECT(state->gpr[i], 0x1000 + i);
}

TEST_VM(vcpu_guest_system_registers, "the guest finds in its system registers what the VMM wrote")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    VM_LOAD(&vm, CODE, guest_store_system);
    state->cr2 = 0x1122334455667788;
    state->cr8 = 5;
    for (unsigned i = 0; i < 4; i++)
        state->dr[i] = 0x123450 + i;
    state->dr6 = 0xffff0ff3;
    state->gdtr = (struct vcpu_table){.base = VM_GDT, .limit = 0x2f};
    state->idtr = (struct vcpu_table){.base = 0x6000, .limit = 0x7ff};
    state->segment[VCPU_FS].base = 0x5000;
    state->segment[VCPU_GS].base = 0x5008;
    state->segment[VCPU_TR].selector = VM_TSS;
    *(uint64_t *)(vm.memory + 0x5000) = 0xf5f5;
    *(uint64_t *)(vm.memory + 0x5008) = 0x9595;
    struct message exit = vm_run(&vm, 0, 0,
                                 VCPU_GROUP_CONTROL | VCPU_GROUP_DEBUG | VCPU_GROUP_TABLES |
                                     VCPU_GROUP_SEGMENTS,
                                 0, far_deadline());
    EXPECT_OK(exit.status);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(quad(&vm, 0) & ~(NE | CD | NW), state->cr0 & ~(NE | CD | NW));
    EXPECT(quad(&vm, 8), 0x1122334455667788);
    EXPECT(quad(&vm, 0x10), VM_TABLES);
    EXPECT(quad(&vm, 0x18), state->cr4);
    EXPECT(quad(&vm, 0x20), 5);
    for (unsigned i = 0; i < 4; i++)
        EXPECT(quad(&vm, 0x28 + i * 8), 0x123450 + i);
    EXPECT(quad(&vm, 0x48), 0xffff0ff3);
    EXPECT(quad(&vm, 0x50), 0x400);
    EXPECT(quad(&vm, 0x60) & 0xffff, 0x2f);
    EXPECT(quad(&vm, 0x62), VM_GDT);
    EXPECT(quad(&vm, 0x72), 0x6000);
    EXPECT(quad(&vm, 0x80) & 0xffff, VM_TSS);
    EXPECT(quad(&vm, 0x88), 0xf5f5);
    EXPECT(quad(&vm, 0x90), 0x9595);
}

TEST_VM(vcpu_tsc_offset, "the guest's TSC is the host's plus the offset")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    VM_LOAD(&vm, CODE, guest_tsc);
    state->tsc_offset = 1ull << 50;
    uint64_t before = ticks();
    struct message exit = vm_run(&vm, 0, 0, VCPU_GROUP_TIME, 0, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT_BETWEEN(state->gpr[3] - (1ull << 50), before, ticks());
}

/* ---- FPU ------------------------------------------------------------------------------------- */

static void fpu_control(struct vm *vm, enum vcpu_operation operation)
{
    EXPECT_OK(sys_control(vm->vcpu[0], operation, 0, 0, 0, 0).status);
}

TEST_VM(vcpu_fpu_state, "the FPU image can be read and written, and the guest's registers follow")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    VM_LOAD(&vm, CODE, guest_fpu);
    state->cr4 |= 0x600;
    vm_write(&vm, VCPU_GROUP_CONTROL);
    for (unsigned i = 0; i < 4; i++)
        *(uint64_t *)(vm.memory + DATA + i * 8) = 0xaaaabbbbcccc0000 + i;
    struct message exit = vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(quad(&vm, 0x40), 0);
    EXPECT(quad(&vm, 0x80) & UINT32_MAX, 0x1f80);
    fpu_control(&vm, CONTROL_VCPU_READ_FPU);
    const uint64_t *xmm = (const uint64_t *)(state->fpu + 160);
    EXPECT(xmm[0], 0xaaaabbbbcccc0000);
    EXPECT(xmm[1], 0xaaaabbbbcccc0001);
    EXPECT(xmm[30], 0xaaaabbbbcccc0002);
    *(uint64_t *)(state->fpu + 160) = 0x77777777;
    fpu_control(&vm, CONTROL_VCPU_WRITE_FPU);
    exit = vm_continue(&vm, &exit, 1);
    EXPECT(quad(&vm, 0x60), 0x77777777);
    EXPECT(quad(&vm, 0x78), 0xaaaabbbbcccc0003);
}

TEST_VM(vcpu_fpu_refused, "an FPU image that the processor would fault on is refused")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    fpu_control(&vm, CONTROL_VCPU_READ_FPU);
    *(uint32_t *)(state->fpu + 24) = 0xffff0000; /* MXCSR */
    EXPECT_STATUS(sys_control(vm.vcpu[0], CONTROL_VCPU_WRITE_FPU, 0, 0, 0, 0).status,
                  STATUS_BAD_ARGUMENT);
    fpu_control(&vm, CONTROL_VCPU_READ_FPU);
    EXPECT(*(uint32_t *)(state->fpu + 24), 0x1f80);
}

static uint64_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

TEST_VM(vcpu_xcr0, "the guest has an XCR0 of its own, and we keep ours")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    VM_LOAD(&vm, CODE, guest_xgetbv);
    state->cr4 |= 1 << 18;
    state->xcr0 = 3;
    if (sys_control(vm.vcpu[0], CONTROL_VCPU_WRITE, VCPU_GROUP_CONTROL, 0, 0, 0).status)
        return; /* a processor without XSAVE */
    uint64_t ours = read_xcr0();
    for (unsigned i = 0; i < 3; i++) {
        struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
        EXPECT(vm_exit_reason(&exit), EXIT_HLT);
        EXPECT(state->gpr[3], 3);
        EXPECT(read_xcr0(), ours);
    }
    vm_read(&vm, VCPU_GROUP_CONTROL);
    EXPECT(state->xcr0, 3);
}

TEST_VM(vcpu_pkru, "PKRU is the guest's own, written and read by the VMM")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    VM_LOAD(&vm, CODE, guest_pkru);
    state->cr4 |= 1 << 22;
    state->pkru = 0x30;
    if (sys_control(vm.vcpu[0], CONTROL_VCPU_WRITE, VCPU_GROUP_CONTROL | VCPU_GROUP_MISC, 0, 0, 0)
            .status)
        return; /* a processor without protection keys */
    vm_expect(&vm, 0, EXIT_HLT);
    EXPECT(state->gpr[3] & UINT32_MAX, 0x30);
    vm_read(&vm, VCPU_GROUP_MISC);
    EXPECT(state->pkru, 0xc);
}

/* ---- refused --------------------------------------------------------------------------------- */

/* Control refuses the group, a run with it too, and neither changes anything. */
static void expect_refused(struct vm *vm, uint32_t group)
{
    struct vcpu_state *state = vm_state(vm);
    uint64_t entries = state->entries;
    struct message m = sys_control(vm->vcpu[0], CONTROL_VCPU_WRITE, group, 0, 0, 0);
    EXPECT_STATUS(m.status, STATUS_BAD_ARGUMENT);
    EXPECT(m.w[0], group);
    m = vm_run(vm, 0, 0, group | VCPU_GROUP_TIME, 0, far_deadline());
    EXPECT_STATUS(m.status, STATUS_BAD_ARGUMENT);
    EXPECT(m.w[0], group);
    EXPECT(state->entries, entries);
    vm_read(vm, VCPU_GROUP_ALL);
}

#define REFUSED(group, member, value)     \
    do {                                  \
        state->member = (value);          \
        expect_refused(&vm, group);       \
    } while (0)

TEST_VM(vcpu_refused_rip, "RIP, flags, interruptibility and activity that cannot be are refused")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    REFUSED(VCPU_GROUP_RIP, rip, 0x800000000000);
    REFUSED(VCPU_GROUP_RIP, rflags, 0);
    REFUSED(VCPU_GROUP_RIP, rflags, 2 | 1ull << 22);
    REFUSED(VCPU_GROUP_RIP, rflags, 2 | 1ull << 63);
    REFUSED(VCPU_GROUP_RIP, interruptibility, VCPU_BLOCKED_BY_STI | VCPU_BLOCKED_BY_MOV_SS);
    REFUSED(VCPU_GROUP_RIP, interruptibility, 4);
    REFUSED(VCPU_GROUP_RIP, activity, 2);
    EXPECT(state->rip, CODE);
}

TEST_VM(vcpu_refused_control, "control registers that the processor would fault on are refused")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    uint64_t cr0 = state->cr0, cr4 = state->cr4;
    REFUSED(VCPU_GROUP_CONTROL, cr0, cr0 | 1ull << 32);
    REFUSED(VCPU_GROUP_CONTROL, cr0, cr0 | 1ull << 20);
    REFUSED(VCPU_GROUP_CONTROL, cr0, (cr0 | NW) & ~CD);
    REFUSED(VCPU_GROUP_CONTROL, cr0, cr0 & ~PE);
    REFUSED(VCPU_GROUP_CONTROL, cr0, cr0 & ~PG); /* with LMA */
    REFUSED(VCPU_GROUP_CONTROL, cr4, cr4 | 1ull << 13); /* VMXE */
    REFUSED(VCPU_GROUP_CONTROL, cr4, cr4 | 1ull << 23); /* CET */
    REFUSED(VCPU_GROUP_CONTROL, cr4, cr4 | 1ull << 63);
    REFUSED(VCPU_GROUP_CONTROL, cr4, cr4 & ~0x20ull); /* long mode without PAE */
    REFUSED(VCPU_GROUP_CONTROL, efer, state->efer | 1ull << 12); /* SVME */
    REFUSED(VCPU_GROUP_CONTROL, efer, state->efer & ~LMA);
    REFUSED(VCPU_GROUP_CONTROL, efer, state->efer | 2);
    REFUSED(VCPU_GROUP_CONTROL, cr3, 1ull << 62);
    REFUSED(VCPU_GROUP_CONTROL, cr8, 16);
    EXPECT(state->cr0, cr0);
    EXPECT(state->cr4, cr4);
}

TEST_VM(vcpu_refused_xcr0, "XCR0 is held to what XSETBV allows, without AMX")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    REFUSED(VCPU_GROUP_CONTROL, xcr0, 0);
    REFUSED(VCPU_GROUP_CONTROL, xcr0, 2);
    REFUSED(VCPU_GROUP_CONTROL, xcr0, 5);            /* AVX without SSE */
    REFUSED(VCPU_GROUP_CONTROL, xcr0, 7 | 1 << 5);   /* a third of AVX-512 */
    REFUSED(VCPU_GROUP_CONTROL, xcr0, 7 | 3ull << 17); /* AMX */
    REFUSED(VCPU_GROUP_CONTROL, xcr0, 3ull | 1ull << 63);
    REFUSED(VCPU_GROUP_POLICY, xcr0_allowed, 3ull << 17 | 1);
    REFUSED(VCPU_GROUP_POLICY, xcr0_allowed, 0);
    state->xcr0_allowed = 1; /* less than the machine has */
    vm_write(&vm, VCPU_GROUP_POLICY);
    REFUSED(VCPU_GROUP_CONTROL, xcr0, 3);
}

TEST_VM(vcpu_refused_others, "segments, tables, MSRs, debug registers and policies that cannot be are refused")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    const uint64_t hole = 0x800000000000;
    REFUSED(VCPU_GROUP_SEGMENTS, segment[VCPU_DS].attributes, 0x100);
    REFUSED(VCPU_GROUP_SEGMENTS, segment[VCPU_FS].base, hole);
    REFUSED(VCPU_GROUP_TABLES, gdtr.base, hole);
    REFUSED(VCPU_GROUP_TABLES, idtr.limit, 0x10000);
    REFUSED(VCPU_GROUP_SYSCALL, lstar, hole);
    REFUSED(VCPU_GROUP_SYSCALL, cstar, hole);
    REFUSED(VCPU_GROUP_SYSCALL, kernel_gs_base, hole);
    REFUSED(VCPU_GROUP_SYSCALL, sysenter_esp, hole);
    REFUSED(VCPU_GROUP_SYSCALL, sysenter_eip, hole);
    REFUSED(VCPU_GROUP_SYSCALL, fmask, 1ull << 32);
    REFUSED(VCPU_GROUP_DEBUG, dr6, 1ull << 32);
    REFUSED(VCPU_GROUP_DEBUG, dr7, 1ull << 32);
    REFUSED(VCPU_GROUP_MISC, pat, 0x0007040600070402);
    REFUSED(VCPU_GROUP_MISC, pat, 0x0807040600070406);
    REFUSED(VCPU_GROUP_MISC, xss, 1ull << 8);
    REFUSED(VCPU_GROUP_MISC, tsc_aux, 1ull << 32);
    REFUSED(VCPU_GROUP_MISC, spec_ctrl, 1ull << 63);
    REFUSED(VCPU_GROUP_EVENT, pending_event, 0x80);
    REFUSED(VCPU_GROUP_POLICY, intercepts, 1u << 31);
    REFUSED(VCPU_GROUP_POLICY, msr_direct, 1ull << 40);
}

TEST_VM(vcpu_refused_group, "a group that does not exist is refused, and of several bad ones the first is named")
{
    struct vm vm;
    struct vcpu_state *state = prepare(&vm);
    struct message m = vm_run(&vm, 0, 0, VCPU_GROUP_ALL + 1, 0, far_deadline());
    EXPECT_STATUS(m.status, STATUS_BAD_ARGUMENT);
    EXPECT(m.w[0], VCPU_GROUP_ALL + 1);
    EXPECT_STATUS(sys_control(vm.vcpu[0], CONTROL_VCPU_READ, VCPU_GROUP_ALL + 1, 0, 0, 0).status,
                  STATUS_BAD_ARGUMENT);
    state->rip = 0x4000;
    state->cr8 = 99;
    state->pat = 2;
    m = vm_run(&vm, 0, 0, VCPU_GROUP_RIP | VCPU_GROUP_CONTROL | VCPU_GROUP_MISC, 0, far_deadline());
    EXPECT_STATUS(m.status, STATUS_BAD_ARGUMENT);
    EXPECT(m.w[0], VCPU_GROUP_CONTROL);
    vm_read(&vm, VCPU_GROUP_ALL);
    EXPECT(state->rip, CODE); /* the good group was not taken either */
    m = vm_run(&vm, 1 << 5, 0, 0, 0, far_deadline());
    EXPECT_STATUS(m.status, STATUS_BAD_ARGUMENT);
    EXPECT(m.w[0], 0);
    EXPECT_STATUS(sys_control(vm.vcpu[0], 99, 0, 0, 0, 0).status, STATUS_BAD_ARGUMENT);
}

/* ---- entry rules ------------------------------------------------------------------------------ */

TEST_WITH(vcpu_violate_release, 0, "rules can be violated in debug kernels only")
{
    struct vm vm;
    if (boot->virtualization == BOOT_VIRT_NONE || boot->debug)
        return;
    vm_create(&vm, 16);
    EXPECT_STATUS(sys_control(vm.vcpu[0], CONTROL_VCPU_VIOLATE, 1, 0, 0, 0).status,
                  STATUS_NOT_SUPPORTED);
}
