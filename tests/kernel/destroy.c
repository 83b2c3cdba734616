/* The end of objects: in every state they may be in, and of all that hangs on them. */
#include "kit.h"

static void spin(struct worker *worker)
{
    for (;;)
        worker->step++;
}

static void destroy_thread(struct worker *worker)
{
    child_thread_destroy(&worker->thread);
}

TEST(destroy_thread_never_started, "a thread that never ran can be destroyed")
{
    destroy_thread(worker_new(NULL, 0, PRIORITY_LOW, spin));
}

TEST(destroy_thread_ready, "a thread that is ready but not running can be destroyed")
{
    struct worker *worker = worker_go(NULL, 0, PRIORITY_LOW, spin, 0);
    destroy_thread(worker);
    sleep_ticks(A_WHILE);
}

TEST(destroy_thread_preempted, "a thread that was preempted while it ran can be destroyed")
{
    struct worker *worker = worker_go(NULL, 0, PRIORITY_LOW, spin, 0);
    worker_await_step(worker, 1);
    destroy_thread(worker);
    sleep_ticks(A_WHILE);
}

TEST(destroy_thread_stopped, "a stopped thread can be destroyed")
{
    struct worker *worker = worker_go(NULL, 0, PRIORITY_LOW, spin, 0);
    EXPECT_OK(sys_control(worker->thread.thread, CONTROL_THREAD_STOP, 0, 0, 0, 0).status);
    destroy_thread(worker);
}

TEST(destroy_thread_out_of_budget, "a thread that waits for budget can be destroyed")
{
    struct worker *worker = worker_new_on(NULL, sched_new(0, PRIORITY_HIGH, 500, 60000000), spin);
    worker_start(worker);
    destroy_thread(worker);
    sleep_ticks(A_WHILE);
}

TEST(destroy_thread_sending, "a thread that waits to send can be destroyed; its message is gone")
{
    cap_slot_t endpoint = endpoint_new(0);
    destroy_thread(worker_go(NULL, 0, PRIORITY_HIGH, send_once, endpoint));
    destroy_thread(worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint));
    EXPECT_STATUS(message_wait(endpoint, DEADLINE_POLL).status, STATUS_TIMEOUT);
}

TEST(destroy_thread_receiving,
     "a thread that waits to receive can be destroyed; the next sender waits")
{
    cap_slot_t endpoint = endpoint_new(0), notification = notification_new(0);
    destroy_thread(worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint));
    EXPECT_STATUS(message_send(endpoint, 0, NULL, DEADLINE_POLL), STATUS_TIMEOUT);
    destroy_thread(worker_go(NULL, 0, PRIORITY_HIGH, wait_once, notification));
    EXPECT_OK(notification_signal(notification, 1));
    EXPECT_OK(message_wait(notification, DEADLINE_POLL).status);
}

TEST(destroy_thread_calling, "a thread that waits for a reply can be destroyed")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    destroy_thread(caller);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_CALLER_GONE);
}

TEST(destroy_thread_with_deadline, "a thread destroyed in a wait does not wake at its deadline")
{
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, wait_once);
    worker->in[1] = ticks() + A_WHILE;
    worker_start(worker);
    destroy_thread(worker);
    sleep_ticks(4 * A_WHILE);
}

static void touch(struct worker *worker)
{
    worker->out[0] = *(volatile uint64_t *)worker->in[0];
}

TEST(destroy_thread_faulting, "a thread that waits for its pager can be destroyed")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, touch);
    worker->in[0] = addresses_new(1, 1);
    worker_watch(worker, endpoint);
    worker_start(worker);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    destroy_thread(worker);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_CALLER_GONE);
}

static void destroy_itself(struct worker *worker)
{
    worker->step = 1;
    sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, worker->thread.thread, 1);
    worker->step = 2; /* never: it is no more */
    spin(worker);
}

TEST(destroy_thread_itself, "a thread may destroy itself: it does not return from the call")
{
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, destroy_itself, 0);
    sleep_ticks(A_WHILE);
    EXPECT(worker->step, 1);
}

static void destroy_own_task(struct worker *worker)
{
    worker->step = 1;
    sys_unmap(worker->in[0], SPACE_CAPABILITY | UNMAP_SELF, worker->in[1], 1);
    worker->step = 2;
}

TEST(destroy_task_from_inside,
     "a task may destroy itself, if it has the right on the slot that owns it")
{
    struct child_task task;
    task_new(&task);
    task_give(&task, BOOT_SLOT_TASK, RIGHT_MAP, 0); /* far too much, for this test's sake */
    struct worker *worker = worker_new(&task, 0, PRIORITY_HIGH, destroy_own_task);
    worker->in[0] = BOOT_SLOT_TASK;
    worker->in[1] = task.task;
    worker_start(worker);
    sleep_ticks(A_WHILE);
    EXPECT(worker->step, 1);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, task.task, 0, 0).w[0], OBJECT_NONE);
}

TEST(destroy_task_with_all,
     "the end of a task is the end of its threads, mappings and grandchildren")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_SEND | RIGHT_RECEIVE, 0);
    struct worker *spinner = worker_go(&task, 0, PRIORITY_LOW, spin, 0);
    worker_go(&task, 0, PRIORITY_HIGH, call_once, endpoint);
    worker_go(&task, 0, PRIORITY_HIGH, wait_once, 0);
    EXPECT_OK(create_status(NULL, OBJECT_ENDPOINT, task.task, 0, 0, 0));
    EXPECT_OK(create_status(NULL, OBJECT_TASK, task.task, 20, 64, 0));
    sleep_ticks(A_WHILE);
    child_destroy(&task);
    uint64_t step = spinner->step;
    sleep_ticks(A_WHILE);
    EXPECT(spinner->step, step);
    EXPECT_STATUS(message_wait(endpoint, DEADLINE_POLL).status, STATUS_TIMEOUT);
}

TEST(destroy_task_empties_slots,
     "objects charged to a task end with it: capabilities to them are gone")
{
    cap_slot_t task, endpoint, notification, sched, inner;
    EXPECT_OK(create_status(&task, OBJECT_TASK, BOOT_SLOT_TASK, 80, 64, 0));
    EXPECT_OK(create_status(&endpoint, OBJECT_ENDPOINT, task, 0, 0, 0));
    EXPECT_OK(create_status(&notification, OBJECT_NOTIFICATION, task, 0, 0, 0));
    EXPECT_OK(create_status(&sched, OBJECT_SCHED, task, BOOT_SLOT_SCHED, 5, 0));
    EXPECT_OK(create_status(&inner, OBJECT_TASK, task, 20, 64, 0));
    struct worker *waiter = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint);
    slot_clear(task);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, endpoint, 0, 0).w[0], OBJECT_NONE);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, notification, 0, 0).w[0], OBJECT_NONE);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, sched, 0, 0).w[0], OBJECT_NONE);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, inner, 0, 0).w[0], OBJECT_NONE);
    worker_join(waiter);
    EXPECT_STATUS(waiter->message.status, STATUS_PEER_GONE);
}

static void give_page(struct worker *worker)
{
    worker->out[0] = sys_map(worker->in[0], MAP_HOW(SPACE_HOST, SPACE_HOST, MAP_READ, 0),
                             worker->in[1], worker->in[1], 1, 0);
}

TEST(destroy_task_revokes_gifts, "what a task had delegated is taken back when it ends")
{
    struct child_task giver, receiver;
    task_new(&giver);
    task_new(&receiver);
    uint64_t physical, address = addresses_new(1, 1);
    pages_new(1, 1, &physical);
    EXPECT_OK(memory_map_at(giver.task, SPACE_HOST, address, physical, 1, MAP_READ));
    task_give(&giver, receiver.task, RIGHT_MAP, 0);
    struct worker *worker = worker_new(&giver, 0, PRIORITY_HIGH, give_page);
    worker->in[0] = receiver.task;
    worker->in[1] = address;
    worker_start(worker);
    worker_join(worker);
    EXPECT_OK(worker->out[0]);
    EXPECT(table_rights(receiver.task, SPACE_HOST, address, NULL), MAP_READ);
    child_destroy(&giver);
    EXPECT(table_rights(receiver.task, SPACE_HOST, address, NULL), 0);
}

TEST(destroy_endpoint_busy, "an endpoint with many senders and receivers can be destroyed")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *workers[8];
    for (unsigned i = 0; i < 8; i++)
        workers[i] = worker_go(NULL, 0, PRIORITY_HIGH, i & 1 ? call_once : send_once, endpoint);
    slot_clear(endpoint);
    for (unsigned i = 0; i < 8; i++) {
        worker_join(workers[i]);
        EXPECT_STATUS(workers[i]->message.status, STATUS_PEER_GONE);
    }
}

TEST(destroy_sched_lent, "a scheduling context can be destroyed while it is lent")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    slot_clear(caller->sched);
    spin_ticks(A_WHILE);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_TIMEOUT);
    sleep_ticks(A_WHILE);
    EXPECT(caller->step, 0); /* it has its reply, but nothing to run on */
    EXPECT_OK(
        sys_schedule(sched_new(0, PRIORITY_HIGH, 0, 0), SCHEDULE_BIND, caller->thread.thread, 0));
    worker_join(caller);
    EXPECT_OK(caller->message.status);
}

TEST(destroy_many_tasks, "two hundred tasks made and destroyed leave nothing behind")
{
    for (unsigned i = 0; i < 200; i++) {
        cap_slot_t task;
        uint64_t before = quota_used();
        EXPECT_OK(create_status(&task, OBJECT_TASK, BOOT_SLOT_TASK, 40, 64, 0));
        slot_clear(task);
        slot_give(task);
        EXPECT(quota_used(), before);
    }
}

TEST(destroy_long_chain,
     "the end of a task with a thousand mappings and capabilities comes, and is whole")
{
    cap_slot_t task;
    uint64_t physical;
    EXPECT_OK(create_status(&task, OBJECT_TASK, BOOT_SLOT_TASK, 400, 1024, 0));
    pages_new(1, 1, &physical);
    for (uint64_t i = 0; i < 1000; i++) {
        EXPECT_OK(memory_map_at(task, SPACE_HOST, 0x10000000 + i * 8192, physical, 1, MAP_READ));
        EXPECT_OK(sys_map(task, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0),
                          guardian_endpoint, 1 + i, 1, i + 1));
    }
    slot_clear(task);
}
