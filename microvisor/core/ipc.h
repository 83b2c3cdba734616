/* Endpoints, notifications, interrupts, and the messages between them. */
#pragma once

#include "core/thread.h"

struct endpoint {
    struct object object;
    struct cpu *cpu;       /* its home */
    struct list senders;   /* by falling priority, first come first */
    struct list receivers; /* threads that wait here */
    struct thread *server; /* last to receive here: lent the priority of those who queue */
};

struct notification {
    struct object object;
    uint64_t bits; /* raised by anyone, atomically */
    struct thread *bound;  /* delivered to this thread, whatever it waits for */
    struct list waiters;   /* threads that wait for this notification alone */
    struct list sources;   /* interrupts bound to it */
    struct cross_post post;
};

/* Raises bits, from any CPU. */
void notification_raise(struct notification *notification, uint64_t bits);

/*
 * Used by the virtualization code: the reply of a vCPU call. Puts status, tag and words into the
 * thread's registers, ready for RESUME_SYSRET.
 */
static inline void ipc_set_reply(struct thread *thread, enum septum_status status, uint64_t tag,
                                 uint64_t w0, uint64_t w1, uint64_t w2, uint64_t w3)
{
    thread->registers.rax = status;
    thread->registers.rdi = 0;
    thread->registers.rsi = tag;
    thread->registers.rdx = w0;
    thread->registers.r10 = w1;
    thread->registers.r8 = w2;
    thread->registers.r9 = w3;
}

/*
 * A thread's ipc is changed by one CPU at a time, thread.ipc_cpu: its home, or, while it waits at an
 * endpoint of another CPU, that one. An answer from there comes by post (THREAD_WAKING).
 */

/* Ends whatever ipc the thread is blocked in, with this status; on the thread's home CPU, where it then
 * goes on. If an answer was already on its way, it gets that. */
void ipc_cancel(struct thread *thread, enum septum_status status);

/* The same from its ipc_cpu, without waiting until it goes on. */
void ipc_abort(struct thread *thread, enum septum_status status);

/* The right to answer: from the thread that holds it into a slot (already reserved). */
void ipc_save_reply(struct thread *server, struct capability *slot);

/* endpoint.c */
/* The sender waits for a receiver; false: it would for ever, in a cycle. */
bool endpoint_queue_sender(struct endpoint *endpoint, struct thread *sender);
/* `server` is the last to have received here, and serves no other endpoint. */
void endpoint_set_server(struct endpoint *endpoint, struct thread *server);

/* Moves a message from one thread's registers and buffer to another's (message.c): words, then items,
 * which are mapped or refused as a whole. An error is the sender's. */
enum septum_status message_transfer(struct thread *from, struct thread *to, uint64_t badge);

/* Its part that is not in registers. */
static inline enum septum_status message_body(struct thread *from, struct thread *to, uint64_t tag)
{
    enum septum_status status = TAG_ITEMS(tag) ? map_items(from, to, TAG_ITEMS(tag)) : STATUS_OK;
    if (status != STATUS_OK)
        return status;
    for (unsigned i = 4; i < TAG_WORDS(tag) && !to->fault; i++)
        to->buffer->words[i] = from->buffer->words[i];
    return STATUS_OK;
}

/* The calls that this thread has received and not answered end with PEER_GONE. */
void ipc_drop_callers(struct thread *thread);

/* A saved reply's slot is being emptied by revocation: its caller gets PEER_GONE. Any CPU. */
void reply_capability_dropped(struct capability *slot);

/* The bits, if there are any, become the message that the thread receives. */
bool notification_receive(struct notification *notification, struct thread *thread);
/* Takes the bits; 0 if none. */
uint64_t notification_take(struct notification *notification);
void notification_unbind(struct notification *notification);

/* Who waits for this thread has changed: its lent priority, and that of those it waits for. */
void ipc_settle_priority(struct thread *thread);

/* A fault or exception of the current thread becomes a call to its fault endpoint. */
void fault_raise(struct thread *thread, enum tag_origin origin, uint64_t w0, uint64_t w1);
