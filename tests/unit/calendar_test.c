/*
 * The clock of a PC.
 * links: lib/calendar.c
 */
#include "../../lib/calendar.h"
#include "unit_test.h"

#include <time.h>

static uint8_t decimal(unsigned value)
{
    return (uint8_t)(value / 10 << 4 | value % 10);
}

static struct calendar_registers registers_of(time_t seconds, uint8_t format)
{
    struct tm tm;
    gmtime_r(&seconds, &tm);
    unsigned hour = (unsigned)tm.tm_hour, afternoon = 0;
    if (!(format & 2)) {
        afternoon = hour >= 12 ? 0x80 : 0;
        hour = hour % 12 ? hour % 12 : 12;
    }
    unsigned parts[] = {(unsigned)tm.tm_sec, (unsigned)tm.tm_min,     hour,
                        (unsigned)tm.tm_mday, (unsigned)tm.tm_mon + 1, (unsigned)tm.tm_year % 100};
    uint8_t told[6];
    for (unsigned i = 0; i < 6; i++)
        told[i] = format & 4 ? (uint8_t)parts[i] : decimal(parts[i]);
    return (struct calendar_registers){told[0],           told[1], (uint8_t)(told[2] | afternoon), told[3], told[4],
                                       told[5], format};
}

TEST(calendar_century, "every day of a century is read, in each of the four formats")
{
    for (time_t day = 946684800; day < 4102444800; day += 86400) {
        time_t seconds = day + day / 86400 * 7919 % 86400;
        for (uint8_t format = 0; format <= 6; format += 2) {
            struct calendar_registers registers = registers_of(seconds, format);
            CHECK(calendar_seconds(&registers) == (uint64_t)seconds);
        }
    }
}

TEST(calendar_impossible, "a time that there is not gives 0")
{
    static const struct calendar_registers wrong[] = {
        {0x60, 0, 0, 1, 1, 0x26, 2},    {0, 0x60, 0, 1, 1, 0x26, 2},    {0, 0, 0x24, 1, 1, 0x26, 2},
        {0, 0, 0, 0, 1, 0x26, 2},       {0, 0, 0, 0x32, 1, 0x26, 2},    {0, 0, 0, 1, 0, 0x26, 2},
        {0, 0, 0, 1, 0x13, 0x26, 2},    {0, 0, 0, 0x29, 2, 0x26, 2},    {0, 0, 0, 0x30, 2, 0x28, 2},
        {0x1a, 0, 0, 1, 1, 0x26, 2},    {0, 0, 0, 1, 1, 0xa0, 2},       {0, 0, 0, 1, 1, 100, 6},
        {0, 0, 0x13, 1, 1, 0x26, 0},    {0, 0, 0, 1, 1, 0x26, 0},       {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(calendar_seconds(&wrong[i]) == 0);
}
