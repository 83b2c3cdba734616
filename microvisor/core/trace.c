/* The trace buffer. */
#include "core/trace.h"

#include "x86/processor.h"

#define TRACE_ORDER 2u /* frames of a ring: 512 records, made when a trace is first set */
#define TRACE_RECORDS ((PAGE_SIZE << TRACE_ORDER) / sizeof(struct trace_record))

uint32_t trace_mask;

void trace_record(enum trace_class type, uint64_t what, uint64_t a, uint64_t b)
{
    struct cpu *cpu = this_cpu();
    if (!cpu->trace)
        return;
    cpu->trace[cpu->trace_next++ % TRACE_RECORDS] =
        (struct trace_record){processor_ticks(), type, (uint32_t)what, a, b};
}

static void set_here(void *argument)
{
    struct cpu *cpu = this_cpu();
    if (*(uint32_t *)argument)
        cpu->switch_slow |= SWITCH_SLOW_TRACE;
    else
        cpu->switch_slow &= ~(uint64_t)SWITCH_SLOW_TRACE;
}

void trace_set(uint32_t mask)
{
    for (unsigned i = 0; i < cpu_count; i++) {
        if (mask && !cpus[i]->trace)
            cpus[i]->trace = frames_alloc(TRACE_ORDER);
    }
    cross_call_urgent(cpus_online(), set_here, &mask);
    trace_mask = mask;
}

unsigned trace_read(unsigned number, uint64_t *from, uint64_t *next, struct trace_record *to)
{
    const struct cpu *cpu = cpus[number];
    unsigned count = 0;

    *next = cpu->trace_next;
    if (!cpu->trace)
        return 0;
    if (*next > TRACE_RECORDS && *from < *next - TRACE_RECORDS)
        *from = *next - TRACE_RECORDS;
    while (count < TRACE_RECORDS_PER_CALL && *from + count < *next) {
        to[count] = cpu->trace[(*from + count) % TRACE_RECORDS];
        count++;
    }
    return count;
}
