/*
 * Virtual CPUs: the call that runs one, the exits that come back, the state page.
 *
 * A thread of the vCPU's task (else BAD_RIGHTS) runs it with IPC_CALL on its capability, on its CPU:
 *   tag  label = flags below
 *   w0   event to inject (VCPU_EVENT_*), 0 for none
 *   w1   groups of the state page that the VMM changed (VCPU_GROUP_*)
 *   w2   new RIP, if VCPU_SET_RIP
 *   rbx  the deadline: the guest's next timer
 * The reply (also when status is TIMEOUT or INTERRUPTED, with exit reason EXIT_NONE):
 *   tag  origin ORIGIN_VCPU_EXIT, label = exit reason | event outcome << 8
 *   w0   qualification (see each reason), w1 guest-physical address or second qualification,
 *   w2   RIP, w3 instruction length (0: not known) | interruptibility << 8
 *   and, in the state page, the general registers and the groups subscribed for that reason.
 * BAD_ARGUMENT: nothing was done; w0 = the first group with a value that the processor does not allow
 * (VCPU_GROUP_EVENT also for the event in w0 and for one more while one is pending), 0 for the flags.
 */
#ifndef SEPTUM_VCPU_H
#define SEPTUM_VCPU_H

#include <stdint.h>

/* ---- flags of the call ----------------------------------------------------------------------- */
enum vcpu_flag {
    VCPU_SET_RIP = 1,           /* w2 is the next RIP; ends an interrupt shadow as an instruction does */
    VCPU_EXIT_INTERRUPTIBLE = 2, /* exit as soon as an external interrupt could be taken */
    VCPU_EXIT_NMI_WINDOW = 4,   /* exit as soon as an NMI could be taken */
    VCPU_CLEAR_EVENT = 8,       /* forget an event that is still pending in the vCPU */
    VCPU_EVENT_WAITS = 16,      /* the event, an external interrupt, is for when the guest can take it; not with
                                   VCPU_EXIT_INTERRUPTIBLE, nor while an event is pending */
};

/* An event to inject: vector | type << 8 | VCPU_EVENT_HAS_ERROR | VCPU_EVENT_VALID | error << 32.
 * The layout is that of the VM-entry interruption information (SDM 25.8.3) and EVENTINJ (APM 15.20).
 * Software types take the instruction length from bits 16-19. */
enum vcpu_event_type {
    VCPU_EVENT_EXTERNAL = 0,
    VCPU_EVENT_NMI = 2,
    VCPU_EVENT_EXCEPTION = 3,
    VCPU_EVENT_SOFTWARE_INTERRUPT = 4,
    VCPU_EVENT_SOFTWARE_EXCEPTION = 6,
};
#define VCPU_EVENT_HAS_ERROR (1ull << 11)
#define VCPU_EVENT_LENGTH_SHIFT 16
#define VCPU_EVENT_VALID (1ull << 31)
#define VCPU_EVENT(vector, type) ((uint64_t)(vector) | (uint64_t)(type) << 8 | VCPU_EVENT_VALID)

/* What became of the event: in every reply. */
enum vcpu_event_outcome {
    VCPU_EVENT_NONE = 0,      /* none was asked for and none is pending */
    VCPU_EVENT_DELIVERED = 1, /* the guest has it */
    VCPU_EVENT_PENDING = 2,   /* cut by an exit: the kernel injects it again at the next run */
    VCPU_EVENT_NOT_TRIED = 3, /* the guest was not entered: the VMM still owns it */
    VCPU_EVENT_WAITING = 4,   /* beside one of these: the interrupt of VCPU_EVENT_WAITS was not taken, and is the VMM's */
};

/* Interruptibility: reply w3 bits 8 and up; state page `interruptibility`. */
enum vcpu_interruptibility {
    VCPU_BLOCKED_BY_STI = 1,
    VCPU_BLOCKED_BY_MOV_SS = 2, /* SVM has one shadow bit and reports it as BY_STI */
    VCPU_BLOCKED_BY_NMI = 8,
    VCPU_IF = 16, /* RFLAGS.IF, as a convenience in the reply */
};

/* ---- exit reasons ---------------------------------------------------------------------------- */
enum vcpu_exit {
    EXIT_NONE = 0,       /* TIMEOUT, or INTERRUPTED: w0 = the bound notification's bits, now cleared (0 if
                            stopped by control). The guest can simply be run again */
    EXIT_FORCED = 1,     /* `control` asked for it */
    EXIT_ENTRY_FAILED = 2, /* status ENTRY_FAILED; state page `failed_rule`, w0 = vendor's code */
    EXIT_EXCEPTION = 3,  /* an exception in exception_exits; w0 = vector | error << 32, w1 = CR2 */
    EXIT_TRIPLE_FAULT = 4,
    EXIT_INTERRUPTIBLE = 5, /* asked for by VCPU_EXIT_INTERRUPTIBLE */
    EXIT_NMI_WINDOW = 6,
    EXIT_TASK_SWITCH = 7, /* w0 = selector | source << 30 (0 call 1 iret 2 jmp 3 gate); w1 = error code */
    EXIT_CPUID = 8,
    EXIT_HLT = 9,
    EXIT_INVLPG = 10,    /* only if asked for by intercepts */
    EXIT_RDPMC = 11,
    EXIT_RDTSC = 12,     /* only if asked for */
    EXIT_RDTSCP = 13,    /* only if asked for */
    EXIT_HYPERCALL = 14, /* vmcall, vmmcall */
    EXIT_VIRT_INSTRUCTION = 15, /* a guest's own VMX or SVM instruction */
    EXIT_CR_READ = 16,   /* w0 = CR number | general register << 8 (SVM without decode assists: 0xff) */
    EXIT_CR_WRITE = 17,  /* the same; bit 16: LMSW with operand in w1; bit 17: CLTS; bit 18: operand in
                            memory or not known (VMM decodes) */
    EXIT_DR = 18,        /* debug register access; w0 as for CR, bit 31: read */
    EXIT_IO = 19,        /* w0 = port | size << 16 | flags below */
    EXIT_MSR_READ = 20,  /* index in RCX of the state page, also in w0 */
    EXIT_MSR_WRITE = 21, /* index in w0, value in w1 */
    EXIT_MWAIT = 22,
    EXIT_MONITOR = 23,
    EXIT_PAUSE = 24,     /* only if asked for */
    EXIT_DESCRIPTOR = 25, /* only if asked for: w0 = 0 GDTR 1 IDTR 2 LDTR 3 TR, + 4 if it is loaded */
    EXIT_GUEST_FAULT = 26, /* guest-physical address not mapped, or not that way:
                              w0 = access flags below, w1 = guest-physical address */
    EXIT_WBINVD = 27,
    EXIT_INVD = 28,
    EXIT_XSETBV = 29,    /* index in ECX, value in EDX:EAX */
    EXIT_INVPCID = 30,
    EXIT_CR8_WRITE = 31, /* TPR fell below the threshold (VMX), or CR8 write asked for */
    EXIT_SHUTDOWN_OTHER = 32, /* INIT, SIPI, SMI: w0 = vendor's code */
    EXIT_UNKNOWN = 33,   /* w0 = the vendor's exit code */
    EXIT_COUNT = 34
};

enum vcpu_io_flag {
    VCPU_IO_IN = 1 << 24,
    VCPU_IO_STRING = 1 << 25,
    VCPU_IO_REP = 1 << 26,
    /* bits 27-29: segment of a string OUT (0 es 1 cs 2 ss 3 ds 4 fs 5 gs), 7 if not known */
    VCPU_IO_SEGMENT_SHIFT = 27,
    /* bits 32-35: address size of a string instruction in bytes, 0 if not known */
    VCPU_IO_ADDRESS_SHIFT = 32,
};

enum vcpu_access {
    VCPU_ACCESS_READ = 1,
    VCPU_ACCESS_WRITE = 2,
    VCPU_ACCESS_EXECUTE = 4,
    VCPU_ACCESS_PRESENT = 8,    /* mapped, but with fewer rights */
    VCPU_ACCESS_LINEAR = 16,    /* state page guest_linear is valid */
    VCPU_ACCESS_PAGE_WALK = 32, /* the access was to a page table of the guest */
};

/* ---- the state page -------------------------------------------------------------------------- */

/* Groups of state: subscription masks, dirty masks, CONTROL_VCPU_READ/WRITE. The general registers
 * except RSP are always exchanged and cost nothing. */
enum vcpu_group {
    VCPU_GROUP_RIP = 1,      /* rip rsp rflags interruptibility activity instruction */
    VCPU_GROUP_CONTROL = 2,  /* cr0 cr2 cr3 cr4 cr8 efer xcr0 pdpte, cr shadows */
    VCPU_GROUP_SEGMENTS = 4, /* es cs ss ds fs gs ldtr tr */
    VCPU_GROUP_TABLES = 8,   /* gdtr idtr */
    VCPU_GROUP_SYSCALL = 16, /* star lstar cstar fmask kernel_gs_base sysenter_* */
    VCPU_GROUP_DEBUG = 32,   /* dr0-3 dr6 dr7 debugctl */
    VCPU_GROUP_TIME = 64,    /* tsc_offset */
    VCPU_GROUP_MISC = 128,   /* pat xss tsc_aux spec_ctrl pkru */
    VCPU_GROUP_EVENT = 256,  /* pending_event */
    VCPU_GROUP_POLICY = 512, /* intercepts exception_exits cr masks, allowed bits, MSR let-through */
    VCPU_GROUP_INSTRUCTION = 1024, /* what it takes to execute the instruction, in one short piece: rip rsp rflags
                                      cr0 cr3 cr4 efer, attributes of CS and SS; guest_linear, and its bytes where
                                      the processor gives them (SVM decode assists). Read only */
    VCPU_GROUP_ALL = 2047
};

/* Segment attributes in VMX format (SDM 25.4.1): type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, DB 14,
 * G 15, unusable 16. */
struct vcpu_segment {
    uint16_t selector;
    uint16_t reserved;
    uint32_t attributes;
    uint32_t limit;
    uint32_t reserved2;
    uint64_t base;
};
#define VCPU_SEGMENT_UNUSABLE (1u << 16)

enum vcpu_segment_index {
    VCPU_ES, VCPU_CS, VCPU_SS, VCPU_DS, VCPU_FS, VCPU_GS, VCPU_LDTR, VCPU_TR, VCPU_SEGMENT_COUNT
};

struct vcpu_table {
    uint64_t base;
    uint32_t limit;
    uint32_t reserved;
};

/* Optional intercepts, in `intercepts`. What is not listed and cannot be let through always exits:
 * CPUID, HLT, port and MSR accesses without permission, CR0/CR4 writes that change owned bits, XSETBV,
 * VMX and SVM instructions, WBINVD where the processor can, INVD, RDPMC, MONITOR/MWAIT. Under QEMU's
 * own emulation also writes to DR7 (it would leave the guest's breakpoints armed in the host), and with
 * EFER.LME those to CR4 (without PAE it would leave the host without paging). */
enum vcpu_intercept {
    VCPU_INTERCEPT_CR3 = 1,
    VCPU_INTERCEPT_INVLPG = 2,
    VCPU_INTERCEPT_RDTSC = 4,
    VCPU_INTERCEPT_PAUSE = 8,
    VCPU_INTERCEPT_DR = 16,
    VCPU_INTERCEPT_DESCRIPTOR = 32,
    VCPU_INTERCEPT_CR8 = 64,
};

#define VCPU_ACTIVITY_ACTIVE 0u
#define VCPU_ACTIVITY_HALTED 1u /* a run returns EXIT_HLT at once unless an event is injected */

/* The register file at the start is in the order of the instruction encoding (rax = 0 ... r15 = 15),
 * so that a decoder can index it. gpr[4] (RSP) belongs to VCPU_GROUP_RIP. */
struct vcpu_state {
    uint64_t gpr[16];
    /* RIP */
    uint64_t rip, rflags;
    uint32_t interruptibility;
    uint32_t activity;
    uint32_t instruction_length;
    uint32_t exit_reason;
    /* CONTROL. cr0 and cr4 are what the guest reads; the kernel adds what the processor must have. */
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0;
    uint64_t pdpte[4];
    /* SEGMENTS, TABLES */
    struct vcpu_segment segment[VCPU_SEGMENT_COUNT];
    struct vcpu_table gdtr, idtr;
    /* SYSCALL */
    uint64_t star, lstar, cstar, fmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    /* DEBUG */
    uint64_t dr[4], dr6, dr7, debugctl;
    /* TIME: guest TSC = host TSC + tsc_offset */
    uint64_t tsc_offset;
    /* MISC */
    uint64_t pat, xss, tsc_aux, spec_ctrl;
    uint32_t pkru;
    uint32_t reserved0;
    /* EVENT */
    uint64_t pending_event;
    /* POLICY, written by the VMM */
    uint32_t intercepts;      /* enum vcpu_intercept */
    uint32_t exception_exits; /* bit n: exception n exits. #MC and #NMI never reach a guest by themselves */
    uint64_t cr0_guest_owned; /* bits that the guest may change without an exit; the kernel allows a
                                 subset. SVM: all ones, no exits; CR0 with TS and MP: no exits for these
                                 two; else each write exits */
    uint64_t cr4_guest_owned;
    uint64_t msr_direct;      /* enum vcpu_msr_direct: MSRs that the guest reads and writes without an exit */
    uint64_t xcr0_allowed;    /* XCR0 bits that a write may set: a subset of the host's, AMX never */
    /* INSTRUCTION */
    uint64_t guest_linear;
    uint8_t instruction_count;
    uint8_t instruction[15];
    /* Exits: what to put into this page, by reason. Read once at each exit. */
    uint32_t subscription[64];
    /* EXIT_ENTRY_FAILED: the rule that was violated, as text ("CS.attributes: ..."), and its number */
    uint32_t failed_rule_number;
    char failed_rule[92];
    /* Counted by the kernel, free to read */
    uint64_t entries, kernel_exits;
    uint8_t reserved1[64];
    uint8_t fpu[2816]; /* XSAVE standard format; CONTROL_VCPU_{READ,WRITE}_FPU */
};
_Static_assert(sizeof(struct vcpu_state) <= 4096, "the vCPU state is one page");

/* MSRs that can be let through; all of them are switched. */
enum vcpu_msr_direct {
    VCPU_MSR_FS_GS_BASE = 1,      /* c0000100 c0000101 c0000102 */
    VCPU_MSR_SYSCALL = 2,         /* c0000081-84 */
    VCPU_MSR_SYSENTER = 4,        /* 174-176 */
    VCPU_MSR_PAT = 8,             /* 277 */
    VCPU_MSR_TSC_AUX = 16,        /* c0000103 */
    VCPU_MSR_SPEC_CTRL = 32,      /* 48, and 49 (write-only barrier), where present */
    VCPU_MSR_XSS = 64,            /* da0: never, kept for numbering */
};

#endif
