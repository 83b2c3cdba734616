/*
 * Hostile guests: random bytes as code, random state, and a VMM that does not care. The guest's
 * memory is the task's scratch memory, at guest-physical 0.
 */
#include "hostile.h"

#define CODE          0x1000u
#define STACK         0x7000u
#define TABLES        0x8000u /* 3 pages: the first GiB, identity */
#define EXITS_A_GUEST 40u

static struct vcpu_state *state_page(void)
{
    return (struct vcpu_state *)VCPU_ADDRESS;
}

/* Instructions that an attacker's guest would try, between the random bytes. */
static void write_code(struct hostile_page *page)
{
    static const uint8_t snippets[][4] = {
        {0x0f, 0xa2, 0x90, 0x90}, /* cpuid */
        {0xf4, 0x90, 0x90, 0x90}, /* hlt */
        {0x0f, 0x32, 0x90, 0x90}, /* rdmsr */
        {0x0f, 0x30, 0x90, 0x90}, /* wrmsr */
        {0x0f, 0x01, 0xd9, 0x90}, /* vmmcall */
        {0x0f, 0x01, 0xc1, 0x90}, /* vmcall */
        {0x0f, 0x01, 0xd8, 0x90}, /* vmrun */
        {0x0f, 0x01, 0xc2, 0x90}, /* vmlaunch */
        {0x0f, 0x22, 0xc0, 0x90}, /* mov %eax, %cr0 */
        {0x0f, 0x22, 0xe0, 0x90}, /* mov %eax, %cr4 */
        {0x0f, 0x22, 0xd8, 0x90}, /* mov %eax, %cr3 */
        {0x0f, 0x20, 0xc0, 0x90}, /* mov %cr0, %eax */
        {0x0f, 0x23, 0xf8, 0x90}, /* mov %eax, %dr7 */
        {0x0f, 0x01, 0xd1, 0x90}, /* xsetbv */
        {0x0f, 0x01, 0x18, 0x90}, /* lidt (%eax) */
        {0xe4, 0x60, 0x90, 0x90}, /* in $0x60, %al */
        {0x6e, 0x6c, 0x90, 0x90}, /* outsb; insb */
        {0xee, 0xec, 0x90, 0x90}, /* out, in by %dx */
        {0xfb, 0xfa, 0x9d, 0xcf}, /* sti; cli; popf; iret */
        {0x0f, 0x05, 0x0f, 0x34}, /* syscall; sysenter */
        {0xcd, 0x80, 0xcc, 0xf1}, /* int $0x80; int3; int1 */
        {0x0f, 0x09, 0x0f, 0x08}, /* wbinvd; invd */
        {0xf3, 0x90, 0x0f, 0x31}, /* pause; rdtsc */
        {0x0f, 0xae, 0x08, 0x90}, /* fxrstor */
        {0x0f, 0x00, 0xd8, 0x90}, /* ltr %ax */
        {0x8e, 0xd0, 0x8e, 0xd8}, /* mov %eax, %ss; mov %eax, %ds */
    };
    uint8_t *code = (uint8_t *)SCRATCH_ADDRESS + CODE;
    for (unsigned i = 0; i < 512; i += 4) {
        uint32_t word = (uint32_t)hostile_random(page);
        const void *from = &word;
        if (hostile_below(page, 2))
            from = snippets[hostile_below(page, sizeof snippets / sizeof snippets[0])];
        memcpy(code + i, from, 4);
    }
}

static void write_tables(void)
{
    uint64_t *tables = (uint64_t *)(SCRATCH_ADDRESS + TABLES);
    tables[0] = (TABLES + 0x1000) | 7;
    tables[512] = (TABLES + 0x2000) | 7;
    for (uint64_t i = 0; i < 512; i++)
        tables[1024 + i] = i << 21 | 0xe7;
}

static struct vcpu_segment segment(uint16_t selector, uint32_t limit, uint32_t attributes)
{
    return (struct vcpu_segment){.selector = selector, .limit = limit, .attributes = attributes};
}

/* A state that can be entered: real, flat protected, or long mode. */
static void plausible_state(struct hostile_page *page)
{
    struct vcpu_state *state = state_page();
    uint64_t mode = hostile_below(page, 3);
    for (unsigned i = 0; i < 16; i++)
        state->gpr[i] = hostile_value(page);
    state->gpr[4] = STACK;
    state->rip = CODE;
    state->rflags = 2 | (hostile_below(page, 2) ? 0x200 : 0);
    state->interruptibility = state->activity = 0;
    state->cr0 = mode ? 0x11 : 0x10;
    state->cr3 = state->cr4 = state->efer = state->cr8 = 0;
    state->xcr0 = 1;
    if (mode == 2) {
        state->cr0 |= 0x80000000;
        state->cr3 = TABLES;
        state->cr4 = 0x20;
        state->efer = 0x500;
    }
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
        state->segment[i] = segment(0x10, mode ? 0xffffffff : 0xffff, mode ? 0xc093 : 0x93);
    state->segment[VCPU_CS] = segment(8, mode ? 0xffffffff : 0xffff,
                                      mode == 2   ? 0xa09b
                                      : mode == 1 ? 0xc09b
                                                  : 0x9b);
    if (mode == 0)
        for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
            state->segment[i].selector = 0;
    state->segment[VCPU_LDTR] = segment(0, 0xffff, 0x82);
    state->segment[VCPU_TR] = segment(0, 0xffff, 0x8b);
    state->gdtr = (struct vcpu_table){.base = 0x6000, .limit = 0x2f};
    state->idtr = (struct vcpu_table){.base = 0, .limit = 0x3ff};
    state->dr6 = 0xffff0ff0;
    state->dr7 = 0x400;
    state->pat = 0x0007040600070406;
    state->pending_event = 0;
    state->intercepts = (uint32_t)hostile_below(page, 128);
    state->exception_exits = hostile_below(page, 4) ? 0 : (uint32_t)hostile_random(page);
    state->cr0_guest_owned = hostile_below(page, 2) ? 0 : hostile_random(page);
    state->cr4_guest_owned = hostile_below(page, 2) ? 0 : hostile_random(page);
    state->msr_direct = hostile_below(page, 64);
    state->xcr0_allowed = hostile_below(page, 8);
}

/* Some words of the state page become something else. */
static void spoil(struct hostile_page *page)
{
    uint64_t words = offsetof(struct vcpu_state, guest_linear) / 8;
    for (uint64_t n = hostile_below(page, 5); n; n--)
        ((uint64_t *)VCPU_ADDRESS)[hostile_below(page, words)] = hostile_value(page);
}

/* The label of what the exit said, and where to go on. */
static bool note_exit(struct hostile_page *page, const struct message *m)
{
    uint64_t reason = TAG_LABEL(m->tag) & 0xff;
    if (m->status != STATUS_OK)
        return m->status == STATUS_TIMEOUT || m->status == STATUS_INTERRUPTED;
    page->exits[reason < EXIT_COUNT ? reason : EXIT_UNKNOWN]++;
    return reason != EXIT_TRIPLE_FAULT;
}

static struct message run(struct hostile_page *page, const struct message *last)
{
    uint64_t flags = VCPU_SET_RIP, event = 0, groups = 0, rip = last->w[2] + (last->w[3] & 0xff);
    switch (hostile_below(page, 8)) {
    case 0: rip = CODE + hostile_below(page, 512); break;
    case 1: flags = hostile_below(page, 16); break;
    case 2:
        spoil(page);
        groups = hostile_random(page) & VCPU_GROUP_ALL;
        break;
    case 3: event = VCPU_EVENT(hostile_below(page, 256), VCPU_EVENT_EXTERNAL); break;
    case 4: event = hostile_random(page) | (hostile_below(page, 2) ? VCPU_EVENT_VALID : 0); break;
    default:
        if ((last->w[3] & 0xff) == 0)
            rip = last->w[2] + 1 + hostile_below(page, 3);
    }
    const uint64_t a[6] = {SLOT_VCPU, TAG(flags, 3, 0), event, groups, rip, 0};
    return hostile_call(page, IPC_RAX(IPC_CALL), a, ticks() + hostile_below(page, 40000));
}

static void one_guest(struct hostile_page *page)
{
    write_code(page);
    plausible_state(page);
    if (hostile_below(page, 2))
        spoil(page);
    const uint64_t write[6] = {SLOT_VCPU, CONTROL_VCPU_WRITE,
                               VCPU_GROUP_ALL & ~(VCPU_GROUP_INSTRUCTION | VCPU_GROUP_EVENT)};
    struct message m = hostile_call(page, SYSCALL_control, write, 0);
    m.w[2] = CODE;
    m.w[3] = 0;
    for (unsigned i = 0; i < EXITS_A_GUEST; i++) {
        m = run(page, &m);
        if (!note_exit(page, &m))
            return;
    }
}

void hostile_guests(void *argument)
{
    struct hostile_page *page = argument;
    const uint64_t map[6] = {SLOT_TASK,
                             MAP_HOW(SPACE_PHYSICAL, SPACE_GUEST, MAP_RIGHTS, 0),
                             page->scratch_physical,
                             0,
                             SCRATCH_PAGES,
                             0};
    hostile_call(page, SYSCALL_map, map, 0);
    for (unsigned i = 0; i < 64; i++)
        state_page()->subscription[i] = (uint32_t)hostile_random(page) & VCPU_GROUP_ALL;
    while (page->made < page->calls) {
        write_tables();
        one_guest(page);
        if (hostile_below(page, 16) == 0) { /* the ground moves */
            uint64_t at = hostile_below(page, SCRATCH_PAGES) * 4096;
            const uint64_t take[6] = {SLOT_TASK, SPACE_GUEST | UNMAP_SELF, at, 1};
            hostile_call(page, SYSCALL_unmap, take, 0);
            const uint64_t give[6] = {SLOT_TASK, map[1], page->scratch_physical + at, at, 1, 0};
            hostile_call(page, SYSCALL_map, give, 0);
        }
    }
    for (;;)
        ipc(IPC_WAIT, 0, 0, NULL, DEADLINE_NEVER);
}
