/*
 * The VMM's instruction executor against the processor on which Septum runs, emulated or not: a vCPU runs one
 * instruction from a random state, the executor runs it on a copy of that state, and all that came of it is compared.
 *
 *     forms.c    what instructions there are, and which of their flags the manual leaves undefined
 *     modes.c    the states in which they run: real mode to long mode, segments, page tables
 *     vectors.c  registers of x87, MMX and SSE
 *     build.c    one random instruction with registers that make it reach the window
 *     known.c    differences that have a reason
 *     main.c     runs, compares, counts
 */
#ifndef TESTS_EXECUTE_COMPARE_H
#define TESTS_EXECUTE_COMPARE_H

#include "tests/kernel/vm.h"

#include "serial.h"

#include "vmm-server/cpu/execute.h"

/* Guest-physical memory; without paging, linear addresses are the same. With it, the pages of the window are in another
 * order. */
#define GUEST_PAGES       32u
#define TABLES            0x1000u /* up to four pages, the root first, the page table last */
#define TABLES_BYTES      0x4000u
#define DESCRIPTORS       0x8000u
#define DESCRIPTOR_COUNT  32u
#define LOCAL_DESCRIPTORS (DESCRIPTORS + 0x800u)
#define CODE              0xb000u
#define CODE_BYTES        0x2000u
#define WINDOW            0x10000u
#define WINDOW_PAGES      4u
#define WINDOW_BYTES      (WINDOW_PAGES * 4096u)
#define STACK_AT          0x2800u /* about there in the window */

/* ---- Forms ----------------------------------------------------------------------------------- */

enum group {
    GROUP_MOVE,
    GROUP_ARITHMETIC,
    GROUP_SHIFT,
    GROUP_BIT,
    GROUP_EXCHANGE,
    GROUP_MULTIPLY,
    GROUP_CONDITION,
    GROUP_STRING,
    GROUP_STACK,
    GROUP_BRANCH,
    GROUP_SEGMENT,
    GROUP_TABLE,
    GROUP_FLOAT,  /* x87 */
    GROUP_VECTOR, /* MMX, SSE */
    GROUP_COUNT
};

enum immediate { NO_IMMEDIATE, IMMEDIATE_BYTE, IMMEDIATE_WORD, IMMEDIATE_FULL, IMMEDIATE_FRAME };

enum special {
    LONG_ONLY = 1,
    NOT_LONG = 2,
    NO_MODRM = 4,
    LOCKABLE = 8,
    LOCKED_ILLEGAL = 16, /* LOCK is tried, and is an invalid opcode */
    BIT_NUMBER = 32,     /* the register is a bit's number, also beyond the operand */
    COMPARES = 64,       /* every other time the operand is what the accumulator has */
    WIDE = 128,          /* twice the operand, aligned if that is 16 bytes */
    BRANCHES = 256,      /* the operand is an address of the code page */
    STRING = 512,
    REPEATS_IF = 1024, /* CMPS and SCAS */
    TABLE_BYTE = 2048, /* XLAT */
    OFFSET = 4096,     /* the address stands in the instruction */
    FAR = 8192,        /* the operand ends in a selector */
    SELECTOR = 16384,  /* the operand is a selector */
    FRAME = 32768,     /* BP points into the stack */
    NO_66 = 65536,
    LOADS_STACK = 131072, /* SS */
    SYSTEM = 262144,      /* LDT and TSS */
};

/* Which flags the manual leaves undefined. */
enum undefined {
    UNDEFINED_NONE,
    UNDEFINED_AF,     /* logic (SDM 2A, AND) */
    UNDEFINED_SHIFT,  /* by the count: SDM 2B, SAL/SAR/SHL/SHR */
    UNDEFINED_ROTATE, /* OF unless the count is 1: SDM 2B, RCL/RCR/ROL/ROR */
    UNDEFINED_DOUBLE, /* SDM 2B, SHLD: also the result, if the count is above the operand's size */
    UNDEFINED_BIT,    /* all but CF and ZF: SDM 2A, BT */
    UNDEFINED_MULTIPLY, /* SF ZF AF PF: SDM 2A, IMUL, and 2B, MUL */
    UNDEFINED_DIVIDE,   /* all: SDM 2A, DIV */
    UNDEFINED_SCAN,     /* all but ZF; the register, if there is no bit: SDM 2A, BSF */
    UNDEFINED_COUNT,    /* all but CF and ZF: SDM 2A, LZCNT */
    UNDEFINED_RIGHTS,   /* no flag, but bits 16 to 19 of the register: SDM 2A, LAR */
};

struct form {
    const char *name;
    uint16_t opcode;  /* 0x0fxx and 0x38xx: with 0F and 0F 38 before */
    int8_t extension; /* -1: a register in ModRM */
    uint8_t group, immediate, undefined, prefix;
    uint32_t special;
};

extern const struct form forms[];
extern const unsigned form_count;
extern const char *const group_names[GROUP_COUNT];

/* ---- Modes ----------------------------------------------------------------------------------- */

enum mode {
    MODE_REAL,
    MODE_VIRTUAL_8086,
    MODE_PROTECTED_16,
    MODE_PROTECTED_32,
    MODE_PAGED_16,
    MODE_PAGED_32,
    MODE_PAE_32,
    MODE_COMPATIBILITY_16,
    MODE_COMPATIBILITY_32,
    MODE_LONG,
    MODE_COUNT
};
extern const char *const mode_names[MODE_COUNT];

/* One case. */
struct trial {
    const struct form *form;
    enum mode mode;
    unsigned code_bytes, operand_bytes, address_bytes, level, segment, count;
    bool repeat, lock, paged;
    uint8_t bytes[20];
    unsigned length;
    uint64_t linear; /* of the instruction */
    uint64_t target; /* of its operand */
};

enum outcome_kind { DONE, FAULT, UNKNOWN, NOWHERE };

/* What came of a case, on either side. */
struct outcome {
    enum outcome_kind kind;
    uint64_t vector, error, cr2;
};

/* Is this difference explained? Counts it. */
bool known_difference(const struct trial *trial, const struct outcome *hard,
                      const struct outcome *soft);
void known_print(void);

extern struct vm machine;
extern uint8_t copy[GUEST_PAGES * 4096]; /* the guest's memory for the executor */

unsigned pick(unsigned below);
/* Chooses the mode's state: control registers, segments, tables. */
void mode_enter(struct trial *trial, struct vcpu_state *state);
/* What of memory an instruction in this mode can change. An instruction that faults may have marked pages as accessed
 * that it did not come to (SDM 3A, 4.8). */
bool mode_memory_equal(const struct trial *trial, bool done);
/* Writes to the guest and to the copy. */
void both_write(uint64_t at, const void *data, size_t size_bytes);

/* Builds the instruction and fits registers and memory to it. mode_enter must have been called. */
void build(struct trial *trial, struct vcpu_state *state);

/* Random registers of x87, MMX and SSE into the vCPU and the state page; what the vCPU has into the state page. */
void vectors_fill(struct vcpu_state *state);
void vectors_take(void);
bool vectors_equal(const struct vcpu_state *a, const struct vcpu_state *b);
void vectors_show(const struct vcpu_state *before, const struct vcpu_state *hard,
                  const struct vcpu_state *soft);

static inline bool has_vectors(const struct trial *trial)
{
    return trial->form->group == GROUP_FLOAT || trial->form->group == GROUP_VECTOR;
}

static inline bool on_long(const struct trial *trial)
{
    return trial->mode == MODE_LONG;
}

#endif
