#include "flow.h"

#include "switch.h"

enum {
    IPV4_FRAGMENT = 6,
    IPV4_PROTOCOL = 9,
    IPV4_ADDRESSES = 12,
    IPV4_HEADER_MIN = 20,
    IPV6_PROTOCOL = 6,
    IPV6_ADDRESSES = 8,
    IPV6_HEADER = 40,
    PROTOCOL_TCP = 6,
};
#define IPV4_IS_FRAGMENT 0x3fffu /* its place in the whole, or more follow */

/* The same for both directions of a connection. Ports count with TCP alone: datagrams are cut into fragments, of which
 * the first alone has ports. */
static uint32_t place_of(struct frame *frame)
{
    uint8_t *ip = frame->head + ETHERNET_HEADER_BYTES;
    uint32_t ports_at = 0, mixed = 0;
    if (!frame_take_head(frame, ETHERNET_HEADER_BYTES))
        return 0;
    uint32_t type = read_be16(frame->head + ETHERNET_TYPE_OFFSET);
    if (type == ETHERNET_TYPE_IPV4 &&
        frame_take_head(frame, ETHERNET_HEADER_BYTES + IPV4_HEADER_MIN)) {
        mixed = read_be32(ip + IPV4_ADDRESSES) ^ read_be32(ip + IPV4_ADDRESSES + 4);
        if (ip[IPV4_PROTOCOL] == PROTOCOL_TCP &&
            !(read_be16(ip + IPV4_FRAGMENT) & IPV4_IS_FRAGMENT))
            ports_at = ETHERNET_HEADER_BYTES + (ip[0] & 15u) * 4;
    } else if (type == ETHERNET_TYPE_IPV6 &&
               frame_take_head(frame, ETHERNET_HEADER_BYTES + IPV6_HEADER)) {
        for (uint32_t word = 0; word < 8; word++)
            mixed ^= read_be32(ip + IPV6_ADDRESSES + 4 * word);
        if (ip[IPV6_PROTOCOL] == PROTOCOL_TCP)
            ports_at = ETHERNET_HEADER_BYTES + IPV6_HEADER;
    }
    if (ports_at && frame_take_head(frame, ports_at + 4))
        mixed ^=
            (uint32_t)(read_be16(frame->head + ports_at) ^ read_be16(frame->head + ports_at + 2))
            << 8;
    return switch_hash(&mixed, sizeof mixed) & (FLOWS_MAX - 1);
}

void flows_begin(struct flows *flows)
{
    *flows = (struct flows){0};
    for (uint32_t i = 0; i < FLOWS_MAX; i++)
        flows->flow[i].queue = i;
}

uint32_t flows_queue(struct flows *flows, struct frame *frame, uint32_t queues)
{
    uint32_t place = place_of(frame);
    flows->flow[place].delivered_at = switch_clock.now;
    return flows->flow[place].queue % queues;
}

void flows_sent(struct flows *flows, struct frame *frame, uint32_t queue)
{
    uint32_t place = place_of(frame);
    uint64_t rests = switch_clock.now - flows->flow[place].delivered_at;
    if (flows->flow[place].delivered_at == 0 ||
        rests > switch_clock.per_second / 1000 * FLOW_REST_MS)
        flows->flow[place].queue = queue;
}
