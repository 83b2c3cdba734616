/*
 * What a native task does first, and what all of them share: the facts of its start page, further threads,
 * memory for the task's own use, lines for the system log.
 */
#ifndef LIB_TASK_H
#define LIB_TASK_H

#include <stddef.h>
#include "protocol/task.h"

#include "print.h"
#include "ring.h"
#include "thread.h"

/* The start page. Set by task_init. */
extern const struct task_start *task;

/* From program_start, with its argument. Ends the thread if the page is not one of this interface. */
void task_init(const void *argument);

/* A native task, or a VMM: tells root that it is set up. */
void task_ready(void);
/* A native task: tells root that it has ended, well or not (`on end`, `on failure`), and waits until root takes it away. */
_Noreturn void task_finish(bool well);

/* Starts thread n (1 and up) of those that root made: it runs function(argument). Called once for each. */
uint64_t task_thread_start(unsigned n, void (*function)(void *argument), void *argument);

/* Zeroed memory that is never given back; NULL if the task's heap is used up. alignment: a power of two.
 * Not for several threads at once. */
void *task_allocate(size_t size_bytes, size_t alignment);

/* The first channel of a kind, or task->channel_count. */
unsigned task_channel_find(enum task_channel_kind kind);
/* Rings the peer of a channel. */
void task_channel_ring(unsigned channel);

/*
 * The system log; of a task that has no log but a console (a native task), its console. What is printed goes out by whole lines, in one piece each, and is never waited for:
 * lines that the console server has no room for are counted, and the next that fits is preceded by how many
 * were lost. For all threads of the task.
 */
extern struct sink task_log;
void task_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
