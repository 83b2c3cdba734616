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
                           unsigned code_bytes)
{
    enum { SP = 4, BP = 5 };
    unsigned mod = decoded->raw.modrm.mod, rm = decoded->raw.modrm.rm;
    unsigned b = decoded->raw.rex.B << 3, base = rm;
    if (rm == SP) {
        unsigned index = decoded->raw.sib.index | decoded->raw.rex.X << 3;
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
                       unsigned code_bytes)
{
    in->mod = decoded->raw.modrm.mod;
    in->reg = decoded->raw.modrm.reg | decoded->raw.rex.R << 3;
    in->rm = decoded->raw.modrm.rm | decoded->raw.rex.B << 3;
    if (in->mod == 3)
        return;
    if (in->address_bytes == 2)
        memory_operand_16(in, in->mod, decoded->raw.modrm.rm);
    else
        memory_operand(in, decoded, code_bytes);
}

static void take_fields(struct instruction *in, const ZydisDecodedInstruction *decoded,
                        unsigned code_bytes)
{
    struct prefixes prefixes = scan_prefixes(decoded, code_bytes);
    *in = (struct instruction){
        .length = decoded->length,
        .map = decoded->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ? MAP_OTHER
               : decoded->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT      ? MAP_ONE_BYTE
               : decoded->opcode_map == ZYDIS_OPCODE_MAP_0F           ? MAP_0F
               : decoded->opcode_map == ZYDIS_OPCODE_MAP_0F38         ? MAP_0F38
                                                                      : MAP_OTHER,
        .opcode = decoded->opcode,
        .has_modrm = (decoded->attributes & ZYDIS_ATTRIB_HAS_MODRM) != 0,
        .repeat = prefixes.repeat,
        .operand_prefix = prefixes.operand,
        .operand_bytes =
            (uint8_t)operand_bytes(code_bytes, prefixes.operand, decoded->raw.rex.W != 0),
        .address_bytes = (uint8_t)address_bytes(code_bytes, prefixes.address),
        .rex = (decoded->attributes & ZYDIS_ATTRIB_HAS_REX) != 0,
        .rex_w = decoded->raw.rex.W != 0,
        .segment = VCPU_DS,
        .base = REGISTER_NONE,
        .index = REGISTER_NONE,
        .displacement = decoded->raw.disp.size ? decoded->raw.disp.value : 0,
        .immediate = decoded->raw.imm[0].size ? decoded->raw.imm[0].value.u : 0,
        .second = decoded->raw.imm[1].size ? (uint8_t)decoded->raw.imm[1].value.u : 0,
    };
    /* Opcodes without ModRM have their register in the low bits. */
    in->rm = (uint8_t)((decoded->opcode & 7) | decoded->raw.rex.B << 3);
    in->mod = 3;
    if (in->has_modrm)
        take_modrm(in, decoded, code_bytes);
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
