/* Traps: the frame that the kernel's own traps push, and their handlers. */
#pragma once

#include "core/types.h"

struct cpu;
struct task;

struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};

enum trap_vector {
    TRAP_DEBUG = 1,
    TRAP_NMI = 2,
    TRAP_DEVICE_NOT_AVAILABLE = 7,
    TRAP_DOUBLE_FAULT = 8,
    TRAP_GENERAL_PROTECTION = 13,
    TRAP_PAGE_FAULT = 14,
    TRAP_MACHINE_CHECK = 18,
};

/* Fixed vectors of the local APIC, above the devices'. */
#define VECTOR_TIMER 0xf0u
#define VECTOR_CROSS 0xf1u
#define VECTOR_SPURIOUS 0xffu

extern const char trap_entries[256][16];
void syscall_entry(void);

/* Prints a frame with symbols and stops the machine: panic.c. */
_Noreturn void panic_trap(const struct trap_frame *frame, const char *what);
/* Reports the machine-check banks (SDM 16.3); true if the machine may go on. panic.c */
bool machine_check_report(const struct trap_frame *frame);
