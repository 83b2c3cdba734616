/*
 * inspect: what the kernel knows, to those who may.
 *
 * Who holds which frame: ranges are what the database believes; tables are what the hardware does, read
 * from its own structures: the audit compares the two. Both show frame numbers, so the capability to the
 * task needs RIGHT_INSPECT and RIGHT_MACHINE. A task is identified by the physical address of its record.
 */
#include "core/syscall.h"
#include "core/trace.h"
#include "virt/vcpu.h"
#include "x86/processor.h"

/* The result. */
struct words {
    uint64_t w0, w1, w2, w3;
};

struct inquiry {
    const struct selector *selector;
    const struct thread *caller;
    struct object *object; /* NULL: the selector wants none */
    uint64_t a0, a1;
    uint64_t *output; /* the caller's buffer */
    struct words words;
    enum septum_status status;
};

/* What a selector wants, and who answers. */
struct selector {
    uint8_t type; /* enum object_type: of the object that has to be named */
    uint8_t rights;
    enum { ANYWHERE, AT_HOME, OF_CPU } about; /* asked on the object's CPU; a0 is a CPU */
    void (*read)(struct inquiry *inquiry);
};

/* ---- objects --------------------------------------------------------------------------------- */

static void read_time(struct inquiry *inquiry)
{
    inquiry->words = (struct words){processor_ticks(), tsc_khz, this_cpu()->number, 0};
}

static void read_capability(struct inquiry *inquiry)
{
    const struct thread *caller = inquiry->caller;
    const struct capability *capability =
        capability_lookup(&caller->task->capabilities, caller->registers.rsi);
    if (capability->type != OBJECT_NONE)
        inquiry->words = (struct words){capability->type, capability->rights, capability->badge, 0};
}

static uint64_t id_of(const struct task *task)
{
    return frame_is_kernel(frame_physical(task)) ? frame_physical(task) : 1; /* 1: the first task */
}

static void read_quota(struct inquiry *inquiry)
{
    const struct task *task = (const struct task *)inquiry->object;
    const struct quota *quota = &task->quota;
    inquiry->words = (struct words){quota->granted, quota->used, quota->given, id_of(task)};
}

static void read_sched(struct inquiry *inquiry)
{
    const struct sched *sched = (const struct sched *)inquiry->object;
    sched_charge(this_cpu()->charged);
    inquiry->words = (struct words){sched->used, sched->priority,
                                    sched->budget_us | (uint64_t)sched->period_us << 32,
                                    sched->object.home | (sched->remaining * 1000 / tsc_khz) << 32};
}

static void read_thread(struct inquiry *inquiry)
{
    const struct thread *thread = container_of(inquiry->object, struct thread, object);
    bool held = thread->attention & ATTENTION_STOP || thread->state == THREAD_INACTIVE;
    inquiry->words = (struct words){thread->state | (held ? THREAD_STOPPED : 0),
                                    thread->registers.rip,
                                    thread->stopped_by_fault | (uint64_t)thread->fault_words[0] << 8,
                                    thread->object.home};
}

/* The map that the processor reads, 2 KiB at a time, as it stands. */
static void read_msrs(struct inquiry *inquiry)
{
    uint64_t size = sizeof(((struct message_buffer *)0)->output);
    if (inquiry->a0 >= vcpu_ops->msr_map_bytes / size)
        return;
    memcpy(inquiry->output,
           vcpu_msr_map(container_of(inquiry->object, struct vcpu, object)) + inquiry->a0 * size,
           size);
    inquiry->words.w0 = size / sizeof(uint64_t);
}

/* ---- a CPU as a whole, for the machine's owner ------------------------------------------------- */

static void read_counters(struct inquiry *inquiry)
{
    memcpy(inquiry->output, cpus[inquiry->a0]->counters, sizeof(this_cpu()->counters));
    inquiry->words.w0 = COUNTER_COUNT;
}

static void read_trace(struct inquiry *inquiry)
{
    struct words *words = &inquiry->words;
    words->w1 = inquiry->a1;
    words->w0 = trace_read((unsigned)inquiry->a0, &words->w1, &words->w2,
                           (struct trace_record *)inquiry->output);
}

static void read_dma_fault(struct inquiry *inquiry)
{
    struct words *words = &inquiry->words;
    words->w0 = dma_confined && dma_fault_next(&words->w1, &words->w2);
}

static void set_trace(struct inquiry *inquiry)
{
    trace_set((uint32_t)inquiry->a0);
}

/* ---- who holds which frame ------------------------------------------------------------------- */

/* All of these put what they found into the output, and say how many words that is: 0 is nothing. */

static unsigned next_capability(const struct task *task, uint64_t base, uint64_t *output)
{
    const struct capability_space *space = &task->capabilities;
    for (uint64_t slot = base; slot < space->slots; slot++) {
        const struct capability *capability = capability_lookup(space, slot);
        if (space->directory[slot / CAPABILITIES_PER_PAGE] == empty_capabilities)
            slot |= CAPABILITIES_PER_PAGE - 1;
        if (capability->type == OBJECT_NONE)
            continue;
        output[0] = slot;
        output[1] = 1;
        output[2] = frame_physical(capability->object);
        output[3] = capability->rights | (uint64_t)capability->type << 8;
        output[4] = capability->parent ? id_of(capability->parent->task) : 0;
        output[5] = SPACE_CAPABILITY;
        output[6] = capability->parent ? capability->parent->slot : 0;
        output[7] = capability->badge;
        return 8;
    }
    return 0;
}

static unsigned next_range(const struct task *task, uint64_t space, uint64_t base, uint64_t *output)
{
    const struct range *range = range_find(&task->ranges[space], base);
    if (!range)
        return 0;
    const struct range *parent = range->parent;
    output[0] = range->place.start;
    output[1] = range_size(range);
    output[2] = range->frame;
    output[3] = range->rights | (uint64_t)range->cache << 8 | (uint64_t)range->device << 16;
    output[4] = parent ? id_of(parent->task) : 0;
    output[5] = parent ? parent->space : 0;
    output[6] = parent ? parent->place.start + (range->frame - parent->frame) : 0;
    output[7] = 0;
    return 8;
}

/* The first port from `port` on whose bit is not `bit`; whole words at a time, for there are 64 Ki ports and nobody is
 * preempted meanwhile. */
static uint64_t ports_skip(const uint8_t *bitmap, uint64_t port, bool bit)
{
    const uint64_t *words = (const uint64_t *)bitmap, all = bit ? UINT64_MAX : 0;
    while (port < PORT_BITMAP_BYTES * 8) {
        if (port % 64 == 0 && words[port / 64] == all)
            port += 64;
        else if ((words[port / 64] >> port % 64 & 1) == bit)
            port++;
        else
            break;
    }
    return port;
}

/* The next run of ports that the bitmap lets through. */
static unsigned next_ports(const uint8_t *bitmap, uint64_t base, uint64_t *output)
{
    if (!bitmap)
        return 0;
    uint64_t first = ports_skip(bitmap, base, true);
    if (first >= PORT_BITMAP_BYTES * 8)
        return 0;
    output[0] = output[2] = first;
    output[1] = ports_skip(bitmap, first, false) - first;
    output[3] = MAP_READ | MAP_WRITE;
    output[4] = output[5] = 0;
    return 6;
}

static unsigned next_entry(struct task *task, uint64_t space, uint64_t base, uint64_t *output)
{
    struct table_entry entry;
    if (!table_next(space_table(task, (enum space_kind)space), base, &entry))
        return 0;
    output[0] = entry.address;
    output[1] = entry.size_bytes;
    output[2] = entry.frame;
    output[3] = entry.rights;
    output[4] = entry.cache;
    output[5] = entry.raw;
    return 6;
}

/* A size of 0 tells, too, that there is nothing at or above the base. */
static void read_space(struct inquiry *inquiry)
{
    struct task *task = (struct task *)inquiry->object;
    uint64_t space = inquiry->a0, base = inquiry->a1, *output = inquiry->output;
    bool hardware = inquiry->caller->registers.rdi == INSPECT_TABLE;

    if (space >= SPACE_KIND_COUNT ||
        (hardware && (space == SPACE_PHYSICAL || space == SPACE_CAPABILITY))) {
        inquiry->status = STATUS_BAD_ARGUMENT;
        return;
    }
    spinlock_acquire(&mapping_lock);
    inquiry->words.w0 =
        space == SPACE_CAPABILITY   ? next_capability(task, base, output)
        : !hardware                 ? next_range(task, space, base, output)
        : space == SPACE_PORT       ? next_ports(task->ports, base, output)
        : space == SPACE_GUEST_PORT ? next_ports(task->guest_ports, base, output)
                                    : next_entry(task, space, base, output);
    spinlock_release(&mapping_lock);
    if (!inquiry->words.w0)
        output[0] = output[1] = 0;
}

/* ---- the system call ------------------------------------------------------------------------- */

static const struct selector selectors[] = {
    [INSPECT_TIME] = {.read = read_time},
    [INSPECT_CAPABILITY] = {.read = read_capability},
    [INSPECT_QUOTA] = {OBJECT_TASK, RIGHT_INSPECT, ANYWHERE, read_quota},
    [INSPECT_SCHED] = {OBJECT_SCHED, RIGHT_INSPECT, AT_HOME, read_sched},
    [INSPECT_COUNTERS] = {OBJECT_TASK, RIGHT_MACHINE, OF_CPU, read_counters},
    [INSPECT_RANGE] = {OBJECT_TASK, RIGHT_INSPECT | RIGHT_MACHINE, ANYWHERE, read_space},
    [INSPECT_TABLE] = {OBJECT_TASK, RIGHT_INSPECT | RIGHT_MACHINE, ANYWHERE, read_space},
    [INSPECT_TRACE] = {OBJECT_TASK, RIGHT_MACHINE, OF_CPU, read_trace},
    [INSPECT_TRACE_SET] = {OBJECT_TASK, RIGHT_MACHINE, ANYWHERE, set_trace},
    [INSPECT_THREAD] = {OBJECT_THREAD, RIGHT_CONTROL, AT_HOME, read_thread},
    [INSPECT_MSRS] = {OBJECT_VCPU, RIGHT_CONTROL, ANYWHERE, read_msrs},
    [INSPECT_DMA_FAULT] = {OBJECT_TASK, RIGHT_MACHINE, ANYWHERE, read_dma_fault},
};

static void read_here(void *argument)
{
    struct inquiry *inquiry = argument;
    inquiry->selector->read(inquiry);
}

/* Apart from the null call, which then needs no stack frame. */
static __attribute__((noinline)) enum septum_status inspect_something(struct thread *caller)
{
    struct registers *registers = &caller->registers;
    if (registers->rdi >= ARRAY_SIZE(selectors))
        return STATUS_BAD_ARGUMENT;
    const struct selector *selector = &selectors[registers->rdi];
    struct inquiry inquiry = {.selector = selector,
                              .caller = caller,
                              .a0 = registers->rdx,
                              .a1 = registers->r10,
                              .output = caller->buffer->output};
    if (selector->type == OBJECT_TASK && selector->rights == RIGHT_INSPECT && !registers->rsi)
        inquiry.object = &caller->task->object; /* one's own */
    else if (selector->type)
        inquiry.object = capability_object(caller->task, registers->rsi, selector->type,
                                           selector->rights, &inquiry.status);
    if (inquiry.status == STATUS_OK && selector->about == OF_CPU && inquiry.a0 >= cpu_count)
        inquiry.status = STATUS_BAD_ARGUMENT;
    if (inquiry.status == STATUS_OK)
        cross_call(selector->about == AT_HOME ? inquiry.object->home : this_cpu()->number,
                   read_here, &inquiry);
    if (inquiry.status != STATUS_OK)
        return inquiry.status;
    registers->rdx = inquiry.words.w0;
    registers->r10 = inquiry.words.w1;
    registers->r8 = inquiry.words.w2;
    registers->r9 = inquiry.words.w3;
    return STATUS_OK;
}

enum septum_status sys_inspect(struct thread *caller)
{
    if (caller->registers.rdi != INSPECT_NULL)
        return inspect_something(caller);
    caller->registers.rdx = SEPTUM_ABI_VERSION;
    return STATUS_OK;
}
