/*
 * The framed serial line (protocol/console.h), taken apart into lines of each console. Frames
 * carry lengths, so no guest can write anything that is taken for another's.
 */
#include "septum.h"

#include "protocol/console.h"

#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 4096u
#define CLIENTS        256u
#define SYSTEM         0u /* what is outside of frames: the kernel and root */
#define FRAME_BODY_MAX 255u

/* One that writes: a partition's console, or a part of the system log. */
struct speaker {
    char name[TASK_NAME_MAX];
    bool is_log; /* its lines belong to the system log, with its name before them */
    char line[LINE_MAX_BYTES];
    size_t length;
};

struct streams {
    struct expect *expects;
    unsigned expect_count;
    FILE *output;
    struct speaker *speakers[CLIENTS]; /* by client + 1 */
    uint8_t header[3];                 /* of the present frame, as far as it is there */
    unsigned header_bytes;
    uint8_t body[FRAME_BODY_MAX];
    unsigned body_bytes;
};

static struct speaker *speaker(struct streams *streams, unsigned number)
{
    if (!streams->speakers[number]) {
        streams->speakers[number] = allocate(sizeof(struct speaker));
        strcpy(streams->speakers[number]->name, CONSOLE_SYSTEM);
    }
    return streams->speakers[number];
}

struct streams *streams_new(struct expect *expects, unsigned expect_count, FILE *output)
{
    struct streams *streams = allocate(sizeof *streams);
    streams->expects = expects;
    streams->expect_count = expect_count;
    streams->output = output;
    return streams;
}

static void compare(struct streams *streams, const struct speaker *from)
{
    const char *console = from->is_log ? CONSOLE_SYSTEM : from->name;
    for (unsigned i = 0; i < streams->expect_count; i++) {
        struct expect *expect = &streams->expects[i];
        expect->seen |=
            strcmp(expect->partition, console) == 0 && strstr(from->line, expect->text) != NULL;
    }
}

/* Control characters are shown, not sent: a guest shall not paint on this terminal. */
static void print_line(struct streams *streams, const struct speaker *from)
{
    if (from->is_log)
        fprintf(streams->output, CONSOLE_SYSTEM "| %s: ", from->name);
    else
        fprintf(streams->output, "%s| ", from->name);
    for (const char *c = from->line; *c; c++)
        if ((unsigned char)*c >= ' ' || *c == '\t')
            fputc(*c, streams->output);
        else
            fprintf(streams->output, "^%c", *c + '@');
    fputc('\n', streams->output);
}

static void end_line(struct streams *streams, struct speaker *from)
{
    from->line[from->length] = 0;
    compare(streams, from);
    print_line(streams, from);
    from->length = 0;
}

static void take_text(struct streams *streams, unsigned number, const uint8_t *data,
                      size_t size_bytes)
{
    struct speaker *from = speaker(streams, number);
    for (size_t i = 0; i < size_bytes; i++) {
        if (data[i] == '\n' || from->length + 1 == LINE_MAX_BYTES)
            end_line(streams, from);
        if (data[i] != '\n' && data[i] != '\r' && data[i] != 0)
            from->line[from->length++] = (char)data[i];
    }
    /* A prompt is seen before its line ends. */
    from->line[from->length] = 0;
    compare(streams, from);
}

static void take_name(struct streams *streams)
{
    if (streams->body_bytes < 2)
        return;
    struct speaker *named = speaker(streams, streams->body[0]);
    size_t length = streams->body_bytes - 2;
    if (length >= sizeof named->name)
        length = sizeof named->name - 1;
    if (named->length)
        end_line(streams, named);
    memcpy(named->name, streams->body + 2, length);
    named->name[length] = 0;
    named->is_log = streams->body[1] == TASK_CHANNEL_LOG;
}

void streams_take(struct streams *streams, const uint8_t *data, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++) {
        if (streams->header_bytes == 0 && data[i] != CONSOLE_FRAME) {
            take_text(streams, SYSTEM, &data[i], 1);
            continue;
        }
        if (streams->header_bytes < sizeof streams->header)
            streams->header[streams->header_bytes++] = data[i];
        else
            streams->body[streams->body_bytes++] = data[i];
        if (streams->header_bytes < sizeof streams->header ||
            streams->body_bytes < streams->header[2])
            continue;
        if (streams->header[1] == CONSOLE_FRAME_NAME)
            take_name(streams);
        else
            take_text(streams, streams->header[1], streams->body, streams->body_bytes);
        streams->header_bytes = streams->body_bytes = 0;
    }
    fflush(streams->output);
}

void streams_end(struct streams *streams)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        if (streams->speakers[i] && streams->speakers[i]->length)
            end_line(streams, streams->speakers[i]);
    fflush(streams->output);
}

bool streams_all_seen(const struct streams *streams)
{
    for (unsigned i = 0; i < streams->expect_count; i++)
        if (!streams->expects[i].seen)
            return false;
    return true;
}
