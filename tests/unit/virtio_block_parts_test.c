/*
 * virtio-blk: transfers that are more than the server takes at a time, with a server in the test.
 * links: vmm-server/devices/virtio.c vmm-server/devices/virtio_packed.c vmm-server/devices/virtio_mmio.c vmm-server/devices/virtio_console.c
 *        vmm-server/devices/virtio_random.c vmm-server/devices/chacha.c vmm-server/devices/virtio_block.c
 *        vmm-server/disk.c lib/print.c lib/ring.c
 */
#include "virtio_block_machine.h"

/* A request of eleven sectors in three buffers, of which the server takes four at a time. */
static void request_long(uint32_t type)
{
    const uint16_t write = type == IN ? WRITE : 0;
    disk.part_sectors = 4;
    *(struct header *)data(0x6000) = (struct header){type, 0, 20};
    *data(STATUS_AT) = 0xee;
    describe(0, 0, DATA + 0x6000, 16, NEXT, 1);
    describe(0, 1, DATA + 0x2000, 512, write | NEXT, 2);
    describe(0, 2, DATA + 0x1000, 2048, write | NEXT, 3);
    describe(0, 3, DATA + 0x3000, 3072, write | NEXT, 4);
    describe(0, 4, DATA + STATUS_AT, 1, WRITE, 0);
    offer(0, 0);
    ring(0);
}

/* The server takes and answers what it is asked next; 0: nothing. */
static uint32_t next_part(uint32_t status)
{
    if (!server_take())
        return 0;
    server_answer(&taken[taken_count - 1], status);
    virtio_block_attend(&disk);
    return taken[taken_count - 1].request.sectors;
}

TEST(virtio_block_parts, "a driver that keeps no limit gets its transfer in parts, and one answer")
{
    start_disk(ALL_FLAGS, 0);
    request_long(IN);
    EXPECT(next_part(BLOCK_OK), 4);
    EXPECT(taken[0].request.segments, 2);
    EXPECT(rings(0)->used.index, 0);
    EXPECT(next_part(BLOCK_OK), 4);
    EXPECT(taken[1].request.sector, 24);
    EXPECT(status_of(0), 0xee);
    EXPECT(next_part(BLOCK_OK), 3);
    EXPECT(next_part(BLOCK_OK), 0);
    EXPECT(status_of(0), 0);
    EXPECT(rings(0)->used.index, 1);
    EXPECT(rings(0)->used.entries[0].written, 11 * 512 + 1);
    CHECK(memcmp(data(0x2000), disk_data + 20 * 512, 512) == 0);
    CHECK(memcmp(data(0x1000), disk_data + 21 * 512, 2048) == 0);
    CHECK(memcmp(data(0x3000), disk_data + 25 * 512, 3072) == 0);
    memset(data(0x3000), 0x5a, 3072);
    request_long(OUT);
    while (next_part(BLOCK_OK))
        ;
    EXPECT(rings(0)->used.entries[1].written, 1);
    EXPECT(disk_data[25 * 512], 0x5a);
    EXPECT(disk_data[31 * 512 - 1], 0x5a);
    CHECK(disk_data[31 * 512] != 0x5a);
}

TEST(virtio_block_parts_end, "a part that fails, a chain that changes and a reset end the transfer")
{
    start_disk(ALL_FLAGS, 0);
    request_long(IN);
    EXPECT(next_part(BLOCK_OK), 4);
    EXPECT(next_part(BLOCK_IO_ERROR), 4);
    EXPECT(next_part(BLOCK_OK), 0);
    EXPECT(status_of(0), 1);
    static const struct header others[] = {{IN, 0, 60}, {FLUSH, 0, 0}, {DISCARD, 0, 0}};
    for (unsigned i = 0; i < 3; i++) {
        request_long(IN);
        *(struct header *)data(0x6000) = others[i];
        EXPECT(next_part(BLOCK_OK), 4);
        EXPECT(next_part(BLOCK_OK), 0);
        EXPECT(status_of(0), 1);
    }
    request_long(IN);
    describe(0, 1, DATA + 0x2000, 1536, WRITE | NEXT, 4); /* shorter than what is done */
    EXPECT(next_part(BLOCK_OK), 4);
    EXPECT(next_part(BLOCK_OK), 0);
    EXPECT(status_of(0), 1);
    EXPECT(rings(0)->used.index, 5);
    request_long(IN);
    CHECK(server_take());
    set(0x70, 0);
    server_answer(&taken[taken_count - 1], BLOCK_OK);
    virtio_block_attend(&disk);
    EXPECT(next_part(BLOCK_OK), 0);
    EXPECT(held, 0);
}

TEST(virtio_block_parts_restart,
     "a new server is asked for the part that has no answer, and goes on")
{
    start_disk(ALL_FLAGS, 0);
    request_long(IN);
    EXPECT(next_part(BLOCK_OK), 4);
    CHECK(server_take());
    server_begin(8);
    virtio_block_attend(&disk);
    EXPECT(next_part(BLOCK_OK), 4);
    EXPECT(taken[taken_count - 1].request.sector, 24);
    EXPECT(next_part(BLOCK_OK), 3);
    EXPECT(status_of(0), 0);
    CHECK(memcmp(data(0x3000), disk_data + 25 * 512, 3072) == 0);
}

TEST(virtio_block_parts_wait, "parts that there is no room for wait, before anything new")
{
    struct ring_shared *shared = (struct ring_shared *)((char *)channel + BLOCK_REQUESTS_OFFSET);
    start_disk(ALL_FLAGS, 0);
    request_long(IN);
    CHECK(server_take());
    server_answer(&taken[0], BLOCK_OK);
    shared->read -= BLOCK_REQUESTS_BYTES - 100; /* the ring's reader is far behind */
    virtio_block_attend(&disk);
    request(0, 3, IN, 1, 0, 512);
    ring(0);
    EXPECT(disk.begun_count, 1);
    shared->read += BLOCK_REQUESTS_BYTES - 100;
    virtio_block_attend(&disk);
    EXPECT(disk.begun_count, 0);
    EXPECT(next_part(BLOCK_OK), 4);
    EXPECT(taken[1].request.sector, 24);
    while (next_part(BLOCK_OK))
        ;
    EXPECT(rings(0)->used.index, 2);
    EXPECT(status_of(0), 0);
    EXPECT(status_of(3), 0);
}
