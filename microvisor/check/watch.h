/*
 * Debug builds: instructions that drop translations are noted in the TLB ledger by the very functions that
 * execute them, so that one which is left out is not in the ledger either. Included last.
 */
#ifndef CHECK_WATCH_H
#define CHECK_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#ifdef SEPTUM_DEBUG
struct vcpu;
struct vmx_context;
void ledger_write_cr3(uint64_t value);
void ledger_write_cr4(uint64_t value);
void ledger_invpcid(uint64_t type, uint64_t pcid);
bool ledger_invept(uint64_t type, struct vmx_context one);
bool ledger_invvpid(uint64_t type, struct vmx_context one);
_Noreturn void ledger_vmx_run(uint64_t *gpr, bool launched);
/* svm_rules.c: before VMRUN, with what the VMCB says */
void ledger_vmrun(const struct vcpu *vcpu, uint32_t asid, bool flush_all, bool flush_one);

#define write_cr3(...) ledger_write_cr3(__VA_ARGS__)
#define write_cr4(...) ledger_write_cr4(__VA_ARGS__)
#define invpcid(...) ledger_invpcid(__VA_ARGS__)
#define invept(...) ledger_invept(__VA_ARGS__)
#define invvpid(...) ledger_invvpid(__VA_ARGS__)
#define vmx_run(...) ledger_vmx_run(__VA_ARGS__)
#endif

#endif
