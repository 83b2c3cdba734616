/*
 * The trace: typed events in a ring for each CPU. Off, it costs a test of one word on general paths and
 * nothing on the fast path, which is not taken while a trace is on (cpu.switch_slow).
 */
#pragma once

#include "core/types.h"

extern uint32_t trace_mask; /* enum trace_class */

void trace_record(enum trace_class type, uint64_t what, uint64_t a, uint64_t b);
/* Copies up to TRACE_RECORDS_PER_CALL records of a CPU from sequence number *from, which is moved up if
 * they are gone; *next is the number of the next record to come. */
unsigned trace_read(unsigned cpu, uint64_t *from, uint64_t *next, struct trace_record *to);
/* Sets the mask on all CPUs. */
void trace_set(uint32_t mask);

#define TRACE(type, what, a, b)                                                                    \
    do {                                                                                           \
        if (unlikely(trace_mask & (type)))                                                         \
            trace_record(type, what, a, b);                                                        \
    } while (0)
