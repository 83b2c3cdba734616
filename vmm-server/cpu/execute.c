/*
 * Executes one instruction of a guest in software.
 *
 * State:    none of its own; the vCPU's state page and the callbacks of struct execute_world.
 * Features: every instruction of the integer unit that reads or writes memory, the stack's among them, in 16, 32 and
 *           64-bit code: moves, arithmetic, shifts, bits, exchanges, strings and string port accesses with REP (runs of
 *           a page at once), segment registers and descriptor tables, what looks at descriptors, far branches and
 *           returns, also by gates, to other levels and tasks, IRET, control registers; x87 but for its environment; MMX and SSE up to
 *           SSE4.2 but for conversions from and to other registers, sums of products and strings, and their control and
 *           state; XSAVE and its kin; moves of AVX and AVX2; with segments, paging and faults as the processor has them.
 *           Flags are those that the processor makes which we run on, and so are results of x87 and SSE.
 * Missing:  far calls without a gate between 64-bit and other code; branches with an operand size of 16 in 64-bit code, which
 *           the vendors do differently; PUSHF, POPF and IRET with virtual interrupts: these are reported. What computes with VEX,
 *           AVX-512, FLDENV, FNSTENV, FRSTOR, FNSAVE, AES, SHA, PCLMULQDQ and the like are unknown here, and are done by the
 *           guest's own processor (execute_step.c). Reported is also an x87 exception that waits while CR0.NE is off, unless
 *           it is met there. INT, whose way to its handler is the processor's. #AC, protection keys, shadow stacks, data
 *           breakpoints, the interrupt shadow of a load of SS, single steps, and the check of a port against the
 *           guest's TSS (the processor has made it).
 * Spec:     Intel SDM volumes 1 to 3, June 2023; AMD APM 3 where the two differ: nowhere here.
 */
#include "cpu/execute_internal.h"

/* ---- Registers and operands ------------------------------------------------------------------ */

/* Without a REX prefix byte registers 4 to 7 are AH, CH, DH and BH. */
static bool high_byte(const struct execution *x, unsigned number, unsigned size_bytes)
{
    return size_bytes == 1 && !x->in.rex && number >= 4 && number < 8;
}

uint64_t execute_register(const struct execution *x, unsigned number, unsigned size_bytes)
{
    if (high_byte(x, number, size_bytes))
        return x->state->gpr[number - 4] >> 8 & 0xff;
    return x->state->gpr[number] & execute_mask(size_bytes);
}

void execute_set_register(struct execution *x, unsigned number, unsigned size_bytes, uint64_t value)
{
    uint64_t *gpr = x->state->gpr, mask = execute_mask(size_bytes);
    if (high_byte(x, number, size_bytes)) {
        gpr[number - 4] = (gpr[number - 4] & ~0xff00ull) | (value & 0xff) << 8;
        return;
    }
    if (number == 4)
        x->changed |= VCPU_GROUP_RIP;
    gpr[number] = size_bytes == 4 ? (uint32_t)value : (gpr[number] & ~mask) | (value & mask);
}

static enum execute_result operand_linear(struct execution *x, unsigned size_bytes, unsigned access,
                                          uint64_t *linear)
{
    return execute_linear(x, x->in.segment, execute_effective(x), size_bytes, access, linear);
}

/* The r/m operand. */
enum execute_result execute_read_operand(struct execution *x, unsigned size_bytes, uint64_t *value)
{
    uint64_t linear;
    if (x->in.mod == 3) {
        *value = execute_register(x, x->in.rm, size_bytes);
        return EXECUTE_DONE;
    }
    TRY(operand_linear(x, size_bytes, VCPU_ACCESS_READ, &linear));
    return execute_read(x, NULL, linear, size_bytes, value);
}

enum execute_result execute_write_operand(struct execution *x, unsigned size_bytes, uint64_t value)
{
    uint64_t linear;
    if (x->in.mod == 3) {
        execute_set_register(x, x->in.rm, size_bytes, value);
        return EXECUTE_DONE;
    }
    TRY(operand_linear(x, size_bytes, VCPU_ACCESS_WRITE, &linear));
    return execute_write(x, NULL, linear, size_bytes, value);
}

/* ---- One-byte opcodes ------------------------------------------------------------------------ */

/* CMP and TEST write nothing; what only reads must also work where writing is not allowed. */
static enum execute_result compare(struct execution *x, enum operation operation,
                                   unsigned size_bytes, uint64_t operand)
{
    uint64_t value;
    TRY(execute_read_operand(x, size_bytes, &value));
    execute_operation(operation, size_bytes, value, operand, &x->flags);
    return EXECUTE_DONE;
}

static enum execute_result arithmetic(struct execution *x, enum operation operation,
                                      unsigned size_bytes, uint64_t operand)
{
    if (operation == OPERATION_CMP || operation == OPERATION_TEST || operation == OPERATION_BT)
        return compare(x, operation, size_bytes, operand);
    return execute_modify(x, operation, size_bytes, operand);
}

/* 00 to 3F: eight operations in six forms. */
static enum execute_result arithmetic_rows(struct execution *x, unsigned size_bytes)
{
    enum operation operation = x->in.opcode >> 3 & 7;
    uint64_t value, old;
    if (!(x->in.opcode & 2))
        return arithmetic(x, operation, size_bytes, execute_register(x, x->in.reg, size_bytes));
    old = execute_register(x, x->in.reg, size_bytes);
    TRY(execute_read_operand(x, size_bytes, &value));
    value = execute_operation(operation, size_bytes, old, value, &x->flags);
    if (operation != OPERATION_CMP)
        execute_set_register(x, x->in.reg, size_bytes, value);
    return EXECUTE_DONE;
}

/* C0, C1, D0 to D3. */
static enum execute_result shift(struct execution *x, unsigned size_bytes)
{
    enum operation operation = OPERATION_ROL + (x->in.reg & 7);
    uint64_t count = 1;
    if (x->in.opcode < 0xd0)
        count = x->in.immediate;
    else if (x->in.opcode & 2)
        count = x->state->gpr[1] & 0xff;
    return execute_modify(x, operation, size_bytes, count);
}

/* F6, F7: TEST, NOT, NEG; the rest multiplies and divides. */
static enum execute_result group_3(struct execution *x, unsigned size_bytes)
{
    switch (x->in.reg & 7) {
    case 0:
    case 1: return compare(x, OPERATION_TEST, size_bytes, x->in.immediate);
    case 2: return execute_modify(x, OPERATION_NOT, size_bytes, 0);
    case 3: return execute_modify(x, OPERATION_NEG, size_bytes, 0);
    }
    return execute_multiply_divide(x, size_bytes);
}

/* A0 to A3: the accumulator and an address in the instruction. */
static enum execute_result move_offset(struct execution *x, unsigned size_bytes)
{
    uint64_t value;
    x->in.mod = 0;
    if (x->in.opcode & 2)
        return execute_write_operand(x, size_bytes, execute_register(x, 0, size_bytes));
    TRY(execute_read_operand(x, size_bytes, &value));
    execute_set_register(x, 0, size_bytes, value);
    return EXECUTE_DONE;
}

static enum execute_result load_register(struct execution *x, unsigned size_bytes)
{
    uint64_t value;
    TRY(execute_read_operand(x, size_bytes, &value));
    execute_set_register(x, x->in.reg, size_bytes, value);
    return EXECUTE_DONE;
}

/* 63: MOVSXD in 64-bit code, else ARPL. */
static enum execute_result move_sign_doubleword(struct execution *x)
{
    unsigned from = x->in.operand_bytes == 2 ? 2 : 4;
    uint64_t value;
    if (x->code_bytes != 8)
        return execute_adjust_level(x);
    TRY(execute_read_operand(x, from, &value));
    if (from == 4)
        value = (uint64_t)(int64_t)(int32_t)value;
    execute_set_register(x, x->in.reg, x->in.operand_bytes, value);
    return EXECUTE_DONE;
}

/* FE, FF. */
static enum execute_result group_5(struct execution *x, unsigned size_bytes)
{
    unsigned which = x->in.reg & 7;
    if (which < 2)
        return execute_modify(x, OPERATION_INC + which, size_bytes, 0);
    if (x->in.opcode == 0xfe || which == 7)
        return execute_unknown(x);
    return which & 1 ? execute_branch_far(x) : execute_group_5(x);
}

/* 8D: an address, and no access. */
static enum execute_result load_address(struct execution *x)
{
    if (x->in.mod == 3)
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    execute_set_register(x, x->in.reg, x->in.operand_bytes, execute_effective(x));
    return EXECUTE_DONE;
}

/* The rows of opcodes up to 3F have four forms with ModRM; those behind belong to the accumulator and to segments. */
static enum execute_result low_rows(struct execution *x, unsigned size_bytes)
{
    if ((x->in.opcode & 7) < 4)
        return arithmetic_rows(x, size_bytes);
    return (x->in.opcode & 7) > 5 && x->in.opcode < 0x20 ? execute_stack_segment(x)
                                                         : execute_unknown(x);
}

static enum execute_result one_byte(struct execution *x)
{
    unsigned opcode = x->in.opcode, size_bytes = opcode & 1 ? x->in.operand_bytes : 1;
    switch (opcode) {
    case 0x00 ... 0x3f: return low_rows(x, size_bytes);
    case 0x62: return execute_bound(x);
    case 0x63: return move_sign_doubleword(x);
    case 0x69:
    case 0x6b: return execute_multiply(x);
    case 0x80 ... 0x83: return arithmetic(x, x->in.reg & 7, size_bytes, x->in.immediate);
    case 0x84 ... 0x85:
        return compare(x, OPERATION_TEST, size_bytes, execute_register(x, x->in.reg, size_bytes));
    case 0x86 ... 0x87: return execute_exchange(x, size_bytes);
    case 0x88 ... 0x89:
        return execute_write_operand(x, size_bytes, execute_register(x, x->in.reg, size_bytes));
    case 0x8a ... 0x8b: return load_register(x, size_bytes);
    case 0x8c:
    case 0x8e: return execute_move_segment(x);
    case 0x8d: return load_address(x);
    case 0xa0 ... 0xa3: return move_offset(x, size_bytes);
    case 0x6c ... 0x6f:
    case 0xa4 ... 0xa7:
    case 0xaa ... 0xaf: x->one_access = false; return execute_string(x);
    case 0xc0 ... 0xc1:
    case 0xd0 ... 0xd3: return shift(x, size_bytes);
    case 0xc4 ... 0xc5: return execute_load_far(x);
    case 0xc6 ... 0xc7: /* the other members of this group are XABORT and XBEGIN */
        return x->in.reg & 7 ? execute_unknown(x)
                             : execute_write_operand(x, size_bytes, x->in.immediate);
    case 0x9a:
    case 0xea: return execute_branch_far(x);
    case 0xca ... 0xcb: x->one_access = false; return execute_return_far(x);
    case 0xcf: x->one_access = false; return execute_return_interrupt(x);
    case 0xd7: return execute_translate_byte(x);
    case 0xd8 ... 0xdf: return execute_x87(x);
    case 0xf6 ... 0xf7: return group_3(x, size_bytes);
    case 0xfe ... 0xff: return group_5(x, size_bytes);
    }
    return execute_stack(x);
}

/* ---- 0F opcodes ------------------------------------------------------------------------------ */

/* B6, B7, BE, BF. */
static enum execute_result move_extend(struct execution *x)
{
    unsigned from = x->in.opcode & 1 ? 2 : 1;
    uint64_t value;
    TRY(execute_read_operand(x, from, &value));
    if (x->in.opcode & 8)
        value = from == 1 ? (uint64_t)(int64_t)(int8_t)value : (uint64_t)(int64_t)(int16_t)value;
    execute_set_register(x, x->in.reg, x->in.operand_bytes, value);
    return EXECUTE_DONE;
}

/* The operand is read, and 32-bit registers are cleared above, whether the condition holds or not. */
static enum execute_result move_condition(struct execution *x)
{
    unsigned size_bytes = x->in.operand_bytes;
    uint64_t value;
    TRY(execute_read_operand(x, size_bytes, &value));
    if (!execute_condition(x->in.opcode & 15, x->flags))
        value = execute_register(x, x->in.reg, size_bytes);
    execute_set_register(x, x->in.reg, size_bytes, value);
    return EXECUTE_DONE;
}

/* A3, AB, B3, BB with the bit in a register, BA with it in the instruction. BT only reads. */
static enum execute_result bit(struct execution *x)
{
    unsigned size_bytes = x->in.operand_bytes;
    enum operation operation = OPERATION_BT + (x->in.opcode >> 3 & 3);
    uint64_t number = execute_register(x, x->in.reg, size_bytes);
    if (x->in.opcode == 0xba) {
        if ((x->in.reg & 7) < 4)
            return execute_unknown(x);
        operation = OPERATION_BT + (x->in.reg & 3);
        number = x->in.immediate;
    }
    if (operation == OPERATION_BT && (x->in.opcode == 0xba || x->in.mod == 3))
        return compare(x, OPERATION_BT, size_bytes, number);
    if (operation == OPERATION_BT)
        return execute_bit_test(x, size_bytes, number);
    return execute_modify(x, operation, size_bytes, number);
}

/* A4, A5, AC, AD: the count is in the instruction or in CL. */
static enum execute_result shift_double(struct execution *x)
{
    return execute_modify(x, x->in.opcode & 8 ? OPERATION_SHRD : OPERATION_SHLD,
                          x->in.operand_bytes,
                          x->in.opcode & 1 ? x->state->gpr[1] & 0xff : x->in.immediate);
}

static enum execute_result flush_line(struct execution *x)
{
    uint64_t linear, gpa;
    TRY(operand_linear(x, 1, VCPU_ACCESS_READ, &linear));
    return execute_gpa(x, NULL, linear, VCPU_ACCESS_READ, &gpa);
}

static enum execute_result two_byte(struct execution *x)
{
    unsigned opcode = x->in.opcode, size_bytes = opcode & 1 ? x->in.operand_bytes : 1;
    switch (opcode) {
    case 0x00: return execute_system_segment(x);
    case 0x02 ... 0x03: return execute_load_rights(x);
    case 0x01:
        if ((x->in.reg & 7) < 4)
            return execute_table(x);
        if ((x->in.reg & 7) != 4 && (x->in.reg & 7) != 6)
            return execute_unknown(x);
        return execute_control(x);
    case 0x06:
    case 0x20:
    case 0x22: return execute_control(x);
    case 0x40 ... 0x4f: return move_condition(x);
    case 0x90 ... 0x9f:
        return execute_write_operand(x, 1, execute_condition(opcode & 15, x->flags));
    case 0xa3:
    case 0xab:
    case 0xb3:
    case 0xba:
    case 0xbb: return bit(x);
    case 0xae: /* CLFLUSH, CLFLUSHOPT, CLWB: an access that changes nothing */
        if ((x->in.reg & 7) < 4)
            return execute_vector_state(x);
        if ((x->in.reg & 7) < 7 && !x->in.operand_prefix)
            return execute_extended_state(x);
        return x->in.mod != 3 && (x->in.reg & 7) >= (x->in.operand_prefix ? 6 : 7) && !x->in.repeat
                   ? flush_line(x)
                   : execute_unknown(x);
    case 0xa0 ... 0xa1:
    case 0xa8 ... 0xa9: return execute_stack_segment(x);
    case 0xa4 ... 0xa5:
    case 0xac ... 0xad: return shift_double(x);
    case 0xaf: return execute_multiply(x);
    case 0xb0 ... 0xb1: return execute_compare_exchange(x, size_bytes);
    case 0xb2:
    case 0xb4 ... 0xb5: return execute_load_far(x);
    case 0xb8:
    case 0xbc ... 0xbd: return execute_scan(x);
    case 0xb6 ... 0xb7:
    case 0xbe ... 0xbf: return move_extend(x);
    case 0xc0 ... 0xc1: return execute_exchange_add(x, size_bytes);
    case 0xc3: /* MOVNTI */
        return execute_write_operand(x, x->in.rex_w ? 8 : 4,
                                     execute_register(x, x->in.reg, x->in.rex_w ? 8 : 4));
    case 0xc7:
        if ((x->in.reg & 7) > 2 && (x->in.reg & 7) < 6)
            return execute_extended_state(x);
        return (x->in.reg & 7) == 1 && x->in.mod != 3 ? execute_compare_exchange_wide(x)
                                                      : execute_unknown(x);
    }
    return execute_vector(x);
}

/* ---- The whole ------------------------------------------------------------------------------- */

void execute_need(struct execute_world *world, uint32_t groups)
{
    groups &= ~world->there;
    world->there |= groups;
    if (groups && world->need)
        world->need(world, groups);
}

static void set_mode(struct execution *x)
{
    const struct vcpu_state *state = x->state;
    uint32_t code = state->segment[VCPU_CS].attributes;
    bool long_code = (state->efer & EFER_LMA) && (code & 1u << 13);
    x->code_bytes = long_code ? 8 : code & 1u << 14 ? 4 : 2;
    if (!long_code)
        execute_need(x->world, VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS);
    x->rip_mask = long_code ? ~0ull : 0xffffffff;
    if ((state->cr0 & CR0_PE) &&
        ((state->segment[VCPU_SS].attributes >> 5 & 3) == 3 || (state->rflags & RFLAGS_VM)))
        x->user = EXECUTE_ACCESS_USER;
}

/* Registers are in the page already; what is left are RIP and flags. */
static void finish(struct execution *x)
{
    struct vcpu_state *state = x->state;
    const uint32_t shadow = VCPU_BLOCKED_BY_STI | VCPU_BLOCKED_BY_MOV_SS;
    if (x->next_rip != state->rip && !x->world->returned)
        x->flags &= ~(uint64_t)RFLAGS_RF;
    state->rip = x->next_rip;
    if (x->flags != state->rflags) {
        state->rflags = x->flags;
        x->changed |= VCPU_GROUP_RIP;
    }
    if (x->changed & VCPU_GROUP_RIP)
        state->interruptibility &= ~shadow;
}

void execute_begin(struct execution *x, struct execute_world *world)
{
    x->world = world;
    x->state = world->state;
    x->flags = world->state->rflags;
    x->event = x->changed = x->user = 0;
    x->one_access = true;
    x->what = NULL;
    world->returned = false;
    world->there = 0;
    x->pages[0].access = x->pages[1].access = 0;
    set_mode(x);
}

enum execute_result execute_instruction(struct execute_world *world, uint64_t *event,
                                        uint32_t *changed, const char **what)
{
    struct execution x;
    uint64_t rip = world->state->rip;

    execute_begin(&x, world);
    enum execute_result result = execute_fetch(&x);
    if (result == EXECUTE_DONE) {
        switch (x.in.map) {
        case MAP_ONE_BYTE: result = one_byte(&x); break;
        case MAP_0F: result = two_byte(&x); break;
        case MAP_0F38: result = execute_three_byte(&x); break;
        case MAP_0F3A:
        case MAP_VEX_0F ... MAP_VEX_0F3A: result = execute_avx(&x); break;
        default: result = execute_unknown(&x);
        }
        if (result == EXECUTE_DONE) {
            if (world->fault_access && world->device_read)
                execute_remember(&x, rip);
            finish(&x);
        }
    }
    *event = x.event;
    *changed = x.changed;
    *what = x.what;
    return result;
}
