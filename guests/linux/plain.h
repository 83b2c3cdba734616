/*
 * For programs without a C library: system calls, a line of output, the entry. Each program is one C file that includes
 * this once.
 */
#ifndef GUESTS_LINUX_PLAIN_H
#define GUESTS_LINUX_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

static inline long system_call6(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "+a"(number)
                     : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return number;
}

static inline long system_call(long number, long a, long b, long c, long d)
{
    return system_call6(number, a, b, c, d, 0, 0);
}

_Noreturn static void finish(int status)
{
    for (;;)
        system_call(SYS_exit_group, status, 0, 0, 0);
}

static inline uint64_t ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

/* ---- a line of output, written at once ------------------------------------------------------- */

static char line[256];
static size_t length;

static inline void put(const char *text)
{
    while (*text && length < sizeof line)
        line[length++] = *text++;
}

static inline void put_number(uint64_t number)
{
    char digits[21];
    int i = 20;
    digits[i] = 0;
    do {
        digits[--i] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    put(" ");
    put(digits + i);
}

static inline void end_line(void)
{
    put("\n");
    for (size_t done = 0; done < length;) {
        long n = system_call(SYS_write, 1, (long)(line + done), (long)(length - done), 0);
        if (n <= 0)
            finish(1);
        done += (size_t)n;
    }
    length = 0;
}

static inline bool same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

static inline uint64_t number_of(const char *text)
{
    uint64_t n = 0;
    while (text && *text >= '0' && *text <= '9')
        n = n * 10 + (uint64_t)(*text++ - '0');
    return n;
}

/* The program's entry: calls `function` with the initial stack (count, arguments, NULL, environment, NULL). */
#define PLAIN_START(function)                                                            \
    __asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n " \
            "call " #function "\n");

#endif
