/*
 * virtio-net's control queue: what the driver wants to receive, and how many pairs of queues it uses.
 *
 * State:    struct virtio_net's `promiscuous`, `more_addresses` and `pairs`.
 * Spec:     OASIS VIRTIO 1.2, section 5.1.6.5.
 */
#include "devices/virtio_net_internal.h"

/* 5.1.6.5 */
enum { CLASS_RX = 0, CLASS_MAC = 1, CLASS_MQ = 4 };
enum { RX_PROMISC = 0, RX_ALLMULTI = 1, MAC_TABLE_SET = 0, MQ_PAIRS_SET = 0 };
enum { CONTROL_OK = 0, CONTROL_ERR = 1 };

/* 5.1.6.5.2: a table of unicast addresses, one of multicast. Every unicast address beside our own is received by
 * receiving all. */
static bool set_addresses(struct virtio_net *net, const struct virtio_chain *chain,
                          struct virtio_cursor cursor)
{
    uint32_t counts[2];
    uint8_t address[6];
    for (unsigned table = 0; table < 2; table++) {
        if (!virtio_chain_read(chain, &cursor, &counts[table], sizeof counts[table]))
            return false;
        for (uint32_t n = 0; n < counts[table]; n++)
            if (!virtio_chain_read(chain, &cursor, address, sizeof address))
                return false;
    }
    net->more_addresses = counts[0] != 0;
    return true;
}

/* 5.1.6.5.5: as many pairs are used as the driver says. */
static bool set_pairs(struct virtio_net *net, const struct virtio_chain *chain,
                      struct virtio_cursor cursor)
{
    uint16_t pairs;
    if (!virtio_has_feature(&net->device, FEATURE_MQ) ||
        !virtio_chain_read(chain, &cursor, &pairs, sizeof pairs) || pairs == 0 ||
        pairs > net->pairs_max)
        return false;
    net->pairs = pairs;
    net->turn = 0;
    return true;
}

static bool control(struct virtio_net *net, const struct virtio_chain *chain)
{
    struct virtio_cursor cursor = {0};
    uint8_t command[2], on;
    if (!virtio_chain_read(chain, &cursor, command, sizeof command))
        return false;
    if (command[0] == CLASS_MQ && command[1] == MQ_PAIRS_SET)
        return set_pairs(net, chain, cursor);
    if (!virtio_has_feature(&net->device, FEATURE_CTRL_RX))
        return false;
    if (command[0] == CLASS_MAC && command[1] == MAC_TABLE_SET)
        return set_addresses(net, chain, cursor);
    if (command[0] != CLASS_RX || command[1] > RX_ALLMULTI ||
        !virtio_chain_read(chain, &cursor, &on, sizeof on))
        return false;
    if (command[1] == RX_PROMISC)
        net->promiscuous = on != 0;
    return true;
}

void virtio_net_publish(struct virtio_net *net)
{
    __atomic_store_n(&net->link->queues, net->pairs, __ATOMIC_RELAXED);
    __atomic_store_n(&net->link->promiscuous, net->promiscuous || net->more_addresses,
                     __ATOMIC_RELAXED);
}

void virtio_net_take_commands(struct virtio_net *net, struct virtio_queue *queue)
{
    struct virtio_chain chain;
    while (virtio_queue_take(queue, &chain)) {
        if (!chain.writable) {
            virtio_fail(&net->device, "a command without room for its answer");
            return;
        }
        *chain.segments[chain.readable].data = control(net, &chain) ? CONTROL_OK : CONTROL_ERR;
        virtio_queue_give(queue, chain.head, 1);
    }
    virtio_net_publish(net);
    virtio_queue_signal(queue);
}
