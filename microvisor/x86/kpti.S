/*
 * Ways into and out of the kernel for processors with leaks; entry.S jumps here from the places that
 * mitigations.c has patched.
 *
 * KPTI: user mode runs on tables that hold of the kernel only its text and, for each CPU, struct cpu,
 * interrupt stacks and gates. The kernel runs on its own table, which has no user half at all.
 *
 * Retpolines: the compiler makes indirect branches through thunks, which are patched to branch by RET, a
 * prediction that user code cannot train.
 */
#include "asm_offsets.h"

        .text
        .globl kpti_syscall, kpti_trap, trap_clac, kpti_sysret, kpti_iret, verw_sysret, verw_iret, retpoline_syscall
kpti_syscall:
        mov %gs:CPU_KERNEL_CR3, %rsp
        mov %rsp, %cr3
        mov %gs:CPU_CURRENT, %rsp
        jmp syscall_entry_mapped

/* Without KPTI: a trap keeps the user's AC flag, which would let the kernel touch user pages. */
trap_clac:
        clac
        mov %gs:CPU_CURRENT, %rax
        jmp trap_mapped

kpti_trap:
        mov %gs:CPU_KERNEL_CR3, %rax
        mov %rax, %cr3
        mov %gs:CPU_CURRENT, %rax
        jmp trap_mapped

kpti_sysret:
        mov %rsp, %gs:CPU_USER_RSP
        mov %gs:CPU_LOADED_CR3, %rsp
        mov %rsp, %cr3
        mov %gs:CPU_USER_RSP, %rsp
verw_sysret:
        verw selector(%rip)
        swapgs
        sysretq

/* The kernel stack is not mapped there: IRET's frame goes onto the entry stack first. */
kpti_iret:
        push %rax
        push %rdi
        mov %gs:0, %rdi
        add $(CPU_ENTRY_STACK + 9 * 8), %rdi
        .irp at, 0, 8, 16, 24, 32, 40, 48
        mov \at(%rsp), %rax
        mov %rax, \at(%rdi)
        .endr
        mov %rdi, %rsp
        mov %gs:CPU_LOADED_CR3, %rax
        mov %rax, %cr3
        pop %rdi
        pop %rax
verw_iret:
        verw selector(%rip)
        swapgs
        iretq

retpoline_syscall: /* in the place of `call *syscall_table(,%rax,8)` */
        pushq $syscall_returned
        mov syscall_table(,%rax,8), %rax
        jmp retpoline_rax

        .macro thunk register
        .globl __x86_indirect_thunk_\register
        .balign 16
__x86_indirect_thunk_\register:
        jmp *%\register
        .balign 8
retpoline_\register:
        call 2f
1:      pause
        lfence
        jmp 1b
2:      mov %\register, (%rsp)
        ret
        .pushsection .patch, "a"
        .quad __x86_indirect_thunk_\register, retpoline_\register
        .long PATCH_RETPOLINE, 0
        .popsection
        .endm
        .irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
        thunk \register
        .endr

        .section .rodata
        .balign 2
selector:
        .word 0x10 /* VERW clears buffers only if the segment can be written */

        .section .note.GNU-stack, "", @progbits
