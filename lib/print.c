/* Formatted printing. A number is made backwards in a small buffer and written as one piece. */
#include "print.h"

#include <stdbool.h>
#include <stdint.h>

#include "string.h"

struct conversion {
    bool left, zero, is_long;
    unsigned width;
};

static void put_padded(struct sink *sink, const struct conversion *how, const char *text,
                       size_t size_bytes)
{
    size_t padding = how->width > size_bytes ? how->width - size_bytes : 0;
    for (size_t n = how->left ? 0 : padding; n; n--)
        sink->write(sink, how->zero ? "0" : " ", 1);
    sink->write(sink, text, size_bytes);
    for (size_t n = how->left ? padding : 0; n; n--)
        sink->write(sink, " ", 1);
}

static void put_number(struct sink *sink, const struct conversion *how, uint64_t value,
                       unsigned base, bool negative)
{
    char digits[24];
    char *at = digits + sizeof digits;
    do {
        *--at = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    if (negative)
        *--at = '-';
    put_padded(sink, how, at, (size_t)(digits + sizeof digits - at));
}

/* Reads flags, width and `l` after a percent sign; returns the place of the letter. */
static const char *read_conversion(const char *format, struct conversion *how)
{
    *how = (struct conversion){0};
    for (;; format++) {
        if (*format == '-')
            how->left = true;
        else if (*format == '0')
            how->zero = true;
        else
            break;
    }
    while (*format >= '0' && *format <= '9')
        how->width = how->width * 10 + (unsigned)(*format++ - '0');
    while (*format == 'l' || *format == 'z') {
        how->is_long = true;
        format++;
    }
    return format;
}

/* Takes one argument from the list and prints it as `letter` says. */
static void put_argument(struct sink *sink, const struct conversion *how, char letter,
                         va_list *list)
{
    switch (letter) {
    case 'd': {
        int64_t value = how->is_long ? va_arg(*list, int64_t) : va_arg(*list, int);
        uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;
        put_number(sink, how, magnitude, 10, value < 0);
        break;
    }
    case 'u':
    case 'x': {
        uint64_t value = how->is_long ? va_arg(*list, uint64_t) : va_arg(*list, unsigned);
        put_number(sink, how, value, letter == 'x' ? 16 : 10, false);
        break;
    }
    case 'p':
        sink->write(sink, "0x", 2);
        put_number(sink, how, (uintptr_t)va_arg(*list, void *), 16, false);
        break;
    case 's': {
        const char *text = va_arg(*list, const char *);
        put_padded(sink, how, text ? text : "(null)", strlen(text ? text : "(null)"));
        break;
    }
    case 'c': {
        char c = (char)va_arg(*list, int);
        put_padded(sink, how, &c, 1);
        break;
    }
    default: sink->write(sink, "%", 1);
    }
}

void print_list(struct sink *sink, const char *format, va_list arguments)
{
    va_list list;
    va_copy(list, arguments);
    while (*format) {
        const char *end = format;
        while (*end && *end != '%')
            end++;
        if (end != format)
            sink->write(sink, format, (size_t)(end - format));
        format = end;
        if (*format == 0)
            break;
        struct conversion how;
        format = read_conversion(format + 1, &how);
        put_argument(sink, &how, *format, &list);
        if (*format)
            format++;
    }
    va_end(list);
}

void print(struct sink *sink, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print_list(sink, format, list);
    va_end(list);
}

struct buffer_sink {
    struct sink sink;
    char *at, *end;
};

static void buffer_write(struct sink *sink, const char *text, size_t size_bytes)
{
    struct buffer_sink *buffer = (struct buffer_sink *)sink;
    for (; size_bytes && buffer->at < buffer->end; size_bytes--)
        *buffer->at++ = *text++;
}

void print_buffer_list(char *buffer, size_t size_bytes, const char *format, va_list list)
{
    struct buffer_sink sink = {{buffer_write}, buffer, buffer + size_bytes - 1};
    print_list(&sink.sink, format, list);
    *sink.at = 0;
}

void print_buffer(char *buffer, size_t size_bytes, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    print_buffer_list(buffer, size_bytes, format, list);
    va_end(list);
}
