/*
 * A tiny guest in the clothes of a Linux bzImage, so that it boots as Linux does: the setup header of the
 * x86 boot protocol 2.15 (Documentation/arch/x86/boot.rst), then code that is entered in 64-bit mode at its
 * start + 0x200, with paging on and the address of boot_params in RSI. It runs at any address.
 */
    .section .setup, "ax"
    .code16
setup_start:
    .org 0x1f1
    .byte 1                     /* setup_sects: one sector behind the first */
    .word 0                     /* root_flags */
    .long 0x8000 / 16           /* syssize: 16-byte units of what follows; tiny.ld pads it to that */
    .word 0, 0xffff, 0          /* ram_size, vid_mode, root_dev */
    .word 0xaa55
    .byte 0xeb, 0x66            /* jump over the header, as the protocol has it */
    .ascii "HdrS"
    .word 0x020f
    .long 0
    .word 0, 0
    .byte 0                     /* type_of_loader: the loader's */
    .byte 1                     /* loadflags: LOADED_HIGH */
    .word 0
    .long 0x100000              /* code32_start */
    .long 0, 0                  /* ramdisk: the loader's */
    .long 0
    .word 0, 0
    .long 0                     /* cmd_line_ptr: the loader's */
    .long 0x7fffffff            /* initrd_addr_max */
    .long 0x200000              /* kernel_alignment */
    .byte 1, 21                 /* relocatable, min_alignment 2^21 */
    .word 1                     /* xloadflags: XLF_KERNEL_64 */
    .long 1024                  /* cmdline_size */
    .long 0
    .quad 0
    .long 0, 0                  /* payload */
    .quad 0
    .quad 0x1000000             /* pref_address */
    .long 0x200000              /* init_size: what it may use behind its start */
    .long 0, 0
    .org 1024

    .section .entry, "ax"
    .code64
payload_start:
    hlt                         /* the 32-bit entry: not for us */
    .org 0x200
    cli
    cld
    lea stack_end(%rip), %rsp
    mov %rsi, %rbx
    lea bss_start(%rip), %rdi
    lea bss_end(%rip), %rcx
    sub %rdi, %rcx
    xor %eax, %eax
    rep stosb
    call tiny_start             /* IDT and page tables of our own */
    mov %rbx, %rdi
    call tiny_main
1:  cli
    hlt
    jmp 1b

/* Entries for the 32 exceptions, 16 bytes each, then one for every other vector. */
    .balign 16
    .globl exception_entries
exception_entries:
    vector = 0
    .rept 32
    .balign 16
    .if (vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector >= 28 && vector <= 30)
    .else
    push $0
    .endif
    push $vector
    jmp exception_common
    vector = vector + 1
    .endr
    .balign 16
    .globl interrupt_entry
interrupt_entry:
    incq interrupts_taken(%rip)
    push %rax
    push %rdx
    push %rcx
    mov end_of_interrupt_msr(%rip), %ecx
    xor %eax, %eax
    xor %edx, %edx
    wrmsr
    pop %rcx
    pop %rdx
    pop %rax
    iretq

/* An exception goes on at `recover`, if that is set, with the vector in last_exception; else the guest
 * says what it was and stops. */
exception_common:
    push %rax
    mov 8(%rsp), %rax
    mov %rax, last_exception(%rip)
    mov recover(%rip), %rax
    test %rax, %rax
    jz 1f
    mov %rax, 24(%rsp)
    pop %rax
    add $16, %rsp
    iretq
1:  mov 8(%rsp), %rdi
    mov 24(%rsp), %rsi
    mov %cr2, %rdx
    call tiny_died

    .section .note.GNU-stack, "", @progbits
