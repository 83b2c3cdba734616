/* Guests of tests/kernel/vcpu_vmx.c. */
#include "guest.h"

/* Spins with interrupts disabled. */
GUEST(guest_cli_spin)
        .code32
        cli
1:      incl 0x3000
        jmp 1b
GUEST_END(guest_cli_spin)

/* Tries to set CR4.OSXSAVE, then reads CR4. */
GUEST(guest_osxsave)
        .code32
        mov %cr4, %eax
        or $0x40000, %eax
        mov %eax, %cr4
        mov %cr4, %ebx
        hlt
GUEST_END(guest_osxsave)

/* Goes to the page-directory pointers at EBX. */
GUEST(guest_load_cr3)
        .code32
        mov %ebx, %cr3
        hlt
        jmp guest_load_cr3
GUEST_END(guest_load_cr3)

/* Writes to where a breakpoint is; the handler's frame is pushed there, too. */
GUEST(guest_debug_storm)
        .code64
        mov %rax, 0x67f8
        hlt
GUEST_END(guest_debug_storm)

/* Reads the MSR in ECX into RBX, then writes RSI to it. */
GUEST(guest_msr_exchange)
        .code64
        rdmsr
        shl $32, %rdx
        lea (%rdx,%rax), %rbx
        mov %rsi, %rax
        mov %rsi, %rdx
        shr $32, %rdx
        wrmsr
        hlt
        jmp guest_msr_exchange
GUEST_END(guest_msr_exchange)

/* Single-steps itself over an instruction that the VMM does: the handler counts at 0x3000. */
GUEST(guest_step_over_exit)
        .code16
        pushf
        pop %ax
        or $0x100, %ax
        push %ax
        popf
        cpuid
        pushf
        pop %ax
        and $0xfeff, %ax
        push %ax
        popf
        hlt
GUEST_END(guest_step_over_exit)
