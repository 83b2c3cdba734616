/* Threads under `control`: start, stop, resume, registers. */
#include "kit.h"

static uint64_t control(cap_slot_t thread, uint64_t operation, uint64_t a0)
{
    return sys_control(thread, operation, a0, 0, 0, 0).status;
}

static void count(struct worker *worker)
{
    for (;;)
        worker->step++;
}

/* Waits until another thread has stored something there. */
static void await_word(const volatile uint64_t *word)
{
    while (!*word)
        sleep_ticks(20000);
}

uint64_t seen_registers[4]; /* named in assembly */

/* A thread's very first instruction: rdi is its argument, rsp its stack, all else zero. */
__attribute__((naked)) static void first_instruction(void)
{
    __asm__("mov %rsp, seen_registers+8(%rip)\n\t"
            "mov %rdi, seen_registers(%rip)\n\t"
            "or %rbx, %rax\n\tor %rcx, %rax\n\tor %rdx, %rax\n\tor %rsi, %rax\n\t"
            "or %rbp, %rax\n\tor %r8, %rax\n\tor %r9, %rax\n\tor %r10, %rax\n\t"
            "or %r11, %rax\n\tor %r12, %rax\n\tor %r13, %rax\n\tor %r14, %rax\n\t"
            "or %r15, %rax\n\t"
            "mov %rax, seen_registers+16(%rip)\n\t"
            "movq $1, seen_registers+24(%rip)\n\t"
            "1: pause\n\tjmp 1b");
}

TEST(thread_start_registers,
     "a thread starts with the given rip, rsp and rdi, and zeroes elsewhere")
{
    struct worker *worker = worker_new(NULL, 0, PRIORITY_LOW, count);
    for (unsigned i = 0; i < 4; i++)
        seen_registers[i] = 0;
    EXPECT_OK(sys_control(worker->thread.thread, CONTROL_THREAD_START, (uint64_t)first_instruction,
                          worker->thread.stack + 8192, 0x123456789abcdef, 0)
                  .status);
    await_word(&seen_registers[3]);
    EXPECT(seen_registers[3], 1);
    EXPECT(seen_registers[0], 0x123456789abcdef);
    EXPECT(seen_registers[1], worker->thread.stack + 8192);
    EXPECT(seen_registers[2], 0);
}

TEST(thread_is_made_stopped, "a new thread does not run before it is started")
{
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, count);
    EXPECT(thread_state(worker->thread.thread), THREAD_INACTIVE | THREAD_STOPPED);
    sleep_ticks(A_WHILE);
    EXPECT(worker->step, 0);
}

TEST(thread_start_twice, "starting a thread that runs says BUSY; a stopped one can be started anew")
{
    struct worker *worker = worker_go(NULL, 0, PRIORITY_LOW, count, 0);
    EXPECT_STATUS(control(worker->thread.thread, CONTROL_THREAD_START, (uint64_t)thread_entry),
                  STATUS_BUSY);
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_STOP, 0));
    worker_start(worker);
    uint64_t step = worker->step;
    worker_await_step(worker, step + 1);
}

TEST(thread_start_bad_address, "a start address beyond user space says BAD_ARGUMENT")
{
    struct worker *worker = worker_new(NULL, 0, PRIORITY_LOW, count);
    static const uint64_t bad[] = {SEPTUM_USER_END, 0x0000800000000000, 0xffff800000000000,
                                   0xffffffff80000000, UINT64_MAX};
    for (unsigned i = 0; i < 5; i++)
        EXPECT_STATUS(control(worker->thread.thread, CONTROL_THREAD_START, bad[i]),
                      STATUS_BAD_ARGUMENT);
}

TEST(thread_stop_and_resume, "a stopped thread stands still and goes on where it was")
{
    struct worker *worker = worker_go(NULL, 0, PRIORITY_LOW, count, 0);
    worker_await_step(worker, 1);
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_STOP, 0));
    CHECK(thread_state(worker->thread.thread) & THREAD_STOPPED);
    uint64_t step = worker->step;
    sleep_ticks(A_WHILE);
    EXPECT(worker->step, step);
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_RESUME, 0));
    worker_await_step(worker, step + 1);
}

TEST(thread_stop_twice, "stopping a stopped thread and resuming a running one change nothing")
{
    struct worker *worker = worker_go(NULL, 0, PRIORITY_LOW, count, 0);
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_RESUME, 0));
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_STOP, 0));
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_STOP, 0));
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_RESUME, 0));
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_RESUME, 0));
    uint64_t step = worker->step;
    worker_await_step(worker, step + 1);
}

TEST(thread_stop_ends_wait, "a thread stopped in a wait finds INTERRUPTED when it is resumed")
{
    cap_slot_t endpoint = endpoint_new(0), notification = notification_new(0);
    const cap_slot_t targets[] = {endpoint, notification, 0};
    for (unsigned i = 0; i < 3; i++) {
        struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, targets[i]);
        EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_STOP, 0));
        EXPECT(worker->step, 0);
        EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_RESUME, 0));
        worker_join(worker);
        EXPECT_STATUS(worker->message.status, STATUS_INTERRUPTED);
    }
    EXPECT_STATUS(message_send(endpoint, 0, NULL, DEADLINE_POLL), STATUS_TIMEOUT);
}

TEST(thread_stop_ends_send,
     "a thread stopped in a queued send finds INTERRUPTED; its message is gone")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, send_once, endpoint);
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_STOP, 0));
    EXPECT_STATUS(message_wait(endpoint, DEADLINE_POLL).status, STATUS_TIMEOUT);
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_RESUME, 0));
    worker_join(worker);
    EXPECT_STATUS(worker->message.status, STATUS_INTERRUPTED);
}

static void stop_self_twice(struct worker *worker)
{
    for (unsigned i = 0; i < 2; i++) {
        worker->step++;
        sys_control(worker->in[0], CONTROL_THREAD_STOP, 0, 0, 0, 0);
    }
    worker->step++;
}

TEST(thread_stop_self, "a thread that stops itself goes on when another resumes it")
{
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, stop_self_twice);
    worker->in[0] = worker->thread.thread;
    worker_start(worker);
    for (uint64_t step = 1; step <= 2; step++) {
        EXPECT(worker->step, step);
        CHECK(thread_state(worker->thread.thread) & THREAD_STOPPED);
        EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_RESUME, 0));
    }
    EXPECT(worker->step, 3);
}

/* ---- registers ------------------------------------------------------------------------------- */

TEST(thread_read_registers, "the registers of a stopped thread can be read")
{
    struct worker *worker = worker_go(NULL, 0, PRIORITY_LOW, count, 0);
    worker_await_step(worker, 1);
    EXPECT_STATUS(control(worker->thread.thread, CONTROL_THREAD_READ_REGISTERS, 0), STATUS_BUSY);
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_STOP, 0));
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_READ_REGISTERS, 0));
    const struct thread_registers *r = &thread_buffer()->registers;
    EXPECT_BETWEEN(r->rip, (uint64_t)count, (uint64_t)count + 64);
    EXPECT_BETWEEN(r->rsp, worker->thread.stack, worker->thread.stack + THREAD_STACK_BYTES);
    EXPECT(r->rflags & 0x200, 0x200);
    EXPECT(sys_inspect(INSPECT_THREAD, worker->thread.thread, 0, 0).w[1], r->rip);
}

uint64_t landed[18]; /* named in assembly */

/* Stores all registers that WRITE_REGISTERS has put there. */
__attribute__((naked)) static void land(void)
{
    __asm__("mov %rax, landed(%rip)\n\tmov %rbx, landed+8(%rip)\n\t"
            "mov %rcx, landed+16(%rip)\n\tmov %rdx, landed+24(%rip)\n\t"
            "mov %rsi, landed+32(%rip)\n\tmov %rdi, landed+40(%rip)\n\t"
            "mov %rbp, landed+48(%rip)\n\tmov %rsp, landed+56(%rip)\n\t"
            "mov %r8, landed+64(%rip)\n\tmov %r9, landed+72(%rip)\n\t"
            "mov %r10, landed+80(%rip)\n\tmov %r11, landed+88(%rip)\n\t"
            "mov %r12, landed+96(%rip)\n\tmov %r13, landed+104(%rip)\n\t"
            "mov %r14, landed+112(%rip)\n\tmov %r15, landed+120(%rip)\n\t"
            "pushfq\n\tpopq landed+128(%rip)\n\t"
            "mov %fs:0, %rax\n\tmov %rax, landed+136(%rip)\n\t"
            "1: pause\n\tjmp 1b");
}

TEST(thread_write_registers, "every general register, rip, rflags and the FS base can be written")
{
    struct worker *worker = worker_go(NULL, 0, PRIORITY_LOW, count, 0);
    static uint64_t marker = 0xf5f5;
    landed[17] = 0;
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_STOP, 0));
    struct thread_registers *r = &thread_buffer()->registers;
    uint64_t *words = (uint64_t *)r;
    for (uint64_t i = 0; i < 16; i++)
        words[i] = 0x1000000000000001 * (i + 1);
    r->rsp = worker->thread.stack + 4096;
    r->rip = (uint64_t)land;
    r->rflags = 0xcd5 | 0x3000; /* arithmetic flags and direction; IOPL 3 must not come through */
    r->fs_base = (uint64_t)&marker;
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_WRITE_REGISTERS, 0));
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_RESUME, 0));
    await_word(&landed[17]);
    for (uint64_t i = 0; i < 16; i++)
        EXPECT(landed[i], i == 7 ? worker->thread.stack + 4096 : 0x1000000000000001 * (i + 1));
    EXPECT(landed[16] & 0xcd5, 0xcd5);
    EXPECT(landed[16] & 0x3200, 0x200); /* interrupts on, no IOPL */
    EXPECT(landed[17], 0xf5f5);
}

TEST(thread_write_noncanonical_rip, "a non-canonical or kernel rip is refused, and changes nothing")
{
    struct worker *worker = worker_go(NULL, 0, PRIORITY_LOW, count, 0);
    static const uint64_t bad[] = {SEPTUM_USER_END, 0x0000800000000000, 0x8000000000000000,
                                   0xffff800000000000, 0xffffffff80100000};
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_STOP, 0));
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_READ_REGISTERS, 0));
    struct thread_registers before = thread_buffer()->registers;
    for (unsigned i = 0; i < 5; i++) {
        thread_buffer()->registers.rip = bad[i];
        thread_buffer()->registers.rax = 0xbad;
        EXPECT_STATUS(control(worker->thread.thread, CONTROL_THREAD_WRITE_REGISTERS, 0),
                      STATUS_BAD_ARGUMENT);
    }
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_READ_REGISTERS, 0));
    EXPECT(memcmp(&before, &thread_buffer()->registers, sizeof before), 0);
    thread_buffer()->registers.fs_base = 0x8000000000000000;
    EXPECT_STATUS(control(worker->thread.thread, CONTROL_THREAD_WRITE_REGISTERS, 0),
                  STATUS_BAD_ARGUMENT);
}

TEST(thread_write_in_syscall,
     "a thread stopped in a system call can be sent elsewhere with all registers")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint);
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_STOP, 0));
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_READ_REGISTERS, 0));
    struct thread_registers *r = &thread_buffer()->registers;
    r->rcx = 0xcccc;
    landed[17] = 0;
    r->r11 = 0x1111;
    r->rip = (uint64_t)land;
    r->fs_base = (uint64_t)&landed;
    EXPECT_OK(sys_schedule(worker->sched, SCHEDULE_SET, PRIORITY_LOW, 0));
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_WRITE_REGISTERS, 0));
    EXPECT_OK(control(worker->thread.thread, CONTROL_THREAD_RESUME, 0));
    await_word(&landed[17]);
    EXPECT(landed[2], 0xcccc);
    EXPECT(landed[11], 0x1111);
}

TEST(thread_control_self_registers, "a thread's own registers cannot be read or written: BUSY")
{
    EXPECT_STATUS(control(BOOT_SLOT_THREAD, CONTROL_THREAD_READ_REGISTERS, 0), STATUS_BUSY);
    EXPECT_STATUS(control(BOOT_SLOT_THREAD, CONTROL_THREAD_WRITE_REGISTERS, 0), STATUS_BUSY);
}

TEST(thread_control_refusals, "control checks capability, rights, operation and arguments")
{
    struct worker *worker = worker_new(NULL, 0, PRIORITY_LOW, count);
    cap_slot_t weak =
        capability_copy(worker->thread.thread, RIGHTS_ALL & ~RIGHT_CONTROL & ~RIGHT_MACHINE, 0);
    EXPECT_STATUS(control(weak, CONTROL_THREAD_STOP, 0), STATUS_BAD_RIGHTS);
    EXPECT_STATUS(control(BOOT_SLOT_TASK, CONTROL_THREAD_STOP, 0), STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(control(TEST_SLOTS_END - 1, CONTROL_THREAD_STOP, 0), STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(control(worker->thread.thread, 99, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(control(worker->thread.thread, UINT64_MAX, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(control(worker->thread.thread, CONTROL_THREAD_SET_FAULT_ENDPOINT, CAP_SLOTS_MAX),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(control(0, CONTROL_THREAD_STOP, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(sys_inspect(INSPECT_THREAD, weak, 0, 0).status, STATUS_BAD_RIGHTS);
}

TEST(thread_create_refusals,
     "making a thread checks the context, the buffer's address and the slot")
{
    cap_slot_t sched = sched_new(0, 5, 0, 0), create_only = capability_copy(sched, RIGHT_CREATE, 0);
    uint64_t buffer = addresses_new(1, 1);
    void *used = pages_new(1, 1, NULL);
    static const uint64_t bad[] = {1, 0xfff, SEPTUM_USER_END, 0xffff800000000000, UINT64_MAX};
    EXPECT_STATUS(create_status(NULL, OBJECT_THREAD, BOOT_SLOT_TASK, BOOT_SLOT_TASK, buffer, 0),
                  STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(create_status(NULL, OBJECT_THREAD, BOOT_SLOT_TASK, create_only, buffer, 0),
                  STATUS_BAD_RIGHTS);
    for (unsigned i = 0; i < 5; i++)
        EXPECT_STATUS(create_status(NULL, OBJECT_THREAD, BOOT_SLOT_TASK, sched, bad[i], 0),
                      STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(create_status(NULL, OBJECT_THREAD, BOOT_SLOT_TASK, sched, (uint64_t)used, 0),
                  STATUS_BUSY);
    EXPECT_STATUS(create_status(NULL, OBJECT_THREAD, BOOT_SLOT_TASK, sched, buffer, CAP_SLOTS_MAX),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(sys_create(sched, OBJECT_THREAD, BOOT_SLOT_TASK, sched, buffer, 0),
                  STATUS_BAD_SLOT);
}
