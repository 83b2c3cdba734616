/*
 * Children of a first task: tasks that run functions of the same program image, and threads in them
 * or in the task itself.
 *
 * A child sees the program at the same addresses: text and read-only data shared; writable data
 * either shared with the parent (a test's child that reports by storing into a variable) or a
 * private copy (a child that is not trusted). Stacks and message buffers have addresses from the
 * parent's pool, so that a pointer into a stack means the same on both sides.
 */
#ifndef LIB_SPAWN_H
#define LIB_SPAWN_H

#include "memory.h"
#include "thread.h"

struct child_task {
    cap_slot_t task;
    uint64_t data_frames; /* of the private copy, POOL_NONE: shared */
};

enum child_data { CHILD_DATA_SHARED, CHILD_DATA_PRIVATE };

/* Makes a task with the program's image in it. quota_pages moves from the parent's quota. On an
 * error nothing is left behind. */
uint64_t child_create(struct child_task *child, uint64_t quota_pages, uint64_t slots,
                      enum child_data data);
/* Destroys it and all that is in it. */
void child_destroy(struct child_task *child);
/* Delegates a capability of the parent into a slot of the child. */
uint64_t child_give(const struct child_task *child, cap_slot_t target, cap_slot_t source,
                    unsigned rights, uint64_t badge);

struct child_thread {
    cap_slot_t thread;
    struct thread_context *context; /* in its stack, mapped in the parent too */
    uint64_t stack;                 /* address; and physical: */
    uint64_t stack_frames;
    uint64_t buffer; /* address of the message buffer in the thread's task */
};

/*
 * Makes a thread in the task of slot `task` (BOOT_SLOT_TASK: the parent itself), on the scheduling
 * context of slot `sched`; fault_endpoint is a slot of that task, 0 for none. It does not run yet.
 */
uint64_t child_thread_create(struct child_thread *thread, cap_slot_t task, cap_slot_t sched,
                             cap_slot_t fault_endpoint);
/* Lets it run function(argument) from the start of its stack. */
uint64_t child_thread_start(struct child_thread *thread, void (*function)(void *), void *argument);
/* Also if *which lies in the thread's own stack. */
void child_thread_destroy(struct child_thread *which);

#endif
