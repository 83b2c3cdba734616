/*
 * Sockets of native tasks: clients that break the rules, and servers that are started anew.
 * links: net-server/sockets.c net-server/socket_requests.c lib/ring.c
 */
#include "net_sockets_side.h"

/* ---- clients that break the rules ------------------------------------------------------------------------ */

/* Client 0 has been dropped, with one line; client 1 has not noticed. */
static void expect_dropped(void)
{
    struct line *line;
    serve();
    EXPECT(log_lines, 1);
    EXPECT(sides[0].board->dropped, 1);
    EXPECT(open_lines, 0);
    struct ring answers = sides[0].answers;
    put(0, &(struct socket_request){
               .operation = SOCKET_OPEN, .argument = SOCKET_TCP, .address.family = SOCKET_IPV4});
    serve();
    EXPECT(open_lines, 0);
    CHECK(answers.broken || ring_filled(&sides[0].answers) == ring_filled(&answers));
    unsigned socket = connect_one(1, &line);
    write_data(1, socket, 0, 100);
    serve();
    EXPECT(line->size, 100);
    EXPECT(log_lines, 1);
    EXPECT(sides[1].board->dropped, 0);
    /* Its next life is a new one. */
    EXPECT(sockets_detach(0), SERVICE_OK);
    memset(sides[0].channel, 0, SERVICE_CHANNEL_BYTES);
    EXPECT(attach(0), SERVICE_OK);
    EXPECT(open_one(0, SOCKET_TCP), 0);
    start();
}

static void set_position(void *ring, uint32_t *position)
{
    (void)ring;
    __atomic_store_n(position, *position + 0x40000000, __ATOMIC_RELEASE);
}

TEST(net_sockets_drops, "a client that breaks the rules is dropped alone: all its connections are "
                        "reset, one line tells why")
{
    struct line *line;
    struct ring ring;
    start();
    connect_one(0, &line);
    ring_write(&sides[0].requests, "part", 4);
    expect_dropped();

    connect_one(0, &line);
    set_position(&ring, &sides[0].requests.shared->written);
    serve();
    EXPECT(sides[0].board->dropped, 1);
    CHECK(line->aborted);
    start();

    unsigned socket = connect_one(0, &line);
    ring = send_ring(0, socket);
    set_position(&ring, &ring.shared->written);
    expect_dropped();

    socket = connect_one(0, &line);
    ring = received_ring(0, socket);
    set_position(&ring, &ring.shared->read);
    expect_dropped();

    socket = open_one(0, SOCKET_UDP);
    put_datagram(0, socket, SOCKET_DATAGRAM_MAX + 1, SOCKET_DATAGRAM_MAX + 1, 9);
    expect_dropped();

    socket = open_one(0, SOCKET_UDP);
    put_datagram(0, socket, 100, 99, 9);
    expect_dropped();

    socket = open_one(0, SOCKET_UDP);
    ring = send_ring(0, socket);
    ring_write(&ring, "part", 4);
    expect_dropped();

    connect_one(0, &line);
    for (unsigned i = 0; i < 200 && !sides[0].board->dropped; i++) {
        put(0, &(struct socket_request){.operation = SOCKET_ACCEPT, .socket = 1});
        serve();
        CHECK(i < 110);
    }
    expect_dropped();
}

TEST(net_sockets_restart,
     "a new server has no sockets of the old one, and does not answer what was asked of it")
{
    start();
    open_one(0, SOCKET_TCP);
    CHECK(sides[0].board->sockets[0].state);
    put(0, &(struct socket_request){
               .operation = SOCKET_OPEN, .argument = SOCKET_TCP, .address.family = SOCKET_IPV4});
    EXPECT(sockets_detach(0), SERVICE_OK);
    unsigned before = rung[0];
    EXPECT(attach(0), SERVICE_OK);
    EXPECT(sides[0].board->generation, 2);
    EXPECT(sides[0].board->sockets[0].state, 0);
    serve();
    EXPECT(ring_filled(&sides[0].answers), 0);
    CHECK(rung[0] > before);
    EXPECT(open_lines, 0);
    EXPECT(attach(0), SERVICE_BAD_CLIENT);
    struct service_attach little = {
        .name = "task", .extents = 1, .extent = {{0, 0, SOCKET_MEMORY_BYTES - 1}}};
    EXPECT(sockets_detach(0), SERVICE_OK);
    EXPECT(sockets_attach(0, &network, 1, &little, sides[0].channel, sides[0].memory),
           SERVICE_BAD_REQUEST);
    little.extent[0].size_bytes = SOCKET_MEMORY_BYTES;
    little.parameter = 4096;
    EXPECT(sockets_attach(0, &network, 1, &little, sides[0].channel, sides[0].memory),
           SERVICE_BAD_REQUEST);
    little.extents = 0;
    EXPECT(sockets_attach(0, &network, 1, &little, sides[0].channel, sides[0].memory),
           SERVICE_BAD_REQUEST);
}

/* ---- anything at all ------------------------------------------------------------------------------------- */

static uint32_t dice(void)
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static void scribble(struct side *side)
{
    struct socket_request request = {.operation = dice() % 10,
                                     .socket = dice() % (SOCKETS_MAX + 1),
                                     .argument = dice() % 4,
                                     .address = {.port = (uint16_t)(dice() % 3), .family = 4},
                                     .name = "name"};
    uint32_t n = dice() % SOCKETS_MAX;
    uint8_t *ring = side->memory + (dice() % 2 ? SOCKET_SEND_OFFSET(n) : SOCKET_RECEIVED_OFFSET(n));
    switch (dice() % 40) {
    case 0: ring[dice() % 128] = (uint8_t)dice(); break;
    case 1: side->channel[dice() % 32768] = (uint8_t)dice(); break;
    case 2:
    case 3: {
        struct ring_shared *shared = (struct ring_shared *)ring;
        memset(shared->data, (int)(dice() % 2), 64);
        shared->written += dice() % 200;
        break;
    }
    case 4:
        for (struct socket_answer answer; ring_read(&side->answers, &answer, sizeof answer);)
            continue;
        break;
    default:
        if (ring_room(&side->requests) >= sizeof request)
            ring_write(&side->requests, &request, sizeof request);
    }
}

/* What the world does meanwhile. */
static void happen(void)
{
    struct line *line = &lines[dice() % 256];
    if (!line->socket || line->closed || line->aborted || line->socket->transport != line)
        return;
    struct socket *socket = line->socket;
    switch (dice() % 6) {
    case 0:
        if (socket->use == SOCKET_CONNECTING)
            socket_connected(socket);
        break;
    case 1: acknowledge(line, dice() % 1000); break;
    case 2:
        if (socket->kind == SOCKET_TCP && socket->use >= SOCKET_STREAM)
            socket_received(socket, line->bytes, dice() % 4000);
        break;
    case 3: fail(line, SOCKET_RESET); break;
    case 4:
        if (socket->use == SOCKET_LISTENING) {
            struct line *came = new_line(NULL);
            came->socket = socket_incoming(socket, came);
            open_lines -= came->socket == NULL;
        }
        break;
    default:
        if (socket->kind == SOCKET_UDP)
            socket_datagram_received(socket, &line->to, line->bytes, dice() % 1500);
    }
    line->size = line->size > 20000 ? 0 : line->size;
}

TEST(net_sockets_hostile,
     "whatever a client writes, the server stays in its memory, and another client is served")
{
    unsigned drops = 0;
    for (unsigned round = 0; round < 300; round++) {
        struct line *line;
        start();
        for (unsigned i = 0; i < 300; i++) {
            scribble(&sides[0]);
            if (dice() % 4 == 0) {
                happen();
                sockets_rung(1);
                sockets_turn();
                sockets_ring();
            }
            switch_clock.now += dice() % SECOND;
        }
        drops += sides[0].board->dropped == 1;
        unsigned socket = connect_one(1, &line);
        line->size = 0;
        write_data(1, socket, 0, 1000);
        serve();
        EXPECT(line->size, 1000);
    }
    CHECK(drops > 30);
}
