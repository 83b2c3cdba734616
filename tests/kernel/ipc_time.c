/* Deadlines: every wait ends at its own, not before; polls never wait. */
#include "kit.h"

TEST(ipc_poll_returns_at_once, "with deadline 0 nothing waits: send, wait and call return TIMEOUT")
{
    cap_slot_t endpoint = endpoint_new(0), notification = notification_new(0);
    EXPECT_STATUS(message_send(endpoint, 0, NULL, DEADLINE_POLL), STATUS_TIMEOUT);
    EXPECT_STATUS(message_wait(endpoint, DEADLINE_POLL).status, STATUS_TIMEOUT);
    EXPECT_STATUS(message_call(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_TIMEOUT);
    EXPECT_STATUS(message_wait(notification, DEADLINE_POLL).status, STATUS_TIMEOUT);
    EXPECT_STATUS(message_wait(0, DEADLINE_POLL).status, STATUS_TIMEOUT);
}

TEST(ipc_past_deadline, "a deadline in the past is a poll")
{
    cap_slot_t endpoint = endpoint_new(0);
    EXPECT_STATUS(message_wait(endpoint, 1).status, STATUS_TIMEOUT);
    EXPECT_STATUS(message_wait(endpoint, ticks() - 1).status, STATUS_TIMEOUT);
    EXPECT_STATUS(message_send(endpoint, 0, NULL, ticks() - 1), STATUS_TIMEOUT);
    EXPECT_STATUS(message_call(endpoint, 0, NULL, ticks() - 1).status, STATUS_TIMEOUT);
}

TEST(ipc_poll_takes_what_is_there, "a poll receives a message that waits already")
{
    cap_slot_t endpoint = endpoint_new(0);
    worker_go(NULL, 0, PRIORITY_HIGH, send_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint);
    EXPECT_OK(message_send(endpoint, 0, NULL, DEADLINE_POLL));
}

TEST(ipc_wait_times_out, "a wait with nobody to send ends at its deadline, and not before")
{
    cap_slot_t endpoint = endpoint_new(0);
    for (uint64_t length = 1000; length < 100000000; length *= 10) {
        uint64_t deadline = ticks() + length;
        EXPECT_STATUS(message_wait(endpoint, deadline).status, STATUS_TIMEOUT);
        CHECK(ticks() >= deadline);
    }
}

TEST(ipc_send_times_out, "a send that nobody receives ends at its deadline, and not before")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint64_t deadline = ticks() + A_WHILE;
    EXPECT_STATUS(message_send(endpoint, 0, NULL, deadline), STATUS_TIMEOUT);
    CHECK(ticks() >= deadline);
    EXPECT_STATUS(message_wait(endpoint, DEADLINE_POLL).status, STATUS_TIMEOUT);
}

TEST(ipc_call_times_out,
     "a call to an endpoint that nobody serves returns TIMEOUT after its timeout, "
     "and not before")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint64_t deadline = ticks() + A_WHILE;
    EXPECT_STATUS(message_call(endpoint, 0, NULL, deadline).status, STATUS_TIMEOUT);
    CHECK(ticks() >= deadline);
    EXPECT_STATUS(message_wait(endpoint, DEADLINE_POLL).status, STATUS_TIMEOUT);
}

TEST(ipc_sleep_on_nothing,
     "a wait on slot 0 without a bound notification sleeps until the deadline")
{
    uint64_t deadline = ticks() + A_WHILE;
    EXPECT_STATUS(message_wait(0, deadline).status, STATUS_TIMEOUT);
    CHECK(ticks() >= deadline);
}

TEST(ipc_notification_times_out, "a wait on a notification ends at its deadline, and not before")
{
    cap_slot_t notification = notification_new(0);
    uint64_t deadline = ticks() + A_WHILE;
    EXPECT_STATUS(message_wait(notification, deadline).status, STATUS_TIMEOUT);
    CHECK(ticks() >= deadline);
}

/* Receives a call and does not answer it before the notification in[1] is raised. */
static void slow_server(struct worker *worker)
{
    worker->message = message_wait(worker->in[0], DEADLINE_NEVER);
    worker->step = 1;
    message_wait(worker->in[1], DEADLINE_NEVER);
    worker->message = message_reply_wait(worker->in[0], TAG(1, 0, 0), NULL, DEADLINE_POLL);
    worker->step = 2;
}

TEST(ipc_served_call_times_out, "a call that was received but not answered ends at its deadline; "
                                "the late reply says CALLER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = worker_new(NULL, 0, PRIORITY_HIGH, slow_server);
    server->in[0] = endpoint;
    server->in[1] = notification_new(0);
    worker_start(server);
    uint64_t deadline = ticks() + A_WHILE;
    EXPECT_STATUS(message_call(endpoint, 0, NULL, deadline).status, STATUS_TIMEOUT);
    CHECK(ticks() >= deadline);
    EXPECT(server->step, 1);
    EXPECT_OK(notification_signal(server->in[1], 1));
    worker_join(server);
    EXPECT_STATUS(server->message.status, STATUS_CALLER_GONE);
}

TEST(ipc_timed_out_message_is_gone, "a call that timed out in the queue is not received later")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = worker_new(NULL, 0, PRIORITY_HIGH, call_once);
    caller->in[0] = endpoint;
    caller->in[2] = ticks() + A_WHILE;
    worker_start(caller);
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_TIMEOUT);
    EXPECT_STATUS(message_wait(endpoint, DEADLINE_POLL).status, STATUS_TIMEOUT);
}

TEST(ipc_reply_wait_times_out, "reply_wait gives its answer first and then waits for its deadline")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    uint64_t deadline = ticks() + A_WHILE;
    EXPECT_STATUS(message_reply_wait(endpoint, TAG(3, 0, 0), NULL, deadline).status,
                  STATUS_TIMEOUT);
    CHECK(ticks() >= deadline);
    EXPECT(caller->step, 1);
    EXPECT_OK(caller->message.status);
}

static void sleeper(struct worker *worker)
{
    worker->out[0] = message_wait(worker->in[0], worker->in[1]).status;
    worker->out[1] = ticks();
    worker->step = 1;
}

TEST(ipc_deadlines_of_many, "sixteen sleepers wake each at its own deadline, and not before")
{
    static struct worker *sleepers[16];
    uint64_t start = ticks() + 20 * A_WHILE;
    for (uint64_t i = 0; i < 16; i++) {
        sleepers[i] = worker_new(NULL, 0, PRIORITY_HIGH, sleeper);
        sleepers[i]->in[1] = start + (i * 7 % 16) * A_WHILE;
    }
    for (uint64_t i = 0; i < 16; i++)
        worker_start(sleepers[i]);
    for (uint64_t i = 0; i < 16; i++)
        worker_join(sleepers[i]);
    for (uint64_t i = 0; i < 16; i++) {
        EXPECT_STATUS(sleepers[i]->out[0], STATUS_TIMEOUT);
        CHECK(sleepers[i]->out[1] >= sleepers[i]->in[1]);
    }
}

/* in[1]: deadline. Sleeps until then and raises a bit of in[2]. */
static void late_raiser(struct worker *worker)
{
    message_wait(0, worker->in[1]);
    notification_signal(worker->in[2], 1);
    worker->step = 1;
}

TEST(ipc_deadlines_set_the_next,
     "when one sleeper has woken, the timer is set for the next, though nobody sleeps anew")
{
    cap_slot_t notification = notification_new(0);
    uint64_t start = ticks() + 20 * A_WHILE;
    for (unsigned i = 0; i < 4; i++) {
        struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, late_raiser);
        worker->in[1] = start + i * 10 * A_WHILE;
        worker->in[2] = notification;
        worker_start(worker);
    }
    uint64_t limit = far_deadline();
    for (unsigned i = 0; i < 4; i++)
        EXPECT_OK(message_wait(notification, limit).status);
}

TEST(ipc_shorter_deadline_after_longer, "a short wait after a long one that ended early is on time")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, echo_server, endpoint);
    for (unsigned i = 1; i < 20; i++) {
        EXPECT_OK(message_call(endpoint, TAG(i, 0, 0), NULL, far_deadline()).status);
        uint64_t deadline = ticks() + 20000 * i;
        EXPECT_STATUS(message_wait(0, deadline).status, STATUS_TIMEOUT);
        uint64_t now = ticks();
        CHECK(now >= deadline);
    }
    EXPECT(server->step, 19);
}

TEST(ipc_deadline_interrupts_lower_priority,
     "a sleeper of high priority preempts a thread that spins")
{
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, sleeper);
    worker->in[1] = ticks() + 2 * A_WHILE;
    worker_start(worker);
    uint64_t limit = far_deadline();
    while (!worker->step && ticks() < limit)
        ;
    EXPECT(worker->step, 1);
    CHECK(worker->out[1] >= worker->in[1]);
}

TEST(ipc_never_is_never, "a wait without a deadline is still there after all others have passed")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint);
    sleep_ticks(10 * A_WHILE);
    EXPECT(worker->step, 0);
    EXPECT(thread_state(worker->thread.thread), THREAD_RECEIVING);
    EXPECT_OK(message_send(endpoint, 0, NULL, DEADLINE_POLL));
    worker_join(worker);
}

TEST(ipc_largest_finite_deadline, "a deadline just below NEVER is as good as none")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, wait_once);
    worker->in[0] = endpoint;
    worker->in[1] = UINT64_MAX - 1;
    worker_start(worker);
    sleep_ticks(A_WHILE);
    EXPECT(worker->step, 0);
    EXPECT_OK(message_send(endpoint, 0, NULL, DEADLINE_POLL));
    worker_join(worker);
    EXPECT_OK(worker->message.status);
}
