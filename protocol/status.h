/*
 * How the whole system fares: written by root about once a second, read by the network server for its status page
 * (network_start.system_address, read-only there). Plain text and numbers, nothing that could be used.
 */
#ifndef PROTOCOL_STATUS_H
#define PROTOCOL_STATUS_H

#include "partition/plan.h"
#include "service.h"
#include "task.h"

#define STATUS_TEXT_MAX     64u
#define STATUS_REASON_MAX   24u
#define STATUS_REASONS      EXIT_COUNT
#define STATUS_COUNTERS_MAX 16u
#define STATUS_LOG_BYTES    4096u

enum status_kind { STATUS_PARTITION, STATUS_TASK, STATUS_SERVER };

/* A partition, a native task or a server: all text ends with a zero. */
struct status_task {
    uint64_t kind; /* enum status_kind */
    char name[TASK_NAME_MAX];
    char state[STATUS_REASON_MAX];  /* for people: "running", "off", "waiting", "left" */
    uint64_t running;               /* 1: it has a task now */
    uint64_t cpu_ticks;             /* used by all its threads since it was first started */
    uint64_t cpu_mask;              /* where they run */
    uint64_t memory_bytes;          /* a partition: its guest's; else all that it holds */
    uint64_t restarts;              /* lives after the first */
    uint64_t uptime_ms;             /* of this life; 0: it does not run */
    uint64_t vcpus;                 /* of a partition */
    uint64_t screen;                /* 1: a partition that pictures of its screen can be had of */
    uint64_t exits[STATUS_REASONS]; /* by enum vcpu_exit, as its VMM counts them */
};

/* A disk of a partition, as the block server counts in its present life. */
struct status_disk {
    char task[TASK_NAME_MAX];
    char volume[PLAN_NAME_MAX];
    uint64_t reads, writes, flushes, read_bytes, written_bytes, errors;
};

struct system_status {
    uint32_t
        sequence; /* odd while root writes: read it before and after, and again if it has changed */
    uint32_t version; /* STATUS_VERSION; 0: not filled in yet */
    uint64_t uptime_ms;
    uint64_t ticks; /* when this was written */
    uint64_t tsc_khz;
    uint64_t memory_bytes, memory_free_bytes; /* of the machine */
    uint32_t cpu_count;
    uint32_t task_count;                             /* of tasks[] */
    uint32_t audit_findings;                         /* of the last audit */
    uint32_t audit_done;                             /* 1: there was one */
    char audit[STATUS_TEXT_MAX];                     /* its result in words */
    char virtualization[STATUS_REASON_MAX];          /* "VT-x", "AMD-V" */
    uint64_t counters[STATUS_COUNTERS_MAX];          /* counters.def, summed over all CPUs */
    char reasons[STATUS_REASONS][STATUS_REASON_MAX]; /* names of the exit reasons: lower-case, _ */
    char counter_names[STATUS_COUNTERS_MAX][STATUS_REASON_MAX]; /* empty: there are no more */
    struct status_task tasks[PLAN_PARTITIONS_MAX + PLAN_SERVERS_MAX];
    uint64_t disk_count; /* of disks[] */
    struct status_disk disks[SERVICE_CLIENTS_MAX];
    /* The picture that was last made for the network server (network_server_status.picture_wanted): its number, written
     * last, and its size in network_start.picture_address; 0: there was none to be had. */
    uint32_t picture_bytes, picture_done;
    /* The end of what root has said: of log_written bytes in all the last, at their number modulo STATUS_LOG_BYTES. */
    uint64_t log_written;
    char log[STATUS_LOG_BYTES];
};
#define STATUS_VERSION 3u
_Static_assert(sizeof(struct system_status) <= 20480, "five pages");

#endif
