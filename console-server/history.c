#include "history.h"

void history_add(struct history *history, const void *data, size_t size_bytes)
{
    const char *bytes = data;
    for (size_t i = 0; i < size_bytes; i++)
        history->data[history->written++ % HISTORY_BYTES] = bytes[i];
}

char history_at(const struct history *history, uint64_t position)
{
    return history->data[position % HISTORY_BYTES];
}

uint64_t history_begin(const struct history *history)
{
    return history->written > HISTORY_BYTES ? history->written - HISTORY_BYTES : 0;
}

uint64_t history_line_back(const struct history *history, uint64_t position, unsigned lines)
{
    uint64_t begin = history_begin(history);
    while (position > begin) {
        if (history_at(history, position - 1) == '\n' && lines-- == 0)
            break;
        position--;
    }
    return position > begin ? position : begin;
}

uint64_t history_line_forward(const struct history *history, uint64_t position, unsigned lines)
{
    uint64_t begin = history_begin(history);
    if (position < begin)
        position = begin;
    while (lines && position < history->written)
        lines -= history_at(history, position++) == '\n';
    return position;
}
