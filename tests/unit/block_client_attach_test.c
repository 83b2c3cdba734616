/*
 * How clients of the block server come and go.
 * links: block-server/client.c block-server/request.c block-server/disk.c block-server/changes.c lib/ring.c
 */
#include "block_client_machine.h"

TEST(block_client_generation,
     "a new server drops what was meant for its predecessor, and is asked again")
{
    machine();
    EXPECT(attach(0, 0), SERVICE_OK);
    EXPECT(volume_page(0)->generation, 1);
    const struct block_segment segment = {0, 512};
    struct block_completion completion;
    struct block_request request = {.operation = BLOCK_READ, .id = 1, .segments = 1};
    ask(0, request, &segment); /* the predecessor dies before it looks */
    memset(&server.clients, 0, sizeof server.clients);
    server.served = 0;
    EXPECT(attach(0, 0), SERVICE_OK);
    EXPECT(volume_page(0)->generation, 2);
    CHECK(rings[0] >= 2);
    request.id = 2, request.generation = 1; /* the client has not seen it yet */
    ask(0, request, &segment);
    work();
    EXPECT(disk.submitted, 0);
    CHECK(!answered(0, &completion));
    request.id = 3, request.generation = 2;
    EXPECT(answer_of(0, request, &segment), BLOCK_OK);
    volume_page(0)->generation = UINT32_MAX;
    memset(&server.clients, 0, sizeof server.clients);
    server.served = 0;
    EXPECT(attach(0, 0), SERVICE_OK);
    EXPECT(volume_page(0)->generation, 1);
}

TEST(block_client_detach, "a client is gone only when the disk has nothing of it any more")
{
    const struct block_segment segment = {0, 512};
    const struct block_request request = {.operation = BLOCK_READ, .id = 1, .segments = 1};
    unsigned number;
    machine();
    EXPECT(attach(0, 0), SERVICE_OK);
    EXPECT(attach(0, 0), SERVICE_BAD_CLIENT);
    ask(0, request, &segment);
    ask(0, request, &segment);
    work();
    EXPECT(disk.count, 2);
    EXPECT(client_detach(&server, 0), SERVICE_OK);
    EXPECT(client_detach(&server, 0), SERVICE_BAD_CLIENT);
    ask(0, request, &segment);
    work();
    EXPECT(disk.count, 2);
    CHECK(!client_is_gone(&server, &number));
    disk_end(0, BLOCK_OK);
    CHECK(!client_is_gone(&server, &number));
    EXPECT(attach(0, 0), SERVICE_BAD_CLIENT);
    disk_end(0, BLOCK_IO_ERROR);
    CHECK(client_is_gone(&server, &number) && number == 0);
    CHECK(!client_is_gone(&server, &number));
    EXPECT(client_detach(&server, 0), SERVICE_BAD_CLIENT);
    EXPECT(client_detach(&server, SERVICE_CLIENTS_MAX), SERVICE_BAD_CLIENT);
    EXPECT(attach(0, 0), SERVICE_OK);
}

TEST(block_client_attach_refused, "an attachment whose numbers make no sense is refused")
{
    struct service_attach words = {.name = "guest", .extents = 1, .extent = {{0, 0x1000, 0x1000}}};
    uint64_t w[4] = {0, 0, 1, 0};
    machine();
    w[0] = SERVICE_CLIENTS_MAX;
    EXPECT(client_attach(&server, w, &words, channels[0], memories[0], NULL), SERVICE_BAD_CLIENT);
    w[0] = 0, w[1] = 3;
    EXPECT(client_attach(&server, w, &words, channels[0], memories[0], NULL), SERVICE_NO_SUCH);
    w[1] = 0;
    server.volumes[0].problem = "gone";
    EXPECT(client_attach(&server, w, &words, channels[0], memories[0], NULL), SERVICE_NO_SUCH);
    server.volumes[0].problem = NULL;
    for (unsigned kind = 0; kind < 7; kind++) {
        struct service_attach bad = words;
        switch (kind) {
        case 0: bad.name[0] = 0; break;
        case 1: memset(bad.name, 'a', sizeof bad.name); break;
        case 2: bad.extents = 0; break;
        case 3: bad.extents = SERVICE_EXTENTS_MAX + 1; break;
        case 4: bad.extent[0].offset = 4096; break;
        case 5: bad.extent[0].size_bytes = 0; break;
        case 6:
            bad.extent[0].physical = UINT64_MAX - 0xfff;
            bad.extent[0].size_bytes = 0x2000;
            break;
        }
        EXPECT(client_attach(&server, w, &bad, channels[0], memories[0], NULL),
               SERVICE_BAD_REQUEST);
        CHECK(!server.clients[0].attached);
    }
    EXPECT(client_attach(&server, w, &words, channels[0], memories[0], NULL), SERVICE_OK);
}

TEST(block_client_pending, "a client of a disk that is not found yet is attached, shown nothing "
                           "and served later; others are served meanwhile")
{
    const struct block_segment segment = {0, 512};
    const struct block_request request = {.operation = BLOCK_READ, .id = 1, .segments = 1};
    struct block_completion completion;
    unsigned number;
    machine();
    server.volumes[0].pending = true;
    EXPECT(attach(0, 0), SERVICE_OK);
    EXPECT(attach(1, 0), SERVICE_OK);
    EXPECT(attach(2, 2), SERVICE_OK);
    EXPECT(volume_page(0)->generation, 0);
    EXPECT(rings[0], 0);
    ask(0, request, &segment); /* by the word of a predecessor */
    EXPECT(answer_of(2, request, &segment), BLOCK_OK);
    EXPECT(disk.submitted, 0);
    EXPECT(client_detach(&server, 1), SERVICE_OK);
    CHECK(client_is_gone(&server, &number) && number == 1);
    server.volumes[0].pending = false;
    clients_begin(&server, &server.volumes[0]);
    EXPECT(volume_page(0)->generation, 1);
    EXPECT(volume_page(0)->sectors, SECTORS);
    EXPECT(volume_page(1)->generation, 0);
    EXPECT(rings[0], 1);
    work();
    CHECK(!answered(0, &completion));
    EXPECT(answer_of(0, request, &segment), BLOCK_OK);
    EXPECT(disk.submitted, 1);
}
