/*
 * AMD-V: the virtual machine control block (APM 2, appendix B) and what the files of the SVM backend
 * share. Nothing outside svm*.c and check/svm_rules.c includes this.
 */
#ifndef VIRT_SVM_H
#define VIRT_SVM_H

#include "core/cpu.h"
#include "virt/vcpu_exit.h"
#include "x86/instructions.h"

struct svm_segment {
    uint16_t selector;
    uint16_t attributes; /* descriptor bits 40-47 and 52-55 */
    uint32_t limit;
    uint64_t base;
};

struct vmcb {
    /* Control area. */
    uint16_t intercept_cr_read, intercept_cr_write, intercept_dr_read, intercept_dr_write;
    uint32_t intercept_exceptions, intercepts[3]; /* enum svm_intercept */
    uint8_t reserved018[0x03c - 0x018];
    uint16_t pause_threshold, pause_count;
    uint64_t iopm_base, msrpm_base, tsc_offset;
    uint32_t asid, tlb_control; /* enum svm_tlb_control */
    uint64_t interrupt_control, interrupt_shadow;
    uint64_t exit_code, exit_info1, exit_info2;
    uint64_t exit_event; /* EXITINTINFO: the event whose delivery the exit cut */
    uint64_t nested_control;
    uint8_t reserved098[0x0a8 - 0x098];
    uint64_t event; /* EVENTINJ */
    uint64_t nested_cr3, lbr_control;
    uint64_t clean; /* 0: nothing is cached over an exit (15.15.3) */
    uint64_t next_rip;
    uint8_t fetched_count, fetched[15];
    uint8_t reserved0e0[0x400 - 0x0e0];
    /* State save area; offsets in the manual are from here. */
    struct svm_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
    uint8_t reserved4a0[0x4cb - 0x4a0], cpl;
    uint32_t reserved4cc;
    uint64_t efer;
    uint8_t reserved4d8[0x548 - 0x4d8];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint8_t reserved580[0x5d8 - 0x580];
    uint64_t rsp, s_cet, ssp, isst, rax, star, lstar, cstar, fmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip, cr2;
    uint8_t reserved648[0x668 - 0x648];
    uint64_t pat, debugctl;
    uint8_t reserved678[4096 - 0x678];
};
#define AT(field) offsetof(struct vmcb, field)
_Static_assert(AT(intercepts) == 0x00c && AT(iopm_base) == 0x040 && AT(asid) == 0x058 &&
                   AT(exit_code) == 0x070 && AT(nested_control) == 0x090 && AT(event) == 0x0a8 &&
                   AT(next_rip) == 0x0c8 && AT(es) == 0x400 && AT(tr) == 0x490 && AT(cpl) == 0x4cb &&
                   AT(efer) == 0x4d0 && AT(cr4) == 0x548 && AT(rip) == 0x578 && AT(rsp) == 0x5d8 &&
                   AT(rax) == 0x5f8 && AT(cr2) == 0x640 && AT(pat) == 0x668 &&
                   sizeof(struct vmcb) == 4096,
               "APM 2, tables B-1 and B-2");
#undef AT

/* Bit n of intercepts[] as one number: word n / 32, bit n % 32. */
enum svm_intercept {
    SVM_INTR = 0, SVM_NMI = 1, SVM_INIT = 3, SVM_VINTR = 4, SVM_CR0_SELECTIVE = 5,
    SVM_IDTR_READ = 6, SVM_TR_WRITE = 13, SVM_RDTSC = 14, SVM_RDPMC = 15, SVM_PUSHF = 16, SVM_POPF = 17,
    SVM_CPUID = 18, SVM_IRET = 20, SVM_INTN = 21, SVM_INVD = 22, SVM_PAUSE = 23, SVM_HLT = 24, SVM_INVLPG = 25, SVM_INVLPGA = 26,
    SVM_IOIO = 27, SVM_MSR = 28, SVM_TASK_SWITCH = 29, SVM_FERR_FREEZE = 30, SVM_SHUTDOWN = 31,
    SVM_VMRUN = 32, SVM_VMMCALL = 33, SVM_VMLOAD = 34, SVM_VMSAVE = 35, SVM_STGI = 36,
    SVM_CLGI = 37, SVM_SKINIT = 38, SVM_RDTSCP = 39, SVM_WBINVD = 41, SVM_MONITOR = 42,
    SVM_MWAIT = 43, SVM_XSETBV = 45, SVM_RDPRU = 46,
    SVM_INVLPGB = 64, SVM_INVLPGB_ILLEGAL = 65, SVM_MCOMMIT = 67, SVM_TLBSYNC = 68,
};

enum svm_tlb_control { SVM_FLUSH_NONE = 0, SVM_FLUSH_ALL = 1, SVM_FLUSH_GUEST = 3 };

/* interrupt_control: V_IRQ with the highest priority and regardless of the TPR, to open a window. */
#define SVM_V_TPR 0xfull
#define SVM_V_IRQ (1ull << 8)
#define SVM_V_WINDOW (SVM_V_IRQ | 0xfull << 16 | 1ull << 20)
#define SVM_V_VECTOR_SHIFT 32
#define SVM_V_MASKING (1ull << 24)

/* Exit codes with a meaning beyond their place in svm_exit.c's table (APM 2, appendix C). */
enum svm_exit {
    SVM_EXIT_DR_READ = 0x20, SVM_EXIT_DR_WRITE = 0x30,
    SVM_EXIT_EXCEPTION = 0x40, SVM_EXIT_INTERCEPT = 0x60, /* of word 0, by bits */ SVM_EXIT_INTR = 0x60, SVM_EXIT_CR0_SELECTIVE = 0x65, SVM_EXIT_DESCRIPTOR = 0x66,
    SVM_EXIT_VINTR = 0x64, SVM_EXIT_IRET = 0x74, SVM_EXIT_IOIO = 0x7b, SVM_EXIT_MSR = 0x7c,
    SVM_EXIT_NESTED_FAULT = 0x400,
};
#define SVM_EXIT_INVALID UINT32_MAX /* the lower half; QEMU leaves the upper 0 */

#define EFER_SVME 0x1000ull

/* What this processor has, by CPUID 8000000A. */
struct svm_features {
    uint32_t asids; /* how many there are; 0 is the host's */
    bool next_rip, flush_by_asid, decode_assists, pause_filter, pause_threshold;
    bool qemu; /* breakpoints that a guest arms stay armed after the exit; PAT is not switched */
};
extern struct svm_features svm_features;

struct svm_vcpu {
    struct vmcb vmcb[1];
    uint8_t msr_permissions[8192]; /* vcpu_msr_map; APM 2, 15.11 */
    paddr_t vmcb_physical;
    struct vmcb *host; /* the home CPU's, for VMLOAD after an exit */
    paddr_t host_physical;
    uint32_t asid_generation;
    uint32_t nmi_blocked; /* VCPU_BLOCKED_BY_NMI between an NMI and its IRET */
    uint32_t step;        /* enum svm_step */
    uint32_t by_hand;     /* VCPU_MSR_TSC_AUX, VCPU_MSR_SPEC_CTRL: to be switched by WRMSR */
    uint64_t step_rip, step_rsp, step_dr6;
    uint32_t step_exceptions, step_intercepts; /* of SVM_STEP_SHADOW: what is intercepted without it */
    uint64_t cr0_hidden; /* CD and NW as the VMM wrote them: not passed on to the processor */
    uint64_t cr4_added;  /* PAE, if the guest has not set it but QEMU needs it: guard_paging */
};

_Static_assert(offsetof(struct svm_vcpu, msr_permissions) == PAGE_SIZE &&
                   sizeof(struct svm_vcpu) <= PAGE_SIZE << VCPU_AREA_ORDER,
               "as in struct vcpu");

/* An IRET that will end the blocking of NMIs was intercepted and now runs. */
enum svm_step {
    SVM_STEP_NONE,
    SVM_STEP_IRET,
    SVM_STEP_TRAP,  /* with TF set by us */
    SVM_STEP_SHADOW /* likewise, one instruction behind STI: step_over_shadow */
};

static inline void svm_intercept(struct vmcb *vmcb, enum svm_intercept which, bool on)
{
    uint32_t bit = 1u << (which % 32);
    vmcb->intercepts[which / 32] = (vmcb->intercepts[which / 32] & ~bit) | (on ? bit : 0);
}

/* svm_state.c */
void svm_begin(struct vcpu *vcpu);
void svm_write(struct vcpu *vcpu, uint32_t groups, const struct vcpu_state *from);
void svm_read(struct vcpu *vcpu, uint32_t groups, struct vcpu_state *to);
void svm_let_msr(uint8_t *map, uint32_t msr, unsigned bits);
void svm_block_nmi(struct svm_vcpu *svm, bool blocked);
bool svm_let_write(struct vcpu *vcpu, uint32_t msr); /* true: the guest's WRMSR is to be done again */

/* svm.c */
void svm_take_asid(struct cpu *cpu, struct svm_vcpu *svm);

/* svm_run.c */
_Noreturn void svm_enter(struct vcpu *vcpu, bool set_rip, uint64_t rip);

/* MSRs that nothing in SVM switches, as bits of by_hand. */
static inline uint32_t svm_by_hand(uint32_t msr)
{
    return msr == MSR_TSC_AUX ? VCPU_MSR_TSC_AUX : msr == MSR_SPEC_CTRL ? VCPU_MSR_SPEC_CTRL : 0;
}

static inline void svm_set_rip(struct vcpu *vcpu, uint64_t rip)
{
    vcpu->svm->vmcb->rip = rip;
    vcpu->svm->vmcb->interrupt_shadow = 0; /* it ends with the instruction */
}

static ALWAYS_INLINE uint32_t svm_interruptibility(struct vcpu *vcpu)
{
    const struct vmcb *vmcb = vcpu->svm->vmcb;
    return (vmcb->rflags >> 9 & 1) * VCPU_IF | (vmcb->interrupt_shadow & 1) * VCPU_BLOCKED_BY_STI |
           vcpu->svm->nmi_blocked;
}

/* Of an instruction that was intercepted; 0: not known. */
static inline uint32_t svm_instruction_length(const struct vmcb *vmcb)
{
    return svm_features.next_rip ? (uint32_t)(vmcb->next_rip - vmcb->rip) & 15 : 0;
}

/* svm_exit.c: what an exit means that svm_run.c does not decode itself. Of *exit, which is 0, the instruction's
 * length is set; RIP and interruptibility are the caller's. */
#define SVM_EXITS 0x90u
extern const uint8_t svm_exits[SVM_EXITS]; /* enum vcpu_exit; below EXIT_COUNT if that says all */
void svm_decode(struct vcpu *vcpu, uint64_t code, struct vcpu_exit_info *exit);

/* svm_entry.S: general registers in, VMRUN, general registers out, svm_exited. */
_Noreturn void svm_run(uint64_t *gpr, struct vmcb *vmcb, paddr_t vmcb_physical,
                       paddr_t host_physical);
_Noreturn void svm_exited(struct vcpu *vcpu);

/* check/svm_rules.c. The check comes before VMRUN, after which the VMCB may not be what it was. */
#ifdef SEPTUM_DEBUG
void svm_check_entry(struct vcpu *vcpu);
bool svm_violate(struct vcpu *vcpu, uint32_t rule_number);
#else
#define svm_check_entry(vcpu) ((void)0)
#define svm_violate NULL
#endif

#endif
