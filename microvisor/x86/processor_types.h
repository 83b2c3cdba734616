/* The processor's share of struct cpu and struct thread, and the saved user registers. */
#pragma once

#include "core/types.h"

/* User registers as saved at kernel entry, in the order of the ABI's struct thread_registers. A system
 * call saves those that C preserves, rip, rflags and rsp; the rest by need. */
struct registers {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
};

/* Vectors for devices; below are the processor's, above the local APIC's. */
#define VECTOR_DEVICE_FIRST 0x30u
#define VECTOR_DEVICE_LAST 0xdfu
#define DEVICE_VECTORS (VECTOR_DEVICE_LAST - VECTOR_DEVICE_FIRST + 1)

struct fpu_state; /* an XSAVE area: x86/fpu.c */

struct processor_thread {
    struct fpu_state *fpu; /* NULL until first used; charged to the task */
    uint64_t fs_base;
};

struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7];
    uint64_t reserved2;
    uint16_t reserved3;
    uint16_t io_bitmap;                 /* offset from the start of the TSS */
    uint8_t bitmap[65536 / 8 + 1 + 7]; /* ends with a byte of ones (SDM 1, 19.5.2) */
} __attribute__((packed, aligned(8)));

struct processor {
    uint32_t apic_id;
    uint64_t kernel_cr3;     /* the kernel's own table */
    uint64_t entry_stack[16] __attribute__((aligned(16))); /* traps from user mode begin here */
    uint64_t gdt[16] __attribute__((aligned(16)));
    struct tss tss;
    struct task *ports_loaded; /* whose permissions are in the TSS's bitmap */
    const void *fpu_owner; /* the thread or vCPU whose FPU registers are live; NULL: none, CR0.TS set */
    struct task *fpu_task; /* its task */
    struct fpu_state *fpu; /* its memory */
    struct vcpu *debug_vcpu; /* whose DR0-3 and DR6 are in the registers; harmless to all else */
    struct task *barrier_task; /* the last task after a barrier: mitigations.ibpb */
    uint64_t tr_loaded_at;     /* VM entries counted when the task register was last loaded */
    uint64_t tsc_offset;       /* this TSC minus that of CPU 0; 0 when they are synchronous */
    uint64_t loaded_fs_base;
    uint64_t loaded_xcr0;
    void *virt_page;       /* VMXON region, or SVM's host save area */
    void *virt_host_page;  /* SVM: host VMCB for VMSAVE/VMLOAD */
    struct vcpu *vcpu_loaded; /* VMX: whose VMCS is current here */
    uint32_t asid_next;
    uint32_t asid_generation;
    uint32_t asid_flushed; /* SVM: the last generation that began with a flush that was done */
};
