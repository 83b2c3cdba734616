/*
 * Hostile tasks: what the watcher (the first task) and its victims-to-be agree on.
 *
 * A hostile task has every kind of capability, all of small objects of its own, and makes random
 * calls with them, from a seed. It runs on a private copy of this program's data; one page is
 * shared with the watcher: its plan and its report. The watcher believes nothing in there but the
 * counts that it prints.
 */
#ifndef TESTS_HOSTILE_HOSTILE_H
#define TESTS_HOSTILE_HOSTILE_H

#include "tests/kernel/kit.h"

/* Slots of a hostile task's capability space. */
enum hostile_slot {
    SLOT_TASK = 1, /* itself, all rights but RIGHT_MACHINE */
    SLOT_THREAD,   /* the thread that makes the calls */
    SLOT_VICTIM,   /* a thread to play with */
    SLOT_SERVER,   /* the thread that serves SLOT_ENDPOINT */
    SLOT_ENDPOINT,
    SLOT_SILENT, /* an endpoint that nobody serves */
    SLOT_NOTIFICATION,
    SLOT_BOUND, /* a notification to bind */
    SLOT_SCHED, /* its scheduling context: of low priority, half a CPU */
    SLOT_VCPU,
    SLOT_MSI,          /* an interrupt without a device */
    SLOT_LINE,         /* an interrupt line without a device; one hostile task at a time has it */
    SLOT_CHILD,        /* a task */
    SLOT_SEND_ONLY,    /* SLOT_ENDPOINT with RIGHT_SEND */
    SLOT_NO_RIGHTS,    /* SLOT_ENDPOINT with RIGHT_BADGE alone */
    SLOT_FAR_ENDPOINT, /* of another CPU, if there is one */
    SLOT_FAR_NOTIFICATION,
    SLOT_FAR_VCPU,
    SLOT_PEER, /* another hostile task's endpoint, to send to */
    SLOT_FREE, /* from here on: what the calls make */
    SLOT_FREE_END = 96,
    SLOT_COUNT = 128,
};

/* Addresses of a hostile task's own space, and sizes in pages. */
#define SCRATCH_ADDRESS  0x0000003000000000ull /* memory of its own */
#define SCRATCH_PAGES    48u
#define TARGET_ADDRESS   0x0000003100000000ull /* nothing yet: where calls map to */
#define TARGET_PAGES     64u
#define VCPU_ADDRESS     0x0000003200000000ull /* the state page of SLOT_VCPU */
#define FAR_VCPU_ADDRESS 0x0000003200001000ull
#define FIRST_PORT       0x80u /* ports of its own, harmless ones */
#define PORTS            8u

#define STATUS_SLOTS     32u

struct hostile_page {
    /* the plan */
    uint64_t random; /* state of the generator; not 0 */
    uint64_t calls;  /* how many to make */
    uint64_t cpu_count;
    uint64_t scratch_physical;
    uint64_t has_vcpu;
    uint64_t tsc_khz;
    /* the report */
    volatile uint64_t made; /* calls, or exits of guests */
    uint32_t table[SYSCALL_COUNT][STATUS_SLOTS];
    uint32_t exits[EXIT_COUNT];
    uint64_t last[8]; /* the call under way: rax, six arguments, rbx */
};
_Static_assert(sizeof(struct hostile_page) <= 4096, "one page");

/* Where hostile threads begin; the argument is the page. */
void hostile_calls(void *page);
void hostile_server(void *page);
void hostile_guests(void *page);
void hostile_victim(void *page);

/* One system call, written down in the page before and after. */
struct message hostile_call(struct hostile_page *page, uint64_t rax, const uint64_t a[6],
                            uint64_t rbx);
uint64_t hostile_random(struct hostile_page *page);
/* A random number below `limit`. */
uint64_t hostile_below(struct hostile_page *page, uint64_t limit);
/* A number as an attacker would choose it. */
uint64_t hostile_value(struct hostile_page *page);

#endif
