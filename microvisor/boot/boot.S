/*
 * From the boot loader into C. Multiboot2 (GRUB) and PVH (QEMU -kernel, Xen's protocol) both start us
 * in 32-bit protected mode, paging off; another CPU starts in real mode in a copy of `trampoline`.
 * All meet in `long_mode`.
 */
#include "asm_offsets.h"

#define KERNEL_BASE 0xffffffff80000000
#define PHYSICAL(symbol) ((symbol) - KERNEL_BASE)
#define LOW_HALF(symbol) ((symbol) - 0xffffffff00000000) /* sign-extended by `long_mode` */

#define MULTIBOOT2_HEADER_MAGIC 0xe85250d6
#define MSR_EFER 0xc0000080
#define EFER_SCE_LME_NXE 0x901
#define CR0_START 0x80010033 /* PG WP NE ET MP PE */
#define CR4_PAE 0x20

#define PRESENT 0x21 /* and accessed: the processor need not write the entry */
#define WRITE 0x42   /* and dirty */
#define LARGE 0x80
#define GLOBAL 0x100
#define NO_EXECUTE 0x80000000 /* in the upper half */

/* ---- what loaders look for ------------------------------------------------------------------- */

        .section .multiboot, "ax"
        .balign 8
multiboot_header:
        .long MULTIBOOT2_HEADER_MAGIC, 0, multiboot_header_end - multiboot_header
        .long -(MULTIBOOT2_HEADER_MAGIC + (multiboot_header_end - multiboot_header))
        .balign 8
        .word 3, 0 /* entry address */
        .long 12, multiboot_entry
        .balign 8
        .word 6, 0 /* modules are page-aligned */
        .long 8
        .balign 8
        .word 0, 0
        .long 8
multiboot_header_end:

        .section .note.pvh, "a", @note
        .balign 4
        .long 4, 8, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .quad pvh_entry

/* From 32-bit protected mode, and from real mode. */
        .macro long_mode_on
        mov $CR4_PAE, %eax
        mov %eax, %cr4
        mov $PHYSICAL(kernel_root), %eax
        mov %eax, %cr3
        mov $MSR_EFER, %ecx
        mov $EFER_SCE_LME_NXE, %eax
        xor %edx, %edx
        wrmsr
        mov $CR0_START, %eax
        mov %eax, %cr0
        .endm

/* ---- the boot CPU ---------------------------------------------------------------------------- */

        .section .boot, "ax"
        .code32
        .globl pvh_entry
multiboot_entry:
        mov %eax, %esi /* the loader's magic number */
        jmp 1f
pvh_entry:
        xor %esi, %esi
1:      cli
        cld
        mov %ebx, %edi /* what the loader has to tell */
        rdtsc
        mov %eax, PHYSICAL(boot_entry_tsc)
        mov %edx, PHYSICAL(boot_entry_tsc) + 4

        mov $0x80000001, %eax
        cpuid
        and $(1 << 29 | 1 << 20), %edx /* long mode, no-execute */
        cmp $(1 << 29 | 1 << 20), %edx
        jne too_old

        /* The image's page table: text, then read-only data, then data. */
        mov $PHYSICAL(kernel_start), %eax
        mov $PHYSICAL(kernel_pt), %ebx
1:      mov $(PRESENT | GLOBAL), %ecx
        xor %edx, %edx
        cmp $PHYSICAL(kernel_rodata), %eax
        jb 2f
        mov $NO_EXECUTE, %edx
        cmp $PHYSICAL(kernel_data), %eax
        jb 2f
        or $WRITE, %ecx
2:      or %eax, %ecx
        mov %ecx, (%ebx)
        mov %edx, 4(%ebx)
        add $8, %ebx
        add $0x1000, %eax
        cmp $PHYSICAL(kernel_end), %eax
        jb 1b

        lgdt PHYSICAL(gdt_pointer)
        mov $LOW_HALF(boot_high), %ebp
        long_mode_on
        ljmp $8, $PHYSICAL(long_mode)

/* No 64-bit mode: says so without any help. */
too_old:
        mov $too_old_text, %esi
1:      mov $0x3fd, %dx
        in %dx, %al
        test $0x20, %al
        jz 1b
        lodsb
        test %al, %al
        jz 2f
        mov $0x3f8, %dx
        out %al, %dx
        jmp 1b
2:      hlt
        jmp 2b
too_old_text:
        .asciz "Septum needs a 64-bit processor with no-execute pages; this one has none.\r\n"

/* ---- another CPU ----------------------------------------------------------------------------- */

        .text
        .code16
        .globl trampoline, trampoline_end
trampoline:
        cli
        mov %cs, %ax
        mov %ax, %ds
        lgdtl gdt_pointer - trampoline
        mov $LOW_HALF(ap_high), %ebp
        long_mode_on
        ljmpl $8, $PHYSICAL(long_mode)
gdt_pointer:
        .word 39
        .long PHYSICAL(boot_gdt)
trampoline_end:

/* ---- 64-bit ---------------------------------------------------------------------------------- */

        .code64
long_mode:
        movslq %ebp, %rbp /* from the identity map to where we belong */
        jmp *%rbp

boot_high:
        mov $boot_stack_top, %rsp
        xor %ebp, %ebp
        xchg %esi, %edi
        call boot_start
        ud2

ap_high:
        mov smp_starting, %rdi
        mov CPU_KERNEL_STACK(%rdi), %rsp
        xor %ebp, %ebp
        call smp_start
        ud2

        .section .rodata
        .balign 8
        .globl boot_gdt
boot_gdt: /* platform.h's selectors: the kernel's code, data; the user's data, code; all accessed */
        .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff

/*
 * The kernel's tables. Until `paging_drop_low` the first 4 MiB are also mapped at their physical
 * addresses, as seen through the same page directory: RAM below 2 MiB, and the image.
 */
        .section .data.page, "aw"
        .balign 4096
        .globl kernel_root, kernel_pdpt, kernel_pd
kernel_root:
        .quad PHYSICAL(kernel_pdpt) + PRESENT + WRITE
        .skip 510 * 8
        .quad PHYSICAL(kernel_pdpt) + PRESENT + WRITE
kernel_pdpt:
        .quad PHYSICAL(kernel_pd) + PRESENT + WRITE
        .skip 508 * 8
        .quad PHYSICAL(pool_pd) + PRESENT + WRITE
        .quad PHYSICAL(kernel_pd) + PRESENT + WRITE
        .skip 8
kernel_pd:
        .quad PRESENT + WRITE + LARGE
        .quad PHYSICAL(kernel_pt) + PRESENT + WRITE
        .quad PHYSICAL(window_pt) + PRESENT + WRITE
        .skip 509 * 8

        .section .bss.page, "aw", @nobits
        .balign 4096
        .globl window_pt, pool_pd
kernel_pt:
        .skip 4096
window_pt:
        .skip 4096
pool_pd:
        .skip 4096
        .globl boot_stack_top
        .skip 0x4000 /* CPU 0's, as platform.h has it */
boot_stack_top:
        .skip 0x4000

        .bss
        .balign 8
        .globl boot_entry_tsc
boot_entry_tsc:
        .skip 8

        .section .note.GNU-stack, "", @progbits
