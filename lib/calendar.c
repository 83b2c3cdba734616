#include "calendar.h"

#include <stdbool.h>

#define FORMAT_24_HOURS 2u
#define FORMAT_BINARY   4u
#define HOUR_AFTERNOON  0x80u
#define DAYS_1970_2000  10957u /* 30 years, 7 of them leap years */
#define SECONDS_A_DAY   86400u

static const uint8_t month_days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

/* 255: no two decimal digits. */
static unsigned number(uint8_t value, uint8_t format)
{
    if (format & FORMAT_BINARY)
        return value;
    return (value & 15) > 9 || value >> 4 > 9 ? 255 : (value >> 4) * 10u + (value & 15);
}

/* 0 to 23; in the other format noon and midnight are 12. */
static unsigned hour_of(uint8_t value, uint8_t format)
{
    if (format & FORMAT_24_HOURS)
        return number(value, format);
    unsigned hour = number(value & ~HOUR_AFTERNOON, format);
    return hour < 1 || hour > 12 ? 255 : hour % 12 + (value & HOUR_AFTERNOON ? 12 : 0);
}

uint64_t calendar_seconds(const struct calendar_registers *registers)
{
    unsigned second = number(registers->second, registers->format);
    unsigned minute = number(registers->minute, registers->format);
    unsigned hour = hour_of(registers->hour, registers->format);
    unsigned day = number(registers->day, registers->format);
    unsigned month = number(registers->month, registers->format);
    unsigned year = number(registers->year, registers->format);
    bool leap = year % 4 == 0; /* 2000 was one; 2100 is not reached */

    if (second > 59 || minute > 59 || hour > 23 || month < 1 || month > 12 || year > 99 || day < 1 ||
        day > month_days[month - 1] + (leap && month == 2 ? 1u : 0u))
        return 0;
    uint64_t days = DAYS_1970_2000 + year * 365u + (year + 3) / 4 + day - 1;
    for (unsigned i = 0; i + 1 < month; i++)
        days += month_days[i] + (leap && i == 1 ? 1u : 0u);
    return days * SECONDS_A_DAY + hour * 3600u + minute * 60u + second;
}
