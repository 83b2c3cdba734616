/*
 * Intel 82540EM Gigabit Ethernet, as QEMU and Bochs have it.
 *
 * State:    a ring of receive and one of send descriptors, each with a buffer of 2 KiB of its own.
 * Features: legacy descriptors, all addresses received, interrupts by line.
 * Missing:  checksums and segmentation by the card (the switch does them), frames over 1,518 bytes, MSI, other 8254x.
 * Spec:     Intel PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 3.2, 3.3, 13.4, 14.
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
    RECEIVE_ENABLE = 1 << 1,
    RECEIVE_ALL_UNICAST = 1 << 3,
    RECEIVE_ALL_MULTICAST = 1 << 4,
    RECEIVE_BROADCAST = 1 << 15,
    RECEIVE_STRIP_CRC = 1 << 26, /* buffers of 2,048 bytes: bits 16, 17 and 25 are 0 */
    SEND_ENABLE = 1 << 1,
    SEND_PAD = 1 << 3,
    SEND_COLLISIONS = 0x0f << 4 | 0x40 << 12, /* full duplex: 13.4.33 */
    SEND_GAPS = 10 | 8 << 10 | 6 << 20,       /* 13.4.34: for copper */
    COMMAND_END = 1,
    COMMAND_CRC = 2,
    COMMAND_REPORT = 8,
    STATUS_DONE = 1,
    STATUS_END = 2,
};
/* A read takes a real bus more than 100 ns: a reset is over after some microseconds. */
#define RESET_READS   100000u
#define ADDRESS_VALID (1u << 31) /* of RAH */

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
        card->receive[i] =
            (struct e1000_descriptor){.physical = buffer_physical(&card->received, i)};
    for (uint16_t i = 0; i < E1000_SEND_PLACES; i++)
        card->send[i] = (struct e1000_descriptor){.physical = buffer_physical(&card->sent, i),
                                                  .status = STATUS_DONE};
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
    registers[TIPG] = SEND_GAPS;
    registers[TCTL] = SEND_ENABLE | SEND_PAD | SEND_COLLISIONS;
    registers[RCTL] = RECEIVE_ENABLE | RECEIVE_ALL_UNICAST | RECEIVE_ALL_MULTICAST |
                      RECEIVE_BROADCAST | RECEIVE_STRIP_CRC;
    registers[RDT] = E1000_RECEIVE_PLACES - 1;
    registers[IMS] = INTERRUPT_RECEIVED | INTERRUPT_OVERRUN | INTERRUPT_FEW_LEFT | INTERRUPT_LINK;
    return NULL;
}

/* ---- sending -------------------------------------------------------------------------------------------- */

static uint32_t send_free(struct e1000 *card)
{
    while (card->send_done != card->send_next && card->send[card->send_done].status & STATUS_DONE)
        card->send_done = (card->send_done + 1) % E1000_SEND_PLACES;
    uint32_t used = (card->send_next + E1000_SEND_PLACES - card->send_done) % E1000_SEND_PLACES;
    return E1000_SEND_PLACES - 1 - used;
}

static bool has_room(struct uplink *uplink)
{
    return send_free(&uplink->card.e1000) >= UPLINK_PARTS;
}

static uint8_t *place(struct uplink *uplink)
{
    struct e1000 *card = &uplink->card.e1000;
    return send_free(card) ? buffer_at(&card->sent, (uint16_t)card->send_next) : NULL;
}

static void send_placed(struct uplink *uplink, uint32_t size_bytes)
{
    struct e1000 *card = &uplink->card.e1000;
    card->send[card->send_next] = (struct e1000_descriptor){
        .physical = buffer_physical(&card->sent, (uint16_t)card->send_next),
        .size_bytes = (uint16_t)size_bytes,
        .command = COMMAND_END | COMMAND_CRC | COMMAND_REPORT,
    };
    card->send_next = (card->send_next + 1) % E1000_SEND_PLACES;
    card->added_sent = true;
}

static bool send(struct uplink *uplink, const struct frame *frame, uint32_t vlan)
{
    struct e1000 *card = &uplink->card.e1000;
    uint32_t size_bytes = frame->size_bytes + (vlan ? ETHERNET_TAG_BYTES : 0);
    if (size_bytes > BUFFER_BYTES || send_free(card) == 0)
        return false;
    struct frame_cursor cursor = frame_at(frame, 0);
    uplink_fill(&cursor, place(uplink), size_bytes, vlan);
    send_placed(uplink, size_bytes);
    return true;
}

/* ---- receiving ------------------------------------------------------------------------------------------ */

static bool received(const struct e1000 *card)
{
    return card->receive[card->receive_next].status & STATUS_DONE;
}

static bool poll(struct uplink *uplink)
{
    struct e1000 *card = &uplink->card.e1000;
    unsigned frames = 0;
    for (; frames < E1000_RECEIVE_PLACES && received(card); frames++) {
        uint16_t place = (uint16_t)card->receive_next;
        volatile struct e1000_descriptor *descriptor = &card->receive[place];
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        uint32_t size_bytes = descriptor->size_bytes;
        struct frame frame;
        frame_begin(&frame);
        if (descriptor->status & STATUS_END && !descriptor->errors && size_bytes <= BUFFER_BYTES &&
            frame_add(&frame, buffer_at(&card->received, place), size_bytes))
            uplink_receive(uplink, &frame);
        descriptor->status = 0;
        card->receive_next = (card->receive_next + 1) % E1000_RECEIVE_PLACES;
        card->added_received = true;
    }
    return frames == E1000_RECEIVE_PLACES;
}

static void kick(struct uplink *uplink)
{
    struct e1000 *card = &uplink->card.e1000;
    __atomic_thread_fence(__ATOMIC_RELEASE);
    if (card->added_received)
        card->registers[RDT] =
            (card->receive_next + E1000_RECEIVE_PLACES - 1) % E1000_RECEIVE_PLACES;
    if (card->added_sent)
        card->registers[TDT] = card->send_next;
    card->added_received = card->added_sent = false;
}

static bool waits(struct uplink *uplink, bool room)
{
    struct e1000 *card = &uplink->card.e1000;
    if (room)
        card->registers[IMS] = INTERRUPT_SENT;
    return !received(card) && !(room && has_room(uplink));
}

/* Reading the cause clears it, and lowers the line. */
static void interrupt(struct uplink *uplink)
{
    volatile uint32_t *registers = uplink->card.e1000.registers;
    (void)registers[ICR];
    registers[IMC] = INTERRUPT_SENT;
}

const struct uplink_driver e1000_driver = {
    "Intel 82540EM", fits, start, send, place, send_placed, poll, has_room, waits, interrupt, kick};
