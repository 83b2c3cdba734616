/* Multiplication and division, double shifts, bit scans, and what else reads one operand and computes in registers. */
#include "cpu/execute_internal.h"

enum { AX = 0, DX = 2, BX = 3 };

static int64_t extend(uint64_t value, unsigned size_bytes)
{
    unsigned shift = 64 - size_bytes * 8;
    return (int64_t)(value << shift) >> shift;
}

/* CF and OF say whether the upper half counts; the other flags are undefined (SDM 2A, IMUL, and 2B, MUL) and stay. */
static void set_overflow(struct execution *x, bool overflow)
{
    const uint64_t both = RFLAGS_CF | RFLAGS_OF;
    x->flags = overflow ? x->flags | both : x->flags & ~both;
}

/* The accumulator pair: AX for bytes, else DX:AX in both sizes of its halves. */
static void set_pair(struct execution *x, unsigned size_bytes, uint64_t low, uint64_t high)
{
    if (size_bytes == 1) {
        execute_set_register(x, AX, 2, (low & 0xff) | high << 8);
        return;
    }
    execute_set_register(x, AX, size_bytes, low);
    execute_set_register(x, DX, size_bytes, high);
}

static void multiply(struct execution *x, unsigned size_bytes, uint64_t by, bool is_signed)
{
    uint64_t a = execute_register(x, AX, size_bytes), low, high;
    unsigned bits = size_bytes * 8;
    bool overflow;
    if (is_signed) {
        __int128 product = (__int128)extend(a, size_bytes) * extend(by, size_bytes);
        low = (uint64_t)product;
        high = (uint64_t)(product >> bits);
        overflow = product != extend(low, size_bytes);
    } else {
        unsigned __int128 product = (unsigned __int128)a * by;
        low = (uint64_t)product;
        high = (uint64_t)(product >> bits);
        overflow = high != 0;
    }
    set_pair(x, size_bytes, low, high & execute_mask(size_bytes));
    set_overflow(x, overflow);
}

/* high:low by `by`; false: the quotient is too large. */
static bool divide_unsigned(unsigned size_bytes, uint64_t high, uint64_t low, uint64_t by,
                            uint64_t *quotient, uint64_t *remainder)
{
    if (high >= by) /* also by 0 */
        return false;
    if (size_bytes < 8) {
        uint64_t whole = high << size_bytes * 8 | low;
        *quotient = whole / by;
        *remainder = whole % by;
        return true;
    }
    __asm__("divq %[by]"
            : "=a"(*quotient), "=d"(*remainder)
            : "0"(low), "1"(high), [by] "r"(by)
            : "cc");
    return true;
}

/* By magnitudes: the remainder has the dividend's sign. */
static bool divide_signed(unsigned size_bytes, uint64_t high, uint64_t low, uint64_t by,
                          uint64_t *quotient, uint64_t *remainder)
{
    uint64_t mask = execute_mask(size_bytes), sign = 1ull << (size_bytes * 8 - 1);
    bool minus = (high & sign) != 0, by_minus = (by & sign) != 0;
    if (minus) {
        low = -low & mask;
        high = (~high + (low == 0)) & mask;
    }
    if (by_minus)
        by = -by & mask;
    if (!divide_unsigned(size_bytes, high, low, by, quotient, remainder))
        return false;
    if (*quotient > (minus != by_minus ? sign : sign - 1))
        return false;
    if (minus != by_minus)
        *quotient = -*quotient;
    if (minus)
        *remainder = -*remainder;
    return true;
}

static enum execute_result divide(struct execution *x, unsigned size_bytes, uint64_t by,
                                  bool is_signed)
{
    uint64_t low = execute_register(x, AX, size_bytes), quotient, remainder;
    uint64_t high =
        size_bytes == 1 ? x->state->gpr[AX] >> 8 & 0xff : execute_register(x, DX, size_bytes);
    if (!(is_signed ? divide_signed : divide_unsigned)(size_bytes, high, low, by, &quotient,
                                                       &remainder))
        return execute_raise(x, EXCEPTION_DIVIDE);
    set_pair(x, size_bytes, quotient, remainder);
    return EXECUTE_DONE;
}

/* F6, F7 /4 to /7. */
enum execute_result execute_multiply_divide(struct execution *x, unsigned size_bytes)
{
    uint64_t value;
    bool is_signed = x->in.reg & 1;
    TRY(execute_read_operand(x, size_bytes, &value));
    if ((x->in.reg & 7) >= 6)
        return divide(x, size_bytes, value, is_signed);
    multiply(x, size_bytes, value, is_signed);
    return EXECUTE_DONE;
}

/* 0F AF, 69, 6B: a product as wide as its factors. */
enum execute_result execute_multiply(struct execution *x)
{
    unsigned size_bytes = x->in.operand_bytes;
    uint64_t value, by = x->in.immediate;
    __int128 product;
    TRY(execute_read_operand(x, size_bytes, &value));
    if (x->in.opcode == 0xaf)
        by = execute_register(x, x->in.reg, size_bytes);
    product = (__int128)extend(value, size_bytes) * extend(by, size_bytes);
    execute_set_register(x, x->in.reg, size_bytes, (uint64_t)product);
    set_overflow(x, product != extend((uint64_t)product, size_bytes));
    return EXECUTE_DONE;
}

/* BC, BD: BSF and BSR leave the register when there is no bit; TZCNT and LZCNT (F3) count all bits then. */
static enum execute_result scan(struct execution *x, bool count)
{
    unsigned size_bytes = x->in.operand_bytes, bits = size_bytes * 8;
    bool up = x->in.opcode == 0xbc;
    uint64_t value, result, *flags = &x->flags;
    TRY(execute_read_operand(x, size_bytes, &value));
    *flags &= ~(uint64_t)(RFLAGS_ZF | (count ? RFLAGS_CF : 0));
    if (!count && value == 0) {
        *flags |= RFLAGS_ZF;
        return EXECUTE_DONE;
    }
    if (value == 0)
        result = bits;
    else if (up)
        result = (uint64_t)__builtin_ctzll(value);
    else
        result = 63 - (uint64_t)__builtin_clzll(value);
    if (count && !up && value)
        result = bits - 1 - result;
    if (count)
        *flags |= (value == 0 ? RFLAGS_CF : 0) | (result == 0 ? RFLAGS_ZF : 0);
    execute_set_register(x, x->in.reg, size_bytes, result);
    return EXECUTE_DONE;
}

/* B8 with F3. */
static enum execute_result count_bits(struct execution *x)
{
    const uint64_t all = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF;
    uint64_t value, count = 0;
    TRY(execute_read_operand(x, x->in.operand_bytes, &value));
    x->flags = (x->flags & ~all) | (value == 0 ? RFLAGS_ZF : 0);
    for (; value; value &= value - 1)
        count++;
    execute_set_register(x, x->in.reg, x->in.operand_bytes, count);
    return EXECUTE_DONE;
}

/* 0F B8, BC, BD. What a processor without TZCNT and LZCNT makes of their prefix is decided by the guest's CPUID,
 * which is the processor's. */
enum execute_result execute_scan(struct execution *x)
{
    if (x->in.opcode == 0xb8)
        return x->in.repeat == REPEAT_EQUAL ? count_bits(x) : execute_unknown(x);
    return scan(x, x->in.repeat == REPEAT_EQUAL);
}

/* 0F 38 F0, F1: MOVBE, and CRC32 with F2. */
enum execute_result execute_three_byte(struct execution *x)
{
    unsigned size_bytes = x->in.operand_bytes;
    uint64_t value, swapped;
    if ((x->in.opcode & ~1u) != 0xf0)
        return execute_avx(x);
    if (x->in.repeat == REPEAT_NOT_EQUAL)
        return execute_checksum(x);
    if (x->in.repeat || x->in.mod == 3)
        return execute_unknown(x);
    if (x->in.opcode == 0xf0)
        TRY(execute_read_operand(x, size_bytes, &value));
    else
        value = execute_register(x, x->in.reg, size_bytes);
    swapped = __builtin_bswap64(value) >> (64 - size_bytes * 8);
    if (x->in.opcode == 0xf1)
        return execute_write_operand(x, size_bytes, swapped);
    execute_set_register(x, x->in.reg, size_bytes, swapped);
    return EXECUTE_DONE;
}

/* D7: AL from the table at BX. */
enum execute_result execute_translate_byte(struct execution *x)
{
    uint64_t offset = x->state->gpr[BX] + (x->state->gpr[AX] & 0xff), linear, value;
    offset &= execute_mask(x->in.address_bytes);
    TRY(execute_linear(x, x->in.segment, offset, 1, VCPU_ACCESS_READ, &linear));
    TRY(execute_read(x, NULL, linear, 1, &value));
    x->state->gpr[AX] = (x->state->gpr[AX] & ~0xffull) | value;
    return EXECUTE_DONE;
}

/* 62 outside 64-bit code: two signed limits in memory. */
enum execute_result execute_bound(struct execution *x)
{
    unsigned size_bytes = x->in.operand_bytes;
    int64_t index = extend(execute_register(x, x->in.reg, size_bytes), size_bytes);
    uint64_t linear, both, mask = execute_mask(size_bytes);
    TRY(execute_linear(x, x->in.segment, execute_effective(x), size_bytes * 2, VCPU_ACCESS_READ,
                       &linear));
    TRY(execute_read(x, NULL, linear, size_bytes * 2, &both));
    if (index < extend(both & mask, size_bytes) ||
        index > extend(both >> size_bytes * 8 & mask, size_bytes))
        return execute_raise(x, EXCEPTION_BOUND);
    return EXECUTE_DONE;
}
