#include "devices/rate.h"

#define TSC_MAX (UINT64_MAX / 4)

/* 2^64 * part / whole, by long division: part is below whole, and whole below 2^63. */
static uint64_t fraction(uint64_t part, uint64_t whole)
{
    uint64_t result = 0;
    for (unsigned bit = 0; bit < 64; bit++) {
        part <<= 1;
        result <<= 1;
        if (part >= whole) {
            part -= whole;
            result |= 1;
        }
    }
    return result;
}

void rate_init(struct rate *rate, uint64_t hertz, uint64_t tsc_khz)
{
    uint64_t tsc_hertz = tsc_khz * 1000;
    if (hertz >= tsc_hertz)
        tsc_hertz = hertz + 1;
    rate->ticks_per_tsc = fraction(hertz, tsc_hertz);
    rate->tsc_per_tick = (tsc_hertz / hertz << 32) + (fraction(tsc_hertz % hertz, hertz) >> 32) + 1;
}

uint64_t rate_ticks(const struct rate *rate, uint64_t tsc)
{
    return (uint64_t)((unsigned __int128)tsc * rate->ticks_per_tsc >> 64);
}

uint64_t rate_tsc(const struct rate *rate, uint64_t ticks)
{
    unsigned __int128 tsc = ((unsigned __int128)ticks * rate->tsc_per_tick >> 32) + 2;
    return tsc > TSC_MAX ? TSC_MAX : (uint64_t)tsc;
}
