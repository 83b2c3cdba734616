/*
 * Interrupts, and sleep to a deadline: the local APIC in x2APIC mode, its timer in TSC-deadline mode (SDM vol.
 * 3, 10.5.4.1).
 */
#include "metronome.h"

#define CPUID_TIMING 0x40000010u /* EAX: kHz of the TSC, the convention of hypervisors */

enum { APIC_BASE = 0x1b, TSC_DEADLINE = 0x6e0, EOI = 0x80b, SPURIOUS = 0x80f, LVT_TIMER = 0x832 };
enum {
    BASE_ENABLED = 1 << 11,
    BASE_X2APIC = 1 << 10,
    SOFTWARE_ENABLED = 1 << 8,
    MODE_DEADLINE = 2 << 17
};
enum { FEATURE_X2APIC = 1 << 21, FEATURE_DEADLINE = 1 << 24 };
enum { VECTOR_TIMER = 0x40, VECTOR_SPURIOUS = 0xff, EXCEPTIONS = 32, VECTORS = 256 };
enum { INTERRUPT_GATE = 0x8e00 };

uint8_t stack[16384] __attribute__((aligned(16)));
__asm__(".globl stack_end\n .set stack_end, stack + 16384");

volatile uint64_t woken_at; /* the TSC at the timer's last interrupt; written by timer_entry */

extern uint8_t exception_entries[], timer_entry[], spurious_entry[];
_Noreturn void metronome_died(uint64_t vector, const uint64_t *frame, uint64_t cr2);

static struct {
    uint64_t low, high;
} idt[VECTORS];

static uint32_t cpuid(uint32_t leaf, uint32_t *c)
{
    uint32_t a = leaf, b, d;
    *c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(*c), "=d"(d));
    return a;
}

static uint64_t read_msr(uint32_t index)
{
    uint32_t low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
    return (uint64_t)high << 32 | low;
}

static void write_msr(uint32_t index, uint64_t value)
{
    __asm__ volatile("wrmsr"
                     :
                     : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(index)
                     : "memory");
}

/* Called from head.S: frame is what the processor has pushed. */
void metronome_died(uint64_t vector, const uint64_t *frame, uint64_t cr2)
{
    say("METRONOME exception ");
    say_number(vector);
    say(" frame");
    for (unsigned i = 0; i < 3; i++) {
        say(" ");
        say_hex(frame[i]);
    }
    say(" cr2 ");
    say_hex(cr2);
    say("\n");
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void load_idt(void)
{
    uint16_t code;
    __asm__ volatile("mov %%cs, %0" : "=r"(code));
    for (unsigned i = 0; i < VECTORS; i++) {
        uint64_t entry = (uint64_t)(i < EXCEPTIONS      ? exception_entries + i * 16
                                    : i == VECTOR_TIMER ? timer_entry
                                                        : spurious_entry);
        idt[i].low = (entry & 0xffff) | (uint64_t)code << 16 | (uint64_t)INTERRUPT_GATE << 32 |
                     (entry >> 16 & 0xffff) << 48;
        idt[i].high = entry >> 32;
    }
    struct {
        uint16_t limit;
        void *base;
    } __attribute__((packed)) descriptor = {sizeof idt - 1, idt};
    __asm__ volatile("lidt %0" : : "m"(descriptor));
}

bool timer_start(void)
{
    uint32_t features;
    load_idt();
    cpuid(1, &features);
    if (!(features & FEATURE_X2APIC) || !(features & FEATURE_DEADLINE)) {
        say("METRONOME needs an x2APIC with a TSC-deadline timer\n");
        return false;
    }
    write_msr(APIC_BASE, read_msr(APIC_BASE) | BASE_ENABLED | BASE_X2APIC);
    write_msr(SPURIOUS, SOFTWARE_ENABLED | VECTOR_SPURIOUS);
    write_msr(LVT_TIMER, MODE_DEADLINE | VECTOR_TIMER);
    return true;
}

uint64_t ticks_per_us(void)
{
    uint32_t c;
    return cpuid(CPUID_TIMING, &c) / 1000;
}

uint64_t sleep_until(uint64_t deadline)
{
    woken_at = 0;
    write_msr(TSC_DEADLINE, deadline);
    while (!woken_at)
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    write_msr(EOI, 0);
    return woken_at;
}
