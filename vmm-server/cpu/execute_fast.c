/*
 * Decodes the ordinary instructions of 64-bit code, those with which kernels reach registers of devices and the
 * control registers, without the library: some fifty instructions instead of three thousand. What it does not know
 * it leaves to the library; what it knows it decodes to the same fields (tests/unit/execute_decode_test.c).
 */
#include "cpu/execute_internal.h"

#include "string.h"

/* What follows an opcode. */
enum form {
    NOT_HERE = 0,
    MODRM = 1,
    BYTE = 2,   /* an immediate byte */
    FULL = 4,   /* an immediate of the operand's size, at most 32 bits */
    STRING = 8, /* nothing; may be repeated */
};

#define CONTROL_REGISTERS 0x11du /* 0, 2, 3, 4, 8 */

/* clang-format off */
#define ROW(first) \
    [first] = MODRM, [first + 1] = MODRM, [first + 2] = MODRM, [first + 3] = MODRM
static const uint8_t one_byte[256] = {
    ROW(0x00), ROW(0x08), ROW(0x10), ROW(0x18), ROW(0x20), ROW(0x28), ROW(0x30), ROW(0x38),
    [0x63] = MODRM,
    [0x80] = MODRM | BYTE, [0x81] = MODRM | FULL, [0x83] = MODRM | BYTE,
    [0x84 ... 0x8b] = MODRM,
    [0xa4 ... 0xa7] = STRING, [0xaa ... 0xaf] = STRING,
    [0xc6] = MODRM | BYTE, [0xc7] = MODRM | FULL,
};
static const uint8_t two_byte[256] = {
    [0x20] = MODRM, [0x22] = MODRM, /* MOV from and to control registers */
    [0xb6 ... 0xb7] = MODRM, [0xbe ... 0xbf] = MODRM,
};
/* clang-format on */

struct cursor {
    const uint8_t *at, *end;
};

static int64_t take_signed(struct cursor *cursor, unsigned count)
{
    uint64_t value = 0;
    memcpy(&value, cursor->at, count);
    cursor->at += count;
    return (int64_t)(value << (64 - count * 8)) >> (64 - count * 8);
}

/* ModRM, SIB and displacement; false: there are not enough bytes. */
static bool take_operand(struct cursor *cursor, struct instruction *in, unsigned rex)
{
    unsigned modrm, mod, rm, count;
    if (cursor->at == cursor->end)
        return false;
    modrm = *cursor->at++;
    mod = modrm >> 6, rm = modrm & 7;
    in->mod = (uint8_t)mod;
    in->reg = (uint8_t)((modrm >> 3 & 7) | (rex & 4) << 1);
    in->rm = (uint8_t)(rm | (rex & 1) << 3);
    if (mod == 3)
        return true;
    count = mod == 2 ? 4 : mod;
    in->base = in->rm;
    if (rm == 4) {
        unsigned sib, index;
        if (cursor->at == cursor->end)
            return false;
        sib = *cursor->at++;
        index = (sib >> 3 & 7) | (rex & 2) << 2;
        in->scale = (uint8_t)(sib >> 6);
        in->index = index == 4 ? REGISTER_NONE : (uint8_t)index;
        in->base = (uint8_t)((sib & 7) | (rex & 1) << 3);
        if ((sib & 7) == 5 && mod == 0) {
            in->base = REGISTER_NONE;
            count = 4;
        }
    } else if (rm == 5 && mod == 0) {
        in->base = REGISTER_RIP;
        count = 4;
    }
    if (in->base == 4 || in->base == 5)
        in->segment = VCPU_SS;
    if (cursor->end - cursor->at < (ptrdiff_t)count)
        return false;
    if (count)
        in->displacement = take_signed(cursor, count);
    return true;
}

bool execute_decode_fast(struct instruction *in, const uint8_t *bytes, unsigned count)
{
    struct cursor cursor = {bytes, bytes + count};
    unsigned byte = 0, rex = 0, form, size;
    *in = (struct instruction){.address_bytes = 8,
                               .mod = 3,
                               .segment = VCPU_DS,
                               .base = REGISTER_NONE,
                               .index = REGISTER_NONE};
    for (; cursor.at < cursor.end; cursor.at++) {
        byte = *cursor.at;
        if (byte == 0x66)
            in->operand_prefix = true;
        else if (byte == 0xf2 || byte == 0xf3)
            in->repeat = (uint8_t)byte;
        else
            break;
    }
    if ((byte & 0xf0) == 0x40 && cursor.end - cursor.at > 1) {
        rex = byte;
        in->rex = true;
        in->rex_w = (rex & 8) != 0;
        byte = *++cursor.at;
    }
    form = one_byte[byte];
    if (byte == 0x0f && cursor.end - cursor.at > 1) {
        byte = *++cursor.at;
        form = two_byte[byte];
        in->map = MAP_0F;
    }
    cursor.at++;
    if (form == NOT_HERE || cursor.at > cursor.end || (in->repeat && form != STRING))
        return false;
    in->opcode = (uint8_t)byte;
    in->operand_bytes = in->rex_w ? 8 : in->operand_prefix ? 2 : 4;
    if (form == STRING) {
        in->rm = (uint8_t)((byte & 7) | (rex & 1) << 3);
    } else {
        in->has_modrm = true;
        if (!take_operand(&cursor, in, rex))
            return false;
    }
    if ((byte | 1) == 0xc7 && in->map == MAP_ONE_BYTE && (in->reg & 7))
        return false; /* XABORT, XBEGIN, or nothing */
    if ((byte | 2) == 0x22 && in->map == MAP_0F &&
        (in->mod != 3 || in->reg > 8 || !(CONTROL_REGISTERS >> in->reg & 1)))
        return false; /* a register that is not there, or an odd way to say one */
    size = form & BYTE ? 1 : form & FULL ? (in->operand_bytes == 2 ? 2 : 4) : 0;
    if (cursor.end - cursor.at < (ptrdiff_t)size)
        return false;
    if (size)
        in->immediate = (uint64_t)take_signed(&cursor, size);
    in->length = (uint8_t)(cursor.at - bytes);
    return true;
}
