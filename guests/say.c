#include "say.h"

#include "../lib/port.h"

enum { COM1 = 0x3f8, LSR = 5, LSR_EMPTY = 0x20 };

void say(const char *text)
{
    for (; *text; text++) {
        while (!(port_read8(COM1 + LSR) & LSR_EMPTY))
            __asm__ volatile("pause");
        port_write8(COM1, (uint8_t)*text);
    }
}

static void say_in(uint64_t number, unsigned base)
{
    char digits[24];
    int i = 23;
    digits[i] = 0;
    do {
        unsigned digit = (unsigned)(number % base);
        digits[--i] = (char)(digit < 10 ? '0' + digit : 'a' + digit - 10);
        number /= base;
    } while (number);
    say(digits + i);
}

void say_number(uint64_t number)
{
    say_in(number, 10);
}

void say_hex(uint64_t number)
{
    say("0x");
    say_in(number, 16);
}
