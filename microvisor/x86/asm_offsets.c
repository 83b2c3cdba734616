/* Offsets for entry.S: compiled to assembly, from which asm_offsets.h is made. */
#include "virt/vcpu.h"
#include "x86/mitigations.h"

#define OFFSET(name, type, member)                                                                 \
    __asm__ volatile(".ascii \"->" #name " %c0\"" : : "i"(offsetof(type, member)))
#define VALUE(name, value) __asm__ volatile(".ascii \"->" #name " %c0\"" : : "i"(value))

void asm_offsets(void);
void asm_offsets(void)
{
    OFFSET(CPU_CURRENT, struct cpu, current);
    OFFSET(CPU_KERNEL_STACK, struct cpu, kernel_stack);
    OFFSET(CPU_IN_GUEST, struct cpu, in_guest);
    OFFSET(VCPU_STATE, struct vcpu, state);
    OFFSET(CPU_USER_RSP, struct cpu, user_rsp);
    OFFSET(CPU_RESCHEDULE, struct cpu, reschedule);
    OFFSET(CPU_LOADED_CR3, struct cpu, loaded_cr3);
    OFFSET(CPU_KERNEL_CR3, struct cpu, x86.kernel_cr3);
    OFFSET(CPU_ENTRY_STACK, struct cpu, x86.entry_stack);
    VALUE(PATCH_KPTI, PATCH_KPTI);
    VALUE(PATCH_QEMU_TPR, PATCH_QEMU_TPR);
    VALUE(PATCH_RSB_FILL, PATCH_RSB_FILL);
    VALUE(PATCH_VERW, PATCH_VERW);
    VALUE(PATCH_SMAP, PATCH_SMAP);
    VALUE(PATCH_RETPOLINE, PATCH_RETPOLINE);
    OFFSET(REGISTERS, struct thread, registers);
    OFFSET(THREAD_RESUME, struct thread, resume);
    VALUE(RESUME_IRET, RESUME_IRET);
    VALUE(IPC_CALL_RAX, IPC_RAX(IPC_CALL));
    VALUE(IPC_WAIT_RAX, IPC_RAX(IPC_WAIT));
    VALUE(IPC_REPLY_WAIT_RAX, IPC_RAX(IPC_REPLY_WAIT));
    VALUE(SYSCALL_COUNT, SYSCALL_COUNT);
    VALUE(STATUS_BAD_ARGUMENT, STATUS_BAD_ARGUMENT);
}
