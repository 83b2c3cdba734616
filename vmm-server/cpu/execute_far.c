/*
 * Other segments: far jumps and calls between segments of one privilege level, and the instructions that look
 * at descriptors or load system segments. Gates and tasks are execute_gate.c's, returns execute_return.c's.
 */
#include "cpu/execute_internal.h"

#define BIT(type) (1u << (type))
#define LAR_LEGACY                                                                       \
    (BIT(TYPE_TSS_16) | BIT(TYPE_LDT) | BIT(TYPE_TSS_16_BUSY) | BIT(TYPE_CALL_GATE_16) | \
     BIT(TYPE_TASK_GATE) | BIT(TYPE_TSS) | BIT(TYPE_TSS_BUSY) | BIT(TYPE_CALL_GATE))
#define LAR_LONG  (BIT(TYPE_LDT) | BIT(TYPE_TSS) | BIT(TYPE_TSS_BUSY) | BIT(TYPE_CALL_GATE))
#define GATES     (BIT(TYPE_CALL_GATE_16) | BIT(TYPE_TASK_GATE) | BIT(TYPE_CALL_GATE))
#define LAR_MASK  0x00f0ff00u
#define HIGH_TYPE 0x1f00u /* of the upper half of a descriptor of 16 bytes: 0 */

bool execute_in_long_mode(const struct execution *x)
{
    return x->state->efer & EFER_LMA;
}

/* ---- Far branches ---------------------------------------------------------------------------- */

/* An offset and behind it a selector. */
enum execute_result execute_read_far(struct execution *x, uint64_t *offset, uint64_t *selector)
{
    unsigned size_bytes = x->in.operand_bytes;
    uint64_t linear;
    TRY(execute_linear(x, x->in.segment, execute_effective(x), size_bytes + 2, VCPU_ACCESS_READ,
                       &linear));
    TRY(execute_read(x, &x->pages[0], linear, size_bytes, offset));
    return execute_read(x, &x->pages[0], linear + size_bytes, 2, selector);
}

/* SDM 2A, CALL and JMP; 2B, RET: what may be in CS. `back`: a return, whose selector names the level. */
static enum execute_result check_code(struct execution *x, const struct vcpu_segment *code,
                                      bool back)
{
    uint32_t attributes = code->attributes, error = code->selector & SELECTOR_BITS;
    unsigned level = execute_level(x), asked = code->selector & 3, own = LEVEL(attributes);
    bool is_code = (attributes & DESCRIPTOR_ORDINARY) && (attributes & DESCRIPTOR_CODE), good;
    if (back)
        good = asked >= level && (attributes & DESCRIPTOR_CONFORMING ? own <= asked : own == asked);
    else
        good = attributes & DESCRIPTOR_CONFORMING ? own <= level : own == level && asked <= level;
    if (execute_in_long_mode(x) && (attributes & DESCRIPTOR_LONG) && (attributes & DESCRIPTOR_BIG))
        good = false;
    if (!is_code || !good)
        return execute_raise_error(x, EXCEPTION_PROTECTION, error);
    if (!(attributes & DESCRIPTOR_PRESENT))
        return execute_raise_error(x, EXCEPTION_NOT_PRESENT, error);
    return EXECUTE_DONE;
}

bool execute_to_long_code(const struct execution *x, const struct execute_target *to)
{
    return execute_in_long_mode(x) && (to->code.attributes & DESCRIPTOR_LONG) && !to->plain;
}

enum execute_result execute_check_offset(struct execution *x, const struct execute_target *to)
{
    if (execute_to_long_code(x, to) ? !execute_canonical(x, to->offset)
                                    : to->offset > to->code.limit)
        return execute_raise(x, EXCEPTION_PROTECTION);
    return EXECUTE_DONE;
}

enum execute_result execute_find_target(struct execution *x, uint64_t selector, uint64_t offset,
                                        bool back, struct execute_target *to)
{
    uint64_t descriptor;
    *to = (struct execute_target){
        .code = x->state->segment[VCPU_CS], .offset = offset, .plain = execute_plain_segments(x)};
    if (to->plain) {
        to->code.selector = (uint16_t)selector;
        to->code.base = selector << 4;
        return execute_check_offset(x, to);
    }
    if (!(selector & SELECTOR_BITS))
        return execute_raise(x, EXCEPTION_PROTECTION);
    TRY(execute_read_descriptor(x, (uint16_t)selector, &to->linear, &descriptor));
    to->code = execute_segment_of((uint16_t)selector, descriptor);
    if (!back && !(to->code.attributes & DESCRIPTOR_ORDINARY)) {
        to->is_system = true;
        return EXECUTE_DONE;
    }
    TRY(check_code(x, &to->code, back));
    if (!execute_to_long_code(x, to))
        to->offset &= 0xffffffff;
    return execute_check_offset(x, to);
}

enum execute_result execute_take_target(struct execution *x, struct execute_target *to,
                                        unsigned level)
{
    if (!to->plain) {
        TRY(execute_mark_accessed(x, to->linear, &to->code));
        to->code.selector = (uint16_t)((to->code.selector & ~3u) | level);
    }
    x->state->segment[VCPU_CS] = to->code;
    x->changed |= VCPU_GROUP_SEGMENTS;
    x->next_rip = to->offset;
    return EXECUTE_DONE;
}

static enum execute_result call(struct execution *x, struct execute_target *to)
{
    unsigned size_bytes = x->in.operand_bytes;
    uint64_t before = x->state->gpr[4];
    enum execute_result result;
    if (execute_to_long_code(x, to) != (x->code_bytes == 8))
        return execute_unknown(x); /* the stack would be another one between the two */
    result = execute_push(x, size_bytes, x->state->segment[VCPU_CS].selector);
    if (result == EXECUTE_DONE)
        result = execute_push(x, size_bytes, x->next_rip);
    if (result == EXECUTE_DONE)
        result = execute_take_target(x, to, execute_level(x));
    if (result != EXECUTE_DONE)
        x->state->gpr[4] = before;
    return result;
}

/* 9A, EA, FF /3, /5: CALL and JMP. The first two have the address in the instruction. */
enum execute_result execute_branch_far(struct execution *x)
{
    bool direct = x->in.opcode != 0xff, is_call = direct ? x->in.opcode == 0x9a : !(x->in.reg & 4);
    uint64_t offset = x->in.immediate & execute_mask(x->in.operand_bytes), selector = x->in.second;
    struct execute_target to;
    execute_need(x->world, VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    x->one_access = false;
    if (!direct)
        TRY(execute_read_far(x, &offset, &selector));
    TRY(execute_find_target(x, selector, offset, false, &to));
    if (to.is_system)
        return execute_branch_system(x, (uint16_t)selector, is_call);
    return is_call ? call(x, &to) : execute_take_target(x, &to, execute_level(x));
}

/* ---- Looking at descriptors ------------------------------------------------------------------ */

/* Whether a program may see the descriptor (SDM 2A, LAR and LSL; 2B, VERR): ZF says so. `types`: of system segments. */
static enum execute_result visible(struct execution *x, uint16_t selector, unsigned types,
                                   uint64_t *descriptor, bool *is)
{
    unsigned level = execute_level(x), asked = selector & 3, own;
    uint64_t linear;
    uint32_t attributes;
    *is = false;
    if (!(selector & SELECTOR_BITS) || !execute_has_descriptor(x, selector))
        return EXECUTE_DONE;
    TRY(execute_read_descriptor(x, selector, &linear, descriptor));
    attributes = execute_segment_of(selector, *descriptor).attributes;
    own = LEVEL(attributes);
    if (!(attributes & DESCRIPTOR_ORDINARY) && !(types & BIT(attributes & 15)))
        return EXECUTE_DONE;
    *is = own >= level && own >= asked;
    if ((attributes & DESCRIPTOR_ORDINARY) && (attributes & DESCRIPTOR_CODE) &&
        (attributes & DESCRIPTOR_CONFORMING))
        *is = true;
    return EXECUTE_DONE;
}

static void set_zero(struct execution *x, bool set)
{
    x->flags = (x->flags & ~(uint64_t)RFLAGS_ZF) | (set ? RFLAGS_ZF : 0);
}

/* 0F 02, 0F 03: LAR, LSL. */
enum execute_result execute_load_rights(struct execution *x)
{
    bool limit = x->in.opcode == 3, is;
    unsigned types = execute_in_long_mode(x) ? LAR_LONG : LAR_LEGACY;
    uint64_t selector, descriptor;
    execute_need(x->world, VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    if (execute_plain_segments(x))
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    x->one_access = false;
    TRY(execute_read_operand(x, 2, &selector));
    TRY(visible(x, (uint16_t)selector, limit ? types & ~GATES : types, &descriptor, &is));
    set_zero(x, is);
    if (is)
        execute_set_register(x, x->in.reg, x->in.operand_bytes,
                             limit ? execute_segment_of((uint16_t)selector, descriptor).limit
                                   : descriptor >> 32 & LAR_MASK);
    return EXECUTE_DONE;
}

/* 0F 00 /4, /5: VERR, VERW. */
static enum execute_result verify(struct execution *x, uint16_t selector, bool write)
{
    uint64_t descriptor;
    bool is;
    TRY(visible(x, selector, 0, &descriptor, &is));
    if (is) {
        uint32_t attributes = execute_segment_of(selector, descriptor).attributes;
        bool code = attributes & DESCRIPTOR_CODE, second = attributes & DESCRIPTOR_READABLE;
        is = write ? !code && second : !code || second;
    }
    set_zero(x, is);
    return EXECUTE_DONE;
}

/* ---- System segments ------------------------------------------------------------------------- */

/* In 64-bit code, not in all of long mode, the descriptor has 16 bytes (SDM 2A, LLDT and LTR): the base's upper half, and
 * a type of 0. */
static enum execute_result read_upper(struct execution *x, uint16_t selector, uint64_t linear,
                                      struct vcpu_segment *segment)
{
    uint64_t upper;
    if (x->code_bytes != 8)
        return EXECUTE_DONE;
    if (!execute_has_descriptor(x, (uint16_t)((selector | 7u) + 1)))
        return execute_raise_error(x, EXCEPTION_PROTECTION, selector & SELECTOR_BITS);
    TRY(execute_read_descriptor_at(x, linear + 8, &upper));
    segment->base |= upper << 32;
    if ((upper >> 32 & HIGH_TYPE) || !execute_canonical(x, segment->base))
        return execute_raise_error(x, EXCEPTION_PROTECTION, selector & SELECTOR_BITS);
    return EXECUTE_DONE;
}

/* 0F 00 /2, /3: LLDT, LTR. The task's segment becomes busy. */
static enum execute_result load_system(struct execution *x, uint16_t selector, bool task)
{
    struct vcpu_segment segment;
    uint64_t linear, descriptor;
    uint32_t error = selector & SELECTOR_BITS;
    unsigned type;
    if (!error && task)
        return execute_raise(x, EXCEPTION_PROTECTION);
    if (!error) {
        segment = (struct vcpu_segment){.selector = selector, .attributes = VCPU_SEGMENT_UNUSABLE};
    } else {
        if (selector & SELECTOR_TABLE)
            return execute_raise_error(x, EXCEPTION_PROTECTION, error);
        TRY(execute_read_descriptor(x, selector, &linear, &descriptor));
        segment = execute_segment_of(selector, descriptor);
        type = segment.attributes & 15;
        if ((segment.attributes & DESCRIPTOR_ORDINARY) ||
            !(task ? type == TYPE_TSS || (type == TYPE_TSS_16 && !execute_in_long_mode(x))
                   : type == TYPE_LDT))
            return execute_raise_error(x, EXCEPTION_PROTECTION, error);
        if (!(segment.attributes & DESCRIPTOR_PRESENT))
            return execute_raise_error(x, EXCEPTION_NOT_PRESENT, error);
        TRY(read_upper(x, selector, linear, &segment));
        if (task)
            TRY(execute_mark_descriptor(x, linear, &segment, TYPE_BUSY));
    }
    x->state->segment[task ? VCPU_TR : VCPU_LDTR] = segment;
    x->changed |= VCPU_GROUP_SEGMENTS;
    return EXECUTE_DONE;
}

/* 0F 00: SLDT, STR, LLDT, LTR, VERR, VERW. */
enum execute_result execute_system_segment(struct execution *x)
{
    unsigned which = x->in.reg & 7;
    uint64_t selector;
    execute_need(x->world, VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    if (execute_plain_segments(x))
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    if (which > 5)
        return execute_unknown(x);
    if (which > 1) {
        if (which < 4 && x->user)
            return execute_raise(x, EXCEPTION_PROTECTION);
        x->one_access = false;
        TRY(execute_read_operand(x, 2, &selector));
        return which < 4 ? load_system(x, (uint16_t)selector, which == 3)
                         : verify(x, (uint16_t)selector, which == 5);
    }
    if (x->user && (x->state->cr4 & CR4_UMIP))
        return execute_raise(x, EXCEPTION_PROTECTION);
    return execute_write_operand(x, x->in.mod == 3 ? x->in.operand_bytes : 2,
                                 x->state->segment[which ? VCPU_TR : VCPU_LDTR].selector);
}
