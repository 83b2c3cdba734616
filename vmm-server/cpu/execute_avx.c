/*
 * Moves between memory and the registers of AVX, as programs copy to and from frame buffers with them, and those of SSE3
 * and SSE4 that have the same opcodes: of whole registers, of halves and single elements, of what is repeated while it is
 * loaded, and with a mask. An opcode that does not exist with a prefix or a length the decoder has refused.
 */
#include "cpu/execute_internal.h"

#include "string.h"

#define WHOLE 32u /* a register */

enum action {
    STORE,
    LOAD,   /* the rest of the register becomes 0 */
    INSERT, /* the rest is that of the other source */
    REPEAT, /* as often as the vector has room */
    EVEN,   /* each even element, and again in the place behind it */
    ODD,    /* each odd one, and again in the place in front of it */
    MASKED_LOAD,
    MASKED_STORE,
};

struct avx_form {
    uint8_t bytes; /* in memory; 0: not done here */
    uint8_t action;
    uint8_t at;   /* the place in the register, of STORE and INSERT */
    uint8_t unit; /* the size of an element, of EVEN, ODD and the masked ones */
    bool aligned;
    uint64_t feature; /* that it needs without VEX; with it AVX, and AVX2 if that stands here */
};

/* Elements of the size of a general register: outside 64-bit code there is none of 8 bytes, whatever W says. */
static uint8_t general_bytes(const struct execution *x)
{
    return x->in.rex_w && x->code_bytes == 8 ? 8 : 4;
}

/* ---- Opcodes --------------------------------------------------------------------------------- */

/* 0F with VEX, as SSE's (SDM 2B and 2C: MOVUPS and its kin). */
static struct avx_form form_of_sse(const struct execution *x, enum vector_prefix prefix)
{
    const struct instruction *in = &x->in;
    const uint8_t all = in->vector_bytes, wide = general_bytes(x);
    bool store = in->opcode & 1;
    switch (in->opcode) {
    case 0x10:
    case 0x11:
        return (struct avx_form){.bytes = prefix < PF3    ? all
                                          : prefix == PF3 ? 4
                                                          : 8,
                                 .action = store ? STORE : LOAD};
    case 0x12:
    case 0x13:
    case 0x16:
    case 0x17:
        return (struct avx_form){
            .bytes = 8, .action = store ? STORE : INSERT, .at = in->opcode & 4 ? 8 : 0};
    case 0x28:
    case 0x29:
        return (struct avx_form){.bytes = all, .action = store ? STORE : LOAD, .aligned = true};
    case 0x2b:
    case 0xe7: return (struct avx_form){.bytes = all, .action = STORE, .aligned = true};
    case 0x6e: return (struct avx_form){.bytes = wide, .action = LOAD};
    case 0x7e:
        return prefix == PF3 ? (struct avx_form){.bytes = 8, .action = LOAD}
                             : (struct avx_form){.bytes = wide, .action = STORE};
    case 0x6f:
    case 0x7f:
        return (struct avx_form){
            .bytes = all, .action = in->opcode == 0x7f ? STORE : LOAD, .aligned = prefix == P66};
    case 0xd6: return (struct avx_form){.bytes = 8, .action = STORE};
    case 0xc4:
        return (struct avx_form){
            .bytes = 2, .action = INSERT, .at = (uint8_t)(in->immediate & 7) * 2};
    }
    return (struct avx_form){0};
}

/* 0F with a prefix, those of SSE3: MOVDDUP, MOVSLDUP, MOVSHDUP, LDDQU. */
static struct avx_form form_of_sse3(const struct execution *x, enum vector_prefix prefix)
{
    const struct instruction *in = &x->in;
    const uint8_t all = in->vector_bytes ? in->vector_bytes : 16;
    struct avx_form form = {.bytes = all, .feature = EXECUTE_SSE3};
    if (in->opcode == 0x12 && prefix == PF2) {
        form.action = all == WHOLE ? EVEN : REPEAT;
        form.bytes = all == WHOLE ? all : 8;
        form.unit = 8;
    } else if ((in->opcode == 0x12 || in->opcode == 0x16) && prefix == PF3) {
        form.action = in->opcode == 0x12 ? EVEN : ODD;
        form.unit = 4;
        form.aligned = !in->vector_bytes;
    } else if (in->opcode == 0xf0 && prefix == PF2) {
        form.action = LOAD;
    } else {
        bool insert = in->opcode == 0xc4 && prefix == P66; /* PINSRW, of SSE2 */
        return in->vector_bytes || insert ? form_of_sse(x, prefix) : (struct avx_form){0};
    }
    return form;
}

/* 0F 38 with 66; but for MOVNTDQA all have VEX: broadcasts and masked moves. */
static struct avx_form form_of_0f38(const struct execution *x)
{
    const struct instruction *in = &x->in;
    const uint8_t all = in->vector_bytes ? in->vector_bytes : 16, wide = in->rex_w ? 8 : 4;
    if (in->opcode == 0x2a)
        return (struct avx_form){.bytes = all,
                                 .action = LOAD,
                                 .aligned = true,
                                 .feature = all == WHOLE ? EXECUTE_AVX2 : EXECUTE_SSE4_1};
    if (!in->vector_bytes)
        return (struct avx_form){0};
    switch (in->opcode) {
    case 0x18 ... 0x1a:
        return (struct avx_form){.bytes = (uint8_t)(4 << (in->opcode & 3)), .action = REPEAT};
    case 0x58 ... 0x5a:
        return (struct avx_form){
            .bytes = (uint8_t)(4 << (in->opcode & 3)), .action = REPEAT, .feature = EXECUTE_AVX2};
    case 0x78 ... 0x79:
        return (struct avx_form){
            .bytes = in->opcode & 1 ? 2 : 1, .action = REPEAT, .feature = EXECUTE_AVX2};
    case 0x2c ... 0x2f:
        return (struct avx_form){.bytes = all,
                                 .action = in->opcode & 2 ? MASKED_STORE : MASKED_LOAD,
                                 .unit = in->opcode & 1 ? 8 : 4};
    case 0x8c:
    case 0x8e:
        return (struct avx_form){.bytes = all,
                                 .action = in->opcode & 2 ? MASKED_STORE : MASKED_LOAD,
                                 .unit = wide,
                                 .feature = EXECUTE_AVX2};
    }
    return (struct avx_form){0};
}

/* 0F 3A with 66: one element by its number, and with VEX one half. */
static struct avx_form form_of_0f3a(const struct execution *x)
{
    const struct instruction *in = &x->in;
    const uint8_t wide = general_bytes(x), number = (uint8_t)in->immediate;
    struct avx_form form = {.action = in->opcode < 0x18 || (in->opcode & 1) ? STORE : INSERT,
                            .feature = EXECUTE_SSE4_1};
    switch (in->opcode) {
    case 0x14:
    case 0x20: form.bytes = 1; break;
    case 0x15: form.bytes = 2; break;
    case 0x16:
    case 0x22: form.bytes = wide; break;
    case 0x17: form.bytes = 4; break;
    case 0x38:
    case 0x39: form.feature = EXECUTE_AVX2; /* fall through */
    case 0x18:
    case 0x19: form.bytes = in->vector_bytes ? 16 : 0; break;
    }
    if (form.bytes)
        form.at = (uint8_t)(number * form.bytes) % (form.bytes == 16 ? WHOLE : 16);
    return form;
}

static struct avx_form form_of(const struct execution *x, enum vector_prefix prefix)
{
    switch (x->in.map) {
    case MAP_0F:
    case MAP_VEX_0F: return form_of_sse3(x, prefix);
    case MAP_0F38:
    case MAP_VEX_0F38: return prefix == P66 ? form_of_0f38(x) : (struct avx_form){0};
    default: return prefix == P66 ? form_of_0f3a(x) : (struct avx_form){0};
    }
}

/* ---- Registers ------------------------------------------------------------------------------- */

static void get(const struct execution *x, unsigned number, uint8_t value[WHOLE])
{
    const uint8_t *image = x->state->fpu;
    memcpy(value, image + EXECUTE_IMAGE_XMM + number * 16, 16);
    memcpy(value + 16, image + EXECUTE_IMAGE_AVX + number * 16, 16);
}

/* With VEX, what a register has beyond the vector becomes 0 (SDM 1, 14.1.3), up to the 512 bits of AVX-512; without,
 * it stays. */
static void put(struct execution *x, unsigned number, const uint8_t value[WHOLE])
{
    uint8_t *image = x->state->fpu, *upper = image + x->world->upper_offset + number * WHOLE;
    memcpy(image + EXECUTE_IMAGE_XMM + number * 16, value, 16);
    if (!x->in.vector_bytes)
        return;
    if (x->in.vector_bytes == WHOLE)
        memcpy(image + EXECUTE_IMAGE_AVX + number * 16, value + 16, 16);
    else
        memset(image + EXECUTE_IMAGE_AVX + number * 16, 0, 16);
    if (x->world->upper_offset && (execute_present(x) & EXECUTE_PRESENT_UPPER))
        memset(upper, 0, WHOLE);
}

/* SDM 2A, tables 2-18 to 2-21: what the system has turned off, and what the processor has not. */
static enum execute_result enabled(struct execution *x, const struct avx_form *form)
{
    const struct vcpu_state *state = x->state;
    uint64_t features = x->world->features;
    if (!x->in.vector_bytes) {
        if (form->feature & ~features)
            return execute_raise(x, EXCEPTION_INVALID_OPCODE);
        return execute_vectors_enabled(x, false);
    }
    execute_need(x->world, VCPU_GROUP_CONTROL);
    if (execute_plain_segments(x) || !(state->cr4 & CR4_OSXSAVE) ||
        (state->xcr0 & XCR0_AVX) != XCR0_AVX || !(features & EXECUTE_AVX) ||
        (form->feature & EXECUTE_AVX2 & ~features))
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    if (state->cr0 & CR0_TS)
        return execute_raise(x, EXCEPTION_NO_DEVICE);
    return EXECUTE_DONE;
}

/* ---- Moves ----------------------------------------------------------------------------------- */

/* The vector that a form makes of what it has loaded; `value` is the other source. */
static void shape(const struct avx_form *form, const uint8_t loaded[WHOLE], uint8_t value[WHOLE])
{
    unsigned unit = form->unit;
    if (form->action == INSERT) {
        memcpy(value + form->at, loaded, form->bytes);
        return;
    }
    memcpy(value, loaded, WHOLE);
    if (form->action == REPEAT) {
        for (unsigned i = form->bytes; i < WHOLE; i += form->bytes)
            memcpy(value + i, loaded, form->bytes);
    } else if (form->action != LOAD) {
        for (unsigned i = 0; i < WHOLE; i += unit)
            memcpy(value + i, loaded + (form->action == ODD ? i | unit : i & ~unit), unit);
    }
}

/* VMASKMOVPS and its kin: an element whose mask has its highest bit off is not touched, in memory; in the register it
 * becomes 0. */
static enum execute_result move_masked(struct execution *x, const struct avx_form *form)
{
    bool store = form->action == MASKED_STORE;
    unsigned access = store ? VCPU_ACCESS_WRITE : VCPU_ACCESS_READ, unit = form->unit;
    uint8_t value[WHOLE] = {0}, mask[WHOLE];
    uint64_t linear[WHOLE / 4];
    get(x, x->in.source, mask);
    if (store)
        get(x, x->in.reg, value);
    for (unsigned i = 0; i < form->bytes; i += unit) {
        uint64_t offset = (execute_effective(x) + i) & execute_mask(x->in.address_bytes);
        if (!(mask[i + unit - 1] & 0x80))
            continue;
        TRY(execute_linear(x, x->in.segment, offset, unit, access, &linear[i / unit]));
        TRY(execute_probe(x, linear[i / unit], unit, access));
    }
    for (unsigned i = 0; i < form->bytes; i += unit) {
        if (!(mask[i + unit - 1] & 0x80))
            continue;
        TRY(store ? execute_write_bytes(x, linear[i / unit], value + i, unit)
                  : execute_read_bytes(x, linear[i / unit], value + i, unit));
    }
    if (!store)
        put(x, x->in.reg, value);
    return EXECUTE_DONE;
}

static enum execute_result move(struct execution *x, const struct avx_form *form)
{
    bool store = form->action == STORE;
    unsigned access = store ? VCPU_ACCESS_WRITE : VCPU_ACCESS_READ;
    uint8_t value[WHOLE], loaded[WHOLE] = {0};
    uint64_t linear;
    TRY(execute_linear(x, x->in.segment, execute_effective(x), form->bytes, access, &linear));
    if (form->aligned && linear % form->bytes)
        return execute_raise(x, EXCEPTION_PROTECTION);
    TRY(execute_probe(x, linear, form->bytes, access));
    if (store) {
        get(x, x->in.reg, value);
        return execute_write_bytes(x, linear, value + form->at, form->bytes);
    }
    TRY(execute_read_bytes(x, linear, loaded, form->bytes));
    get(x, x->in.vector_bytes ? x->in.source : x->in.reg, value);
    shape(form, loaded, value);
    put(x, x->in.reg, value);
    return EXECUTE_DONE;
}

enum execute_result execute_avx(struct execution *x)
{
    enum vector_prefix prefix = execute_vector_prefix(x);
    const struct avx_form form = form_of(x, prefix);
    bool masked = form.action == MASKED_LOAD || form.action == MASKED_STORE;
    if (!form.bytes)
        return x->in.vector_bytes ? execute_unknown(x) : execute_vector_compute(x, prefix);
    if (x->in.mod == 3 || !x->world->vectors)
        return execute_unknown(x);
    TRY(enabled(x, &form));
    if (!x->world->vectors(x->world, false))
        return execute_unknown(x);
    execute_make_present(x, EXECUTE_PRESENT_SSE);
    if (x->in.vector_bytes)
        execute_make_present(x, EXECUTE_PRESENT_AVX);
    TRY(masked ? move_masked(x, &form) : move(x, &form));
    if (form.action != STORE && form.action != MASKED_STORE && !x->world->vectors(x->world, true))
        return execute_unknown(x);
    return EXECUTE_DONE;
}
