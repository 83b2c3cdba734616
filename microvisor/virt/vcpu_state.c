/*
 * The groups of a vCPU's state page: taken over in two steps, shown in one. What the VMM wrote is
 * copied to a page of ours, so that it can't change after it was checked; only when all of it is
 * found good does any of it take effect.
 *
 * Checked here is what would fault in the kernel or leave the guest with a feature that is not
 * switched. What else a processor demands of a guest's state, VM entry itself checks.
 */
#include "core/cpu.h"
#include "virt/svm.h"
#include "virt/vmx.h"
#include "x86/features.h"
#include "x86/fpu.h"
#include "x86/instructions.h"

struct vcpu_limits vcpu_limits;

#define EFER_FFXSR (1ull << 14)
#define RFLAGS_ONE 2ull
#define SEGMENT_ATTRIBUTES 0x1f0ffu
#define XCR0_X87 1ull
#define XCR0_SSE 2ull
#define XCR0_AVX 4ull
#define XCR0_AVX512 0xe0ull
#define XCR0_PKRU (1ull << 9)
#define XSTATE_BV_OFFSET 512u
#define EVENT_RESERVED 0x7ff0f000u
/* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX push an error code. */
#define VECTORS_WITH_ERROR 0x60227d00u

/* ---- registers.def ----------------------------------------------------------------------------- */

#define NOWHERE 0
#define IN_VCPU(member) offsetof(struct vcpu, member)
#define AREA 0x8000u /* no field of the VMCS has this bit */
#define VMCB(member) (AREA | offsetof(struct vmcb, member))
#define IN_AREA(member) (AREA | offsetof(struct vmx_vcpu, member))
#define LISTED(msr) IN_AREA(guest_msrs[SWITCH_##msr].value)
#define FIELD(name) FIELD_GUEST_##name
#define LIMIT_CANONICAL 1u
#define ANY UINT64_MAX, 0
#define CANONICAL UINT64_MAX, LIMIT_CANONICAL
#define BITS(mask) (mask), 0
#define LIMIT(which) UINT64_MAX, offsetof(struct vcpu_limits, which)
#define ROW(group, member, kept, vmx, svm, init, ...)                                              \
    {VCPU_GROUP_##group, offsetof(struct vcpu_state, member),                                      \
     sizeof(((struct vcpu_state *)0)->member), kept, vmx, svm, init, __VA_ARGS__},
#define REGISTER(group, member, legal, kept, vmx, svm, init)                                       \
    ROW(group, member, kept, vmx, svm, init, legal)
#define PART(i, member, legal, field, svm, init)                                                   \
    ROW(SEGMENTS, segment[i].member, NOWHERE, FIELD(field) + 2 * (i), svm, init, legal)
#define SEGMENT(index, vmcb, selector_init, attributes_init, base_init)                            \
    PART(VCPU_##index, selector, ANY, SELECTOR, VMCB(vmcb.selector), selector_init)                \
    PART(VCPU_##index, attributes, BITS(SEGMENT_ATTRIBUTES), RIGHTS, NOWHERE, attributes_init)     \
    PART(VCPU_##index, limit, ANY, LIMIT, VMCB(vmcb.limit), 0xffff)                                \
    PART(VCPU_##index, base, CANONICAL, BASE, VMCB(vmcb.base), base_init)

static const struct vcpu_register {
    uint16_t group, member, size, kept, vmx, svm;
    uint64_t init, bits;
    uint64_t limit; /* LIMIT_CANONICAL, or where in vcpu_limits, or 0 */
} registers[] = {
#include "virt/registers.def"
};

#define for_each_register(r, groups)                                                               \
    for (const struct vcpu_register *r = registers;                                                \
         r < registers + ARRAY_SIZE(registers) && r->group <= (groups); r++)                       \
        if ((groups) & r->group)

static uint64_t get(const void *place, unsigned size)
{
    return size == sizeof(uint16_t)   ? *(const uint16_t *)place
           : size == sizeof(uint32_t) ? *(const uint32_t *)place
                                      : *(const uint64_t *)place;
}

static void put(void *place, unsigned size, uint64_t value)
{
    if (size == sizeof(uint16_t))
        *(uint16_t *)place = (uint16_t)value;
    else if (size == sizeof(uint32_t))
        *(uint32_t *)place = (uint32_t)value;
    else
        *(uint64_t *)place = value;
}

/* NULL: in *field of the VMCS, or nowhere. */
static void *place_of(struct vcpu *vcpu, const struct vcpu_register *r, uint32_t *field)
{
    uint32_t place = vcpu_ops == &vmx_ops ? r->vmx : r->svm;

    *field = place & AREA ? 0 : place;
    if (place)
        return place & AREA ? vcpu->area + (place & ~AREA) : NULL;
    return r->kept ? (char *)vcpu + r->kept : NULL;
}

static void write_registers(struct vcpu *vcpu, uint32_t groups, const struct vcpu_state *from)
{
    for_each_register(r, groups) {
        uint64_t value = get((const char *)from + r->member, r->size);
        uint32_t field;
        void *place = place_of(vcpu, r, &field);
        if (place)
            put(place, r->size, value);
        else if (field)
            vmcs_write(field, value);
    }
}

static void read_registers(struct vcpu *vcpu, uint32_t groups, struct vcpu_state *to)
{
    for_each_register(r, groups) {
        uint32_t field;
        void *place = place_of(vcpu, r, &field);
        if (place || field)
            put((char *)to + r->member, r->size, place ? get(place, r->size) : vmcs_read(field));
    }
}

/* ---- what this machine allows ---------------------------------------------------------------- */

void vcpu_limits_init(void)
{
    struct cpuid one = cpuid(1, 0), seven = cpuid(7, 0), amd = cpuid(0x80000008, 0);
    bool pkru = fpu_xcr0 & XCR0_PKRU;

    vcpu_limits = (struct vcpu_limits){
        /* VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT: processors with 64 bits have them. */
        .cr4 = 0x7ff | (seven.c >> 2 & 1) * CR4_UMIP | (uint64_t)(seven.b & 1) << 16 /* FSGSBASE */ |
               (one.c >> 17 & 1) * CR4_PCIDE | (fpu_xcr0 ? CR4_OSXSAVE : 0) |
               (seven.b >> 7 & 1) * CR4_SMEP | (seven.b >> 20 & 1) * CR4_SMAP |
               (uint64_t)(pkru && seven.c >> 3 & 1) << 22,
        .efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE |
                (cpuid(0x80000001, 0).d & 1u << 25 ? EFER_FFXSR : 0),
        .cr3 = (1ull << features.physical_bits) - 1,
        /* IBRS, STIBP, SSBD. */
        .spec_ctrl = ((seven.d >> 26 | amd.b >> 14) & 1) | ((seven.d >> 27 | amd.b >> 15) & 1) << 1 |
                     ((seven.d >> 31 | amd.b >> 24) & 1) << 2,
        .tsc_aux = features.rdtscp ? UINT32_MAX : 0,
        .xcr0 = fpu_xcr0 | XCR0_X87,
        .pkru = pkru ? UINT32_MAX : 0,
        .pkru_offset = pkru ? cpuid(0xd, 9).b : 0,
        .msr_direct = VCPU_MSR_FS_GS_BASE | VCPU_MSR_SYSCALL | VCPU_MSR_SYSENTER | VCPU_MSR_PAT |
                      (features.rdtscp ? VCPU_MSR_TSC_AUX : 0),
    };
    vcpu_limits.msr_direct |= vcpu_limits.spec_ctrl ? VCPU_MSR_SPEC_CTRL : 0;
}

/* ---- checks: of the private copy alone ------------------------------------------------------- */

static bool canonical(uint64_t address)
{
    return (int64_t)(address << 16) >> 16 == (int64_t)address;
}

bool vcpu_event_legal(uint64_t event)
{
    uint32_t vector = event & 0xff, type = event >> 8 & 7, error = (uint32_t)(event >> 32);
    bool has_error = event & VCPU_EVENT_HAS_ERROR;
    bool software = type >= VCPU_EVENT_SOFTWARE_INTERRUPT;

    if (!(event & VCPU_EVENT_VALID) || event & EVENT_RESERVED || error > (has_error ? 0x7fff : 0) ||
        (software && !(event >> VCPU_EVENT_LENGTH_SHIFT & 15)))
        return false;
    if (type == VCPU_EVENT_EXCEPTION)
        return vector < 32 && vector != VECTOR_NMI &&
               (!has_error || VECTORS_WITH_ERROR >> vector & 1);
    return !has_error && (type == VCPU_EVENT_EXTERNAL || type == VCPU_EVENT_SOFTWARE_INTERRUPT ||
                          (type == VCPU_EVENT_NMI && vector == VECTOR_NMI) ||
                          (type == VCPU_EVENT_SOFTWARE_EXCEPTION && (vector == 3 || vector == 4)));
}

static bool control_legal(const struct vcpu_state *s, uint64_t xcr0_allowed)
{
    bool long_mode = s->efer & EFER_LME && s->cr0 & CR0_PG;
    bool avx512 = s->xcr0 & XCR0_AVX512;

    return (!(s->cr0 & CR0_PG) || s->cr0 & CR0_PE) && (!(s->cr0 & CR0_NW) || s->cr0 & CR0_CD) &&
           (!(s->cr4 & CR4_PCIDE) || long_mode) && !!(s->efer & EFER_LMA) == long_mode &&
           (!long_mode || s->cr4 & CR4_PAE) &&
           /* SDM 3, 2.6: what XSETBV would fault on, and what is not switched. */
           s->xcr0 & XCR0_X87 && !(s->xcr0 & ~xcr0_allowed) &&
           (!(s->xcr0 & XCR0_AVX) || s->xcr0 & XCR0_SSE) &&
           (!avx512 || (s->xcr0 & (XCR0_AVX512 | XCR0_AVX)) == (XCR0_AVX512 | XCR0_AVX));
}

static bool pat_legal(uint64_t pat)
{
    for (; pat; pat >>= 8) {
        if ((pat & 0xff) > 7 || (pat & 0xfe) == 2) /* SDM 3, 12.12.2: UC WC - - WT WP WB UC- */
            return false;
    }
    return true;
}

static bool legal(uint32_t group, const struct vcpu_state *s, uint64_t xcr0_allowed)
{
    for_each_register(r, group) {
        uint64_t value = get((const char *)s + r->member, r->size), bits = r->bits;
        if (r->limit == LIMIT_CANONICAL ? !canonical(value) : value & ~bits)
            return false;
        if (r->limit > LIMIT_CANONICAL && value & ~get((char *)&vcpu_limits + r->limit, 8))
            return false;
    }
    switch (group) {
    case VCPU_GROUP_RIP:
        return s->rflags & RFLAGS_ONE && (s->interruptibility & VCPU_SHADOW) != VCPU_SHADOW;
    case VCPU_GROUP_CONTROL:
        return control_legal(s, xcr0_allowed);
    case VCPU_GROUP_MISC:
        return pat_legal(s->pat);
    case VCPU_GROUP_EVENT:
        return !s->pending_event || vcpu_event_legal(s->pending_event);
    case VCPU_GROUP_POLICY:
        return s->xcr0_allowed & XCR0_X87;
    default:
        return group & VCPU_GROUP_ALL;
    }
}

/* ---- staging and taking effect ----------------------------------------------------------------- */

uint32_t vcpu_stage(struct vcpu *vcpu, uint32_t groups)
{
    if (!groups)
        return 0;
    memcpy(vcpu->staged, vcpu->state, offsetof(struct vcpu_state, guest_linear));
    __asm__ volatile("" : : : "memory"); /* from here on nothing is read from the shared page again */
    uint64_t xcr0_allowed =
        groups & VCPU_GROUP_POLICY ? vcpu->staged->xcr0_allowed : vcpu->xcr0_allowed;
    for (uint32_t left = groups; left; left &= left - 1) {
        uint32_t group = left & -left;
        if (!legal(group, vcpu->staged, xcr0_allowed))
            return group;
    }
    return 0;
}

/* PKRU is part of the FPU image, where a bit says whether it is there or 0 (SDM 1, 13.4). */
static uint32_t pkru_read(struct vcpu *vcpu)
{
    const uint8_t *image = (const uint8_t *)vcpu->fpu;
    if (!vcpu_limits.pkru_offset)
        return 0;
    fpu_sync(vcpu);
    bool present = image[XSTATE_BV_OFFSET + 1] & XCR0_PKRU >> 8;
    return present ? *(const uint32_t *)(image + vcpu_limits.pkru_offset) : 0;
}

static void pkru_write(struct vcpu *vcpu, uint32_t pkru)
{
    uint8_t *image = (uint8_t *)vcpu->fpu;
    if (pkru_read(vcpu) == pkru)
        return;
    image[XSTATE_BV_OFFSET + 1] |= XCR0_PKRU >> 8;
    *(uint32_t *)(image + vcpu_limits.pkru_offset) = pkru;
}

static void let_msrs_through(struct vcpu *vcpu)
{
    static const struct {
        uint32_t direct, first, last;
    } ranges[] = {
        {VCPU_MSR_FS_GS_BASE, MSR_FS_BASE, MSR_KERNEL_GS_BASE},
        {VCPU_MSR_SYSCALL, MSR_STAR, MSR_SFMASK},
        {VCPU_MSR_SYSENTER, MSR_SYSENTER_CS, MSR_SYSENTER_CS + 2},
        {VCPU_MSR_PAT, MSR_PAT, MSR_PAT},
        {VCPU_MSR_TSC_AUX, MSR_TSC_AUX, MSR_TSC_AUX},
        {VCPU_MSR_SPEC_CTRL, MSR_SPEC_CTRL, MSR_SPEC_CTRL},
    };
    uint8_t *map = vcpu_msr_map(vcpu);
    memset(map, 0xff, vcpu_ops->msr_map_bytes);
    for (unsigned i = 0; i < ARRAY_SIZE(ranges); i++) {
        if (vcpu->msr_direct & ranges[i].direct) {
            for (uint32_t msr = ranges[i].first; msr <= ranges[i].last; msr++)
                vcpu_ops->let_msr(map, msr, MSR_LET_READ | MSR_LET_WRITE);
        }
    }
    if (vcpu->msr_direct & VCPU_MSR_SPEC_CTRL)
        vcpu_ops->let_msr(map, MSR_PRED_CMD, MSR_LET_WRITE); /* the barrier beside it */
}

void vcpu_apply(struct vcpu *vcpu, uint32_t groups)
{
    const struct vcpu_state *from = vcpu->staged;
    struct cpu *cpu = this_cpu();

    vcpu_ops->load(vcpu);
    vcpu->staged->tsc_offset -= cpu->x86.tsc_offset; /* guests count from CPU 0's TSC */
    write_registers(vcpu, groups, from);
    vcpu->exception_exits &= ~(1u << VECTOR_NMI | 1u << VECTOR_MC);
    vcpu->msr_direct &= vcpu_limits.msr_direct;
    if (groups & VCPU_GROUP_CONTROL) {
        vcpu->osxsave = from->cr4 & CR4_OSXSAVE;
        /* What the guest would have flushed, had it written these registers itself. */
        vcpu->guest_generation = VCPU_FLUSH;
    }
    if (groups & VCPU_GROUP_DEBUG && cpu->x86.debug_vcpu == vcpu)
        cpu->x86.debug_vcpu = NULL; /* what is in the registers is out of date */
    if (groups & VCPU_GROUP_MISC)
        pkru_write(vcpu, from->pkru);
    /* MISC: what SVM switches from the first write on (svm_let_write) begins anew. */
    if (groups & (VCPU_GROUP_POLICY | VCPU_GROUP_MISC))
        let_msrs_through(vcpu);
    vcpu_note_special(vcpu);
    vcpu_ops->write(vcpu, groups, from);
}

void vcpu_reset(struct vcpu *vcpu, uint32_t groups)
{
    struct vcpu_state *state = vcpu->staged;

    for_each_register(r, VCPU_GROUP_ALL)
        put((char *)state + r->member, r->size, r->init);
    state->xcr0_allowed = vcpu_limits.xcr0;
    vcpu_apply(vcpu, groups);
}

/* The vendor's `read` comes after and has the last word. */
void vcpu_show(struct vcpu *vcpu, uint32_t groups)
{
    struct vcpu_state *to = vcpu->state;

    if (groups & VCPU_GROUP_DEBUG)
        vcpu_debug_sync(vcpu);
    vcpu_ops->load(vcpu);
    read_registers(vcpu, groups & (VCPU_GROUP_INSTRUCTION - 1u), to); /* the list ends early then */
    if (groups & VCPU_GROUP_TIME)
        to->tsc_offset += this_cpu()->x86.tsc_offset;
    if (groups & VCPU_GROUP_MISC)
        to->pkru = pkru_read(vcpu);
    vcpu_ops->read(vcpu, groups, to);
}
