/*
 * The option ROM by which a Linux kernel is entered in real mode. SeaBIOS finds it in fw_cfg, and boots from it as from
 * a network card's ROM: by its bootstrap entry vector (BIOS Boot Specification 1.01, 3.3 and appendix B). It fetches
 * setup code, command line, kernel and initrd to their places by fw_cfg's DMA (QEMU, docs/specs/fw_cfg.rst), and jumps
 * to the setup code as boot.rst says in "Running the Kernel".
 *
 * The last byte is set when the ROM is given to the guest, so that its bytes add up to 0 (boot/linux_real.c).
 */
#define PORT_SELECT   0x510
#define PORT_DATA     0x511
#define PORT_DMA_HIGH 0x514
#define PORT_DMA_LOW  0x518
#define DMA_READ      2
#define DMA_SELECT    8
/* Keys of fw_cfg: devices/fw_cfg.h. */
#define KERNEL  0x07, 0x08, 0x11
#define INITRD  0x0a, 0x0b, 0x12
#define COMMAND 0x13, 0x14, 0x15
#define SETUP   0x16, 0x17, 0x18
/* In the first page, which a BIOS leaves to boot loaders from here on; the stack is below. */
#define REQUEST 0x7c00 /* control, length, address: all big-endian */

    .section .rodata
    .code16
    .globl linux_rom
    .balign 16
linux_rom:
    .byte 0x55, 0xaa, 512 / 512
    jmp init
    .org linux_rom + 0x1a
    .word plug - linux_rom
    .balign 4
plug:
    .ascii "$PnP"
    .byte 1, 2            /* version; its size, in 16 bytes */
    .word 0               /* no other header */
    .byte 0, 0
    .long 0               /* device */
    .word 0
    .word product - linux_rom
    .byte 0, 0, 0, 0
    .word 0, 0
    .word boot - linux_rom
    .word 0, 0
product:
    .asciz "Linux, 16-bit entry"

/* There is nothing to set up. AX: the function has no input device, no display, and can be booted. */
init:
    mov $0x20, %ax
    lret

boot:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $REQUEST, %sp
    mov $(pieces - linux_rom), %si
next:
    mov %cs:(%si), %al
    call number
    bswap %eax
    mov %eax, REQUEST + 12
    movl $0, REQUEST + 8
    mov %cs:1(%si), %al
    call number
    bswap %eax
    mov %eax, REQUEST + 4
    movzbl %cs:2(%si), %eax
    shl $16, %eax
    or $(DMA_SELECT | DMA_READ), %al
    bswap %eax
    mov %eax, REQUEST
    xor %eax, %eax
    mov $PORT_DMA_HIGH, %dx
    outl %eax, %dx
    mov $REQUEST, %eax
    bswap %eax
    mov $PORT_DMA_LOW, %dx
    outl %eax, %dx
    cmpl $0, REQUEST /* done, without an error */
    jne failed
    add $3, %si
    cmp $(pieces_end - linux_rom), %si
    jne next

    /* All segments the setup's; the stack below the command line; CS the segment of the second sector. */
    mov $0x13, %al
    call number
    mov %eax, %ebx
    mov $0x16, %al
    call number
    sub %eax, %ebx
    shr $4, %eax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %fs
    mov %ax, %gs
    mov %ax, %ss
    mov %bx, %sp
    add $0x20, %ax
    push %ax
    pushw $0
    lret

/* The BIOS tries what comes next in its order, and says so if there is nothing. */
failed:
    int $0x18

/* AL: a key; EAX: the number that is there. */
number:
    push %dx
    push %di
    movzbw %al, %ax
    mov $PORT_SELECT, %dx
    outw %ax, %dx
    mov $PORT_DATA, %dx
    pushl $0
    mov %sp, %di
    insb
    insb
    insb
    insb
    popl %eax
    pop %di
    pop %dx
    ret

/* Of each: where its address is told, its size, and the data. */
pieces:
    .byte SETUP, COMMAND, KERNEL, INITRD
pieces_end:
    .org linux_rom + 512

    .section .note.GNU-stack, "", @progbits
