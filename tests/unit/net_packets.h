/* Ethernet frames for tests of net-server, and what is right about them, worked out byte by byte. */
#ifndef NET_PACKETS_H
#define NET_PACKETS_H

#include "net-server/frame.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* The server's log. */
static unsigned log_lines;
static inline void count_log(void)
{
    log_lines++;
}
#define LOG_STUB                             \
    void task_print(const char *format, ...) \
    {                                        \
        (void)format;                        \
        count_log();                         \
    }

/* RFC 1071, the slow way: the sum of 16-bit words in network order. */
static inline uint16_t model_sum(uint32_t sum, const uint8_t *data, uint32_t size_bytes)
{
    for (uint32_t i = 0; i < size_bytes; i++) {
        sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

enum { PACKET_IP = 14, PACKET_TCP4 = 34, PACKET_TCP6 = 54, PACKET_TCP_BYTES = 20 };

/* A TCP segment with data_bytes of noise (from rand_state); the checksum field has the pseudo header's sum, as a guest
 * leaves it. Returns its size. */
static inline uint32_t make_tcp(uint8_t *at, bool v6, uint32_t data_bytes, uint8_t flags,
                                uint64_t (*random)(void))
{
    uint32_t tcp = v6 ? PACKET_TCP6 : PACKET_TCP4, tcp_bytes = PACKET_TCP_BYTES + data_bytes;
    memset(at, 0, tcp + PACKET_TCP_BYTES);
    at[0] = 2;
    at[5] = 2;
    at[6] = 2;
    at[11] = 1;
    write_be16(at + 12, v6 ? 0x86dd : 0x0800);
    uint8_t *ip = at + PACKET_IP;
    uint32_t sum;
    if (v6) {
        ip[0] = 0x60;
        write_be16(ip + 4, tcp_bytes);
        ip[6] = 6;
        for (unsigned i = 8; i < 40; i++)
            ip[i] = (uint8_t)random();
        sum = model_sum(6, ip + 8, 32);
    } else {
        ip[0] = 0x45;
        write_be16(ip + 2, 20 + tcp_bytes);
        write_be16(ip + 4, 0xfffe);
        ip[8] = 64;
        ip[9] = 6;
        for (unsigned i = 12; i < 20; i++)
            ip[i] = (uint8_t)random();
        write_be16(ip + 10, (uint16_t)~model_sum(0, ip, 20));
        sum = model_sum(6, ip + 12, 8);
    }
    write_be16(at + tcp, 1234);
    write_be16(at + tcp + 2, 80);
    write_be32(at + tcp + 4, 0xfffff000u);
    at[tcp + 12] = 0x50;
    at[tcp + 13] = flags;
    for (uint32_t i = 0; i < data_bytes; i++)
        at[tcp + PACKET_TCP_BYTES + i] = (uint8_t)random();
    sum += tcp_bytes >> 16;
    sum += tcp_bytes & 0xffff;
    sum = (sum & 0xffff) + (sum >> 16);
    write_be16(at + tcp + 16, sum);
    return tcp + tcp_bytes;
}

static inline struct network_offload tcp_offload(bool v6, uint16_t segment_bytes)
{
    uint16_t tcp = v6 ? PACKET_TCP6 : PACKET_TCP4;
    return (struct network_offload){
        .flags = NETWORK_NEEDS_CHECKSUM,
        .segmentation = segment_bytes ? (v6 ? NETWORK_TCP6 : NETWORK_TCP4) : NETWORK_WHOLE,
        .header_bytes = tcp + PACKET_TCP_BYTES,
        .segment_bytes = segment_bytes,
        .checksum_start = tcp,
        .checksum_offset = 16};
}

/* Are the lengths and checksums of a whole TCP segment right? */
static inline bool tcp_is_right(const uint8_t *at, uint32_t size_bytes)
{
    bool v6 = read_be16(at + 12) == 0x86dd;
    const uint8_t *ip = at + PACKET_IP;
    uint32_t tcp = v6 ? PACKET_TCP6 : PACKET_TCP4, tcp_bytes = size_bytes - tcp;
    if (v6 ? read_be16(ip + 4) != tcp_bytes
           : read_be16(ip + 2) != size_bytes - PACKET_IP || model_sum(0, ip, 20) != 0xffff)
        return false;
    uint32_t sum = v6 ? model_sum(6, ip + 8, 32) : model_sum(6, ip + 12, 8);
    sum += tcp_bytes;
    sum = (sum & 0xffff) + (sum >> 16);
    return model_sum(sum, at + tcp, tcp_bytes) == 0xffff;
}

#endif
