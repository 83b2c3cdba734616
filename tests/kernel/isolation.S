/*
 * What the tests of isolation need and a compiler would not write.
 *
 * void fpu_fill(const void *pattern)   loads 256 bytes into xmm0-15 and 80 into the x87 registers
 * void fpu_store(void *to)             the reverse: 256 bytes, then 8 x 10 bytes, then MXCSR
 * void ymm_fill(const void *pattern), void ymm_store(void *to)     512 bytes: ymm0-15
 */
    .text
    .globl fpu_fill, fpu_store, ymm_fill, ymm_store

.macro each_xmm instruction
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    \instruction \n
    .endr
.endm

.macro load_xmm n
    movdqu 16*\n(%rdi), %xmm\n
.endm
.macro store_xmm n
    movdqu %xmm\n, 16*\n(%rdi)
.endm
.macro load_ymm n
    vmovdqu 32*\n(%rdi), %ymm\n
.endm
.macro store_ymm n
    vmovdqu %ymm\n, 32*\n(%rdi)
.endm

fpu_fill:
    each_xmm load_xmm
    fninit
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7
    fldt 256+10*\n(%rdi)
    .endr
    ret

fpu_store:
    each_xmm store_xmm
    stmxcsr 336(%rdi)
    .irp n, 7, 6, 5, 4, 3, 2, 1, 0
    fstpt 256+10*\n(%rdi)
    .endr
    ret

ymm_fill:
    each_xmm load_ymm
    ret

ymm_store:
    each_xmm store_ymm
    ret

/*
 * void syscall_probe(struct probe *p): the 16 general registers (in the order of struct
 * thread_registers, rsp left out) and the flags are loaded from p->before, the system call is made, and
 * they are stored to p->after. rsp goes to p->after too.
 */
#define AFTER (17 * 8)
    .globl syscall_probe
syscall_probe:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rdi, probe_pointer(%rip)
    mov %rsp, probe_rsp(%rip)
    mov %rsp, 56(%rdi)
    mov %rdi, %r15
    pushq 128(%r15)
    popfq
    mov 0(%r15), %rax
    mov 8(%r15), %rbx
    mov 16(%r15), %rcx
    mov 24(%r15), %rdx
    mov 32(%r15), %rsi
    mov 40(%r15), %rdi
    mov 48(%r15), %rbp
    mov 64(%r15), %r8
    mov 72(%r15), %r9
    mov 80(%r15), %r10
    mov 88(%r15), %r11
    mov 96(%r15), %r12
    mov 104(%r15), %r13
    mov 112(%r15), %r14
    mov 120(%r15), %r15
    .globl syscall_probe_instruction
syscall_probe_instruction:
    syscall
    .globl syscall_probe_next
syscall_probe_next:
    mov %r15, probe_r15(%rip)
    mov probe_pointer(%rip), %r15
    mov %rax, AFTER+0(%r15)
    mov %rbx, AFTER+8(%r15)
    mov %rcx, AFTER+16(%r15)
    mov %rdx, AFTER+24(%r15)
    mov %rsi, AFTER+32(%r15)
    mov %rdi, AFTER+40(%r15)
    mov %rbp, AFTER+48(%r15)
    mov %rsp, AFTER+56(%r15)
    mov %r8, AFTER+64(%r15)
    mov %r9, AFTER+72(%r15)
    mov %r10, AFTER+80(%r15)
    mov %r11, AFTER+88(%r15)
    mov %r12, AFTER+96(%r15)
    mov %r13, AFTER+104(%r15)
    mov %r14, AFTER+112(%r15)
    mov probe_r15(%rip), %rax
    mov %rax, AFTER+120(%r15)
    mov probe_rsp(%rip), %rsp
    pushfq
    popq AFTER+128(%r15)
    cld
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

/* Traps after each instruction from the popf on; makes one system call; goes back to usual. */
    .globl single_step_syscall
single_step_syscall:
    mov $6, %eax            /* inspect, selector 0 */
    xor %edi, %edi
    pushfq
    orl $0x100, (%rsp)
    popfq
    syscall
    nop
    pushfq
    andl $~0x100, (%rsp)
    popfq
    ret

    .bss
    .balign 8
probe_pointer:
    .skip 8
probe_rsp:
    .skip 8
probe_r15:
    .skip 8

    .section .note.GNU-stack, "", @progbits
