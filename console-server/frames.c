/* The line ends in a host tool: everything is framed (protocol/console.h), so that no guest can write in
 * another's name. */
#include "server.h"
#include "string.h"

static void put_frame(struct server *server, uint8_t channel, const void *data, size_t size_bytes)
{
    const uint8_t head[3] = {CONSOLE_FRAME, channel, (uint8_t)size_bytes};
    uart_queue(&server->uart, head, sizeof head);
    uart_queue(&server->uart, data, size_bytes);
}

void frames_output(struct server *server, unsigned number, const char *data, size_t size_bytes)
{
    struct client *client = &server->clients[number];
    if (!client->named) {
        uint8_t text[2 + TASK_NAME_MAX] = {(uint8_t)(number + 1), (uint8_t)client->kind};
        size_t length = strlen(client->name);
        memcpy(text + 2, client->name, length);
        put_frame(server, CONSOLE_FRAME_NAME, text, 2 + length);
        client->named = true;
    }
    put_frame(server, (uint8_t)(number + 1), data, size_bytes);
}

/* Who waits for each answer always finds room for it: turns leave some (client.c). */
static void tell_taken(struct server *server, uint8_t channel)
{
    if (uart_room(&server->uart) >= 3 + sizeof channel)
        put_frame(server, CONSOLE_FRAME_TAKEN, &channel, sizeof channel);
}

/* One byte of the host tool's: the states are outside, channel, length, data. */
static void take_byte(struct server *server, uint8_t byte)
{
    struct frame_input *in = &server->frame_input;
    if (byte == CONSOLE_FRAME) {
        in->state = FRAME_CHANNEL;
        return;
    }
    switch (in->state) {
    case FRAME_OUTSIDE: break;
    case FRAME_CHANNEL:
        in->client = byte - 1u;
        in->state = FRAME_LENGTH;
        break;
    case FRAME_LENGTH:
        in->left = byte;
        in->state = byte ? FRAME_DATA : FRAME_OUTSIDE;
        break;
    case FRAME_DATA:
        if (in->client < CONSOLE_CLIENTS_MAX)
            client_input(server, in->client, &byte, 1);
        if (--in->left == 0) {
            in->state = FRAME_OUTSIDE;
            tell_taken(server, (uint8_t)(in->client + 1));
        }
        break;
    }
}

void frames_input(struct server *server, const uint8_t *data, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++)
        take_byte(server, data[i]);
}
