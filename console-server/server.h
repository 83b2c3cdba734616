/*
 * The console server's state. One thread does everything; `server` in main.c is the only instance.
 *
 * Output: client rings -> take_output (client.c) -> frames.c or terminal.c -> the UART's queue.
 * Input: UART -> frames.c or terminal.c -> client_input (client.c) -> a client's ring.
 */
#ifndef CONSOLE_SERVER_SERVER_H
#define CONSOLE_SERVER_SERVER_H

#include "history.h"
#include "mix.h"
#include "protocol/console.h"
#include "ring.h"
#include "uart.h"

struct client {
    bool attached;
    bool named;    /* the host tool has been told its name */
    uint32_t kind; /* enum task_channel_kind; TASK_CHANNEL_NONE: never attached */
    char name[TASK_NAME_MAX];
    char prefix[TASK_NAME_MAX + 2];
    struct ring output, input;
    uint64_t ring_bits;
    uint64_t input_dropped;
    struct history *history;
};

struct terminal {
    unsigned focus; /* the client that is typed to, and shown unless `merged`; FOCUS_SYSTEM */
    bool merged;    /* all consoles at once, each line with its name */
    bool prefixed;  /* the prefix key was the last one */
    bool scrolling; /* looking back: nothing else is shown */
    uint64_t
        scroll; /* position in the focus's history: the first line that is not shown any more */
    struct mix merged_lines, system_lines;
    struct history system; /* the system console: root's words and all logs */
};
#define FOCUS_SYSTEM (~0u)

/* Where in a frame the host tool's input is. */
struct frame_input {
    enum { FRAME_OUTSIDE, FRAME_CHANNEL, FRAME_LENGTH, FRAME_DATA } state;
    unsigned client, left;
};

struct server {
    bool framed;
    struct uart uart;
    struct client clients[CONSOLE_CLIENTS_MAX];
    uint64_t ready; /* bit n: client n may have output */
    unsigned next;  /* whose turn it is */
    bool flushing;  /* a CONSOLE_FLUSH waits in FLUSH_REPLY_SLOT */
    struct terminal terminal;
    struct frame_input frame_input;
};

/* ---- client.c -------------------------------------------------------------------------------- */

/* Messages of root; each returns an enum console_error. */
unsigned client_attach(struct server *server, uint64_t number, uint64_t kind, uint64_t ring_bits,
                       const uint64_t name[4]);
unsigned client_detach(struct server *server, uint64_t number);

/* Moves output of those clients that are ready, fairly, as long as the UART's queue takes it. */
void take_output(struct server *server);
/* Gives typed bytes to a client; what its ring does not take is dropped and counted. */
void client_input(struct server *server, unsigned number, const void *data, size_t size_bytes);
/* Part of the system console: root's, and all logs. */
bool client_is_system(const struct client *client);

/* ---- frames.c -------------------------------------------------------------------------------- */

void frames_output(struct server *server, unsigned number, const char *data, size_t size_bytes);
void frames_input(struct server *server, const uint8_t *data, size_t size_bytes);

/* ---- terminal.c ------------------------------------------------------------------------------ */

void terminal_start(struct server *server);
/* A new console, or one that is back: the first guest's gets the keyboard. */
void terminal_attached(struct server *server, unsigned number);
void terminal_output(struct server *server, unsigned number, const char *data, size_t size_bytes);
void terminal_input(struct server *server, const uint8_t *data, size_t size_bytes);

#endif
