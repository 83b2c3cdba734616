/*
 * Network cards: what is beyond them is a port of each network that the card carries, told apart by its 802.1Q tag.
 * uplink.c is what all cards have in common; virtio_net.c and e1000.c drive them.
 *
 * Frames are copied into and out of memory that only this server has: a card reaches no client's memory, and a
 * client that ends waits for no card.
 */
#ifndef NET_SERVER_UPLINK_H
#define NET_SERVER_UPLINK_H

#include "acks.h"
#include "dma.h"
#include "e1000.h"
#include "switch.h"
#include "virtio_net.h"

/* A card that has not sent anything for so long while frames wait is reset. */
#define UPLINK_STUCK_MS   2000u
#define UPLINK_STARTS_MAX 16u

/* A part of a frame that was cut, with a tag. */
#define UPLINK_PART_MAX (ETHERNET_FRAME_MAX + ETHERNET_TAG_BYTES)
/* A card cuts into parts of so much data or more; IPv4's least MTU is 576 (RFC 791), so hardly anybody asks for less. */
#define UPLINK_SEGMENT_MIN 256u
/* A frame of 65,550 bytes comes in 45 parts of 1,460. */
#define UPLINK_PARTS 48u

struct uplink;
struct uplink_driver {
    const char *name;
    bool (*fits)(const struct device_grant *grant);
    /* Resets the card and starts it; again after it has failed. NULL, or what is wrong. Sets mac, accepts. */
    const char *(*start)(struct uplink *uplink);
    /* Takes a frame, with a tag put in if vlan is not 0. False: there is no room. */
    bool (*send)(struct uplink *uplink, const struct frame *frame, uint32_t vlan);
    /* A place for a frame of up to UPLINK_PART_MAX that is whole and has its checksums; and it goes, with so many bytes. NULL:
     * there is no room. */
    uint8_t *(*place)(struct uplink *uplink);
    void (*send_placed)(struct uplink *uplink, uint32_t size_bytes);
    /* Hands what came to uplink_receive, takes back what was sent; true: there may be more. */
    bool (*poll)(struct uplink *uplink);
    /* Is there room for a frame of any size? */
    bool (*has_room)(struct uplink *uplink);
    /* Before waiting: true if there is nothing to do, and an interrupt will come; `room`: also when there is room. */
    bool (*waits)(struct uplink *uplink, bool room);
    /* Its interrupt has come: lowers the line. */
    void (*interrupt)(struct uplink *uplink);
    /* Hands over all that was added since; true: there may be an answer at once, as an emulator's card has it. */
    bool (*kick)(struct uplink *uplink);
};
extern const struct uplink_driver virtio_net_driver, e1000_driver;

struct uplink_port {
    struct port port; /* first: the switch knows it by this */
    struct uplink *uplink;
    uint32_t vlan;
};

struct uplink {
    const struct uplink_driver
        *driver; /* NULL: there is no card of this number that can be driven */
    const struct device_grant *grant;
    struct dma_area area;
    uint8_t mac[ETHERNET_ADDRESS_BYTES];
    uint32_t accepts; /* what it does of offloads: NETWORK_ACCEPTS_* */
    bool failed, congested;
    uint64_t congested_since;
    uint64_t starts;
    char name[16];
    struct uplink_port ports[PLAN_NETWORKS_MAX];
    uint32_t port_count;
    struct ack ack; /* the last that came, until the next frame or the end of a round */
    union {
        struct virtio_net virtio;
        struct e1000 e1000;
    } card;
};
extern struct uplink uplinks[DEVICES_MAX];
extern uint32_t uplink_count;

/* All cards that root has given. */
void uplinks_start(const struct network_start *start);
/* Connects a network with its uplink, if it has one; *mac becomes the card's. False: there is no such card. */
bool uplink_connect(struct network *network, const uint8_t **mac);
/* Receives; true: there may be more. */
bool uplinks_poll(void);
/* Before waiting; false: there is something to do. Lowers *deadline to when it wants to be called. */
bool uplinks_wait(uint64_t *deadline);
/* Hands over all that is for the cards; true: there may be answers already. */
bool uplinks_kick(void);
void uplink_interrupt(uint32_t number);

/* For drivers: the beginning of a frame, with its tag in the place if vlan is not 0, size_bytes with it. */
void uplink_fill(struct frame_cursor *cursor, uint8_t *to, uint32_t size_bytes, uint32_t vlan);
/* For drivers: have these bytes, which came without a tag, been taken as an acknowledgement? Then they may not change before the
 * next `kick`. Else they are to be received as a frame. flags: NETWORK_CHECKSUM_GOOD or 0. */
bool uplink_receive_ack(struct uplink *uplink, const uint8_t *bytes, uint32_t size_bytes,
                        uint8_t flags);
/* For drivers: a frame has come. */
void uplink_receive(struct uplink *uplink, struct frame *frame);

#endif
