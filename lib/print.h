/* Formatted printing to a sink: %s %c %d %u %x with l, width, - and 0; %p; %%. */
#ifndef LIB_PRINT_H
#define LIB_PRINT_H

#include <stdarg.h>
#include <stddef.h>

/* Where text goes. An instance of a driver or buffer embeds it. */
struct sink {
    void (*write)(struct sink *sink, const char *text, size_t size_bytes);
};

void print(struct sink *sink, const char *format, ...) __attribute__((format(printf, 2, 3)));
void print_list(struct sink *sink, const char *format, va_list list);

/* Into a buffer of size_bytes, always terminated; what does not fit is dropped. */
void print_buffer(char *buffer, size_t size_bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void print_buffer_list(char *buffer, size_t size_bytes, const char *format, va_list list);

#endif
