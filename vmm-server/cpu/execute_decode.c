/* From bytes to an instruction: Zydis finds opcode, length and fields; operands are put together here. */
#include "cpu/execute_internal.h"

#include <Zydis/Decoder.h>
#include <Zydis/Mnemonic.h>

struct prefixes {
    bool operand, address;
    uint8_t repeat;
    int segment; /* -1: none */
};

static struct prefixes scan_prefixes(const ZydisDecodedInstruction *decoded, unsigned code_bytes)
{
    struct prefixes found = {.segment = -1};
    for (unsigned i = 0; i < decoded->raw.prefix_count; i++) {
        switch (decoded->raw.prefixes[i].value) {
        case 0x66: found.operand = true; break;
        case 0x67: found.address = true; break;
        case 0xf2:
        case 0xf3: found.repeat = decoded->raw.prefixes[i].value; break;
        case 0x26: found.segment = VCPU_ES; break;
        case 0x2e: found.segment = VCPU_CS; break;
        case 0x36: found.segment = VCPU_SS; break;
        case 0x3e: found.segment = VCPU_DS; break;
        case 0x64: found.segment = VCPU_FS; break;
        case 0x65: found.segment = VCPU_GS; break;
        }
    }
    if (code_bytes == 8 && found.segment != VCPU_FS && found.segment != VCPU_GS)
        found.segment = -1; /* the others mean nothing in 64-bit code */
    return found;
}

static unsigned operand_bytes(unsigned code_bytes, bool prefix, bool rex_w)
{
    if (code_bytes == 8)
        return rex_w ? 8 : prefix ? 2 : 4;
    return (code_bytes == 2) != prefix ? 2 : 4;
}

static unsigned address_bytes(unsigned code_bytes, bool prefix)
{
    if (code_bytes == 8)
        return prefix ? 4 : 8;
    return (code_bytes == 2) != prefix ? 2 : 4;
}

/* What REX or VEX adds to the fields of ModRM and SIB. VEX has its bits inverted; outside 64-bit code it reaches the
 * first eight registers alone (SDM 2A, 2.3.5). */
struct extension {
    unsigned r, x, b;
    bool wide;
};

static struct extension extension_of(const ZydisDecodedInstruction *decoded, unsigned code_bytes)
{
    if (decoded->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return (struct extension){decoded->raw.rex.R, decoded->raw.rex.X, decoded->raw.rex.B,
                                  decoded->raw.rex.W};
    if (code_bytes != 8)
        return (struct extension){.wide = decoded->raw.vex.W};
    return (struct extension){!decoded->raw.vex.R, !decoded->raw.vex.X, !decoded->raw.vex.B,
                              decoded->raw.vex.W};
}

/* SDM 2A, table 2-1. */
static void memory_operand_16(struct instruction *in, unsigned mod, unsigned rm)
{
    enum { BX = 3, BP = 5, SI = 6, DI = 7 };
    static const uint8_t bases[] = {BX, BX, BP, BP, SI, DI, BP, BX};
    static const uint8_t indices[] = {
        SI, DI, SI, DI, REGISTER_NONE, REGISTER_NONE, REGISTER_NONE, REGISTER_NONE};
    in->base = mod == 0 && rm == 6 ? REGISTER_NONE : bases[rm];
    in->index = indices[rm];
    if (in->base == BP)
        in->segment = VCPU_SS;
}

/* SDM 2A, tables 2-2 and 2-3. */
static void memory_operand(struct instruction *in, const ZydisDecodedInstruction *decoded,
                           const struct extension *extension, unsigned code_bytes)
{
    enum { SP = 4, BP = 5 };
    unsigned mod = decoded->raw.modrm.mod, rm = decoded->raw.modrm.rm;
    unsigned b = extension->b << 3, base = rm;
    if (rm == SP) {
        unsigned index = decoded->raw.sib.index | extension->x << 3;
        base = decoded->raw.sib.base;
        in->index = index == SP ? REGISTER_NONE : (uint8_t)index;
        in->scale = decoded->raw.sib.scale;
    }
    if (mod == 0 && base == BP)
        in->base = rm == BP && code_bytes == 8 ? REGISTER_RIP : REGISTER_NONE;
    else
        in->base = (uint8_t)(base | b);
    if (in->base == SP || in->base == BP)
        in->segment = VCPU_SS;
}

static void take_modrm(struct instruction *in, const ZydisDecodedInstruction *decoded,
                       const struct extension *extension, unsigned code_bytes)
{
    in->mod = decoded->raw.modrm.mod;
    in->reg = (uint8_t)(decoded->raw.modrm.reg | extension->r << 3);
    in->rm = (uint8_t)(decoded->raw.modrm.rm | extension->b << 3);
    if (in->mod == 3)
        return;
    if (in->address_bytes == 2)
        memory_operand_16(in, in->mod, decoded->raw.modrm.rm);
    else
        memory_operand(in, decoded, extension, code_bytes);
}

static uint8_t map_of(const ZydisDecodedInstruction *decoded)
{
    bool vex = decoded->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    if (!vex && decoded->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
        return MAP_OTHER;
    switch (decoded->opcode_map) {
    case ZYDIS_OPCODE_MAP_DEFAULT: return MAP_ONE_BYTE;
    case ZYDIS_OPCODE_MAP_0F: return vex ? MAP_VEX_0F : MAP_0F;
    case ZYDIS_OPCODE_MAP_0F38: return vex ? MAP_VEX_0F38 : MAP_0F38;
    case ZYDIS_OPCODE_MAP_0F3A: return vex ? MAP_VEX_0F3A : MAP_0F3A;
    default: return MAP_OTHER;
    }
}

/* What VEX says beside the opcode: of it one prefix too. */
static void take_vex(struct instruction *in, const ZydisDecodedInstruction *decoded,
                     unsigned code_bytes)
{
    static const uint8_t repeats[] = {0, 0, REPEAT_EQUAL, REPEAT_NOT_EQUAL};
    in->operand_prefix = decoded->raw.vex.pp == 1;
    in->repeat = repeats[decoded->raw.vex.pp];
    in->vector_bytes = decoded->raw.vex.L ? 32 : 16;
    in->source = ~decoded->raw.vex.vvvv & (code_bytes == 8 ? 15 : 7);
}

static void take_fields(struct instruction *in, const ZydisDecodedInstruction *decoded,
                        unsigned code_bytes)
{
    struct prefixes prefixes = scan_prefixes(decoded, code_bytes);
    struct extension extension = extension_of(decoded, code_bytes);
    *in = (struct instruction){
        .length = decoded->length,
        .map = map_of(decoded),
        .opcode = decoded->opcode,
        .has_modrm = (decoded->attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0,
        .repeat = prefixes.repeat,
        .operand_prefix = prefixes.operand,
        .operand_bytes = (uint8_t)operand_bytes(code_bytes, prefixes.operand, extension.wide),
        .address_bytes = (uint8_t)address_bytes(code_bytes, prefixes.address),
        .rex = (decoded->attributes & ZYDIS_ATTRIB_HAS_REX) != 0,
        .rex_w = extension.wide,
        .segment = VCPU_DS,
        .base = REGISTER_NONE,
        .index = REGISTER_NONE,
        .displacement = decoded->raw.disp.size ? decoded->raw.disp.value : 0,
        .immediate = decoded->raw.imm[0].size ? decoded->raw.imm[0].value.u : 0,
        .second = decoded->raw.imm[1].size ? (uint16_t)decoded->raw.imm[1].value.u : 0,
    };
    /* Opcodes without ModRM have their register in the low bits. */
    in->rm = (uint8_t)((decoded->opcode & 7) | extension.b << 3);
    in->mod = 3;
    if (in->has_modrm)
        take_modrm(in, decoded, &extension, code_bytes);
    if (decoded->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
        take_vex(in, decoded, code_bytes);
    if (prefixes.segment >= 0) {
        in->segment = (uint8_t)prefixes.segment;
        in->segment_override = true;
    }
    in->name = ZydisMnemonicGetString(decoded->mnemonic);
}

enum decode_result execute_decode(struct instruction *in, const uint8_t *bytes, unsigned count,
                                  unsigned code_bytes)
{
    ZydisDecoder decoder;
    ZydisDecodedInstruction decoded;
    ZyanStatus status;

    if (code_bytes == 8)
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    else if (code_bytes == 4)
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    else
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    /* Operands are for execute_operands.c, which asks again. */
    ZydisDecoderEnableMode(&decoder, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE);
    status = ZydisDecoderDecodeInstruction(&decoder, ZYAN_NULL, bytes, count, &decoded);
    if (status == ZYDIS_STATUS_NO_MORE_DATA)
        return DECODE_SHORT;
    if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
        return DECODE_TOO_LONG;
    if (status == ZYDIS_STATUS_ILLEGAL_LOCK)
        return DECODE_BAD_LOCK;
    if (!ZYAN_SUCCESS(status))
        return DECODE_UNKNOWN;
    take_fields(in, &decoded, code_bytes);
    return DECODE_DONE;
}
