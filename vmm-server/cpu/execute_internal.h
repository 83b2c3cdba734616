/* Between the files of the instruction executor: cpu/execute*.c. */
#ifndef VMM_CPU_EXECUTE_INTERNAL_H
#define VMM_CPU_EXECUTE_INTERNAL_H

#include "cpu/execute.h"

#include <stddef.h>

enum opcode_map {
    MAP_ONE_BYTE,
    MAP_0F,
    MAP_0F38,
    MAP_0F3A,
    MAP_VEX_0F,
    MAP_VEX_0F38,
    MAP_VEX_0F3A,
    MAP_OTHER
};
enum repeat { REPEAT_NONE, REPEAT_EQUAL = 0xf3, REPEAT_NOT_EQUAL = 0xf2 };

#define REGISTER_NONE 0xffu
#define REGISTER_RIP  0xfeu

/* One translated page of a string instruction's source or destination. */
struct execute_page {
    uint64_t linear, gpa;
    unsigned access; /* 0: none */
};

struct execution {
    struct execute_world *world;
    struct vcpu_state *state;
    struct instruction in;
    uint64_t rip_mask, next_rip, flags, event;
    uint32_t changed;
    unsigned code_bytes; /* 2, 4, 8: the size of code */
    unsigned user;       /* EXECUTE_ACCESS_USER or 0 */
    bool one_access;     /* its only memory operand is the one that the exit was for */
    const char *what;
    struct execute_page pages[2];
};

#define TRY(expression)                             \
    do {                                            \
        enum execute_result result_ = (expression); \
        if (result_ != EXECUTE_DONE)                \
            return result_;                         \
    } while (0)

enum exception {
    EXCEPTION_DIVIDE = 0,
    EXCEPTION_DEBUG = 1,
    EXCEPTION_BOUND = 5,
    EXCEPTION_INVALID_OPCODE = 6,
    EXCEPTION_NO_DEVICE = 7, /* no vector registers now */
    EXCEPTION_TASK = 10,     /* a task's segment is invalid */
    EXCEPTION_NOT_PRESENT = 11,
    EXCEPTION_STACK = 12,
    EXCEPTION_PROTECTION = 13,
    EXCEPTION_PAGE = 14,
    EXCEPTION_FLOAT = 16,
    EXCEPTION_VECTOR = 19,
};

enum rflags {
    RFLAGS_CF = 1 << 0,
    RFLAGS_PF = 1 << 2,
    RFLAGS_AF = 1 << 4,
    RFLAGS_ZF = 1 << 6,
    RFLAGS_SF = 1 << 7,
    RFLAGS_TF = 1 << 8,
    RFLAGS_IF = 1 << 9,
    RFLAGS_DF = 1 << 10,
    RFLAGS_OF = 1 << 11,
    RFLAGS_IOPL = 3 << 12,
    RFLAGS_NT = 1 << 14,
    RFLAGS_RF = 1 << 16,
    RFLAGS_VM = 1 << 17,
    RFLAGS_AC = 1 << 18,
    RFLAGS_ID = 1 << 21,
};

enum {
    CR0_PE = 1u << 0,
    CR0_EM = 1u << 2,
    CR0_TS = 1u << 3,
    CR0_NE = 1u << 5,
    CR0_WP = 1u << 16,
    CR0_PG = 1u << 31,
    CR4_VME = 1u << 0,
    CR4_PSE = 1u << 4,
    CR4_PAE = 1u << 5,
    CR4_OSFXSR = 1u << 9,
    CR4_OSXMMEXCPT = 1u << 10,
    CR4_UMIP = 1u << 11,
    CR4_LA57 = 1u << 12,
    CR4_OSXSAVE = 1u << 18,
    CR4_SMEP = 1u << 20,
    CR4_SMAP = 1u << 21,
};
#define EFER_LMA (1ull << 10)
#define EFER_NXE (1ull << 11)
#define XCR0_AVX 6u /* with SSE: AVX instructions need both */

/* With an error code: the selector whose descriptor is at fault, or 0. */
static inline enum execute_result execute_raise_error(struct execution *x, enum exception vector,
                                                      uint64_t error)
{
    x->event = VCPU_EVENT(vector, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR | error << 32;
    return EXECUTE_FAULT;
}

static inline enum execute_result execute_raise(struct execution *x, enum exception vector)
{
    if (vector > EXCEPTION_NO_DEVICE && vector < EXCEPTION_FLOAT)
        return execute_raise_error(x, vector, 0);
    x->event = VCPU_EVENT(vector, VCPU_EVENT_EXCEPTION);
    return EXECUTE_FAULT;
}

static inline enum execute_result execute_unknown(struct execution *x)
{
    x->what = x->in.name;
    return EXECUTE_UNKNOWN;
}

static inline uint64_t execute_mask(unsigned size_bytes)
{
    return size_bytes == 8 ? ~0ull : (1ull << size_bytes * 8) - 1;
}

/* execute_decode.c: the bytes at hand to an instruction. */
enum decode_result { DECODE_DONE, DECODE_SHORT, DECODE_TOO_LONG, DECODE_BAD_LOCK, DECODE_UNKNOWN };
enum decode_result execute_decode(struct instruction *in, const uint8_t *bytes, unsigned count,
                                  unsigned code_bytes);

/* execute_fast.c: the same for ordinary instructions of 64-bit code; false: ask execute_decode. */
bool execute_decode_fast(struct instruction *in, const uint8_t *bytes, unsigned count);

/* execute_memory.c. Linear accesses check nothing but paging; `offset` ones segments first. */
enum execute_result execute_linear(struct execution *x, unsigned segment, uint64_t offset,
                                   unsigned size_bytes, unsigned access, uint64_t *linear);
enum execute_result execute_gpa(struct execution *x, struct execute_page *page, uint64_t linear,
                                unsigned access, uint64_t *gpa);
enum execute_result execute_read(struct execution *x, struct execute_page *page, uint64_t linear,
                                 unsigned size_bytes, uint64_t *value);
enum execute_result execute_write(struct execution *x, struct execute_page *page, uint64_t linear,
                                  unsigned size_bytes, uint64_t value);
enum execute_result execute_probe(struct execution *x, uint64_t linear, unsigned size_bytes,
                                  unsigned access);
enum execute_result execute_probe_write(struct execution *x, uint64_t linear, unsigned size_bytes);
enum execute_result execute_fetch(struct execution *x);
/* Bytes of code, all in one page. */
enum execute_result execute_fetch_page(struct execution *x, uint64_t linear, uint8_t *bytes,
                                       unsigned count);
/* These groups of the state page are there in whole from here on. */
void execute_need(struct execute_world *world, uint32_t groups);
bool execute_canonical(const struct execution *x, uint64_t address);
uint64_t execute_effective(const struct execution *x);

/* execute_flags.c: operations with the processor's own flags. */
enum operation {
    OPERATION_ADD, /* the first eight as in the opcode map */
    OPERATION_OR,
    OPERATION_ADC,
    OPERATION_SBB,
    OPERATION_AND,
    OPERATION_SUB,
    OPERATION_XOR,
    OPERATION_CMP,
    OPERATION_ROL, /* as in group 2 */
    OPERATION_ROR,
    OPERATION_RCL,
    OPERATION_RCR,
    OPERATION_SHL,
    OPERATION_SHR,
    OPERATION_SAL,
    OPERATION_SAR,
    OPERATION_BT, /* as in group 8, from 4 */
    OPERATION_BTS,
    OPERATION_BTR,
    OPERATION_BTC,
    OPERATION_INC,
    OPERATION_DEC,
    OPERATION_NEG,
    OPERATION_NOT,
    OPERATION_TEST,
    OPERATION_MOVE, /* the second operand */
    OPERATION_COUNT,
    /* Of execute_double_shift alone. */
    OPERATION_SHLD = OPERATION_COUNT,
    OPERATION_SHRD,
};
uint64_t execute_operation(enum operation operation, unsigned size_bytes, uint64_t a, uint64_t b,
                           uint64_t *flags);
/* SHLD and SHRD: `a` takes in bits of `b`; count is not 0. */
uint64_t execute_double_shift(enum operation operation, unsigned size_bytes, uint64_t a, uint64_t b,
                              uint64_t count, uint64_t *flags);
bool execute_condition(unsigned condition, uint64_t flags);

/* execute.c: before an instruction is fetched. */
void execute_begin(struct execution *x, struct execute_world *world);
/* execute_operands.c: the spans of the instruction in x->in, whose bytes are `code`. */
enum execute_result execute_operands(struct execution *x, const uint8_t *code,
                                     struct execute_step *step);

/* execute.c. Registers by size: a write of 4 bytes clears the upper half. */
uint64_t execute_register(const struct execution *x, unsigned number, unsigned size_bytes);
void execute_set_register(struct execution *x, unsigned number, unsigned size_bytes,
                          uint64_t value);
enum execute_result execute_read_operand(struct execution *x, unsigned size_bytes, uint64_t *value);
enum execute_result execute_write_operand(struct execution *x, unsigned size_bytes, uint64_t value);

/* execute_modify.c, execute_string.c, execute_system.c: groups of instructions. */
enum execute_result execute_modify(struct execution *x, enum operation operation,
                                   unsigned size_bytes, uint64_t operand);
enum execute_result execute_bit_test(struct execution *x, unsigned size_bytes, uint64_t bit);
enum execute_result execute_exchange(struct execution *x, unsigned size_bytes);
enum execute_result execute_exchange_add(struct execution *x, unsigned size_bytes);
enum execute_result execute_compare_exchange(struct execution *x, unsigned size_bytes);
enum execute_result execute_compare_exchange_wide(struct execution *x);
enum execute_result execute_string(struct execution *x);
enum execute_result execute_control(struct execution *x);

/* execute_stack.c. Operands of the stack are as wide as execute_stack_operand says. */
unsigned execute_stack_operand(const struct execution *x);
enum execute_result execute_push(struct execution *x, unsigned size_bytes, uint64_t value);
/* What lies so many bytes above RSP; it stays there until execute_drop. */
enum execute_result execute_peek(struct execution *x, unsigned place, unsigned size_bytes,
                                 uint64_t *value);
void execute_drop(struct execution *x, unsigned count_bytes);
enum execute_result execute_group_5(struct execution *x);
enum execute_result execute_stack(struct execution *x);

/* execute_arithmetic.c */
enum execute_result execute_multiply_divide(struct execution *x, unsigned size_bytes);
enum execute_result execute_multiply(struct execution *x);
enum execute_result execute_scan(struct execution *x);
enum execute_result execute_three_byte(struct execution *x);
enum execute_result execute_translate_byte(struct execution *x);
enum execute_result execute_bound(struct execution *x);

/* execute_segment.c */
enum descriptor {
    DESCRIPTOR_ACCESSED = 1 << 0,
    DESCRIPTOR_READABLE = 1 << 1, /* code; data: writable */
    DESCRIPTOR_CONFORMING = 1 << 2,
    DESCRIPTOR_CODE = 1 << 3,
    DESCRIPTOR_ORDINARY = 1 << 4, /* code or data, no system segment */
    DESCRIPTOR_PRESENT = 1 << 7,
    DESCRIPTOR_LONG = 1 << 13,
    DESCRIPTOR_BIG = 1 << 14,
    DESCRIPTOR_PAGES = 1 << 15, /* its limit counts pages */
};

/* Of system segments (SDM 3A, table 3-2). */
enum system_type {
    TYPE_TSS_16 = 1,
    TYPE_LDT = 2,
    TYPE_TSS_16_BUSY = 3,
    TYPE_CALL_GATE_16 = 4,
    TYPE_TASK_GATE = 5,
    TYPE_TSS = 9,
    TYPE_TSS_BUSY = 11,
    TYPE_CALL_GATE = 12,
};
#define TYPE_BUSY         2u /* the bit that makes a task's segment busy */

#define LEVEL(attributes) ((attributes) >> 5 & 3u)
#define SELECTOR_TABLE    4u /* of the local table */
#define SELECTOR_BITS     0xfffcu

enum execute_result execute_move_segment(struct execution *x);
enum execute_result execute_stack_segment(struct execution *x);
enum execute_result execute_load_far(struct execution *x);
enum execute_result execute_adjust_level(struct execution *x);
enum execute_result execute_table(struct execution *x);
/* Real and virtual-8086 mode: a segment is sixteen times its number. */
bool execute_plain_segments(const struct execution *x);
unsigned execute_level(const struct execution *x);
/* Is the selector's entry within its table? */
bool execute_has_descriptor(struct execution *x, uint16_t selector);
enum execute_result execute_read_descriptor(struct execution *x, uint16_t selector,
                                            uint64_t *linear, uint64_t *descriptor);
enum execute_result execute_read_descriptor_at(struct execution *x, uint64_t linear,
                                               uint64_t *descriptor);
struct vcpu_segment execute_segment_of(uint16_t selector, uint64_t descriptor);
/* Sets a bit of the descriptor's type, there and in the segment. */
enum execute_result execute_mark_descriptor(struct execution *x, uint64_t linear,
                                            struct vcpu_segment *segment, uint32_t bit);
enum execute_result execute_mark_accessed(struct execution *x, uint64_t linear,
                                          struct vcpu_segment *segment);

/* execute_far.c */
/* What a branch goes to, checked; nothing is changed until it is taken. */
struct execute_target {
    struct vcpu_segment code;
    uint64_t offset, linear; /* of the descriptor */
    bool plain, is_system;   /* a gate or a task: the rest of this is not filled */
};
/* `back`: a return, whose selector names the
 * level. */
enum execute_result execute_find_target(struct execution *x, uint64_t selector, uint64_t offset,
                                        bool back, struct execute_target *to);
enum execute_result execute_check_offset(struct execution *x, const struct execute_target *to);
/* CS is loaded, its level is this one. */
enum execute_result execute_take_target(struct execution *x, struct execute_target *to,
                                        unsigned level);
bool execute_in_long_mode(const struct execution *x);
bool execute_to_long_code(const struct execution *x, const struct execute_target *to);
enum execute_result execute_read_far(struct execution *x, uint64_t *offset, uint64_t *selector);
enum execute_result execute_branch_far(struct execution *x);
enum execute_result execute_load_rights(struct execution *x);
enum execute_result execute_system_segment(struct execution *x);

/* execute_gate.c: CALL or JMP to what is no code segment. */
enum execute_result execute_branch_system(struct execution *x, uint16_t selector, bool call);
/* SS and RSP become these, which belong to code of `level`. */
void execute_set_stack(struct execution *x, const struct vcpu_segment *stack, uint64_t pointer,
                       bool long_code);
/* What segments, pages and stack depend on, for a branch to another level, until it is known that all of it can be done. */
struct execute_side {
    struct vcpu_segment code, stack;
    uint64_t pointer, rip_mask;
    unsigned code_bytes, user;
};
struct execute_side execute_this_side(const struct execution *x);
void execute_change_side(struct execution *x, const struct execute_side *side);

/* execute_return.c */
enum execute_result execute_return_far(struct execution *x);
enum execute_result execute_return_interrupt(struct execution *x);

/* execute_task.c: by an instruction. */
enum execute_result execute_branch_task(struct execution *x, const struct execute_task_switch *to);

/* execute_again.c: what was just executed, if it is one of those. */
void execute_remember(const struct execution *x, uint64_t rip);
/* execute_walk.c: as execute_translate, if the walk is known and still good; else false. */
bool execute_walked(const struct execute_world *world, uint64_t linear, unsigned access,
                    uint64_t *gpa);
/* execute_memory.c: of INSTRUCTION_BYTES_MAX. */
bool execute_same_bytes(const uint8_t *a, const uint8_t *b);

/* execute_vector.c: the XSAVE image of the state page (SDM 1, 13.4; standard format). */
enum execute_image {
    EXECUTE_IMAGE_CONTROL = 0, /* FCW; the short tag word is at 4 */
    EXECUTE_IMAGE_STATUS = 2,
    EXECUTE_IMAGE_TAGS = 4,
    EXECUTE_IMAGE_OPCODE = 6,
    EXECUTE_IMAGE_CODE = 8, /* the last instruction of x87, and its operand */
    EXECUTE_IMAGE_DATA = 16,
    EXECUTE_IMAGE_MXCSR = 24, /* and its mask */
    EXECUTE_IMAGE_STACK = 32, /* ST(0) to ST(7), 16 bytes each */
    EXECUTE_IMAGE_XMM = 160,
    EXECUTE_IMAGE_LEGACY = 416,  /* what FXSAVE stores */
    EXECUTE_IMAGE_PRESENT = 512, /* XSTATE_BV: which parts are not as after a reset */
    EXECUTE_IMAGE_AVX = 576,     /* the upper halves of YMM0 to YMM15 (13.5.3) */
};
#define EXECUTE_PRESENT_X87   1ull
#define EXECUTE_PRESENT_SSE   2ull
#define EXECUTE_PRESENT_AVX   4ull
#define EXECUTE_PRESENT_UPPER 64ull /* the upper halves of ZMM0 to ZMM15 */
uint64_t execute_present(const struct execution *x);
/* A part that is as after a reset is written out, so that one register of it can be changed. */
void execute_make_present(struct execution *x, uint64_t part);
void execute_enter_mmx(struct execution *x);
/* What the system has turned off. */
enum execute_result execute_vectors_enabled(struct execution *x, bool mmx);
enum execute_result execute_vector(struct execution *x);
/* The prefix chooses: none, 66, F3, F2. */
enum vector_prefix { PLAIN, P66, PF3, PF2 };
enum vector_prefix execute_vector_prefix(const struct execution *x);

/* execute_avx.c */
enum execute_result execute_avx(struct execution *x);

/* execute_xsave.c */
enum execute_result execute_extended_state(struct execution *x);

/* execute_float.c */
/* Of MXCSR, what the processor has; the state page's `fpu` must be filled. */
uint32_t execute_mxcsr_mask(const struct execution *x);
/* An exception of x87 that was not masked waits for the next instruction (SDM 1, 8.6). */
enum execute_result execute_float_pending(struct execution *x);
enum execute_result execute_read_bytes(struct execution *x, uint64_t linear, void *data,
                                       unsigned size_bytes);
enum execute_result execute_write_bytes(struct execution *x, uint64_t linear, const void *data,
                                        unsigned size_bytes);
enum execute_result execute_x87(struct execution *x);
enum execute_result execute_vector_compute(struct execution *x, unsigned prefix);
/* What computes in a register of MMX or SSE, with an operand in memory. */
struct execute_sse {
    uint8_t bytes; /* 0: not done here */
    bool mmx, aligned, flags;
    uint64_t feature; /* that a processor may lack */
};
/* Fetches the operand, with all that is to be checked before; the rest of it becomes 0. */
enum execute_result execute_vector_load(struct execution *x, const struct execute_sse *form,
                                        uint8_t operand[16]);
/* The same, and runs `code`, which is the instruction between register 0 and what RSI points to, and RET. */
enum execute_result execute_vector_native(struct execution *x, const struct execute_sse *form,
                                          const uint8_t *code);

/* execute_sse.c */
enum execute_result execute_sse(struct execution *x, unsigned prefix);
enum execute_result execute_checksum(struct execution *x);
enum execute_result execute_vector_state(struct execution *x);

#endif
