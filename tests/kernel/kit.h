/*
 * What the kernel's tests are built of: objects, child tasks, workers (threads with a scheduling
 * context of their own), waiting for something to be so.
 *
 * The first thread of a test runs on CPU 0 at PRIORITY_MAIN. A worker of PRIORITY_HIGH on CPU 0
 * runs at once when it is started, until it blocks; one of PRIORITY_LOW runs only while the first
 * thread waits. All helpers fail the test when the kernel refuses. Nothing has to be destroyed at a
 * test's end.
 */
#ifndef TESTS_KERNEL_KIT_H
#define TESTS_KERNEL_KIT_H

#include "testing.h"

/* ---- objects --------------------------------------------------------------------------------- */

cap_slot_t slot_new(void);
cap_slot_t endpoint_new(unsigned cpu);
cap_slot_t notification_new(unsigned cpu);
/* budget_us and period_us 0: without limit. */
cap_slot_t sched_new(unsigned cpu, unsigned priority, uint64_t budget_us, uint64_t period_us);
/* A copy of a capability in another slot of the first task. */
cap_slot_t capability_copy(cap_slot_t source, unsigned rights, uint64_t badge);
/* Empties a slot of the first task, and takes back all that was delegated from it. */
void slot_clear(cap_slot_t slot);
/* Creates an object in a fresh slot of the first task; the status. *slot may be NULL. */
uint64_t create_status(cap_slot_t *slot, enum object_type type, cap_slot_t owner, uint64_t a0,
                       uint64_t a1, uint64_t a2);

/* A task with the program in it, its data shared with the first task, 512 slots, and the guardian's
 * endpoint in the slot guardian_endpoint. */
void task_new(struct child_task *task);
/* The same with a quota of so many pages beyond what its creation uses. */
void task_new_with_quota(struct child_task *task, uint64_t pages);
/* Delegates the first task's capability into the slot of the same number. */
void task_give(const struct child_task *task, cap_slot_t slot, unsigned rights, uint64_t badge);

/* ---- workers --------------------------------------------------------------------------------- */

struct worker {
    struct child_thread thread;
    cap_slot_t sched;
    void (*run)(struct worker *worker);
    uint64_t in[8];           /* from the test */
    volatile uint64_t out[8]; /* to the test */
    volatile uint64_t step;   /* how far it is, if it says so */
    struct message message;   /* the last it received, if it says so */
};

/* Makes a worker in `task` (NULL: the first task) on a CPU. Its fault endpoint is the guardian's.
 * It can use the slots of its own task; it lies in its own stack, so its address is good in both
 * tasks. */
struct worker *worker_new(const struct child_task *task, unsigned cpu, unsigned priority,
                          void (*run)(struct worker *worker));
/* The same on a scheduling context that exists. */
struct worker *worker_new_on(const struct child_task *task, cap_slot_t sched,
                             void (*run)(struct worker *worker));
/* Its faults come to that endpoint. Before it is started. */
void worker_watch(struct worker *worker, cap_slot_t endpoint);
void worker_start(struct worker *worker);
/* worker_new and worker_start, with in[0]. */
struct worker *worker_go(const struct child_task *task, unsigned cpu, unsigned priority,
                         void (*run)(struct worker *worker), uint64_t in0);
/* Waits until its function has returned. */
void worker_join(struct worker *worker);
/* Waits until worker->step is at least `step`. */
void worker_await_step(struct worker *worker, uint64_t step);

/* A thread's state: enum thread_state. */
uint64_t thread_state(cap_slot_t thread);
/* Waits until the thread is in that state (without THREAD_STOPPED), or is stopped. */
void thread_await_state(cap_slot_t thread, uint64_t state);
void thread_await_stopped(cap_slot_t thread);

/* ---- time ------------------------------------------------------------------------------------ */

/* A time long enough for any other thread to do what it should, short enough for a test. */
#define A_WHILE 2000000ull
/* A deadline that no sound test reaches. */
uint64_t far_deadline(void);
/* Blocks the calling thread for so many ticks. */
void sleep_ticks(uint64_t count);
/* Uses the CPU for so many ticks. */
void spin_ticks(uint64_t count);
uint64_t microseconds(uint64_t count);
/* Work that takes so many turns of a loop of three instructions, however long a loaded emulator
 * needs for it: at least as many ticks on Bochs and on any processor. */
void work(uint64_t turns);

/* ---- memory ---------------------------------------------------------------------------------- */

/* Zeroed pages of the first task, read and write. */
void *pages_new(uint64_t pages, uint64_t alignment, uint64_t *physical);
/* Unused addresses of the first task. */
uint64_t addresses_new(uint64_t pages, uint64_t alignment);
/* Does the hardware's table of a task map this address? The rights, or 0. *frame may be NULL. */
unsigned table_rights(cap_slot_t task, enum space_kind space, uint64_t address, uint64_t *frame);
/* A read (write) that may fault: false if it did. Uses the calling worker's exception handler: only
 * in the first thread, whose fault endpoint it changes for the time. */
bool can_read(const volatile void *address);
bool can_write(volatile void *address);

/* ---- counters -------------------------------------------------------------------------------- */

enum counter_index {
#define COUNTER(name, meaning) COUNTER_##name,
#include <counters.def>
#undef COUNTER
};

/* An event counter of a CPU. */
uint64_t counter(unsigned cpu, enum counter_index index);

/* ---- the slots of an ipc --------------------------------------------------------------------- */

/* Opens a window of the calling thread's message buffer. */
void window_open(enum space_kind space, uint64_t base, uint64_t count);

/* ---- small servers, as functions of workers -------------------------------------------------- */

/* in[0]: endpoint (or notification, or 0). Waits once, until message arrives or in[1] (0: never)
 * passes. */
void wait_once(struct worker *worker);
/* in[0]: endpoint, in[1]: tag, in[2]: deadline (0: never), in[3]: w0. One call or send; the outcome
 * is in message, and step is 1. */
void call_once(struct worker *worker);
void send_once(struct worker *worker);
/* in[0]: endpoint. Answers every call with the same label + 1 and words + 1; ends at label 0. */
void echo_server(struct worker *worker);

#endif
