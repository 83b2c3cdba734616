#include "console.h"

#include "protocol/console.h"

#include "task.h"

static size_t console_write(struct character_backend *backend, const void *data, size_t size_bytes)
{
    struct console *console = (struct console *)backend;
    size_t done = 0;
    if (!console->open)
        return size_bytes;
    do
        done += ring_write(&console->output, (const char *)data + done, size_bytes - done);
    while (done < size_bytes && !ring_writer_waits(&console->output));
    if (ring_writer_must_ring(&console->output))
        task_channel_ring(console->channel);
    return done;
}

static size_t console_read(struct character_backend *backend, void *data, size_t size_bytes)
{
    struct console *console = (struct console *)backend;
    size_t done = 0;
    if (!console->open)
        return 0;
    do
        done += ring_read(&console->input, (char *)data + done, size_bytes - done);
    while (done < size_bytes && !ring_reader_waits(&console->input));
    if (done && ring_reader_must_ring(&console->input))
        task_channel_ring(console->channel);
    return done;
}

void console_init(struct console *console)
{
    *console = (struct console){.backend = {console_write, console_read},
                                .channel = task_channel_find(TASK_CHANNEL_CONSOLE)};
    if (console->channel == task->channel_count)
        return;
    char *memory = (char *)task->channels[console->channel].address;
    ring_join_writer(&console->output, memory + CONSOLE_OUTPUT_OFFSET, CONSOLE_OUTPUT_BYTES);
    ring_join_reader(&console->input, memory + CONSOLE_INPUT_OFFSET, CONSOLE_INPUT_BYTES);
    console->open = true;
    /* The server rings when something is typed, also before the guest has looked for it. */
    ring_reader_waits(&console->input);
}
