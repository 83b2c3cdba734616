/* Words of the kernel's command line. */
#include "option.h"

#include "string.h"

bool option_find(const char *line, const char *name, char *value, size_t size_bytes)
{
    size_t length = strlen(name);
    for (const char *at = line; *at;) {
        if (strncmp(at, name, length) == 0 &&
            (at[length] == '=' || at[length] == ' ' || !at[length])) {
            size_t n = 0;
            for (at += length + (at[length] == '='); *at && *at != ' ' && n + 1 < size_bytes; at++)
                value[n++] = *at;
            value[n] = 0;
            return true;
        }
        while (*at && *at != ' ')
            at++;
        while (*at == ' ')
            at++;
    }
    return false;
}
