/*
 * MOVs between memory and the registers of MMX and SSE, as programs copy to and from frame buffers with them. The
 * registers are in the XSAVE image of the state page. What computes is execute_float.c's.
 */
#include "cpu/execute_internal.h"

#include "string.h"

#define CONTROL_RESET 0x37fu

struct vector_form {
    uint8_t bytes; /* in memory; 0: not done here */
    bool store, mmx, aligned;
    bool merge; /* a load leaves the rest of the register */
    bool high;  /* the upper half */
};

uint64_t execute_present(const struct execution *x)
{
    uint64_t bits;
    memcpy(&bits, x->state->fpu + EXECUTE_IMAGE_PRESENT, sizeof bits);
    return bits;
}

void execute_make_present(struct execution *x, uint64_t part)
{
    uint8_t *image = x->state->fpu;
    uint64_t bits = execute_present(x);
    const uint16_t control = CONTROL_RESET;
    if (bits & part)
        return;
    if (part == EXECUTE_PRESENT_SSE) {
        memset(image + EXECUTE_IMAGE_XMM, 0, 256);
    } else if (part == EXECUTE_PRESENT_AVX) {
        memset(image + EXECUTE_IMAGE_AVX, 0, 256);
    } else {
        memset(image, 0, 24);
        memset(image + EXECUTE_IMAGE_STACK, 0, 128);
        memcpy(image + EXECUTE_IMAGE_CONTROL, &control, sizeof control);
    }
    bits |= part;
    memcpy(image + EXECUTE_IMAGE_PRESENT, &bits, sizeof bits);
}

/* An MMX instruction makes all eight registers valid and the first the top (SDM 1, 9.6.2). In the image they lie as
 * the stack does, from its top on. */
void execute_enter_mmx(struct execution *x)
{
    uint8_t *image = x->state->fpu, turned[128];
    uint16_t status;
    execute_make_present(x, EXECUTE_PRESENT_X87);
    memcpy(&status, image + EXECUTE_IMAGE_STATUS, sizeof status);
    unsigned top = status >> 11 & 7;
    for (unsigned i = 0; i < 8; i++)
        memcpy(turned + (top + i) % 8 * 16, image + EXECUTE_IMAGE_STACK + i * 16, 16);
    memcpy(image + EXECUTE_IMAGE_STACK, turned, sizeof turned);
    status &= (uint16_t) ~(7u << 11);
    memcpy(image + EXECUTE_IMAGE_STATUS, &status, sizeof status);
    image[EXECUTE_IMAGE_TAGS] = 0xff;
}

enum vector_prefix execute_vector_prefix(const struct execution *x)
{
    if (x->in.repeat == REPEAT_EQUAL)
        return PF3;
    return x->in.repeat ? PF2 : x->in.operand_prefix ? P66 : PLAIN;
}

/* SDM 2A and 2B: MOVUPS and its kin, MOVDQA, MOVQ, MOVD, MOVNTx, MOVLPS, MOVHPS. */
static struct vector_form form_of(const struct execution *x)
{
    unsigned prefix = execute_vector_prefix(x), wide = x->in.rex_w ? 8 : 4;
    bool odd = x->in.opcode & 1;
    switch (x->in.opcode) {
    case 0x10:
    case 0x11:
        return (struct vector_form){.bytes = prefix < PF3    ? 16
                                             : prefix == PF3 ? 4
                                                             : 8,
                                    .store = odd};
    case 0x12:
    case 0x13:
    case 0x16:
    case 0x17:
        return (struct vector_form){.bytes = prefix < PF3 ? 8 : 0,
                                    .store = odd,
                                    .merge = true,
                                    .high = (x->in.opcode & 4) != 0};
    case 0x28:
    case 0x29:
        return (struct vector_form){.bytes = prefix < PF3 ? 16 : 0, .store = odd, .aligned = true};
    case 0x2b:
    case 0xe7:
        if (x->in.opcode == 0xe7 && prefix == PLAIN)
            return (struct vector_form){.bytes = 8, .store = true, .mmx = true};
        return (struct vector_form){.bytes = prefix < PF3 ? 16 : 0, .store = true, .aligned = true};
    case 0x6e:
        return (struct vector_form){.bytes = prefix < PF3 ? wide : 0, .mmx = prefix == PLAIN};
    case 0x7e:
        if (prefix == PF3)
            return (struct vector_form){.bytes = 8};
        return (struct vector_form){
            .bytes = prefix < PF3 ? wide : 0, .store = true, .mmx = prefix == PLAIN};
    case 0x6f:
    case 0x7f:
        return (struct vector_form){.bytes = prefix == PLAIN ? 8
                                             : prefix == PF2 ? 0
                                                             : 16,
                                    .store = x->in.opcode == 0x7f,
                                    .mmx = prefix == PLAIN,
                                    .aligned = prefix == P66};
    case 0xd6: return (struct vector_form){.bytes = prefix == P66 ? 8 : 0, .store = true};
    }
    return (struct vector_form){0};
}

/* SDM 3A, 13.1 and 2A, table 2-21: what the system has turned off. */
enum execute_result execute_vectors_enabled(struct execution *x, bool mmx)
{
    const struct vcpu_state *state = x->state;
    execute_need(x->world, VCPU_GROUP_CONTROL);
    if ((state->cr0 & CR0_EM) || (!mmx && !(state->cr4 & CR4_OSFXSR)))
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    if (state->cr0 & CR0_TS)
        return execute_raise(x, EXCEPTION_NO_DEVICE);
    return EXECUTE_DONE;
}

static enum execute_result load(struct execution *x, const struct vector_form *form, uint8_t *at,
                                uint64_t linear)
{
    uint64_t words[2] = {0, 0};
    unsigned first = form->bytes < 8 ? form->bytes : 8;
    TRY(execute_read(x, NULL, linear, first, &words[0]));
    if (form->bytes == 16)
        TRY(execute_read(x, NULL, linear + 8, 8, &words[1]));
    memcpy(at, words, form->mmx || form->merge ? 8 : 16);
    if (form->mmx)
        memset(at + 8, 0xff, 2); /* the exponent of a register that MMX has written */
    return EXECUTE_DONE;
}

static enum execute_result store(struct execution *x, const struct vector_form *form,
                                 const uint8_t *at, uint64_t linear)
{
    uint64_t words[2];
    unsigned first = form->bytes < 8 ? form->bytes : 8;
    memcpy(words, at, first == form->bytes ? 8 : 16);
    TRY(execute_probe_write(x, linear, form->bytes));
    TRY(execute_write(x, NULL, linear, first, words[0]));
    return form->bytes == 16 ? execute_write(x, NULL, linear + 8, 8, words[1]) : EXECUTE_DONE;
}

enum execute_result execute_vector(struct execution *x)
{
    const struct vector_form form = form_of(x);
    uint64_t linear;
    uint8_t *at;
    if (!form.bytes)
        return execute_avx(x);
    if (x->in.mod == 3 || !x->world->vectors)
        return execute_unknown(x);
    TRY(execute_vectors_enabled(x, form.mmx));
    TRY(execute_linear(x, x->in.segment, execute_effective(x), form.bytes,
                       form.store ? VCPU_ACCESS_WRITE : VCPU_ACCESS_READ, &linear));
    if (form.aligned && linear % 16)
        return execute_raise(x, EXCEPTION_PROTECTION);
    if (!x->world->vectors(x->world, false))
        return execute_unknown(x);
    if (form.mmx) {
        execute_make_present(x, EXECUTE_PRESENT_X87);
        TRY(execute_float_pending(x));
        execute_enter_mmx(x);
        at = x->state->fpu + EXECUTE_IMAGE_STACK + (x->in.reg & 7) * 16;
    } else {
        execute_make_present(x, EXECUTE_PRESENT_SSE);
        at = x->state->fpu + EXECUTE_IMAGE_XMM + x->in.reg * 16 + (form.high ? 8 : 0);
    }
    TRY(form.store ? store(x, &form, at, linear) : load(x, &form, at, linear));
    if ((form.mmx || !form.store) && !x->world->vectors(x->world, true))
        return execute_unknown(x);
    return EXECUTE_DONE;
}
