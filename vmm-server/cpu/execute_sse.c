/*
 * Instructions of SSSE3, SSE4.1 and SSE4.2 that compute with an operand in memory, and those of SSE with an immediate, as
 * execute_float.c does those of SSE: most on the processor on which we run. CRC32.
 */
#include "cpu/execute_internal.h"

#include "string.h"

#define FORM_BYTES  8u
#define THREE_COUNT 0x42u       /* of 0F 38, from 0 */
#define POLYNOMIAL  0x82f63b78u /* 11EDC6F41, its bits turned round */

/* ---- 0F 38 ----------------------------------------------------------------------------------- */

/* 0F 38 00 to 0F 38 41 with no prefix and with 66, between register 0 and what RSI points to. Only those that
 * three_byte_form knows are run. */
#define THREE_ROW(prefix)                                                \
    ".set opcode, 0\n\t"                                                 \
    ".rept 0x42\n\t"                                                     \
    ".byte " prefix "0x0f, 0x38, opcode, 6, 0xc3\n\t.balign 8, 0xcc\n\t" \
    ".set opcode, opcode + 1\n\t"                                        \
    ".endr\n\t"
static __attribute__((naked, used, aligned(8))) void three_byte_forms(void)
{
    __asm__(THREE_ROW("") THREE_ROW("0x66, "));
}

/* PMOVSX and PMOVZX: so many bytes become sixteen. */
static const uint8_t widened[] = {8, 4, 2, 8, 4, 8};

static struct execute_sse three_byte_form(unsigned opcode, unsigned prefix)
{
    struct execute_sse form = {.bytes = 16, .aligned = true, .feature = EXECUTE_SSE4_1};
    switch (opcode) {
    case 0x00 ... 0x0b:
    case 0x1c ... 0x1e:
        form.feature = EXECUTE_SSSE3;
        if (prefix == PLAIN)
            form = (struct execute_sse){.bytes = 8, .mmx = true, .feature = EXECUTE_SSSE3};
        break;
    case 0x17: form.flags = true; break; /* PTEST */
    case 0x20 ... 0x25:
    case 0x30 ... 0x35:
        form.bytes = widened[opcode & 15];
        form.aligned = false;
        break;
    case 0x37: form.feature = EXECUTE_SSE4_2; break; /* PCMPGTQ */
    case 0x28 ... 0x29:
    case 0x2b:
    case 0x38 ... 0x41: break;
    default: form.bytes = 0; break;
    }
    if (prefix > P66 || (prefix == PLAIN && !form.mmx))
        form.bytes = 0;
    return form;
}

/* PBLENDVB, BLENDVPS and BLENDVPD take elements where register 0 has their highest bits on. */
static enum execute_result blend_by_register(struct execution *x, unsigned unit)
{
    const struct execute_sse form = {.bytes = 16, .aligned = true, .feature = EXECUTE_SSE4_1};
    uint8_t *first = x->state->fpu + EXECUTE_IMAGE_XMM, *to = first + x->in.reg * 16;
    uint8_t operand[16];
    TRY(execute_vector_load(x, &form, operand));
    for (unsigned i = 0; i < 16; i += unit)
        if (first[i + unit - 1] & 0x80)
            memcpy(to + i, operand + i, unit);
    return x->world->vectors(x->world, true) ? EXECUTE_DONE : execute_unknown(x);
}

static enum execute_result three_byte(struct execution *x, unsigned prefix)
{
    unsigned opcode = x->in.opcode;
    struct execute_sse form = three_byte_form(opcode, prefix);
    if (prefix == P66 && opcode == 0x10)
        return blend_by_register(x, 1);
    if (prefix == P66 && (opcode == 0x14 || opcode == 0x15))
        return blend_by_register(x, opcode & 1 ? 8 : 4);
    if (!form.bytes)
        return execute_unknown(x);
    return execute_vector_native(
        x, &form, (const uint8_t *)three_byte_forms + (prefix * THREE_COUNT + opcode) * FORM_BYTES);
}

/* ---- With an immediate: the processor's -------------------------------------------------------- */

/* CMPPS and its kin with each of eight predicates, by prefix; ROUNDPS and its kin with each of sixteen ways. */
#define COMPARES 8u
#define ROUNDS   16u
#define COMPARE_ROW(prefix)                                           \
    ".set way, 0\n\t"                                                 \
    ".rept 8\n\t"                                                     \
    ".byte " prefix "0x0f, 0xc2, 6, way, 0xc3\n\t.balign 8, 0xcc\n\t" \
    ".set way, way + 1\n\t"                                           \
    ".endr\n\t"
#define ROUND_ROW(opcode)                                                     \
    ".set way, 0\n\t"                                                         \
    ".rept 16\n\t"                                                            \
    ".byte 0x66, 0x0f, 0x3a, " opcode ", 6, way, 0xc3\n\t.balign 8, 0xcc\n\t" \
    ".set way, way + 1\n\t"                                                   \
    ".endr\n\t"
static __attribute__((naked, used, aligned(8))) void compare_forms(void)
{
    __asm__(COMPARE_ROW("") COMPARE_ROW("0x66, ") COMPARE_ROW("0xf3, ") COMPARE_ROW("0xf2, "));
}
static __attribute__((naked, used, aligned(8))) void round_forms(void)
{
    __asm__(ROUND_ROW("8") ROUND_ROW("9") ROUND_ROW("10") ROUND_ROW("11"));
}

/* Packed of 4 and of 8 bytes; one of 4, one of 8. `number` is its place in the table. */
static enum execute_result compute(struct execution *x, unsigned kind, uint64_t feature,
                                   const void *forms, unsigned number)
{
    static const uint8_t bytes[] = {16, 16, 4, 8};
    const struct execute_sse form = {.bytes = bytes[kind], .aligned = kind < 2, .feature = feature};
    return execute_vector_native(x, &form, (const uint8_t *)forms + number * FORM_BYTES);
}

/* ---- With an immediate: ours ------------------------------------------------------------------- */

struct permutation {
    unsigned immediate, bytes; /* of the register: 8 or 16 */
    const uint8_t *old, *operand;
    uint8_t *result;
};

static void put(const struct permutation *p, unsigned to, const uint8_t *from, unsigned element,
                unsigned unit)
{
    memcpy(p->result + to * unit, from + element * unit, unit);
}

/* Four of eight words, the first or the last, or all four of MMX; the others stay as the operand has them. */
static void shuffle_words(const struct permutation *p, unsigned first)
{
    memcpy(p->result, p->operand, p->bytes);
    for (unsigned i = 0; i < 4; i++)
        put(p, first + i, p->operand, first + (p->immediate >> 2 * i & 3), 2);
}

/* SHUFPS and SHUFPD: the lower half from the register, the upper from the operand. PSHUFD: both from the operand. */
static void shuffle(const struct permutation *p, unsigned unit, const uint8_t *lower)
{
    unsigned count = 16 / unit, bits = unit == 4 ? 2 : 1;
    for (unsigned i = 0; i < count; i++)
        put(p, i, i < count / 2 ? lower : p->operand, p->immediate >> bits * i & (count - 1), unit);
}

static void blend(const struct permutation *p, unsigned unit)
{
    for (unsigned i = 0; i < 16 / unit; i++)
        put(p, i, p->immediate >> i & 1 ? p->operand : p->old, i, unit);
}

/* PALIGNR: of register and operand, the operand below, from some byte on. */
static void align(const struct permutation *p)
{
    for (unsigned i = 0; i < p->bytes; i++) {
        unsigned from = i + p->immediate;
        p->result[i] = from < p->bytes       ? p->operand[from]
                       : from < 2 * p->bytes ? p->old[from - p->bytes]
                                             : 0;
    }
}

/* INSERTPS with memory: one element, at a place, and zeros where the low bits are on. */
static void insert(const struct permutation *p)
{
    memcpy(p->result, p->old, 16);
    memcpy(p->result + (p->immediate >> 4 & 3) * 4, p->operand, 4);
    for (unsigned i = 0; i < 4; i++)
        if (p->immediate >> i & 1)
            memset(p->result + i * 4, 0, 4);
}

enum permuting {
    NO_PERMUTATION,
    SHUFFLE_WORDS,
    SHUFFLE_LOW_WORDS,
    SHUFFLE_HIGH_WORDS,
    SHUFFLE_DOUBLEWORDS,
    SHUFFLE_SINGLES,
    SHUFFLE_DOUBLES,
    BLEND_SINGLES,
    BLEND_DOUBLES,
    BLEND_WORDS,
    ALIGN,
    INSERT_SINGLE,
};

static enum permuting permuting_of(const struct instruction *in, unsigned prefix)
{
    static const uint8_t shuffles[] = {SHUFFLE_WORDS, SHUFFLE_DOUBLEWORDS, SHUFFLE_HIGH_WORDS,
                                       SHUFFLE_LOW_WORDS};
    if (in->map == MAP_0F && in->opcode == 0x70)
        return shuffles[prefix];
    if (in->map == MAP_0F && in->opcode == 0xc6 && prefix <= P66)
        return prefix ? SHUFFLE_DOUBLES : SHUFFLE_SINGLES;
    if (in->map == MAP_0F3A && in->opcode == 0x0f && prefix <= P66)
        return ALIGN;
    if (in->map == MAP_0F3A && in->opcode == 0x21 && prefix == P66)
        return INSERT_SINGLE;
    if (in->map == MAP_0F3A && in->opcode >= 0x0c && in->opcode <= 0x0e && prefix == P66)
        return BLEND_SINGLES + in->opcode - 0x0c;
    return NO_PERMUTATION;
}

static void permute(const struct permutation *p, enum permuting permuting)
{
    switch (permuting) {
    case SHUFFLE_WORDS:
    case SHUFFLE_LOW_WORDS: shuffle_words(p, 0); break;
    case SHUFFLE_HIGH_WORDS: shuffle_words(p, 4); break;
    case SHUFFLE_DOUBLEWORDS: shuffle(p, 4, p->operand); break;
    case SHUFFLE_SINGLES: shuffle(p, 4, p->old); break;
    case SHUFFLE_DOUBLES: shuffle(p, 8, p->old); break;
    case BLEND_SINGLES: blend(p, 4); break;
    case BLEND_DOUBLES: blend(p, 8); break;
    case BLEND_WORDS: blend(p, 2); break;
    case ALIGN: align(p); break;
    default: insert(p); break;
    }
}

static enum execute_result permute_operand(struct execution *x, enum permuting permuting,
                                           unsigned prefix)
{
    bool mmx = prefix == PLAIN && permuting != SHUFFLE_SINGLES;
    const struct execute_sse form = {.bytes = permuting == INSERT_SINGLE ? 4
                                              : mmx                      ? 8
                                                                         : 16,
                                     .mmx = mmx,
                                     .aligned = !mmx && permuting != INSERT_SINGLE,
                                     .feature = permuting == ALIGN           ? EXECUTE_SSSE3
                                                : permuting >= BLEND_SINGLES ? EXECUTE_SSE4_1
                                                                             : 0};
    uint8_t operand[16], result[16], *at = x->state->fpu;
    TRY(execute_vector_load(x, &form, operand));
    if (mmx)
        execute_enter_mmx(x);
    at += mmx ? EXECUTE_IMAGE_STACK + (x->in.reg & 7) * 16 : EXECUTE_IMAGE_XMM + x->in.reg * 16;
    permute(
        &(struct permutation){(unsigned)x->in.immediate & 0xff, mmx ? 8 : 16, at, operand, result},
        permuting);
    memcpy(at, result, mmx ? 8 : 16);
    if (mmx)
        memset(at + 8, 0xff, 2); /* the exponent of a register that MMX has written */
    return x->world->vectors(x->world, true) ? EXECUTE_DONE : execute_unknown(x);
}

enum execute_result execute_sse(struct execution *x, unsigned prefix)
{
    const unsigned opcode = x->in.opcode, way = (unsigned)x->in.immediate;
    enum permuting permuting = permuting_of(&x->in, prefix);
    if (x->in.map == MAP_0F38)
        return three_byte(x, prefix);
    if (permuting != NO_PERMUTATION)
        return permute_operand(x, permuting, prefix);
    if (x->in.map == MAP_0F && opcode == 0xc2)
        return compute(x, prefix, 0, compare_forms, prefix * COMPARES + way % COMPARES);
    if (x->in.map == MAP_0F3A && opcode >= 0x08 && opcode <= 0x0b && prefix == P66)
        return compute(x, opcode & 3, EXECUTE_SSE4_1, round_forms,
                       (opcode & 3) * ROUNDS + way % ROUNDS);
    return execute_unknown(x);
}

/* ---- CRC32 ----------------------------------------------------------------------------------- */

/* F2 0F 38 F0, F1: the Castagnoli checksum goes on over the operand. */
enum execute_result execute_checksum(struct execution *x)
{
    unsigned size_bytes = x->in.opcode & 1 ? x->in.operand_bytes : 1;
    uint64_t value, sum = execute_register(x, x->in.reg, 4);
    if (!(x->world->features & EXECUTE_SSE4_2))
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    TRY(execute_read_operand(x, size_bytes, &value));
    sum ^= value;
    for (unsigned i = 0; i < size_bytes * 8; i++)
        sum = sum >> 1 ^ (sum & 1 ? POLYNOMIAL : 0);
    execute_set_register(x, x->in.reg, 4, sum);
    return EXECUTE_DONE;
}
