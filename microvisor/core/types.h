/* Address types and small helpers that every file of the kernel uses. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi/septum.h"

typedef uint64_t vaddr_t; /* host virtual */
typedef uint64_t paddr_t; /* host physical */

#define PAGE_SIZE 4096ull
#define PAGE_SHIFT 12
#define PAGE_MASK (PAGE_SIZE - 1)

#define CPUS_MAX BOOT_CPUS_MAX

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define container_of(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* What compilers expect to find, and what the kernel uses of it (x86/string.c). */
void *memset(void *to, int byte, size_t count);
void *memcpy(void *restrict to, const void *restrict from, size_t count);
int memcmp(const void *left, const void *right, size_t count);

/* A failed assertion is a fault of the kernel, reported with a stack trace; debug builds only. */
#ifdef SEPTUM_DEBUG
_Noreturn void assertion_failed(const char *file, unsigned line, const char *what);
#define ASSERT(x) ((x) ? (void)0 : assertion_failed(__FILE__, __LINE__, #x))
#else
#define ASSERT(x) ((void)sizeof(x))
#endif
