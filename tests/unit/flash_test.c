/* links: vmm-server/devices/flash.c vmm-server/bus.c */
#include "unit_test.h"

#include "devices/flash.h"

#define BASE  0xffc00000u
#define BYTES (16u * FLASH_BLOCK_BYTES)

static struct flash flash;
static struct bus addresses;
static uint8_t data[BYTES];
static const uint8_t *mapped;
static unsigned maps;

static bool map(struct device_host *host, gpa_t gpa, uint64_t size_bytes, uint8_t *memory,
                bool writable)
{
    (void)host;
    EXPECT(gpa, BASE);
    EXPECT(size_bytes, BYTES);
    CHECK(!writable);
    mapped = memory;
    maps++;
    return true;
}

static struct device_host host = {.addresses = &addresses, .map = map};

static void start(void)
{
    memset(&addresses, 0, sizeof addresses);
    for (unsigned i = 0; i < BYTES; i++)
        data[i] = (uint8_t)(i * 7);
    mapped = NULL;
    flash_init(&flash, &host, BASE, data, BYTES);
    CHECK(flash_attach(&flash));
    CHECK(mapped == data);
    maps = 0;
}

static uint64_t load(uint64_t offset, unsigned size_bytes)
{
    uint64_t value = 0;
    CHECK(bus_read(&addresses, BASE + offset, size_bytes, &value));
    return value;
}

static void store(uint64_t offset, uint64_t value)
{
    CHECK(bus_write(&addresses, BASE + offset, 1, value));
}

TEST(flash_detected, "firmware's probe finds a flash: no RAM, no ROM (edk2, QemuFlashDetected)")
{
    start();
    uint8_t original = data[0x42];
    store(0x42, 0x50);
    CHECK(load(0x42, 1) != 0x50);
    store(0x42, 0x70);
    EXPECT(load(0x42, 1), 0);
    CHECK(!mapped);
    store(0x42, 0xff);
    CHECK(mapped == data);
    EXPECT(load(0x42, 1), original);
}

TEST(flash_program,
     "programming clears bits and sets none; the data is read without exits between runs alone")
{
    start();
    data[0x2000] = 0xf0, data[0x2001] = 0xff;
    store(0x2000, 0x10);
    store(0x2000, 0x3c);
    EXPECT(data[0x2000], 0x30);
    EXPECT(load(0x2000, 1), 0x80);
    for (unsigned i = 0; i < 8; i++) {
        store(0x2001, 0x40);
        store(0x2001, 0x5a);
    }
    store(0x2000, 0xff);
    EXPECT(load(0x2000, 2), 0x5a30);
    EXPECT(maps, 2);
    data[0x100] = data[0x101] = 0xff;
    CHECK(bus_write(&addresses, BASE + 0x100, 1, 0x10) &&
          bus_write(&addresses, BASE + 0x100, 2, 0x1234));
    store(0, 0xff);
    EXPECT(load(0x100, 2), 0x1234);
}

TEST(flash_erase,
     "a block becomes ones, its neighbours stay; without its confirmation nothing happens")
{
    start();
    uint8_t before = data[4095], behind = data[8192];
    store(5000, 0x20);
    store(5000, 0xd0);
    for (unsigned i = 4096; i < 8192; i++)
        EXPECT(data[i], 0xff);
    EXPECT(data[4095], before);
    EXPECT(data[8192], behind);
    store(0x3000, 0x20);
    store(0x3000, 0x00);
    EXPECT(load(0, 1), 0xb0);
    EXPECT(data[0x3001], (uint8_t)(0x3001 * 7));
    store(0, 0x50);
    store(0, 0x70);
    EXPECT(load(0, 1), 0);
}

TEST(flash_buffered, "a buffered write takes what it was told and its confirmation; more than the "
                     "buffer is an error")
{
    start();
    memset(data, 0xff, 64);
    store(0, 0xe8);
    EXPECT(load(0, 1), 0x80);
    store(0, 3);
    for (unsigned i = 0; i < 4; i++)
        store(i, i);
    store(0, 0xd0);
    EXPECT(load(0, 1), 0x80);
    store(0, 0xff);
    EXPECT(load(0, 4), 0x03020100);
    EXPECT(data[4], 0xff);
    store(0, 0xe8);
    store(0, 0xff);
    EXPECT(load(0, 1), 0x90);
}

TEST(flash_query, "the CFI table tells command set, size and blocks")
{
    start();
    store(0x55, 0x98);
    CHECK(load(0x10, 1) == 'Q' && load(0x11, 1) == 'R' && load(0x12, 1) == 'Y');
    EXPECT(load(0x13, 2), 1);
    EXPECT(load(0x27, 1), 16); /* 2^16 bytes */
    EXPECT(load(0x2c, 1), 1);
    EXPECT(load(0x2d, 2), 15);
    EXPECT(load(0x2f, 2), 16);
    CHECK(load(0x31, 1) == 'P' && load(0x32, 1) == 'R' && load(0x33, 1) == 'I');
    EXPECT(load(0x8000, 8), 0);
    store(0, 0x90);
    EXPECT(load(0, 2), 0x1889);
    flash_reset(&flash);
    EXPECT(load(1, 1), data[1]);
}

TEST(flash_hostile, "whatever is written anywhere, nothing beyond the data is touched")
{
    start();
    for (unsigned n = 0; n < 200000; n++) {
        unit_seed = unit_seed * 6364136223846793005ull + 1442695040888963407ull;
        static const uint8_t commands[] = {0x10, 0x20, 0x40, 0x50, 0x60, 0x70,
                                           0x90, 0x98, 0xd0, 0xe8, 0xff, 0x1f};
        unsigned size_bytes = 1u << (unit_seed >> 40 & 3);
        uint64_t offset = (unit_seed >> 44) % (BYTES - size_bytes + 1);
        uint64_t value = commands[(unit_seed >> 33) % sizeof commands];
        CHECK(bus_write(&addresses, BASE + offset, size_bytes, value * 0x0101010101010101ull));
        load(offset, size_bytes);
    }
}
