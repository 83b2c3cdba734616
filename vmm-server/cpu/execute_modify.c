/*
 * Instructions that read, change and write one operand. In RAM the change is one atomic step, LOCK or not; on a
 * device it is a read and a write.
 */
#include "cpu/execute_internal.h"

#include "string.h"

/* Where an operand is: a register, RAM, or a device behind the callbacks. */
struct place {
    bool memory;
    uint64_t linear, gpa;
    void *ram; /* NULL: a register, a device, or two pages */
};

static enum execute_result find_place(struct execution *x, uint64_t offset, unsigned size_bytes,
                                      struct place *place)
{
    const unsigned access = VCPU_ACCESS_READ | VCPU_ACCESS_WRITE;
    *place = (struct place){.memory = x->in.mod != 3};
    if (!place->memory)
        return EXECUTE_DONE;
    TRY(execute_linear(x, x->in.segment, offset, size_bytes, access, &place->linear));
    if (place->linear % 4096 + size_bytes > 4096)
        return execute_probe_write(x, place->linear, size_bytes);
    TRY(execute_gpa(x, &x->pages[0], place->linear, access, &place->gpa));
    place->ram = x->world->ram_at(x->world, place->gpa, size_bytes, true);
    return EXECUTE_DONE;
}

static enum execute_result load(struct execution *x, const struct place *place, unsigned size_bytes,
                                uint64_t *value)
{
    if (!place->memory) {
        *value = execute_register(x, x->in.rm, size_bytes);
        return EXECUTE_DONE;
    }
    if (!place->ram)
        return execute_read(x, &x->pages[0], place->linear, size_bytes, value);
    *value = 0; /* read again until it is stored to: then it was one piece */
    memcpy(value, place->ram, size_bytes);
    return EXECUTE_DONE;
}

/* The operand may lie at any address, as it may for the processor. */
#define COMPARE_AND_STORE(suffix, type)                                                  \
    {                                                                                    \
        type expected = (type)old;                                                       \
        __asm__ volatile(                                                                \
            "lock cmpxchg" suffix " %[new], %[ram]\n\tsete %[done]"                      \
            : "+a"(expected), [ram] "+m"(*(char(*)[sizeof(type)])ram), [done] "=q"(done) \
            : [new] "r"((type) new)                                                      \
            : "cc", "memory");                                                           \
        break;                                                                           \
    }

static bool compare_and_store(void *ram, unsigned size_bytes, uint64_t old, uint64_t new)
{
    uint8_t done = 0;
    switch (size_bytes) {
    case 1: COMPARE_AND_STORE("b", uint8_t)
    case 2: COMPARE_AND_STORE("w", uint16_t)
    case 4: COMPARE_AND_STORE("l", uint32_t)
    default: COMPARE_AND_STORE("q", uint64_t)
    }
    return done;
}

/* Stores unless RAM has changed since it was loaded: then *again. */
static enum execute_result store(struct execution *x, const struct place *place,
                                 unsigned size_bytes, uint64_t old, uint64_t new, bool *again)
{
    *again = false;
    if (!place->memory)
        execute_set_register(x, x->in.rm, size_bytes, new);
    else if (!place->ram)
        return execute_write(x, &x->pages[0], place->linear, size_bytes, new);
    else
        *again = !compare_and_store(place->ram, size_bytes, old, new);
    return EXECUTE_DONE;
}

/* A bit offset in a register reaches beyond the operand: SDM 2A, BT. */
static uint64_t bit_offset(const struct execution *x, unsigned size_bytes, uint64_t bit)
{
    unsigned shift = 64 - size_bytes * 8;
    int64_t index = (int64_t)(bit << shift) >> shift;
    unsigned log = size_bytes == 2 ? 4 : size_bytes == 4 ? 5 : 6;
    uint64_t offset = execute_effective(x) + (uint64_t)(index >> log) * size_bytes;
    return offset & execute_mask(x->in.address_bytes);
}

/* BT with the bit's number in a register only reads. */
enum execute_result execute_bit_test(struct execution *x, unsigned size_bytes, uint64_t bit)
{
    uint64_t linear, value;
    TRY(execute_linear(x, x->in.segment, bit_offset(x, size_bytes, bit), size_bytes,
                       VCPU_ACCESS_READ, &linear));
    TRY(execute_read(x, &x->pages[0], linear, size_bytes, &value));
    execute_operation(OPERATION_BT, size_bytes, value, bit, &x->flags);
    return EXECUTE_DONE;
}

enum execute_result execute_modify(struct execution *x, enum operation operation,
                                   unsigned size_bytes, uint64_t operand)
{
    bool is_bit = operation >= OPERATION_BTS && operation <= OPERATION_BTC;
    struct place place;
    uint64_t offset = execute_effective(x), flags, old, new;
    bool again;
    if (is_bit && x->in.opcode != 0xba && x->in.mod != 3)
        offset = bit_offset(x, size_bytes, operand);
    bool shifts = operation >= OPERATION_ROL && operation <= OPERATION_SAR;
    bool doubled = operation >= OPERATION_COUNT;
    if (shifts || doubled)
        operand &= size_bytes == 8 ? 0x3f : 0x1f;
    TRY(find_place(x, offset, size_bytes, &place));
    do {
        flags = x->flags;
        TRY(load(x, &place, size_bytes, &old));
        if ((shifts || doubled) && operand == 0) /* changes no flag */
            new = old;
        else if (doubled)
            new = execute_double_shift(operation, size_bytes, old,
                                       execute_register(x, x->in.reg, size_bytes), operand, &flags);
        else
            new = execute_operation(operation, size_bytes, old, operand, &flags);
        TRY(store(x, &place, size_bytes, old, new, &again));
    } while (again);
    x->flags = flags;
    return EXECUTE_DONE;
}

enum execute_result execute_exchange(struct execution *x, unsigned size_bytes)
{
    struct place place;
    uint64_t old, new = execute_register(x, x->in.reg, size_bytes);
    bool again;
    TRY(find_place(x, execute_effective(x), size_bytes, &place));
    do {
        TRY(load(x, &place, size_bytes, &old));
        TRY(store(x, &place, size_bytes, old, new, &again));
    } while (again);
    execute_set_register(x, x->in.reg, size_bytes, old);
    return EXECUTE_DONE;
}

enum execute_result execute_exchange_add(struct execution *x, unsigned size_bytes)
{
    struct place place;
    uint64_t old, new, flags, addend = execute_register(x, x->in.reg, size_bytes);
    bool again;
    TRY(find_place(x, execute_effective(x), size_bytes, &place));
    do {
        flags = x->flags;
        TRY(load(x, &place, size_bytes, &old));
        new = execute_operation(OPERATION_ADD, size_bytes, old, addend, &flags);
        if (!place.memory) /* the sum wins if both are the same register */
            execute_set_register(x, x->in.reg, size_bytes, old);
        TRY(store(x, &place, size_bytes, old, new, &again));
    } while (again);
    if (place.memory)
        execute_set_register(x, x->in.reg, size_bytes, old);
    x->flags = flags;
    return EXECUTE_DONE;
}

enum execute_result execute_compare_exchange(struct execution *x, unsigned size_bytes)
{
    struct place place;
    uint64_t old, flags, expected = execute_register(x, 0, size_bytes);
    uint64_t new = execute_register(x, x->in.reg, size_bytes);
    bool again, equal;
    TRY(find_place(x, execute_effective(x), size_bytes, &place));
    do {
        flags = x->flags;
        TRY(load(x, &place, size_bytes, &old));
        execute_operation(OPERATION_CMP, size_bytes, expected, old, &flags);
        equal = (flags & RFLAGS_ZF) != 0;
        TRY(store(x, &place, size_bytes, old, equal ? new : old, &again));
    } while (again);
    if (!equal)
        execute_set_register(x, 0, size_bytes, old);
    x->flags = flags;
    return EXECUTE_DONE;
}

static bool compare_exchange_16(void *ram, uint64_t old[2], const uint64_t new[2])
{
    bool equal;
    __asm__ volatile("lock cmpxchg16b %[ram]\n\tsete %[equal]"
                     : "+a"(old[0]),
                       "+d"(old[1]), [ram] "+m"(*(char(*)[16])ram), [equal] "=q"(equal)
                     : "b"(new[0]), "c"(new[1])
                     : "cc", "memory");
    return equal;
}

/* CMPXCHG16B on a device: two accesses of 8 bytes each way. */
static enum execute_result compare_exchange_device(struct execution *x, const struct place *place,
                                                   uint64_t old[2], const uint64_t new[2],
                                                   bool *equal)
{
    uint64_t is[2];
    for (unsigned i = 0; i < 2; i++)
        TRY(execute_read(x, &x->pages[0], place->linear + i * 8, 8, &is[i]));
    *equal = is[0] == old[0] && is[1] == old[1];
    for (unsigned i = 0; i < 2; i++)
        TRY(execute_write(x, &x->pages[0], place->linear + i * 8, 8, *equal ? new[i] : is[i]));
    old[0] = is[0];
    old[1] = is[1];
    return EXECUTE_DONE;
}

/* CMPXCHG8B and CMPXCHG16B, the latter at multiples of 16 only. */
enum execute_result execute_compare_exchange_wide(struct execution *x)
{
    unsigned half = x->in.rex_w ? 8 : 4;
    uint64_t expected[2] = {execute_register(x, 0, half), execute_register(x, 2, half)};
    uint64_t new[2] = {execute_register(x, 3, half), execute_register(x, 1, half)};
    uint64_t wide = expected[0] | expected[1] << 32, old;
    struct place place;
    bool equal, again = false;

    if (half == 8) {
        TRY(execute_linear(x, x->in.segment, execute_effective(x), 16,
                           VCPU_ACCESS_READ | VCPU_ACCESS_WRITE, &place.linear));
        if (place.linear & 15)
            return execute_raise(x, EXCEPTION_PROTECTION);
    }
    TRY(find_place(x, execute_effective(x), half * 2, &place));
    if (half == 8) {
        if (!place.ram)
            TRY(compare_exchange_device(x, &place, expected, new, &equal));
        else
            equal = compare_exchange_16(place.ram, expected, new);
    } else {
        do {
            TRY(load(x, &place, 8, &old));
            equal = old == wide;
            TRY(store(x, &place, 8, old, equal ? new[0] | new[1] << 32 : old, &again));
        } while (again);
        expected[0] = (uint32_t)old;
        expected[1] = old >> 32;
    }
    if (!equal) {
        execute_set_register(x, 0, half, expected[0]);
        execute_set_register(x, 2, half, expected[1]);
    }
    x->flags = equal ? x->flags | RFLAGS_ZF : x->flags & ~(uint64_t)RFLAGS_ZF;
    return EXECUTE_DONE;
}
