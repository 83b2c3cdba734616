/* The right to reply: implicit, one-shot, kept over nested calls, saved for later, void when its
 * caller is gone. */
#include "kit.h"

static uint64_t save_reply(cap_slot_t slot)
{
    return sys_control(0, CONTROL_THREAD_SAVE_REPLY, slot, 0, 0, 0).status;
}

static uint64_t drop_reply(void)
{
    return sys_control(0, CONTROL_THREAD_DROP_REPLY, 0, 0, 0, 0).status;
}

/* A worker that has called the endpoint and whose call this thread has received. */
static struct worker *received_caller(cap_slot_t endpoint)
{
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    EXPECT(caller->step, 0);
    return caller;
}

TEST(reply_without_caller, "reply_wait without a caller says CALLER_GONE and does not wait")
{
    cap_slot_t endpoint = endpoint_new(0);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, far_deadline()).status, STATUS_CALLER_GONE);
}

TEST(reply_is_one_shot, "a second reply to the same call says CALLER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = received_caller(endpoint);
    EXPECT_STATUS(message_reply_wait(endpoint, TAG(1, 0, 0), NULL, DEADLINE_POLL).status,
                  STATUS_TIMEOUT);
    EXPECT_OK(caller->message.status);
    EXPECT_STATUS(message_reply_wait(endpoint, TAG(2, 0, 0), NULL, DEADLINE_POLL).status,
                  STATUS_CALLER_GONE);
    EXPECT(TAG_LABEL(caller->message.tag), 1);
}

TEST(reply_saved_answers_later,
     "a reply right moved into a slot answers its caller by a send, once")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new();
    struct worker *caller = received_caller(endpoint);
    EXPECT_OK(save_reply(slot));
    EXPECT(sys_inspect(INSPECT_CAPABILITY, slot, 0, 0).w[0], OBJECT_REPLY);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_CALLER_GONE);
    EXPECT(caller->step, 0);
    const uint64_t w[4] = {6, 7, 8, 9};
    EXPECT_OK(message_send(slot, TAG(12, 4, 0), w, DEADLINE_POLL));
    worker_join(caller);
    EXPECT_OK(caller->message.status);
    EXPECT(caller->message.tag, TAG(12, 4, 0));
    EXPECT(caller->message.w[3], 9);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, slot, 0, 0).w[0], OBJECT_NONE);
    EXPECT_STATUS(message_send(slot, 0, NULL, DEADLINE_POLL), STATUS_BAD_CAPABILITY);
}

TEST(reply_saved_out_of_order, "four saved replies are given in any order, each to its own caller")
{
    cap_slot_t endpoint = endpoint_new(0), slots[4];
    struct worker *callers[4];
    for (unsigned i = 0; i < 4; i++) {
        callers[i] = received_caller(endpoint);
        slots[i] = slot_new();
        EXPECT_OK(save_reply(slots[i]));
    }
    static const unsigned order[] = {2, 0, 3, 1};
    for (unsigned i = 0; i < 4; i++) {
        unsigned n = order[i];
        EXPECT(callers[n]->step, 0);
        EXPECT_OK(message_send(slots[n], TAG(100 + n, 0, 0), NULL, DEADLINE_POLL));
        worker_join(callers[n]);
        EXPECT(TAG_LABEL(callers[n]->message.tag), 100 + n);
    }
}

TEST(reply_saved_long_message, "a saved reply carries words of the message buffer")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new();
    struct worker *caller = received_caller(endpoint);
    EXPECT_OK(save_reply(slot));
    thread_buffer()->words[62] = 0xfeed;
    EXPECT_OK(message_send(slot, TAG(1, 63, 0), NULL, DEADLINE_POLL));
    worker_join(caller);
    EXPECT(TAG_WORDS(caller->message.tag), 63);
}

TEST(reply_save_without_caller,
     "saving or dropping a reply right that is not there says CALLER_GONE")
{
    EXPECT_STATUS(save_reply(slot_new()), STATUS_CALLER_GONE);
    EXPECT_STATUS(drop_reply(), STATUS_CALLER_GONE);
}

TEST(reply_save_bad_slot,
     "a reply right is not saved over a capability or out of range, and is kept")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = received_caller(endpoint);
    EXPECT_STATUS(save_reply(endpoint), STATUS_BAD_SLOT);
    EXPECT_STATUS(save_reply(0), STATUS_BAD_SLOT);
    EXPECT_STATUS(save_reply(CAP_SLOTS_MAX), STATUS_BAD_SLOT);
    EXPECT_STATUS(save_reply(UINT32_MAX), STATUS_BAD_SLOT);
    EXPECT_STATUS(message_reply_wait(endpoint, TAG(3, 0, 0), NULL, DEADLINE_POLL).status,
                  STATUS_TIMEOUT);
    EXPECT_OK(caller->message.status);
}

TEST(reply_saved_timeout, "a saved reply whose caller timed out says CALLER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new();
    struct worker *caller = worker_new(NULL, 0, PRIORITY_HIGH, call_once);
    caller->in[0] = endpoint;
    caller->in[2] = ticks() + 20 * A_WHILE;
    worker_start(caller);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    EXPECT_OK(save_reply(slot));
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_TIMEOUT);
    EXPECT_STATUS(message_send(slot, 0, NULL, DEADLINE_POLL), STATUS_CALLER_GONE);
    EXPECT_STATUS(message_send(slot, 0, NULL, DEADLINE_POLL), STATUS_BAD_CAPABILITY);
}

TEST(reply_saved_caller_dies, "a saved reply whose caller was destroyed says CALLER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new();
    struct worker *caller = received_caller(endpoint);
    EXPECT_OK(save_reply(slot));
    slot_clear(caller->thread.thread);
    EXPECT_STATUS(message_send(slot, 0, NULL, DEADLINE_POLL), STATUS_CALLER_GONE);
}

TEST(reply_saved_and_dropped, "emptying the slot of a saved reply ends the call with PEER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new();
    struct worker *caller = received_caller(endpoint);
    EXPECT_OK(save_reply(slot));
    slot_clear(slot);
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_PEER_GONE);
}

TEST(reply_saved_stays_put, "a saved reply cannot be delegated, by map or in a message")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new(), other = slot_new();
    struct worker *caller = received_caller(endpoint);
    EXPECT_OK(save_reply(slot));
    uint64_t status =
        sys_map(BOOT_SLOT_TASK, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHTS_ALL, 0), slot,
                other, 1, 0);
    EXPECT_STATUS(status, STATUS_BAD_CAPABILITY);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, other, 0, 0).w[0], OBJECT_NONE);
    EXPECT_OK(message_send(slot, TAG(1, 0, 0), NULL, DEADLINE_POLL));
    worker_join(caller);
    EXPECT_OK(caller->message.status);
}

TEST(reply_dropped, "dropping the reply right ends the call with PEER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = received_caller(endpoint);
    EXPECT_OK(drop_reply());
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_PEER_GONE);
}

TEST(reply_forgotten, "a server that waits again without answering ends the call with PEER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = received_caller(endpoint);
    EXPECT_STATUS(message_wait(endpoint, DEADLINE_POLL).status, STATUS_TIMEOUT);
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_PEER_GONE);
}

TEST(reply_survives_sleep, "a server may sleep, or wait for a notification, before it answers")
{
    cap_slot_t endpoint = endpoint_new(0), notification = notification_new(0);
    struct worker *caller = received_caller(endpoint);
    sleep_ticks(A_WHILE);
    EXPECT_OK(notification_signal(notification, 1));
    EXPECT_OK(message_wait(notification, DEADLINE_POLL).status);
    EXPECT(caller->step, 0);
    EXPECT_STATUS(message_reply_wait(endpoint, TAG(8, 0, 0), NULL, DEADLINE_POLL).status,
                  STATUS_TIMEOUT);
    EXPECT(TAG_LABEL(caller->message.tag), 8);
}

/* Serves in[0] by asking the server behind in[1]. */
static void middle_server(struct worker *worker)
{
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    while (m.status == STATUS_OK) {
        struct message inner =
            message_call(worker->in[1], TAG(TAG_LABEL(m.tag) * 10, 1, 0), m.w, DEADLINE_NEVER);
        worker->out[0] = inner.status;
        m = message_reply_wait(worker->in[0], TAG(TAG_LABEL(inner.tag) * 10, 1, 0), inner.w,
                               DEADLINE_NEVER);
    }
}

TEST(reply_survives_nested_calls, "a server's right to reply is still there after calls of its own")
{
    cap_slot_t outer = endpoint_new(0), middle = endpoint_new(0), inner = endpoint_new(0);
    worker_go(NULL, 0, PRIORITY_HIGH, echo_server, inner);
    struct worker *second = worker_new(NULL, 0, PRIORITY_HIGH, middle_server);
    second->in[0] = middle;
    second->in[1] = inner;
    worker_start(second);
    struct worker *first = worker_new(NULL, 0, PRIORITY_HIGH, middle_server);
    first->in[0] = outer;
    first->in[1] = middle;
    worker_start(first);
    for (unsigned i = 0; i < 10; i++) {
        const uint64_t w[4] = {i, 0, 0, 0};
        struct message m = message_call(outer, TAG(1, 1, 0), w, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(TAG_LABEL(m.tag), 10100);
        EXPECT(m.w[0], i + 1);
    }
}

TEST(reply_after_caller_died, "a reply to a caller that was destroyed says CALLER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = received_caller(endpoint);
    slot_clear(caller->thread.thread);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_CALLER_GONE);
}

TEST(reply_after_callers_task_died, "a reply into a task that was destroyed says CALLER_GONE")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_SEND, 0);
    worker_go(&task, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    child_destroy(&task);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_CALLER_GONE);
}

TEST(reply_to_stopped_caller,
     "a caller that `control` stops leaves its call: the reply says CALLER_GONE, "
     "and the call INTERRUPTED when it is resumed")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = received_caller(endpoint);
    EXPECT_OK(sys_control(caller->thread.thread, CONTROL_THREAD_STOP, 0, 0, 0, 0).status);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_CALLER_GONE);
    EXPECT(caller->step, 0);
    EXPECT_OK(sys_control(caller->thread.thread, CONTROL_THREAD_RESUME, 0, 0, 0, 0).status);
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_INTERRUPTED);
}

static void receive_and_hang(struct worker *worker)
{
    worker->message = message_wait(worker->in[0], DEADLINE_NEVER);
    worker->step = 1;
    message_wait(0, DEADLINE_NEVER);
}

TEST(call_server_thread_dies, "the death of the serving thread ends the call with PEER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, receive_and_hang, endpoint);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT(server->step, 1);
    EXPECT(caller->step, 0);
    slot_clear(server->thread.thread);
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_PEER_GONE);
}

TEST(call_server_task_dies, "the death of the server's task ends the call with PEER_GONE")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_RECEIVE, 0);
    worker_go(&task, 0, PRIORITY_HIGH, receive_and_hang, endpoint);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    child_destroy(&task);
    worker_join(caller);
    EXPECT_STATUS(caller->message.status, STATUS_PEER_GONE);
}

TEST(call_endpoint_destroyed_queued,
     "the end of an endpoint ends queued sends and calls with PEER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    struct worker *sender = worker_go(NULL, 0, PRIORITY_HIGH, send_once, endpoint);
    slot_clear(endpoint);
    worker_join(caller);
    worker_join(sender);
    EXPECT_STATUS(caller->message.status, STATUS_PEER_GONE);
    EXPECT_STATUS(sender->message.status, STATUS_PEER_GONE);
}

TEST(wait_endpoint_destroyed, "the end of an endpoint ends waits on it with PEER_GONE")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *receiver = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint);
    slot_clear(endpoint);
    worker_join(receiver);
    EXPECT_STATUS(receiver->message.status, STATUS_PEER_GONE);
}

TEST(call_endpoint_destroyed_served,
     "a call that is being served outlives its endpoint: the reply comes")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new();
    struct worker *caller = received_caller(endpoint);
    slot_clear(endpoint);
    EXPECT(caller->step, 0);
    EXPECT_OK(save_reply(slot));
    EXPECT_OK(message_send(slot, TAG(4, 0, 0), NULL, DEADLINE_POLL));
    worker_join(caller);
    EXPECT_OK(caller->message.status);
}
