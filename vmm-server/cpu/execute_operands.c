/*
 * What an instruction does with memory, for those that the guest's own processor executes (execute_step.c): every place
 * that it reads or writes, to the byte, also where a mask chooses and where the address is a vector's.
 *
 * State:    none.
 * Features: with VEX, EVEX and XOP whatever accesses memory, gathers and scatters too; of the old encodings MMX, SSE, x87 and its
 *           environments, AES, SHA, PCLMULQDQ, GFNI, ADX, MOVBE, MOVDIRI, MOVDIR64B, 3DNow!. Elements that a mask of AVX-512
 *           turns off are not accessed, as far as each has one bit of the mask and the processor suppresses its faults; else
 *           the operand is read in whole.
 * Missing:  what execute.c does itself. AMX, key locker and LWP are unknown: CPUID shows none of them, and without XCR0 and CR4,
 *           which the kernel keeps, they raise #UD before they access memory.
 * Spec:     Intel SDM volumes 1 and 2, June 2023. Sizes and directions are Zydis's.
 */
#include "cpu/execute_internal.h"

#include <Zydis/Decoder.h>
#include <Zydis/Register.h>

#include "string.h"

#define STATUS_TOP(status) ((status) >> 11 & 7u)

struct decoded {
    struct execution *x;
    ZydisDecodedInstruction in;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

/* ---- Which instructions ------------------------------------------------------------------------ */

/* Of those without VEX, EVEX or XOP. */
static bool old_one_is_taken(ZydisISASet set)
{
    switch (set) {
    case ZYDIS_ISA_SET_ADOX_ADCX:
    case ZYDIS_ISA_SET_AES:
    case ZYDIS_ISA_SET_AMD3DNOW:
    case ZYDIS_ISA_SET_GFNI:
    case ZYDIS_ISA_SET_MOVBE:
    case ZYDIS_ISA_SET_MOVDIR:
    case ZYDIS_ISA_SET_PCLMULQDQ:
    case ZYDIS_ISA_SET_PENTIUMMMX:
    case ZYDIS_ISA_SET_SHA:
    case ZYDIS_ISA_SET_SSE:
    case ZYDIS_ISA_SET_SSE2:
    case ZYDIS_ISA_SET_SSE2MMX:
    case ZYDIS_ISA_SET_SSE3:
    case ZYDIS_ISA_SET_SSE3X87:
    case ZYDIS_ISA_SET_SSE4:
    case ZYDIS_ISA_SET_SSE42:
    case ZYDIS_ISA_SET_SSE4A:
    case ZYDIS_ISA_SET_SSEMXCSR:
    case ZYDIS_ISA_SET_SSSE3:
    case ZYDIS_ISA_SET_SSSE3MMX:
    case ZYDIS_ISA_SET_X87: return true;
    default: return false;
    }
}

static bool is_taken(const ZydisDecodedInstruction *in)
{
    switch (in->encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
    case ZYDIS_INSTRUCTION_ENCODING_3DNOW: return old_one_is_taken(in->meta.isa_set);
    case ZYDIS_INSTRUCTION_ENCODING_VEX:
        return in->meta.isa_set < ZYDIS_ISA_SET_AMX_BF16 ||
               in->meta.isa_set > ZYDIS_ISA_SET_AMX_TILE;
    case ZYDIS_INSTRUCTION_ENCODING_EVEX: return in->meta.isa_set != ZYDIS_ISA_SET_AVX512PF_512;
    case ZYDIS_INSTRUCTION_ENCODING_XOP: return in->meta.isa_set != ZYDIS_ISA_SET_LWP;
    default: return false;
    }
}

static bool decode(struct decoded *d, const uint8_t *code)
{
    const struct execution *x = d->x;
    ZydisDecoder decoder;
    ZydisDecoderContext context;
    ZydisMachineMode mode = x->code_bytes == 8   ? ZYDIS_MACHINE_MODE_LONG_64
                            : x->code_bytes == 4 ? ZYDIS_MACHINE_MODE_LEGACY_32
                                                 : ZYDIS_MACHINE_MODE_LEGACY_16;
    ZydisStackWidth width = x->code_bytes == 8   ? ZYDIS_STACK_WIDTH_64
                            : x->code_bytes == 4 ? ZYDIS_STACK_WIDTH_32
                                                 : ZYDIS_STACK_WIDTH_16;
    return ZYAN_SUCCESS(ZydisDecoderInit(&decoder, mode, width)) &&
           ZYAN_SUCCESS(
               ZydisDecoderDecodeInstruction(&decoder, &context, code, x->in.length, &d->in)) &&
           ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&decoder, &context, &d->in, d->operands,
                                                   d->in.operand_count));
}

/* ---- Registers --------------------------------------------------------------------------------- */

static uint64_t ones(unsigned count)
{
    return count < 64 ? (1ull << count) - 1 : ~0ull;
}

/* Of the image, if its part is not as after a reset: then it is 0. False: this processor does not say where it is. */
static bool image_bytes(const struct execution *x, unsigned part, unsigned offset, unsigned at,
                        unsigned size_bytes, uint64_t *value)
{
    *value = 0;
    if (!offset || offset + at + size_bytes > sizeof x->state->fpu)
        return false;
    if (execute_present(x) >> part & 1)
        memcpy(value, x->state->fpu + offset + at, size_bytes);
    return true;
}

/* An element of XMM, YMM or ZMM n, which lies in up to three parts of the image (SDM 1, 13.5). */
static bool vector_element(const struct execution *x, unsigned n, unsigned index,
                           unsigned size_bytes, uint64_t *value)
{
    enum { SSE = 1, AVX = 2, UPPER = 6, HIGH = 7 };
    const struct execute_world *world = x->world;
    unsigned at = index * size_bytes;
    if (n >= 16)
        return image_bytes(x, HIGH, world->high_offset, (n - 16) * 64 + at, size_bytes, value);
    if (at < 16)
        return image_bytes(x, SSE, EXECUTE_IMAGE_XMM, n * 16 + at, size_bytes, value);
    if (at < 32)
        return image_bytes(x, AVX, EXECUTE_IMAGE_AVX, n * 16 + at - 16, size_bytes, value);
    return image_bytes(x, UPPER, world->upper_offset, n * 32 + at - 32, size_bytes, value);
}

/* K0 to K7. */
static bool mask_register(const struct decoded *d, uint64_t *value)
{
    enum { MASKS = 5 };
    unsigned n = (unsigned)ZydisRegisterGetId(d->in.avx.mask.reg);
    return image_bytes(d->x, MASKS, d->x->world->mask_offset, n * 8, 8, value);
}

/* A mask that is in the sign bits of a vector's elements. */
static bool sign_mask(const struct execution *x, unsigned n, unsigned count, unsigned size_bytes,
                      uint64_t *mask)
{
    uint64_t element;
    *mask = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!vector_element(x, n, i, size_bytes, &element))
            return false;
        *mask |= (element >> (8 * size_bytes - 1) & 1) << i;
    }
    return true;
}

/* ---- Masks ------------------------------------------------------------------------------------- */

static uint64_t bytes_of(uint64_t mask, unsigned count, unsigned size_bytes)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < count && i * size_bytes < 64; i++)
        if (mask >> i & 1)
            bytes |= ones(size_bytes) << i * size_bytes;
    return bytes;
}

static unsigned turned_on(uint64_t mask)
{
    unsigned count = 0;
    for (; mask; mask &= mask - 1)
        count++;
    return count;
}

static bool is_masked(const ZydisDecodedInstruction *in)
{
    return in->encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX &&
           in->avx.mask.mode >= ZYDIS_MASK_MODE_MERGING;
}

/* Those where a fault of an element that is turned off does not come (SDM 2A, 2.8). */
static bool suppresses_faults(ZydisExceptionClass class)
{
    switch (class) {
    case ZYDIS_EXCEPTION_CLASS_E1:
    case ZYDIS_EXCEPTION_CLASS_E2:
    case ZYDIS_EXCEPTION_CLASS_E3:
    case ZYDIS_EXCEPTION_CLASS_E4:
    case ZYDIS_EXCEPTION_CLASS_E5:
    case ZYDIS_EXCEPTION_CLASS_E6:
    case ZYDIS_EXCEPTION_CLASS_E10:
    case ZYDIS_EXCEPTION_CLASS_E11: return true;
    default: return false;
    }
}

/* Which bytes of an operand of AVX-512 are accessed. */
static uint64_t masked_bytes(const struct decoded *d, const ZydisDecodedOperand *memory,
                             uint64_t mask)
{
    const ZydisDecodedInstruction *in = &d->in;
    const ZydisDecodedOperand *to = &d->operands[0];
    unsigned count = memory->element_count, size_bytes = memory->element_size / 8;
    bool writes = (memory->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    if (in->meta.category == ZYDIS_CATEGORY_COMPRESS || in->meta.category == ZYDIS_CATEGORY_EXPAND)
        return ones(turned_on(mask & ones(count)) * size_bytes);
    if (in->avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID)
        return ~0ull;
    if (writes || count == 1 ||
        (suppresses_faults(in->meta.exception_class) && count == to->element_count))
        return bytes_of(mask, count, size_bytes);
    return ~0ull;
}

/* MASKMOVQ, MASKMOVDQU: the sign of each byte of a register. In the image MMX's registers are x87's, from its top. */
static bool byte_mask(const struct decoded *d, uint64_t *mask)
{
    const struct execution *x = d->x;
    unsigned n = (unsigned)ZydisRegisterGetId(d->operands[1].reg.value);
    const uint8_t *image = x->state->fpu;
    uint64_t value = 0;
    if (d->in.mnemonic != ZYDIS_MNEMONIC_MASKMOVQ)
        return sign_mask(x, n, 16, 1, mask);
    n = (n - STATUS_TOP((unsigned)image[EXECUTE_IMAGE_STATUS + 1] << 8)) & 7;
    if (execute_present(x) & EXECUTE_PRESENT_X87)
        memcpy(&value, image + EXECUTE_IMAGE_STACK + n * 16, 8);
    *mask = 0;
    for (unsigned i = 0; i < 8; i++)
        *mask |= (value >> (8 * i + 7) & 1) << i;
    return true;
}

static bool has_byte_mask(const ZydisDecodedInstruction *in)
{
    return in->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || in->mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
           in->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
}

/* ---- Places ------------------------------------------------------------------------------------ */

static uint64_t general_register(const struct execution *x, ZydisRegister name)
{
    if (name == ZYDIS_REGISTER_NONE)
        return 0;
    if (name == ZYDIS_REGISTER_RIP || name == ZYDIS_REGISTER_EIP)
        return x->next_rip;
    return x->state->gpr[ZydisRegisterGetId(name) & 15];
}

/* Without the index, which may be a vector's. */
static uint64_t base_of(const struct decoded *d, const ZydisDecodedOperand *memory)
{
    return general_register(d->x, memory->mem.base) + (uint64_t)memory->mem.disp.value;
}

static struct execute_span span_of(const struct decoded *d, const ZydisDecodedOperand *memory,
                                   uint64_t offset)
{
    return (struct execute_span){
        .offset = offset & execute_mask(d->in.address_width / 8),
        .bytes = ~0ull,
        .size_bytes = memory->size / 8,
        .segment = (uint8_t)ZydisRegisterGetId(memory->mem.segment),
        .access = (memory->actions & ZYDIS_OPERAND_ACTION_MASK_READ ? VCPU_ACCESS_READ : 0) |
                  (memory->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? VCPU_ACCESS_WRITE : 0)};
}

static bool add_span(struct execute_step *step, struct execute_span span)
{
    if (step->span_count == EXECUTE_SPANS_MAX)
        return false;
    step->spans[step->span_count++] = span;
    return true;
}

/* Of a gather or scatter: by 32 bits or by 64 each. */
static unsigned index_bytes(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
    case ZYDIS_MNEMONIC_VSCATTERQPS:
    case ZYDIS_MNEMONIC_VSCATTERQPD:
    case ZYDIS_MNEMONIC_VPSCATTERQD:
    case ZYDIS_MNEMONIC_VPSCATTERQQ: return 8;
    default: return 4;
    }
}

/* A gather or scatter has an address for each element whose mask is on. */
static bool add_elements(const struct decoded *d, const ZydisDecodedOperand *memory,
                         struct execute_step *step)
{
    const struct execution *x = d->x;
    unsigned index_size = index_bytes(d->in.mnemonic), size_bytes = memory->size / 8;
    unsigned widest = index_size > size_bytes ? index_size : size_bytes;
    unsigned count = d->in.avx.vector_length / 8 / widest;
    unsigned indices = (unsigned)ZydisRegisterGetId(memory->mem.index);
    uint64_t mask, index;
    bool good = d->in.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX
                    ? mask_register(d, &mask)
                    : sign_mask(x, (unsigned)ZydisRegisterGetId(d->operands[2].reg.value), count,
                                size_bytes, &mask);
    for (unsigned i = 0; good && i < count; i++) {
        if (!(mask >> i & 1))
            continue;
        good = vector_element(x, indices, i, index_size, &index);
        if (index_size == 4)
            index = (uint64_t)(int64_t)(int32_t)index;
        good = good &&
               add_span(step, span_of(d, memory, base_of(d, memory) + index * memory->mem.scale));
    }
    return good;
}

static bool add_operand(const struct decoded *d, const ZydisDecodedOperand *memory,
                        struct execute_step *step)
{
    uint64_t scale = memory->mem.scale ? memory->mem.scale : 1, mask;
    if (memory->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
        return add_elements(d, memory, step);
    struct execute_span span =
        span_of(d, memory, base_of(d, memory) + general_register(d->x, memory->mem.index) * scale);
    if (has_byte_mask(&d->in)) {
        if (!byte_mask(d, &mask))
            return false;
        span.bytes = mask;
    } else if (is_masked(&d->in)) {
        if (!mask_register(d, &mask))
            return false;
        span.bytes = masked_bytes(d, memory, mask);
    }
    return add_span(step, span);
}

static bool looks_at_vectors(const struct decoded *d, const ZydisDecodedOperand *memory)
{
    return memory->mem.type == ZYDIS_MEMOP_TYPE_VSIB || has_byte_mask(&d->in) || is_masked(&d->in);
}

enum execute_result execute_operands(struct execution *x, const uint8_t *code,
                                     struct execute_step *step)
{
    struct decoded d = {.x = x};
    step->span_count = 0;
    if (!decode(&d, code) || !is_taken(&d.in))
        return execute_unknown(x);
    for (unsigned i = 0; i < d.in.operand_count; i++) {
        const ZydisDecodedOperand *memory = &d.operands[i];
        if (memory->type != ZYDIS_OPERAND_TYPE_MEMORY ||
            memory->mem.type == ZYDIS_MEMOP_TYPE_AGEN || !memory->actions)
            continue;
        if (looks_at_vectors(&d, memory) &&
            !(x->world->vectors && x->world->vectors(x->world, false)))
            return execute_unknown(x);
        if (!add_operand(&d, memory, step))
            return execute_unknown(x);
    }
    return step->span_count ? EXECUTE_DONE : execute_unknown(x);
}
