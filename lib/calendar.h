/*
 * The time of day, as the clock of a PC has it: MC146818, "Real-time clock plus RAM", registers 0 to 9, and B for
 * their format.
 */
#ifndef LIB_CALENDAR_H
#define LIB_CALENDAR_H

#include <stdint.h>

/* The clock's registers of time and date. */
struct calendar_registers {
    uint8_t second, minute, hour, day, month, year; /* as they are read; years of this century */
    uint8_t format;                                 /* register B */
};

/* Seconds since 1970 (UTC, if that is what the clock keeps); 0: such a time there is not. */
uint64_t calendar_seconds(const struct calendar_registers *registers);

#endif
