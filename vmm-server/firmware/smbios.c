/*
 * SMBIOS 2.8 (DMTF DSP0134, 2.8.0): BIOS, system, chassis, a processor for each vCPU, memory, end. What a machine of this
 * kind has no answer to is 0 or "unknown", as the specification has it for each field.
 */
#include "firmware/smbios.h"

#include "string.h"

enum {
    TYPE_BIOS = 0,
    TYPE_SYSTEM = 1,
    TYPE_CHASSIS = 3,
    TYPE_PROCESSOR = 4,
    TYPE_MEMORY_ARRAY = 16,
    TYPE_MEMORY_DEVICE = 17,
    TYPE_MEMORY_RANGE = 19,
    TYPE_BOOT = 32,
    TYPE_END = 127,
};

/* Handles: the type, and a number. */
#define HANDLE(type, n)     ((uint16_t)((type) << 8 | (n)))
#define HANDLE_NONE         0xfffeu

#define MIB_SHIFT           20u
#define DEVICE_MIB_MAX      0x7fffu /* more goes into the extended size, 7.18.5 */
#define ANCHOR_INTERMEDIATE 16u

#define MAKER               "Septum"
#define PRODUCT             "Septum partition"
#define BIOS_DATE           "01/01/2026"

/* BIOS characteristics (7.1.1): they are not supported; the second extension byte: it is a virtual machine. */
#define BIOS_NO_CHARACTERISTICS (1ull << 3)
#define BIOS_VIRTUAL_MACHINE    (1u << 4)

struct writer {
    uint8_t *data, *end;
    uint8_t *structure; /* that is being written */
    unsigned strings;
    uint16_t count, largest;
    bool full;
};

static void put(struct writer *writer, const void *bytes, size_t size_bytes)
{
    if (size_bytes > (size_t)(writer->end - writer->data)) {
        writer->full = true;
        return;
    }
    memcpy(writer->data, bytes, size_bytes);
    writer->data += size_bytes;
}

/* The formatted area of a structure; its strings follow (6.1.3). */
static void begin(struct writer *writer, uint8_t type, uint16_t handle, const void *fields,
                  uint8_t size_bytes)
{
    const uint8_t header[] = {type, (uint8_t)(size_bytes + 4), (uint8_t)handle,
                              (uint8_t)(handle >> 8)};
    writer->structure = writer->data;
    writer->strings = 0;
    put(writer, header, sizeof header);
    put(writer, fields, size_bytes);
}

static void add_string(struct writer *writer, const char *text)
{
    put(writer, text, strlen(text) + 1);
    writer->strings++;
}

static void end(struct writer *writer)
{
    put(writer, "\0", writer->strings ? 1 : 2);
    size_t size_bytes = (size_t)(writer->data - writer->structure);
    writer->count++;
    writer->largest = size_bytes > writer->largest ? (uint16_t)size_bytes : writer->largest;
}

/* FNV-1a, twice: the same name has the same UUID, on any machine. Version 8, RFC 9562. */
static void make_uuid(const char *name, uint8_t uuid[16])
{
    for (unsigned half = 0; half < 2; half++) {
        uint64_t digest = 0xcbf29ce484222325ull + half;
        for (const char *c = name; *c; c++)
            digest = (digest ^ (uint8_t)*c) * 0x100000001b3ull;
        memcpy(uuid + 8 * half, &digest, 8);
    }
    uuid[7] = (uint8_t)(0x80 | (uuid[7] & 0x0f));
    uuid[8] = (uint8_t)(0x80 | (uuid[8] & 0x3f));
}

static void write_bios(struct writer *writer)
{
    struct {
        uint8_t vendor, version;
        uint16_t segment;
        uint8_t date, size;
        uint64_t characteristics;
        uint8_t extension[2], major, minor, controller_major, controller_minor;
    } __attribute__((packed)) fields = {
        .vendor = 1,
        .version = 2,
        .segment = 0xe800,
        .date = 3,
        .characteristics = BIOS_NO_CHARACTERISTICS,
        .extension = {0, BIOS_VIRTUAL_MACHINE},
        .controller_major = 0xff,
        .controller_minor = 0xff,
    };
    begin(writer, TYPE_BIOS, HANDLE(TYPE_BIOS, 0), &fields, sizeof fields);
    add_string(writer, MAKER);
    add_string(writer, "1");
    add_string(writer, BIOS_DATE);
    end(writer);
}

static void write_system(struct writer *writer, const struct smbios_machine *machine)
{
    struct {
        uint8_t maker, product, version, serial, uuid[16], wake_up, sku, family;
    } __attribute__((packed)) fields = {1, 2, 3, 4, {0}, 6 /* power switch */, 0, 0};
    make_uuid(machine->name, fields.uuid);
    begin(writer, TYPE_SYSTEM, HANDLE(TYPE_SYSTEM, 0), &fields, sizeof fields);
    add_string(writer, MAKER);
    add_string(writer, PRODUCT);
    add_string(writer, "1");
    add_string(writer, machine->name);
    end(writer);
}

static void write_chassis(struct writer *writer)
{
    struct {
        uint8_t maker, type, version, serial, tag, boot_up, power, thermal, security;
        uint32_t oem;
        uint8_t height, cords, elements, element_bytes, sku;
    } __attribute__((packed))
    fields = {1, 1 /* other */, 0, 0, 0, 3, 3, 3 /* safe */, 2 /* unknown */, 0, 0, 0, 0, 0, 0};
    begin(writer, TYPE_CHASSIS, HANDLE(TYPE_CHASSIS, 0), &fields, sizeof fields);
    add_string(writer, MAKER);
    end(writer);
}

static void write_processor(struct writer *writer, unsigned n)
{
    struct {
        uint8_t socket, type, family, maker;
        uint64_t id;
        uint8_t version, voltage;
        uint16_t clock, speed_max, speed;
        uint8_t status, upgrade;
        uint16_t caches[3];
        uint8_t serial, tag, part, cores, enabled, threads;
        uint16_t characteristics, family2;
    } __attribute__((packed)) fields = {
        .socket = 1,
        .type = 3,   /* central processor */
        .family = 2, /* unknown */
        .maker = 2,
        .status = 0x41, /* populated, enabled */
        .upgrade = 1,   /* other */
        .caches = {0xffff, 0xffff, 0xffff},
        .cores = 1,
        .enabled = 1,
        .threads = 1,
        .characteristics = 4, /* 64-bit capable */
        .family2 = 2,
    };
    const char socket[] = {'C', 'P', 'U', (char)('0' + n), 0};
    begin(writer, TYPE_PROCESSOR, HANDLE(TYPE_PROCESSOR, n), &fields, sizeof fields);
    add_string(writer, socket);
    add_string(writer, MAKER);
    end(writer);
}

static void write_memory(struct writer *writer, const struct smbios_machine *machine)
{
    uint64_t mib = machine->memory_bytes >> MIB_SHIFT;
    struct {
        uint8_t location, use, correction;
        uint32_t capacity_kib;
        uint16_t error, devices;
        uint64_t extended;
    } __attribute__((packed))
    array = {1, 3, 3 /* no correction */, 0x80000000u, HANDLE_NONE, 1, machine->memory_bytes};
    struct {
        uint16_t array, error, total_width, data_width, size;
        uint8_t form, set, locator, bank, type;
        uint16_t detail, speed;
        uint8_t maker, serial, tag, part, attributes;
        uint32_t extended_mib;
        uint16_t clock, minimum, maximum, configured;
    } __attribute__((packed)) device = {
        .array = HANDLE(TYPE_MEMORY_ARRAY, 0),
        .error = HANDLE_NONE,
        .total_width = 0xffff,
        .data_width = 0xffff,
        .size = (uint16_t)(mib < DEVICE_MIB_MAX ? mib : DEVICE_MIB_MAX),
        .form = 9, /* DIMM */
        .locator = 1,
        .type = 7,   /* RAM */
        .detail = 2, /* other */
        .maker = 2,
        .extended_mib = mib < DEVICE_MIB_MAX ? 0 : (uint32_t)mib,
    };
    begin(writer, TYPE_MEMORY_ARRAY, HANDLE(TYPE_MEMORY_ARRAY, 0), &array, sizeof array);
    end(writer);
    begin(writer, TYPE_MEMORY_DEVICE, HANDLE(TYPE_MEMORY_DEVICE, 0), &device, sizeof device);
    add_string(writer, "DIMM 0");
    add_string(writer, MAKER);
    end(writer);
}

/* Addresses of both ends, in KiB, or all ones and the bytes themselves. */
static void write_range(struct writer *writer, uint8_t n, uint64_t from, uint64_t size_bytes)
{
    struct {
        uint32_t start_kib, end_kib;
        uint16_t array;
        uint8_t width;
        uint64_t start, end;
    } __attribute__((packed))
    fields = {UINT32_MAX, UINT32_MAX, HANDLE(TYPE_MEMORY_ARRAY, 0), 1, from, from + size_bytes - 1};
    begin(writer, TYPE_MEMORY_RANGE, HANDLE(TYPE_MEMORY_RANGE, n), &fields, sizeof fields);
    end(writer);
}

static uint8_t sum(const uint8_t *data, size_t size_bytes)
{
    uint8_t result = 0;
    for (size_t i = 0; i < size_bytes; i++)
        result = (uint8_t)(result + data[i]);
    return result;
}

/* 5.2.1: the entry point, and within it an intermediate one. */
static void write_anchor(struct smbios *smbios, const struct writer *writer, uint32_t address)
{
    struct {
        char anchor[4];
        uint8_t sum, length, major, minor;
        uint16_t largest;
        uint8_t revision, formatted[5];
        char intermediate[5];
        uint8_t intermediate_sum;
        uint16_t length_tables;
        uint32_t address;
        uint16_t count;
        uint8_t bcd;
    } __attribute__((packed)) fields = {
        .anchor = {'_', 'S', 'M', '_'},
        .length = SMBIOS_ANCHOR_BYTES,
        .major = 2,
        .minor = 8,
        .largest = writer->largest,
        .intermediate = {'_', 'D', 'M', 'I', '_'},
        .length_tables = smbios->used,
        .address = address,
        .count = writer->count,
        .bcd = 0x28,
    };
    _Static_assert(sizeof fields == SMBIOS_ANCHOR_BYTES, "DSP0134, 5.2.1");
    const uint8_t *bytes = (const uint8_t *)&fields;
    fields.intermediate_sum =
        (uint8_t)-sum(bytes + ANCHOR_INTERMEDIATE, sizeof fields - ANCHOR_INTERMEDIATE);
    fields.sum = (uint8_t)-sum(bytes, sizeof fields);
    memcpy(smbios->anchor, &fields, sizeof fields);
}

bool smbios_fill(struct smbios *smbios, const struct smbios_machine *machine, uint32_t address)
{
    struct writer writer = {.data = smbios->tables, .end = smbios->tables + SMBIOS_TABLES_BYTES};
    write_bios(&writer);
    write_system(&writer, machine);
    write_chassis(&writer);
    for (unsigned n = 0; n < machine->vcpu_count; n++)
        write_processor(&writer, n);
    write_memory(&writer, machine);
    write_range(&writer, 0, 0, machine->low_bytes);
    if (machine->memory_bytes > machine->low_bytes)
        write_range(&writer, 1, 1ull << 32, machine->memory_bytes - machine->low_bytes);
    const uint8_t boot[] = {0, 0, 0, 0, 0, 0, 0 /* no error */};
    begin(&writer, TYPE_BOOT, HANDLE(TYPE_BOOT, 0), boot, sizeof boot);
    end(&writer);
    begin(&writer, TYPE_END, HANDLE(TYPE_END, 0), "", 0);
    end(&writer);
    smbios->used = (uint16_t)(writer.data - smbios->tables);
    write_anchor(smbios, &writer, address);
    return !writer.full;
}
