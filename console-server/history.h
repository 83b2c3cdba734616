/* The last bytes of a console, for redrawing and for scrolling back. */
#ifndef CONSOLE_SERVER_HISTORY_H
#define CONSOLE_SERVER_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#define HISTORY_BYTES 16384u

struct history {
    uint64_t written; /* in all; what is kept are the last HISTORY_BYTES of it */
    char data[HISTORY_BYTES];
};

void history_add(struct history *history, const void *data, size_t size_bytes);
/* The byte at a position (counted from the very first) that is still kept. */
char history_at(const struct history *history, uint64_t position);
/* The first position that is still kept. */
uint64_t history_begin(const struct history *history);
/* Where the line begins that is `lines` lines above the one that holds `position`; at most history_begin. */
uint64_t history_line_back(const struct history *history, uint64_t position, unsigned lines);
/* Where the line begins that is `lines` lines further down; at most `written`. */
uint64_t history_line_forward(const struct history *history, uint64_t position, unsigned lines);

#endif
