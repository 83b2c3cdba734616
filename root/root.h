/*
 * Root: the first task. It owns all memory, ports and interrupts; from the boot bundle it makes the tasks that
 * the partition file implies, with exactly the capabilities that these need, and looks after them.
 *
 * Two threads. The main thread does everything; it waits on nothing but its own notification, and so never
 * for a task that is not trusted. The receptionist (reception.c) takes the messages and faults of tasks, and
 * leaves them for the main thread.
 *
 * No file calls one below it: main, monitor, supervise, audit, partition, service, devices, server, task, symbols,
 * program, plan, bundle, reception, console, memory.
 */
#ifndef ROOT_ROOT_H
#define ROOT_ROOT_H

#include "archive.h"
#include "memory.h"
#include "partition/plan.h"
#include "print.h"
#include "protocol/console.h"
#include "protocol/root.h"
#include "protocol/vmm.h"

#include <stdbool.h>
#include <stddef.h>

/* What root is told at boot. */
extern const struct boot_info *boot;
/* What the partition file says; checked. */
extern struct plan plan;
/* When the kernel was entered, in ticks, the time of calibration left out. */
extern uint64_t kernel_began;

/* ---- machine.c -------------------------------------------------------------------------------------- */

/* The time of day: seconds since 1970 when the TSC was `ticks`; 0: the machine's clock shows none that there is. */
struct calendar {
    uint64_t seconds, ticks;
};
extern struct calendar calendar;
/* Reads it from the PC's battery clock. Before the first partition is built. */
void calendar_read(void);

/* Is there a word NAME or NAME=VALUE on the kernel's command line? */
bool option(const char *name);
bool option_value(const char *name, char *value, size_t size_bytes);
/* Ticks of so many milliseconds. */
uint64_t milliseconds(uint64_t ms);
/* Sleeps; what root's notification says meanwhile is kept for events_wait. */
void sleep_until(uint64_t deadline);
/* Bits of root's notification; 0 at the deadline. */
uint64_t events_wait(uint64_t deadline);

/* ---- memory.c: all RAM, seen by root at one place ------------------------------------------------ */

/* Maps all RAM and the boot module. NULL, or a sentence. */
const char *direct_map(void);
/* Where root sees a physical address of RAM or of the boot module. */
void *direct(uint64_t physical);

/* A piece of physical memory that a task holds, and where. */
struct extent {
    uint64_t physical, address, pages;
    uint32_t rights; /* enum map_right */
    uint32_t kind;   /* enum extent_kind */
};
enum extent_kind {
    EXTENT_OWN,    /* this task's alone: free again when it ends */
    EXTENT_GUEST,  /* the same, and its guest's memory; or of a native task what its servers see */
    EXTENT_SHARED, /* a channel: also the console server's; root keeps it over the task's end */
    EXTENT_BUNDLE, /* part of the boot module, read-only; several tasks may see it */
    EXTENT_DEVICE, /* registers of a device */
};
#define EXTENTS_MAX 64u

/* ---- console.c: what root says --------------------------------------------------------------------- */

/* Text for the system console; before there is a console server, and after its death, to the serial port. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern struct sink console_sink;
/* From now on by a channel to the console server (memory: CONSOLE_CHANNEL_BYTES); NULL: by the port again. */
void console_use(void *channel, cap_slot_t server_notification, uint64_t ring_bits);
/* What was printed without a line's end goes out now. */
void console_flush(void);
/* Says that a command can be typed; what is said next begins a new line. */
void console_prompt(const char *prompt);
/* The line that is being typed (empty: none): what is said meanwhile does not tear it. */
void console_typed(const char *line);
/* The end of what root has said: the last bytes of all, at their number modulo CONSOLE_KEPT_BYTES. */
#define CONSOLE_KEPT_BYTES 4096u
const char *console_kept(uint64_t *written);
/* What was typed at the system console. */
size_t console_input(char *data, size_t size_bytes);
/* Before the main thread waits: will the console server ring when something is typed? */
bool console_input_waits(void);

/* ---- reception.c ------------------------------------------------------------------------------------ */

/* Slots of root that are not handed out by the pool. */
enum root_slot {
    ROOT_SLOT_NOTIFICATION = BOOT_SLOT_FREE, /* bound to the main thread */
    ROOT_SLOT_ENDPOINT,                      /* where the receptionist receives */
    ROOT_SLOT_SCHED,                         /* the main thread's */
    ROOT_SLOT_RECEPTION_SCHED,
    ROOT_SLOT_DMA_FAULT, /* an interrupt: the IOMMU has refused something */
    ROOT_SLOT_END,
};
/* Bits of root's notification. */
#define PRIORITY_ROOT      62u /* of the main thread */

#define ROOT_BIT_CONSOLE   TASK_BIT_CHANNEL(0)
#define ROOT_BIT_RECEPTION (1ull << 32)
#define ROOT_BIT_DMA_FAULT (1ull << 33)

/* Something that a task said or that befell it. */
struct notice {
    uint64_t id;            /* whose: the badge */
    enum tag_origin origin; /* ORIGIN_MESSAGE, ORIGIN_PAGE_FAULT, ORIGIN_EXCEPTION */
    uint32_t label;
    uint64_t w[4];
    bool flood; /* the last that is told of this task: it sends too many */
};

/* More messages than this from one task in its life, and root takes no further. */
#define RECEPTION_PATIENCE 64u

void reception_start(void);
/* The next notice; false: there is none. */
bool reception_take(struct notice *notice);
/* A new task has this place (its identifier modulo TASKS_MAX) from now on. */
void reception_forget(uint64_t id);
/* Lends the receptionist the main thread's priority for a moment; see reception.c. */
void reception_push(void);

/* ---- bundle.c ----------------------------------------------------------------------------------------- */

/* Finds and checks the archive behind root's own program. NULL, or a sentence. */
const char *bundle_open(void);
bool bundle_find(const char *name, struct archive_member *member);
/* The physical address of a member's content. */
uint64_t bundle_physical(const struct archive_member *member);
/* Does a piece of physical memory lie in the boot module? */
bool bundle_holds(uint64_t physical, uint64_t size_bytes);

/* ---- task.c: tasks, whatever they do ----------------------------------------------------------------- */

#define TASKS_MAX (PLAN_PARTITIONS_MAX + PLAN_SERVERS_MAX)

/* Slots of a task in root's capability space: a block each. */
enum resident_slot {
    RESIDENT_TASK,
    RESIDENT_NOTIFICATION,
    RESIDENT_ENDPOINT,
    RESIDENT_INTERRUPT,
    RESIDENT_THREAD = 8,                                /* + n */
    RESIDENT_VCPU = RESIDENT_THREAD + TASK_THREADS_MAX, /* + n */
    RESIDENT_SCHED =
        RESIDENT_VCPU + TASK_THREADS_MAX, /* + n: the context of the n-th thread's CPU */
    RESIDENT_SLOTS = RESIDENT_SCHED + TASK_THREADS_MAX,
};

/* Where things are in a task's host space. Programs are linked at 4 MiB. */
#define PROGRAM_END 0x10000000ull /* and here begin start page, stacks, channels, heap */
#define FILES_BASE  0x20000000ull
#define GUEST_BASE  0x40000000ull
#define HEAP_BASE \
    0x80000000ull /* of large pages: of servers and native tasks, which have no guest */

/* A task that root has made. */
struct resident {
    bool lives;
    uint32_t index;      /* of residents[]: partitions first, as in the plan, then servers */
    uint64_t id;         /* its badge: new with each life, index = id % TASKS_MAX */
    uint64_t generation; /* how many lives there were */
    uint64_t started_at;
    char name[TASK_NAME_MAX];
    cap_slot_t slots; /* its block */
    struct archive_member program;
    uint64_t entry;
    struct task_start *start; /* root's view of its start page */
    uint64_t start_address;
    uint64_t next_address; /* where the next thing goes */
    uint64_t quota_pages;
    unsigned priority;
    unsigned extent_count;
    struct extent extents[EXTENTS_MAX];
    bool warned;         /* of messages that it should not send */
    const char *problem; /* the first thing that went wrong while it was made */
};
extern struct resident residents[TASKS_MAX];

/* The resident that now has this badge, or NULL. */
struct resident *resident_of(uint64_t id);

/*
 * Making a task: task_begin (member: its program in the bundle), then the task_add functions in any order, then task_run. The first that goes wrong
 * notes a sentence in task->problem, and the rest do nothing; task_end takes back whatever there is by then.
 */
void task_begin(struct resident *task, const char *member, uint64_t quota_pages);
/* Zeroed memory at the task's next free address; returns root's view of it (NULL: see problem). */
void *task_add_memory(struct resident *task, uint64_t pages, uint64_t alignment, unsigned rights,
                      uint64_t *address);
/* The same at a given address. */
void *task_add_memory_at(struct resident *task, uint64_t address, uint64_t pages, unsigned rights);
/* A guest's memory in the largest pages that fit, zeroed, at GUEST_BASE. */
void task_add_guest_memory(struct resident *task, uint64_t size_bytes);
/* Zeroed memory that a native task shares with the server of its sockets, at GUEST_BASE. */
void task_add_client_memory(struct resident *task, uint64_t size_bytes);
/* A member of the bundle, read-only, at *address, which moves behind it. */
void task_add_file(struct resident *task, const struct archive_member *file, unsigned rights,
                   uint64_t *address);
/* Part of the boot module at a given address. */
void task_add_bundle(struct resident *task, uint64_t physical, uint64_t address, uint64_t pages,
                     unsigned rights);
/* The next thread, on a CPU, with the scheduling context that the task has there; made if it has none. */
void task_add_thread(struct resident *task, unsigned cpu, uint64_t budget);
/* A vCPU for thread n. */
void task_add_vcpu(struct resident *task, unsigned n);
/* Memory that root keeps, shared with a server that rings the task with TASK_BIT_CHANNEL(n) and that it rings
 * with ring_bits of peer. */
void task_add_channel(struct resident *task, enum task_channel_kind kind, const char *name,
                      uint64_t physical, uint64_t size_bytes, cap_slot_t peer, uint64_t ring_bits);
/* Memory that root keeps over the task's end; returns where. */
uint64_t task_add_page(struct resident *task, uint64_t physical, uint64_t pages, unsigned rights);
/* Registers of a device, that root sees; returns where. */
uint64_t task_add_device(struct resident *task, uint64_t physical, uint64_t pages);
/* One of root's capabilities. */
void task_add_capability(struct resident *task, cap_slot_t target, cap_slot_t source,
                         unsigned rights, uint64_t badge);
/* TASK_SLOT_NOTIFICATION and TASK_SLOT_ENDPOINT, the task's own, for a CPU. */
void task_add_notification(struct resident *task, unsigned cpu);
void task_add_endpoint(struct resident *task, unsigned cpu);
/* The page of what this kind of program gets besides; returns root's view of it. */
void *task_add_role(struct resident *task, uint64_t size_bytes);
void task_add_heap(struct resident *task, uint64_t size_bytes);
/* Ports that its threads may use. */
void task_add_ports(struct resident *task, unsigned first, unsigned count);
/* Notes a problem, unless one is noted already. */
void task_fail(struct resident *task, const char *problem);
/* Starts its first thread. NULL, or the problem. */
const char *task_run(struct resident *task);
/* Root's view of something that the task has in its memory, with these rights at least; NULL: it has not. */
const void *task_view(const struct resident *task, uint64_t address, uint64_t size_bytes,
                      unsigned rights);
/* For tests: its first thread goes on at an address where nothing is. */
void task_derail(struct resident *task);
/* Stops its threads where they are. */
void task_halt(struct resident *task);
/* Destroys it and takes back all that it had. */
void task_end(struct resident *task);

/* ---- program.c ---------------------------------------------------------------------------------------- */

/* Maps the program's segments: text and constants as they lie in the bundle, data as copies. */
void program_load(struct resident *task, const struct archive_member *file);

/* ---- symbols.c ---------------------------------------------------------------------------------------- */

/* "function+0x12", or the bare address if the program has no name for it. */
void symbol_name(const struct archive_member *program, uint64_t address, char *text,
                 size_t size_bytes);

/* How the thread that stands there came there, as far as its stack tells. */
void symbol_trace(const struct resident *task, uint64_t rsp, struct sink *sink);

/* ---- server.c: the console server ------------------------------------------------------------------- */

/* Starts it, or starts it anew after its end, and gives it all consoles that there are. */
void server_start(void);
/* Root speaks by the serial port again. */
void server_end_output(void);
/* Ends it. */
void server_end(void);
/* A client's channel: made once, kept while the machine runs, so that a console outlives its partition's lives. */
struct server_channel {
    uint32_t client; /* its number with the console server */
    uint32_t kind;
    uint64_t physical;
    const char *name;
    cap_slot_t
        raises; /* the notification that the server raises, and the bits. 0: the task's own, and the */
    uint64_t bits; /* bit of the channel's number there */
    bool attached;
};
void server_channel_make(struct server_channel *channel, enum task_channel_kind kind,
                         const char *name);
/* The channel as task_add_channel wants it; then, once the task has it, the server gets it. */
void server_channel_add(struct server_channel *channel, struct resident *task);
void server_channel_attach(struct server_channel *channel, struct resident *task);
/* What the task wrote is shown; then the channel's memory is taken back from both and emptied. */
void server_channel_detach(struct server_channel *channel);
/* Returns when all that was said is on the line, or after some seconds. */
void server_flush(void);
/* NULL: it does not run. */
struct resident *server_task(void);
cap_slot_t server_interrupt(void);
/* For the audit: does this memory, do these ports belong to channels (of one task), or to the server? May one task
 * raise these bits, and no others, of the other's notification? */
bool server_has_channels(uint64_t first, uint64_t last);
bool server_has_channel_of(const struct resident *task, uint64_t first, uint64_t last);
bool server_has_ports(uint64_t first, uint64_t last);
bool server_may_ring(const struct resident *from, const struct resident *to, uint64_t bits);

/* ---- plan.c ------------------------------------------------------------------------------------------- */

/* Parses the bundle's partition file and checks it against the machine; says each error. */
bool plan_load(void);
/* What it says of the server that drives this; NULL: there is none. */
const struct plan_server *plan_server_of(enum plan_device device);

/* ---- partition.c ---------------------------------------------------------------------------------------- */

enum partition_state {
    PARTITION_OFF,
    PARTITION_RUNNING,
    PARTITION_LEFT,    /* it has ended, and is left as it is, to be looked at */
    PARTITION_WAITING, /* for its next start */
};

struct partition {
    const struct plan_partition *plan;
    struct resident *task;
    enum partition_state state;
    bool ready;   /* its VMM has said that the guest runs */
    bool by_hand; /* it was stopped at the monitor */
    bool failed;  /* it ended otherwise than by its guest's will */
    struct server_channel console, log;
    struct vmm_command *command; /* root's view; NULL while there is no VMM */
    volatile const struct vmm_status *status;
    uint64_t variables; /* physical address of its firmware's, which outlive its VMM; 0: it has none */
    const struct vmm_picture *picture; /* of a `pc`; NULL while there is no VMM */
    uint64_t lives, started_at, restart_at;
    uint32_t restarts[PLAN_EVENT_COUNT];
};
extern struct partition partitions[PLAN_PARTITIONS_MAX];

/* Channels for all, before the first is started. */
void partitions_init(void);
struct partition *partition_named(const char *name);
/* It is a native task, without VMM and guest: `task` of the file. */
bool partition_is_native(const struct partition *partition);
/* Makes the VMM and lets it run. NULL; or a sentence, and it is off. */
const char *partition_start(struct partition *partition);
/* Takes it apart, and everything back. */
void partition_end(struct partition *partition, enum partition_state state);
void partitions_end_all(void);
/* A word to its VMM, which may or may not heed it. */
void partition_command(struct partition *partition, enum vmm_command_code code, uint64_t argument);

/* ---- supervise.c ---------------------------------------------------------------------------------------- */

/* Starts a partition; if it can't be, says why and does what the file says. */
void supervise_launch(struct partition *partition);
/* Starts all partitions that are to be started at boot. */
void supervise_start(void);
/* What tasks have said, and what befell them. */
void supervise_notices(void);
/* What is due by the clock: deaths that nobody told, restarts. Returns when it wants to be called again. */
uint64_t supervise_clock(void);
/* Has the last partition ended? *failed: one of them badly. */
bool supervise_all_ended(bool *failed);

#endif
