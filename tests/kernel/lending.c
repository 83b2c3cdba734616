/*
 * A call lends the caller's scheduling context to the server; a caller that waits lends its
 * priority to those who make it wait; a cycle of calls is refused.
 */
#include "kit.h"

static uint64_t sched_used(cap_slot_t sched)
{
    struct message m = sys_inspect(INSPECT_SCHED, sched, 0, 0);
    EXPECT_OK(m.status);
    return m.w[0];
}

/* in[0]: endpoint, in[1]: turns of work() that each answer takes. */
static void busy_server(struct worker *worker)
{
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    while (m.status == STATUS_OK) {
        worker->step++;
        work(worker->in[1]);
        worker->message = m;
        worker->out[0]++;
        m = message_reply_wait(worker->in[0], m.tag, m.w, DEADLINE_NEVER);
        if (m.status != STATUS_CALLER_GONE)
            continue;
        worker->out[1]++; /* the caller gave up, or it was a send */
        m = message_wait(worker->in[0], DEADLINE_NEVER);
    }
}

static struct worker *busy_server_new(unsigned priority, cap_slot_t endpoint, uint64_t turns)
{
    struct worker *server = worker_new(NULL, 0, priority, busy_server);
    server->in[0] = endpoint;
    server->in[1] = turns + 1;
    worker_start(server);
    thread_await_state(server->thread.thread, THREAD_RECEIVING);
    return server;
}

TEST(lending_charges_the_caller, "the time that a server takes for a call is charged to the caller")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = busy_server_new(PRIORITY_HIGH, endpoint, 10 * A_WHILE);
    struct worker *caller = worker_new(NULL, 0, PRIORITY_HIGH, call_once);
    caller->in[0] = endpoint;
    uint64_t server_before = sched_used(server->sched);
    worker_start(caller);
    worker_join(caller);
    uint64_t server_used = sched_used(server->sched) - server_before;
    CHECK(sched_used(caller->sched) >= 10 * A_WHILE);
    CHECK(server_used < 5 * A_WHILE);
}

TEST(lending_ends_with_reply, "after the reply the server is charged for itself again")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = busy_server_new(PRIORITY_LOW, endpoint, 0);
    EXPECT_OK(message_call(endpoint, 0, NULL, far_deadline()).status);
    uint64_t before = sched_used(server->sched), mine = sched_used(main_sched);
    EXPECT_OK(message_send(endpoint, 0, NULL, far_deadline()));
    server->in[1] = 10 * A_WHILE;
    EXPECT_OK(message_send(endpoint, 0, NULL, far_deadline()));
    while (server->out[0] < 3)
        sleep_ticks(A_WHILE);
    CHECK(sched_used(server->sched) - before >= 9 * A_WHILE);
    (void)mine;
}

static void spin_forever(struct worker *worker)
{
    for (;;)
        worker->step++;
}

TEST(lending_gives_priority,
     "a low server runs at its caller's priority: a middle thread that spins does "
     "not delay the call")
{
    cap_slot_t endpoint = endpoint_new(0);
    busy_server_new(PRIORITY_LOW, endpoint, 1000);
    struct worker *spinner = worker_go(NULL, 0, PRIORITY_MAIN - 5, spin_forever, 0);
    for (unsigned i = 0; i < 20; i++)
        EXPECT_OK(message_call(endpoint, TAG(1, 0, 0), NULL, far_deadline()).status);
    worker_await_step(spinner, 1);
}

TEST(priority_lent_to_busy_server, "a caller that waits for a busy server lends it its priority")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = busy_server_new(PRIORITY_LOW, endpoint, 4 * A_WHILE);
    struct worker *low = worker_go(NULL, 0, PRIORITY_LOW, call_once, endpoint);
    worker_await_step(server, 1);
    struct worker *spinner = worker_go(NULL, 0, PRIORITY_MAIN - 5, spin_forever, 0);
    worker_await_step(spinner, 1); /* the spinner has the CPU now, the server has not */
    EXPECT(low->step, 0);
    EXPECT_OK(message_call(endpoint, TAG(1, 0, 0), NULL, far_deadline()).status);
    EXPECT(server->step, 2);
}

/* in[0]: own endpoint, in[1]: endpoint of the next; calls it for each request. */
static void relay(struct worker *worker)
{
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    while (m.status == STATUS_OK) {
        worker->step++;
        worker->out[0] = message_call(worker->in[1], m.tag, m.w, DEADLINE_NEVER).status;
        m = message_reply_wait(worker->in[0], m.tag, m.w, DEADLINE_NEVER);
    }
}

static struct worker *relay_new(unsigned priority, cap_slot_t own, cap_slot_t next)
{
    struct worker *worker = worker_new(NULL, 0, priority, relay);
    worker->in[0] = own;
    worker->in[1] = next;
    worker_start(worker);
    thread_await_state(worker->thread.thread, THREAD_RECEIVING);
    return worker;
}

TEST(priority_lent_transitively,
     "the priority of a waiting caller reaches the third server of a chain")
{
    cap_slot_t first = endpoint_new(0), second = endpoint_new(0), third = endpoint_new(0);
    struct worker *end = busy_server_new(PRIORITY_LOW, third, 4 * A_WHILE);
    relay_new(PRIORITY_LOW, second, third);
    relay_new(PRIORITY_LOW, first, second);
    worker_go(NULL, 0, PRIORITY_LOW, call_once, first);
    worker_await_step(end, 1);
    worker_go(NULL, 0, PRIORITY_MAIN - 5, spin_forever, 0);
    sleep_ticks(A_WHILE);
    EXPECT(end->out[0], 0); /* the spinner keeps the chain from running */
    EXPECT_OK(message_call(first, TAG(1, 0, 0), NULL, far_deadline()).status);
    EXPECT(end->out[0], 2);
}

TEST(priority_loan_ends, "a server that was lent a priority has its own again when it has answered")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = busy_server_new(PRIORITY_LOW, endpoint, 2 * A_WHILE);
    struct worker *low = worker_go(NULL, 0, PRIORITY_LOW, call_once, endpoint);
    worker_await_step(server, 1);
    EXPECT_OK(message_call(endpoint, TAG(1, 0, 0), NULL, far_deadline()).status);
    worker_join(low);
    /* One more piece of work without a caller: a middle thread must keep it off the CPU. */
    struct worker *spinner = worker_go(NULL, 0, PRIORITY_MAIN - 5, spin_forever, 0);
    EXPECT_OK(message_send(endpoint, TAG(2, 0, 0), NULL, far_deadline()));
    sleep_ticks(8 * A_WHILE);
    EXPECT(server->out[0], 2);
    CHECK(spinner->step > 0);
}

TEST(priority_loan_ends_in_chain, "so has the last of a chain of calls, which was lent it through another server")
{
    cap_slot_t first = endpoint_new(0), last = endpoint_new(0);
    struct worker *end = busy_server_new(PRIORITY_LOW, last, 4 * A_WHILE);
    relay_new(PRIORITY_LOW, first, last);
    struct worker *low = worker_go(NULL, 0, PRIORITY_LOW, call_once, first);
    worker_await_step(end, 1);
    EXPECT_OK(message_call(first, TAG(1, 0, 0), NULL, far_deadline()).status);
    worker_join(low);
    EXPECT(end->out[0], 2);
    struct worker *spinner = worker_go(NULL, 0, PRIORITY_MAIN - 5, spin_forever, 0);
    EXPECT_OK(message_send(last, TAG(2, 0, 0), NULL, far_deadline()));
    sleep_ticks(8 * A_WHILE);
    EXPECT(end->out[0], 2);
    CHECK(spinner->step > 0);
}

/* ---- the early end of a loan ----------------------------------------------------------------- */

TEST(loan_ends_with_timeout, "when the caller times out, the server goes on on its own context")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = busy_server_new(PRIORITY_LOW, endpoint, 20 * A_WHILE);
    uint64_t before = sched_used(server->sched);
    EXPECT_STATUS(message_call(endpoint, 0, NULL, ticks() + 2 * A_WHILE).status, STATUS_TIMEOUT);
    EXPECT(server->out[0], 0);
    while (!server->out[0])
        sleep_ticks(A_WHILE);
    thread_await_state(server->thread.thread, THREAD_RECEIVING);
    EXPECT(server->out[1], 1); /* its reply found nobody */
    CHECK(sched_used(server->sched) - before >= 5 * A_WHILE);
}

static volatile bool may_answer;

/* in[0]: endpoint. Takes one call, and answers it when may_answer says so. */
static void late_server(struct worker *worker)
{
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    while (!may_answer)
        work(1000);
    worker->step = 1;
    message_reply_wait(worker->in[0], m.tag, m.w, DEADLINE_NEVER);
}

/* Waits until the context was charged for A_WHILE more than `before`; returns its use. */
static uint64_t await_use(cap_slot_t sched, uint64_t before)
{
    uint64_t limit = far_deadline(), used;
    while ((used = sched_used(sched)) - before < A_WHILE && ticks() < limit)
        sleep_ticks(A_WHILE);
    CHECK(used - before >= A_WHILE);
    return used;
}

/*
 * A late host makes the caller pay for more than its budget, so nothing is said of how much it pays
 * in all; only that it pays nothing more once the server does, its next period being far away.
 */
TEST(loan_ends_with_budget,
     "a caller that runs dry inside a server blocks nobody: the server goes on")
{
    cap_slot_t endpoint = endpoint_new(0);
    may_answer = false;
    struct worker *server = worker_go(NULL, 0, PRIORITY_LOW, late_server, endpoint);
    thread_await_state(server->thread.thread, THREAD_RECEIVING);
    uint64_t before = sched_used(server->sched);
    struct worker *poor = worker_new_on(NULL, sched_new(0, PRIORITY_HIGH, 2000, 1000000000),
                                        call_once); /* 2 ms each 1,000 s */
    poor->in[0] = endpoint;
    worker_start(poor);
    before = await_use(server->sched, before);
    uint64_t paid = sched_used(poor->sched);
    CHECK(paid >= microseconds(2000));
    await_use(server->sched, before);
    EXPECT(sched_used(poor->sched), paid);
    may_answer = true;
    worker_await_step(server, 1);
}

/* A server that does its work for a caller on that one's context, and has a notification. */
static struct worker *server_on_loan(unsigned own, unsigned lent, cap_slot_t notification,
                                     struct worker **caller)
{
    cap_slot_t endpoint = endpoint_new(0);
    may_answer = false;
    struct worker *server = worker_go(NULL, 0, own, late_server, endpoint);
    thread_await_state(server->thread.thread, THREAD_RECEIVING);
    EXPECT_OK(sys_control(server->thread.thread, CONTROL_THREAD_BIND_NOTIFICATION, notification, 0,
                          0, 0)
                  .status);
    *caller = worker_go(NULL, 0, lent, call_once, endpoint);
    thread_await_state((*caller)->thread.thread, THREAD_CALLING);
    return server;
}

TEST(loan_ends_with_notification,
     "bits for a server that a loan keeps low end the loan: it goes on with its own priority")
{
    cap_slot_t notification = notification_new(0);
    struct worker *caller;
    struct worker *server = server_on_loan(PRIORITY_HIGH, PRIORITY_LOW, notification, &caller);
    may_answer = true;
    spin_ticks(A_WHILE);
    EXPECT(server->step, 0);
    EXPECT_OK(notification_signal(notification, 1));
    EXPECT(server->step, 1);
    worker_join(caller);
    EXPECT_OK(caller->message.status);
}

TEST(loan_stays_with_notification, "bits for a server that a loan does not keep low leave it its loan")
{
    cap_slot_t notification = notification_new(0);
    struct worker *caller;
    struct worker *server = server_on_loan(PRIORITY_LOW, PRIORITY_LOW + 1, notification, &caller);
    uint64_t used = sched_used(server->sched);
    EXPECT_OK(notification_signal(notification, 1));
    sleep_ticks(5 * A_WHILE);
    EXPECT(sched_used(server->sched), used);
    may_answer = true;
    worker_join(caller);
    EXPECT_OK(caller->message.status);
}

TEST(loan_ends_with_death, "when the caller is destroyed, the server goes on on its own context")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = busy_server_new(PRIORITY_LOW, endpoint, 10 * A_WHILE);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_LOW, call_once, endpoint);
    worker_await_step(server, 1);
    slot_clear(caller->thread.thread);
    slot_clear(caller->sched);
    while (!server->out[0])
        sleep_ticks(A_WHILE);
    thread_await_state(server->thread.thread, THREAD_RECEIVING);
    EXPECT(server->out[1], 1);
}

TEST(loan_ends_with_saved_reply, "a server that saves a reply for later works on its own context")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new();
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    EXPECT_OK(sys_control(0, CONTROL_THREAD_SAVE_REPLY, slot, 0, 0, 0).status);
    uint64_t before = sched_used(caller->sched), mine = sched_used(main_sched);
    spin_ticks(5 * A_WHILE);
    CHECK(sched_used(caller->sched) - before < A_WHILE);
    CHECK(sched_used(main_sched) - mine >= 4 * A_WHILE);
    EXPECT_OK(message_send(slot, 0, NULL, DEADLINE_POLL));
    worker_join(caller);
}

TEST(loan_ends_with_next_wait,
     "a server that sleeps holding a request works on its own context after")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    sleep_ticks(A_WHILE);
    uint64_t mine = sched_used(main_sched), before = sched_used(caller->sched);
    spin_ticks(4 * A_WHILE);
    CHECK(sched_used(main_sched) + sched_used(caller->sched) - mine - before >= 3 * A_WHILE);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_TIMEOUT);
    worker_join(caller);
}

/* ---- cycles ---------------------------------------------------------------------------------- */

TEST(deadlock_with_self, "a server that calls its own endpoint gets DEADLOCK")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = relay_new(PRIORITY_HIGH, endpoint, endpoint);
    EXPECT_OK(message_call(endpoint, TAG(1, 0, 0), NULL, far_deadline()).status);
    EXPECT_STATUS(server->out[0], STATUS_DEADLOCK);
}

TEST(deadlock_of_two,
     "two servers that call each other: the call that closes the cycle gets DEADLOCK")
{
    cap_slot_t first = endpoint_new(0), second = endpoint_new(0);
    struct worker *a = relay_new(PRIORITY_HIGH, first, second);
    struct worker *b = relay_new(PRIORITY_HIGH, second, first);
    EXPECT_OK(message_call(first, TAG(1, 0, 0), NULL, far_deadline()).status);
    EXPECT_STATUS(b->out[0], STATUS_DEADLOCK);
    EXPECT_OK(a->out[0]);
}

TEST(deadlock_of_three, "a cycle over three servers gets DEADLOCK")
{
    cap_slot_t endpoints[3] = {endpoint_new(0), endpoint_new(0), endpoint_new(0)};
    struct worker *relays[3];
    for (unsigned i = 0; i < 3; i++)
        relays[i] = relay_new(PRIORITY_LOW + i, endpoints[i], endpoints[(i + 1) % 3]);
    EXPECT_OK(message_call(endpoints[0], TAG(1, 0, 0), NULL, far_deadline()).status);
    EXPECT_STATUS(relays[2]->out[0], STATUS_DEADLOCK);
    EXPECT_OK(relays[0]->out[0]);
    EXPECT_OK(relays[1]->out[0]);
}

TEST(deadlock_not_for_polls, "a poll on a busy server is a timeout, not a deadlock")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = busy_server_new(PRIORITY_LOW, endpoint, 4 * A_WHILE);
    worker_go(NULL, 0, PRIORITY_LOW, call_once, endpoint);
    worker_await_step(server, 1);
    EXPECT_STATUS(message_call(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_TIMEOUT);
}
