/*
 * Instructions that are not executed here, but by the guest's own processor, on memory that stands for a device's: their
 * operands are read from the device into a scratch page, which the guest finds in the device's place for this one instruction;
 * what it has written there then goes to the device. The caller shows the pages, runs the guest's processor for one
 * instruction, and takes them away again (vcpu_step.c), while no other vCPU of the guest runs.
 *
 * State:    struct execute_step.
 * Features: what execute_operands.c finds the operands of, in RAM and devices alike, across pages. Every byte of a device
 *           is read at most once and written at most once, in the pieces that execution in software makes too; faults of segments
 *           and pages come before any of it. The instruction's own exceptions are the processor's.
 * Missing:  operands in more pages than the caller has scratch for; what is written to ROM. A gather or scatter of which one element
 *           faults has done none of the others, where a processor may have done those below it. What AVX-512 writes to a
 *           device under a mask that overlaps itself (a scatter) arrives as its last value, each time.
 * Spec:     Intel SDM volumes 1 to 3, June 2023.
 */
#include "cpu/execute_internal.h"

#include "string.h"

#define PAGE 4096u
#define WORD 8u

static bool is_accessed(const struct execute_piece *piece, unsigned at, unsigned count)
{
    uint64_t bytes = ((1ull << count) - 1) << at % 64;
    return piece->whole || (piece->bytes & bytes) == bytes;
}

/* How many bytes from `at` on go in one access: 8, 4, 2 or 1; 0: this byte is none of them. */
static unsigned unit_at(const struct execute_piece *piece, unsigned at)
{
    unsigned unit = WORD;
    while (unit && (unit > piece->size_bytes - at || !is_accessed(piece, at, unit)))
        unit /= 2;
    return unit;
}

static uint8_t *scratch_at(const struct execute_step *step, const struct execute_piece *piece,
                           unsigned at)
{
    return step->scratch + piece->page * PAGE + piece->gpa % PAGE + at;
}

static enum execute_result refuse(struct execution *x, const char *what)
{
    x->what = what;
    return EXECUTE_UNKNOWN;
}

/* ---- Before ------------------------------------------------------------------------------------ */

static enum execute_result fetch_code(struct execution *x, uint8_t code[INSTRUCTION_BYTES_MAX])
{
    uint64_t linear = x->state->rip, base = x->state->segment[VCPU_CS].base;
    if (x->code_bytes != 8)
        linear = (linear + base) & 0xffffffff;
    for (unsigned i = 0; i < x->in.length; i++)
        TRY(execute_fetch_page(x, (linear + i) & x->rip_mask, code + i, 1));
    return EXECUTE_DONE;
}

/* Notes what is a device's; RAM the processor finds by itself. */
static enum execute_result add_piece(struct execution *x, struct execute_step *step,
                                     struct execute_piece piece)
{
    struct execute_world *world = x->world;
    uint64_t gpa = piece.gpa & ~(uint64_t)(PAGE - 1);
    bool write = (piece.access & VCPU_ACCESS_WRITE) != 0;
    if (world->ram_at(world, piece.gpa, 1, write))
        return EXECUTE_DONE;
    if (write && world->ram_at(world, piece.gpa, 1, false))
        return refuse(x, "one that writes to ROM");
    while (piece.page < step->page_count && step->pages[piece.page].gpa != gpa)
        piece.page++;
    if (piece.page == step->page_limit || step->piece_count == EXECUTE_PIECES_MAX)
        return refuse(x, "one with operands in more pages of devices than are shown at once");
    if (piece.page == step->page_count)
        step->pages[step->page_count++] = (struct execute_step_page){.gpa = gpa};
    step->pages[piece.page].write |= write;
    step->pieces[step->piece_count++] = piece;
    return EXECUTE_DONE;
}

/* Translates what is accessed of an operand, page by page. */
static enum execute_result place(struct execution *x, struct execute_step *step,
                                 const struct execute_span *span)
{
    uint64_t linear;
    unsigned size;
    TRY(execute_linear(x, span->segment, span->offset, span->size_bytes, span->access, &linear));
    for (unsigned at = 0; at < span->size_bytes; at += size) {
        uint64_t here = (linear + at) & x->rip_mask;
        size = PAGE - here % PAGE;
        if (size > span->size_bytes - at)
            size = span->size_bytes - at;
        struct execute_piece piece = {
            .whole = span->size_bytes > 64, .size_bytes = (uint16_t)size, .access = span->access};
        if (!piece.whole)
            piece.bytes = span->bytes >> at & (size < 64 ? (1ull << size) - 1 : ~0ull);
        if (!piece.whole && !piece.bytes)
            continue;
        TRY(execute_gpa(x, NULL, here, span->access, &piece.gpa));
        TRY(add_piece(x, step, piece));
    }
    return EXECUTE_DONE;
}

static enum execute_result read_piece(struct execution *x, const struct execute_step *step,
                                      const struct execute_piece *piece)
{
    struct execute_world *world = x->world;
    for (unsigned at = 0, unit; at < piece->size_bytes; at += unit ? unit : 1) {
        uint64_t value;
        unit = unit_at(piece, at);
        if (!unit)
            continue;
        if (!world->memory_read(world, piece->gpa + at, unit, &value)) {
            x->what = "an address where nothing is";
            return EXECUTE_NOWHERE;
        }
        memcpy(scratch_at(step, piece, at), &value, unit);
    }
    return EXECUTE_DONE;
}

static enum execute_result prepare(struct execution *x, struct execute_step *step)
{
    uint8_t code[INSTRUCTION_BYTES_MAX];
    step->page_count = step->piece_count = 0;
    TRY(execute_fetch(x));
    TRY(fetch_code(x, code));
    TRY(execute_operands(x, code, step));
    for (unsigned i = 0; i < step->span_count; i++)
        TRY(place(x, step, &step->spans[i]));
    if (step->page_count == 0)
        return refuse(x, "one whose operands are not in device memory");
    memset(step->scratch, 0, step->page_count * PAGE);
    for (unsigned i = 0; i < step->piece_count; i++)
        if (step->pieces[i].access & VCPU_ACCESS_READ)
            TRY(read_piece(x, step, &step->pieces[i]));
    return EXECUTE_DONE;
}

enum execute_result execute_step_begin(struct execute_world *world, struct execute_step *step,
                                       uint64_t *event, uint32_t *changed, const char **what)
{
    struct execution x;
    execute_begin(&x, world);
    x.one_access = false;
    enum execute_result result = prepare(&x, step);
    *event = x.event;
    *changed = x.changed;
    *what = x.what;
    return result;
}

/* ---- Behind ------------------------------------------------------------------------------------ */

bool execute_step_end(struct execute_world *world, const struct execute_step *step)
{
    bool good = true;
    for (unsigned i = 0; i < step->piece_count; i++) {
        const struct execute_piece *piece = &step->pieces[i];
        if (!(piece->access & VCPU_ACCESS_WRITE))
            continue;
        for (unsigned at = 0, unit; at < piece->size_bytes && good; at += unit ? unit : 1) {
            uint64_t value = 0;
            unit = unit_at(piece, at);
            memcpy(&value, scratch_at(step, piece, at), unit);
            good = !unit || world->memory_write(world, piece->gpa + at, unit, value);
        }
    }
    return good;
}
