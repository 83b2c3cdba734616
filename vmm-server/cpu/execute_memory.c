/* Memory as an instruction sees it: effective addresses, segments, linear addresses, pages. */
#include "cpu/execute_internal.h"

#include "string.h"

#define PAGE 4096u

/* Segment attributes (struct vcpu_segment). */
enum {
    SEGMENT_WRITABLE = 1 << 1, /* data; code: readable */
    SEGMENT_DOWN = 1 << 2,     /* data: expand-down */
    SEGMENT_CODE = 1 << 3,
    SEGMENT_BIG = 1 << 14,
};

/* ---- Addresses ------------------------------------------------------------------------------- */

uint64_t execute_effective(const struct execution *x)
{
    const struct instruction *in = &x->in;
    uint64_t address = (uint64_t)in->displacement;
    if (in->base == REGISTER_RIP)
        address += x->next_rip;
    else if (in->base != REGISTER_NONE)
        address += x->state->gpr[in->base];
    if (in->index != REGISTER_NONE)
        address += x->state->gpr[in->index] << in->scale;
    return address & execute_mask(in->address_bytes);
}

bool execute_canonical(const struct execution *x, uint64_t address)
{
    unsigned unused = x->state->cr4 & CR4_LA57 ? 7 : 16;
    return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

/* SDM 1, 3.4 and 3A, 5.3: limits, expand-down segments, types. */
static bool segment_allows(const struct execution *x, const struct vcpu_segment *segment,
                           uint64_t offset, unsigned size_bytes, unsigned access)
{
    uint64_t last = offset + size_bytes - 1;
    uint32_t attributes = segment->attributes;
    bool checked = (x->state->cr0 & CR0_PE) && !(x->state->rflags & RFLAGS_VM);
    bool code = (attributes & SEGMENT_CODE) != 0;
    if (attributes & VCPU_SEGMENT_UNUSABLE)
        return false;
    if (checked && (access & VCPU_ACCESS_WRITE) && (code || !(attributes & SEGMENT_WRITABLE)))
        return false;
    if (checked && (access & VCPU_ACCESS_READ) && code && !(attributes & SEGMENT_WRITABLE))
        return false;
    if (!code && (attributes & SEGMENT_DOWN))
        return offset > segment->limit && last <= (attributes & SEGMENT_BIG ? 0xffffffff : 0xffff);
    return last <= segment->limit;
}

enum execute_result execute_linear(struct execution *x, unsigned segment, uint64_t offset,
                                   unsigned size_bytes, unsigned access, uint64_t *linear)
{
    const struct vcpu_segment *of = &x->state->segment[segment];
    enum exception fault = segment == VCPU_SS ? EXCEPTION_STACK : EXCEPTION_PROTECTION;
    if (x->code_bytes == 8) {
        if (segment == VCPU_FS || segment == VCPU_GS)
            execute_need(x->world, VCPU_GROUP_SEGMENTS);
        *linear = offset + (segment == VCPU_FS || segment == VCPU_GS ? of->base : 0);
        if (!execute_canonical(x, *linear) || !execute_canonical(x, *linear + size_bytes - 1))
            return execute_raise(x, fault);
        return EXECUTE_DONE;
    }
    if (!segment_allows(x, of, offset, size_bytes, access))
        return execute_raise(x, fault);
    *linear = (of->base + offset) & 0xffffffff;
    return EXECUTE_DONE;
}

/*
 * The processor has already walked for the access that made it exit. Its answer is used if it can only be that
 * access: same page by the linear address where the processor gave it, else same offset of an instruction with
 * one memory operand. A guest that changes its code or tables meanwhile gets an address that it had anyway.
 */
static bool known(const struct execution *x, uint64_t linear, unsigned access)
{
    const struct execute_world *world = x->world;
    unsigned needed = access & (VCPU_ACCESS_READ | VCPU_ACCESS_WRITE);
    if (!world->fault_access || (access & VCPU_ACCESS_EXECUTE) ||
        (world->fault_access & (VCPU_ACCESS_PAGE_WALK | VCPU_ACCESS_EXECUTE)))
        return false;
    if ((needed & VCPU_ACCESS_WRITE) && !(world->fault_access & VCPU_ACCESS_WRITE))
        return false;
    if (world->fault_access & VCPU_ACCESS_LINEAR)
        return x->state->guest_linear / PAGE == linear / PAGE;
    return x->one_access && (world->fault_gpa ^ linear) % PAGE == 0;
}

/* Where a linear address is, for an access inside one page. */
enum execute_result execute_gpa(struct execution *x, struct execute_page *page, uint64_t linear,
                                unsigned access, uint64_t *gpa)
{
    if (page && page->linear == linear / PAGE && (page->access & access) == access) {
        *gpa = page->gpa | linear % PAGE;
        return EXECUTE_DONE;
    }
    if (known(x, linear, access)) {
        *gpa = (x->world->fault_gpa & ~(uint64_t)(PAGE - 1)) | linear % PAGE;
    } else if (!execute_translate(x->world, linear, access | x->user, gpa, &x->event)) {
        x->what = "a page table outside the guest's memory";
        if (!x->event)
            return EXECUTE_NOWHERE;
        x->changed |= VCPU_GROUP_CONTROL; /* CR2 */
        return EXECUTE_FAULT;
    }
    if (page)
        *page = (struct execute_page){linear / PAGE, *gpa & ~(uint64_t)(PAGE - 1), access};
    return EXECUTE_DONE;
}

/* ---- Data ------------------------------------------------------------------------------------ */

static bool crosses(uint64_t linear, unsigned size_bytes)
{
    return linear % PAGE + size_bytes > PAGE;
}

static uint64_t next_page(const struct execution *x, uint64_t linear)
{
    uint64_t next = linear / PAGE * PAGE + PAGE;
    return x->code_bytes == 8 ? next : next & 0xffffffff;
}

/* Both halves are translated before either is touched. */
static enum execute_result crossing(struct execution *x, uint64_t linear, unsigned access,
                                    uint64_t gpa[2])
{
    TRY(execute_gpa(x, NULL, linear, access, &gpa[0]));
    return execute_gpa(x, NULL, next_page(x, linear), access, &gpa[1]);
}

static enum execute_result nowhere(struct execution *x)
{
    x->what = "an address where nothing is";
    return EXECUTE_NOWHERE;
}

enum execute_result execute_read(struct execution *x, struct execute_page *page, uint64_t linear,
                                 unsigned size_bytes, uint64_t *value)
{
    struct execute_world *world = x->world;
    unsigned first = PAGE - linear % PAGE;
    uint64_t gpa[2], byte;
    *value = 0;
    if (!crosses(linear, size_bytes)) {
        TRY(execute_gpa(x, page, linear, VCPU_ACCESS_READ, gpa));
        if (!world->memory_read(world, gpa[0], size_bytes, value))
            return nowhere(x);
        *value &= execute_mask(size_bytes);
        return EXECUTE_DONE;
    }
    TRY(crossing(x, linear, VCPU_ACCESS_READ, gpa));
    for (unsigned i = 0; i < size_bytes; i++) {
        if (!world->memory_read(world, i < first ? gpa[0] + i : gpa[1] + i - first, 1, &byte))
            return nowhere(x);
        *value |= (byte & 0xff) << 8 * i;
    }
    return EXECUTE_DONE;
}

enum execute_result execute_write(struct execution *x, struct execute_page *page, uint64_t linear,
                                  unsigned size_bytes, uint64_t value)
{
    struct execute_world *world = x->world;
    unsigned first = PAGE - linear % PAGE;
    uint64_t gpa[2];
    value &= execute_mask(size_bytes);
    if (!crosses(linear, size_bytes)) {
        TRY(execute_gpa(x, page, linear, VCPU_ACCESS_WRITE, gpa));
        return world->memory_write(world, gpa[0], size_bytes, value) ? EXECUTE_DONE : nowhere(x);
    }
    TRY(crossing(x, linear, VCPU_ACCESS_WRITE, gpa));
    for (unsigned i = 0; i < size_bytes; i++) {
        if (!world->memory_write(world, i < first ? gpa[0] + i : gpa[1] + i - first, 1,
                                 value >> 8 * i & 0xff))
            return nowhere(x);
    }
    return EXECUTE_DONE;
}

/* Faults now if an access there would, so that what comes before it can still be left undone. At most a page. */
enum execute_result execute_probe(struct execution *x, uint64_t linear, unsigned size_bytes,
                                  unsigned access)
{
    uint64_t gpa[2];
    return crosses(linear, size_bytes) ? crossing(x, linear, access, gpa)
                                       : execute_gpa(x, NULL, linear, access, gpa);
}

enum execute_result execute_probe_write(struct execution *x, uint64_t linear, unsigned size_bytes)
{
    return execute_probe(x, linear, size_bytes, VCPU_ACCESS_WRITE);
}

/* ---- Code ------------------------------------------------------------------------------------ */

/* Bytes from a linear address to the end of its page, or fewer. */
enum execute_result execute_fetch_page(struct execution *x, uint64_t linear, uint8_t *bytes,
                                       unsigned count)
{
    uint64_t gpa;
    const void *code;
    TRY(execute_gpa(x, NULL, linear, VCPU_ACCESS_EXECUTE, &gpa));
    code = x->world->ram_at(x->world, gpa, count, false);
    if (!code) {
        x->what = "code outside the guest's memory";
        return EXECUTE_NOWHERE;
    }
    memcpy(bytes, code, count);
    return EXECUTE_DONE;
}

/* As two words that overlap. */
bool execute_same_bytes(const uint8_t *a, const uint8_t *b)
{
    uint64_t words[4];
    const unsigned second = INSTRUCTION_BYTES_MAX - sizeof *words;
    __builtin_memcpy(&words[0], a, sizeof *words);
    __builtin_memcpy(&words[1], b, sizeof *words);
    __builtin_memcpy(&words[2], a + second, sizeof *words);
    __builtin_memcpy(&words[3], b + second, sizeof *words);
    return words[0] == words[1] && words[2] == words[3];
}

static enum decode_result decode(struct execution *x, const uint8_t *bytes, unsigned count)
{
    uint64_t rip = x->state->rip;
    struct execute_decoded *known = &x->world->decoded[(rip ^ rip >> 4) % EXECUTE_DECODED];
    bool whole = count == INSTRUCTION_BYTES_MAX;
    enum decode_result result = DECODE_DONE;
    if (whole && known->in.length && known->code_bytes == x->code_bytes &&
        execute_same_bytes(known->bytes, bytes)) {
        x->in = known->in;
        return DECODE_DONE;
    }
    if (x->code_bytes != 8 || !execute_decode_fast(&x->in, bytes, count))
        result = execute_decode(&x->in, bytes, count, x->code_bytes);
    if (whole && result == DECODE_DONE) {
        memcpy(known->bytes, bytes, INSTRUCTION_BYTES_MAX);
        known->code_bytes = (uint8_t)x->code_bytes;
        known->in = x->in;
    }
    return result;
}

/* Gets and decodes the instruction: from the processor if it gave the bytes, else from memory; the second page
 * is looked at only if the instruction reaches it. */
enum execute_result execute_fetch(struct execution *x)
{
    const struct vcpu_state *state = x->state;
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    unsigned count = INSTRUCTION_BYTES_MAX, given = state->instruction_count;
    uint64_t linear = state->rip;
    enum decode_result result = DECODE_SHORT;

    if (given && given <= INSTRUCTION_BYTES_MAX)
        result = decode(x, state->instruction, given);
    if (result == DECODE_SHORT) {
        if (x->code_bytes != 8)
            linear = (linear + state->segment[VCPU_CS].base) & 0xffffffff;
        if (crosses(linear, count))
            count = PAGE - linear % PAGE;
        TRY(execute_fetch_page(x, linear, bytes, count));
        result = decode(x, bytes, count);
        if (result == DECODE_SHORT && count < INSTRUCTION_BYTES_MAX) {
            TRY(execute_fetch_page(x, next_page(x, linear), bytes + count,
                                   INSTRUCTION_BYTES_MAX - count));
            result = decode(x, bytes, INSTRUCTION_BYTES_MAX);
        }
    }
    switch (result) {
    case DECODE_DONE: break;
    case DECODE_SHORT:
    case DECODE_TOO_LONG: return execute_raise(x, EXCEPTION_PROTECTION);
    case DECODE_BAD_LOCK: return execute_raise(x, EXCEPTION_INVALID_OPCODE);
    case DECODE_UNKNOWN: x->what = "bytes that are no instruction"; return EXECUTE_UNKNOWN;
    }
    x->next_rip = (state->rip + x->in.length) & x->rip_mask;
    return EXECUTE_DONE;
}
