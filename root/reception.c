/*
 * The receptionist: a thread that receives the messages and faults of all tasks, and leaves them for the main
 * thread.
 *
 * Why a thread of its own: a call, and every fault is one, makes its receiver run at the caller's priority and on the
 * caller's time (docs/kernel.md, "Lending"). A partition of lowest priority could so hold up whoever receives
 * from it, for as long as its neighbours are busy. Here this can only befall the receptionist, which gives the
 * loan back with its first step; and reception_push lifts it over that step: a sender that waits in the queue
 * lends its own priority. The receptionist's budget bounds what a flood of messages can cost.
 */
#include "root.h"
#include "spawn.h"

#define NOTICES            64u /* a power of two */
#define PRIORITY_RECEPTION 61u
#define BUDGET_US          1000ull
#define PERIOD_US          20000ull

static struct {
    struct child_thread thread;
    struct notice ring[NOTICES];
    uint32_t written, read; /* in all; each is changed by one thread */
    uint64_t ids[TASKS_MAX];
    uint32_t counts[TASKS_MAX];
} reception;

static void leave(const struct notice *notice)
{
    while (reception.written - __atomic_load_n(&reception.read, __ATOMIC_ACQUIRE) == NOTICES)
        message_wait(0, ticks() + boot->tsc_khz); /* the senders wait meanwhile */
    reception.ring[reception.written % NOTICES] = *notice;
    __atomic_store_n(&reception.written, reception.written + 1, __ATOMIC_RELEASE);
    notification_signal(ROOT_SLOT_NOTIFICATION, ROOT_BIT_RECEPTION);
}

/* Root's own pushes have badge 0; the others are counted, and not told beyond the patience limit. */
static bool is_worth_telling(struct notice *notice)
{
    unsigned index = notice->id % TASKS_MAX;
    if (notice->id == 0 || reception.ids[index] != notice->id ||
        reception.counts[index] > RECEPTION_PATIENCE)
        return false;
    notice->flood = ++reception.counts[index] > RECEPTION_PATIENCE;
    return true;
}

static void receive(void *unused)
{
    (void)unused;
    for (;;) {
        struct message message = message_wait(ROOT_SLOT_ENDPOINT, DEADLINE_NEVER);
        sys_control(0, CONTROL_THREAD_DROP_REPLY, 0, 0, 0, 0);
        struct notice notice = {message.badge,
                                TAG_ORIGIN(message.tag),
                                TAG_LABEL(message.tag),
                                {message.w[0], message.w[1], message.w[2], message.w[3]},
                                false};
        if (message.status == STATUS_OK && is_worth_telling(&notice))
            leave(&notice);
    }
}

void reception_start(void)
{
    if (sys_create(ROOT_SLOT_RECEPTION_SCHED, OBJECT_SCHED, BOOT_SLOT_TASK, BOOT_SLOT_SCHED,
                   PRIORITY_RECEPTION, BUDGET_US | PERIOD_US << 32) != STATUS_OK ||
        child_thread_create(&reception.thread, BOOT_SLOT_TASK, ROOT_SLOT_RECEPTION_SCHED, 0) !=
            STATUS_OK ||
        child_thread_start(&reception.thread, receive, NULL) != STATUS_OK)
        say("root can't receive messages: use a larger pool=SIZE on the kernel's command line\n");
}

bool reception_take(struct notice *notice)
{
    if (__atomic_load_n(&reception.written, __ATOMIC_ACQUIRE) == reception.read)
        return false;
    *notice = reception.ring[reception.read % NOTICES];
    __atomic_store_n(&reception.read, reception.read + 1, __ATOMIC_RELEASE);
    return true;
}

void reception_forget(uint64_t id)
{
    reception.ids[id % TASKS_MAX] = id;
    reception.counts[id % TASKS_MAX] = 0;
}

void reception_push(void)
{
    message_send(ROOT_SLOT_ENDPOINT, TAG(0, 0, 0), NULL, ticks() + boot->tsc_khz);
}
