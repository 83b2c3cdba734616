/* The multiboot head and the entry, and what of the tasks can't be C: 32-bit code, no paging yet. */
#define MULTIBOOT_MAGIC 0x1badb002

    .section .head, "a"
    .balign 4
    .long MULTIBOOT_MAGIC, 0, -MULTIBOOT_MAGIC

    .text
    .code32
    .globl start, fault_entry, narrow_code, plain_code, plain_code_end
start:
    mov $stack_end, %esp
    call tasks
1:  hlt
    jmp 1b

/* The task of exceptions that have an error code, which the switch has pushed. */
fault_entry:
    pop fault_error
    call fault_taken
    iret
    jmp fault_entry

/* A task of 16-bit code, with data segments that begin at 0. */
    .code16
narrow_code:
    addr32 mov %ax, narrow_ax
    addr32 mov %sp, narrow_sp
    iret
    jmp narrow_code

/* Of a virtual-8086 task. */
plain_code:
    mov %cs, %bx
    int3
plain_code_end:

    .code32
    .bss
    .balign 16
    .skip 16384
stack_end:
    .section .note.GNU-stack, "", @progbits
