/* Messages: shorthand for the shapes of `ipc`, and for items in the message buffer. */
#ifndef LIB_MESSAGE_H
#define LIB_MESSAGE_H

#include <stddef.h>

#include "syscall.h"

/* Sends without an answer, in registers. */
static inline uint64_t message_send(uint64_t target, uint64_t tag, const uint64_t *w,
                                    uint64_t deadline)
{
    return ipc(IPC_SEND, target, tag, w, deadline).status;
}

static inline struct message message_wait(uint64_t target, uint64_t deadline)
{
    return ipc(IPC_WAIT, target, 0, NULL, deadline);
}

static inline struct message message_call(uint64_t target, uint64_t tag, const uint64_t *w,
                                          uint64_t deadline)
{
    return ipc(IPC_CALL, target, tag, w, deadline);
}

static inline struct message message_reply_wait(uint64_t target, uint64_t tag, const uint64_t *w,
                                                uint64_t deadline)
{
    return ipc(IPC_REPLY_WAIT, target, tag, w, deadline);
}

/* Raises bits of a notification. */
static inline uint64_t notification_signal(uint64_t notification, uint64_t bits)
{
    const uint64_t w[4] = {bits, 0, 0, 0};
    return ipc(IPC_SEND, notification, TAG(0, 1, 0), w, DEADLINE_POLL).status;
}

/* An item that delegates memory: `count` pages. */
static inline struct map_item item_memory(enum space_kind from, uint64_t source, enum space_kind to,
                                          uint64_t offset, uint64_t pages, unsigned rights)
{
    return (struct map_item){MAP_HOW(from, to, rights, CACHE_INHERIT), source, offset, pages, 0};
}

/* An item that delegates one capability. */
static inline struct map_item item_capability(cap_slot_t slot, uint64_t offset, unsigned rights,
                                              uint64_t badge)
{
    return (struct map_item){MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, rights, 0), slot, offset,
                             1, badge};
}

#endif
