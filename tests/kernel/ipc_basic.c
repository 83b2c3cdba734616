/* Messages between two threads: the four shapes, what a message carries, who may send and
 * receive. */
#include "kit.h"

static const uint64_t four_words[4] = {0x1111, 0x2222222222222222, 0x3333, UINT64_MAX};

static void expect_words(const struct message *m, const uint64_t w[4])
{
    for (unsigned i = 0; i < 4; i++)
        EXPECT(m->w[i], w[i]);
}

TEST(ipc_send_reaches_waiter, "a send gives its tag and words to the thread that waits")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint);
    EXPECT(thread_state(worker->thread.thread), THREAD_RECEIVING);
    EXPECT_OK(message_send(endpoint, TAG(77, 4, 0), four_words, far_deadline()));
    worker_join(worker);
    EXPECT_OK(worker->message.status);
    EXPECT(worker->message.tag, TAG(77, 4, 0));
    EXPECT(worker->message.badge, 0);
    expect_words(&worker->message, four_words);
}

TEST(ipc_send_waits_for_receiver, "a send blocks until someone receives it")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, send_once, endpoint);
    EXPECT(worker->step, 0);
    EXPECT(thread_state(worker->thread.thread), THREAD_SENDING);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    worker_join(worker);
    EXPECT_OK(worker->message.status);
}

TEST(ipc_send_gives_no_reply_right, "who received a send has no caller to reply to")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, send_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_CALLER_GONE);
    worker_join(worker);
}

TEST(ipc_call_gets_reply, "a call returns with the server's reply")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, echo_server, endpoint);
    struct message m = message_call(endpoint, TAG(5, 4, 0), four_words, far_deadline());
    EXPECT_OK(m.status);
    EXPECT(m.tag, TAG(6, 4, 0));
    EXPECT(m.badge, 0);
    for (unsigned i = 0; i < 4; i++)
        EXPECT(m.w[i], four_words[i] + 1);
    expect_words(&server->message, four_words);
}

TEST(ipc_call_blocks_until_reply, "a caller is in the state CALLING while its call is served")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT(thread_state(caller->thread.thread), THREAD_SENDING);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    EXPECT(thread_state(caller->thread.thread), THREAD_CALLING);
    EXPECT(caller->step, 0);
    EXPECT_STATUS(message_reply_wait(endpoint, TAG(9, 0, 0), NULL, DEADLINE_POLL).status,
                  STATUS_TIMEOUT);
    worker_join(caller);
    EXPECT_OK(caller->message.status);
    EXPECT(TAG_LABEL(caller->message.tag), 9);
}

TEST(ipc_reply_wait_serves_in_turn, "a server in a loop of reply_wait answers one hundred calls")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, echo_server, endpoint);
    for (uint64_t i = 1; i <= 100; i++) {
        const uint64_t w[4] = {i, i * i, ~i, 0};
        struct message m = message_call(endpoint, TAG(i, 3, 0), w, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(TAG_LABEL(m.tag), i + 1);
        EXPECT(m.w[1], i * i + 1);
    }
    EXPECT(server->step, 100);
}

TEST(ipc_call_across_tasks, "a call reaches a server in another task, and its reply comes back")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_RECEIVE, 0);
    struct worker *server = worker_go(&task, 0, PRIORITY_HIGH, echo_server, endpoint);
    for (uint64_t i = 1; i <= 20; i++) {
        struct message m = message_call(endpoint, TAG(i, 4, 0), four_words, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(m.tag, TAG(i + 1, 4, 0));
        EXPECT(m.w[3], 0);
    }
    EXPECT(server->step, 20);
}

TEST(ipc_call_between_two_children, "two tasks that are not the first one call each other")
{
    struct child_task client, server_task;
    task_new(&client);
    task_new(&server_task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&server_task, endpoint, RIGHT_RECEIVE, 0);
    task_give(&client, endpoint, RIGHT_SEND, 4711);
    struct worker *server = worker_go(&server_task, 0, PRIORITY_HIGH, echo_server, endpoint);
    struct worker *caller = worker_new(&client, 0, PRIORITY_HIGH, call_once);
    caller->in[0] = endpoint;
    caller->in[1] = TAG(3, 1, 0);
    caller->in[3] = 41;
    worker_start(caller);
    worker_join(caller);
    EXPECT_OK(caller->message.status);
    EXPECT(caller->message.w[0], 42);
    EXPECT(server->message.badge, 4711);
}

TEST(ipc_low_server_high_client, "a server of lower priority than its client answers all the same")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = worker_go(NULL, 0, PRIORITY_LOW, echo_server, endpoint);
    thread_await_state(server->thread.thread, THREAD_RECEIVING);
    EXPECT_OK(message_call(endpoint, TAG(5, 0, 0), NULL, far_deadline()).status);
}

/* ---- badges ---------------------------------------------------------------------------------- */

TEST(ipc_badge_names_the_sender, "a message bears the badge of the capability it was sent with")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, echo_server, endpoint);
    static const uint64_t badges[] = {1, 0x8000000000000000, UINT64_MAX, 0x123456789abcdef0};
    for (unsigned i = 0; i < 4; i++) {
        cap_slot_t badged = capability_copy(endpoint, RIGHT_SEND, badges[i]);
        EXPECT_OK(message_call(badged, TAG(1, 0, 0), NULL, far_deadline()).status);
        EXPECT(server->message.badge, badges[i]);
        EXPECT_OK(message_send(badged, TAG(1, 9, 0), NULL, far_deadline()));
        EXPECT(server->message.badge, badges[i]);
    }
}

TEST(ipc_badge_passes_to_queued_receiver, "the badge of a queued message is that of its sender")
{
    cap_slot_t endpoint = endpoint_new(0);
    for (uint64_t badge = 1; badge <= 3; badge++)
        worker_go(NULL, 0, PRIORITY_HIGH, send_once,
                  capability_copy(endpoint, RIGHT_SEND, badge * 100));
    for (uint64_t badge = 1; badge <= 3; badge++)
        EXPECT(message_wait(endpoint, DEADLINE_POLL).badge, badge * 100);
}

TEST(ipc_badge_of_reply_is_zero, "a reply bears no badge")
{
    cap_slot_t endpoint = endpoint_new(0);
    worker_go(NULL, 0, PRIORITY_HIGH, echo_server, endpoint);
    cap_slot_t badged = capability_copy(endpoint, RIGHT_SEND, 99);
    EXPECT(message_call(badged, TAG(1, 0, 0), NULL, far_deadline()).badge, 0);
    EXPECT(message_call(badged, TAG(1, 5, 0), NULL, far_deadline()).badge, 0);
}

TEST(ipc_badge_set_only_with_right, "without RIGHT_BADGE a copy keeps the badge of its source")
{
    cap_slot_t endpoint = endpoint_new(0);
    cap_slot_t badged = capability_copy(endpoint, RIGHT_SEND, 55);
    cap_slot_t slot = slot_new();
    uint64_t status =
        sys_map(BOOT_SLOT_TASK, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0), badged,
                slot, 1, 66);
    EXPECT_STATUS(status, STATUS_BAD_RIGHTS);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, slot, 0, 0).w[0], OBJECT_NONE);
    cap_slot_t copy = capability_copy(badged, RIGHT_SEND, 0);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, copy, 0, 0).w[2], 55);
}

/* ---- words and tags -------------------------------------------------------------------------- */

/* Answers with the complements of words 4 and up, and checks that no word beyond the count
 * arrives. */
static void words_server(struct worker *worker)
{
    uint64_t *words = thread_buffer()->words;
    static uint64_t before[64];
    struct message m = {.status = STATUS_OK};
    for (unsigned i = 0; i < 64; i++)
        words[i] = before[i] = 0x5eed + i;
    for (m = message_wait(worker->in[0], DEADLINE_NEVER); m.status == STATUS_OK;) {
        uint64_t sum = 0;
        unsigned count = TAG_WORDS(m.tag);
        for (unsigned i = 4; i < 64; i++) {
            if (i >= count && words[i] != before[i])
                worker->out[0]++;
            if (i < count) {
                sum += words[i];
                words[i] = ~words[i];
            }
            before[i] = words[i];
        }
        const uint64_t w[4] = {~m.w[0], ~m.w[1], ~m.w[2], sum};
        m = message_reply_wait(worker->in[0], m.tag, w, DEADLINE_NEVER);
    }
}

static void exchange_words(cap_slot_t endpoint, unsigned count)
{
    struct message_buffer *buffer = thread_buffer();
    uint64_t sum = 0;
    for (unsigned i = 0; i < 64; i++)
        buffer->words[i] = 0xabc0000 + i;
    for (unsigned i = 4; i < count; i++)
        sum += buffer->words[i];
    struct message m = message_call(endpoint, TAG(count, count, 0), four_words, far_deadline());
    EXPECT_OK(m.status);
    EXPECT(TAG_WORDS(m.tag), count);
    EXPECT(m.w[0], ~four_words[0]);
    EXPECT(m.w[3], sum);
    for (unsigned i = 4; i < 64; i++)
        EXPECT(buffer->words[i], i < count ? ~(0xabc0000ull + i) : 0xabc0000ull + i);
}

TEST(ipc_words_of_every_count, "messages of 0 to 63 words arrive whole, and no word more")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_RECEIVE, 0);
    struct worker *server = worker_go(&task, 0, PRIORITY_HIGH, words_server, endpoint);
    for (unsigned count = MESSAGE_WORDS_MAX + 1; count--;)
        exchange_words(endpoint, count);
    for (unsigned count = 0; count <= MESSAGE_WORDS_MAX; count += 7)
        exchange_words(endpoint, count);
    EXPECT(server->out[0], 0);
}

TEST(ipc_words_beyond_count_stay, "words of the buffer beyond the count do not travel")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, send_once, endpoint);
    worker->in[1] = 0;
    thread_buffer()->words[5] = 0x77;
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    EXPECT(thread_buffer()->words[5], 0x77);
}

TEST(ipc_register_words_always_pass, "the four register words pass whatever the count")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, echo_server, endpoint);
    struct message m = message_call(endpoint, TAG(1, 0, 0), four_words, far_deadline());
    EXPECT(m.w[1], four_words[1] + 1);
    expect_words(&server->message, four_words);
    server = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint_new(0));
    EXPECT_OK(message_send(server->in[0], TAG(1, 0, 0), four_words, DEADLINE_POLL));
    worker_join(server);
    expect_words(&server->message, four_words);
}

TEST(ipc_label_is_32_bits, "all 32 bits of a label pass, by the fast path and by the general one")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, echo_server, endpoint);
    static const uint32_t labels[] = {1, 0x80000000, 0xfffffffe, 0x12345678};
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned words = 0; words < 6; words += 5) {
            struct message m =
                message_call(endpoint, TAG(labels[i], words, 0), NULL, far_deadline());
            EXPECT(TAG_LABEL(m.tag), labels[i] + 1);
            EXPECT(TAG_LABEL(server->message.tag), labels[i]);
        }
    }
}

static void forging_server(struct worker *worker)
{
    struct message m = message_wait(worker->in[0], DEADLINE_NEVER);
    while (m.status == STATUS_OK) {
        worker->message = m;
        m = message_reply_wait(worker->in[0], m.tag | 0xff0000, NULL, DEADLINE_NEVER);
        if (m.status == STATUS_CALLER_GONE) /* it was a send */
            m = message_wait(worker->in[0], DEADLINE_NEVER);
    }
}

TEST(ipc_origin_cannot_be_forged, "the origin bits that a sender or replier sets are cleared")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *server = worker_go(NULL, 0, PRIORITY_HIGH, forging_server, endpoint);
    for (unsigned words = 0; words <= 8; words += 4) {
        struct message m =
            message_call(endpoint, TAG(1, words, 0) | 0xff0000, NULL, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(TAG_ORIGIN(server->message.tag), ORIGIN_MESSAGE);
        EXPECT(TAG_ORIGIN(m.tag), ORIGIN_MESSAGE);
    }
    EXPECT_OK(message_send(endpoint, TAG(2, 0, 0) | 0x20000, NULL, far_deadline()));
    EXPECT(TAG_LABEL(server->message.tag), 2);
    EXPECT(TAG_ORIGIN(server->message.tag), ORIGIN_MESSAGE);
}

TEST(ipc_origin_of_queued_sender, "a queued message's origin bits are cleared too")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, send_once);
    worker->in[0] = endpoint;
    worker->in[1] = TAG(1, 1, 0) | (uint64_t)ORIGIN_PAGE_FAULT << TAG_ORIGIN_SHIFT;
    worker_start(worker);
    struct message m = message_wait(endpoint, DEADLINE_POLL);
    EXPECT(TAG_LABEL(m.tag), 1);
    EXPECT(TAG_ORIGIN(m.tag), ORIGIN_MESSAGE);
}

/* ---- queues ---------------------------------------------------------------------------------- */

TEST(ipc_senders_queue_by_priority,
     "of several senders that wait the one of highest priority is first")
{
    cap_slot_t endpoint = endpoint_new(0);
    static const unsigned priorities[] = {40, 60, 50, 45, 60};
    static const uint64_t order[] = {1, 4, 2, 3, 0};
    for (unsigned i = 0; i < 5; i++) {
        struct worker *worker = worker_new(NULL, 0, priorities[i], send_once);
        worker->in[0] = endpoint;
        worker->in[3] = i;
        worker_start(worker);
    }
    for (unsigned i = 0; i < 5; i++)
        EXPECT(message_wait(endpoint, DEADLINE_POLL).w[0], order[i]);
}

TEST(ipc_equal_senders_in_order, "senders of equal priority are received in the order they came")
{
    cap_slot_t endpoint = endpoint_new(0);
    for (unsigned i = 0; i < 8; i++) {
        struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, send_once);
        worker->in[0] = endpoint;
        worker->in[3] = i;
        worker_start(worker);
    }
    for (unsigned i = 0; i < 8; i++)
        EXPECT(message_wait(endpoint, DEADLINE_POLL).w[0], i);
}

TEST(ipc_several_receivers, "each of three receivers of one endpoint gets one of three messages")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *workers[3];
    for (unsigned i = 0; i < 3; i++)
        workers[i] = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint);
    uint64_t seen = 0;
    for (uint64_t i = 0; i < 3; i++) {
        const uint64_t w[4] = {1ull << i, 0, 0, 0};
        EXPECT_OK(message_send(endpoint, TAG(0, 1, 0), w, DEADLINE_POLL));
    }
    for (unsigned i = 0; i < 3; i++) {
        worker_join(workers[i]);
        seen |= workers[i]->message.w[0];
    }
    EXPECT(seen, 7);
    EXPECT_STATUS(message_send(endpoint, 0, NULL, DEADLINE_POLL), STATUS_TIMEOUT);
}

/* ---- refusals -------------------------------------------------------------------------------- */

TEST(ipc_empty_slot_is_bad,
     "every shape on slot 0, an empty slot or one out of range says BAD_CAPABILITY")
{
    static const uint64_t slots[] = {TEST_SLOTS_END - 1, CAP_SLOTS_MAX, UINT32_MAX,
                                     0x100000000ull + BOOT_SLOT_TASK, UINT64_MAX};
    for (unsigned i = 0; i < 5; i++) {
        EXPECT_STATUS(message_send(slots[i], 0, NULL, 0), STATUS_BAD_CAPABILITY);
        EXPECT_STATUS(message_call(slots[i], 0, NULL, 0).status, STATUS_BAD_CAPABILITY);
        EXPECT_STATUS(message_wait(slots[i], 0).status, STATUS_BAD_CAPABILITY);
        EXPECT_STATUS(message_reply_wait(slots[i], 0, NULL, 0).status, STATUS_BAD_CAPABILITY);
    }
    EXPECT_STATUS(message_send(0, 0, NULL, 0), STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(message_call(0, 0, NULL, 0).status, STATUS_BAD_CAPABILITY);
}

TEST(ipc_wrong_type_is_bad, "a task, a thread or a sched is no target of ipc")
{
    static const cap_slot_t slots[] = {BOOT_SLOT_TASK, BOOT_SLOT_THREAD, BOOT_SLOT_SCHED};
    for (unsigned i = 0; i < 3; i++) {
        EXPECT_STATUS(message_send(slots[i], 0, NULL, 0), STATUS_BAD_CAPABILITY);
        EXPECT_STATUS(message_call(slots[i], 0, NULL, 0).status, STATUS_BAD_CAPABILITY);
        EXPECT_STATUS(message_wait(slots[i], 0).status, STATUS_BAD_CAPABILITY);
    }
    cap_slot_t notification = notification_new(0);
    EXPECT_STATUS(message_call(notification, 0, NULL, 0).status, STATUS_BAD_CAPABILITY);
}

TEST(ipc_needs_rights, "sending needs RIGHT_SEND, waiting needs RIGHT_RECEIVE")
{
    cap_slot_t endpoint = endpoint_new(0), notification = notification_new(0);
    cap_slot_t send_only = capability_copy(endpoint, RIGHT_SEND, 0);
    cap_slot_t receive_only = capability_copy(endpoint, RIGHT_RECEIVE, 0);
    EXPECT_STATUS(message_wait(send_only, 0).status, STATUS_BAD_RIGHTS);
    EXPECT_STATUS(message_send(receive_only, 0, NULL, 0), STATUS_BAD_RIGHTS);
    EXPECT_STATUS(message_call(receive_only, 0, NULL, 0).status, STATUS_BAD_RIGHTS);
    EXPECT_STATUS(message_wait(receive_only, 0).status, STATUS_TIMEOUT);
    EXPECT_STATUS(message_send(send_only, 0, NULL, 0), STATUS_TIMEOUT);
    send_only = capability_copy(notification, RIGHT_SEND, 0);
    receive_only = capability_copy(notification, RIGHT_RECEIVE, 0);
    EXPECT_STATUS(message_wait(send_only, 0).status, STATUS_BAD_RIGHTS);
    EXPECT_STATUS(notification_signal(receive_only, 1), STATUS_BAD_RIGHTS);
}

TEST(ipc_undefined_shape, "a shape beyond the four says BAD_ARGUMENT and does nothing")
{
    cap_slot_t endpoint = endpoint_new(0);
    for (uint64_t shape = IPC_SHAPE_COUNT; shape < 256; shape += 50) {
        EXPECT_STATUS(ipc((enum ipc_shape)shape, endpoint, 0, NULL, 0).status, STATUS_BAD_ARGUMENT);
    }
}

TEST(ipc_undefined_call, "a call number beyond the seven says BAD_ARGUMENT")
{
    for (uint64_t number = SYSCALL_COUNT; number < 256; number += 31)
        EXPECT_STATUS(syscall_raw(number, 0, 0, 0, 0, 0, 0, 0).status, STATUS_BAD_ARGUMENT);
}

TEST(ipc_high_bits_of_rax, "bits 16 and up of rax do not change a call's number or shape")
{
    struct message m = syscall_raw(SYSCALL_inspect | 0xffff0000, INSPECT_NULL, 0, 0, 0, 0, 0, 0);
    CHECK(m.status == STATUS_OK || m.status == STATUS_BAD_ARGUMENT);
    cap_slot_t endpoint = endpoint_new(0);
    m = syscall_raw(IPC_RAX(IPC_CALL) | 1ull << 40, endpoint, 0, 0, 0, 0, 0, DEADLINE_POLL);
    CHECK(m.status == STATUS_TIMEOUT || m.status == STATUS_BAD_ARGUMENT);
}

TEST(ipc_too_many_items,
     "a tag with more than four items says BAD_ARGUMENT, and nothing is received")
{
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint);
    for (uint64_t items = MESSAGE_ITEMS_MAX + 1; items <= TAG_ITEMS_MASK; items++)
        EXPECT_STATUS(message_send(endpoint, TAG(0, 0, items), NULL, far_deadline()),
                      STATUS_BAD_ARGUMENT);
    EXPECT(thread_state(worker->thread.thread), THREAD_RECEIVING);
}
