/* Guests of tests/kernel/vcpu_*.c. They end with HLT. VM_STACK is below them, so they may push. */
#include "guest.h"

/* ---- modes: each writes its mark to 0x3000 and halts with a result in EAX --------------------- */

GUEST(guest_real)
        .code16
        mov $0x3000, %bx
        movl $0x4c414552, (%bx)
        mov $20, %ax
        add $3, %ax
        hlt
GUEST_END(guest_real)

GUEST(guest_protected)
        .code32
        movl $0x544f5250, 0x3000
        mov $0x12345678, %eax
        add $1, %eax
        hlt
GUEST_END(guest_protected)

GUEST(guest_long)
        .code64
        movl $0x474e4f4c, 0x3000
        movabs $0x123456789abcdef0, %rax
        add $1, %rax
        hlt
GUEST_END(guest_long)

/* In virtual-8086 mode: an exit, then a write to DS. */
GUEST(guest_virtual_8086)
        .code16
        mov $0x3638, %bx
        cpuid
        movw $0x3638, 0
        xor %bx, %bx
        cpuid
GUEST_END(guest_virtual_8086)

/* IRET with NT goes back to the task that the TSS names. */
GUEST(guest_nested_iret)
        .code32
        pushl $0x4002
        popf
        iret
GUEST_END(guest_nested_iret)

/* Goes by itself from real mode to protected, to PAE paging, to long mode; at 0x1000, with the GDT and
 * long-mode tables in place. */
GUEST(guest_climb)
        .code16
        lgdtl 0x3100                    /* filled by the test */
        mov %cr0, %eax
        or $1, %eax
        mov %eax, %cr0
        ljmpl $0x08, $0x1000 + (1f - guest_climb)
        .code32
1:      mov $0x10, %eax
        mov %eax, %ds
        mov %eax, %ss
        mov $0x20, %eax
        mov %eax, %cr4
        mov $0x8000, %eax
        mov %eax, %cr3
        mov $0xc0000080, %ecx
        rdmsr                           /* exits: the VMM has EFER */
        or $0x100, %eax
        wrmsr
        mov %cr0, %eax
        or $0x80000000, %eax
        mov %eax, %cr0
        ljmp $0x18, $0x1000 + (2f - guest_climb)
        .code64
2:      movabs $0xfedcba9876543210, %rax
        mov %rax, 0x3000
        mov %cr0, %rbx
        mov %cr4, %rcx
        hlt
GUEST_END(guest_climb)

/* ---- one instruction each -------------------------------------------------------------------- */

#define INSTRUCTION(name, ...)  \
GUEST(guest_##name)             ;\
        .code32                 ;\
        __VA_ARGS__             ;\
        hlt                     ;\
GUEST_END(guest_##name)

INSTRUCTION(cpuid, cpuid)
INSTRUCTION(nothing, nop)
INSTRUCTION(rdpmc, rdpmc)
INSTRUCTION(rdtsc, rdtsc)
INSTRUCTION(rdtscp, rdtscp)
INSTRUCTION(vmcall, vmcall)
INSTRUCTION(vmmcall, vmmcall)
INSTRUCTION(vmxon, vmxon (%eax))
INSTRUCTION(vmread, vmread %eax, %ecx)
INSTRUCTION(vmrun, vmrun %eax)
INSTRUCTION(clgi, clgi)
INSTRUCTION(stgi, stgi)
INSTRUCTION(vmload, vmload %eax)
INSTRUCTION(wbinvd, wbinvd)
INSTRUCTION(invd, invd)
INSTRUCTION(monitor, monitor)
INSTRUCTION(mwait, mwait)
INSTRUCTION(pause, pause)
INSTRUCTION(invlpg, invlpg 0x5000)
INSTRUCTION(xsetbv, xsetbv)
INSTRUCTION(rdmsr, rdmsr)
INSTRUCTION(wrmsr, wrmsr)
INSTRUCTION(cr0_write, mov %ebx, %cr0)
INSTRUCTION(clts, clts)
INSTRUCTION(lmsw, lmsw %bx)
INSTRUCTION(cr3_read, mov %cr3, %esi)
INSTRUCTION(cr3_write, mov %esi, %cr3)
INSTRUCTION(cr4_write, mov %ebx, %cr4)
INSTRUCTION(dr_read, mov %db1, %edi)
INSTRUCTION(dr_write, mov %edi, %db1)
INSTRUCTION(sgdt, sgdt 0x3000)
INSTRUCTION(lidt, lidt 0x3000)
INSTRUCTION(sldt, sldt %eax)
INSTRUCTION(ud2, ud2)
INSTRUCTION(divide, xor %ebx, %ebx; div %ebx)
INSTRUCTION(int3, int3)
INSTRUCTION(int80, int $0x80)
INSTRUCTION(store, mov %eax, (%ebx))
INSTRUCTION(load, mov (%ebx), %eax)
INSTRUCTION(jump, jmp *%ebx)
INSTRUCTION(io_in8, in $0x70, %al)
INSTRUCTION(io_in16, in (%dx), %ax)
INSTRUCTION(io_in32, in (%dx), %eax)
INSTRUCTION(io_out8, out %al, (%dx))
INSTRUCTION(io_out16, out %ax, $0x80)
INSTRUCTION(io_out32, out %eax, (%dx))
INSTRUCTION(io_ins, rep insl)
INSTRUCTION(io_outs, rep outsb)

GUEST(guest_cr8_write)
        .code64
        mov %rbx, %cr8
        mov %cr8, %rcx
        hlt
GUEST_END(guest_cr8_write)

GUEST(guest_cr8_read)
        .code64
        mov %cr8, %rcx
        hlt
GUEST_END(guest_cr8_read)

/* ---- loops ----------------------------------------------------------------------------------- */

GUEST(guest_spin)
        .code32
1:      incl 0x3000
        jmp 1b
GUEST_END(guest_spin)

GUEST(guest_bump)
        .code16
        incl 0x3000
        hlt
GUEST_END(guest_bump)

GUEST(guest_count_register)
        .code32
1:      inc %ebx
        jmp 1b
GUEST_END(guest_count_register)

GUEST(guest_cpuid_loop)
        .code32
1:      cpuid
        jmp 1b
GUEST_END(guest_cpuid_loop)

GUEST(guest_in_loop)
        .code32
1:      in $0x70, %al
        jmp 1b
GUEST_END(guest_in_loop)

/* ---- events: real mode, where the vector table is at 0 ---------------------------------------- */

/* The handler: counts at 0x3000, keeps the pushed IP at 0x3004 and flags at 0x3008. */
GUEST(guest_handler)
        .code16
        push %bp
        mov %sp, %bp
        push %ax
        incl 0x3000
        mov 2(%bp), %ax
        mov %ax, 0x3004
        mov 6(%bp), %ax
        mov %ax, 0x3008
        pop %ax
        pop %bp
        iret
GUEST_END(guest_handler)

/* The handler does not return at once: it halts in between, with interrupts (or NMIs) blocked. */
GUEST(guest_halting_handler)
        .code16
        incl 0x3000
        hlt
        incl 0x3000
        iret
GUEST_END(guest_halting_handler)

/* Long at work with interrupts off, then halts. */
GUEST(guest_slow_handler)
        .code16
        incl 0x3000
        mov $1000000, %ecx
1:      dec %ecx
        jnz 1b
        hlt
GUEST_END(guest_slow_handler)

GUEST(guest_nops)
        .code16
        nop
        nop
        nop
        nop
        hlt
GUEST_END(guest_nops)

/* Interrupts off for a while, then on: the window is behind the instruction after STI. */
GUEST(guest_sti)
        .code16
        mov $1, %ax
        mov $2, %ax
        sti
        mov $3, %ax
        mov $4, %ax
        hlt
GUEST_END(guest_sti)

/* Halts in the shadow of STI. */
GUEST(guest_sti_shadow)
        .code16
        sti
        hlt
        mov $5, %ax
        hlt
GUEST_END(guest_sti_shadow)

GUEST(guest_sti_halt_halt)
        .code16
        sti
        hlt
        hlt
GUEST_END(guest_sti_halt_halt)

GUEST(guest_mov_ss)
        .code16
        mov %ss, %ax
        mov %ax, %ss
        hlt
        mov $5, %ax
        hlt
GUEST_END(guest_mov_ss)

GUEST(guest_software_interrupt)
        .code16
        int $0x40
        mov $7, %ax
        hlt
GUEST_END(guest_software_interrupt)

/* With TF: a trap after the NOP. */
GUEST(guest_single_step)
        .code16
        pushf
        pop %ax
        or $0x100, %ax
        push %ax
        popf
        nop
        pushf
        pop %ax
        and $0xfeff, %ax
        push %ax
        popf
        hlt
GUEST_END(guest_single_step)

/* A handler for exceptions of protected mode with an error code: keeps it at 0x3004. */
GUEST(guest_error_handler)
        .code32
        popl 0x3004
        incl 0x3000
        hlt
GUEST_END(guest_error_handler)

GUEST(guest_plain_handler)
        .code32
        incl 0x3000
        iret
GUEST_END(guest_plain_handler)

/* ---- registers ------------------------------------------------------------------------------- */

/* Stores every general register from 0x3000 on, in the order of the encoding. */
GUEST(guest_store_registers)
        .code64
        mov %rax, 0x3000
        mov %rcx, 0x3008
        mov %rdx, 0x3010
        mov %rbx, 0x3018
        mov %rsp, 0x3020
        mov %rbp, 0x3028
        mov %rsi, 0x3030
        mov %rdi, 0x3038
        mov %r8, 0x3040
        mov %r9, 0x3048
        mov %r10, 0x3050
        mov %r11, 0x3058
        mov %r12, 0x3060
        mov %r13, 0x3068
        mov %r14, 0x3070
        mov %r15, 0x3078
        hlt
        mov $0x1000, %eax
        mov $0x1001, %ecx
        mov $0x1002, %edx
        mov $0x1003, %ebx
        mov $0x1004, %esp
        mov $0x1005, %ebp
        mov $0x1006, %esi
        mov $0x1007, %edi
        mov $0x1008, %r8d
        mov $0x1009, %r9d
        mov $0x100a, %r10d
        mov $0x100b, %r11d
        mov $0x100c, %r12d
        mov $0x100d, %r13d
        mov $0x100e, %r14d
        mov $0x100f, %r15d
        hlt
GUEST_END(guest_store_registers)

/* Control, debug and segment registers, tables, as the guest sees them. */
GUEST(guest_store_system)
        .code64
        mov %cr0, %rax
        mov %rax, 0x3000
        mov %cr2, %rax
        mov %rax, 0x3008
        mov %cr3, %rax
        mov %rax, 0x3010
        mov %cr4, %rax
        mov %rax, 0x3018
        mov %cr8, %rax
        mov %rax, 0x3020
        mov %db0, %rax
        mov %rax, 0x3028
        mov %db1, %rax
        mov %rax, 0x3030
        mov %db2, %rax
        mov %rax, 0x3038
        mov %db3, %rax
        mov %rax, 0x3040
        mov %db6, %rax
        mov %rax, 0x3048
        mov %db7, %rax
        mov %rax, 0x3050
        sgdt 0x3060
        sidt 0x3070
        str 0x3080
        sldt 0x3082
        mov %fs, 0x3084
        mov %gs, 0x3086
        mov %fs:0, %rax
        mov %rax, 0x3088
        mov %gs:0, %rax
        mov %rax, 0x3090
        hlt
GUEST_END(guest_store_system)

/* Reads the MSR in ECX to RBX, then writes R8 to it, then reads it to RSI. */
GUEST(guest_msr)
        .code64
        rdmsr
        shl $32, %rdx
        mov %eax, %ebx
        or %rdx, %rbx
        mov %r8d, %eax
        mov %r8, %rdx
        shr $32, %rdx
        wrmsr
        rdmsr
        shl $32, %rdx
        mov %eax, %esi
        or %rdx, %rsi
        hlt
GUEST_END(guest_msr)

/* RBX to DR0, RDI to DR7. */
GUEST(guest_arm_breakpoint)
        .code64
        mov %rbx, %db0
        mov %rdi, %db7
        hlt
GUEST_END(guest_arm_breakpoint)

/* R8-R11 to DR0-3. */
GUEST(guest_write_debug)
        .code64
        mov %r8, %db0
        mov %r9, %db1
        mov %r10, %db2
        mov %r11, %db3
        hlt
GUEST_END(guest_write_debug)

/* RBX becomes DR0's address, RDI DR7; then an exit, and a store there. */
GUEST(guest_set_breakpoint)
        .code32
        mov %ebx, %db0
        mov %edi, %db7
        cpuid
        mov %eax, 0x5000
        hlt
GUEST_END(guest_set_breakpoint)

/* XMM0-3 from 0x3000 and back to 0x3040; MXCSR to 0x3080. CR4.OSFXSR is set. */
GUEST(guest_fpu)
        .code64
        movdqu %xmm0, 0x3040
        movdqu %xmm15, 0x3050
        stmxcsr 0x3080
        movdqu 0x3000, %xmm0
        movdqu 0x3010, %xmm15
        hlt
        movdqu %xmm0, 0x3060
        movdqu %xmm15, 0x3070
        hlt
GUEST_END(guest_fpu)

/* DR0-3, CR2, XMM0-15 from 0x3000 on. CR4.OSFXSR is set. */
GUEST(guest_show_all)
        .code64
        .set place, 0x3028
        .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        movdqu %xmm\n, place
        .set place, place + 16
        .endr
        .set place, 0x3000
        .irp n, 0, 1, 2, 3
        mov %db\n, %rax
        mov %rax, place
        .set place, place + 8
        .endr
        mov %cr2, %rax
        mov %rax, 0x3020
        hlt
GUEST_END(guest_show_all)

/* XCR0 to RBX, by CR4.OSXSAVE. */
GUEST(guest_xgetbv)
        .code64
        xor %ecx, %ecx
        xgetbv
        mov %rax, %rbx
        hlt
GUEST_END(guest_xgetbv)

GUEST(guest_pkru)
        .code64
        xor %ecx, %ecx
        rdpkru
        mov %eax, %ebx
        mov $0xc, %eax
        xor %edx, %edx
        wrpkru
        hlt
GUEST_END(guest_pkru)

GUEST(guest_tsc)
        .code64
        rdtsc
        shl $32, %rdx
        or %rdx, %rax
        mov %rax, %rbx
        hlt
GUEST_END(guest_tsc)

        .section .note.GNU-stack, "", @progbits
