/* Control registers: MOV to and from CRn, LMSW, SMSW, CLTS. What a value means is the VMM's policy. */
#include "cpu/execute_internal.h"

static enum execute_result read_control(struct execution *x, unsigned number, uint64_t *value)
{
    if (!x->world->control_read(x->world, number, value))
        return execute_raise(x, EXCEPTION_PROTECTION);
    return EXECUTE_DONE;
}

static enum execute_result write_control(struct execution *x, unsigned number, uint64_t value)
{
    if (!x->world->control_write(x->world, number, value))
        return execute_raise(x, EXCEPTION_PROTECTION);
    x->changed |= VCPU_GROUP_CONTROL;
    return EXECUTE_DONE;
}

static bool privileged(const struct execution *x)
{
    return !x->user && (!(x->state->rflags & RFLAGS_VM) || !(x->state->cr0 & CR0_PE));
}

/* 0F 20 and 0F 22: always registers, whatever ModRM's mod says; operands of 64 bits in 64-bit code, else 32. */
static enum execute_result move_control(struct execution *x)
{
    unsigned number = x->in.reg, size_bytes = x->code_bytes == 8 ? 8 : 4;
    uint64_t value;
    if (number != 0 && number != 2 && number != 3 && number != 4 && number != 8)
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    if (x->in.opcode == 0x22)
        return write_control(x, number, execute_register(x, x->in.rm, size_bytes));
    TRY(read_control(x, number, &value));
    execute_set_register(x, x->in.rm, size_bytes, value);
    return EXECUTE_DONE;
}

/* SDM 2A, LMSW: PE, MP, EM and TS; PE can be set, not cleared. */
static enum execute_result load_status_word(struct execution *x)
{
    uint64_t word, old;
    TRY(execute_read_operand(x, 2, &word));
    TRY(read_control(x, 0, &old));
    return write_control(x, 0, (old & ~14ull) | (word & 15));
}

/* SMSW: into a register as wide as the operand size says, into memory always 16 bits. */
static enum execute_result store_status_word(struct execution *x)
{
    uint64_t value;
    if (x->user && (x->state->cr4 & CR4_UMIP))
        return execute_raise(x, EXCEPTION_PROTECTION);
    TRY(read_control(x, 0, &value));
    return execute_write_operand(x, x->in.mod == 3 ? x->in.operand_bytes : 2, value);
}

/* All that the dispatcher sends here: 0F 01 /4 and /6, 0F 06, 0F 20, 0F 22. */
enum execute_result execute_control(struct execution *x)
{
    uint64_t value;
    execute_need(x->world, VCPU_GROUP_CONTROL);
    if (x->in.opcode == 0x01 && (x->in.reg & 7) == 4)
        return store_status_word(x);
    if (!privileged(x))
        return execute_raise(x, EXCEPTION_PROTECTION);
    if (x->in.opcode == 0x01)
        return load_status_word(x);
    if (x->in.opcode == 0x06) {
        TRY(read_control(x, 0, &value));
        return write_control(x, 0, value & ~(uint64_t)CR0_TS);
    }
    return move_control(x);
}
