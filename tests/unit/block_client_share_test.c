/*
 * What clients of the block server get beside each other: shares, limits, answers that nobody takes.
 * links: block-server/client.c block-server/request.c block-server/disk.c block-server/changes.c lib/ring.c
 */
#include "block_client_machine.h"

/* How many requests of 8 sectors each of two clients gets done while the disk does 400. */
static void share(const uint32_t sectors[2], unsigned done[2])
{
    struct block_completion completion;
    done[0] = done[1] = 0;
    for (unsigned turn = 0; turn < 2000; turn++) {
        for (unsigned n = 0; n < 2; n++) {
            const struct block_segment segment = {0, sectors[n] * 512};
            struct block_request request = {.operation = BLOCK_READ, .segments = 1};
            while (ring_room(&requests[n]) > BLOCK_REQUESTS_BYTES - 2048)
                ask(n, request, &segment);
            while (answered(n, &completion))
                done[n]++;
        }
        work();
        if (disk.count)
            disk_end(0, BLOCK_OK);
    }
}

TEST(block_client_fair, "two clients share a disk by bytes, whatever they ask with")
{
    static const uint32_t sizes[][2] = {{1, 1}, {8, 8}, {8, 32}, {32, 1}};
    for (unsigned i = 0; i < 4; i++) {
        unsigned done[2];
        machine();
        EXPECT(attach(0, 0), SERVICE_OK);
        EXPECT(attach(1, 0), SERVICE_OK);
        share(sizes[i], done);
        uint64_t cost[2];
        for (unsigned n = 0; n < 2; n++)
            cost[n] = done[n] * (sizes[i][n] * 512ull + 4096);
        CHECK(done[0] > 50 && done[1] > 50);
        CHECK(cost[0] * 10 < cost[1] * 13 && cost[1] * 10 < cost[0] * 13);
    }
}

TEST(block_client_rate,
     "limits of bytes and of requests a second hold, and cost the neighbour nothing")
{
    for (unsigned kind = 0; kind < 2; kind++) {
        machine();
        EXPECT(attach(0, 0), SERVICE_OK);
        EXPECT(attach(1, 0), SERVICE_OK);
        if (kind)
            server.clients[0].requests_rate.per_second = 100;
        else
            server.clients[0].bytes_rate.per_second = 100 * 4096;
        const struct block_segment segment = {0, 4096};
        const struct block_request request = {.operation = BLOCK_READ, .segments = 1};
        struct block_completion completion;
        unsigned done[2] = {0};
        for (unsigned ms = 0; ms < 10000; ms++) { /* ten seconds */
            server.now += 1000;
            for (unsigned n = 0; n < 2; n++) {
                while (answered(n, &completion))
                    done[n]++;
                if (ring_room(&requests[n]) > BLOCK_REQUESTS_BYTES - 1024)
                    ask(n, request, &segment);
            }
            work();
            if (server.limited & 1)
                CHECK(server.resume > server.now && server.resume <= server.now + 1000 * 1000);
            while (disk.count) {
                disk_end(0, BLOCK_OK);
                work();
            }
        }
        CHECK(done[0] >= 990 && done[0] <= 1020); /* ten seconds, and the burst of a tenth */
        CHECK(done[1] >= 9900);
    }
}

TEST(block_client_no_answers,
     "a client that takes no answers waits, loses none, and goes on when it takes them")
{
    const struct block_segment segment = {0, 512};
    const struct block_request request = {.operation = BLOCK_READ, .segments = 1};
    struct block_completion completion;
    machine();
    EXPECT(attach(0, 2), SERVICE_OK);
    unsigned asked = 0, answers = 0;
    for (unsigned i = 0; i < 5; i++) {
        while (ring_room(&requests[0]) > 256) {
            ask(0, request, &segment);
            asked++;
        }
        work();
    }
    CHECK(asked > BLOCK_COMPLETIONS_BYTES / sizeof completion);
    EXPECT(ring_filled(&completions[0]), BLOCK_COMPLETIONS_BYTES);
    CHECK(clients_wait(&server));
    while (answers < asked) {
        CHECK(answered(0, &completion));
        answers++;
        if (ring_reader_must_ring(&completions[0])) {
            client_rung(&server, 0);
            work();
            CHECK(clients_wait(&server));
        }
    }
    CHECK(!answered(0, &completion));
    EXPECT(log_lines, 0);
}
