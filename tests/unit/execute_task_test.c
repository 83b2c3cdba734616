/*
 * Task switches by hardware, as the VMM does them where the processor does not (SDM 3A, 8.3).
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "execute_faults.h"

/* In the window: the old task's segment crosses its two pages. */
#define TABLE  1024u
#define OTHER  2048u
#define FIRST  (4096u - 40u)
#define PAGES  0x6000u /* another root of the same tables */
#define BOTTOM 6144u   /* of the new task's stack */

enum {
    CODE = 8,
    DATA = 16,
    OLD = 24,
    NEW = 32,
    LOCAL = 40,
    ABSENT_DATA = 48,
    USER_CODE = 56,
    USER_DATA = 64,
    COUNT = 9
};

#define BUSY 0x0200000000000000ull >> 16
#define TASK_FAULT(code) \
    (VCPU_EVENT(10, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR | (uint64_t)(code) << 32)
#define ABSENT(code) \
    (VCPU_EVENT(11, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR | (uint64_t)(code) << 32)

static struct execute_task_switch to;

static void put(unsigned at, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        world_ram[world_window_gpa(at + i)] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(unsigned at, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++)
        value |= (uint64_t)world_ram[world_window_gpa(at + i)] << 8 * i;
    return value;
}

/* A descriptor whose base is in the window. */
static uint64_t in_window(unsigned offset, uint64_t limit, uint64_t type)
{
    uint64_t base = WINDOW_LINEAR + offset;
    return limit | (base & 0xffffff) << 16 | type << 40 | base >> 24 << 56;
}

static void set_descriptor(unsigned selector, uint64_t descriptor)
{
    put(TABLE + selector, descriptor, 8);
}

/* Two tasks of the kernel's, of 32 bits; the first runs. */
static void begin(const char *bytes, size_t count)
{
    struct vcpu_state *state;
    start(4, bytes, count);
    kernel_mode();
    state = world.state;
    set_descriptor(0, 0);
    set_descriptor(CODE, 0x00cf9b000000ffff);
    set_descriptor(DATA, 0x00cf93000000ffff);
    set_descriptor(OLD, in_window(FIRST, 103, 0x8b));
    set_descriptor(NEW, in_window(OTHER, 103, 0x89));
    set_descriptor(LOCAL, in_window(0, 0xff, 0x82));
    set_descriptor(ABSENT_DATA, 0x00cf13000000ffff);
    set_descriptor(USER_CODE, 0x00cffb000000ffff);
    set_descriptor(USER_DATA, 0x00cff3000000ffff);
    state->gdtr = (struct vcpu_table){.base = WINDOW_LINEAR + TABLE, .limit = COUNT * 8 - 1};
    state->segment[VCPU_TR] = (struct vcpu_segment){
        .selector = OLD, .base = WINDOW_LINEAR + FIRST, .limit = 103, .attributes = 0x8b};
    state->segment[VCPU_LDTR].attributes = VCPU_SEGMENT_UNUSABLE;
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
        state->segment[i].selector = (uint16_t)(i == VCPU_CS ? CODE : 0x100 + i);
    for (unsigned i = 0; i < 8; i++)
        state->gpr[i] = 0x11111111u * (i + 1);
    for (unsigned i = 0; i < 104; i++)
        put(OTHER + i, 0, 1), put(FIRST + i, 0xcc, 1);
    put(OTHER + 0x1c, PAGES, 4);
    memcpy(world_ram + PAGES, world_ram + WORLD_PML4, 4096);
    put(OTHER + 0x20, 0x1234, 4);
    put(OTHER + 0x24, 0x202, 4);
    for (unsigned i = 0; i < 8; i++)
        put(OTHER + 0x28 + 4 * i, i == 4 ? WINDOW_LINEAR + BOTTOM : 0x100u + i, 4);
    for (unsigned i = 0; i < 6; i++)
        put(OTHER + 0x48 + 4 * i, i == VCPU_CS ? CODE : i < 4 ? DATA : 0, 4);
    to = (struct execute_task_switch){
        .selector = NEW, .source = EXECUTE_TASK_CALL, .next_rip = 0x777};
}
#define BEGIN() begin("\x90", 1)

static enum execute_result switch_task(void)
{
    return execute_task_switch(&world, &to, &world_event, &world_changed, &world_what);
}

static void expect_refused(uint64_t event)
{
    uint64_t before = world.state->rip;
    EXPECT(switch_task(), EXECUTE_FAULT);
    EXPECT(world_event, event);
    EXPECT(world.state->rip, before);
    EXPECT(world_changed & VCPU_GROUP_RIP, 0);
    EXPECT(world.state->segment[VCPU_TR].selector, OLD);
    EXPECT(get(FIRST + 0x20, 4), 0xcccccccc);
    EXPECT(get(TABLE + OLD + 5, 1), 0x8b);
}

/* The new task runs, and the fault is its own. */
static void expect_own_fault(uint64_t event)
{
    EXPECT(switch_task(), EXECUTE_FAULT);
    EXPECT(world_event, event);
    EXPECT(world.state->rip, 0x1234);
    CHECK(world_changed & VCPU_GROUP_RIP);
    EXPECT(world.state->segment[VCPU_TR].selector, NEW);
    EXPECT(get(FIRST + 0x20, 4), 0x777);
}

TEST(task_call, "all that the old task had is in its segment, and all that runs is the new one's")
{
    BEGIN();
    to.source = EXECUTE_TASK_CALL;
    world.state->rflags = 0x246;
    world.state->dr7 = 0x7ff;
    EXPECT(switch_task(), EXECUTE_DONE);
    EXPECT(get(FIRST + 0x20, 4), 0x777);
    EXPECT(get(FIRST + 0x24, 4), 0x246);
    for (unsigned i = 0; i < 8; i++)
        EXPECT(get(FIRST + 0x28 + 4 * i, 4), 0x11111111u * (i + 1));
    for (unsigned i = 0; i < 6; i++)
        EXPECT(get(FIRST + 0x48 + 4 * i, 2), i == VCPU_CS ? CODE : 0x100 + i);
    EXPECT(get(FIRST, 4), 0xcccccccc);        /* what is not its part stays, */
    EXPECT(get(FIRST + 0x60, 4), 0xcccccccc); /* also its local table */
    EXPECT(world.state->rip, 0x1234);
    EXPECT(world.state->rflags, 0x4202); /* nested */
    EXPECT(world.state->cr3, PAGES);
    EXPECT(world.state->cr0 & 8, 8);
    EXPECT(world.state->dr7, 0x7ff & ~0x155);
    EXPECT(world.state->gpr[4], WINDOW_LINEAR + BOTTOM);
    EXPECT(world.state->gpr[7], 0x107);
    EXPECT(world.state->segment[VCPU_CS].selector, CODE);
    EXPECT(world.state->segment[VCPU_SS].attributes, 0xc093);
    CHECK(world.state->segment[VCPU_GS].attributes & VCPU_SEGMENT_UNUSABLE);
    EXPECT(world.state->segment[VCPU_TR].base, WINDOW_LINEAR + OTHER);
    EXPECT(world.state->segment[VCPU_TR].attributes, 0x8b);
    EXPECT(get(TABLE + NEW + 5, 1), 0x8b);
    EXPECT(get(TABLE + OLD + 5, 1), 0x8b); /* busy still */
    EXPECT(get(OTHER, 2), OLD);
    EXPECT(world_changed,
           VCPU_GROUP_RIP | VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS | VCPU_GROUP_DEBUG);
}

TEST(task_jump_and_return, "JMP and IRET leave a task that is busy no more, and are not nested")
{
    BEGIN();
    to.source = EXECUTE_TASK_JMP;
    EXPECT(switch_task(), EXECUTE_DONE);
    EXPECT(world.state->rflags, 0x202);
    EXPECT(get(TABLE + OLD + 5, 1), 0x89);
    EXPECT(get(TABLE + NEW + 5, 1), 0x8b);
    EXPECT(get(OTHER, 2), 0); /* no link */
    BEGIN();
    to.source = EXECUTE_TASK_IRET;
    world.state->rflags = 0x4202;
    expect_refused(TASK_FAULT(NEW)); /* only one that is busy is returned to */
    set_descriptor(NEW, in_window(OTHER, 103, 0x8b));
    EXPECT(switch_task(), EXECUTE_DONE);
    EXPECT(get(FIRST + 0x24, 4), 0x202); /* it is not nested when it is called again */
    EXPECT(get(TABLE + OLD + 5, 1), 0x89);
    EXPECT(get(TABLE + NEW + 5, 1), 0x8b);
}

TEST(task_gate, "an exception's error code lies on the new stack; in user tasks too")
{
    BEGIN();
    to.source = EXECUTE_TASK_GATE;
    to.has_error = true;
    to.error = 0x89abcdef;
    EXPECT(switch_task(), EXECUTE_DONE);
    EXPECT(world.state->gpr[4], WINDOW_LINEAR + BOTTOM - 4);
    EXPECT(get(BOTTOM - 4, 4), 0x89abcdef);
    BEGIN();
    to.has_error = true;
    put(OTHER + 0x4c, USER_CODE | 3, 2);
    for (unsigned i = 0; i < 4; i += i ? 1 : 2)
        put(OTHER + 0x48 + 4 * i, USER_DATA | 3, 2);
    EXPECT(switch_task(), EXECUTE_DONE);
    EXPECT(world.state->segment[VCPU_SS].attributes, 0xc0f3);
    BEGIN();
    to.has_error = true;
    put(OTHER + 0x28 + 4 * 4, WINDOW_LINEAR + 0x10000, 4); /* no stack there */
    EXPECT(switch_task(), EXECUTE_FAULT);
    EXPECT(world_event, PAGE_FAULT(2));
    EXPECT(world.state->rip, 0x1234);
}

TEST(task_refusals, "a task that can't be switched to is refused while the old one is whole")
{
    static const struct {
        uint64_t descriptor;
        uint64_t event;
    } bad[] = {
        {0x00cf93000000ffff, PROTECTION | (uint64_t)NEW << 32},
        {0x0000890000000067 | BUSY, PROTECTION | (uint64_t)NEW << 32},
        {0x0000820000000067, PROTECTION | (uint64_t)NEW << 32},
        {0x0000090000000067, ABSENT(NEW)},
        {0x0000890000000066, TASK_FAULT(NEW)},
        {0x000081000000002a, TASK_FAULT(NEW)},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        BEGIN();
        set_descriptor(NEW, bad[i].descriptor);
        expect_refused(bad[i].event);
    }
    BEGIN();
    to.selector = NEW | 4;
    expect_refused(PROTECTION | (uint64_t)(NEW | 4) << 32);
    to.selector = COUNT * 8;
    expect_refused(PROTECTION | (uint64_t)(COUNT * 8) << 32);
    to.selector = 0;
    to.external = 1;
    expect_refused(PROTECTION | 1ull << 32);
    BEGIN();
    world.state->segment[VCPU_TR].limit = 102;
    expect_refused(TASK_FAULT(OLD));
    BEGIN();
    set_entry(WORLD_PT, 0x11, 0); /* the second half of the old task's segment */
    expect_refused(PAGE_FAULT(2));
    BEGIN();
    set_descriptor(NEW, in_window(WINDOW_BYTES - 16, 103, 0x89));
    expect_refused(PAGE_FAULT(0));
}

TEST(task_own_faults, "what is wrong in the new task is raised there")
{
    static const struct {
        unsigned at, value;
        uint64_t event;
    } bad[] = {
        {0x4c, 0, TASK_FAULT(0)},           /* no code */
        {0x4c, DATA, TASK_FAULT(DATA)},     /* that is no code */
        {0x4c, CODE | 1, TASK_FAULT(CODE)}, /* of another level */
        {0x50, 0, TASK_FAULT(0)},           /* no stack */
        {0x50, CODE, TASK_FAULT(CODE)},     /* that is none */
        {0x50, USER_DATA | 3, TASK_FAULT(USER_DATA)},
        {0x50, ABSENT_DATA, STACK | (uint64_t)ABSENT_DATA << 32},
        {0x54, ABSENT_DATA, ABSENT(ABSENT_DATA)},
        {0x48, OLD, TASK_FAULT(OLD)},
        {0x58, COUNT * 8, TASK_FAULT(COUNT * 8)},
        {0x5c, 4, TASK_FAULT(4)}, /* without a local table */
        {0x60, DATA, TASK_FAULT(DATA)},
        {0x60, LOCAL | 4, TASK_FAULT(LOCAL | 4)},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        BEGIN();
        put(OTHER + bad[i].at, bad[i].value, 2);
        expect_own_fault(bad[i].event);
    }
    BEGIN();
    set_descriptor(CODE, 0x00409b0000001233); /* it ends in front of its first instruction */
    to.external = 1;
    expect_own_fault(PROTECTION | 1ull << 32);
    BEGIN();
    put(OTHER + 0x64, 1, 2);
    expect_own_fault(VCPU_EVENT(1, VCPU_EVENT_EXCEPTION));
    EXPECT(world.state->dr6 & 1 << 15, 1 << 15);
}

TEST(task_local_table, "selectors of the new task are looked up in its own local table")
{
    BEGIN();
    put(OTHER + 0x60, LOCAL, 2);
    put(OTHER + 0x5c, 4 | 8, 2);
    put(8, 0x0040930000010fff, 8);
    EXPECT(switch_task(), EXECUTE_DONE);
    EXPECT(world.state->segment[VCPU_LDTR].base, WINDOW_LINEAR);
    EXPECT(world.state->segment[VCPU_GS].base, 1);
    EXPECT(world.state->segment[VCPU_GS].limit, 0xfff);
}

TEST(task_virtual_8086, "a task of virtual-8086 mode has plain segments and user rights")
{
    BEGIN();
    put(OTHER + 0x24, 0x23202, 4);
    put(OTHER + 0x4c, 0x5000, 2);
    EXPECT(switch_task(), EXECUTE_DONE);
    EXPECT(world.state->rflags, 0x27202);
    EXPECT(world.state->segment[VCPU_CS].base, 0x50000);
    EXPECT(world.state->segment[VCPU_CS].limit, 0xffff);
    EXPECT(world.state->segment[VCPU_CS].attributes, 0xf3);
    EXPECT(world.state->segment[VCPU_GS].attributes, 0xf3);
}

TEST(task_narrow, "a task of 16 bits, to it and from it")
{
    BEGIN();
    set_descriptor(NEW, in_window(OTHER, 43, 0x81));
    for (unsigned i = 0; i < 22; i++)
        put(OTHER + 2 * i, 0x100 + i, 2);
    put(OTHER + 0x10, 2, 2);
    put(OTHER + 0x22, DATA, 2), put(OTHER + 0x24, CODE, 2), put(OTHER + 0x26, DATA, 2);
    put(OTHER + 0x28, 0, 2), put(OTHER + 0x2a, 0, 2);
    world.state->cr3 = WORLD_PML4;
    EXPECT(switch_task(), EXECUTE_DONE);
    EXPECT(world.state->rip, 0x107);
    EXPECT(world.state->gpr[0], 0xffff0109);
    EXPECT(world.state->cr3, WORLD_PML4); /* it has none of its own */
    EXPECT(world.state->segment[VCPU_TR].attributes, 0x83);
    CHECK(world.state->segment[VCPU_FS].attributes & VCPU_SEGMENT_UNUSABLE);
    to = (struct execute_task_switch){
        .selector = OLD, .source = EXECUTE_TASK_IRET, .next_rip = 0x12345};
    put(FIRST + 0x4c, CODE, 2), put(FIRST + 0x60, 0, 2), put(FIRST + 0x64, 0, 2);
    for (unsigned i = 0; i < 6; i++)
        put(FIRST + 0x48 + 4 * i, i == VCPU_CS ? CODE : i == VCPU_SS ? DATA : 0, 2);
    put(FIRST + 0x24, 2, 4);
    put(FIRST + 0x1c, PAGES, 4);
    EXPECT(switch_task(), EXECUTE_DONE);
    EXPECT(get(OTHER + 0x0e, 2), 0x2345);
    EXPECT(get(OTHER + 0x12, 2), 0x109);
    EXPECT(get(OTHER + 0x2a, 2), 0); /* its local table and what is behind it stay */
    EXPECT(get(OTHER + 0x2c, 2), 0x101);
    EXPECT(world.state->rip, 0x777);
}

TEST(task_next_rip, "where an instruction ends that a processor does not tell; INT n is a gate's")
{
    begin("\x9a\x00\x00\x00\x00\x20\x00", 7);
    EXPECT(execute_next_rip(&world, &to), EXECUTE_DONE);
    EXPECT(to.next_rip, CODE_LINEAR + AT + 7);
    EXPECT(to.source, EXECUTE_TASK_CALL);
    begin("\xcd\x40", 2);
    EXPECT(execute_next_rip(&world, &to), EXECUTE_DONE);
    EXPECT(to.next_rip, CODE_LINEAR + AT + 2);
    EXPECT(to.source, EXECUTE_TASK_GATE);
}
