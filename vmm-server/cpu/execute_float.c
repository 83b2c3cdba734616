/*
 * x87 instructions with an operand in memory, and those of MMX, SSE and later that compute with one: the processor on which
 * we run does them. The guest's registers are loaded, the same instruction is executed on a copy of its operand, and the
 * registers are taken back. Our own are put aside meanwhile.
 */
#include "cpu/execute_internal.h"

#include "string.h"

#define X87_FORM_BYTES 4u
#define SSE_FORM_BYTES 8u
#define SSE_FIRST      0x14u
#define SSE_COUNT      (0x100u - SSE_FIRST)
#define EXCEPTIONS     0x3fu
#define MXCSR_MASKS    7u /* the masks stand so far above the flags */
#define MXCSR_FLUSH    (1u << 15)
#define UNDERFLOW      16u
#define STATUS_PENDING 0x80u
#define PRECISION      0x20u
/* Invalid, denormal, division by zero: if one is not masked, nothing is computed (SDM 1, 11.5.3). */
#define BEFORE_COMPUTING 7u

/* ---- Forms ----------------------------------------------------------------------------------- */

/* D8 to DF with each of eight extensions, on what RSI points to. */
static __attribute__((naked, used)) void x87_forms(void)
{
    __asm__(".set opcode, 0xd8\n\t"
            ".rept 8\n\t"
            ".set extension, 6\n\t"
            ".rept 8\n\t"
            ".byte opcode, extension, 0xc3, 0xcc\n\t"
            ".set extension, extension + 8\n\t"
            ".endr\n\t"
            ".set opcode, opcode + 1\n\t"
            ".endr");
}

/* 0F 14 to 0F FF with no prefix, 66, F3 and F2, between register 0 and what RSI points to. Only those that form_of
 * knows are run. */
#define SSE_ROW(prefix)                                            \
    ".set opcode, 0x14\n\t"                                        \
    ".rept 0x100 - 0x14\n\t"                                       \
    ".byte " prefix "0x0f, opcode, 6, 0xc3\n\t.balign 8, 0xcc\n\t" \
    ".set opcode, opcode + 1\n\t"                                  \
    ".endr\n\t"
static __attribute__((naked, used, aligned(8))) void sse_forms(void)
{
    __asm__(SSE_ROW("") SSE_ROW("0x66, ") SSE_ROW("0xf3, ") SSE_ROW("0xf2, "));
}

/* Runs a form on the registers of an image of FXSAVE; the flags behind it. */
static uint64_t run(const uint8_t *form, uint8_t *image, void *operand)
{
    uint8_t own[512] __attribute__((aligned(16))), guest[512] __attribute__((aligned(16)));
    uint64_t flags;
    memcpy(guest, image, sizeof guest);
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\t" /* the red zone */
                     "fxsave64 (%[own])\n\t"
                     "fxrstor64 (%[guest])\n\t"
                     "call *%[form]\n\t"
                     "pushfq\n\t"
                     "popq %[flags]\n\t"
                     "fxsave64 (%[guest])\n\t"
                     "fnclex\n\t"
                     "fxrstor64 (%[own])\n\t"
                     "leaq 128(%%rsp), %%rsp"
                     : [flags] "=&r"(flags)
                     : [own] "r"(own), [guest] "r"(guest), [form] "r"(form), "S"(operand)
                     : "cc", "memory");
    memcpy(image, guest, EXECUTE_IMAGE_LEGACY);
    return flags;
}

/* ---- Operands -------------------------------------------------------------------------------- */

static enum execute_result find(struct execution *x, unsigned size_bytes, bool write,
                                uint64_t *linear)
{
    TRY(execute_linear(x, x->in.segment, execute_effective(x), size_bytes,
                       write ? VCPU_ACCESS_WRITE : VCPU_ACCESS_READ, linear));
    return write ? execute_probe_write(x, *linear, size_bytes) : EXECUTE_DONE;
}

enum execute_result execute_read_bytes(struct execution *x, uint64_t linear, void *data,
                                       unsigned size_bytes)
{
    for (unsigned done = 0, piece; done < size_bytes; done += piece) {
        uint64_t value;
        piece = size_bytes - done < 8 ? size_bytes - done : 8;
        TRY(execute_read(x, &x->pages[0], (linear + done) & x->rip_mask, piece, &value));
        memcpy((uint8_t *)data + done, &value, piece);
    }
    return EXECUTE_DONE;
}

enum execute_result execute_write_bytes(struct execution *x, uint64_t linear, const void *data,
                                        unsigned size_bytes)
{
    for (unsigned done = 0, piece; done < size_bytes; done += piece) {
        uint64_t value = 0;
        piece = size_bytes - done < 8 ? size_bytes - done : 8;
        memcpy(&value, (const uint8_t *)data + done, piece);
        TRY(execute_write(x, &x->pages[1], (linear + done) & x->rip_mask, piece, value));
    }
    return EXECUTE_DONE;
}

static uint16_t image_word(const struct execution *x, unsigned at)
{
    uint16_t value;
    memcpy(&value, x->state->fpu + at, sizeof value);
    return value;
}

enum execute_result execute_float_pending(struct execution *x)
{
    uint16_t status = image_word(x, EXECUTE_IMAGE_STATUS);
    if (!(status & STATUS_PENDING))
        return EXECUTE_DONE;
    if (!(x->state->cr0 & CR0_NE))
        return execute_unknown(x); /* it would be an interrupt of the PC's board */
    return execute_raise(x, EXCEPTION_FLOAT);
}

static bool give_back(struct execution *x)
{
    return x->world->vectors(x->world, true);
}

/* ---- x87 ------------------------------------------------------------------------------------- */

#define STORES  0x80u
#define CONTROL 0x40u /* no operation on data: the last instruction's address stays */
#define BYTES   0x1fu

/* Bytes in memory; 0: not done here (environments) or nothing. */
static const uint8_t x87_operand[8][8] = {
    {4, 4, 4, 4, 4, 4, 4, 4},
    {4, 0, 4 | STORES, 4 | STORES, 0, 2 | CONTROL, 0, 2 | CONTROL | STORES},
    {4, 4, 4, 4, 4, 4, 4, 4},
    {4, 4 | STORES, 4 | STORES, 4 | STORES, 0, 10, 0, 10 | STORES},
    {8, 8, 8, 8, 8, 8, 8, 8},
    {8, 8 | STORES, 8 | STORES, 8 | STORES, 0, 0, 0, 2 | CONTROL | STORES},
    {2, 2, 2, 2, 2, 2, 2, 2},
    {2, 2 | STORES, 2 | STORES, 2 | STORES, 10, 8, 10 | STORES, 8 | STORES},
};

/* Where the instruction and its operand are, for a handler: not where we have run it. */
static void note_addresses(struct execution *x, const uint8_t *before, bool control)
{
    uint8_t *image = x->state->fpu;
    uint64_t data = execute_effective(x);
    memcpy(image + EXECUTE_IMAGE_OPCODE, before + EXECUTE_IMAGE_OPCODE, 18);
    if (control)
        return;
    memcpy(image + EXECUTE_IMAGE_CODE, &x->state->rip, 8);
    memcpy(image + EXECUTE_IMAGE_DATA, &data, 8);
}

/* FNSTCW and FNSTSW do not wait. */
static enum execute_result store_word(struct execution *x, uint64_t linear)
{
    return execute_write(
        x, NULL, linear, 2,
        image_word(x, x->in.opcode == 0xd9 ? EXECUTE_IMAGE_CONTROL : EXECUTE_IMAGE_STATUS));
}

/* An exception that is not masked, but for a lost precision, keeps a result from being stored. */
static bool kept_back(const struct execution *x)
{
    unsigned raised = image_word(x, EXECUTE_IMAGE_STATUS) &
                      ~(unsigned)image_word(x, EXECUTE_IMAGE_CONTROL) & EXCEPTIONS;
    return raised & ~PRECISION;
}

/* D8 to DF with an operand in memory. If a store faults, the registers are not given back. */
enum execute_result execute_x87(struct execution *x)
{
    unsigned row = x->in.opcode & 7, extension = x->in.reg & 7;
    unsigned form = x87_operand[row][extension], size_bytes = form & BYTES;
    uint8_t operand[16], before[EXECUTE_IMAGE_STACK];
    uint64_t linear;
    if (x->in.mod == 3 || !size_bytes || !x->world->vectors)
        return execute_unknown(x);
    execute_need(x->world, VCPU_GROUP_CONTROL);
    if (x->state->cr0 & (CR0_EM | CR0_TS))
        return execute_raise(x, EXCEPTION_NO_DEVICE);
    if (!x->world->vectors(x->world, false))
        return execute_unknown(x);
    execute_make_present(x, EXECUTE_PRESENT_X87);
    if ((form & STORES) && (form & CONTROL)) {
        TRY(find(x, size_bytes, true, &linear));
        return store_word(x, linear);
    }
    TRY(execute_float_pending(x));
    if (!(form & STORES)) {
        TRY(find(x, size_bytes, false, &linear));
        TRY(execute_read_bytes(x, linear, operand, size_bytes));
    }
    memcpy(before, x->state->fpu, sizeof before);
    run((const uint8_t *)x87_forms + (row * 8 + extension) * X87_FORM_BYTES, x->state->fpu,
        operand);
    note_addresses(x, before, form & CONTROL);
    if ((form & STORES) && !kept_back(x)) {
        TRY(find(x, size_bytes, true, &linear));
        TRY(execute_write_bytes(x, linear, operand, size_bytes));
    }
    return give_back(x) ? EXECUTE_DONE : execute_unknown(x);
}

/* ---- MMX, SSE, SSE2 -------------------------------------------------------------------------- */

/* 14 to 5F, 7C, 7D, D0: packed or of one number. */
static struct execute_sse float_form(unsigned opcode, unsigned prefix)
{
    static const uint8_t ordinary[] = {16, 16, 4, 8};
    unsigned bytes = ordinary[prefix];
    switch (opcode) {
    case 0x14 ... 0x15:
    case 0x54 ... 0x57: bytes = prefix < 2 ? 16 : 0; break;
    case 0x2e ... 0x2f:
        return (struct execute_sse){.bytes = prefix < 2 ? 4 << prefix : 0, .flags = true};
    case 0x52 ... 0x53: bytes = prefix == 1 || prefix == 3 ? 0 : bytes; break;
    case 0x5a: bytes = prefix == 0 ? 8 : bytes; break;
    case 0x5b: bytes = prefix == 3 ? 0 : 16; break;
    case 0x7c ... 0x7d: /* HADDPS and its kin, of SSE3 */
    case 0xd0:
        return (struct execute_sse){
            .bytes = prefix & 1 ? 16 : 0, .aligned = true, .feature = EXECUTE_SSE3};
    case 0x51:
    case 0x58 ... 0x59:
    case 0x5c ... 0x5f: break;
    default: bytes = 0; break;
    }
    return (struct execute_sse){.bytes = (uint8_t)bytes, .aligned = bytes == 16};
}

/* 60 to FE: whole numbers, in MMX registers without a prefix. */
static struct execute_sse integer_form(unsigned opcode, unsigned prefix)
{
    bool is = false, low = opcode >= 0x60 && opcode <= 0x62;
    switch (opcode) {
    case 0x60 ... 0x6b:
    case 0x74 ... 0x76:
    case 0xd1 ... 0xd5:
    case 0xd8 ... 0xe5:
    case 0xe8 ... 0xef:
    case 0xf1 ... 0xf6:
    case 0xf8 ... 0xfe: is = true; break;
    case 0x6c ... 0x6d: is = prefix == 1; break;
    case 0xe6:
        return (struct execute_sse){.bytes = prefix == 0   ? 0
                                             : prefix == 2 ? 8
                                                           : 16,
                                    .aligned = prefix != 2};
    }
    if (!is || prefix > 1)
        return (struct execute_sse){0};
    return (struct execute_sse){.bytes = prefix ? 16
                                         : low  ? 4
                                                : 8,
                                .mmx = prefix == 0,
                                .aligned = prefix == 1};
}

/* Register 0 and that of the instruction change places. */
static void change_places(struct execution *x, bool mmx)
{
    uint8_t *first = x->state->fpu + (mmx ? EXECUTE_IMAGE_STACK : EXECUTE_IMAGE_XMM), kept[16];
    uint8_t *other = first + (mmx ? x->in.reg & 7u : x->in.reg) * 16;
    memcpy(kept, first, sizeof kept);
    memmove(first, other, sizeof kept);
    memcpy(other, kept, sizeof kept);
}

/* Runs it with this MXCSR; returns its RFLAGS, and what exceptions it has set. */
static uint64_t run_with(struct execution *x, const struct execute_sse *form, const uint8_t *code,
                         void *operand, uint32_t mxcsr, uint32_t *raised)
{
    uint8_t *image = x->state->fpu;
    memcpy(image + EXECUTE_IMAGE_MXCSR, &mxcsr, sizeof mxcsr);
    change_places(x, form->mmx);
    uint64_t flags = run(code, image, operand);
    change_places(x, form->mmx);
    memcpy(raised, image + EXECUTE_IMAGE_MXCSR, sizeof *raised);
    *raised &= EXCEPTIONS;
    return flags;
}

/*
 * All exceptions are masked while it runs, for they would be ours. Then the flags tell what would have been raised: the
 * destination is as it was, the flags stay (SDM 1, 11.5.2). A result that is tiny but exact is told by no flag then, and
 * would be raised all the same (4.9.1.5): it shows where tiny results are flushed to zero, which they are not when their
 * exception is not masked (10.2.3.3).
 */
static enum execute_result run_sse(struct execution *x, const struct execute_sse *form,
                                   const uint8_t *code, void *operand)
{
    const uint64_t compared = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF;
    uint8_t *image = x->state->fpu, before[EXECUTE_IMAGE_LEGACY];
    uint32_t control, masked, after, raised, tiny = 0;
    uint64_t flags;
    memcpy(before, image, sizeof before);
    memcpy(&control, image + EXECUTE_IMAGE_MXCSR, sizeof control);
    masked = (control & ~EXCEPTIONS) | EXCEPTIONS << MXCSR_MASKS; /* and no flag is set */
    if (!(control & UNDERFLOW << MXCSR_MASKS)) {
        run_with(x, form, code, operand, masked | MXCSR_FLUSH, &tiny);
        memcpy(image, before, sizeof before);
        masked &= ~MXCSR_FLUSH;
    }
    flags = run_with(x, form, code, operand, masked, &after);
    after |= tiny & UNDERFLOW;
    raised = after & ~(control >> MXCSR_MASKS);
    if (raised & BEFORE_COMPUTING)
        after &= BEFORE_COMPUTING;
    after |= control;
    if (raised)
        memcpy(image, before, sizeof before);
    memcpy(image + EXECUTE_IMAGE_MXCSR, &after, sizeof after);
    if (!give_back(x))
        return execute_unknown(x);
    if (raised)
        return execute_raise(x, x->state->cr4 & CR4_OSXMMEXCPT ? EXCEPTION_VECTOR
                                                               : EXCEPTION_INVALID_OPCODE);
    if (form->flags)
        x->flags = (x->flags & ~compared) | (flags & compared);
    return EXECUTE_DONE;
}

enum execute_result execute_vector_load(struct execution *x, const struct execute_sse *form,
                                        uint8_t operand[16])
{
    uint64_t linear;
    memset(operand, 0, 16);
    if (x->in.mod == 3 || !x->world->vectors)
        return execute_unknown(x);
    if (form->feature & ~x->world->features)
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    TRY(execute_vectors_enabled(x, form->mmx));
    if (!x->world->vectors(x->world, false))
        return execute_unknown(x);
    execute_make_present(x, EXECUTE_PRESENT_X87);
    execute_make_present(x, EXECUTE_PRESENT_SSE);
    if (form->mmx)
        TRY(execute_float_pending(x));
    TRY(find(x, form->bytes, false, &linear));
    if (form->aligned && linear % 16)
        return execute_raise(x, EXCEPTION_PROTECTION);
    return execute_read_bytes(x, linear, operand, form->bytes);
}

enum execute_result execute_vector_native(struct execution *x, const struct execute_sse *form,
                                          const uint8_t *code)
{
    uint8_t operand[16] __attribute__((aligned(16)));
    TRY(execute_vector_load(x, form, operand));
    if (form->mmx)
        execute_enter_mmx(x);
    return run_sse(x, form, code, operand);
}

enum execute_result execute_vector_compute(struct execution *x, unsigned prefix)
{
    unsigned opcode = x->in.opcode;
    struct execute_sse form;
    if (x->in.map != MAP_0F || opcode < SSE_FIRST)
        return execute_sse(x, prefix);
    form = opcode < 0x60 || opcode == 0x7c || opcode == 0x7d || opcode == 0xd0
               ? float_form(opcode, prefix)
               : integer_form(opcode, prefix);
    if (!form.bytes)
        return execute_sse(x, prefix);
    return execute_vector_native(x, &form,
                                 (const uint8_t *)sse_forms +
                                     (prefix * SSE_COUNT + opcode - SSE_FIRST) * SSE_FORM_BYTES);
}

/* ---- State ----------------------------------------------------------------------------------- */

/* SDM 1, 11.6.6. */
uint32_t execute_mxcsr_mask(const struct execution *x)
{
    uint32_t mask;
    memcpy(&mask, x->state->fpu + EXECUTE_IMAGE_MXCSR + 4, sizeof mask);
    return mask ? mask : 0xffbf;
}

/* LDMXCSR, STMXCSR. */
static enum execute_result move_control(struct execution *x, bool store)
{
    uint8_t *at = x->state->fpu + EXECUTE_IMAGE_MXCSR;
    uint32_t value;
    uint64_t linear;
    TRY(find(x, 4, store, &linear));
    if (store)
        return execute_write_bytes(x, linear, at, 4);
    TRY(execute_read_bytes(x, linear, &value, 4));
    if (value & ~execute_mxcsr_mask(x))
        return execute_raise(x, EXCEPTION_PROTECTION);
    memcpy(at, &value, sizeof value);
    return give_back(x) ? EXECUTE_DONE : execute_unknown(x);
}

/* FXSAVE, FXRSTOR: without REX.W addresses are of 32 bits, with a selector that newer processors give as 0. */
static enum execute_result move_image(struct execution *x, bool store)
{
    uint8_t image[EXECUTE_IMAGE_LEGACY];
    unsigned size_bytes = x->code_bytes == 8 ? EXECUTE_IMAGE_LEGACY : EXECUTE_IMAGE_XMM + 128;
    uint32_t control;
    uint64_t linear;
    TRY(find(x, 512, store, &linear));
    if (linear % 16)
        return execute_raise(x, EXCEPTION_PROTECTION);
    memcpy(image, x->state->fpu, sizeof image);
    if (!store)
        TRY(execute_read_bytes(x, linear, image, size_bytes));
    if (!x->in.rex_w) {
        memset(image + EXECUTE_IMAGE_CODE + 4, 0, 4);
        memset(image + EXECUTE_IMAGE_DATA + 4, 0, 4);
    }
    if (store)
        return execute_write_bytes(x, linear, image, size_bytes);
    memcpy(&control, image + EXECUTE_IMAGE_MXCSR, sizeof control);
    if (control & ~execute_mxcsr_mask(x))
        return execute_raise(x, EXCEPTION_PROTECTION);
    memcpy(image + EXECUTE_IMAGE_MXCSR + 4, x->state->fpu + EXECUTE_IMAGE_MXCSR + 4, 4);
    memcpy(x->state->fpu, image, size_bytes);
    return give_back(x) ? EXECUTE_DONE : execute_unknown(x);
}

/* 0F AE /0 to /3. */
enum execute_result execute_vector_state(struct execution *x)
{
    unsigned which = x->in.reg & 7;
    if (x->in.mod == 3 || x->in.repeat || x->in.operand_prefix || !x->world->vectors)
        return execute_unknown(x);
    execute_need(x->world, VCPU_GROUP_CONTROL);
    if (which < 2 && (x->state->cr0 & (CR0_EM | CR0_TS)))
        return execute_raise(x, EXCEPTION_NO_DEVICE);
    if (which >= 2)
        TRY(execute_vectors_enabled(x, false));
    if (!x->world->vectors(x->world, false))
        return execute_unknown(x);
    execute_make_present(x, EXECUTE_PRESENT_X87);
    execute_make_present(x, EXECUTE_PRESENT_SSE);
    return which < 2 ? move_image(x, which == 0) : move_control(x, which == 3);
}
