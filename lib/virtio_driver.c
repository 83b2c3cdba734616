#include "virtio_driver.h"

#include "string.h"

/* The common configuration structure (VIRTIO 1.2, 4.1.4.3). */
enum {
    COMMON_DEVICE_FEATURE_SELECT = 0x00,
    COMMON_DEVICE_FEATURE = 0x04,
    COMMON_DRIVER_FEATURE_SELECT = 0x08,
    COMMON_DRIVER_FEATURE = 0x0c,
    COMMON_CONFIG_VECTOR = 0x10,
    COMMON_QUEUE_COUNT = 0x12,
    COMMON_STATUS = 0x14,
    COMMON_CONFIG_GENERATION = 0x15,
    COMMON_QUEUE_SELECT = 0x16,
    COMMON_QUEUE_SIZE = 0x18,
    COMMON_QUEUE_VECTOR = 0x1a,
    COMMON_QUEUE_ENABLE = 0x1c,
    COMMON_QUEUE_NOTIFY_OFFSET = 0x1e,
    COMMON_QUEUE_DESCRIPTORS = 0x20,
    COMMON_QUEUE_AVAILABLE = 0x28,
    COMMON_QUEUE_USED = 0x30,
    COMMON_BYTES = 0x38
};
#define NO_VECTOR 0xffffu

/* Device status (VIRTIO 1.2, 2.1). */
enum {
    STATUS_ACKNOWLEDGE = 1,
    STATUS_DRIVER = 2,
    STATUS_DRIVER_OK = 4,
    STATUS_FEATURES_OK = 8,
    STATUS_NEEDS_RESET = 64
};

enum { DESCRIPTOR_NEXT = 1, DESCRIPTOR_WRITE = 2, DESCRIPTOR_INDIRECT = 4 };
enum { USED_NO_NOTIFY = 1 };

/* A read of a register takes a real bus more than 100 ns: more than 0.1 s in all. */
#define RESET_READS      1000000u
#define GENERATION_READS 1000u

enum virtio_part { PART_COMMON, PART_NOTIFY, PART_ISR, PART_DEVICE };

static uint8_t read8(const volatile uint8_t *at)
{
    return *at;
}

static uint16_t read16(const volatile uint8_t *at)
{
    return *(const volatile uint16_t *)at;
}

static uint32_t read32(const volatile uint8_t *at)
{
    return *(const volatile uint32_t *)at;
}

static void write16(volatile uint8_t *at, uint16_t value)
{
    *(volatile uint16_t *)at = value;
}

static void write32(volatile uint8_t *at, uint32_t value)
{
    *(volatile uint32_t *)at = value;
}

static void write64(volatile uint8_t *at, uint64_t value)
{
    write32(at, (uint32_t)value);
    write32(at + 4, (uint32_t)(value >> 32));
}

/* A structure of at least least_bytes; NULL: there is none, or it lies outside its BAR. */
static volatile uint8_t *part(const struct device_grant *grant, enum virtio_part which,
                              uint32_t least_bytes)
{
    const struct device_virtio_part *at = &grant->virtio[which];
    if (at->size_bytes < least_bytes || at->size_bytes == 0 || at->bar >= DEVICE_BARS)
        return NULL;
    const struct device_bar *bar = &grant->bars[at->bar];
    if (bar->port || bar->address == 0 ||
        (uint64_t)at->offset_bytes + at->size_bytes > bar->size_bytes)
        return NULL;
    return (volatile uint8_t *)(bar->address + at->offset_bytes);
}

static void add_status(struct virtio_driver *driver, uint8_t status)
{
    driver->common[COMMON_STATUS] = read8(driver->common + COMMON_STATUS) | status;
}

void virtio_driver_stop(struct virtio_driver *driver)
{
    driver->common[COMMON_STATUS] = 0;
}

bool virtio_driver_stopped(const struct virtio_driver *driver)
{
    return read8(driver->common + COMMON_STATUS) == 0;
}

bool virtio_driver_reset(struct virtio_driver *driver)
{
    virtio_driver_stop(driver);
    for (unsigned i = 0; i < RESET_READS; i++)
        if (virtio_driver_stopped(driver))
            return true;
    return false;
}

const char *virtio_driver_open(struct virtio_driver *driver, const struct device_grant *grant)
{
    *driver = (struct virtio_driver){
        .grant = grant,
        .common = part(grant, PART_COMMON, COMMON_BYTES),
        .notify = part(grant, PART_NOTIFY, 2),
        .isr = part(grant, PART_ISR, 1),
        .config = part(grant, PART_DEVICE, 1),
        .notify_bytes = grant->virtio[PART_NOTIFY].size_bytes,
    };
    if (!driver->common || !driver->notify || !driver->isr)
        return "it has no registers of virtio 1.x (QEMU: disable-legacy=on or a transitional "
               "device)";
    driver->config_bytes = driver->config ? grant->virtio[PART_DEVICE].size_bytes : 0;
    if (!virtio_driver_reset(driver))
        return "it can't be reset";
    add_status(driver, STATUS_ACKNOWLEDGE);
    add_status(driver, STATUS_DRIVER);
    return NULL;
}

const char *virtio_driver_negotiate(struct virtio_driver *driver, uint64_t wanted)
{
    volatile uint8_t *common = driver->common;
    uint64_t offered = 0;
    for (unsigned half = 0; half < 2; half++) {
        write32(common + COMMON_DEVICE_FEATURE_SELECT, half);
        offered |= (uint64_t)read32(common + COMMON_DEVICE_FEATURE) << (32 * half);
    }
    if (!(offered & VIRTIO_FEATURE_VERSION_1))
        return "it does not speak virtio 1.x";
    driver->features = offered & (wanted | VIRTIO_FEATURE_VERSION_1);
    for (unsigned half = 0; half < 2; half++) {
        write32(common + COMMON_DRIVER_FEATURE_SELECT, half);
        write32(common + COMMON_DRIVER_FEATURE, (uint32_t)(driver->features >> (32 * half)));
    }
    add_status(driver, STATUS_FEATURES_OK);
    if (!(read8(common + COMMON_STATUS) & STATUS_FEATURES_OK))
        return "it refuses the features that were chosen";
    if (driver->grant->interrupt != DEVICE_INTERRUPT_MSIX)
        return NULL;
    write16(common + COMMON_CONFIG_VECTOR, 0);
    return read16(common + COMMON_CONFIG_VECTOR) == NO_VECTOR ? "it refuses its interrupt vector"
                                                              : NULL;
}

void virtio_driver_ready(struct virtio_driver *driver)
{
    add_status(driver, STATUS_DRIVER_OK);
}

bool virtio_driver_failed(const struct virtio_driver *driver)
{
    return read8(driver->common + COMMON_STATUS) & STATUS_NEEDS_RESET;
}

unsigned virtio_driver_interrupt(struct virtio_driver *driver)
{
    /* With MSI-X all causes share the vector, and the ISR status is not used (4.1.4.5). */
    if (driver->grant->interrupt == DEVICE_INTERRUPT_MSIX)
        return VIRTIO_INTERRUPT_QUEUE | VIRTIO_INTERRUPT_CONFIG;
    return read8(driver->isr) & (VIRTIO_INTERRUPT_QUEUE | VIRTIO_INTERRUPT_CONFIG);
}

static uint64_t config_once(const volatile uint8_t *at, unsigned size_bytes)
{
    switch (size_bytes) {
    case 1: return read8(at);
    case 2: return read16(at);
    case 4: return read32(at);
    default: return read32(at) | (uint64_t)read32(at + 4) << 32;
    }
}

uint64_t virtio_driver_config(const struct virtio_driver *driver, uint32_t offset,
                              unsigned size_bytes)
{
    if (offset > driver->config_bytes || size_bytes > driver->config_bytes - offset)
        return 0;
    /* A field that changes between two reads shows another generation (2.5.1). */
    for (unsigned i = 0; i < GENERATION_READS; i++) {
        uint8_t before = read8(driver->common + COMMON_CONFIG_GENERATION);
        uint64_t value = config_once(driver->config + offset, size_bytes);
        if (read8(driver->common + COMMON_CONFIG_GENERATION) == before)
            return value;
    }
    return 0;
}

/* ---- queues ---------------------------------------------------------------------------------------------------
 *
 * One piece of memory: descriptors (16 bytes each); flags, index, ring and used_event (2 bytes each); flags, index,
 * ring (8 bytes each) and avail_event. In units of 16 bits:
 */
enum { RING_FLAGS, RING_INDEX, RING_ENTRIES };
enum { USED_ENTRY_UNITS = 4 };

static volatile uint16_t *used_event(const struct virtqueue *queue)
{
    return &queue->available[RING_ENTRIES + queue->size];
}

static volatile uint16_t *available_event(const struct virtqueue *queue)
{
    return &queue->used[RING_ENTRIES + USED_ENTRY_UNITS * (uint32_t)queue->size];
}

static uint64_t available_offset(uint64_t size)
{
    return size * sizeof(struct virtqueue_descriptor);
}

static uint64_t used_offset(uint64_t size)
{
    return (available_offset(size) + 2 * (RING_ENTRIES + size + 1) + 3) & ~3ull;
}

static uint64_t queue_bytes(uint64_t size)
{
    return used_offset(size) + 2 * (RING_ENTRIES + USED_ENTRY_UNITS * size + 1);
}

/* Memory of its own, once; then everything as at the beginning. */
static bool prepare(struct virtqueue *queue, uint16_t size, struct dma_area *area)
{
    if (!queue->descriptors || queue->size < size) {
        queue->descriptors = dma_take(area, queue_bytes(size), sizeof(struct virtqueue_descriptor),
                                      &queue->physical);
        if (!queue->descriptors)
            return false;
    }
    struct virtqueue_descriptor *descriptors = queue->descriptors;
    uint64_t physical = queue->physical;
    memset(descriptors, 0, queue_bytes(size));
    *queue = (struct virtqueue){
        .descriptors = descriptors,
        .available = (volatile uint16_t *)((uint8_t *)descriptors + available_offset(size)),
        .used = (volatile uint16_t *)((uint8_t *)descriptors + used_offset(size)),
        .physical = physical,
        .size = size,
        .free_count = size,
    };
    for (uint16_t i = 0; i < size; i++)
        queue->next[i] = i + 1;
    return true;
}

const char *virtqueue_start(struct virtio_driver *driver, struct virtqueue *queue, uint16_t number,
                            uint16_t size_max, struct dma_area *area)
{
    volatile uint8_t *common = driver->common;
    if (number >= read16(common + COMMON_QUEUE_COUNT))
        return "it has too few queues";
    write16(common + COMMON_QUEUE_SELECT, number);
    uint16_t size = read16(common + COMMON_QUEUE_SIZE);
    if (size > size_max)
        size = size_max;
    if (size > VIRTQUEUE_SIZE_MAX)
        size = VIRTQUEUE_SIZE_MAX;
    if (size == 0 || size & (size - 1))
        return "a queue has a size that is no power of two";
    if (!prepare(queue, size, area))
        return "there is too little memory for its queues";
    uint64_t doorbell = (uint64_t)read16(common + COMMON_QUEUE_NOTIFY_OFFSET) *
                        driver->grant->virtio[PART_NOTIFY].notify_multiplier;
    if (doorbell + 2 > driver->notify_bytes)
        return "a queue's doorbell lies outside its registers";
    queue->doorbell = (volatile uint16_t *)(driver->notify + doorbell);
    queue->number = number;
    queue->event_index = driver->features & VIRTIO_FEATURE_EVENT_INDEX;
    write16(common + COMMON_QUEUE_SIZE, size);
    write64(common + COMMON_QUEUE_DESCRIPTORS, queue->physical);
    write64(common + COMMON_QUEUE_AVAILABLE, queue->physical + available_offset(size));
    write64(common + COMMON_QUEUE_USED, queue->physical + used_offset(size));
    if (driver->grant->interrupt == DEVICE_INTERRUPT_MSIX) {
        write16(common + COMMON_QUEUE_VECTOR, 0);
        if (read16(common + COMMON_QUEUE_VECTOR) == NO_VECTOR)
            return "it refuses a queue's interrupt vector";
    }
    write16(common + COMMON_QUEUE_ENABLE, 1);
    return NULL;
}

static struct virtqueue_descriptor descriptor(const struct dma_piece *piece, bool writable,
                                              bool last, uint16_t next)
{
    return (struct virtqueue_descriptor){
        .physical = piece->physical,
        .size_bytes = piece->size_bytes,
        .flags = (writable ? DESCRIPTOR_WRITE : 0) | (last ? 0 : DESCRIPTOR_NEXT),
        .next = last ? 0 : next,
    };
}

static void fill_table(struct virtqueue_descriptor *table, const struct dma_piece *pieces,
                       unsigned readable, unsigned count)
{
    unsigned i = 0;
    for (; i < readable; i++)
        table[i] = descriptor(&pieces[i], false, false, (uint16_t)(i + 1));
    for (; i < count; i++)
        table[i] = descriptor(&pieces[i], true, false, (uint16_t)(i + 1));
    table[count - 1].flags &= ~DESCRIPTOR_NEXT;
    table[count - 1].next = 0;
}

bool virtqueue_add(struct virtqueue *queue, const struct dma_piece *pieces, unsigned readable,
                   unsigned writable, const struct virtqueue_table *table, void *cookie)
{
    unsigned count = readable + writable, places = table ? 1 : count;
    if (places > queue->free_count || count == 0 || queue->broken)
        return false;
    uint16_t head = queue->free_head, at = head;
    if (table) {
        fill_table(table->descriptors, pieces, readable, count);
        queue->descriptors[at] = (struct virtqueue_descriptor){
            .physical = table->physical,
            .size_bytes = count * (uint32_t)sizeof(struct virtqueue_descriptor),
            .flags = DESCRIPTOR_INDIRECT,
        };
        at = queue->next[at];
    } else {
        for (unsigned i = 0; i < count; i++) {
            queue->descriptors[at] =
                descriptor(&pieces[i], i >= readable, i + 1 == count, queue->next[at]);
            at = queue->next[at];
        }
    }
    queue->free_head = at;
    queue->free_count -= (uint16_t)places;
    queue->length[head] = (uint16_t)places;
    queue->cookies[head] = cookie;
    queue->available[RING_ENTRIES + (queue->next_available & (queue->size - 1))] = head;
    queue->next_available++;
    return true;
}

void virtqueue_add_again(struct virtqueue *queue)
{
    uint16_t head = queue->free_head;
    queue->free_head = queue->next[head];
    queue->free_count--;
    queue->length[head] = 1;
    queue->available[RING_ENTRIES + (queue->next_available & (queue->size - 1))] = head;
    queue->next_available++;
}

void virtqueue_kick(struct virtqueue *queue)
{
    uint16_t old = queue->announced, new = queue->next_available;
    if (old == new)
        return;
    /* The descriptors before the index; the index before the device's wish is read (2.7.13). */
    __atomic_store_n(&queue->available[RING_INDEX], new, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    queue->announced = new;
    bool wanted = !(queue->used[RING_FLAGS] & USED_NO_NOTIFY);
    if (queue->event_index)
        wanted = (uint16_t)(new - *available_event(queue) - 1) < (uint16_t)(new - old);
    if (wanted)
        *queue->doorbell = queue->number;
}

bool virtqueue_take(struct virtqueue *queue, void **cookie, uint32_t *written_bytes)
{
    uint16_t filled =
        (uint16_t)(__atomic_load_n(&queue->used[RING_INDEX], __ATOMIC_ACQUIRE) - queue->last_used);
    if (filled == 0 || queue->broken)
        return false;
    const volatile uint32_t *entry =
        (const volatile uint32_t *)&queue
            ->used[RING_ENTRIES +
                   USED_ENTRY_UNITS * (uint32_t)(queue->last_used & (queue->size - 1))];
    uint32_t head = entry[0];
    if (filled > queue->size || head >= queue->size || queue->length[head] == 0) {
        queue->broken = true;
        return false;
    }
    *written_bytes = entry[1];
    *cookie = queue->cookies[head];
    uint16_t last = (uint16_t)head;
    for (uint16_t i = 1; i < queue->length[head]; i++)
        last = queue->next[last];
    queue->next[last] = queue->free_head;
    queue->free_head = (uint16_t)head;
    queue->free_count += queue->length[head];
    queue->length[head] = 0;
    queue->last_used++;
    return true;
}

void virtqueue_looks(struct virtqueue *queue)
{
    /* One that is taken already: the device tells of none that comes (2.7.7). */
    if (queue->event_index)
        *used_event(queue) = queue->last_used - 1;
}

bool virtqueue_waits(struct virtqueue *queue)
{
    if (queue->event_index) {
        /* The wish is published before the index is looked at again; the device does it the other way round. */
        *used_event(queue) = queue->last_used;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    }
    return queue->broken ||
           __atomic_load_n(&queue->used[RING_INDEX], __ATOMIC_ACQUIRE) == queue->last_used;
}
