/*
 * Virtual CPUs: what VMX and SVM share, and the table of verbs that each of them fills.
 * Everything here runs on the vCPU's home CPU, interrupts off.
 */
#ifndef VIRT_VCPU_H
#define VIRT_VCPU_H

#include "core/ipc.h"
#include "core/list.h"
#include "core/object.h"
#include "core/thread.h"

struct cpu;
struct vmx_vcpu; /* vmx.h */
struct svm_vcpu; /* svm.h */

/* An exit, decoded by the vendor's code into the terms of abi/vcpu.h. */
struct vcpu_exit_info {
    uint32_t reason; /* enum vcpu_exit; EXIT_NONE: the kernel's own affair (interrupt, NMI), go on */
    uint32_t instruction_length; /* 0: not known. This and what follows: filled unless EXIT_NONE, so */
    uint32_t interruptibility;   /* that the reply needs no calls through the table of verbs. */
    uint64_t qualification, address, rip;
};

/*
 * What makes an entry or an exit take the long way: any bit set. Changed by the home CPU, but for FORCED,
 * which any CPU sets; so atomically.
 */
enum vcpu_special {
    SPECIAL_FORCED = 1,  /* CONTROL_VCPU_FORCE_EXIT */
    SPECIAL_HALTED = 2,  /* activity is not ACTIVE */
    SPECIAL_CALL = 4,    /* flags, pending_event or event_outcome are not 0 */
    SPECIAL_XCR0 = 8,    /* the guest has CR4.OSXSAVE set, and another XCR0 than the host */
    SPECIAL_BACKEND = 16, /* the vendor's own */
};

#define VCPU_FLUSH UINT64_MAX /* flush at the next entry in any case */
#define VCPU_SHADOW (VCPU_BLOCKED_BY_STI | VCPU_BLOCKED_BY_MOV_SS)
#define VCPU_BLOCKED (VCPU_SHADOW | VCPU_BLOCKED_BY_NMI)
#define RFLAGS_TF 0x100u
#define RFLAGS_IF 0x200u
#define CR0_NW (1ull << 29)
#define CR0_CD (1ull << 30)
enum vector {
    VECTOR_DB = 1, VECTOR_NMI = 2, VECTOR_DF = 8, VECTOR_PF = 14, VECTOR_AC = 17, VECTOR_MC = 18
};
/* These exit whatever the VMM wants: a machine check is the host's, and a guest whose own #DB or
 * #AC handling raises another must not hold the CPU in an endless delivery (CVE-2015-5307,
 * -8104). */
#define EXCEPTIONS_ALWAYS (1u << VECTOR_DB | 1u << VECTOR_AC | 1u << VECTOR_MC)

struct vcpu {
    struct object object; /* owner: the task whose guest space and ports it uses */
    struct vcpu_state *state; /* the shared page: read each word once, trust none */
    struct thread *runner;    /* the thread whose call is under way */
    uint64_t guest_generation; /* the task's, when this vCPU last flushed, or VCPU_FLUSH */
    uint32_t special;       /* enum vcpu_special */
    uint32_t flags;         /* enum vcpu_flag of the present call: windows only */
    uint64_t pending_event; /* cut by an exit, or given and not yet delivered */
    uint64_t waiting;       /* an interrupt for when the guest can take it; VALID or 0 */
    uint32_t event_outcome; /* enum vcpu_event_outcome; PENDING only in replies */
    uint32_t activity;      /* VCPU_ACTIVITY_* */
    struct vcpu_state *staged; /* what the VMM wrote, while it is checked: a page of our own */
    uint64_t state_address; /* user address of the shared page in the owner's host space */

    /* State that neither vendor's area holds, private copies. dr, dr6 (SVM: in the VMCB instead): stale
     * while this vCPU is its CPU's x86.debug_vcpu, whose values stay in the registers after an exit. */
    uint64_t dr[4], dr6, xcr0, xss, tsc_aux, spec_ctrl;
    bool osxsave; /* CR4.OSXSAVE; before, its XCR0 need not be loaded */
    /* Policy, checked when it was written. */
    uint32_t intercepts, exception_exits;
    uint64_t cr0_guest_owned, cr4_guest_owned, msr_direct, xcr0_allowed;

    /* If the last entry failed: which rule of the manual was broken; NULL: only debug kernels know. */
    const char *failed_rule;
    uint32_t failed_rule_number;

    struct fpu_state *fpu;
    union {
        uint8_t *area; /* of VCPU_AREA_ORDER: VMCS or VMCB, a page; the map of MSRs; what is the backend's */
        struct vmx_vcpu *vmx;
        struct svm_vcpu *svm;
    };
};

#define VCPU_AREA_ORDER 2u

/* Which MSRs exit, as the processor reads it: of vcpu_ops->msr_map_bytes. */
static inline uint8_t *vcpu_msr_map(struct vcpu *vcpu)
{
    return vcpu->area + PAGE_SIZE;
}

enum { MSR_LET_READ = 1, MSR_LET_WRITE = 2 };

/* One instance for VMX, one for SVM, chosen once at boot. */
struct vcpu_ops {
    const char *name;
    const struct table_format *guest_format; /* of task.guest */
    /* Is it there and not locked off? If not, *why gets one sentence: what is missing, what to do. */
    bool (*probe)(const char **why);
    bool (*cpu_enable)(struct cpu *cpu); /* on each CPU at boot */
    void (*begin)(struct vcpu *vcpu); /* what is not part of a guest's state; at home */
    void (*end)(struct vcpu *vcpu);   /* at home; NULL: nothing to do */
    /* What takes more than a copy (registers.def), after all that does not. `from` is a checked copy. */
    void (*write)(struct vcpu *vcpu, uint32_t groups, const struct vcpu_state *from);
    void (*read)(struct vcpu *vcpu, uint32_t groups, struct vcpu_state *to);
    void (*set_rip)(struct vcpu *vcpu, uint64_t rip); /* also ends an interrupt shadow */
    /* If another vCPU may have been loaded on this CPU since: before an entry, read, write. */
    void (*load)(struct vcpu *vcpu);
    /*
     * Runs the guest until an exit; general registers are loaded from and stored to vcpu->state->gpr.
     * With set_rip it begins as if set_rip(rip) had been called. vcpu->pending_event is injected, and
     * after the exit holds what was cut, or 0; so is vcpu->waiting when the guest can take it, and is 0 then, with the
     * outcome DELIVERED. Does not return: ends in vcpu_exited or vcpu_answer (vcpu_exit.h).
     */
    void (*run)(struct vcpu *vcpu, bool set_rip, uint64_t rip);
    void (*where)(struct vcpu *vcpu, struct vcpu_exit_info *exit); /* RIP, interruptibility: as now */
    unsigned msr_map_bytes;
    void (*let_msr)(uint8_t *map, uint32_t msr, unsigned bits); /* MSR_LET_* */
    /* Debug builds: makes the state break that rule. False: there is no such rule. */
    bool (*violate)(struct vcpu *vcpu, uint32_t rule_number);
};

extern const struct vcpu_ops vmx_ops, svm_ops;
extern const struct vcpu_ops *vcpu_ops; /* NULL: no virtualization here */
extern bool vmx_backstop; /* option vmx-timer: see vmx_init.c */

/*
 * At boot, on the first CPU, after frames and features are known: chooses vcpu_ops. NULL if there is
 * virtualization, else one sentence: what is missing, what to do. Tasks made before this cannot have
 * vCPUs. Then on each CPU, after its segments, MSRs and FPU are set: false if it cannot take part.
 */
const char *vcpu_init(void);
bool vcpu_init_cpu(struct cpu *cpu);

/* sys_ipc's part for IPC_CALL on a vCPU: starts the call, then enters (does not return) or gives back
 * a status with the reply already in the caller's registers. */
enum septum_status vcpu_call(struct thread *caller, struct vcpu *vcpu);

/* The same from ipc's fast path: a vCPU's capability with RIGHT_SEND, the message in registers. What is
 * not of the plainest kind goes on to the general path. */
_Noreturn void vcpu_call_fast(struct capability *cap, uint64_t tag, uint64_t w0, uint64_t w1,
                              uint64_t w2, uint64_t w3);

/* RESUME_VCPU: the thread was preempted while its guest ran. Enters the guest again (does not return),
 * or returns when the call is over, with the reply in the thread's registers and resume set to
 * RESUME_SYSRET; or (SYSCALL_SWITCHED) when the scheduler must run first. */
enum septum_status vcpu_continue(struct thread *thread);

/* Ends a call early from outside: stop, death, timeout. On the home CPU. */
void vcpu_abort(struct thread *thread, enum septum_status status);

enum septum_status vcpu_control(struct thread *caller, struct vcpu *vcpu, uint64_t operation,
                                uint64_t a0);

/* ---- vcpu_state.c: the groups of the state page ------------------------------------------------- */

/* What this processor lets a guest have: bits that are not set here are refused. */
struct vcpu_limits {
    uint64_t pkru_offset; /* of PKRU in an XSAVE image; 0: no protection keys */
    uint64_t cr4, efer, cr3, xcr0, tsc_aux, spec_ctrl, pkru, msr_direct;
};
extern struct vcpu_limits vcpu_limits;
void vcpu_limits_init(void);

/*
 * Copies groups from the state page to vcpu->staged and checks the copy. 0, or the first group that
 * holds what the processor would refuse; nothing is changed.
 */
uint32_t vcpu_stage(struct vcpu *vcpu, uint32_t groups);
bool vcpu_event_legal(uint64_t event);
void vcpu_apply(struct vcpu *vcpu, uint32_t groups); /* what was staged takes effect */
/* Sets the bits of vcpu->special that follow from other fields: after these were changed. */
void vcpu_note_special(struct vcpu *vcpu);
void vcpu_show(struct vcpu *vcpu, uint32_t groups);  /* groups into the state page */
void vcpu_debug_sync(struct vcpu *vcpu); /* dr, dr6: as the registers are now */
void vcpu_reset(struct vcpu *vcpu, uint32_t groups); /* as INIT leaves them; POLICY: the default */

#endif
