/*
 * Task switches by hardware (SDM 3A, 8.3), which VT-x always leaves to the hypervisor. The processor has looked at gates
 * and privileges before its exit (SDM 3C, 26.4.2); what the new task's segment says is checked here.
 * Missing: an exception on the way to a handler's task is raised as it is, never as a double fault.
 */
#include "cpu/execute_internal.h"

#define GENERAL       8u
#define RPL(selector) ((selector)&3u)

enum {
    WIDE_CR3 = 0x1c,
    WIDE_DEBUG = 0x64, /* bit 0: trap when this task begins */
    EMPTY_CODE = 0x409b,
    EMPTY_DATA = 0x4093,
    DR6_TASK = 1u << 15,
    DR7_LOCAL = 0x155, /* the breakpoints of one task */
    PLAIN_DATA = 0xf3, /* what virtual-8086 mode has in every segment (SDM 3C, 27.3.1.2) */
    FLAGS_TAKEN = 0x3f7fd5,
    FLAGS_ONE = 2,
};

/* Where a task's segment keeps what (SDM 3A, 8.2.1 and 8.6). */
struct layout {
    unsigned word_bytes, size_bytes, rip, flags, general, segments, segment_count, local;
};
static const struct layout wide = {4, 104, 0x20, 0x24, 0x28, 0x48, 6, 0x60};
static const struct layout narrow = {2, 44, 0x0e, 0x10, 0x12, 0x22, 4, 0x2a};

/* What a task begins with. */
struct task_image {
    uint64_t general[GENERAL], rip, flags, cr3, local, segment[VCPU_GS + 1], trap;
};

static const struct layout *layout_of(const struct vcpu_segment *task)
{
    return (task->attributes & 15 & ~TYPE_BUSY) == TYPE_TSS ? &wide : &narrow;
}

static enum execute_result invalid_task(struct execution *x, uint64_t selector, uint32_t external)
{
    return execute_raise_error(x, EXCEPTION_TASK, (selector & SELECTOR_BITS) | external);
}

/* ---- The two tasks' segments ----------------------------------------------------------------- */

/* SDM 3A, 8.3, step 3 to 5: busy if we come back to it, else not. */
static enum execute_result find_task(struct execution *x, const struct execute_task_switch *to,
                                     uint64_t *linear, struct vcpu_segment *task)
{
    uint64_t descriptor, error = (to->selector & SELECTOR_BITS) | to->external;
    bool back = to->source == EXECUTE_TASK_IRET;
    enum exception fault = back ? EXCEPTION_TASK : EXCEPTION_PROTECTION;
    if ((to->selector & SELECTOR_TABLE) || !(to->selector & SELECTOR_BITS) ||
        !execute_has_descriptor(x, to->selector))
        return execute_raise_error(x, fault, error);
    TRY(execute_read_descriptor(x, to->selector, linear, &descriptor));
    *task = execute_segment_of(to->selector, descriptor);
    unsigned type = task->attributes & 15, wanted = back ? TYPE_BUSY : 0;
    if ((task->attributes & DESCRIPTOR_ORDINARY) ||
        (type != (TYPE_TSS | wanted) && type != (TYPE_TSS_16 | wanted)))
        return execute_raise_error(x, fault, error);
    if (!(task->attributes & DESCRIPTOR_PRESENT))
        return execute_raise_error(x, EXCEPTION_NOT_PRESENT, error);
    if (task->limit < layout_of(task)->size_bytes - 1)
        return invalid_task(x, to->selector, to->external);
    return EXECUTE_DONE;
}

static uint64_t at(const struct vcpu_segment *task, unsigned offset)
{
    return (task->base + offset) & 0xffffffff;
}

static enum execute_result read_words(struct execution *x, const struct vcpu_segment *task,
                                      unsigned offset, unsigned count, uint64_t *words)
{
    unsigned word_bytes = layout_of(task)->word_bytes;
    for (unsigned i = 0; i < count; i++)
        TRY(execute_read(x, NULL, at(task, offset + i * word_bytes), word_bytes, &words[i]));
    return EXECUTE_DONE;
}

static enum execute_result read_task(struct execution *x, const struct vcpu_segment *task,
                                     struct task_image *image)
{
    const struct layout *l = layout_of(task);
    TRY(read_words(x, task, l->rip, 1, &image->rip));
    TRY(read_words(x, task, l->flags, 1, &image->flags));
    TRY(read_words(x, task, l->general, GENERAL, image->general));
    TRY(read_words(x, task, l->segments, l->segment_count, image->segment));
    TRY(read_words(x, task, l->local, 1, &image->local));
    if (l == &wide) {
        TRY(read_words(x, task, WIDE_CR3, 1, &image->cr3));
        return read_words(x, task, WIDE_DEBUG, 1, &image->trap);
    }
    for (unsigned i = 0; i < GENERAL;
         i++) /* as the emulators and the processors that were looked at have it */
        image->general[i] |= 0xffff0000;
    return EXECUTE_DONE;
}

static enum execute_result save_task(struct execution *x, const struct vcpu_segment *task,
                                     uint64_t next_rip, uint64_t flags)
{
    const struct vcpu_state *state = x->state;
    const struct layout *l = layout_of(task);
    TRY(execute_write(x, NULL, at(task, l->rip), l->word_bytes, next_rip));
    TRY(execute_write(x, NULL, at(task, l->flags), l->word_bytes, flags));
    for (unsigned i = 0; i < GENERAL; i++)
        TRY(execute_write(x, NULL, at(task, l->general + i * l->word_bytes), l->word_bytes,
                          state->gpr[i]));
    for (unsigned i = 0; i < l->segment_count; i++)
        TRY(execute_write(x, NULL, at(task, l->segments + i * l->word_bytes), 2,
                          state->segment[i].selector));
    return EXECUTE_DONE;
}

/* Steps 6 to 11: nothing is written before all of it can be. */
static enum execute_result leave_task(struct execution *x, const struct execute_task_switch *to,
                                      const struct vcpu_segment *task, uint64_t linear)
{
    const struct vcpu_segment old = x->state->segment[VCPU_TR];
    bool nested = to->source == EXECUTE_TASK_CALL || to->source == EXECUTE_TASK_GATE;
    const struct layout *l = layout_of(&old);
    uint64_t old_linear = (x->state->gdtr.base + (old.selector & ~7u)) & 0xffffffff;
    uint64_t flags = x->state->rflags, byte;
    if ((old.attributes & VCPU_SEGMENT_UNUSABLE) || old.limit < l->size_bytes - 1)
        return invalid_task(x, old.selector, to->external);
    TRY(execute_probe_write(x, at(&old, l->rip), l->local - l->rip));
    TRY(execute_probe_write(x, linear, 8));
    if (nested)
        TRY(execute_probe_write(x, at(task, 0), 2));
    else
        TRY(execute_probe_write(x, old_linear, 8));
    if (to->source == EXECUTE_TASK_IRET)
        flags &= ~(uint64_t)RFLAGS_NT;
    TRY(save_task(x, &old, to->next_rip, flags));
    if (nested)
        return execute_write(x, NULL, at(task, 0), 2, old.selector);
    TRY(execute_read(x, NULL, old_linear + 5, 1, &byte));
    return execute_write(x, NULL, old_linear + 5, 1, byte & ~(uint64_t)TYPE_BUSY);
}

/* ---- The new task's segments ----------------------------------------------------------------- */

static void plain_segment(struct execution *x, unsigned which, uint64_t selector)
{
    x->state->segment[which] = (struct vcpu_segment){.selector = (uint16_t)selector,
                                                     .base = selector << 4,
                                                     .limit = 0xffff,
                                                     .attributes = PLAIN_DATA};
}

/* SDM 3A, table 8-1: what a selector of the new task may name. */
static bool segment_fits(unsigned which, const struct vcpu_segment *segment, unsigned level)
{
    uint32_t attributes = segment->attributes;
    bool code = attributes & DESCRIPTOR_CODE, conforming = attributes & DESCRIPTOR_CONFORMING;
    unsigned own = LEVEL(attributes), asked = RPL(segment->selector);
    if (!(attributes & DESCRIPTOR_ORDINARY))
        return false;
    if (which == VCPU_CS)
        return code && (conforming ? own <= asked : own == asked);
    if (which == VCPU_SS)
        return !code && (attributes & DESCRIPTOR_READABLE) && own == level && asked == level;
    if (code && !(attributes & DESCRIPTOR_READABLE))
        return false;
    return (code && conforming) || (own >= level && own >= asked);
}

static enum execute_result load_segment(struct execution *x, unsigned which, unsigned level,
                                        uint32_t external)
{
    struct vcpu_segment segment = x->state->segment[which];
    uint16_t selector = segment.selector;
    uint64_t linear, descriptor;
    if (!(selector & SELECTOR_BITS) && which != VCPU_CS && which != VCPU_SS)
        return EXECUTE_DONE; /* it stays unusable */
    if (!(selector & SELECTOR_BITS) || !execute_has_descriptor(x, selector))
        return invalid_task(x, selector, external);
    TRY(execute_read_descriptor(x, selector, &linear, &descriptor));
    segment = execute_segment_of(selector, descriptor);
    if (!segment_fits(which, &segment, level))
        return invalid_task(x, selector, external);
    if (!(segment.attributes & DESCRIPTOR_PRESENT))
        return execute_raise_error(x, which == VCPU_SS ? EXCEPTION_STACK : EXCEPTION_NOT_PRESENT,
                                   (selector & SELECTOR_BITS) | external);
    TRY(execute_mark_accessed(x, linear, &segment));
    x->state->segment[which] = segment;
    return EXECUTE_DONE;
}

static enum execute_result load_local_table(struct execution *x, uint32_t external)
{
    struct vcpu_segment *local = &x->state->segment[VCPU_LDTR];
    struct vcpu_segment segment;
    uint64_t linear, descriptor;
    if (!(local->selector & SELECTOR_BITS))
        return EXECUTE_DONE;
    if ((local->selector & SELECTOR_TABLE) || !execute_has_descriptor(x, local->selector))
        return invalid_task(x, local->selector, external);
    TRY(execute_read_descriptor(x, local->selector, &linear, &descriptor));
    segment = execute_segment_of(local->selector, descriptor);
    if ((segment.attributes & DESCRIPTOR_ORDINARY) || (segment.attributes & 15) != TYPE_LDT ||
        !(segment.attributes & DESCRIPTOR_PRESENT))
        return invalid_task(x, local->selector, external);
    *local = segment;
    return EXECUTE_DONE;
}

static enum execute_result load_segments(struct execution *x, uint32_t external)
{
    static const uint8_t order[] = {VCPU_CS, VCPU_SS, VCPU_DS, VCPU_ES, VCPU_FS, VCPU_GS};
    unsigned level = RPL(x->state->segment[VCPU_CS].selector);
    TRY(load_local_table(x, external));
    if (x->state->rflags & RFLAGS_VM)
        return EXECUTE_DONE;
    for (unsigned i = 0; i < sizeof order; i++)
        TRY(load_segment(x, order[i], level, external));
    return EXECUTE_DONE;
}

/* ---- The switch ------------------------------------------------------------------------------ */

/* Step 12: all of it is the new task's, and selectors without their segments yet. What goes wrong from here on happens
 * in the new task. */
static void take_task(struct execution *x, const struct execute_task_switch *to,
                      const struct vcpu_segment *task, const struct task_image *image)
{
    struct vcpu_state *state = x->state;
    bool nested = to->source == EXECUTE_TASK_CALL || to->source == EXECUTE_TASK_GATE;
    uint32_t level = RPL((uint32_t)image->segment[VCPU_CS]);
    for (unsigned i = 0; i < GENERAL; i++)
        state->gpr[i] = image->general[i];
    state->rip = image->rip;
    state->rflags = (image->flags & FLAGS_TAKEN) | FLAGS_ONE | (nested ? RFLAGS_NT : 0);
    state->cr0 |= CR0_TS;
    state->segment[VCPU_TR] = *task;
    state->segment[VCPU_LDTR] = (struct vcpu_segment){.selector = (uint16_t)image->local,
                                                      .attributes = VCPU_SEGMENT_UNUSABLE};
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++) {
        uint16_t selector = (uint16_t)image->segment[i];
        if (state->rflags & RFLAGS_VM)
            plain_segment(x, i, selector);
        else if (i != VCPU_CS && i != VCPU_SS)
            state->segment[i] =
                (struct vcpu_segment){.selector = selector, .attributes = VCPU_SEGMENT_UNUSABLE};
        else /* until it is loaded: a vCPU must have both */
            state->segment[i] = (struct vcpu_segment){
                .selector = selector,
                .attributes = (i == VCPU_CS ? EMPTY_CODE : EMPTY_DATA) | level << 5};
    }
    if (state->dr7 & DR7_LOCAL) {
        state->dr7 &= ~(uint64_t)DR7_LOCAL;
        x->changed |= VCPU_GROUP_DEBUG;
    }
    x->changed |= VCPU_GROUP_RIP | VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS;
}

/* From the first segment to the first instruction of the new task. */
static enum execute_result begin_task(struct execution *x, const struct execute_task_switch *to,
                                      const struct task_image *image)
{
    struct vcpu_state *state = x->state;
    const struct layout *l = layout_of(&state->segment[VCPU_TR]);
    TRY(load_segments(x, to->external));
    bool outer = (state->rflags & RFLAGS_VM) || RPL(state->segment[VCPU_CS].selector) == 3;
    x->code_bytes = state->segment[VCPU_CS].attributes & DESCRIPTOR_BIG ? 4 : 2;
    x->user = outer ? EXECUTE_ACCESS_USER : 0;
    if (to->has_error)
        TRY(execute_push(x, l->word_bytes, to->error));
    if (state->rip > state->segment[VCPU_CS].limit)
        return execute_raise_error(x, EXCEPTION_PROTECTION, to->external);
    if (!(image->trap & 1))
        return EXECUTE_DONE;
    state->dr6 |= DR6_TASK;
    x->changed |= VCPU_GROUP_DEBUG;
    return execute_raise(x, EXCEPTION_DEBUG);
}

static enum execute_result change_task(struct execution *x, const struct execute_task_switch *to)
{
    struct task_image image = {0};
    struct vcpu_segment task;
    uint64_t linear;
    execute_need(x->world, VCPU_GROUP_RIP | VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS |
                               VCPU_GROUP_TABLES | VCPU_GROUP_DEBUG);
    TRY(find_task(x, to, &linear, &task));
    TRY(read_task(x, &task, &image));
    TRY(leave_task(x, to, &task, linear));
    TRY(execute_mark_descriptor(x, linear, &task, TYPE_BUSY));
    bool paged = (x->state->cr0 & CR0_PG) && layout_of(&task) == &wide;
    take_task(x, to, &task, &image);
    if (paged && !x->world->control_write(x->world, 3, image.cr3))
        return execute_raise(x, EXCEPTION_PROTECTION);
    return begin_task(x, to, &image);
}

enum execute_result execute_task_switch(struct execute_world *world,
                                        const struct execute_task_switch *to, uint64_t *event,
                                        uint32_t *changed, const char **what)
{
    struct execution x = {.world = world, .state = world->state, .code_bytes = 4};
    world->there = 0;
    world->fault_access = 0;
    enum execute_result result = change_task(&x, to);
    *event = x.event;
    *changed = x.changed;
    *what = x.what;
    return result;
}

/* Memory is the supervisor's here, whoever branches. */
enum execute_result execute_branch_task(struct execution *x, const struct execute_task_switch *to)
{
    x->world->fault_access = 0;
    x->user = 0;
    enum execute_result result = change_task(x, to);
    x->next_rip = x->state->rip;
    x->flags = x->state->rflags;
    return result;
}

enum execute_result execute_next_rip(struct execute_world *world, struct execute_task_switch *to)
{
    const struct vcpu_state *state = world->state;
    struct execution x = {.world = world, .state = world->state, .rip_mask = 0xffffffff};
    uint32_t code = state->segment[VCPU_CS].attributes;
    if ((state->rflags & RFLAGS_VM) || LEVEL(state->segment[VCPU_SS].attributes) == 3)
        x.user = EXECUTE_ACCESS_USER;
    x.code_bytes = code & DESCRIPTOR_BIG ? 4 : 2;
    world->there = 0;
    world->fault_access = 0;
    execute_need(world, VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    TRY(execute_fetch(&x));
    to->next_rip = x.next_rip;
    if (x.in.map == MAP_ONE_BYTE && x.in.opcode >= 0xcc && x.in.opcode <= 0xce)
        to->source = EXECUTE_TASK_GATE;
    return EXECUTE_DONE;
}
