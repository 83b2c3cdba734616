/* Returns from other segments: RET far, to the same privilege level or an outer one, and IRET (SDM 2B, RET; 2A, IRET). */
#include "cpu/execute_internal.h"

#define PLAIN_DATA 0xf3u /* what virtual-8086 mode has in every segment (SDM 3C, 27.3.1.2) */

enum {
    RFLAGS_ONE = 1 << 1,
    RFLAGS_VIF = 1 << 19,
    RFLAGS_VIP = 1 << 20,
    FLAGS_ALWAYS = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF |
                   RFLAGS_DF | RFLAGS_OF | RFLAGS_NT,
    FLAGS_WIDE = RFLAGS_RF | RFLAGS_AC | RFLAGS_ID,
    FLAGS_VIRTUAL = RFLAGS_VM | RFLAGS_VIF | RFLAGS_VIP,
};

/* What lies on the stack, in this order; of RET's there are no flags. */
struct frame {
    uint64_t offset, selector, flags, pointer, stack;
};

/* ---- Outer levels ------------------------------------------------------------------------------ */

/* The stack segment of code of `level`. 64-bit code may have none. */
static enum execute_result find_stack(struct execution *x, uint64_t selector, unsigned level,
                                      bool long_code, struct vcpu_segment *stack)
{
    uint64_t linear, descriptor, error = selector & SELECTOR_BITS;
    if (!error) {
        if (!long_code || level == 3)
            return execute_raise(x, EXCEPTION_PROTECTION);
        *stack = (struct vcpu_segment){.selector = (uint16_t)selector,
                                       .attributes = VCPU_SEGMENT_UNUSABLE | level << 5};
        return EXECUTE_DONE;
    }
    TRY(execute_read_descriptor(x, (uint16_t)selector, &linear, &descriptor));
    *stack = execute_segment_of((uint16_t)selector, descriptor);
    if (!(stack->attributes & DESCRIPTOR_ORDINARY) || (stack->attributes & DESCRIPTOR_CODE) ||
        !(stack->attributes & DESCRIPTOR_READABLE) || LEVEL(stack->attributes) != level ||
        (selector & 3) != level)
        return execute_raise_error(x, EXCEPTION_PROTECTION, error);
    if (!(stack->attributes & DESCRIPTOR_PRESENT))
        return execute_raise_error(x, EXCEPTION_STACK, error);
    return execute_mark_accessed(x, linear, stack);
}

/* What an outer level may not have becomes null (SDM 3A, 5.8.6). */
static void drop_inner_segments(struct execution *x, unsigned level)
{
    static const uint8_t which[] = {VCPU_ES, VCPU_DS, VCPU_FS, VCPU_GS};
    for (unsigned i = 0; i < sizeof which; i++) {
        struct vcpu_segment *segment = &x->state->segment[which[i]];
        bool conforming = (segment->attributes & DESCRIPTOR_CODE) &&
                          (segment->attributes & DESCRIPTOR_CONFORMING);
        if (!(segment->attributes & VCPU_SEGMENT_UNUSABLE) && LEVEL(segment->attributes) < level &&
            !conforming)
            *segment = (struct vcpu_segment){.attributes = VCPU_SEGMENT_UNUSABLE};
    }
}

/* Code and stack of the frame; `released` are parameters on both stacks. */
static enum execute_result return_to(struct execution *x, struct execute_target *to,
                                     const struct frame *frame, unsigned released)
{
    unsigned level = frame->selector & 3, before = execute_level(x);
    bool is_long = execute_to_long_code(x, to);
    struct vcpu_segment stack;
    TRY(find_stack(x, frame->stack & 0xffff, level, is_long, &stack));
    TRY(execute_take_target(x, to, level));
    execute_set_stack(x, &stack, frame->pointer + released, is_long);
    if (level > before)
        drop_inner_segments(x, level);
    return EXECUTE_DONE;
}

/* CA, CB: RET to another segment. */
enum execute_result execute_return_far(struct execution *x)
{
    unsigned size_bytes = x->in.operand_bytes;
    unsigned released = x->in.opcode == 0xca ? x->in.immediate & 0xffff : 0;
    struct frame frame;
    struct execute_target to;
    execute_need(x->world, VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    TRY(execute_peek(x, 0, size_bytes, &frame.offset));
    TRY(execute_peek(x, size_bytes, size_bytes, &frame.selector));
    TRY(execute_find_target(x, frame.selector & 0xffff, frame.offset, true, &to));
    if (!to.plain && (frame.selector & 3) != execute_level(x)) {
        unsigned at = 2 * size_bytes + released;
        TRY(execute_peek(x, at, size_bytes, &frame.pointer));
        TRY(execute_peek(x, at + size_bytes, size_bytes, &frame.stack));
        return return_to(x, &to, &frame, released);
    }
    TRY(execute_take_target(x, &to, execute_level(x)));
    execute_drop(x, 2 * size_bytes + released);
    return EXECUTE_DONE;
}

/* ---- IRET -------------------------------------------------------------------------------------- */

/* Which flags it may change. In real mode all, but for those of virtual-8086 mode. */
static uint64_t flags_to_load(const struct execution *x, unsigned size_bytes)
{
    uint64_t mask = FLAGS_ALWAYS | (size_bytes > 2 ? FLAGS_WIDE : 0);
    bool plain = !(x->state->cr0 & CR0_PE);
    unsigned level = plain ? 0 : execute_level(x);
    if (level <= (unsigned)(x->state->rflags & RFLAGS_IOPL) >> 12)
        mask |= RFLAGS_IF;
    if (level == 0)
        mask |= RFLAGS_IOPL | (size_bytes > 2 && !plain ? RFLAGS_VIF | RFLAGS_VIP : 0);
    return mask;
}

static void load_flags(struct execution *x, uint64_t value, uint64_t mask)
{
    x->flags = (x->flags & ~mask) | (value & mask) | RFLAGS_ONE;
    x->changed |= VCPU_GROUP_RIP;
}

static enum execute_result read_frame(struct execution *x, unsigned size_bytes, bool with_stack,
                                      struct frame *frame)
{
    TRY(execute_peek(x, 0, size_bytes, &frame->offset));
    TRY(execute_peek(x, size_bytes, size_bytes, &frame->selector));
    TRY(execute_peek(x, 2 * size_bytes, size_bytes, &frame->flags));
    if (!with_stack)
        return EXECUTE_DONE;
    TRY(execute_peek(x, 3 * size_bytes, size_bytes, &frame->pointer));
    return execute_peek(x, 4 * size_bytes, size_bytes, &frame->stack);
}

/* The previous task is named in this one's segment. */
static enum execute_result return_to_task(struct execution *x)
{
    uint64_t link, linear = x->state->segment[VCPU_TR].base & 0xffffffff;
    x->user = 0;
    TRY(execute_read(x, NULL, linear, 2, &link));
    const struct execute_task_switch to = {
        .selector = (uint16_t)link, .source = EXECUTE_TASK_IRET, .next_rip = x->next_rip};
    return execute_branch_task(x, &to);
}

/* Nine words of 32 bits: behind the stack come ES, DS, FS and GS. */
static enum execute_result return_to_virtual(struct execution *x, const struct frame *frame)
{
    enum { WORD = 4, OTHERS = 5, SP = 4 };
    static const uint8_t others[] = {VCPU_ES, VCPU_DS, VCPU_FS, VCPU_GS};
    struct vcpu_state *state = x->state;
    uint64_t selectors[VCPU_GS + 1];
    selectors[VCPU_CS] = frame->selector, selectors[VCPU_SS] = frame->stack;
    for (unsigned i = 0; i < sizeof others; i++)
        TRY(execute_peek(x, (OTHERS + i) * WORD, WORD, &selectors[others[i]]));
    if (frame->offset > 0xffff)
        return execute_raise(x, EXCEPTION_PROTECTION);
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
        state->segment[i] = (struct vcpu_segment){.selector = (uint16_t)selectors[i],
                                                  .base = (selectors[i] & 0xffff) << 4,
                                                  .limit = 0xffff,
                                                  .attributes = PLAIN_DATA};
    state->gpr[SP] = frame->pointer;
    x->changed |= VCPU_GROUP_SEGMENTS;
    x->next_rip = frame->offset;
    load_flags(x, frame->flags,
               FLAGS_ALWAYS | FLAGS_WIDE | FLAGS_VIRTUAL | RFLAGS_IOPL | RFLAGS_IF);
    return EXECUTE_DONE;
}

/* Real mode, and virtual-8086 mode with IOPL 3. */
static enum execute_result return_plain(struct execution *x, unsigned size_bytes)
{
    struct frame frame;
    struct execute_target to;
    uint64_t mask = flags_to_load(x, size_bytes);
    TRY(read_frame(x, size_bytes, false, &frame));
    TRY(execute_find_target(x, frame.selector & 0xffff, frame.offset, true, &to));
    TRY(execute_take_target(x, &to, 0));
    execute_drop(x, 3 * size_bytes);
    load_flags(x, frame.flags, mask);
    return EXECUTE_DONE;
}

static enum execute_result return_protected(struct execution *x, unsigned size_bytes)
{
    bool is_long = execute_in_long_mode(x), whole = x->code_bytes == 8;
    uint64_t mask = flags_to_load(x, size_bytes);
    struct frame frame;
    struct execute_target to;
    TRY(read_frame(x, size_bytes, whole, &frame));
    if (!is_long && size_bytes == 4 && (frame.flags & RFLAGS_VM) && execute_level(x) == 0) {
        TRY(read_frame(x, size_bytes, true, &frame));
        return return_to_virtual(x, &frame);
    }
    TRY(execute_find_target(x, frame.selector & 0xffff, frame.offset, true, &to));
    if (!whole && (frame.selector & 3) == execute_level(x)) {
        TRY(execute_take_target(x, &to, execute_level(x)));
        execute_drop(x, 3 * size_bytes);
    } else {
        TRY(read_frame(x, size_bytes, true, &frame));
        TRY(return_to(x, &to, &frame, 0));
    }
    load_flags(x, frame.flags, mask);
    return EXECUTE_DONE;
}

/* CF. */
enum execute_result execute_return_interrupt(struct execution *x)
{
    const struct vcpu_state *state = x->state;
    unsigned size_bytes = x->in.operand_bytes;
    enum execute_result result;
    execute_need(x->world, VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    if ((state->rflags & RFLAGS_VM) && (state->rflags & RFLAGS_IOPL) != RFLAGS_IOPL)
        return state->cr4 & CR4_VME && size_bytes == 2 ? execute_unknown(x)
                                                       : execute_raise(x, EXCEPTION_PROTECTION);
    if (execute_plain_segments(x))
        result = return_plain(x, size_bytes);
    else if (!(state->rflags & RFLAGS_NT))
        result = return_protected(x, size_bytes);
    else
        result =
            execute_in_long_mode(x) ? execute_raise(x, EXCEPTION_PROTECTION) : return_to_task(x);
    x->world->returned = result == EXECUTE_DONE;
    return result;
}
