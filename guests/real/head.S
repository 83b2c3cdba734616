/*
 * A kernel of Linux's boot protocol that has a 16-bit entry alone: boot sector with the setup header (boot.rst), setup
 * code, and a payload that is data. VERSION: the protocol, 0x200 to 0x202; HIGH: 1 as a bzImage, 0 as a zImage.
 */
#ifndef HIGH
#define HIGH 0
#endif
    .section .head, "ax"
    .code16
    .globl head
head:
    .org 0x1f1
    .byte 7                 /* sectors of setup code behind this one */
    .word 0
    .word PAYLOAD / 16      /* syssize, of two bytes then */
    .word 0, 0, 0xffff, 0   /* swap device, ram size, video mode, root device */
    .word 0xaa55
    jmp start
    .ascii "HdrS"
    .word VERSION
    .long 0
    .word 0, 0
    .byte 0                 /* type_of_loader */
    .byte HIGH
    .word 0x8000            /* setup_move_size */
    .long 0x1000 + HIGH * 0xff000
    .long 0, 0, 0           /* ramdisk; bootsect_kludge */
#if VERSION >= 0x201
    .word 0, 0              /* heap_end_ptr */
#endif
#if VERSION >= 0x202
    .long 0                 /* cmd_line_ptr */
#endif

/* CS is 0x20 more than DS: as Linux's own setup code does, make them equal. */
start:
    mov %sp, %bp
    mov %cs, %dx
    push %ds
    pushw $1f
    lret
1:  sti
    cld
    movzwl %dx, %edx
    movzwl %bp, %eax
    movzwl %sp, %esp
    pushl %edx
    pushl %eax
    calll real
2:  hlt
    jmp 2b

/*
 * void return_by(uint32_t how): resets the processor as a 286's programs do to leave protected mode, and returns when the
 * BIOS has jumped back by the vector at 40:67: by 0 the keyboard controller, 1 port 0x92, 2 a triple fault, 3 port 0xcf9.
 */
    .globl return_by
return_by:
    cli
    pushal
    push %ds
    push %es
    movl 40(%esp), %ecx
    mov %esp, stack_then
    mov $0x0f, %al          /* the CMOS memory's shutdown code: jump, and touch nothing */
    outb %al, $0x70
    mov $0x0a, %al
    outb %al, $0x71
    pushw $0x40
    pop %es
    movw $back, %es:0x67
    mov %cs, %es:0x69
    cmp $1, %ecx
    jb 1f
    je 2f
    cmp $3, %ecx
    jb 3f
    mov $0xcf9, %dx
    xor %al, %al
    outb %al, %dx
    mov $4, %al
    outb %al, %dx
    jmp 4f
1:  inb $0x64, %al
    test $2, %al
    jnz 1b
    mov $0xfe, %al
    outb %al, $0x64
    jmp 4f
2:  inb $0x92, %al
    and $0xfe, %al
    outb %al, $0x92
    or $1, %al
    outb %al, $0x92
    jmp 4f
3:  lidtl no_table
    int3
4:  hlt
    jmp 4b
back:
    mov %cs, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov stack_then, %esp
    lidtl old_table
    pop %es
    pop %ds
    popal
    sti
    retl

    .section .data
stack_then:
    .long 0
no_table:
    .word 0
    .long 0
old_table:
    .word 0x3ff
    .long 0

    .section .payload, "a"
    .rept PAYLOAD / 4
    .byte 1, 2, 3, 4
    .endr
    .section .note.GNU-stack, "", @progbits
