/* The console server: shares the machine's serial port out among guests, the monitor and logs. */
#include "message.h"
#include "serve.h"
#include "server.h"
#include "slots.h"
#include "string.h"
#include "task.h"

/* What came in on the line is taken in pieces of this size. */
enum { INPUT_BYTES = 64 };

static struct server server;

static void open_windows(void)
{
    struct receive_window *windows = thread_buffer()->windows;
    windows[SPACE_HOST] = (struct receive_window){
        CHANNELS_BASE, CONSOLE_CLIENTS_MAX * CONSOLE_CHANNEL_BYTES / SEPTUM_PAGE_SIZE};
    windows[SPACE_CAPABILITY] = (struct receive_window){SLOT_CLIENT, CONSOLE_CLIENTS_MAX};
}

static void line_interrupt(void)
{
    uint8_t data[INPUT_BYTES];
    size_t n;
    /* First: an edge from here on is not one too many. */
    sys_control(TASK_SLOT_INTERRUPT, CONTROL_INTERRUPT_ACK, 0, 0, 0, 0);
    while ((n = uart_receive(&server.uart, data, sizeof data)) > 0) {
        if (server.framed)
            frames_input(&server, data, n);
        else
            terminal_input(&server, data, n);
    }
}

/* Lets out what can go out, and answers a flush once all is out. */
static void pump(void)
{
    take_output(&server);
    uart_send(&server.uart);
    if (server.flushing && !server.ready && uart_idle(&server.uart)) {
        server.flushing = false;
        message_send(SLOT_FLUSH_REPLY, TAG(CONSOLE_OK, 0, 0), NULL, DEADLINE_POLL);
    }
}

/* A request of root. True: it is to be answered with *error now. */
static bool request(const struct message *message, unsigned *error)
{
    switch (TAG_LABEL(message->tag)) {
    case CONSOLE_ATTACH: {
        uint64_t name[4];
        memcpy(name, &thread_buffer()->words[4], sizeof name);
        bool complete = TAG_WORDS(message->tag) == 8 && TAG_ITEMS(message->tag) == 2;
        *error = complete
                     ? client_attach(&server, message->w[0], message->w[1], message->w[2], name)
                     : CONSOLE_BAD_REQUEST;
        return true;
    }
    case CONSOLE_DETACH: *error = client_detach(&server, message->w[0]); return true;
    case CONSOLE_FLUSH:
        if (server.flushing ||
            sys_control(0, CONTROL_THREAD_SAVE_REPLY, SLOT_FLUSH_REPLY, 0, 0, 0).status !=
                STATUS_OK) {
            *error = CONSOLE_BAD_REQUEST;
            return true;
        }
        server.flushing = true;
        server.ready |= (1ull << CONSOLE_CLIENTS_MAX) - 1;
        return false;
    default: *error = CONSOLE_BAD_REQUEST; return true;
    }
}

void program_start(const void *argument)
{
    task_init(argument);
    const struct console_start *start = (const struct console_start *)task->role;
    server.framed = start->framed;
    uart_start(&server.uart, (uint16_t)start->port);
    if (!server.framed)
        terminal_start(&server);
    open_windows();

    struct serve serve;
    serve_begin(&serve, request);
    for (;;) {
        pump();
        /* The transmitter's last byte has no interrupt of its own: who waits for it looks again. */
        uint64_t deadline = server.flushing ? ticks() + task->tsc_khz : DEADLINE_NEVER;
        uint64_t bits = serve_wait(&serve, deadline);
        server.ready |= bits & ((1ull << CONSOLE_CLIENTS_MAX) - 1);
        if (bits & TASK_BIT_INTERRUPT(0))
            line_interrupt();
    }
}
