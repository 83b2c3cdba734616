/* Which measures against speculative leaks are in force: chosen once, at boot. */
#pragma once

#include "core/cpu.h"

struct mitigations {
    bool kpti;      /* user mode runs on tables without the kernel (Meltdown) */
    bool verw;      /* buffers are cleared on the way to user mode and to guests (MDS, RFDS) */
    bool l1d_flush; /* the L1 data cache is flushed before VM entry (L1TF) */
    bool ibpb;      /* branch predictions are dropped between tasks */
    bool rsb_fill;  /* the return stack is filled between tasks and after VM exits */
    bool retpoline; /* indirect branches of the kernel are not predicted */
    bool ibrs;      /* the processor itself keeps user predictions out of the kernel */
};
extern struct mitigations mitigations;

/* Places in the kernel's text that are patched at boot: section .patch. */
enum patch_kind {
    PATCH_CR3_LOAD, /* "mov reg, cr3" goes, with KPTI */
    PATCH_KPTI,     /* a jump to target */
    PATCH_VERW,     /* the same, where there is no KPTI (whose way out clears buffers, too) */
    PATCH_SMAP,     /* the same */
    PATCH_RETPOLINE, /* the same */
    PATCH_RSB_FILL,  /* the same */
    /*
     * On QEMU (7.2, 10.0) "mov rdx, cr8" in place of four bytes that do nothing; rdx is a page's address, whose lowest
     * bits, all that is looked at, are 0. Its VMRUN and its exits change the processor's pending interrupts without the
     * lock that its other threads take: one that comes at that moment is lost, and a guest or the idle loop may go on
     * for ever, if it was the timer's. That the task priority is written makes it look at the APIC again.
     */
    PATCH_QEMU_TPR,
};

/* Decides by what the processor needs (or: nothing, or all it can do), and prints. */
void mitigations_init(bool off, bool force);
void mitigations_init_cpu(struct cpu *cpu);
/* Before another task runs, with SLOW_BARRIER or SWITCH_SLOW_RSB. */
void mitigations_between_tasks(void);

/* Puts harmless entries onto all of the return stack (32 is the deepest, 16 on older AMD). */
static inline __attribute__((always_inline)) void mitigation_fill_rsb(void)
{
    __asm__ volatile("mov $16, %%ecx\n"
                     "1: call 2f\n"
                     "   int3\n"
                     "2: call 3f\n"
                     "   int3\n"
                     "3: dec %%ecx\n"
                     "   jnz 1b\n"
                     "   add $256, %%rsp\n"
                     "   lfence"
                     :
                     :
                     : "rcx", "memory", "cc");
}

/* Clears the processor's buffers, on processors with MD_CLEAR (SDM: VERW). */
static inline void mitigation_verw(void)
{
    static const uint16_t selector = 0x10; /* the kernel's data segment */
    __asm__ volatile("verw %0" : : "m"(selector) : "cc");
}
