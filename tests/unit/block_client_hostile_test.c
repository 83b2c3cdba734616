/*
 * Clients of the block server that break the rules.
 * links: block-server/client.c block-server/request.c block-server/disk.c block-server/changes.c lib/ring.c
 */
#include "block_client_machine.h"

TEST(block_client_hostile,
     "a client that breaks its rings is dropped with one line; its neighbour is served")
{
    for (unsigned kind = 0; kind < 6; kind++) {
        machine();
        EXPECT(attach(0, 0), SERVICE_OK);
        EXPECT(attach(1, 0), SERVICE_OK);
        struct ring_shared *theirs = (struct ring_shared *)(channels[0] + BLOCK_REQUESTS_OFFSET);
        struct ring_shared *back = (struct ring_shared *)(channels[0] + BLOCK_COMPLETIONS_OFFSET);
        struct block_request request = {.operation = BLOCK_READ, .segments = 1, .generation = 1};
        const struct block_segment segment = {0, 512};
        switch (kind) {
        case 0: theirs->written = BLOCK_REQUESTS_BYTES + 1; break;
        case 1: theirs->written = 17; break;
        case 2:
            request.segments = UINT32_MAX;
            ring_write(&requests[0], &request, sizeof request);
            break;
        case 3: /* the segment never comes */
            ring_write(&requests[0], &request, sizeof request);
            break;
        case 4:
            back->read = 5;
            ask(0, request, &segment);
            break;
        case 5:
            back->read = (uint32_t)-8;
            ask(0, request, &segment);
            break;
        }
        client_rung(&server, 0);
        work();
        EXPECT(log_lines, 1);
        for (unsigned i = 0; i < 20; i++) {
            struct block_request good = {.operation = BLOCK_READ, .id = i, .segments = 1};
            client_rung(&server, 0);
            EXPECT(answer_of(1, good, &segment), BLOCK_OK);
        }
        EXPECT(log_lines, 1);
        CHECK(clients_wait(&server));
        EXPECT(client_detach(&server, 0), SERVICE_OK);
        unsigned number;
        CHECK(client_is_gone(&server, &number) && number == 0);
        memset(channels[0], 0, SERVICE_CHANNEL_BYTES);
        EXPECT(attach(0, 0), SERVICE_OK);
    }
}

TEST(block_client_noise,
     "random bytes in every ring: no access outside the clients' memory, the neighbour is served")
{
    for (unsigned round = 0; round < 3000; round++) {
        machine();
        disk.disk.bytes_max = 4096;
        for (unsigned n = 0; n < 2; n++)
            EXPECT(attach(n, n), SERVICE_OK);
        for (unsigned step = 0; step < 6; step++) {
            struct block_request request = {
                .operation = (uint32_t)(unit_random() % 7),
                .flags = (uint32_t)(unit_random() % 5),
                .id = unit_random(),
                .sector = unit_random() % (unit_random() % 4 ? 600 : UINT64_MAX),
                .sectors = (uint32_t)(unit_random() % (unit_random() % 4 ? 80 : UINT32_MAX)),
                .segments = (uint32_t)(unit_random() % (unit_random() % 4 ? 20 : 200))};
            struct block_segment segments[BLOCK_SEGMENTS_MAX];
            for (unsigned i = 0; i < BLOCK_SEGMENTS_MAX; i++) {
                segments[i].offset =
                    unit_random() % (unit_random() % 16 ? MEMORY - 4096 : UINT64_MAX);
                segments[i].size_bytes =
                    unit_random() % 32 ? 512 * (1 + unit_random() % 8) : unit_random();
            }
            if (request.segments > BLOCK_SEGMENTS_MAX && unit_random() % 8)
                request.segments = BLOCK_SEGMENTS_MAX;
            if (request.segments <= BLOCK_SEGMENTS_MAX)
                ask(unit_random() % 2, request, segments);
            if (unit_random() % 16 == 0)
                channels[unit_random() % 2][unit_random() % SERVICE_CHANNEL_BYTES] =
                    (uint8_t)unit_random();
            work();
            while (disk.count && unit_random() % 4)
                disk_end((unsigned)(unit_random() % disk.count),
                         unit_random() % 8 ? BLOCK_OK : BLOCK_IO_ERROR);
            work();
        }
        while (disk.count) {
            disk_end(0, BLOCK_OK);
            work();
        }
        EXPECT(attach(2, 0), SERVICE_OK);
        const struct block_segment segment = {0, 512};
        struct block_request good = {.operation = BLOCK_READ, .id = 1, .segments = 1};
        EXPECT(answer_of(2, good, &segment), BLOCK_OK);
        EXPECT(disk.disk.in_flight, 0);
    }
}
