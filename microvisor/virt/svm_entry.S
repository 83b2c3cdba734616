/*
 * VMRUN and what surrounds it (APM 2, 15.5).
 *
 * _Noreturn void svm_run(uint64_t *gpr, struct vmcb *vmcb, paddr_t vmcb_physical, paddr_t host_physical)
 *
 * CLGI holds interrupts and NMIs off from the moment that the guest's GS and TR are loaded until ours
 * are back. IF has to be 1 at VMRUN all the same: with V_INTR_MASKING it is the host's IF that lets
 * an interrupt end the guest (APM 2, 15.21.1).
 */
#include "asm_offsets.h"
#include "virt/guest_registers.def"

#define VMCB_RAX 0x5f8

        .text
        .globl svm_run
        .balign 64
svm_run:
        push %rcx
        push %rsi
        push %rdi
        mov (%rdi), %rax
        mov %rax, VMCB_RAX(%rsi)
        mov %rdx, %rax
        each_register load, %rdi
        mov 7*8(%rdi), %rdi
        clgi
        sti
        vmload %rax
        vmrun %rax
        vmsave %rax
        pop %rax
        each_register store, %rax
        mov %rdi, 7*8(%rax)
        pop %rdx
        mov VMCB_RAX(%rdx), %rcx
        mov %rcx, (%rax)
        pop %rax
        vmload %rax
        cli
        stgi
        .pushsection .patch, "a"
        .quad 1f, 0
        .long PATCH_QEMU_TPR, 0
        .quad 2f, 4f
        .long PATCH_RSB_FILL, 0
        .popsection
1:      .byte 0x0f, 0x1f, 0x40, 0 /* nopl of four bytes */
2:      mov %gs:CPU_IN_GUEST, %rdi
3:      mov %gs:CPU_KERNEL_STACK, %rsp /* whoever entered the guest is not returned to */
        call svm_exited

4:      forget_guest
        mov %gs:CPU_IN_GUEST, %rdi
        jmp 3b

        .section .note.GNU-stack, "", @progbits
