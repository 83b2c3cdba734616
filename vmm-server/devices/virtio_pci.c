/*
 * virtio over PCI.
 *
 * State:    in struct virtio_device; a vector for each queue and for changes of configuration.
 * Features: the modern interface in one BAR of memory, notifications by a BAR of ports too (which cost a guest less),
 *           access by configuration space, MSI-X with a vector for each queue, else INTx.
 * Missing:  the legacy interface, shared memory regions, notification data, queue resets.
 * Spec:     OASIS VIRTIO 1.2, section 4.1.
 */
#include "devices/virtio_pci.h"

#include "string.h"

#include <stddef.h>

#define VENDOR       0x1af4u
#define DEVICE_FIRST 0x1040u /* 4.1.2.1: and the device's ID */
#define SUBSYSTEM    0x1100u
#define REVISION     1u

#define MEMORY_BAR   4u
#define PORTS_BAR    2u
/* In the BAR of memory: */
#define COMMON_OFFSET  0x0000u
#define ISR_OFFSET     0x1000u
#define DEVICE_OFFSET  0x2000u
#define NOTIFY_OFFSET  0x3000u
#define TABLE_OFFSET   0x4000u
#define PENDING_OFFSET 0x5000u
#define MEMORY_BYTES   0x8000u
#define PORTS_BYTES    64u /* a BAR's size is a power of two: the first one that holds NOTIFY_BYTES */
#define PART_BYTES     0x1000u

#define COMMON_BYTES   56u
#define DEVICE_BYTES   0x1000u
#define NOTIFY_PITCH   4u
#define NOTIFY_BYTES   (VIRTIO_QUEUES_MAX * NOTIFY_PITCH)
_Static_assert(NOTIFY_BYTES <= PORTS_BYTES, "each queue has a port to be notified by");

/* 4.1.4: a capability's fields, and its types. */
#define CAPABILITY_ID    9u
#define CAPABILITY_BYTES 16u
#define FIELD_LENGTH     2u
#define FIELD_TYPE       3u
#define FIELD_BAR        4u
#define FIELD_OFFSET     8u
#define FIELD_BYTES      12u
#define FIELD_MORE       16u /* notify: its multiplier; window: its data */
enum { TYPE_COMMON = 1, TYPE_NOTIFY = 2, TYPE_ISR = 3, TYPE_DEVICE = 4, TYPE_WINDOW = 5 };

/* 4.1.4.3. */
struct common {
    uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
    uint16_t config_vector, queue_count;
    uint8_t status, generation;
    uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify;
    uint64_t descriptors, available, used;
};
_Static_assert(sizeof(struct common) == COMMON_BYTES, "virtio_pci_common_cfg");

#define STATUS_FEATURES_OK 8u
#define ALL_INTERRUPTS     3u

/* NULL: there is no such queue. */
static struct virtio_queue *selected(struct virtio_device *device)
{
    return device->queue_select < device->queue_count ? &device->queues[device->queue_select]
                                                      : NULL;
}

/* 4.1.5.1.3: a device that has been reset uses the largest queues, and no vector. */
static void begin(struct virtio_pci *pci)
{
    pci->config_vector = VIRTIO_PCI_NO_VECTOR;
    for (unsigned n = 0; n < VIRTIO_QUEUES_MAX; n++) {
        pci->queue_vectors[n] = VIRTIO_PCI_NO_VECTOR;
        pci->device->queues[n].size = pci->device->queues[n].size_max;
    }
}

/* ---- common configuration ---------------------------------------------------------------------------------- */

static void fill_common(struct virtio_pci *pci, struct common *common)
{
    struct virtio_device *device = pci->device;
    const struct virtio_queue *queue = selected(device);
    *common = (struct common){
        .device_feature_select = device->feature_select,
        .driver_feature_select = device->driver_feature_select,
        .config_vector = pci->config_vector,
        .queue_count = (uint16_t)device->queue_count,
        .status = (uint8_t)device->status,
        .generation = (uint8_t)device->config_generation,
        .queue_select = (uint16_t)device->queue_select,
        .queue_vector = VIRTIO_PCI_NO_VECTOR,
    };
    if (device->feature_select <= 1)
        common->device_feature = (uint32_t)(virtio_features(device) >> 32 * device->feature_select);
    if (device->driver_feature_select <= 1)
        common->driver_feature =
            (uint32_t)(device->driver_features >> 32 * device->driver_feature_select);
    if (!queue)
        return;
    common->queue_size = queue->size;
    common->queue_vector = pci->queue_vectors[device->queue_select];
    common->queue_enable = queue->ready;
    common->queue_notify = (uint16_t)device->queue_select;
    common->descriptors = queue->descriptors;
    common->available = queue->available;
    common->used = queue->used;
}

static bool common_read(struct virtio_pci *pci, unsigned offset, unsigned size_bytes,
                        uint64_t *value)
{
    struct common common;
    if (offset + size_bytes > COMMON_BYTES)
        return false;
    fill_common(pci, &common);
    memcpy(value, (const uint8_t *)&common + offset, size_bytes);
    return true;
}

/* 4.1.5.1.2: a vector that is not there is refused by reading back as none. */
static uint16_t vector_of(const struct virtio_pci *pci, uint64_t value)
{
    return value < pci->msix.vectors ? (uint16_t)value : VIRTIO_PCI_NO_VECTOR;
}

static void set_half(uint64_t *field, bool high, uint64_t value)
{
    *field = high ? (*field & UINT32_MAX) | value << 32 : (*field & ~(uint64_t)UINT32_MAX) | value;
}

static void write_address(struct virtio_queue *queue, unsigned offset, uint64_t value)
{
    unsigned at = offset & ~4u;
    gpa_t *address = at == offsetof(struct common, descriptors) ? &queue->descriptors
                     : at == offsetof(struct common, available) ? &queue->available
                                                                : &queue->used;
    set_half(address, offset & 4, value);
}

/* A queue that is enabled keeps its settings, and can't be disabled (4.1.4.3.2). */
static void write_queue(struct virtio_pci *pci, unsigned offset, uint64_t value)
{
    struct virtio_device *device = pci->device;
    struct virtio_queue *queue = selected(device);
    if (!queue)
        return;
    if (offset == offsetof(struct common, queue_vector)) {
        pci->queue_vectors[device->queue_select] = vector_of(pci, value);
        return;
    }
    if (queue->ready)
        return;
    switch (offset) {
    case offsetof(struct common, queue_size):
        queue->size = value > queue->size_max ? 0 : (uint16_t)value;
        break;
    case offsetof(struct common, queue_enable):
        if (value == 1) {
            device->operations->reset(device); /* chains in hand are of another life */
            virtio_queue_start(queue);
        }
        break;
    default: write_address(queue, offset, value);
    }
}

static void write_status(struct virtio_pci *pci, uint64_t value)
{
    virtio_set_status(pci->device, (uint32_t)value);
    if (value == 0)
        begin(pci);
}

/* How wide the field at an offset is written to; 0: it is not, or there begins none. */
static unsigned field_bytes(unsigned offset)
{
    switch (offset) {
    case offsetof(struct common, device_feature_select):
    case offsetof(struct common, driver_feature_select):
    case offsetof(struct common, driver_feature): return 4;
    case offsetof(struct common, config_vector):
    case offsetof(struct common, queue_select):
    case offsetof(struct common, queue_size):
    case offsetof(struct common, queue_vector):
    case offsetof(struct common, queue_enable): return 2;
    case offsetof(struct common, status): return 1;
    }
    return offset >= offsetof(struct common, descriptors) && offset % 4 == 0 ? 4 : 0;
}

static bool common_write(struct virtio_pci *pci, unsigned offset, unsigned size_bytes,
                         uint64_t value)
{
    struct virtio_device *device = pci->device;
    if (size_bytes == 8 && offset % 8 == 0 && offset >= offsetof(struct common, descriptors))
        return common_write(pci, offset, 4, (uint32_t)value) &&
               common_write(pci, offset + 4, 4, value >> 32);
    if (offset + size_bytes > COMMON_BYTES || field_bytes(offset) != size_bytes)
        return false;
    switch (offset) {
    case offsetof(struct common, device_feature_select):
        device->feature_select = (uint32_t)value;
        break;
    case offsetof(struct common, driver_feature_select):
        device->driver_feature_select = (uint32_t)value;
        break;
    case offsetof(struct common, driver_feature): /* settled when the device has accepted them */
        if (device->driver_feature_select <= 1 && !(device->status & STATUS_FEATURES_OK))
            set_half(&device->driver_features, device->driver_feature_select == 1, value);
        break;
    case offsetof(struct common, config_vector): pci->config_vector = vector_of(pci, value); break;
    case offsetof(struct common, status): write_status(pci, value); break;
    case offsetof(struct common, queue_select): device->queue_select = (uint32_t)value; break;
    default: write_queue(pci, offset, value);
    }
    return true;
}

/* ---- the BARs ---------------------------------------------------------------------------------------------- */

/* 4.1.4.5: what is read is acknowledged. */
static uint64_t read_isr(struct virtio_device *device)
{
    uint64_t value = device->interrupt_status;
    virtio_acknowledge(device, ALL_INTERRUPTS);
    return value;
}

static bool memory_read(void *context, uint64_t place, unsigned size_bytes, uint64_t *value)
{
    struct virtio_pci *pci = context;
    struct virtio_device *device = pci->device;
    unsigned offset = (unsigned)(place % PART_BYTES);
    *value = 0;
    switch (place - offset) {
    case COMMON_OFFSET: return common_read(pci, offset, size_bytes, value);
    case ISR_OFFSET:
        if (offset == 0)
            *value = read_isr(device);
        return offset == 0;
    case DEVICE_OFFSET:
        return device->operations->read_config &&
               device->operations->read_config(device, offset, size_bytes, value);
    case NOTIFY_OFFSET: return true;
    case TABLE_OFFSET: return msix_table_read(&pci->msix, offset, size_bytes, value);
    case PENDING_OFFSET: return msix_pending_read(&pci->msix, offset, size_bytes, value);
    }
    return false;
}

static bool notify_write(void *context, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct virtio_pci *pci = context;
    (void)size_bytes, (void)value; /* the queue's number, which the place tells too */
    virtio_notify(pci->device, (uint32_t)(offset / NOTIFY_PITCH));
    return true;
}

static bool memory_write(void *context, uint64_t place, unsigned size_bytes, uint64_t value)
{
    struct virtio_pci *pci = context;
    struct virtio_device *device = pci->device;
    unsigned offset = (unsigned)(place % PART_BYTES);
    switch (place - offset) {
    case COMMON_OFFSET: return common_write(pci, offset, size_bytes, value);
    case DEVICE_OFFSET:
        return device->operations->write_config &&
               device->operations->write_config(device, offset, size_bytes, value);
    case NOTIFY_OFFSET: return notify_write(pci, offset, size_bytes, value);
    case TABLE_OFFSET: return msix_table_write(&pci->msix, offset, size_bytes, value);
    }
    return false;
}

static bool notify_read(void *context, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)context, (void)offset, (void)size_bytes;
    *value = 0;
    return true;
}

/* ---- access by configuration (4.1.4.9) ------------------------------------------------------------------------- */

/* Does the access touch the window's data, and is what the driver has set good? Then *offset is the place in the BAR. */
static bool window_is_used(const struct virtio_pci *pci, unsigned at, unsigned size_bytes,
                           uint32_t *offset, uint32_t *length)
{
    unsigned data = pci->window + FIELD_MORE;
    if (at >= data + 4 || at + size_bytes <= data)
        return false;
    *offset = pci_function_get(&pci->function, pci->window + FIELD_OFFSET, 4);
    *length = pci_function_get(&pci->function, pci->window + FIELD_BYTES, 4);
    return pci->function.config[pci->window + FIELD_BAR] == MEMORY_BAR &&
           (*length == 1 || *length == 2 || *length == 4) && *offset % *length == 0 &&
           *offset < MEMORY_BYTES;
}

static void config_reading(struct pci_function *function, unsigned at, unsigned size_bytes)
{
    struct virtio_pci *pci = function->device;
    uint32_t offset, length;
    uint64_t value = UINT64_MAX;
    if (!window_is_used(pci, at, size_bytes, &offset, &length))
        return;
    memory_read(pci, offset, length, &value);
    pci_function_put(function, pci->window + FIELD_MORE, length, (uint32_t)value);
}

static void config_written(struct pci_function *function, unsigned at, unsigned size_bytes)
{
    struct virtio_pci *pci = function->device;
    uint32_t offset, length;
    msix_written(&pci->msix);
    if (window_is_used(pci, at, size_bytes, &offset, &length))
        memory_write(pci, offset, length,
                     pci_function_get(function, pci->window + FIELD_MORE, length));
}

/* ---- interrupts ------------------------------------------------------------------------------------------------ */

/* virtio_device.message. */
static bool send_message(struct virtio_device *device, unsigned queue)
{
    struct virtio_pci *pci = device->transport;
    /* VIRTIO_PCI_NO_VECTOR is beyond the table. */
    return msix_send(&pci->msix, queue == VIRTIO_MESSAGE_CONFIG ? pci->config_vector
                                                                : pci->queue_vectors[queue]);
}

/* ---- putting it together ----------------------------------------------------------------------------------------- */

static void reset(struct pci_function *function)
{
    struct virtio_pci *pci = function->device;
    virtio_reset(pci->device);
    begin(pci);
    msix_reset(&pci->msix);
}

/* 0: no room. */
static unsigned add_capability(struct virtio_pci *pci, unsigned type, unsigned bar, uint32_t offset,
                               uint32_t size_bytes, unsigned more_bytes)
{
    struct pci_function *function = &pci->function;
    unsigned length = CAPABILITY_BYTES + more_bytes;
    unsigned at = pci_function_add_capability(function, CAPABILITY_ID, length);
    if (!at)
        return 0;
    function->config[at + FIELD_LENGTH] = (uint8_t)length;
    function->config[at + FIELD_TYPE] = (uint8_t)type;
    function->config[at + FIELD_BAR] = (uint8_t)bar;
    pci_function_put(function, at + FIELD_OFFSET, 4, offset);
    pci_function_put(function, at + FIELD_BYTES, 4, size_bytes);
    return at;
}

static bool add_notify(struct virtio_pci *pci, unsigned bar, uint32_t offset)
{
    unsigned at = add_capability(pci, TYPE_NOTIFY, bar, offset, NOTIFY_BYTES, 4);
    pci_function_put(&pci->function, at + FIELD_MORE, 4, NOTIFY_PITCH);
    return at != 0;
}

/* A driver takes the first of each type, and a list begins with what was added last. */
static bool add_capabilities(struct virtio_pci *pci)
{
    struct pci_function *function = &pci->function;
    unsigned window = add_capability(pci, TYPE_WINDOW, 0, 0, 0, 4);
    pci->window = (uint8_t)window;
    for (unsigned i = 0; i < 4; i++) {
        function->writable[window + FIELD_OFFSET + i] = 0xff;
        function->writable[window + FIELD_BYTES + i] = 0xff;
        function->writable[window + FIELD_MORE + i] = 0xff;
    }
    function->writable[window + FIELD_BAR] = 0xff;
    return window && add_notify(pci, MEMORY_BAR, NOTIFY_OFFSET) && add_notify(pci, PORTS_BAR, 0) &&
           add_capability(pci, TYPE_DEVICE, MEMORY_BAR, DEVICE_OFFSET, DEVICE_BYTES, 0) &&
           add_capability(pci, TYPE_ISR, MEMORY_BAR, ISR_OFFSET, 1, 0) &&
           add_capability(pci, TYPE_COMMON, MEMORY_BAR, COMMON_OFFSET, COMMON_BYTES, 0);
}

/* Class codes as QEMU has them: a driver looks at the vendor and the device. */
static uint32_t class_of(uint32_t device_id)
{
    switch (device_id) {
    case 1: return 0x020000;
    case 2: return 0x010000;
    case 3: return 0x078000;
    }
    return 0x00ff00;
}

struct interrupt_line *virtio_pci_line(struct virtio_pci *pci)
{
    return pci_function_line(&pci->function);
}

bool virtio_pci_attach(struct virtio_pci *pci, struct virtio_device *device, struct pci_bus *bus,
                       unsigned slot, const struct pci_bar *rom)
{
    static const struct bus_operations memory = {.read = memory_read, .write = memory_write};
    static const struct bus_operations notify = {.read = notify_read, .write = notify_write};
    struct pci_function *function = &pci->function;
    const struct pci_identity identity = {
        .vendor = VENDOR,
        .device = (uint16_t)(DEVICE_FIRST + device->operations->device_id),
        .subsystem_vendor = VENDOR,
        .subsystem = SUBSYSTEM,
        .class_code = class_of(device->operations->device_id),
        .revision = REVISION,
        .interrupt_pin = 1,
    };
    pci_function_init(function, &identity, pci);
    pci->device = device;
    device->transport = pci;
    device->message = send_message;
    pci_function_add_bar(function, MEMORY_BAR,
                         &(struct pci_bar){.kind = PCI_BAR_MEMORY,
                                           .size_bytes = MEMORY_BYTES,
                                           .operations = &memory,
                                           .device = pci,
                                           .name = device->name});
    pci_function_add_bar(function, PORTS_BAR,
                         &(struct pci_bar){.kind = PCI_BAR_PORTS,
                                           .size_bytes = PORTS_BYTES,
                                           .operations = &notify,
                                           .device = pci,
                                           .name = device->name});
    if (rom)
        pci_function_add_bar(function, PCI_ROM, rom);
    function->written = config_written;
    function->reading = config_reading;
    function->reset = reset;
    begin(pci);
    return msix_init(&pci->msix, function, device->queue_count + 1, MEMORY_BAR, TABLE_OFFSET,
                     PENDING_OFFSET) &&
           add_capabilities(pci) && pci_bus_add(bus, function, slot, 0);
}
