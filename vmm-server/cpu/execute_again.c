/*
 * A driver reaches its device by the same few instructions, over and over. A plain MOV or MOVZX of 64-bit code between
 * a register and a device that was executed once is remembered by its RIP: with the walk that led to its code, and its
 * bytes. If both are still the same, it is done at once: the processor has already said where its operand is.
 */
#include "cpu/execute_internal.h"

#define PAGE      4096u
#define LONG_CODE (1u << 13)

static struct execute_again *slot_for(struct execute_world *world, uint64_t rip)
{
    return &world->again[(rip ^ rip >> 4) % EXECUTE_AGAIN];
}

static unsigned code_access(const struct vcpu_state *state)
{
    return VCPU_ACCESS_EXECUTE |
           ((state->segment[VCPU_SS].attributes >> 5 & 3) == 3 ? EXECUTE_ACCESS_USER : 0);
}

static uint32_t changes(struct execute_world *world)
{
    return world->memory_changes ? world->memory_changes(world) : 0;
}

/* 64-bit code whose bytes the processor did not give, and an exit of one access to data. */
static bool ordinary(const struct execute_world *world)
{
    const struct vcpu_state *state = world->state;
    return (state->efer & EFER_LMA) && (state->segment[VCPU_CS].attributes & LONG_CODE) &&
           !(state->rflags & RFLAGS_RF) && !state->instruction_count && world->fault_access &&
           !(world->fault_access & (VCPU_ACCESS_PAGE_WALK | VCPU_ACCESS_EXECUTE));
}

/* The forms that are remembered; false: another one. */
static bool take_form(const struct instruction *in, struct execute_again *again)
{
    unsigned opcode = in->map == MAP_0F ? 0x0f00u | in->opcode : in->opcode;
    again->write = again->constant = false;
    again->value = in->immediate;
    again->number = in->reg;
    again->base = in->base, again->index = in->index, again->scale = in->scale;
    again->based = in->segment == VCPU_FS || in->segment == VCPU_GS;
    again->place = (uint16_t)in->displacement;
    again->register_bytes = again->size_bytes = in->operand_bytes;
    switch (opcode) {
    case 0x88:
        again->size_bytes = 1;
        again->write = true;
        break;
    case 0x89: again->write = true; break;
    case 0x8a: again->register_bytes = again->size_bytes = 1; break;
    case 0x8b: break;
    case 0x0fb6: again->size_bytes = 1; break;
    case 0x0fb7: again->size_bytes = 2; break;
    case 0xc6:
    case 0xc7:
        again->size_bytes = opcode & 1 ? in->operand_bytes : 1;
        again->write = again->constant = true;
        again->number = 0;
        break;
    default: return false;
    }
    /* AH, CH, DH and BH go the long way. */
    return in->map <= MAP_0F && in->mod != 3 && !in->repeat &&
           !(again->register_bytes == 1 && !in->rex && again->number >= 4) &&
           !(opcode == 0x88 && !in->rex && again->number >= 4);
}

void execute_remember(const struct execution *x, uint64_t rip)
{
    struct execute_world *world = x->world;
    struct execute_again *again = slot_for(world, rip);
    uint64_t event;
    again->length = 0;
    if (rip % PAGE > PAGE - INSTRUCTION_BYTES_MAX || !ordinary(world) ||
        !take_form(&x->in, again) ||
        !execute_translate(world, rip, code_access(world->state), &again->gpa, &event))
        return;
    again->changes = changes(world);
    again->code = world->ram_at(world, again->gpa, INSTRUCTION_BYTES_MAX, false);
    if (!again->code)
        return;
    __builtin_memcpy(again->bytes, again->code, INSTRUCTION_BYTES_MAX);
    again->rip = rip;
    again->length = x->in.length;
}

/* What faults at the beginning of a page may have begun in RAM before it. */
static bool begins_there(const struct vcpu_state *state, const struct execute_again *again)
{
    uint64_t linear = again->place;
    if (again->base == REGISTER_RIP)
        linear += again->rip + again->length;
    else if (again->base != REGISTER_NONE)
        linear += state->gpr[again->base];
    if (again->index != REGISTER_NONE)
        linear += state->gpr[again->index] << again->scale;
    return linear % PAGE == 0 && !again->based;
}

bool execute_again(struct execute_world *world, uint32_t *changed)
{
    struct vcpu_state *state = world->state;
    struct execute_again *again = slot_for(world, state->rip);
    uint64_t gpa, value, mask, *gpr = &state->gpr[again->number];
    if (again->length == 0 || again->rip != state->rip || !ordinary(world) ||
        again->write != ((world->fault_access & VCPU_ACCESS_WRITE) != 0))
        return false;
    /* It crosses into the next page, or begins this one. */
    if (__builtin_expect((world->fault_gpa - 1) % PAGE + again->size_bytes >= PAGE, 0) &&
        (world->fault_gpa % PAGE || !begins_there(state, again)))
        return false;
    if (!execute_walked(world, state->rip, code_access(state), &gpa) || gpa != again->gpa ||
        again->changes != changes(world) || !execute_same_bytes(again->bytes, again->code))
        return false;
    mask = execute_mask(again->size_bytes);
    if (again->write) {
        value = (again->constant ? again->value : *gpr) & mask;
        if (!world->device_write(world, world->fault_gpa, again->size_bytes, value))
            return false;
    } else {
        if (!world->device_read(world, world->fault_gpa, again->size_bytes, &value))
            return false;
        value &= mask;
        mask = execute_mask(again->register_bytes);
        *gpr = again->register_bytes == 4 ? value : (*gpr & ~mask) | value;
        if (again->number == 4)
            *changed |= VCPU_GROUP_RIP;
    }
    state->rip += again->length;
    return true;
}
