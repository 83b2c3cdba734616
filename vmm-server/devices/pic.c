/*
 * Two 8259A interrupt controllers, in cascade, with the edge/level registers of a PIIX.
 *
 * State:    for each chip the registers IRR, ISR, IMR and ELCR, the vector base, the priority order, the step of
 *           initialization, and the modes of the words below.
 * Features: ICW1 to ICW4; fully nested, special fully nested, special mask, automatic and rotating modes; specific and
 *           non-specific end of interrupt; poll; reading of IRR and ISR; edge and level inputs by ELCR. A request
 *           that is gone at its acknowledge becomes a spurious one of input 7. An input that falls takes its request
 *           back, also an edge-triggered one.
 * Missing:  8080 mode, buffered mode, wiring other than a PC's (ICW3 is taken and not obeyed), LTIM of ICW1 (on a
 *           PIIX the ELCR is in its place). Not initialized, a chip requests nothing.
 * Spec:     Intel 8259A, December 1988 (order 231468-003); 82371FB/SB PIIX/PIIX3, April 1997, 2.5.4 and 2.6 (ELCR).
 */
#include "devices/pic.h"

#define FIRST_PORT  0x20u
#define SECOND_PORT 0xa0u
#define ELCR_PORT   0x4d0u
#define PORTS       2u

#define CASCADE     2u /* input of the first chip */
#define SPURIOUS    7u
#define INPUTS      8u

#define ICW1        0x10u
#define ICW1_ICW4   0x01u
#define ICW1_SINGLE 0x02u
#define ICW2_BASE   0xf8u
#define ICW4_AUTO   0x02u
#define ICW4_NESTED 0x10u

#define OCW3        0x08u
#define OCW3_ISR    0x01u
#define OCW3_READ   0x02u
#define OCW3_POLL   0x04u
#define OCW3_MASK   0x20u
#define OCW3_SET    0x40u /* of the special mask: the bit above counts */

#define POLL_FOUND  0x80u

/* OCW2 (figure 8). */
enum ocw2 {
    OCW2_ROTATE_AUTO_CLEAR,
    OCW2_EOI,
    OCW2_NOTHING,
    OCW2_EOI_SPECIFIC,
    OCW2_ROTATE_AUTO_SET,
    OCW2_ROTATE_EOI,
    OCW2_SET_PRIORITY,
    OCW2_ROTATE_EOI_SPECIFIC,
};

/* Which inputs can be level-triggered (PIIX3, 2.6.1): not timer, keyboard, cascade, clock, coprocessor. */
static const uint8_t elcr_writable[2] = {0xf8, 0xde};

/* ---- one chip -------------------------------------------------------------------------------------- */

static bool is_first(const struct pic *pic, const struct pic_chip *chip)
{
    return chip == &pic->chips[0];
}

/* Of inputs in `bits`, the one of highest priority; -1: none. */
static int first_of(const struct pic_chip *chip, uint8_t bits)
{
    for (unsigned i = 0; i < INPUTS; i++) {
        unsigned input = (chip->highest + i) % INPUTS;
        if (bits >> input & 1)
            return (int)input;
    }
    return -1;
}

static unsigned order_of(const struct pic_chip *chip, unsigned input)
{
    return (input - chip->highest) % INPUTS;
}

/* What is in service and holds back what is not more urgent. In special mask mode only what is not masked does. */
static uint8_t holding(const struct pic *pic, const struct pic_chip *chip)
{
    uint8_t bits = chip->isr;
    if (chip->special_mask)
        bits &= (uint8_t)~chip->imr;
    /* Special fully nested: the second chip decides itself which of its requests comes through. */
    if (chip->fully_nested && is_first(pic, chip))
        bits &= (uint8_t) ~(1u << CASCADE);
    return bits;
}

/* The input that is to interrupt now, or -1. */
static int request(const struct pic *pic, const struct pic_chip *chip)
{
    if (chip->expects)
        return -1;
    int input = first_of(chip, chip->irr & (uint8_t)~chip->imr);
    int serviced = first_of(chip, holding(pic, chip));
    if (input >= 0 && serviced >= 0 &&
        order_of(chip, (unsigned)input) >= order_of(chip, (unsigned)serviced))
        return -1;
    return input;
}

static void set_input(struct pic_chip *chip, unsigned input, bool high)
{
    uint8_t bit = (uint8_t)(1u << input);
    bool rises = high && !(chip->lines & bit);
    chip->lines = (uint8_t)(high ? chip->lines | bit : chip->lines & ~bit);
    if (!high)
        chip->irr &= (uint8_t)~bit;
    else if (rises || chip->elcr & bit)
        chip->irr |= bit;
}

static void rotate(struct pic_chip *chip, unsigned lowest)
{
    chip->highest = (uint8_t)((lowest + 1) % INPUTS);
}

/* An input goes into service. The request of a level stays for as long as the level does. */
static void serve(struct pic_chip *chip, unsigned input)
{
    uint8_t bit = (uint8_t)(1u << input);
    if (!(chip->elcr & bit))
        chip->irr &= (uint8_t)~bit;
    if (!chip->automatic_eoi)
        chip->isr |= bit;
    else if (chip->rotates)
        rotate(chip, input);
}

/* ---- both ------------------------------------------------------------------------------------------- */

static void update(struct pic *pic)
{
    set_input(&pic->chips[0], CASCADE, request(pic, &pic->chips[1]) >= 0);
    bool output = request(pic, &pic->chips[0]) >= 0;
    if (output == pic->output)
        return;
    pic->output = output;
    pic->interrupt(pic, output);
}

void pic_set(struct pic *pic, unsigned irq, bool high)
{
    set_input(&pic->chips[irq / INPUTS % 2], irq % INPUTS, high);
    update(pic);
}

/* The second chip's output falls with its acknowledge, and rises again if there is more: an edge for the first. */
static uint8_t acknowledge_second(struct pic *pic)
{
    struct pic_chip *chip = &pic->chips[1];
    int input = request(pic, chip);
    if (input >= 0)
        serve(chip, (unsigned)input);
    set_input(&pic->chips[0], CASCADE, false);
    return (uint8_t)(chip->base + (input < 0 ? SPURIOUS : (unsigned)input));
}

uint8_t pic_acknowledge(struct pic *pic)
{
    struct pic_chip *chip = &pic->chips[0];
    int input = request(pic, chip);
    uint8_t vector = (uint8_t)(chip->base + (input < 0 ? SPURIOUS : (unsigned)input));
    if (input >= 0)
        serve(chip, (unsigned)input);
    if (input == (int)CASCADE && !chip->single)
        vector = acknowledge_second(pic);
    update(pic);
    return vector;
}

bool pic_waits(const struct pic *pic, unsigned irq)
{
    const struct pic_chip *chip = &pic->chips[irq / INPUTS % 2];
    return !chip->expects && chip->irr & ~chip->imr & 1u << irq % INPUTS;
}

/* ---- command words ---------------------------------------------------------------------------------- */

static void end_of_interrupt(struct pic_chip *chip, int input, bool and_rotate)
{
    if (input < 0)
        return;
    chip->isr &= (uint8_t) ~(1u << input);
    if (and_rotate)
        rotate(chip, (unsigned)input);
}

static void write_ocw2(struct pic_chip *chip, uint8_t value)
{
    int input = value % INPUTS;
    /* In special mask mode what is masked is not ended by a non-specific command. */
    uint8_t serviced = chip->special_mask ? chip->isr & (uint8_t)~chip->imr : chip->isr;
    switch ((enum ocw2)(value >> 5)) {
    case OCW2_ROTATE_AUTO_CLEAR: chip->rotates = false; break;
    case OCW2_ROTATE_AUTO_SET: chip->rotates = true; break;
    case OCW2_EOI: end_of_interrupt(chip, first_of(chip, serviced), false); break;
    case OCW2_ROTATE_EOI: end_of_interrupt(chip, first_of(chip, serviced), true); break;
    case OCW2_EOI_SPECIFIC: end_of_interrupt(chip, input, false); break;
    case OCW2_ROTATE_EOI_SPECIFIC: end_of_interrupt(chip, input, true); break;
    case OCW2_SET_PRIORITY: rotate(chip, (unsigned)input); break;
    case OCW2_NOTHING: break;
    }
}

static void write_ocw3(struct pic_chip *chip, uint8_t value)
{
    if (value & OCW3_SET)
        chip->special_mask = (value & OCW3_MASK) != 0;
    if (value & OCW3_READ)
        chip->read_isr = (value & OCW3_ISR) != 0;
    chip->poll = (value & OCW3_POLL) != 0;
}

/* Initialization begins: edges that came before are forgotten; what is level-triggered and high stays requested. */
static void write_icw1(struct pic_chip *chip, uint8_t value)
{
    chip->irr = chip->lines & chip->elcr;
    chip->imr = chip->isr = chip->highest = 0;
    chip->special_mask = chip->read_isr = chip->poll = false;
    chip->automatic_eoi = chip->rotates = chip->fully_nested = false;
    chip->single = (value & ICW1_SINGLE) != 0;
    chip->needs_icw4 = (value & ICW1_ICW4) != 0;
    chip->expects = 2;
}

static void write_data(struct pic_chip *chip, uint8_t value)
{
    uint8_t last = chip->needs_icw4 ? 4 : 0;
    switch (chip->expects) {
    case 2:
        chip->base = value & ICW2_BASE;
        chip->expects = chip->single ? last : 3;
        break;
    case 3: chip->expects = last; break;
    case 4:
        chip->automatic_eoi = (value & ICW4_AUTO) != 0;
        chip->fully_nested = (value & ICW4_NESTED) != 0;
        chip->expects = 0;
        break;
    default: chip->imr = value; break;
    }
}

/* The read that follows a poll command is an acknowledge. */
static uint8_t poll(struct pic *pic, struct pic_chip *chip)
{
    int input = request(pic, chip);
    chip->poll = false;
    if (input < 0)
        return 0;
    serve(chip, (unsigned)input);
    if (!is_first(pic, chip))
        set_input(&pic->chips[0], CASCADE, false);
    return (uint8_t)(POLL_FOUND | (unsigned)input);
}

/* ---- ports ------------------------------------------------------------------------------------------- */

static bool chip_read(struct pic *pic, struct pic_chip *chip, uint64_t offset, unsigned size_bytes,
                      uint64_t *value)
{
    if (size_bytes != 1)
        return false;
    if (chip->poll)
        *value = poll(pic, chip);
    else if (offset == 1)
        *value = chip->imr;
    else
        *value = chip->read_isr ? chip->isr : chip->irr;
    update(pic);
    return true;
}

static bool chip_write(struct pic *pic, struct pic_chip *chip, uint64_t offset, unsigned size_bytes,
                       uint64_t value)
{
    uint8_t byte = (uint8_t)value;
    if (size_bytes != 1)
        return false;
    if (offset == 1)
        write_data(chip, byte);
    else if (byte & ICW1)
        write_icw1(chip, byte);
    else if (byte & OCW3)
        write_ocw3(chip, byte);
    else
        write_ocw2(chip, byte);
    update(pic);
    return true;
}

static bool first_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct pic *pic = device;
    return chip_read(pic, &pic->chips[0], offset, size_bytes, value);
}

static bool first_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct pic *pic = device;
    return chip_write(pic, &pic->chips[0], offset, size_bytes, value);
}

static bool second_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct pic *pic = device;
    return chip_read(pic, &pic->chips[1], offset, size_bytes, value);
}

static bool second_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct pic *pic = device;
    return chip_write(pic, &pic->chips[1], offset, size_bytes, value);
}

static bool elcr_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    const struct pic *pic = device;
    *value = 0;
    for (unsigned i = 0; i < size_bytes; i++)
        *value |= (uint64_t)pic->chips[offset + i].elcr << 8 * i;
    return true;
}

/* An input that becomes level-triggered requests if it is high; one that ceases to be waits for an edge. */
static bool elcr_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct pic *pic = device;
    for (unsigned i = 0; i < size_bytes; i++) {
        struct pic_chip *chip = &pic->chips[offset + i];
        uint8_t old = chip->elcr;
        chip->elcr = (uint8_t)(value >> 8 * i) & elcr_writable[offset + i];
        chip->irr = (chip->irr & (uint8_t)~old) | (chip->lines & chip->elcr);
    }
    update(pic);
    return true;
}

/* ---- the machine's side ------------------------------------------------------------------------------ */

void pic_init(struct pic *pic, void (*interrupt)(struct pic *pic, bool high), void *machine)
{
    *pic = (struct pic){.interrupt = interrupt, .machine = machine};
    pic_reset(pic);
}

void pic_reset(struct pic *pic)
{
    for (unsigned i = 0; i < 2; i++) {
        uint8_t lines = pic->chips[i].lines;
        pic->chips[i] = (struct pic_chip){.lines = lines, .expects = 1};
    }
    update(pic);
}

bool pic_attach(struct pic *pic, struct bus *ports)
{
    static const struct bus_operations first = {.read = first_read, .write = first_write};
    static const struct bus_operations second = {.read = second_read, .write = second_write};
    static const struct bus_operations elcr = {.read = elcr_read, .write = elcr_write};
    return bus_add(ports, &(struct bus_range){FIRST_PORT, PORTS, &first, pic,
                                              "first interrupt controller"}) &&
           bus_add(ports, &(struct bus_range){SECOND_PORT, PORTS, &second, pic,
                                              "second interrupt controller"}) &&
           bus_add(ports,
                   &(struct bus_range){ELCR_PORT, PORTS, &elcr, pic, "edge or level interrupts"});
}

void pic_dump(const struct pic *pic, struct sink *sink)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct pic_chip *chip = &pic->chips[i];
        print(sink, "  pic %u base %x requested %x in service %x mask %x lines %x level %x%s\n", i,
              chip->base, chip->irr, chip->isr, chip->imr, chip->lines, chip->elcr,
              chip->expects ? ", not initialized" : "");
    }
}
