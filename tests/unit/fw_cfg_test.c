/* links: vmm-server/devices/fw_cfg.c vmm-server/bus.c vmm-server/guest_memory.c */
#include "unit_test.h"

#include "devices/fw_cfg.h"

#define PAGE 4096u

enum {
    CONTROL_ERROR = 1,
    CONTROL_READ = 2,
    CONTROL_SKIP = 4,
    CONTROL_SELECT = 8,
    CONTROL_WRITE = 16
};

static struct fw_cfg config;
static struct bus ports;
static uint8_t ram[4 * PAGE];
static struct guest_memory memory;
static const char text[] = "a file of a few more bytes";

static void start(void)
{
    memset(&ports, 0, sizeof ports);
    memset(ram, 0xaa, sizeof ram);
    memory = (struct guest_memory){.regions = {{0x10000, sizeof ram, ram, false}}, .count = 1};
    fw_cfg_init(&config, &memory);
    CHECK(fw_cfg_add_item(&config, FW_CFG_NB_CPUS, 3, 2));
    CHECK(fw_cfg_add_file(&config, "etc/text", text, sizeof text));
    CHECK(fw_cfg_add_number(&config, "etc/number", 0x3f8, 2));
    CHECK(fw_cfg_attach(&config, &ports));
}

static void select_key(uint16_t key)
{
    CHECK(bus_write(&ports, 0x510, 2, key));
}

static uint8_t next(void)
{
    uint64_t value = 0;
    CHECK(bus_read(&ports, 0x511, 1, &value));
    CHECK(value < 256);
    return (uint8_t)value;
}

static uint32_t big(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put_big(uint8_t *at, uint64_t value, unsigned size_bytes)
{
    for (unsigned i = 0; i < size_bytes; i++)
        at[i] = (uint8_t)(value >> (8 * (size_bytes - 1 - i)));
}

/* A request at gpa 0x10000; what became of its control field. */
static uint32_t dma(uint32_t control, uint32_t length, uint64_t address)
{
    put_big(ram, control, 4);
    put_big(ram + 4, length, 4);
    put_big(ram + 8, address, 8);
    CHECK(bus_write(&ports, 0x514, 4, 0));
    CHECK(bus_write(&ports, 0x518, 4, __builtin_bswap32(0x10000)));
    return big(ram);
}

TEST(fw_cfg_ports,
     "an item is read byte by byte from its begin; behind its end, and of none, there are zeroes")
{
    start();
    select_key(FW_CFG_SIGNATURE);
    CHECK(next() == 'Q' && next() == 'E' && next() == 'M' && next() == 'U' && next() == 0);
    select_key(FW_CFG_SIGNATURE);
    EXPECT(next(), 'Q');
    select_key(FW_CFG_ID);
    EXPECT(next(), 3);
    EXPECT(next(), 0);
    select_key(FW_CFG_NB_CPUS);
    EXPECT(next(), 3);
    select_key(0x7777);
    EXPECT(next(), 0);
    uint64_t value;
    CHECK(!bus_read(&ports, 0x510, 2, &value));
    CHECK(bus_write(&ports, 0x511, 1, 0x55)); /* nothing happens */
    CHECK(!bus_write(&ports, 0x511, 2, 0));
}

TEST(fw_cfg_directory, "the directory lists all files with size, number and name, big-endian")
{
    start();
    uint8_t entries[4 + 2 * 64];
    select_key(FW_CFG_FILE_DIRECTORY);
    for (unsigned i = 0; i < sizeof entries; i++)
        entries[i] = next();
    EXPECT(next(), 0);
    EXPECT(big(entries), 2);
    EXPECT(big(entries + 4), sizeof text);
    EXPECT(big(entries + 8), 0x200000);
    CHECK(strcmp((const char *)entries + 12, "etc/text") == 0);
    EXPECT(big(entries + 4 + 64), 2);
    CHECK(strcmp((const char *)entries + 4 + 64 + 8, "etc/number") == 0);
    select_key(0x21);
    EXPECT(next(), 0xf8);
    EXPECT(next(), 3);
    /* The same by DMA, in any pieces. */
    for (unsigned piece = 1; piece < 80; piece += 13) {
        EXPECT(dma(CONTROL_SELECT | CONTROL_SKIP | FW_CFG_FILE_DIRECTORY << 16, 0, 0), 0);
        for (unsigned at = 0; at + piece <= sizeof entries; at += piece) {
            EXPECT(dma(CONTROL_READ, piece, 0x10100), 0);
            CHECK(memcmp(ram + 0x100, entries + at, piece) == 0);
        }
    }
}

TEST(fw_cfg_dma_signature, "the DMA port reads as QEMU CFG")
{
    start();
    uint64_t high = 0, low = 0;
    CHECK(bus_read(&ports, 0x514, 4, &high) && bus_read(&ports, 0x518, 4, &low));
    EXPECT(__builtin_bswap32((uint32_t)high), 0x51454d55);
    EXPECT(__builtin_bswap32((uint32_t)low), 0x20434647);
}

TEST(fw_cfg_dma_reads, "DMA selects, skips and reads; what is behind the item's end becomes zero")
{
    start();
    EXPECT(dma(CONTROL_SELECT | CONTROL_READ | 0x20u << 16, 6, 0x10080), 0);
    CHECK(memcmp(ram + 0x80, "a file", 6) == 0);
    EXPECT(ram[0x86], 0xaa);
    EXPECT(dma(CONTROL_SKIP, 4, 0), 0);
    EXPECT(dma(CONTROL_READ, 30, 0x10080), 0);
    CHECK(memcmp(ram + 0x80, text + 10, sizeof text - 10) == 0);
    for (unsigned i = sizeof text - 10; i < 30; i++)
        EXPECT(ram[0x80 + i], 0);
    EXPECT(dma(CONTROL_SELECT | 0x20u << 16, 0, 0), 0);
    EXPECT(next(), 'a');
}

TEST(fw_cfg_dma_errors,
     "a write, and memory that is not there, end with the error bit; nothing else is touched")
{
    start();
    EXPECT(dma(CONTROL_SELECT | CONTROL_WRITE | 0x20u << 16, 4, 0x10080), CONTROL_ERROR);
    EXPECT(ram[0x80], 0xaa);
    EXPECT(dma(CONTROL_SELECT | CONTROL_READ | 0x20u << 16, 4, 0xffff), CONTROL_ERROR);
    EXPECT(dma(CONTROL_READ, 4, 0x10000 + sizeof ram - 3), CONTROL_ERROR);
    EXPECT(ram[sizeof ram - 3], 0xaa);
    EXPECT(dma(CONTROL_READ, UINT32_MAX, UINT64_MAX - 2), CONTROL_ERROR);
    /* A request that is not in memory itself. */
    memset(ram, 0xaa, sizeof ram);
    CHECK(bus_write(&ports, 0x514, 4, UINT32_MAX) && bus_write(&ports, 0x518, 4, UINT32_MAX));
    CHECK(bus_write(&ports, 0x518, 4, __builtin_bswap32(0x10000 + sizeof ram - 8)));
    for (unsigned i = 0; i < sizeof ram; i++)
        EXPECT(ram[i], 0xaa);
    CHECK(!bus_write(&ports, 0x514, 8, 0));
    CHECK(!bus_write(&ports, 0x516, 2, 0));
}

TEST(fw_cfg_offset, "skipping far beyond the end does not come round")
{
    start();
    EXPECT(dma(CONTROL_SELECT | CONTROL_SKIP | 0x20u << 16, UINT32_MAX, 0), 0);
    EXPECT(dma(CONTROL_SKIP, 1, 0), 0);
    EXPECT(next(), 0);
    EXPECT(dma(CONTROL_READ, 16, 0x10080), 0);
    EXPECT(ram[0x80], 0);
}

TEST(fw_cfg_strings, "repeated reads of the data port go on where the last ended")
{
    start();
    uint8_t data[sizeof text + 4];
    select_key(0x20);
    EXPECT(next(), 'a');
    EXPECT(bus_read_string(&ports, 0x511, 1, data, sizeof data), sizeof data);
    CHECK(memcmp(data, text + 1, sizeof text - 1) == 0);
    EXPECT(data[sizeof text], 0);
    EXPECT(bus_read_string(&ports, 0x510, 2, data, 4), 0);
}

TEST(fw_cfg_items,
     "names and numbers are there once; too long names and too many items are refused")
{
    start();
    char name[FW_CFG_NAME_BYTES + 1];
    memset(name, 'x', sizeof name);
    name[FW_CFG_NAME_BYTES] = 0;
    CHECK(!fw_cfg_add_file(&config, name, text, 1));
    CHECK(!fw_cfg_add_file(&config, "", text, 1));
    CHECK(!fw_cfg_add_file(&config, "etc/text", text, 1));
    CHECK(!fw_cfg_add_item(&config, FW_CFG_ID, 0, 4));
    CHECK(!fw_cfg_add_number(&config, "etc/wide", 0, 9));
    unsigned n = 0;
    for (; n < 2 * FW_CFG_ITEMS_MAX; n++) {
        sprintf(name, "file%u", n);
        if (!fw_cfg_add_number(&config, name, n, 1))
            break;
    }
    EXPECT(n, FW_CFG_ITEMS_MAX - 5);
    select_key((uint16_t)(FW_CFG_FILE_FIRST + config.files - 1));
    EXPECT(next(), n - 1);
}
