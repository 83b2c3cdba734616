/* An Intel 82540EM: what its driver keeps. */
#ifndef NET_SERVER_E1000_H
#define NET_SERVER_E1000_H

#include "buffers.h"

#define E1000_RECEIVE_PLACES 64u
#define E1000_SEND_PLACES    112u /* a multiple of 8 */

/* Legacy descriptors, 3.2.3 and 3.3.3. */
struct e1000_descriptor {
    uint64_t physical;
    uint16_t size_bytes;
    uint8_t checksum_offset, command; /* receive: both are the checksum */
    uint8_t status, errors;           /* send: the second is checksum_start */
    uint16_t special;
};

struct e1000 {
    volatile uint32_t *registers;
    volatile struct e1000_descriptor *receive, *send;
    uint64_t receive_physical, send_physical;
    struct buffers received, sent; /* n-th buffer: n-th descriptor's */
    uint32_t receive_next, send_next, send_done;
    bool added_received, added_sent;
};

#endif
