/*
 * Runs each case on a vCPU and by the executor, and compares. Words of the command line: cases=N, seed=N.
 */
#include "compare.h"

#define HLT              0xf4
#define GROUPS           (VCPU_GROUP_RIP | VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS | VCPU_GROUP_TABLES)
#define MISMATCHES_SHOWN 60u
#define ENOUGH           1000u /* cases of each group, if there are 100,000 in all */

enum { CF = 1, PF = 4, AF = 16, ZF = 64, SF = 128, OF = 2048 };
#define FLAGS_KEPT (~(uint64_t)(1 << 16)) /* RF is not compared */

static struct {
    uint64_t cases, faults, repeats, locks;
} totals[GROUP_COUNT];
static uint64_t by_mode[MODE_COUNT], left_out;
static unsigned mismatches;
static struct vcpu_state soft;                /* the executor's state */
static uint8_t soft_vectors[sizeof soft.fpu]; /* those of the vCPU that it stands for */
static struct execute_world world;
static bool window_is_device;

/* ---- The executor's world -------------------------------------------------------------------- */

static bool memory_read(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t *value)
{
    (void)w;
    *value = 0;
    if (gpa > sizeof copy - size)
        return false;
    memcpy(value, copy + gpa, size);
    return true;
}

static bool memory_write(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t value)
{
    (void)w;
    if (gpa > sizeof copy - size)
        return false;
    memcpy(copy + gpa, &value, size);
    return true;
}

/* Every other time the window looks like a device's memory. */
static void *ram_at(struct execute_world *w, uint64_t gpa, unsigned size, bool write)
{
    (void)w, (void)write;
    if (gpa > sizeof copy - size || (window_is_device && gpa >= WINDOW))
        return NULL;
    return copy + gpa;
}

/* The processor's, from leaf 80000008. */
static unsigned physical_bits(void)
{
    uint32_t a = 0x80000008, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return a & 0xff;
}

/* What is not given back has not happened. */
static bool vectors(struct execute_world *w, bool back)
{
    (void)w;
    memcpy(back ? soft_vectors : soft.fpu, back ? soft.fpu : soft_vectors, sizeof soft_vectors);
    return true;
}

static struct outcome run_soft(void)
{
    uint64_t event = 0;
    uint32_t changed = 0;
    const char *what = NULL;
    world.state = &soft;
    window_is_device = pick(2);
    switch (execute_instruction(&world, &event, &changed, &what)) {
    case EXECUTE_DONE: return (struct outcome){.kind = DONE};
    case EXECUTE_FAULT:
        return (struct outcome){.kind = FAULT,
                                .vector = event & 0xff,
                                .error = event & VCPU_EVENT_HAS_ERROR ? event >> 32 : 0,
                                .cr2 = soft.cr2};
    case EXECUTE_UNKNOWN: return (struct outcome){.kind = UNKNOWN};
    case EXECUTE_NOWHERE: break;
    }
    return (struct outcome){.kind = NOWHERE};
}

/* ---- The vCPU -------------------------------------------------------------------------------- */

static struct outcome run_hard(const struct trial *trial)
{
    const struct vcpu_state *state = vm_state(&machine);
    uint64_t start = state->rip;
    struct message exit = vm_run(&machine, 0, 0, GROUPS, 0, far_deadline());
    if (exit.status != STATUS_OK)
        test_fail(__FILE__, __LINE__, "%s in mode %s: status %s, w0 0x%lx, rule %s",
                  trial->form->name, mode_names[trial->mode], status_name(exit.status), exit.w[0],
                  state->failed_rule);
    switch (vm_exit_reason(&exit)) {
    case EXIT_HLT: return (struct outcome){.kind = DONE};
    case EXIT_EXCEPTION: {
        uint64_t linear = state->segment[VCPU_CS].base + state->rip;
        struct outcome outcome = {
            .kind = FAULT, .vector = exit.w[0] & 0xff, .error = exit.w[0] >> 32, .cr2 = exit.w[1]};
        /* It went somewhere: to HLT, which is not for programs, or to where there is no code. */
        if (state->rip != start && ((outcome.vector == 13 && linear - CODE < CODE_BYTES &&
                                     machine.memory[linear] == HLT) ||
                                    (outcome.vector == 14 && outcome.cr2 == linear)))
            outcome.kind = DONE;
        return outcome;
    }
    case EXIT_GUEST_FAULT: return (struct outcome){.kind = NOWHERE};
    default: return (struct outcome){.kind = UNKNOWN, .vector = vm_exit_reason(&exit)};
    }
}

/* ---- Comparing ------------------------------------------------------------------------------- */

static unsigned shift_count(const struct trial *trial, uint64_t cl)
{
    unsigned count = 1;
    if (trial->form->immediate == IMMEDIATE_BYTE)
        count = trial->bytes[trial->length - 1];
    else if (trial->form->opcode != 0xd0 && trial->form->opcode != 0xd1)
        count = cl & 0xff;
    return count &
           (trial->operand_bytes == 8 && (trial->form->opcode & 1 || trial->form->opcode > 0xff)
                ? 63
                : 31);
}

static uint64_t undefined_flags(const struct trial *trial, uint64_t cl)
{
    const struct form *form = trial->form;
    unsigned count = shift_count(trial, cl);
    unsigned bits = form->opcode & 1 || form->opcode > 0xff ? trial->operand_bytes * 8 : 8;
    if (form->opcode == 0x0fa4 || form->opcode == 0x0fac)
        bits = trial->operand_bytes * 8;
    switch (form->undefined) {
    case UNDEFINED_AF: return AF;
    case UNDEFINED_SHIFT:
        return count == 0
                   ? 0
                   : AF | (count > 1 ? OF : 0) | (count >= bits && form->extension != 7 ? CF : 0);
    case UNDEFINED_ROTATE: return count == 1 ? 0 : OF;
    case UNDEFINED_DOUBLE:
        return count == 0     ? 0
               : count > bits ? OF | SF | ZF | AF | PF | CF
                              : (uint64_t)(AF | (count > 1 ? OF : 0));
    case UNDEFINED_BIT: return OF | SF | AF | PF;
    case UNDEFINED_MULTIPLY: return SF | ZF | AF | PF;
    case UNDEFINED_DIVIDE: return OF | SF | ZF | AF | PF | CF;
    case UNDEFINED_SCAN: return OF | SF | AF | PF | CF;
    case UNDEFINED_COUNT: return OF | SF | AF | PF;
    }
    return 0;
}

/* With what a far branch changes of CS: its type, and the size of code. */
static bool segment_equal(const struct trial *trial, const struct vcpu_state *hard, unsigned which)
{
    const struct vcpu_segment *a = &hard->segment[which], *b = &soft.segment[which];
    bool usable = !(a->attributes & VCPU_SEGMENT_UNUSABLE);
    bool may_be_null = which == VCPU_LDTR || /* SS: in 64-bit code, to which RET leads, too */
                       (which == VCPU_SS && trial->mode >= MODE_COMPATIBILITY_16);
    if (may_be_null && !(a->selector & ~3u)) /* then what else it has means nothing */
        return a->selector == b->selector;
    if (a->selector != b->selector || usable != !(b->attributes & VCPU_SEGMENT_UNUSABLE))
        return false;
    if (which == VCPU_CS && (a->attributes ^ b->attributes) & 0x60fe)
        return false;
    return !usable || (a->base == b->base && (on_long(trial) || a->limit == b->limit));
}

static bool segments_equal(const struct trial *trial, const struct vcpu_state *hard)
{
    for (unsigned i = VCPU_ES; i <= VCPU_GS; i++)
        if (!segment_equal(trial, hard, i))
            return false;
    if ((trial->form->special & SYSTEM) &&
        !(segment_equal(trial, hard, VCPU_LDTR) && segment_equal(trial, hard, VCPU_TR)))
        return false;
    return hard->gdtr.base == soft.gdtr.base && hard->gdtr.limit == soft.gdtr.limit &&
           hard->idtr.base == soft.idtr.base && hard->idtr.limit == soft.idtr.limit;
}

/* The result of a scan without a bit, and of a double shift by more than there is, is undefined. */
static bool result_undefined(const struct trial *trial, uint64_t cl)
{
    return (trial->form->undefined == UNDEFINED_SCAN && (soft.rflags & ZF)) ||
           (trial->form->undefined == UNDEFINED_DOUBLE &&
            shift_count(trial, cl) > trial->operand_bytes * 8);
}

/* NULL: all is the same; else what is not. */
static const char *difference(const struct trial *trial, const struct vcpu_state *hard,
                              const struct outcome *of_hard, const struct outcome *of_soft,
                              uint64_t cl)
{
    uint64_t mask = on_long(trial) ? ~0ull : 0xffffffff;
    uint64_t rights = trial->form->undefined == UNDEFINED_RIGHTS ? 0xf0000 : 0;
    uint64_t flags = (hard->rflags ^ soft.rflags) & FLAGS_KEPT;
    if (of_hard->kind != of_soft->kind)
        return "outcome";
    if (of_hard->kind == FAULT &&
        (of_hard->vector != of_soft->vector || of_hard->error != of_soft->error))
        return "fault";
    if (of_hard->kind == FAULT && of_hard->vector == 14 && of_hard->cr2 != of_soft->cr2)
        return "address of the page fault";
    if (hard->rip != soft.rip)
        return "rip";
    if (flags & ~(of_hard->kind == DONE ? undefined_flags(trial, cl) : 0))
        return "flags";
    if (of_hard->kind == DONE && result_undefined(trial, cl))
        return NULL;
    for (unsigned i = 0; i < (on_long(trial) ? 16u : 8u); i++)
        if ((hard->gpr[i] ^ soft.gpr[i]) & mask & ~rights)
            return "registers";
    if (has_vectors(trial) && !vectors_equal(hard, &soft))
        return "vector registers";
    if (!segments_equal(trial, hard))
        return "segments or tables";
    return mode_memory_equal(trial, of_hard->kind == DONE) ? NULL : "memory";
}

static void show(const struct trial *trial, const struct vcpu_state *before,
                 const struct vcpu_state *hard, const struct outcome *of_hard,
                 const struct outcome *of_soft, const char *what)
{
    char bytes[64];
    bool details = mismatches < 8;
    for (unsigned i = 0; i < trial->length; i++)
        print_buffer(bytes + i * 3, 4, "%02x ", trial->bytes[i]);
    serial_print("EVENT difference in %s: %s in mode %s, level %u: %s; operand at 0x%lx\n", what,
                 trial->form->name, mode_names[trial->mode], trial->level, bytes, trial->target);
    serial_print(
        "EVENT   processor: %u vector %lu error 0x%lx cr2 0x%lx; executor: %u vector %lu error "
        "0x%lx cr2 0x%lx\n",
        of_hard->kind, of_hard->vector, of_hard->error, of_hard->cr2, of_soft->kind,
        of_soft->vector, of_soft->error, of_soft->cr2);
    serial_print("EVENT   rip 0x%lx: 0x%lx, 0x%lx; flags 0x%lx: 0x%lx, 0x%lx\n", before->rip,
                 hard->rip, soft.rip, before->rflags, hard->rflags, soft.rflags);
    for (unsigned i = 0; i < 16 && details; i++)
        if (hard->gpr[i] != before->gpr[i] || soft.gpr[i] != before->gpr[i])
            serial_print("EVENT   r%u 0x%lx: 0x%lx, 0x%lx\n", i, before->gpr[i], hard->gpr[i],
                         soft.gpr[i]);
    for (unsigned i = 0; i <= VCPU_GS && details; i++)
        serial_print("EVENT   segment %u %x base 0x%lx limit 0x%x attributes 0x%x: 0x%x 0x%lx 0x%x "
                     "0x%x, 0x%x 0x%lx 0x%x 0x%x\n",
                     i, before->segment[i].selector, before->segment[i].base,
                     before->segment[i].limit, before->segment[i].attributes,
                     hard->segment[i].selector, hard->segment[i].base, hard->segment[i].limit,
                     hard->segment[i].attributes, soft.segment[i].selector, soft.segment[i].base,
                     soft.segment[i].limit, soft.segment[i].attributes);
    if (has_vectors(trial) && details)
        vectors_show(before, hard, &soft);
    for (unsigned i = 0; i < sizeof copy && details; i++)
        if (copy[i] != machine.memory[i])
            serial_print("EVENT   memory at 0x%x: 0x%x, 0x%x\n", i, machine.memory[i], copy[i]);
}

/* ---- One case -------------------------------------------------------------------------------- */

static bool fits(const struct form *form, enum mode mode)
{
    if (form->special & LONG_ONLY)
        return mode == MODE_LONG;
    return !(form->special & NOT_LONG) || mode != MODE_LONG;
}

static void choose(struct trial *trial)
{
    unsigned group = pick(GROUP_COUNT);
    do {
        trial->form = &forms[pick(form_count)];
    } while (trial->form->group != group);
    do {
        trial->mode = pick(MODE_COUNT);
    } while (!fits(trial->form, trial->mode));
}

static void count(const struct trial *trial, const struct outcome *outcome)
{
    unsigned group = trial->form->group;
    totals[group].cases++;
    totals[group].faults += outcome->kind == FAULT;
    totals[group].repeats += trial->repeat;
    totals[group].locks += trial->lock;
    by_mode[trial->mode]++;
}

static void one_case(void)
{
    static struct vcpu_state before;
    struct vcpu_state *state = vm_state(&machine);
    const size_t known = offsetof(struct vcpu_state, star);
    uint8_t halts[sizeof(struct trial)];
    struct trial trial = {0};
    const char *what;

    choose(&trial);
    mode_enter(&trial, state);
    build(&trial, state);
    if (has_vectors(&trial)) {
        vectors_fill(state);
        memcpy(before.fpu, state->fpu, sizeof before.fpu);
        memcpy(soft_vectors, state->fpu, sizeof soft_vectors);
    }
    memcpy(&before, state, known);
    memcpy(&soft, state, known);
    struct outcome hard = run_hard(&trial), software = run_soft();
    if (has_vectors(&trial)) {
        vectors_take();
        memcpy(soft.fpu, soft_vectors, sizeof soft.fpu);
    }
    if (hard.kind == NOWHERE && software.kind == NOWHERE) {
        left_out++;
        memcpy(copy, machine.memory, sizeof copy);
    } else {
        count(&trial, &hard);
        what = difference(&trial, state, &hard, &software, before.gpr[1]);
        if (what && !known_difference(&trial, &hard, &software)) {
            if (mismatches < MISMATCHES_SHOWN)
                show(&trial, &before, state, &hard, &software, what);
            mismatches++;
        }
        if (what || result_undefined(&trial, before.gpr[1]))
            memcpy(copy, machine.memory, sizeof copy);
    }
    memset(halts, HLT, trial.length);
    both_write(trial.linear, halts, trial.length);
}

/* ---- The whole ------------------------------------------------------------------------------- */

static void set_up(void)
{
    vm_create(&machine, GUEST_PAGES);
    vm_real_mode(&machine, 0);
    struct vcpu_state *state = vm_state(&machine);
    for (unsigned i = 0; i < 64; i++)
        state->subscription[i] = GROUPS;
    state->exception_exits = 0xffffffff & ~(1u << 2 | 1u << 18);
    vm_write(&machine, VCPU_GROUP_POLICY);
    for (unsigned i = 0; i < WINDOW_BYTES + 4096; i++)
        machine.memory[WINDOW + i] = (uint8_t)test_random();
    memset(machine.memory + CODE, HLT, CODE_BYTES);
    memcpy(copy, machine.memory, sizeof copy);
    world = (struct execute_world){.memory_read = memory_read,
                                   .memory_write = memory_write,
                                   .ram_at = ram_at,
                                   .vectors = vectors,
                                   .physical_bits = physical_bits()};
}

TEST_VM(execute_compare, "random instructions from random states, as the processor runs them")
{
    uint64_t cases = option_number("cases", 20000);
    set_up();
    for (uint64_t i = 1; i <= cases; i++) {
        one_case();
        if (i % 1000 == 0)
            test_alive();
        if (i % 10000 == 0)
            serial_print("EVENT %lu cases\n", i);
    }
    for (unsigned i = 0; i < GROUP_COUNT; i++)
        serial_print("EVENT group %s: %lu cases, %lu faults, %lu REP, %lu LOCK\n", group_names[i],
                     totals[i].cases, totals[i].faults, totals[i].repeats, totals[i].locks);
    for (unsigned i = 0; i < MODE_COUNT; i++)
        serial_print("EVENT mode %s: %lu cases\n", mode_names[i], by_mode[i]);
    known_print();
    serial_print("EVENT left out, memory that is not there: %lu\n", left_out);
    for (unsigned i = 0; i < GROUP_COUNT && cases >= 100000; i++)
        EXPECT_BETWEEN(totals[i].cases, ENOUGH, cases);
    EXPECT_BETWEEN(left_out, 0, cases / 100);
    EXPECT(mismatches, 0);
}

/* The kernel's memory for our own vector registers, which the executor uses, comes with their first use, and stays. */
void program_start(const void *boot_info)
{
    __asm__ volatile("fnop");
    testing_run(boot_info);
}
