/*
 * QEMU's firmware configuration device.
 *
 * State:    the selected item and the offset in it, the upper half of a DMA address.
 * Features: selector and data ports, DMA (select, read, skip), file directory, repeated reads of the data port.
 * Missing:  items that a guest can write (a DMA write ends with the error bit); the memory-mapped form.
 * Spec:     QEMU, docs/specs/fw_cfg.rst.
 */
#include "devices/fw_cfg.h"

#include "string.h"

#define SELECTOR_OFFSET 0u
#define DATA_OFFSET     1u
#define DMA_HIGH_OFFSET 4u
#define DMA_LOW_OFFSET  8u
#define PORTS           12u

#define ID_TRADITIONAL  1u
#define ID_DMA          2u

#define DMA_ERROR       1u
#define DMA_READ        2u
#define DMA_SKIP        4u
#define DMA_SELECT      8u
#define DMA_WRITE       16u
#define DMA_KEY_SHIFT   16u

#define ZEROES_BYTES    512u

static const char dma_signature[8] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};

struct directory_entry { /* all big-endian */
    uint32_t size_bytes;
    uint16_t key, reserved;
    char name[FW_CFG_NAME_BYTES];
};
_Static_assert(sizeof(struct directory_entry) == 64, "fw_cfg.rst: struct FWCfgFile");

/* ---- items ----------------------------------------------------------------------------------------------- */

static const struct fw_cfg_item *find(const struct fw_cfg *config, uint16_t key)
{
    for (unsigned i = 0; i < config->count; i++)
        if (config->items[i].key == key)
            return &config->items[i];
    return NULL;
}

/* Copies what there is of the directory from offset on; it is made as it is read. How much that was. */
static uint32_t read_directory(const struct fw_cfg *config, uint32_t offset, uint8_t *data,
                               uint32_t size_bytes)
{
    uint32_t done = 0, files = __builtin_bswap32(config->files);
    for (; done < size_bytes && offset < sizeof files; done++, offset++)
        data[done] = ((const uint8_t *)&files)[offset];
    while (done < size_bytes) {
        uint32_t n = (uint32_t)((offset - sizeof files) / sizeof(struct directory_entry));
        uint32_t from = (uint32_t)((offset - sizeof files) % sizeof(struct directory_entry));
        const struct fw_cfg_item *item =
            n < config->files ? find(config, (uint16_t)(FW_CFG_FILE_FIRST + n)) : NULL;
        struct directory_entry entry = {0};
        if (!item)
            break;
        entry.size_bytes = __builtin_bswap32(item->size_bytes);
        entry.key = __builtin_bswap16(item->key);
        memcpy(entry.name, item->name, sizeof entry.name);
        for (; done < size_bytes && from < sizeof entry; done++, from++, offset++)
            data[done] = ((const uint8_t *)&entry)[from];
    }
    return done;
}

/* The next bytes of the selected item; behind its end, and of one that is not there: zeroes. */
static void read_item(struct fw_cfg *config, uint8_t *data, uint32_t size_bytes)
{
    const struct fw_cfg_item *item = find(config, config->key);
    uint32_t done = 0;
    if (config->key == FW_CFG_FILE_DIRECTORY) {
        done = read_directory(config, config->offset, data, size_bytes);
    } else if (item && config->offset < item->size_bytes) {
        const uint8_t *from = item->data ? item->data : item->value;
        done = item->size_bytes - config->offset;
        done = done < size_bytes ? done : size_bytes;
        memcpy(data, from + config->offset, done);
    }
    memset(data + done, 0, size_bytes - done);
    config->offset =
        size_bytes > UINT32_MAX - config->offset ? UINT32_MAX : config->offset + size_bytes;
}

static bool add(struct fw_cfg *config, const struct fw_cfg_item *item)
{
    if (config->count == FW_CFG_ITEMS_MAX || find(config, item->key))
        return false;
    config->items[config->count++] = *item;
    return true;
}

static bool add_file(struct fw_cfg *config, const char *name, struct fw_cfg_item *item)
{
    size_t length = strlen(name);
    if (length == 0 || length >= FW_CFG_NAME_BYTES)
        return false;
    for (unsigned i = 0; i < config->count; i++)
        if (strcmp(config->items[i].name, name) == 0)
            return false;
    memcpy(item->name, name, length);
    item->key = (uint16_t)(FW_CFG_FILE_FIRST + config->files);
    if (!add(config, item))
        return false;
    config->files++;
    return true;
}

bool fw_cfg_add_file(struct fw_cfg *config, const char *name, const void *data, uint32_t size_bytes)
{
    struct fw_cfg_item item = {.data = data, .size_bytes = size_bytes};
    return add_file(config, name, &item);
}

bool fw_cfg_add_number(struct fw_cfg *config, const char *name, uint64_t value, unsigned size_bytes)
{
    struct fw_cfg_item item = {.size_bytes = size_bytes};
    memcpy(item.value, &value, sizeof item.value);
    return size_bytes <= sizeof item.value && add_file(config, name, &item);
}

bool fw_cfg_add_item(struct fw_cfg *config, enum fw_cfg_key key, uint64_t value,
                     unsigned size_bytes)
{
    struct fw_cfg_item item = {.key = (uint16_t)key, .size_bytes = size_bytes};
    memcpy(item.value, &value, sizeof item.value);
    return size_bytes <= sizeof item.value && add(config, &item);
}

bool fw_cfg_add_data(struct fw_cfg *config, enum fw_cfg_key key, const void *data,
                     uint32_t size_bytes)
{
    const struct fw_cfg_item item = {.key = (uint16_t)key, .data = data, .size_bytes = size_bytes};
    return add(config, &item);
}

/* ---- DMA ------------------------------------------------------------------------------------------------- */

/* A piece at a time, so that nothing is changed where the guest has no memory. */
static bool dma_read(struct fw_cfg *config, gpa_t address, uint32_t length)
{
    uint8_t piece[ZEROES_BYTES];
    while (length) {
        uint32_t part = length < sizeof piece ? length : (uint32_t)sizeof piece;
        read_item(config, piece, part);
        if (!guest_memory_write(config->memory, address, piece, part))
            return false;
        address += part, length -= part;
    }
    return true;
}

/* fw_cfg.rst, "Guest-side DMA Interface". The result goes where the request came from. */
static void dma(struct fw_cfg *config, gpa_t at)
{
    struct {
        uint32_t control, length;
        uint64_t address;
    } request;
    if (!guest_memory_read(config->memory, at, &request, sizeof request))
        return;
    uint32_t control = __builtin_bswap32(request.control), result = 0;
    uint32_t length = __builtin_bswap32(request.length);
    if (control & DMA_SELECT) {
        config->key = (uint16_t)(control >> DMA_KEY_SHIFT);
        config->offset = 0;
    }
    if (control & DMA_READ)
        result = dma_read(config, __builtin_bswap64(request.address), length) ? 0 : DMA_ERROR;
    else if (control & DMA_WRITE)
        result = DMA_ERROR;
    else if (control & DMA_SKIP)
        config->offset =
            length > UINT32_MAX - config->offset ? UINT32_MAX : config->offset + length;
    result = __builtin_bswap32(result);
    guest_memory_write(config->memory, at, &result, sizeof result);
}

/* ---- ports ----------------------------------------------------------------------------------------------- */

static bool port_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct fw_cfg *config = device;
    *value = 0;
    if (offset >= DMA_HIGH_OFFSET) {
        /* The signature tells that there is DMA; as all of it, the first byte is at the lowest port. */
        if (offset + size_bytes > PORTS)
            return false;
        memcpy(value, dma_signature + (offset - DMA_HIGH_OFFSET), size_bytes);
        return true;
    }
    if (size_bytes != 1 || offset > DATA_OFFSET)
        return false;
    uint8_t byte;
    read_item(config, &byte, 1);
    *value = byte;
    return true;
}

static bool port_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct fw_cfg *config = device;
    if (offset == SELECTOR_OFFSET && size_bytes == 2) {
        config->key = (uint16_t)value;
        config->offset = 0;
        return true;
    }
    if (offset == DMA_HIGH_OFFSET && size_bytes == 4) {
        config->dma_high = __builtin_bswap32((uint32_t)value);
        return true;
    }
    if (offset == DMA_LOW_OFFSET && size_bytes == 4) {
        gpa_t at = (gpa_t)config->dma_high << 32 | __builtin_bswap32((uint32_t)value);
        config->dma_high = 0;
        dma(config, at);
        return true;
    }
    /* Writes to the data port have had no effect since QEMU 2.4. */
    return offset <= DATA_OFFSET && size_bytes == 1;
}

static unsigned read_string(void *device, uint64_t offset, unsigned size_bytes, void *data,
                            unsigned count)
{
    uint64_t value;
    if (offset == DATA_OFFSET && size_bytes == 1) {
        read_item(device, data, count);
        return count;
    }
    if (!port_read(device, offset, size_bytes, &value))
        return 0;
    memcpy(data, &value, size_bytes);
    return 1;
}

static const struct bus_operations operations = {
    .read = port_read, .write = port_write, .read_string = read_string};

void fw_cfg_init(struct fw_cfg *config, const struct guest_memory *memory)
{
    const uint32_t signature = 0x554d4551; /* "QEMU" */
    *config = (struct fw_cfg){.memory = memory};
    fw_cfg_add_item(config, FW_CFG_SIGNATURE, signature, 4);
    fw_cfg_add_item(config, FW_CFG_ID, ID_TRADITIONAL | ID_DMA, 4);
}

bool fw_cfg_attach(struct fw_cfg *config, struct bus *ports)
{
    return bus_add(ports, &(struct bus_range){FW_CFG_PORT, PORTS, &operations, config,
                                              "firmware configuration"});
}
