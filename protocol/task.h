/*
 * What every native task finds when it starts: a page of facts (struct task_start, read-only, its
 * address in rdi), and these capabilities. Root makes all of it from the partition file.
 */
#ifndef PROTOCOL_TASK_H
#define PROTOCOL_TASK_H

#include <septum.h>

#define TASK_START_MAGIC  0x6b736174u
#define TASK_NAME_MAX     32u /* with the terminating zero */
#define TASK_THREADS_MAX  16u
#define TASK_CHANNELS_MAX 16u

enum task_slot {
    TASK_SLOT_SELF = 1,     /* the task itself: CREATE, MAP, INSPECT */
    TASK_SLOT_ROOT = 2,     /* root's endpoint for messages (protocol/root.h): SEND */
    TASK_SLOT_FAULT = 3,    /* root's endpoint for faults of this task's threads: SEND */
    TASK_SLOT_ENDPOINT = 4, /* servers: where requests arrive: RECEIVE */
    TASK_SLOT_NOTIFICATION =
        5, /* rung by root, peers, interrupts, a VMM's threads; on the first thread's CPU: RECEIVE, a VMM SEND */
    TASK_SLOT_INTERRUPT =
        8,                  /* + n: the task's n-th interrupt, bound to its notification: CONTROL */
    TASK_SLOT_THREAD = 16,  /* + n: its threads: CONTROL. The first runs, the others are stopped */
    TASK_SLOT_VCPU = 32,    /* + n: SEND, CONTROL. The n-th is on the CPU of the n-th thread */
    TASK_SLOT_CHANNEL = 48, /* + n: the notification of the n-th channel's peer: SEND */
    TASK_SLOT_FREE = 64,    /* from here to slots_end: the task's own */
    /* + n: the endpoint of the n-th channel's server (struct task_channel, door): SEND. Of a task that has such channels
     * slots_end is here */
    TASK_SLOT_DOOR = 112,
};

/* Bits of TASK_SLOT_NOTIFICATION that mean the same for every task. Channel n rings bit n. */
#define TASK_BIT_CHANNEL(n)   (1ull << (n))
#define TASK_BIT_INTERRUPT(n) (1ull << (32 + (n)))
#define TASK_BIT_COMMAND      (1ull << 63) /* root: the command word in the role's page has changed */

enum task_channel_kind {
    TASK_CHANNEL_NONE,
    TASK_CHANNEL_LOG,     /* lines for the system log: protocol/console.h */
    TASK_CHANNEL_CONSOLE, /* a guest's console, or the monitor's: protocol/console.h */
    TASK_CHANNEL_BLOCK,
    TASK_CHANNEL_NETWORK,
    TASK_CHANNEL_SOCKET, /* of a native task: protocol/socket.h */
};

/* Memory that this task shares with exactly one other, and how to ring that one. */
struct task_channel {
    uint32_t kind; /* enum task_channel_kind */
    /* If not 0, the peer is a server on CPU door - 1 that can also be called, by whoever is on that CPU: a call of
     * TASK_SLOT_DOOR + n rings as bits do, and returns when the server has looked. */
    uint32_t door;
    uint64_t address; /* read and write, page-aligned */
    uint64_t size_bytes;
    uint64_t ring_bits; /* what to raise in TASK_SLOT_CHANNEL + n */
    char name[TASK_NAME_MAX];
};

struct task_thread {
    uint64_t buffer;     /* address of its message buffer */
    uint64_t stack_base; /* THREAD_STACK_BYTES, so aligned; the first thread's is in the program */
    uint64_t vcpu_state; /* address of the state page of the vCPU of the same number, 0: none */
    uint32_t cpu;
    uint32_t reserved;
};

struct task_start {
    uint32_t magic;
    uint32_t abi_version;
    uint32_t task_id; /* root's number for it: badge of TASK_SLOT_ROOT and TASK_SLOT_FAULT */
    uint32_t cpu_count;
    uint64_t tsc_khz;
    uint64_t slots_end;
    uint64_t heap_base; /* zeroed memory for the task's own use, page-aligned */
    uint64_t heap_bytes;
    uint64_t
        role; /* address of what this kind of program gets besides (struct vmm_start, ...), 0: nothing */
    uint64_t role_bytes;
    uint32_t virtualization; /* enum boot_virtualization */
    uint32_t debug;          /* nonzero: the kernel checks itself */
    uint32_t thread_count;
    uint32_t channel_count;
    char name[TASK_NAME_MAX];
    struct task_thread threads[TASK_THREADS_MAX];
    struct task_channel channels[TASK_CHANNELS_MAX];
};
_Static_assert(sizeof(struct task_start) <= 4096, "the start page is one page");

#endif
