/*
 * Where a program begins (rdi = its argument; the first task's is the boot_info page), and where a
 * spawned thread begins (rdi = its struct thread_context, at the top of its stack).
 */
#define STACK_BYTES 16384          /* THREAD_STACK_BYTES of thread.h */
#define CONTEXT_BYTES 64           /* sizeof(struct thread_context) */

    .section .text.start, "ax"
    .globl _start
    .type _start, @function
_start:
    mov $first_stack + STACK_BYTES - CONTEXT_BYTES, %rsp
    xor %ebp, %ebp
    call program_start
    ud2

    .globl thread_entry
    .type thread_entry, @function
thread_entry:
    xor %ebp, %ebp
    call thread_run
    ud2

    .bss
    .balign STACK_BYTES
    .globl first_stack
first_stack:
    .skip STACK_BYTES

    .section .note.GNU-stack, "", @progbits
