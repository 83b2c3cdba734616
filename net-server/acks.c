#include "acks.h"

#include "string.h"

enum {
    TCP4 = 34, /* where TCP begins, behind an IP header without options */
    TCP6 = 54,
    TCP_BYTES = 20,
    TCP_STAMPS_BYTES = 32,
    TCP_ACK = 16, /* the flag */
    ETHERNET_MIN = 60,
    PROTOCOL_TCP = 6,
    WORDS4 = 6, /* up to TCP's flags */
    WORDS6 = 9,
};
/* NOP, NOP, time stamps of 10 bytes (RFC 7323, appendix A). */
#define STAMPS 0x0101080au

/* What is the same in all acknowledgements of a row, word by word: addresses, ports, the sender's own position, flags. Not: IPv4's
 * identification and checksum; TCP's number, window and checksum; what stands behind. */
static const uint64_t same4[WORDS4] = {
    [0] = ~0ull,
    [1] = ~0ull,
    [2] = 0xffffffff0000ffffull,
    [3] = 0xffffffffffff0000ull,
    [4] = ~0ull,
    [5] = 0xffff00000000ffffull,
};
static const uint64_t same6[WORDS6] = {
    [0] = ~0ull,
    [1] = ~0ull,
    [2] = ~0ull,
    [3] = ~0ull,
    [4] = ~0ull,
    [5] = ~0ull,
    [6] = ~0ull,
    [7] = 0x0000ffffffffffffull,
    [8] = 0x00000000ffff0000ull,
};
_Static_assert(WORDS6 * 8 <= ACK_BYTES_MAX, "the words lie in the bytes");

/* Where TCP begins in a frame that is nothing but an acknowledgement; 0: it is something else. */
static uint32_t tcp_of_ack(const uint8_t *at, uint32_t size_bytes)
{
    uint32_t type, tcp, end;
    if (size_bytes < TCP4 + TCP_BYTES || size_bytes > ACK_BYTES_MAX)
        return 0;
    type = read_be16(at + ETHERNET_TYPE_OFFSET);
    if (type == ETHERNET_TYPE_IPV4) {
        bool fragment = read_be16(at + 20) & 0x3fffu;
        tcp = TCP4;
        end = ETHERNET_HEADER_BYTES + read_be16(at + 16);
        if (at[14] != 0x45 || fragment || at[23] != PROTOCOL_TCP)
            return 0;
    } else {
        tcp = TCP6;
        end = TCP6 + read_be16(at + 18);
        if (type != ETHERNET_TYPE_IPV6 || at[14] >> 4 != 6 || at[20] != PROTOCOL_TCP)
            return 0;
    }
    uint32_t tcp_bytes = end - tcp;
    /* Behind it there is nothing, but for what fills a frame up that would be too short. */
    if (end > size_bytes || (end < size_bytes && size_bytes > ETHERNET_MIN))
        return 0;
    if (tcp_bytes != TCP_BYTES &&
        (tcp_bytes != TCP_STAMPS_BYTES || read_be32(at + tcp + TCP_BYTES) != STAMPS))
        return 0;
    return (at[tcp + 12] >> 4) * 4u == tcp_bytes && at[tcp + 13] == TCP_ACK ? tcp : 0;
}

static uint64_t load64(const uint8_t *at)
{
    uint64_t word;
    __builtin_memcpy(&word, at, sizeof word);
    return word;
}

/* Where they may not differ. `words` is a constant: no loop is left. */
static inline uint64_t differ(const uint8_t *new, const uint8_t *old, const uint64_t *same,
                              uint32_t words)
{
    uint64_t difference = 0;
#pragma GCC unroll 9
    for (uint32_t i = 0; i < words; i++)
        difference |= (load64(new + 8 * i) ^ load64(old + 8 * i)) & same[i];
    return difference;
}

/* Does the new one say all that the old one said, and more? Both are acknowledgements. */
static bool supersedes(const uint8_t *new, const uint8_t *old, uint32_t tcp)
{
    uint64_t difference =
        tcp == TCP4 ? differ(new, old, same4, WORDS4) : differ(new, old, same6, WORDS6);
    return difference == 0 && (int32_t)(read_be32(new + tcp + 8) - read_be32(old + tcp + 8)) > 0;
}

bool ack_hold(struct ack *held, struct port *from, const struct frame *frame)
{
    uint32_t tcp = frame->offload.segmentation ? 0 : tcp_of_ack(frame->head, frame->size_bytes);
    if (!tcp || held->from != from || held->size_bytes != frame->size_bytes ||
        !supersedes(frame->head, held->at, tcp))
        ack_release(held);
    if (!tcp)
        return false;
    held->from = from;
    held->size_bytes = frame->size_bytes;
    held->tcp = tcp;
    held->offload = frame->offload;
    held->at = held->bytes;
    memcpy(held->bytes, frame->head, frame->size_bytes);
    return true;
}

bool ack_renew(struct ack *held, const uint8_t *bytes, uint32_t size_bytes)
{
    uint32_t options = held->tcp + TCP_BYTES;
    if (!held->from || size_bytes != held->size_bytes || !supersedes(bytes, held->at, held->tcp))
        return false;
    /* What is the same makes it an acknowledgement too, of the same size; but for the kind of its options. */
    if (size_bytes >= held->tcp + TCP_STAMPS_BYTES && read_be32(bytes + options) != STAMPS)
        return false;
    held->at = bytes;
    return true;
}

void ack_release(struct ack *held)
{
    struct port *from = held->from;
    struct frame frame;
    if (!from)
        return;
    held->from = NULL;
    frame_begin(&frame);
    frame_add(&frame, held->at, held->size_bytes);
    frame.offload = held->offload;
    switch_send(from, &frame);
}
