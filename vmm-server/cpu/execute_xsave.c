/*
 * XSAVE, XSAVEOPT, XSAVEC, XSAVES, XRSTOR and XRSTORS, between the XSAVE image of the state page, which has the standard format,
 * and an area in memory, which has that or the compacted one.
 *
 * State:    none.
 * Features: what each of them reads and writes of the area, part by part, in the layouts of both formats, also outside 64-bit
 *           code, where half of the registers are not there; all faults come before the first write, and of XRSTOR's before
 *           anything is loaded.
 * Missing:  the optimization for what has not been modified, which nobody can rely on: what is in use is written. IA32_XSS is 0:
 *           CPUID shows no XSAVES, but AMD-V cannot turn it off.
 * Spec:     Intel SDM volume 1, chapter 13, June 2023.
 */
#include "cpu/execute_internal.h"

#include "string.h"

enum {
    ALIGNMENT = 64,
    HEADER = 512,
    HEADER_BYTES = 64,
    HEADER_COMPONENTS = HEADER + 8, /* XCOMP_BV */
    EXTENDED = HEADER + HEADER_BYTES,
    MXCSR_RESET = 0x1f80,
};
#define COMPACTED (1ull << 63)

enum part { X87, SSE, AVX, MASKS = 5, UPPER, HIGH, PKRU = 9, PARTS };
#define PART(n) (1ull << (n))

/* What is moved in one piece: `area` is from its start. */
struct run {
    uint16_t area, image, size_bytes;
};
#define RUNS_MAX 12u

struct move {
    struct execution *x;
    uint64_t features; /* RFBM: the parts that are asked for */
    uint64_t offset;   /* of the area in its segment */
    unsigned count;
    struct run runs[RUNS_MAX];
};

/* ---- Layout ------------------------------------------------------------------------------------ */

/* SDM 1, 13.5. Sizes are those that every processor has; CPUID says where a part is. */
static unsigned part_bytes(unsigned part)
{
    static const uint16_t bytes[PARTS] = {
        [SSE] = 256, [AVX] = 256, [MASKS] = 64, [UPPER] = 512, [HIGH] = 1024, [PKRU] = 8};
    return bytes[part];
}

static unsigned part_offset(const struct execution *x, unsigned part)
{
    switch (part) {
    case SSE: return EXECUTE_IMAGE_XMM;
    case AVX: return EXECUTE_IMAGE_AVX;
    case MASKS: return x->world->mask_offset;
    case UPPER: return x->world->upper_offset;
    case HIGH: return x->world->high_offset;
    default: return x->world->pkru_offset;
    }
}

/* Outside 64-bit code there are eight vector registers, and nothing is done to the others. */
static unsigned used_bytes(const struct execution *x, unsigned part)
{
    if (x->code_bytes == 8 || part == MASKS || part == PKRU)
        return part_bytes(part);
    return part == HIGH ? 0 : part_bytes(part) / 2;
}

static bool is_known(const struct execution *x, unsigned part)
{
    unsigned at = part_offset(x, part);
    return at >= EXECUTE_IMAGE_XMM && at + part_bytes(part) <= sizeof x->state->fpu;
}

static void add_run(struct move *m, unsigned area, unsigned image, unsigned size_bytes)
{
    if (size_bytes)
        m->runs[m->count++] = (struct run){(uint16_t)area, (uint16_t)image, (uint16_t)size_bytes};
}

/* The parts of `parts`, where they are in an area that has those of `components`, or in the standard format (0). Parts that must
 * be aligned (CPUID 0D, i, ECX bit 1) are so by themselves: only the last one's size is not a multiple of 64. */
static void add_parts(struct move *m, uint64_t parts, uint64_t components)
{
    unsigned next = EXTENDED;
    if (parts & PART(X87)) {
        add_run(m, 0, 0, EXECUTE_IMAGE_MXCSR);
        add_run(m, EXECUTE_IMAGE_STACK, EXECUTE_IMAGE_STACK, 128);
    }
    if (parts & PART(SSE))
        add_run(m, EXECUTE_IMAGE_XMM, EXECUTE_IMAGE_XMM, used_bytes(m->x, SSE));
    for (unsigned i = AVX; i < PARTS; i++) {
        unsigned at = part_offset(m->x, i);
        if (components >> i & 1) {
            at = next;
            next += part_bytes(i);
        }
        if (parts >> i & 1)
            add_run(m, at, part_offset(m->x, i), used_bytes(m->x, i));
    }
}

/* ---- Memory ------------------------------------------------------------------------------------ */

static enum execute_result linear_of(const struct move *m, unsigned area, unsigned size_bytes,
                                     unsigned access, uint64_t *linear)
{
    struct execution *x = m->x;
    uint64_t offset = (m->offset + area) & execute_mask(x->in.address_bytes);
    TRY(execute_linear(x, x->in.segment, offset, size_bytes, access, linear));
    return execute_probe(x, *linear, size_bytes, access);
}

static enum execute_result probe_runs(const struct move *m, unsigned access)
{
    uint64_t linear;
    for (unsigned i = 0; i < m->count; i++)
        TRY(linear_of(m, m->runs[i].area, m->runs[i].size_bytes, access, &linear));
    return EXECUTE_DONE;
}

static enum execute_result move_runs(const struct move *m, bool store)
{
    uint64_t linear;
    for (unsigned i = 0; i < m->count; i++) {
        const struct run *run = &m->runs[i];
        uint8_t *at = m->x->state->fpu + run->image;
        TRY(linear_of(m, run->area, run->size_bytes, store ? VCPU_ACCESS_WRITE : VCPU_ACCESS_READ,
                      &linear));
        TRY(store ? execute_write_bytes(m->x, linear, at, run->size_bytes)
                  : execute_read_bytes(m->x, linear, at, run->size_bytes));
    }
    return EXECUTE_DONE;
}

/* ---- The image --------------------------------------------------------------------------------- */

static uint32_t control_of(const struct execution *x)
{
    uint32_t value;
    memcpy(&value, x->state->fpu + EXECUTE_IMAGE_MXCSR, sizeof value);
    return value;
}

/* A part that is as after a reset is written out; the bit that says so stays. */
static void write_out(struct execution *x, uint64_t parts)
{
    const uint64_t present = execute_present(x);
    for (unsigned i = MASKS; i < PARTS; i++)
        if ((parts & ~present) >> i & 1)
            memset(x->state->fpu + part_offset(x, i), 0, part_bytes(i));
    for (unsigned i = X87; i <= AVX; i++)
        if (parts >> i & 1)
            execute_make_present(x, PART(i));
    memcpy(x->state->fpu + EXECUTE_IMAGE_PRESENT, &present, sizeof present);
}

/* Without REX.W addresses of x87 are of 32 bits, with a selector that newer processors give as 0. */
static void cut_addresses(struct execution *x)
{
    if (x->in.rex_w)
        return;
    memset(x->state->fpu + EXECUTE_IMAGE_CODE + 4, 0, 4);
    memset(x->state->fpu + EXECUTE_IMAGE_DATA + 4, 0, 4);
}

/* ---- XSAVE and its kin -------------------------------------------------------------------------- */

/* XSTATE_BV and, in the compacted format, XCOMP_BV; else the bits of other parts stay as they are in the area. */
static enum execute_result store_header(const struct move *m, uint64_t in_use, bool compacted)
{
    struct execution *x = m->x;
    uint64_t header[2] = {in_use & m->features, COMPACTED | m->features}, linear, old;
    TRY(linear_of(m, HEADER, sizeof header, VCPU_ACCESS_WRITE, &linear));
    if (compacted)
        return execute_write_bytes(x, linear, header, sizeof header);
    TRY(execute_read_bytes(x, linear, &old, sizeof old));
    header[0] |= old & ~m->features;
    return execute_write_bytes(x, linear, header, sizeof old);
}

/* SDM 1, 13.7 to 13.11. XSAVE writes parts that are not in use too. MXCSR is also AVX's in the standard format; in the
 * other one it makes SSE one that is in use. */
static enum execute_result save(struct move *m, bool whole, bool compacted)
{
    struct execution *x = m->x;
    uint64_t in_use = execute_present(x), parts = m->features, linear;
    if (compacted && control_of(x) != MXCSR_RESET)
        in_use |= PART(SSE);
    if (!whole)
        parts &= in_use;
    if (compacted ? parts & PART(SSE) : m->features & (PART(SSE) | PART(AVX)))
        add_run(m, EXECUTE_IMAGE_MXCSR, EXECUTE_IMAGE_MXCSR, 8);
    add_parts(m, parts, compacted ? m->features : 0);
    TRY(probe_runs(m, VCPU_ACCESS_WRITE));
    TRY(linear_of(m, HEADER, 16, VCPU_ACCESS_WRITE, &linear));
    write_out(x, parts);
    cut_addresses(x);
    TRY(move_runs(m, true));
    return store_header(m, in_use, compacted);
}

/* ---- XRSTOR ------------------------------------------------------------------------------------ */

/* SDM 1, 13.8: of the header, in both formats. */
static bool header_is_good(const struct execution *x, const uint64_t header[8], bool compacted)
{
    uint64_t reserved = header[2];
    if (!compacted)
        return !(header[0] & ~x->state->xcr0) && !header[1] && !reserved;
    for (unsigned i = 3; i < 8; i++)
        reserved |= header[i];
    return x->world->compacts && !reserved && !(header[1] & ~COMPACTED & ~x->state->xcr0) &&
           !(header[0] & ~(header[1] & ~COMPACTED));
}

/* Parts that the area does not have become as after a reset. */
static void reset_parts(struct execution *x, uint64_t parts)
{
    uint64_t present = execute_present(x);
    write_out(x, parts);
    for (unsigned i = SSE; i < PARTS; i++) {
        if (!(parts >> i & 1))
            continue;
        memset(x->state->fpu + part_offset(x, i), 0, used_bytes(x, i));
        if (used_bytes(x, i) == part_bytes(i))
            present &= ~PART(i);
    }
    if (parts & PART(X87))
        present &= ~PART(X87);
    memcpy(x->state->fpu + EXECUTE_IMAGE_PRESENT, &present, sizeof present);
}

static enum execute_result load_parts(struct move *m, uint64_t parts, const uint64_t header[8],
                                      bool compacted)
{
    struct execution *x = m->x;
    const uint32_t reset = MXCSR_RESET;
    uint64_t present;
    bool control = compacted ? parts & PART(SSE) : m->features & (PART(SSE) | PART(AVX));
    if (control)
        add_run(m, EXECUTE_IMAGE_MXCSR, EXECUTE_IMAGE_MXCSR, 4);
    add_parts(m, parts, compacted ? header[1] & ~COMPACTED : 0);
    TRY(probe_runs(m, VCPU_ACCESS_READ));
    uint32_t mask = execute_mxcsr_mask(x);
    reset_parts(x, m->features & ~parts);
    write_out(x, parts);
    TRY(move_runs(m, false));
    if (parts & PART(X87))
        cut_addresses(x);
    if (compacted && m->features & ~parts & PART(SSE))
        memcpy(x->state->fpu + EXECUTE_IMAGE_MXCSR, &reset, sizeof reset);
    if (control_of(x) & ~mask)
        return execute_raise(x, EXCEPTION_PROTECTION);
    present = execute_present(x) | parts;
    memcpy(x->state->fpu + EXECUTE_IMAGE_PRESENT, &present, sizeof present);
    execute_make_present(x, PART(SSE)); /* else QEMU 7.2 does not load MXCSR */
    return x->world->vectors(x->world, true) ? EXECUTE_DONE : execute_unknown(x);
}

static enum execute_result restore(struct move *m, bool compacted_only)
{
    struct execution *x = m->x;
    uint64_t header[8], linear;
    TRY(linear_of(m, HEADER, sizeof header, VCPU_ACCESS_READ, &linear));
    TRY(execute_read_bytes(x, linear, header, sizeof header));
    bool compacted = header[1] & COMPACTED;
    if ((compacted_only && !compacted) || !header_is_good(x, header, compacted))
        return execute_raise(x, EXCEPTION_PROTECTION);
    return load_parts(m, m->features & header[0], header, compacted);
}

/* ---- The whole --------------------------------------------------------------------------------- */

static enum execute_result run(struct move *m)
{
    struct execution *x = m->x;
    switch (x->in.opcode << 4 | (x->in.reg & 7)) {
    case 0xae4: return save(m, true, false);
    case 0xae5: return restore(m, false);
    case 0xae6: return save(m, false, false);
    case 0xc73: return restore(m, true);
    default: return save(m, false, true); /* XSAVEC, XSAVES */
    }
}

enum execute_result execute_extended_state(struct execution *x)
{
    const struct vcpu_state *state = x->state;
    struct move m = {.x = x};
    uint64_t linear;
    if (x->in.mod == 3 || x->in.repeat || x->in.operand_prefix || !x->world->vectors)
        return execute_unknown(x);
    execute_need(x->world, VCPU_GROUP_CONTROL);
    if (!(state->cr4 & CR4_OSXSAVE))
        return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    if (state->cr0 & CR0_TS)
        return execute_raise(x, EXCEPTION_NO_DEVICE);
    if (x->in.opcode == 0xc7 && (x->in.reg & 7) != 4 && x->user)
        return execute_raise(x, EXCEPTION_PROTECTION);
    x->one_access = false;
    m.offset = execute_effective(x);
    m.features = ((uint32_t)state->gpr[0] | state->gpr[2] << 32) & state->xcr0;
    for (unsigned i = SSE; i < 64; i++)
        if (m.features >> i & 1 && (i >= PARTS || !is_known(x, i)))
            return execute_unknown(x);
    TRY(execute_linear(x, x->in.segment, m.offset, 1, VCPU_ACCESS_READ, &linear));
    if (linear % ALIGNMENT)
        return execute_raise(x, EXCEPTION_PROTECTION);
    return x->world->vectors(x->world, false) ? run(&m) : execute_unknown(x);
}
