/*
 * IDE: hard disks, from ATA/ATAPI-6 and the bus master's specification.
 * links: vmm-server/devices/ide.c vmm-server/devices/ide_ata.c vmm-server/devices/ide_atapi.c
 *        vmm-server/devices/ide_dma.c vmm-server/disk.c vmm-server/bus.c vmm-server/guest_memory.c
 *        lib/print.c lib/ring.c
 */
#include "ide_machine.h"

static uint8_t data[SECTORS_MAX * 512];

static bool same(unsigned server, uint64_t sector, const uint8_t *with, unsigned sectors)
{
    return memcmp(servers[server].data + sector * 512, with, sectors * 512) == 0;
}

TEST(ide_signatures, "after power-on and software reset each drive shows what it is")
{
    start_ide();
    for (unsigned round = 0; round < 2; round++) {
        EXPECT(in(0x3f6, 1), 0x50);
        EXPECT(in(0x1f1, 1), 1);
        EXPECT(in(0x1f2, 1), 1);
        EXPECT(in(0x1f3, 1), 1);
        EXPECT(in(0x1f4, 1) | in(0x1f5, 1) << 8, 0);
        EXPECT(in(0x174, 1) | in(0x175, 1) << 8, 0xeb14);
        EXPECT(in(0x177, 1), 0);
        select_drive(1, 0);
        EXPECT(in(0x1f7, 1), 0x50);
        out(0x3f6, 1, 0x04);
        EXPECT(in(0x3f6, 1), 0x80);
        out(0x1f2, 1, 0x55);
        out(0x3f6, 1, 0);
        out(0x376, 1, 0x04);
        out(0x376, 1, 0);
    }
    select_drive(3, 0); /* a slave that is not there */
    EXPECT(in(0x177, 1), 0);
    EXPECT(in(0x174, 1), 0);
    out(0x177, 1, 0xec);
    EXPECT(in(0x177, 1), 0);
}

TEST(ide_empty_channel, "a channel without drives reads as one with its data line 7 pulled down")
{
    start_board();
    ide_init(&ide, &host, ram + BUFFERS, &lines[0].line, &lines[1].line);
    CHECK(ide_attach(&ide, &ports));
    EXPECT(in(0x1f7, 1), 0x7f);
    EXPECT(in(0x3f6, 1), 0x7f);
    out(0x1f7, 1, 0x90);
    EXPECT(lines[0].edges, 0);
    EXPECT(in(0x1f0, 2), 0);
}

TEST(ide_identify, "a disk tells its size, its geometry, its modes")
{
    uint16_t words[256];
    start_ide();
    command28(0, 0xec, 0, 0);
    EXPECT(lines[0].edges, 1);
    EXPECT(status_of(0), 0x58);
    CHECK(!lines[0].high);
    EXPECT(read_words(0, words, 256), 1);
    EXPECT(status_of(0), 0x50);
    EXPECT(lines[0].edges, 1);
    EXPECT(words[1], SECTORS_MAX / 1008);
    EXPECT(words[3], 16);
    EXPECT(words[6], 63);
    EXPECT(words[60] | words[61] << 16, SECTORS_MAX);
    EXPECT(words[100], SECTORS_MAX);
    EXPECT(words[106], 0x6003);
    EXPECT(words[10], '0' << 8 | '1');
    EXPECT(words[19], 'i' << 8 | ' ');
    EXPECT(words[27], 'S' << 8 | 'E');
    EXPECT(words[63], 0x0007);
    out(0x1f1, 1, 3);
    out(0x1f2, 1, 0x22);
    out(0x1f7, 1, 0xef);
    EXPECT(status_of(0), 0x50);
    out(0x1f2, 1, 0x46); /* a mode that is not offered */
    out(0x1f7, 1, 0xef);
    EXPECT(status_of(0), 0x51);
    EXPECT(in(0x1f1, 1), 4);
    command28(0, 0xec, 0, 0);
    read_words(0, words, 256);
    EXPECT(words[63], 0x0407);
    EXPECT(words[88] >> 8, 0);
}

TEST(ide_pio_read,
     "sectors come by the data port, an interrupt each, a string of one in one access")
{
    start_ide();
    command28(0, 0x20, 5, 3);
    for (unsigned i = 0; i < 3; i++) {
        EXPECT(lines[0].edges, i + 1);
        EXPECT(status_of(0), 0x58);
        EXPECT(read_words(0, data + i * 512, 256), 1);
    }
    EXPECT(lines[0].edges, 3);
    EXPECT(status_of(0), 0x50);
    CHECK(same(0, 5, data, 3));
    EXPECT(in(0x1f3, 1), 7);    /* the last sector */
    command28(0, 0x20, 100, 0); /* 256, more than the buffer holds; by 32 bits */
    for (unsigned i = 0; i < 256 * 128; i++) {
        uint32_t value = in(0x1f0, 4);
        memcpy(data + i * 4, &value, 4);
    }
    CHECK(same(0, 100, data, 256));
    EXPECT(lines[0].edges, 3 + 1); /* nobody has acknowledged */
    EXPECT(servers[0].taken, 1 + 3);
    EXPECT(status_of(0), 0x50);
    EXPECT(in(0x1f0, 2), 0);
}

TEST(ide_multiple, "READ and WRITE MULTIPLE move blocks of so many sectors, when that was set")
{
    start_ide();
    command28(0, 0xc4, 0, 5);
    EXPECT(status_of(0), 0x51);
    command28(0, 0xc6, 0, 3);
    EXPECT(status_of(0), 0x51);
    command28(0, 0xc6, 0, 4);
    EXPECT(status_of(0), 0x50);
    unsigned before = lines[0].edges;
    command28(0, 0xc4, 9, 6);
    EXPECT(status_of(0), 0x58);
    read_words(0, data, 1024);
    EXPECT(lines[0].edges, before + 2);
    EXPECT(status_of(0), 0x58);
    read_words(0, data + 2048, 512);
    EXPECT(status_of(0), 0x50);
    CHECK(same(0, 9, data, 6));
    before = lines[0].edges;
    command28(0, 0xc5, 50, 6);
    EXPECT(lines[0].edges, before); /* none for the first block */
    EXPECT(write_words(0, data, 1024), 1);
    EXPECT(lines[0].edges, before + 1);
    EXPECT(status_of(0), 0x58);
    write_words(0, data + 2048, 512);
    EXPECT(lines[0].edges, before + 2);
    EXPECT(status_of(0), 0x50);
    CHECK(same(0, 50, data, 6));
}

TEST(ide_pio_write, "a write is on the disk when its last interrupt comes")
{
    start_ide();
    for (unsigned i = 0; i < 200 * 512; i++)
        data[i] = (uint8_t)(i * 3 + i / 512);
    command48(0, 0x34, 1000, 200);
    for (unsigned i = 0; i < 200; i++) {
        EXPECT(status_of(0), 0x58);
        EXPECT(lines[0].edges, i);
        write_words(0, data + i * 512, 256);
    }
    EXPECT(status_of(0), 0x50);
    EXPECT(lines[0].edges, 200);
    CHECK(same(0, 1000, data, 200));
    EXPECT(servers[0].last.request.flags, 0);
    out(0x1f1, 1, 0x82); /* the cache off: each write is on stable storage */
    out(0x1f7, 1, 0xef);
    command28(0, 0x30, 1, 1);
    write_words(0, data, 256);
    EXPECT(servers[0].last.request.flags, BLOCK_FUA);
    command28(0, 0xe7, 0, 0);
    EXPECT(servers[0].last.request.operation, BLOCK_FLUSH);
    EXPECT(status_of(0), 0x50);
}

TEST(ide_cylinders, "cylinder, head and sector mean what the host has said they do")
{
    start_ide();
    select_drive(0, 3);
    out(0x1f2, 1, 17);
    out(0x1f7, 1, 0x91); /* 4 heads of 17 sectors */
    EXPECT(status_of(0), 0x50);
    select_drive(0, 2);
    out(0x1f2, 1, 2);
    out(0x1f3, 1, 17);
    out(0x1f4, 1, 9);
    out(0x1f5, 1, 0);
    out(0x1f7, 1, 0x20);
    read_words(0, data, 512);
    CHECK(same(0, (9 * 4 + 2) * 17 + 16, data, 2));
    EXPECT(in(0x1f3, 1), 1);
    EXPECT(in(0x1f6, 1) & 15, 3);
    EXPECT(in(0x1f4, 1), 9);
    for (unsigned bad = 0; bad < 3; bad++) {
        select_drive(0, bad == 0 ? 4 : 2);
        out(0x1f3, 1, bad == 1 ? 18 : bad == 2 ? 0 : 1);
        out(0x1f7, 1, 0x20);
        EXPECT(status_of(0), 0x51);
        EXPECT(in(0x1f1, 1), 0x10);
    }
}

TEST(ide_small, "a disk of less than a cylinder has fewer heads or shorter tracks")
{
    /* sectors; then cylinders, heads, sectors of a track */
    static const uint16_t disks[][4] = {{1, 1, 1, 1},      {40, 1, 1, 40},    {63, 1, 1, 63},
                                        {127, 1, 2, 63},   {1000, 1, 15, 63}, {1007, 1, 15, 63},
                                        {1008, 1, 16, 63}, {2015, 1, 16, 63}, {2016, 2, 16, 63}};
    uint16_t words[256];
    start_ide();
    for (unsigned i = 0; i < sizeof disks / sizeof disks[0]; i++) {
        ide.channels[0].drives[0].disk.volume.sectors = disks[i][0];
        command28(0, 0xec, 0, 0);
        read_words(0, words, 256);
        EXPECT(words[1], disks[i][1]);
        EXPECT(words[3], disks[i][2]);
        EXPECT(words[6], disks[i][3]);
        EXPECT(words[54], disks[i][1]);
        EXPECT(words[55], disks[i][2]);
        EXPECT(words[56], disks[i][3]);
        EXPECT(words[57] | words[58] << 16, disks[i][1] * disks[i][2] * disks[i][3]);
        /* The last sector of the last head. */
        select_drive(0, (uint8_t)(disks[i][2] - 1));
        out(0x1f2, 1, 1);
        out(0x1f3, 1, disks[i][3]);
        out(0x1f4, 1, disks[i][1] - 1u);
        out(0x1f5, 1, 0);
        out(0x1f7, 1, 0x20);
        read_words(0, data, 256);
        EXPECT(status_of(0), 0x50);
        CHECK(same(0, disks[i][1] * disks[i][2] * disks[i][3] - 1, data, 1));
        /* A head too many, or a cylinder. */
        select_drive(0, (uint8_t)(disks[i][2] & 15));
        out(0x1f4, 1, disks[i][2] < 16 ? 0 : 2);
        out(0x1f3, 1, 63);
        out(0x1f7, 1, 0x20);
        EXPECT(status_of(0), 0x51);
        EXPECT(in(0x1f1, 1), 0x10);
    }
}

TEST(ide_dma, "DMA goes between the volume and the regions themselves")
{
    start_ide();
    region(0, 0x20000, 0x3000, false);
    region(1, 0x40200, 0x200, false);
    region(2, 0x50000, 0xe00, true);
    command28(0, 0xc8, 64, 32);
    EXPECT(in(0x3f6, 1), 0x58);
    EXPECT(servers[0].taken, 0);
    start_master(0, true);
    EXPECT(lines[0].edges, 1);
    EXPECT(stop_master(0), 0x04);
    EXPECT(status_of(0), 0x50);
    CHECK(same(0, 64, ram + 0x20000, 24));
    CHECK(same(0, 88, ram + 0x40200, 1));
    CHECK(same(0, 89, ram + 0x50000, 7));
    EXPECT(servers[0].taken, 1);
    EXPECT(servers[0].last.request.segments, 3);
    EXPECT(servers[0].last.segments[0].offset, 0x20000);
    /* The master first, then the command; 48 bits; 64 KiB regions; the second drive too. */
    for (unsigned i = 0; i < 16; i++)
        region(i, 0x100000 + i * 0x10000, 0, i == 15);
    start_master(1, true);
    command48(1, 0x25, 0, 2016);
    EXPECT(stop_master(1), 0x05); /* the regions are larger */
    CHECK(same(1, 0, ram + 0x100000, 2016));
    command48(0, 0x35, 1024, 2048);
    start_master(0, false);
    EXPECT(stop_master(0), 0x04);
    CHECK(memcmp(servers[0].data + 1024 * 512, ram + 0x100000, 2048 * 512) == 0);
    EXPECT(lines[0].edges, 3);
}

TEST(ide_dma_cut, "regions that cut sectors work too, and so do those that cross no sector")
{
    const uint32_t sizes[] = {2, 510, 512, 100, 1000, 436, 0xf000, 514, 1534, 512};
    start_ide();
    uint32_t total = 0, at = 0x20002;
    for (unsigned i = 0; i < 10; i++) {
        region(i, at, sizes[i], i == 9);
        at += sizes[i] + 6;
        total += sizes[i];
    }
    EXPECT(total % 512, 0);
    for (unsigned write = 0; write < 2; write++) {
        command28(0, write ? 0xca : 0xc8, write ? 2000 : 7, (uint8_t)(total / 512));
        start_master(0, !write);
        EXPECT(stop_master(0), 0x04);
        EXPECT(status_of(0), 0x50);
        uint32_t done = 0;
        at = 0x20002;
        for (unsigned i = 0; i < 10; i++) {
            CHECK(memcmp(servers[0].data + (write ? 2000 : 7) * 512 + done, ram + at, sizes[i]) ==
                  0);
            at += sizes[i] + 6;
            done += sizes[i];
        }
    }
}

TEST(ide_dma_short, "a table that ends too early leaves master and drive waiting for a reset")
{
    start_ide();
    region(0, 0x20000, 1024, true);
    command28(0, 0xc8, 0, 4);
    start_master(0, true);
    EXPECT(in(MASTER + 2, 1), 0);
    EXPECT(lines[0].edges, 0);
    EXPECT(in(0x3f6, 1) & 0x08, 0x08);
    CHECK(same(0, 0, ram + 0x20000, 2));
    stop_master(0);
    out(0x3f6, 1, 4);
    out(0x3f6, 1, 0);
    EXPECT(status_of(0), 0x50);
    is_master = false; /* and without mastering nothing moves */
    command28(0, 0xc8, 0, 2);
    start_master(0, true);
    EXPECT(in(MASTER + 2, 1), 1);
    EXPECT(lines[0].edges, 0);
}

TEST(ide_dma_outside, "tables and regions outside of memory end the command with an error")
{
    for (unsigned way = 0; way < 4; way++) {
        start_ide();
        region(0, way == 0 ? RAM_BYTES : way == 1 ? RAM_BYTES - 512 : 0xfffff000, 1024, true);
        command28(0, way == 2 ? 0xca : 0xc8, 0, 2);
        start_master(0, way != 2);
        if (way == 3) {
            out(0x3f6, 1, 4);
            out(0x3f6, 1, 0);
            command28(0, 0xc8, 0, 2);
            out(MASTER, 1, 0);
            out(MASTER + 4, 4, 0xfffffff8);
            out(MASTER + 2, 1, 6);
            out(MASTER, 1, 9);
        }
        EXPECT(in(MASTER + 2, 1) & 7, 6);
        EXPECT(status_of(0), 0x51);
        EXPECT(in(0x1f1, 1), 4);
        CHECK(lines[0].edges >= 1);
    }
    start_ide(); /* a table that never ends, of regions that are there */
    for (unsigned i = 0; i < 0x1000; i++)
        region(i, 0x20000, 2, false);
    memset(ram + 0xa0000, 0, 16);
    command28(0, 0xc8, 0, 0);
    start_master(0, true);
    EXPECT(in(MASTER + 2, 1), 0);
}

TEST(ide_errors, "what the server says becomes what a drive would say")
{
    start_ide();
    command28(0, 0x20, SECTORS_MAX - 1, 2);
    EXPECT(status_of(0), 0x51);
    EXPECT(in(0x1f1, 1), 0x10);
    command48(0, 0x24, 1ull << 40, 1);
    EXPECT(status_of(0), 0x51);
    command28(1, 0x30, 0, 1); /* read-only */
    EXPECT(status_of(1), 0x51);
    EXPECT(in(0x1f1, 1), 4);
    servers[0].status = BLOCK_IO_ERROR;
    command28(0, 0x20, 0x123, 8);
    EXPECT(status_of(0), 0x51);
    EXPECT(in(0x1f1, 1), 0x40);
    EXPECT(in(0x1f3, 1) | in(0x1f4, 1) << 8, 0x123);
    region(0, 0x20000, 4096, true);
    command28(0, 0xc8, 0x234, 8);
    start_master(0, true);
    EXPECT(stop_master(0) & 4, 4);
    EXPECT(status_of(0), 0x51);
    command28(0, 0x30, 1, 1);
    write_words(0, data, 256);
    EXPECT(status_of(0), 0x71);
    servers[0].status = BLOCK_NO_SPACE;
    command28(0, 0x30, 1, 1);
    write_words(0, data, 256);
    EXPECT(status_of(0), 0x51);
    servers[0].status = BLOCK_IO_ERROR;
    command28(0, 0x40, 5, 1);
    EXPECT(status_of(0), 0x51);
    command28(0, 0xe7, 0, 0);
    EXPECT(status_of(0), 0x71);
}

TEST(ide_other_commands, "commands without data, and those that are not known")
{
    const uint8_t good[] = {0x10, 0x1f, 0x40, 0x41, 0x70, 0x94, 0x95, 0x98, 0xe0,
                            0xe1, 0xe3, 0xe5, 0xe7, 0xea, 0xf8, 0x27, 0x91, 0xe6};
    const uint8_t bad[] = {0x00, 0x08, 0xa0, 0xa1, 0xb0, 0xf1, 0xf9, 0xff, 0x92, 0x50, 0xc7};
    start_ide();
    for (unsigned i = 0; i < sizeof good; i++) {
        unsigned before = lines[0].edges;
        command28(0, good[i], 10, 2);
        EXPECT(lines[0].edges, before + 1);
        EXPECT(status_of(0), 0x50);
    }
    for (unsigned i = 0; i < sizeof bad; i++) {
        command28(0, bad[i], 10, 2);
        EXPECT(status_of(0), 0x51);
        EXPECT(in(0x1f1, 1), 4);
    }
    command28(0, 0xf8, 0, 0);
    EXPECT(in(0x1f3, 1) | in(0x1f4, 1) << 8 | in(0x1f5, 1) << 16, SECTORS_MAX - 1);
    command28(1, 0xe0, 0, 0);
    command28(1, 0xe5, 0, 0);
    EXPECT(in(0x1f2, 1), 0);
    command28(1, 0x90, 0, 0);
    EXPECT(in(0x1f7, 1), 0x50);
    EXPECT(in(0x1f1, 1), 1);
    EXPECT(in(0x1f6, 1) & 0x10, 0); /* the first drive is selected */
}

TEST(ide_interrupts, "nIEN keeps the line low; reading the status, or a command, acknowledges")
{
    start_ide();
    out(0x3f6, 1, 2);
    command28(0, 0xe7, 0, 0);
    CHECK(!lines[0].high);
    EXPECT(in(MASTER + 2, 1) & 4, 0);
    out(0x3f6, 1, 0);
    CHECK(lines[0].high);
    EXPECT(in(MASTER + 2, 1) & 4, 4);
    in(0x3f6, 1);
    CHECK(lines[0].high);
    in(0x1f7, 1);
    CHECK(!lines[0].high);
    out(0x1f7, 1, 0xe7);
    EXPECT(lines[0].edges, 2);
    out(0x1f7, 1, 0xe7);
    EXPECT(lines[0].edges, 3);
    out(0x1f2, 1, 0x12);
    out(0x1f2, 1, 0x34);
    out(0x3f6, 1, 0x80);
    EXPECT(in(0x1f2, 1), 0x12);
    out(0x1f3, 1, 0); /* a write ends it */
    EXPECT(in(0x1f2, 1), 0x34);
}

TEST(ide_restart, "a command goes on when its server comes again, and waits while there is none")
{
    start_ide();
    answers_at_once = false;
    region(0, 0x20000, 4096, true);
    command28(0, 0xc8, 16, 8);
    start_master(0, true);
    EXPECT(in(0x3f6, 1) & 0x80, 0x80);
    CHECK(server_take(0));
    server_begin(0, 2);
    ide_attend(&ide, 1);
    EXPECT(in(0x3f6, 1) & 0x80, 0x80);
    server_run(0);
    ide_attend(&ide, 1);
    EXPECT(stop_master(0), 4);
    EXPECT(status_of(0), 0x50);
    CHECK(same(0, 16, ram + 0x20000, 8));
    EXPECT(servers[0].taken, 2);
    command28(0, 0x30, 3, 1); /* a write by the port the same */
    write_words(0, data, 256);
    server_begin(0, 3);
    ide_attend(&ide, 1);
    server_run(0);
    ide_attend(&ide, 1);
    EXPECT(status_of(0), 0x50);
    CHECK(same(0, 3, data, 1));
}

TEST(ide_late_server, "before its server is there a disk is empty; then it has its size")
{
    uint16_t words[256];
    start_ide();
    *volume_of(3) = (struct block_volume){0};
    const struct device_peer peer = {servers[3].channel, ram, 3, bell};
    memset(servers[3].channel, 0, sizeof servers[3].channel);
    ide_add_drive(&ide, 3, IDE_DISK, &peer);
    command28(3, 0x20, 0, 1);
    EXPECT(status_of(3), 0x51);
    command28(3, 0xec, 0, 0);
    read_words(3, words, 256);
    EXPECT(words[60], 0);
    start_server(3, 100, 0);
    ide_attend(&ide, 8);
    command28(3, 0xec, 0, 0);
    read_words(3, words, 256);
    EXPECT(words[60], 100);
    command28(3, 0x20, 99, 1);
    read_words(3, data, 256);
    CHECK(same(3, 99, data, 1));
}

TEST(ide_reset_in_flight, "a reset holds the guest until the server no longer writes for what was")
{
    for (unsigned way = 0; way < 2; way++) {
        start_ide();
        answers_at_once = false;
        region(0, 0x20000, 4096, true);
        command28(0, 0xc8, 16, 8);
        start_master(0, true);
        CHECK(server_take(0));
        if (way == 0) {
            out(0x3f6, 1, 4);
            out(0x3f6, 1, 0);
        } else {
            stop_master(0);
        }
        EXPECT(held, 1);
        server_answer(0);
        ide_attend(&ide, 1);
        EXPECT(held, 0);
        EXPECT(lines[0].edges, 0);
        if (way == 1) {
            out(0x3f6, 1, 4);
            out(0x3f6, 1, 0);
        }
        EXPECT(status_of(0), 0x50);
        answers_at_once = true;
        ring_reader_waits(&servers[0].requests);
        command28(0, 0x20, 1, 1);
        read_words(0, data, 256);
        CHECK(same(0, 1, data, 1));
    }
}
