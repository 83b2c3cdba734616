/* Notifications: words of bits that are raised without waiting; bound ones end the waits of a
 * thread. */
#include "kit.h"

static uint64_t bind(cap_slot_t thread, cap_slot_t notification)
{
    return sys_control(thread, CONTROL_THREAD_BIND_NOTIFICATION, notification, 0, 0, 0).status;
}

static void expect_bits(const struct message *m, uint64_t bits)
{
    EXPECT_OK(m->status);
    EXPECT(TAG_ORIGIN(m->tag), ORIGIN_NOTIFICATION);
    EXPECT(m->badge, 0);
    EXPECT(m->w[0], bits);
}

TEST(notification_wakes_waiter, "raising bits wakes the thread that waits, and it finds the bits")
{
    cap_slot_t notification = notification_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, notification);
    EXPECT(thread_state(worker->thread.thread), THREAD_RECEIVING);
    EXPECT_OK(notification_signal(notification, 0x8000000000000001));
    worker_join(worker);
    expect_bits(&worker->message, 0x8000000000000001);
}

TEST(notification_bits_accumulate, "bits raised one by one are found together, and then cleared")
{
    cap_slot_t notification = notification_new(0);
    for (unsigned i = 0; i < 64; i += 3)
        EXPECT_OK(notification_signal(notification, 1ull << i));
    struct message m = message_wait(notification, DEADLINE_POLL);
    expect_bits(&m, 0x9249249249249249);
    EXPECT_STATUS(message_wait(notification, DEADLINE_POLL).status, STATUS_TIMEOUT);
}

TEST(notification_no_bits, "raising no bits wakes nobody")
{
    cap_slot_t notification = notification_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, notification);
    EXPECT_OK(notification_signal(notification, 0));
    EXPECT(worker->step, 0);
}

TEST(notification_raise_never_blocks, "a thousand raises that nobody waits for all return at once")
{
    cap_slot_t notification = notification_new(0);
    for (unsigned i = 0; i < 1000; i++)
        EXPECT_OK(notification_signal(notification, i));
    struct message m = message_wait(notification, DEADLINE_POLL);
    expect_bits(&m, 1023);
}

TEST(notification_one_of_two_waiters,
     "of two threads that wait each raise wakes one, first come first")
{
    cap_slot_t notification = notification_new(0);
    struct worker *first = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, notification);
    struct worker *second = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, notification);
    EXPECT_OK(notification_signal(notification, 5));
    EXPECT(first->step, 1);
    EXPECT(second->step, 0);
    EXPECT_OK(notification_signal(notification, 6));
    EXPECT(second->step, 1);
    EXPECT(first->message.w[0], 5);
    EXPECT(second->message.w[0], 6);
}

TEST(notification_badge_is_mask, "a badge limits which bits a capability may raise")
{
    cap_slot_t notification = notification_new(0);
    cap_slot_t limited = capability_copy(notification, RIGHT_SEND, 0xf0);
    EXPECT_OK(notification_signal(limited, 0xff));
    struct message m = message_wait(notification, DEADLINE_POLL);
    expect_bits(&m, 0xf0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, notification);
    EXPECT_OK(notification_signal(limited, 0xff));
    worker_join(worker);
    expect_bits(&worker->message, 0xf0);
}

TEST(notification_across_tasks, "another task raises bits with a capability that may only send")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t notification = notification_new(0);
    task_give(&task, notification, RIGHT_SEND, 0);
    struct worker *worker = worker_new(&task, 0, PRIORITY_HIGH, send_once);
    worker->in[0] = notification;
    worker->in[3] = 0x42;
    worker_start(worker);
    struct message m = message_wait(notification, DEADLINE_POLL);
    expect_bits(&m, 0x42);
}

TEST(notification_destroyed, "the end of a notification ends the wait for it with PEER_GONE")
{
    cap_slot_t notification = notification_new(0);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, notification);
    slot_clear(notification);
    worker_join(worker);
    EXPECT_STATUS(worker->message.status, STATUS_PEER_GONE);
}

/* ---- bound ----------------------------------------------------------------------------------- */

TEST(bound_ends_endpoint_wait, "a bound notification ends a wait on an endpoint with its bits")
{
    cap_slot_t notification = notification_new(0), endpoint = endpoint_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, wait_once);
    worker->in[0] = endpoint;
    EXPECT_OK(bind(worker->thread.thread, notification));
    worker_start(worker);
    EXPECT(worker->step, 0);
    EXPECT_OK(notification_signal(notification, 0x11));
    worker_join(worker);
    expect_bits(&worker->message, 0x11);
    EXPECT_STATUS(message_send(endpoint, 0, NULL, DEADLINE_POLL), STATUS_TIMEOUT);
}

TEST(bound_before_wait, "bits of a bound notification raised before a wait end it at once")
{
    cap_slot_t notification = notification_new(0), endpoint = endpoint_new(0);
    EXPECT_OK(bind(BOOT_SLOT_THREAD, notification));
    EXPECT_OK(notification_signal(notification, 0x22));
    struct message m = message_wait(endpoint, far_deadline());
    expect_bits(&m, 0x22);
    EXPECT_STATUS(message_wait(endpoint, DEADLINE_POLL).status, STATUS_TIMEOUT);
}

TEST(bound_ends_sleep, "a bound notification ends a wait on slot 0")
{
    cap_slot_t notification = notification_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, wait_once);
    EXPECT_OK(bind(worker->thread.thread, notification));
    worker_start(worker);
    EXPECT_OK(notification_signal(notification, 3));
    worker_join(worker);
    expect_bits(&worker->message, 3);
}

TEST(bound_ends_other_notification_wait, "a bound notification ends a wait for another one")
{
    cap_slot_t bound = notification_new(0), other = notification_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, wait_once);
    worker->in[0] = other;
    EXPECT_OK(bind(worker->thread.thread, bound));
    worker_start(worker);
    EXPECT_OK(notification_signal(bound, 9));
    worker_join(worker);
    expect_bits(&worker->message, 9);
    EXPECT_OK(notification_signal(other, 1));
    EXPECT_OK(message_wait(other, DEADLINE_POLL).status);
}

TEST(bound_never_ends_calls, "a bound notification does not end a call to an endpoint")
{
    cap_slot_t notification = notification_new(0), endpoint = endpoint_new(0);
    struct worker *caller = worker_new(NULL, 0, PRIORITY_HIGH, call_once);
    caller->in[0] = endpoint;
    EXPECT_OK(bind(caller->thread.thread, notification));
    worker_start(caller);
    EXPECT_OK(notification_signal(notification, 1)); /* queued */
    EXPECT(caller->step, 0);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    EXPECT_OK(notification_signal(notification, 2)); /* served */
    EXPECT(caller->step, 0);
    EXPECT_STATUS(message_reply_wait(endpoint, TAG(5, 0, 0), NULL, DEADLINE_POLL).status,
                  STATUS_TIMEOUT);
    worker_join(caller);
    EXPECT_OK(caller->message.status);
    EXPECT(TAG_LABEL(caller->message.tag), 5);
}

/* Calls with a bound notification raised meanwhile, then waits: the bits must be there. */
static void call_then_wait(struct worker *worker)
{
    worker->out[0] = message_call(worker->in[0], 0, NULL, DEADLINE_NEVER).status;
    worker->message = message_wait(worker->in[1], DEADLINE_POLL);
    worker->step = 1;
}

TEST(bound_bits_are_kept, "bits raised during a call are found by the next wait")
{
    cap_slot_t notification = notification_new(0), endpoint = endpoint_new(0);
    struct worker *caller = worker_new(NULL, 0, PRIORITY_HIGH, call_then_wait);
    caller->in[0] = endpoint;
    caller->in[1] = endpoint_new(0);
    EXPECT_OK(bind(caller->thread.thread, notification));
    worker_start(caller);
    EXPECT_OK(message_wait(endpoint, DEADLINE_POLL).status);
    EXPECT_OK(notification_signal(notification, 0x77));
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_TIMEOUT);
    worker_join(caller);
    EXPECT_OK(caller->out[0]);
    expect_bits(&caller->message, 0x77);
}

TEST(bound_server_still_serves,
     "a server with a bound notification gets messages and bits, each once")
{
    cap_slot_t notification = notification_new(0), endpoint = endpoint_new(0);
    EXPECT_OK(bind(BOOT_SLOT_THREAD, notification));
    struct worker *caller = worker_go(NULL, 0, PRIORITY_HIGH, call_once, endpoint);
    EXPECT_OK(notification_signal(notification, 4));
    struct message m = message_wait(endpoint, DEADLINE_POLL);
    expect_bits(&m, 4);
    m = message_wait(endpoint, DEADLINE_POLL);
    EXPECT_OK(m.status);
    EXPECT(TAG_ORIGIN(m.tag), ORIGIN_MESSAGE);
    EXPECT_STATUS(message_reply_wait(endpoint, 0, NULL, DEADLINE_POLL).status, STATUS_TIMEOUT);
    worker_join(caller);
    EXPECT_OK(caller->message.status);
}

TEST(bound_bits_end_next_receive,
     "bits raised while the bound server answers end its next wait at once, however short its way is")
{
    cap_slot_t notification = notification_new(0), endpoint = endpoint_new(0);
    EXPECT_OK(bind(BOOT_SLOT_THREAD, notification));
    struct worker *caller = worker_go(NULL, 0, PRIORITY_LOW, call_once, endpoint);
    EXPECT_OK(message_wait(endpoint, DEADLINE_NEVER).status);
    EXPECT_OK(notification_signal(notification, 8));
    struct message m = message_reply_wait(endpoint, 0, NULL, DEADLINE_NEVER);
    expect_bits(&m, 8);
    worker_join(caller);
    EXPECT_OK(caller->message.status);
}

TEST(bound_twice_is_busy, "a notification bound to one thread cannot be bound to a second")
{
    cap_slot_t notification = notification_new(0);
    struct worker *first = worker_new(NULL, 0, PRIORITY_HIGH, wait_once);
    struct worker *second = worker_new(NULL, 0, PRIORITY_HIGH, wait_once);
    EXPECT_OK(bind(first->thread.thread, notification));
    EXPECT_STATUS(bind(second->thread.thread, notification), STATUS_BUSY);
    EXPECT_OK(bind(first->thread.thread, 0));
    EXPECT_OK(bind(second->thread.thread, notification));
}

TEST(bound_can_be_changed, "binding another notification replaces the first; unbinding ends it")
{
    cap_slot_t first = notification_new(0), second = notification_new(0);
    EXPECT_OK(bind(BOOT_SLOT_THREAD, first));
    EXPECT_OK(bind(BOOT_SLOT_THREAD, second));
    EXPECT_OK(notification_signal(first, 1));
    EXPECT_STATUS(message_wait(0, DEADLINE_POLL).status, STATUS_TIMEOUT);
    EXPECT_OK(notification_signal(second, 2));
    struct message m = message_wait(0, DEADLINE_POLL);
    expect_bits(&m, 2);
    EXPECT_OK(bind(BOOT_SLOT_THREAD, 0));
    EXPECT_OK(notification_signal(second, 4));
    EXPECT_STATUS(message_wait(0, DEADLINE_POLL).status, STATUS_TIMEOUT);
}

TEST(bound_notification_destroyed,
     "a bound notification may be destroyed: the thread's waits go on")
{
    cap_slot_t notification = notification_new(0), endpoint = endpoint_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, wait_once);
    worker->in[0] = endpoint;
    EXPECT_OK(bind(worker->thread.thread, notification));
    worker_start(worker);
    slot_clear(notification);
    EXPECT(worker->step, 0);
    EXPECT_OK(message_send(endpoint, TAG(6, 0, 0), NULL, DEADLINE_POLL));
    worker_join(worker);
    EXPECT(TAG_LABEL(worker->message.tag), 6);
}

TEST(bound_refusals, "binding checks the capability, its rights and its type")
{
    cap_slot_t notification = notification_new(0), endpoint = endpoint_new(0);
    cap_slot_t send_only = capability_copy(notification, RIGHT_SEND, 0);
    EXPECT_STATUS(bind(BOOT_SLOT_THREAD, endpoint), STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(bind(BOOT_SLOT_THREAD, TEST_SLOTS_END - 1), STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(bind(BOOT_SLOT_THREAD, send_only), STATUS_BAD_RIGHTS);
    EXPECT_STATUS(bind(notification, notification), STATUS_BAD_CAPABILITY);
}

TEST_SMP(bound_other_cpu, "a notification of another CPU cannot be bound: WRONG_CPU")
{
    EXPECT_STATUS(bind(BOOT_SLOT_THREAD, notification_new(1)), STATUS_WRONG_CPU);
}
