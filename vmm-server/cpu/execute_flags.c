/* Arithmetic on the processor that we run on: so all six flags come out as it makes them. */
#include "cpu/execute_internal.h"

/*
 * AH holds SF ZF AF PF CF as LAHF and SAHF have them, AL the overflow flag: 1 + 0x7f overflows, 0 + 0x7f does
 * not. SAHF leaves OF alone.
 */
#define WITH_FLAGS(instruction) "addb $0x7f, %%al\n\tsahf\n\t" instruction "\n\tlahf\n\tseto %%al"

#define TWO(function, name, first)                                                                 \
    static uint64_t function(unsigned size_bytes, uint64_t a, uint64_t b, uint64_t *ax)            \
    {                                                                                              \
        switch (size_bytes) {                                                                      \
            first case 2 : __asm__(WITH_FLAGS(name "w %w[b], %w[a]")                               \
                                   : [a] "+r"(a), "+a"(*ax)                                        \
                                   : [b] "r"(b)                                                    \
                                   : "cc");                                                        \
            break;                                                                                 \
        case 4:                                                                                    \
            __asm__(WITH_FLAGS(name "l %k[b], %k[a]")                                              \
                    : [a] "+r"(a), "+a"(*ax)                                                       \
                    : [b] "r"(b)                                                                   \
                    : "cc");                                                                       \
            break;                                                                                 \
        case 8:                                                                                    \
            __asm__(WITH_FLAGS(name "q %[b], %[a]") : [a] "+r"(a), "+a"(*ax) : [b] "r"(b) : "cc"); \
            break;                                                                                 \
        }                                                                                          \
        return a;                                                                                  \
    }
#define BYTES(name)                                                                              \
    case 1:                                                                                      \
        __asm__(WITH_FLAGS(name "b %b[b], %b[a]") : [a] "+r"(a), "+a"(*ax) : [b] "r"(b) : "cc"); \
        break;

#define BINARY(function, name) TWO(function, name, BYTES(name))
/* Bit tests have no byte form. */
#define BIT(function, name) TWO(function, name, )

#define ONE(function, name, operand)                                                    \
    static uint64_t function(unsigned size_bytes, uint64_t a, uint64_t b, uint64_t *ax) \
    {                                                                                   \
        switch (size_bytes) {                                                           \
        case 1:                                                                         \
            __asm__(WITH_FLAGS(name "b " operand "%b[a]")                               \
                    : [a] "+r"(a), "+a"(*ax)                                            \
                    : "c"(b)                                                            \
                    : "cc");                                                            \
            break;                                                                      \
        case 2:                                                                         \
            __asm__(WITH_FLAGS(name "w " operand "%w[a]")                               \
                    : [a] "+r"(a), "+a"(*ax)                                            \
                    : "c"(b)                                                            \
                    : "cc");                                                            \
            break;                                                                      \
        case 4:                                                                         \
            __asm__(WITH_FLAGS(name "l " operand "%k[a]")                               \
                    : [a] "+r"(a), "+a"(*ax)                                            \
                    : "c"(b)                                                            \
                    : "cc");                                                            \
            break;                                                                      \
        case 8:                                                                         \
            __asm__(WITH_FLAGS(name "q " operand "%[a]")                                \
                    : [a] "+r"(a), "+a"(*ax)                                            \
                    : "c"(b)                                                            \
                    : "cc");                                                            \
            break;                                                                      \
        }                                                                               \
        return a;                                                                       \
    }
#define SHIFT(function, name) ONE(function, name, "%%cl, ")
#define UNARY(function, name) ONE(function, name, "")

/* clang-format off */
BINARY(do_add, "add") BINARY(do_or, "or") BINARY(do_adc, "adc") BINARY(do_sbb, "sbb")
BINARY(do_and, "and") BINARY(do_sub, "sub") BINARY(do_xor, "xor")
SHIFT(do_rol, "rol") SHIFT(do_ror, "ror") SHIFT(do_rcl, "rcl") SHIFT(do_rcr, "rcr")
SHIFT(do_shl, "shl") SHIFT(do_shr, "shr") SHIFT(do_sar, "sar")
BIT(do_bt, "bt") BIT(do_bts, "bts") BIT(do_btr, "btr") BIT(do_btc, "btc")
UNARY(do_inc, "inc") UNARY(do_dec, "dec") UNARY(do_neg, "neg")
    /* clang-format on */

    static uint64_t do_not(unsigned size_bytes, uint64_t a, uint64_t b, uint64_t *ax)
{
    (void)size_bytes, (void)b, (void)ax;
    return ~a;
}

static uint64_t do_move(unsigned size_bytes, uint64_t a, uint64_t b, uint64_t *ax)
{
    (void)size_bytes, (void)a, (void)ax;
    return b;
}

#define IN_AH ((uint64_t)(RFLAGS_SF | RFLAGS_ZF | RFLAGS_AF | RFLAGS_PF | RFLAGS_CF))

static uint64_t flags_to_ax(uint64_t flags)
{
    return (flags & IN_AH) << 8 | (flags & RFLAGS_OF ? 1 : 0);
}

static uint64_t flags_from_ax(uint64_t flags, uint64_t ax)
{
    return (flags & ~(IN_AH | RFLAGS_OF)) | (ax >> 8 & IN_AH) | (ax & 1 ? RFLAGS_OF : 0);
}

uint64_t execute_operation(enum operation operation, unsigned size_bytes, uint64_t a, uint64_t b,
                           uint64_t *flags)
{
    static uint64_t (*const functions[OPERATION_COUNT])(unsigned, uint64_t, uint64_t,
                                                        uint64_t *) = {
        [OPERATION_ADD] = do_add,  [OPERATION_OR] = do_or,     [OPERATION_ADC] = do_adc,
        [OPERATION_SBB] = do_sbb,  [OPERATION_AND] = do_and,   [OPERATION_SUB] = do_sub,
        [OPERATION_XOR] = do_xor,  [OPERATION_CMP] = do_sub,   [OPERATION_ROL] = do_rol,
        [OPERATION_ROR] = do_ror,  [OPERATION_RCL] = do_rcl,   [OPERATION_RCR] = do_rcr,
        [OPERATION_SHL] = do_shl,  [OPERATION_SHR] = do_shr,   [OPERATION_SAL] = do_shl,
        [OPERATION_SAR] = do_sar,  [OPERATION_BT] = do_bt,     [OPERATION_BTS] = do_bts,
        [OPERATION_BTR] = do_btr,  [OPERATION_BTC] = do_btc,   [OPERATION_INC] = do_inc,
        [OPERATION_DEC] = do_dec,  [OPERATION_NEG] = do_neg,   [OPERATION_NOT] = do_not,
        [OPERATION_TEST] = do_and, [OPERATION_MOVE] = do_move,
    };
    uint64_t ax = flags_to_ax(*flags), value = functions[operation](size_bytes, a, b, &ax);
    *flags = flags_from_ax(*flags, ax);
    return value & execute_mask(size_bytes);
}

#define DOUBLE_SHIFT(name, suffix, modifier)                                    \
    __asm__(WITH_FLAGS(name suffix " %%cl, %" modifier "[b], %" modifier "[a]") \
            : [a] "+r"(a), "+a"(ax)                                             \
            : [b] "r"(b), "c"(count)                                            \
            : "cc")
#define DOUBLE_SHIFTS(name)                      \
    switch (size_bytes) {                        \
    case 2: DOUBLE_SHIFT(name, "w", "w"); break; \
    case 4: DOUBLE_SHIFT(name, "l", "k"); break; \
    default: DOUBLE_SHIFT(name, "q", ""); break; \
    }

uint64_t execute_double_shift(enum operation operation, unsigned size_bytes, uint64_t a, uint64_t b,
                              uint64_t count, uint64_t *flags)
{
    uint64_t ax = flags_to_ax(*flags);
    if (operation == OPERATION_SHLD)
        DOUBLE_SHIFTS("shld")
    else
        DOUBLE_SHIFTS("shrd")
    *flags = flags_from_ax(*flags, ax);
    return a & execute_mask(size_bytes);
}

/* The sixteen conditions of Jcc, SETcc and CMOVcc (SDM 1, appendix B). */
bool execute_condition(unsigned condition, uint64_t flags)
{
    bool sign = (flags & RFLAGS_SF) != 0, overflow = (flags & RFLAGS_OF) != 0, is = false;
    switch (condition >> 1) {
    case 0: is = overflow; break;
    case 1: is = flags & RFLAGS_CF; break;
    case 2: is = flags & RFLAGS_ZF; break;
    case 3: is = flags & (RFLAGS_CF | RFLAGS_ZF); break;
    case 4: is = sign; break;
    case 5: is = flags & RFLAGS_PF; break;
    case 6: is = sign != overflow; break;
    case 7: is = (flags & RFLAGS_ZF) || sign != overflow; break;
    }
    return is != (condition & 1);
}
