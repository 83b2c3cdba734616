/*
 * Taking back. Work is done in bounded steps; between them the caller may be preempted, and the
 * call is then started again: what was taken stays taken, so it comes to an end.
 */
#pragma once

#include "core/mapping.h"

/*
 * One step of taking back [*base, end) of a space of `task` (bytes, ports or slots): everything
 * delegated from it, and with `self` the range itself. Flushes every CPU (TLB, guest TLB, I/O
 * permissions, capability look-ups) before it returns. True when nothing of it is left; else *base
 * has moved on, and the next step goes on from there. A range of nothing: a step of what is under way.
 */
bool revoke_step(struct task *task, enum space_kind space, uint64_t *base, uint64_t end, bool self);

/* Capabilities to this one's object are being taken back: nobody may derive more. mapping_lock
 * held. */
bool revoke_in_progress(const struct capability *capability);

/* Takes an object's first capability, and so all of them. False when there is more to do. */
bool revoke_object(struct object *object);

/*
 * One step of taking apart objects whose last capability went. False when there are none left.
 * Called without locks; the current thread may be gone afterwards (this_cpu()->reschedule is set
 * then).
 */
bool revoke_reap_step(void);
