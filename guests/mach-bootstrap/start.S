/*
 * Where Mach begins: the first thread, with the words of the module's line on its stack, and the threads that
 * we make.
 */
    .text
    .globl _start
_start:
    mov (%esp), %eax            /* how many words */
    lea 4(%esp), %edx           /* the words */
    and $-16, %esp
    sub $8, %esp
    push %edx
    push %eax
    call bootstrap_main
1:  jmp 1b                      /* not reached: bootstrap_main ends its own task */

/* EBX, ESI, EDI: the arguments of the function in EAX, which does not return. See thread_start in mach.c. */
    .globl thread_entry
thread_entry:
    sub $4, %esp
    push %edi
    push %esi
    push %ebx
    call *%eax
2:  jmp 2b

/*
 * A trap: its negative number in EAX, arguments as those of a C function, and the call gate that Mach has for
 * them.
 */
    .macro trap name, number
    .globl \name
\name:
    mov $-\number, %eax
    lcall $7, $0
    ret
    .endm
    trap mach_msg 25
    trap mach_reply_port 26
    trap mach_thread_self 27
    trap mach_task_self 28

    .section .note.GNU-stack, "", @progbits
