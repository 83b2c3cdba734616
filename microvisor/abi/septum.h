/*
 * The interface between the microvisor and user tasks: numbers, registers, structures.
 * Everything that user space sees of the kernel is in this folder.
 */
#ifndef SEPTUM_ABI_H
#define SEPTUM_ABI_H

#include <stdint.h>

#define SEPTUM_ABI_VERSION 1u

#define SEPTUM_PAGE_SIZE 4096ull

/* User addresses end here. The last page below the hole of non-canonical addresses is never mapped,
 * so that no return address of a system call can be non-canonical (AMD APM 2, 5.3.1). */
#define SEPTUM_USER_END 0x00007ffffffff000ull

enum septum_syscall {
#define SYSCALL(number, name, arguments, errors, meaning) SYSCALL_##name = number,
#include "syscalls.def"
#undef SYSCALL
    SYSCALL_COUNT = 7
};

enum septum_status {
#define ERROR(number, name, meaning) STATUS_##name = number,
#include "errors.def"
#undef ERROR
    STATUS_COUNT
};

/* ---- capabilities ------------------------------------------------------------------------- */

typedef uint32_t cap_slot_t; /* index into the caller's capability space; 0 is never valid */

#define CAP_SLOTS_MAX 32768u

enum object_type {
    OBJECT_NONE,
    OBJECT_TASK,
    OBJECT_THREAD,
    OBJECT_VCPU,
    OBJECT_ENDPOINT,
    OBJECT_NOTIFICATION,
    OBJECT_INTERRUPT,
    OBJECT_SCHED,
    OBJECT_DEVICE, /* a device that reaches memory through its owner's SPACE_DMA */
    OBJECT_REPLY, /* a deferred reply, made by CONTROL_THREAD_SAVE_REPLY only; cannot be delegated */
    OBJECT_TYPE_COUNT
};

/* Rights in a capability. A delegated capability has a subset of its source's. */
enum capability_right {
    RIGHT_SEND = 1,    /* endpoint: send and call; notification: raise; vCPU: run; reply: use */
    RIGHT_RECEIVE = 2, /* endpoint: wait; notification: wait and bind */
    RIGHT_CONTROL = 4, /* thread, vCPU, interrupt, sched: `control` and `schedule` */
    RIGHT_CREATE = 8,  /* task: charge new objects to it; sched: derive scheduling contexts */
    RIGHT_MAP = 16,    /* task: delegate into it, take back from it */
    RIGHT_INSPECT = 32, /* task: read its quota, tables and use */
    RIGHT_BADGE = 64,  /* endpoint, notification: set the badge when delegating */
    RIGHT_MACHINE = 128, /* task (root's own only): make interrupts, read frames and trace */
    RIGHTS_ALL = 255
};

/* ---- spaces: what `map` and `unmap` move ----------------------------------------------------- */

enum space_kind {
    SPACE_PHYSICAL,   /* frames that a task holds, by physical address; no table behind it */
    SPACE_HOST,       /* the task's own virtual addresses */
    SPACE_GUEST,      /* guest-physical addresses of the task's vCPUs */
    SPACE_DMA,        /* addresses that the task's devices may use (IOMMU) */
    SPACE_PORT,       /* I/O ports that the task's threads may access */
    SPACE_GUEST_PORT, /* I/O ports that the task's vCPUs reach without an exit */
    SPACE_CAPABILITY,
    SPACE_KIND_COUNT
};

/* Rights and attributes of a memory or port range. */
enum map_right {
    MAP_READ = 1,
    MAP_WRITE = 2,
    MAP_EXECUTE = 4,
    MAP_RIGHTS = 7,
};

enum map_cache {
    CACHE_INHERIT = 0, /* as the source range: write-back for RAM, uncached for devices */
    CACHE_UNCACHED = 1,
    CACHE_WRITE_COMBINING = 2,
};

/* The `how` word of map: source space, target space, rights, cache attribute.
 * For capabilities the rights are enum capability_right. */
#define MAP_HOW(source_space, target_space, rights, cache)                                         \
    ((uint64_t)(source_space) | (uint64_t)(target_space) << 8 | (uint64_t)(rights) << 16 |     \
     (uint64_t)(cache) << 24)

/* Flags of `unmap`'s `how` word, beside the space in bits 0-7. */
enum unmap_flag {
    UNMAP_SELF = 1 << 8, /* also the range itself, not only what was delegated from it */
};

/* ---- ipc ------------------------------------------------------------------------------------- */

/* The shape of an `ipc`, in rax bits 8-15. */
enum ipc_shape {
    IPC_SEND,       /* target: endpoint, notification (w0 = bits), or saved reply. No answer. */
    IPC_WAIT,       /* target: endpoint, notification, or 0 (only the bound notification) */
    IPC_CALL,       /* target: endpoint or vCPU. Waits for the reply. */
    IPC_REPLY_WAIT, /* answers the current caller, then waits on target */
    IPC_SHAPE_COUNT
};

#define IPC_RAX(shape) ((uint64_t)SYSCALL_ipc | (uint64_t)(shape) << 8)

/* Deadlines are absolute, in TSC ticks (rbx). */
#define DEADLINE_NEVER UINT64_MAX
#define DEADLINE_POLL 0ull

/*
 * A message tag. Words 0-3 travel in rdx r10 r8 r9, words 4 and up in message_buffer.words[4..].
 * After a wait: rax status, rdi badge, rsi tag, words as above. The four word registers are always
 * passed as they are, whatever the count.
 */
#define TAG_WORDS_MASK 0x3full
#define TAG_ITEMS_SHIFT 6
#define TAG_ITEMS_MASK 0x7ull
#define TAG_LABEL_SHIFT 32
#define TAG(label, words, items)                                                                   \
    ((uint64_t)(label) << TAG_LABEL_SHIFT | (uint64_t)(items) << TAG_ITEMS_SHIFT | (words))
#define TAG_WORDS(tag) ((unsigned)((tag) & TAG_WORDS_MASK))
#define TAG_ITEMS(tag) ((unsigned)((tag) >> TAG_ITEMS_SHIFT & TAG_ITEMS_MASK))
#define TAG_LABEL(tag) ((uint32_t)((tag) >> TAG_LABEL_SHIFT))

/* Bits 16-23 of a tag: who speaks. Set by the kernel alone (a sender's are cleared). */
enum tag_origin {
    ORIGIN_MESSAGE = 0,      /* a thread's send, call or reply */
    ORIGIN_NOTIFICATION = 1, /* w0 = the bits, now cleared; badge = 0 */
    ORIGIN_PAGE_FAULT = 2,   /* w0 = address, w1 = error code, w2 = rip, w3 = rsp */
    ORIGIN_EXCEPTION = 3,    /* w0 = vector, w1 = error code, w2 = rip, w3 = rsp; registers in buffer */
    ORIGIN_VCPU_EXIT = 4,    /* the reply of a call to a vCPU: see vcpu.h */
};
#define TAG_ORIGIN_SHIFT 16
#define TAG_ORIGIN_MASK 0xffull
#define TAG_ORIGIN(tag) ((enum tag_origin)((tag) >> TAG_ORIGIN_SHIFT & TAG_ORIGIN_MASK))

#define MESSAGE_WORDS_MAX 63u
#define MESSAGE_ITEMS_MAX 4u

/* A typed item: something the sender delegates with the message. */
struct map_item {
    uint64_t how;    /* MAP_HOW; the target space must have a window open */
    uint64_t source; /* address, port or slot in the sender's source space */
    uint64_t offset; /* place inside the receiver's window, in bytes, ports or slots */
    uint64_t count;  /* pages, ports or slots; one item is at most 512 pages */
    uint64_t badge;  /* for capabilities: the badge, if the sender may set it */
};

/* Where a receiver lets items land. An empty window (count 0) refuses them. */
struct receive_window {
    uint64_t base;  /* address, port or slot in the receiver's own space */
    uint64_t count; /* pages, ports or slots */
};

/* A thread's registers as `control` and exception messages carry them. */
struct thread_registers {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags, fs_base;
};

/* The page through which a thread and the kernel exchange what does not fit in registers. It is
 * pinned; the kernel reads each word once. */
struct message_buffer {
    uint64_t words[64];                                 /* words[0-3] unused: in registers */
    struct map_item items[MESSAGE_ITEMS_MAX];           /* written by a sender */
    struct receive_window windows[SPACE_KIND_COUNT];    /* written by a receiver, by target space */
    struct map_item received[MESSAGE_ITEMS_MAX];        /* written by the kernel: what arrived; offset
                                                           is now the absolute place */
    struct thread_registers registers; /* exceptions; CONTROL_THREAD_{READ,WRITE}_REGISTERS */
    uint64_t output[256];              /* results of `inspect` that do not fit in registers */
};

/* An exception reply whose label is this writes `registers` back into the thread. */
#define REPLY_WITH_REGISTERS 1u

/* ---- create ---------------------------------------------------------------------------------- */
/*
 * OBJECT_TASK         a0 quota in pages, moved from owner's; a1 capability slots; a2 0
 * OBJECT_THREAD       owner: the task it lives in; a0 sched slot (gives the CPU); a1 address of the
 *                     message buffer in owner's host space; a2 fault endpoint slot in owner's
 *                     capability space (0: none, a fault stops the thread). Made stopped.
 * OBJECT_VCPU         owner: the task; a0 CPU; a1 address of the state page in owner's host space
 * OBJECT_ENDPOINT     a0 CPU of its receivers
 * OBJECT_NOTIFICATION a0 CPU of its waiters
 * OBJECT_INTERRUPT    owner needs RIGHT_MACHINE; a0 source: a GSI, INTERRUPT_MSI (of any device),
 *                     INTERRUPT_MSI_OF(what the device's requests name), or
 *                     INTERRUPT_DMA_FAULT (the IOMMU has noted a fault: INSPECT_DMA_FAULT); a1 CPU
 * OBJECT_DEVICE       owner needs RIGHT_MACHINE; a0 what the device's requests name: bus << 8 |
 *                     device << 3 | function. From then on it reaches what is in the owner's SPACE_DMA.
 * OBJECT_SCHED        a0 parent sched slot; a1 priority; a2 budget_us | period_us << 32
 *                     (both 0: no limit, where the parent has none)
 */
#define INTERRUPT_MSI (1ull << 32)
#define INTERRUPT_DMA_FAULT (2ull << 32)
#define INTERRUPT_MSI_OF(requester) (4ull << 32 | (requester)) /* where messages are remapped, others can't send it */

#define PRIORITY_MAX 63u

/* The badge of a scheduling context's capability holds what it allows: the highest priority, and the
 * largest share of the CPU in millionths. Delegation can only lower it (0: as it is). */
#define SCHED_LIMITS(priority, share_ppm) ((uint64_t)(priority) | (uint64_t)(share_ppm) << 32)
#define SCHED_LIMITS_NONE SCHED_LIMITS(PRIORITY_MAX, UINT32_MAX)

/* ---- control --------------------------------------------------------------------------------- */

enum thread_operation {
    CONTROL_THREAD_START = 0,          /* a0 rip, a1 rsp, a2 argument in rdi */
    CONTROL_THREAD_STOP = 1,           /* ends an ipc with INTERRUPTED at resume; stays stopped */
    CONTROL_THREAD_RESUME = 2,
    CONTROL_THREAD_READ_REGISTERS = 3, /* into the caller's buffer; the thread must be stopped */
    CONTROL_THREAD_WRITE_REGISTERS = 4,
    CONTROL_THREAD_SET_FAULT_ENDPOINT = 5, /* a0 slot in the thread's task */
    CONTROL_THREAD_BIND_NOTIFICATION = 6,  /* a0 notification slot, 0 to unbind */
    CONTROL_THREAD_SAVE_REPLY = 7,     /* object 0 (self): a0 empty slot that takes the reply right */
    CONTROL_THREAD_DROP_REPLY = 8,     /* object 0 (self): the caller gets PEER_GONE */
};

enum vcpu_operation {
    CONTROL_VCPU_READ = 0,       /* a0 groups: into the state page (the vCPU must not be running) */
    CONTROL_VCPU_WRITE = 1,      /* a0 groups: from the state page; checked */
    CONTROL_VCPU_FORCE_EXIT = 2, /* a run in progress, or the next one, ends with EXIT_FORCED */
    CONTROL_VCPU_READ_FPU = 3,   /* the XSAVE image into the state page's fpu area */
    CONTROL_VCPU_WRITE_FPU = 4,
    CONTROL_VCPU_VIOLATE = 5,    /* debug kernels: a0 = rule that the state breaks from now on; else
                                    NOT_SUPPORTED. VCPU_VIOLATE_MSR | index: that MSR, below 2000h, is
                                    let through */
};

#define VCPU_VIOLATE_MSR 0x10000u

enum interrupt_operation {
    CONTROL_INTERRUPT_BIND = 0, /* a0 notification slot, a1 bits; a2 enum interrupt_mode */
    CONTROL_INTERRUPT_ACK = 1,  /* handled: may come again */
    CONTROL_INTERRUPT_UNBIND = 2,
    CONTROL_INTERRUPT_MSI_INFO = 3, /* returns the MSI address in w0 and data in w1 */
};

enum interrupt_mode {
    INTERRUPT_LEVEL = 1,      /* else edge */
    INTERRUPT_ACTIVE_LOW = 2, /* else high */
};

/* ---- schedule -------------------------------------------------------------------------------- */

enum schedule_operation {
    SCHEDULE_YIELD = 0, /* sched 0: to the next thread of the same priority */
    SCHEDULE_SET = 1,   /* a0 priority, a1 budget_us | period_us << 32 */
    SCHEDULE_BIND = 2,  /* a0 thread slot: runs on this context from now on (same CPU) */
};

/* ---- inspect --------------------------------------------------------------------------------- */

enum inspect_selector {
    /* Results: w0 w1 w2 w3 come back where the words of a message do: rdx r10 r8 r9. */
    INSPECT_NULL = 0,     /* w0 = SEPTUM_ABI_VERSION */
    INSPECT_TIME = 1,     /* w0 = TSC now, w1 = TSC kHz, w2 = this CPU */
    INSPECT_CAPABILITY = 2, /* object: w0 = type, w1 = rights, w2 = badge. Empty slot: type 0 */
    INSPECT_QUOTA = 3,    /* task: w0 = pages granted, w1 = used, w2 = given to tasks below */
    INSPECT_SCHED = 4,    /* sched: w0 = TSC ticks used, w1 = priority, w2 = budget_us|period_us<<32,
                             w3 = CPU | remaining_us << 32 */
    INSPECT_COUNTERS = 5, /* RIGHT_MACHINE; a0 = CPU: event counters into output[], w0 = how many
                             (counters.def) */
    INSPECT_RANGE = 6,    /* task, a0 = space, a1 = base: the first range at or above base that the
                             database holds: output = {base, count, frame, rights, owner id,...} */
    INSPECT_TABLE = 7,    /* task, a0 = space, a1 = base: the first present entry at or above base in
                             the hardware's own table: output = {base, size, frame, rights, cache} */
    INSPECT_TRACE = 8,    /* RIGHT_MACHINE; a0 = CPU, a1 = from: struct trace_record into output[] */
    INSPECT_TRACE_SET = 9, /* RIGHT_MACHINE; a0 = mask of trace classes to record */
    INSPECT_THREAD = 10,  /* thread: w0 = state, w1 = rip, w2 = enum tag_origin of the fault that
                             stopped it | its address or vector << 8, w3 = CPU */
    INSPECT_MSRS = 11,    /* vCPU, a0 = part: 2 KiB of the processor's own map of MSRs that do not exit,
                             into output[]; w0 = words, 0: there is no such part */
    INSPECT_DMA_FAULT = 12, /* RIGHT_MACHINE: what the IOMMU has noted of a request that it refused, which
                             is forgotten then: w0 = 1, 0: nothing; w1 = bus << 8 | device << 3 | function |
                             reason (VT-d) << 16 | write << 24; w2 = address, or from reason 0x20 on an
                             interrupt message's index << 48 */
};

/* Trace classes, for INSPECT_TRACE_SET and in the records of INSPECT_TRACE. */
enum trace_class {
    TRACE_SYSCALL = 1,   /* what = call number; a, b = its first arguments */
    TRACE_SWITCH = 2,    /* what = 0; a = thread before, b = thread after (ids) */
    TRACE_INTERRUPT = 4, /* what = vector */
    TRACE_FAULT = 8,     /* what = vector; a = address or error, b = rip */
    TRACE_EXIT = 16,     /* what = exit reason; a = qualification, b = guest rip */
    TRACE_REVOKE = 32,   /* what = space; a = base, b = count */
};

struct trace_record {
    uint64_t tsc;
    uint32_t type; /* enum trace_class */
    uint32_t what;
    uint64_t a, b;
};

/* INSPECT_TRACE returns up to this many records at a time, oldest first, from sequence number a1;
 * w0 = how many, w1 = the sequence number of the first (older ones are gone), w2 = of the next to come. */
#define TRACE_RECORDS_PER_CALL 64u

/* INSPECT_THREAD's w0: the state, and THREAD_STOPPED beside it while `control`, a fault without an
 * endpoint, or its creation holds the thread back. */
enum thread_state {
    THREAD_INACTIVE = 0,  /* never started */
    THREAD_READY = 1,     /* runs, or would if it had the CPU and budget */
    THREAD_SENDING = 2,   /* its message waits for a receiver */
    THREAD_CALLING = 3,   /* its message was received: waits for the reply */
    THREAD_RECEIVING = 4, /* waits for a message or a notification */
    THREAD_WAKING = 5,    /* its answer is on the way from another CPU */
    THREAD_STATE_MASK = 255,
    THREAD_STOPPED = 256,
};

#include "boot_info.h"
#include "vcpu.h"

#endif
