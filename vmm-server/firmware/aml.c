#include "firmware/aml.h"

#include "string.h"

/* ACPI 6.5, table 20.1. */
enum {
    AML_NAME = 0x08,
    AML_BYTE = 0x0a,
    AML_WORD = 0x0b,
    AML_DWORD = 0x0c,
    AML_STRING = 0x0d,
    AML_QWORD = 0x0e,
    AML_SCOPE = 0x10,
    AML_BUFFER = 0x11,
    AML_PACKAGE = 0x12,
    AML_EXTENDED = 0x5b,
    AML_DEVICE = 0x82,
};

/* Resource descriptors (6.4.2, 6.4.3). */
enum {
    RESOURCE_PORTS = 0x47,
    RESOURCE_END = 0x79,
    RESOURCE_MEMORY32 = 0x86,
    RESOURCE_INTERRUPT = 0x89,
};

#define LENGTH_BYTES 2u

void aml_byte(struct aml *aml, uint8_t byte)
{
    if (aml->length == aml->size_bytes)
        aml->full = true;
    else
        aml->data[aml->length++] = byte;
}

void aml_bytes(struct aml *aml, const void *bytes, size_t size_bytes)
{
    for (size_t i = 0; i < size_bytes; i++)
        aml_byte(aml, ((const uint8_t *)bytes)[i]);
}

void aml_name(struct aml *aml, const char *name)
{
    aml_byte(aml, AML_NAME);
    aml_bytes(aml, name, 4);
}

void aml_integer(struct aml *aml, uint64_t value)
{
    static const struct {
        uint8_t operation, size_bytes;
    } forms[] = {{AML_BYTE, 1}, {AML_WORD, 2}, {AML_DWORD, 4}, {AML_QWORD, 8}};
    unsigned form = value > 0xffffffff ? 3 : value > 0xffff ? 2 : value > 0xff ? 1 : 0;
    if (value <= 1) {
        aml_byte(aml, (uint8_t)value); /* ZeroOp, OneOp */
        return;
    }
    aml_byte(aml, forms[form].operation);
    aml_bytes(aml, &value, forms[form].size_bytes);
}

void aml_string(struct aml *aml, const char *text)
{
    aml_byte(aml, AML_STRING);
    aml_bytes(aml, text, strlen(text) + 1);
}

static unsigned hex_digit(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits, four hexadecimal digits, the most significant byte first (6.1.5). */
void aml_eisa_id(struct aml *aml, const char *id)
{
    uint32_t value = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 |
                     (uint32_t)(id[2] - '@') << 16;
    for (unsigned i = 0; i < 4; i++)
        value |= hex_digit(id[3 + i]) << (12 - 4 * i);
    aml_byte(aml, AML_DWORD);
    for (int shift = 24; shift >= 0; shift -= 8)
        aml_byte(aml, (uint8_t)(value >> shift));
}

static size_t open_length(struct aml *aml)
{
    size_t at = aml->length;
    aml_byte(aml, 0);
    aml_byte(aml, 0);
    return at;
}

size_t aml_open_scope(struct aml *aml, const char *path)
{
    aml_byte(aml, AML_SCOPE);
    size_t at = open_length(aml);
    aml_bytes(aml, path, strlen(path));
    return at;
}

size_t aml_open_device(struct aml *aml, const char *name)
{
    aml_byte(aml, AML_EXTENDED);
    aml_byte(aml, AML_DEVICE);
    size_t at = open_length(aml);
    aml_bytes(aml, name, 4);
    return at;
}

size_t aml_open_package(struct aml *aml, uint8_t elements)
{
    aml_byte(aml, AML_PACKAGE);
    size_t at = open_length(aml);
    aml_byte(aml, elements);
    return at;
}

/* PkgLength (20.2.4): bits 6-7 of the first byte are how many follow, bits 0-3 the lowest of the length, which
 * counts its own bytes. */
void aml_close(struct aml *aml, size_t opened)
{
    size_t length = aml->length - opened;
    if (aml->full || length >= 1u << 12) {
        aml->full = true;
        return;
    }
    aml->data[opened] = (uint8_t)((LENGTH_BYTES - 1) << 6 | (length & 15));
    aml->data[opened + 1] = (uint8_t)(length >> 4);
}

size_t aml_resources_begin(struct aml *aml)
{
    aml_name(aml, "_CRS");
    aml_byte(aml, AML_BUFFER);
    size_t at = open_length(aml);
    /* The buffer's size, known at the end. */
    aml_byte(aml, AML_BYTE);
    aml_byte(aml, 0);
    return at;
}

void aml_resource_ports(struct aml *aml, uint16_t base, uint8_t count)
{
    const uint8_t low = (uint8_t)base, high = (uint8_t)(base >> 8);
    const uint8_t descriptor[] = {RESOURCE_PORTS, 1 /* 16 bits decoded */, low, high, low, high, 1,
                                  count};
    aml_bytes(aml, descriptor, sizeof descriptor);
}

void aml_resource_memory(struct aml *aml, uint32_t base, uint32_t size_bytes)
{
    const uint8_t head[] = {RESOURCE_MEMORY32, 9, 0, 1 /* writable */};
    aml_bytes(aml, head, sizeof head);
    aml_bytes(aml, &base, sizeof base);
    aml_bytes(aml, &size_bytes, sizeof size_bytes);
}

void aml_resource_interrupt(struct aml *aml, uint32_t line)
{
    const uint8_t head[] = {RESOURCE_INTERRUPT, 6, 0, 3 /* consumer, edge */, 1};
    aml_bytes(aml, head, sizeof head);
    aml_bytes(aml, &line, sizeof line);
}

void aml_resources_end(struct aml *aml, size_t begun)
{
    aml_byte(aml, RESOURCE_END);
    aml_byte(aml, 0); /* no checksum */
    size_t bytes = aml->length - begun - LENGTH_BYTES - 2;
    if (!aml->full && bytes < 256)
        aml->data[begun + LENGTH_BYTES + 1] = (uint8_t)bytes;
    else
        aml->full = true;
    aml_close(aml, begun);
}
