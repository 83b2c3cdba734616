/* What a guest says character by character, put into the system log line by line. */
#ifndef VMM_DEVICES_LINE_LOG_H
#define VMM_DEVICES_LINE_LOG_H

#include "print.h"

#include <stdint.h>

#define LINE_LOG_BYTES 120u

struct line_log {
    struct sink *log;
    const char *name; /* before every line */
    unsigned count;
    char line[LINE_LOG_BYTES];
};

void line_log_init(struct line_log *log, struct sink *sink, const char *name);
/* What can't be printed becomes a dot; a line that is too long goes on as the next. */
void line_log_put(struct line_log *log, uint8_t character);

#endif
