/*
 * Intel 82540EM Gigabit Ethernet, as QEMU and Bochs have it.
 *
 * State:    a ring of receive and one of send descriptors, each with a buffer of 2 KiB of its own.
 * Features: checksums and segmentation of TCP over IPv4 by the card for what is sent, all addresses received, interrupts by
 *           line.
 * Missing:  segmentation of TCP over IPv6 (both emulators write a length into the parts that is 40 too large), checksums of
 *           what is received (neither looks at them), frames over 1,518 bytes, MSI, other 8254x.
 * Spec:     Intel PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 3.2, 3.3, 3.5, 13.4, 14.
 */
#include "string.h"
#include "task.h"
#include "uplink.h"

enum { VENDOR_INTEL = 0x8086, DEVICE_82540EM = 0x100e };

/* Registers, in units of 32 bits (13.4). */
enum {
    CTRL = 0x0000 / 4,
    EERD = 0x0014 / 4,
    ICR = 0x00c0 / 4,
    IMS = 0x00d0 / 4,
    IMC = 0x00d8 / 4,
    RCTL = 0x0100 / 4,
    TCTL = 0x0400 / 4,
    TIPG = 0x0410 / 4,
    RDBAL = 0x2800 / 4,
    RDBAH = 0x2804 / 4,
    RDLEN = 0x2808 / 4,
    RDH = 0x2810 / 4,
    RDT = 0x2818 / 4,
    TDBAL = 0x3800 / 4,
    TDBAH = 0x3804 / 4,
    TDLEN = 0x3808 / 4,
    TDH = 0x3810 / 4,
    TDT = 0x3818 / 4,
    MTA = 0x5200 / 4,
    RAL0 = 0x5400 / 4,
    RAH0 = 0x5404 / 4,
    REGISTERS_BYTES = 0x5800,
    MTA_ENTRIES = 128,
};

enum {
    CTRL_RESET = 1 << 26,
    EEPROM_START = 1 << 0,
    EEPROM_DONE = 1 << 4,
    CTRL_LINK_UP = 1 << 6,
    CTRL_AUTO_SPEED = 1 << 5,
    INTERRUPT_SENT = 1 << 0,
    INTERRUPT_LINK = 1 << 2,
    INTERRUPT_FEW_LEFT = 1 << 4,
    INTERRUPT_OVERRUN = 1 << 6,
    INTERRUPT_RECEIVED = 1 << 7,
    INTERRUPTS = INTERRUPT_RECEIVED | INTERRUPT_OVERRUN | INTERRUPT_FEW_LEFT | INTERRUPT_LINK,
    RECEIVE_ENABLE = 1 << 1,
    RECEIVE_ALL_UNICAST = 1 << 3,
    RECEIVE_ALL_MULTICAST = 1 << 4,
    RECEIVE_BROADCAST = 1 << 15,
    RECEIVE_STRIP_CRC = 1 << 26, /* buffers of 2,048 bytes: bits 16, 17 and 25 are 0 */
    SEND_ENABLE = 1 << 1,
    SEND_PAD = 1 << 3,
    SEND_COLLISIONS = 0x0f << 4 | 0x40 << 12, /* full duplex: 13.4.33 */
    SEND_GAPS = 10 | 8 << 10 | 6 << 20,       /* 13.4.34: for copper */
};
/* The second half of a receive descriptor (3.2.3), with the frame's length in the lowest 16 bits. */
#define RECEIVED_DONE   (1ull << 32)
#define RECEIVED_END    (1ull << 33)
#define RECEIVED_ERRORS (0xffull << 40)
/* The second half of a send descriptor: of all kinds (3.3.3), ... */
#define COMMAND_END      (1ull << 24)
#define COMMAND_CRC      (1ull << 25)
#define COMMAND_REPORT   (1ull << 27)
#define COMMAND_EXTENDED (1ull << 29)
#define SENT_DONE        (1ull << 32)
/* ... of a piece of data (3.3.7), ... */
#define DATA_PIECE   (1ull << 20)
#define DATA_SUM_IP  (1ull << 40)
#define DATA_SUM_TCP (1ull << 41)
/* ... of a piece of data and of a context, ... */
#define COMMAND_SEGMENTS (1ull << 26)
/* ... and of a context (3.3.6), with the length of the data in the lowest 20 bits. */
#define CONTEXT_TCP           (1ull << 24)
#define CONTEXT_IPV4          (1ull << 25)
#define CONTEXT_HEADER_SHIFT  40
#define CONTEXT_SEGMENT_SHIFT 48
/* Its first half: the first byte that is summed, where the sum goes, the last byte; of the IP header, and, from bit 32 on, of what is
 * behind it, where 0 is the frame's end. */
#define CONTEXT_TO_SHIFT     8
#define CONTEXT_LAST_SHIFT   16
#define CONTEXT_BEHIND_SHIFT 32

_Static_assert((NETWORK_FRAME_MAX + ETHERNET_TAG_BYTES + BUFFER_BYTES - 1) / BUFFER_BYTES + 1 <=
                   UPLINK_PARTS,
               "a frame of any size has room where parts have: its buffers, and a context");
/* A read takes a real bus more than 100 ns: a reset is over after some microseconds. */
#define RESET_READS   100000u
#define ADDRESS_VALID (1u << 31) /* of RAH */

static uint32_t behind(uint32_t place, uint32_t places)
{
    return place + 1 < places ? place + 1 : 0;
}

static bool fits(const struct device_grant *grant)
{
    return grant->vendor == VENDOR_INTEL && grant->device == DEVICE_82540EM;
}

static bool reset(struct e1000 *card)
{
    volatile uint32_t *registers = card->registers;
    registers[IMC] = UINT32_MAX;
    registers[RCTL] = 0;
    registers[TCTL] = 0;
    registers[CTRL] = CTRL_RESET;
    for (unsigned i = 0; i < RESET_READS; i++)
        if (!(registers[CTRL] & CTRL_RESET))
            return true;
    return false;
}

/* Memory of its own, once. */
static bool prepare(struct uplink *uplink)
{
    struct e1000 *card = &uplink->card.e1000;
    if (!card->receive)
        card->receive = dma_take(&uplink->area, E1000_RECEIVE_PLACES * sizeof *card->receive, 128,
                                 &card->receive_physical);
    if (!card->send)
        card->send = dma_take(&uplink->area, E1000_SEND_PLACES * sizeof *card->send, 128,
                              &card->send_physical);
    return card->receive && card->send &&
           buffers_start(&card->received, &uplink->area, E1000_RECEIVE_PLACES) &&
           buffers_start(&card->sent, &uplink->area, E1000_SEND_PLACES);
}

static void start_rings(struct e1000 *card)
{
    volatile uint32_t *registers = card->registers;
    for (uint16_t i = 0; i < E1000_RECEIVE_PLACES; i++)
        card->receive[i] = (struct e1000_received){.physical = buffer_physical(&card->received, i)};
    card->receive_next = card->send_next = card->send_done = 0;
    registers[RDBAL] = (uint32_t)card->receive_physical;
    registers[RDBAH] = (uint32_t)(card->receive_physical >> 32);
    registers[RDLEN] = E1000_RECEIVE_PLACES * sizeof *card->receive;
    registers[RDH] = 0;
    registers[TDBAL] = (uint32_t)card->send_physical;
    registers[TDBAH] = (uint32_t)(card->send_physical >> 32);
    registers[TDLEN] = E1000_SEND_PLACES * sizeof *card->send;
    registers[TDH] = 0;
    registers[TDT] = 0;
}

/* A word of the EEPROM (5.3.1, 13.4.4): the first three are the MAC address. Without an answer 0. */
static uint16_t read_eeprom(struct e1000 *card, unsigned number)
{
    card->registers[EERD] = EEPROM_START | number << 8;
    for (unsigned i = 0; i < RESET_READS; i++) {
        uint32_t value = card->registers[EERD];
        if (value & EEPROM_DONE)
            return (uint16_t)(value >> 16);
    }
    return 0;
}

/* A reset loads it into the first filter, but not in Bochs. */
static bool read_address(struct uplink *uplink)
{
    volatile uint32_t *registers = uplink->card.e1000.registers;
    uint32_t low = registers[RAL0], high = registers[RAH0];
    if (low == 0) {
        for (unsigned i = 0; i < 2; i++)
            low |= (uint32_t)read_eeprom(&uplink->card.e1000, i) << (16 * i);
        high = ADDRESS_VALID | read_eeprom(&uplink->card.e1000, 2);
        registers[RAL0] = low;
        registers[RAH0] = high;
    }
    for (unsigned i = 0; i < ETHERNET_ADDRESS_BYTES; i++)
        uplink->mac[i] = (uint8_t)(i < 4 ? low >> (8 * i) : high >> (8 * (i - 4)));
    return low != 0 && !(low & 1);
}

static const char *start(struct uplink *uplink)
{
    struct e1000 *card = &uplink->card.e1000;
    const struct device_bar *bar = &uplink->grant->bars[0];
    if (bar->port || bar->address == 0 || bar->size_bytes < REGISTERS_BYTES)
        return "it has no registers in memory";
    card->registers = (volatile uint32_t *)bar->address;
    volatile uint32_t *registers = card->registers;
    if (!reset(card))
        return "it can't be reset";
    if (!prepare(uplink))
        return "there is too little memory for its buffers";
    registers[IMC] = UINT32_MAX;
    (void)registers[ICR];
    registers[CTRL] = registers[CTRL] | CTRL_LINK_UP | CTRL_AUTO_SPEED;
    if (!read_address(uplink))
        return "it has no MAC address";
    for (unsigned i = 0; i < MTA_ENTRIES; i++)
        registers[MTA + i] = 0;
    start_rings(card);
    uplink->accepts = NETWORK_ACCEPTS_CHECKSUM | NETWORK_ACCEPTS_TCP4;
    registers[TIPG] = SEND_GAPS;
    registers[TCTL] = SEND_ENABLE | SEND_PAD | SEND_COLLISIONS;
    registers[RCTL] = RECEIVE_ENABLE | RECEIVE_ALL_UNICAST | RECEIVE_ALL_MULTICAST |
                      RECEIVE_BROADCAST | RECEIVE_STRIP_CRC;
    registers[RDT] = E1000_RECEIVE_PLACES - 1;
    card->armed = false;
    return NULL;
}

/* ---- sending -------------------------------------------------------------------------------------------- */

static uint32_t send_free(const struct e1000 *card)
{
    uint32_t round = card->send_next < card->send_done ? 0 : E1000_SEND_PLACES;
    return card->send_done + round - card->send_next - 1;
}

/* Are so many places free? The card reports the last place of a frame alone. */
static bool send_fits(struct e1000 *card, uint32_t places)
{
    while (send_free(card) < places) {
        if (card->send_done == card->send_next)
            return false;
        uint32_t end = card->ends[card->send_done];
        if (!(card->send[end].command & SENT_DONE))
            return false;
        card->send_done = behind(end, E1000_SEND_PLACES);
    }
    return true;
}

static bool has_room(struct uplink *uplink)
{
    return send_fits(&uplink->card.e1000, UPLINK_PARTS);
}

static uint8_t *place(struct uplink *uplink)
{
    struct e1000 *card = &uplink->card.e1000;
    return send_fits(card, 1) ? buffer_at(&card->sent, (uint16_t)card->send_next) : NULL;
}

/* Into the next place, which is free. */
static void add(struct e1000 *card, uint64_t address, uint64_t command)
{
    volatile struct e1000_sent *place = &card->send[card->send_next];
    place->address = address;
    place->command = command;
    card->send_next = behind(card->send_next, E1000_SEND_PLACES);
}

/* So many bytes, which begin in the next place's buffer: a descriptor for each buffer. */
static void add_data(struct e1000 *card, uint32_t size_bytes, uint64_t command)
{
    volatile struct e1000_sent *places = card->send;
    uint64_t physical = card->sent.physical;
    uint32_t place = card->send_next, left = size_bytes;
    for (; left > BUFFER_BYTES; left -= BUFFER_BYTES) {
        places[place].address = physical + place * BUFFER_BYTES;
        places[place].command = command | BUFFER_BYTES;
        place = behind(place, E1000_SEND_PLACES);
    }
    card->send_next = place;
    add(card, physical + place * BUFFER_BYTES, command | COMMAND_END | COMMAND_REPORT | left);
}

static void send_placed(struct uplink *uplink, uint32_t size_bytes)
{
    struct e1000 *card = &uplink->card.e1000;
    uint16_t place = (uint16_t)card->send_next;
    card->ends[place] = place;
    add_data(card, size_bytes, COMMAND_CRC);
    card->added_sent = true;
}

/* What is to be summed, and cut. All numbers are a frame's that was found valid (frame_offload_valid): what is summed begins and its
 * sum goes into its first FRAME_HEAD_MAX bytes, headers end there; with a tag before them they fit in 8 bits. */
static void add_context(struct e1000 *card, const struct frame *frame, uint32_t tag_bytes)
{
    const struct network_offload *offload = &frame->offload;
    uint64_t ip = ETHERNET_HEADER_BYTES + tag_bytes, tcp = offload->checksum_start + tag_bytes;
    uint64_t to = tcp + offload->checksum_offset, command = COMMAND_EXTENDED;
    uint64_t sums = (tcp | to << CONTEXT_TO_SHIFT) << CONTEXT_BEHIND_SHIFT;
    if (offload->checksum_offset == FRAME_TCP_CHECKSUM)
        command |= CONTEXT_TCP;
    if (offload->segmentation) {
        uint64_t header_bytes = frame_header_bytes(frame);
        sums |=
            ip | (ip + FRAME_IPV4_CHECKSUM) << CONTEXT_TO_SHIFT | (tcp - 1) << CONTEXT_LAST_SHIFT;
        command |= COMMAND_SEGMENTS | CONTEXT_IPV4 | (frame->size_bytes - header_bytes);
        command |= (header_bytes + tag_bytes) << CONTEXT_HEADER_SHIFT;
        command |= (uint64_t)offload->segment_bytes << CONTEXT_SEGMENT_SHIFT;
    }
    add(card, sums, command);
}

/* A frame's bytes, from the next place's buffer on: one lies behind the other. */
static void fill(struct e1000 *card, const struct frame *frame, uint32_t size_bytes, uint32_t vlan)
{
    uint8_t *at = buffer_at(&card->sent, (uint16_t)card->send_next);
    uint32_t straight = (E1000_SEND_PLACES - card->send_next) * BUFFER_BYTES;
    uint32_t run = size_bytes < straight ? size_bytes : straight;
    struct frame_cursor cursor = frame_at(frame, 0);
    uplink_fill(&cursor, at, run, vlan);
    frame_copy(&cursor, buffer_at(&card->sent, 0), size_bytes - run);
    if (frame->offload.segmentation)
        frame_cut_ready(frame, at + (vlan ? ETHERNET_TAG_BYTES : 0));
}

static bool send(struct uplink *uplink, const struct frame *frame, uint32_t vlan)
{
    struct e1000 *card = &uplink->card.e1000;
    uint32_t tag_bytes = vlan ? ETHERNET_TAG_BYTES : 0;
    uint32_t size_bytes = frame->size_bytes + tag_bytes;
    uint32_t count = (size_bytes + BUFFER_BYTES - 1) / BUFFER_BYTES;
    bool sums = frame->offload.flags & NETWORK_NEEDS_CHECKSUM;
    if ((count > 1 && !frame->offload.segmentation) || !send_fits(card, count + sums))
        return false;
    uint64_t command = COMMAND_CRC;
    uint32_t first = card->send_next;
    if (sums) {
        add_context(card, frame, tag_bytes);
        command |= COMMAND_EXTENDED | DATA_PIECE | DATA_SUM_TCP;
    }
    if (frame->offload.segmentation)
        command |= COMMAND_SEGMENTS | DATA_SUM_IP;
    fill(card, frame, size_bytes, vlan);
    add_data(card, size_bytes, command);
    card->ends[first] = (uint16_t)(card->send_next ? card->send_next - 1 : E1000_SEND_PLACES - 1);
    card->added_sent = true;
    return true;
}

/* ---- receiving ------------------------------------------------------------------------------------------ */

static bool received(const struct e1000 *card)
{
    return card->receive[card->receive_next].result & RECEIVED_DONE;
}

static __attribute__((noinline)) void receive(struct uplink *uplink, const uint8_t *at,
                                              uint32_t size_bytes)
{
    struct frame frame;
    frame_begin(&frame);
    if (frame_add(&frame, at, size_bytes))
        uplink_receive(uplink, &frame);
}

static bool poll(struct uplink *uplink)
{
    struct e1000 *card = &uplink->card.e1000;
    uint32_t place = card->receive_next;
    unsigned frames = 0;
    uint64_t result;
    for (; frames < E1000_RECEIVE_PLACES; frames++) {
        result = card->receive[place].result;
        if (!(result & RECEIVED_DONE))
            break;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        const uint8_t *at = buffer_at(&card->received, (uint16_t)place);
        /* Most of what comes while a guest sends are acknowledgements, and done with at once. */
        if ((result & (RECEIVED_END | RECEIVED_ERRORS)) == RECEIVED_END &&
            (uint16_t)result <= BUFFER_BYTES &&
            !uplink_receive_ack(uplink, at, (uint16_t)result, 0))
            receive(uplink, at, (uint16_t)result);
        card->receive[place].result = 0;
        place = behind(place, E1000_RECEIVE_PLACES);
    }
    card->receive_next = place;
    card->added_received |= frames != 0;
    return frames == E1000_RECEIVE_PLACES;
}

/* Interrupts are let in while the server waits, and not before it has looked at all that came meanwhile. */
static void disarm(struct e1000 *card)
{
    card->registers[IMC] = UINT32_MAX;
    card->armed = false;
}

static bool kick(struct uplink *uplink)
{
    struct e1000 *card = &uplink->card.e1000;
    bool sent = card->added_sent;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (card->added_received)
        card->registers[RDT] =
            card->receive_next ? card->receive_next - 1 : E1000_RECEIVE_PLACES - 1;
    if (sent && card->armed)
        disarm(card);
    if (sent)
        card->registers[TDT] = card->send_next;
    card->added_received = card->added_sent = false;
    return sent;
}

/* Reading the causes clears them; what comes after that raises the line when interrupts are let in. */
static bool waits(struct uplink *uplink, bool room)
{
    struct e1000 *card = &uplink->card.e1000;
    if (!card->armed)
        (void)card->registers[ICR];
    if (received(card) || (room && has_room(uplink)))
        return false;
    if (!card->armed || room)
        card->registers[IMS] = INTERRUPTS | (room ? INTERRUPT_SENT : 0);
    card->armed = true;
    return true;
}

static void interrupt(struct uplink *uplink)
{
    disarm(&uplink->card.e1000);
}

const struct uplink_driver e1000_driver = {
    "Intel 82540EM", fits, start, send, place, send_placed, poll, has_room, waits, interrupt, kick};
