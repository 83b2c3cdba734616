/*
 * What the fast path of ipc passes, and what it refuses. Threads of the first task never take it: that task
 * has ports, whose map is in the way. So each test has a client and a server in tasks of their own, and sees
 * by the kernel's counter that most of the calls did go the short way. They come before the tests of thread.c
 * that set an FS base, because from then on a CPU's switches are all by the long one.
 */
#include "kit.h"

#define CALLS 24u

static const uint64_t sent[4] = {0x1111222233334444, 0xaaaabbbbccccdddd, 1ull << 63, UINT64_MAX};

/* in[0]: endpoint, in[1]: the badge that all calls shall have, in[2]: their tag; in[3]: bits of answers' tags that
 * the kernel shall clear. out[0]: how many were not as they should be. */
static void checking_server(struct worker *worker)
{
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    for (;;) {
        const uint64_t answer[4] = {~m.w[3], ~m.w[2], ~m.w[1], ~m.w[0]};
        worker->out[0] +=
            m.status != STATUS_OK || m.badge != worker->in[1] || m.tag != worker->in[2];
        for (unsigned i = 0; i < 4; i++)
            worker->out[0] += m.w[i] != sent[i];
        m = message_reply_wait(worker->in[0], (m.tag ^ 1ull << TAG_LABEL_SHIFT) | worker->in[3],
                               answer, DEADLINE_NEVER);
    }
}

/* in[0]: endpoint, in[2]: the tag, in[3]: bits of it that the kernel shall clear. out[0]: how many replies were
 * not as they should be. */
static void checking_client(struct worker *worker)
{
    for (unsigned call = 0; call < CALLS; call++) {
        struct message m =
            message_call(worker->in[0], worker->in[2] | worker->in[3], sent, DEADLINE_NEVER);
        worker->out[0] +=
            m.status != STATUS_OK || m.badge || m.tag != (worker->in[2] ^ 1ull << TAG_LABEL_SHIFT);
        for (unsigned i = 0; i < 4; i++)
            worker->out[0] += m.w[i] != ~sent[3 - i];
    }
    worker->step = 1;
}

struct pair {
    struct child_task client_task, server_task;
    struct worker *client, *server;
    cap_slot_t endpoint;
};

static void pair_begin(struct pair *pair, unsigned server_rights, uint64_t server_badge,
                       uint64_t badge, void (*client)(struct worker *worker),
                       void (*server)(struct worker *worker))
{
    task_new(&pair->client_task);
    task_new(&pair->server_task);
    pair->endpoint = endpoint_new(0);
    task_give(&pair->server_task, pair->endpoint, server_rights, server_badge);
    task_give(&pair->client_task, pair->endpoint, RIGHT_SEND, badge);
    pair->server = worker_new(&pair->server_task, 0, PRIORITY_HIGH, server);
    pair->client = worker_new(&pair->client_task, 0, PRIORITY_HIGH, client);
    pair->server->in[0] = pair->client->in[0] = pair->endpoint;
    pair->server->in[1] = badge;
}

/* Runs them with a tag: nothing is wrong, and at most a quarter of it took the general path. */
static void expect_direct(uint64_t badge, uint64_t tag, uint64_t forged)
{
    struct pair pair;
    pair_begin(&pair, RIGHT_RECEIVE, 0x5e12, badge, checking_client, checking_server);
    pair.server->in[2] = pair.client->in[2] = tag;
    pair.server->in[3] = pair.client->in[3] = forged;
    worker_start(pair.server);
    uint64_t slow = counter(0, COUNTER_ipc_slow);
    worker_start(pair.client);
    worker_join(pair.client);
    CHECK(counter(0, COUNTER_ipc_slow) - slow < 2 * CALLS / 4);
    EXPECT(pair.client->out[0], 0);
    EXPECT(pair.server->out[0], 0);
}

TEST(ipc_fast_registers,
     "calls and replies by the fast path pass label, words and the caller's badge")
{
    for (uint64_t words = 0; words <= 4; words++)
        expect_direct(words << 62 | words, TAG(0xfedcba90, words, 0), 0);
}

TEST(ipc_fast_longer, "longer messages on the fast path do so too")
{
    for (uint64_t words = 5; words <= MESSAGE_WORDS_MAX; words += 29)
        expect_direct(UINT64_MAX - words, TAG(0x89abcde0, words, 0), 0);
}

TEST(ipc_fast_origin, "nor do calls and replies by the fast path pass for faults or notifications")
{
    for (uint64_t origin = TAG_ORIGIN_MASK; origin; origin /= 8)
        expect_direct(origin, TAG(origin, 4, 0), origin << TAG_ORIGIN_SHIFT);
}

/* in[0]: endpoint. Answers its only call with a capability that cannot receive (in[3]), and then by a copy
 * that can; out[0] and out[1] are the statuses, out[2] that of a second answer. */
static void one_answer(struct worker *worker)
{
    static const uint64_t w[4];
    message_wait(worker->in[0], DEADLINE_NEVER);
    for (unsigned call = 1; call < CALLS / 2; call++)
        message_reply_wait(worker->in[0], TAG(1, 0, 0), w, DEADLINE_NEVER);
    worker->out[0] = message_reply_wait(worker->in[3], TAG(2, 0, 0), w, DEADLINE_NEVER).status;
    worker->out[1] = message_reply_wait(worker->in[0], TAG(3, 0, 0), w, DEADLINE_NEVER).status;
    worker->out[2] = message_reply_wait(worker->in[0], TAG(4, 0, 0), w, DEADLINE_POLL).status;
    worker->step = 1;
}

/* in[0]: endpoint. CALLS / 2 calls, then a send. out[0]: the last call's label. */
static void last_call(struct worker *worker)
{
    for (unsigned call = 0; call < CALLS / 2; call++)
        worker->out[0] =
            TAG_LABEL(message_call(worker->in[0], TAG(9, 0, 0), sent, DEADLINE_NEVER).tag);
    message_send(worker->in[0], 0, sent, DEADLINE_NEVER);
}

TEST(ipc_fast_reply_refused,
     "reply_wait by a capability without RIGHT_RECEIVE does nothing, on the fast path too")
{
    struct pair pair;
    pair_begin(&pair, RIGHT_RECEIVE, 0, 7, last_call, one_answer);
    pair.server->in[3] = capability_copy(pair.endpoint, RIGHT_SEND, 0);
    task_give(&pair.server_task, pair.server->in[3], RIGHT_SEND, 0);
    worker_start(pair.server);
    uint64_t slow = counter(0, COUNTER_ipc_slow);
    worker_start(pair.client);
    worker_join(pair.server);
    CHECK(counter(0, COUNTER_ipc_slow) - slow < CALLS / 2);
    EXPECT_STATUS(pair.server->out[0], STATUS_BAD_RIGHTS);
    EXPECT_OK(pair.server->out[1]);
    EXPECT_STATUS(pair.server->out[2], STATUS_CALLER_GONE);
    EXPECT(pair.client->out[0], 3);
}

/* in[0]: endpoint, in[3]: a capability that cannot send. Calls by the one and the other; out[0]: how often
 * the other was not refused. */
static void unable_client(struct worker *worker)
{
    for (unsigned call = 0; call < CALLS; call++) {
        message_call(worker->in[0], worker->in[2], sent, DEADLINE_NEVER);
        worker->out[0] += message_call(worker->in[3], worker->in[2], sent, DEADLINE_NEVER).status !=
                          STATUS_BAD_RIGHTS;
    }
}

TEST(ipc_fast_call_refused,
     "a call by a capability without RIGHT_SEND is refused while the server waits")
{
    struct pair pair;
    pair_begin(&pair, RIGHT_RECEIVE, 0, 7, unable_client, checking_server);
    pair.server->in[2] = pair.client->in[2] = TAG(8, 4, 0);
    pair.client->in[3] = capability_copy(pair.endpoint, RIGHT_RECEIVE, 0);
    task_give(&pair.client_task, pair.client->in[3], RIGHT_RECEIVE, 0);
    worker_start(pair.server);
    worker_start(pair.client);
    worker_join(pair.client);
    EXPECT(pair.client->out[0], 0);
    EXPECT(pair.server->out[0], 0);
}

/* in[0]: endpoint, in[3]: its bound notification. Raises bits before each answer; out[0]: how often they did
 * not end its reply_wait. */
static void bound_server(struct worker *worker)
{
    static const uint64_t w[4];
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    for (uint64_t call = 1;; call++) {
        notification_signal(worker->in[3], call);
        m = message_reply_wait(worker->in[0], m.tag, w, DEADLINE_NEVER);
        worker->out[0] += TAG_ORIGIN(m.tag) != ORIGIN_NOTIFICATION || m.w[0] != call;
        m = message_wait(worker->in[0], DEADLINE_NEVER);
    }
}

/* in[0]: endpoint. CALLS calls; step is how many were answered. */
static void plain_client(struct worker *worker)
{
    while (worker->step < CALLS) {
        message_call(worker->in[0], TAG(1, 0, 0), sent, far_deadline());
        worker->step++;
    }
}

TEST(ipc_fast_bound, "bits that came before an answer end reply_wait: the fast path sees them")
{
    struct pair pair;
    cap_slot_t notification = notification_new(0);
    pair_begin(&pair, RIGHT_RECEIVE, 0, 7, plain_client, bound_server);
    pair.server->in[3] = notification;
    task_give(&pair.server_task, notification, RIGHT_SEND, 0);
    EXPECT_OK(sys_control(pair.server->thread.thread, CONTROL_THREAD_BIND_NOTIFICATION,
                          notification, 0, 0, 0)
                  .status);
    worker_start(pair.server);
    worker_start(pair.client);
    worker_join(pair.client);
    EXPECT(pair.server->out[0], 0);
}

/* in[0]: endpoint, in[3]: notification with bits, in[4]: itself. Binds it before its answer; out[0] is what
 * ended the reply_wait. */
static void binding_server(struct worker *worker)
{
    static const uint64_t w[4];
    message_wait(worker->in[0], DEADLINE_NEVER);
    for (unsigned call = 1; call < CALLS; call++)
        message_reply_wait(worker->in[0], TAG(1, 0, 0), w, DEADLINE_NEVER);
    sys_control(worker->in[4], CONTROL_THREAD_BIND_NOTIFICATION, worker->in[3], 0, 0, 0);
    worker->out[0] =
        TAG_ORIGIN(message_reply_wait(worker->in[0], TAG(1, 0, 0), w, far_deadline()).tag);
    worker->step = 1;
}

TEST(ipc_fast_bound_late, "so do bits that the notification had when it was bound")
{
    struct pair pair;
    cap_slot_t notification = notification_new(0);
    pair_begin(&pair, RIGHT_RECEIVE, 0, 7, plain_client, binding_server);
    pair.server->in[3] = notification;
    pair.server->in[4] = capability_copy(pair.server->thread.thread, RIGHT_CONTROL, 0);
    task_give(&pair.server_task, notification, RIGHT_RECEIVE, 0);
    task_give(&pair.server_task, pair.server->in[4], RIGHT_CONTROL, 0);
    EXPECT_OK(notification_signal(notification, 1));
    worker_start(pair.server);
    worker_start(pair.client);
    worker_join(pair.client);
    worker_join(pair.server);
    EXPECT(pair.server->out[0], ORIGIN_NOTIFICATION);
}

enum { LABEL_SLEEP = 9, LABEL_RAISE = 10 };

/* in[0]: endpoint, in[3]: its bound notification. Answers nobody; step counts what came, `message` is the last. */
static void waiting_server(struct worker *worker)
{
    for (;;) {
        worker->message = message_wait(worker->in[0], DEADLINE_NEVER);
        worker->step++;
        if (TAG_ORIGIN(worker->message.tag) != ORIGIN_MESSAGE)
            continue;
        if (TAG_LABEL(worker->message.tag) == LABEL_SLEEP)
            message_wait(0, DEADLINE_NEVER); /* for bits alone */
        if (TAG_LABEL(worker->message.tag) == LABEL_RAISE)
            notification_signal(worker->in[3], 6);
    }
}

static struct worker *waiting_server_new(cap_slot_t endpoint, cap_slot_t notification)
{
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, waiting_server, endpoint);
    server->in[3] = notification;
    EXPECT_OK(
        sys_control(server->thread.thread, CONTROL_THREAD_BIND_NOTIFICATION, notification, 0, 0, 0).status);
    EXPECT_OK(notification_signal(notification, 5));
    EXPECT(server->step, 1);
    return server;
}

TEST(ipc_wait_bound, "a thread with a notification waits as others do: bits and messages end it, those that came before too")
{
    cap_slot_t endpoint = endpoint_new(0), notification = notification_new(0);
    struct worker *server = waiting_server_new(endpoint, notification);
    EXPECT(server->message.w[0], 5);
    EXPECT(thread_state(server->thread.thread), THREAD_RECEIVING);
    EXPECT_OK(message_send(endpoint, TAG(LABEL_RAISE, 1, 0), sent, far_deadline()));
    EXPECT(server->step, 3);
    EXPECT(TAG_ORIGIN(server->message.tag), ORIGIN_NOTIFICATION);
    EXPECT(server->message.badge, 0);
    EXPECT(server->message.w[0], 6);
    EXPECT_OK(message_send(endpoint, TAG(LABEL_SLEEP, 1, 0), sent, far_deadline()));
    struct worker *sender = worker_go(NULL, 0, PRIORITY_HIGH, send_once, endpoint);
    EXPECT(thread_state(sender->thread.thread), THREAD_SENDING);
    EXPECT_OK(notification_signal(notification, 1));
    worker_join(sender);
    EXPECT_OK(sender->message.status);
    EXPECT(server->step, 5);
    EXPECT(TAG_ORIGIN(server->message.tag), ORIGIN_MESSAGE);
}

TEST(ipc_wait_bound_forgets, "and its callers are let go when it waits without an answer")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = waiting_server_new(endpoint, notification_new(0));
    EXPECT_STATUS(message_call(endpoint, TAG(1, 1, 0), sent, far_deadline()).status, STATUS_PEER_GONE);
    EXPECT(server->step, 2);
    EXPECT(thread_state(server->thread.thread), THREAD_RECEIVING);
}

/* in[0]: nothing is there. Waits for bits first, as one whose waits are the short ones does. */
static void astray(struct worker *worker)
{
    worker->out[0] = message_wait(0, DEADLINE_NEVER).w[0];
    worker->message = message_wait(worker->in[0], DEADLINE_NEVER);
}

TEST(ipc_wait_bound_nowhere, "nor does its notification make a wait good that is for nothing")
{
    cap_slot_t notification = notification_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, astray);
    worker->in[0] = 1ull << 40;
    EXPECT_OK(sys_control(worker->thread.thread, CONTROL_THREAD_BIND_NOTIFICATION, notification, 0, 0, 0).status);
    worker_start(worker);
    EXPECT_OK(notification_signal(notification, 4));
    worker_join(worker);
    EXPECT(worker->out[0], 4);
    EXPECT_STATUS(worker->message.status, STATUS_BAD_CAPABILITY);
}

/* in[0]: endpoint. Answers calls; what comes with label 99 is a lot of work, and out[0] says when it is done. */
static void working_server(struct worker *worker)
{
    static const uint64_t w[4];
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    for (;;) {
        if (TAG_LABEL(m.tag) == 99) {
            work(10 * A_WHILE);
            worker->out[0] = 1;
            m = message_wait(worker->in[0], DEADLINE_NEVER);
        } else {
            m = message_reply_wait(worker->in[0], TAG(1, 0, 0), w, DEADLINE_NEVER);
        }
    }
}

TEST(ipc_fast_loan_ends, "a server that has answered by the fast path pays for its own work")
{
    struct pair pair;
    pair_begin(&pair, RIGHT_RECEIVE, 0, 7, plain_client, working_server);
    worker_start(pair.server);
    worker_start(pair.client);
    worker_join(pair.client);
    uint64_t before = sys_inspect(INSPECT_SCHED, pair.client->sched, 0, 0).w[0];
    EXPECT_OK(message_send(pair.endpoint, TAG(99, 0, 0), sent, far_deadline()));
    EXPECT(pair.server->out[0], 1);
    CHECK(sys_inspect(INSPECT_SCHED, pair.client->sched, 0, 0).w[0] - before < A_WHILE);
    CHECK(sys_inspect(INSPECT_SCHED, pair.server->sched, 0, 0).w[0] >= 10 * A_WHILE);
}
