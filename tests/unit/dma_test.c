/* links: vmm-server/devices/dma.c vmm-server/bus.c lib/print.c */
#include "unit_test.h"

#include "chip_machine.h"

#include "devices/dma.h"

static struct dma dma;
static uint8_t ram[0x40000];
static unsigned moves;

bool guest_memory_read(const struct guest_memory *memory, gpa_t gpa, void *data, size_t size_bytes)
{
    (void)memory;
    moves++;
    if (gpa > sizeof ram || size_bytes > sizeof ram - gpa)
        return false;
    memcpy(data, ram + gpa, size_bytes);
    return true;
}

bool guest_memory_write(const struct guest_memory *memory, gpa_t gpa, const void *data,
                        size_t size_bytes)
{
    (void)memory;
    moves++;
    if (gpa > sizeof ram || size_bytes > sizeof ram - gpa)
        return false;
    memcpy(ram + gpa, data, size_bytes);
    return true;
}

static void begin(void)
{
    machine_start();
    memset(ram, 0, sizeof ram);
    moves = 0;
    dma_init(&dma, NULL);
    CHECK(dma_attach(&dma, &ports));
}

/* As a floppy driver programs channel 2. */
static void program(uint8_t mode, uint32_t address, uint16_t count)
{
    out(0x0a, 0x06);
    out(0x0c, 0);
    out(0x0b, (uint8_t)(mode | 2));
    out(0x04, (uint8_t)address), out(0x04, (uint8_t)(address >> 8));
    out(0x81, (uint8_t)(address >> 16));
    out(0x05, (uint8_t)count), out(0x05, (uint8_t)(count >> 8));
    out(0x0a, 0x02);
}

static uint16_t word(uint16_t port)
{
    out(0x0c, 0);
    uint8_t low = in(port);
    return (uint16_t)(low | in(port) << 8);
}

TEST(dma_to_memory, "a sector goes to memory at page and address, and the count ends with it")
{
    uint8_t sector[512];
    bool ended;
    begin();
    memset(sector, 0x5a, sizeof sector);
    program(0x44, 0x12345, 511);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, sector, 512, &ended), 512);
    EXPECT(ended, true);
    EXPECT(moves, 1);
    EXPECT(ram[0x12344], 0);
    EXPECT(ram[0x12345], 0x5a);
    EXPECT(ram[0x12345 + 511], 0x5a);
    EXPECT(ram[0x12345 + 512], 0);
    EXPECT(in(0x08), 0x04); /* terminal count of channel 2, read once */
    EXPECT(in(0x08), 0);
    EXPECT(dma_is_ready(&dma, 2, DMA_TO_MEMORY), false); /* it has masked itself */
    EXPECT(word(0x05), 0xffff);
    EXPECT(word(0x04), 0x2545);
}

TEST(dma_in_parts, "a count larger than the transfer is left for the next, a smaller one ends it")
{
    uint8_t sector[512] = {1, 2, 3};
    bool ended;
    begin();
    program(0x44, 0, 1023);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, sector, 512, &ended), 512);
    EXPECT(ended, false);
    EXPECT(word(0x05), 511);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, sector, 512, &ended), 512);
    EXPECT(ended, true);
    EXPECT(ram[512], 1);
    program(0x44, 0, 99);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, sector, 512, &ended), 100);
    EXPECT(ended, true);
}

TEST(dma_from_memory, "memory is read; what is not there reads as ones")
{
    uint8_t sector[4];
    bool ended;
    begin();
    memcpy(ram + 0x100, "abcd", 4);
    program(0x48, 0x100, 3);
    EXPECT(dma_transfer(&dma, 2, DMA_FROM_MEMORY, sector, 4, &ended), 4);
    CHECK(memcmp(sector, "abcd", 4) == 0);
    program(0x48, 0xf00000, 3);
    EXPECT(dma_transfer(&dma, 2, DMA_FROM_MEMORY, sector, 4, &ended), 4);
    EXPECT(sector[3], 0xff);
}

TEST(dma_refuses,
     "masked, disabled, or programmed for the other direction, a channel takes nothing")
{
    uint8_t byte = 1;
    bool ended;
    begin();
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, &byte, 1, &ended), 0);
    program(0x48, 0, 3);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, &byte, 1, &ended), 0);
    program(0x44, 0, 3);
    out(0x08, 0x04);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, &byte, 1, &ended), 0);
    out(0x08, 0x00);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, &byte, 1, &ended), 1);
    out(0x0f, 0x0f);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, &byte, 1, &ended), 0);
    out(0x0e, 0);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, &byte, 1, &ended), 1);
    out(0x0d, 0);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, &byte, 1, &ended), 0);
}

TEST(dma_verify, "verifying counts, and moves nothing")
{
    uint8_t data[16] = {1};
    bool ended;
    begin();
    program(0x40, 0, 15);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, data, 16, &ended), 16);
    EXPECT(ended, true);
    EXPECT(moves, 0);
}

TEST(dma_automatic, "automatic initialization begins anew, and stays unmasked")
{
    uint8_t data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    bool ended;
    begin();
    program(0x54, 0x200, 3);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, data, 8, &ended), 4);
    EXPECT(ended, true);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, data + 4, 4, &ended), 4);
    EXPECT(ram[0x200], 5);
    EXPECT(word(0x04), 0x200);
}

TEST(dma_down, "addresses that go down")
{
    uint8_t data[3] = {1, 2, 3};
    bool ended;
    begin();
    program(0x64, 0x1002, 2);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, data, 3, &ended), 3);
    EXPECT(ram[0x1002], 1);
    EXPECT(ram[0x1000], 3);
}

TEST(dma_wraps, "an address wraps inside its 64 KiB")
{
    uint8_t data[4] = {1, 2, 3, 4};
    bool ended;
    begin();
    program(0x44, 0x1fffe, 3);
    EXPECT(dma_transfer(&dma, 2, DMA_TO_MEMORY, data, 4, &ended), 4);
    EXPECT(ram[0x1ffff], 2);
    EXPECT(ram[0x10000], 3);
    EXPECT(ram[0x20000], 0);
}

TEST(dma_words, "channels from 5 on count words, at twice the address; an odd byte waits")
{
    uint8_t data[5] = {1, 2, 3, 4, 5};
    bool ended;
    begin();
    out(0xd4, 0x05);
    out(0xd8, 0);
    out(0xd6, 0x45);
    out(0xc4, 0x00), out(0xc4, 0x90); /* 0x9000 words: 0x12000 */
    out(0x8b, 0x02);
    out(0xc6, 0x02), out(0xc6, 0x00);
    out(0xd4, 0x01);
    EXPECT(dma_transfer(&dma, 5, DMA_TO_MEMORY, data, 5, &ended), 4);
    EXPECT(ended, false);
    EXPECT(ram[0x32000], 1);
    EXPECT(ram[0x32003], 4);
    EXPECT(dma_transfer(&dma, 5, DMA_TO_MEMORY, data, 2, &ended), 2);
    EXPECT(ended, true);
    EXPECT(in(0xd0), 0x02);
}

TEST(dma_pages, "page registers are kept, also the one that is a diagnostics port")
{
    begin();
    for (uint16_t port = 0x80; port < 0x90; port++)
        out(port, (uint8_t)(port + 3));
    for (uint16_t port = 0x80; port < 0x90; port++)
        EXPECT(in(port), port + 3);
}

TEST(dma_random, "no programming and no transfer reaches beyond its data")
{
    bool ended;
    begin();
    srand((unsigned)unit_seed);
    for (unsigned i = 0; i < 100000; i++) {
        static const uint16_t bases[] = {0x00, 0x80, 0xc0};
        uint16_t port = (uint16_t)(bases[rand() % 3] + rand() % 16);
        unsigned size_bytes = (unsigned)rand() % 600;
        uint8_t *data = malloc(size_bytes + 1);
        out(port, (uint8_t)rand());
        in(port);
        memset(data, 0, size_bytes + 1);
        CHECK(dma_transfer(&dma, (unsigned)rand() % 8, rand() % 2, data, size_bytes, &ended) <=
              size_bytes);
        free(data);
    }
}
