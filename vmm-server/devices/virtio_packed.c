/*
 * Packed virtqueues (VIRTIO_F_RING_PACKED): one ring of descriptors, which driver and device both write.
 *
 * State:    our places in the ring (struct virtio_queue), and of each chain that the device has a copy of its descriptors
 *           (struct virtio_packed): what is given back is written into the ring in the order in which it is done, so
 *           over descriptors of chains that are still out.
 * Features: indirect descriptors, event suppression by flags and, with EVENT_IDX, by place; sizes that are no powers of two.
 * Missing:  IN_ORDER: a chain's id and length are always written.
 * Spec:     OASIS VIRTIO 1.2, section 2.8.
 *
 * A place is a number below twice the ring's size: in the first half the wrap counter is 1, in the second 0. The driver can't
 * make us go farther than a whole ring beyond what it has been shown; whatever flags it writes, a descriptor that does not
 * have the flags of our place is not there.
 */
#include "devices/virtio_packed.h"

#include "string.h"

/* 2.8.1 */
#define FLAG_AVAILABLE 0x80u
#define FLAG_USED      0x8000u

/* 2.8.14: a place with its wrap counter in bit 15, and in the upper half flags. */
#define EVENT_BYTES       4u
#define EVENT_PLACE       0x7fffu
#define EVENT_WRAP        0x8000u
#define EVENT_FLAGS_SHIFT 16
enum { EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_AT_PLACE = 2, EVENT_FLAGS = 3 };

#define FEATURE_EVENT_INDEX 29
#define DESCRIPTOR_BYTES    16u
#define NOT_OUT             0u

/* As it lies in the ring. */
struct packed_descriptor {
    uint64_t address;
    uint32_t size_bytes;
    uint16_t id, flags;
};
_Static_assert(sizeof(struct packed_descriptor) == DESCRIPTOR_BYTES, "2.8.13");

/* ---- places ---------------------------------------------------------------------------------- */

static bool wrap_of(const struct virtio_queue *queue, uint32_t place)
{
    return place < queue->size;
}

static uint8_t *descriptor_at(const struct virtio_queue *queue, uint32_t place)
{
    return queue->packed_ring +
           (wrap_of(queue, place) ? place : place - queue->size) * DESCRIPTOR_BYTES;
}

static uint16_t after(const struct virtio_queue *queue, uint32_t place, uint32_t count)
{
    place += count;
    return (uint16_t)(place < 2u * queue->size ? place : place - 2u * queue->size);
}

static uint32_t distance(const struct virtio_queue *queue, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : to + 2u * queue->size - from;
}

static uint16_t *flags_at(const struct virtio_queue *queue, uint32_t place)
{
    return (uint16_t *)(void *)(descriptor_at(queue, place) +
                                offsetof(struct packed_descriptor, flags));
}

static bool is_available(const struct virtio_queue *queue)
{
    uint16_t flags = __atomic_load_n(flags_at(queue, queue->next_available), __ATOMIC_ACQUIRE);
    bool wrap = wrap_of(queue, queue->next_available);
    return !!(flags & FLAG_AVAILABLE) == wrap && !!(flags & FLAG_USED) != wrap;
}

static bool event_index(const struct virtio_queue *queue)
{
    return virtio_has_feature(queue->device, FEATURE_EVENT_INDEX);
}

static uint32_t driver_event(const struct virtio_queue *queue)
{
    return __atomic_load_n((const uint32_t *)(const void *)queue->available_ring, __ATOMIC_ACQUIRE);
}

/* ---- chains ---------------------------------------------------------------------------------- */

bool virtio_packed_start(struct virtio_queue *queue)
{
    const struct guest_memory *memory = queue->device->host->memory;
    struct virtio_packed *packed = queue->packed;
    if (queue->size == 0 || queue->size > queue->size_max) {
        virtio_fail(queue->device, "a queue's size is not one that the device offers");
        return false;
    }
    if ((queue->descriptors & 15) || (queue->available & 3) || (queue->used & 3)) {
        virtio_fail(queue->device, "a ring is not aligned");
        return false;
    }
    queue->packed_ring =
        guest_memory_at(memory, queue->descriptors, (uint64_t)queue->size * DESCRIPTOR_BYTES, true);
    queue->available_ring = guest_memory_at(memory, queue->available, EVENT_BYTES, false);
    queue->used_ring = guest_memory_at(memory, queue->used, EVENT_BYTES, true);
    if (!queue->packed_ring || !queue->available_ring || !queue->used_ring) {
        virtio_fail(queue->device, "a ring is outside the guest's memory");
        return false;
    }
    for (uint16_t n = 0; n < VIRTIO_QUEUE_SIZE_MAX; n++) {
        packed->count[n] = NOT_OUT;
        packed->next[n] = (uint16_t)(n + 1);
    }
    packed->free = 0;
    queue->next_available = queue->next_used = queue->signalled_used = 0;
    queue->ready = true;
    return true;
}

/* Copies the chain's descriptors, each word read once. NULL, or the rule that was broken. There are as many free places for
 * copies as the driver may have made available. */
static const char *save(struct virtio_queue *queue, uint16_t *id)
{
    struct virtio_packed *packed = queue->packed;
    uint16_t first = packed->free, place = queue->next_available, count = 0;
    struct packed_descriptor descriptor;
    do {
        if (distance(queue, queue->signalled_used, place) >= queue->size)
            return "more descriptors made available than the queue has, or a loop";
        memcpy(&descriptor, descriptor_at(queue, place), sizeof descriptor);
        /* The copy must not be made a second time from memory that has changed. */
        __asm__ volatile("" : "+m"(descriptor));
        packed->saved[packed->free] = (struct virtio_descriptor){
            descriptor.address, descriptor.size_bytes, descriptor.flags, 0};
        packed->free = packed->next[packed->free];
        place = after(queue, place, 1);
        count++;
    } while (descriptor.flags & DESCRIPTOR_NEXT);
    if (descriptor.id >= queue->size)
        return "a buffer's id beyond the queue";
    if (packed->count[descriptor.id] != NOT_OUT)
        return "a buffer's id that the device has already";
    packed->first[descriptor.id] = first;
    packed->count[descriptor.id] = count;
    queue->next_available = place;
    *id = descriptor.id;
    return NULL;
}

/* 2.8.7: in a table its descriptors follow one another, and only WRITE counts. */
static const char *walk_table(struct virtio_queue *queue, const struct virtio_descriptor *of,
                              struct virtio_chain *chain, uint64_t *total)
{
    const uint8_t *table;
    uint32_t count;
    const char *why = virtio_enter_indirect(queue, of, &table, &count);
    if (!why && count > queue->size)
        why = "a chain that is longer than its queue";
    for (uint32_t n = 0; n < count && !why; n++) {
        struct virtio_descriptor descriptor;
        virtio_copy_descriptor(table, count, n, &descriptor);
        /* `next` lies where a packed descriptor has its flags. */
        descriptor.flags = descriptor.next & DESCRIPTOR_WRITE;
        why = virtio_add_segment(queue, chain, &descriptor, total);
    }
    return why;
}

const char *virtio_packed_walk(struct virtio_queue *queue, uint16_t id, struct virtio_chain *chain)
{
    const struct virtio_packed *packed = queue->packed;
    uint16_t count = packed->count[id], at = packed->first[id];
    uint64_t total = 0;
    const char *why = NULL;
    chain->head = id;
    chain->readable = chain->writable = 0;
    for (uint16_t n = 0; n < count && !why; n++, at = packed->next[at]) {
        const struct virtio_descriptor *descriptor = &packed->saved[at];
        if (!(descriptor->flags & DESCRIPTOR_INDIRECT))
            why = virtio_add_segment(queue, chain, descriptor, &total);
        else if (count == 1)
            why = walk_table(queue, descriptor, chain, &total);
        else
            why = "an indirect descriptor in a chain";
    }
    return why;
}

/* Before giving up on an empty queue: says that we want to be rung for the next chain, then looks again. */
static bool wait_for_more(struct virtio_queue *queue)
{
    if (event_index(queue)) {
        uint32_t place = queue->next_available;
        uint32_t event = wrap_of(queue, place) ? place | EVENT_WRAP : place - queue->size;
        __atomic_store_n((uint32_t *)(void *)queue->used_ring,
                         event | (uint32_t)EVENT_AT_PLACE << EVENT_FLAGS_SHIFT, __ATOMIC_RELEASE);
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return is_available(queue);
}

bool virtio_packed_take(struct virtio_queue *queue, struct virtio_chain *chain)
{
    const char *why;
    uint16_t id = 0;
    if (!is_available(queue) && !wait_for_more(queue))
        return false;
    why = save(queue, &id);
    if (!why)
        why = virtio_packed_walk(queue, id, chain);
    if (why)
        virtio_fail(queue->device, why);
    return !why;
}

/* ---- what is done with ------------------------------------------------------------------------- */

/* 2.8.6: of a chain one descriptor is written, at our place in the ring, and as many as the chain had are passed over. The
 * first of a batch gets its flags last: the driver, which looks at one after the other, sees none before. */
void virtio_packed_give(struct virtio_queue *queue, uint16_t id, uint32_t written_bytes)
{
    struct virtio_packed *packed = queue->packed;
    uint8_t *at = descriptor_at(queue, queue->next_used);
    uint16_t flags = wrap_of(queue, queue->next_used) ? FLAG_AVAILABLE | FLAG_USED : 0;
    uint16_t last = id < queue->size ? packed->first[id] : 0;
    if (id >= queue->size || packed->count[id] == NOT_OUT)
        return; /* of another life of the queue */
    flags |= written_bytes ? DESCRIPTOR_WRITE : 0;
    memcpy(at + offsetof(struct packed_descriptor, size_bytes), &written_bytes,
           sizeof written_bytes);
    memcpy(at + offsetof(struct packed_descriptor, id), &id, sizeof id);
    if (queue->next_used == queue->signalled_used)
        packed->first_flags = flags;
    else
        __atomic_store_n(flags_at(queue, queue->next_used), flags, __ATOMIC_RELEASE);
    for (uint16_t n = 1; n < packed->count[id]; n++)
        last = packed->next[last];
    packed->next[last] = packed->free;
    packed->free = packed->first[id];
    queue->next_used = after(queue, queue->next_used, packed->count[id]);
    packed->count[id] = NOT_OUT;
}

/* 2.8.10: has the driver asked for one of those given since it was last told? */
bool virtio_packed_show(struct virtio_queue *queue)
{
    uint16_t old = queue->signalled_used, new = queue->next_used;
    queue->signalled_used = new;
    __atomic_store_n(flags_at(queue, old), queue->packed->first_flags, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* they are seen before the wish is read */
    uint32_t event = driver_event(queue);
    switch (event >> EVENT_FLAGS_SHIFT & EVENT_FLAGS) {
    case EVENT_DISABLE: return false;
    case EVENT_AT_PLACE:
        if (event_index(queue)) {
            uint32_t place = (event & EVENT_PLACE) + (event & EVENT_WRAP ? 0 : queue->size);
            return distance(queue, old, place) < distance(queue, old, new);
        }
        break;
    }
    return true;
}

bool virtio_packed_is_polled(const struct virtio_queue *queue)
{
    return !event_index(queue) &&
           (driver_event(queue) >> EVENT_FLAGS_SHIFT & EVENT_FLAGS) == EVENT_DISABLE;
}
