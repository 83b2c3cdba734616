/*
 * Into the kernel and out of it: system calls, interrupts, exceptions.
 *
 * Each CPU has one kernel stack; what a thread was doing in user mode is in its struct thread, so a
 * thread that blocks leaves nothing on the stack. The kernel runs with interrupts off, except in the
 * idle loop and in preemption points.
 */
#include "asm_offsets.h"

#define USER_CS 0x23
#define USER_SS 0x1b
#define MSR_GS_BASE 0xc0000101

/*
 * Places that mitigations.c patches at boot where the processor asks for it: a jump to `target` (of
 * kpti.S) goes over the instruction that follows. Costs nothing elsewhere.
 */
        .macro patch_jump kind, target
        .pushsection .patch, "a"
        .quad 881f, \target
        .long \kind, 0
        .popsection
881:
        .endm

/* The user's registers in struct thread: `at_rax` and so on, in the order of struct registers. */
#define PRESERVED rbx, rbp, r12, r13, r14, r15 /* by C functions */
#define ARGUMENTS rsi, rdx, r10, r8, r9        /* of system calls, and rdi */
        .set place, REGISTERS
        .irp register, rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, \
                       r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags
        .set at_\register, place
        .set place, place + 8
        .endr
        .macro save thread, registers:vararg
        .irp register, \registers
        mov %\register, at_\register(\thread)
        .endr
        .endm
        .macro load thread, registers:vararg
        .irp register, \registers
        mov at_\register(\thread), %\register
        .endr
        .endm
        .macro load_and_sysret /* of the thread in rdi, without what C preserves */
        load %rdi, ARGUMENTS
        mov at_rflags(%rdi), %r11
        mov at_rip(%rdi), %rcx
        mov at_rsp(%rdi), %rsp
        mov at_rdi(%rdi), %rdi
        patch_jump PATCH_VERW, verw_sysret
        patch_jump PATCH_KPTI, kpti_sysret
        swapgs
        sysretq
        .endm

        .text

/*
 * SYSCALL: rcx = return address, r11 = rflags, interrupts off by SFMASK, still on the user's stack.
 * RSP serves as the base register for the thread while nothing can interrupt us: NMI and machine
 * check have stacks of their own. An ipc saves the registers that C preserves, because it usually
 * leaves to another thread; any other call usually returns, with those registers intact.
 */
        .globl syscall_entry
        .balign 64
syscall_entry:
        swapgs
        mov %rsp, %gs:CPU_USER_RSP
        patch_jump PATCH_KPTI, kpti_syscall
        mov %gs:CPU_CURRENT, %rsp
        .globl syscall_entry_mapped
syscall_entry_mapped:
        mov %rcx, at_rip(%rsp)
        mov %r11, at_rflags(%rsp)
        mov %gs:CPU_USER_RSP, %rcx
        mov %rcx, at_rsp(%rsp)
        test %al, %al
        jnz syscall_other
        save %rsp, PRESERVED
        mov %gs:CPU_KERNEL_STACK, %rsp
        mov %r10, %rcx
        cmp $IPC_CALL_RAX, %eax
        je ipc_fast_call
        cmp $IPC_REPLY_WAIT_RAX, %eax
        je ipc_fast_reply_wait
        test %eax, %eax
        jz ipc_fast_send
        cmp $IPC_WAIT_RAX, %eax
        je ipc_fast_wait
        mov %gs:CPU_CURRENT, %r11
        mov %rax, at_rax(%r11)
        jmp ipc_general

syscall_other:
        save %rsp, rax, rdi, ARGUMENTS
        mov %rsp, %rdi
        mov %gs:CPU_KERNEL_STACK, %rsp
        movzbl %al, %eax
        cmp $SYSCALL_COUNT, %eax
        jae 2f
        cmpl $0, trace_mask
        jne 3f
4:      sub $8, %rsp
        patch_jump PATCH_RETPOLINE, retpoline_syscall
        call *syscall_table(,%rax,8)
        .globl syscall_returned
syscall_returned:
        cmpl $0, %gs:CPU_RESCHEDULE
        jne syscall_reschedule
        mov %gs:CPU_CURRENT, %rdi
        load_and_sysret
3:      push %rdi
        push %rax
        call syscall_trace
        pop %rax
        pop %rdi
        jmp 4b
2:      mov $STATUS_BAD_ARGUMENT, %eax
        jmp syscall_returned

/* The scheduler must run, or the call is to be made again: now the preserved registers are saved. */
syscall_reschedule:
        mov %gs:CPU_CURRENT, %rcx
        save %rcx, PRESERVED
        mov %gs:CPU_KERNEL_STACK, %rsp
        mov %eax, %edi
        jmp syscall_finish

/* _Noreturn void processor_return_sysret(struct thread *): results in the registers of the ABI. */
        .globl processor_return_sysret
processor_return_sysret:
        load %rdi, PRESERVED, rax
        load_and_sysret

/* _Noreturn void processor_return_iret(struct thread *): all registers. */
        .globl processor_return_iret
processor_return_iret:
        mov %gs:CPU_KERNEL_STACK, %rsp
        pushq $USER_SS
        pushq at_rsp(%rdi)
        pushq at_rflags(%rdi)
        pushq $USER_CS
        pushq at_rip(%rdi)
        load %rdi, PRESERVED, rax, ARGUMENTS, rcx, r11, rdi
        patch_jump PATCH_VERW, verw_iret
        patch_jump PATCH_KPTI, kpti_iret
        swapgs
        iretq

/* _Noreturn void processor_idle(void): the interrupt that ends it starts on a fresh stack. */
        .globl processor_idle
processor_idle:
        mov %gs:CPU_KERNEL_STACK, %rsp
        sti
1:      hlt
        jmp 1b

/* void processor_interrupt_window(void) */
        .globl processor_interrupt_window
processor_interrupt_window:
        sti
        nop
        cli
        ret

/* ---- interrupts and exceptions --------------------------------------------------------------- */

/* One entry of 16 bytes per vector: pushes its number, and 0 where the processor pushes no error. */
#define HAS_ERROR_CODE(v) ((v) == 8 || ((v) >= 10 && (v) <= 14) || (v) == 17 || (v) == 21 || \
                           (v) == 29 || (v) == 30)
        .globl trap_entries
        .balign 16
trap_entries:
        .set vector, 0
        .rept 256
        .balign 16
        .if !HAS_ERROR_CODE(vector)
        pushq $0
        .endif
        pushq $vector
        .if vector == 2 || vector == 8 || vector == 18
        jmp trap_paranoid_entry
        .elseif vector == 1
        jmp trap_debug_entry
        .else
        jmp trap_common
        .endif
        .set vector, vector + 1
        .endr

/* On the stack: vector, error code, rip, cs, rflags, rsp, ss. */
trap_common:
        testb $3, 24(%rsp)
        jz trap_from_kernel
        swapgs
        push %rax
        patch_jump PATCH_SMAP, trap_clac
        patch_jump PATCH_KPTI, kpti_trap
        mov %gs:CPU_CURRENT, %rax
        .globl trap_mapped
trap_mapped:
        save %rax, PRESERVED, ARGUMENTS, rdi, rcx, r11
        pop at_rax(%rax)
        pop %rdi                        /* vector */
        pop %rsi                        /* error code */
        pop at_rip(%rax)
        add $8, %rsp
        pop at_rflags(%rax)
        pop at_rsp(%rax)
        movl $RESUME_IRET, THREAD_RESUME(%rax)
        mov %rax, %rdx
        cld
        mov %gs:CPU_KERNEL_STACK, %rsp
        jmp trap_user

/* struct trap_frame (trap.h) on whatever stack we are on. */
        .macro push_frame
        .irp register, rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
        push %\register
        .endr
        cld
        .endm
        .macro pop_frame
        .irp register, r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax
        pop %\register
        .endr
        add $16, %rsp
        .endm

/* From the kernel: the idle loop, a preemption point, or a fault of ours. */
trap_from_kernel:
        push_frame
        mov %rsp, %rdi
        mov %rsp, %rbp
        and $-16, %rsp
        call trap_kernel
        mov %rbp, %rsp
        pop_frame
        iretq

/* A debug trap that user code has armed may come with the first instruction of a system call. */
trap_debug_entry:
        testb $3, 24(%rsp)
        jnz trap_common

/*
 * NMI, double fault, machine check: at any instruction, also between SYSCALL and SWAPGS or between
 * SWAPGS and SYSRET. Whose GS base is loaded is asked of the processor: ours is a kernel address.
 */
trap_paranoid_entry:
        push_frame
        mov %rsp, %rbp
        xor %ebx, %ebx
        mov $MSR_GS_BASE, %ecx
        rdmsr
        test %edx, %edx
        js 1f
        swapgs
        inc %ebx
1:      mov %cr3, %r12 /* perhaps a user's table, without the kernel: KPTI */
        mov %gs:CPU_KERNEL_CR3, %rax
        mov %rax, %cr3
        mov %rsp, %rdi
        and $-16, %rsp
        call trap_paranoid
        mov %rbp, %rsp
        mov %r12, %cr3
        test %ebx, %ebx
        jz 2f
        swapgs
2:      pop_frame
        iretq

        .section .note.GNU-stack, "", @progbits
