/* Guests that exit in a loop. Real mode; their segments start at 0. */
#include "tests/kernel/guests/guest.h"

GUEST(bench_cpuid)
        .code16
1:      cpuid
        jmp 1b
GUEST_END(bench_cpuid)

GUEST(bench_port)
        .code16
1:      in $0x10, %al
        jmp 1b
GUEST_END(bench_port)

/* Sends itself to the other: the time before the write of the x2APIC's ICR goes to 0x3000. */
GUEST(bench_sender)
        .code16
1:      rdtsc
        mov %eax, 0x3000
        mov $0x830, %ecx
        mov $0x40, %eax
        mov $1, %edx
        wrmsr
        jmp 1b
GUEST_END(bench_sender)

/* Halts; its handler of vector 0x40 (at + 16) writes the time to 0x3004. */
GUEST(bench_receiver)
        .code16
1:      sti
        hlt
        jmp 1b
        .balign 16
        rdtsc
        mov %eax, 0x3004
        iret
GUEST_END(bench_receiver)

        .section .note.GNU-stack, "", @progbits
