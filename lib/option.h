/* Words of the kernel's command line, which its first task reads. */
#ifndef LIB_OPTION_H
#define LIB_OPTION_H

#include <stdbool.h>
#include <stddef.h>

/* The value of the first word `name=value` of the line, cut to what fits; "" if the word is `name` alone. False: none. */
bool option_find(const char *line, const char *name, char *value, size_t size_bytes);

#endif
