/*
 * Sockets of native tasks: what the network server makes of good clients' requests and data.
 * links: net-server/sockets.c net-server/socket_requests.c lib/ring.c
 */
#include "net_sockets_side.h"

/* ---- requests -------------------------------------------------------------------------------------------- */

TEST(net_sockets_are_counted,
     "a client has so many sockets and no more; what it closes is free again")
{
    start();
    for (unsigned i = 0; i < SOCKETS_MAX; i++)
        EXPECT(open_one(0, i % 2 ? SOCKET_TCP : SOCKET_UDP), i);
    EXPECT(error_of(0, SOCKET_OPEN, 0, SOCKET_TCP, 0, SOCKET_IPV4), SOCKET_TOO_MANY);
    EXPECT(open_lines, SOCKETS_MAX);
    EXPECT(open_one(1, SOCKET_TCP), 0);
    EXPECT(error_of(0, SOCKET_CLOSE, 5, 0, 0, 0), SOCKET_OK);
    EXPECT(sides[0].board->sockets[5].state, 0);
    EXPECT(open_lines, SOCKETS_MAX);
    EXPECT(open_one(0, SOCKET_TCP), 5);
    EXPECT(sockets_detach(0), SERVICE_OK);
    EXPECT(open_lines, 1);
    EXPECT(sockets_detach(0), SERVICE_BAD_CLIENT);
    EXPECT(log_lines, 0);
}

TEST(net_sockets_wrong_requests,
     "a request that makes no sense is answered with its error, and does nothing")
{
    struct line *line;
    start();
    EXPECT(error_of(0, SOCKET_OPEN, 0, 3, 0, SOCKET_IPV4), SOCKET_BAD_REQUEST);
    EXPECT(error_of(0, SOCKET_OPEN, 0, SOCKET_TCP, 0, 5), SOCKET_BAD_REQUEST);
    EXPECT(error_of(0, (enum socket_operation)9, 0, 0, 0, 0), SOCKET_BAD_REQUEST);
    EXPECT(error_of(0, (enum socket_operation)0, 0, 0, 0, 0), SOCKET_BAD_REQUEST);
    for (unsigned operation = SOCKET_BIND; operation <= SOCKET_CLOSE; operation++) {
        EXPECT(error_of(0, operation, 0, 1, 7, SOCKET_IPV4), SOCKET_BAD_SOCKET);
        EXPECT(error_of(0, operation, SOCKETS_MAX, 1, 7, SOCKET_IPV4), SOCKET_BAD_SOCKET);
        EXPECT(error_of(0, operation, 0xffffffff, 1, 7, SOCKET_IPV4), SOCKET_BAD_SOCKET);
    }
    next_error = SOCKET_NO_MEMORY;
    EXPECT(error_of(0, SOCKET_OPEN, 0, SOCKET_TCP, 0, SOCKET_IPV4), SOCKET_NO_MEMORY);
    EXPECT(open_lines, 0);
    unsigned tcp = open_one(0, SOCKET_TCP), udp = open_one(0, SOCKET_UDP);
    EXPECT(error_of(0, SOCKET_BIND, tcp, 0, 7, SOCKET_IPV6), SOCKET_BAD_REQUEST);
    EXPECT(error_of(0, SOCKET_LISTEN, tcp, 1, 0, 0), SOCKET_BAD_STATE);
    EXPECT(error_of(0, SOCKET_LISTEN, udp, 1, 0, 0), SOCKET_BAD_REQUEST);
    EXPECT(error_of(0, SOCKET_ACCEPT, tcp, 0, 0, 0), SOCKET_BAD_STATE);
    EXPECT(error_of(0, SOCKET_SHUTDOWN, tcp, 0, 0, 0), SOCKET_BAD_STATE);
    EXPECT(error_of(0, SOCKET_SHUTDOWN, udp, 0, 0, 0), SOCKET_BAD_REQUEST);
    EXPECT(error_of(0, SOCKET_CONNECT, udp, 0, 7, SOCKET_IPV4), SOCKET_BAD_REQUEST);
    EXPECT(error_of(0, SOCKET_CONNECT, tcp, 0, 0, SOCKET_IPV4), SOCKET_BAD_REQUEST);
    EXPECT(error_of(0, SOCKET_CONNECT, tcp, 0, 7, SOCKET_IPV6), SOCKET_BAD_REQUEST);
    EXPECT(ask(0, (struct socket_request){.operation = SOCKET_BIND,
                                          .socket = tcp,
                                          .address.family = SOCKET_IPV4})
               .address.port,
           49152);
    EXPECT(error_of(0, SOCKET_BIND, tcp, 0, 7, SOCKET_IPV4), SOCKET_BAD_STATE);
    EXPECT(error_of(0, SOCKET_LISTEN, tcp, 0, 0, 0), SOCKET_BAD_REQUEST);
    EXPECT(error_of(0, SOCKET_LISTEN, tcp, SOCKET_BACKLOG_MAX + 1, 0, 0), SOCKET_BAD_REQUEST);
    EXPECT(error_of(0, SOCKET_LISTEN, tcp, 1, 0, 0), SOCKET_OK);
    EXPECT(error_of(0, SOCKET_CONNECT, tcp, 0, 7, SOCKET_IPV4), SOCKET_BAD_STATE);
    EXPECT(error_of(0, SOCKET_ACCEPT, tcp, 0, 0, 0), SOCKET_AGAIN);
    /* What failed can be closed, and no more. */
    unsigned socket = connect_one(0, &line);
    fail(line, SOCKET_REFUSED);
    EXPECT(sides[0].board->sockets[socket].error, SOCKET_REFUSED);
    CHECK(sides[0].board->sockets[socket].state & SOCKET_FAILED);
    EXPECT(error_of(0, SOCKET_CONNECT, socket, 0, 7, SOCKET_IPV4), SOCKET_BAD_STATE);
    EXPECT(error_of(0, SOCKET_SHUTDOWN, socket, 0, 0, 0), SOCKET_BAD_STATE);
    EXPECT(error_of(0, SOCKET_CLOSE, socket, 0, 0, 0), SOCKET_OK);
    EXPECT(log_lines, 0);
}

TEST(net_sockets_names,
     "names are checked, few are asked for at once, and an answer that nobody waits for is none's")
{
    const struct socket_address found = {.family = SOCKET_IPV4, .octets = {10, 0, 0, 9}};
    struct socket_request request = {
        .operation = SOCKET_RESOLVE, .name = "a.b-c_9.Example", .address.family = SOCKET_IPV4};
    start();
    request.id = 70;
    put(0, &request);
    serve();
    EXPECT(ring_filled(&sides[0].answers), 0);
    uint64_t token = last_token;
    request.id = 71;
    put(0, &request);
    serve();
    CHECK(last_token != token);
    EXPECT(ask(0, request).error, SOCKET_TOO_MANY);
    socket_resolved(token + SERVICE_CLIENTS_MAX * 50, SOCKET_OK, &found);
    EXPECT(ring_filled(&sides[0].answers), 0);
    socket_resolved(token, SOCKET_OK, &found);
    struct socket_answer answer = answer_of(0);
    EXPECT(answer.id, 70);
    EXPECT(answer.error, SOCKET_OK);
    EXPECT(answer.address.octets[3], 9);
    socket_resolved(token, SOCKET_OK, &found);
    EXPECT(ring_filled(&sides[0].answers), 0);
    /* The next life of the client is another. */
    token = last_token;
    EXPECT(sockets_detach(0), SERVICE_OK);
    socket_resolved(token, SOCKET_OK, &found);
    EXPECT(attach(0), SERVICE_OK);
    socket_resolved(token, SOCKET_OK, &found);
    EXPECT(ring_filled(&sides[0].answers), 0);
    static const char *const wrong[] = {"", "a b", "a/b", "\xff", "a\n"};
    for (unsigned i = 0; i < 5; i++) {
        memset(request.name, 0, sizeof request.name);
        strcpy(request.name, wrong[i]);
        EXPECT(ask(0, request).error, SOCKET_BAD_REQUEST);
    }
    memset(request.name, 'a', sizeof request.name);
    EXPECT(ask(0, request).error, SOCKET_BAD_REQUEST);
    request.name[4] = 0;
    request.address.family = 0;
    EXPECT(ask(0, request).error, SOCKET_BAD_REQUEST);
    /* In a network that leads nowhere nobody is asked. */
    request.address.family = SOCKET_IPV4;
    plan.uplink = PLAN_DISK_NONE;
    EXPECT(ask(0, request).error, SOCKET_NO_NAME);
}

/* ---- streams --------------------------------------------------------------------------------------------- */

TEST(net_sockets_stream_out,
     "what a client writes goes out in order, as far as the transport and its share have room")
{
    struct line *line, *second;
    start();
    unsigned socket = connect_one(0, &line), other = connect_one(0, &second);
    write_data(0, socket, 0, 10000);
    serve();
    EXPECT(line->size, ROOM);
    EXPECT(line->pushed, ROOM);
    acknowledge(line, 5000);
    serve();
    EXPECT(line->size, 10000);
    for (uint32_t i = 0; i < 10000; i++)
        EXPECT(line->bytes[i], (uint8_t)(i * 7));
    /* All sockets of a client have this together: two with endless room. */
    line->room = second->room = 1 << 16;
    write_data(0, socket, 10000, 16000);
    write_data(0, other, 0, 16000);
    serve();
    EXPECT(line->size - 5000 + second->size, SOCKET_UNSENT_MAX);
    write_data(1, connect_one(1, &(struct line *){NULL}), 0, 100);
    serve();
    EXPECT(lines[2].size, 100);
    /* The transport has no memory: nothing is lost, and it is tried again. */
    no_memory = true;
    acknowledge(line, line->size - 5000);
    serve();
    uint32_t before = second->size;
    no_memory = false;
    CHECK(sockets_deadline() <= switch_clock.now + SECOND);
    switch_clock.now = sockets_deadline();
    sockets_turn();
    serve();
    CHECK(second->size > before);
    for (uint32_t i = 0; i < second->size; i++)
        EXPECT(second->bytes[i], (uint8_t)(i * 7));
}

TEST(net_sockets_stream_end, "SHUTDOWN and CLOSE end the stream behind the last byte; a closed "
                             "socket waits for its peer, but not for ever")
{
    struct line *line;
    start();
    unsigned socket = connect_one(0, &line);
    write_data(0, socket, 0, 10000);
    EXPECT(error_of(0, SOCKET_SHUTDOWN, socket, 0, 0, 0), SOCKET_OK);
    EXPECT(line->size, ROOM);
    CHECK(!line->ended);
    acknowledge(line, ROOM);
    serve();
    EXPECT(line->size, 10000);
    CHECK(line->ended && !line->closed);
    EXPECT(error_of(0, SOCKET_CLOSE, socket, 0, 0, 0), SOCKET_OK);
    CHECK(!line->closed);
    acknowledge(line, 10000 - ROOM);
    serve();
    CHECK(line->closed && !line->aborted);
    EXPECT(sides[0].board->sockets[socket].state, 0);
    /* A peer that acknowledges nothing. */
    socket = connect_one(0, &line);
    write_data(0, socket, 0, 100);
    EXPECT(error_of(0, SOCKET_CLOSE, socket, 0, 0, 0), SOCKET_OK);
    CHECK(line->ended && !line->closed && !line->aborted);
    EXPECT(error_of(0, SOCKET_CLOSE, socket, 0, 0, 0), SOCKET_BAD_SOCKET);
    CHECK(open_one(0, SOCKET_TCP) != socket);
    CHECK(socket_received(line->socket, "late", 4));
    EXPECT(line->read, 4);
    switch_clock.now += SOCKET_LINGER_SECONDS * (uint64_t)SECOND - 1;
    serve();
    CHECK(!line->aborted);
    switch_clock.now += 1;
    sockets_turn();
    CHECK(line->aborted);
    /* Both sides have ended: the transport is gone, and nothing failed. */
    socket = connect_one(0, &line);
    socket_peer_done(line->socket);
    fail(line, SOCKET_OK);
    EXPECT(sides[0].board->sockets[socket].state,
           SOCKET_OPEN_NOW | SOCKET_CONNECTED | SOCKET_PEER_DONE);
    EXPECT(error_of(0, SOCKET_CLOSE, socket, 0, 0, 0), SOCKET_OK);
}

TEST(net_sockets_stream_in,
     "what comes in is in the ring; the window opens by what the client has read, and by no more")
{
    static uint8_t data[SOCKET_RING_BYTES], got[SOCKET_RING_BYTES];
    struct line *line;
    start();
    unsigned socket = connect_one(0, &line);
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 13);
    CHECK(socket_received(line->socket, data, 3000));
    serve();
    EXPECT(line->read, 0);
    struct ring ring = received_ring(0, socket);
    EXPECT(ring_read(&ring, got, 1000), 1000);
    CHECK(ring_reader_must_ring(&ring));
    serve();
    EXPECT(line->read, 1000);
    EXPECT(ring_read(&ring, got + 1000, sizeof got), 2000);
    CHECK(memcmp(got, data, 3000) == 0);
    serve();
    EXPECT(line->read, 3000);
    /* More than there is room for: the peer does not keep to the window. */
    CHECK(socket_received(line->socket, data, SOCKET_RING_BYTES));
    CHECK(!socket_received(line->socket, data, 1));
    unsigned before = rung[0];
    socket_peer_done(line->socket);
    sockets_ring();
    EXPECT(rung[0], before + 1);
    CHECK(sides[0].board->sockets[socket].state & SOCKET_PEER_DONE);
}

TEST(net_sockets_accept, "connections wait in order, as many as LISTEN said; the others are "
                         "refused, and closing refuses all")
{
    struct line *listener, *line = NULL;
    start();
    unsigned socket = listen_one(0, 3, &listener);
    struct socket *came[3];
    for (unsigned i = 0; i < 3; i++) {
        line = new_line(NULL);
        line->to = (struct socket_address){.port = (uint16_t)(1000 + i), .family = SOCKET_IPV4};
        came[i] = line->socket = socket_incoming(listener->socket, line);
        CHECK(came[i]);
        EXPECT(sides[0].board->sockets[socket].waiting, i + 1);
    }
    CHECK(!socket_incoming(listener->socket, line));
    /* A connection that waits can't be touched by its number. */
    EXPECT(error_of(0, SOCKET_CLOSE, came[0]->number, 0, 0, 0), SOCKET_BAD_SOCKET);
    CHECK(socket_received(came[1], "early", 5));
    for (unsigned i = 0; i < 2; i++) {
        struct socket_answer answer =
            ask(0, (struct socket_request){.operation = SOCKET_ACCEPT, .socket = socket});
        EXPECT(answer.error, SOCKET_OK);
        EXPECT(answer.socket, came[i]->number);
        EXPECT(answer.address.port, 1000 + i);
    }
    EXPECT(sides[0].board->sockets[socket].waiting, 1);
    struct ring ring = received_ring(0, came[1]->number);
    EXPECT(ring_filled(&ring), 5);
    EXPECT(error_of(0, SOCKET_CLOSE, socket, 0, 0, 0), SOCKET_OK);
    CHECK(line->aborted && listener->closed);
    EXPECT(open_lines, 2);
    /* No place for it: all the client's sockets are in use. */
    socket = listen_one(0, 8, &listener);
    for (unsigned i = 3; i < SOCKETS_MAX; i++)
        open_one(0, SOCKET_UDP);
    CHECK(!socket_incoming(listener->socket, line));
    EXPECT(sides[0].board->sockets[socket].waiting, 0);
}

/* ---- datagrams ------------------------------------------------------------------------------------------- */

TEST(net_sockets_datagrams, "datagrams pass whole; one without room or way is dropped and counted")
{
    static uint8_t data[SOCKET_DATAGRAM_MAX + 1];
    const struct socket_address from = {.family = SOCKET_IPV4, .port = 53, .octets = {1, 2, 3, 4}};
    start();
    unsigned socket = open_one(0, SOCKET_UDP);
    struct line *line = &lines[line_count - 1];
    put_datagram(0, socket, SOCKET_DATAGRAM_MAX, SOCKET_DATAGRAM_MAX, 9);
    serve();
    EXPECT(sent_datagrams, 1);
    EXPECT(line->size, SOCKET_DATAGRAM_MAX);
    EXPECT(line->to.port, 9);
    put_datagram(0, socket, 0, 0, 9);
    put_datagram(0, socket, 5, 5, 0);
    serve();
    EXPECT(sent_datagrams, 2);
    EXPECT(sides[0].board->sockets[socket].dropped, 1);
    unsigned room = SOCKET_RING_BYTES / (sizeof(struct socket_datagram) + SOCKET_DATAGRAM_MAX);
    for (unsigned i = 0; i < room; i++)
        socket_datagram_received(line->socket, &from, data, SOCKET_DATAGRAM_MAX);
    EXPECT(sides[0].board->sockets[socket].dropped, 1);
    socket_datagram_received(line->socket, &from, data, SOCKET_DATAGRAM_MAX);
    socket_datagram_received(line->socket, &from, data, SOCKET_DATAGRAM_MAX + 1);
    EXPECT(sides[0].board->sockets[socket].dropped, 3);
    struct ring ring = received_ring(0, socket);
    struct socket_datagram head;
    EXPECT(ring_filled(&ring), room * (sizeof head + SOCKET_DATAGRAM_MAX));
    ring_read(&ring, &head, sizeof head);
    EXPECT(head.size_bytes, SOCKET_DATAGRAM_MAX);
    EXPECT(head.address.octets[3], 4);
    EXPECT(log_lines, 0);
}
