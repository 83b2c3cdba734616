/*
 * The other processors: INIT, start-up interrupts (SDM 3, 9.4.4), and making their TSCs agree.
 * They are started one after the other, so the trampoline needs no lock.
 */
#include "x86/features.h"
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"

#define CPU_ORDER 2u
_Static_assert(sizeof(struct cpu) <= PAGE_SIZE << CPU_ORDER, "struct cpu fits its frames");

#define INIT_WAIT_US    10000u
#define STARTUP_WAIT_US 200u
#define START_LIMIT_US  2000000u

extern const char trampoline[], trampoline_end[];

/* What boot.S hands to the CPU that starts. */
struct cpu *smp_starting;
_Noreturn void smp_start(struct cpu *cpu);

static uint32_t started;

/* ---- TSC synchrony --------------------------------------------------------------------------- */

#define TSC_ROUNDS 16u
enum tsc_command { TSC_IDLE, TSC_READ, TSC_ADJUST, TSC_DONE };
static uint32_t tsc_command; /* set by CPU 0, back to TSC_IDLE when obeyed */
static int64_t tsc_value;

static uint64_t ticks_ordered(void)
{
    __asm__ volatile("lfence" : : : "memory");
    return processor_ticks();
}

static void tsc_obey(void)
{
    uint32_t command;
    do {
        while ((command = __atomic_load_n(&tsc_command, __ATOMIC_ACQUIRE)) == TSC_IDLE)
            __builtin_ia32_pause();
        if (command == TSC_READ)
            tsc_value = (int64_t)ticks_ordered();
        else if (command == TSC_ADJUST && features.tsc_adjust)
            write_msr(MSR_TSC_ADJUST, read_msr(MSR_TSC_ADJUST) - (uint64_t)tsc_value);
        else if (command == TSC_ADJUST)
            write_msr(MSR_TSC, ticks_ordered() - (uint64_t)tsc_value);
        __atomic_store_n(&tsc_command, TSC_IDLE, __ATOMIC_RELEASE);
    } while (command != TSC_DONE);
}

static void tsc_order(enum tsc_command command)
{
    __atomic_store_n(&tsc_command, command, __ATOMIC_RELEASE);
    while (__atomic_load_n(&tsc_command, __ATOMIC_ACQUIRE) != TSC_IDLE)
        __builtin_ia32_pause();
}

/*
 * How far the other TSC is ahead, 0 if nothing contradicts that they agree: its reading must lie
 * between our readings before and after. What remains undetected is less than a message takes, so
 * nobody can see it.
 */
static int64_t tsc_difference(void)
{
    int64_t least = INT64_MIN, most = INT64_MAX;
    for (unsigned i = 0; i < TSC_ROUNDS; i++) {
        int64_t before = (int64_t)ticks_ordered();
        tsc_order(TSC_READ);
        int64_t after = (int64_t)ticks_ordered();
        least = tsc_value - after > least ? tsc_value - after : least;
        most = tsc_value - before < most ? tsc_value - before : most;
    }
    return least <= 0 && most >= 0 ? 0 : least + (most - least) / 2;
}

static void tsc_synchronize(struct cpu *cpu)
{
    int64_t difference = tsc_difference();
    if (difference) {
        printk("cpu %u: its TSC is %lu ticks %s CPU 0's: ", cpu->number,
               (uint64_t)(difference < 0 ? -difference : difference),
               difference < 0 ? "behind" : "ahead of");
        tsc_value = difference;
        tsc_order(TSC_ADJUST);
        difference = tsc_difference();
        printk(difference ? "can't be set, guests' offsets will make up for it\n" : "set right\n");
    }
    cpu->x86.tsc_offset = (uint64_t)difference;
    tsc_order(TSC_DONE);
}

/* ---- starting -------------------------------------------------------------------------------- */

_Noreturn void smp_start(struct cpu *cpu)
{
    cpu_init(cpu);
    cpu_init_features(cpu);
    apic_init_cpu(cpu);
    __atomic_store_n(&started, 1, __ATOMIC_RELEASE);
    tsc_obey();
    cpu_ready(cpu);
    sched_exit();
}

/* Waits until the CPU that starts has begun to, at most so long. */
static bool wait_started(uint64_t limit_us)
{
    uint64_t end = processor_ticks() + limit_us * tsc_khz / 1000;
    bool there;
    while (!(there = __atomic_load_n(&started, __ATOMIC_ACQUIRE)) && processor_ticks() < end)
        __builtin_ia32_pause();
    return there;
}

static void start_one(uint32_t apic_id, paddr_t trampoline_page)
{
    struct cpu *cpu = frames_alloc(CPU_ORDER);
    char *stacks = frames_alloc(CPU_STACKS_ORDER);
    if (!cpu || !stacks) {
        printk("no kernel memory for another CPU: use a larger pool=\n");
        return;
    }
    cpu->number = cpu_count;
    cpu->kernel_stack = (uint64_t)stacks + CPU_KERNEL_STACK_BYTES;
    cpu->x86.apic_id = apic_id;
    smp_starting = cpu;
    started = 0;
    cpus[cpu_count] = cpu;
    uint32_t startup = APIC_STARTUP | (uint32_t)(trampoline_page >> PAGE_SHIFT);
    apic_send(apic_id, startup);
    if (!wait_started(STARTUP_WAIT_US))
        apic_send(apic_id, startup);
    if (!wait_started(START_LIMIT_US)) {
        apic_send(apic_id, APIC_INIT); /* should it still come, it must not come now */
        cpus[cpu_count] = NULL;
        printk("the processor with APIC identifier %u did not start\n", apic_id);
        return;
    }
    cpu_count++;
    tsc_synchronize(cpu);
}

void smp_init(paddr_t trampoline_page)
{
    uint32_t self = this_cpu()->x86.apic_id;
    if (acpi.cpus_left_out)
        printk("%u processors are left out: more than %u, or APIC identifiers above 254\n",
               acpi.cpus_left_out, (unsigned)CPUS_MAX);
    if (acpi.cpu_count < 2)
        return;
    memcpy(paging_low(trampoline_page), trampoline, (size_t)(trampoline_end - trampoline));
    for (unsigned i = 0; i < acpi.cpu_count; i++) {
        if (acpi.apic_ids[i] != self)
            apic_send(acpi.apic_ids[i], APIC_INIT);
    }
    wait_started(INIT_WAIT_US);
    for (unsigned i = 0; i < acpi.cpu_count && cpu_count < CPUS_MAX; i++) {
        if (acpi.apic_ids[i] != self)
            start_one(acpi.apic_ids[i], trampoline_page);
    }
}
