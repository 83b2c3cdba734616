#include "devices/line_log.h"

void line_log_init(struct line_log *log, struct sink *sink, const char *name)
{
    *log = (struct line_log){.log = sink, .name = name};
}

static void finish(struct line_log *log)
{
    log->line[log->count] = 0;
    print(log->log, "%s: %s\n", log->name, log->line);
    log->count = 0;
}

void line_log_put(struct line_log *log, uint8_t character)
{
    if (character == '\r')
        return;
    if (character == '\n') {
        finish(log);
        return;
    }
    log->line[log->count++] = (char)(character < ' ' || character > '~' ? '.' : character);
    if (log->count == LINE_LOG_BYTES - 1)
        finish(log);
}
