/* What the kernel's tests are built of. */
#include "kit.h"

#define TASK_SLOTS 512u
#define TASK_PAGES 96u

/* ---- objects --------------------------------------------------------------------------------- */

cap_slot_t slot_new(void)
{
    cap_slot_t slot = slot_take();
    CHECK(slot != 0);
    return slot;
}

uint64_t create_status(cap_slot_t *slot, enum object_type type, cap_slot_t owner, uint64_t a0,
                       uint64_t a1, uint64_t a2)
{
    cap_slot_t fresh = slot_new();
    if (slot)
        *slot = fresh;
    return sys_create(fresh, type, owner, a0, a1, a2);
}

cap_slot_t endpoint_new(unsigned cpu)
{
    cap_slot_t slot;
    EXPECT_OK(create_status(&slot, OBJECT_ENDPOINT, BOOT_SLOT_TASK, cpu, 0, 0));
    return slot;
}

cap_slot_t notification_new(unsigned cpu)
{
    cap_slot_t slot;
    EXPECT_OK(create_status(&slot, OBJECT_NOTIFICATION, BOOT_SLOT_TASK, cpu, 0, 0));
    return slot;
}

cap_slot_t sched_new(unsigned cpu, unsigned priority, uint64_t budget_us, uint64_t period_us)
{
    cap_slot_t slot;
    EXPECT_OK(create_status(&slot, OBJECT_SCHED, BOOT_SLOT_TASK, BOOT_SLOT_SCHED + cpu, priority,
                            budget_us | period_us << 32));
    return slot;
}

cap_slot_t capability_copy(cap_slot_t source, unsigned rights, uint64_t badge)
{
    cap_slot_t slot = slot_new();
    EXPECT_OK(sys_map(BOOT_SLOT_TASK, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, rights, 0),
                      source, slot, 1, badge));
    return slot;
}

void slot_clear(cap_slot_t slot)
{
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, slot, 1));
}

void task_new_with_quota(struct child_task *task, uint64_t pages)
{
    EXPECT_OK(child_create(task, pages, TASK_SLOTS, CHILD_DATA_SHARED));
    task_give(task, guardian_endpoint, RIGHT_SEND, 0);
}

void task_new(struct child_task *task)
{
    task_new_with_quota(task, TASK_PAGES);
}

void task_give(const struct child_task *task, cap_slot_t slot, unsigned rights, uint64_t badge)
{
    EXPECT_OK(child_give(task, slot, slot, rights, badge));
}

/* ---- workers --------------------------------------------------------------------------------- */

static void worker_main(void *argument)
{
    struct worker *worker = argument;
    worker->run(worker);
}

struct worker *worker_new_on(const struct child_task *task, cap_slot_t sched,
                             void (*run)(struct worker *worker))
{
    struct child_thread thread;
    cap_slot_t where = task ? task->task : BOOT_SLOT_TASK;
    EXPECT_OK(child_thread_create(&thread, where, sched, guardian_endpoint));
    if (task) {
        task_give(task, thread.thread, RIGHT_CONTROL, 0);
        thread.context->self = thread.thread;
    }
    struct worker *worker = (struct worker *)thread.stack; /* the far end of its stack */
    worker->thread = thread;
    worker->sched = sched;
    worker->run = run;
    return worker;
}

struct worker *worker_new(const struct child_task *task, unsigned cpu, unsigned priority,
                          void (*run)(struct worker *worker))
{
    return worker_new_on(task, sched_new(cpu, priority, 0, 0), run);
}

void worker_watch(struct worker *worker, cap_slot_t endpoint)
{
    EXPECT_OK(
        sys_control(worker->thread.thread, CONTROL_THREAD_SET_FAULT_ENDPOINT, endpoint, 0, 0, 0)
            .status);
}

void worker_start(struct worker *worker)
{
    EXPECT_OK(child_thread_start(&worker->thread, worker_main, worker));
}

struct worker *worker_go(const struct child_task *task, unsigned cpu, unsigned priority,
                         void (*run)(struct worker *worker), uint64_t in0)
{
    struct worker *worker = worker_new(task, cpu, priority, run);
    worker->in[0] = in0;
    worker_start(worker);
    return worker;
}

void worker_join(struct worker *worker)
{
    while (!worker->thread.context->finished) {
        test_stop_if_failed();
        sleep_ticks(20000);
    }
    test_stop_if_failed();
}

void worker_await_step(struct worker *worker, uint64_t step)
{
    while (worker->step < step) {
        test_stop_if_failed();
        sleep_ticks(20000);
    }
}

uint64_t thread_state(cap_slot_t thread)
{
    struct message m = sys_inspect(INSPECT_THREAD, thread, 0, 0);
    EXPECT_OK(m.status);
    return m.w[0];
}

void thread_await_state(cap_slot_t thread, uint64_t state)
{
    while ((thread_state(thread) & THREAD_STATE_MASK) != state) {
        test_stop_if_failed();
        sleep_ticks(20000);
    }
}

void thread_await_stopped(cap_slot_t thread)
{
    while (!(thread_state(thread) & THREAD_STOPPED)) {
        test_stop_if_failed();
        sleep_ticks(20000);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

uint64_t far_deadline(void)
{
    return ticks() + 400000000000ull;
}

void sleep_ticks(uint64_t count)
{
    message_wait(0, ticks() + count);
}

void spin_ticks(uint64_t count)
{
    for (uint64_t end = ticks() + count; ticks() < end;)
        __builtin_ia32_pause();
}

void work(uint64_t turns)
{
    __asm__ volatile("1: dec %0\n\tnop\n\tjnz 1b" : "+r"(turns));
}

uint64_t microseconds(uint64_t count)
{
    return count * boot->tsc_khz / 1000;
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *pages_new(uint64_t pages, uint64_t alignment, uint64_t *physical)
{
    void *memory_pages = memory_take(pages, alignment, physical);
    CHECK(memory_pages != NULL);
    return memory_pages;
}

uint64_t addresses_new(uint64_t pages, uint64_t alignment)
{
    uint64_t address = address_take(pages, alignment);
    CHECK(address != POOL_NONE);
    return address;
}

unsigned table_rights(cap_slot_t task, enum space_kind space, uint64_t address, uint64_t *frame)
{
    struct message m = sys_inspect(INSPECT_TABLE, task, space, address);
    const uint64_t *entry = thread_buffer()->output; /* base, size, frame, rights, cache */
    if (m.status != STATUS_OK || entry[1] == 0 || entry[0] > address ||
        address - entry[0] >= entry[1])
        return 0;
    if (frame)
        *frame = entry[2] + (address - entry[0]);
    return (unsigned)entry[3];
}

/*
 * Catches the fault of one access: a handler of higher priority sends the first thread on behind
 * the instruction, with rax = 1. The accesses are in assembly so that their length is known: 3
 * bytes.
 */
static void access_handler(struct worker *worker)
{
    struct thread_registers *registers = &thread_buffer()->registers;
    while (message_wait(worker->in[0], DEADLINE_NEVER).status == STATUS_OK) {
        sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_STOP, 0, 0, 0, 0);
        sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_READ_REGISTERS, 0, 0, 0, 0);
        registers->rip += 3;
        registers->rax = 1;
        sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_WRITE_REGISTERS, 0, 0, 0, 0);
        sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_RESUME, 0, 0, 0, 0);
    }
}

static bool access_faults(const volatile void *address, bool write)
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *handler = worker_go(NULL, 0, PRIORITY_HIGH, access_handler, endpoint);
    EXPECT_OK(
        sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_SET_FAULT_ENDPOINT, endpoint, 0, 0, 0).status);
    uint64_t faulted = 0, scratch;
    if (write)
        __asm__ volatile("mov %%cl, (%%rdx)\n\tnop" /* 2 bytes and one */
                         : "+a"(faulted)
                         : "d"(address), "c"(0)
                         : "memory");
    else
        __asm__ volatile("mov (%%rdx), %%rcx" /* 3 bytes */
                         : "+a"(faulted), "=c"(scratch)
                         : "d"(address)
                         : "memory");
    sys_control(BOOT_SLOT_THREAD, CONTROL_THREAD_SET_FAULT_ENDPOINT, guardian_endpoint, 0, 0, 0);
    slot_clear(handler->thread.thread);
    slot_clear(handler->sched);
    slot_clear(endpoint);
    return faulted != 0;
}

bool can_read(const volatile void *address)
{
    return !access_faults(address, false);
}

bool can_write(volatile void *address)
{
    return !access_faults(address, true);
}

uint64_t counter(unsigned cpu, enum counter_index index)
{
    EXPECT_OK(sys_inspect(INSPECT_COUNTERS, BOOT_SLOT_TASK, cpu, 0).status);
    return thread_buffer()->output[index];
}

/* ---- ipc ------------------------------------------------------------------------------------- */

void window_open(enum space_kind space, uint64_t base, uint64_t count)
{
    thread_buffer()->windows[space] = (struct receive_window){base, count};
}

void wait_once(struct worker *worker)
{
    worker->message = message_wait(worker->in[0], worker->in[1] ? worker->in[1] : DEADLINE_NEVER);
    worker->step = 1;
}

void call_once(struct worker *worker)
{
    const uint64_t w[4] = {worker->in[3], 0, 0, 0};
    worker->message = message_call(worker->in[0], worker->in[1], w,
                                   worker->in[2] ? worker->in[2] : DEADLINE_NEVER);
    worker->step = 1;
}

void send_once(struct worker *worker)
{
    const uint64_t w[4] = {worker->in[3], 0, 0, 0};
    worker->message = ipc(IPC_SEND, worker->in[0], worker->in[1], w,
                          worker->in[2] ? worker->in[2] : DEADLINE_NEVER);
    worker->step = 1;
}

void echo_server(struct worker *worker)
{
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    while (m.status == STATUS_OK) {
        worker->message = m;
        worker->step++;
        if (TAG_LABEL(m.tag) == 0)
            return;
        const uint64_t w[4] = {m.w[0] + 1, m.w[1] + 1, m.w[2] + 1, m.w[3] + 1};
        m = message_reply_wait(worker->in[0], TAG(TAG_LABEL(m.tag) + 1, TAG_WORDS(m.tag), 0), w,
                               DEADLINE_NEVER);
        if (m.status == STATUS_CALLER_GONE) /* it was a send */
            m = message_wait(worker->in[0], DEADLINE_NEVER);
    }
    worker->message = m;
}
