/*
 * A small world for unit tests of kernel memory: a pool of frames, a first task that holds all of it and
 * some "physical memory" (numbers only), a thread that makes system calls, and in place of the processor
 * functions that count.
 */
#ifndef KERNEL_STUBS_H
#define KERNEL_STUBS_H

#include "core/task.h"
#include "core/thread.h"

/* Physical memory and devices that the first task holds; nothing is behind these numbers. */
#define STUB_RAM         0x100000000ull
#define STUB_RAM_SIZE    (64ull << 20)
#define STUB_DEVICE      0xf0000000ull
#define STUB_DEVICE_SIZE (16ull << 20)

#define LARGE            (2ull << 20)
#define RW               (MAP_READ | MAP_WRITE)

extern struct task *stub_root;
extern struct thread stub_thread; /* whose task is the caller of the calls below */

extern unsigned stub_commits;        /* flush_commit that had something to flush */
extern unsigned stub_quiesces;       /* of these, with quiesce */
extern unsigned stub_preempt_one_in; /* syscall_preempted says so that often; 0: never */
extern unsigned stub_restarts;
extern unsigned stub_destroyed[OBJECT_TYPE_COUNT]; /* objects of other modules */
extern struct capability *stub_reply_dropped;
extern void (*stub_on_flush)(struct task *task, enum space_kind space);

/* Everything anew: a pool of that many frames, the first task with all of them. */
void stub_start(uint64_t pool_pages);

/* A task made by the first task, its capability in that slot of it. */
/* What `create` does for a task, without a capability to it. */
enum septum_status stub_task_create(struct task *owner, uint64_t pages, uint64_t slots,
                                    struct task **result);
struct task *stub_task(cap_slot_t slot, uint32_t pages);

/* An object of another module, charged to `owner`, its first capability in a slot of `holder`. */
struct object *stub_object(struct task *owner, enum object_type type, struct task *holder,
                           cap_slot_t slot);

/* System calls made by `caller`'s thread, again and again while they want to be restarted. */
enum septum_status stub_map(struct task *caller, cap_slot_t task, uint64_t how, uint64_t source,
                            uint64_t target, uint64_t count, uint64_t badge);
enum septum_status stub_unmap(struct task *caller, cap_slot_t task, uint64_t how, uint64_t base,
                              uint64_t count);

/* Uses up a quota until `left` pages remain and its slabs are full; and gives that back. */
void stub_exhaust(struct quota *quota, uint32_t left);
void stub_relax(void);

/* The first leaf at or above an address that covers it; all zero if there is none. */
struct table_entry stub_look(const struct table *table, uint64_t address);

/* Checks the database's and the tables' own rules, in all tasks of the test. NULL, or what is wrong. */
const char *stub_check(struct task *const *tasks, unsigned count);
/* How many ranges the task has in that space. */
unsigned stub_count_ranges(const struct task *task, enum space_kind space);

#endif
