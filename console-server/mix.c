#include "mix.h"

#include "string.h"

static void end_line(struct mix *mix)
{
    mix->put(mix, "\r\n", 2);
    mix->inside_a_line = false;
}

void mix_write(struct mix *mix, unsigned writer, const char *prefix, const char *text,
               size_t size_bytes)
{
    if (mix->inside_a_line && mix->writer != writer)
        end_line(mix);
    mix->writer = writer;
    for (size_t i = 0; i < size_bytes;) {
        size_t start = i;
        while (i < size_bytes && text[i] != '\n' && text[i] != '\r')
            i++;
        bool ends = i < size_bytes && text[i] == '\n';
        if ((i > start || ends) && !mix->inside_a_line) {
            mix->put(mix, prefix, strlen(prefix));
            mix->inside_a_line = true;
        }
        mix->put(mix, text + start, i - start);
        if (ends)
            end_line(mix);
        i++;
    }
}
