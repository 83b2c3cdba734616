/*
 * Far branches to what is no code segment: call gates, to the same privilege level or an inner one, task gates and tasks
 * (SDM 3A, 5.8 and 8.3; 2A, CALL and JMP).
 */
#include "cpu/execute_internal.h"

#define BIT(type)   (1u << (type))
#define TASKS       (BIT(TYPE_TSS_16) | BIT(TYPE_TSS) | BIT(TYPE_TASK_GATE))
#define CALL_GATES  (BIT(TYPE_CALL_GATE_16) | BIT(TYPE_CALL_GATE))
#define HIGH_TYPE   0x1f00u /* of the upper half of a descriptor of 16 bytes: 0 */
#define COUNT_MASK  31u
#define FRAME_WORDS (4 + COUNT_MASK)

enum { SP = 4 };

struct gate {
    uint64_t offset;
    uint16_t selector;
    unsigned size_bytes, count; /* of what is pushed; parameters that are copied */
};

/* ---- The other level's side -------------------------------------------------------------------- */

struct execute_side execute_this_side(const struct execution *x)
{
    const struct vcpu_state *state = x->state;
    return (struct execute_side){state->segment[VCPU_CS], state->segment[VCPU_SS],
                                 state->gpr[SP],          x->rip_mask,
                                 x->code_bytes,           x->user};
}

void execute_change_side(struct execution *x, const struct execute_side *side)
{
    struct vcpu_state *state = x->state;
    state->segment[VCPU_CS] = side->code, state->segment[VCPU_SS] = side->stack;
    state->gpr[SP] = side->pointer;
    x->rip_mask = side->rip_mask, x->code_bytes = side->code_bytes, x->user = side->user;
}

void execute_set_stack(struct execution *x, const struct vcpu_segment *stack, uint64_t pointer,
                       bool long_code)
{
    uint64_t *gpr = &x->state->gpr[SP];
    uint64_t mask = long_code || stack->attributes & DESCRIPTOR_BIG ? ~0ull : 0xffff;
    x->state->segment[VCPU_SS] = *stack;
    *gpr = (*gpr & ~mask) | (pointer & mask);
    if (!long_code)
        *gpr &= 0xffffffff;
    x->changed |= VCPU_GROUP_RIP | VCPU_GROUP_SEGMENTS;
}

/* All of a frame, or nothing. The last word is pushed first. */
static enum execute_result push_frame(struct execution *x, unsigned size_bytes,
                                      const uint64_t *words, unsigned count)
{
    unsigned stack_bytes = x->code_bytes == 8                                       ? 8
                           : x->state->segment[VCPU_SS].attributes & DESCRIPTOR_BIG ? 4
                                                                                    : 2;
    uint64_t linear, offset = x->state->gpr[SP];
    for (unsigned i = 0; i < count; i++) {
        offset = (offset - size_bytes) & execute_mask(stack_bytes);
        TRY(execute_linear(x, VCPU_SS, offset, size_bytes, VCPU_ACCESS_WRITE, &linear));
        TRY(execute_probe_write(x, linear, size_bytes));
    }
    while (count--)
        TRY(execute_push(x, size_bytes, words[count]));
    return EXECUTE_DONE;
}

/* ---- Inner stacks ------------------------------------------------------------------------------ */

static enum execute_result invalid_task(struct execution *x, uint64_t selector)
{
    return execute_raise_error(x, EXCEPTION_TASK, selector & SELECTOR_BITS);
}

/* SDM 3A, 8.2.1, 8.6 and 8.7: what the task has for a level. */
static enum execute_result read_inner(struct execution *x, unsigned level, uint64_t *pointer,
                                      uint64_t *selector)
{
    const struct vcpu_segment *task = &x->state->segment[VCPU_TR];
    bool is_long = execute_in_long_mode(x), narrow = !(task->attributes & 8);
    unsigned word = is_long ? 8 : narrow ? 2 : 4, at = word * (is_long ? level : 2 * level);
    unsigned user = x->user;
    uint64_t linear;
    at += narrow ? 2 : 4;
    if ((task->attributes & VCPU_SEGMENT_UNUSABLE) ||
        at + word + (is_long ? 0 : 2) - 1 > task->limit)
        return invalid_task(x, task->selector);
    linear = task->base + at;
    x->user = 0;
    *selector = level; /* in long mode the new SS is a null selector */
    enum execute_result result =
        execute_read(x, NULL, is_long ? linear : linear & 0xffffffff, word, pointer);
    if (result == EXECUTE_DONE && !is_long)
        result = execute_read(x, NULL, (linear + word) & 0xffffffff, 2, selector);
    x->user = user;
    return result;
}

static enum execute_result find_inner_stack(struct execution *x, unsigned level,
                                            struct vcpu_segment *stack, uint64_t *pointer)
{
    uint64_t selector, linear, descriptor;
    TRY(read_inner(x, level, pointer, &selector));
    if (execute_in_long_mode(x)) {
        *stack = (struct vcpu_segment){.selector = (uint16_t)selector,
                                       .attributes = VCPU_SEGMENT_UNUSABLE | level << 5};
        return execute_canonical(x, *pointer) ? EXECUTE_DONE : execute_raise(x, EXCEPTION_STACK);
    }
    if (!(selector & SELECTOR_BITS) || !execute_has_descriptor(x, (uint16_t)selector))
        return invalid_task(x, selector);
    TRY(execute_read_descriptor(x, (uint16_t)selector, &linear, &descriptor));
    *stack = execute_segment_of((uint16_t)selector, descriptor);
    if (!(stack->attributes & DESCRIPTOR_ORDINARY) || (stack->attributes & DESCRIPTOR_CODE) ||
        !(stack->attributes & DESCRIPTOR_READABLE) || LEVEL(stack->attributes) != level ||
        (selector & 3) != level)
        return invalid_task(x, selector);
    if (!(stack->attributes & DESCRIPTOR_PRESENT))
        return execute_raise_error(x, EXCEPTION_STACK, selector & SELECTOR_BITS);
    return execute_mark_accessed(x, linear, stack);
}

/* ---- Call gates -------------------------------------------------------------------------------- */

static enum execute_result read_gate(struct execution *x, uint16_t selector, uint64_t linear,
                                     uint64_t descriptor, struct gate *gate)
{
    uint64_t upper;
    bool narrow = (descriptor >> 40 & 15) == TYPE_CALL_GATE_16;
    *gate = (struct gate){.offset = (descriptor & 0xffff) | (descriptor >> 32 & 0xffff0000),
                          .selector = (uint16_t)(descriptor >> 16),
                          .size_bytes = narrow ? 2 : 4,
                          .count = descriptor >> 32 & COUNT_MASK};
    if (narrow)
        gate->offset &= 0xffff;
    if (!execute_in_long_mode(x))
        return EXECUTE_DONE;
    if (!execute_has_descriptor(x, (uint16_t)((selector | 7u) + 1)))
        return execute_raise_error(x, EXCEPTION_PROTECTION, selector & SELECTOR_BITS);
    TRY(execute_read_descriptor_at(x, linear + 8, &upper));
    if (upper >> 32 & HIGH_TYPE)
        return execute_raise_error(x, EXCEPTION_PROTECTION, selector & SELECTOR_BITS);
    gate->offset |= upper << 32;
    gate->size_bytes = 8;
    gate->count = 0;
    return EXECUTE_DONE;
}

/* The gate's code segment, whose level may be an inner one for a call. */
static enum execute_result find_code(struct execution *x, const struct gate *gate, bool call,
                                     struct execute_target *to)
{
    uint64_t descriptor, error = gate->selector & SELECTOR_BITS;
    unsigned level = execute_level(x);
    if (!error)
        return execute_raise(x, EXCEPTION_PROTECTION);
    TRY(execute_read_descriptor(x, gate->selector, &to->linear, &descriptor));
    to->code = execute_segment_of(gate->selector, descriptor);
    to->offset = gate->offset;
    to->plain = false;
    uint32_t attributes = to->code.attributes;
    bool outer = LEVEL(attributes) > level, inner = LEVEL(attributes) < level;
    if (!(attributes & DESCRIPTOR_ORDINARY) || !(attributes & DESCRIPTOR_CODE) || outer ||
        (!call && inner && !(attributes & DESCRIPTOR_CONFORMING)) ||
        (execute_in_long_mode(x) &&
         (!(attributes & DESCRIPTOR_LONG) || (attributes & DESCRIPTOR_BIG))))
        return execute_raise_error(x, EXCEPTION_PROTECTION, error);
    if (!(attributes & DESCRIPTOR_PRESENT))
        return execute_raise_error(x, EXCEPTION_NOT_PRESENT, error);
    return EXECUTE_DONE;
}

/* From here on segments, code size and level are those of the gate's code. */
static void enter(struct execution *x, const struct execute_target *to, unsigned level)
{
    bool is_long = execute_to_long_code(x, to);
    x->code_bytes = is_long ? 8 : to->code.attributes & DESCRIPTOR_BIG ? 4 : 2;
    x->rip_mask = is_long ? ~0ull : 0xffffffff;
    x->user = level == 3 ? EXECUTE_ACCESS_USER : 0;
}

/* SDM 2A, CALL, "more privilege": old stack, parameters, and where it came from go on the new stack. */
static enum execute_result call_inner(struct execution *x, const struct gate *gate,
                                      struct execute_target *to)
{
    const struct execute_side old = execute_this_side(x);
    unsigned level = LEVEL(to->code.attributes), count = 0;
    uint64_t words[FRAME_WORDS], pointer;
    struct vcpu_segment stack;
    TRY(find_inner_stack(x, level, &stack, &pointer));
    words[count++] = x->next_rip;
    words[count++] = old.code.selector;
    for (unsigned i = 0; i < gate->count; i++)
        TRY(execute_peek(x, i * gate->size_bytes, gate->size_bytes, &words[count++]));
    words[count++] = old.pointer;
    words[count++] = old.stack.selector;
    enter(x, to, level);
    execute_set_stack(x, &stack, pointer, x->code_bytes == 8);
    enum execute_result result = execute_check_offset(x, to);
    if (result == EXECUTE_DONE) {
        result = push_frame(x, gate->size_bytes, words, count);
        if (result == EXECUTE_FAULT && (x->event & 0xff) == EXCEPTION_STACK)
            execute_raise_error(x, EXCEPTION_STACK, stack.selector & SELECTOR_BITS);
    }
    if (result == EXECUTE_DONE)
        result = execute_take_target(x, to, level);
    if (result != EXECUTE_DONE)
        execute_change_side(x, &old);
    return result;
}

/* The stack stays; what is pushed is as wide as the gate says. */
static enum execute_result call_same(struct execution *x, const struct gate *gate,
                                     struct execute_target *to)
{
    const struct execute_side old = execute_this_side(x);
    const uint64_t words[] = {x->next_rip, old.code.selector};
    unsigned level = execute_level(x);
    TRY(execute_check_offset(x, to));
    if (x->code_bytes != 8)
        x->state->gpr[SP] &= 0xffffffff;
    enter(x, to, level);
    enum execute_result result = push_frame(x, gate->size_bytes, words, 2);
    if (result == EXECUTE_DONE)
        result = execute_take_target(x, to, level);
    if (result != EXECUTE_DONE)
        execute_change_side(x, &old);
    return result;
}

static enum execute_result take_gate(struct execution *x, uint16_t selector, uint64_t linear,
                                     uint64_t descriptor, bool call)
{
    struct gate gate;
    struct execute_target to;
    TRY(read_gate(x, selector, linear, descriptor, &gate));
    TRY(find_code(x, &gate, call, &to));
    bool inner = LEVEL(to.code.attributes) < execute_level(x) &&
                 !(to.code.attributes & DESCRIPTOR_CONFORMING);
    if (call)
        return inner ? call_inner(x, &gate, &to) : call_same(x, &gate, &to);
    TRY(execute_check_offset(x, &to));
    return execute_take_target(x, &to, execute_level(x));
}

/* ---- The whole --------------------------------------------------------------------------------- */

enum execute_result execute_branch_system(struct execution *x, uint16_t selector, bool call)
{
    uint64_t linear, descriptor, error = selector & SELECTOR_BITS;
    TRY(execute_read_descriptor(x, selector, &linear, &descriptor));
    uint32_t attributes = execute_segment_of(selector, descriptor).attributes;
    unsigned type = attributes & 15, own = LEVEL(attributes);
    unsigned types = execute_in_long_mode(x) ? BIT(TYPE_CALL_GATE) : TASKS | CALL_GATES;
    if ((attributes & DESCRIPTOR_ORDINARY) || !(types & BIT(type)) || own < execute_level(x) ||
        own < (selector & 3u))
        return execute_raise_error(x, EXCEPTION_PROTECTION, error);
    if (!(attributes & DESCRIPTOR_PRESENT))
        return execute_raise_error(x, EXCEPTION_NOT_PRESENT, error);
    if (BIT(type) & CALL_GATES)
        return take_gate(x, selector, linear, descriptor, call);
    if (type == TYPE_TASK_GATE)
        selector = (uint16_t)(descriptor >> 16);
    const struct execute_task_switch to = {.selector = selector,
                                           .source = call ? EXECUTE_TASK_CALL : EXECUTE_TASK_JMP,
                                           .next_rip = x->next_rip};
    return execute_branch_task(x, &to);
}
