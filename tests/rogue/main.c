/*
 * A native task that breaks the rules of its channel to the network server (protocol/socket.h), in each life another one,
 * in turn, and says what became of it.
 */
#include "message.h"
#include "partition/plan.h"
#include "socket.h"
#include "string.h"
#include "task.h"

enum { LIVES = 4, PATIENCE_MS = 10000 };

static struct socket datagrams;

/* What the library would never write. */
static void write_request(struct socket_board *board, size_t size_bytes)
{
    const struct socket_request request = {.operation = SOCKET_ACCEPT, .socket = SOCKETS_MAX};
    struct ring requests;
    ring_join_writer(&requests, (char *)board + SOCKET_REQUESTS_OFFSET, SOCKET_REQUESTS_BYTES);
    ring_write(&requests, &request, size_bytes);
}

static void jump(struct ring_shared *ring)
{
    __atomic_store_n(&ring->written, ring->written + 0x40000000, __ATOMIC_RELEASE);
}

static void break_rule(unsigned number, unsigned channel)
{
    struct socket_board *board = (struct socket_board *)task->channels[channel].address;
    struct socket_datagram head = {.size_bytes = SOCKET_DATAGRAM_MAX + 1};
    switch (number % LIVES) {
    case 0: write_request(board, 4); break;
    case 1: jump(datagrams.send.shared); break;
    case 2: ring_write(&datagrams.send, &head, sizeof head); break;
    default:
        for (uint64_t deadline = socket_deadline(PATIENCE_MS);
             !__atomic_load_n(&board->dropped, __ATOMIC_ACQUIRE) && ticks() < deadline;) {
            write_request(board, sizeof(struct socket_request));
            task_channel_ring(channel);
            message_wait(0, ticks() + task->tsc_khz);
        }
    }
    task_channel_ring(channel);
}

void program_start(const void *argument)
{
    struct socket another;
    task_init(argument);
    if (sockets_start() == 0 || socket_open(&datagrams, 0, SOCKET_UDP, SOCKET_IPV4) != SOCKET_OK)
        task_finish(true);
    task_ready();
    unsigned channel = task_channel_find(TASK_CHANNEL_SOCKET);
    struct socket_wait wait = {&datagrams, SOCKET_READABLE, 0};
    /* Root's number for a task grows with each life by the count of all places. */
    break_rule(task->task_id / (PLAN_PARTITIONS_MAX + PLAN_SERVERS_MAX) - 1, channel);
    sockets_wait(&wait, 1, socket_deadline(PATIENCE_MS));
    task_print("rogue: %s\n", socket_error_text(socket_open(&another, 0, SOCKET_UDP, SOCKET_IPV4)));
    task_finish(false);
}
