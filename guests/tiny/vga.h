/* A VGA's text screen and its planes, for tiny guests on a `pc` (IBM VGA Technical Reference; docs/machine-pc.md). */
#ifndef GUESTS_TINY_VGA_H
#define GUESTS_TINY_VGA_H

#include "tiny.h"

#define TEXT      0xb8000ul
#define WINDOW    0xa0000ul
#define SEQUENCER 0x3c4
#define GRAPHICS  0x3ce

static inline void set(uint16_t port, uint8_t index, uint8_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"((uint16_t)(index | value << 8)), "Nd"(port));
}

/* The window shows planes: those of the mask are written. */
static inline void into_planes(uint8_t mask)
{
    set(SEQUENCER, 4, 0x06);
    set(SEQUENCER, 2, mask);
    set(GRAPHICS, 5, 0x00);
    set(GRAPHICS, 6, 0x04);
}

/* Back to characters. */
static inline void into_text(void)
{
    set(SEQUENCER, 4, 0x02);
    set(SEQUENCER, 2, 0x03);
    set(GRAPHICS, 4, 0x00);
    set(GRAPHICS, 5, 0x10);
    set(GRAPHICS, 6, 0x0e);
}

#endif
