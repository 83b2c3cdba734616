/*
 * MOVS, STOS, LODS, CMPS, SCAS, INS and OUTS, with REP. The first element in a page goes the long way; those behind it in
 * the same pages and within their segments go as one run, RAM by its address and ports by one call.
 */
#include "cpu/execute_internal.h"

#include "string.h"

enum { AX = 0, CX = 1, DX = 2, SI = 6, DI = 7 };

/* After so many iterations the guest gets a chance to take an interrupt, as between any two on a processor. */
#define ITERATIONS_MAX 1024u

#define PAGE           4096u
#define PIECE_BYTES \
    512u /* through a copy of ours: a port's device sees nothing change under its hands */

enum { SOURCE, DESTINATION }; /* of execution.pages */

static unsigned operand_size(const struct execution *x)
{
    bool port = x->in.opcode >= 0x6c && x->in.opcode <= 0x6f;
    if (!(x->in.opcode & 1))
        return 1;
    return port && x->in.operand_bytes == 8 ? 4 : x->in.operand_bytes;
}

static enum execute_result element(struct execution *x, unsigned which, unsigned size_bytes,
                                   unsigned access, uint64_t *linear)
{
    unsigned segment = which == SOURCE ? x->in.segment : (unsigned)VCPU_ES;
    uint64_t offset = execute_register(x, which == SOURCE ? SI : DI, x->in.address_bytes);
    return execute_linear(x, segment, offset, size_bytes, access, linear);
}

static enum execute_result load(struct execution *x, unsigned which, unsigned size_bytes,
                                uint64_t *value)
{
    uint64_t linear;
    TRY(element(x, which, size_bytes, VCPU_ACCESS_READ, &linear));
    return execute_read(x, &x->pages[which], linear, size_bytes, value);
}

static enum execute_result store(struct execution *x, unsigned size_bytes, uint64_t value)
{
    uint64_t linear;
    TRY(element(x, DESTINATION, size_bytes, VCPU_ACCESS_WRITE, &linear));
    return execute_write(x, &x->pages[DESTINATION], linear, size_bytes, value);
}

static void advance(struct execution *x, unsigned number, unsigned size_bytes)
{
    uint64_t step = x->flags & RFLAGS_DF ? -(uint64_t)size_bytes : size_bytes;
    uint64_t value = x->state->gpr[number] + step;
    execute_set_register(x, number, x->in.address_bytes, value);
}

/* Faults of the source come before those of the destination, and its pages are marked first. */
static enum execute_result source_ready(struct execution *x, unsigned size_bytes)
{
    uint64_t linear, gpa;
    TRY(element(x, SOURCE, size_bytes, VCPU_ACCESS_READ, &linear));
    TRY(execute_gpa(x, &x->pages[SOURCE], linear, VCPU_ACCESS_READ, &gpa));
    if (linear % PAGE + size_bytes <= PAGE)
        return EXECUTE_DONE;
    linear = (linear | (PAGE - 1)) + 1; /* where a fault of the second page is */
    return execute_gpa(x, NULL, x->code_bytes == 8 ? linear : linear & 0xffffffff, VCPU_ACCESS_READ,
                       &gpa);
}

/* The far side of a destructive device read must be writable before the read is done. */
static enum execute_result destination_ready(struct execution *x, unsigned size_bytes)
{
    uint64_t linear, gpa;
    TRY(element(x, DESTINATION, size_bytes, VCPU_ACCESS_WRITE, &linear));
    if (linear % 4096 + size_bytes <= 4096)
        return execute_gpa(x, &x->pages[DESTINATION], linear, VCPU_ACCESS_WRITE, &gpa);
    return execute_probe_write(x, linear, size_bytes);
}

static enum execute_result no_port(struct execution *x)
{
    x->what = "a port where nothing is";
    return EXECUTE_NOWHERE;
}

static enum execute_result input(struct execution *x, unsigned size_bytes)
{
    uint16_t port = (uint16_t)x->state->gpr[DX];
    uint32_t value = 0;
    TRY(destination_ready(x, size_bytes));
    if (!x->world->port_read(x->world, port, size_bytes, &value))
        return no_port(x);
    TRY(store(x, size_bytes, value));
    advance(x, DI, size_bytes);
    return EXECUTE_DONE;
}

static enum execute_result output(struct execution *x, unsigned size_bytes)
{
    uint64_t value;
    TRY(load(x, SOURCE, size_bytes, &value));
    if (!x->world->port_write(x->world, (uint16_t)x->state->gpr[DX], size_bytes, (uint32_t)value))
        return no_port(x);
    advance(x, SI, size_bytes);
    return EXECUTE_DONE;
}

static enum execute_result move(struct execution *x, unsigned size_bytes)
{
    uint64_t value;
    TRY(source_ready(x, size_bytes));
    TRY(destination_ready(x, size_bytes));
    TRY(load(x, SOURCE, size_bytes, &value));
    TRY(store(x, size_bytes, value));
    advance(x, SI, size_bytes);
    advance(x, DI, size_bytes);
    return EXECUTE_DONE;
}

static enum execute_result compare(struct execution *x, unsigned size_bytes)
{
    bool scan = x->in.opcode >= 0xae;
    uint64_t a = execute_register(x, AX, size_bytes), b;
    if (!scan)
        TRY(load(x, SOURCE, size_bytes, &a));
    TRY(load(x, DESTINATION, size_bytes, &b));
    execute_operation(OPERATION_CMP, size_bytes, a, b, &x->flags);
    if (!scan)
        advance(x, SI, size_bytes);
    advance(x, DI, size_bytes);
    return EXECUTE_DONE;
}

static enum execute_result once(struct execution *x, unsigned size_bytes)
{
    uint64_t value;
    switch (x->in.opcode & ~1u) {
    case 0x6c: return input(x, size_bytes);
    case 0x6e: return output(x, size_bytes);
    case 0xa4: return move(x, size_bytes);
    case 0xa6:
    case 0xae: return compare(x, size_bytes);
    case 0xaa:
        TRY(store(x, size_bytes, execute_register(x, AX, size_bytes)));
        advance(x, DI, size_bytes);
        return EXECUTE_DONE;
    default: /* 0xac, LODS */
        TRY(load(x, SOURCE, size_bytes, &value));
        execute_set_register(x, AX, size_bytes, value);
        advance(x, SI, size_bytes);
        return EXECUTE_DONE;
    }
}

/* ---- Runs ------------------------------------------------------------------------------------ */

/* One side of a run: in RAM, or a device's memory. */
struct side {
    uint8_t *ram;
    uint64_t gpa;
};

/* How many elements, at most `count`, lie in the page that is known for this side and within its segment. */
static unsigned in_page(struct execution *x, unsigned which, unsigned size_bytes, unsigned count,
                        struct side *side)
{
    const struct execute_page *page = &x->pages[which];
    unsigned access = which == SOURCE ? VCPU_ACCESS_READ : VCPU_ACCESS_WRITE, room;
    unsigned segment = which == SOURCE ? x->in.segment : (unsigned)VCPU_ES;
    uint64_t offset = execute_register(x, which == SOURCE ? SI : DI, x->in.address_bytes);
    uint64_t event = x->event, linear;
    if (!(page->access & access) || execute_mask(x->in.address_bytes) - offset < PAGE)
        return 0;
    if (execute_linear(x, segment, offset, size_bytes, access, &linear) != EXECUTE_DONE) {
        x->event = event; /* the long way raises it */
        return 0;
    }
    if (page->linear != linear / PAGE)
        return 0;
    room = (PAGE - (unsigned)(linear % PAGE)) / size_bytes;
    count = room < count ? room : count;
    if (count == 0 ||
        execute_linear(x, segment, offset, size_bytes * count, access, &linear) != EXECUTE_DONE) {
        x->event = event;
        return 0;
    }
    side->gpa = page->gpa | linear % PAGE;
    side->ram = x->world->ram_at(x->world, side->gpa, size_bytes * count, which == DESTINATION);
    return count;
}

static bool load_from(struct execution *x, const struct side *side, unsigned index,
                      unsigned size_bytes, uint64_t *value)
{
    *value = 0;
    if (!side->ram)
        return x->world->memory_read(x->world, side->gpa + index * size_bytes, size_bytes, value);
    memcpy(value, side->ram + index * size_bytes, size_bytes);
    return true;
}

static bool store_to(struct execution *x, const struct side *side, unsigned index,
                     unsigned size_bytes, uint64_t value)
{
    if (!side->ram)
        return x->world->memory_write(x->world, side->gpa + index * size_bytes, size_bytes, value);
    memcpy(side->ram + index * size_bytes, &value, size_bytes);
    return true;
}

/* MOVS, and STOS if there is no source; how many were done, in the order in which they overlap. */
static unsigned copy_run(struct execution *x, const struct side *from, const struct side *to,
                         unsigned size_bytes, unsigned count)
{
    uint64_t value = execute_register(x, AX, size_bytes);
    for (unsigned i = 0; i < count; i++)
        if ((from && !load_from(x, from, i, size_bytes, &value)) ||
            !store_to(x, to, i, size_bytes, value))
            return i;
    return count;
}

static unsigned port_run(struct execution *x, const struct side *ram, bool in, unsigned size_bytes,
                         unsigned count)
{
    struct execute_world *world = x->world;
    uint16_t port = (uint16_t)x->state->gpr[DX];
    uint8_t piece[PIECE_BYTES];
    unsigned done;
    if (count > PIECE_BYTES / size_bytes)
        count = PIECE_BYTES / size_bytes;
    if (in) {
        done = world->port_read_string(world, port, size_bytes, piece, count);
        done = done < count ? done : count;
        memcpy(ram->ram, piece, done * size_bytes);
        return done;
    }
    memcpy(piece, ram->ram, count * size_bytes);
    done = world->port_write_string(world, port, size_bytes, piece, count);
    return done < count ? done : count;
}

/* At most `count` elements at once; 0: none, they go the long way. */
static unsigned run(struct execution *x, unsigned size_bytes, unsigned count)
{
    unsigned opcode = x->in.opcode & ~1u;
    bool from_memory = opcode == 0xa4 || opcode == 0x6e, to_memory = opcode != 0x6e;
    bool port = opcode == 0x6c || opcode == 0x6e;
    struct side from, to;
    if ((x->flags & RFLAGS_DF) || (opcode != 0xa4 && opcode != 0xaa && !port))
        return 0;
    if (from_memory)
        count = in_page(x, SOURCE, size_bytes, count, &from);
    if (to_memory && count)
        count = in_page(x, DESTINATION, size_bytes, count, &to);
    if (count == 0)
        return 0;
    if (!port) {
        count = copy_run(x, from_memory ? &from : NULL, &to, size_bytes, count);
    } else {
        const struct side *side = to_memory ? &to : &from;
        if (!side->ram ||
            !(to_memory ? (void *)x->world->port_read_string : (void *)x->world->port_write_string))
            return 0;
        count = port_run(x, side, to_memory, size_bytes, count);
    }
    if (from_memory)
        advance(x, SI, size_bytes * count);
    if (to_memory)
        advance(x, DI, size_bytes * count);
    return count;
}

/* ---- The whole ------------------------------------------------------------------------------- */

/* Elements that were done stay done when one faults, RIP still at the instruction. */
enum execute_result execute_string(struct execution *x)
{
    unsigned size_bytes = operand_size(x), opcode = x->in.opcode & ~1u, done;
    bool conditional = opcode == 0xa6 || opcode == 0xae;
    unsigned count_bytes = x->in.address_bytes;
    if (!x->in.repeat)
        return once(x, size_bytes);
    for (unsigned budget = ITERATIONS_MAX; budget; budget -= done) {
        uint64_t left = execute_register(x, CX, count_bytes);
        if (left == 0)
            return EXECUTE_DONE;
        done = run(x, size_bytes, left < budget ? (unsigned)left : budget);
        if (done == 0) {
            TRY(once(x, size_bytes));
            done = 1;
        }
        execute_set_register(x, CX, count_bytes, left - done);
        if (left == done)
            return EXECUTE_DONE;
        if (conditional && ((x->flags & RFLAGS_ZF) != 0) != (x->in.repeat == REPEAT_EQUAL))
            return EXECUTE_DONE;
    }
    x->next_rip = x->state->rip;
    return EXECUTE_DONE;
}
