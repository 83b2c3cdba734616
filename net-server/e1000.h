/* An Intel 82540EM: what its driver keeps. */
#ifndef NET_SERVER_E1000_H
#define NET_SERVER_E1000_H

#include "buffers.h"

#define E1000_RECEIVE_PLACES 64u
#define E1000_SEND_PLACES    112u /* a multiple of 8 */

/* What the card has received, 3.2.3. */
struct e1000_received {
    uint64_t physical;
    uint64_t result;
};

/* What it is to send: a legacy descriptor, a context or a piece of data, 3.3.3, 3.3.6 and 3.3.7. */
struct e1000_sent {
    uint64_t address; /* of a context: where the sums begin, go to and end */
    uint64_t command;
};

struct e1000 {
    volatile uint32_t *registers;
    volatile struct e1000_received *receive;
    volatile struct e1000_sent *send;
    uint64_t receive_physical, send_physical;
    struct buffers received, sent; /* n-th buffer: n-th descriptor's */
    uint32_t receive_next, send_next, send_done;
    uint16_t ends[E1000_SEND_PLACES]; /* of a frame that begins in this place: its last */
    bool added_received, added_sent;
    bool armed; /* interrupts are let in */
};

#endif
