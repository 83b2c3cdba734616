/*
 * The boot console: a 16550 at COM1, 115200 8N1, polled. The kernel's only device driver; after boot
 * it speaks only when something is wrong.
 */
#include <stdarg.h>

#include "x86/platform.h"
#include "x86/processor.h"

#define COM1 0x3f8u
enum { UART_DATA, UART_IER, UART_FCR, UART_LCR, UART_MCR, UART_LSR, UART_SCRATCH = 7 };
#define LSR_THR_EMPTY 0x20u
#define LCR_8N1       0x03u
#define LCR_DLAB      0x80u

static bool console_on;
static struct spinlock console_lock;

void console_init(bool enabled)
{
    static const uint8_t setup[][2] = {
        {UART_IER, 0},       {UART_LCR, LCR_DLAB}, {UART_DATA, 1}, {UART_IER, 0}, /* divisor 1 */
        {UART_LCR, LCR_8N1}, {UART_FCR, 7},        {UART_MCR, 3},
    };
    out8(COM1 + UART_SCRATCH, 0x5a);
    console_on = enabled && in8(COM1 + UART_SCRATCH) == 0x5a;
    for (unsigned i = 0; console_on && i < ARRAY_SIZE(setup); i++)
        out8((uint16_t)(COM1 + setup[i][0]), setup[i][1]);
}

static void put(char c)
{
    if (!console_on)
        return;
    if (c == '\n')
        put('\r');
    for (unsigned tries = 0; tries < 100000 && !(in8(COM1 + UART_LSR) & LSR_THR_EMPTY); tries++)
        ;
    out8(COM1 + UART_DATA, (uint8_t)c);
}

static void put_number(uint64_t value, unsigned base, unsigned digits_least)
{
    char digits[20];
    unsigned at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value || sizeof(digits) - at < digits_least);
    while (at < sizeof(digits))
        put(digits[at++]);
}

static void format_one(const char **format, va_list *arguments)
{
    unsigned digits = 0;
    for (; **format >= '0' && **format <= '9'; ++*format)
        digits = digits * 10 + (unsigned)(**format - '0');
    bool is_long = **format == 'l';
    *format += is_long;
    char kind = *(*format)++;
    if (kind == 'c') {
        put((char)va_arg(*arguments, int));
    } else if (kind == 's') {
        for (const char *text = va_arg(*arguments, const char *); *text; text++)
            put(*text);
    } else {
        uint64_t value = is_long ? va_arg(*arguments, uint64_t) : va_arg(*arguments, unsigned);
        put_number(value, kind == 'x' ? 16 : 10, digits);
    }
}

void vprintk(const char *format, va_list *arguments)
{
    /* Whoever panics does not wait for a CPU that may have been stopped while it printed. */
    bool locked = !panic_under_way;
    if (locked)
        spinlock_acquire(&console_lock);
    while (*format) {
        if (*format == '%') {
            format++;
            format_one(&format, arguments);
        } else {
            put(*format++);
        }
    }
    if (locked)
        spinlock_release(&console_lock);
}

void printk(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintk(format, &arguments);
    va_end(arguments);
}
