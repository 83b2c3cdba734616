/*
 * The line ends in a terminal: one console is shown, or all of them line by line, and keys behind Ctrl-A
 * choose which. What is not shown is kept in each console's history.
 */
#include "message.h"
#include "server.h"
#include "string.h"
#include "task.h"

enum { PREFIX_KEY = 1, ESCAPE = 27, PAGE_LINES = 22, REDRAW_LINES = 22, DIGITS = 9 };

static struct server *owner(struct mix *mix, bool merged);

/* ---- what is shown --------------------------------------------------------------------------- */

static void put(struct server *server, const char *text, size_t size_bytes)
{
    while (size_bytes) {
        size_t room = uart_room(&server->uart), n = size_bytes < room ? size_bytes : room;
        uart_queue(&server->uart, text, n);
        text += n, size_bytes -= n;
        if (size_bytes)
            uart_send(&server->uart);
    }
}

static void say(struct server *server, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say(struct server *server, const char *format, ...)
{
    char text[256];
    va_list list;
    va_start(list, format);
    print_buffer_list(text, sizeof text, format, list);
    va_end(list);
    put(server, text, strlen(text));
}

static void put_merged(struct mix *mix, const char *text, size_t size_bytes)
{
    put(owner(mix, true), text, size_bytes);
}

/* The system console: into its history, and to the screen if it is the one that is shown. */
static void put_system(struct mix *mix, const char *text, size_t size_bytes)
{
    struct server *server = owner(mix, false);
    history_add(&server->terminal.system, text, size_bytes);
    const struct terminal *terminal = &server->terminal;
    if (terminal->focus == FOCUS_SYSTEM && !terminal->merged && !terminal->scrolling)
        put(server, text, size_bytes);
}

static struct server *owner(struct mix *mix, bool merged)
{
    size_t offset = merged ? offsetof(struct server, terminal.merged_lines)
                           : offsetof(struct server, terminal.system_lines);
    return (struct server *)((char *)mix - offset);
}

void terminal_output(struct server *server, unsigned number, const char *data, size_t size_bytes)
{
    struct terminal *terminal = &server->terminal;
    struct client *client = &server->clients[number];
    bool system = client_is_system(client);
    if (system)
        mix_write(&terminal->system_lines, number,
                  client->kind == TASK_CHANNEL_LOG ? client->prefix : "", data, size_bytes);
    else
        history_add(client->history, data, size_bytes);
    if (terminal->scrolling)
        return;
    if (terminal->merged)
        mix_write(&terminal->merged_lines, number, client->prefix, data, size_bytes);
    else if (!system && terminal->focus == number)
        put(server, data, size_bytes);
}

/* ---- the consoles as a person counts them: 0 the system's, 1 and up the guests' ---------------- */

/* The client of console n; FOCUS_SYSTEM for 0 and where there is none. */
static unsigned console_client(const struct server *server, unsigned n)
{
    for (unsigned i = 0; i < CONSOLE_CLIENTS_MAX && n; i++) {
        const struct client *client = &server->clients[i];
        if (client->kind == TASK_CHANNEL_CONSOLE && !client_is_system(client) && --n == 0)
            return i;
    }
    return FOCUS_SYSTEM;
}

static unsigned console_count(const struct server *server)
{
    unsigned n = 0;
    while (console_client(server, n + 1) != FOCUS_SYSTEM)
        n++;
    return n;
}

static const char *focus_name(const struct server *server)
{
    unsigned focus = server->terminal.focus;
    return focus == FOCUS_SYSTEM ? CONSOLE_SYSTEM : server->clients[focus].name;
}

static const struct history *focus_history(const struct server *server)
{
    unsigned focus = server->terminal.focus;
    return focus == FOCUS_SYSTEM ? &server->terminal.system : server->clients[focus].history;
}

static void put_history(struct server *server, uint64_t from, uint64_t to)
{
    const struct history *history = focus_history(server);
    for (; from < to; from++) {
        char c = history_at(history, from);
        put(server, &c, 1);
    }
}

/* Shows the focus: its last lines, as if one had looked at it all the time. */
static void redraw(struct server *server)
{
    const struct history *history = focus_history(server);
    say(server, "\r\n\033[7m %s \033[0m  Ctrl-A ? for help\r\n", focus_name(server));
    put_history(server, history_line_back(history, history->written, REDRAW_LINES),
                history->written);
}

static void focus_on(struct server *server, unsigned client)
{
    server->terminal.focus = client;
    server->terminal.merged = false;
    redraw(server);
}

static void focus_next(struct server *server)
{
    unsigned n = 0;
    if (server->terminal.focus != FOCUS_SYSTEM)
        while (console_client(server, n) != server->terminal.focus)
            n++;
    focus_on(server, console_client(server, n + 1));
}

static void merge(struct server *server)
{
    server->terminal.merged = true;
    server->terminal.merged_lines.inside_a_line = false;
    say(server, "\r\n\033[7m all consoles \033[0m  keys go to %s; Ctrl-A ? for help\r\n",
        focus_name(server));
}

static void list(struct server *server)
{
    say(server, "\r\n");
    for (unsigned n = 0; n <= console_count(server); n++) {
        unsigned number = console_client(server, n);
        const struct client *client = number == FOCUS_SYSTEM ? NULL : &server->clients[number];
        say(server, "  %u  %s%s%s\r\n", n, client ? client->name : CONSOLE_SYSTEM,
            client && !client->attached ? " (off)" : "",
            number == server->terminal.focus ? "  <- keys go here" : "");
    }
}

static void help(struct server *server)
{
    say(server,
        "\r\n  Ctrl-A 1 .. 9   a guest's console        Ctrl-A 0   the system's: type help "
        "there\r\n"
        "  Ctrl-A n        the next console         Ctrl-A m   all consoles, line by line\r\n");
    say(server,
        "  Ctrl-A l        list the consoles        Ctrl-A b   look back (b f: page, q: leave)\r\n"
        "  Ctrl-A a        send a Ctrl-A            Ctrl-A q   end (where septum run started "
        "it)\r\n");
}

/* ---- looking back ---------------------------------------------------------------------------- */

static void show_page(struct server *server, uint64_t end)
{
    const struct history *history = focus_history(server);
    uint64_t from = history_line_back(history, end, PAGE_LINES);
    server->terminal.scroll = history_line_forward(history, from, PAGE_LINES);
    say(server, "\033[2J\033[H");
    put_history(server, from, server->terminal.scroll);
    say(server, "\r\n\033[7m %s, looking back: b back, f forward, q leave \033[0m",
        focus_name(server));
}

static void scroll_key(struct server *server, uint8_t key)
{
    const struct history *history = focus_history(server);
    struct terminal *terminal = &server->terminal;
    if (key == 'b') {
        show_page(server, history_line_back(history, terminal->scroll, PAGE_LINES));
    } else if (key == 'f' || key == ' ') {
        show_page(server, history_line_forward(history, terminal->scroll, PAGE_LINES));
    } else if (key == 'q' || key == ESCAPE || key == '\r') {
        terminal->scrolling = false;
        redraw(server);
    }
}

static void scroll_start(struct server *server)
{
    server->terminal.scrolling = true;
    server->terminal.merged = false;
    const struct history *history = focus_history(server);
    show_page(server, history_line_back(history, history->written, PAGE_LINES));
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void type(struct server *server, uint8_t key)
{
    unsigned focus = server->terminal.focus;
    if (focus != FOCUS_SYSTEM) {
        client_input(server, focus, &key, 1);
        return;
    }
    for (unsigned i = 0; i < CONSOLE_CLIENTS_MAX; i++)
        if (server->clients[i].kind == TASK_CHANNEL_CONSOLE &&
            client_is_system(&server->clients[i]))
            client_input(server, i, &key, 1);
}

static void command_key(struct server *server, uint8_t key)
{
    if (key >= '0' && key <= '0' + DIGITS) {
        unsigned client = console_client(server, key - '0');
        if (client != FOCUS_SYSTEM || key == '0')
            focus_on(server, client);
    } else if (key == 'n') {
        focus_next(server);
    } else if (key == 'm') {
        merge(server);
    } else if (key == 'l') {
        list(server);
    } else if (key == 'b') {
        scroll_start(server);
    } else if (key == 'a' || key == PREFIX_KEY) {
        type(server, PREFIX_KEY);
    } else {
        help(server);
    }
}

void terminal_input(struct server *server, const uint8_t *data, size_t size_bytes)
{
    struct terminal *terminal = &server->terminal;
    for (size_t i = 0; i < size_bytes; i++) {
        bool command = terminal->prefixed;
        terminal->prefixed = false;
        if (terminal->scrolling)
            scroll_key(server, data[i]);
        else if (command)
            command_key(server, data[i]);
        else if (data[i] == PREFIX_KEY)
            terminal->prefixed = true;
        else
            type(server, data[i]);
    }
}

void terminal_attached(struct server *server, unsigned number)
{
    const struct client *client = &server->clients[number];
    if (server->terminal.focus == FOCUS_SYSTEM && server->terminal.merged &&
        !client_is_system(client))
        server->terminal.focus = number;
}

void terminal_start(struct server *server)
{
    struct terminal *terminal = &server->terminal;
    terminal->focus = FOCUS_SYSTEM;
    terminal->merged = true;
    terminal->merged_lines = (struct mix){.writer = MIX_NOBODY, .put = put_merged};
    terminal->system_lines = (struct mix){.writer = MIX_NOBODY, .put = put_system};
    help(server);
}
