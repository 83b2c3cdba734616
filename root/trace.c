/* The kernel's trace, in words. */
#include "monitor.h"
#include "string.h"
#include "thread.h"

#define SHOWN 40u /* records of each CPU */

static const struct {
    const char *word;
    uint32_t class;
} classes[] = {
    {"calls", TRACE_SYSCALL}, {"switches", TRACE_SWITCH}, {"interrupts", TRACE_INTERRUPT},
    {"faults", TRACE_FAULT},  {"exits", TRACE_EXIT},      {"revocations", TRACE_REVOKE},
};
#define CLASSES (sizeof classes / sizeof *classes)

static const char *const calls[] = {
#define SYSCALL(number, name, arguments, errors, meaning) [number] = #name,
#include <syscalls.def>
#undef SYSCALL
};

const char *exit_name(unsigned reason)
{
    static const char *const names[EXIT_COUNT] = {
        [EXIT_NONE] = "timer or kick",
        [EXIT_FORCED] = "forced",
        [EXIT_ENTRY_FAILED] = "entry failed",
        [EXIT_EXCEPTION] = "exception",
        [EXIT_TRIPLE_FAULT] = "triple fault",
        [EXIT_INTERRUPTIBLE] = "interruptible",
        [EXIT_NMI_WINDOW] = "NMI window",
        [EXIT_TASK_SWITCH] = "task switch",
        [EXIT_CPUID] = "CPUID",
        [EXIT_HLT] = "HLT",
        [EXIT_INVLPG] = "INVLPG",
        [EXIT_RDPMC] = "RDPMC",
        [EXIT_RDTSC] = "RDTSC",
        [EXIT_RDTSCP] = "RDTSCP",
        [EXIT_HYPERCALL] = "hypercall",
        [EXIT_VIRT_INSTRUCTION] = "VMX or SVM instruction",
        [EXIT_CR_READ] = "control register read",
        [EXIT_CR_WRITE] = "control register write",
        [EXIT_DR] = "debug register",
        [EXIT_IO] = "port",
        [EXIT_MSR_READ] = "MSR read",
        [EXIT_MSR_WRITE] = "MSR write",
        [EXIT_MWAIT] = "MWAIT",
        [EXIT_MONITOR] = "MONITOR",
        [EXIT_PAUSE] = "PAUSE",
        [EXIT_DESCRIPTOR] = "descriptor table",
        [EXIT_GUEST_FAULT] = "device memory",
        [EXIT_WBINVD] = "WBINVD",
        [EXIT_INVD] = "INVD",
        [EXIT_XSETBV] = "XSETBV",
        [EXIT_INVPCID] = "INVPCID",
        [EXIT_CR8_WRITE] = "task priority",
        [EXIT_SHUTDOWN_OTHER] = "INIT, SIPI or SMI",
        [EXIT_UNKNOWN] = "unknown",
    };
    return reason < EXIT_COUNT ? names[reason] : "undefined";
}

static void show_record(struct sink *sink, unsigned cpu, const struct trace_record *record,
                        uint64_t now)
{
    uint64_t us = (now - record->tsc) * 1000 / boot->tsc_khz;
    print(sink, "%8lu us ago, CPU %u: ", us, cpu);
    switch (record->type) {
    case TRACE_SYSCALL:
        print(sink, "call %s(0x%lx, 0x%lx)\n",
              (record->what & 255) < SYSCALL_COUNT ? calls[record->what & 255] : "?", record->a,
              record->b);
        break;
    case TRACE_SWITCH: print(sink, "thread %lx after %lx\n", record->b, record->a); break;
    case TRACE_INTERRUPT: print(sink, "interrupt, vector %u\n", record->what); break;
    case TRACE_FAULT:
        print(sink, "fault, vector %u, 0x%lx, at 0x%lx\n", record->what, record->a, record->b);
        break;
    case TRACE_EXIT:
        print(sink, "guest exit, %s, 0x%lx, at 0x%lx\n", exit_name(record->what), record->a,
              record->b);
        break;
    case TRACE_REVOKE:
        print(sink, "revoked in space %u: 0x%lx, %lu\n", record->what, record->a, record->b);
        break;
    default: print(sink, "record of type %u\n", record->type); break;
    }
}

/* The newest records of a CPU. The buffer is read before anything is printed: printing uses it. */
static void show_cpu(struct sink *sink, unsigned cpu)
{
    struct trace_record records[SHOWN];
    struct message m = sys_inspect(INSPECT_TRACE, BOOT_SLOT_TASK, cpu, 0);
    if (m.status != STATUS_OK)
        return;
    m = sys_inspect(INSPECT_TRACE, BOOT_SLOT_TASK, cpu, m.w[2] > SHOWN ? m.w[2] - SHOWN : 0);
    unsigned count = m.status == STATUS_OK && m.w[0] < SHOWN ? (unsigned)m.w[0] : SHOWN;
    memcpy(records, thread_buffer()->output, sizeof records);
    uint64_t now = ticks();
    for (unsigned i = 0; i < count; i++)
        if (records[i].tsc)
            show_record(sink, cpu, &records[i], now);
}

static void set(struct sink *sink, uint32_t mask)
{
    if (sys_inspect(INSPECT_TRACE_SET, BOOT_SLOT_TASK, mask, 0).status != STATUS_OK)
        print(sink, "the kernel refuses that\n");
}

bool trace_command(struct sink *sink, unsigned count, char *const *words)
{
    uint32_t mask = 0;
    if (count == 0) {
        for (unsigned cpu = 0; cpu < boot->cpu_count; cpu++)
            show_cpu(sink, cpu);
        return true;
    }
    bool on = strcmp(words[0], "on") == 0;
    if (!on && (count > 1 || strcmp(words[0], "off") != 0))
        return false;
    for (unsigned w = 1; w < count; w++) {
        unsigned i = 0;
        while (i < CLASSES && strcmp(classes[i].word, words[w]) != 0)
            i++;
        if (i == CLASSES)
            return false;
        mask |= classes[i].class;
    }
    for (unsigned i = 0; on && count == 1 && i < CLASSES; i++)
        mask |= classes[i].class;
    set(sink, mask);
    print(sink, on ? "the trace is on; `trace` shows the newest records\n" : "the trace is off\n");
    return true;
}
