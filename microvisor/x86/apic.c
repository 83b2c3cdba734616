/* The local APIC (SDM 3, chapter 11): x2APIC mode where offered, else registers in memory. */
#include "x86/features.h"
#include "x86/instructions.h"
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"
#include "x86/trap.h"

enum { /* by their offsets in memory */
    APIC_ID = 0x20, APIC_TPR = 0x80, APIC_EOI = 0xb0, APIC_SPURIOUS = 0xf0,
    APIC_ICR = 0x300, APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320, APIC_LVT_LINT0 = 0x350, APIC_LVT_LINT1 = 0x360, APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380, APIC_TIMER_CURRENT = 0x390, APIC_TIMER_DIVIDE = 0x3e0
};

#define BASE_ENABLE (1ull << 11)
#define BASE_X2APIC (1ull << 10)
#define LVT_MASKED (1u << 16)
#define LVT_NMI (4u << 8)
#define TIMER_DEADLINE_MODE (2u << 17)
#define DIVIDE_BY_1 0xbu
#define SPURIOUS_ENABLE (1u << 8)
#define ICR_BUSY (1u << 12)

static volatile uint8_t *registers; /* NULL: x2APIC mode */
static uint64_t timer_ratio; /* timer ticks per TSC tick, 32.32; 0: TSC-deadline mode */

static uint32_t apic_read(unsigned index)
{
    if (!registers)
        return (uint32_t)read_msr(0x800 + index / 16);
    return *(volatile uint32_t *)(registers + index);
}

static void apic_write(unsigned index, uint32_t value)
{
    if (!registers)
        write_msr(0x800 + index / 16, value);
    else
        *(volatile uint32_t *)(registers + index) = value;
}

void apic_init(void)
{
    if (!features.x2apic)
        registers = window_map(acpi.local_apic, PAGE_SIZE, PAGE_UNCACHED);
}

void apic_init_cpu(struct cpu *cpu)
{
    uint64_t base = read_msr(MSR_APIC_BASE) | BASE_ENABLE;
    write_msr(MSR_APIC_BASE, base);
    if (!registers)
        write_msr(MSR_APIC_BASE, base | BASE_X2APIC);
    cpu->x86.apic_id = registers ? apic_read(APIC_ID) >> 24 : apic_read(APIC_ID);

    apic_write(APIC_TPR, 0);
    apic_write(APIC_SPURIOUS, SPURIOUS_ENABLE | VECTOR_SPURIOUS);
    apic_write(APIC_LVT_LINT0, acpi.nmi_lints & 1 ? LVT_NMI : LVT_MASKED);
    apic_write(APIC_LVT_LINT1, acpi.nmi_lints & 2 ? LVT_NMI : LVT_MASKED);
    apic_write(APIC_LVT_ERROR, LVT_MASKED);
    apic_write(APIC_LVT_TIMER, VECTOR_TIMER | (features.tsc_deadline ? TIMER_DEADLINE_MODE : 0));
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1);
    /* The mode must be known before the first deadline is written (SDM 3, 11.5.4.1). */
    __asm__ volatile("mfence" : : : "memory");
    apic_eoi(); /* what firmware may have left in service */
}

void apic_eoi(void)
{
    apic_write(APIC_EOI, 0);
}

void apic_send(uint32_t apic_id, uint32_t command)
{
    if (!registers) {
        /* WRMSR to the APIC is not serializing: what was written before must be seen (11.12.3). */
        __asm__ volatile("mfence; lfence" : : : "memory");
        write_msr(0x800 + APIC_ICR / 16, (uint64_t)apic_id << 32 | command);
        return;
    }
    while (apic_read(APIC_ICR) & ICR_BUSY)
        __builtin_ia32_pause();
    apic_write(APIC_ICR_HIGH, apic_id << 24);
    apic_write(APIC_ICR, command);
}

void processor_send_interrupt(unsigned cpu)
{
    apic_send(cpus[cpu]->x86.apic_id, VECTOR_CROSS);
}

/* ---- timer ----------------------------------------------------------------------------------- */

void apic_timer_run(bool on)
{
    apic_write(APIC_TIMER_INITIAL, on ? UINT32_MAX : 0);
}

uint32_t apic_timer_count(void)
{
    return apic_read(APIC_TIMER_CURRENT);
}

void apic_timer_calibrate(uint32_t count, uint64_t tsc_ticks)
{
    timer_ratio = ((uint64_t)count << 32) / tsc_ticks;
}

void processor_timer_arm(uint64_t deadline_tsc)
{
    if (features.tsc_deadline) {
        /* 0 would disarm; DEADLINE_NEVER does no harm. */
        write_msr(MSR_TSC_DEADLINE, deadline_tsc ? deadline_tsc : 1);
        return;
    }
    uint64_t now = processor_ticks();
    uint64_t ticks = deadline_tsc > now ? deadline_tsc - now : 0;
    /* Rounded up, so that it never fires early but for deadlines out of its reach, which are armed
     * again when it fires. */
    uint64_t count = (uint64_t)(((unsigned __int128)ticks * timer_ratio) >> 32) + 1;
    apic_write(APIC_TIMER_INITIAL, count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
}
