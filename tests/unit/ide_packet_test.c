/*
 * IDE: the CD-ROM drive, from ATA/ATAPI-6 and MMC-3.
 * links: vmm-server/devices/ide.c vmm-server/devices/ide_ata.c vmm-server/devices/ide_atapi.c
 *        vmm-server/devices/ide_dma.c vmm-server/disk.c vmm-server/bus.c vmm-server/guest_memory.c
 *        lib/print.c lib/ring.c
 */
#include "ide_machine.h"

#define CD 2u

static uint8_t data[0x40000];

/* The drive has told that it was reset. */
static void start_cd(void)
{
    start_ide();
    EXPECT(sense(CD), 0);
    lines[1].edges = 0;
}

static uint32_t big(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

TEST(ide_packet_identify,
     "IDENTIFY names a packet device; a host that looks for a disk sees the signature")
{
    uint16_t words[256];
    start_ide();
    select_drive(CD, 0);
    out(0x177, 1, 0xec);
    EXPECT(status_of(CD), 0x51);
    EXPECT(in(0x174, 1) | in(0x175, 1) << 8, 0xeb14);
    out(0x177, 1, 0xa1);
    EXPECT(status_of(CD), 0x58);
    unsigned before = lines[1].edges;
    read_words(CD, words, 256);
    EXPECT(words[0], 0x85c0);
    EXPECT(lines[1].edges, before);
    EXPECT(status_of(CD), 0x50);
    out(0x177, 1, 0x08);
    EXPECT(status_of(CD), 0);
    EXPECT(in(0x174, 1) | in(0x175, 1) << 8, 0xeb14);
    EXPECT(lines[1].edges, before);
}

TEST(ide_packet_attention, "a reset is told once, and INQUIRY does not take that away")
{
    const uint8_t ready[12] = {0}, inquiry[12] = {0x12, 0, 0, 0, 36};
    start_ide();
    packet(CD, inquiry, 256, false);
    EXPECT(fetch(CD, data), 36);
    EXPECT(data[0], 5);
    EXPECT(data[1], 0x80);
    CHECK(memcmp(data + 8, "SEPTUM  CD-ROM", 14) == 0);
    packet(CD, ready, 256, false);
    EXPECT(status_of(CD), 0x51);
    EXPECT(in(0x171, 1), 0x64);
    EXPECT(sense(CD), 0x062900);
    packet(CD, ready, 256, false);
    EXPECT(status_of(CD), 0x50);
    EXPECT(sense(CD), 0);
}

TEST(ide_packet_read,
     "READ(10), READ(12) and READ CD fetch blocks of 2048 bytes in pieces as the host wants")
{
    const uint8_t capacity[12] = {0x25}, ten[12] = {0x28, 0, 0, 0, 0, 16, 0, 0, 30};
    const uint8_t twelve[12] = {0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 2};
    const uint8_t cd[12] = {0xbe, 0, 0, 0, 0, 7, 0, 0, 1, 0x10};
    start_cd();
    packet(CD, capacity, 8, false);
    EXPECT(fetch(CD, data), 8);
    EXPECT(big(data), CD_SECTORS_HERE / 4 - 1);
    EXPECT(big(data + 4), 2048);
    lines[1].edges = 0;
    packet(CD, ten, 2048, false);
    EXPECT(fetch(CD, data), 30 * 2048);
    CHECK(memcmp(data, servers[CD].data + 16 * 2048, 30 * 2048) == 0);
    EXPECT(lines[1].edges, 31);
    EXPECT(servers[CD].taken, 2);
    packet(CD, twelve, 1001, false); /* odd: one less */
    EXPECT(fetch(CD, data), 4096);
    CHECK(memcmp(data, servers[CD].data + 3 * 2048, 4096) == 0);
    packet(CD, cd, 0xffff, false);
    EXPECT(fetch(CD, data), 2048);
    CHECK(memcmp(data, servers[CD].data + 7 * 2048, 2048) == 0);
}

TEST(ide_packet_dma, "blocks go to the regions directly; short answers too")
{
    const uint8_t ten[12] = {0x28, 0, 0, 0, 0, 16, 0, 0, 30}, inquiry[12] = {0x12, 0, 0, 0, 36};
    start_cd();
    region(0, 0x20000, 0x8000, false);
    region(1, 0x40000, 30 * 2048 - 0x8000, true);
    packet(CD, ten, 0, true);
    EXPECT(lines[1].edges, 0);
    start_master(CD, true);
    EXPECT(stop_master(CD), 4);
    EXPECT(status_of(CD), 0x50);
    EXPECT(in(0x172, 1), 3);
    CHECK(memcmp(ram + 0x20000, servers[CD].data + 16 * 2048, 0x8000) == 0);
    CHECK(memcmp(ram + 0x40000, servers[CD].data + 0x10000, 30 * 2048 - 0x8000) == 0);
    EXPECT(servers[CD].taken, 1);
    region(0, 0x20000, 10, false);
    region(1, 0x20100, 26, true);
    packet(CD, inquiry, 0, true);
    start_master(CD, true);
    EXPECT(stop_master(CD), 4);
    CHECK(memcmp(ram + 0x20008, "SE", 2) == 0 && memcmp(ram + 0x20100, "PTUM", 4) == 0);
    region(0, RAM_BYTES, 36, true);
    packet(CD, inquiry, 0, true);
    start_master(CD, true);
    EXPECT(stop_master(CD), 6);
    EXPECT(status_of(CD), 0x51);
    EXPECT(sense(CD) >> 16, 0x0b);
}

TEST(ide_packet_toc, "one data track, in blocks and in minutes")
{
    const uint8_t toc[12] = {0x43, 0, 0, 0, 0, 0, 0, 0, 255},
                  msf[12] = {0x43, 2, 0, 0, 0, 0, 0, 0, 255};
    const uint8_t sessions[12] = {0x43, 0, 1, 0, 0, 0, 0, 0, 255},
                  full[12] = {0x43, 2, 2, 0, 0, 0, 0, 1, 0};
    const uint8_t none[12] = {0x43, 0, 5, 0, 0, 0, 0, 0, 255};
    start_cd();
    packet(CD, toc, 256, false);
    EXPECT(fetch(CD, data), 20);
    EXPECT(data[1], 18);
    EXPECT(data[6], 1);
    EXPECT(big(data + 8), 0);
    EXPECT(data[14], 0xaa);
    EXPECT(big(data + 16), 100);
    packet(CD, msf, 256, false);
    EXPECT(fetch(CD, data), 20);
    EXPECT(big(data + 8), 0x000200);
    EXPECT(big(data + 16), 0x000319);
    packet(CD, sessions, 256, false);
    EXPECT(fetch(CD, data), 12);
    packet(CD, full, 256, false);
    EXPECT(fetch(CD, data), 48);
    EXPECT(data[4 + 3], 0xa0);
    EXPECT(data[37 + 3], 1);
    packet(CD, none, 256, false);
    EXPECT(status_of(CD), 0x51);
    EXPECT(sense(CD), 0x052400);
}

TEST(ide_packet_others, "mode pages, configuration, events: what drivers ask for")
{
    const uint8_t mode[12] = {0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255},
                  mode6[12] = {0x1a, 0, 0x3f, 0, 255};
    const uint8_t saved[12] = {0x5a, 0, 0xea, 0, 0, 0, 0, 0, 255},
                  page[12] = {0x5a, 0, 0x0e, 0, 0, 0, 0, 0, 255};
    const uint8_t configuration[12] = {0x46, 0, 0, 0, 0, 0, 0, 0, 255};
    const uint8_t event[12] = {0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8};
    start_cd();
    packet(CD, mode, 256, false);
    EXPECT(fetch(CD, data), 28);
    EXPECT(data[1], 26);
    EXPECT(data[8], 0x2a);
    packet(CD, mode6, 256, false);
    EXPECT(fetch(CD, data), 32);
    EXPECT(data[4], 1);
    EXPECT(data[12], 0x2a);
    packet(CD, saved, 256, false);
    EXPECT(sense(CD), 0x053900);
    packet(CD, page, 256, false);
    EXPECT(sense(CD), 0x052400);
    packet(CD, configuration, 256, false);
    EXPECT(fetch(CD, data), 8 + 8 + 8 + 8 + 12);
    EXPECT(big(data), 40);
    EXPECT(data[7], 8);
    packet(CD, event, 256, false);
    EXPECT(fetch(CD, data), 8);
    EXPECT(data[4], 0);
    EXPECT(data[5], 2);
}

TEST(ide_packet_tray, "a tray that is locked stays shut; without a medium there is nothing to read")
{
    const uint8_t lock[12] = {0x1e, 0, 0, 0, 1}, unlock[12] = {0x1e},
                  eject[12] = {0x1b, 0, 0, 0, 2};
    const uint8_t load[12] = {0x1b, 0, 0, 0, 3}, ready[12] = {0},
                  ten[12] = {0x28, 0, 0, 0, 0, 0, 0, 0, 1};
    start_cd();
    packet(CD, lock, 0, false);
    packet(CD, eject, 0, false);
    EXPECT(sense(CD), 0x055302);
    packet(CD, unlock, 0, false);
    packet(CD, eject, 0, false);
    EXPECT(status_of(CD), 0x50);
    packet(CD, ten, 2048, false);
    EXPECT(in(0x171, 1), 0x24);
    EXPECT(sense(CD), 0x023a02);
    packet(CD, load, 0, false);
    packet(CD, ready, 0, false);
    EXPECT(sense(CD), 0x062900);
    packet(CD, ready, 0, false);
    EXPECT(status_of(CD), 0x50);
}

TEST(ide_packet_errors, "beyond the end, raw sectors, commands of writers, errors of the server")
{
    const uint8_t beyond[12] = {0x28, 0, 0, 0, 0, 99, 0, 0, 2},
                  far[12] = {0xa8, 0, 255, 255, 255, 255, 255, 255, 255, 255};
    const uint8_t raw[12] = {0xbe, 0, 0, 0, 0, 7, 0, 0, 1, 0xf8},
                  write[12] = {0x2a, 0, 0, 0, 0, 0, 0, 0, 1};
    const uint8_t ten[12] = {0x28, 0, 0, 0, 0, 1, 0, 0, 2}, none[12] = {0x28};
    start_cd();
    packet(CD, beyond, 2048, false);
    EXPECT(sense(CD), 0x052100);
    packet(CD, far, 2048, false);
    EXPECT(sense(CD), 0x052100);
    packet(CD, raw, 2048, false);
    EXPECT(sense(CD), 0x052400);
    packet(CD, write, 2048, false);
    EXPECT(sense(CD), 0x052000);
    packet(CD, none, 2048, false);
    EXPECT(status_of(CD), 0x50);
    servers[CD].status = BLOCK_IO_ERROR;
    packet(CD, ten, 2048, false);
    EXPECT(status_of(CD), 0x51);
    EXPECT(in(0x171, 1), 0x34);
    EXPECT(sense(CD), 0x031100);
    EXPECT(sense(CD), 0);
}
