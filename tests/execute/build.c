/* One random instruction, and registers and memory that make it reach the window. */
#include "compare.h"

enum { AX = 0, CX = 1, BX = 3, SP = 4, BP = 5, SI = 6, DI = 7, NONE = 16 };

static uint64_t mask_of(unsigned size_bytes)
{
    return size_bytes == 8 ? ~0ull : (1ull << size_bytes * 8) - 1;
}

static void append(struct trial *trial, uint64_t value, unsigned count)
{
    CHECK(trial->length + count <= sizeof trial->bytes);
    memcpy(trial->bytes + trial->length, &value, count);
    trial->length += count;
}

static void random_registers(const struct trial *trial, struct vcpu_state *state)
{
    for (unsigned i = 0; i < 16; i++) {
        state->gpr[i] = test_random() ^ test_random() << 32;
        if (pick(4) == 0)
            state->gpr[i] &= 0xff;
        if (!on_long(trial))
            state->gpr[i] &= 0xffffffff;
    }
}

static void set_part(struct vcpu_state *state, unsigned number, unsigned size_bytes, uint64_t value)
{
    uint64_t mask = mask_of(size_bytes);
    state->gpr[number] = (state->gpr[number] & ~mask) | (value & mask);
}

/* ---- Addresses ------------------------------------------------------------------------------- */

static uint64_t segment_base(const struct trial *trial, const struct vcpu_state *state,
                             unsigned segment)
{
    if (on_long(trial) && segment != VCPU_FS && segment != VCPU_GS)
        return 0;
    return state->segment[segment].base;
}

/* An offset by which the segment reaches the target; what can't be reached is somewhere in the segment, so its base is
 * moved first where code of 16-bit addresses needs that. */
static uint64_t offset_of(struct trial *trial, struct vcpu_state *state, unsigned segment,
                          uint64_t target)
{
    struct vcpu_segment *of = &state->segment[segment];
    uint64_t offset = target - segment_base(trial, state, segment);
    if (trial->address_bytes == 2 && offset > 0xffff && segment != VCPU_CS) {
        of->base = 0x8000;
        offset = target - of->base;
    }
    if (trial->mode <= MODE_VIRTUAL_8086)
        of->selector = (uint16_t)(of->base >> 4);
    return offset;
}

static uint64_t choose_target(const struct trial *trial)
{
    uint64_t at = 512 + pick(0x2000);
    unsigned near = pick(6);
    if (near == 0)
        at = 4096 * (1 + pick(2)) - pick(12);
    if (near == 1 && trial->mode != MODE_REAL && !(trial->form->special & BRANCHES))
        at = WINDOW_BYTES - 600 + pick(600); /* perhaps beyond a limit, or into the last page */
    if ((trial->form->special & WIDE) && pick(8))
        at &= ~15ull;
    return WINDOW + at;
}

/* A linear address that is not canonical, or the window's. */
static void maybe_wild(struct trial *trial)
{
    if (on_long(trial) && pick(40) == 0)
        trial->target = 0x8000000000000000ull >> pick(17) | pick(4096);
    if (on_long(trial) && pick(80) == 0)
        trial->target = 0x7ffffffffff9ull + pick(8);
}

/* SDM 2A, table 2-1. */
static void operand_16(struct trial *trial, struct vcpu_state *state, unsigned reg)
{
    static const uint8_t registers[8][2] = {{BX, SI},   {BX, DI},   {BP, SI},   {BP, DI},
                                            {SI, NONE}, {DI, NONE}, {BP, NONE}, {BX, NONE}};
    unsigned rm = pick(8), mod = pick(3), segment = trial->segment;
    bool direct = mod == 0 && rm == 6;
    uint64_t displacement = mod == 1 ? (uint64_t)(int8_t)test_random() : test_random() & 0xffff;
    if (mod == 0)
        displacement = 0;
    if (segment == NONE)
        segment = !direct && registers[rm][0] == BP ? VCPU_SS : VCPU_DS;
    uint64_t offset = offset_of(trial, state, segment, trial->target);
    append(trial, mod << 6 | (reg & 7) << 3 | rm, 1);
    if (direct) {
        append(trial, offset, 2);
        return;
    }
    offset -= displacement;
    if (registers[rm][1] != NONE)
        offset -= state->gpr[registers[rm][1]];
    set_part(state, registers[rm][0], 2, offset);
    append(trial, displacement, mod);
}

/* Tables 2-2 and 2-3. `rex`: the byte that was written, 0 if none; its bits for base and index are set here. */
static void operand(struct trial *trial, struct vcpu_state *state, unsigned reg, uint8_t *rex)
{
    unsigned count = rex ? 16 : 8, base = pick(count), index = pick(2) ? pick(count) : SP;
    unsigned mod = pick(3), scale = pick(4), segment = trial->segment;
    if (base == SP || base == index || (trial->form->special & FRAME && base == BP))
        base = BX, index = SP;
    if ((trial->form->special & BIT_NUMBER) && (base == reg || index == reg))
        base = reg == BX ? SI : BX, index = SP;
    if (mod == 0 && (base & 7) == BP)
        mod = 1;
    if (segment == NONE)
        segment = base == BP ? VCPU_SS : VCPU_DS;
    bool sib = index != SP || (base & 7) == SP;
    uint64_t displacement = mod == 0   ? 0
                            : mod == 1 ? (uint64_t)(int8_t)test_random()
                                       : (uint64_t)(int32_t)test_random();
    uint64_t offset = offset_of(trial, state, segment, trial->target) - displacement;
    if (index != SP)
        offset -= state->gpr[index] << scale;
    set_part(state, base, trial->address_bytes, offset);
    if (rex)
        *rex |= (uint8_t)(base >> 3 | index >> 3 << 1);
    append(trial, mod << 6 | (reg & 7) << 3 | (sib ? 4 : base & 7), 1);
    if (sib)
        append(trial, scale << 6 | (index & 7) << 3 | (base & 7), 1);
    append(trial, displacement, mod == 2 ? 4 : mod);
}

/* ---- Prefixes and immediates ----------------------------------------------------------------- */

static const uint8_t segment_prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};

static void choose_sizes(struct trial *trial, bool prefix_66, bool prefix_67, bool wide)
{
    unsigned code = trial->code_bytes;
    if (code == 8) {
        trial->operand_bytes = wide ? 8 : prefix_66 ? 2 : 4;
        trial->address_bytes = prefix_67 ? 4 : 8;
    } else {
        trial->operand_bytes = (code == 2) != prefix_66 ? 2 : 4;
        trial->address_bytes = (code == 2) != prefix_67 ? 2 : 4;
    }
}

/* The segment is NONE if none is named; CS is not, whose page could then be written. */
static void prefixes(struct trial *trial)
{
    const struct form *form = trial->form;
    bool prefix_66 = pick(4) == 0 && !(form->special & NO_66), prefix_67 = pick(5) == 0;
    bool wide = on_long(trial) && pick(2);
    choose_sizes(trial, prefix_66, prefix_67, wide);
    trial->segment = NONE;
    if (pick(6) == 0) {
        unsigned named = (unsigned[]){VCPU_ES, VCPU_SS, VCPU_DS, VCPU_FS, VCPU_GS}[pick(5)];
        append(trial, segment_prefixes[named], 1);
        if (!on_long(trial) || named >= VCPU_FS)
            trial->segment = named;
    }
    if (prefix_66)
        append(trial, 0x66, 1);
    if (prefix_67)
        append(trial, 0x67, 1);
    trial->lock =
        form->special & LOCKED_ILLEGAL ? pick(32) == 0 : (form->special & LOCKABLE) && pick(4) == 0;
    if (trial->lock)
        append(trial, 0xf0, 1);
    if ((form->special & STRING) && pick(4)) {
        trial->repeat = true;
        append(trial, (form->special & REPEATS_IF) && pick(2) ? 0xf2 : 0xf3, 1);
    }
    if (form->prefix)
        append(trial, form->prefix, 1);
    if (wide || (on_long(trial) && pick(3)))
        append(trial, wide ? 0x48 : 0x40, 1);
}

static uint8_t *rex_of(struct trial *trial)
{
    uint8_t *last = trial->length ? &trial->bytes[trial->length - 1] : NULL;
    return on_long(trial) && last && (*last & 0xf0) == 0x40 ? last : NULL;
}

static void immediate(struct trial *trial)
{
    uint64_t value = test_random() ^ test_random() << 32;
    switch (trial->form->immediate) {
    case IMMEDIATE_BYTE: append(trial, value, 1); break;
    case IMMEDIATE_WORD: append(trial, value & 0xfc, 2); break;
    case IMMEDIATE_FULL: append(trial, value, trial->operand_bytes == 2 ? 2 : 4); break;
    case IMMEDIATE_FRAME:
        append(trial, value & 0x1ff, 2);
        append(trial, pick(2) ? 0 : pick(8), 1);
        break;
    }
}

/* ---- What some forms want -------------------------------------------------------------------- */

static uint8_t *window_at(uint8_t *memory, const struct trial *trial, uint64_t linear)
{
    static const uint8_t order[] = {2, 0, 3, 1, 4};
    uint64_t page = (linear - WINDOW) / 4096;
    if (linear - WINDOW >= WINDOW_BYTES)
        return NULL;
    return memory + WINDOW + (trial->paged ? order[page] : page) * 4096 + linear % 4096;
}

/* Into the operand, in the guest's memory and in the copy. */
static void put(const struct trial *trial, uint64_t linear, uint64_t value, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t *at = window_at(machine.memory, trial, linear + i);
        uint8_t byte = (uint8_t)(value >> 8 * i);
        if (at) {
            *at = byte;
            *window_at(copy, trial, linear + i) = byte;
        }
    }
}

static uint64_t random_selector(void)
{
    return pick(6) == 0 ? pick(4) : (pick(DESCRIPTOR_COUNT) << 3 | pick(2) << 2 | pick(4)) & 0xff;
}

/* Of an outer level only for returns. */
static uint64_t far_selector(const struct trial *trial)
{
    unsigned levels = trial->form->special & NO_MODRM ? 4 : trial->level + 1;
    if (trial->mode <= MODE_VIRTUAL_8086)
        return CODE >> 4;
    return (random_selector() & ~3ull) | (pick(4) ? trial->level : pick(levels));
}

/* What a return takes behind its address: IRET flags, then a stack, for an outer level or in 64-bit code. */
static void put_rest(const struct trial *trial, uint64_t at)
{
    const uint64_t flags = 0x243ed5; /* no traps, tasks and virtual-8086 mode */
    unsigned size_bytes = trial->operand_bytes;
    if (trial->form->opcode == 0xcf) {
        put(trial, at, test_random() & flags, size_bytes);
        at += size_bytes;
    }
    put(trial, at, WINDOW + pick(WINDOW_BYTES), size_bytes);
    put(trial, at + size_bytes, (random_selector() & ~3ull) | pick(4), 2);
}

static uint64_t landing(const struct trial *trial)
{
    return (trial->code_bytes == 2 ? 0 : CODE) + 0x40 + pick(0xe00);
}

static uint64_t stack_linear(const struct trial *trial, const struct vcpu_state *state)
{
    const struct vcpu_segment *stack = &state->segment[VCPU_SS];
    if (on_long(trial))
        return state->gpr[SP];
    return (stack->base + (state->gpr[SP] & mask_of(stack->attributes & 1u << 14 ? 4 : 2))) &
           0xffffffff;
}

static void fill_operand(const struct trial *trial, const struct vcpu_state *state)
{
    unsigned size_bytes = trial->operand_bytes, special = trial->form->special;
    uint64_t target = trial->target;
    put(trial, target, test_random() ^ test_random() << 32, 8);
    if (special & BRANCHES) {
        if (special & NO_MODRM)
            target = stack_linear(trial, state);
        put(trial, target, landing(trial), on_long(trial) ? 8 : size_bytes);
        if (special & FAR)
            put(trial, target + size_bytes, far_selector(trial), 2);
        if ((special & FAR) && (special & NO_MODRM) && trial->form->opcode != 0xca)
            put_rest(trial, target + 2 * size_bytes);
    }
    if ((special & COMPARES) && pick(2))
        put(trial, target, state->gpr[AX], 8);
    if ((special & WIDE) && pick(2)) {
        unsigned half = on_long(trial) && size_bytes == 8 ? 8 : 4;
        put(trial, target, state->gpr[AX], half);
        put(trial, target + half, state->gpr[2], half);
    }
    if ((special & FAR) && !(special & BRANCHES))
        put(trial, target + size_bytes, random_selector(), 2);
    if ((special & SELECTOR) && !(special & NO_MODRM))
        put(trial, target, random_selector(), 2);
    if (special & SELECTOR && special & NO_MODRM)
        put(trial, stack_linear(trial, state), random_selector(), 2);
    if (trial->form->group == GROUP_MULTIPLY && pick(3) == 0)
        put(trial, target, pick(3), size_bytes);
}

static void set_stack(struct trial *trial, struct vcpu_state *state)
{
    unsigned address_bytes = trial->address_bytes;
    uint64_t at = WINDOW + STACK_AT + pick(1024), offset;
    bool big = state->segment[VCPU_SS].attributes & 1u << 14;
    if (pick(8) == 0)
        at = WINDOW + 4096 * (1 + pick(3)) - 16 + pick(32);
    trial->address_bytes = on_long(trial) ? 8 : big ? 4 : 2;
    offset = offset_of(trial, state, VCPU_SS, at);
    set_part(state, SP, trial->address_bytes, offset);
    if (trial->form->special & FRAME)
        set_part(state, BP, trial->address_bytes, offset - 256 + pick(512));
    trial->address_bytes = address_bytes;
}

static void build_string(struct trial *trial, struct vcpu_state *state)
{
    unsigned size = trial->address_bytes,
             segment = trial->segment == NONE ? (unsigned)VCPU_DS : trial->segment;
    unsigned count = trial->count = pick(8) == 0 ? pick(400) : pick(24);
    set_part(state, CX, size, count);
    set_part(state, SI, size, offset_of(trial, state, segment, trial->target));
    trial->target = choose_target(trial);
    maybe_wild(trial);
    set_part(state, DI, size, offset_of(trial, state, VCPU_ES, trial->target));
    if ((trial->form->special & REPEATS_IF) && pick(2))
        for (unsigned i = 0; i < 16; i++) /* something that is equal for a while */
            put(trial, trial->target + i * trial->operand_bytes, state->gpr[AX],
                trial->operand_bytes);
}

static void build_special(struct trial *trial, struct vcpu_state *state)
{
    unsigned special = trial->form->special;
    unsigned segment = trial->segment == NONE ? (unsigned)VCPU_DS : trial->segment;
    uint64_t offset;
    if (special & STRING)
        build_string(trial, state);
    if (!(special & (TABLE_BYTE | OFFSET)))
        return;
    offset = offset_of(trial, state, segment, trial->target);
    if (special & TABLE_BYTE)
        set_part(state, BX, trial->address_bytes, offset - (state->gpr[AX] & 0xff));
    else
        append(trial, offset, trial->address_bytes);
}

static void bit_number(const struct trial *trial, struct vcpu_state *state, unsigned reg)
{
    set_part(state, reg, trial->operand_bytes, pick(4096) - 2048ull);
}

static void opcode_and_operand(struct trial *trial, struct vcpu_state *state)
{
    const struct form *form = trial->form;
    uint8_t *rex = rex_of(trial);
    unsigned reg = form->extension >= 0 ? (unsigned)form->extension : pick(rex ? 16 : 8);
    if (form->extension < 0 && (form->special & BIT_NUMBER)) {
        reg = trial->address_bytes == 2 ? 2 : reg == SP ? 2 : reg;
        bit_number(trial, state, reg);
    }
    if (rex && form->extension < 0 && reg >= 8)
        *rex |= 4;
    if (form->opcode >> 8)
        append(trial, 0x0f, 1);
    if (form->opcode >> 8 == 0x38)
        append(trial, 0x38, 1);
    append(trial, form->opcode & 0xff, 1);
    if (form->special & NO_MODRM)
        build_special(trial, state);
    else if (trial->address_bytes == 2)
        operand_16(trial, state, reg);
    else
        operand(trial, state, reg, rex);
}

/* Where the instruction stands: sometimes across two pages. */
static void place_code(struct trial *trial, struct vcpu_state *state)
{
    unsigned offset = pick(8) == 0 ? 4096 - pick(trial->length + 1) : 0x1100 + pick(0xe00);
    state->rip = (trial->code_bytes == 2 ? 0 : CODE) + offset;
    trial->linear = CODE + offset;
    both_write(trial->linear, trial->bytes, trial->length);
}

void build(struct trial *trial, struct vcpu_state *state)
{
    random_registers(trial, state);
    trial->target = choose_target(trial);
    maybe_wild(trial);
    prefixes(trial);
    set_stack(trial, state);
    opcode_and_operand(trial, state);
    immediate(trial);
    fill_operand(trial, state);
    place_code(trial, state);
}
