/*
 * The instruction executor against the processor of the host: each form runs natively, from a random state on random
 * bytes, and in software on a copy. In 64-bit code, and by way of code segments of the local descriptor table in 32 and
 * 16-bit code.
 * links: tests/unit/execute_world.c tests/unit/execute_native.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        zydis
 */
#include "unit_test.h"

#include "execute_native.h"
#include "execute_world.h"

#include <stdbool.h>

#define CASES 200u /* for each form and mode */

/* ---- Forms ----------------------------------------------------------------------------------- */

enum immediate { NO_IMMEDIATE, BYTE, FULL };
enum special {
    PLAIN,
    BIT_NUMBER = 1, /* the register is a bit's number, also beyond the operand */
    STACK = 2,      /* uses RSP */
    BRANCH = 4,     /* the operand is LANDING's address */
    LONG_ONLY = 8,  /* 64-bit code only */
    FLAT = 16,      /* not in 16-bit code, whose stack we do not set up */
    WIDE = 32,      /* 8 or 16 bytes, the latter aligned */
    COMPARE = 64,   /* every other time the operand is what the accumulator has */
};

struct form {
    const char *name;
    int opcode;    /* 0x0fxx: two bytes */
    int extension; /* -1: a register in ModRM */
    enum immediate immediate;
    bool lockable;
    int special;
};

struct chosen {
    unsigned mode, address_bytes, operand_bytes, length, base, index, reg;
    uint64_t target; /* linear address of the operand */
};

static unsigned pick(unsigned below)
{
    return (unsigned)(unit_random() % below);
}

/* Random registers; those of the address are then made to fit. */
static void random_state(void)
{
    for (unsigned i = 0; i < 16; i++) {
        native->in[i] = unit_random();
        if (pick(4) == 0)
            native->in[i] &= 0xff;
    }
    for (unsigned i = 0; i < WINDOW_BYTES; i += 8) {
        uint64_t value = pick(3) ? unit_random() : native->in[0];
        memcpy((uint8_t *)WINDOW_LINEAR + i, &value, 8);
    }
    native->flags_in = 0x202 | (unit_random() & 0xcd5);
}

static void choose_target(struct chosen *c, const struct form *form)
{
    unsigned offset = 512 + pick(WINDOW_BYTES - 1024);
    if (pick(4) == 0)
        offset = 4096 - pick(9);
    if (form->special & WIDE)
        offset &= ~15u;
    c->target = WINDOW_LINEAR + offset;
}

/* The operand's address as the mode's offset: of the data segment in 16-bit code. */
static uint64_t target_offset(const struct chosen *c)
{
    return c->mode == 2 ? c->target - WINDOW_LINEAR : c->target;
}

static uint8_t *add_bytes(uint8_t *at, uint64_t value, unsigned count)
{
    memcpy(at, &value, count);
    return at + count;
}

/* Makes register `number` hold value in its low address_bytes, the rest random. */
static void set_address_register(const struct chosen *c, unsigned number, uint64_t value)
{
    uint64_t mask = c->address_bytes == 8 ? ~0ull : (1ull << c->address_bytes * 8) - 1;
    native->in[number] = (native->in[number] & ~mask) | (value & mask);
}

/* ModRM of a 16-bit address without BP, whose segment would be the stack's. */
static uint8_t *add_operand_16(struct chosen *c, uint8_t *at, unsigned reg)
{
    static const uint8_t forms[][3] = {{0, 3, 6}, {1, 3, 7}, {4, 6, 16}, {5, 7, 16}, {7, 3, 16}};
    const uint8_t *form = forms[pick(5)];
    unsigned displacement_bytes = pick(3);
    int16_t displacement = displacement_bytes == 0   ? 0
                           : displacement_bytes == 1 ? (int8_t)unit_random()
                                                     : (int16_t)unit_random();
    uint16_t rest = (uint16_t)(target_offset(c) - (uint64_t)displacement);
    if (pick(6) == 0) { /* the address alone */
        *at++ = (uint8_t)(6 | (reg & 7) << 3);
        return add_bytes(at, target_offset(c), 2);
    }
    if (form[2] < 16) {
        native->in[form[2]] = unit_random();
        rest -= (uint16_t)native->in[form[2]];
    }
    set_address_register(c, form[1], rest);
    c->base = form[1];
    c->index = form[2];
    *at++ = (uint8_t)(displacement_bytes << 6 | form[0] | (reg & 7) << 3);
    return add_bytes(at, (uint64_t)(int64_t)displacement, displacement_bytes);
}

/* ModRM, SIB and displacement with base and perhaps index. */
static uint8_t *add_operand(struct chosen *c, uint8_t *at, unsigned reg)
{
    unsigned base = c->base, index = c->index, mod = pick(3), scale = pick(4);
    bool sib = index != 4 || (base & 7) == 4;
    int64_t displacement = mod == 0 ? 0 : mod == 1 ? (int8_t)unit_random() : (int32_t)unit_random();
    if (mod == 0 && (base & 7) == 5)
        mod = 1;
    uint64_t value = target_offset(c) - (uint64_t)displacement;
    if (index != 4)
        value -= native->in[index] << scale;
    set_address_register(c, base, value);
    *at++ = (uint8_t)(mod << 6 | (reg & 7) << 3 | (sib ? 4 : base & 7));
    if (sib)
        *at++ = (uint8_t)(scale << 6 | (index & 7) << 3 | (base & 7));
    return add_bytes(at, (uint64_t)displacement, mod == 2 ? 4 : mod);
}

/* No register: [rip + displacement] in 64-bit code, else [displacement]. `behind`: what follows of the instruction. */
static uint8_t *add_operand_direct(struct chosen *c, uint8_t *at, unsigned reg, unsigned behind)
{
    uint64_t value = target_offset(c);
    *at++ = (uint8_t)(5 | (reg & 7) << 3);
    if (c->mode == 8)
        value -= (uint64_t)(uintptr_t)at + 4 + behind;
    return add_bytes(at, value, 4);
}

static bool registers_fit(const struct chosen *c, const struct form *form)
{
    if (c->base == c->index || c->base == 4 || (c->mode == 2 && c->base == 5))
        return false;
    if ((form->special & BIT_NUMBER) && c->address_bytes == 2)
        return c->reg < 3 || c->reg == 5; /* not of any 16-bit address */
    if (form->special & BIT_NUMBER)
        return c->reg != c->base && c->reg != c->index;
    return true;
}

static void choose_registers(struct chosen *c, const struct form *form)
{
    unsigned count = c->mode == 8 ? 16 : 8;
    do {
        c->base = pick(count);
        c->index = pick(2) ? pick(count) : 4; /* 4: none */
        c->reg = form->extension >= 0 ? (unsigned)form->extension : pick(count);
    } while (!registers_fit(c, form));
    if (form->special & BIT_NUMBER) {
        uint64_t mask = c->operand_bytes == 8 ? ~0ull : (1ull << c->operand_bytes * 8) - 1;
        uint64_t number = pick(4096) - 2048ull;
        native->in[c->reg] = (native->in[c->reg] & ~mask) | (number & mask);
    }
    if (form->special & STACK)
        native->in[4] = WINDOW_LINEAR + 256 + pick(8) * 8;
}

static unsigned immediate_bytes(const struct chosen *c, const struct form *form)
{
    if (form->immediate != FULL)
        return form->immediate == BYTE;
    return c->operand_bytes == 2 ? 2 : 4;
}

static uint8_t *add_prefixes(struct chosen *c, uint8_t *at, const struct form *form)
{
    bool prefix_66 = pick(4) == 0 && !(form->special & (BRANCH | STACK | WIDE));
    bool prefix_67 = c->mode != 4 && pick(5) == 0;
    bool rex_w = c->mode == 8 && pick(2);
    c->operand_bytes = rex_w ? 8 : (c->mode == 2) != prefix_66 ? 2 : 4;
    c->address_bytes = c->mode == 8 ? (prefix_67 ? 4 : 8) : (c->mode == 2) != prefix_67 ? 2 : 4;
    choose_registers(c, form);
    if (prefix_66)
        *at++ = 0x66;
    if (prefix_67)
        *at++ = 0x67;
    if (form->lockable && pick(4) == 0)
        *at++ = 0xf0;
    if (c->mode != 8 && pick(8) == 0)
        *at++ = 0x3e;
    bool high = c->base >= 8 || c->index >= 8 || (form->extension < 0 && c->reg >= 8);
    if (rex_w || high || (c->mode == 8 && pick(2)))
        *at++ = (uint8_t)(0x40 | rex_w << 3 | (form->extension < 0 && c->reg >= 8) << 2 |
                          (c->index >= 8) << 1 | (c->base >= 8));
    return at;
}

static void fill_operand(const struct chosen *c, const struct form *form)
{
    uint8_t *operand = (uint8_t *)(uintptr_t)c->target;
    uint64_t landing = CODE_LINEAR + LANDING;
    if (form->special & BRANCH)
        memcpy(operand, &landing, 8);
    if ((form->special & COMPARE) && pick(2))
        memcpy(operand, &native->in[0], 8);
    if ((form->special & WIDE) && pick(2)) {
        memcpy(operand, &native->in[0], 8);
        memcpy(operand + (c->operand_bytes == 8 ? 8 : 4), &native->in[2], 8);
    }
}

/* Builds one instruction at INSTRUCTION and the state in which it runs. */
static void build(struct chosen *c, const struct form *form)
{
    uint8_t *at = code + INSTRUCTION;
    random_state();
    choose_target(c, form);
    at = add_prefixes(c, at, form);
    if (form->opcode > 0xff)
        *at++ = 0x0f;
    *at++ = (uint8_t)form->opcode;
    if (c->address_bytes == 2)
        at = add_operand_16(c, at, c->reg);
    else if (pick(10) == 0)
        at = add_operand_direct(c, at, c->reg, immediate_bytes(c, form));
    else
        at = add_operand(c, at, c->reg);
    at = add_bytes(at, unit_random(), immediate_bytes(c, form));
    c->length = (unsigned)(at - (code + INSTRUCTION));
    fill_operand(c, form);
    native_way_out(c->mode, INSTRUCTION + c->length);
    native_way_out(c->mode, LANDING);
}

/* ---- Comparing ------------------------------------------------------------------------------- */

static void show(const struct chosen *c, const struct form *form)
{
    printf("# %s in %u-bit code, seed %llu:", form->name, c->mode * 8,
           (unsigned long long)unit_seed);
    for (unsigned i = 0; i < c->length; i++)
        printf(" %02x", code[INSTRUCTION + i]);
    printf(", operand at %llx\n", (unsigned long long)c->target);
    for (unsigned i = 0; i < 16; i++)
        printf("#   r%u %016llx: native %016llx, ours %016llx\n", i,
               (unsigned long long)native->in[i], (unsigned long long)native->out[i],
               (unsigned long long)world.state->gpr[i]);
    printf("#   flags %llx: native %llx, ours %llx; rip %llx, what %s\n",
           (unsigned long long)native->flags_in, (unsigned long long)native->flags_out,
           (unsigned long long)world.state->rflags, (unsigned long long)world.state->rip,
           world_what ? world_what : "");
}

/* Carry, parity, auxiliary, zero, sign, direction, overflow. */
#define FLAGS_COMPARED 0xcd5u

static bool same(const struct chosen *c, const struct form *form)
{
    uint64_t mask = c->mode == 8 ? ~0ull : 0xffffffff;
    uint64_t base = c->mode == 2 ? 0 : CODE_LINEAR;
    uint64_t next = base + (form->special & BRANCH ? LANDING : INSTRUCTION + c->length);
    bool equal = world.state->rip == next &&
                 ((world.state->rflags ^ native->flags_out) & FLAGS_COMPARED) == 0 &&
                 world_window_equals((const void *)WINDOW_LINEAR);
    for (unsigned i = 0; i < (c->mode == 8 ? 16u : 8u); i++)
        equal = equal && ((world.state->gpr[i] ^ native->out[i]) & mask) == 0;
    return equal;
}

static void compare(struct chosen *c, const struct form *form)
{
    unsigned offset = (unsigned)(c->target - WINDOW_LINEAR);
    if (c->mode != 8) {
        for (unsigned i = 0; i < 16; i++)
            native->in[i] &= 0xffffffff;
    }
    world_start(c->mode, code, (const void *)WINDOW_LINEAR);
    memcpy(world.state->gpr, native->in, sizeof native->in);
    world.state->rip = (c->mode == 2 ? 0 : CODE_LINEAR) + INSTRUCTION;
    world.state->rflags = native->flags_in;
    world_ram_is_device = pick(2);
    /* As after an exit on the operand's page, where that is one page and the only access. */
    if (pick(2) && offset % 4096 < 4096 - 16 && !(form->special & BIT_NUMBER)) {
        world.fault_access = VCPU_ACCESS_READ | VCPU_ACCESS_WRITE;
        world.fault_gpa = world_window_gpa(offset);
    }
    native_run(c->mode);
    enum execute_result result = world_execute();
    if (result == EXECUTE_UNKNOWN && (form->special & WIDE) && world_ram_is_device &&
        c->operand_bytes == 8)
        return; /* 16 bytes of a device: refused */
    if (result != EXECUTE_DONE || !same(c, form)) {
        show(c, form);
        EXPECT(result, EXECUTE_DONE);
        CHECK(same(c, form));
    }
}

static void run_form(const struct form *form)
{
    CHECK(native_start());
    for (unsigned mode = 8; mode >= 2; mode /= 2) {
        if ((mode != 8 && (form->special & LONG_ONLY)) || (mode == 2 && (form->special & FLAT)))
            continue;
        for (unsigned i = 0; i < CASES; i++) {
            struct chosen c = {.mode = mode};
            build(&c, form);
            compare(&c, form);
        }
    }
}

static void run_forms(const struct form *forms, size_t count)
{
    for (size_t i = 0; i < count; i++)
        run_form(&forms[i]);
}
#define RUN(forms) run_forms(forms, sizeof forms / sizeof *(forms))

TEST(execute_arithmetic,
     "add or adc sbb and sub xor cmp in all forms with memory, as the processor does them")
{
    static const char *const names[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};
    for (int i = 0; i < 8; i++) {
        bool writes = i != 7;
        const struct form forms[] = {
            {names[i], i * 8, -1, NO_IMMEDIATE, writes, 0},
            {names[i], i * 8 + 1, -1, NO_IMMEDIATE, writes, 0},
            {names[i], i * 8 + 2, -1, NO_IMMEDIATE, false, 0},
            {names[i], i * 8 + 3, -1, NO_IMMEDIATE, false, 0},
            {names[i], 0x80, i, BYTE, writes, 0},
            {names[i], 0x81, i, FULL, writes, 0},
            {names[i], 0x83, i, BYTE, writes, 0},
        };
        RUN(forms);
    }
}

TEST(execute_moves, "mov, movzx, movsx, movsxd, movnti, xchg, test, setcc, cmovcc")
{
    static const struct form forms[] = {
        {"mov", 0x88, -1, NO_IMMEDIATE, false, 0},
        {"mov", 0x89, -1, NO_IMMEDIATE, false, 0},
        {"mov", 0x8a, -1, NO_IMMEDIATE, false, 0},
        {"mov", 0x8b, -1, NO_IMMEDIATE, false, 0},
        {"mov", 0xc6, 0, BYTE, false, 0},
        {"mov", 0xc7, 0, FULL, false, 0},
        {"movzx", 0x0fb6, -1, NO_IMMEDIATE, false, 0},
        {"movzx", 0x0fb7, -1, NO_IMMEDIATE, false, 0},
        {"movsx", 0x0fbe, -1, NO_IMMEDIATE, false, 0},
        {"movsx", 0x0fbf, -1, NO_IMMEDIATE, false, 0},
        {"movsxd", 0x63, -1, NO_IMMEDIATE, false, LONG_ONLY},
        {"xchg", 0x86, -1, NO_IMMEDIATE, true, 0},
        {"xchg", 0x87, -1, NO_IMMEDIATE, true, 0},
        {"test", 0x84, -1, NO_IMMEDIATE, false, 0},
        {"test", 0x85, -1, NO_IMMEDIATE, false, 0},
        {"test", 0xf6, 0, BYTE, false, 0},
        {"test", 0xf7, 0, FULL, false, 0},
    };
    static const struct form movnti = {"movnti", 0x0fc3, -1, NO_IMMEDIATE, false, WIDE};
    RUN(forms);
    run_form(&movnti);
    for (int i = 0; i < 16; i++) {
        const struct form conditions[] = {
            {"setcc", 0x0f90 + i, 0, NO_IMMEDIATE, false, 0},
            {"cmovcc", 0x0f40 + i, -1, NO_IMMEDIATE, false, 0},
        };
        RUN(conditions);
    }
}

TEST(execute_shifts, "rol ror rcl rcr shl shr sal sar by one, by CL and by a constant")
{
    static const char *const names[] = {"rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar"};
    for (int i = 0; i < 8; i++) {
        const struct form forms[] = {
            {names[i], 0xc0, i, BYTE, false, 0},
            {names[i], 0xc1, i, BYTE, false, 0},
            {names[i], 0xd0, i, NO_IMMEDIATE, false, 0},
            {names[i], 0xd1, i, NO_IMMEDIATE, false, 0},
            {names[i], 0xd2, i, NO_IMMEDIATE, false, 0},
            {names[i], 0xd3, i, NO_IMMEDIATE, false, 0},
        };
        RUN(forms);
    }
}

TEST(execute_modifies, "inc dec not neg, bit tests, xadd, cmpxchg, cmpxchg8b, cmpxchg16b")
{
    static const struct form forms[] = {
        {"inc", 0xfe, 0, NO_IMMEDIATE, true, 0},
        {"inc", 0xff, 0, NO_IMMEDIATE, true, 0},
        {"dec", 0xfe, 1, NO_IMMEDIATE, true, 0},
        {"dec", 0xff, 1, NO_IMMEDIATE, true, 0},
        {"not", 0xf6, 2, NO_IMMEDIATE, true, 0},
        {"not", 0xf7, 2, NO_IMMEDIATE, true, 0},
        {"neg", 0xf6, 3, NO_IMMEDIATE, true, 0},
        {"neg", 0xf7, 3, NO_IMMEDIATE, true, 0},
        {"bt", 0x0fa3, -1, NO_IMMEDIATE, false, BIT_NUMBER},
        {"bts", 0x0fab, -1, NO_IMMEDIATE, true, BIT_NUMBER},
        {"btr", 0x0fb3, -1, NO_IMMEDIATE, true, BIT_NUMBER},
        {"btc", 0x0fbb, -1, NO_IMMEDIATE, true, BIT_NUMBER},
        {"bt", 0x0fba, 4, BYTE, false, 0},
        {"bts", 0x0fba, 5, BYTE, true, 0},
        {"btr", 0x0fba, 6, BYTE, true, 0},
        {"btc", 0x0fba, 7, BYTE, true, 0},
        {"xadd", 0x0fc0, -1, NO_IMMEDIATE, true, 0},
        {"xadd", 0x0fc1, -1, NO_IMMEDIATE, true, 0},
        {"cmpxchg", 0x0fb0, -1, NO_IMMEDIATE, true, COMPARE},
        {"cmpxchg", 0x0fb1, -1, NO_IMMEDIATE, true, COMPARE},
        {"cmpxchg8b", 0x0fc7, 1, NO_IMMEDIATE, true, WIDE},
    };
    RUN(forms);
}

TEST(execute_stack, "push, pop, call and jmp with an operand in memory")
{
    static const struct form forms[] = {
        {"push", 0xff, 6, NO_IMMEDIATE, false, STACK | FLAT},
        {"pop", 0x8f, 0, NO_IMMEDIATE, false, STACK | FLAT},
        {"call", 0xff, 2, NO_IMMEDIATE, false, STACK | BRANCH | FLAT},
        {"jmp", 0xff, 4, NO_IMMEDIATE, false, BRANCH | FLAT},
    };
    RUN(forms);
}

/* ---- String instructions --------------------------------------------------------------------- */

static void build_string(struct chosen *c, unsigned opcode)
{
    static const uint8_t repeats[] = {0, 0xf2, 0xf3};
    uint8_t *at = code + INSTRUCTION, repeat = repeats[pick(3)];
    bool prefix_66 = pick(4) == 0, prefix_67 = c->mode == 8 && pick(4) == 0;
    bool rex_w = c->mode == 8 && pick(2);
    uint64_t start = c->mode == 2 ? 0 : WINDOW_LINEAR;
    random_state();
    if (pick(2))
        memset((void *)WINDOW_LINEAR, (int)pick(2), WINDOW_BYTES);
    c->address_bytes = c->mode == 8 ? (prefix_67 ? 4 : 8) : c->mode;
    set_address_register(c, 6, start + 1024 + pick(WINDOW_BYTES - 2048));
    set_address_register(c, 7, start + 1024 + pick(WINDOW_BYTES - 2048));
    set_address_register(c, 1, pick(80));
    if (prefix_67 && (native->in[1] & 0xffffffff) == 0) {
        /* Whether the upper halves are then cleared differs between processors. */
        static const uint8_t registers[] = {1, 6, 7};
        for (unsigned i = 0; i < sizeof registers; i++)
            native->in[registers[i]] &= 0xffffffff;
    }
    native->flags_in ^= pick(2) << 10;
    if (prefix_66)
        *at++ = 0x66;
    if (prefix_67)
        *at++ = 0x67;
    if (repeat)
        *at++ = repeat;
    if (rex_w)
        *at++ = 0x48;
    *at++ = (uint8_t)opcode;
    c->length = (unsigned)(at - (code + INSTRUCTION));
    c->target = WINDOW_LINEAR + 4096 - 1; /* no hint of the exit's address */
    native_way_out(c->mode, INSTRUCTION + c->length);
}

TEST(execute_strings, "movs cmps stos lods scas, with and without repetition, both directions")
{
    static const uint8_t opcodes[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
    static const struct form string = {"string", 0, 0, NO_IMMEDIATE, false, 0};
    CHECK(native_start());
    for (unsigned i = 0; i < sizeof opcodes; i++) {
        for (unsigned mode = 8; mode >= 2; mode /= 2) {
            for (unsigned n = 0; n < 3 * CASES; n++) {
                struct chosen c = {.mode = mode};
                build_string(&c, opcodes[i]);
                compare(&c, &string);
            }
        }
    }
}
