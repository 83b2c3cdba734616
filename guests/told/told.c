/*
 * A kernel that says on the first serial port what its boot loader told it, one line each, and switches the machine off.
 * Multiboot 0.6.96, Multiboot2 2.0, PVH (Xen, start_info.h): each is read by its own specification, with nothing of Septum's.
 */
#include <stdbool.h>
#include <stdint.h>

void told(uint32_t magic, const uint32_t *info);

#define MULTIBOOT  0x2badb002u
#define MULTIBOOT2 0x36d76289u
#define PVH        0x336ec578u
#define SERIAL     0x3f8
#define POWER      0x600
#define POWER_OFF  0x34

static void out(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void put(const char *text)
{
    for (; *text; text++)
        out(SERIAL, (uint8_t)*text);
}

static void put_hex(uint64_t value)
{
    bool begun = false;
    put("0x");
    for (int shift = 60; shift >= 0; shift -= 4) {
        unsigned digit = value >> shift & 15;
        begun |= digit || shift == 0;
        if (begun)
            out(SERIAL, (uint8_t) "0123456789abcdef"[digit]);
    }
}

static void put_text(const char *what, const char *text)
{
    put(what);
    put(" \"");
    put(text);
    put("\"\n");
}

static void put_range(uint64_t base, uint64_t size_bytes, uint32_t type)
{
    put("TOLD memory ");
    put_hex(base);
    put(" ");
    put_hex(base + size_bytes);
    put(type == 1 ? " free\n" : " reserved\n");
}

/* Its text, size, and sum of bytes. */
static void put_module(uint64_t address, uint64_t size_bytes, const char *text)
{
    const uint8_t *bytes = (const uint8_t *)(uintptr_t)address;
    uint32_t sum = 0;
    for (uint64_t i = 0; i < size_bytes; i++)
        sum += bytes[i];
    put("TOLD module ");
    put_hex(size_bytes);
    put(" ");
    put_hex(sum);
    put_text("", text);
}

static const char *string(uint64_t address)
{
    return address ? (const char *)(uintptr_t)address : "";
}

/* 3.3: flags; 16: command line; 20, 24: modules; 44, 48: map; 64: the loader's name. */
static void read_multiboot(const uint32_t *info)
{
    const uint32_t *module = (const uint32_t *)info[6];
    put_text("TOLD loader", info[0] & 1 << 9 ? string(info[16]) : "");
    put_text("TOLD command line", info[0] & 1 << 2 ? string(info[4]) : "");
    for (uint32_t i = 0; info[0] & 1 << 3 && i < info[5]; i++, module += 4)
        put_module(module[0], module[1] - module[0], string(module[2]));
    for (uint32_t at = info[12]; info[0] & 1 << 6 && at < info[12] + info[11];
         at += *(const uint32_t *)at + 4) {
        const uint32_t *entry = (const uint32_t *)at;
        put_range(entry[1] | (uint64_t)entry[2] << 32, entry[3] | (uint64_t)entry[4] << 32,
                  entry[5]);
    }
}

static void read_tag(const uint32_t *tag)
{
    switch (tag[0]) {
    case 1: put_text("TOLD command line", (const char *)&tag[2]); break;
    case 2: put_text("TOLD loader", (const char *)&tag[2]); break;
    case 3: put_module(tag[2], tag[3] - tag[2], (const char *)&tag[4]); break;
    case 6:
        for (uint32_t at = 16; at + 24 <= tag[1]; at += tag[2]) {
            const uint32_t *entry = tag + at / 4;
            put_range(entry[0] | (uint64_t)entry[1] << 32, entry[2] | (uint64_t)entry[3] << 32,
                      entry[4]);
        }
        break;
    case 15: put("TOLD ACPI\n"); break;
    default: break;
    }
}

static void read_multiboot2(const uint32_t *info)
{
    const uint32_t *end = info + info[0] / 4;
    for (const uint32_t *tag = info + 2; tag < end && tag[0]; tag += (tag[1] + 7) / 8 * 2)
        read_tag(tag);
}

/* 3: modules; 16: their list; 24: command line; 32: RSDP; 40, 48: map. */
static void read_pvh(const uint32_t *info)
{
    const uint64_t *module = (const uint64_t *)info[4], *range = (const uint64_t *)info[10];
    put_text("TOLD command line", string(info[6]));
    for (uint32_t i = 0; i < info[3]; i++, module += 4)
        put_module(module[0], module[1], string(module[2]));
    for (uint32_t i = 0; i < info[12]; i++, range += 3)
        put_range(range[0], range[1], (uint32_t)range[2]);
    if (info[8])
        put("TOLD ACPI\n");
}

void told(uint32_t magic, const uint32_t *info)
{
    if (magic == MULTIBOOT)
        put("TOLD by multiboot\n"), read_multiboot(info);
    else if (magic == MULTIBOOT2)
        put("TOLD by multiboot2\n"), read_multiboot2(info);
    else if (info[0] == PVH)
        put("TOLD by pvh\n"), read_pvh(info);
    put("TOLD all\n");
    out(POWER, POWER_OFF);
}
