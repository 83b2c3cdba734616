/*
 * The floppy controller, from the data sheet of the 82077AA.
 * links: vmm-server/devices/floppy.c vmm-server/devices/floppy_data.c vmm-server/disk.c vmm-server/bus.c
 *        vmm-server/guest_memory.c lib/print.c lib/ring.c
 */
#define SECTORS_MAX 2880u
#include "disk_machine.h"

#include "devices/floppy_internal.h"

static struct floppy floppy;
static uint8_t dma_memory[0x10000];
static uint32_t dma_count, dma_at; /* what the channel was told to move */

static uint32_t dma_move(void *device, bool to_memory, uint8_t *data, uint32_t size_bytes,
                         bool *end)
{
    uint32_t n = size_bytes < dma_count ? size_bytes : dma_count;
    EXPECT(device, &floppy);
    if (to_memory)
        memcpy(dma_memory + dma_at, data, n);
    else
        memcpy(data, dma_memory + dma_at, n);
    dma_at += n, dma_count -= n;
    *end = dma_count == 0;
    return n;
}

static void start_floppy(uint64_t sectors, uint32_t flags)
{
    const struct floppy_dma dma = {&floppy, dma_move};
    start_board();
    const struct device_peer peer = start_server(0, sectors, flags);
    floppy_init(&floppy, &host, ram + BUFFERS, &dma, &lines[0].line);
    EXPECT(floppy_insert(&floppy, &peer), sectors == 2880 || sectors == 1440);
    CHECK(floppy_attach(&floppy, &ports));
    out(0x3f2, 1, 0x08);
    out(0x3f2, 1, 0x1c);
    dma_at = dma_count = 0;
}

static void send(const uint8_t *bytes, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        EXPECT(in(0x3f4, 1) & 0xc0, 0x80);
        out(0x3f5, 1, bytes[i]);
    }
}

static uint8_t result[16];

static unsigned receive(void)
{
    unsigned count = 0;
    while ((in(0x3f4, 1) & 0xd0) == 0xd0) {
        CHECK(count < sizeof result);
        result[count++] = (uint8_t)in(0x3f5, 1);
    }
    EXPECT(in(0x3f4, 1), 0x80);
    return count;
}

#define SEND(...) send((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* As a driver begins: the reset sensed, the rate set, the head at track 0. */
static void ready_floppy(uint64_t sectors, uint32_t flags)
{
    start_floppy(sectors, flags);
    for (unsigned i = 0; i < 4; i++) {
        SEND(0x08);
        EXPECT(receive(), 2);
    }
    SEND(0x03, 0xdf, 0x02);
    out(0x3f7, 1, sectors == 2880 ? 0 : 2);
    SEND(0x07, 0);
    SEND(0x08);
    EXPECT(receive(), 2);
    EXPECT(result[0], 0x20);
    lines[0].edges = 0;
}

static void seek_to(uint8_t track)
{
    SEND(0x0f, 0, track);
    CHECK(lines[0].high);
    SEND(0x08);
    EXPECT(receive(), 2);
    EXPECT(result[0], 0x20);
    EXPECT(result[1], track);
    CHECK(!lines[0].high);
}

static void expect_result(uint8_t st0, uint8_t st1, uint8_t st2, uint8_t c, uint8_t h, uint8_t r)
{
    const uint8_t expected[7] = {st0, st1, st2, c, h, r, 2};
    CHECK(lines[0].high);
    EXPECT(receive(), 7);
    CHECK(!lines[0].high);
    for (unsigned i = 0; i < 7; i++)
        EXPECT(result[i], expected[i]);
}

TEST(floppy_reset,
     "a reset interrupts, and is sensed for four drives; the version is that of an 82077")
{
    start_floppy(2880, 0);
    CHECK(lines[0].high);
    EXPECT(in(0x3f4, 1), 0x80);
    for (unsigned drive = 0; drive < 4; drive++) {
        SEND(0x08);
        EXPECT(receive(), 2);
        EXPECT(result[0], 0xc0 + drive);
        CHECK(!lines[0].high);
    }
    SEND(0x08);
    EXPECT(receive(), 1);
    EXPECT(result[0], 0x80);
    SEND(0x10);
    EXPECT(receive(), 1);
    EXPECT(result[0], 0x90);
    SEND(0x1f);
    EXPECT(receive(), 1);
    EXPECT(result[0], 0x80);
    out(0x3f2, 1, 0x14); /* without the gate no interrupt comes through */
    out(0x3f4, 1, 0x80);
    CHECK(!lines[0].high);
    out(0x3f2, 1, 0x1c);
    CHECK(lines[0].high);
    out(0x3f2, 1, 0);
    CHECK(!lines[0].high);
    EXPECT(in(0x3f4, 1), 0);
}

TEST(floppy_change, "the disk change line falls when the head has moved")
{
    start_floppy(2880, 0);
    EXPECT(in(0x3f7, 1), 0x80);
    out(0x3f2, 1, 0x0c); /* its motor does not run */
    EXPECT(in(0x3f7, 1), 0);
    out(0x3f2, 1, 0x1c);
    SEND(0x07, 0);
    EXPECT(in(0x3f7, 1), 0);
    SEND(0x08);
    receive();
    SEND(0x07, 1); /* a drive that is not there */
    SEND(0x08);
    receive();
    EXPECT(result[0], 0x71);
}

TEST(floppy_read, "sectors by DMA until its terminal count, on one side or both")
{
    ready_floppy(2880, 0);
    seek_to(5);
    dma_count = 3 * 512;
    SEND(0xe6, 4, 5, 1, 7, 2, 18, 0x1b, 0xff);
    expect_result(0x04, 0, 0, 5, 1, 10);
    CHECK(memcmp(dma_memory, servers[0].data + ((5 * 2 + 1) * 18 + 6) * 512, 3 * 512) == 0);
    dma_at = 0;
    dma_count = 20 * 512;
    SEND(0xe6, 0, 5, 0, 10, 2, 18, 0x1b, 0xff); /* 9 on side 0, 11 on side 1 */
    expect_result(0x00, 0, 0, 5, 1, 12);
    CHECK(memcmp(dma_memory, servers[0].data + (5 * 2 * 18 + 9) * 512, 20 * 512) == 0);
    dma_count = 18 * 512;
    SEND(0x46, 4, 5, 1, 1, 2, 18, 0x1b, 0xff);
    expect_result(0x04, 0, 0, 6, 1, 1);
    dma_count = 100 * 512;
    SEND(0x46, 0, 5, 0, 1, 2, 18, 0x1b, 0xff); /* beyond the end of the track */
    expect_result(0x40, 0x80, 0, 6, 0, 1);
    dma_count = 0; /* the channel is masked */
    SEND(0x46, 0, 5, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(receive(), 7);
}

TEST(floppy_write,
     "a write is on the disk when its interrupt comes; a protected disk is not written")
{
    ready_floppy(2880, 0);
    for (unsigned i = 0; i < 4096; i++)
        dma_memory[i] = (uint8_t)(i * 5 + i / 512);
    dma_count = 4 * 512;
    SEND(0xc5, 0, 0, 0, 3, 2, 18, 0x1b, 0xff);
    expect_result(0, 0, 0, 0, 0, 7);
    CHECK(memcmp(servers[0].data + 2 * 512, dma_memory, 4 * 512) == 0);
    dma_at = 0;
    dma_count = 100; /* a sector that is not whole ends with zeroes */
    SEND(0xc5, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    expect_result(0, 0, 0, 0, 0, 2);
    CHECK(servers[0].data[99] == dma_memory[99] && servers[0].data[100] == 0);
    ready_floppy(2880, BLOCK_VOLUME_READ_ONLY);
    dma_count = 512;
    SEND(0xc5, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    expect_result(0x40, 0x02, 0, 0, 0, 1);
    SEND(0x04, 0);
    EXPECT(receive(), 1);
    EXPECT(result[0], 0x78);
    EXPECT(servers[0].taken, 0);
}

TEST(floppy_by_port, "without DMA the bytes go by the port, to the end of the track")
{
    ready_floppy(2880, 0);
    SEND(0x03, 0xdf, 0x03);
    SEND(0x46, 0, 0, 0, 17, 2, 18, 0x1b, 0xff);
    CHECK(lines[0].high);
    for (unsigned i = 0; i < 1024; i++) {
        EXPECT(in(0x3f4, 1), 0xf0);
        EXPECT(in(0x3f5, 1), servers[0].data[16 * 512 + i]);
    }
    expect_result(0x40, 0x80, 0, 1, 0, 1);
    SEND(0x45, 0, 0, 0, 18, 2, 18, 0x1b, 0xff);
    for (unsigned i = 0; i < 512; i++) {
        EXPECT(in(0x3f4, 1), 0xb0);
        out(0x3f5, 1, i * 3);
    }
    expect_result(0x40, 0x80, 0, 1, 0, 1);
    EXPECT(servers[0].data[17 * 512 + 5], 15);
}

TEST(floppy_not_found, "another cylinder, sector, size or rate is not found")
{
    ready_floppy(2880, 0);
    dma_count = 512;
    SEND(0x46, 0, 1, 0, 1, 2, 18, 0x1b, 0xff);
    expect_result(0x40, 0x04, 0x10, 1, 0, 1);
    SEND(0x46, 0, 0, 0, 19, 2, 19, 0x1b, 0xff);
    expect_result(0x40, 0x04, 0, 0, 0, 19);
    SEND(0x46, 0, 0, 0, 0, 2, 18, 0x1b, 0xff);
    expect_result(0x40, 0x04, 0, 0, 0, 0);
    SEND(0x46, 1, 0, 0, 1, 2, 18, 0x1b, 0xff);
    expect_result(0x41, 0x01, 0, 0, 0, 1);
    out(0x3f7, 1, 2);
    SEND(0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    expect_result(0x40, 0x01, 0, 0, 0, 1);
    SEND(0x4a, 0);
    EXPECT(receive(), 7);
    EXPECT(result[1], 1);
    ready_floppy(1440, 0); /* 720 KB */
    dma_count = 512;
    seek_to(40);
    SEND(0x46, 4, 40, 1, 9, 2, 9, 0x1b, 0xff);
    expect_result(0x04, 0, 0, 41, 1, 1);
    CHECK(memcmp(dma_memory, servers[0].data + ((40 * 2 + 1) * 9 + 8) * 512, 512) == 0);
    SEND(0x4a, 4);
    expect_result(4, 0, 0, 40, 1, 1);
    start_floppy(100, 0); /* no floppy's size: there is no disk */
    EXPECT(in(0x3f7, 1), 0x80);
    servers[0].status = BLOCK_IO_ERROR;
    ready_floppy(2880, 0);
    servers[0].status = BLOCK_IO_ERROR;
    dma_count = 512;
    SEND(0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    expect_result(0x40, 0x20, 0x20, 0, 0, 1);
}

TEST(floppy_format, "a track is filled when its headers are those that the image can hold")
{
    ready_floppy(2880, 0);
    seek_to(79);
    for (unsigned i = 0; i < 18; i++)
        memcpy(dma_memory + i * 4, (const uint8_t[]){79, 1, (uint8_t)(i + 1), 2}, 4);
    dma_at = 0;
    dma_count = 72;
    SEND(0x4d, 4, 2, 18, 0x54, 0xf6);
    CHECK(lines[0].high);
    EXPECT(receive(), 7);
    EXPECT(result[0], 4);
    CHECK(servers[0].data[(79 * 2 + 1) * 18 * 512] == 0xf6 &&
          servers[0].data[2880 * 512 - 1] == 0xf6);
    CHECK(servers[0].data[(79 * 2 + 1) * 18 * 512 - 1] == (uint8_t)((2861 * 7) + 2862 * 512 - 1));
    dma_memory[70] = 19;
    dma_at = 0;
    dma_count = 72;
    SEND(0x4d, 4, 2, 18, 0x54, 0xf6);
    EXPECT(receive(), 7);
    EXPECT(result[0], 0x44);
}

TEST(floppy_settings, "CONFIGURE with implied seeks, LOCK over a reset, DUMPREG, a relative seek")
{
    ready_floppy(2880, 0);
    SEND(0x13, 0, 0x57, 9);
    SEND(0x94);
    EXPECT(receive(), 1);
    EXPECT(result[0], 0x10);
    out(0x3f2, 1, 0x18);
    out(0x3f2, 1, 0x1c);
    CHECK(lines[0].high); /* polling is off: there is nothing to sense */
    SEND(0x08);
    EXPECT(receive(), 1);
    dma_count = 512;
    SEND(0x46, 0, 30, 0, 1, 2, 18, 0x1b, 0xff);
    expect_result(0, 0, 0, 30, 0, 2);
    SEND(0x0e);
    EXPECT(receive(), 10);
    EXPECT(result[0], 30);
    EXPECT(result[4], 0xdf);
    EXPECT(result[7], 0x80);
    EXPECT(result[8], 0x57);
    SEND(0xcf, 0, 3);
    SEND(0x08);
    receive();
    EXPECT(result[1], 33);
    SEND(0x8f, 0, 40);
    SEND(0x08);
    receive();
    EXPECT(result[1], 0);
}

TEST(floppy_restart,
     "a command goes on when its server comes again; a reset in between holds the guest")
{
    ready_floppy(2880, 0);
    answers_at_once = false;
    dma_count = 512;
    SEND(0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(in(0x3f4, 1), 0x10);
    CHECK(server_take(0));
    server_begin(0, 2);
    floppy_attend(&floppy, 1);
    server_run(0);
    floppy_attend(&floppy, 1);
    expect_result(0, 0, 0, 0, 0, 2);
    dma_count = 512;
    SEND(0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    out(0x3f2, 1, 0x18);
    EXPECT(held, 1);
    server_run(0);
    floppy_attend(&floppy, 1);
    EXPECT(held, 0);
}

TEST(floppy_fuzz, "whatever a driver writes: requests that a server takes, buffers in bounds")
{
    uint64_t state = unit_seed * 77 + 5, value;
    start_floppy(2880, 0);
    for (unsigned step = 0; step < 400000; step++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        uint64_t random = state * 0x2545f4914f6cdd1dull;
        uint16_t port = (uint16_t)(0x3f0 + (random & 7));
        static const uint8_t likely[] = {0x46, 0xc5, 0x4d, 0x07, 0x0f,
                                         0x08, 0x4a, 0x42, 0x56, 0x03};
        dma_at = 0;
        dma_count = random >> 40 & 0x7fff;
        if (random >> 8 & 1)
            port = 0x3f5;
        uint64_t byte = random >> 16 & 3 ? random >> 24 & 3 : random >> 24 & 0xff;
        if (random >> 9 & 1 && floppy.phase == FLOPPY_IDLE)
            byte = likely[(random >> 32) % sizeof likely];
        if (port == 0x3f2 && random >> 10 & 7)
            byte |= 4;
        if (random >> 13 & 1)
            bus_read(&ports, port, 1, &value);
        else
            bus_write(&ports, port, 1, byte);
        if ((random >> 50 & 255) == 0)
            answers_at_once = !answers_at_once;
        if ((random >> 50 & 31) == 1 || held) {
            server_run(0);
            ring_reader_waits(&servers[0].requests);
            floppy_attend(&floppy, 1);
        }
        if ((random >> 50 & 1023) == 2)
            server_begin(0, volume_of(0)->generation + 1), floppy_attend(&floppy, 1);
        if ((random >> 50 & 63) == 3 && floppy.phase == FLOPPY_IDLE && floppy.output & 4) {
            const uint8_t head = random >> 20 & 1;
            out(0x3f7, 1, 0);
            SEND(random >> 21 & 1 ? 0xc5 : 0x46, (uint8_t)(head << 2), floppy.track[0], head,
                 (uint8_t)(1 + (random >> 24 & 15)), 2, (uint8_t)(random >> 28 & 31), 0x1b, 0xff);
        }
        EXPECT(held, 0);
    }
    CHECK(servers[0].taken > 100);
}
