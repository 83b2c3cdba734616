/*
 * MSR policy. What a row lists is there for the vendors it names; on others, and for rows of kind ABSENT, an access raises
 * #GP as on a processor without it. What no row lists goes to the partition's `unknown` policy. (Intel SDM 4; AMD
 * APM 2, appendix A, and the processors' PPRs; KVM's: Linux, Documentation/virt/kvm/x86/msr.rst.)
 */
#include "cpu/msr.h"
#include "cpu/clock.h"
#include "machine.h"
#include "vcpu_thread.h"

#include "task.h"

enum vendor { INTEL = 1, AMD = 2, BOTH = 3 };
enum kind {
    CONSTANT, /* reads as `value`; writes are dropped */
    ABSENT,
    STATE,   /* a word of the vCPU's state page: group `value`, at `offset` */
    SPECIAL, /* `read` and `write`; NULL: #GP */
};

struct row {
    uint32_t first, last;
    enum vendor vendor;
    enum kind kind;
    uint64_t value;
    uint16_t offset;
    bool (*read)(struct vcpu *vcpu, uint32_t index, uint64_t *value);
    bool (*write)(struct vcpu *vcpu, uint32_t index, uint64_t value);
    const char *reason;
};

/* ---- rows with functions ----------------------------------------------------------------------- */

static bool read_tsc(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
    (void)index;
    *value = ticks() + vcpu->tsc_offset;
    return true;
}

static bool write_tsc(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
    (void)index;
    vcpu_set_tsc_offset(vcpu, value - ticks());
    return true;
}

static bool read_apic(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
    return local_apic_read_msr(&vcpu->apic, index, value, ticks());
}

static bool write_apic(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
    return local_apic_write_msr(&vcpu->apic, index, value, ticks());
}

#define EFER_LMA (1ull << 10)
#define EFER_LME (1ull << 8)
#define CR0_PG   (1ull << 31)

static bool read_efer(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
    (void)index;
    vcpu_need(vcpu, VCPU_GROUP_CONTROL);
    *value = vcpu->state->efer;
    return true;
}

/* LMA is the processor's; LME can't change while paging is on. What is reserved the kernel refuses. */
static bool write_efer(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
    (void)index;
    vcpu_need(vcpu, VCPU_GROUP_CONTROL);
    struct vcpu_state *state = vcpu->state;
    if (state->cr0 & CR0_PG && (value ^ state->efer) & EFER_LME)
        return false;
    vcpu_undo_point(vcpu);
    state->efer = (value & ~EFER_LMA) | (state->efer & EFER_LMA);
    vcpu->dirty |= VCPU_GROUP_CONTROL;
    return true;
}

static bool read_misc_enable(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
    (void)index;
    *value = vcpu->misc_enable;
    return true;
}

static bool write_misc_enable(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
    (void)index;
    vcpu->misc_enable = value;
    return true;
}

static bool read_mtrr(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
    return vcpu->machine->pc && mtrr_read(&vcpu->mtrr, index, value);
}

static bool write_mtrr(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
    return vcpu->machine->pc && mtrr_write(&vcpu->mtrr, vcpu->world.physical_bits, index, value);
}

/* ---- the table ---------------------------------------------------------------------------------- */

#define STATE_ROW(index, vendor, group, member, reason)                                      \
    {                                                                                        \
        index, index, vendor, STATE, group, offsetof(struct vcpu_state, member), NULL, NULL, \
            reason                                                                           \
    }
#define CONSTANT_ROW(first, last, vendor, value, reason)            \
    {                                                               \
        first, last, vendor, CONSTANT, value, 0, NULL, NULL, reason \
    }
#define ABSENT_ROW(first, last, reason)                     \
    {                                                       \
        first, last, BOTH, ABSENT, 0, 0, NULL, NULL, reason \
    }
#define SPECIAL_ROW(first, last, vendor, read, write, reason)   \
    {                                                           \
        first, last, vendor, SPECIAL, 0, 0, read, write, reason \
    }

/* Said to be recent enough by every guest that asks; it never changes. */
#define MICROCODE_INTEL 0xffffffff00000000ull
#define MICROCODE_AMD   0x00000000ffffffffull

static const struct row rows[] = {
    /* First those that a running guest uses all the time. */
    SPECIAL_ROW(0x800, 0x83f, BOTH, read_apic, write_apic, "x2APIC registers"),
    SPECIAL_ROW(0x6e0, 0x6e0, BOTH, read_apic, write_apic, "TSC deadline of the local APIC"),
    SPECIAL_ROW(0x10, 0x10, BOTH, read_tsc, write_tsc, "TSC: a write moves this vCPU's offset"),
    CONSTANT_ROW(0x17, 0x17, INTEL, 0, "platform: for choosing microcode"),
    SPECIAL_ROW(0x1b, 0x1b, BOTH, read_apic, write_apic, "local APIC's base and mode"),
    CONSTANT_ROW(0x34, 0x34, INTEL, 0, "count of SMIs: there are none"),
    CONSTANT_ROW(0x3a, 0x3a, INTEL, 1, "feature control: locked, without VMX"),
    ABSENT_ROW(0x3b, 0x3b, "TSC adjust: CPUID does not show it"),
    STATE_ROW(0x48, BOTH, VCPU_GROUP_MISC, spec_ctrl, "let through where the processor has it"),
    ABSENT_ROW(0x4e, 0x4f, "processor's serial number: a guest has no use for it"),
    CONSTANT_ROW(0x79, 0x79, INTEL, 0, "microcode updates are taken and dropped"),
    CONSTANT_ROW(0x8b, 0x8b, INTEL, MICROCODE_INTEL, "microcode revision: constant"),
    CONSTANT_ROW(0x8b, 0x8b, AMD, MICROCODE_AMD, "microcode revision: constant"),
    ABSENT_ROW(0xc1, 0xc8, "performance counters: CPUID shows none"),
    ABSENT_ROW(0xce, 0xcf, "platform and core capabilities: not modelled"),
    ABSENT_ROW(0xe7, 0xe8, "MPERF, APERF: CPUID does not show them"),
    SPECIAL_ROW(0xfe, 0xfe, BOTH, read_mtrr, NULL, "MTRR capabilities, of a `pc` alone"),
    ABSENT_ROW(0x10a, 0x10b, "architectural capabilities: CPUID does not show them"),
    ABSENT_ROW(0x122, 0x122, "TSX control: CPUID shows no TSX"),
    CONSTANT_ROW(0x140, 0x140, INTEL, 0, "misc features: nothing to turn on"),
    STATE_ROW(0x174, BOTH, VCPU_GROUP_SYSCALL, sysenter_cs, "let through"),
    STATE_ROW(0x175, BOTH, VCPU_GROUP_SYSCALL, sysenter_esp, "let through"),
    STATE_ROW(0x176, BOTH, VCPU_GROUP_SYSCALL, sysenter_eip, "let through"),
    CONSTANT_ROW(0x179, 0x17a, BOTH, 0,
                 "machine checks: no banks. Xen asks without a look at CPUID"),
    ABSENT_ROW(0x17b, 0x17b, "control of machine checks: there is none to control"),
    ABSENT_ROW(0x186, 0x18d, "performance event selection: CPUID shows none"),
    CONSTANT_ROW(0x198, 0x199, INTEL, 0, "performance state: the host's affair"),
    SPECIAL_ROW(0x1a0, 0x1a0, INTEL, read_misc_enable, write_misc_enable, "kept, not obeyed"),
    CONSTANT_ROW(0x1d9, 0x1d9, BOTH, 0, "debug control: no branch records"),
    SPECIAL_ROW(0x200, 0x26f, BOTH, read_mtrr, write_mtrr, "MTRRs, of a `pc`: kept, of no effect"),
    STATE_ROW(0x277, BOTH, VCPU_GROUP_MISC, pat, "let through, but under QEMU's emulation"),
    SPECIAL_ROW(0x2ff, 0x2ff, BOTH, read_mtrr, write_mtrr, "MTRR default type, of a `pc`"),
    ABSENT_ROW(0x300, 0x3ff, "performance counters: CPUID shows none"),
    ABSENT_ROW(0x400, 0x47f, "machine-check banks: they are the host's"),
    ABSENT_ROW(0x600, 0x6df, "power limits and C-state counters: the host's affair"),
    ABSENT_ROW(0xda0, 0xda0, "XSS: CPUID shows no XSAVES"),
    SPECIAL_ROW(0x11, 0x12, BOTH, clock_read_msr, clock_write_msr, "KVM's clock, old numbers"),
    SPECIAL_ROW(0x4b564d00, 0x4b564d01, BOTH, clock_read_msr, clock_write_msr, "KVM's clock"),
    SPECIAL_ROW(0x4b564d04, 0x4b564d04, BOTH, clock_read_msr, clock_write_msr, "KVM's PV EOI"),
    SPECIAL_ROW(0xc0000080, 0xc0000080, BOTH, read_efer, write_efer, "EFER"),
    STATE_ROW(0xc0000081, BOTH, VCPU_GROUP_SYSCALL, star, "let through"),
    STATE_ROW(0xc0000082, BOTH, VCPU_GROUP_SYSCALL, lstar, "let through"),
    STATE_ROW(0xc0000083, BOTH, VCPU_GROUP_SYSCALL, cstar, "let through"),
    STATE_ROW(0xc0000084, BOTH, VCPU_GROUP_SYSCALL, fmask, "let through"),
    STATE_ROW(0xc0000100, BOTH, VCPU_GROUP_SEGMENTS, segment[VCPU_FS].base, "let through"),
    STATE_ROW(0xc0000101, BOTH, VCPU_GROUP_SEGMENTS, segment[VCPU_GS].base, "let through"),
    STATE_ROW(0xc0000102, BOTH, VCPU_GROUP_SYSCALL, kernel_gs_base, "let through"),
    STATE_ROW(0xc0000103, BOTH, VCPU_GROUP_MISC, tsc_aux, "let through where the processor has it"),
    {0xc0010000, 0xc001ffff, INTEL, ABSENT, 0, 0, NULL, NULL, "AMD's: Intel's have none of them"},
    ABSENT_ROW(0xc0010000, 0xc0010007, "performance counters: not modelled"),
    CONSTANT_ROW(0xc0010010, 0xc0010010, AMD, 0, "SYSCFG: no memory encryption, nothing to set"),
    CONSTANT_ROW(0xc0010015, 0xc0010015, AMD, 1ull << 24, "HWCR: the TSC runs at the P0 rate"),
    CONSTANT_ROW(0xc001001f, 0xc001001f, AMD, 0, "north bridge: not there"),
    CONSTANT_ROW(0xc0010020, 0xc0010020, AMD, 0, "microcode updates are taken and dropped"),
    CONSTANT_ROW(0xc0010055, 0xc0010055, AMD, 0, "no C1E messages"),
    ABSENT_ROW(0xc0010058, 0xc0010058, "MMIO configuration space: there is no PCI"),
    ABSENT_ROW(0xc0010061, 0xc0010071, "performance states: the host's affair"),
    CONSTANT_ROW(0xc0010114, 0xc0010114, AMD, 1ull << 4, "VM_CR: SVM is off"),
    ABSENT_ROW(0xc0010117, 0xc0010117, "host save area: CPUID shows no SVM"),
    ABSENT_ROW(0xc0010140, 0xc0010141, "known errata: CPUID does not show the list"),
    ABSENT_ROW(0xc0010200, 0xc001020b, "performance counters: not modelled"),
    ABSENT_ROW(0xc0010230, 0xc0010247, "performance counters: not modelled"),
    CONSTANT_ROW(0xc0011020, 0xc0011028, AMD, 0, "load and store, caches: the host's affair"),
    CONSTANT_ROW(0xc0011029, 0xc0011029, AMD, 1ull << 1, "DE_CFG: LFENCE is serializing"),
    ABSENT_ROW(0xc0011030, 0xc001103d, "instruction sampling: CPUID does not show it"),
};

static enum vendor vendor(void)
{
    return task->virtualization == BOOT_VIRT_SVM ? AMD : INTEL;
}

static const struct row *find(uint32_t index)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (index >= rows[i].first && index <= rows[i].last && rows[i].vendor & vendor())
            return &rows[i];
    return NULL;
}

static uint64_t *state_word(struct vcpu *vcpu, const struct row *row)
{
    vcpu_need(vcpu, (uint32_t)row->value);
    return (uint64_t *)((char *)vcpu->state + row->offset);
}

/* True: go on, as if it were there. */
static bool unknown(struct vcpu *vcpu, uint32_t index, bool write)
{
    struct machine *machine = vcpu->machine;
    lock_take(&machine->lock);
    enum plan_unknown policy =
        unknown_note(&machine->unknown, UNKNOWN_MSR, index, write, vcpu->rip);
    lock_give(&machine->lock);
    if (policy == PLAN_UNKNOWN_HALT)
        vcpu_stop_guest(vcpu, "it used an MSR that is not modelled, and its partition says "
                              "`unknown halt`");
    return policy == PLAN_UNKNOWN_IGNORE;
}

bool msr_read(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
    const struct row *row = find(index);
    *value = 0;
    if (!row)
        return unknown(vcpu, index, false);
    switch (row->kind) {
    case CONSTANT: *value = row->value; return true;
    case STATE: *value = *state_word(vcpu, row); return true;
    case SPECIAL: return row->read && row->read(vcpu, index, value);
    case ABSENT: break;
    }
    return false;
}

bool msr_write(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
    /* A running guest writes these all the time: end of interrupt, interrupt command, deadline. */
    if (index - rows[0].first <= rows[0].last - rows[0].first || index == rows[1].first)
        return write_apic(vcpu, index, value);
    const struct row *row = find(index);
    if (!row)
        return unknown(vcpu, index, true);
    switch (row->kind) {
    case CONSTANT: return true;
    case STATE:
        /* The kernel refuses what the processor would fault on. */
        return vcpu_try_write(vcpu, (uint32_t)row->value, state_word(vcpu, row), value);
    case SPECIAL: return row->write && row->write(vcpu, index, value);
    case ABSENT: break;
    }
    return false;
}
