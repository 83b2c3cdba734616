/* The local APIC (SDM 3, chapter 11): x2APIC mode where offered, else registers in memory. */
#include "x86/features.h"
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"
#include "x86/trap.h"

#define BASE_ENABLE (1ull << 11)
#define BASE_X2APIC (1ull << 10)
#define LVT_MASKED (1u << 16)
#define LVT_NMI (4u << 8)
#define TIMER_DEADLINE_MODE (2u << 17)
#define DIVIDE_BY_1 0xbu
#define SPURIOUS_ENABLE (1u << 8)
#define ICR_BUSY (1u << 12)

volatile uint8_t *apic_registers;

void apic_init_cpu(struct cpu *cpu)
{
    uint64_t base = read_msr(MSR_APIC_BASE) | BASE_ENABLE;
    write_msr(MSR_APIC_BASE, base);
    if (!features.x2apic && !apic_registers)
        apic_registers = window_map(acpi.local_apic, PAGE_SIZE, PAGE_UNCACHED);
    if (!apic_registers)
        write_msr(MSR_APIC_BASE, base | BASE_X2APIC);
    cpu->x86.apic_id = apic_registers ? apic_read(APIC_ID) >> 24 : apic_read(APIC_ID);

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
    if (!apic_registers) {
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
