/*
 * Root's own console. It waits for room, but not for long: a console server that does not take what it is told must
 * not hold root up. What then does not fit is lost, and that is said.
 */
#include "message.h"
#include "ring.h"
#include "root.h"
#include "serial.h"
#include "string.h"

#define PATIENCE_MS 100u

static struct {
    bool open;
    struct ring output, input;
    cap_slot_t server;
    uint64_t ring_bits;
    uint64_t lost;
    size_t gathered;
    char line[256];
    const char *typed; /* what stands in the monitor's line so far */
    bool prompted;     /* the monitor's prompt is the last thing that was said */
} console;

static struct {
    uint64_t written;
    char text[CONSOLE_KEPT_BYTES];
} kept;

static void ring_server(void)
{
    notification_signal(console.server, console.ring_bits);
}

/* The console server's priority is below root's: it gets the CPU while root waits. */
static bool wait_for_room(size_t size_bytes)
{
    for (unsigned i = 0; ring_room(&console.output) < size_bytes; i++) {
        if (i == PATIENCE_MS || console.output.broken)
            return false;
        ring_server();
        sleep_until(ticks() + milliseconds(1));
    }
    return true;
}

static void console_put(const char *text, size_t size_bytes)
{
    while (size_bytes) {
        size_t part = size_bytes < CONSOLE_OUTPUT_BYTES / 2 ? size_bytes : CONSOLE_OUTPUT_BYTES / 2;
        if (!wait_for_room(part)) {
            console.lost += size_bytes;
            return;
        }
        ring_write(&console.output, text, part);
        if (ring_writer_must_ring(&console.output))
            ring_server();
        text += part;
        size_bytes -= part;
    }
}

static void put_now(const char *text, size_t size_bytes)
{
    char note[64];
    if (!console.open) {
        serial.write(&serial, text, size_bytes);
        return;
    }
    if (console.lost && wait_for_room(sizeof note)) {
        print_buffer(note, sizeof note, "(%lu bytes were lost here)\n", console.lost);
        console.lost = 0;
        console_put(note, strlen(note));
    }
    console_put(text, size_bytes);
}

void console_flush(void)
{
    size_t length = console.gathered;
    console.gathered = 0;
    if (length)
        put_now(console.line, length);
}

/* Gathers lines, so that one does not cost a message for each of its words. */
static void console_write(struct sink *sink, const char *text, size_t size_bytes)
{
    (void)sink;
    for (size_t i = 0; i < size_bytes; i++) {
        console.line[console.gathered++] = text[i];
        if (text[i] == '\n' || console.gathered == sizeof console.line)
            console_flush();
    }
}
struct sink console_sink = {console_write};

void say(const char *format, ...)
{
    char text[512];
    va_list list;
    va_start(list, format);
    print_buffer_list(text, sizeof text, format, list);
    va_end(list);
    const char *typed = console.typed ? console.typed : "";
    if (console.prompted || *typed)
        console_write(&console_sink, "\n", 1);
    console.prompted = false;
    console_write(&console_sink, text, strlen(text));
    for (const char *c = text; *c; c++)
        kept.text[kept.written++ % CONSOLE_KEPT_BYTES] = *c;
    console_write(&console_sink, typed, strlen(typed));
    if (*typed)
        console_flush();
}

const char *console_kept(uint64_t *written)
{
    *written = kept.written;
    return kept.text;
}

void console_typed(const char *line)
{
    console.typed = line;
}

void console_prompt(const char *prompt)
{
    console_write(&console_sink, prompt, strlen(prompt));
    console_flush();
    console.prompted = true;
}

void console_use(void *channel, cap_slot_t server_notification, uint64_t ring_bits)
{
    console_flush();
    console.open = channel != NULL;
    if (!channel)
        return;
    char *memory = channel;
    ring_join_writer(&console.output, memory + CONSOLE_OUTPUT_OFFSET, CONSOLE_OUTPUT_BYTES);
    ring_join_reader(&console.input, memory + CONSOLE_INPUT_OFFSET, CONSOLE_INPUT_BYTES);
    console.server = server_notification;
    console.ring_bits = ring_bits;
}

size_t console_input(char *data, size_t size_bytes)
{
    if (!console.open)
        return 0;
    size_t n = ring_read(&console.input, data, size_bytes);
    if (n)
        console.prompted = false; /* what is typed belongs to it */
    if (ring_reader_must_ring(&console.input))
        ring_server();
    return n;
}

bool console_input_waits(void)
{
    return !console.open || console.input.broken || ring_reader_waits(&console.input);
}
