/* The heads by which a kernel is known to be bootable, and the entries: 32-bit code, no paging. */
#define MULTIBOOT_MAGIC  0x1badb002
#define MULTIBOOT2_MAGIC 0xe85250d6
#ifdef ADDRESSES /* of an image that is no ELF file */
#define MULTIBOOT_FLAGS (1 << 16 | 3)
#else
#define MULTIBOOT_FLAGS 3
#endif

    .section .head, "a"
    .balign 8
multiboot:
    .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
#ifdef ADDRESSES
    .long multiboot, _image, _image_end, _memory_end, start
#endif
    .balign 8
multiboot2:
    .long MULTIBOOT2_MAGIC, 0, multiboot2_end - multiboot2, -(MULTIBOOT2_MAGIC + multiboot2_end - multiboot2)
    /* Asks for command line, modules, memory map. */
    .short 1, 0
    .long 20, 1, 3, 6
    .balign 8
    .short 3, 0 /* the entry, which is not that of the ELF file */
    .long 12, start
    .balign 8
    .short 0, 0
    .long 8
multiboot2_end:

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18
    .asciz "Xen"
    .long start_pvh

    .text
    .code32
    .globl start, start_pvh
start_pvh:
    mov $0, %eax
    jmp start
    ud2
start:
    mov $stack_end, %esp
    push %ebx
    push %eax
    call told
1:  hlt
    jmp 1b

    .bss
    .balign 16
    .skip 16384
stack_end:
    .section .note.GNU-stack, "", @progbits
