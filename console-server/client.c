/* Clients: their rings, and whose turn it is. */
#include "message.h"
#include "server.h"
#include "slots.h"
#include "string.h"
#include "task.h"

/* What one client may write before it is another's turn; what the queue must take for it at worst. */
enum { TURN_BYTES = 128, ROOM_BYTES = MIX_LONGEST(TURN_BYTES, sizeof((struct client){0}.prefix)) };
_Static_assert(ROOM_BYTES < UART_QUEUE_BYTES, "a turn fits into the UART's queue");

static bool is_name(const char *name)
{
    size_t n = 0;
    while (n < TASK_NAME_MAX && name[n] > ' ' && name[n] < 0x7f)
        n++;
    return n > 0 && n < TASK_NAME_MAX && name[n] == 0;
}

bool client_is_system(const struct client *client)
{
    return client->kind == TASK_CHANNEL_LOG || strcmp(client->name, CONSOLE_SYSTEM) == 0;
}

unsigned client_attach(struct server *server, uint64_t number, uint64_t kind, uint64_t ring_bits,
                       const uint64_t name[4])
{
    if (number >= CONSOLE_CLIENTS_MAX || server->clients[number].attached)
        return CONSOLE_BAD_CLIENT;
    struct client *client = &server->clients[number];
    char text[TASK_NAME_MAX];
    memcpy(text, name, sizeof text);
    if ((kind != TASK_CHANNEL_LOG && kind != TASK_CHANNEL_CONSOLE) || !is_name(text))
        return CONSOLE_BAD_REQUEST;
    struct history *history = client->history;
    if (!history && kind == TASK_CHANNEL_CONSOLE)
        history = task_allocate(sizeof *history, _Alignof(struct history));
    if (!history && kind == TASK_CHANNEL_CONSOLE)
        return CONSOLE_NO_MEMORY;
    char *memory = (char *)CHANNELS_BASE + number * CONSOLE_CHANNEL_BYTES;
    *client = (struct client){
        .attached = true, .kind = (uint32_t)kind, .ring_bits = ring_bits, .history = history};
    memcpy(client->name, text, sizeof text);
    print_buffer(client->prefix, sizeof client->prefix, kind == TASK_CHANNEL_LOG ? "%s: " : "%s| ",
                 text);
    ring_join_reader(&client->output, memory + CONSOLE_OUTPUT_OFFSET, CONSOLE_OUTPUT_BYTES);
    ring_join_writer(&client->input, memory + CONSOLE_INPUT_OFFSET, CONSOLE_INPUT_BYTES);
    server->ready |= 1ull << number;
    if (!server->framed)
        terminal_attached(server, (unsigned)number);
    return CONSOLE_OK;
}

static void show(struct server *server, unsigned number, const char *data, size_t size_bytes)
{
    if (server->framed)
        frames_output(server, number, data, size_bytes);
    else
        terminal_output(server, number, data, size_bytes);
}

/* One turn. False: it had nothing. */
static bool take_turn(struct server *server, unsigned number)
{
    struct client *client = &server->clients[number];
    char data[TURN_BYTES];
    size_t n = ring_read(&client->output, data, sizeof data);
    if (n == 0)
        return false;
    if (ring_reader_must_ring(&client->output))
        notification_signal(SLOT_CLIENT + number, client->ring_bits);
    show(server, number, data, n);
    return true;
}

void take_output(struct server *server)
{
    while (server->ready) {
        unsigned number = server->next;
        server->next = (number + 1) % CONSOLE_CLIENTS_MAX;
        uint64_t bit = 1ull << number;
        if (!(server->ready & bit))
            continue;
        if (uart_room(&server->uart) < ROOM_BYTES) {
            uart_send(&server->uart);
            if (uart_room(&server->uart) < ROOM_BYTES) {
                server->next = number;
                return;
            }
        }
        struct client *client = &server->clients[number];
        if (!client->attached || (!take_turn(server, number) &&
                                  (client->output.broken || ring_reader_waits(&client->output))))
            server->ready &= ~bit;
    }
}

unsigned client_detach(struct server *server, uint64_t number)
{
    if (number >= CONSOLE_CLIENTS_MAX || !server->clients[number].attached)
        return CONSOLE_BAD_CLIENT;
    /* Its last words are at most a ring full: they wait for the line, as whoever calls this does. */
    for (unsigned turn = 0; turn < CONSOLE_OUTPUT_BYTES / TURN_BYTES + 1; turn++) {
        while (uart_room(&server->uart) < ROOM_BYTES)
            uart_send(&server->uart);
        if (!take_turn(server, (unsigned)number))
            break;
    }
    server->clients[number].attached = false;
    sys_unmap(0, SPACE_HOST | UNMAP_SELF, CHANNELS_BASE + number * CONSOLE_CHANNEL_BYTES,
              CONSOLE_CHANNEL_BYTES / SEPTUM_PAGE_SIZE);
    sys_unmap(0, SPACE_CAPABILITY | UNMAP_SELF, SLOT_CLIENT + number, 1);
    return CONSOLE_OK;
}

void client_input(struct server *server, unsigned number, const void *data, size_t size_bytes)
{
    struct client *client = &server->clients[number];
    if (!client->attached || client->kind != TASK_CHANNEL_CONSOLE)
        return;
    size_t taken = ring_write(&client->input, data, size_bytes);
    if (taken < size_bytes && client->input_dropped == 0)
        task_print("%s does not read its console: what is typed is dropped\n", client->name);
    client->input_dropped = taken < size_bytes ? client->input_dropped + size_bytes - taken : 0;
    if (ring_writer_must_ring(&client->input))
        notification_signal(SLOT_CLIENT + number, client->ring_bits);
}
