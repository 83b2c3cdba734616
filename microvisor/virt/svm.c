/* AMD-V: finding it, switching it on, making and ending its vCPUs. */
#include "virt/svm.h"

#include "core/table.h"
#include "core/task.h"
#include "x86/features.h"
#include "x86/instructions.h"
#include "x86/mitigations.h"

#define MSR_VM_CR 0xc0010114u
#define MSR_VM_HSAVE_PA 0xc0010117u
#define VM_CR_LOCK 8ull
#define VM_CR_SVMDIS 16ull

struct svm_features svm_features;

/* ---- the processor --------------------------------------------------------------------------------- */

static bool svm_probe(const char **why)
{
    struct cpuid id = cpuid(0x8000000a, 0);
    uint64_t control = read_msr(MSR_VM_CR);

    if (control & VM_CR_SVMDIS && control & VM_CR_LOCK) {
        *why = "AMD-V is switched off and locked by the firmware: enable SVM (\"AMD-V\", \"SVM "
               "Mode\") in the firmware's set-up";
        return false;
    }
    if (!(id.d & 1)) {
        *why = "this processor's AMD-V has no nested paging: use a processor of 2008 or later, or "
               "add +npt to the emulator's CPU model";
        return false;
    }
    svm_features = (struct svm_features){
        .asids = id.b,
        .next_rip = id.d >> 3 & 1,
        .flush_by_asid = id.d >> 6 & 1,
        .decode_assists = id.d >> 7 & 1,
        .pause_filter = id.d >> 10 & 1,
        .pause_threshold = id.d >> 12 & 1,
        .qemu = processor_is_qemu(),
    };
    if (svm_features.qemu)
        vcpu_limits.msr_direct &= ~(uint64_t)VCPU_MSR_PAT;
    return true;
}

/* After the CPU's segments and system-call MSRs are set: VMSAVE keeps them for all later exits. */
static bool svm_cpu_enable(struct cpu *cpu)
{
    uint64_t control = read_msr(MSR_VM_CR);

    cpu->x86.virt_page = frames_alloc(0);
    cpu->x86.virt_host_page = frames_alloc(0);
    if (!cpu->x86.virt_page || !cpu->x86.virt_host_page)
        return false;
    if (control & VM_CR_SVMDIS)
        write_msr(MSR_VM_CR, control & ~VM_CR_SVMDIS);
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SVME);
    write_msr(MSR_VM_HSAVE_PA, frame_physical(cpu->x86.virt_page));
    __asm__ volatile("vmsave %0" : : "a"(frame_physical(cpu->x86.virt_host_page)) : "memory");
    cpu->x86.asid_next = 1;
    cpu->x86.asid_generation = 1;
    return true;
}

/* ---- translations ---------------------------------------------------------------------------------- */

/*
 * Guest translations are tagged with an ASID of this CPU. A vCPU keeps its ASID until all have been
 * given out; then everything is flushed and a new generation of them begins.
 */
void svm_take_asid(struct cpu *cpu, struct svm_vcpu *svm)
{
    if (cpu->x86.asid_next >= svm_features.asids) {
        cpu->x86.asid_generation++;
        cpu->x86.asid_next = 1;
    }
    if (cpu->x86.asid_flushed != cpu->x86.asid_generation)
        svm->vmcb->tlb_control = SVM_FLUSH_ALL;
    svm->vmcb->asid = cpu->x86.asid_next++;
    svm->asid_generation = cpu->x86.asid_generation;
}

static void svm_load(struct vcpu *vcpu)
{
    struct cpu *cpu = this_cpu();
    if (vcpu->svm->asid_generation != cpu->x86.asid_generation)
        svm_take_asid(cpu, vcpu->svm);
}

/* ---- vCPUs ------------------------------------------------------------------------------------------ */

static void svm_where(struct vcpu *vcpu, struct vcpu_exit_info *exit)
{
    exit->rip = vcpu->svm->vmcb->rip;
    exit->interruptibility = svm_interruptibility(vcpu);
}

const struct vcpu_ops svm_ops = {
    .name = "AMD-V",
    .guest_format = &table_format_host, /* every access is a user's (APM 2, 15.25.5) */
    .probe = svm_probe,
    .cpu_enable = svm_cpu_enable,
    .begin = svm_begin,
    .write = svm_write,
    .read = svm_read,
    .set_rip = svm_set_rip,
    .load = svm_load,
    .run = svm_enter,
    .where = svm_where,
    .msr_map_bytes = sizeof(((struct svm_vcpu *)0)->msr_permissions),
    .let_msr = svm_let_msr,
    .violate = svm_violate,
};
