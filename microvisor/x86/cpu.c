/* One CPU's set-up: segments, gates, control registers, system-call MSRs. */
#include "x86/features.h"
#include "x86/fpu.h"
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"
#include "x86/trap.h"

struct cpu *cpus[CPUS_MAX];
unsigned cpu_count;

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
extern const uint64_t boot_gdt[SELECTOR_TSS / 8];
char idt[256 * sizeof(struct gate)] __attribute__((aligned(4096)));

struct __attribute__((packed)) table_pointer {
    uint16_t limit;
    const void *base;
};

#define GATE_INTERRUPT 0x8eu /* present, 64-bit interrupt gate: interrupts off */
#define GATE_USER 0x60u      /* callable from user mode */

/* Flags that SYSCALL clears: all that would act in the kernel (TF IF DF IOPL NT RF AC, virtual ones). */
#define SYSCALL_FLAGS_CLEARED 0x003f7700ull

/* CF PF AF ZF SF TF DF OF RF AC ID; with NT our IRET would fault, IOPL opens all ports. */
#define USER_FLAGS_ALLOWED 0x00250dd5ull
#define FLAGS_ALWAYS 0x202ull /* IF and the bit that is always one */

#define VECTOR_BREAKPOINT 3u
#define VECTOR_OVERFLOW 4u
#define MCG_CTL_PRESENT 0x100u

/* Entry 1 is write-combining instead of write-through, the rest as after reset (SDM 3, 12.12.4). */
#define PAT_VALUE 0x0007040600070106ull

uint64_t processor_user_rflags(uint64_t rflags)
{
    return (rflags & USER_FLAGS_ALLOWED) | FLAGS_ALWAYS;
}

static void idt_init(void)
{
    struct gate *gates = (struct gate *)idt;
    for (unsigned v = 0; v < 256; v++) {
        uint64_t target = (uint64_t)trap_entries[v];
        gates[v] = (struct gate){
            .offset_low = (uint16_t)target,
            .selector = SELECTOR_KERNEL_CODE,
            .type = GATE_INTERRUPT | (v == VECTOR_BREAKPOINT || v == VECTOR_OVERFLOW ? GATE_USER : 0),
            .offset_middle = (uint16_t)(target >> 16),
            .offset_high = (uint32_t)(target >> 32),
        };
    }
    gates[TRAP_NMI].ist = IST_NMI;
    gates[TRAP_DOUBLE_FAULT].ist = IST_DOUBLE_FAULT;
    gates[TRAP_MACHINE_CHECK].ist = IST_MACHINE_CHECK;
    gates[TRAP_DEBUG].ist = IST_DEBUG;
}

void cpu_load_tr(struct cpu *cpu)
{
    uint64_t base = (uint64_t)&cpu->x86.tss;
    uint64_t limit = sizeof(cpu->x86.tss) - 1;
    unsigned at = SELECTOR_TSS / 8;
    cpu->x86.gdt[at] = (limit & 0xffff) | (base & 0xffffff) << 16 | 0x89ull << 40 |
                       (limit >> 16 & 0xf) << 48 | (base >> 24 & 0xff) << 56;
    cpu->x86.gdt[at + 1] = base >> 32;
    __asm__ volatile("ltr %w0" : : "r"(SELECTOR_TSS) : "memory");
}

static void segments_init(struct cpu *cpu)
{
    struct table_pointer gdtr = {sizeof(cpu->x86.gdt) - 1, cpu->x86.gdt};
    struct table_pointer idtr = {sizeof(idt) - 1, idt};

    struct tss *tss = &cpu->x86.tss;
    tss->rsp[0] = (uint64_t)&cpu->x86.entry_stack[ARRAY_SIZE(cpu->x86.entry_stack)];
    for (unsigned i = 0; i < IST_COUNT; i++)
        tss->ist[i] = cpu->kernel_stack + (i + 1) * PAGE_SIZE;
    tss->io_bitmap = TSS_NO_BITMAP;
    tss->bitmap[PORT_BITMAP_BYTES] = 0xff;

    memcpy(cpu->x86.gdt, boot_gdt, sizeof(boot_gdt)); /* CS stays what it is */
    __asm__ volatile("lgdt %0" : : "m"(gdtr) : "memory");
    __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%fs; mov %0, %%gs; mov %1, %%ss"
                     :
                     : "r"(0), "r"(SELECTOR_KERNEL_DATA));
    __asm__ volatile("lidt %0" : : "m"(idtr));
    cpu_load_tr(cpu);
}

static void control_registers_init(void)
{
    write_cr0(CR0_PE | CR0_PG | CR0_WP | CR0_NE | CR0_MP | CR0_ET | CR0_TS);
    uint64_t cr4 = CR4_PAE | CR4_DE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    cr4 |= features.machine_check ? CR4_MCE : 0;
    cr4 |= mitigations.kpti ? 0 : CR4_PGE;
    cr4 |= features.smep ? CR4_SMEP : 0;
    cr4 |= features.smap ? CR4_SMAP : 0;
    cr4 |= features.umip ? CR4_UMIP : 0;
    cr4 |= features.pcid ? CR4_PCIDE : 0; /* CR3 has PCID 0 now, as SDM 3, 4.10.1 demands */
    write_cr4(cr4);
}

static void msrs_init(struct cpu *cpu)
{
    write_msr(MSR_EFER, EFER_SCE | EFER_LME | EFER_NXE);
    write_msr(MSR_STAR, (uint64_t)(SELECTOR_USER_DATA - 8 + 3) << 48 |
                            (uint64_t)SELECTOR_KERNEL_CODE << 32);
    write_msr(MSR_LSTAR, (uint64_t)syscall_entry);
    write_msr(MSR_CSTAR, 0); /* no 32-bit code segment exists */
    write_msr(MSR_SFMASK, SYSCALL_FLAGS_CLEARED);
    write_msr(MSR_SYSENTER_CS, 0); /* SYSENTER faults */
    write_msr(MSR_PAT, PAT_VALUE);
    write_msr(MSR_FS_BASE, 0);
    write_msr(MSR_GS_BASE, (uint64_t)cpu);
    write_msr(MSR_KERNEL_GS_BASE, 0); /* the user's, while we are in the kernel */
    if (features.rdtscp)
        write_msr(MSR_TSC_AUX, 0);
}

/* Machine checks: every bank reports everything (SDM 3, 16.3.2). */
static void machine_check_init(void)
{
    if (!features.machine_check || !features.machine_check_banks)
        return;
    uint64_t capability = read_msr(MSR_MCG_CAP);
    if (capability & MCG_CTL_PRESENT)
        write_msr(MSR_MCG_CTL, UINT64_MAX);
    for (uint32_t bank = 0; bank < (capability & 0xff); bank++) {
        write_msr(MSR_MC0_CTL + 4 * bank, UINT64_MAX);
        write_msr(MSR_MC0_STATUS + 4 * bank, 0);
    }
}

void cpu_init(struct cpu *cpu)
{
    cpu->self = cpu;
    cpu->loaded_cr3 = cpu->x86.kernel_cr3 = read_cr3();
    if (cpu->number == 0)
        idt_init();
    segments_init(cpu);
    write_msr(MSR_GS_BASE, (uint64_t)cpu);
}

void cpu_init_features(struct cpu *cpu)
{
    msrs_init(cpu);
    control_registers_init();
    if (features.pcid)
        cpu->loaded_cr3 = cpu->x86.kernel_cr3 |= CR3_NO_FLUSH;
    machine_check_init();
    mitigations_init_cpu(cpu);
    fpu_init_cpu();
}
