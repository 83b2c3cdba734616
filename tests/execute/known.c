/*
 * Differences that are explained: what the manual leaves open, and faults of the emulators. Each is as narrow as it can
 * be, and counted.
 */
#include "compare.h"

#define ERROR_WRITE 2u /* of a page fault's code */

struct known {
    const char *name, *reason;
    bool qemu, bochs;
    bool (*is)(const struct trial *trial, const struct outcome *hard, const struct outcome *soft);
    uint64_t count;
};

static bool both_page_faults(const struct outcome *hard, const struct outcome *soft)
{
    return hard->kind == FAULT && soft->kind == FAULT && hard->vector == 14 && soft->vector == 14;
}

/* SDM 2B, PUSH: the upper part is written as 0 or not at all. */
static bool push_segment(const struct trial *trial, const struct outcome *hard,
                         const struct outcome *soft)
{
    unsigned opcode = trial->form->opcode;
    bool faults = soft->kind == FAULT && soft->vector != 6; /* of what is not written */
    return hard->kind == DONE && (soft->kind == DONE || faults) && trial->operand_bytes > 2 &&
           (opcode == 0x06 || opcode == 0x0fa0 || opcode == 0x0fa8);
}

/* Both fault: which part is looked at first decides about the fault, its address, and what is stored before it. */
static bool two_parts(const struct trial *trial, const struct outcome *hard,
                      const struct outcome *soft)
{
    bool table = trial->form->group == GROUP_TABLE || (trial->form->special & FAR);
    bool descriptors = hard->vector != 14 && soft->vector != 14 && hard->error && soft->error;
    return table && hard->kind == FAULT && soft->kind == FAULT && !descriptors;
}

static bool frame_16(const struct trial *trial, const struct outcome *hard,
                     const struct outcome *soft)
{
    (void)hard, (void)soft;
    return (trial->form->special & FRAME) && on_long(trial) && trial->operand_bytes == 2;
}

static bool enter_frame(const struct trial *trial, const struct outcome *hard,
                        const struct outcome *soft)
{
    return hard->kind == DONE && trial->form->opcode == 0xc8 &&
           (soft->kind == DONE || (soft->kind == FAULT && soft->vector == 14));
}

static bool modify_reads(const struct trial *trial, const struct outcome *hard,
                         const struct outcome *soft)
{
    uint64_t apart = hard->cr2 > soft->cr2 ? hard->cr2 - soft->cr2 : soft->cr2 - hard->cr2;
    (void)trial;
    return both_page_faults(hard, soft) && apart < 16 && !(hard->error & ERROR_WRITE) &&
           (soft->error & ERROR_WRITE);
}

static bool lock_double_shift(const struct trial *trial, const struct outcome *hard,
                              const struct outcome *soft)
{
    (void)hard;
    return trial->lock && soft->kind == FAULT && soft->vector == 6 &&
           (trial->form->special & LOCKED_ILLEGAL);
}

static bool movbe_16(const struct trial *trial, const struct outcome *hard,
                     const struct outcome *soft)
{
    (void)hard, (void)soft;
    return trial->form->opcode >> 8 == 0x38 &&
           (trial->code_bytes == 2 || trial->operand_bytes == 8);
}

static bool far_call(const struct trial *trial, const struct outcome *hard,
                     const struct outcome *soft)
{
    bool page_fault =
        (hard->kind == FAULT && hard->vector == 14) || (soft->kind == FAULT && soft->vector == 14);
    bool call = trial->form->opcode == 0xff && trial->form->extension == 3;
    return (trial->form->special & BRANCHES) && (trial->form->special & FAR) && page_fault &&
           (vm_is_qemu() || (call && trial->level == 3));
}

static bool far_wraps(const struct trial *trial, const struct outcome *hard,
                      const struct outcome *soft)
{
    (void)soft;
    return (trial->form->special & BRANCHES) && (trial->form->special & FAR) &&
           hard->kind == NOWHERE && !on_long(trial);
}

static bool return_limit(const struct trial *trial, const struct outcome *hard,
                         const struct outcome *soft)
{
    bool is_return = (trial->form->opcode & ~1u) == 0xca || trial->form->opcode == 0xcf;
    return is_return && hard->kind == DONE && soft->kind == FAULT && soft->vector == 13 &&
           soft->error == 0;
}

static bool return_stack(const struct trial *trial, const struct outcome *hard,
                         const struct outcome *soft)
{
    (void)soft;
    return trial->form->opcode == 0xcf && hard->kind == DONE && on_long(trial) &&
           trial->operand_bytes < 8;
}

static bool store_halves(const struct trial *trial, const struct outcome *hard,
                         const struct outcome *soft)
{
    return both_page_faults(hard, soft) && hard->cr2 == soft->cr2 && hard->error == soft->error &&
           trial->form->opcode == 0x0f7f && (trial->target & 4095) > 4096 - 16;
}

static bool null_task(const struct trial *trial, const struct outcome *hard,
                      const struct outcome *soft)
{
    return trial->form->opcode == 0x0f00 && trial->form->extension == 3 && hard->kind == DONE &&
           soft->kind == FAULT && soft->vector == 13 && soft->error == 0;
}

static bool system_long(const struct trial *trial, const struct outcome *hard,
                        const struct outcome *soft)
{
    return (trial->form->special & SYSTEM) && trial->mode >= MODE_COMPATIBILITY_16 &&
           hard->kind == DONE && soft->kind == FAULT && soft->vector == 13 && soft->error != 0;
}

static bool system_compatibility(const struct trial *trial, const struct outcome *hard,
                                 const struct outcome *soft)
{
    (void)hard, (void)soft;
    return (trial->form->special & SYSTEM) &&
           (trial->mode == MODE_COMPATIBILITY_16 || trial->mode == MODE_COMPATIBILITY_32);
}

/* The descriptor of 16 bytes can be wrong in several ways at once. */
static bool system_order(const struct trial *trial, const struct outcome *hard,
                         const struct outcome *soft)
{
    bool tells = (hard->vector == 11 || hard->vector == 13 || hard->vector == 14) &&
                 (soft->vector == 11 || soft->vector == 13 || soft->vector == 14);
    return (trial->form->special & SYSTEM) && trial->mode == MODE_LONG && hard->kind == FAULT &&
           soft->kind == FAULT && tells && hard->vector != soft->vector;
}

static bool rights_long(const struct trial *trial, const struct outcome *hard,
                        const struct outcome *soft)
{
    return (trial->form->opcode == 0x0f02 || trial->form->opcode == 0x0f03) &&
           trial->mode >= MODE_COMPATIBILITY_16 &&
           (hard->kind == DONE || (hard->kind == FAULT && hard->vector == 14)) &&
           soft->kind == DONE;
}

static bool table_canonical(const struct trial *trial, const struct outcome *hard,
                            const struct outcome *soft)
{
    return trial->form->group == GROUP_TABLE && hard->kind == DONE && soft->kind == FAULT &&
           soft->vector == 13 && on_long(trial);
}

static bool compare_order(const struct trial *trial, const struct outcome *hard,
                          const struct outcome *soft)
{
    return hard->kind == FAULT && soft->kind == FAULT && (trial->form->opcode & ~1u) == 0xa6;
}

static bool reserved_absent(const struct trial *trial, const struct outcome *hard,
                            const struct outcome *soft)
{
    (void)trial;
    return both_page_faults(hard, soft) && hard->cr2 == soft->cr2 && (soft->error & 9) == 9 &&
           ((hard->error | 1) == soft->error || (hard->error | 3) == soft->error);
}

static bool rotate_flags(const struct trial *trial, const struct outcome *hard,
                         const struct outcome *soft)
{
    return both_page_faults(hard, soft) && hard->cr2 == soft->cr2 && hard->error == soft->error &&
           trial->form->undefined == UNDEFINED_ROTATE && trial->form->extension >= 2;
}

static bool table_16(const struct trial *trial, const struct outcome *hard,
                     const struct outcome *soft)
{
    return hard->kind == DONE && soft->kind == DONE && on_long(trial) &&
           trial->operand_bytes == 2 && trial->form->group == GROUP_TABLE;
}

static bool push_all_order(const struct trial *trial, const struct outcome *hard,
                           const struct outcome *soft)
{
    return both_page_faults(hard, soft) && trial->form->opcode == 0x60;
}

static bool pop_all(const struct trial *trial, const struct outcome *hard,
                    const struct outcome *soft)
{
    return both_page_faults(hard, soft) && trial->form->opcode == 0x61;
}

/* Where they overlap by less than an element. QEMU, which has no such fault, is compared in all of them. */
static bool repeated_bytes(const struct trial *trial, const struct outcome *hard,
                           const struct outcome *soft)
{
    return hard->kind == DONE && soft->kind == DONE && trial->form->opcode == 0xa5 && trial->repeat;
}

/* AMD processors have no far pointers with an offset of 64 bits (APM 3, LFS); the executor knows Intel's. */
static bool far_load_64(const struct trial *trial, const struct outcome *hard,
                        const struct outcome *soft)
{
    (void)hard, (void)soft;
    return (trial->form->special & FAR) && on_long(trial) && trial->operand_bytes == 8;
}

static bool movsxd_16(const struct trial *trial, const struct outcome *hard,
                      const struct outcome *soft)
{
    bool marks_next_page = soft->kind == DONE && (trial->target & 4095) > 4096 - 4;
    return trial->form->opcode == 0x63 && trial->operand_bytes == 2 &&
           (hard->kind == FAULT || marks_next_page);
}

static bool canonical_stack(const struct trial *trial, const struct outcome *hard,
                            const struct outcome *soft)
{
    return on_long(trial) && hard->kind == FAULT && soft->kind == FAULT && hard->vector == 13 &&
           soft->vector == 12;
}

static bool branch_canonical(const struct trial *trial, const struct outcome *hard,
                             const struct outcome *soft)
{
    return on_long(trial) && trial->form->group == GROUP_BRANCH && hard->kind == FAULT &&
           soft->kind == FAULT && hard->vector == 13 && soft->vector == 13;
}

static bool null_stack(const struct trial *trial, const struct outcome *hard,
                       const struct outcome *soft)
{
    return on_long(trial) && (trial->form->special & LOADS_STACK) && hard->kind == DONE &&
           soft->kind == FAULT && soft->error == 0;
}

static bool pop_segment(const struct trial *trial, const struct outcome *hard,
                        const struct outcome *soft)
{
    bool rest_faults = hard->kind == DONE && soft->kind == FAULT &&
                       (soft->vector == 14 || soft->vector == 17); /* of what is not read */
    return (hard->kind == soft->kind || rest_faults) && trial->operand_bytes > 2 &&
           (trial->form->special & SELECTOR) && (trial->form->special & NO_MODRM);
}

static bool repeated_not_at_all(const struct trial *trial, const struct outcome *hard,
                                const struct outcome *soft)
{
    return hard->kind == DONE && soft->kind == DONE && on_long(trial) && trial->repeat &&
           trial->address_bytes == 4 && trial->count == 0;
}

static bool popf_virtual(const struct trial *trial, const struct outcome *hard,
                         const struct outcome *soft)
{
    return hard->kind == FAULT && hard->vector == 14 && soft->kind == FAULT && soft->vector == 13 &&
           trial->mode == MODE_VIRTUAL_8086 && trial->form->opcode == 0x9d;
}

/* Its first byte is canonical, the last one is not. */
static bool canonical_part(const struct trial *trial, const struct outcome *hard,
                           const struct outcome *soft)
{
    bool parts = trial->form->group == GROUP_TABLE || (trial->form->special & FAR);
    return (vm_is_qemu() || parts) && hard->kind == FAULT && hard->vector == 14 &&
           soft->kind == FAULT && (soft->vector == 13 || soft->vector == 12) && on_long(trial) &&
           hard->cr2 >> 4 == 0x7ffffffffffull;
}

static bool compare_flags(const struct trial *trial, const struct outcome *hard,
                          const struct outcome *soft)
{
    return hard->kind == FAULT && soft->kind == FAULT && hard->vector == soft->vector &&
           hard->error == soft->error && trial->repeat && (trial->form->special & REPEATS_IF);
}

static bool is_mmx(const struct trial *trial)
{
    return trial->form->group == GROUP_VECTOR && trial->form->prefix == 0 &&
           trial->form->opcode >= 0x0f60;
}

static bool vectors_and_fault(const struct trial *trial, const struct outcome *hard,
                              const struct outcome *soft)
{
    return hard->kind == FAULT && soft->kind == FAULT && hard->vector == soft->vector &&
           hard->error == soft->error && (hard->vector != 14 || hard->cr2 == soft->cr2) &&
           (trial->form->group == GROUP_FLOAT || is_mmx(trial));
}

static bool float_store_fault(const struct trial *trial, const struct outcome *hard,
                              const struct outcome *soft)
{
    return trial->form->group == GROUP_FLOAT && vectors_and_fault(trial, hard, soft);
}

static bool decimal(const struct trial *trial, const struct outcome *hard,
                    const struct outcome *soft)
{
    return both_page_faults(hard, soft) && trial->form->opcode == 0xdf &&
           (trial->form->extension == 4 || trial->form->extension == 6);
}

/* Instructions that widen what they read, where as much again reaches into the next page. */
static bool reads_more(const struct trial *trial, const struct outcome *hard,
                       const struct outcome *soft)
{
    unsigned opcode = trial->form->opcode;
    bool widens =
        (opcode == 0x0fe6 && trial->form->prefix == 0xf3) ||
        (trial->form->prefix == 0 && (opcode == 0x0f5a || (opcode >= 0x0f60 && opcode <= 0x0f62)));
    unsigned bytes = opcode >= 0x0f60 && opcode <= 0x0f62 ? 8 : 16;
    return widens && (trial->target & 4095) > 4096 - bytes && soft->kind == DONE &&
           (hard->kind == DONE || hard->vector == 14);
}

static bool alignment_first(const struct trial *trial, const struct outcome *hard,
                            const struct outcome *soft)
{
    bool aligned = (trial->form->group == GROUP_VECTOR && (trial->form->special & WIDE)) ||
                   (trial->form->opcode == 0x0fc7 && trial->operand_bytes == 8); /* CMPXCHG16B */
    return aligned && trial->target % 16 != 0 && hard->kind == FAULT && hard->vector == 13 &&
           soft->kind == FAULT && soft->vector == 12;
}

static bool vector_alignment(const struct trial *trial, const struct outcome *hard,
                             const struct outcome *soft)
{
    return trial->form->group == GROUP_VECTOR && (trial->form->special & WIDE) &&
           soft->kind == FAULT && soft->vector == 13 && trial->target % 16 != 0 &&
           (hard->kind == DONE || hard->vector == 14);
}

static bool mmx_exponent(const struct trial *trial, const struct outcome *hard,
                         const struct outcome *soft)
{
    return hard->kind == DONE && soft->kind == DONE && is_mmx(trial) &&
           (trial->form->opcode == 0x0f6e || trial->form->opcode == 0x0f6f);
}

static struct known table[] = {
    {"push_segment", "SDM 2B, PUSH: the upper part of a segment register's push is 0 or left alone",
     true, true, push_segment, 0},
    {"operand_of_two_parts",
     "the manual does not say which part of a far pointer or a table's operand is read first", true,
     true, two_parts, 0},
    {"frame_16_in_64",
     "Bochs takes ENTER and LEAVE with an operand size of 16 in 64-bit code as one of 64", false,
     true, frame_16, 0},
    {"enter_frame",
     "QEMU: ENTER writes as much of BP as the stack is wide, and does not look if the new top can "
     "be written; SDM 2A",
     true, false, enter_frame, 0},
    {"modify_reads_first",
     "QEMU reads before it writes, and a page fault then is a read's; SDM 3A, 4.7: a write's", true,
     false, modify_reads, 0},
    {"lock_accepted", "QEMU ignores LOCK before some instructions; SDM 2A, LOCK: #UD", true, false,
     lock_double_shift, 0},
    {"movbe_16",
     "QEMU takes the operand size of MOVBE from the prefix 66 alone, also in 16-bit code and with "
     "REX.W",
     true, false, movbe_16, 0},
    {"far_call_stack",
     "QEMU's far CALL in virtual-8086 mode and far RET, and Bochs' far CALL to conforming code, "
     "use the "
     "stack as the supervisor",
     true, true, far_call, 0},
    {"far_wraps",
     "the stack of QEMU's far CALL and RET does not wrap at 4 GiB; SDM 3A, 3.3: addresses have 32 "
     "bits",
     true, false, far_wraps, 0},
    {"return_limit",
     "QEMU's far RET and IRET look at no limit of the segment, nor whether code without a stack is "
     "of 64 bits; SDM 2A, IRET, "
     "and 2B, RET: #GP",
     true, false, return_limit, 0},
    {"return_stack",
     "Bochs' IRET of 16 and 32 bits within a level of 64-bit code leaves SS and RSP; SDM 2A, IRET: "
     "it takes them, whatever its size",
     false, true, return_stack, 0},
    {"store_halves",
     "QEMU has stored the first half of 16 bytes when the second faults; SDM 3A, 6.5: nothing is",
     true, false, store_halves, 0},
    {"null_task", "QEMU's LTR takes a null selector; SDM 2A, LTR: #GP", true, false, null_task, 0},
    {"system_long",
     "QEMU's LLDT and LTR take a TSS of 16 bits and bases that are not canonical in long mode; SDM "
     "2A: #GP",
     true, false, system_long, 0},
    {"system_compatibility",
     "QEMU's LLDT and LTR take descriptors of 16 bytes in compatibility mode too; SDM 2A, LLDT: in "
     "64-bit mode",
     true, false, system_compatibility, 0},
    {"system_order",
     "LLDT and LTR in 64-bit code: Bochs looks at the second half of a descriptor before it looks "
     "if "
     "the segment is present; the manual does not say which is first",
     true, true, system_order, 0},
    {"rights_long",
     "LAR and LSL in long mode: Bochs wants a good second half of a system descriptor, QEMU takes "
     "types "
     "that are of 32-bit mode; SDM 2A, LAR",
     true, true, rights_long, 0},
    {"table_canonical", "QEMU loads bases that are not canonical; SDM 2A, LGDT: #GP", true, false,
     table_canonical, 0},
    {"reserved_absent",
     "QEMU's page faults for reserved bits do not say that the entry is present; SDM 3A, 4.7", true,
     false, reserved_absent, 0},
    {"push_all_order",
     "QEMU's PUSHA stores from the lowest address on; SDM 2B, PUSHA: from the highest", true, false,
     push_all_order, 0},
    {"pop_all", "QEMU's POPA has changed registers when a later read faults; SDM 3A, 6.5: none is",
     true, false, pop_all, 0},
    {"repeated_bytes",
     "Bochs copies runs of REP MOVS byte by byte; SDM 2B, MOVS: element by element", false, true,
     repeated_bytes, 0},
    {"canonical_part",
     "QEMU looks at each page of an access alone, and Bochs at each part of a table's operand; SDM "
     "1, 3.3.7.1: #GP",
     true, true, canonical_part, 0},
    {"repeated_compare_flags",
     "a fault in REP CMPS and SCAS leaves the flags of the elements before; SDM 2B, REP: restored",
     true, true, compare_flags, 0},
    {"far_load_64",
     "AMD processors read 32 bits of offset for a far pointer of 64 (APM 3, LFS); SDM 2A, LFS: 64",
     true, false, far_load_64, 0},
    {"movsxd_16", "QEMU's MOVSXD reads 32 bits also for an operand of 16; SDM 2B, MOVSXD", true,
     false, movsxd_16, 0},
    {"canonical_stack",
     "QEMU raises #GP for a stack address that is not canonical; SDM 1, 3.3.7.1: #SS", true, false,
     canonical_stack, 0},
    {"branch_canonical", "QEMU faults at the target of a branch and not before it; SDM 2A, CALL",
     true, false, branch_canonical, 0},
    {"null_stack", "QEMU lets a null selector of any level into SS; SDM 2B, MOV: #GP", true, false,
     null_stack, 0},
    {"pop_segment",
     "Bochs reads 16 bits for a POP of a segment register; SDM 2B, POP: the operand's size", false,
     true, pop_segment, 0},
    {"repeated_not_at_all",
     "Bochs clears the upper halves of RSI and RDI for a count of 0; SDM 2B, REP: nothing is done",
     false, true, repeated_not_at_all, 0},
    {"popf_virtual", "Bochs reads the stack before it looks at IOPL; SDM 2B, POPF: #GP first",
     false, true, popf_virtual, 0},
    {"table_16",
     "QEMU loads 24 bits of a base with an operand size of 16 also in 64-bit code; SDM 2A, LGDT: "
     "all",
     true, false, table_16, 0},
    {"rotate_flags",
     "QEMU's RCL and RCR have changed the flags when their write faults; SDM 3A, 6.5: nothing is "
     "changed",
     true, false, rotate_flags, 0},
    {"vectors_and_fault",
     "QEMU has changed registers of x87 and MMX when their operand faults; SDM 3A, 6.5: none is",
     true, false, vectors_and_fault, 0},
    {"float_store_fault",
     "Bochs has cleared C1 when an x87 store faults; SDM 3A, 6.5: nothing is changed", false, true,
     float_store_fault, 0},
    {"decimal",
     "FBLD and FBSTP begin with the last bytes in the emulators; the manual says nothing", true,
     true, decimal, 0},
    {"reads_more",
     "QEMU reads as much as the result has for CVTDQ2PD, CVTPS2PD and PUNPCKLxx; SDM 2A and 2B: "
     "half",
     true, false, reads_more, 0},
    {"alignment_first",
     "a misaligned operand that is not in the stack: the manual does not say which fault is first",
     false, true, alignment_first, 0},
    {"vector_alignment", "QEMU looks at no alignment of 16 bytes; SDM 1, 4.1.1: #GP", true, false,
     vector_alignment, 0},
    {"mmx_exponent", "QEMU's MOVD and MOVQ leave the exponent; SDM 1, 9.2.1: all ones", true, false,
     mmx_exponent, 0},
    {"compare_order", "QEMU's CMPS reads the second operand first", true, false, compare_order, 0},
};

bool known_difference(const struct trial *trial, const struct outcome *hard,
                      const struct outcome *soft)
{
    bool qemu = vm_is_qemu();
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++) {
        struct known *known = &table[i];
        if ((qemu ? known->qemu : known->bochs) && known->is(trial, hard, soft)) {
            known->count++;
            return true;
        }
    }
    return false;
}

void known_print(void)
{
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].count)
            serial_print("EVENT explained %s: %lu (%s)\n", table[i].name, table[i].count,
                         table[i].reason);
}
