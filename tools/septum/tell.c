/* Words to the person in front of the tool, and what can't go on. */
#include "septum.h"

#include <stdarg.h>
#include <stdlib.h>

static void tell_list(const char *format, va_list list)
{
    char text[2048];
    vsnprintf(text, sizeof text, format, list);
    fprintf(stderr, "septum: %s\n", text);
}

void tell(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    tell_list(format, list);
    va_end(list);
}

void give_up(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    tell_list(format, list);
    va_end(list);
    exit(END_FAILED);
}

void *allocate(size_t size_bytes)
{
    void *memory = calloc(1, size_bytes ? size_bytes : 1);
    if (!memory)
        give_up("this machine has no %zu bytes of memory left. End other programs.", size_bytes);
    return memory;
}
