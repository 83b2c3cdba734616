/*
 * The device side of virtio: status, features and split virtqueues; packed ones are virtio_packed.c. The transport is
 * virtio_mmio.c or virtio_pci.c.
 *
 * State:    the device's status, negotiated features and interrupt bits; for each queue its rings' places and our
 *           positions in them.
 * Features: VERSION_1, indirect descriptors, event index, notification suppression without it, packed rings.
 * Missing:  ACCESS_PLATFORM, ORDER_PLATFORM, single queue resets; chains of more than
 *           VIRTIO_SEGMENTS_MAX buffers, and buffers that lie across the hole in guest memory.
 * Spec:     OASIS Virtual I/O Device (VIRTIO) 1.2, committee specification 01, July 2022, sections 2 and 3.
 *
 * The rings are the guest's and can change at any time. Each word is read once, into a copy, and the copy is
 * checked: indices below the queue's size, chains no longer than the queue, addresses inside RAM that the device
 * may access that way, buffers to read before buffers to write. The first rule broken ends the use of the device
 * until its driver resets it.
 */
#include "devices/virtio_packed.h"

#include "string.h"

enum virtio_status {
    STATUS_FEATURES_OK = 8,
    STATUS_DRIVER_OK = 4,
    STATUS_NEEDS_RESET = 64,
};

/* Acknowledge, driver, driver OK, features OK, failed. */
#define STATUS_OF_DRIVER 0x8fu

enum {
    INTERRUPT_RING = 1,
    INTERRUPT_CONFIG = 2,
};

#define FEATURE_INDIRECT    28
#define FEATURE_EVENT_INDEX 29
#define FEATURE_VERSION_1   32
#define FEATURE_PACKED      34

/* 2.7.6 and 2.7.8: flags, index, then entries and the peer's event index. */
#define RING_FLAGS             0u
#define RING_INDEX             2u
#define RING_ENTRIES           4u

#define AVAILABLE_NO_INTERRUPT 1u

#define FAILURES_LOGGED        4u

/* ---- The device ------------------------------------------------------------------------------ */

void virtio_init(struct virtio_device *device, const struct virtio_operations *operations,
                 struct device_host *host, struct interrupt_line *line, const char *name)
{
    memset(device, 0, sizeof *device);
    device->operations = operations;
    device->host = host;
    device->line = line;
    device->name = name;
    device->features = operations->features;
    device->queue_count = operations->queue_count;
    for (unsigned i = 0; i < operations->queue_count; i++)
        device->queues[i] =
            (struct virtio_queue){.device = device, .size_max = VIRTIO_QUEUE_SIZE_MAX};
}

static void update_line(struct virtio_device *device)
{
    /* Before the interrupt: its handler reads it. */
    if (device->interrupt_shown)
        __atomic_store_n(device->interrupt_shown, device->interrupt_status, __ATOMIC_RELEASE);
    device->line->set(device->line, device->interrupt_status != 0);
}

static void interrupt(struct virtio_device *device, unsigned queue, uint32_t status)
{
    if (device->message && device->message(device, queue))
        return;
    device->interrupt_status |= status;
    update_line(device);
}

void virtio_reset(struct virtio_device *device)
{
    device->driver_features = 0;
    device->status = device->interrupt_status = 0;
    device->feature_select = device->driver_feature_select = device->queue_select = 0;
    for (unsigned i = 0; i < device->operations->queue_count; i++)
        device->queues[i] =
            (struct virtio_queue){.device = device, .size_max = VIRTIO_QUEUE_SIZE_MAX};
    device->operations->reset(device);
    update_line(device);
}

uint64_t virtio_features(const struct virtio_device *device)
{
    return device->features | 1ull << FEATURE_VERSION_1 | 1ull << FEATURE_INDIRECT |
           1ull << FEATURE_EVENT_INDEX | (device->packed ? 1ull << FEATURE_PACKED : 0);
}

void virtio_offer_packed(struct virtio_device *device, struct virtio_packed *packed)
{
    device->packed = packed;
}

bool virtio_has_feature(const struct virtio_device *device, unsigned bit)
{
    return device->driver_features >> bit & 1;
}

bool virtio_has_event_index(const struct virtio_device *device)
{
    return virtio_has_feature(device, FEATURE_EVENT_INDEX);
}

static bool usable(const struct virtio_device *device)
{
    return (device->status & (STATUS_DRIVER_OK | STATUS_FEATURES_OK | STATUS_NEEDS_RESET)) ==
           (STATUS_DRIVER_OK | STATUS_FEATURES_OK);
}

/* 3.1.1: features are accepted or not when the driver says that it has chosen. Bits are only ever added. */
void virtio_set_status(struct virtio_device *device, uint32_t status)
{
    uint64_t chosen = device->driver_features;
    if (status == 0) {
        virtio_reset(device);
        return;
    }
    status = (status & STATUS_OF_DRIVER) | device->status;
    if (!(device->status & STATUS_FEATURES_OK) &&
        ((chosen & ~virtio_features(device)) || !(chosen >> FEATURE_VERSION_1 & 1)))
        status &= ~(uint32_t)STATUS_FEATURES_OK;
    bool begins = !usable(device);
    device->status = status;
    if (begins && usable(device) && device->operations->ready)
        device->operations->ready(device);
}

void virtio_notify(struct virtio_device *device, uint32_t queue)
{
    if (usable(device) && queue < device->queue_count && device->queues[queue].ready)
        device->operations->notify(device, queue);
}

void virtio_acknowledge(struct virtio_device *device, uint32_t interrupts)
{
    device->interrupt_status &= ~interrupts;
    update_line(device);
}

void virtio_config_changed(struct virtio_device *device)
{
    device->config_generation++;
    if (device->changed)
        device->changed(device);
    if (!(device->status & STATUS_DRIVER_OK))
        return;
    interrupt(device, VIRTIO_MESSAGE_CONFIG, INTERRUPT_CONFIG);
}

void virtio_fail(struct virtio_device *device, const char *why)
{
    device->status |= STATUS_NEEDS_RESET;
    if (device->failures++ < FAILURES_LOGGED)
        print(device->host->log,
              "%s: the guest's driver broke a rule: %s; the device waits for its reset%s\n",
              device->name, why, device->failures == FAILURES_LOGGED ? " (no more of these)" : "");
    virtio_config_changed(device);
}

void virtio_dump(const struct virtio_device *device, struct sink *sink)
{
    print(sink, "  %s status %x features %lx interrupts %x\n", device->name, device->status,
          (unsigned long)device->driver_features, device->interrupt_status);
    for (unsigned i = 0; i < device->queue_count; i++) {
        const struct virtio_queue *queue = &device->queues[i];
        if (queue->ready)
            print(sink, "    queue %u size %u taken %u given %u\n", i, queue->size,
                  queue->next_available, queue->next_used);
    }
}

/* ---- Queues ---------------------------------------------------------------------------------- */

/* Entries of the rings have 2 and 8 bytes, and an event index stands behind them. */
bool virtio_queue_start(struct virtio_queue *queue)
{
    const struct guest_memory *memory = queue->device->host->memory;
    uint64_t size = queue->size;
    queue->packed = NULL;
    if (virtio_has_feature(queue->device, FEATURE_PACKED)) {
        queue->packed = &queue->device->packed[queue - queue->device->queues];
        return virtio_packed_start(queue);
    }
    if (size == 0 || size > queue->size_max || (size & (size - 1))) {
        virtio_fail(queue->device, "a queue's size is not a power of two that the device offers");
        return false;
    }
    if ((queue->descriptors & 15) || (queue->available & 1) || (queue->used & 3)) {
        virtio_fail(queue->device, "a ring is not aligned");
        return false;
    }
    queue->descriptor_table = guest_memory_at(memory, queue->descriptors, size * 16, false);
    queue->available_ring = guest_memory_at(memory, queue->available, 6 + size * 2, false);
    queue->used_ring = guest_memory_at(memory, queue->used, 6 + size * 8, true);
    if (!queue->descriptor_table || !queue->available_ring || !queue->used_ring) {
        virtio_fail(queue->device, "a ring is outside the guest's memory");
        return false;
    }
    queue->next_available = queue->next_used = queue->signalled_used = 0;
    queue->ready = true;
    return true;
}

static uint16_t load16(const uint8_t *at)
{
    return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static void store16(uint8_t *at, uint16_t value)
{
    __atomic_store_n((uint16_t *)(void *)at, value, __ATOMIC_RELEASE);
}

static bool event_index(const struct virtio_queue *queue)
{
    return virtio_has_event_index(queue->device);
}

/* Where we say when the driver shall ring (2.7.10), and where it says when we shall (2.7.7). */
static uint8_t *available_event(const struct virtio_queue *queue)
{
    return queue->used_ring + RING_ENTRIES + queue->size * 8u;
}

static uint16_t used_event(const struct virtio_queue *queue)
{
    return load16(queue->available_ring + RING_ENTRIES + queue->size * 2u);
}

/* How many chains wait, or -1 if that can't be. */
static int waiting(const struct virtio_queue *queue)
{
    uint16_t count = (uint16_t)(load16(queue->available_ring + RING_INDEX) - queue->next_available);
    return count > queue->size ? -1 : count;
}

/* One descriptor, copied; the table has `count` of them. */
bool virtio_copy_descriptor(const uint8_t *table, uint32_t count, uint32_t index,
                            struct virtio_descriptor *descriptor)
{
    if (index >= count)
        return false;
    uint64_t words[2];
    __builtin_memcpy(&words[0], table + index * sizeof words, sizeof *words);
    __builtin_memcpy(&words[1], table + index * sizeof words + sizeof *words, sizeof *words);
    /* The copy must not be made a second time from memory that has changed. */
    __asm__ volatile("" : "+r"(words[0]), "+r"(words[1]));
    *descriptor = (struct virtio_descriptor){
        words[0], (uint32_t)words[1], (uint16_t)(words[1] >> 32), (uint16_t)(words[1] >> 48)};
    return true;
}

/* A buffer must be RAM: servers, who fill it, see nothing of what windows show. NULL: it is not. */
static uint8_t *buffer_at(const struct guest_memory *memory,
                          const struct virtio_descriptor *descriptor, bool write)
{
    uint8_t *data = guest_memory_at(memory, descriptor->address, descriptor->size_bytes, write);
    if (memory->windows &&
        data != guest_memory_ram(memory, descriptor->address, descriptor->size_bytes))
        return NULL;
    return data;
}

const char *virtio_add_segment(struct virtio_queue *queue, struct virtio_chain *chain,
                               const struct virtio_descriptor *descriptor, uint64_t *total)
{
    bool writable = (descriptor->flags & DESCRIPTOR_WRITE) != 0;
    unsigned count = chain->readable + chain->writable;
    uint8_t *data;
    if (!writable && chain->writable)
        return "a buffer to read behind one to write";
    *total += descriptor->size_bytes;
    if (*total > UINT32_MAX)
        return "a chain of more than 4 GiB";
    if (descriptor->size_bytes == 0)
        return NULL;
    if (count == VIRTIO_SEGMENTS_MAX)
        return "a chain of more buffers than the device takes";
    data = buffer_at(queue->device->host->memory, descriptor, writable);
    if (!data)
        return "a buffer outside the guest's memory";
    chain->segments[count] = (struct virtio_segment){data, descriptor->size_bytes};
    if (writable)
        chain->writable++;
    else
        chain->readable++;
    return NULL;
}

/* 2.7.5.3: a table in place of a chain, from its last direct descriptor. */
const char *virtio_enter_indirect(struct virtio_queue *queue,
                                  const struct virtio_descriptor *descriptor, const uint8_t **table,
                                  uint32_t *count)
{
    if (!virtio_has_feature(queue->device, FEATURE_INDIRECT))
        return "an indirect descriptor, which was not agreed on";
    if (descriptor->flags & DESCRIPTOR_NEXT)
        return "an indirect descriptor with a successor";
    if (descriptor->size_bytes == 0 || descriptor->size_bytes % sizeof *descriptor)
        return "an indirect table that is not a whole number of descriptors";
    *table = guest_memory_at(queue->device->host->memory, descriptor->address,
                             descriptor->size_bytes, false);
    *count = descriptor->size_bytes / sizeof *descriptor;
    return *table ? NULL : "an indirect table outside the guest's memory";
}

/* NULL, or the rule that was broken. This runs for each page of each request: what it needs is held in registers, and a good
 * buffer in the usual region is added here; any other, and what breaks a rule, by virtio_add_segment. */
static const char *walk(struct virtio_queue *queue, struct virtio_chain *chain)
{
    const struct guest_region usual = guest_memory_usual(queue->device->host->memory);
    const uint8_t *table = queue->descriptor_table;
    uint32_t count = queue->size, index = chain->head;
    struct virtio_segment *segment = chain->segments;
    struct virtio_descriptor descriptor;
    uint64_t total = 0;
    bool indirect = false;
    const char *why;
    chain->readable = chain->writable = 0;
    /* No chain is longer than the queue, in a table of its own neither: so loops end. */
    for (unsigned steps = queue->size; steps; steps--) {
        if (!virtio_copy_descriptor(table, count, index, &descriptor))
            return "a descriptor's number beyond its table";
        if (descriptor.flags & DESCRIPTOR_INDIRECT) {
            if (indirect)
                return "an indirect descriptor in an indirect table";
            why = virtio_enter_indirect(queue, &descriptor, &table, &count);
            if (why)
                return why;
            indirect = true;
            index = 0;
            steps++; /* it is no buffer, and the only one */
            continue;
        }
        bool writable = (descriptor.flags & DESCRIPTOR_WRITE) != 0;
        uint64_t size_bytes = descriptor.size_bytes;
        uint64_t offset = descriptor.address - usual.base; /* below it: more than any size */
        if (size_bytes && offset < usual.size_bytes && size_bytes <= usual.size_bytes - offset &&
            segment < chain->segments + VIRTIO_SEGMENTS_MAX && (writable || !chain->writable)) {
            *segment++ = (struct virtio_segment){usual.host + offset, descriptor.size_bytes};
            total += size_bytes;
            if (writable)
                chain->writable++;
            else
                chain->readable++;
        } else {
            why = virtio_add_segment(queue, chain, &descriptor, &total);
            if (why)
                return why;
            segment = chain->segments + chain->readable + chain->writable;
        }
        if (!(descriptor.flags & DESCRIPTOR_NEXT))
            return total > UINT32_MAX ? "a chain of more than 4 GiB" : NULL;
        index = descriptor.next;
    }
    return "a chain that is longer than its queue, or a loop";
}

/* Before giving up on an empty queue: says that we want to be rung for the next chain, then looks again. */
static int wait_for_more(struct virtio_queue *queue)
{
    if (event_index(queue))
        store16(available_event(queue), queue->next_available);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return waiting(queue);
}

bool virtio_queue_take(struct virtio_queue *queue, struct virtio_chain *chain)
{
    int count;
    if (!queue->ready || !usable(queue->device))
        return false;
    if (queue->packed)
        return virtio_packed_take(queue, chain);
    count = waiting(queue);
    if (count == 0)
        count = wait_for_more(queue);
    if (count == 0)
        return false;
    if (count < 0) {
        virtio_fail(queue->device, "more chains made available than the queue has room for");
        return false;
    }
    if (!virtio_queue_look(queue,
                           load16(queue->available_ring + RING_ENTRIES +
                                  (queue->next_available & (queue->size - 1u)) * 2),
                           chain))
        return false;
    queue->next_available++;
    return true;
}

/* NULL: not in one piece of RAM that may be written, or there are windows to be looked at first. */
static uint8_t *plain_at(const struct guest_memory *memory, const struct guest_region *usual,
                         const struct virtio_descriptor *descriptor)
{
    const struct guest_region *end = memory->regions + (memory->windows ? 0 : memory->count);
    const struct guest_region *region = usual, *next = memory->regions;
    for (;; region = next++) {
        uint64_t offset = descriptor->address - region->base; /* below it: more than any size */
        if (offset < region->size_bytes && descriptor->size_bytes <= region->size_bytes - offset)
            return region->read_only ? NULL : region->host + offset;
        if (next >= end)
            return NULL;
    }
}

unsigned virtio_queue_take_plain(struct virtio_queue *queue, struct virtio_plain *chains,
                                 unsigned most)
{
    const struct guest_memory *memory = queue->device->host->memory;
    const struct guest_region usual = guest_memory_usual(memory);
    struct virtio_descriptor descriptor;
    unsigned count = 0;
    if (!queue->ready || queue->packed || !usable(queue->device))
        return 0;
    int there = waiting(queue);
    if (there < (int)most)
        most = there > 0 ? (unsigned)there : 0;
    const uint8_t *table = queue->descriptor_table, *ring = queue->available_ring + RING_ENTRIES;
    unsigned size = queue->size, first = queue->next_available;
    for (; count < most; count++) {
        uint16_t head = load16(ring + ((first + count) & (size - 1)) * 2);
        if (!virtio_copy_descriptor(table, size, head, &descriptor) ||
            descriptor.flags != DESCRIPTOR_WRITE || descriptor.size_bytes == 0)
            break;
        uint8_t *data = plain_at(memory, &usual, &descriptor);
        if (!data)
            break;
        chains[count] = (struct virtio_plain){data, descriptor.size_bytes, head};
    }
    queue->next_available += (uint16_t)count;
    return count;
}

bool virtio_queue_look(struct virtio_queue *queue, uint16_t head, struct virtio_chain *chain)
{
    const char *why;
    if (!queue->ready || !usable(queue->device))
        return false;
    chain->head = head;
    if (queue->packed)
        why = virtio_packed_walk(queue, head, chain);
    else
        why = head < queue->size ? walk(queue, chain) : "a chain's head beyond the queue";
    if (why)
        virtio_fail(queue->device, why);
    return !why;
}

bool virtio_chain_read(const struct virtio_chain *chain, struct virtio_cursor *cursor, void *to,
                       size_t size_bytes)
{
    uint8_t *next = to;
    while (size_bytes) {
        if (cursor->segment == chain->readable)
            return false;
        const struct virtio_segment *segment = &chain->segments[cursor->segment];
        uint32_t left = segment->size_bytes - cursor->offset;
        uint32_t part = size_bytes < left ? (uint32_t)size_bytes : left;
        memcpy(next, segment->data + cursor->offset, part);
        next += part, size_bytes -= part, cursor->offset += part;
        if (part == left)
            *cursor = (struct virtio_cursor){cursor->segment + 1, 0};
    }
    /* What was copied must not be read a second time from memory that has changed. */
    __asm__ volatile("" : : : "memory");
    return true;
}

void virtio_queue_give(struct virtio_queue *queue, uint16_t head, uint32_t written_bytes)
{
    uint32_t used[2] = {head, written_bytes};
    if (!queue->ready)
        return; /* reset meanwhile */
    if (queue->packed) {
        virtio_packed_give(queue, head, written_bytes);
        return;
    }
    memcpy(queue->used_ring + RING_ENTRIES + (queue->next_used & (queue->size - 1u)) * 8, used,
           sizeof used);
    queue->next_used++;
}

void virtio_queue_give_all(struct virtio_queue *queue, const struct virtio_used *used,
                           unsigned count)
{
    if (!queue->ready)
        return; /* reset meanwhile */
    for (unsigned i = 0; queue->packed && i < count; i++)
        virtio_packed_give(queue, (uint16_t)used[i].head, used[i].written_bytes);
    if (queue->packed)
        return;
    /* A driver that offers chains faster than it takes them back may have more here than its ring holds. */
    for (unsigned n; count; used += n, count -= n, queue->next_used += (uint16_t)n) {
        unsigned place = queue->next_used & (queue->size - 1u), before_end = queue->size - place;
        n = count < before_end ? count : before_end;
        memcpy(queue->used_ring + RING_ENTRIES + place * sizeof *used, used, n * sizeof *used);
    }
}

/* Shows what was given. 2.7.7: has the driver asked for one of those given since it was last told? */
void virtio_queue_signal(struct virtio_queue *queue)
{
    uint16_t old = queue->signalled_used, new = queue->next_used;
    bool wanted;
    if (!queue->ready || old == new)
        return;
    if (queue->packed) {
        if (virtio_packed_show(queue))
            interrupt(queue->device, (unsigned)(queue - queue->device->queues), INTERRUPT_RING);
        return;
    }
    queue->signalled_used = new;
    store16(queue->used_ring + RING_INDEX, new);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the index is seen before the wish is read */
    if (event_index(queue))
        wanted = (uint16_t)(new - used_event(queue) - 1) < (uint16_t)(new - old);
    else
        wanted = !(load16(queue->available_ring + RING_FLAGS) & AVAILABLE_NO_INTERRUPT);
    if (!wanted)
        return;
    interrupt(queue->device, (unsigned)(queue - queue->device->queues), INTERRUPT_RING);
}

/* With VIRTIO_F_EVENT_IDX a driver says when it wants the next one, and others do so for a moment while they work. */
bool virtio_queue_is_polled(const struct virtio_queue *queue)
{
    if (queue->ready && queue->packed)
        return virtio_packed_is_polled(queue);
    return queue->ready && !event_index(queue) &&
           load16(queue->available_ring + RING_FLAGS) & AVAILABLE_NO_INTERRUPT;
}
