/*
 * Several writers in one stream of lines. Each line begins with its writer's prefix; if a writer comes
 * while another's line is not finished, that line is ended first.
 */
#ifndef CONSOLE_SERVER_MIX_H
#define CONSOLE_SERVER_MIX_H

#include <stdbool.h>
#include <stddef.h>

#define MIX_NOBODY (~0u)

struct mix {
    unsigned writer; /* who wrote last */
    bool inside_a_line;
    /* Where it goes. */
    void (*put)(struct mix *mix, const char *text, size_t size_bytes);
};

/* What mix_write makes of size_bytes is at most so long. */
#define MIX_LONGEST(size_bytes, prefix_length) (((size_bytes) + 1) * ((prefix_length) + 2))

/* prefix: "" for none. Carriage returns are dropped: the lines' ends are ours ("\r\n"). */
void mix_write(struct mix *mix, unsigned writer, const char *prefix, const char *text,
               size_t size_bytes);

#endif
