/*
 * NOR flash with Intel's command set, eight bits wide, in blocks of 4 KiB.
 *
 * State:    the data, the command that is being carried out, the status register.
 * Features: read array, status, identifier and CFI query; program byte (and what wider writes bring), buffered write,
 *           block erase, clear status; all at once, so that the device is always ready. In array mode the guest reads
 *           without exits.
 * Missing:  block locking (its commands are taken, and lock nothing), suspend, protection registers.
 * Spec:     JEDEC JEP137 (command set 0001h), JESD68.01 (CFI); Intel StrataFlash J3 data sheet (order 290667), chapter 4.
 */
#include "devices/flash.h"

#include "string.h"

enum {
    PROGRAM = 0x10,
    ERASE = 0x20,
    PROGRAM_OLD = 0x40,
    CLEAR_STATUS = 0x50,
    LOCK = 0x60,
    READ_STATUS = 0x70,
    READ_IDENTIFIER = 0x90,
    QUERY = 0x98,
    CONFIRM = 0xd0,
    BUFFERED = 0xe8,
    READ_ARRAY = 0xff,
};

#define STATUS_READY       0x80u
#define STATUS_ERASE_BAD   0x20u
#define STATUS_PROGRAM_BAD 0x10u

#define MAKER              0x89u /* Intel */
#define DEVICE             0x18u
#define BUFFER_BYTES       32u

#define QUERY_BASE         0x10u

/* CFI's table from 0x10 on; what depends on the size is put in when it is read. */
static const uint8_t query[] = {
    'Q',  'R',  'Y',  0x01, 0x00, 0x31, 0x00, 0x00, 0x00, 0x00, 0x00, /* command set 1, its table at 0x31 */
    0x45, 0x55, 0x00, 0x00,                         /* 4.5 V to 5.5 V; no programming voltage */
    0x07, 0x07, 0x0a, 0x00, 0x04, 0x04, 0x04, 0x00, /* typical times, and how much longer they may be */
#define QUERY_SIZE 0x17u                            /* offsets in this array */
    0x00, 0x00, 0x00, 0x05, 0x00, 0x01,             /* size; x8; buffer of 2^5; one region */
#define QUERY_BLOCKS 0x1du
    0x00, 0x00, 0x10, 0x00, /* blocks - 1, size / 256 */
    'P',  'R',  'I',  '1',  '0',  0,    0,    0,    0,    0,    0,    0, 0,
};

static uint8_t query_at(const struct flash *flash, uint64_t offset)
{
    uint64_t blocks = flash->size_bytes / FLASH_BLOCK_BYTES - 1, at = offset - QUERY_BASE;
    if (offset < QUERY_BASE || at >= sizeof query)
        return 0;
    if (at == QUERY_SIZE)
        return (uint8_t)(64 - __builtin_clzll(flash->size_bytes - 1));
    if (at == QUERY_BLOCKS || at == QUERY_BLOCKS + 1)
        return (uint8_t)(blocks >> (8 * (at - QUERY_BLOCKS)));
    return query[at];
}

static uint8_t read_byte(const struct flash *flash, uint64_t offset)
{
    switch (flash->command) {
    case READ_ARRAY: return flash->data[offset];
    case READ_IDENTIFIER: return offset == 0 ? MAKER : offset == 1 ? DEVICE : 0;
    case QUERY: return query_at(flash, offset);
    default: return flash->status;
    }
}

/* Only reads of the data go without an exit. If it can't be mapped, its reads come here, too. */
static void set_command(struct flash *flash, uint8_t command)
{
    bool map = command == READ_ARRAY;
    flash->command = command;
    if (map != flash->mapped && flash->host->map(flash->host, flash->base, flash->size_bytes,
                                                 map ? flash->data : NULL, false))
        flash->mapped = map;
}

/* Programming makes zeroes of ones, and nothing else. */
static void program(struct flash *flash, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    for (unsigned i = 0; i < size_bytes; i++)
        flash->data[offset + i] &= (uint8_t)(value >> (8 * i));
}

static void erase(struct flash *flash, uint64_t offset)
{
    memset(flash->data + (offset & ~(uint64_t)(FLASH_BLOCK_BYTES - 1)), 0xff, FLASH_BLOCK_BYTES);
}

/* Count, data, confirmation. */
static void write_buffered(struct flash *flash, uint64_t offset, unsigned size_bytes,
                           uint64_t value)
{
    if (!flash->buffer_counted) {
        flash->buffer_counted = true;
        flash->buffer_left = (value & 0xff) + 1;
        if (flash->buffer_left <= BUFFER_BYTES)
            return;
    } else if (flash->buffer_left >= size_bytes) {
        program(flash, offset, size_bytes, value);
        flash->buffer_left -= size_bytes;
        return;
    }
    if (flash->buffer_left || (value & 0xff) != CONFIRM)
        flash->status |= STATUS_PROGRAM_BAD;
    flash->status |= STATUS_READY;
    set_command(flash, READ_STATUS);
}

/* The second cycle of a command; true: it was one. */
static bool go_on(struct flash *flash, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    switch (flash->command) {
    case PROGRAM:
    case PROGRAM_OLD: program(flash, offset, size_bytes, value); break;
    case ERASE:
        if ((value & 0xff) == CONFIRM)
            erase(flash, offset);
        else
            flash->status |= STATUS_ERASE_BAD | STATUS_PROGRAM_BAD;
        break;
    case LOCK: break;
    case BUFFERED: write_buffered(flash, offset, size_bytes, value); return true;
    default: return false;
    }
    flash->status |= STATUS_READY;
    set_command(flash, READ_STATUS);
    return true;
}

static bool flash_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    const struct flash *flash = device;
    *value = 0;
    for (unsigned i = 0; i < size_bytes; i++)
        *value |= (uint64_t)read_byte(flash, offset + i) << (8 * i);
    return true;
}

static bool flash_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct flash *flash = device;
    uint8_t command = (uint8_t)value;
    if (go_on(flash, offset, size_bytes, value))
        return true;
    switch (command) {
    case CLEAR_STATUS:
        /* All of it, with the bit that says ready: by a status of 0 edk2 tells flash from ROM (QemuFlashDetected). */
        flash->status = 0;
        set_command(flash, READ_ARRAY);
        break;
    case BUFFERED: flash->buffer_counted = false; __attribute__((fallthrough));
    case PROGRAM:
    case PROGRAM_OLD:
    case ERASE:
    case LOCK:
    case READ_STATUS:
    case READ_IDENTIFIER:
    case QUERY: set_command(flash, command); break;
    default: set_command(flash, READ_ARRAY);
    }
    return true;
}

static const struct bus_operations operations = {.read = flash_read, .write = flash_write};

void flash_init(struct flash *flash, struct device_host *host, gpa_t base, uint8_t *data,
                uint64_t size_bytes)
{
    *flash = (struct flash){.host = host, .base = base, .data = data, .size_bytes = size_bytes};
}

void flash_reset(struct flash *flash)
{
    flash->status = STATUS_READY;
    set_command(flash, READ_ARRAY);
}

bool flash_attach(struct flash *flash)
{
    if (flash->size_bytes == 0 || flash->size_bytes % FLASH_BLOCK_BYTES ||
        !bus_add(flash->host->addresses,
                 &(struct bus_range){flash->base, flash->size_bytes, &operations, flash, "flash"}))
        return false;
    flash_reset(flash);
    return flash->mapped;
}
