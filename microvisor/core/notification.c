/*
 * Notifications: a word of bits that anyone may raise without waiting. Bits stay until someone takes
 * them. Who raises the first bit sees to it that the home CPU looks; later raisers only add bits.
 */
#include "core/interrupt.h"
#include "x86/processor.h"

uint64_t notification_take(struct notification *notification)
{
    return __atomic_exchange_n(&notification->bits, 0, __ATOMIC_ACQ_REL);
}

static inline void give(struct notification *notification, struct thread *thread)
{
    uint64_t bits = notification_take(notification);
    ipc_set_reply(thread, STATUS_OK, (uint64_t)ORIGIN_NOTIFICATION << TAG_ORIGIN_SHIFT | 1, bits, 0,
                  0, 0);
}

bool notification_receive(struct notification *notification, struct thread *thread)
{
    if (!notification->bits)
        return false;
    if (notification == thread->bound)
        thread->attention &= ~(uint64_t)ATTENTION_NOTIFIED;
    give(notification, thread);
    return true;
}

/* It finds the bits in its next wait. A loan that keeps it lower than it is by itself ends: what has rung may be more
 * urgent than that caller. */
static void note(struct thread *thread)
{
    thread->attention |= ATTENTION_NOTIFIED;
    if (thread->sched != thread->own_sched && thread->own_sched &&
        thread->own_sched->priority > sched_priority(thread))
        sched_end_loan(thread, thread->sched);
}

/* On the home CPU: hands the bits to whoever waits for them. A guest whose VMM is bound is not in guest
 * mode now, because this CPU is here; its loop sees the attention before it enters again. */
static inline void deliver(struct notification *notification)
{
    struct thread *thread = notification->bound;
    if (!notification->bits)
        return;
    if (!thread || thread->state != THREAD_RECEIVING) {
        if (list_empty(&notification->waiters)) {
            if (thread)
                note(thread);
            return;
        }
        thread = list_first(&notification->waiters, struct thread, queue_link);
    }
    give(notification, thread);
    list_remove(&thread->queue_link);
    thread->state = THREAD_READY;
    thread->resume = RESUME_SYSRET;
    sched_ready(thread, false);
}

static void deliver_post(struct cross_post *post)
{
    deliver(container_of(post, struct notification, post));
}

void notification_raise(struct notification *notification, uint64_t bits)
{
    if (likely(object_is_here(&notification->object))) {
        __atomic_fetch_or(&notification->bits, bits, __ATOMIC_ACQ_REL);
        deliver(notification);
    } else if (!__atomic_fetch_or(&notification->bits, bits, __ATOMIC_ACQ_REL)) {
        cross_post(notification->object.home, &notification->post);
    }
}

void notification_unbind(struct notification *notification)
{
    if (notification->bound) {
        notification->bound->bound = NULL;
        notification->bound->attention &= ~(uint64_t)ATTENTION_NOTIFIED;
        notification->bound = NULL;
    }
}

static enum septum_status create(struct object *object, const struct create_request *request)
{
    struct notification *notification = (struct notification *)object;
    (void)request;
    notification->post.run = deliver_post;
    list_init(&notification->waiters);
    list_init(&notification->sources);
    return STATUS_OK;
}

/* A post that was under way has been run by now (cross_call). */
static bool end(struct object *object)
{
    struct notification *notification = (struct notification *)object;
    while (!list_empty(&notification->sources))
        interrupt_unbind(list_first(&notification->sources, struct interrupt, link));
    notification_unbind(notification);
    while (!list_empty(&notification->waiters))
        ipc_abort(list_first(&notification->waiters, struct thread, queue_link), STATUS_PEER_GONE);
    return true;
}

const struct object_kind notification_kind = OBJECT_KIND(notification, create, end, NULL);
