/* The stack and branches: PUSH, POP, PUSHA, POPA, PUSHF, POPF, ENTER, LEAVE, CALL, JMP, RET. */
#include "cpu/execute_internal.h"

enum { SP = 4, BP = 5 };

#define STACK_BIG    (1u << 14)
#define NESTING_MASK 31u

static unsigned stack_bytes(const struct execution *x)
{
    if (x->code_bytes == 8)
        return 8;
    return x->state->segment[VCPU_SS].attributes & STACK_BIG ? 4 : 2;
}

/* PUSH, POP, CALL, JMP and their like have no 32-bit form in 64-bit code. */
unsigned execute_stack_operand(const struct execution *x)
{
    return x->code_bytes == 8 && x->in.operand_bytes == 4 ? 8 : x->in.operand_bytes;
}

/* A stack pointer is as wide as the stack; what is above stays. */
static void set_pointer(struct execution *x, unsigned number, uint64_t value)
{
    uint64_t mask = execute_mask(stack_bytes(x)), *gpr = &x->state->gpr[number];
    *gpr = (*gpr & ~mask) | (value & mask);
    if (number == SP)
        x->changed |= VCPU_GROUP_RIP;
}

static void move_stack(struct execution *x, uint64_t by)
{
    set_pointer(x, SP, x->state->gpr[SP] + by);
}

/* `below`: how far under RSP. */
static enum execute_result store_at(struct execution *x, uint64_t below, unsigned size_bytes,
                                    uint64_t value)
{
    uint64_t offset = (x->state->gpr[SP] - below) & execute_mask(stack_bytes(x)), linear;
    TRY(execute_linear(x, VCPU_SS, offset, size_bytes, VCPU_ACCESS_WRITE, &linear));
    return execute_write(x, NULL, linear, size_bytes, value);
}

static enum execute_result load_at(struct execution *x, uint64_t offset, unsigned size_bytes,
                                   uint64_t *value)
{
    uint64_t linear;
    offset &= execute_mask(stack_bytes(x));
    TRY(execute_linear(x, VCPU_SS, offset, size_bytes, VCPU_ACCESS_READ, &linear));
    return execute_read(x, NULL, linear, size_bytes, value);
}

enum execute_result execute_push(struct execution *x, unsigned size_bytes, uint64_t value)
{
    TRY(store_at(x, size_bytes, size_bytes, value));
    move_stack(x, -(uint64_t)size_bytes);
    return EXECUTE_DONE;
}

enum execute_result execute_peek(struct execution *x, unsigned place, unsigned size_bytes,
                                 uint64_t *value)
{
    return load_at(x, x->state->gpr[SP] + place, size_bytes, value);
}

void execute_drop(struct execution *x, unsigned count_bytes)
{
    move_stack(x, count_bytes);
}

/* An operand that is addressed by RSP is addressed after the increment (SDM 2B, POP). */
static enum execute_result pop(struct execution *x)
{
    unsigned size_bytes = execute_stack_operand(x);
    uint64_t value, before = x->state->gpr[SP];
    enum execute_result result;
    TRY(execute_peek(x, 0, size_bytes, &value));
    move_stack(x, size_bytes);
    result = execute_write_operand(x, size_bytes, value);
    if (result != EXECUTE_DONE)
        x->state->gpr[SP] = before;
    return result;
}

/* ---- Branches -------------------------------------------------------------------------------- */

static enum execute_result jump(struct execution *x, uint64_t target)
{
    uint64_t linear;
    TRY(execute_linear(x, VCPU_CS, target, 1, 0, &linear));
    x->next_rip = target;
    return EXECUTE_DONE;
}

static enum execute_result call(struct execution *x, unsigned size_bytes, uint64_t target)
{
    uint64_t back = x->next_rip;
    TRY(jump(x, target));
    return execute_push(x, size_bytes, back);
}

/* A branch of 16 bits in 64-bit code is done differently by the vendors. */
static bool vendors_differ(const struct execution *x)
{
    return x->code_bytes == 8 && x->in.operand_bytes == 2;
}

/* FF /2, /4, /6. */
enum execute_result execute_group_5(struct execution *x)
{
    unsigned which = x->in.reg & 7, wide = execute_stack_operand(x);
    uint64_t value;
    if (which != 6 && vendors_differ(x))
        return execute_unknown(x);
    x->one_access = which == 4;
    TRY(execute_read_operand(x, wide, &value));
    switch (which) {
    case 2: return call(x, wide, value);
    case 4: return jump(x, value);
    default: return execute_push(x, wide, value);
    }
}

/* E8: the displacement is the instruction's immediate. */
static enum execute_result call_relative(struct execution *x)
{
    unsigned wide = execute_stack_operand(x);
    if (vendors_differ(x))
        return execute_unknown(x);
    return call(x, wide, (x->next_rip + x->in.immediate) & execute_mask(wide));
}

/* C2, C3. */
static enum execute_result return_near(struct execution *x)
{
    unsigned wide = execute_stack_operand(x);
    uint64_t target;
    if (vendors_differ(x))
        return execute_unknown(x);
    TRY(execute_peek(x, 0, wide, &target));
    TRY(jump(x, target));
    move_stack(x, wide + (x->in.opcode == 0xc2 ? x->in.immediate & 0xffff : 0));
    return EXECUTE_DONE;
}

/* ---- Several registers ----------------------------------------------------------------------- */

/* SDM 2B, PUSHA: the stack pointer that is stored is that from before. */
static enum execute_result push_all(struct execution *x)
{
    unsigned size_bytes = x->in.operand_bytes;
    for (unsigned i = 0; i < 8; i++)
        TRY(store_at(x, (i + 1) * size_bytes, size_bytes, x->state->gpr[i]));
    move_stack(x, -8ull * size_bytes);
    return EXECUTE_DONE;
}

/* All is read before a register changes. */
static enum execute_result pop_all(struct execution *x)
{
    unsigned size_bytes = x->in.operand_bytes;
    uint64_t values[8];
    for (unsigned i = 0; i < 8; i++)
        TRY(execute_peek(x, i * size_bytes, size_bytes, &values[7 - i]));
    for (unsigned i = 0; i < 8; i++)
        if (i != SP)
            execute_set_register(x, i, size_bytes, values[i]);
    move_stack(x, 8 * size_bytes);
    return EXECUTE_DONE;
}

/* SDM 2A, ENTER: a frame of immediate bytes; `nesting` pointers of the frames around it are copied. */
static enum execute_result enter(struct execution *x)
{
    unsigned size_bytes = execute_stack_operand(x), nesting = x->in.second & NESTING_MASK;
    uint64_t mask = execute_mask(stack_bytes(x)), below = size_bytes, value;
    uint64_t frame = (x->state->gpr[SP] & ~mask) | ((x->state->gpr[SP] - size_bytes) & mask);
    uint64_t from = x->state->gpr[BP], linear, last;
    TRY(store_at(x, below, size_bytes, x->state->gpr[BP]));
    for (unsigned i = 1; i < nesting; i++) {
        from -= size_bytes;
        below += size_bytes;
        TRY(load_at(x, from, size_bytes, &value));
        TRY(store_at(x, below, size_bytes, value));
    }
    if (nesting) {
        below += size_bytes;
        TRY(store_at(x, below, size_bytes, frame));
    }
    below += x->in.immediate & 0xffff;
    /* The new top must be writable, or the processor faults here and not at the first push. */
    last = (x->state->gpr[SP] - below) & mask;
    TRY(execute_linear(x, VCPU_SS, last, 1, VCPU_ACCESS_WRITE, &linear));
    TRY(execute_probe_write(x, linear, 1));
    move_stack(x, -below);
    execute_set_register(x, BP, size_bytes, frame);
    return EXECUTE_DONE;
}

static enum execute_result leave(struct execution *x)
{
    unsigned size_bytes = execute_stack_operand(x);
    uint64_t frame = x->state->gpr[BP], value;
    TRY(load_at(x, frame, size_bytes, &value));
    set_pointer(x, SP, frame + size_bytes);
    execute_set_register(x, BP, size_bytes, value);
    return EXECUTE_DONE;
}

/* ---- Flags ----------------------------------------------------------------------------------- */

/* In virtual-8086 mode with IOPL under 3, PUSHF and POPF fault, if there are no extensions. */
static bool flags_forbidden(const struct execution *x)
{
    return (x->state->rflags & RFLAGS_VM) && (x->state->rflags & RFLAGS_IOPL) != RFLAGS_IOPL;
}

static enum execute_result push_flags(struct execution *x)
{
    unsigned size_bytes = execute_stack_operand(x);
    if (flags_forbidden(x))
        return x->state->cr4 & CR4_VME ? execute_unknown(x)
                                       : execute_raise(x, EXCEPTION_PROTECTION);
    return execute_push(x, size_bytes, x->state->rflags & ~(uint64_t)(RFLAGS_VM | RFLAGS_RF));
}

/* Which flags a POPF may change (SDM 2B, table 4-17). */
static uint64_t flags_to_pop(const struct execution *x, unsigned size_bytes)
{
    uint64_t mask = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_TF |
                    RFLAGS_DF | RFLAGS_OF | RFLAGS_NT;
    unsigned level = x->user ? 3 : 0, iopl = (unsigned)(x->state->rflags & RFLAGS_IOPL) >> 12;
    if (level == 0)
        mask |= RFLAGS_IOPL;
    if (level <= iopl)
        mask |= RFLAGS_IF;
    if (size_bytes > 2)
        mask |= RFLAGS_AC | RFLAGS_ID;
    return mask;
}

static enum execute_result pop_flags(struct execution *x)
{
    unsigned size_bytes = execute_stack_operand(x);
    uint64_t value, mask = flags_to_pop(x, size_bytes);
    if (flags_forbidden(x))
        return x->state->cr4 & CR4_VME ? execute_unknown(x)
                                       : execute_raise(x, EXCEPTION_PROTECTION);
    TRY(execute_peek(x, 0, size_bytes, &value));
    move_stack(x, size_bytes);
    if (size_bytes > 2)
        x->flags &= ~(uint64_t)RFLAGS_RF;
    x->flags = (x->flags & ~mask) | (value & mask);
    return EXECUTE_DONE;
}

/* ---- The whole: opcodes without an operand in memory but the stack ---------------------------- */

static enum execute_result pop_register(struct execution *x)
{
    unsigned size_bytes = execute_stack_operand(x);
    uint64_t value;
    TRY(execute_peek(x, 0, size_bytes, &value));
    move_stack(x, size_bytes);
    execute_set_register(x, x->in.rm, size_bytes, value);
    return EXECUTE_DONE;
}

enum execute_result execute_stack(struct execution *x)
{
    unsigned wide = execute_stack_operand(x);
    x->one_access = false;
    switch (x->in.opcode) {
    case 0x50 ... 0x57: return execute_push(x, wide, execute_register(x, x->in.rm, wide));
    case 0x58 ... 0x5f: return pop_register(x);
    case 0x60: return push_all(x);
    case 0x61: return pop_all(x);
    case 0x68:
    case 0x6a: return execute_push(x, wide, x->in.immediate);
    case 0x8f: return pop(x);
    case 0x9c: return push_flags(x);
    case 0x9d: return pop_flags(x);
    case 0xc2:
    case 0xc3: return return_near(x);
    case 0xc8: return enter(x);
    case 0xc9: return leave(x);
    case 0xe8: return call_relative(x);
    }
    return execute_unknown(x);
}
