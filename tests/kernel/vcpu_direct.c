/* vCPUs: what a guest may touch without an exit, and that it finds nothing there of another's. */
#include "vm.h"

#define CODE 0x1000u
#define DATA 0x3000u
#define RCX  1
#define RDX  2

/* ---- let through ------------------------------------------------------------------------------ */

#define PORTS(right) MAP_HOW(SPACE_PORT, SPACE_GUEST_PORT, right, 0)

TEST_VM(vcpu_ports_direct,
        "ports delegated to a guest are reached without an exit, until they are taken back")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_io_out8);
    vm_protected_mode(&vm, CODE);
    struct vcpu_state *state = vm_state(&vm);
    state->gpr[RDX] = 0x80;
    vm_expect(&vm, 0, EXIT_IO);
    EXPECT_OK(sys_map(BOOT_SLOT_TASK, PORTS(MAP_READ | MAP_WRITE), 0x80, 0x80, 2, 0));
    vm_expect(&vm, 0, EXIT_HLT);
    state->gpr[RDX] = 0x82; /* its neighbours */
    struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_IO);
    state->gpr[RDX] = 0x7f;
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_IO);
    VM_LOAD(&vm, CODE, guest_io_in32); /* partly allowed is not allowed */
    state->gpr[RDX] = 0x80;
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_IO);
    VM_LOAD(&vm, CODE, guest_io_out8);
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_GUEST_PORT | UNMAP_SELF, 0x80, 2));
    exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_IO);
}

/* The guest reads an MSR, writes `value`, reads again; all without an exit. */
static void expect_msr_direct(struct vm *vm, uint32_t msr, uint64_t before, uint64_t value)
{
    struct vcpu_state *state = vm_state(vm);
    state->gpr[RCX] = msr;
    state->gpr[8] = value;
    struct message exit = vm_run(vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT_OK(exit.status);
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    EXPECT(state->gpr[3], before);
    EXPECT(state->gpr[6], value);
}

TEST_VM(vcpu_msrs_direct,
        "MSRs that are let through hold what the guest wrote, for the guest and in the state page")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_msr);
    vm_long_mode(&vm, CODE);
    struct vcpu_state *state = vm_state(&vm);
    state->msr_direct = VCPU_MSR_FS_GS_BASE | VCPU_MSR_SYSCALL | VCPU_MSR_SYSENTER | VCPU_MSR_PAT |
                        VCPU_MSR_TSC_AUX;
    state->lstar = 0xffff800000001000;
    state->kernel_gs_base = 0x1234;
    state->sysenter_eip = 0x5678;
    state->pat = 0x0007040600070106;
    state->tsc_aux = 0x77;
    state->segment[VCPU_FS].base = 0x4444;
    vm_write(&vm, VCPU_GROUP_POLICY | VCPU_GROUP_SYSCALL | VCPU_GROUP_MISC | VCPU_GROUP_SEGMENTS);
    expect_msr_direct(&vm, 0xc0000100, 0x4444, 0xffff900000000000);
    expect_msr_direct(&vm, 0xc0000102, 0x1234, 0xffff900000000008);
    expect_msr_direct(&vm, 0xc0000081, state->star, 0x0023001000000000);
    expect_msr_direct(&vm, 0xc0000082, 0xffff800000001000, 0xffff900000000010);
    expect_msr_direct(&vm, 0xc0000084, state->fmask, 0x4700);
    expect_msr_direct(&vm, 0x174, 0, 8);
    expect_msr_direct(&vm, 0x176, 0x5678, 0xffff900000000018);
    vm_read(&vm, VCPU_GROUP_ALL);
    if (state->msr_direct & VCPU_MSR_PAT) /* QEMU does not switch it */
        expect_msr_direct(&vm, 0x277, 0x0007040600070106, 0x0606060606060606);
    bool tsc_aux = state->msr_direct & VCPU_MSR_TSC_AUX;
    if (tsc_aux)
        expect_msr_direct(&vm, 0xc0000103, 0x77, 0x99);
    vm_read(&vm, VCPU_GROUP_ALL);
    EXPECT(state->tsc_aux, tsc_aux ? 0x99 : state->tsc_aux);
    EXPECT(state->segment[VCPU_FS].base, 0xffff900000000000);
    EXPECT(state->kernel_gs_base, 0xffff900000000008);
    EXPECT(state->star, 0x0023001000000000);
    EXPECT(state->lstar, 0xffff900000000010);
    EXPECT(state->fmask, 0x4700);
    EXPECT(state->sysenter_cs, 8);
    EXPECT(state->sysenter_eip, 0xffff900000000018);
    if (state->msr_direct & VCPU_MSR_PAT)
        EXPECT(state->pat, 0x0606060606060606);
    state->gpr[RCX] = 0xc0000080;
    struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_MSR_READ); /* EFER never */
}

static uint32_t host_tsc_aux(void)
{
    uint32_t low, high, aux;
    __asm__ volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux));
    return aux;
}

TEST_VM(vcpu_tsc_aux_first_write,
        "a guest's TSC_AUX is its own from the first write on, without an exit; not the host's")
{
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_msr);
    vm_long_mode(&vm, CODE);
    struct vcpu_state *state = vm_state(&vm);
    state->msr_direct = VCPU_MSR_TSC_AUX;
    vm_write(&vm, VCPU_GROUP_POLICY);
    vm_read(&vm, VCPU_GROUP_POLICY);
    if (!(state->msr_direct & VCPU_MSR_TSC_AUX))
        return;
    uint32_t host = host_tsc_aux();
    expect_msr_direct(&vm, 0xc0000103, 0, 0x99);
    EXPECT(host_tsc_aux(), host);
    expect_msr_direct(&vm, 0xc0000103, 0x99, 0);
    expect_msr_direct(&vm, 0xc0000103, 0, 0x98);
    EXPECT(host_tsc_aux(), host);
    /* The VMM takes it back: what it wrote counts. */
    state->tsc_aux = 0;
    vm_write(&vm, VCPU_GROUP_MISC);
    expect_msr_direct(&vm, 0xc0000103, 0, 0x97);
    vm_read(&vm, VCPU_GROUP_MISC);
    EXPECT(state->tsc_aux, 0x97);
    EXPECT(host_tsc_aux(), host);
}

TEST_VM(vcpu_exit_msr_neighbours, "MSRs beside those that are let through exit")
{
    static const uint32_t neighbours[] = {0x48 - 1, 0x4a,       0x173,      0x177,      0x276,
                                          0x278,    0xc0000080, 0xc0000085, 0xc00000ff, 0xc0000104};
    struct vm vm;
    vm_create(&vm, 16);
    VM_LOAD(&vm, CODE, guest_rdmsr);
    vm_protected_mode(&vm, CODE);
    struct vcpu_state *state = vm_state(&vm);
    state->msr_direct = VCPU_MSR_FS_GS_BASE | VCPU_MSR_SYSCALL | VCPU_MSR_SYSENTER | VCPU_MSR_PAT |
                        VCPU_MSR_TSC_AUX | VCPU_MSR_SPEC_CTRL;
    vm_write(&vm, VCPU_GROUP_POLICY);
    for (unsigned i = 0; i < sizeof neighbours / sizeof neighbours[0]; i++) {
        state->gpr[RCX] = neighbours[i];
        struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
        EXPECT(vm_exit_reason(&exit), EXIT_MSR_READ);
        EXPECT(exit.w[0], neighbours[i]);
    }
}

/* ---- secrets --------------------------------------------------------------------------------- */

/* Fills what a guest can fill, by the VMM. */
static void write_secrets(struct vm *vm, unsigned vcpu, uint64_t secret)
{
    vm_select(vm, vcpu);
    vm_long_mode(vm, CODE);
    struct vcpu_state *state = vm_state(vm);
    for (unsigned i = 0; i < 4; i++)
        state->dr[i] = secret + i;
    for (unsigned i = 0; i < 16; i++)
        state->gpr[i] = i == 4 ? VM_STACK : secret;
    state->cr2 = secret;
    state->star = state->lstar = state->cstar = state->kernel_gs_base = secret;
    state->sysenter_esp = state->sysenter_eip = secret;
    state->tsc_aux = (uint32_t)secret;
    state->cr4 |= 0x600;
    if (sys_control(vm->vcpu[vcpu], CONTROL_VCPU_WRITE, VCPU_GROUP_MISC, 0, 0, 0).status)
        state->tsc_aux = 0;
    vm_write(vm, VCPU_GROUP_ALL & ~VCPU_GROUP_INSTRUCTION);
    EXPECT_OK(sys_control(vm->vcpu[vcpu], CONTROL_VCPU_READ_FPU, 0, 0, 0, 0).status);
    for (unsigned i = 0; i < 32; i++)
        ((uint64_t *)(state->fpu + 160))[i] = secret;
    *(uint64_t *)(state->fpu + 512) |= 3;
    EXPECT_OK(sys_control(vm->vcpu[vcpu], CONTROL_VCPU_WRITE_FPU, 0, 0, 0, 0).status);
}

TEST_VM(
    vcpu_secrets,
    "two guests on one CPU, run in turn, find their own values in every register, and only these")
{
    struct vm vm;
    vm_create(&vm, 16);
    vm_add_vcpu(&vm, 0);
    VM_LOAD(&vm, CODE, guest_show_all);
    for (unsigned i = 0; i < 2; i++)
        write_secrets(&vm, i, 0x111111110000ull * (i + 1));
    for (unsigned round = 0; round < 6; round++) {
        unsigned i = round & 1;
        uint64_t secret = 0x111111110000ull * (i + 1);
        vm_select(&vm, i);
        memset(vm.memory + DATA, 0, 0x200);
        for (unsigned r = 0; r < 16; r++)
            vm_state(&vm)->gpr[r] = r == 4 ? VM_STACK : secret;
        struct message exit = vm_run(&vm, VCPU_SET_RIP, 0, 0, CODE, far_deadline());
        EXPECT_OK(exit.status);
        EXPECT(vm_exit_reason(&exit), EXIT_HLT);
        const uint64_t *shown = (const uint64_t *)(vm.memory + DATA);
        for (unsigned n = 0; n < 4; n++)
            EXPECT(shown[n], secret + n); /* DR0-3 */
        EXPECT(shown[4], secret);         /* CR2 */
        for (unsigned n = 5; n < 5 + 32; n++)
            EXPECT(shown[n], secret); /* XMM0-15 */
        vm_read(&vm, VCPU_GROUP_SYSCALL | VCPU_GROUP_MISC);
        EXPECT(vm_state(&vm)->star, secret);
        EXPECT(vm_state(&vm)->lstar, secret);
        EXPECT(vm_state(&vm)->kernel_gs_base, secret);
        EXPECT(vm_state(&vm)->sysenter_eip, secret);
    }
}

static void read_vector_register(struct worker *worker)
{
    uint64_t low, high;
    __asm__ volatile("movq %%xmm7, %0; psrldq $8, %%xmm7; movq %%xmm7, %1" : "=r"(low), "=r"(high));
    worker->out[0] = low;
    worker->out[1] = high;
}

TEST_VM(vcpu_secrets_of_host,
        "a fresh guest finds nothing of the host's in its registers, nor the host of its guest's")
{
    struct vm vm;
    vm_create(&vm, 16);
    vm_add_vcpu(&vm, 0);
    VM_LOAD(&vm, CODE, guest_show_all);
    write_secrets(&vm, 0, 0x222222220000);
    vm_run(&vm, 0, 0, 0, 0, far_deadline());
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, read_vector_register, 0);
    worker_join(worker);
    EXPECT(worker->out[0] | worker->out[1], 0); /* its own, which no one has used */
    vm_select(&vm, 1);
    vm_long_mode(&vm, CODE);
    vm_state(&vm)->cr4 |= 0x600;
    struct message exit = vm_run(&vm, 0, 0, VCPU_GROUP_CONTROL, 0, far_deadline());
    EXPECT(vm_exit_reason(&exit), EXIT_HLT);
    const uint64_t *shown = (const uint64_t *)(vm.memory + DATA);
    for (unsigned n = 0; n < 5 + 32; n++)
        EXPECT(shown[n], 0);
}
