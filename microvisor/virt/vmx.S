/* Into a VMX guest and out of it. */

#include "asm_offsets.h"
#include "virt/guest_registers.def"

#define FIELD_EXIT_REASON 0x4402

        .text

/* _Noreturn void vmx_run(uint64_t *gpr, bool launched): goes on in vmx_exited(struct vcpu *,
 * reason). */
        .globl vmx_run, vmx_exit
        .balign 64
vmx_run:
        test %sil, %sil
        each_register load, %rdi
        mov (%rdi), %rax
        mov 7*8(%rdi), %rdi
        jz 1f
        vmresume
        jmp vmx_refused
1:      vmlaunch
vmx_refused:
        mov %gs:CPU_KERNEL_STACK, %rsp
        mov %gs:CPU_IN_GUEST, %rdi
        mov $-1, %esi
        jmp vmx_exited

/* Here an exit arrives, on a kernel stack that is empty. */
        .balign 64
vmx_exit:
        push %rdi
        mov %gs:CPU_IN_GUEST, %rdi
        mov VCPU_STATE(%rdi), %rdi
        each_register store, %rdi
        mov %rax, (%rdi)
        popq 7*8(%rdi)
        cmpb $0, vmx_guard
        jne 3f
2:      mov %gs:CPU_IN_GUEST, %rdi
        mov $FIELD_EXIT_REASON, %esi
        vmread %rsi, %rsi
        jmp vmx_exited

3:      forget_guest
        jmp 2b

        .section .note.GNU-stack, "", @progbits
