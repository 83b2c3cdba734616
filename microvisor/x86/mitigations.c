/*
 * Speculative execution: which measures this processor needs (Intel: "CPUID Enumeration and
 * Architectural MSRs"; AMD: "Software Techniques for Managing Speculation"), and how they are done.
 */
#include "x86/mitigations.h"

#include "x86/features.h"
#include "x86/platform.h"
#include "x86/processor.h"

struct mitigations mitigations;

/* IA32_ARCH_CAPABILITIES */
#define RDCL_NO (1ull << 0)
#define IBRS_ALL (1ull << 1)
#define SKIP_L1D_FLUSH (1ull << 3)
#define MDS_NO (1ull << 5)
#define FB_CLEAR (1ull << 17)
#define RFDS_CLEAR (1ull << 28)

#define SPEC_CTRL_IBRS 1u
#define PRED_CMD_IBPB 1u

static bool ibrs_all;

struct patch {
    uint8_t *site;
    const uint8_t *target;
    uint32_t kind, reserved; /* enum patch_kind */
};
extern const struct patch patch_start[], patch_end[];

static void mitigations_decide(struct mitigations *m, bool force)
{
    uint64_t capabilities = features.arch_capabilities ? read_msr(MSR_ARCH_CAPABILITIES) : 0;
    bool meltdown = features.intel && !(capabilities & RDCL_NO);
    bool buffers = (features.intel && features.md_clear && !(capabilities & MDS_NO)) ||
                   capabilities & (FB_CLEAR | RFDS_CLEAR);
    ibrs_all = capabilities & IBRS_ALL;
    m->kpti = meltdown || force;
    m->verw = buffers || force;
    m->l1d_flush = features.l1d_flush && ((meltdown && !(capabilities & SKIP_L1D_FLUSH)) || force);
    m->ibpb = features.spec_ctrl_intel || features.ibpb_amd;
    m->rsb_fill = true;
    m->ibrs = ibrs_all || features.auto_ibrs;
    m->retpoline = !m->ibrs || force;
}

/* The only time that text is written: one CPU, through write protection switched off. */
static void patch_text(const struct mitigations *m)
{
    const bool wanted[] = {
        [PATCH_CR3_LOAD] = m->kpti,
        [PATCH_KPTI] = m->kpti,
        [PATCH_VERW] = m->verw && !m->kpti,
        [PATCH_SMAP] = features.smap && !m->kpti,
        [PATCH_RETPOLINE] = m->retpoline,
        [PATCH_RSB_FILL] = m->rsb_fill,
        [PATCH_QEMU_TPR] = processor_is_qemu(),
    };
    uint64_t cr0 = read_cr0();
    write_cr0(cr0 & ~CR0_WP);
    for (const struct patch *p = patch_start; p < patch_end; p++) {
        if (!wanted[p->kind])
            continue;
        int32_t distance = (int32_t)(p->target - (p->site + 5));
        if (p->kind == PATCH_CR3_LOAD) {
            memcpy(p->site, "\x0f\x1f\x00", 3); /* nop */
        } else if (p->kind == PATCH_QEMU_TPR) {
            memcpy(p->site, "\x44\x0f\x22\xc2", 4); /* mov rdx, cr8 */
        } else {
            p->site[0] = 0xe9; /* jmp */
            memcpy(p->site + 1, &distance, sizeof(distance));
        }
    }
    write_cr0(cr0); /* serializes: the processor sees the new instructions */
}

void mitigations_init(bool off, bool force)
{
    struct mitigations *m = &mitigations;
    if (!off)
        mitigations_decide(m, force);
    patch_text(m);
    printk("mitigations:%s%s%s%s%s%s%s%s\n", m->kpti ? " kpti" : "", m->verw ? " verw" : "",
           m->l1d_flush ? " l1d-flush" : "", m->ibpb ? " ibpb" : "", m->rsb_fill ? " rsb-fill" : "",
           m->retpoline ? " retpoline" : "", m->ibrs ? " ibrs" : "", off ? " off" : "");
}

void mitigations_init_cpu(struct cpu *cpu)
{
    if (mitigations.ibrs && ibrs_all)
        write_msr(MSR_SPEC_CTRL, SPEC_CTRL_IBRS);
    else if (mitigations.ibrs)
        write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_AUTO_IBRS);
    if (mitigations.ibpb)
        cpu->switch_slow |= SLOW_BARRIER;
    else if (mitigations.rsb_fill)
        cpu->switch_slow |= SWITCH_SLOW_RSB;
}

void mitigations_between_tasks(void)
{
    if (mitigations.ibpb)
        write_msr(MSR_PRED_CMD, PRED_CMD_IBPB);
    if (mitigations.rsb_fill)
        mitigation_fill_rsb();
}
