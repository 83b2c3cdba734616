#include "cpu/mtrr.h"

#include <stddef.h>

#define CAPABILITIES   0xfeu
#define VARIABLE_FIRST 0x200u
#define DEFAULT_TYPE   0x2ffu
/* Eight variable ranges, the fixed ones, write combining (SDM 3A, 12.11.1). */
#define CAPABILITIES_VALUE  (MTRR_VARIABLE | 1u << 8 | 1u << 10)
#define DEFAULT_DEFINED     0xcffull /* type, fixed ranges on, all on */
#define DEFAULT_BY_FIRMWARE 0xc06ull
#define ALL_WRITE_BACK      0x0606060606060606ull
#define FIXED_SCREEN        2u /* 0xa0000 to 0xbffff */
#define MASK_VALID          (1ull << 11)

static const uint16_t fixed_index[MTRR_FIXED] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                                 0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

void mtrr_as_by_firmware(struct mtrr *mtrr)
{
    *mtrr = (struct mtrr){.default_type = DEFAULT_BY_FIRMWARE};
    for (unsigned i = 0; i < MTRR_FIXED; i++)
        mtrr->fixed[i] = i == FIXED_SCREEN ? 0 : ALL_WRITE_BACK;
}

/* Where the register is kept; NULL: there is none. */
static uint64_t *place(struct mtrr *mtrr, uint32_t index)
{
    if (index == DEFAULT_TYPE)
        return &mtrr->default_type;
    if (index - VARIABLE_FIRST < 2 * MTRR_VARIABLE)
        return &mtrr->variable[index - VARIABLE_FIRST];
    for (unsigned i = 0; i < MTRR_FIXED; i++)
        if (fixed_index[i] == index)
            return &mtrr->fixed[i];
    return NULL;
}

/* Uncached, write-combining, write-through, write-protected, write-back. */
static bool is_type(uint8_t type)
{
    return type <= 1 || (type >= 4 && type <= 6);
}

static bool are_types(uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        if (!is_type((uint8_t)(value >> i * 8)))
            return false;
    return true;
}

bool mtrr_read(const struct mtrr *mtrr, uint32_t index, uint64_t *value)
{
    const uint64_t *from = place((struct mtrr *)mtrr, index);
    *value = index == CAPABILITIES ? CAPABILITIES_VALUE : from ? *from : 0;
    return from || index == CAPABILITIES;
}

bool mtrr_write(struct mtrr *mtrr, unsigned physical_bits, uint32_t index, uint64_t value)
{
    uint64_t *to = place(mtrr, index), address = (1ull << physical_bits) - 0x1000;
    bool good;
    if (!to)
        return false;
    if (index == DEFAULT_TYPE)
        good = !(value & ~DEFAULT_DEFINED) && is_type((uint8_t)value);
    else if (index - VARIABLE_FIRST >= 2 * MTRR_VARIABLE)
        good = are_types(value);
    else if (index & 1)
        good = !(value & ~(address | MASK_VALID));
    else
        good = !(value & ~(address | 0xff)) && is_type((uint8_t)value);
    if (good)
        *to = value;
    return good;
}
