/* The world of a hostile task, as the watcher makes it, looks at it, and takes it apart. */
#ifndef TESTS_HOSTILE_WORLD_H
#define TESTS_HOSTILE_WORLD_H

#include "hostile.h"

struct world {
    struct child_task task;
    struct child_thread caller, victim, server;
    cap_slot_t owned[24]; /* the watcher's slots that hold the objects */
    unsigned owned_count;
    cap_slot_t endpoint;
    struct hostile_page *page;
    uint64_t page_physical, scratch_physical;
    bool alive;
};

/*
 * Makes a task with all its objects, started to make `calls` calls (or guests' exits) with this
 * seed, its threads on `cpu`. peer: the endpoint of another one, or 0. line: it gets the interrupt
 * line.
 */
void world_create(struct world *world, unsigned cpu, uint64_t seed, uint64_t calls,
                  void (*begin)(void *page), cap_slot_t peer, bool line);
void world_destroy(struct world *world);

/* Does the thread that makes the calls still run (or wait)? */
bool world_runs(const struct world *world);

/*
 * Fails the test if the task reaches, by the hardware's own tables, a frame that is not its own:
 * writable frames are those it was given, or the kernel's pages made for it, or in its receive window
 * those of the living among the `count` worlds; ports are those it was given.
 */
void world_audit(const struct world *world, const struct world *worlds, unsigned count);

#endif
