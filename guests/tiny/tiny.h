/*
 * The little that tiny guests stand on: exceptions that can be survived, an identity map of 512 GiB, lines
 * on the first serial port. A tiny guest is one C file with tiny_main; it ends by returning (then it halts for good)
 * or by power_off.
 */
#ifndef GUESTS_TINY_H
#define GUESTS_TINY_H

#include "../say.h"

#include <stdbool.h>
#include <stdint.h>

void tiny_main(const uint8_t *boot_params);

/* ---- exceptions ------------------------------------------------------------------------------ */
#define NO_EXCEPTION (~0ull)
extern uint64_t last_exception, recover;

/* Runs one instruction (a string, with operands as of an asm statement); true if it raised an exception, which is then in
 * last_exception. */
#define SURVIVES(code, ...)                                                        \
    ({                                                                             \
        last_exception = NO_EXCEPTION;                                             \
        __asm__ volatile("lea 1f(%%rip), %%r11\n mov %%r11, recover(%%rip)\n" code \
                         "\n 1: movq $0, recover(%%rip)" __VA_ARGS__);             \
        last_exception == NO_EXCEPTION;                                            \
    })

/* False if it raised an exception. */
bool read_msr(uint32_t index, uint64_t *value);
bool write_msr(uint32_t index, uint64_t value);
bool read_byte(uint64_t address, uint8_t *value);
bool write_byte(uint64_t address, uint8_t value);
bool port_in(uint16_t port, unsigned size_bytes, uint32_t *value);
bool port_out(uint16_t port, unsigned size_bytes, uint32_t value);

/* ---- the local APIC in x2APIC mode ----------------------------------------------------------- */
extern uint64_t interrupts_taken;
extern uint32_t end_of_interrupt_msr;
bool apic_enable(void);

static inline uint64_t ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* How much RAM the loader says there is at a place: the end of the e820 entry that holds `address`, or 0. */
uint64_t ram_end(const uint8_t *boot_params, uint64_t address);

#endif
