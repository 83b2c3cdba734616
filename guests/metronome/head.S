/*
 * The boot of metronome: the setup header of the x86 boot protocol 2.15 (Documentation/arch/x86/boot.rst), then
 * code that is entered in 64-bit mode at its start + 0x200, with paging on and the address of boot_params in
 * RSI. It asks for its preferred address and for nothing else, and it keeps the loader's page tables and
 * segments.
 */
    .section .setup, "ax"
    .code16
    .org 0x1f1
    .byte 1                     /* setup_sects: one sector behind the first */
    .word 0                     /* root_flags */
    .long 0x4000 / 16           /* syssize: 16-byte units of what follows; metronome.ld pads it to that */
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
    .quad 0x200000              /* pref_address */
    .long 0x100000              /* init_size: what it uses from its start on; metronome.ld checks */
    .long 0, 0
    .org 1024

    .section .entry, "ax"
    .code64
    ud2                         /* the 32-bit entry: not for us */
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
    mov %rbx, %rdi
    call metronome_main
1:  cli
    hlt
    jmp 1b

    .text
/*
 * The timer has fired: when, is noted before anything else. The end of interrupt is left to whoever waited, for
 * it costs an exit, and what is measured is the way to here.
 */
    .globl timer_entry
timer_entry:
    push %rax
    push %rdx
    rdtsc
    shl $32, %rdx
    or %rdx, %rax
    mov %rax, woken_at(%rip)
    pop %rdx
    pop %rax
    iretq

    .globl spurious_entry
spurious_entry:
    iretq

/* Entries for the 32 exceptions, 16 bytes each. None is expected: the guest says which it was, and stops. */
    .balign 16
    .globl exception_entries
exception_entries:
    vector = 0
    .rept 32
    .balign 16
    mov $vector, %edi
    mov %rsp, %rsi
    jmp exception_common
    vector = vector + 1
    .endr
exception_common:
    mov %cr2, %rdx
    and $-16, %rsp
    call metronome_died

    .section .note.GNU-stack, "", @progbits
