#include "uplink.h"

#include "client.h"
#include "string.h"
#include "task.h"

struct uplink uplinks[DEVICES_MAX];
uint32_t uplink_count;

static const struct uplink_driver *const drivers[] = {&virtio_net_driver, &e1000_driver};

/* Only whole tags of ours go out: else a client could speak in a network that it is not in. */
static bool has_tag(const struct frame *frame)
{
    uint16_t type = read_be16(frame->head + ETHERNET_TYPE_OFFSET);
    return type == ETHERNET_TYPE_TAG || type == ETHERNET_TYPE_SERVICE_TAG ||
           type == ETHERNET_TYPE_OLD_TAG;
}

static void set_congested(struct uplink *uplink, bool congested)
{
    if (uplink->congested == congested)
        return;
    uplink->congested = congested;
    uplink->congested_since = switch_clock.now;
    for (uint32_t i = 0; i < uplink->port_count; i++)
        uplink->ports[i].port.network->congested = congested;
    if (!congested)
        clients.ready = clients.attached;
}

/* Does the card itself cut what is to be cut? Not into crumbs: it would be busy for as many frames as there are bytes. */
static bool card_cuts(const struct uplink *uplink, const struct frame *frame)
{
    uint32_t kind =
        frame->offload.segmentation == NETWORK_TCP4 ? NETWORK_ACCEPTS_TCP4 : NETWORK_ACCEPTS_TCP6;
    return frame->offload.segmentation == NETWORK_WHOLE ||
           (uplink->accepts & kind && frame->offload.segment_bytes >= UPLINK_SEGMENT_MIN &&
            frame_cut_by_card(frame));
}

/* In its place: straight from the sender's memory into the card's buffers. */
static bool send_parts(struct uplink *uplink, struct frame *whole, uint32_t vlan)
{
    struct frame_cutter cutter;
    if (!frame_cut_begin(&cutter, whole))
        return false;
    while (cutter.left) {
        uint8_t *at = uplink->driver->place(uplink);
        if (!at)
            return false;
        uplink->driver->send_placed(uplink, frame_cut_write(&cutter, at, vlan));
    }
    return true;
}

static bool deliver(struct port *port, struct frame *frame)
{
    struct uplink_port *to = (struct uplink_port *)port;
    struct uplink *uplink = to->uplink;
    if (uplink->failed || has_tag(frame))
        return false;
    bool sent = card_cuts(uplink, frame) ? uplink->driver->send(uplink, frame, to->vlan)
                                         : send_parts(uplink, frame, to->vlan);
    if (!sent || !uplink->driver->has_room(uplink))
        set_congested(uplink, true);
    return sent;
}

/* Takes the tag out of a frame's head; its number, 0: it had none (or one that says a priority alone). */
static uint32_t take_tag(struct frame *frame)
{
    if (read_be16(frame->head + ETHERNET_TYPE_OFFSET) != ETHERNET_TYPE_TAG ||
        !frame_take_head(frame, ETHERNET_HEADER_BYTES + ETHERNET_TAG_BYTES))
        return 0;
    uint32_t vlan = read_be16(frame->head + ETHERNET_HEADER_BYTES) & 0xfffu;
    memmove(frame->head + ETHERNET_TAG_BYTES, frame->head, ETHERNET_TYPE_OFFSET);
    frame_drop(frame, ETHERNET_TAG_BYTES);
    if (frame->offload.flags & NETWORK_NEEDS_CHECKSUM)
        frame->offload.checksum_start -= ETHERNET_TAG_BYTES;
    return vlan;
}

void uplink_fill(struct frame_cursor *cursor, uint8_t *to, uint32_t size_bytes, uint32_t vlan)
{
    if (vlan == 0) {
        frame_copy(cursor, to, size_bytes);
        return;
    }
    frame_copy(cursor, to, ETHERNET_TYPE_OFFSET);
    write_be16(to + ETHERNET_TYPE_OFFSET, ETHERNET_TYPE_TAG);
    write_be16(to + ETHERNET_TYPE_OFFSET + 2, vlan);
    uint32_t begun = ETHERNET_TYPE_OFFSET + ETHERNET_TAG_BYTES;
    frame_copy(cursor, to + begun, size_bytes - begun);
}

bool uplink_receive_ack(struct uplink *uplink, const uint8_t *bytes, uint32_t size_bytes,
                        uint8_t flags)
{
    const struct uplink_port *port = (const struct uplink_port *)uplink->ack.from;
    return port && port->vlan == 0 && uplink->ack.offload.flags == flags &&
           ack_renew(&uplink->ack, bytes, size_bytes);
}

void uplink_receive(struct uplink *uplink, struct frame *frame)
{
    uint32_t short_bytes = ACK_BYTES_MAX + ETHERNET_TAG_BYTES;
    if (frame->size_bytes < ETHERNET_HEADER_BYTES ||
        !frame_take_head(frame, frame->size_bytes <= short_bytes ? frame->size_bytes
                                                                 : ETHERNET_HEADER_BYTES))
        return;
    uint32_t vlan = take_tag(frame);
    for (uint32_t i = 0; i < uplink->port_count; i++) {
        struct uplink_port *port = &uplink->ports[i];
        if (port->vlan != vlan)
            continue;
        if (!frame_offload_valid(frame))
            port->port.counts.dropped++;
        else if (!ack_hold(&uplink->ack, &port->port, frame))
            switch_send(&port->port, frame);
        return;
    }
}

/* ---- starting ------------------------------------------------------------------------------------------------ */

static void start_card(struct uplink *uplink)
{
    const char *problem = uplink->driver->start(uplink);
    uplink->failed = problem != NULL;
    uplink->starts++;
    if (problem)
        task_print("%s (%s at %02x:%02x.%u): %s; networks with this uplink go on without it\n",
                   uplink->name, uplink->driver->name, uplink->grant->location >> 8,
                   uplink->grant->location >> 3 & 31, uplink->grant->location & 7, problem);
    else
        task_print("%s: %s at %02x:%02x.%u, %02x:%02x:%02x:%02x:%02x:%02x\n", uplink->name,
                   uplink->driver->name, uplink->grant->location >> 8,
                   uplink->grant->location >> 3 & 31, uplink->grant->location & 7, uplink->mac[0],
                   uplink->mac[1], uplink->mac[2], uplink->mac[3], uplink->mac[4], uplink->mac[5]);
}

static void open_card(struct uplink *uplink, const struct device_grant *grant,
                      struct device_memory memory)
{
    print_buffer(uplink->name, sizeof uplink->name, "card %lu", (unsigned long)(uplink - uplinks));
    uplink->grant = grant;
    uplink->area = (struct dma_area){.memory = memory};
    for (size_t i = 0; i < sizeof drivers / sizeof drivers[0] && !uplink->driver; i++)
        if (drivers[i]->fits(grant))
            uplink->driver = drivers[i];
    if (uplink->driver)
        start_card(uplink);
    else
        task_print("%s (%04x:%04x): no driver is here for it; virtio-net and Intel's 82540EM are "
                   "driven\n",
                   uplink->name, grant->vendor, grant->device);
}

void uplinks_start(const struct network_start *start)
{
    uplink_count = start->device_count < DEVICES_MAX ? start->device_count : DEVICES_MAX;
    for (uint32_t i = 0; i < uplink_count; i++) {
        uint64_t share = (start->memory.size_bytes / uplink_count) & -4096ull;
        open_card(&uplinks[i], &start->devices[i],
                  (struct device_memory){start->memory.address + i * share,
                                         start->memory.physical + i * share, share});
    }
}

bool uplink_connect(struct network *network, const uint8_t **mac)
{
    uint32_t number = network->plan->uplink, vlan = network->plan->vlan;
    if (number >= uplink_count || !uplinks[number].driver || uplinks[number].failed)
        return false;
    struct uplink *uplink = &uplinks[number];
    for (uint32_t i = 0; i < uplink->port_count; i++)
        if (uplink->ports[i].vlan == vlan)
            return false;
    struct uplink_port *port = &uplink->ports[uplink->port_count];
    *port = (struct uplink_port){
        .port = {.name = uplink->name,
                 .accepts = uplink->accepts | NETWORK_ACCEPTS_TCP4 | NETWORK_ACCEPTS_TCP6,
                 .deliver = deliver},
        .uplink = uplink,
        .vlan = vlan,
    };
    if (!port_join(&port->port, network))
        return false;
    uplink->port_count++;
    *mac = uplink->mac;
    return true;
}

/* ---- the main loop's part ------------------------------------------------------------------------------------- */

static bool is_stuck(const struct uplink *uplink)
{
    return uplink->congested && switch_clock.now - uplink->congested_since >
                                    switch_clock.per_second / 1000 * UPLINK_STUCK_MS;
}

bool uplinks_poll(void)
{
    bool more = false;
    for (uint32_t i = 0; i < uplink_count; i++) {
        struct uplink *uplink = &uplinks[i];
        if (!uplink->driver || uplink->starts == 0 || uplink->failed)
            continue;
        more |= uplink->driver->poll(uplink);
        ack_release(&uplink->ack);
        if ((uplink->failed || is_stuck(uplink)) && uplink->starts < UPLINK_STARTS_MAX) {
            task_print("%s: it has stopped working, and is started anew\n", uplink->name);
            start_card(uplink);
        }
        if (uplink->congested && (uplink->failed || uplink->driver->has_room(uplink)))
            set_congested(uplink, false);
    }
    return more;
}

bool uplinks_kick(void)
{
    bool answers = false;
    for (uint32_t i = 0; i < uplink_count; i++)
        if (uplinks[i].driver && !uplinks[i].failed)
            answers |= uplinks[i].driver->kick(&uplinks[i]);
    return answers;
}

bool uplinks_wait(uint64_t *deadline)
{
    bool waits = true;
    for (uint32_t i = 0; i < uplink_count; i++) {
        struct uplink *uplink = &uplinks[i];
        if (!uplink->driver || uplink->failed)
            continue;
        waits &= uplink->driver->waits(uplink, uplink->congested);
        uint64_t stuck =
            uplink->congested_since + switch_clock.per_second / 1000 * (UPLINK_STUCK_MS + 1);
        if (uplink->congested && stuck < *deadline)
            *deadline = stuck;
    }
    return waits;
}

void uplink_interrupt(uint32_t number)
{
    if (number < uplink_count && uplinks[number].driver && !uplinks[number].failed)
        uplinks[number].driver->interrupt(&uplinks[number]);
}
