/* A VGA on buses of its own, for the tests of its parts. */
#ifndef VGA_MACHINE_H
#define VGA_MACHINE_H

#include "unit_test.h"

#include "devices/vga.h"

#define VGA_TEST_BYTES (8u << 20)

static struct vga vga;
static struct bus ports, addresses;
static struct device_host host;
static uint64_t test_time;
/* What the guest reaches without an exit. */
static struct {
    gpa_t base;
    uint64_t size_bytes;
    uint8_t *memory;
} direct;
static unsigned map_calls;
static bool map_refuses;

static uint64_t test_now(void)
{
    return test_time;
}

static bool test_map(struct device_host *unused, gpa_t gpa, uint64_t size_bytes, uint8_t *memory,
                     bool writable)
{
    (void)unused;
    map_calls++;
    if (memory && map_refuses)
        return false;
    CHECK(gpa % 4096 == 0 && size_bytes % 4096 == 0 && (uintptr_t)memory % 4096 == 0);
    CHECK(!memory || writable);
    if (memory) {
        CHECK((memory >= vga.planes && memory + size_bytes <= vga.planes + VGA_PLANES_BYTES) ||
              (memory >= vga.linear && memory + size_bytes <= vga.linear + VGA_TEST_BYTES));
    }
    direct.base = gpa;
    direct.size_bytes = size_bytes;
    direct.memory = memory;
    return true;
}

/* Memory with nothing around it that may be touched: the sanitizer sees to that. */
static uint8_t *pages(size_t size_bytes)
{
    uint8_t *memory = aligned_alloc(4096, size_bytes);
    CHECK(memory);
    memset(memory, 0, size_bytes);
    return memory;
}

static void vga_begin(void)
{
    free(vga.planes);
    free(vga.linear);
    memset(&ports, 0, sizeof ports);
    memset(&addresses, 0, sizeof addresses);
    memset(&direct, 0, sizeof direct);
    map_refuses = false;
    test_time = 0;
    host = (struct device_host){.ports = &ports,
                                .addresses = &addresses,
                                .tsc_khz = 1000000,
                                .now = test_now,
                                .map = test_map};
    vga_init(&vga, &host, pages(VGA_PLANES_BYTES), pages(VGA_TEST_BYTES), VGA_TEST_BYTES);
    CHECK(vga_attach(&vga));
    map_calls = 0;
}

static inline uint64_t in(unsigned port, unsigned size_bytes)
{
    uint64_t value = 0;
    CHECK(bus_read(&ports, port, size_bytes, &value));
    return value;
}

static inline void out(unsigned port, unsigned size_bytes, uint64_t value)
{
    CHECK(bus_write(&ports, port, size_bytes, value));
}

static inline void set(unsigned index_port, unsigned index, uint8_t value)
{
    out(index_port, 2, index | (unsigned)value << 8);
}

static inline uint8_t get(unsigned index_port, unsigned index)
{
    out(index_port, 1, index);
    return (uint8_t)in(index_port + 1, 1);
}

static inline void set_attribute(unsigned index, uint8_t value)
{
    in(0x3da, 1);
    out(0x3c0, 1, index);
    out(0x3c0, 1, value);
    out(0x3c0, 1, 0x20);
}

static inline void vbe_set(unsigned index, uint16_t value)
{
    out(0x1ce, 2, index);
    out(0x1cf, 2, value);
}

static inline uint16_t vbe_get(unsigned index)
{
    out(0x1ce, 2, index);
    return (uint16_t)in(0x1d0, 2);
}

static inline void vbe_mode(unsigned width, unsigned height, unsigned bits, unsigned flags)
{
    vbe_set(4, 0);
    vbe_set(1, (uint16_t)width);
    vbe_set(2, (uint16_t)height);
    vbe_set(3, (uint16_t)bits);
    vbe_set(4, (uint16_t)(1 | flags));
}

/* As the guest does it: without an exit where it can. */
static inline uint8_t peek(uint32_t address)
{
    uint64_t value = 0;
    if (direct.memory && address - direct.base < direct.size_bytes)
        return direct.memory[address - direct.base];
    CHECK(bus_read(&addresses, address, 1, &value));
    return (uint8_t)value;
}

static inline void poke(uint32_t address, uint8_t value)
{
    if (direct.memory && address - direct.base < direct.size_bytes)
        direct.memory[address - direct.base] = value;
    else
        CHECK(bus_write(&addresses, address, 1, value));
}

/* 640 by 480 with 16 colours (mode 0x12), as a BIOS sets what matters of it. */
static inline void planar_mode(void)
{
    static const uint8_t crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00,
                                   0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xea, 0x8c,
                                   0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff};
    out(0x3c2, 1, 0xe3);
    set(0x3c4, 1, 0x01);
    set(0x3c4, 2, 0x0f);
    set(0x3c4, 4, 0x06);
    set(0x3d4, 0x11, 0);
    for (unsigned i = 0; i < sizeof crtc; i++)
        set(0x3d4, i, crtc[i]);
    set(0x3ce, 5, 0x00);
    set(0x3ce, 6, 0x05);
    set_attribute(0x10, 0x01);
}

/* 320 by 200 with 256 colours (mode 0x13). */
static inline void chain_mode(void)
{
    static const uint8_t crtc[] = {0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00,
                                   0x41, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e,
                                   0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff};
    out(0x3c2, 1, 0x63);
    set(0x3c4, 1, 0x01);
    set(0x3c4, 2, 0x0f);
    set(0x3c4, 4, 0x0e);
    set(0x3d4, 0x11, 0);
    for (unsigned i = 0; i < sizeof crtc; i++)
        set(0x3d4, i, crtc[i]);
    set(0x3ce, 5, 0x40);
    set(0x3ce, 6, 0x05);
    set_attribute(0x10, 0x41);
}

/* 320 by 200 with four colours (mode 4). */
static inline void cga_mode(void)
{
    static const uint8_t crtc[] = {0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00,
                                   0xc1, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e,
                                   0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff};
    out(0x3c2, 1, 0x63);
    set(0x3c4, 1, 0x09);
    set(0x3c4, 2, 0x03);
    set(0x3c4, 4, 0x02);
    set(0x3d4, 0x11, 0);
    for (unsigned i = 0; i < sizeof crtc; i++)
        set(0x3d4, i, crtc[i]);
    set(0x3ce, 5, 0x30);
    set(0x3ce, 6, 0x0f);
    set_attribute(0x10, 0x01);
}

#endif
