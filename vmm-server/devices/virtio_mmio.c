/*
 * virtio over registers in memory.
 *
 * State:    in struct virtio_device; the page that shows its registers.
 * Features: version 2 registers, one interrupt line; reads without exits (virtio_mmio_show).
 * Missing:  shared memory regions, queue resets, the legacy interface.
 * Spec:     OASIS VIRTIO 1.2, section 4.2.
 */
#include "devices/virtio.h"

#define MAGIC  0x74726976u /* "virt" */
#define VENDOR 0x54504553u /* "SEPT" */

enum mmio_register {
    MMIO_MAGIC = 0x000,
    MMIO_VERSION = 0x004,
    MMIO_DEVICE_ID = 0x008,
    MMIO_VENDOR_ID = 0x00c,
    MMIO_DEVICE_FEATURES = 0x010,
    MMIO_DEVICE_FEATURES_SELECT = 0x014,
    MMIO_DRIVER_FEATURES = 0x020,
    MMIO_DRIVER_FEATURES_SELECT = 0x024,
    MMIO_QUEUE_SELECT = 0x030,
    MMIO_QUEUE_SIZE_MAX = 0x034,
    MMIO_QUEUE_SIZE = 0x038,
    MMIO_QUEUE_READY = 0x044,
    MMIO_QUEUE_NOTIFY = 0x050,
    MMIO_INTERRUPT_STATUS = 0x060,
    MMIO_INTERRUPT_ACKNOWLEDGE = 0x064,
    MMIO_STATUS = 0x070,
    MMIO_QUEUE_DESCRIPTORS = 0x080, /* and the upper half behind it, as of the next two */
    MMIO_QUEUE_AVAILABLE = 0x090,
    MMIO_QUEUE_USED = 0x0a0,
    MMIO_SHARED_LENGTH_LOW = 0x0b0,
    MMIO_SHARED_LENGTH_HIGH = 0x0b4,
    MMIO_CONFIG_GENERATION = 0x0fc,
    MMIO_CONFIG = 0x100,
};

#define STATUS_FEATURES_OK 8u
#define CONFIG_BYTES       (VIRTIO_MMIO_BYTES - MMIO_CONFIG)

/* NULL: there is no such queue, and its registers read as 0. */
static struct virtio_queue *selected(struct virtio_device *device)
{
    return device->queue_select < device->queue_count ? &device->queues[device->queue_select]
                                                      : NULL;
}

static uint32_t read_register(struct virtio_device *device, uint64_t offset)
{
    const struct virtio_queue *queue = selected(device);
    switch (offset) {
    case MMIO_MAGIC: return MAGIC;
    case MMIO_VERSION: return 2;
    case MMIO_DEVICE_ID: return device->operations->device_id;
    case MMIO_VENDOR_ID: return VENDOR;
    case MMIO_DEVICE_FEATURES:
        return device->feature_select > 1
                   ? 0
                   : (uint32_t)(virtio_features(device) >> 32 * device->feature_select);
    case MMIO_QUEUE_SIZE_MAX: return queue ? queue->size_max : 0;
    case MMIO_QUEUE_READY: return queue && queue->ready;
    case MMIO_INTERRUPT_STATUS: return device->interrupt_status;
    case MMIO_STATUS: return device->status;
    case MMIO_SHARED_LENGTH_LOW:
    case MMIO_SHARED_LENGTH_HIGH: return 0xffffffff; /* 4.2.2.2: no such region */
    case MMIO_CONFIG_GENERATION: return device->config_generation;
    }
    return 0;
}

static void set_half(gpa_t *address, bool high, uint32_t value)
{
    *address = high ? (*address & 0xffffffff) | (uint64_t)value << 32
                    : (*address & ~0xffffffffull) | value;
}

/* A queue that is ready keeps its settings (4.2.2.2). */
static void write_queue(struct virtio_queue *queue, uint64_t offset, uint32_t value)
{
    if (offset == MMIO_QUEUE_READY) {
        if ((value & 1) == queue->ready)
            return;
        queue->device->operations->reset(queue->device); /* chains in hand are of another life */
        if (value & 1)
            virtio_queue_start(queue);
        else
            queue->ready = false;
        return;
    }
    if (queue->ready)
        return;
    switch (offset) {
    case MMIO_QUEUE_SIZE: queue->size = value > queue->size_max ? 0 : (uint16_t)value; break;
    case MMIO_QUEUE_DESCRIPTORS:
    case MMIO_QUEUE_DESCRIPTORS + 4: set_half(&queue->descriptors, offset & 4, value); break;
    case MMIO_QUEUE_AVAILABLE:
    case MMIO_QUEUE_AVAILABLE + 4: set_half(&queue->available, offset & 4, value); break;
    case MMIO_QUEUE_USED:
    case MMIO_QUEUE_USED + 4: set_half(&queue->used, offset & 4, value); break;
    }
}

/* Features are settled when the device has accepted them (3.1.1). */
static void write_features(struct virtio_device *device, uint32_t value)
{
    if (device->driver_feature_select <= 1 && !(device->status & STATUS_FEATURES_OK))
        set_half(&device->driver_features, device->driver_feature_select == 1, value);
}

static void write_register(struct virtio_device *device, uint64_t offset, uint32_t value)
{
    struct virtio_queue *queue = selected(device);
    switch (offset) {
    case MMIO_DEVICE_FEATURES_SELECT: device->feature_select = value; break;
    case MMIO_DRIVER_FEATURES: write_features(device, value); break;
    case MMIO_DRIVER_FEATURES_SELECT: device->driver_feature_select = value; break;
    case MMIO_QUEUE_SELECT: device->queue_select = value; break;
    case MMIO_QUEUE_NOTIFY: virtio_notify(device, value); break;
    case MMIO_INTERRUPT_ACKNOWLEDGE: virtio_acknowledge(device, value); break;
    case MMIO_STATUS: virtio_set_status(device, value); break;
    default:
        if (queue)
            write_queue(queue, offset, value);
    }
}

/* ---- registers that are read without an exit ------------------------------------------------------- */

static void show(uint8_t *page, uint64_t offset, uint32_t value)
{
    __atomic_store_n((uint32_t *)(void *)(page + offset), value, __ATOMIC_RELEASE);
}

/* Those that can change, by the driver's writes or by themselves. */
static void show_registers(struct virtio_device *device)
{
    static const uint16_t registers[] = {
        MMIO_DEVICE_FEATURES,  MMIO_QUEUE_SIZE_MAX, MMIO_QUEUE_READY,
        MMIO_INTERRUPT_STATUS, MMIO_STATUS,         MMIO_CONFIG_GENERATION,
    };
    for (unsigned i = 0; i < sizeof registers / sizeof *registers; i++)
        show(device->page, registers[i], read_register(device, registers[i]));
}

/* The driver's own writes change single bytes of it: those may be seen at once. */
static void show_config(struct virtio_device *device)
{
    uint64_t value;
    for (uint32_t i = 0; i < CONFIG_BYTES; i++)
        device->page[MMIO_CONFIG + i] =
            device->operations->read_config && device->operations->read_config(device, i, 1, &value)
                ? (uint8_t)value
                : 0;
}

/* A driver that reads a field of several words believes in it if the generation is the same before and behind (2.5.1). So
 * none reads while they are written: until then its reads exit, and wait for the machine's lock. */
static void changed(struct virtio_device *device)
{
    struct device_host *host = device->host;
    host->show(host, device->page_address, NULL);
    show_registers(device);
    show_config(device);
    host->show(host, device->page_address, device->page);
}

void virtio_mmio_show(struct virtio_device *device, uint64_t address, uint8_t *page)
{
    device->page = page;
    device->page_address = address;
    for (uint64_t offset = 0; offset < MMIO_CONFIG; offset += 4)
        show(page, offset, read_register(device, offset));
    device->interrupt_shown = (uint32_t *)(void *)(page + MMIO_INTERRUPT_STATUS);
    device->changed = changed;
    changed(device);
}

/* ---- */

static bool mmio_read(void *context, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct virtio_device *device = context;
    *value = 0;
    if (offset >= MMIO_CONFIG)
        return device->operations->read_config &&
               device->operations->read_config(device, (uint32_t)offset - MMIO_CONFIG, size_bytes,
                                               value);
    if (size_bytes != 4 || (offset & 3))
        return false;
    *value = read_register(device, offset);
    return true;
}

static bool mmio_write(void *context, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct virtio_device *device = context;
    if (offset >= MMIO_CONFIG) {
        bool good = device->operations->write_config &&
                    device->operations->write_config(device, (uint32_t)offset - MMIO_CONFIG,
                                                     size_bytes, value);
        if (device->page)
            show_config(device);
        return good;
    }
    if (size_bytes != 4 || (offset & 3))
        return false;
    write_register(device, offset, (uint32_t)value);
    /* What these two change is shown where it is changed. */
    if (device->page && offset != MMIO_QUEUE_NOTIFY && offset != MMIO_INTERRUPT_ACKNOWLEDGE)
        show_registers(device);
    /* With its features a driver chooses what some fields say. */
    if (device->page && (offset == MMIO_STATUS || offset == MMIO_DRIVER_FEATURES))
        show_config(device);
    return true;
}

bool virtio_mmio_attach(struct virtio_device *device, struct bus *addresses, uint64_t address)
{
    static const struct bus_operations operations = {.read = mmio_read, .write = mmio_write};
    struct bus_range range = {address, VIRTIO_MMIO_BYTES, &operations, device, device->name};
    return bus_add(addresses, &range);
}
