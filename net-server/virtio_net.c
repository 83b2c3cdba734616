/*
 * virtio network card on PCI.
 *
 * State:    one pair of queues; buffers for what comes in; copies of what goes out until the card has read it.
 * Features: checksums and TCP segmentation by the card where it can, both ways; merged buffers; event index; status.
 * Missing:  several queue pairs, the control queue (filters, VLANs), large MTU; the link's state is not looked at.
 * Spec:     VIRTIO 1.2, 5.1.
 */
#include "string.h"
#include "task.h"
#include "uplink.h"

enum {
    DEVICE_NET_MODERN = 0x1041,
    DEVICE_NET_TRANSITIONAL = 0x1000,
    QUEUE_RECEIVE = 0,
    QUEUE_SEND = 1,
    RECEIVE_BUFFERS = 64,
    SEND_BUFFERS = 112,
    HEADER_BYTES = 12, /* struct virtio_net_hdr with num_buffers (5.1.6) */
    FRAME_BUFFERS_MAX = (NETWORK_FRAME_MAX + HEADER_BYTES + BUFFER_BYTES - 1) / BUFFER_BYTES,
};
_Static_assert(SEND_BUFFERS <= BUFFERS_MAX && SEND_BUFFERS >= 2 * UPLINK_PARTS &&
                   UPLINK_PARTS >= FRAME_BUFFERS_MAX,
               "a frame of any size can go out, and one more while it does");

/* Features (5.1.3). */
#define FEATURE_CHECKSUM       (1ull << 0)
#define FEATURE_GUEST_CHECKSUM (1ull << 1)
#define FEATURE_MAC            (1ull << 5)
#define FEATURE_GUEST_TCP4     (1ull << 7)
#define FEATURE_GUEST_TCP6     (1ull << 8)
#define FEATURE_HOST_TCP4      (1ull << 11)
#define FEATURE_HOST_TCP6      (1ull << 12)
#define FEATURE_MERGE          (1ull << 15)
#define FEATURES_LARGE         (FEATURE_GUEST_TCP4 | FEATURE_GUEST_TCP6)
#define FEATURES_WANTED                                                                   \
    (FEATURE_CHECKSUM | FEATURE_GUEST_CHECKSUM | FEATURE_MAC | FEATURES_LARGE |           \
     FEATURE_HOST_TCP4 | FEATURE_HOST_TCP6 | FEATURE_MERGE | VIRTIO_FEATURE_EVENT_INDEX | \
     VIRTIO_FEATURE_ACCESS_PLATFORM)

/* struct virtio_net_hdr; its fields are those of struct network_offload in another order. */
struct header {
    uint8_t flags, segmentation;
    uint16_t header_bytes, segment_bytes, checksum_start, checksum_offset, buffers;
};
_Static_assert(sizeof(struct header) == HEADER_BYTES, "no holes");

static bool fits(const struct device_grant *grant)
{
    return grant->vendor == VIRTIO_VENDOR &&
           (grant->device == DEVICE_NET_MODERN || grant->device == DEVICE_NET_TRANSITIONAL);
}

/* ---- receiving ----------------------------------------------------------------------------------------- */

static void post(struct virtio_net *card, uint16_t buffer)
{
    struct dma_piece piece = {buffer_physical(&card->received, buffer), BUFFER_BYTES, 0};
    virtqueue_add(&card->receive, &piece, 0, 1, NULL, (void *)(uintptr_t)buffer);
}

/* One buffer that the card has filled. False: there is none. */
static bool take(struct virtio_net *card, uint16_t *buffer, uint32_t *size_bytes)
{
    void *cookie;
    if (!virtqueue_take(&card->receive, &cookie, size_bytes))
        return false;
    *buffer = (uint16_t)(uintptr_t)cookie;
    if (*size_bytes > BUFFER_BYTES)
        *size_bytes = BUFFER_BYTES;
    return true;
}

/* The frame that begins in this buffer. What the card says of it is checked by uplink_receive. */
static void receive_frame(struct uplink *uplink, uint16_t buffer, uint32_t size_bytes)
{
    struct virtio_net *card = &uplink->card.virtio;
    uint16_t used[FRAME_BUFFERS_MAX] = {buffer};
    struct frame frame;
    struct header header;
    memcpy(&header, buffer_at(&card->received, buffer), sizeof header);
    uint32_t count = card->device.features & FEATURE_MERGE ? header.buffers : 1, have = 1;
    frame_begin(&frame);
    bool good = size_bytes > HEADER_BYTES && count >= 1 && count <= FRAME_BUFFERS_MAX &&
                frame_add(&frame, buffer_at(&card->received, buffer) + HEADER_BYTES,
                          size_bytes - HEADER_BYTES);
    while (good && have < count && take(card, &used[have], &size_bytes)) {
        good = frame_add(&frame, buffer_at(&card->received, used[have]), size_bytes);
        have++;
    }
    if (good && have == count) {
        frame.offload = (struct network_offload){
            .flags = header.flags & (NETWORK_NEEDS_CHECKSUM | NETWORK_CHECKSUM_GOOD),
            .segmentation = header.segmentation & 0x7fu, /* bit 7: with ECN, which all understand */
            .header_bytes = header.header_bytes,
            .segment_bytes = header.segment_bytes,
            .checksum_start = header.checksum_start,
            .checksum_offset = header.checksum_offset};
        uplink_receive(uplink, &frame);
    } else {
        uplink->failed = true; /* it is started anew */
    }
    for (uint32_t i = 0; i < have; i++)
        post(card, used[i]);
}

/* Most of what comes while a guest sends, which is done with at once. */
static bool receive_ack(struct uplink *uplink, uint16_t buffer, uint32_t size_bytes)
{
    struct virtio_net *card = &uplink->card.virtio;
    const uint8_t *at = buffer_at(&card->received, buffer);
    struct header header = *(const struct header *)at;
    bool whole = !header.segmentation && !(header.flags & NETWORK_NEEDS_CHECKSUM) &&
                 (header.buffers == 1 || !(card->device.features & FEATURE_MERGE));
    return whole && size_bytes > HEADER_BYTES &&
           uplink_receive_ack(uplink, at + HEADER_BYTES, size_bytes - HEADER_BYTES,
                              header.flags & NETWORK_CHECKSUM_GOOD);
}

/* ---- sending -------------------------------------------------------------------------------------------- */

static void reap(struct virtio_net *card)
{
    void *cookie;
    uint32_t written;
    while (virtqueue_take(&card->send, &cookie, &written))
        for (uint16_t buffer = (uint16_t)(uintptr_t)cookie, next; buffer != BUFFER_NONE;
             buffer = next) {
            next = card->sent.next[buffer];
            buffer_give(&card->sent, buffer);
        }
}

static bool has_room(struct uplink *uplink)
{
    struct virtio_net *card = &uplink->card.virtio;
    if (card->sent.free_count < UPLINK_PARTS)
        reap(card);
    return card->sent.free_count >= UPLINK_PARTS;
}

static uint8_t *place(struct uplink *uplink)
{
    struct virtio_net *card = &uplink->card.virtio;
    if (card->sent.free_count == 0)
        reap(card);
    if (card->sent.free_count == 0 || card->send.free_count == 0)
        return NULL;
    uint8_t *at = buffer_at(&card->sent, card->sent.free_first);
    *(struct header *)at = (struct header){0};
    return at + HEADER_BYTES;
}

static void send_placed(struct uplink *uplink, uint32_t size_bytes)
{
    struct virtio_net *card = &uplink->card.virtio;
    uint16_t buffer = buffer_take(&card->sent);
    struct dma_piece piece = {buffer_physical(&card->sent, buffer), size_bytes + HEADER_BYTES, 0};
    virtqueue_add(&card->send, &piece, 1, 0, NULL, (void *)(uintptr_t)buffer);
}

static struct header header_of(const struct frame *frame, uint32_t vlan)
{
    const struct network_offload *offload = &frame->offload;
    uint16_t tag = vlan ? ETHERNET_TAG_BYTES : 0;
    if (!(offload->flags & NETWORK_NEEDS_CHECKSUM))
        return (struct header){0};
    return (struct header){
        .flags = NETWORK_NEEDS_CHECKSUM,
        .segmentation = offload->segmentation,
        .header_bytes = offload->segmentation ? (uint16_t)(frame_header_bytes(frame) + tag) : 0,
        .segment_bytes = offload->segmentation ? offload->segment_bytes : 0,
        .checksum_start = (uint16_t)(offload->checksum_start + tag),
        .checksum_offset = offload->checksum_offset};
}

static bool send(struct uplink *uplink, const struct frame *frame, uint32_t vlan)
{
    struct virtio_net *card = &uplink->card.virtio;
    uint32_t left = frame->size_bytes + HEADER_BYTES + (vlan ? ETHERNET_TAG_BYTES : 0);
    uint32_t count = (left + BUFFER_BYTES - 1) / BUFFER_BYTES;
    if (card->sent.free_count < count)
        reap(card);
    if (card->sent.free_count < count || card->send.free_count < count)
        return false;
    struct dma_piece pieces[FRAME_BUFFERS_MAX + 1];
    struct frame_cursor cursor = frame_at(frame, 0);
    uint16_t first = BUFFER_NONE, last = BUFFER_NONE;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t buffer = buffer_take(&card->sent);
        uint8_t *at = buffer_at(&card->sent, buffer);
        uint32_t size_bytes = left < BUFFER_BYTES ? left : BUFFER_BYTES;
        if (i == 0) {
            struct header header = header_of(frame, vlan);
            memcpy(at, &header, sizeof header);
            uplink_fill(&cursor, at + HEADER_BYTES, size_bytes - HEADER_BYTES, vlan);
            first = buffer;
        } else {
            frame_copy(&cursor, at, size_bytes);
            card->sent.next[last] = buffer;
        }
        pieces[i] = (struct dma_piece){buffer_physical(&card->sent, buffer), size_bytes, 0};
        last = buffer;
        left -= size_bytes;
    }
    return virtqueue_add(&card->send, pieces, count, 0, NULL, (void *)(uintptr_t)first);
}

/* ---- starting, and the main loop's part ------------------------------------------------------------------ */

static const char *negotiate(struct uplink *uplink)
{
    struct virtio_driver *device = &uplink->card.virtio.device;
    const char *problem = virtio_driver_open(device, uplink->grant);
    if (!problem)
        problem = virtio_driver_negotiate(device, FEATURES_WANTED);
    if (problem || device->features & FEATURE_MERGE || !(device->features & FEATURES_LARGE))
        return problem;
    /* A large frame would need large buffers. */
    problem = virtio_driver_open(device, uplink->grant);
    return problem ? problem : virtio_driver_negotiate(device, FEATURES_WANTED & ~FEATURES_LARGE);
}

static uint32_t accepts_of(uint64_t features)
{
    if (!(features & FEATURE_CHECKSUM))
        return 0;
    return NETWORK_ACCEPTS_CHECKSUM | (features & FEATURE_HOST_TCP4 ? NETWORK_ACCEPTS_TCP4 : 0) |
           (features & FEATURE_HOST_TCP6 ? NETWORK_ACCEPTS_TCP6 : 0);
}

static const char *start(struct uplink *uplink)
{
    struct virtio_net *card = &uplink->card.virtio;
    const char *problem = negotiate(uplink);
    if (!problem)
        problem = virtqueue_start(&card->device, &card->receive, QUEUE_RECEIVE, VIRTQUEUE_SIZE_MAX,
                                  &uplink->area);
    if (!problem)
        problem = virtqueue_start(&card->device, &card->send, QUEUE_SEND, VIRTQUEUE_SIZE_MAX,
                                  &uplink->area);
    if (problem)
        return problem;
    if (!(card->device.features & FEATURE_MAC))
        return "it has no MAC address";
    if (!buffers_start(&card->received, &uplink->area, RECEIVE_BUFFERS) ||
        !buffers_start(&card->sent, &uplink->area, SEND_BUFFERS))
        return "there is too little memory for its buffers";
    for (unsigned i = 0; i < ETHERNET_ADDRESS_BYTES; i++)
        uplink->mac[i] = (uint8_t)virtio_driver_config(&card->device, i, 1);
    uplink->accepts = accepts_of(card->device.features);
    virtio_driver_ready(&card->device);
    while (card->received.free_count && card->receive.free_count)
        post(card, buffer_take(&card->received));
    virtqueue_kick(&card->receive);
    return NULL;
}

static bool poll(struct uplink *uplink)
{
    struct virtio_net *card = &uplink->card.virtio;
    uint16_t buffer;
    uint32_t size_bytes;
    unsigned frames = 0;
    while (frames < RECEIVE_BUFFERS && !uplink->failed && take(card, &buffer, &size_bytes)) {
        if (receive_ack(uplink, buffer, size_bytes))
            virtqueue_add_again(&card->receive);
        else
            receive_frame(uplink, buffer, size_bytes);
        frames++;
    }
    if (uplink->congested)
        reap(card);
    uplink->failed |= card->receive.broken || card->send.broken;
    return frames == RECEIVE_BUFFERS;
}

static bool waits(struct uplink *uplink, bool room)
{
    struct virtio_net *card = &uplink->card.virtio;
    return virtqueue_waits(&card->receive) && (!room || virtqueue_waits(&card->send));
}

static void interrupt(struct uplink *uplink)
{
    struct virtio_net *card = &uplink->card.virtio;
    if (virtio_driver_interrupt(&card->device) & VIRTIO_INTERRUPT_CONFIG &&
        virtio_driver_failed(&card->device))
        uplink->failed = true;
}

static bool kick(struct uplink *uplink)
{
    virtqueue_kick(&uplink->card.virtio.receive);
    virtqueue_kick(&uplink->card.virtio.send);
    return false;
}

const struct uplink_driver virtio_net_driver = {
    "virtio-net", fits, start, send, place, send_placed, poll, has_room, waits, interrupt, kick};
