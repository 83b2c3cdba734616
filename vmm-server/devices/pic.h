/* The two 8259A interrupt controllers. The model's contract is at the head of pic.c. */
#ifndef VMM_DEVICES_PIC_H
#define VMM_DEVICES_PIC_H

#include "device.h"

struct pic_chip {
    uint8_t irr, isr, imr; /* requests, what is in service, mask */
    uint8_t lines;         /* inputs that are high */
    uint8_t elcr;          /* 1: level-triggered */
    uint8_t base;          /* vector of input 0 */
    uint8_t highest;       /* the input of highest priority */
    uint8_t expects;       /* number of the next initialization word; 0: initialized */
    bool single, needs_icw4;
    bool automatic_eoi, rotates, fully_nested, special_mask;
    bool read_isr, poll;
};

struct pic {
    struct pic_chip chips[2]; /* the second is wired to input 2 of the first */
    /* The output to the processor changes. */
    void (*interrupt)(struct pic *pic, bool high);
    void *machine;
    bool output;
};

void pic_init(struct pic *pic, void (*interrupt)(struct pic *pic, bool high), void *machine);
/* Power-on: neither chip is initialized. */
void pic_reset(struct pic *pic);
bool pic_attach(struct pic *pic, struct bus *ports);
/* An input, 0 to 15 without 2. */
void pic_set(struct pic *pic, unsigned irq, bool high);
/* The processor's acknowledge cycle: the vector. A spurious one if nothing is requested any more. */
uint8_t pic_acknowledge(struct pic *pic);
/* Is a request of this input waiting, and let through? */
bool pic_waits(const struct pic *pic, unsigned irq);
void pic_dump(const struct pic *pic, struct sink *sink);

#endif
