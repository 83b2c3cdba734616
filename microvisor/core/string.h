/* What compilers expect to find, and what the kernel uses of it. */
#pragma once

#include <stddef.h>

void *memset(void *to, int byte, size_t count);
void *memcpy(void *restrict to, const void *restrict from, size_t count);
int memcmp(const void *left, const void *right, size_t count);
