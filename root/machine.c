/* What root knows of the machine, and how its main thread waits. */
#include "calendar.h"
#include "message.h"
#include "option.h"
#include "port.h"
#include "root.h"
#include "string.h"

#define CLOCK_INDEX        0x70 /* bit 7 masks NMIs where a chipset has that: left clear */
#define CLOCK_DATA         0x71
#define CLOCK_A            10u
#define CLOCK_A_UPDATE     0x80u /* it is counting, or will be within 244 us */
#define CLOCK_B            11u
#define CLOCK_UPDATE_MS    3u /* longer than an update lasts */

const struct boot_info *boot;
struct calendar calendar;

static uint64_t events;

bool option_value(const char *name, char *value, size_t size_bytes)
{
    return option_find(boot->command_line, name, value, size_bytes);
}

bool option(const char *name)
{
    char value[2];
    return option_value(name, value, sizeof value);
}

static void wait(uint64_t deadline)
{
    struct message message = message_wait(0, deadline);
    if (message.status == STATUS_OK && TAG_ORIGIN(message.tag) == ORIGIN_NOTIFICATION)
        events |= message.w[0];
}

void sleep_until(uint64_t deadline)
{
    while (ticks() < deadline)
        wait(deadline);
}

uint64_t events_wait(uint64_t deadline)
{
    if (!events)
        wait(deadline);
    uint64_t taken = events;
    events = 0;
    return taken;
}

static uint8_t clock_register(uint8_t index)
{
    port_write8(CLOCK_INDEX, index);
    return port_read8(CLOCK_DATA);
}

/* As they are between two updates, unless the clock stands; where there is none its bits are all 1. */
static struct calendar_registers clock_registers(void)
{
    uint64_t late = ticks() + milliseconds(CLOCK_UPDATE_MS);
    while (clock_register(CLOCK_A) & CLOCK_A_UPDATE && ticks() < late)
        continue;
    return (struct calendar_registers){
        .second = clock_register(0),
        .minute = clock_register(2),
        .hour = clock_register(4),
        .day = clock_register(7),
        .month = clock_register(8),
        .year = clock_register(9),
        .format = clock_register(CLOCK_B),
    };
}

void calendar_read(void)
{
    struct calendar_registers registers = clock_registers();
    calendar = (struct calendar){calendar_seconds(&registers), ticks()};
}

uint64_t milliseconds(uint64_t ms)
{
    return ms * boot->tsc_khz;
}
