/*
 * virtio-blk: requests, limits, restarts and resets, with a server in the test.
 * links: vmm-server/devices/virtio.c vmm-server/devices/virtio_packed.c vmm-server/devices/virtio_mmio.c vmm-server/devices/virtio_console.c
 *        vmm-server/devices/virtio_random.c vmm-server/devices/chacha.c vmm-server/devices/virtio_block.c
 *        vmm-server/disk.c lib/print.c lib/ring.c
 */
#include "virtio_block_machine.h"

/* ---- Good requests --------------------------------------------------------------------------- */

TEST(virtio_block_config,
     "the configuration tells the volume's size and limits, features follow it")
{
    uint64_t value;
    start_disk(ALL_FLAGS, 0);
    EXPECT(get(8), 2);
    EXPECT(get(0x100), SECTORS);
    EXPECT(get(0x104), 0);
    EXPECT(get(0x108), 65536);
    EXPECT(get(0x10c), 62);
    EXPECT(get(0x114), 512);
    EXPECT(get(0x118), 8u << 16 | 3); /* physical exponent 3, at least 8 sectors at once */
    EXPECT(get(0x120) >> 16, 2);      /* queues */
    EXPECT(get(0x124), 16);
    EXPECT(get(0x128), 1);
    EXPECT(get(0x130), 32);
    EXPECT(get(0x134), 1);
    CHECK(window.operations->read(window.device, 0x138, 1, &value));
    EXPECT(value, 1);
    EXPECT(window.operations->read(window.device, 0x13c, 4, &value), false);
    EXPECT(window.operations->write(window.device, 0x121, 1, 0), false);
    EXPECT(disk.device.features, 1u << 1 | 1u << 2 | 1u << 6 | 1u << 9 | 1u << 10 | 1u << 11 |
                                     1u << 12 | 1u << 13 | 1u << 14);
    set(0x30, 2); /* two queues, not eight */
    EXPECT(get(0x34), 0);
    start_disk(BLOCK_VOLUME_READ_ONLY, 0);
    EXPECT(disk.device.features, 1u << 1 | 1u << 2 | 1u << 5 | 1u << 6 | 1u << 10 | 1u << 12);
}

TEST(virtio_block_reads_writes,
     "data goes between the guest's buffers and the volume, and nowhere else")
{
    start_disk(ALL_FLAGS, 0);
    EXPECT(ask(IN, 5, 1024), 0);
    CHECK(memcmp(data(0), disk_data + 5 * 512, 1024) == 0);
    EXPECT(rings(0)->used.entries[0].written, 1025);
    memset(data(0), 0x5a, 2048);
    EXPECT(ask(OUT, 60, 2048), 0);
    EXPECT(rings(0)->used.entries[1].written, 1);
    EXPECT(disk_data[63 * 512 + 511], 0x5a);
    EXPECT(disk_data[59 * 512], 59);
    EXPECT(taken[1].request.flags, 0);
    EXPECT(ask(FLUSH, 0, 0), 0);
    EXPECT(taken[2].request.operation, BLOCK_FLUSH);
    EXPECT(taken[2].request.segments, 0);
    EXPECT(rings(0)->used.index, 3);
}

TEST(virtio_block_merges,
     "neighbouring buffers are one segment; header, data and status may be cut anyhow")
{
    start_disk(ALL_FLAGS, 0);
    *(struct header *)data(0) = (struct header){OUT, 0, 8};
    describe(0, 0, DATA, 10, NEXT, 1);
    describe(0, 1, DATA + 10, 6 + 256, NEXT, 2); /* the rest of the header, and data */
    describe(0, 2, DATA + 272, 256, NEXT, 3);
    describe(0, 3, DATA + 4096, 512, NEXT, 4);
    describe(0, 4, DATA + STATUS_AT, 1, WRITE, 0);
    memset(data(16), 'x', 512);
    offer(0, 0);
    ring(0);
    server_run();
    virtio_block_attend(&disk);
    EXPECT(status_of(0), 0);
    EXPECT(taken[0].request.segments, 2);
    EXPECT(taken[0].segments[0].offset, 0x8010);
    EXPECT(taken[0].segments[0].size_bytes, 512);
    EXPECT(disk_data[8 * 512], 'x');
    *(struct header *)data(0) = (struct header){IN, 0, 3};
    describe(0, 0, DATA, 16, NEXT, 1);
    describe(0, 1, DATA + 1024, 513, WRITE, 0); /* data and status in one buffer */
    offer(0, 0);
    ring(0);
    server_run();
    virtio_block_attend(&disk);
    CHECK(memcmp(data(1024), disk_data + 3 * 512, 512) == 0);
    EXPECT(*data(1024 + 512), 0);
}

TEST(virtio_block_ranges,
     "discard and write zeroes: limits, flags, and volumes that don't know them")
{
    struct range {
        uint64_t sector;
        uint32_t sectors, flags;
    } *range = (void *)data(0);
    static const struct {
        uint32_t type;
        struct range range;
        uint8_t status;
    } cases[] = {
        {DISCARD, {8, 16, 0}, 0}, {DISCARD, {8, 17, 0}, 1}, {DISCARD, {8, 0, 0}, 1},
        {DISCARD, {60, 5, 0}, 1}, {DISCARD, {8, 8, 1}, 2},  {ZEROES, {8, 32, 1}, 0},
        {ZEROES, {8, 33, 0}, 1},  {ZEROES, {8, 8, 2}, 2},   {ZEROES, {UINT64_MAX, 2, 0}, 1}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        start_disk(ALL_FLAGS, 0);
        *range = cases[i].range;
        EXPECT(ask(cases[i].type, 0, 16), cases[i].status);
        EXPECT(taken_count, cases[i].status == 0);
        if (taken_count) {
            EXPECT(taken[0].request.sector, 8);
            EXPECT(taken[0].request.sectors, cases[i].range.sectors);
            EXPECT(taken[0].request.flags, cases[i].range.flags ? BLOCK_UNMAP : 0);
        }
    }
    start_disk(ALL_FLAGS, 0);
    EXPECT(ask(DISCARD, 0, 32), 1); /* two ranges */
    EXPECT(ask(DISCARD, 0, 8), 1);
    start_disk(BLOCK_VOLUME_FLUSH, 0);
    *range = (struct range){8, 8, 0};
    EXPECT(ask(DISCARD, 0, 16), 2);
    EXPECT(ask(ZEROES, 0, 16), 2);
    start_disk(ALL_FLAGS | BLOCK_VOLUME_READ_ONLY, 0);
    *range = (struct range){8, 8, 0};
    EXPECT(ask(DISCARD, 0, 16), 1);
    EXPECT(taken_count, 0);
}

TEST(virtio_block_answers_itself,
     "serial number, unknown requests, flushes of a volume without a cache")
{
    start_disk(0, 0);
    EXPECT(ask(GET_ID, 0, 20), 0);
    CHECK(memcmp(data(0), "0123456789abcdefghij", 20) == 0);
    EXPECT(rings(0)->used.entries[0].written, 21);
    memset(data(0), 0, 32);
    EXPECT(ask(GET_ID, 0, 4), 0);
    CHECK(memcmp(data(0), "0123\0", 5) == 0);
    EXPECT(ask(2, 0, 512), 2);
    EXPECT(ask(10, 0, 512), 2);
    EXPECT(ask(FLUSH, 0, 0), 0);
    EXPECT(taken_count, 0);
    EXPECT(bells, 0);
}

TEST(virtio_block_write_through, "without FLUSH agreed on, writes are to be on stable storage")
{
    start_disk(BLOCK_VOLUME_FLUSH, 0);
    drive(0, 2);
    EXPECT(ask(OUT, 0, 512), 0);
    EXPECT(taken[0].request.flags, BLOCK_FUA);
    EXPECT(ask(IN, 0, 512), 0);
    EXPECT(taken[1].request.flags, 0);
}

static uint64_t cache(void)
{
    uint64_t value;
    CHECK(window.operations->read(window.device, 0x120, 1, &value));
    return value;
}

static bool set_cache(uint64_t value)
{
    return window.operations->write(window.device, 0x120, 1, value);
}

/* 5.2.6.2: a write is stable when it is answered if the cache was off all the time. */
TEST(virtio_block_cache_off,
     "a cache that is turned off: first a flush, then writes that are stable")
{
    start_disk(BLOCK_VOLUME_FLUSH, 0);
    EXPECT(cache(), 1);
    EXPECT(ask(OUT, 1, 512), 0);
    EXPECT(taken[0].request.flags, 0);
    CHECK(set_cache(0));
    EXPECT(cache(), 0);
    EXPECT(held, 1);
    CHECK(set_cache(0)); /* another vCPU, before it leaves the guest: nothing new */
    EXPECT(held, 1);
    CHECK(server_take());
    EXPECT(taken[1].request.operation, BLOCK_FLUSH);
    CHECK(!server_take());
    server_answer(&taken[1], BLOCK_OK);
    virtio_block_attend(&disk);
    EXPECT(held, 0);
    EXPECT(rings(0)->used.index, 1);
    EXPECT(ask(OUT, 1, 512), 0);
    EXPECT(taken[2].request.flags, BLOCK_FUA);
    EXPECT(ask(FLUSH, 0, 0), 0);
    EXPECT(taken[3].request.operation, BLOCK_FLUSH);
    CHECK(set_cache(1));
    EXPECT(held, 0);
    EXPECT(ask(OUT, 1, 512), 0);
    EXPECT(taken[4].request.flags, 0);
    CHECK(!server_take());
}

TEST(virtio_block_cache_flush_waits,
     "the flush waits for room, and is asked for again of a new server")
{
    start_disk(BLOCK_VOLUME_FLUSH, 0);
    disk.disk.volume.generation = 0;
    CHECK(set_cache(0)); /* no server was there yet: nothing can be in its cache */
    EXPECT(held, 0);
    start_disk(BLOCK_VOLUME_FLUSH, 0);
    uint8_t free = disk.disk.free;
    disk.disk.free = DISK_NONE; /* as if all its requests were on their way */
    CHECK(set_cache(0));
    EXPECT(held, 1);
    CHECK(!server_take());
    disk.disk.free = free;
    virtio_block_attend(&disk);
    CHECK(server_take());
    server_begin(8);
    virtio_block_attend(&disk);
    EXPECT(held, 1);
    CHECK(server_take());
    EXPECT(taken[1].request.operation, BLOCK_FLUSH);
    server_answer(&taken[1], BLOCK_OK);
    virtio_block_attend(&disk);
    EXPECT(held, 0);
    CHECK(!failed());
}

TEST(virtio_block_cache_reset, "a reset takes the choice away, and waits for no flush twice")
{
    start_disk(BLOCK_VOLUME_FLUSH, 0);
    CHECK(set_cache(0));
    EXPECT(held, 1);
    set(0x70, 0);
    EXPECT(held, 1); /* for all that the server has, the flush among it */
    server_run();
    virtio_block_attend(&disk);
    EXPECT(held, 0);
    EXPECT(cache(), 0); /* nothing is agreed on */
    drive(disk.device.features, 2);
    EXPECT(cache(), 1);
    EXPECT(ask(OUT, 1, 512), 0);
    EXPECT(taken[1].request.flags, 0);
}

TEST(virtio_block_cache_refused,
     "what can't be set: without the feature, other values, other fields")
{
    uint64_t all = 1ull << 9 | 1ull << 11;
    start_disk(BLOCK_VOLUME_FLUSH, 0);
    CHECK(!set_cache(2));
    EXPECT(window.operations->write(window.device, 0x120, 2, 0), false);
    EXPECT(window.operations->write(window.device, 0x11f, 1, 0), false);
    EXPECT(cache(), 1);
    set(0x70, 0);
    drive(disk.device.features & ~(1ull << 11), 2);
    CHECK(!set_cache(0));
    EXPECT(cache(), 1);
    /* 5.2.5.2: with CONFIG_WCE and without FLUSH it begins as 0, and may be turned on. */
    set(0x70, 0);
    drive((disk.device.features & ~all) | 1ull << 11, 2);
    EXPECT(cache(), 0);
    EXPECT(ask(OUT, 1, 512), 0);
    EXPECT(taken[0].request.flags, BLOCK_FUA);
    CHECK(set_cache(1));
    EXPECT(ask(OUT, 1, 512), 0);
    EXPECT(taken[1].request.flags, 0);
    start_disk(0, 0);
    EXPECT(disk.device.features & all, 0);
    CHECK(!set_cache(0));
}

TEST(virtio_block_server_errors, "what the server answers comes to the driver")
{
    static const uint8_t expected[] = {0, 1, 2, 1, 1, 1, 1};
    for (uint32_t status = 0; status < sizeof expected; status++) {
        start_disk(ALL_FLAGS, 0);
        request(0, 0, IN, 0, 0, 512);
        ring(0);
        CHECK(server_take());
        server_answer(&taken[0], status);
        virtio_block_attend(&disk);
        EXPECT(status_of(0), expected[status]);
        EXPECT(rings(0)->used.entries[0].written, status ? 1 : 513);
    }
}

/* ---- Rules ----------------------------------------------------------------------------------- */

TEST(virtio_block_refuses,
     "beyond the end, cut sectors, no data, writes to what is read-only: an error, no request")
{
    start_disk(ALL_FLAGS, 0);
    EXPECT(ask(IN, SECTORS, 512), 1);
    EXPECT(ask(IN, SECTORS - 1, 1024), 1);
    EXPECT(ask(OUT, UINT64_MAX, 512), 1);
    EXPECT(ask(IN, UINT64_MAX - 1, 4096), 1);
    EXPECT(ask(IN, 0, 511), 1);
    EXPECT(ask(OUT, 0, 513), 1);
    EXPECT(ask(IN, 0, 0), 1);
    EXPECT(ask(OUT, 0, 0), 1);
    start_disk(ALL_FLAGS | BLOCK_VOLUME_READ_ONLY, 0);
    EXPECT(ask(OUT, 0, 512), 1);
    EXPECT(taken_count, 0);
    EXPECT(ask(IN, 0, 512), 0);
    CHECK(!failed());
}

TEST(virtio_block_needs_reset,
     "a request without header or status ends the device's use until its reset")
{
    static const struct {
        uint32_t header, flags, status;
    } cases[] = {{15, 0, WRITE}, {16, 0, 0}, {16, WRITE, WRITE}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        start_disk(ALL_FLAGS, 0);
        request(0, 0, IN, 0, 0, 0);
        describe(0, 0, DATA + 0x6000, cases[i].header, (uint16_t)(cases[i].flags | NEXT), 2);
        describe(0, 2, DATA + STATUS_AT, 1, (uint16_t)cases[i].status, 0);
        ring(0);
        CHECK(failed());
        EXPECT(taken_count, 0);
        drive(disk.device.features, 2);
        EXPECT(ask(IN, 0, 512), 0);
    }
}

/* ---- Economy --------------------------------------------------------------------------------- */

TEST(virtio_block_bells, "a batch rings the server once, and not at all while it is awake")
{
    start_disk(ALL_FLAGS, WITH_EVENTS);
    for (unsigned n = 0; n < 8; n++)
        request(0, n, IN, n, n * 512, 512);
    ring(0);
    EXPECT(bells, 1);
    while (server_take())
        ;
    EXPECT(taken_count, 8);
    request(1, 0, IN, 1, 0, 512);
    ring(1); /* the server has not said that it waits */
    EXPECT(bells, 1);
    CHECK(server_take());
    for (unsigned n = 0; n < 9; n++)
        server_answer(&taken[n], BLOCK_OK);
    CHECK(ring_writer_must_ring(&completions));
    CHECK(!high);
    ring_reader_waits(&requests);
    rings(0)->available.used_event = 7; /* tell me of the eighth */
    virtio_block_attend(&disk);
    CHECK(high);
    EXPECT(rings(0)->used.index, 8);
    EXPECT(rings(1)->used.index, 1);
    EXPECT(bells, 1); /* nothing new for it */
}

TEST(virtio_block_inline, "a server that answers before its doorbell returns need not ring back")
{
    start_disk(ALL_FLAGS, 0);
    answers_at_once = true;
    request(0, 0, IN, 9, 0, 512);
    ring(0);
    EXPECT(status_of(0), 0);
    CHECK(high);
    EXPECT(bells, 1);
    request(0, 1, IN, 9, 0, 512);
    ring(0);
    EXPECT(bells, 2);
    EXPECT(rings(0)->used.index, 2);
}

TEST(virtio_block_full, "what the channel has no room for stays in the queue, and follows in order")
{
    unsigned offered = 0;
    start_disk(ALL_FLAGS, 0);
    for (unsigned n = 0; n < 8; n++)
        request(0, n, IN, n, n * 512, 512);
    ring(0);
    for (offered = 8; offered < 128; offered += 8) {
        for (unsigned n = 0; n < 8; n++)
            offer(0, (uint16_t)(n * 3));
        ring(0);
    }
    for (unsigned n = 0; n < 8; n++)
        offer(0, (uint16_t)(n * 3));
    ring(0); /* the 129th and more: no place in the list */
    CHECK(!failed());
    while (server_take())
        ;
    EXPECT(taken_count, BLOCK_REQUESTS_MAX);
    server_answer(&taken[5], BLOCK_OK);
    server_answer(&taken[3], BLOCK_OK);
    virtio_block_attend(&disk);
    while (server_take())
        ;
    EXPECT(taken_count, BLOCK_REQUESTS_MAX + 2);
    EXPECT(taken[BLOCK_REQUESTS_MAX + 1].request.sector, 1);
    for (unsigned n = 0; n < BLOCK_REQUESTS_MAX + 2; n++)
        if (n != 5 && n != 3)
            server_answer(&taken[n], BLOCK_OK);
    virtio_block_attend(&disk);
    server_run();
    virtio_block_attend(&disk);
    EXPECT(rings(0)->used.index, 136);
}

TEST(virtio_block_full_ring,
     "large requests fill the channel's ring before the list: they wait too")
{
    struct descriptor *table = (struct descriptor *)data(0x5000);
    unsigned given = 0;
    start_disk(ALL_FLAGS, WITH_TABLES);
    set(0x70, 0);
    drive(disk.device.features | WITH_TABLES, 2);
    *(struct header *)data(0x6000) = (struct header){OUT, 0, 0};
    *(struct header *)data(0x6010) = (struct header){IN, 0, 0};
    /* Four buffers that are no neighbours, in a queue of eight: 112 bytes in the ring. */
    table[0] = (struct descriptor){DATA + 0x6010, 16, NEXT, 1};
    for (unsigned i = 1; i <= 5; i++)
        table[i] = (struct descriptor){DATA + i * 1024, 512, WRITE | NEXT, (uint16_t)(i + 1)};
    table[6] = (struct descriptor){DATA + STATUS_AT, 1, WRITE, 0};
    describe(0, 0, DATA + 0x5000, 7 * 16, INDIRECT, 0);
    /* So that a few fill it: the ring's reader is far behind. */
    ((struct ring_shared *)((char *)channel + BLOCK_REQUESTS_OFFSET))->read -=
        BLOCK_REQUESTS_BYTES - 1300;
    for (unsigned i = 0; i < 8; i++)
        offer(0, 0);
    ring(0);
    EXPECT(disk.disk.requests.broken, false);
    EXPECT(rings(0)->used.index, 0);
    EXPECT(disk.stalled, 1);
    ((struct ring_shared *)((char *)channel + BLOCK_REQUESTS_OFFSET))->read +=
        BLOCK_REQUESTS_BYTES - 1300;
    for (unsigned round = 0; round < 8; round++) {
        server_run();
        virtio_block_attend(&disk);
    }
    given = rings(0)->used.index;
    EXPECT(given, 8);
    EXPECT(taken[0].request.segments, 5);
}

/* ---- The server's restart, the device's reset -------------------------------------------------- */

TEST(virtio_block_restart,
     "a new server gets all that has no answer, in the old order, and nothing twice")
{
    start_disk(ALL_FLAGS, 0);
    for (unsigned n = 0; n < 6; n++)
        request(n & 1, n, IN, n * 2, n * 512, 512);
    ring(0);
    ring(1);
    while (server_take())
        ;
    EXPECT(taken_count, 6);
    server_answer(&taken[1], BLOCK_OK);
    server_answer(&taken[4], BLOCK_OK); /* and dies; the bell is lost */
    server_begin(8);
    request(0, 6, IN, 40, 6 * 512, 512);
    ring(0);
    EXPECT(bells, 2);
    EXPECT(status_of((unsigned)taken[1].request.sector / 2), 0);
    taken_count = 0;
    while (server_take())
        ;
    EXPECT(taken_count, 5);
    /* Queue 0 was rung first: sectors 0 4 8, then 2 6 10; of these 4 and 6 were answered. */
    static const uint8_t sectors[] = {0, 8, 2, 10, 40};
    for (unsigned n = 0; n < 5; n++)
        EXPECT(taken[n].request.sector, sectors[n]);
    for (unsigned n = 5; n-- > 0;)
        server_answer(&taken[n], BLOCK_OK);
    virtio_block_attend(&disk);
    EXPECT(rings(0)->used.index + rings(1)->used.index, 7);
    for (unsigned n = 0; n < 7; n++)
        EXPECT(status_of(n), 0);
    EXPECT(text_count, 0);
}

TEST(virtio_block_restart_changed,
     "a chain that the guest changed meanwhile is checked as if it were new")
{
    start_disk(ALL_FLAGS, 0);
    request(0, 0, IN, 0, 0, 512);
    request(0, 1, IN, 1, 512, 512);
    request(0, 2, IN, 2, 1024, 512);
    ring(0);
    while (server_take())
        ;
    describe(0, 1, DATA, 513, WRITE | NEXT, 2);                     /* refused now */
    *(struct header *)data(0x6010) = (struct header){GET_ID, 0, 0}; /* answered at once */
    describe(0, 6, 0, 16, NEXT, 7);                                 /* no chain any more */
    server_begin(8);
    virtio_block_attend(&disk);
    EXPECT(ring_filled(&requests), 0);
    EXPECT(status_of(0), 1);
    EXPECT(status_of(1), 0);
    CHECK(memcmp(data(512), "0123", 4) == 0);
    CHECK(failed());
    EXPECT(disk.disk.first, 0xff);
    drive(disk.device.features, 2);
    EXPECT(ask(IN, 0, 512), 0);
}

TEST(virtio_block_late_server,
     "a server that comes late: the disk grows then, and the driver is told")
{
    start_disk(ALL_FLAGS, 0);
    volume->generation = 0;
    volume->sectors = 0;
    virtio_block_init(&disk, &host, &(struct device_peer){channel, ram, 3, bell}, 1, &line);
    drive(disk.device.features, 1);
    EXPECT(get(0x100), 0);
    request(0, 0, IN, 0, 0, 512);
    ring(0);
    EXPECT(ring_filled(&requests), 0);
    uint32_t generation = get(0xfc);
    volume->sectors = SECTORS;
    server_begin(3);
    virtio_block_attend(&disk);
    CHECK(get(0x60) & 2);
    CHECK(get(0xfc) != generation);
    EXPECT(get(0x100), SECTORS);
    server_run(); /* what waited */
    virtio_block_attend(&disk);
    EXPECT(status_of(0), 0);
}

TEST(virtio_block_reset_in_flight,
     "a reset holds the guest until the server has answered all that it has")
{
    start_disk(ALL_FLAGS, 0);
    for (unsigned n = 0; n < 3; n++)
        request(0, n, IN, n, n * 512, 512);
    ring(0);
    while (server_take())
        ;
    set(0x70, 0);
    EXPECT(held, 1);
    EXPECT(get(0x70), 0);
    server_answer(&taken[0], BLOCK_OK);
    server_answer(&taken[1], BLOCK_OK);
    virtio_block_attend(&disk);
    EXPECT(held, 1);
    server_answer(&taken[2], BLOCK_OK);
    virtio_block_attend(&disk);
    EXPECT(held, 0);
    EXPECT(rings(0)->used.index, 0);
    EXPECT(status_of(0), 0xee);
    drive(disk.device.features, 2);
    EXPECT(held, 0);
    EXPECT(ask(IN, 0, 512), 0);
    request(0, 0, IN, 0, 0, 512);
    ring(0);
    set(0x70, 0);
    EXPECT(held, 1);
    set(0x70, 0); /* again: it is held once */
    server_begin(9);
    virtio_block_attend(&disk);
    EXPECT(held, 0); /* the server that had it is gone */
    EXPECT(ring_filled(&requests), 0);
    EXPECT(disk.disk.first, 0xff);
}

TEST(virtio_block_polled,
     "a driver that wants no interrupt is held until it has its answer; one that wants it goes on")
{
    start_disk(ALL_FLAGS, 0);
    request(0, 0, IN, 1, 0, 512);
    ring(0);
    EXPECT(held, 0);
    CHECK(server_take());
    server_answer(&taken[0], BLOCK_OK);
    virtio_block_attend(&disk);
    rings(0)->available.flags = 1;
    request(0, 1, IN, 2, 0, 512);
    ring(0);
    EXPECT(held, 1);
    CHECK(server_take());
    virtio_block_attend(&disk);
    EXPECT(held, 1);
    server_answer(&taken[1], BLOCK_OK);
    virtio_block_attend(&disk);
    EXPECT(held, 0);
    EXPECT(rings(0)->used.index, 2);
    /* It is reset while it is held, as the machine may do. */
    request(0, 2, IN, 3, 0, 512);
    ring(0);
    CHECK(server_take());
    EXPECT(held, 1);
    disk.device.operations->reset(&disk.device);
    EXPECT(held, 1);
    server_answer(&taken[2], BLOCK_OK);
    virtio_block_attend(&disk);
    EXPECT(held, 0);
    /* With event indices the flag means nothing. */
    start_disk(ALL_FLAGS, 1u << 29);
    rings(0)->available.flags = 1;
    request(0, 0, IN, 1, 0, 512);
    ring(0);
    EXPECT(held, 0);
}
