/*
 * A greeting by HTTP (RFC 9112) as a native task: whoever asks at port 8000 gets a line of text. Before that it is a client
 * itself, if the partition file says `arguments "HOST:PORT"`: it looks the name up, fetches the first page there, and says
 * what the answer's first line was.
 */
#include "message.h"
#include "socket.h"
#include "string.h"
#include "task.h"

enum { PORT = 8000, WEB_PORT = 80, PATIENCE_MS = 10000, RETRY_MS = 200 };

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 24\r\n"
                             "Connection: close\r\n\r\nHello from a Septum task";

/* "HOST:PORT", or "HOST". */
static uint16_t split(const char *text, char *host, size_t size_bytes)
{
    size_t n = 0;
    uint16_t port = 0;
    for (; *text && *text != ':' && n + 1 < size_bytes; text++)
        host[n++] = *text;
    host[n] = 0;
    while (*text && *++text >= '0' && *text <= '9')
        port = (uint16_t)(port * 10 + *text - '0');
    return port ? port : WEB_PORT;
}

/* An address may not have been given to Septum yet (DHCP): then nothing leads there, or no name server is known. */
static enum socket_error reach(struct socket *web, const char *name, uint16_t port,
                               uint64_t deadline)
{
    struct socket_address host;
    enum socket_error error;
    do {
        message_wait(TASK_SLOT_NOTIFICATION, socket_deadline(RETRY_MS));
        error = socket_resolve(0, name, SOCKET_IPV4, &host, deadline);
        host.port = port;
        if (error == SOCKET_OK)
            error = socket_open(web, 0, SOCKET_TCP, SOCKET_IPV4);
        if (error == SOCKET_OK)
            error = socket_connect(web, &host, deadline);
        if (error != SOCKET_OK)
            socket_close(web);
    } while ((error == SOCKET_NO_NAME || error == SOCKET_NO_ROUTE) && ticks() < deadline);
    return error;
}

/* The first line of what a web server answers. */
static enum socket_error fetch(const char *name, uint16_t port, char *line, size_t size_bytes)
{
    char request[256];
    struct socket web = {.open = false};
    size_t got = 0;
    uint64_t deadline = socket_deadline(PATIENCE_MS);
    print_buffer(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                 name);
    enum socket_error error = reach(&web, name, port, deadline);
    if (error == SOCKET_OK)
        error = socket_send(&web, request, strlen(request), NULL, deadline);
    if (error == SOCKET_OK)
        error = socket_receive(&web, line, size_bytes - 1, &got, deadline);
    socket_close(&web);
    line[got] = 0;
    for (char *c = line; *c; c++)
        if (*c < ' ')
            *c = 0;
    return error;
}

/* A request ends with an empty line; of what it asks for nothing matters here. */
static void greet(struct socket *guest)
{
    char text[512];
    size_t used = 0, got;
    uint64_t deadline = socket_deadline(PATIENCE_MS);
    while (used < sizeof text) {
        if (socket_receive(guest, text + used, sizeof text - used, &got, deadline) != SOCKET_OK ||
            !got)
            break;
        used += got;
        if (used >= 4 && memcmp(text + used - 4, "\r\n\r\n", 4) == 0) {
            socket_send(guest, answer, sizeof answer - 1, NULL, deadline);
            break;
        }
    }
    socket_close(guest);
}

static enum socket_error serve(void)
{
    const struct socket_address any = {.family = SOCKET_IPV4, .port = PORT};
    struct socket listener, guest;
    enum socket_error error = socket_open(&listener, 0, SOCKET_TCP, SOCKET_IPV4);
    if (error == SOCKET_OK)
        error = socket_bind(&listener, &any);
    if (error == SOCKET_OK)
        error = socket_listen(&listener, SOCKET_BACKLOG_MAX);
    while (error == SOCKET_OK) {
        error = socket_accept(&listener, &guest, NULL, DEADLINE_NEVER);
        if (error == SOCKET_OK)
            greet(&guest);
    }
    socket_close(&listener);
    return error;
}

void program_start(const void *argument)
{
    char line[128], host[SOCKET_NAME_MAX];
    task_init(argument);
    if (sockets_start() == 0) {
        task_print("it is in no network: add `network NAME` to the task in the partition file\n");
        task_finish(false);
    }
    task_ready();
    enum socket_error error;
    if (*task_arguments()) {
        uint16_t port = split(task_arguments(), host, sizeof host);
        error = fetch(host, port, line, sizeof line);
        task_print("greet: %s says: %s\n", host,
                   error == SOCKET_OK ? line : socket_error_text(error));
    }
    for (;;) {
        task_print("greet: HTTP at port %u\n", (unsigned)PORT);
        error = serve();
        task_print("greet: %s\n", socket_error_text(error));
        if (error == SOCKET_DROPPED)
            task_finish(false);
        message_wait(TASK_SLOT_NOTIFICATION, socket_deadline(RETRY_MS));
    }
}
