/*
 * Requests of the block server's clients: against a model, refused ones, errors and resets of the disk.
 * links: block-server/client.c block-server/request.c block-server/disk.c block-server/changes.c lib/ring.c
 */
#include "block_client_machine.h"

#define MODEL_REQUESTS 24u

struct asked {
    bool used;
    struct block_request request;
    struct block_segment segments[8];
};

/* One writer with many requests in flight, none over sectors or memory of another, against a model of its volume. */
static void random_requests(unsigned volume, uint64_t physical_end)
{
    static struct asked asked[MODEL_REQUESTS];
    static uint8_t model[SECTORS * 512];
    struct block_completion completion;
    unsigned answers = 0;
    machine();
    if (physical_end) {
        disk.disk.physical_end = physical_end;
        disk.disk.depth = 1;
        disk.disk.bounce = bounce;
        disk.disk.bounce_physical = BOUNCE;
        disk.disk.bounce_bytes = sizeof bounce;
    }
    memset(asked, 0, sizeof asked);
    EXPECT(attach(1, volume), SERVICE_OK);
    uint64_t sectors = volume_page(1)->sectors, first = server.volumes[volume].first;
    memcpy(model, disk.data + first * 512, sectors * 512);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned n = (unsigned)(unit_random() % MODEL_REQUESTS);
        struct asked *one = &asked[n];
        if (unit_random() % 2 && !one->used) {
            /* Each request has sectors and 2 KiB of memory of its own. */
            uint64_t share = sectors / MODEL_REQUESTS;
            static const uint32_t kinds[] = {BLOCK_READ,  BLOCK_READ,  BLOCK_WRITE,
                                             BLOCK_WRITE, BLOCK_FLUSH, BLOCK_WRITE_ZEROES};
            one->request = (struct block_request){.operation = kinds[unit_random() % 6],
                                                  .id = n,
                                                  .flags = unit_random() % 4 ? 0 : BLOCK_FUA};
            uint64_t left = 1 + unit_random() % 4;
            one->request.sector = n * share + unit_random() % (share - left + 1);
            uint64_t offset = n * 2560 + unit_random() % 512;
            if (one->request.operation == BLOCK_READ || one->request.operation == BLOCK_WRITE) {
                for (unsigned i = 0; left; i++) {
                    uint64_t some = 1 + unit_random() % left;
                    one->segments[i] = (struct block_segment){offset, some * 512};
                    one->request.segments = i + 1;
                    for (uint64_t byte = 0;
                         byte < some * 512 && one->request.operation == BLOCK_WRITE; byte++)
                        memories[1][offset + byte] = (uint8_t)unit_random();
                    offset += some * 512, left -= some;
                }
            } else {
                one->request.sectors = (uint32_t)left;
            }
            ask(1, one->request, one->segments);
            one->used = true;
        }
        if (unit_random() % 4 == 0)
            work();
        if (disk.count && unit_random() % 3 == 0)
            disk_end((unsigned)(unit_random() % disk.count), BLOCK_OK);
        while (answered(1, &completion)) {
            CHECK(completion.id < MODEL_REQUESTS && asked[completion.id].used);
            EXPECT(completion.status, BLOCK_OK);
            struct asked *done = &asked[completion.id];
            uint8_t *at = model + done->request.sector * 512;
            for (unsigned i = 0; i < done->request.segments; i++) {
                uint8_t *memory = memories[1] + done->segments[i].offset;
                if (done->request.operation == BLOCK_READ)
                    CHECK(memcmp(memory, at, done->segments[i].size_bytes) == 0);
                else
                    memcpy(at, memory, done->segments[i].size_bytes);
                at += done->segments[i].size_bytes;
            }
            if (done->request.operation == BLOCK_WRITE_ZEROES)
                memset(at, 0, done->request.sectors * 512);
            if (done->request.flags & BLOCK_FUA && volume == 0 &&
                done->request.operation == BLOCK_WRITE)
                CHECK(!disk.cached[done->request.sector]);
            done->used = false;
            answers++;
        }
    }
    EXPECT(log_lines, 0);
    CHECK(answers > 2000);
    CHECK(volume == 0 || disk.flushes == 0);
}

TEST(block_client_random,
     "random requests, ended in any order, against a model; FUA is flushed before it is answered")
{
    random_requests(0, 0);
}

TEST(block_client_bounce, "the same where the disk reaches only a half of the client's memory")
{
    random_requests(0, PHYSICAL(1) + MEMORY);
}

TEST(block_client_private, "the same on a private volume: nothing of it reaches the disk")
{
    static uint8_t before[SECTORS * 512];
    for (unsigned i = 0; i < sizeof before; i++)
        before[i] = (uint8_t)(i / 512 * 7 + i);
    random_requests(1, 0);
    CHECK(memcmp(before, disk.data, sizeof before) == 0);
}

TEST(block_client_no_space, "a private copy that is full says so, and keeps what it has")
{
    machine();
    server.volumes[1].sectors = 300; /* 38 blocks, and there is room for 32 */
    EXPECT(attach(0, 1), SERVICE_OK);
    for (unsigned i = 0; i < 37; i++) {
        const struct block_segment segment = {0, 512};
        memset(memories[0], (int)i + 1, 512);
        struct block_request request = {
            .operation = BLOCK_WRITE, .id = i, .sector = i * 8, .segments = 1};
        EXPECT(answer_of(0, request, &segment), i < 32 ? BLOCK_OK : BLOCK_NO_SPACE);
    }
    for (unsigned i = 0; i < 37; i++) {
        const struct block_segment segment = {512, 512};
        struct block_request request = {
            .operation = BLOCK_READ, .id = i, .sector = i * 8, .segments = 1};
        EXPECT(answer_of(0, request, &segment), BLOCK_OK);
        EXPECT(memories[0][512], i < 32 ? i + 1 : disk.data[(100 + i * 8) * 512]);
    }
}

TEST(block_client_refused,
     "what a request can't have is answered with the reason, and nothing is done")
{
    static const struct {
        struct block_request request;
        struct block_segment segment;
        unsigned volume, status;
    } bad[] = {
        {{.operation = 0}, {0, 0}, 0, BLOCK_UNSUPPORTED},
        {{.operation = 6}, {0, 0}, 0, BLOCK_UNSUPPORTED},
        {{.operation = BLOCK_READ, .flags = 4, .segments = 1}, {0, 512}, 0, BLOCK_UNSUPPORTED},
        {{.operation = BLOCK_READ, .segments = 1}, {0, 511}, 0, BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_READ, .segments = 1}, {0, 0}, 0, BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_READ}, {0, 0}, 0, BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_READ, .segments = 1}, {MEMORY, 512}, 0, BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_READ, .segments = 1}, {MEMORY - 511, 512}, 0, BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_READ, .segments = 1}, {UINT64_MAX - 511, 512}, 0, BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_READ, .segments = 1}, {0, UINT64_MAX - 511}, 0, BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_READ, .segments = 1},
         {0, BLOCK_BYTES_MAX + 512},
         0,
         BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_READ, .segments = 1, .sector = SECTORS},
         {0, 512},
         0,
         BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_READ, .segments = 1, .sector = SECTORS - 1},
         {0, 1024},
         0,
         BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_WRITE, .segments = 1, .sector = UINT64_MAX},
         {0, 512},
         0,
         BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_WRITE, .segments = 1, .sector = 300}, {0, 512}, 1, BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_WRITE, .segments = 1}, {0, 512}, 2, BLOCK_READ_ONLY},
        {{.operation = BLOCK_WRITE_ZEROES, .sectors = 1}, {0, 0}, 2, BLOCK_READ_ONLY},
        {{.operation = BLOCK_DISCARD, .sectors = 1}, {0, 0}, 1, BLOCK_UNSUPPORTED},
        {{.operation = BLOCK_DISCARD, .sectors = 65}, {0, 0}, 0, BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_WRITE_ZEROES, .sectors = 2, .sector = SECTORS - 1},
         {0, 0},
         0,
         BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_WRITE_ZEROES, .sectors = 1, .sector = UINT64_MAX},
         {0, 0},
         0,
         BLOCK_OUT_OF_RANGE},
        {{.operation = BLOCK_FLUSH, .segments = 1}, {0, 512}, 0, BLOCK_UNSUPPORTED},
    };
    machine();
    for (unsigned n = 0; n < 3; n++)
        EXPECT(attach(n, n), SERVICE_OK);
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct block_request request = bad[i].request;
        request.id = 1000 + i;
        EXPECT(answer_of(bad[i].volume, request, &bad[i].segment), bad[i].status);
    }
    EXPECT(disk.submitted, 0);
    EXPECT(log_lines, 0);
}

TEST(block_client_total, "many good segments that are too much together are refused")
{
    struct block_segment segments[BLOCK_SEGMENTS_MAX];
    struct block_request request = {
        .operation = BLOCK_READ, .id = 1, .segments = BLOCK_BYTES_MAX / MEMORY + 1};
    machine();
    server.volumes[0].sectors = 1 << 20;
    for (unsigned i = 0; i < BLOCK_SEGMENTS_MAX; i++)
        segments[i] = (struct block_segment){0, MEMORY};
    EXPECT(attach(0, 0), SERVICE_OK);
    EXPECT(answer_of(0, request, segments), BLOCK_OUT_OF_RANGE);
    EXPECT(disk.submitted, 0);
}

TEST(block_client_errors,
     "errors of the disk reach the client, also in the midst of a large request and from a flush")
{
    machine();
    EXPECT(attach(0, 0), SERVICE_OK);
    struct block_completion completion;
    const struct block_segment segment = {0, 32768};
    const struct block_request request = {
        .operation = BLOCK_WRITE, .flags = BLOCK_FUA, .id = 1, .segments = 1};
    for (unsigned fails = 0; fails < 4; fails++) { /* two commands and the flush; 3: none */
        ask(0, request, &segment);
        work();
        for (unsigned i = 0; i < 3 && i <= fails; i++) {
            EXPECT(disk.count, 1);
            CHECK(!answered(0, &completion));
            disk_end(0, i == fails ? BLOCK_IO_ERROR : BLOCK_OK);
        }
        EXPECT(disk.count, 0);
        CHECK(answered(0, &completion));
        EXPECT(completion.status, fails < 3 ? BLOCK_IO_ERROR : BLOCK_OK);
    }
    EXPECT(status.client[0].errors, 3);
    EXPECT(status.client[0].writes, 1);
    EXPECT(status.client[0].written_bytes, 32768);
}

TEST(block_client_reset,
     "a disk that does not answer is reset: all is tried once more, then errors")
{
    struct block_completion completion;
    const struct block_segment segment = {0, 512};
    machine();
    EXPECT(attach(0, 0), SERVICE_OK);
    for (unsigned i = 0; i < 5; i++) {
        struct block_request request = {
            .operation = BLOCK_WRITE, .id = i, .sector = i, .segments = 1};
        ask(0, request, &segment);
    }
    work();
    EXPECT(disk.count, 5);
    uint64_t now = server.now;
    CHECK(disk_watch(&disk.disk, now, 1000) > now);
    EXPECT(disk.resets, 0);
    disk_end(2, BLOCK_OK);
    server.now = now += 10000 * 1000;
    disk.returns_at = now + 31000 * 1000;
    EXPECT(disk_watch(&disk.disk, now, 1000), now);
    EXPECT(disk.resets, 1);
    EXPECT(disk_watch(&disk.disk, now, 1000), now + 1000);
    struct block_request late = {.operation = BLOCK_WRITE, .id = 5, .sector = 5, .segments = 1};
    ask(0, late, &segment); /* it stays in the ring, and what is in flight is the disk's */
    work();
    EXPECT(disk.submitted, 5);
    EXPECT(disk.disk.in_flight, 4);
    server.now = now = disk.returns_at;
    EXPECT(disk_watch(&disk.disk, now, 1000), now);
    EXPECT(disk.count, 4);
    EXPECT(disk.submitted, 9);
    work();
    EXPECT(disk.count, 5);
    disk_end(4, BLOCK_OK);
    disk_end(0, BLOCK_OK);
    server.now = now += 10000 * 1000;
    disk_watch(&disk.disk, now, 1000);
    disk_watch(&disk.disk, now, 1000);
    EXPECT(disk.resets, 2);
    EXPECT(disk.count, 0);
    unsigned good = 0, bad = 0;
    while (answered(0, &completion))
        *(completion.status == BLOCK_OK ? &good : &bad) += 1;
    EXPECT(good, 3);
    EXPECT(bad, 3);
    EXPECT(disk.disk.in_flight, 0);

    disk.dies = true;
    struct block_request request = {.operation = BLOCK_READ, .id = 9, .segments = 1};
    ask(0, request, &segment);
    work();
    server.now = now += 10000 * 1000;
    disk_watch(&disk.disk, now, 1000);
    EXPECT(disk_watch(&disk.disk, now, 1000), now);
    EXPECT(disk_watch(&disk.disk, now, 1000), UINT64_MAX);
    CHECK(answered(0, &completion) && completion.status == BLOCK_IO_ERROR);
    EXPECT(answer_of(0, request, &segment), BLOCK_IO_ERROR);
}
