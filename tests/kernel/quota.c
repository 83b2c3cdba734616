/* Quotas: each kind of object is paid for, an exhausted quota hurts its task alone, all comes
 * back. */
#include "kit.h"

static uint64_t used_by(cap_slot_t task)
{
    struct message m = sys_inspect(INSPECT_QUOTA, task, 0, 0);
    EXPECT_OK(m.status);
    return m.w[1];
}

static uint64_t left_in(cap_slot_t task)
{
    struct message m = sys_inspect(INSPECT_QUOTA, task, 0, 0);
    EXPECT_OK(m.status);
    return m.w[0] - m.w[1] - m.w[2];
}

TEST(quota_is_moved, "a task's quota comes out of its creator's, and goes back when it ends")
{
    struct message before = sys_inspect(INSPECT_QUOTA, BOOT_SLOT_TASK, 0, 0);
    cap_slot_t task;
    EXPECT_OK(create_status(&task, OBJECT_TASK, BOOT_SLOT_TASK, 50, 64, 0));
    struct message during = sys_inspect(INSPECT_QUOTA, BOOT_SLOT_TASK, 0, 0);
    struct message child = sys_inspect(INSPECT_QUOTA, task, 0, 0);
    EXPECT(during.w[0], before.w[0]);
    EXPECT(during.w[2], before.w[2] + 50);
    EXPECT(child.w[0], 50);
    slot_clear(task);
    struct message after = sys_inspect(INSPECT_QUOTA, BOOT_SLOT_TASK, 0, 0);
    EXPECT(after.w[2], before.w[2]);
    EXPECT(after.w[1], before.w[1]);
}

TEST(quota_too_large, "a task cannot be given more quota than its creator has left: NO_QUOTA")
{
    EXPECT_OK(create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, 50, 64, 0));
    uint64_t left = left_in(BOOT_SLOT_TASK);
    EXPECT_STATUS(create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, left + 1, 64, 0),
                  STATUS_NO_QUOTA);
    uint64_t status = create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, UINT32_MAX, 64, 0);
    EXPECT_STATUS(status, STATUS_NO_QUOTA);
    status = create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, 0x100000010, 64, 0);
    CHECK(status == STATUS_NO_QUOTA || status == STATUS_BAD_ARGUMENT);
    status = create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, UINT64_MAX, 64, 0);
    CHECK(status == STATUS_NO_QUOTA || status == STATUS_BAD_ARGUMENT);
}

TEST(quota_too_small_for_task, "a quota that does not hold the task itself says NO_QUOTA")
{
    uint64_t before = quota_used();
    EXPECT_STATUS(create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, 0, 64, 0), STATUS_NO_QUOTA);
    EXPECT_STATUS(create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, 1, 64, 0), STATUS_NO_QUOTA);
    EXPECT(quota_used(), before);
}

TEST(quota_task_slots, "a task has between 1 and 32768 slots: others say BAD_ARGUMENT")
{
    EXPECT_STATUS(create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, 50, CAP_SLOTS_MAX + 1, 0),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, 50, 0, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, 50, UINT64_MAX, 0),
                  STATUS_BAD_ARGUMENT);
    EXPECT_OK(create_status(NULL, OBJECT_TASK, BOOT_SLOT_TASK, 50, CAP_SLOTS_MAX, 0));
}

/* Creates objects charged to a small task until its quota is used up; destroys them; it must hold
 * as many again. The slots are in the first task. */
static unsigned fill_with(cap_slot_t owner, enum object_type type, uint64_t a0, uint64_t a1,
                          uint64_t a2, uint64_t step_a1)
{
    unsigned made = 0;
    uint64_t status = STATUS_OK;
    for (cap_slot_t slot = TEST_SLOTS_FIRST + 32; slot < TEST_SLOTS_END; slot++) {
        status = sys_create(slot, type, owner, a0, a1, a2);
        if (status != STATUS_OK)
            break;
        a1 += step_a1;
        made++;
    }
    EXPECT_STATUS(status, STATUS_NO_QUOTA);
    EXPECT_STATUS(sys_create(TEST_SLOTS_END - 1, type, owner, a0, a1, a2), STATUS_NO_QUOTA);
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, TEST_SLOTS_FIRST + 32,
                        TEST_SLOTS_END - TEST_SLOTS_FIRST - 32));
    return made;
}

static void fill_twice(enum object_type type, uint64_t pages, uint64_t a0, uint64_t a1, uint64_t a2,
                       uint64_t step_a1)
{
    cap_slot_t task;
    EXPECT_OK(create_status(&task, OBJECT_TASK, BOOT_SLOT_TASK, 60, 64, 0));
    uint64_t quota = used_by(task) + pages;
    slot_clear(task);
    EXPECT_OK(create_status(&task, OBJECT_TASK, BOOT_SLOT_TASK, quota, 64, 0));
    fill_with(task, type, a0, a1, a2, step_a1); /* also makes what a task keeps */
    uint64_t mine = used_by(BOOT_SLOT_TASK), before = used_by(task);
    unsigned first = fill_with(task, type, a0, a1, a2, step_a1);
    CHECK(first > 0);
    EXPECT(used_by(BOOT_SLOT_TASK), mine); /* the neighbour paid nothing */
    EXPECT(used_by(task), before);
    EXPECT(fill_with(task, type, a0, a1, a2, step_a1), first);
    EXPECT(used_by(task), before);
}

TEST(quota_endpoints, "endpoints use up the quota of their owner, and give it back")
{
    fill_twice(OBJECT_ENDPOINT, 4, 0, 0, 0, 0);
}

TEST(quota_notifications, "notifications use up the quota of their owner, and give it back")
{
    fill_twice(OBJECT_NOTIFICATION, 4, 0, 0, 0, 0);
}

TEST(quota_scheds, "scheduling contexts use up the quota of their owner, and give it back")
{
    fill_twice(OBJECT_SCHED, 4, BOOT_SLOT_SCHED, 5, 0, 0);
}

TEST(quota_threads, "threads use up the quota of their task, and give it back")
{
    fill_twice(OBJECT_THREAD, 60, BOOT_SLOT_SCHED, 0x10000000, 0, 4096);
}

TEST(quota_tasks, "tasks use up the quota of their owner, and give it back")
{
    fill_twice(OBJECT_TASK, 200, 30, 64, 0, 0);
}

TEST_VM(quota_vcpus, "vCPUs use up the quota of their task, and give it back")
{
    fill_twice(OBJECT_VCPU, 100, 0, 0x10000000, 0, 4096);
}

TEST(quota_interrupts, "interrupts are charged to their owner")
{
    uint64_t before = quota_used(), made = 0;
    while (made < 100 &&
           create_status(NULL, OBJECT_INTERRUPT, BOOT_SLOT_TASK, INTERRUPT_MSI, 0, 0) == STATUS_OK)
        made++;
    CHECK(made > 0);
    CHECK(quota_used() > before);
}

TEST(quota_capability_pages, "capabilities given to a task are paid from its quota: NO_QUOTA")
{
    cap_slot_t task;
    EXPECT_OK(create_status(&task, OBJECT_TASK, BOOT_SLOT_TASK, 20, CAP_SLOTS_MAX, 0));
    uint64_t how = MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0), status = STATUS_OK;
    for (uint64_t slot = 1; slot < CAP_SLOTS_MAX && status == STATUS_OK; slot += 64)
        status = sys_map(task, how, guardian_endpoint, slot, 1, 0);
    EXPECT_STATUS(status, STATUS_NO_QUOTA);
}

/* in[0]: endpoint, in[1]: slot. Saves the reply of the call that it receives when step is 2. */
static void save_when_told(struct worker *worker)
{
    message_wait(worker->in[0], DEADLINE_NEVER);
    worker->step = 1;
    while (worker->step == 1)
        message_wait(0, ticks() + 20000);
    worker->out[0] = sys_control(0, CONTROL_THREAD_SAVE_REPLY, worker->in[1], 0, 0, 0).status;
    message_reply_wait(worker->in[0], 0, NULL, DEADLINE_POLL);
}

TEST(quota_saved_reply,
     "saving a reply where there is no page of capabilities yet costs quota: NO_QUOTA")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_RECEIVE, 0);
    struct worker *server = worker_new(&task, 0, PRIORITY_HIGH, save_when_told);
    server->in[0] = endpoint;
    server->in[1] = 500;
    worker_start(server);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_LOW, call_once, endpoint);
    worker_await_step(server, 1);
    uint64_t status = STATUS_OK;
    for (cap_slot_t slot = TEST_SLOTS_FIRST + 64; slot < TEST_SLOTS_END && status == STATUS_OK;
         slot++)
        status = sys_create(slot, OBJECT_THREAD, task.task, BOOT_SLOT_SCHED,
                            0x70000000 + slot * 4096, 0);
    EXPECT_STATUS(status, STATUS_NO_QUOTA);
    for (uint64_t slot = 1; slot < 448; slot += 64) /* the very last pages */
        sys_map(task.task, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0),
                guardian_endpoint, slot, 1, 0);
    EXPECT(left_in(task.task), 0);
    server->step = 2;
    worker_join(server);
    EXPECT_STATUS(server->out[0], STATUS_NO_QUOTA);
    worker_join(caller);
    EXPECT_OK(caller->message.status);
}

TEST(quota_port_bitmap, "the first port that a task is given costs quota: NO_QUOTA without")
{
    cap_slot_t task;
    uint64_t how = MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0), status = STATUS_OK;
    EXPECT_OK(create_status(&task, OBJECT_TASK, BOOT_SLOT_TASK, 20, CAP_SLOTS_MAX, 0));
    for (uint64_t slot = 1; slot < CAP_SLOTS_MAX && status == STATUS_OK; slot += 64)
        status = sys_map(task, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0),
                         guardian_endpoint, slot, 1, 0);
    EXPECT_STATUS(sys_map(task, how, 0x80, 0x80, 1, 0), STATUS_NO_QUOTA);
}

static void exhaust_own_quota(struct worker *worker)
{
    uint64_t status = STATUS_OK;
    for (uint64_t slot = 300; slot < 512 && status == STATUS_OK; slot++)
        status = sys_create(slot, OBJECT_THREAD, worker->in[0], worker->in[1],
                            0x70000000 + slot * 4096, 0);
    worker->out[0] = status;
    worker->out[1] = sys_create(511, OBJECT_ENDPOINT, worker->in[0], 0, 0, 0);
    worker->step = 1;
}

TEST(quota_neighbour_unharmed,
     "a task that exhausts its quota gets errors; its neighbour notices nothing")
{
    struct child_task greedy, neighbour;
    task_new(&greedy);
    task_new(&neighbour);
    cap_slot_t sched = sched_new(0, 5, 0, 0);
    task_give(&greedy, greedy.task, RIGHTS_ALL & ~RIGHT_MACHINE, 0);
    task_give(&greedy, sched, RIGHT_CONTROL, 0);
    uint64_t left = left_in(neighbour.task);
    struct worker *worker = worker_new(&greedy, 0, PRIORITY_HIGH, exhaust_own_quota);
    worker->in[0] = greedy.task;
    worker->in[1] = sched;
    worker_start(worker);
    worker_join(worker);
    EXPECT_STATUS(worker->out[0], STATUS_NO_QUOTA);
    EXPECT(left_in(neighbour.task), left);
    EXPECT_OK(create_status(NULL, OBJECT_ENDPOINT, neighbour.task, 0, 0, 0));
    /* It still works, within what it has. */
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&neighbour, endpoint, RIGHT_RECEIVE, 0);
    worker_go(&neighbour, 0, PRIORITY_HIGH, echo_server, endpoint);
    EXPECT_OK(message_call(endpoint, TAG(1, 0, 0), NULL, far_deadline()).status);
}

static void use_fpu(struct worker *worker)
{
    __asm__ volatile("fldz\n\tfstp %%st(0)" ::: "memory");
    worker->step = 1;
}

TEST(quota_first_fpu_use, "a thread without quota for its FPU registers gets an exception")
{
    struct child_task task;
    struct worker *workers[6];
    task_new_with_quota(&task, 80);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_SEND, 0);
    for (unsigned i = 0; i < 6; i++) {
        workers[i] = worker_new(&task, 0, PRIORITY_HIGH, use_fpu);
        EXPECT_OK(sys_control(workers[i]->thread.thread, CONTROL_THREAD_SET_FAULT_ENDPOINT,
                              endpoint, 0, 0, 0)
                      .status);
    }
    /* Page tables take two pages at a time, pages of capabilities what is left. */
    uint64_t physical, status = STATUS_OK;
    pages_new(1, 1, &physical);
    for (uint64_t i = 0; status == STATUS_OK; i++)
        status =
            memory_map_at(task.task, SPACE_HOST, 0x400000000000 + (i << 30), physical, 1, MAP_READ);
    for (uint64_t slot = 64; slot < 512; slot += 64)
        sys_map(task.task, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0),
                guardian_endpoint, slot, 1, 0);
    EXPECT(left_in(task.task), 0);
    /* The first few may find room in a page that holds other objects. */
    unsigned refused = 0;
    for (unsigned i = 0; i < 6; i++) {
        worker_start(workers[i]);
        struct message m = message_wait(endpoint, ticks() + A_WHILE);
        EXPECT(workers[i]->step, m.status == STATUS_OK ? 0 : 1);
        if (m.status != STATUS_OK)
            continue;
        refused++;
        EXPECT(TAG_ORIGIN(m.tag), ORIGIN_EXCEPTION);
        EXPECT(m.w[0], 7); /* device not available */
    }
    CHECK(refused > 0);
}

TEST(quota_without_right,
     "charging objects to a task needs RIGHT_CREATE, reading its quota RIGHT_INSPECT")
{
    cap_slot_t task;
    EXPECT_OK(create_status(&task, OBJECT_TASK, BOOT_SLOT_TASK, 50, 64, 0));
    cap_slot_t weak = capability_copy(task, RIGHT_MAP, 0);
    EXPECT_STATUS(create_status(NULL, OBJECT_ENDPOINT, weak, 0, 0, 0), STATUS_BAD_RIGHTS);
    EXPECT_STATUS(sys_inspect(INSPECT_QUOTA, weak, 0, 0).status, STATUS_BAD_RIGHTS);
    EXPECT_STATUS(create_status(NULL, OBJECT_ENDPOINT, guardian_endpoint, 0, 0, 0),
                  STATUS_BAD_CAPABILITY);
}

TEST(create_arguments, "create checks the type, the slot and the CPU")
{
    cap_slot_t endpoint = endpoint_new(0);
    EXPECT_STATUS(create_status(NULL, OBJECT_NONE, BOOT_SLOT_TASK, 0, 0, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(create_status(NULL, OBJECT_REPLY, BOOT_SLOT_TASK, 0, 0, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(create_status(NULL, OBJECT_TYPE_COUNT, BOOT_SLOT_TASK, 0, 0, 0),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(sys_create(slot_new(), UINT64_MAX, BOOT_SLOT_TASK, 0, 0, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(create_status(NULL, OBJECT_ENDPOINT, BOOT_SLOT_TASK, BOOT_CPUS_MAX, 0, 0),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(create_status(NULL, OBJECT_NOTIFICATION, BOOT_SLOT_TASK, UINT64_MAX, 0, 0),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(sys_create(endpoint, OBJECT_ENDPOINT, BOOT_SLOT_TASK, 0, 0, 0), STATUS_BAD_SLOT);
    EXPECT_STATUS(sys_create(0, OBJECT_ENDPOINT, BOOT_SLOT_TASK, 0, 0, 0), STATUS_BAD_SLOT);
    EXPECT_STATUS(sys_create(UINT32_MAX, OBJECT_ENDPOINT, BOOT_SLOT_TASK, 0, 0, 0),
                  STATUS_BAD_SLOT);
    EXPECT_STATUS(sys_create(1ull << 32, OBJECT_ENDPOINT, BOOT_SLOT_TASK, 0, 0, 0),
                  STATUS_BAD_SLOT);
}

TEST(create_task_without_machine,
     "a new task's capability has RIGHT_MACHINE only if its maker's has")
{
    cap_slot_t weak = capability_copy(BOOT_SLOT_TASK, RIGHTS_ALL & ~RIGHT_MACHINE, 0);
    const cap_slot_t makers[] = {BOOT_SLOT_TASK, weak, 0};
    for (unsigned i = 0; i < 3; i++) {
        cap_slot_t task;
        EXPECT_OK(create_status(&task, OBJECT_TASK, makers[i], 50, 64, 0));
        EXPECT(sys_inspect(INSPECT_CAPABILITY, task, 0, 0).w[1],
               RIGHTS_ALL & ~(i ? (unsigned)RIGHT_MACHINE : 0u));
    }
}

TEST(create_vcpu_without_virtualization,
     "where there is no virtualization, a vCPU says NOT_SUPPORTED")
{
    uint64_t status = create_status(NULL, OBJECT_VCPU, BOOT_SLOT_TASK, 0, addresses_new(1, 1), 0);
    EXPECT_STATUS(status,
                  boot->virtualization == BOOT_VIRT_NONE ? STATUS_NOT_SUPPORTED : STATUS_OK);
}
