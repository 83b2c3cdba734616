/* Endpoints: where senders and receivers meet. All on the endpoint's home CPU. */
#include "core/ipc.h"
#include "x86/processor.h"

#define LENDING_HOPS_MAX 64u

static enum septum_status create(struct object *object, const struct create_request *request)
{
    struct endpoint *endpoint = (struct endpoint *)object;
    endpoint->cpu = cpus[request->home];
    list_init(&endpoint->senders);
    list_init(&endpoint->receivers);
    return STATUS_OK;
}

void endpoint_set_server(struct endpoint *endpoint, struct thread *server)
{
    if (endpoint->server == server)
        return;
    if (endpoint->server)
        endpoint->server->serves = NULL;
    if (server->serves)
        server->serves->server = NULL;
    endpoint->server = server;
    server->serves = endpoint;
}

/* Whom a blocked thread waits for. */
static struct thread *next_in_chain(const struct thread *thread)
{
    return thread->state == THREAD_CALLING   ? thread->reply_at
           : thread->state == THREAD_SENDING ? thread->endpoint->server
                                             : NULL;
}

/* What those who wait for this thread lend it: the first in its queue, and what its caller was lent. */
static uint32_t lent_to(const struct thread *thread)
{
    uint32_t boost = 0;
    if (thread->serves && !list_empty(&thread->serves->senders))
        boost = list_first(&thread->serves->senders, struct thread, queue_link)->ready_priority + 1;
    if (thread->reply_to && thread->reply_to->object.home == thread->object.home &&
        thread->reply_to->boost > boost)
        boost = thread->reply_to->boost;
    return boost;
}

void ipc_settle_priority(struct thread *thread)
{
    for (unsigned hop = 0; thread && hop < LENDING_HOPS_MAX; hop++) {
        uint32_t boost = object_is_here(&thread->object) ? lent_to(thread) : thread->boost;
        if (boost == thread->boost)
            return;
        thread->boost = boost;
        if (boost)
            thread->attention |= ATTENTION_BOOSTED;
        else
            thread->attention &= ~(uint64_t)ATTENTION_BOOSTED;
        sched_requeue(thread);
        thread = next_in_chain(thread);
    }
}

/*
 * Does `thread` wait, directly or through others, for `waiter`?
 * Only threads of this CPU are followed: elsewhere the loan is not taken. Each hop is a thread that
 * waits for the next, so a chain that does not end at `waiter` ends at a thread that can run, unless it
 * is longer than any honest one.
 */
static bool would_deadlock(const struct thread *thread, const struct thread *waiter)
{
    for (unsigned hop = 0; thread && hop < LENDING_HOPS_MAX; hop++) {
        if (thread == waiter)
            return true;
        if (!object_is_here(&thread->object))
            return false;
        thread = next_in_chain(thread);
    }
    return false;
}

bool endpoint_queue_sender(struct endpoint *endpoint, struct thread *sender)
{
    unsigned priority = sender->ready_priority; /* as of when it began to wait: its home may be elsewhere */
    struct list *place = endpoint->senders.next;
    if (would_deadlock(endpoint->server, sender))
        return false;
    while (place != &endpoint->senders &&
           list_entry(place, struct thread, queue_link)->ready_priority >= priority)
        place = place->next;
    list_insert_before(place, &sender->queue_link);
    ipc_settle_priority(endpoint->server);
    return true;
}

static bool end(struct object *object)
{
    struct endpoint *endpoint = (struct endpoint *)object;
    struct thread *server = endpoint->server;
    if (server) {
        server->serves = NULL;
        endpoint->server = NULL;
        ipc_settle_priority(server);
    }
    while (!list_empty(&endpoint->senders))
        ipc_abort(list_first(&endpoint->senders, struct thread, queue_link), STATUS_PEER_GONE);
    while (!list_empty(&endpoint->receivers))
        ipc_abort(list_first(&endpoint->receivers, struct thread, queue_link), STATUS_PEER_GONE);
    return true;
}

const struct object_kind endpoint_kind = OBJECT_KIND(endpoint, create, end, NULL);
