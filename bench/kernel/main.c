/* The first task that measures the kernel: the figures are in the other files of this folder. */
#include "bench.h"

#include "serial.h"

static const char *const counter_names[] = {
#define COUNTER(name, meaning) #name,
#include <counters.def>
#undef COUNTER
};
#define COUNTERS (sizeof counter_names / sizeof counter_names[0])

void figure(const char *name, uint64_t value, const char *unit, const char *comment)
{
    serial_print("FIGURE %s %lu %s %s\n", name, value, unit, comment);
}

static void read_counters(uint64_t *to)
{
    EXPECT_OK(sys_inspect(INSPECT_COUNTERS, BOOT_SLOT_TASK, 0, 0).status);
    for (unsigned i = 0; i < COUNTERS; i++)
        to[i] = thread_buffer()->output[i];
}

void measure_begin(struct measurement *m)
{
    read_counters(m->counters);
    m->ticks = ticks();
}

void measure_end(struct measurement *m, const char *name, uint64_t rounds, const char *comment)
{
    static const unsigned shown[] = {COUNTER_cr3_loads, COUNTER_ipc_slow, COUNTER_context_switches,
                                     COUNTER_vm_entries, COUNTER_interrupts, COUNTER_fpu_switches};
    uint64_t spent = ticks() - m->ticks, after[32];
    read_counters(after);
    figure(name, (spent + rounds / 2) / rounds, "instructions", comment);
    for (unsigned i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        uint64_t count = (after[shown[i]] - m->counters[shown[i]] + rounds / 2) / rounds;
        char full[96];
        if (!count)
            continue;
        print_buffer(full, sizeof full, "%s.%s", name, counter_names[shown[i]]);
        figure(full, count, "count", "a round");
    }
}

void program_start(const void *boot_info)
{
    testing_run(boot_info);
}
