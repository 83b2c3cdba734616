/*
 * TCP's empty acknowledgements, as they come from a network card in a row: a burst of segments that a guest has sent as one
 * is acknowledged segment by segment. Each says all that the ones before it said, so only the last of a row is passed on.
 *
 * Nothing else is changed: one that repeats a number (a sign of loss), says more than a number (SACK, ECN, the end), or
 * has any other frame between it and the last, is passed on as it came, and in its place.
 */
#ifndef NET_SERVER_ACKS_H
#define NET_SERVER_ACKS_H

#include "switch.h"

/* Ethernet, IPv6, TCP with time stamps. */
#define ACK_BYTES_MAX 86u

/* The last one that came, not passed on yet. */
struct ack {
    struct port *from;        /* NULL: none is held */
    uint32_t size_bytes, tcp; /* tcp: where TCP begins */
    struct network_offload offload;
    const uint8_t *at; /* the last one: in `bytes`, or where ack_renew was shown it */
    uint8_t bytes[ACK_BYTES_MAX];
};

/* Before a frame is passed on that came after what is held; all that is not longer than ACK_BYTES_MAX is in head[].
 * True: it is held now. False: nothing is held any more, and the caller passes it on. */
bool ack_hold(struct ack *held, struct port *from, const struct frame *frame);
/* The same for bytes that no frame was made of, from where the held one came from and with the same offload: true if they make
 * that superfluous, and stay where they are until something else is held or released. False: nothing is done. */
bool ack_renew(struct ack *held, const uint8_t *bytes, uint32_t size_bytes);
/* Passes on what is held, before the main loop waits. */
void ack_release(struct ack *held);

#endif
