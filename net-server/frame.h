/*
 * A frame on its way through the switch: where its bytes lie (in its sender's memory, which the sender may
 * change meanwhile), a private copy of its beginning, and what is still to be done to it.
 *
 * Whatever is decided of a frame is decided by its private copy, and the copy is what goes out.
 */
#ifndef NET_SERVER_FRAME_H
#define NET_SERVER_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "protocol/network.h"

#define FRAME_PIECES_MAX (NETWORK_SEGMENTS_MAX + 2u)
#define FRAME_HEAD_MAX   192u /* Ethernet, IP and TCP with all their options, and some of IPv6's */

/* Ethernet: destination, source, type. */
#define ETHERNET_ADDRESS_BYTES 6u
#define ETHERNET_HEADER_BYTES  14u
#define ETHERNET_TYPE_OFFSET   12u
#define ETHERNET_TAG_BYTES     4u
#define ETHERNET_FRAME_MAX     1518u /* with a tag, without the check sequence */
enum {
    ETHERNET_TYPE_IPV4 = 0x0800,
    ETHERNET_TYPE_IPV6 = 0x86dd,
    ETHERNET_TYPE_TAG = 0x8100,         /* IEEE 802.1Q */
    ETHERNET_TYPE_SERVICE_TAG = 0x88a8, /* 802.1ad, and what came before it: */
    ETHERNET_TYPE_OLD_TAG = 0x9100
};

struct frame_piece {
    const uint8_t *at;
    uint32_t size_bytes;
};

struct frame {
    uint32_t size_bytes;
    uint32_t count;      /* of pieces */
    uint32_t head_bytes; /* so many are in head[], which then is pieces[0] */
    struct network_offload offload;
    struct frame_piece pieces[FRAME_PIECES_MAX];
    uint8_t head[FRAME_HEAD_MAX];
};

static inline uint16_t read_be16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline void write_be16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline uint32_t read_be32(const uint8_t *at)
{
    return (uint32_t)read_be16(at) << 16 | read_be16(at + 2);
}

static inline void write_be32(uint8_t *at, uint32_t value)
{
    write_be16(at, value >> 16);
    write_be16(at + 2, value);
}

/* A frame without bytes, and one more piece of it. False: it has too many, or gets too long. */
void frame_begin(struct frame *frame);
bool frame_add(struct frame *frame, const void *at, uint32_t size_bytes);

/* Sees to it that its first size_bytes are in head[]. False: it is shorter, or they are too many. */
bool frame_take_head(struct frame *frame, uint32_t size_bytes);
/* Its first size_bytes (they are in head[]) go away. */
void frame_drop(struct frame *frame, uint32_t size_bytes);

/* A walk over a frame from some byte on. */
struct frame_cursor {
    const struct frame *frame;
    uint32_t piece, offset;
};
struct frame_cursor frame_at(const struct frame *frame, uint32_t offset);
/* Copies the next size_bytes, or as many as are left; returns how many. */
uint32_t frame_copy(struct frame_cursor *cursor, void *to, uint32_t size_bytes);

/* Where the headers of IPv4 and TCP have their checksums. */
#define FRAME_IPV4_CHECKSUM 10u
#define FRAME_TCP_CHECKSUM  16u

/* Is what is to be done to it possible, and of a kind that is known? Checked where a frame comes in. */
bool frame_offload_valid(struct frame *frame);

/* The Internet checksum's sum, folded to 16 bits, of what follows `offset` (RFC 1071). */
uint16_t frame_sum(const struct frame *frame, uint32_t offset);
/* Puts in the checksum that its sender left out. False: that can't be. */
bool frame_finish_checksum(struct frame *frame);

/* For a card that cuts frames itself; the frame is valid, and to be cut. Its headers, up to the data; they are in head[]. */
uint32_t frame_header_bytes(const struct frame *whole);
/* Is a card's work as good as ours? CWR belongs in the first part alone (RFC 3168, 6.1.2), and cards repeat it in all. */
bool frame_cut_by_card(const struct frame *whole);
/* Of TCP over IPv4, in a copy that begins at `to`: leaves out of the headers what the card adds for each part, lengths and sums. */
void frame_cut_ready(const struct frame *whole, uint8_t *to);

/* Cuts a frame with much TCP data into those that fit the wire, as a card does it. The parts' checksums are left to
 * be finished. */
struct frame_cutter {
    const struct frame *whole;
    uint32_t header_bytes, tcp_offset;
    uint32_t done, left, index; /* of the data; of the parts */
    /* What all parts have in their sums: of the headers, without what is each part's own. */
    uint32_t ip_sum, tcp_sum, pseudo_sum;
    struct frame_cursor cursor; /* the data that is left */
};
bool frame_cut_begin(struct frame_cutter *cutter, struct frame *whole);
/* The next part, which lies in `part` and in the whole's memory. False: there is none. */
bool frame_cut_next(struct frame_cutter *cutter, struct frame *part);
/* Writes the next part as it goes onto a wire: with a tag if vlan is not 0, its checksums put in while its data is copied.
 * `to` has room for a frame of ETHERNET_FRAME_MAX and a tag. Its size; 0: there is none. */
uint32_t frame_cut_write(struct frame_cutter *cutter, uint8_t *to, uint32_t vlan);

#endif
