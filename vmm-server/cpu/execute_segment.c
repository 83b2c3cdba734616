/* Segment registers and descriptor tables: what loads or stores them by way of memory. */
#include "cpu/execute_internal.h"

#define ATTRIBUTE_BITS 0xf0ffu

bool execute_plain_segments(const struct execution *x)
{
    return !(x->state->cr0 & CR0_PE) || (x->state->rflags & RFLAGS_VM);
}

unsigned execute_level(const struct execution *x)
{
    return x->user ? 3 : LEVEL(x->state->segment[VCPU_SS].attributes);
}

/* ---- Descriptors ----------------------------------------------------------------------------- */

/* The descriptor's linear address; false: its table has no such entry. */
static bool find_descriptor(struct execution *x, uint16_t selector, uint64_t *linear)
{
    const struct vcpu_segment *local = &x->state->segment[VCPU_LDTR];
    uint64_t base = x->state->gdtr.base, limit = x->state->gdtr.limit;
    if (selector & SELECTOR_TABLE) {
        if (local->attributes & VCPU_SEGMENT_UNUSABLE || !(local->selector & SELECTOR_BITS))
            return false;
        base = local->base;
        limit = local->limit;
    }
    *linear = base + (selector & ~7u);
    if (x->code_bytes != 8)
        *linear &= 0xffffffff;
    return (selector | 7u) <= limit;
}

bool execute_has_descriptor(struct execution *x, uint16_t selector)
{
    uint64_t linear;
    execute_need(x->world, VCPU_GROUP_TABLES | VCPU_GROUP_SEGMENTS);
    return find_descriptor(x, selector, &linear);
}

/* Tables are read as the supervisor reads, whoever the program is. */
enum execute_result execute_read_descriptor_at(struct execution *x, uint64_t linear,
                                               uint64_t *descriptor)
{
    unsigned user = x->user;
    enum execute_result result;
    x->user = 0;
    x->one_access = false;
    result = execute_read(x, NULL, linear, 8, descriptor);
    x->user = user;
    return result;
}

enum execute_result execute_read_descriptor(struct execution *x, uint16_t selector,
                                            uint64_t *linear, uint64_t *descriptor)
{
    execute_need(x->world, VCPU_GROUP_TABLES | VCPU_GROUP_SEGMENTS);
    if (!find_descriptor(x, selector, linear))
        return execute_raise_error(x, EXCEPTION_PROTECTION, selector & SELECTOR_BITS);
    return execute_read_descriptor_at(x, *linear, descriptor);
}

struct vcpu_segment execute_segment_of(uint16_t selector, uint64_t descriptor)
{
    uint32_t high = (uint32_t)(descriptor >> 32), low = (uint32_t)descriptor;
    struct vcpu_segment segment = {.selector = selector, .attributes = high >> 8 & ATTRIBUTE_BITS};
    segment.base = low >> 16 | (high & 0xff) << 16 | (high & 0xff000000);
    segment.limit = (low & 0xffff) | (high & 0xf0000);
    if (segment.attributes & DESCRIPTOR_PAGES)
        segment.limit = segment.limit << 12 | 0xfff;
    return segment;
}

/* The rules of MOV to a segment register (SDM 2B, MOV). */
static enum execute_result check_segment(struct execution *x, unsigned which,
                                         const struct vcpu_segment *segment)
{
    uint32_t attributes = segment->attributes, error = segment->selector & SELECTOR_BITS;
    unsigned level = execute_level(x), asked = segment->selector & 3;
    bool code = attributes & DESCRIPTOR_CODE, good = attributes & DESCRIPTOR_ORDINARY;
    if (which == VCPU_SS)
        good = good && !code && (attributes & DESCRIPTOR_READABLE) && asked == level &&
               LEVEL(attributes) == level;
    else if (code && !(attributes & DESCRIPTOR_READABLE))
        good = false;
    else if (!(code && (attributes & DESCRIPTOR_CONFORMING)))
        good = good && LEVEL(attributes) >= level && LEVEL(attributes) >= asked;
    if (!good)
        return execute_raise_error(x, EXCEPTION_PROTECTION, error);
    if (!(attributes & DESCRIPTOR_PRESENT))
        return execute_raise_error(x, which == VCPU_SS ? EXCEPTION_STACK : EXCEPTION_NOT_PRESENT,
                                   error);
    return EXECUTE_DONE;
}

enum execute_result execute_mark_descriptor(struct execution *x, uint64_t linear,
                                            struct vcpu_segment *segment, uint32_t bit)
{
    unsigned user = x->user;
    enum execute_result result;
    if (segment->attributes & bit)
        return EXECUTE_DONE;
    segment->attributes |= bit;
    x->user = 0;
    result = execute_write(x, NULL, linear + 5, 1, segment->attributes & 0xff);
    x->user = user;
    return result;
}

enum execute_result execute_mark_accessed(struct execution *x, uint64_t linear,
                                          struct vcpu_segment *segment)
{
    return execute_mark_descriptor(x, linear, segment, DESCRIPTOR_ACCESSED);
}

static enum execute_result load_null(struct execution *x, unsigned which, uint16_t selector)
{
    struct vcpu_segment *segment = &x->state->segment[which];
    unsigned level = execute_level(x);
    if (which == VCPU_SS && (x->code_bytes != 8 || level == 3 || (selector & 3) != level))
        return execute_raise(x, EXCEPTION_PROTECTION);
    *segment = (struct vcpu_segment){.selector = selector,
                                     .attributes = VCPU_SEGMENT_UNUSABLE | level << 5};
    x->changed |= VCPU_GROUP_SEGMENTS;
    return EXECUTE_DONE;
}

static enum execute_result load_segment(struct execution *x, unsigned which, uint16_t selector)
{
    struct vcpu_segment segment;
    uint64_t linear, descriptor;
    execute_need(x->world, VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    if (execute_plain_segments(x)) {
        x->state->segment[which].selector = selector;
        x->state->segment[which].base = (uint64_t)selector << 4;
        x->changed |= VCPU_GROUP_SEGMENTS;
        return EXECUTE_DONE;
    }
    if (!(selector & SELECTOR_BITS))
        return load_null(x, which, selector);
    TRY(execute_read_descriptor(x, selector, &linear, &descriptor));
    segment = execute_segment_of(selector, descriptor);
    TRY(check_segment(x, which, &segment));
    TRY(execute_mark_accessed(x, linear, &segment));
    x->state->segment[which] = segment;
    x->changed |= VCPU_GROUP_SEGMENTS;
    return EXECUTE_DONE;
}

/* ---- Segment registers ----------------------------------------------------------------------- */

/* 8C, 8E. To a register it is stored as wide as the operand size says, to memory in 16 bits. */
enum execute_result execute_move_segment(struct execution *x)
{
    unsigned which = x->in.reg & 7;
    uint64_t value;
    execute_need(x->world, VCPU_GROUP_SEGMENTS);
    if (which > VCPU_GS || (x->in.opcode == 0x8e && which == VCPU_CS))
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    if (x->in.opcode == 0x8c)
        return execute_write_operand(x, x->in.mod == 3 ? x->in.operand_bytes : 2,
                                     x->state->segment[which].selector);
    TRY(execute_read_operand(x, 2, &value));
    return load_segment(x, which, (uint16_t)value);
}

/* 06, 0E, 16, 1E, 0F A0, 0F A8 push; 07, 17, 1F, 0F A1, 0F A9 pop. */
enum execute_result execute_stack_segment(struct execution *x)
{
    unsigned size_bytes = execute_stack_operand(x), which = x->in.opcode >> 3 & 7;
    uint64_t value;
    if (x->in.map == MAP_0F)
        which = x->in.opcode & 8 ? VCPU_GS : VCPU_FS;
    execute_need(x->world, VCPU_GROUP_SEGMENTS);
    x->one_access = false;
    if (!(x->in.opcode & 1))
        return execute_push(x, size_bytes, x->state->segment[which].selector);
    TRY(execute_peek(x, 0, size_bytes, &value));
    {
        /* The increment is the old stack's, also if SS changes. */
        const struct vcpu_segment stack = x->state->segment[VCPU_SS];
        struct vcpu_segment loaded;
        TRY(load_segment(x, which, (uint16_t)value));
        loaded = x->state->segment[VCPU_SS];
        x->state->segment[VCPU_SS] = stack;
        execute_drop(x, size_bytes);
        x->state->segment[VCPU_SS] = loaded;
    }
    return EXECUTE_DONE;
}

/* C4, C5, 0F B2, B4, B5: LES, LDS, LSS, LFS, LGS. */
enum execute_result execute_load_far(struct execution *x)
{
    unsigned which = x->in.opcode & 7;
    uint64_t offset, selector;
    if (x->in.map == MAP_ONE_BYTE)
        which = x->in.opcode == 0xc4 ? VCPU_ES : VCPU_DS;
    x->one_access = false;
    TRY(execute_read_far(x, &offset, &selector));
    TRY(load_segment(x, which, (uint16_t)selector));
    execute_set_register(x, x->in.reg, x->in.operand_bytes, offset);
    return EXECUTE_DONE;
}

/* 63 outside 64-bit code: ARPL raises a selector's level. */
enum execute_result execute_adjust_level(struct execution *x)
{
    uint64_t value, linear, level = x->state->gpr[x->in.reg] & 3;
    if (execute_plain_segments(x))
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    if (x->in.mod != 3) { /* it is always written */
        TRY(execute_linear(x, x->in.segment, execute_effective(x), 2,
                           VCPU_ACCESS_READ | VCPU_ACCESS_WRITE, &linear));
        TRY(execute_probe_write(x, linear, 2));
    }
    TRY(execute_read_operand(x, 2, &value));
    x->flags &= ~(uint64_t)RFLAGS_ZF;
    if ((value & 3) < level) {
        x->flags |= RFLAGS_ZF;
        value = (value & ~3ull) | level;
    }
    return execute_write_operand(x, 2, value);
}

/* ---- Tables ---------------------------------------------------------------------------------- */

/* SGDT, SIDT: limit and base, the latter of 8 bytes in 64-bit code. */
static enum execute_result store_table(struct execution *x, const struct vcpu_table *table)
{
    unsigned base_bytes = x->code_bytes == 8 ? 8 : 4;
    uint64_t linear;
    TRY(execute_linear(x, x->in.segment, execute_effective(x), 2 + base_bytes, VCPU_ACCESS_WRITE,
                       &linear));
    TRY(execute_probe_write(x, linear, 2 + base_bytes));
    TRY(execute_write(x, NULL, linear, 2, table->limit));
    return execute_write(x, NULL, linear + 2, base_bytes, table->base);
}

/* LGDT, LIDT: with an operand size of 16 the base has 24 bits. */
static enum execute_result load_table(struct execution *x, struct vcpu_table *table)
{
    unsigned base_bytes = x->code_bytes == 8 ? 8 : 4;
    uint64_t linear, limit, base;
    if (x->user || (x->state->rflags & RFLAGS_VM))
        return execute_raise(x, EXCEPTION_PROTECTION);
    TRY(execute_linear(x, x->in.segment, execute_effective(x), 2 + base_bytes, VCPU_ACCESS_READ,
                       &linear));
    TRY(execute_read(x, NULL, linear, 2, &limit));
    TRY(execute_read(x, NULL, linear + 2, base_bytes, &base));
    if (base_bytes == 8 && !execute_canonical(x, base))
        return execute_raise(x, EXCEPTION_PROTECTION);
    if (base_bytes == 4 && x->in.operand_bytes == 2)
        base &= 0xffffff;
    *table = (struct vcpu_table){.base = base, .limit = (uint32_t)limit};
    x->changed |= VCPU_GROUP_TABLES;
    return EXECUTE_DONE;
}

/* 0F 01 /0 to /3. */
enum execute_result execute_table(struct execution *x)
{
    unsigned which = x->in.reg & 3;
    struct vcpu_table *table = which & 1 ? &x->state->idtr : &x->state->gdtr;
    if (x->in.mod == 3)
        return execute_unknown(x);
    execute_need(x->world, VCPU_GROUP_TABLES | VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    x->one_access = false;
    if (which & 2)
        return load_table(x, table);
    if (x->user && (x->state->cr4 & CR4_UMIP))
        return execute_raise(x, EXCEPTION_PROTECTION);
    return store_table(x, table);
}
