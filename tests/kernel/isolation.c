/*
 * What one task must not see or change of another: vector and x87 registers, general registers over
 * a system call, ports, privileged state.
 */
#include "kit.h"

void fpu_fill(const void *pattern);
void fpu_store(void *to);
void ymm_fill(const void *pattern);
void ymm_store(void *to);
void single_step_syscall(void);
extern const char syscall_probe_next[];

#define FPU_BYTES   336u /* xmm0-15 and eight x87 registers; MXCSR comes behind them */
#define YMM_BYTES   512u
#define MXCSR_RESET 0x1f80u

/* ---- vector registers ------------------------------------------------------------------------ */

static bool has_avx(void)
{
    uint32_t eax = 1, ebx, ecx = 0, edx;
    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    if (!(ecx >> 27 & 1)) /* the kernel has not enabled XSAVE */
        return false;
    uint32_t low, high;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 6) == 6;
}

static void make_pattern(uint8_t *pattern, uint64_t seed)
{
    for (unsigned i = 0; i < YMM_BYTES; i++)
        pattern[i] = (uint8_t)(seed * 31 + i * 7 + 1);
    for (unsigned i = 0; i < 8; i++) { /* x87 registers: normal numbers, or they would be changed */
        pattern[256 + 10 * i + 7] |= 0x80;
        pattern[256 + 10 * i + 8] = (uint8_t)(seed + i);
        pattern[256 + 10 * i + 9] = 0x3f;
    }
}

/* Fills all registers with a pattern of its own (in[0]), gives the CPU away in the manner of in[1],
 * and counts in out[0] how often it found another one. Ends after 50 rounds. */
enum giving_way { BY_YIELD, BY_SLEEP, BY_CALL, BY_SPINNING };

static void keep_secret(struct worker *worker)
{
    uint8_t pattern[YMM_BYTES], found[YMM_BYTES];
    bool avx = has_avx();
    make_pattern(pattern, worker->in[0]);
    for (unsigned round = 0; round < 50; round++) {
        fpu_fill(pattern);
        switch (worker->in[1]) {
        case BY_YIELD: sys_schedule(0, SCHEDULE_YIELD, 0, 0); break;
        case BY_SLEEP: sleep_ticks(1000); break;
        case BY_CALL: message_call(worker->in[2], TAG(1, 0, 0), NULL, DEADLINE_NEVER); break;
        default: work(20000);
        }
        fpu_store(found);
        if (memcmp(pattern, found, FPU_BYTES) != 0)
            worker->out[0]++;
        if (!avx)
            continue;
        ymm_fill(pattern);
        sys_schedule(0, SCHEDULE_YIELD, 0, 0);
        ymm_store(found);
        if (memcmp(pattern, found, YMM_BYTES) != 0)
            worker->out[0]++;
    }
}

/* Runs `count` workers with secrets, each in a task of its own or (own_task false) in one. */
static void run_secrets(unsigned count, bool own_task, enum giving_way way, unsigned cpus)
{
    struct child_task tasks[4];
    struct worker *workers[4];
    cap_slot_t endpoint = endpoint_new(0);
    for (unsigned i = 0; i < count; i++) {
        if (i == 0 || own_task) {
            task_new(&tasks[i]);
            task_give(&tasks[i], endpoint, RIGHT_SEND, 0);
        }
        workers[i] = worker_new(&tasks[own_task ? i : 0], i % cpus, PRIORITY_LOW, keep_secret);
        workers[i]->in[0] = 0x40 + i;
        workers[i]->in[1] = way;
        workers[i]->in[2] = endpoint;
    }
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, echo_server, endpoint);
    for (unsigned i = 0; i < count; i++)
        worker_start(workers[i]);
    for (unsigned i = 0; i < count; i++) {
        worker_join(workers[i]);
        EXPECT(workers[i]->out[0], 0);
    }
    (void)server;
}

TEST(fpu_kept_over_yield, "each of four tasks finds its own vector and x87 registers after a yield")
{
    run_secrets(4, true, BY_YIELD, 1);
}

TEST(fpu_kept_over_sleep, "each of four tasks finds its own vector and x87 registers after a sleep")
{
    run_secrets(4, true, BY_SLEEP, 1);
}

TEST(fpu_kept_over_call, "each of four tasks finds its own vector and x87 registers after a call")
{
    run_secrets(4, true, BY_CALL, 1);
}

TEST(fpu_kept_over_preemption, "each of four tasks finds its own vector registers after preemption")
{
    run_secrets(4, true, BY_SPINNING, 1);
}

TEST(fpu_kept_among_threads, "threads of one task have vector registers of their own")
{
    run_secrets(4, false, BY_YIELD, 1);
    run_secrets(4, false, BY_CALL, 1);
}

TEST_SMP(fpu_kept_on_two_cpus, "secrets in the registers of two CPUs stay where they are")
{
    run_secrets(4, true, BY_SLEEP, 2);
    run_secrets(4, false, BY_SLEEP, 2);
}

/* Leaves a secret in every register and stops; another reads what a fresh thread finds. */
static void leave_secret(struct worker *worker)
{
    uint8_t pattern[YMM_BYTES];
    make_pattern(pattern, 0x99);
    fpu_fill(pattern);
    if (has_avx())
        ymm_fill(pattern);
    worker->step = 1;
    for (;;)
        message_wait(0, DEADLINE_NEVER);
}

static void look_for_secret(struct worker *worker)
{
    uint8_t found[YMM_BYTES] = {0};
    if (has_avx()) {
        ymm_store(found);
        for (unsigned i = 0; i < YMM_BYTES; i++)
            worker->out[0] += found[i] != 0;
    }
    fpu_store(found);
    for (unsigned i = 0; i < 256; i++)
        worker->out[1] += found[i] != 0;
    worker->out[2] = *(const uint32_t *)(found + FPU_BYTES);
    uint8_t pattern[YMM_BYTES];
    make_pattern(pattern, 0x99);
    for (unsigned i = 0; i < 8; i++)
        worker->out[3] += memcmp(found + 256 + 10 * i, pattern + 256 + 10 * i, 10) == 0;
}

static void expect_no_secret(const struct child_task *task)
{
    struct worker *reader = worker_go(task, 0, PRIORITY_HIGH, look_for_secret, 0);
    worker_join(reader);
    EXPECT(reader->out[0], 0);
    EXPECT(reader->out[1], 0);
    EXPECT(reader->out[2], MXCSR_RESET);
    EXPECT(reader->out[3], 0);
}

TEST(fpu_fresh_thread_is_clean,
     "a fresh thread finds the initial state, in another task and in the same")
{
    struct child_task writer_task, reader_task;
    task_new(&writer_task);
    task_new(&reader_task);
    struct worker *writer = worker_go(&writer_task, 0, PRIORITY_HIGH, leave_secret, 0);
    EXPECT(writer->step, 1);
    expect_no_secret(&reader_task);
    expect_no_secret(&writer_task);
}

TEST(fpu_dead_thread_leaves_nothing,
     "the registers of a destroyed thread are not found by a new one")
{
    struct child_task task;
    for (unsigned i = 0; i < 5; i++) {
        task_new(&task);
        struct worker *writer = worker_go(&task, 0, PRIORITY_HIGH, leave_secret, 0);
        EXPECT(writer->step, 1);
        if (i & 1)
            slot_clear(writer->thread.thread);
        else
            child_destroy(&task);
        struct child_task fresh;
        task_new(&fresh);
        expect_no_secret(&fresh);
    }
}

/* ---- general registers ----------------------------------------------------------------------- */

struct probe {
    uint64_t before[17]; /* rax rbx rcx rdx rsi rdi rbp rsp r8-r15 rflags */
    uint64_t after[17];
};
void syscall_probe(struct probe *probe);

enum probe_register {
    RAX,
    RBX,
    RCX,
    RDX,
    RSI,
    RDI,
    RBP,
    RSP,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    RFLAGS
};

static void probe_fill(struct probe *probe, uint64_t rax)
{
    for (unsigned i = 0; i < 16; i++)
        probe->before[i] = 0xc0de000000000000 | i << 8 | 0x11;
    probe->before[RAX] = rax;
    probe->before[RFLAGS] = 0x202;
}

/* What no system call may change; and what is lost must not tell anything about the kernel. */
static void probe_check(const struct probe *probe)
{
    static const uint8_t preserved[] = {RBX, RBP, RSP, R12, R13, R14, R15};
    for (unsigned i = 0; i < sizeof preserved; i++)
        EXPECT(probe->after[preserved[i]], probe->before[preserved[i]]);
    EXPECT(probe->after[RCX], (uint64_t)syscall_probe_next);
    EXPECT(probe->after[R11] & ~0x3fffffull, 0); /* rflags */
    for (unsigned i = 0; i < 16; i++)
        EXPECT(probe->after[i] >> 47 == 0x1ffff, 0); /* no address of the kernel's half */
}

TEST(registers_over_inspect, "a system call changes no register but its results")
{
    struct probe probe;
    probe_fill(&probe, SYSCALL_inspect);
    probe.before[RDI] = INSPECT_NULL;
    syscall_probe(&probe);
    probe_check(&probe);
    EXPECT(probe.after[RAX], STATUS_OK);
    EXPECT(probe.after[RDX], SEPTUM_ABI_VERSION);
    static const uint8_t untouched[] = {RSI, RDI, R8, R9, R10};
    for (unsigned i = 0; i < sizeof untouched; i++)
        EXPECT(probe.after[untouched[i]], probe.before[untouched[i]]);
}

TEST(registers_over_errors, "a system call that fails changes no register but rax")
{
    for (uint64_t number = 0; number <= SYSCALL_COUNT; number++) {
        struct probe probe;
        probe_fill(&probe, number);
        syscall_probe(&probe);
        probe_check(&probe);
        CHECK(probe.after[RAX] != STATUS_OK && probe.after[RAX] < STATUS_COUNT);
        static const uint8_t arguments[] = {RDI, RSI, R8, R9, R10, RDX};
        unsigned untouched = number == SYSCALL_map ? 5 : 6; /* map: rdx = units done */
        for (unsigned i = 0; i < untouched; i++)
            EXPECT(probe.after[arguments[i]], probe.before[arguments[i]]);
    }
}

TEST(registers_over_ipc, "a call brings the reply's registers, and keeps the caller's own")
{
    cap_slot_t endpoint = endpoint_new(0);
    worker_go(NULL, 0, PRIORITY_HIGH, echo_server, endpoint);
    for (unsigned words = 0; words <= 8; words += 4) { /* by the fast path and by the general one */
        struct probe probe;
        probe_fill(&probe, IPC_RAX(IPC_CALL));
        probe.before[RBX] = far_deadline();
        probe.before[RDI] = endpoint;
        probe.before[RSI] = TAG(1, words, 0);
        syscall_probe(&probe);
        probe_check(&probe);
        EXPECT(probe.after[RAX], STATUS_OK);
        EXPECT(probe.after[RDI], 0);
        EXPECT(probe.after[RSI], TAG(2, words, 0));
        EXPECT(probe.after[RDX], probe.before[RDX] + 1);
        EXPECT(probe.after[R9], probe.before[R9] + 1);
    }
}

TEST(registers_over_timeout, "a wait that times out keeps the preserved registers")
{
    struct probe probe;
    probe_fill(&probe, IPC_RAX(IPC_WAIT));
    probe.before[RBX] = ticks() + 50000;
    probe.before[RDI] = 0;
    syscall_probe(&probe);
    probe_check(&probe);
    EXPECT(probe.after[RAX], STATUS_TIMEOUT);
}

static void spin_for_ever(struct worker *worker)
{
    for (;;)
        worker->step++;
}

TEST(registers_over_preemption,
     "a thread preempted at any instruction goes on with all its registers")
{
    struct worker *busy =
        worker_new_on(NULL, sched_new(0, PRIORITY_HIGH, 200, 1000), spin_for_ever);
    worker_start(busy);
    for (unsigned i = 0; i < 2000; i++) {
        struct probe probe;
        probe_fill(&probe, SYSCALL_inspect);
        probe.before[RDI] = INSPECT_TIME;
        syscall_probe(&probe);
        probe_check(&probe);
    }
}

TEST(flags_over_syscall,
     "direction, alignment and arithmetic flags survive a system call, and do it no harm")
{
    static const uint64_t flags[] = {0x602, 0xa97, 0x40202, 0x4202, 0x200202};
    cap_slot_t endpoint = endpoint_new(0);
    worker_go(NULL, 0, PRIORITY_HIGH, echo_server, endpoint);
    for (unsigned i = 0; i < 5; i++) {
        struct probe probe;
        probe_fill(&probe, IPC_RAX(IPC_CALL));
        probe.before[RFLAGS] = flags[i];
        probe.before[RBX] = far_deadline();
        probe.before[RDI] = endpoint;
        probe.before[RSI] = TAG(1, 63, 0);
        syscall_probe(&probe);
        probe_check(&probe);
        EXPECT(probe.after[RAX], STATUS_OK);
        EXPECT(probe.after[RFLAGS] & 0x200, 0x200);
        EXPECT(probe.after[RFLAGS] & 0x3000, 0); /* no I/O privilege */
    }
}

/* ---- traps at the edges of a system call ----------------------------------------------------- */

/* in[0]: endpoint, to which it sends when it was through. */
static void single_stepper(struct worker *worker)
{
    single_step_syscall();
    message_send(worker->in[0], TAG(1, 0, 0), NULL, DEADLINE_NEVER);
}

TEST(trap_flag_over_syscall, "a system call under single-stepping traps in user mode only")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, single_stepper);
    worker->in[0] = endpoint;
    worker_watch(worker, endpoint);
    worker_start(worker);
    unsigned traps = 0;
    struct message m = message_wait(endpoint, far_deadline());
    while (m.status == STATUS_OK && TAG_ORIGIN(m.tag) == ORIGIN_EXCEPTION && traps < 20) {
        EXPECT(m.w[0], 1);
        EXPECT_BETWEEN(m.w[2], (uint64_t)single_step_syscall, (uint64_t)single_step_syscall + 64);
        traps++;
        m = message_reply_wait(endpoint, 0, NULL, far_deadline());
    }
    EXPECT_OK(m.status);
    EXPECT(m.tag, TAG(1, 0, 0));
    EXPECT_BETWEEN(traps, 3, 6);
}

static void run_at_the_edge(struct worker *worker)
{
    ((void (*)(void))worker->in[0])();
}

TEST(syscall_at_the_edge,
     "a system call at the very end of user space returns to a fault, not to the kernel")
{
    uint64_t physical;
    uint8_t *code = pages_new(1, 1, &physical);
    code[4094] = 0x0f; /* syscall, the last two bytes below SEPTUM_USER_END */
    code[4095] = 0x05;
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, SEPTUM_USER_END - 4096, physical, 1,
                            MAP_READ | MAP_EXECUTE));
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, run_at_the_edge);
    worker->in[0] = SEPTUM_USER_END - 2;
    worker_watch(worker, endpoint);
    worker_start(worker);
    struct message m = message_wait(endpoint, far_deadline());
    EXPECT_OK(m.status);
    EXPECT(TAG_ORIGIN(m.tag), ORIGIN_PAGE_FAULT);
    EXPECT(m.w[0], SEPTUM_USER_END);
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, SEPTUM_USER_END - 4096, 1));
}

/* ---- privileged things ----------------------------------------------------------------------- */

static void in_port(struct worker *worker)
{
    __asm__ volatile("inb %%dx, %%al" : : "d"(worker->in[0]), "a"(0));
    worker->step = 1;
}

static void out_port(struct worker *worker)
{
    __asm__ volatile("outb %%al, %%dx" : : "d"(worker->in[0]), "a"(0));
    worker->step = 1;
}

static void disable_interrupts(struct worker *worker)
{
    __asm__ volatile("cli");
    worker->step = 1;
}

static void read_cr0(struct worker *worker)
{
    __asm__ volatile("mov %%cr0, %%rax" : : : "rax");
    worker->step = 1;
}

static void write_cr3(struct worker *worker)
{
    __asm__ volatile("mov %0, %%cr3" : : "r"(0ull));
    worker->step = 1;
}

static void read_msr(struct worker *worker)
{
    __asm__ volatile("rdmsr" : : "c"(0xc0000080) : "rax", "rdx");
    worker->step = 1;
}

static void run_virtual_machine(struct worker *worker)
{
    __asm__ volatile("vmmcall");
    worker->step = 1;
}

static void load_idt(struct worker *worker)
{
    static const uint8_t table[10];
    __asm__ volatile("lidt %0" : : "m"(table));
    worker->step = 1;
}

/* Expects that a thread of an unprivileged task that does this gets one of these two exceptions. */
static void expect_refused(void (*run)(struct worker *), uint64_t in0, uint64_t vector,
                           uint64_t other_vector)
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_SEND, 0);
    struct worker *worker = worker_new(&task, 0, PRIORITY_HIGH, run);
    worker->in[0] = in0;
    worker_watch(worker, endpoint);
    worker_start(worker);
    struct message m = message_wait(endpoint, far_deadline());
    EXPECT_OK(m.status);
    EXPECT(TAG_ORIGIN(m.tag), ORIGIN_EXCEPTION);
    CHECK(m.w[0] == vector || m.w[0] == other_vector);
    EXPECT(worker->step, 0);
    child_destroy(&task);
}

TEST(ports_are_refused, "a task without ports gets a general-protection exception for any of them")
{
    static const uint16_t ports[] = {0, 0x20, 0x60, 0x3f8, 0xcf8, 0xcfc, 0x8000, 0xffff};
    for (unsigned i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        expect_refused(in_port, ports[i], 13, 13);
        expect_refused(out_port, ports[i], 13, 13);
    }
}

TEST(ports_at_both_ends, "ports 0 and 65535 can be given, and only they then work")
{
    struct child_task task;
    uint64_t how = MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0);
    task_new(&task);
    EXPECT_OK(sys_map(task.task, how, 0x80, 0x80, 1, 0));
    EXPECT_OK(sys_map(task.task, how, 0xffff, 0xffff, 1, 0));
    worker_join(worker_go(&task, 0, PRIORITY_HIGH, in_port, 0x80));
    worker_join(worker_go(&task, 0, PRIORITY_HIGH, in_port, 0xffff));
}

TEST(privileged_instructions, "privileged instructions of user code are exceptions")
{
    expect_refused(disable_interrupts, 0, 13, 13);
    expect_refused(read_cr0, 0, 13, 13);
    expect_refused(write_cr3, 0, 13, 13);
    expect_refused(read_msr, 0, 13, 13);
    expect_refused(load_idt, 0, 13, 13);
    expect_refused(run_virtual_machine, 0, 6, 13);
}
