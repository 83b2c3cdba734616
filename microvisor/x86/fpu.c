/*
 * FPU state: lazily loaded, eagerly saved. CR0.TS is clear exactly while the thread whose registers
 * are live is the current one; the kernel itself uses no FPU register.
 *
 * The standard XSAVE format is used throughout, because that is what `control` shows; XSAVEOPT where
 * present.
 */
#include "x86/fpu.h"

#include "virt/vcpu.h"
#include "x86/features.h"
#include "x86/platform.h"
#include "x86/processor.h"

uint64_t fpu_xcr0;
uint32_t fpu_area_bytes;

/* x87, SSE, AVX, the three parts of AVX-512, PKRU (SDM 1, 13.1). Never AMX (17, 18). */
#define XCR0_WANTED 0x2e7ull
#define XCR0_AVX512 0xe0ull
#define MXCSR_DEFAULT 0x1f80u
#define FCW_DEFAULT 0x37fu

struct fpu_state {
    uint16_t fcw, fsw, ftw, fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t registers[512 - 32];
    uint64_t xstate_bv, xcomp_bv, reserved[6]; /* XSAVE header (SDM 1, 13.4.2) */
} __attribute__((aligned(64)));

static uint32_t mxcsr_mask = 0xffbf; /* what older processors have, which report 0 */
static const struct fpu_state initial_state = {.fcw = FCW_DEFAULT, .mxcsr = MXCSR_DEFAULT};

static void save(struct fpu_state *state)
{
    uint32_t low = (uint32_t)fpu_xcr0, high = (uint32_t)(fpu_xcr0 >> 32);
    if (features.xsaveopt)
        __asm__ volatile("xsaveopt64 (%0)" : : "r"(state), "a"(low), "d"(high) : "memory");
    else
        __asm__ volatile("xsave64 (%0)" : : "r"(state), "a"(low), "d"(high) : "memory");
}

static void restore(const struct fpu_state *state)
{
    uint32_t low = (uint32_t)fpu_xcr0, high = (uint32_t)(fpu_xcr0 >> 32);
    __asm__ volatile("xrstor64 (%0)" : : "r"(state), "a"(low), "d"(high) : "memory");
}

static void set_ts(void)
{
    write_cr0(read_cr0() | CR0_TS);
}

/* A guest may have left its own XCR0; images are saved and restored with all of ours. */
static void own_xcr0(struct cpu *cpu)
{
    if (cpu->x86.loaded_xcr0 != fpu_xcr0) {
        write_xcr0(fpu_xcr0);
        cpu->x86.loaded_xcr0 = fpu_xcr0;
    }
}

void fpu_init_cpu(void)
{
    struct cpu *cpu = this_cpu();
    static struct fpu_state probe;
    fpu_xcr0 = cpuid(0xd, 0).a & XCR0_WANTED;
    if ((fpu_xcr0 & XCR0_AVX512) != XCR0_AVX512)
        fpu_xcr0 &= ~XCR0_AVX512;
    own_xcr0(cpu);
    fpu_area_bytes = cpuid(0xd, 0).b; /* for what is now in XCR0 */
    clear_ts();
    restore(&initial_state);
    __asm__ volatile("fxsave64 %0" : "=m"(probe));
    if (probe.mxcsr_mask)
        mxcsr_mask = probe.mxcsr_mask;
    set_ts();
}

/* Saves what is live; then `state` is, which belongs to `owner` (NULL: the initial state, of nobody).
 * Leaves TS clear. */
static void make_live(struct cpu *cpu, const void *owner, struct task *task, struct fpu_state *state)
{
    clear_ts();
    own_xcr0(cpu);
    if (cpu->x86.fpu_owner)
        save(cpu->x86.fpu);
    restore(owner ? state : &initial_state);
    cpu->x86.fpu_owner = owner;
    cpu->x86.fpu_task = task;
    cpu->x86.fpu = state;
    cpu->switch_slow |= SWITCH_SLOW_FPU;
    COUNT(fpu_switches);
}

void fpu_release(struct cpu *cpu)
{
    if (!cpu->x86.fpu_owner)
        return;
    make_live(cpu, NULL, NULL, NULL); /* TS alone would not stop speculation (CVE-2018-3665) */
    set_ts();
    cpu->switch_slow &= ~(uint64_t)SWITCH_SLOW_FPU;
}

bool fpu_use(struct thread *thread)
{
    if (!thread->x86.fpu)
        thread->x86.fpu = fpu_alloc(&thread->task->quota);
    if (!thread->x86.fpu)
        return false;
    make_live(this_cpu(), thread, thread->task, thread->x86.fpu);
    return true;
}

void fpu_load_vcpu(struct vcpu *vcpu)
{
    struct cpu *cpu = this_cpu();
    if (cpu->x86.fpu_owner == vcpu)
        return;
    make_live(cpu, vcpu, vcpu->object.owner, vcpu->fpu);
    set_ts();
}

void fpu_sync(void *owner)
{
    struct cpu *cpu = this_cpu();
    if (cpu->x86.fpu_owner == owner)
        fpu_release(cpu);
}

struct fpu_state *fpu_alloc(struct quota *quota)
{
    struct fpu_state *state = fpu_area_bytes <= 2048 ? quota_alloc(quota, fpu_area_bytes)
                                                     : quota_alloc_pages(quota, 0);
    if (state) {
        state->fcw = FCW_DEFAULT;
        state->mxcsr = MXCSR_DEFAULT;
    }
    return state;
}

void fpu_free(struct quota *quota, struct fpu_state *state)
{
    if (fpu_area_bytes <= 2048)
        quota_free(quota, state, fpu_area_bytes);
    else
        quota_free_pages(quota, state, 0);
}

void fpu_copy_out(const struct fpu_state *from, void *to, uint32_t size_bytes)
{
    uint32_t have = size_bytes < fpu_area_bytes ? size_bytes : fpu_area_bytes;
    memcpy(to, from, have);
    memset((char *)to + have, 0, size_bytes - have);
}

bool fpu_copy_in(struct fpu_state *to, const void *from, uint32_t size_bytes)
{
    struct fpu_state head;
    uint32_t have = size_bytes < fpu_area_bytes ? size_bytes : fpu_area_bytes;
    if (have < sizeof(head))
        return false;
    /* What XRSTOR would fault on (SDM 1, 13.8.2); `from` may change under our eyes. */
    memcpy(&head, from, sizeof(head));
    uint64_t reserved = head.xcomp_bv | (head.xstate_bv & ~fpu_xcr0) | (head.mxcsr & ~mxcsr_mask);
    for (unsigned i = 0; i < ARRAY_SIZE(head.reserved); i++)
        reserved |= head.reserved[i];
    if (reserved)
        return false;
    memcpy((char *)to + sizeof(head), (const char *)from + sizeof(head), have - sizeof(head));
    memcpy(to, &head, sizeof(head));
    return true;
}
