#include "frame.h"

#include "copy.h"
#include "string.h"

enum {
    IPV4_LENGTH = 2,
    IPV4_ID = 4,
    IPV4_PROTOCOL = 9,
    IPV4_CHECKSUM = FRAME_IPV4_CHECKSUM,
    IPV4_ADDRESSES = 12,
    IPV4_HEADER_MIN = 20,
    IPV6_LENGTH = 4,
    IPV6_ADDRESSES = 8,
    IPV6_HEADER = 40,
    TCP_SEQUENCE = 4,
    TCP_DATA_OFFSET = 12,
    TCP_FLAGS = 13,
    TCP_CHECKSUM = FRAME_TCP_CHECKSUM,
    TCP_HEADER_MIN = 20,
    TCP_HEADER_STAMPS = 32,
    PROTOCOL_TCP = 6,
};
enum { TCP_FIN = 1, TCP_PSH = 8, TCP_CWR = 128 };

void frame_begin(struct frame *frame)
{
    frame->size_bytes = frame->count = frame->head_bytes = 0;
    frame->offload = (struct network_offload){0};
}

bool frame_add(struct frame *frame, const void *at, uint32_t size_bytes)
{
    if (size_bytes == 0)
        return true;
    /* One place stays free for the head. */
    if (frame->count >= FRAME_PIECES_MAX - 1 || size_bytes > NETWORK_FRAME_MAX - frame->size_bytes)
        return false;
    frame->pieces[frame->count++] = (struct frame_piece){at, size_bytes};
    frame->size_bytes += size_bytes;
    return true;
}

/* The first size_bytes of the pieces from `first` on go away; `first` becomes the number of the next that is left. */
static uint32_t skip(struct frame *frame, uint32_t first, uint32_t size_bytes)
{
    while (first < frame->count && frame->pieces[first].size_bytes <= size_bytes)
        size_bytes -= frame->pieces[first++].size_bytes;
    if (size_bytes) {
        frame->pieces[first].at += size_bytes;
        frame->pieces[first].size_bytes -= size_bytes;
    }
    return first;
}

/* The pieces from `from` on move to `to`. */
static void shift(struct frame *frame, uint32_t from, uint32_t to)
{
    if (from == to)
        return;
    memmove(&frame->pieces[to], &frame->pieces[from],
            (frame->count - from) * sizeof frame->pieces[0]);
    frame->count = frame->count - from + to;
}

bool frame_take_head(struct frame *frame, uint32_t size_bytes)
{
    if (frame->head_bytes >= size_bytes)
        return true;
    if (size_bytes > FRAME_HEAD_MAX || size_bytes > frame->size_bytes)
        return false;
    uint32_t more = size_bytes - frame->head_bytes;
    struct frame_cursor cursor = frame_at(frame, frame->head_bytes);
    frame_copy(&cursor, frame->head + frame->head_bytes, more);
    uint32_t first = frame->head_bytes ? 1 : 0;
    shift(frame, skip(frame, first, more), 1);
    frame->pieces[0] = (struct frame_piece){frame->head, size_bytes};
    frame->head_bytes = size_bytes;
    return true;
}

void frame_drop(struct frame *frame, uint32_t size_bytes)
{
    frame->head_bytes -= size_bytes;
    frame->size_bytes -= size_bytes;
    memmove(frame->head, frame->head + size_bytes, frame->head_bytes);
    frame->pieces[0].size_bytes = frame->head_bytes;
    if (frame->head_bytes == 0)
        shift(frame, 1, 0);
}

struct frame_cursor frame_at(const struct frame *frame, uint32_t offset)
{
    struct frame_cursor cursor = {frame, 0, offset};
    while (cursor.piece < frame->count && cursor.offset >= frame->pieces[cursor.piece].size_bytes)
        cursor.offset -= frame->pieces[cursor.piece++].size_bytes;
    return cursor;
}

/* What lies in one piece: NULL at the frame's end. */
static const uint8_t *next_run(struct frame_cursor *cursor, uint32_t size_max, uint32_t *size_bytes)
{
    if (cursor->piece >= cursor->frame->count)
        return NULL;
    const struct frame_piece *piece = &cursor->frame->pieces[cursor->piece];
    const uint8_t *at = piece->at + cursor->offset;
    uint32_t left = piece->size_bytes - cursor->offset;
    *size_bytes = left < size_max ? left : size_max;
    cursor->offset += *size_bytes;
    if (*size_bytes == left) {
        cursor->piece++;
        cursor->offset = 0;
    }
    return at;
}

/* From several pieces, or to the end of one. */
static __attribute__((noinline)) uint32_t copy_pieces(struct frame_cursor *cursor, void *to,
                                                      uint32_t size_bytes)
{
    const struct frame_piece *piece = &cursor->frame->pieces[cursor->piece];
    const struct frame_piece *end = &cursor->frame->pieces[cursor->frame->count];
    uint32_t offset = cursor->offset, room = size_bytes;
    uint8_t *at = to;
    while (room && piece < end) {
        uint32_t left = piece->size_bytes - offset, run = left < room ? left : room;
        copy_bytes(at, piece->at + offset, run);
        at += run, offset += run, room -= run;
        if (run == left)
            piece++, offset = 0;
    }
    cursor->piece = (uint32_t)(piece - cursor->frame->pieces);
    cursor->offset = offset;
    return size_bytes - room;
}

uint32_t frame_copy(struct frame_cursor *cursor, void *to, uint32_t size_bytes)
{
    const struct frame_piece *piece = &cursor->frame->pieces[cursor->piece];
    uint32_t offset = cursor->offset;
    if (cursor->piece >= cursor->frame->count || size_bytes >= piece->size_bytes - offset)
        return copy_pieces(cursor, to, size_bytes);
    cursor->offset = offset + size_bytes;
    copy_bytes(to, piece->at + offset, size_bytes);
    return size_bytes;
}

/* ---- what can be done ----------------------------------------------------------------------------------- */

static bool is_ipv4(const struct frame *frame)
{
    return frame->offload.segmentation == NETWORK_TCP4;
}

/* The headers are what the sender says, and in head[]. */
static bool headers_fit(struct frame *frame)
{
    const uint8_t *ip = frame->head + ETHERNET_HEADER_BYTES;
    uint32_t tcp = frame->offload.checksum_start;
    /* With time stamps, which nearly all have, it is taken at once. */
    if (!frame_take_head(frame, tcp + TCP_HEADER_STAMPS) &&
        !frame_take_head(frame, tcp + TCP_HEADER_MIN))
        return false;
    uint16_t type = read_be16(frame->head + ETHERNET_TYPE_OFFSET);
    if (is_ipv4(frame))
        return type == ETHERNET_TYPE_IPV4 && ip[0] >> 4 == 4 && ip[IPV4_PROTOCOL] == PROTOCOL_TCP &&
               (ip[0] & 15u) * 4 >= IPV4_HEADER_MIN &&
               ETHERNET_HEADER_BYTES + (ip[0] & 15u) * 4 == tcp;
    return type == ETHERNET_TYPE_IPV6 && ip[0] >> 4 == 6 &&
           tcp >= ETHERNET_HEADER_BYTES + IPV6_HEADER;
}

/* By what TCP says of itself. */
uint32_t frame_header_bytes(const struct frame *whole)
{
    uint32_t tcp = whole->offload.checksum_start;
    return tcp + (whole->head[tcp + TCP_DATA_OFFSET] >> 4) * 4u;
}

static bool can_be_cut(struct frame *whole)
{
    const struct network_offload *offload = &whole->offload;
    if ((offload->segmentation != NETWORK_TCP4 && offload->segmentation != NETWORK_TCP6) ||
        !(offload->flags & NETWORK_NEEDS_CHECKSUM) || offload->segment_bytes == 0 ||
        offload->checksum_offset != TCP_CHECKSUM ||
        offload->checksum_start < ETHERNET_HEADER_BYTES + IPV4_HEADER_MIN || !headers_fit(whole))
        return false;
    uint32_t header_bytes = frame_header_bytes(whole);
    return header_bytes >= (uint32_t)offload->checksum_start + TCP_HEADER_MIN &&
           frame_take_head(whole, header_bytes) && whole->size_bytes > header_bytes &&
           header_bytes + offload->segment_bytes <= ETHERNET_FRAME_MAX;
}

bool frame_offload_valid(struct frame *frame)
{
    const struct network_offload *offload = &frame->offload;
    if (offload->flags & ~(NETWORK_NEEDS_CHECKSUM | NETWORK_CHECKSUM_GOOD))
        return false;
    if (offload->flags & NETWORK_NEEDS_CHECKSUM) {
        uint32_t field = (uint32_t)offload->checksum_start + offload->checksum_offset;
        if (offload->checksum_start < ETHERNET_HEADER_BYTES || field + 2 > frame->size_bytes ||
            field + 2 > FRAME_HEAD_MAX)
            return false;
    }
    if (offload->segmentation == NETWORK_WHOLE)
        return frame->size_bytes <= ETHERNET_FRAME_MAX;
    return can_be_cut(frame);
}

/* ---- checksums ----------------------------------------------------------------------------------------- */

static uint16_t swap(uint16_t value)
{
    return (uint16_t)(value << 8 | value >> 8);
}

/* A sum of fewer than 65,536 numbers of 16 bits. */
static uint16_t fold(uint32_t sum)
{
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)((sum >> 16) + (sum & 0xffff));
}

uint16_t frame_sum(const struct frame *frame, uint32_t offset)
{
    struct frame_cursor cursor = frame_at(frame, offset);
    uint32_t sum = 0, run;
    bool odd = false;
    const uint8_t *at;
    while ((at = next_run(&cursor, UINT32_MAX, &run)) != NULL) {
        /* After an odd number of bytes, high and low change places (RFC 1071, 2 (B)). */
        uint16_t part = sum_fold(sum_bytes(at, run));
        sum += odd ? swap(part) : part;
        odd ^= run & 1;
    }
    return fold(sum);
}

bool frame_finish_checksum(struct frame *frame)
{
    struct network_offload *offload = &frame->offload;
    uint32_t field = (uint32_t)offload->checksum_start + offload->checksum_offset;
    if (!frame_take_head(frame, field + 2))
        return false;
    uint16_t checksum = (uint16_t)~frame_sum(frame, offload->checksum_start);
    /* 0 would say, in UDP, that there is none; both are the same number (RFC 768). */
    write_be16(frame->head + field, checksum ? checksum : 0xffff);
    offload->flags = NETWORK_CHECKSUM_GOOD;
    offload->checksum_start = offload->checksum_offset = 0;
    return true;
}

/* ---- segmentation -------------------------------------------------------------------------------------- */

/* Of the pseudo header, with size_bytes of data (RFC 9293, 3.1). */
static uint32_t pseudo_sum(const struct frame_cutter *cutter, uint32_t size_bytes)
{
    return cutter->pseudo_sum + cutter->header_bytes - cutter->tcp_offset + size_bytes;
}

/* The parts of all headers' sums that are the same in each. */
static void sum_headers(struct frame_cutter *cutter)
{
    const uint8_t *ip = cutter->whole->head + ETHERNET_HEADER_BYTES;
    const uint8_t *tcp = cutter->whole->head + cutter->tcp_offset;
    cutter->pseudo_sum = PROTOCOL_TCP;
    if (is_ipv4(cutter->whole)) {
        for (uint32_t i = 0; i < cutter->tcp_offset - ETHERNET_HEADER_BYTES; i += 2)
            if (i != IPV4_LENGTH && i != IPV4_ID && i != IPV4_CHECKSUM)
                cutter->ip_sum += read_be16(ip + i);
        for (uint32_t i = 0; i < 8; i += 2)
            cutter->pseudo_sum += read_be16(ip + IPV4_ADDRESSES + i);
    } else {
        for (uint32_t i = 0; i < 32; i += 2)
            cutter->pseudo_sum += read_be16(ip + IPV6_ADDRESSES + i);
    }
    for (uint32_t i = 0; i < cutter->header_bytes - cutter->tcp_offset; i += 2)
        if (i != TCP_SEQUENCE && i != TCP_SEQUENCE + 2 && i != TCP_DATA_OFFSET && i != TCP_CHECKSUM)
            cutter->tcp_sum += read_be16(tcp + i);
}

bool frame_cut_by_card(const struct frame *whole)
{
    return !(whole->head[whole->offload.checksum_start + TCP_FLAGS] & TCP_CWR);
}

void frame_cut_ready(const struct frame *whole, uint8_t *to)
{
    const uint8_t *addresses = whole->head + ETHERNET_HEADER_BYTES + IPV4_ADDRESSES;
    uint32_t pseudo_sum = PROTOCOL_TCP;
    for (uint32_t i = 0; i < 8; i += 2)
        pseudo_sum += read_be16(addresses + i);
    write_be16(to + ETHERNET_HEADER_BYTES + IPV4_LENGTH, 0);
    write_be16(to + ETHERNET_HEADER_BYTES + IPV4_CHECKSUM, 0);
    write_be16(to + whole->offload.checksum_start + TCP_CHECKSUM, fold(pseudo_sum));
}

bool frame_cut_begin(struct frame_cutter *cutter, struct frame *whole)
{
    if (!can_be_cut(whole))
        return false;
    *cutter = (struct frame_cutter){.whole = whole,
                                    .header_bytes = frame_header_bytes(whole),
                                    .tcp_offset = whole->offload.checksum_start};
    cutter->cursor = frame_at(whole, cutter->header_bytes);
    cutter->left = whole->size_bytes - cutter->header_bytes;
    sum_headers(cutter);
    return true;
}

/* The headers of the next part, with size_bytes of data, where a frame begins. Returns the sum of TCP's with its pseudo
 * header; its checksum is still to be written. */
static uint32_t part_headers(const struct frame_cutter *cutter, uint8_t *head, uint32_t size_bytes)
{
    uint8_t *ip = head + ETHERNET_HEADER_BYTES, *tcp = head + cutter->tcp_offset;
    uint32_t ip_bytes = cutter->header_bytes - ETHERNET_HEADER_BYTES + size_bytes;
    memcpy(head, cutter->whole->head, cutter->header_bytes);
    if (is_ipv4(cutter->whole)) {
        uint32_t id = (read_be16(ip + IPV4_ID) + cutter->index) & 0xffff;
        write_be16(ip + IPV4_LENGTH, ip_bytes);
        write_be16(ip + IPV4_ID, id);
        write_be16(ip + IPV4_CHECKSUM, (uint16_t)~fold(cutter->ip_sum + ip_bytes + id));
    } else {
        write_be16(ip + IPV6_LENGTH, ip_bytes - IPV6_HEADER);
    }
    uint32_t sequence = read_be32(tcp + TCP_SEQUENCE) + cutter->done;
    write_be32(tcp + TCP_SEQUENCE, sequence);
    if (size_bytes != cutter->left)
        tcp[TCP_FLAGS] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
    if (cutter->index)
        tcp[TCP_FLAGS] &= (uint8_t)~TCP_CWR;
    return cutter->tcp_sum + (sequence >> 16) + (sequence & 0xffff) +
           read_be16(tcp + TCP_DATA_OFFSET) + pseudo_sum(cutter, size_bytes);
}

static uint32_t next_size(const struct frame_cutter *cutter)
{
    uint32_t most = cutter->whole->offload.segment_bytes;
    return cutter->left < most ? cutter->left : most;
}

static void next_part(struct frame_cutter *cutter, uint32_t size_bytes)
{
    cutter->done += size_bytes;
    cutter->left -= size_bytes;
    cutter->index++;
}

/* The pieces of `part` after its head: the next size_bytes of the whole. */
static void part_pieces(struct frame_cutter *cutter, struct frame *part, uint32_t size_bytes)
{
    uint32_t run;
    const uint8_t *at;
    while (size_bytes && (at = next_run(&cutter->cursor, size_bytes, &run)) != NULL) {
        part->pieces[part->count++] = (struct frame_piece){at, run};
        part->size_bytes += run;
        size_bytes -= run;
    }
}

bool frame_cut_next(struct frame_cutter *cutter, struct frame *part)
{
    uint32_t size_bytes = next_size(cutter);
    if (size_bytes == 0)
        return false;
    frame_begin(part);
    part_headers(cutter, part->head, size_bytes);
    write_be16(part->head + cutter->tcp_offset + TCP_CHECKSUM,
               fold(pseudo_sum(cutter, size_bytes)));
    part->pieces[part->count++] = (struct frame_piece){part->head, cutter->header_bytes};
    part->size_bytes = part->head_bytes = cutter->header_bytes;
    part->offload = (struct network_offload){.flags = NETWORK_NEEDS_CHECKSUM,
                                             .checksum_start = (uint16_t)cutter->tcp_offset,
                                             .checksum_offset = TCP_CHECKSUM};
    part_pieces(cutter, part, size_bytes);
    next_part(cutter, size_bytes);
    return true;
}

uint32_t frame_cut_write(struct frame_cutter *cutter, uint8_t *to, uint32_t vlan)
{
    uint32_t size_bytes = next_size(cutter), left = size_bytes, run;
    if (size_bytes == 0)
        return 0;
    uint8_t *head = to + (vlan ? ETHERNET_TAG_BYTES : 0), *at = head + cutter->header_bytes;
    uint32_t sum = part_headers(cutter, head, size_bytes);
    bool odd = false;
    const uint8_t *from;
    if (vlan) {
        memcpy(to, cutter->whole->head, ETHERNET_TYPE_OFFSET);
        write_be16(to + ETHERNET_TYPE_OFFSET, ETHERNET_TYPE_TAG);
        write_be16(to + ETHERNET_TYPE_OFFSET + 2, vlan);
    }
    while (left && (from = next_run(&cutter->cursor, left, &run)) != NULL) {
        uint16_t part = sum_fold(copy_sum(at, from, run));
        sum += odd ? swap(part) : part;
        odd ^= run & 1;
        at += run;
        left -= run;
    }
    uint16_t checksum = (uint16_t)~fold(sum);
    write_be16(head + cutter->tcp_offset + TCP_CHECKSUM, checksum ? checksum : 0xffff);
    next_part(cutter, size_bytes);
    return (uint32_t)(at - to);
}
