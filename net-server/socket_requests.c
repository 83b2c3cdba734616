/* What clients ask of their sockets (protocol/socket.h): each request is checked, carried out and answered. */
#include "socket_transport.h"
#include "sockets_internal.h"
#include "string.h"

#define TURN_REQUESTS 16u /* of one client, before others have their turn */

static enum socket_error open_socket(struct sockets_client *client,
                                     const struct socket_request *request, uint32_t *number)
{
    uint8_t family = request->address.family;
    if ((request->argument != SOCKET_TCP && request->argument != SOCKET_UDP) ||
        (family != SOCKET_IPV4 && family != SOCKET_IPV6))
        return SOCKET_BAD_REQUEST;
    struct socket *socket =
        socket_take(client, (enum socket_kind)request->argument, (enum socket_family)family);
    if (!socket)
        return SOCKET_TOO_MANY;
    enum socket_error error = transport_open(socket);
    if (error != SOCKET_OK) {
        socket->use = SOCKET_UNUSED;
        return error;
    }
    *number = socket->number;
    socket_show_state(socket, false);
    return SOCKET_OK;
}

static enum socket_error bind_socket(struct socket *socket, struct socket_address *address)
{
    if (address->family != socket->family)
        return SOCKET_BAD_REQUEST;
    if (socket->use != SOCKET_NEW)
        return SOCKET_BAD_STATE;
    enum socket_error error = transport_bind(socket, address);
    if (error == SOCKET_OK)
        socket->use = SOCKET_BOUND;
    return error;
}

static enum socket_error listen_socket(struct socket *socket, uint32_t backlog)
{
    if (backlog == 0 || backlog > SOCKET_BACKLOG_MAX || socket->kind != SOCKET_TCP)
        return SOCKET_BAD_REQUEST;
    if (socket->use != SOCKET_BOUND)
        return SOCKET_BAD_STATE;
    socket->backlog = backlog;
    enum socket_error error = transport_listen(socket);
    if (error != SOCKET_OK)
        return error;
    socket->use = SOCKET_LISTENING;
    socket_show_state(socket, false);
    return SOCKET_OK;
}

/* The connection that has waited longest. */
static enum socket_error accept_socket(struct socket *listener, uint32_t *number,
                                       struct socket_address *peer)
{
    struct socket *first = NULL;
    if (listener->use != SOCKET_LISTENING)
        return SOCKET_BAD_STATE;
    for (uint32_t n = 0; n < SOCKETS_MAX; n++) {
        struct socket *socket = &listener->client->sockets[n];
        if (socket->use == SOCKET_QUEUED && socket->listener == listener &&
            (!first || socket->queued < first->queued))
            first = socket;
    }
    if (!first)
        return SOCKET_AGAIN;
    first->use = SOCKET_STREAM;
    listener->waiting--;
    socket_show_waiting(listener);
    if (first->transport)
        transport_accept(first, peer);
    *number = first->number;
    return SOCKET_OK;
}

static enum socket_error connect_socket(struct socket *socket, const struct socket_address *address)
{
    if (address->family != socket->family || address->port == 0 || socket->kind != SOCKET_TCP)
        return SOCKET_BAD_REQUEST;
    if (socket->use != SOCKET_NEW && socket->use != SOCKET_BOUND)
        return SOCKET_BAD_STATE;
    enum socket_error error = transport_connect(socket, address);
    if (error == SOCKET_OK)
        socket->use = SOCKET_CONNECTING;
    return error;
}

static enum socket_error shut_socket(struct socket *socket)
{
    if (socket->kind != SOCKET_TCP)
        return SOCKET_BAD_REQUEST;
    if (socket->use != SOCKET_STREAM)
        return SOCKET_BAD_STATE;
    socket->shut = true;
    return SOCKET_OK;
}

static enum socket_error close_socket(struct socket *socket)
{
    if (socket->use != SOCKET_STREAM || socket->over) {
        socket_release(socket, false);
        return SOCKET_OK;
    }
    socket->use = SOCKET_CLOSING;
    socket->shut = true;
    transport_read(socket, socket->unread);
    socket->unread = 0;
    socket->deadline = switch_clock.now + SOCKET_LINGER_SECONDS * switch_clock.per_second;
    sockets_want_turn(socket->deadline);
    return SOCKET_OK;
}

static bool is_name(const char *name)
{
    size_t length = 0;
    for (; length < SOCKET_NAME_MAX && name[length]; length++) {
        char c = name[length];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '.' || c == '_'))
            return false;
    }
    return length > 0 && length < SOCKET_NAME_MAX;
}

/* Only where guests could ask too: Septum forwards DNS for the network, or it has an uplink. */
static enum socket_error resolve(struct sockets_client *client, struct socket_request *request)
{
    const struct plan_network *plan = client->network->plan;
    uint8_t family = request->address.family;
    uint32_t n = 0;
    if ((family != SOCKET_IPV4 && family != SOCKET_IPV6) || !is_name(request->name))
        return SOCKET_BAD_REQUEST;
    if (plan->uplink == PLAN_DISK_NONE && !plan->dhcp)
        return SOCKET_NO_NAME;
    while (n < SOCKET_RESOLVES_MAX && client->names[n].token)
        n++;
    if (n == SOCKET_RESOLVES_MAX)
        return SOCKET_TOO_MANY;
    uint64_t token = sockets_count() * SERVICE_CLIENTS_MAX + client->number;
    client->names[n].id = request->id;
    client->names[n].token = token;
    enum socket_error error = transport_resolve(
        client->network, request->name, (enum socket_family)family, token, &request->address);
    if (error != SOCKET_AGAIN)
        client->names[n].token = 0;
    return error;
}

void sockets_answer(struct sockets_client *client, const struct socket_answer *answer)
{
    if (ring_room(&client->answers) < sizeof *answer)
        sockets_break(client, "reads no answers");
    else
        ring_write(&client->answers, answer, sizeof *answer);
    client->ring_now = true;
}

static struct socket *socket_of(struct sockets_client *client, uint32_t number)
{
    struct socket *socket = number < SOCKETS_MAX ? &client->sockets[number] : NULL;
    bool has = socket && socket->use != SOCKET_UNUSED && socket->use != SOCKET_QUEUED &&
               socket->use != SOCKET_CLOSING;
    return has ? socket : NULL;
}

static void carry_out(struct sockets_client *client, struct socket_request *request)
{
    struct socket_answer told = {.id = request->id, .socket = request->socket};
    struct socket *socket = socket_of(client, request->socket);
    bool needs = request->operation >= SOCKET_BIND && request->operation <= SOCKET_CLOSE;
    if (needs && !socket)
        told.error = SOCKET_BAD_SOCKET;
    else if (needs && socket->over && request->operation != SOCKET_CLOSE)
        told.error = SOCKET_BAD_STATE;
    else
        switch (request->operation) {
        case SOCKET_OPEN: told.error = open_socket(client, request, &told.socket); break;
        case SOCKET_BIND: told.error = bind_socket(socket, &request->address); break;
        case SOCKET_LISTEN: told.error = listen_socket(socket, request->argument); break;
        case SOCKET_ACCEPT:
            told.error = accept_socket(socket, &told.socket, &request->address);
            break;
        case SOCKET_CONNECT: told.error = connect_socket(socket, &request->address); break;
        case SOCKET_SHUTDOWN: told.error = shut_socket(socket); break;
        case SOCKET_CLOSE: told.error = close_socket(socket); break;
        case SOCKET_RESOLVE: told.error = resolve(client, request); break;
        default: told.error = SOCKET_BAD_REQUEST;
        }
    told.address = request->address;
    if (request->operation != SOCKET_RESOLVE || told.error != SOCKET_AGAIN)
        sockets_answer(client, &told);
}

bool sockets_take_requests(struct sockets_client *client)
{
    struct socket_request request;
    for (unsigned i = 0; i < TURN_REQUESTS && !client->fault; i++) {
        size_t filled = ring_filled(&client->requests);
        if (client->requests.broken) {
            sockets_break(client, "has set a ring to a position that can't be");
        } else if (filled == 0) {
            if (ring_reader_waits(&client->requests))
                return false;
        } else if (filled < sizeof request) {
            sockets_break(client, "has sent a part of a request");
        } else {
            ring_read(&client->requests, &request, sizeof request);
            carry_out(client, &request);
            if (client->answers.broken)
                sockets_break(client, "has set a ring to a position that can't be");
        }
    }
    return !client->fault;
}
