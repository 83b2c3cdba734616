/* Between the files of x86/ and boot/; what trap.c calls is in trap.h. */
#pragma once

#include <stdarg.h>

#include "core/cpu.h"
#include "x86/instructions.h"

/* ---- processor (cpu.c) ------------------------------------------------------------------------- */

#define SELECTOR_KERNEL_CODE 0x08u
#define SELECTOR_KERNEL_DATA 0x10u
#define SELECTOR_USER_DATA 0x18u /* SYSRET wants data before code (SDM 2B, SYSRET) */
#define SELECTOR_USER_CODE 0x20u
#define SELECTOR_TSS 0x28u
#define TSS_NO_BITMAP 0xffffu /* beyond the limit: every port faults */

enum { IST_NMI = 1, IST_DOUBLE_FAULT = 2, IST_MACHINE_CHECK = 3, IST_DEBUG = 4, IST_COUNT = 4 };

/* Why cpu->switch_slow is set. */
enum switch_slow {
    SLOW_PORTS = 2,   /* the port bitmap of ports_loaded is in force */
    SLOW_FS = 4,      /* a thread of this CPU has an FS base: from then on always */
    SLOW_BARRIER = 8, /* mitigations between tasks: always */
};

extern char idt[]; /* one page */

/* A CPU's stacks lie in one block: the kernel's, then, from cpu->kernel_stack on, a page for each
 * interrupt stack. */
#define CPU_STACKS_ORDER 3u
#define CPU_STACKS_BYTES (PAGE_SIZE << CPU_STACKS_ORDER)
#define CPU_KERNEL_STACK_BYTES (CPU_STACKS_BYTES - IST_COUNT * PAGE_SIZE)

/* On the CPU itself, with number and kernel_stack set: segments and gates, so that a fault is reported;
 * then all that depends on features. */
void cpu_init(struct cpu *cpu);
void cpu_init_features(struct cpu *cpu);
void cpu_load_tr(struct cpu *cpu); /* also after a VM exit, which shrinks its limit */

/* ---- ACPI (acpi.c), APICs (apic.c, ioapic.c), the other processors (smp.c) ------------------------ */

#define ACPI_IOAPICS_MAX 8u

#define DMAR_UNITS_MAX 8u
#define DMAR_DEVICES_MAX 64u

/* The IOMMU's units, from the DMAR table. */
struct dmar_facts {
    bool all_devices;
    bool remaps_interrupts; /* units that can do it may */
    unsigned ioapic_count;  /* by what their messages name them */
    struct {
        uint8_t id;
        uint16_t source;
    } ioapics[ACPI_IOAPICS_MAX];
    unsigned device_count; /* else those that they see: what their requests name */
    uint16_t devices[DMAR_DEVICES_MAX];
    unsigned unit_count;
    paddr_t units[DMAR_UNITS_MAX]; /* their registers */
};

struct ioapic_facts {
    paddr_t address;
    uint32_t gsi_base;
    uint8_t id;
};

struct acpi_facts {
    paddr_t local_apic;
    unsigned cpu_count; /* usable processors in the order of the table; the boot CPU is among them */
    uint32_t apic_ids[CPUS_MAX];
    unsigned cpus_left_out; /* beyond CPUS_MAX, or with an identifier above 254 */
    unsigned ioapic_count;
    struct ioapic_facts ioapics[ACPI_IOAPICS_MAX];
    uint32_t nmi_lints; /* bit n: local interrupt pin n is an NMI */
    struct dmar_facts dmar;
};
extern struct acpi_facts acpi;

/* Fills `acpi`. rsdp is the loader's, or 0. Without ACPI the facts are those of a PC with one
 * processor. */
void acpi_read(paddr_t rsdp);

/* The DMAR table behind its header (dmar.c). False: there is something in it that is not as it should be, and nothing
 * of it is to be used. */
bool dmar_read(struct dmar_facts *facts, const uint8_t *body, uint32_t size_bytes);

/* Switches the IOMMU's units on: from then on no device reaches memory (vtd.c). NULL, or why not. */
const char *vtd_init(void);

/* Interrupt messages through a table that the kernel alone writes (vtd.c). Makes the entry of a CPU's vector, which only
 * `source` may use. False: there is no such table, messages name CPU and vector themselves. */
#define SOURCE_ANY UINT32_MAX
#define REMAP_INDEX(cpu, vector) ((uint32_t)(cpu) << 8 | (vector))
uint32_t remap_ioapic(uint8_t id); /* the source of an IOAPIC's messages; SOURCE_ANY: nobody knows */
bool remap_set(unsigned cpu, unsigned vector, bool level, uint32_t source);
void remap_clear(unsigned cpu, unsigned vector);

void dma_fault_route(unsigned cpu, unsigned vector);
void dma_fault_mask(bool masked);

void ioapic_init(void);
void apic_init_cpu(struct cpu *cpu); /* on each CPU, the boot CPU first */

/* The local APIC's registers, by their offsets in memory. */
enum apic_register {
    APIC_ID = 0x20, APIC_TPR = 0x80, APIC_EOI = 0xb0, APIC_SPURIOUS = 0xf0,
    APIC_ICR = 0x300, APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320, APIC_LVT_LINT0 = 0x350, APIC_LVT_LINT1 = 0x360, APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380, APIC_TIMER_CURRENT = 0x390, APIC_TIMER_DIVIDE = 0x3e0
};
extern volatile uint8_t *apic_registers; /* NULL: x2APIC mode */

static inline uint32_t apic_read(enum apic_register which)
{
    return apic_registers ? *(volatile uint32_t *)(apic_registers + which)
                          : (uint32_t)read_msr(0x800 + which / 16);
}

static inline void apic_write(enum apic_register which, uint32_t value)
{
    if (!apic_registers)
        write_msr(0x800 + which / 16, value);
    else
        *(volatile uint32_t *)(apic_registers + which) = value;
}

/* Interrupt command register, low half (SDM 3, 11.6.1). */
enum apic_command { APIC_NMI = 0x00400, APIC_INIT = 0x04500, APIC_STARTUP = 0x04600 };
void apic_send(uint32_t apic_id, uint32_t command);

/* Starts all of them through a free page below 640 KiB. Those that do not come are told and left
 * out. */
void smp_init(paddr_t trampoline_page);
/* On each CPU: it can run vCPUs and threads (boot/start.c). */
void cpu_ready(struct cpu *cpu);

/* ---- time (tsc.c) ------------------------------------------------------------------------------ */

extern uint64_t tsc_calibration_ticks;
void tsc_init(void);

/* ---- console and stopping ---------------------------------------------------------------------- */

void console_init(bool enabled);
void vprintk(const char *format, va_list *arguments);
_Noreturn void machine_halt(void); /* this CPU; with debug-exit the whole emulator */
extern bool panic_under_way;
extern bool panic_debug_exit; /* option debug-exit: a panic ends the emulator */
