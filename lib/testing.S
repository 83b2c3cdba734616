/*
 * Leaving a test in the middle: testing_call(f) runs f and returns 0, or 1 when testing_abort was called
 * below it. Only for the first thread.
 */
    .text
    .globl testing_call, testing_abort
testing_call:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, saved_rsp(%rip)
    sub $8, %rsp
    call *%rdi
    xor %eax, %eax
    jmp 1f
testing_abort:
    mov $1, %eax
1:  mov saved_rsp(%rip), %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .bss
    .balign 8
saved_rsp:
    .skip 8

    .section .note.GNU-stack, "", @progbits
