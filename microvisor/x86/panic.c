/*
 * Stopping: a fault or a panic of the kernel prints what is known and halts all CPUs. Works on any
 * stack, with any lock held.
 */
#include <stdarg.h>

#include "x86/features.h"
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"
#include "x86/trap.h"

bool panic_under_way, panic_debug_exit;
static uint32_t panic_cpu; /* its number + 1, 0: none */

/* The table that tools/link_kernel.py makes, sorted by offset. */
struct kernel_symbol {
    uint32_t offset, name;
};
extern const struct kernel_symbol kernel_symbols[];
extern const uint32_t kernel_symbol_count;
extern const char kernel_symbol_names[];

#define TRACE_LINES 24u
#define DEBUG_EXIT_PORT 0xf4u
#define DEBUG_EXIT_FAULT 0x31u
#define SHUTDOWN_PORT 0x8900u /* Bochs and old QEMU: ends at the word "Shutdown" */

_Noreturn void machine_halt(void)
{
    if (panic_debug_exit) {
        for (const char *c = "Shutdown"; *c; c++)
            out8(SHUTDOWN_PORT, (uint8_t)*c);
        out8(DEBUG_EXIT_PORT, DEBUG_EXIT_FAULT);
    }
    halt_forever();
}

/* Only the first CPU gets past this; the others stop in it, or by the NMI that it sends them. */
static void panic_begin(void)
{
    uint32_t self = this_cpu()->number + 1, none = 0;
    if (!__atomic_compare_exchange_n(&panic_cpu, &none, self, false, __ATOMIC_ACQ_REL,
                                     __ATOMIC_RELAXED)) {
        if (none != self)
            halt_forever();
        printk("\nKERNEL FAULT again, while reporting one\n");
        machine_halt();
    }
    panic_under_way = true;
    for (unsigned i = 0; i < cpu_count; i++) {
        if (i + 1 != self)
            apic_send(cpus[i]->x86.apic_id, APIC_NMI);
    }
    console_init(true);
}

static bool is_text(uint64_t address)
{
    return address >= (uint64_t)kernel_start && address < (uint64_t)kernel_rodata;
}

static void print_symbol(uint64_t address)
{
    uint32_t offset = (uint32_t)(address - KERNEL_BASE), next = 0;
    while (is_text(address) && next < kernel_symbol_count && kernel_symbols[next].offset <= offset)
        next++;
    printk("%016lx", address);
    if (next)
        printk(" %s+0x%x", &kernel_symbol_names[kernel_symbols[next - 1].name],
               offset - kernel_symbols[next - 1].offset);
    printk("\n");
}

/* Every address of text between here and the stack's end: return addresses, and few others. (Release
 * kernels keep no frame pointers.) */
static void print_stack(uint64_t rsp)
{
    struct cpu *cpu = this_cpu();
    uint64_t end = cpu->kernel_stack, start = end - CPU_KERNEL_STACK_BYTES;
    unsigned lines = 0;
    if (rsp < start || rsp >= start + CPU_STACKS_BYTES || rsp % 8)
        return;
    if (rsp > end) /* on one of the interrupt stacks: a page each */
        end = ((rsp - 1) | PAGE_MASK) + 1;
    printk("stack:\n");
    for (; rsp < end && lines < TRACE_LINES; rsp += 8) {
        uint64_t address = *(const uint64_t *)rsp;
        if (is_text(address)) {
            printk("  ");
            print_symbol(address);
            lines++;
        }
    }
}

static _Noreturn void print_context(uint64_t rsp)
{
    const struct cpu *cpu = this_cpu();
    const struct thread *thread = cpu->current;
    printk("cpu %u, thread %016lx, task %016lx", cpu->number, (uint64_t)thread,
           thread ? (uint64_t)thread->task : 0);
    if (thread)
        printk(", state %u, user rip 0x%lx", thread->state, thread->registers.rip);
    printk("\ncr0 %016lx cr2 %016lx cr3 %016lx cr4 %016lx\n", read_cr0(), read_cr2(), read_cr3(),
           read_cr4());
    print_stack(rsp);
    machine_halt();
}

_Noreturn void panic_trap(const struct trap_frame *frame, const char *what)
{
    static const char names[][4] = {"r15", "r14", "r13", "r12", "r11", "r10", "r9 ", "r8 ",
                                    "rdi", "rsi", "rbp", "rbx", "rdx", "rcx", "rax"};
    panic_begin();
    printk("\nKERNEL FAULT %s, vector %lu, error 0x%lx, at ", what, frame->vector, frame->error);
    print_symbol(frame->rip);
    printk("rip %016lx rsp %016lx rflags %016lx cs %lx ss %lx\n", frame->rip, frame->rsp,
           frame->rflags, frame->cs, frame->ss);
    for (unsigned i = ARRAY_SIZE(names); i-- > 0;)
        printk("%s %016lx%c", names[i], (&frame->r15)[i], i % 4 ? ' ' : '\n');
    print_context(frame->rsp);
}

_Noreturn void panic(const char *format, ...)
{
    va_list arguments;
    panic_begin();
    printk("\nKERNEL FAULT panic: ");
    va_start(arguments, format);
    vprintk(format, &arguments);
    va_end(arguments);
    printk("\n");
    print_context((uint64_t)__builtin_frame_address(0));
}

#ifdef SEPTUM_DEBUG
_Noreturn void assertion_failed(const char *file, unsigned line, const char *what)
{
    panic_begin();
    printk("\nASSERTION %s:%u: %s\n", file, line, what);
    print_context((uint64_t)__builtin_frame_address(0));
}
#endif

/* ---- machine checks (SDM 3, 16.3.2) ------------------------------------------------------------ */

#define STATUS_VALID (1ull << 63)
#define STATUS_UNCORRECTED (1ull << 61)
#define STATUS_MISC_VALID (1ull << 59)
#define STATUS_ADDRESS_VALID (1ull << 58)
#define STATUS_CONTEXT_CORRUPT (1ull << 57)
#define MCG_RESTART_VALID 1ull

bool machine_check_report(const struct trap_frame *frame)
{
    bool go_on = read_msr(MSR_MCG_STATUS) & MCG_RESTART_VALID;
    uint32_t banks = features.machine_check_banks ? (uint32_t)(read_msr(MSR_MCG_CAP) & 0xff) : 0;
    for (uint32_t bank = 0; bank < banks; bank++) {
        uint64_t status = read_msr(MSR_MC0_STATUS + 4 * bank);
        if (!(status & STATUS_VALID))
            continue;
        printk("MACHINE CHECK cpu %u bank %u status 0x%lx address 0x%lx misc 0x%lx rip %016lx%s\n",
               this_cpu()->number, bank, status,
               status & STATUS_ADDRESS_VALID ? read_msr(MSR_MC0_ADDR + 4 * bank) : 0,
               status & STATUS_MISC_VALID ? read_msr(MSR_MC0_MISC + 4 * bank) : 0, frame->rip,
               status & STATUS_UNCORRECTED ? ", not corrected" : "");
        if (status & (STATUS_UNCORRECTED | STATUS_CONTEXT_CORRUPT))
            go_on = false;
        write_msr(MSR_MC0_STATUS + 4 * bank, 0);
    }
    write_msr(MSR_MCG_STATUS, 0);
    return go_on;
}
