#include "switch.h"

#include "string.h"
#include "task.h"

struct switch_clock switch_clock;

/* ---- rates ------------------------------------------------------------------------------------------------ */

/* What a port that was silent may take at once: a twentieth of a second's worth, and always a frame of any size. */
static int64_t rate_burst(const struct rate *rate)
{
    return (int64_t)(rate->per_second / 20 + 1);
}

void rate_set(struct rate *rate, uint64_t per_second)
{
    uint64_t most = INT64_MAX / 2;
    *rate = (struct rate){.per_second = per_second < most ? per_second : most,
                          .filled_at = switch_clock.now};
    rate->left = rate_burst(rate);
}

/* The product of two numbers, and then their quotient, in 128 bits. */
static uint64_t scale(uint64_t value, uint64_t by, uint64_t of)
{
    uint64_t low, high, quotient, rest;
    __asm__("mul %3" : "=a"(low), "=d"(high) : "0"(value), "r"(by) : "cc");
    if (of == 0 || high >= of)
        return UINT64_MAX;
    __asm__("div %4" : "=a"(quotient), "=d"(rest) : "0"(low), "1"(high), "r"(of) : "cc");
    return quotient;
}

bool rate_allows(struct rate *rate)
{
    if (rate->per_second == 0)
        return true;
    if (rate->left > 0)
        return true;
    uint64_t gained =
        scale(switch_clock.now - rate->filled_at, rate->per_second, switch_clock.per_second);
    if (gained == 0)
        return false;
    int64_t burst = rate_burst(rate);
    uint64_t missing = (uint64_t)(burst - rate->left);
    rate->left = gained < missing ? rate->left + (int64_t)gained : burst;
    rate->filled_at = switch_clock.now;
    return rate->left > 0;
}

void rate_take(struct rate *rate, uint64_t amount)
{
    if (rate->per_second)
        rate->left -= (int64_t)amount;
}

uint64_t rate_deadline(const struct rate *rate)
{
    uint64_t missing = rate->left > 0 ? 0 : (uint64_t)(1 - rate->left);
    return rate->filled_at + scale(missing, switch_clock.per_second, rate->per_second) + 1;
}

/* ---- ports ------------------------------------------------------------------------------------------------ */

static bool same_address(const uint8_t *a, const uint8_t *b)
{
    return read_be32(a) == read_be32(b) && read_be16(a + 4) == read_be16(b + 4);
}

static bool is_group(const uint8_t *mac)
{
    return mac[0] & 1;
}

static struct port *port_with(const struct network *network, const uint8_t *mac)
{
    for (uint32_t i = 0; i < network->port_count; i++)
        if (network->ports[i]->one_address && same_address(network->ports[i]->mac, mac))
            return network->ports[i];
    return NULL;
}

bool port_join(struct port *port, struct network *network)
{
    if (network->port_count == SWITCH_PORTS_MAX ||
        (port->one_address && port_with(network, port->mac)))
        return false;
    port->network = network;
    rate_set(&port->broadcasts, network->plan->broadcast_rate);
    network->ports[network->port_count++] = port;
    return true;
}

void port_leave(struct port *port)
{
    struct network *network = port->network;
    if (!network)
        return;
    for (uint32_t i = 0; i < network->port_count; i++)
        if (network->ports[i] == port)
            network->ports[i] = network->ports[--network->port_count];
    for (uint32_t i = 0; i < SWITCH_LEARNED_MAX; i++)
        if (network->learned[i].port == port)
            network->learned[i].port = NULL;
    port->network = NULL;
}

/* ---- who is where ------------------------------------------------------------------------------------------ */

uint32_t switch_hash(const void *data, size_t size_bytes)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size_bytes; i++)
        hash = (hash ^ ((const uint8_t *)data)[i]) * 16777619u;
    return hash ^ hash >> 15;
}

/* An address has one place in the table; a newer one with the same place takes it. */
static uint32_t place_of(const uint8_t *mac)
{
    return switch_hash(mac, ETHERNET_ADDRESS_BYTES) & (SWITCH_LEARNED_MAX - 1);
}

static void learn(struct port *port, const uint8_t *mac)
{
    struct network *network = port->network;
    uint32_t place = place_of(mac);
    memcpy(network->learned[place].mac, mac, ETHERNET_ADDRESS_BYTES);
    network->learned[place].port = port;
    network->learned[place].seen_at = switch_clock.now;
}

static struct port *learned_port(struct network *network, const uint8_t *mac)
{
    uint32_t place = place_of(mac);
    if (!network->learned[place].port || !same_address(network->learned[place].mac, mac) ||
        switch_clock.now - network->learned[place].seen_at >
            SWITCH_AGE_SECONDS * switch_clock.per_second)
        return NULL;
    return network->learned[place].port;
}

/* ---- frames -------------------------------------------------------------------------------------------------- */

static void deliver_part(struct port *to, struct frame *frame)
{
    /* Who cuts frames itself puts in the parts' checksums. */
    bool finish = frame->offload.flags & NETWORK_NEEDS_CHECKSUM && !frame->offload.segmentation &&
                  !(to->accepts & NETWORK_ACCEPTS_CHECKSUM);
    uint32_t size_bytes = frame->size_bytes;
    if ((finish && !frame_finish_checksum(frame)) || !to->deliver(to, frame)) {
        to->counts.dropped++;
        return;
    }
    to->counts.frames_received++;
    to->counts.bytes_received += size_bytes;
}

static void deliver(struct port *to, struct frame *frame)
{
    uint32_t needs = frame->offload.segmentation == NETWORK_TCP4   ? NETWORK_ACCEPTS_TCP4
                     : frame->offload.segmentation == NETWORK_TCP6 ? NETWORK_ACCEPTS_TCP6
                                                                   : 0;
    if (!(needs & ~to->accepts)) {
        deliver_part(to, frame);
        return;
    }
    struct frame_cutter cutter;
    struct frame part;
    if (!frame_cut_begin(&cutter, frame)) {
        to->counts.dropped++;
        return;
    }
    while (frame_cut_next(&cutter, &part))
        deliver_part(to, &part);
}

/* May it send from this address? What others on the wire have learned must stay true. */
static bool source_allowed(struct port *from, const uint8_t *mac)
{
    if (!from->one_address)
        return !is_group(mac) && !port_with(from->network, mac);
    if (same_address(mac, from->mac))
        return true;
    if (!from->spoof_reported)
        task_print("%s: sent from %02x:%02x:%02x:%02x:%02x:%02x, which is not its address: such "
                   "frames are dropped\n",
                   from->name, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    from->spoof_reported = true;
    return false;
}

/* 01-80-C2-00-00-0X is between neighbours on a wire, and passes no switch (IEEE 802.1Q, 8.6.3). */
static bool is_link_local(const uint8_t *mac)
{
    return read_be32(mac) == 0x0180c200 && mac[4] == 0 && mac[5] < 16;
}

static void flood(struct port *from, struct frame *frame, bool to_all)
{
    struct network *network = from->network;
    for (uint32_t i = 0; i < network->port_count; i++) {
        struct port *to = network->ports[i];
        if (to != from && (to_all || !to->one_address || to->promiscuous))
            deliver(to, frame);
    }
}

void switch_send(struct port *from, struct frame *frame)
{
    struct network *network = from->network;
    if (!frame_take_head(frame, ETHERNET_HEADER_BYTES) ||
        !source_allowed(from, frame->head + ETHERNET_ADDRESS_BYTES)) {
        from->counts.dropped++;
        return;
    }
    const uint8_t *to = frame->head;
    if (is_group(to)) {
        if (is_link_local(to) || !rate_allows(&from->broadcasts)) {
            from->counts.dropped++;
            return;
        }
        rate_take(&from->broadcasts, 1);
    }
    if (!from->one_address)
        learn(from, frame->head + ETHERNET_ADDRESS_BYTES);
    from->counts.frames_sent++;
    from->counts.bytes_sent += frame->size_bytes;
    struct port *one = is_group(to) ? NULL : port_with(network, to);
    if (!one && !is_group(to))
        one = learned_port(network, to);
    if (!one)
        flood(from, frame, is_group(to));
    else if (one != from)
        deliver(one, frame);
}
