/*
 * Strings and memory, by the processor's string instructions where they are long. Their counts are early-clobbered (&): else a
 * compiler that knows both to be equal, as of 9 bytes, puts them into one register, and the rest is lost.
 */
#include "string.h"

#include <stdint.h>

void *memcpy(void *restrict to, const void *restrict from, size_t size_bytes)
{
    void *at = to;
    size_t words = size_bytes / 8, rest = size_bytes % 8;
    __asm__ volatile("rep movsq\n\t"
                     "mov %3, %%rcx\n\t"
                     "rep movsb"
                     : "+&D"(at), "+&S"(from), "+&c"(words)
                     : "r"(rest)
                     : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t size_bytes)
{
    if ((uintptr_t)to - (uintptr_t)from >= size_bytes)
        return memcpy(to, from, size_bytes); /* no byte is overwritten before it is read */
    void *last_to = (char *)to + size_bytes - 1;
    const void *last_from = (const char *)from + size_bytes - 1;
    __asm__ volatile("std\n\t"
                     "rep movsb\n\t"
                     "cld"
                     : "+D"(last_to), "+S"(last_from), "+c"(size_bytes)
                     :
                     : "memory");
    return to;
}

void *memset(void *to, int byte, size_t size_bytes)
{
    void *at = to;
    size_t words = size_bytes / 8, rest = size_bytes % 8;
    __asm__ volatile("rep stosq\n\t"
                     "mov %2, %%rcx\n\t"
                     "rep stosb"
                     : "+&D"(at), "+&c"(words)
                     : "r"(rest), "a"((uint8_t)byte * 0x0101010101010101ull)
                     : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t size_bytes)
{
    const unsigned char *x = a, *y = b;
    for (; size_bytes; size_bytes--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *text)
{
    const char *end = text;
    while (*end)
        end++;
    return (size_t)(end - text);
}

int strcmp(const char *a, const char *b)
{
    return strncmp(a, b, SIZE_MAX);
}

int strncmp(const char *a, const char *b, size_t size_bytes)
{
    for (; size_bytes; size_bytes--, a++, b++)
        if (*a != *b || *a == 0)
            return (unsigned char)*a - (unsigned char)*b;
    return 0;
}

bool glob_match(const char *pattern, const char *name)
{
    for (; *pattern; pattern++, name++) {
        if (*pattern == '*') {
            do {
                if (glob_match(pattern + 1, name))
                    return true;
            } while (*name++);
            return false;
        }
        if (*name == 0 || (*pattern != '?' && *pattern != *name))
            return false;
    }
    return *name == 0;
}
