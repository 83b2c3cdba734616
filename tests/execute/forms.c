/* The instructions that are compared. Those of ports and control registers exit, or have tests of their own. */
#include "compare.h"

const char *const group_names[GROUP_COUNT] = {
    [GROUP_MOVE] = "move",           [GROUP_ARITHMETIC] = "arithmetic",
    [GROUP_SHIFT] = "shift",         [GROUP_BIT] = "bit",
    [GROUP_EXCHANGE] = "exchange",   [GROUP_MULTIPLY] = "multiply",
    [GROUP_CONDITION] = "condition", [GROUP_STRING] = "string",
    [GROUP_STACK] = "stack",         [GROUP_BRANCH] = "branch",
    [GROUP_SEGMENT] = "segment",     [GROUP_TABLE] = "table",
    [GROUP_FLOAT] = "float",         [GROUP_VECTOR] = "vector",
};

/* clang-format off */
#define M(name, opcode, extension, immediate, special) \
    {name, opcode, extension, GROUP_MOVE, immediate, UNDEFINED_NONE, 0, special}
#define ROW(name, opcode, number, undefined, lock) \
    {name, (opcode), -1, GROUP_ARITHMETIC, NO_IMMEDIATE, undefined, 0, lock}, \
    {name, (opcode) + 1, -1, GROUP_ARITHMETIC, NO_IMMEDIATE, undefined, 0, lock}, \
    {name, (opcode) + 2, -1, GROUP_ARITHMETIC, NO_IMMEDIATE, undefined, 0, LOCKED_ILLEGAL}, \
    {name, (opcode) + 3, -1, GROUP_ARITHMETIC, NO_IMMEDIATE, undefined, 0, LOCKED_ILLEGAL}, \
    {name, 0x80, number, GROUP_ARITHMETIC, IMMEDIATE_BYTE, undefined, 0, lock}, \
    {name, 0x81, number, GROUP_ARITHMETIC, IMMEDIATE_FULL, undefined, 0, lock}, \
    {name, 0x83, number, GROUP_ARITHMETIC, IMMEDIATE_BYTE, undefined, 0, lock}
#define A(name, opcode, extension, immediate, undefined, special) \
    {name, opcode, extension, GROUP_ARITHMETIC, immediate, undefined, 0, special}
#define SHIFT(name, number, undefined) \
    {name, 0xc0, number, GROUP_SHIFT, IMMEDIATE_BYTE, undefined, 0, LOCKED_ILLEGAL}, \
    {name, 0xc1, number, GROUP_SHIFT, IMMEDIATE_BYTE, undefined, 0, 0}, \
    {name, 0xd0, number, GROUP_SHIFT, NO_IMMEDIATE, undefined, 0, 0}, \
    {name, 0xd1, number, GROUP_SHIFT, NO_IMMEDIATE, undefined, 0, 0}, \
    {name, 0xd2, number, GROUP_SHIFT, NO_IMMEDIATE, undefined, 0, 0}, \
    {name, 0xd3, number, GROUP_SHIFT, NO_IMMEDIATE, undefined, 0, 0}
#define BIT(name, number, lock) \
    {name, 0x0fa3 + ((number) - 4) * 8, -1, GROUP_BIT, NO_IMMEDIATE, UNDEFINED_BIT, 0, BIT_NUMBER | (lock)}, \
    {name, 0x0fba, number, GROUP_BIT, IMMEDIATE_BYTE, UNDEFINED_BIT, 0, lock}
#define X(name, opcode, extension, special) \
    {name, opcode, extension, GROUP_EXCHANGE, NO_IMMEDIATE, UNDEFINED_NONE, 0, special}
#define MUL(name, number, undefined) \
    {name, 0xf6, number, GROUP_MULTIPLY, NO_IMMEDIATE, undefined, 0, 0}, \
    {name, 0xf7, number, GROUP_MULTIPLY, NO_IMMEDIATE, undefined, 0, LOCKED_ILLEGAL}
#define CONDITION(number) \
    {"setcc", 0x0f90 + (number), 0, GROUP_CONDITION, NO_IMMEDIATE, UNDEFINED_NONE, 0, 0}, \
    {"cmovcc", 0x0f40 + (number), -1, GROUP_CONDITION, NO_IMMEDIATE, UNDEFINED_NONE, 0, 0}
#define S(name, opcode, special) \
    {name, opcode, -1, GROUP_STRING, NO_IMMEDIATE, UNDEFINED_NONE, 0, STRING | NO_MODRM | (special)}, \
    {name, (opcode) + 1, -1, GROUP_STRING, NO_IMMEDIATE, UNDEFINED_NONE, 0, STRING | NO_MODRM | (special)}
#define K(name, opcode, immediate, special) \
    {name, opcode, -1, GROUP_STACK, immediate, UNDEFINED_NONE, 0, NO_MODRM | (special)}
#define G(name, opcode, extension, special) \
    {name, opcode, extension, GROUP_SEGMENT, NO_IMMEDIATE, UNDEFINED_NONE, 0, special}
#define F(name, opcode, extension) {name, opcode, extension, GROUP_FLOAT, NO_IMMEDIATE, UNDEFINED_NONE, 0, 0}
#define F8(name, opcode) \
    F(name, opcode, 0), F(name, opcode, 1), F(name, opcode, 2), F(name, opcode, 3), \
    F(name, opcode, 4), F(name, opcode, 5), F(name, opcode, 6), F(name, opcode, 7)
#define V(name, opcode, prefix, special) \
    {name, 0x0f00 + (opcode), -1, GROUP_VECTOR, NO_IMMEDIATE, UNDEFINED_NONE, prefix, NO_66 | (special)}
/* Packed and of one number. */
#define V2(name, opcode) V(name, opcode, 0, WIDE), V(name, opcode, 0x66, WIDE)
#define V4(name, opcode) V2(name, opcode), V(name, opcode, 0xf3, 0), V(name, opcode, 0xf2, 0)
/* Whole numbers, of MMX and SSE. */
#define I2(name, opcode) V(name, opcode, 0, 0), V(name, opcode, 0x66, WIDE)

const struct form forms[] = {
    M("mov", 0x88, -1, NO_IMMEDIATE, LOCKED_ILLEGAL), M("mov", 0x89, -1, NO_IMMEDIATE, 0),
    M("mov", 0x8a, -1, NO_IMMEDIATE, 0), M("mov", 0x8b, -1, NO_IMMEDIATE, LOCKED_ILLEGAL),
    M("mov", 0xc6, 0, IMMEDIATE_BYTE, 0), M("mov", 0xc7, 0, IMMEDIATE_FULL, 0),
    M("mov", 0xa0, -1, NO_IMMEDIATE, OFFSET | NO_MODRM), M("mov", 0xa1, -1, NO_IMMEDIATE, OFFSET | NO_MODRM),
    M("mov", 0xa2, -1, NO_IMMEDIATE, OFFSET | NO_MODRM), M("mov", 0xa3, -1, NO_IMMEDIATE, OFFSET | NO_MODRM),
    M("movzx", 0x0fb6, -1, NO_IMMEDIATE, 0), M("movzx", 0x0fb7, -1, NO_IMMEDIATE, 0),
    M("movsx", 0x0fbe, -1, NO_IMMEDIATE, 0), M("movsx", 0x0fbf, -1, NO_IMMEDIATE, 0),
    M("movsxd", 0x63, -1, NO_IMMEDIATE, LONG_ONLY), M("movnti", 0x0fc3, -1, NO_IMMEDIATE, NO_66),
    M("movbe", 0x38f0, -1, NO_IMMEDIATE, 0), M("movbe", 0x38f1, -1, NO_IMMEDIATE, 0),
    M("xlat", 0xd7, -1, NO_IMMEDIATE, TABLE_BYTE | NO_MODRM), M("lea", 0x8d, -1, NO_IMMEDIATE, 0),

    ROW("add", 0x00, 0, UNDEFINED_NONE, LOCKABLE), ROW("or", 0x08, 1, UNDEFINED_AF, LOCKABLE),
    ROW("adc", 0x10, 2, UNDEFINED_NONE, LOCKABLE), ROW("sbb", 0x18, 3, UNDEFINED_NONE, LOCKABLE),
    ROW("and", 0x20, 4, UNDEFINED_AF, LOCKABLE), ROW("sub", 0x28, 5, UNDEFINED_NONE, LOCKABLE),
    ROW("xor", 0x30, 6, UNDEFINED_AF, LOCKABLE), ROW("cmp", 0x38, 7, UNDEFINED_NONE, LOCKED_ILLEGAL),
    A("test", 0x84, -1, NO_IMMEDIATE, UNDEFINED_AF, 0), A("test", 0x85, -1, NO_IMMEDIATE, UNDEFINED_AF, LOCKED_ILLEGAL),
    A("test", 0xf6, 0, IMMEDIATE_BYTE, UNDEFINED_AF, 0), A("test", 0xf7, 0, IMMEDIATE_FULL, UNDEFINED_AF, 0),
    A("not", 0xf6, 2, NO_IMMEDIATE, UNDEFINED_NONE, LOCKABLE), A("not", 0xf7, 2, NO_IMMEDIATE, UNDEFINED_NONE, LOCKABLE),
    A("neg", 0xf6, 3, NO_IMMEDIATE, UNDEFINED_NONE, LOCKABLE), A("neg", 0xf7, 3, NO_IMMEDIATE, UNDEFINED_NONE, LOCKABLE),
    A("inc", 0xfe, 0, NO_IMMEDIATE, UNDEFINED_NONE, LOCKABLE), A("inc", 0xff, 0, NO_IMMEDIATE, UNDEFINED_NONE, LOCKABLE),
    A("dec", 0xfe, 1, NO_IMMEDIATE, UNDEFINED_NONE, LOCKABLE), A("dec", 0xff, 1, NO_IMMEDIATE, UNDEFINED_NONE, LOCKABLE),

    SHIFT("rol", 0, UNDEFINED_ROTATE), SHIFT("ror", 1, UNDEFINED_ROTATE), SHIFT("rcl", 2, UNDEFINED_ROTATE),
    SHIFT("rcr", 3, UNDEFINED_ROTATE), SHIFT("shl", 4, UNDEFINED_SHIFT), SHIFT("shr", 5, UNDEFINED_SHIFT),
    SHIFT("sar", 7, UNDEFINED_SHIFT),
    {"shld", 0x0fa4, -1, GROUP_SHIFT, IMMEDIATE_BYTE, UNDEFINED_DOUBLE, 0, 0},
    {"shld", 0x0fa5, -1, GROUP_SHIFT, NO_IMMEDIATE, UNDEFINED_DOUBLE, 0, LOCKED_ILLEGAL},
    {"shrd", 0x0fac, -1, GROUP_SHIFT, IMMEDIATE_BYTE, UNDEFINED_DOUBLE, 0, 0},
    {"shrd", 0x0fad, -1, GROUP_SHIFT, NO_IMMEDIATE, UNDEFINED_DOUBLE, 0, 0},

    BIT("bt", 4, LOCKED_ILLEGAL), BIT("bts", 5, LOCKABLE), BIT("btr", 6, LOCKABLE), BIT("btc", 7, LOCKABLE),
    {"bsf", 0x0fbc, -1, GROUP_BIT, NO_IMMEDIATE, UNDEFINED_SCAN, 0, 0},
    {"bsr", 0x0fbd, -1, GROUP_BIT, NO_IMMEDIATE, UNDEFINED_SCAN, 0, 0},
    {"tzcnt", 0x0fbc, -1, GROUP_BIT, NO_IMMEDIATE, UNDEFINED_COUNT, 0xf3, 0},
    {"lzcnt", 0x0fbd, -1, GROUP_BIT, NO_IMMEDIATE, UNDEFINED_COUNT, 0xf3, 0},
    {"popcnt", 0x0fb8, -1, GROUP_BIT, NO_IMMEDIATE, UNDEFINED_NONE, 0xf3, 0},

    X("xchg", 0x86, -1, LOCKABLE), X("xchg", 0x87, -1, LOCKABLE), X("xadd", 0x0fc0, -1, LOCKABLE),
    X("xadd", 0x0fc1, -1, LOCKABLE), X("cmpxchg", 0x0fb0, -1, LOCKABLE | COMPARES),
    X("cmpxchg", 0x0fb1, -1, LOCKABLE | COMPARES), X("cmpxchg8b", 0x0fc7, 1, LOCKABLE | WIDE | NO_66),

    MUL("mul", 4, UNDEFINED_MULTIPLY), MUL("imul", 5, UNDEFINED_MULTIPLY), MUL("div", 6, UNDEFINED_DIVIDE),
    MUL("idiv", 7, UNDEFINED_DIVIDE),
    {"imul", 0x0faf, -1, GROUP_MULTIPLY, NO_IMMEDIATE, UNDEFINED_MULTIPLY, 0, 0},
    {"imul", 0x69, -1, GROUP_MULTIPLY, IMMEDIATE_FULL, UNDEFINED_MULTIPLY, 0, 0},
    {"imul", 0x6b, -1, GROUP_MULTIPLY, IMMEDIATE_BYTE, UNDEFINED_MULTIPLY, 0, 0},
    {"bound", 0x62, -1, GROUP_MULTIPLY, NO_IMMEDIATE, UNDEFINED_NONE, 0, NOT_LONG},

    CONDITION(0), CONDITION(1), CONDITION(2), CONDITION(3), CONDITION(4), CONDITION(5), CONDITION(6), CONDITION(7),
    CONDITION(8), CONDITION(9), CONDITION(10), CONDITION(11), CONDITION(12), CONDITION(13), CONDITION(14), CONDITION(15),

    S("movs", 0xa4, 0), S("stos", 0xaa, 0), S("lods", 0xac, 0), S("cmps", 0xa6, REPEATS_IF), S("scas", 0xae, REPEATS_IF),

    K("push", 0x50, NO_IMMEDIATE, 0), K("push", 0x55, NO_IMMEDIATE, 0), K("push", 0x54, NO_IMMEDIATE, 0),
    K("pop", 0x58, NO_IMMEDIATE, 0), K("pop", 0x5d, NO_IMMEDIATE, 0), K("pop", 0x5c, NO_IMMEDIATE, 0),
    K("push", 0x68, IMMEDIATE_FULL, 0), K("push", 0x6a, IMMEDIATE_BYTE, 0), K("pusha", 0x60, NO_IMMEDIATE, NOT_LONG),
    K("popa", 0x61, NO_IMMEDIATE, NOT_LONG), K("pushf", 0x9c, NO_IMMEDIATE, 0), K("popf", 0x9d, NO_IMMEDIATE, 0),
    K("enter", 0xc8, IMMEDIATE_FRAME, FRAME), K("leave", 0xc9, NO_IMMEDIATE, FRAME),
    {"push", 0xff, 6, GROUP_STACK, NO_IMMEDIATE, UNDEFINED_NONE, 0, 0},
    {"pop", 0x8f, 0, GROUP_STACK, NO_IMMEDIATE, UNDEFINED_NONE, 0, 0},

    {"call", 0xff, 2, GROUP_BRANCH, NO_IMMEDIATE, UNDEFINED_NONE, 0, BRANCHES | NO_66},
    {"jmp", 0xff, 4, GROUP_BRANCH, NO_IMMEDIATE, UNDEFINED_NONE, 0, BRANCHES | NO_66},
    {"call far", 0xff, 3, GROUP_BRANCH, NO_IMMEDIATE, UNDEFINED_NONE, 0, BRANCHES | FAR},
    {"jmp far", 0xff, 5, GROUP_BRANCH, NO_IMMEDIATE, UNDEFINED_NONE, 0, BRANCHES | FAR},
    {"ret far", 0xcb, -1, GROUP_BRANCH, NO_IMMEDIATE, UNDEFINED_NONE, 0, BRANCHES | FAR | NO_MODRM},
    {"ret far", 0xca, -1, GROUP_BRANCH, IMMEDIATE_WORD, UNDEFINED_NONE, 0, BRANCHES | FAR | NO_MODRM},
    {"iret", 0xcf, -1, GROUP_BRANCH, NO_IMMEDIATE, UNDEFINED_NONE, 0, BRANCHES | FAR | NO_MODRM},
    {"ret", 0xc3, -1, GROUP_BRANCH, NO_IMMEDIATE, UNDEFINED_NONE, 0, BRANCHES | NO_66 | NO_MODRM},
    {"ret", 0xc2, -1, GROUP_BRANCH, IMMEDIATE_WORD, UNDEFINED_NONE, 0, BRANCHES | NO_66 | NO_MODRM},

    G("mov from es", 0x8c, 0, 0), G("mov from ss", 0x8c, 2, 0), G("mov from gs", 0x8c, 5, 0),
    G("mov to es", 0x8e, 0, SELECTOR), G("mov to ds", 0x8e, 3, SELECTOR), G("mov to fs", 0x8e, 4, SELECTOR),
    G("mov to gs", 0x8e, 5, SELECTOR), G("mov to ss", 0x8e, 2, SELECTOR | LOADS_STACK),
    G("les", 0xc4, -1, FAR | NOT_LONG), G("lds", 0xc5, -1, FAR | NOT_LONG), G("lss", 0x0fb2, -1, FAR | LOADS_STACK),
    G("lfs", 0x0fb4, -1, FAR), G("lgs", 0x0fb5, -1, FAR),
    G("push es", 0x06, -1, NO_MODRM | NOT_LONG), G("push fs", 0x0fa0, -1, NO_MODRM), G("push gs", 0x0fa8, -1, NO_MODRM),
    G("pop ds", 0x1f, -1, NO_MODRM | NOT_LONG | SELECTOR), G("pop fs", 0x0fa1, -1, NO_MODRM | SELECTOR),
    G("pop gs", 0x0fa9, -1, NO_MODRM | SELECTOR), G("pop ss", 0x17, -1, NO_MODRM | NOT_LONG | SELECTOR | LOADS_STACK),
    G("arpl", 0x63, -1, NOT_LONG), {"lar", 0x0f02, -1, GROUP_SEGMENT, NO_IMMEDIATE, UNDEFINED_RIGHTS, 0, SELECTOR}, G("lsl", 0x0f03, -1, SELECTOR),
    G("verr", 0x0f00, 4, SELECTOR), G("verw", 0x0f00, 5, SELECTOR), G("lldt", 0x0f00, 2, SELECTOR | SYSTEM),
    G("ltr", 0x0f00, 3, SELECTOR | SYSTEM),

    {"sgdt", 0x0f01, 0, GROUP_TABLE, NO_IMMEDIATE, UNDEFINED_NONE, 0, NO_66},
    {"sidt", 0x0f01, 1, GROUP_TABLE, NO_IMMEDIATE, UNDEFINED_NONE, 0, NO_66},
    {"lgdt", 0x0f01, 2, GROUP_TABLE, NO_IMMEDIATE, UNDEFINED_NONE, 0, 0},
    {"lidt", 0x0f01, 3, GROUP_TABLE, NO_IMMEDIATE, UNDEFINED_NONE, 0, 0},
    {"sldt", 0x0f00, 0, GROUP_TABLE, NO_IMMEDIATE, UNDEFINED_NONE, 0, 0},
    {"str", 0x0f00, 1, GROUP_TABLE, NO_IMMEDIATE, UNDEFINED_NONE, 0, 0},

    F8("x87 of 32 bits", 0xd8), F8("x87 of 64 bits", 0xdc), F8("x87 of 32-bit integers", 0xda),
    F8("x87 of 16-bit integers", 0xde), F("fld", 0xd9, 0), F("fst", 0xd9, 2), F("fstp", 0xd9, 3), F("fldcw", 0xd9, 5),
    F("fnstcw", 0xd9, 7), F("fild", 0xdb, 0), F("fisttp", 0xdb, 1), F("fist", 0xdb, 2), F("fistp", 0xdb, 3),
    F("fld", 0xdb, 5), F("fstp", 0xdb, 7), F("fld", 0xdd, 0), F("fisttp", 0xdd, 1), F("fst", 0xdd, 2), F("fstp", 0xdd, 3),
    F("fnstsw", 0xdd, 7), F("fild", 0xdf, 0), F("fisttp", 0xdf, 1), F("fist", 0xdf, 2), F("fistp", 0xdf, 3),
    F("fbld", 0xdf, 4), F("fild", 0xdf, 5), F("fbstp", 0xdf, 6), F("fistp", 0xdf, 7),

    V("movups", 0x10, 0, 0), V("movss", 0x10, 0xf3, 0), V("movsd", 0x11, 0xf2, 0), V("movlps", 0x12, 0, 0),
    V("movhpd", 0x17, 0x66, 0), V2("movaps", 0x28), V2("movaps", 0x29), V("movntps", 0x2b, 0, WIDE), V("movd", 0x6e, 0, 0),
    V("movd", 0x7e, 0x66, 0), V("movq", 0x7e, 0xf3, 0), V("movq", 0x6f, 0, 0), V("movdqa", 0x6f, 0x66, WIDE),
    V("movdqu", 0x7f, 0xf3, 0), V("movq", 0x7f, 0, 0), V("movntq", 0xe7, 0, 0), V("movq", 0xd6, 0x66, 0),
    V2("unpcklps", 0x14), V2("unpckhps", 0x15), V("ucomiss", 0x2e, 0, 0), V("ucomisd", 0x2e, 0x66, 0), V("comiss", 0x2f, 0, 0),
    V("comisd", 0x2f, 0x66, 0), V4("sqrt", 0x51), V("rsqrtps", 0x52, 0, WIDE), V("rcpss", 0x53, 0xf3, 0), V2("andps", 0x54),
    V2("andnps", 0x55), V2("orps", 0x56), V2("xorps", 0x57), V4("add", 0x58), V4("mul", 0x59), V("cvtps2pd", 0x5a, 0, 0),
    V("cvtpd2ps", 0x5a, 0x66, WIDE), V("cvtss2sd", 0x5a, 0xf3, 0), V("cvtsd2ss", 0x5a, 0xf2, 0), V2("cvtdq2ps", 0x5b),
    V("cvttps2dq", 0x5b, 0xf3, WIDE), V4("sub", 0x5c), V4("min", 0x5d), V4("div", 0x5e), V4("max", 0x5f),
    V("cvtdq2pd", 0xe6, 0xf3, 0), V("cvttpd2dq", 0xe6, 0x66, WIDE), V("cvtpd2dq", 0xe6, 0xf2, WIDE),
    V("punpcklqdq", 0x6c, 0x66, WIDE), V("punpckhqdq", 0x6d, 0x66, WIDE),
    I2("punpcklbw", 0x60), I2("punpcklwd", 0x61), I2("punpckldq", 0x62), I2("packsswb", 0x63), I2("pcmpgtb", 0x64),
    I2("pcmpgtw", 0x65), I2("pcmpgtd", 0x66), I2("packuswb", 0x67), I2("punpckhbw", 0x68), I2("punpckhwd", 0x69),
    I2("punpckhdq", 0x6a), I2("packssdw", 0x6b), I2("pcmpeqb", 0x74), I2("pcmpeqw", 0x75), I2("pcmpeqd", 0x76),
    I2("psrlw", 0xd1), I2("psrld", 0xd2), I2("psrlq", 0xd3), I2("paddq", 0xd4), I2("pmullw", 0xd5),
    I2("psubusb", 0xd8), I2("psubusw", 0xd9), I2("pminub", 0xda), I2("pand", 0xdb), I2("paddusb", 0xdc),
    I2("paddusw", 0xdd), I2("pmaxub", 0xde), I2("pandn", 0xdf), I2("pavgb", 0xe0), I2("psraw", 0xe1),
    I2("psrad", 0xe2), I2("pavgw", 0xe3), I2("pmulhuw", 0xe4), I2("pmulhw", 0xe5), I2("psubsb", 0xe8),
    I2("psubsw", 0xe9), I2("pminsw", 0xea), I2("por", 0xeb), I2("paddsb", 0xec), I2("paddsw", 0xed),
    I2("pmaxsw", 0xee), I2("pxor", 0xef), I2("psllw", 0xf1), I2("pslld", 0xf2), I2("psllq", 0xf3),
    I2("pmuludq", 0xf4), I2("pmaddwd", 0xf5), I2("psadbw", 0xf6), I2("psubb", 0xf8), I2("psubw", 0xf9),
    I2("psubd", 0xfa), I2("psubq", 0xfb), I2("paddb", 0xfc), I2("paddw", 0xfd), I2("paddd", 0xfe),
};
/* clang-format on */
const unsigned form_count = sizeof forms / sizeof *forms;
