/* Two CPUs: messages, replies, notifications, timeouts, control and destruction across them. */
#include "kit.h"

static void spin(struct worker *worker)
{
    for (;;)
        worker->step++;
}

static void which_cpu(struct worker *worker)
{
    worker->out[0] = sys_inspect(INSPECT_TIME, 0, 0, 0).w[2];
}

/* in[0]: endpoint, in[1]: how many calls. */
static void call_many(struct worker *worker)
{
    for (uint64_t i = 1; i <= worker->in[1]; i++) {
        const uint64_t w[4] = {i, 0, 0, 0};
        struct message m = message_call(worker->in[0], TAG(i, 1, 0), w, DEADLINE_NEVER);
        EXPECT_OK(m.status);
        EXPECT(m.w[0], i + 1);
        worker->step++;
    }
}

/* Gathers bits until bit 63 comes. */
static void collect_bits(struct worker *worker)
{
    while (!(worker->out[0] >> 63)) {
        struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
        EXPECT_OK(m.status);
        worker->out[0] |= m.w[0];
    }
}

static void ping_pong(struct worker *worker)
{
    while (message_wait(worker->in[0], DEADLINE_NEVER).status == STATUS_OK) {
        worker->step++;
        notification_signal(worker->in[1], 1);
    }
}

static void serve_and_hang(struct worker *worker)
{
    message_wait(worker->in[0], DEADLINE_NEVER);
    worker->step = 1;
    message_wait(0, DEADLINE_NEVER);
}

static void read_value(struct worker *worker)
{
    worker->out[0] = *(volatile uint64_t *)worker->in[0];
}

/* in[0]: endpoint, in[1]: base of a window of four pages, of which the third is sent. */
static void receive_page(struct worker *worker)
{
    window_open(SPACE_HOST, worker->in[1], 4);
    EXPECT_OK(message_wait(worker->in[0], DEADLINE_NEVER).status);
    worker->out[0] = *(volatile uint64_t *)(worker->in[1] + 0x2000);
}

static void check_values(struct worker *worker)
{
    for (;;) {
        uint64_t value = *(volatile uint64_t *)worker->in[0];
        if (value >> 1 != 0x600d0000 >> 1)
            worker->out[0]++;
        worker->step++;
    }
}

TEST_SMP(smp_threads_are_pinned, "a thread runs on the CPU of its scheduling context")
{
    for (unsigned cpu = 0; cpu < 2; cpu++) {
        struct worker *worker = worker_go(NULL, cpu, PRIORITY_LOW, which_cpu, 0);
        worker_join(worker);
        EXPECT(worker->out[0], cpu);
        EXPECT(sys_inspect(INSPECT_THREAD, worker->thread.thread, 0, 0).w[3], cpu);
    }
}

TEST_SMP(smp_both_run_at_once, "threads on two CPUs run at the same time")
{
    struct worker *worker = worker_go(NULL, 1, PRIORITY_LOW, spin, 0);
    worker_await_step(worker, 1);
    uint64_t step = worker->step, limit = far_deadline();
    while (worker->step < step + 1000 && ticks() < limit)
        ; /* this CPU is never given up */
    CHECK(worker->step >= step + 1000);
}

TEST_SMP(smp_send_across, "a send from another CPU reaches the waiting thread")
{
    cap_slot_t endpoint = endpoint_new(0);
    for (uint64_t i = 1; i <= 20; i++) {
        struct worker *worker = worker_new(NULL, 1, PRIORITY_LOW, send_once);
        worker->in[0] = endpoint;
        worker->in[1] = TAG(i, 1, 0);
        worker->in[3] = i * i;
        worker_start(worker);
        struct message m = message_wait(endpoint, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(TAG_LABEL(m.tag), i);
        EXPECT(m.w[0], i * i);
        worker_join(worker);
        EXPECT_OK(worker->message.status);
    }
}

TEST_SMP(smp_call_across, "two hundred calls to a server on the other CPU are answered")
{
    cap_slot_t endpoint = endpoint_new(1);
    struct worker *server = worker_go(NULL, 1, PRIORITY_LOW, echo_server, endpoint);
    for (uint64_t i = 1; i <= 200; i++) {
        const uint64_t w[4] = {i, 0, 0, 0};
        struct message m = message_call(endpoint, TAG(i, 4, 0), w, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(TAG_LABEL(m.tag), i + 1);
        EXPECT(m.w[0], i + 1);
    }
    EXPECT(server->step, 200);
}

TEST_SMP(smp_call_across_tasks,
         "a task on one CPU serves a task on the other, with badges and long messages")
{
    struct child_task client, server_task;
    task_new(&client);
    task_new(&server_task);
    cap_slot_t endpoint = endpoint_new(1);
    task_give(&server_task, endpoint, RIGHT_RECEIVE, 0);
    task_give(&client, endpoint, RIGHT_SEND, 808);
    struct worker *server = worker_go(&server_task, 1, PRIORITY_LOW, echo_server, endpoint);
    for (unsigned words = 0; words <= 63; words += 9) {
        struct worker *caller = worker_new(&client, 0, PRIORITY_LOW, call_once);
        caller->in[0] = endpoint;
        caller->in[1] = TAG(1, words, 0);
        worker_start(caller);
        worker_join(caller);
        EXPECT_OK(caller->message.status);
        EXPECT(server->message.badge, 808);
        EXPECT(TAG_WORDS(server->message.tag), words);
    }
}

TEST_SMP(smp_callers_from_both, "a server is called from both CPUs at once, and no call is lost")
{
    cap_slot_t endpoint = endpoint_new(1);
    struct worker *server = worker_go(NULL, 1, PRIORITY_HIGH, echo_server, endpoint);
    struct worker *callers[4];
    for (unsigned i = 0; i < 4; i++) {
        callers[i] = worker_new(NULL, i & 1, PRIORITY_LOW, call_many);
        callers[i]->in[0] = endpoint;
        callers[i]->in[1] = 100;
    }
    for (unsigned i = 0; i < 4; i++)
        worker_start(callers[i]);
    for (unsigned i = 0; i < 4; i++) {
        worker_join(callers[i]);
        EXPECT(callers[i]->step, 100);
    }
    EXPECT(server->step, 400);
}

TEST_SMP(smp_wait_wrong_cpu, "waiting on an endpoint or notification of another CPU says WRONG_CPU")
{
    EXPECT_STATUS(message_wait(endpoint_new(1), DEADLINE_POLL).status, STATUS_WRONG_CPU);
    EXPECT_STATUS(message_wait(notification_new(1), DEADLINE_POLL).status, STATUS_WRONG_CPU);
    EXPECT_STATUS(message_reply_wait(endpoint_new(1), 0, NULL, DEADLINE_POLL).status,
                  STATUS_WRONG_CPU);
}

static void send_saved_reply(struct worker *worker)
{
    worker->out[0] = message_send(worker->in[0], TAG(1, 0, 0), NULL, far_deadline());
}

TEST_SMP(smp_saved_reply_elsewhere, "a reply saved on one CPU cannot be used on another: WRONG_CPU")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new();
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    EXPECT_OK(sys_control(0, CONTROL_THREAD_SAVE_REPLY, slot, 0, 0, 0).status);
    struct worker *other = worker_go(NULL, 1, PRIORITY_LOW, send_saved_reply, slot);
    worker_join(other);
    EXPECT_STATUS(other->out[0], STATUS_WRONG_CPU);
    EXPECT_OK(message_send(slot, 0, NULL, DEADLINE_POLL));
    worker_join(caller);
}

TEST_SMP(smp_saved_reply_to_other_cpu, "a saved reply answers a caller on the other CPU")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new();
    struct worker *caller = worker_go(NULL, 1, PRIORITY_LOW, call_once, endpoint);
    EXPECT_OK(message_wait(endpoint, far_deadline()).status);
    EXPECT_OK(sys_control(0, CONTROL_THREAD_SAVE_REPLY, slot, 0, 0, 0).status);
    EXPECT_OK(message_send(slot, TAG(44, 0, 0), NULL, DEADLINE_POLL));
    worker_join(caller);
    EXPECT(TAG_LABEL(caller->message.tag), 44);
}

TEST_SMP(smp_poll_across, "a poll of an endpoint of the other CPU finds a receiver, or times out")
{
    cap_slot_t endpoint = endpoint_new(1);
    EXPECT_STATUS(message_send(endpoint, 0, NULL, DEADLINE_POLL), STATUS_TIMEOUT);
    EXPECT_STATUS(message_call(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_TIMEOUT);
    struct worker *worker = worker_go(NULL, 1, PRIORITY_LOW, wait_once, endpoint);
    thread_await_state(worker->thread.thread, THREAD_RECEIVING);
    EXPECT_OK(message_send(endpoint, TAG(3, 0, 0), NULL, DEADLINE_POLL));
    worker_join(worker);
}

TEST_SMP(smp_call_times_out,
         "a call across CPUs times out in the queue and in service, not before its time")
{
    cap_slot_t endpoint = endpoint_new(1);
    uint64_t deadline = ticks() + 4 * A_WHILE;
    EXPECT_STATUS(message_call(endpoint, 0, NULL, deadline).status, STATUS_TIMEOUT);
    CHECK(ticks() >= deadline);
    struct worker *server = worker_go(NULL, 1, PRIORITY_LOW, wait_once, endpoint);
    thread_await_state(server->thread.thread, THREAD_RECEIVING);
    deadline = ticks() + 4 * A_WHILE;
    EXPECT_STATUS(message_call(endpoint, 0, NULL, deadline).status, STATUS_TIMEOUT);
    CHECK(ticks() >= deadline);
    EXPECT(server->step, 1);
}

TEST_SMP(smp_notification_across,
         "bits raised on one CPU wake the waiter on the other; none is lost")
{
    cap_slot_t notification = notification_new(1);
    struct worker *worker = worker_go(NULL, 1, PRIORITY_LOW, collect_bits, notification);
    for (unsigned i = 0; i < 63; i++) {
        EXPECT_OK(notification_signal(notification, 1ull << i));
        spin_ticks(i * 100);
    }
    EXPECT_OK(notification_signal(notification, 1ull << 63));
    worker_join(worker);
    EXPECT(worker->out[0], UINT64_MAX);
}

TEST_SMP(smp_notification_ping_pong, "two threads wake each other across CPUs two hundred times")
{
    cap_slot_t mine = notification_new(0), theirs = notification_new(1);
    struct worker *worker = worker_new(NULL, 1, PRIORITY_LOW, ping_pong);
    worker->in[0] = theirs;
    worker->in[1] = mine;
    worker_start(worker);
    for (unsigned i = 0; i < 200; i++) {
        EXPECT_OK(notification_signal(theirs, 1));
        EXPECT_OK(message_wait(mine, far_deadline()).status);
    }
    EXPECT(worker->step, 200);
}

TEST_SMP(smp_bound_notification_across, "a bound notification is raised from the other CPU")
{
    cap_slot_t notification = notification_new(1);
    struct worker *worker = worker_new(NULL, 1, PRIORITY_LOW, wait_once);
    EXPECT_OK(
        sys_control(worker->thread.thread, CONTROL_THREAD_BIND_NOTIFICATION, notification, 0, 0, 0)
            .status);
    worker_start(worker);
    thread_await_state(worker->thread.thread, THREAD_RECEIVING);
    EXPECT_OK(notification_signal(notification, 0x10));
    worker_join(worker);
    EXPECT(worker->message.w[0], 0x10);
}

TEST_SMP(smp_stop_and_resume,
         "a thread that runs on another CPU is stopped, read, written and resumed")
{
    struct worker *worker = worker_go(NULL, 1, PRIORITY_LOW, spin, 0);
    worker_await_step(worker, 1);
    for (unsigned i = 0; i < 20; i++) {
        EXPECT_OK(sys_control(worker->thread.thread, CONTROL_THREAD_STOP, 0, 0, 0, 0).status);
        uint64_t step = worker->step;
        EXPECT_OK(
            sys_control(worker->thread.thread, CONTROL_THREAD_READ_REGISTERS, 0, 0, 0, 0).status);
        EXPECT_BETWEEN(thread_buffer()->registers.rip, (uint64_t)spin, (uint64_t)spin + 64);
        spin_ticks(10000);
        EXPECT(worker->step, step);
        EXPECT_OK(
            sys_control(worker->thread.thread, CONTROL_THREAD_WRITE_REGISTERS, 0, 0, 0, 0).status);
        EXPECT_OK(sys_control(worker->thread.thread, CONTROL_THREAD_RESUME, 0, 0, 0, 0).status);
        worker_await_step(worker, step + 1);
    }
}

TEST_SMP(smp_destroy_running, "a thread that runs on another CPU is destroyed: it runs no more")
{
    for (unsigned i = 0; i < 10; i++) {
        struct child_task task;
        task_new(&task);
        struct worker *worker = worker_go(&task, 1, PRIORITY_LOW, spin, 0);
        worker_await_step(worker, 1);
        slot_clear(worker->thread.thread);
        uint64_t step = worker->step;
        spin_ticks(20000);
        EXPECT(worker->step, step);
        child_destroy(&task);
    }
}

TEST_SMP(smp_destroy_task_running, "a task whose threads run on both CPUs is destroyed whole")
{
    for (unsigned i = 0; i < 10; i++) {
        struct child_task task;
        task_new(&task);
        struct worker *far = worker_go(&task, 1, PRIORITY_LOW, spin, 0);
        struct worker *near = worker_go(&task, 0, PRIORITY_LOW, spin, 0);
        worker_await_step(far, 1);
        worker_await_step(near, 1);
        child_destroy(&task);
        uint64_t far_step = far->step, near_step = near->step;
        sleep_ticks(20000);
        EXPECT(far->step, far_step);
        EXPECT(near->step, near_step);
    }
}

TEST_SMP(smp_destroy_in_ipc,
         "threads blocked in messages across CPUs are destroyed, and their peers told")
{
    cap_slot_t endpoint = endpoint_new(1);
    struct worker *sender = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    slot_clear(sender->thread.thread);
    struct worker *server = worker_go(NULL, 1, PRIORITY_LOW, serve_and_hang, endpoint);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    worker_await_step(server, 1);
    slot_clear(server->thread.thread);
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_PEER_GONE);
    server = worker_go(NULL, 1, PRIORITY_LOW, serve_and_hang, endpoint);
    caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    worker_await_step(server, 1);
    slot_clear(caller->thread.thread);
    caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    slot_clear(endpoint);
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_PEER_GONE);
}

TEST_SMP(smp_fault_across, "a fault on one CPU is served by a pager on the other")
{
    cap_slot_t endpoint = endpoint_new(0);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t address = addresses_new(1, 1), physical;
        uint64_t *page = pages_new(1, 1, &physical);
        *page = i + 1;
        struct worker *worker = worker_new(NULL, 1, PRIORITY_LOW, read_value);
        worker->in[0] = address;
        worker_watch(worker, endpoint);
        worker_start(worker);
        struct message m = message_wait(endpoint, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(m.w[0], address);
        thread_buffer()->items[0] =
            item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, address, 1, MAP_READ);
        EXPECT_STATUS(message_reply_wait(endpoint, TAG(0, 0, 1), NULL, DEADLINE_POLL).status,
                      STATUS_TIMEOUT);
        worker_join(worker);
        EXPECT(worker->out[0], i + 1);
    }
}

TEST_SMP(smp_items_across, "a page is mapped by a message to the other CPU")
{
    cap_slot_t endpoint = endpoint_new(1);
    uint64_t physical, base = addresses_new(4, 1);
    uint64_t *page = pages_new(1, 1, &physical);
    *page = 0xabcdef;
    struct worker *worker = worker_new(NULL, 1, PRIORITY_LOW, receive_page);
    worker->in[0] = endpoint;
    worker->in[1] = base;
    worker_start(worker);
    thread_buffer()->items[0] =
        item_memory(SPACE_PHYSICAL, physical, SPACE_HOST, 0x2000, 1, MAP_READ);
    EXPECT_OK(message_send(endpoint, TAG(0, 0, 1), NULL, far_deadline()));
    worker_join(worker);
    EXPECT(worker->out[0], 0xabcdef);
}

TEST_SMP(smp_sched_set_across, "the context of a thread on another CPU is changed from here")
{
    struct worker *first = worker_go(NULL, 1, PRIORITY_LOW, spin, 0);
    worker_await_step(first, 1);
    struct worker *second = worker_go(NULL, 1, PRIORITY_LOW - 1, spin, 0);
    spin_ticks(A_WHILE);
    EXPECT(second->step, 0);
    EXPECT_OK(sys_schedule(second->sched, SCHEDULE_SET, PRIORITY_LOW + 1, 0));
    worker_await_step(second, 1);
}

TEST_SMP(smp_map_unmap_race,
         "one CPU maps and takes back while the other faults and is served: no wrong value")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint64_t address = addresses_new(1, 1), physical[2];
    for (unsigned i = 0; i < 2; i++)
        *(uint64_t *)pages_new(1, 1, &physical[i]) = 0x600d0000 + i;
    struct worker *worker = worker_new(NULL, 1, PRIORITY_LOW, check_values);
    worker->in[0] = address;
    worker_watch(worker, endpoint);
    worker_start(worker);
    EXPECT_OK(message_wait(endpoint, far_deadline()).status);
    for (unsigned i = 0; i < 100; i++) {
        thread_buffer()->items[0] =
            item_memory(SPACE_PHYSICAL, physical[i & 1], SPACE_HOST, address, 1, MAP_READ);
        message_reply_wait(endpoint, TAG(0, 0, 1), NULL, DEADLINE_POLL);
        uint64_t step = worker->step;
        worker_await_step(worker, step + 1);
        EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, address, 1));
        EXPECT_OK(message_wait(endpoint, far_deadline()).status);
    }
    EXPECT(worker->out[0], 0);
}
