/*
 * Executes one instruction of a guest in software: for accesses to device memory (EXIT_GUEST_FAULT), string port
 * accesses (EXIT_IO with STRING), and what the exit does not decode (control registers on a processor without
 * decode assists). Decoding is Zydis's; the effects are ours.
 */
#ifndef VMM_CPU_EXECUTE_H
#define VMM_CPU_EXECUTE_H

#include <septum.h>

#include <stdbool.h>
#include <stdint.h>

#define INSTRUCTION_BYTES_MAX 15u

/* What the decoder found. */
struct instruction {
    uint8_t length, map, opcode;
    bool has_modrm;
    uint8_t mod, reg, rm;  /* with REX.R and, if a register, REX.B */
    uint8_t repeat;        /* enum repeat: the last of the two prefixes */
    uint8_t operand_bytes; /* 2, 4, 8: of the v-form of an opcode */
    uint8_t address_bytes; /* 2, 4, 8 */
    uint8_t segment;       /* of the memory operand, default or by prefix */
    bool segment_override, rex, rex_w, operand_prefix;
    uint8_t base, index, scale; /* REGISTER_NONE, or REGISTER_RIP as base */
    int64_t displacement;       /* also the address of a moffs */
    uint64_t immediate;         /* sign-extended where the encoding says so */
    uint16_t second;            /* ENTER's other immediate; a far branch's selector */
    uint8_t vector_bytes;       /* with VEX: 16 or 32, and another register; else 0 */
    uint8_t source;
    const char *name; /* NULL from the fast decoder, which knows only what can be executed */
};

/* A walk of the guest's page tables that was good, and what it has read: as long as all of it is the same, so is its
 * result. */
#define EXECUTE_WALKS      4u
#define EXECUTE_LEVELS_MAX 5u
struct execute_walk {
    uint64_t linear; /* its page */
    unsigned access;
    unsigned levels; /* entries that were read; 0: no walk is here */
    uint64_t cr0, cr3, cr4, efer, rflags;
    const uint64_t *pointers[EXECUTE_LEVELS_MAX];
    uint64_t entries[EXECUTE_LEVELS_MAX];
    uint64_t gpa; /* of the page */
};

/* An instruction that was decoded before. It depends on its bytes and the size of code alone. */
#define EXECUTE_DECODED 16u
struct execute_decoded {
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    uint8_t code_bytes;
    struct instruction in; /* length 0: none is here */
};

/* A MOV to or from a device that was executed before: execute_again.c. */
#define EXECUTE_AGAIN 16u
struct execute_again {
    uint64_t rip, gpa; /* of its code */
    const uint8_t *code;
    uint32_t changes; /* of memory, when `code` was found */
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    uint8_t length; /* 0: none is here */
    uint8_t number, size_bytes, register_bytes;
    bool write, constant; /* constant: `value` is written, and no register */
    /* Where its operand begins in its page: there and by registers; `based`: and in a segment that has a base. */
    bool based;
    uint8_t base, index, scale;
    uint16_t place;
    uint64_t value;
};

/* What the guest's CPUID shows of its processor: leaf 1's ECX, and above it leaf 7's EBX. */
#define EXECUTE_SSE3   (1ull << 0)
#define EXECUTE_SSSE3  (1ull << 9)
#define EXECUTE_SSE4_1 (1ull << 19)
#define EXECUTE_SSE4_2 (1ull << 20)
#define EXECUTE_AVX    (1ull << 28)
#define EXECUTE_AVX2   (1ull << (32 + 5))

/* The world around the instruction. Addresses of `memory_*` are guest-physical; RAM and devices alike. */
struct execute_world {
    /* The state page of the vCPU, all groups valid that EXECUTE_GROUPS names; VCPU_GROUP_INSTRUCTION alone with `need`. */
    struct vcpu_state *state;
    bool (*memory_read)(struct execute_world *world, uint64_t gpa, unsigned size_bytes,
                        uint64_t *value);
    bool (*memory_write)(struct execute_world *world, uint64_t gpa, unsigned size_bytes,
                         uint64_t value);
    /* RAM only: for page tables, instruction bytes, LOCKed operations. NULL if it is not RAM. */
    void *(*ram_at)(struct execute_world *world, uint64_t gpa, unsigned size_bytes, bool write);
    bool (*port_read)(struct execute_world *world, uint16_t port, unsigned size_bytes,
                      uint32_t *value);
    bool (*port_write)(struct execute_world *world, uint16_t port, unsigned size_bytes,
                       uint32_t value);
    /* Control register moves, as the VMM's policy has them: false means #GP. */
    bool (*control_read)(struct execute_world *world, unsigned number, uint64_t *value);
    bool (*control_write)(struct execute_world *world, unsigned number, uint64_t value);
    unsigned physical_bits; /* the guest's physical address width (CPUID 80000008 AL) */
    uint64_t features;      /* EXECUTE_SSE3 and the like */
    /* Where the upper halves of ZMM0 to ZMM15 are in the state page's `fpu` (CPUID 0D, 6, EBX); 0: not there. */
    unsigned upper_offset;
    unsigned mask_offset, high_offset; /* likewise K0 to K7, and ZMM16 to ZMM31 (0D, 5 and 7) */
    unsigned pkru_offset;              /* and PKRU (9) */
    bool compacts;                     /* XSAVEC is there (0D, 1, EAX), and its format */
    /* Of EXIT_GUEST_FAULT: w0 and w1, which save a page walk. fault_access 0: another kind of exit. */
    unsigned fault_access;
    uint64_t fault_gpa;
    /* The same for a repeated string: count elements of size_bytes to or from one port. How many were done; 0: refused.
     * NULL: one by one. */
    unsigned (*port_read_string)(struct execute_world *world, uint16_t port, unsigned size_bytes,
                                 void *data, unsigned count);
    unsigned (*port_write_string)(struct execute_world *world, uint16_t port, unsigned size_bytes,
                                  const void *data, unsigned count);
    /* Called before what VCPU_GROUP_INSTRUCTION lacks of these groups is looked at or changed. NULL: all is there. */
    void (*need)(const struct execute_world *world, uint32_t groups);
    /* Fills the state page's `fpu`, or gives it back to the vCPU; false: it can't be. NULL: likewise. */
    bool (*vectors)(struct execute_world *world, bool back);
    bool returned;  /* out: an IRET was executed, behind which NMIs may come again */
    uint32_t there; /* the groups that were asked for by `need` for this instruction */
    struct execute_walk walks[EXECUTE_WALKS]; /* execute_walk.c's; in the beginning 0 */
    /* For execute_again, all or none: a device's memory alone, and how often what `ram_at` finds has changed. */
    bool (*device_read)(struct execute_world *world, uint64_t gpa, unsigned size_bytes,
                        uint64_t *value);
    bool (*device_write)(struct execute_world *world, uint64_t gpa, unsigned size_bytes,
                         uint64_t value);
    uint32_t (*memory_changes)(struct execute_world *world);
    struct execute_again again[EXECUTE_AGAIN];       /* execute_again.c's, likewise */
    struct execute_decoded decoded[EXECUTE_DECODED]; /* execute_memory.c's, likewise */
};

#define EXECUTE_GROUPS \
    (VCPU_GROUP_RIP | VCPU_GROUP_CONTROL | VCPU_GROUP_SEGMENTS | VCPU_GROUP_INSTRUCTION)

enum execute_result {
    EXECUTE_DONE,  /* registers, RIP, flags are as after it; RIP stays if REP iterations are left */
    EXECUTE_FAULT, /* *event: what the processor would raise (VCPU_EVENT_*), CR2 in the state page */
    EXECUTE_UNKNOWN, /* an instruction that we do not execute: *what names it */
    EXECUTE_NOWHERE, /* memory or port refused by the callback */
};

/* *changed: groups of the state page that must be given back to the vCPU. The new RIP is in the page and always
 * to be given, with VCPU_SET_RIP; VCPU_GROUP_RIP is in *changed only if RSP or the flags have changed. Device
 * registers are read and written as often as the processor would. The model's contract is at the head of
 * execute.c. */
enum execute_result execute_instruction(struct execute_world *world, uint64_t *event,
                                        uint32_t *changed, const char **what);

/* A task switch by hardware: execute_task.c. The processor has checked gates and privileges. */
struct execute_task_switch {
    uint16_t selector; /* of the new task's segment */
    enum { EXECUTE_TASK_CALL, EXECUTE_TASK_IRET, EXECUTE_TASK_JMP, EXECUTE_TASK_GATE } source;
    bool has_error; /* an exception's, for the new task's stack */
    uint32_t error;
    uint32_t external; /* 1: by an interrupt or exception, not by an instruction; of error codes */
    uint64_t next_rip; /* where the old task goes on */
};

/* As execute_instruction, but for the new RIP, which is given with *changed. Once VCPU_GROUP_RIP is in it, the state is the new
 * task's, also with EXECUTE_FAULT: the fault is the new task's then. */
enum execute_result execute_task_switch(struct execute_world *world,
                                        const struct execute_task_switch *to, uint64_t *event,
                                        uint32_t *changed, const char **what);

/* For a processor that does not tell an instruction's length: where it ends. AMD-V takes an INT n for a CALL: mended too. */
enum execute_result execute_next_rip(struct execute_world *world, struct execute_task_switch *to);

/* The same at once for an access to a device that was executed before, of an exit with fault_access, if the world has
 * device_read and device_write. False: nothing was done, or the device refused; execute_instruction then does it. */
bool execute_again(struct execute_world *world, uint32_t *changed);

/* ---- what the guest's own processor executes: execute_step.c ------------------------------------------ */

#define EXECUTE_SPANS_MAX  16u /* operands; of a gather, elements */
#define EXECUTE_PIECES_MAX (2 * EXECUTE_SPANS_MAX)
#define EXECUTE_STEP_PAGES \
    EXECUTE_PIECES_MAX            /* of devices: a gather's elements may all lie across two */
#define EXECUTE_STEP_PAGES_FEW 3u /* what all other instructions need: MOVDIR64B's */

/* An operand: bit n of `bytes` is for byte n; longer than 64 bytes it is accessed in whole. */
struct execute_span {
    uint64_t offset; /* in its segment */
    uint64_t bytes;
    uint16_t size_bytes;
    uint8_t segment;
    uint8_t access; /* VCPU_ACCESS_READ, VCPU_ACCESS_WRITE */
};

/* What of an operand lies in one page of a device. */
struct execute_piece {
    uint64_t gpa, bytes;
    uint16_t size_bytes;
    uint8_t access, page;
    bool whole; /* `bytes` does not count */
};

struct execute_step_page {
    uint64_t gpa;
    bool write; /* else the guest's processor need only read it */
};

struct execute_step {
    uint8_t *scratch;    /* the caller's: in the place of `pages` for the instruction */
    unsigned page_limit; /* of `scratch`: EXECUTE_STEP_PAGES, or EXECUTE_STEP_PAGES_FEW */
    unsigned page_count, span_count, piece_count;
    struct execute_step_page pages[EXECUTE_STEP_PAGES];
    struct execute_span spans[EXECUTE_SPANS_MAX];
    struct execute_piece pieces[EXECUTE_PIECES_MAX];
};

/* For an instruction that execute_instruction does not know, of an exit with fault_access: finds its operands, and reads
 * from devices what it reads. DONE: the guest's processor can execute it. Else as execute_instruction; nothing was written, and
 * but with EXECUTE_NOWHERE nothing read. */
enum execute_result execute_step_begin(struct execute_world *world, struct execute_step *step,
                                       uint64_t *event, uint32_t *changed, const char **what);
/* The processor has executed it: devices get what it wrote. False: one refused. */
bool execute_step_end(struct execute_world *world, const struct execute_step *step);

/* Walks the guest's page tables: linear to guest-physical for an access of enum vcpu_access bits (| 0x100: user
 * mode). False: *event is the page fault, and CR2 is set in the state page; 0 if a page table is not in RAM. Sets
 * accessed and dirty bits. */
#define EXECUTE_ACCESS_USER 0x100u
bool execute_translate(struct execute_world *world, uint64_t linear, unsigned access, uint64_t *gpa,
                       uint64_t *event);

#endif
