/*
 * virtio-net: buffers that the driver offers, and frames that come into them. The device's head is in virtio_net.c.
 */
#include "devices/virtio_net_internal.h"

#include "string.h"

/* Entries of a ring that are written or read at once. */
#define BATCH 16u

/* So many buffers of a pair the server gets at a time. */
static unsigned posts_max(const struct virtio_net *net)
{
    unsigned share = VIRTIO_NET_BUFFERS_MAX / net->pairs_max;
    if (!virtio_has_feature(&net->device, FEATURE_MQ))
        return VIRTIO_NET_BUFFERS_MAX;
    return share < NETWORK_POSTED_MAX ? share : NETWORK_POSTED_MAX;
}

void virtio_net_free_post(struct virtio_net *net, uint16_t n)
{
    struct virtio_net_buffer *buffer = &net->posts[n];
    net->pair_posts[buffer->pair]--;
    buffer->used = buffer->posted = false;
    buffer->next = net->free_post;
    net->free_post = n;
    net->posts_used--;
}

static struct network_buffer buffer_entry(struct virtio_net *net, uint16_t n)
{
    struct virtio_net_buffer *buffer = &net->posts[n];
    buffer->posted = net->submitted = true;
    return (struct network_buffer){n, buffer->pair, buffer->offset, buffer->size_bytes,
                                   net->generation};
}

static bool post(struct virtio_net *net, uint16_t n)
{
    if (ring_room(&net->buffers) < sizeof(struct network_buffer))
        return false;
    const struct network_buffer entry = buffer_entry(net, n);
    ring_write(&net->buffers, &entry, sizeof entry);
    return true;
}

/* The memory behind the header, and the header too if the server leaves it free; false: there is too little. */
static bool describe(const struct virtio_net *net, const struct virtio_chain *chain,
                     struct virtio_net_buffer *buffer)
{
    const struct virtio_segment *segments = &chain->segments[chain->readable];
    uint32_t skipped = HEADER_BYTES - net->headroom_bytes;
    unsigned i = 0;
    if (chain->writable == 0 || segments[0].size_bytes < HEADER_BYTES)
        return false;
    if (segments[0].size_bytes == skipped && chain->writable > 1)
        i++, skipped = 0;
    const uint8_t *data = segments[i].data + skipped;
    uint64_t size_bytes = segments[i].size_bytes - skipped;
    while (++i < chain->writable && segments[i].data == data + size_bytes)
        size_bytes += segments[i].size_bytes;
    buffer->header = segments[0].data;
    buffer->offset = (uint64_t)(data - net->peer.memory);
    buffer->size_bytes = (uint32_t)size_bytes;
    return size_bytes > net->headroom_bytes;
}

static void no_room(struct virtio_net *net)
{
    virtio_fail(&net->device, "a receive buffer without room for a header in one piece and data");
}

/* The caller knows that one is free. */
static uint16_t take_post(struct virtio_net *net, unsigned pair, uint16_t head)
{
    uint16_t n = net->free_post;
    struct virtio_net_buffer *buffer = &net->posts[n];
    net->free_post = buffer->next;
    buffer->head = head;
    buffer->pair = (uint8_t)pair;
    buffer->used = true;
    return n;
}

/* The next buffers that are one piece, at most so many; returns how many. */
static unsigned take_plain(struct virtio_net *net, unsigned pair, struct network_buffer *entries,
                           unsigned most)
{
    struct virtio_plain chains[BATCH];
    uint32_t skipped = HEADER_BYTES - net->headroom_bytes;
    unsigned count =
        virtio_queue_take_plain(virtio_net_queue(net, pair, QUEUE_RECEIVE), chains, most);
    for (unsigned i = 0; i < count; i++) {
        if (chains[i].size_bytes <= HEADER_BYTES) {
            no_room(net);
            return i;
        }
        uint16_t n = take_post(net, pair, chains[i].head);
        net->posts[n].header = chains[i].data;
        net->posts[n].offset = (uint64_t)(chains[i].data - net->peer.memory) + skipped;
        net->posts[n].size_bytes = chains[i].size_bytes - skipped;
        entries[i] = buffer_entry(net, n);
    }
    return count;
}

/* Whatever chain is next; false: none, or the device has failed. */
static bool take_chain(struct virtio_net *net, unsigned pair, struct network_buffer *entry)
{
    struct virtio_chain chain;
    struct virtio_net_buffer buffer;
    if (!virtio_queue_take(virtio_net_queue(net, pair, QUEUE_RECEIVE), &chain))
        return false;
    if (!describe(net, &chain, &buffer)) {
        no_room(net);
        return false;
    }
    uint16_t n = take_post(net, pair, chain.head);
    net->posts[n].header = buffer.header;
    net->posts[n].offset = buffer.offset;
    net->posts[n].size_bytes = buffer.size_bytes;
    *entry = buffer_entry(net, n);
    return true;
}

/* As long as the server has most of those that it may have, the queue is not looked at, and the driver need not ring for
 * each. */
static void take_buffers_of(struct virtio_net *net, unsigned pair)
{
    struct network_buffer some[BATCH];
    unsigned count, most_posts = posts_max(net);
    if (net->pair_posts[pair] >= most_posts / 4 * 3 || net->unposted)
        return;
    do {
        size_t room = ring_room(&net->buffers) / sizeof some[0];
        unsigned left = most_posts - net->pair_posts[pair];
        unsigned places = VIRTIO_NET_BUFFERS_MAX - net->posts_used;
        unsigned most = left < BATCH ? left : BATCH;
        most = places < most ? places : most;
        most = room < most ? (unsigned)room : most;
        count = take_plain(net, pair, some, most);
        while (count < most && take_chain(net, pair, &some[count]))
            count++;
        net->posts_used += count;
        net->pair_posts[pair] += count;
        ring_write(&net->buffers, some, count * sizeof some[0]);
    } while (count == BATCH);
}

void virtio_net_take_buffers(struct virtio_net *net)
{
    for (unsigned pair = 0; pair < net->pairs; pair++)
        take_buffers_of(net, pair);
}

/* The header before a frame's first byte. */
static void begin_frame(struct virtio_net *net, const struct virtio_net_buffer *buffer,
                        const struct network_received *received)
{
    struct network_offload header = received->offload;
    if (!virtio_has_feature(&net->device, FEATURE_GUEST_CSUM))
        header.flags = 0;
    header.reserved = received->buffers;
    memcpy(buffer->header, &header, sizeof header);
    net->frame_header = buffer->header;
    net->frame_pair = buffer->pair;
    net->frame_buffers = 0;
    net->frame_left = received->buffers;
}

/* Buffers that have come back, and go to the driver together: of one pair. */
struct given {
    unsigned pair, count;
    struct virtio_used used[BATCH];
};

static void give_back(struct virtio_net *net, struct given *given)
{
    virtio_queue_give_all(virtio_net_queue(net, given->pair, QUEUE_RECEIVE), given->used,
                          given->count);
    given->count = 0;
}

/* One buffer comes back; false: nobody could know what is meant. */
static bool take_buffer(struct virtio_net *net, const struct network_received *received,
                        struct given *given)
{
    struct virtio_net_buffer *buffer = &net->posts[received->id % VIRTIO_NET_BUFFERS_MAX];
    bool first = net->frame_left == 0;
    uint32_t headroom = first ? net->headroom_bytes : 0;
    bool merges = virtio_has_feature(&net->device, FEATURE_MRG_RXBUF);
    if (received->id >= VIRTIO_NET_BUFFERS_MAX || !buffer->posted ||
        received->size_bytes > buffer->size_bytes - headroom)
        return false;
    if (first ? received->buffers == 0 || (received->buffers > 1 && !merges) ||
                    received->buffers > net->pair_posts[buffer->pair]
              : received->buffers != 0 || buffer->pair != net->frame_pair)
        return false;
    if (first)
        begin_frame(net, buffer, received);
    if (buffer->pair < net->pairs) {
        if (buffer->pair != given->pair)
            give_back(net, given);
        given->pair = buffer->pair;
        given->used[given->count++] =
            (struct virtio_used){buffer->head, received->size_bytes + (first ? HEADER_BYTES : 0)};
        virtio_net_free_post(net, (uint16_t)received->id);
    } else {
        /* 5.1.6.5.5.1: the driver uses this pair no more. The frame is lost, the buffer posted again. */
        buffer->posted = false;
        net->unposted++;
    }
    net->frame_left--;
    net->frame_buffers++;
    return true;
}

void virtio_net_cut_frame(struct virtio_net *net)
{
    uint16_t buffers = (uint16_t)net->frame_buffers;
    if (net->frame_left)
        memcpy(net->frame_header + offsetof(struct network_offload, reserved), &buffers,
               sizeof buffers);
    net->frame_left = 0;
}

bool virtio_net_take_received(struct virtio_net *net)
{
    struct network_received some[BATCH];
    struct given given;
    size_t whole;
    bool any = false;
    given.pair = given.count = 0;
    do {
        whole = ring_filled(&net->received) / sizeof some[0];
        whole = whole < BATCH ? whole : BATCH;
        if (whole == 0)
            break;
        any = true;
        ring_read(&net->received, some, whole * sizeof some[0]);
        for (size_t i = 0; i < whole; i++)
            if (!take_buffer(net, &some[i], &given)) {
                give_back(net, &given);
                virtio_net_complain(
                    net, "a received frame that does not fit in the buffers that it has");
                net->received.broken = true;
                virtio_net_cut_frame(net);
                return any;
            }
        give_back(net, &given);
    } while (whole == BATCH);
    if (ring_filled(&net->received) % sizeof some[0]) {
        virtio_net_complain(net, "half a word of a received frame");
        net->received.broken = true;
        virtio_net_cut_frame(net);
    }
    return any;
}

void virtio_net_post_again(struct virtio_net *net)
{
    for (uint16_t n = 0; n < VIRTIO_NET_BUFFERS_MAX && net->unposted; n++)
        if (net->posts[n].used && !net->posts[n].posted) {
            if (!post(net, n))
                return;
            net->unposted--;
        }
}
