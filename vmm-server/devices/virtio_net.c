/*
 * virtio-net over a channel to the network server.
 *
 * State:    what is known of the link; the chains that the server has: frames on their way, buffers to be filled.
 * Features: MAC, STATUS, MTU, CSUM, HOST_TSO4 and 6, GUEST_CSUM, GUEST_TSO4 and 6 (with MRG_RXBUF), MRG_RXBUF,
 *           CTRL_VQ, CTRL_RX: promiscuous or not; more unicast addresses make it so, multicast always comes. MQ where
 *           the guest has several vCPUs: the driver says how many pairs of queues it uses, and the server to which one a
 *           frame comes (network.h).
 *           The control queue is virtio_net_control.c, buffers to receive into are virtio_net_receive.c.
 * Missing:  RSS, hash reports, CTRL_GUEST_OFFLOADS, CTRL_MAC_ADDR, VLAN filters, UFO and USO, ECN with segmentation; of a
 *           receive buffer in several pieces only the first piece behind the header is used; a header that is cut.
 * Spec:     OASIS VIRTIO 1.2, section 5.1.
 *
 * Frames are not touched. The channel's struct network_offload has the layout of the driver's struct virtio_net_hdr: of
 * what is sent it goes to the server, its words checked against the features; of what is received it is written before
 * the frame, where the server has left room.
 *
 * Reset: the server has the driver's buffers. They are asked back (network_link.resets), and the guest is held
 * (device_host.hold) until the server says so; it can't see the device between.
 */
#include "devices/virtio_net_internal.h"

#include "string.h"

#define NONE          0xffffu
#define FRAME_MIN     14u
#define MTU_DEFAULT   1500u
#define FAULTS_LOGGED 4u

/* With so many frames on their way the driver is told of those that are sent without the server's doorbell. */
#define FRAMES_MANY 16u

/* 5.1.4 */
struct net_config {
    uint8_t mac[6];
    uint16_t status, max_virtqueue_pairs, mtu;
    uint32_t pad;
};
#define CONFIG_BYTES 12u
_Static_assert(sizeof(struct net_config) == 16, "rounded up to whole words of 8 bytes");

/* 5.1.6: `reserved` stands where the driver has num_buffers. */
_Static_assert(sizeof(struct network_offload) == HEADER_BYTES, "laid out as struct virtio_net_hdr");
_Static_assert(offsetof(struct network_offload, reserved) == 10, "num_buffers");

/* As it goes into the channel. */
struct entry {
    struct network_frame frame;
    struct network_segment segments[VIRTIO_SEGMENTS_MAX];
};
_Static_assert(VIRTIO_SEGMENTS_MAX <= NETWORK_SEGMENTS_MAX, "a chain fits in a frame");

static struct virtio_net *net_of(struct virtio_device *device)
{
    return (struct virtio_net *)device; /* its first member */
}

/* 5.1.2: behind the first pair for a driver that knows no others. */
static unsigned control_queue(const struct virtio_net *net)
{
    return QUEUES_OF_PAIR * (virtio_has_feature(&net->device, FEATURE_MQ) ? net->pairs_max : 1);
}

void virtio_net_complain(struct virtio_net *net, const char *what)
{
    if (net->faults++ < FAULTS_LOGGED)
        print(
            net->device.host->log,
            "%s: the network server broke a rule: %s; the card waits for the server's restart%s\n",
            net->device.name, what, net->faults == FAULTS_LOGGED ? " (no more of these)" : "");
}

/* ---- chains that the server has ------------------------------------------------------------------ */

static void free_frame(struct virtio_net *net, uint16_t n)
{
    net->frames[n] = (struct virtio_net_frame){.next = net->free_frame};
    net->free_frame = n;
    net->frames_used--;
}

static void free_all(struct virtio_net *net)
{
    for (uint16_t n = 0; n < VIRTIO_NET_FRAMES_MAX; n++)
        if (net->frames[n].used)
            free_frame(net, n);
    for (uint16_t n = 0; n < VIRTIO_NET_BUFFERS_MAX; n++)
        if (net->posts[n].used)
            virtio_net_free_post(net, n);
    net->unposted = net->frame_left = 0;
}

/* ---- frames to send ------------------------------------------------------------------------------ */

/* 5.1.6.2: what was agreed on is translated, flags that are not known are ignored; false: no such frame is sent. */
static bool check_offload(const struct virtio_net *net, struct network_offload *offload)
{
    const struct virtio_device *device = &net->device;
    offload->reserved = 0;
    offload->flags &= virtio_has_feature(device, FEATURE_CSUM) ? NETWORK_NEEDS_CHECKSUM : 0;
    switch (offload->segmentation) {
    case NETWORK_WHOLE: return true;
    case NETWORK_TCP4: return offload->flags && virtio_has_feature(device, FEATURE_HOST_TSO4);
    case NETWORK_TCP6: return offload->flags && virtio_has_feature(device, FEATURE_HOST_TSO6);
    }
    return false;
}

/* The frame of a chain; false: it is none that can be sent. */
static bool translate(const struct virtio_net *net, const struct virtio_chain *chain,
                      struct entry *entry)
{
    struct virtio_cursor cursor = {0};
    uint64_t total = 0;
    unsigned count = 0;
    entry->frame = (struct network_frame){.generation = net->generation};
    if (!virtio_chain_read(chain, &cursor, &entry->frame.offload, HEADER_BYTES) ||
        !check_offload(net, &entry->frame.offload))
        return false;
    for (unsigned i = cursor.segment; i < chain->readable; i++, cursor.offset = 0) {
        const struct virtio_segment *segment = &chain->segments[i];
        uint64_t offset = (uint64_t)(segment->data + cursor.offset - net->peer.memory);
        uint32_t size_bytes = segment->size_bytes - cursor.offset;
        struct network_segment *last = &entry->segments[count - (count != 0)];
        total += size_bytes;
        if (count && last->offset + last->size_bytes == offset)
            last->size_bytes += size_bytes;
        else
            entry->segments[count++] = (struct network_segment){offset, size_bytes};
    }
    entry->frame.segments = (uint16_t)count;
    return total >= FRAME_MIN && total <= NETWORK_FRAME_MAX;
}

static bool frame_room(struct virtio_net *net)
{
    return net->free_frame != NONE && ring_room(&net->send) >= sizeof(struct entry);
}

static void take_frames_of(struct virtio_net *net, unsigned pair)
{
    struct virtio_queue *queue = virtio_net_queue(net, pair, QUEUE_TRANSMIT);
    struct virtio_chain chain;
    struct entry entry;
    while (frame_room(net) && virtio_queue_take(queue, &chain)) {
        if (!translate(net, &chain, &entry)) {
            virtio_queue_give(queue, chain.head, 0);
            continue;
        }
        uint16_t n = net->free_frame;
        net->free_frame = net->frames[n].next;
        net->frames[n] =
            (struct virtio_net_frame){.head = chain.head, .pair = (uint8_t)pair, .used = true};
        net->frames_used++;
        entry.frame.id = n;
        entry.frame.queue = (uint16_t)pair;
        ring_write(&net->send, &entry,
                   sizeof entry.frame + entry.frame.segments * sizeof *entry.segments);
        net->submitted = true;
    }
}

/* Where there was no more room, the next queue is the first that gets some. */
static void take_frames(struct virtio_net *net)
{
    for (unsigned n = 0; n < net->pairs && frame_room(net); n++) {
        take_frames_of(net, net->turn);
        net->turn = net->turn + 1 < net->pairs ? net->turn + 1 : 0;
    }
}

static void take_sent(struct virtio_net *net)
{
    uint64_t id;
    while (ring_filled(&net->sent) >= sizeof id) {
        ring_read(&net->sent, &id, sizeof id);
        if (id >= VIRTIO_NET_FRAMES_MAX || !net->frames[id].used) {
            virtio_net_complain(net, "it has sent a frame that there is not");
            net->sent.broken = true;
            return;
        }
        virtio_queue_give(virtio_net_queue(net, net->frames[id].pair, QUEUE_TRANSMIT),
                          net->frames[id].head, 0);
        free_frame(net, (uint16_t)id);
    }
    if (ring_filled(&net->sent) % sizeof id) {
        virtio_net_complain(net, "half a word that a frame is sent");
        net->sent.broken = true;
    }
}

/* ---- the server begins, and gives everything back ------------------------------------------------------ */

static void join_rings(struct virtio_net *net)
{
    char *channel = net->peer.channel;
    ring_join_writer(&net->send, channel + NETWORK_SEND_OFFSET, NETWORK_SEND_BYTES);
    ring_join_reader(&net->sent, channel + NETWORK_SENT_OFFSET, NETWORK_SENT_BYTES);
    ring_join_writer(&net->buffers, channel + NETWORK_BUFFERS_OFFSET, NETWORK_BUFFERS_BYTES);
    ring_join_reader(&net->received, channel + NETWORK_RECEIVED_OFFSET, NETWORK_RECEIVED_BYTES);
}

/* What a server that is gone, or was told to forget it all, has left in the rings. */
static void discard(struct virtio_net *net)
{
    char gone[64];
    join_rings(net);
    while (ring_read(&net->sent, gone, sizeof gone) || ring_read(&net->received, gone, sizeof gone))
        ;
}

/* All that the old server had to say is in. Frames count as sent, buffers are posted again. */
static void begin_generation(struct virtio_net *net, uint32_t generation)
{
    net->generation = generation;
    virtio_net_cut_frame(net);
    discard(net);
    for (uint16_t n = 0; n < VIRTIO_NET_FRAMES_MAX; n++)
        if (net->frames[n].used) {
            virtio_queue_give(virtio_net_queue(net, net->frames[n].pair, QUEUE_TRANSMIT),
                              net->frames[n].head, 0);
            free_frame(net, n);
        }
    for (uint16_t n = 0; n < VIRTIO_NET_BUFFERS_MAX; n++)
        net->posts[n].posted = false;
    net->unposted = net->posts_used;
}

static void end_reset(struct virtio_net *net)
{
    discard(net);
    free_all(net);
    net->resetting = false;
    net->device.host->hold(net->device.host, false);
}

static void look_at_link(struct virtio_net *net)
{
    bool up = net->generation && __atomic_load_n(&net->link->up, __ATOMIC_RELAXED);
    if (up == net->up)
        return;
    net->up = up;
    virtio_config_changed(&net->device);
}

static void settle(struct virtio_net *net)
{
    uint32_t generation = __atomic_load_n(&net->link->generation, __ATOMIC_ACQUIRE);
    bool restarted = generation != net->generation;
    if (net->resetting) {
        if (!restarted && __atomic_load_n(&net->link->resets_done, __ATOMIC_ACQUIRE) != net->resets)
            return;
        end_reset(net);
    }
    bool received = virtio_net_take_received(net);
    if (received || net->looks || restarted)
        take_sent(net);
    if (restarted)
        begin_generation(net, generation);
    look_at_link(net);
    if (net->generation == 0)
        return;
    virtio_net_post_again(net);
    take_frames(net);
    virtio_net_take_buffers(net);
}

/* The driver is told that frames are sent with what it receives, or when the server rings for that after a while: an interrupt for
 * each would cost it more than the frame. Until then the wish to be rung stays in that ring. At once, when there are many, or
 * where the driver polls. */
static void look_for_sent(struct virtio_net *net)
{
    bool look = net->rung || net->frames_used >= FRAMES_MANY;
    for (unsigned pair = 0; pair < net->pairs_max && !look; pair++) {
        const struct virtio_queue *queue = virtio_net_queue(net, pair, QUEUE_TRANSMIT);
        look =
            queue->ready && (net->frames_used >= queue->size / 4u || virtio_queue_is_polled(queue));
    }
    if (net->looks || !look)
        return;
    net->looks = true;
    ring_reader_looks(&net->sent);
}

/* As in virtio_block.c: while we look ourselves the server need not ring, and the driver is told once. While a frame
 * is not whole nothing received is shown; the server is about to write the rest. */
static void work(struct virtio_net *net)
{
    net->looks = false;
    ring_reader_looks(&net->received);
    do {
        look_for_sent(net);
        settle(net);
        while (net->submitted) {
            net->submitted = false;
            bool frames = ring_writer_must_ring(&net->send);
            if (!ring_writer_must_ring(&net->buffers) && !frames)
                break;
            net->peer.ring(net->peer.number);
            look_for_sent(net);
            settle(net);
        }
    } while (!net->resetting && ((net->looks && !ring_reader_waits(&net->sent)) ||
                                 !ring_reader_waits(&net->received)));
    /* Of a pair that the driver has given up frames may still come back. */
    for (unsigned pair = 0; pair < net->pairs_max; pair++) {
        virtio_queue_signal(virtio_net_queue(net, pair, QUEUE_TRANSMIT));
        if (net->frame_left == 0)
            virtio_queue_signal(virtio_net_queue(net, pair, QUEUE_RECEIVE));
    }
}

void virtio_net_attend(struct virtio_net *net)
{
    net->rung = true;
    work(net);
    net->rung = false;
}

/* ---- the device ------------------------------------------------------------------------------------------- */

static void notify(struct virtio_device *device, unsigned queue)
{
    struct virtio_net *net = net_of(device);
    unsigned before = net->pairs;
    if (queue == control_queue(net))
        virtio_net_take_commands(net, &device->queues[queue]);
    /* More pairs: their queues may hold something already. */
    if (queue != control_queue(net) || net->pairs > before)
        work(net);
}

/* What the driver takes is said to the server before it gets a buffer. Segmentation without merged buffers would need
 * 64 KiB in one piece, and is not asked for. */
static void ready(struct virtio_device *device)
{
    struct virtio_net *net = net_of(device);
    bool merge = virtio_has_feature(device, FEATURE_MRG_RXBUF);
    bool sums = virtio_has_feature(device, FEATURE_GUEST_CSUM);
    uint32_t accepts = (sums ? NETWORK_ACCEPTS_CHECKSUM : 0) | (merge ? NETWORK_ACCEPTS_MERGE : 0);
    if (merge && sums && virtio_has_feature(device, FEATURE_GUEST_TSO4))
        accepts |= NETWORK_ACCEPTS_TCP4;
    if (merge && sums && virtio_has_feature(device, FEATURE_GUEST_TSO6))
        accepts |= NETWORK_ACCEPTS_TCP6;
    net->headroom_bytes = merge ? HEADER_BYTES : 0;
    __atomic_store_n(&net->link->headroom_bytes, net->headroom_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&net->link->accepts, accepts, __ATOMIC_RELEASE);
    virtio_net_publish(net);
    work(net);
}

static void reset(struct virtio_device *device)
{
    struct virtio_net *net = net_of(device);
    net->promiscuous = net->more_addresses = false;
    net->pairs = 1;
    net->turn = 0;
    virtio_net_publish(net);
    if (net->resetting || (net->frames_used == 0 && net->posts_used == 0))
        return;
    net->resetting = true;
    device->host->hold(device->host, true);
    __atomic_store_n(&net->link->resets, ++net->resets, __ATOMIC_SEQ_CST);
    net->peer.ring(net->peer.number);
    work(net); /* it may be done already */
}

static bool read_config(struct virtio_device *device, uint32_t offset, unsigned size_bytes,
                        uint64_t *value)
{
    const struct virtio_net *net = net_of(device);
    struct net_config config = {
        .status = net->up,
        .max_virtqueue_pairs = (uint16_t)net->pairs_max,
        .mtu = (uint16_t)net->mtu,
    };
    memcpy(config.mac, net->mac, sizeof config.mac);
    if (offset >= CONFIG_BYTES || size_bytes > CONFIG_BYTES - offset)
        return false;
    *value = 0;
    memcpy(value, (const uint8_t *)&config + offset, size_bytes);
    return true;
}

void virtio_net_init(struct virtio_net *net, struct device_host *host,
                     const struct device_peer *peer, uint64_t mac, unsigned pairs,
                     struct interrupt_line *line)
{
    static const struct virtio_operations operations = {
        .device_id = 1,
        .features = 1ull << FEATURE_CSUM | 1ull << FEATURE_GUEST_CSUM | 1ull << FEATURE_MTU |
                    1ull << FEATURE_MAC | 1ull << FEATURE_GUEST_TSO4 | 1ull << FEATURE_GUEST_TSO6 |
                    1ull << FEATURE_HOST_TSO4 | 1ull << FEATURE_HOST_TSO6 |
                    1ull << FEATURE_MRG_RXBUF | 1ull << FEATURE_STATUS | 1ull << FEATURE_CTRL_VQ |
                    1ull << FEATURE_CTRL_RX,
        .queue_count = QUEUES_OF_PAIR * VIRTIO_NET_PAIRS_MAX + 1,
        .notify = notify,
        .reset = reset,
        .ready = ready,
        .read_config = read_config,
    };
    memset(net, 0, sizeof *net);
    virtio_init(&net->device, &operations, host, line, "virtio-net");
    net->device.queue_count = QUEUES_OF_PAIR * pairs + 1;
    if (pairs > 1)
        net->device.features |= 1ull << FEATURE_MQ;
    net->pairs_max = pairs;
    net->pairs = 1;
    net->peer = *peer;
    net->link = (void *)((char *)peer->channel + NETWORK_LINK_OFFSET);
    for (unsigned n = 0; n < 6; n++)
        net->mac[n] = (uint8_t)(mac >> (40 - 8 * n));
    for (uint16_t n = 0; n < VIRTIO_NET_FRAMES_MAX; n++)
        net->frames[n].next = (uint16_t)(n + 1u < VIRTIO_NET_FRAMES_MAX ? n + 1u : NONE);
    for (uint16_t n = 0; n < VIRTIO_NET_BUFFERS_MAX; n++)
        net->posts[n].next = (uint16_t)(n + 1u < VIRTIO_NET_BUFFERS_MAX ? n + 1u : NONE);
    join_rings(net);
    net->resets = __atomic_load_n(&net->link->resets_done, __ATOMIC_RELAXED);
    net->link->resets = net->resets;
    uint32_t mtu = __atomic_load_n(&net->link->mtu, __ATOMIC_RELAXED);
    net->mtu = mtu >= 68 && mtu <= UINT16_MAX ? mtu : MTU_DEFAULT;
    net->generation = __atomic_load_n(&net->link->generation, __ATOMIC_ACQUIRE);
    look_at_link(net);
    /* The server rings when the link changes, also while nothing is sent. */
    ring_reader_wishes(&net->sent);
    ring_reader_waits(&net->received);
}
