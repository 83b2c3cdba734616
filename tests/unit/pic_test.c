/* links: vmm-server/devices/pic.c vmm-server/bus.c lib/print.c */
#include "unit_test.h"

#include "chip_machine.h"

#include "devices/pic.h"

#define EOI        0x20
#define READ_IRR   0x0a
#define READ_ISR   0x0b
#define MASK_SET   0x68
#define MASK_CLEAR 0x48
#define POLL       0x0c

static struct pic pic;
static bool output;
static unsigned rises;

static void interrupt(struct pic *from, bool high)
{
    CHECK(from == &pic && high != output);
    output = high;
    rises += high;
}

/* As a PC's firmware initializes them, with other vectors. */
static void begin(uint8_t icw4)
{
    machine_start();
    output = false;
    rises = 0;
    pic_init(&pic, interrupt, NULL);
    CHECK(pic_attach(&pic, &ports));
    out(0x20, 0x11), out(0x21, 0x30), out(0x21, 0x04), out(0x21, icw4);
    out(0xa0, 0x11), out(0xa1, 0x38), out(0xa1, 0x02), out(0xa1, 0x01);
}

static uint8_t isr(uint16_t port)
{
    out(port, READ_ISR);
    return in(port);
}

static uint8_t irr(uint16_t port)
{
    out(port, READ_IRR);
    return in(port);
}

TEST(pic_silent_before_initialization, "a chip that is not initialized requests nothing")
{
    machine_start();
    output = false;
    pic_init(&pic, interrupt, NULL);
    pic_set(&pic, 1, true);
    EXPECT(output, false);
}

TEST(pic_edge,
     "an edge-triggered input requests once for each edge; its vector is the base and its number")
{
    begin(0x01);
    pic_set(&pic, 3, true);
    EXPECT(output, true);
    EXPECT(irr(0x20), 0x08);
    EXPECT(pic_acknowledge(&pic), 0x33);
    EXPECT(output, false);
    EXPECT(isr(0x20), 0x08);
    out(0x20, EOI);
    EXPECT(isr(0x20), 0);
    EXPECT(output, false);
    pic_set(&pic, 3, false);
    pic_set(&pic, 3, true);
    EXPECT(output, true);
}

TEST(pic_edge_withdrawn,
     "an input that falls before its acknowledge takes its request back: spurious 7")
{
    begin(0x01);
    pic_set(&pic, 3, true);
    pic_set(&pic, 3, false);
    EXPECT(output, false);
    EXPECT(pic_acknowledge(&pic), 0x37);
    EXPECT(isr(0x20), 0);
}

TEST(pic_spurious_15, "a request of the second chip that is gone by the acknowledge is its input "
                      "7; the first's is in service")
{
    begin(0x01);
    pic_set(&pic, 9, true);
    EXPECT(irr(0x20), 0x04);
    /* A guest that masks it between the processor's decision and its cycle. */
    pic.chips[1].imr = 0x02;
    EXPECT(pic_acknowledge(&pic), 0x3f);
    EXPECT(isr(0x20), 0x04);
    EXPECT(isr(0xa0), 0);
}

TEST(pic_mask, "a masked input is kept in IRR and comes when it is unmasked")
{
    begin(0x01);
    out(0x21, 0x08);
    EXPECT(in(0x21), 0x08);
    pic_set(&pic, 3, true);
    EXPECT(output, false);
    EXPECT(pic_waits(&pic, 3), false);
    EXPECT(irr(0x20), 0x08);
    out(0x21, 0);
    EXPECT(output, true);
    EXPECT(pic_waits(&pic, 3), true);
}

TEST(pic_nested,
     "what is in service holds back what is less urgent, and lets through what is more so")
{
    begin(0x01);
    pic_set(&pic, 4, true);
    EXPECT(pic_acknowledge(&pic), 0x34);
    pic_set(&pic, 5, true);
    EXPECT(output, false);
    pic_set(&pic, 1, true);
    EXPECT(output, true);
    EXPECT(pic_acknowledge(&pic), 0x31);
    EXPECT(isr(0x20), 0x12);
    out(0x20, EOI);
    EXPECT(isr(0x20), 0x10);
    EXPECT(output, false);
    out(0x20, EOI);
    EXPECT(output, true);
    EXPECT(pic_acknowledge(&pic), 0x35);
}

TEST(pic_cascade, "an input of the second chip comes through input 2, and both are ended")
{
    begin(0x01);
    pic_set(&pic, 12, true);
    EXPECT(pic_acknowledge(&pic), 0x3c);
    EXPECT(isr(0x20), 0x04);
    EXPECT(isr(0xa0), 0x10);
    /* One more of the second, and less urgent: held back by both. */
    pic_set(&pic, 14, true);
    EXPECT(output, false);
    out(0xa0, EOI);
    EXPECT(output, false);
    out(0x20, EOI);
    EXPECT(output, true);
    EXPECT(pic_acknowledge(&pic), 0x3e);
}

TEST(pic_special_fully_nested,
     "in special fully nested mode the second chip's more urgent request comes through")
{
    begin(0x11);
    pic_set(&pic, 12, true);
    EXPECT(pic_acknowledge(&pic), 0x3c);
    pic_set(&pic, 8, true);
    EXPECT(output, true);
    EXPECT(pic_acknowledge(&pic), 0x38);
    begin(0x01);
    pic_set(&pic, 12, true);
    EXPECT(pic_acknowledge(&pic), 0x3c);
    pic_set(&pic, 8, true);
    EXPECT(output, false);
}

TEST(pic_level, "a level-triggered input requests for as long as it is high; inputs 0, 1, 2, 8 and "
                "13 can't be it")
{
    begin(0x01);
    out(0x4d0, 0xff), out(0x4d1, 0xff);
    EXPECT(in(0x4d0), 0xf8);
    EXPECT(in(0x4d1), 0xde);
    pic_set(&pic, 11, true);
    EXPECT(pic_acknowledge(&pic), 0x3b);
    out(0xa0, EOI), out(0x20, EOI);
    EXPECT(output, true);
    EXPECT(pic_acknowledge(&pic), 0x3b);
    pic_set(&pic, 11, false);
    out(0xa0, EOI), out(0x20, EOI);
    EXPECT(output, false);
}

TEST(pic_initialization_forgets,
     "ICW1 clears mask, service and edges; a level that is high stays requested")
{
    begin(0x01);
    out(0x4d0, 0x20);
    pic_set(&pic, 3, true), pic_set(&pic, 5, true), pic_set(&pic, 6, true);
    EXPECT(pic_acknowledge(&pic), 0x33);
    out(0x21, 0xff);
    out(0x20, 0x11);
    EXPECT(output, false);
    out(0x21, 0x50), out(0x21, 0x04), out(0x21, 0x01);
    EXPECT(in(0x21), 0);
    EXPECT(irr(0x20), 0x20);
    EXPECT(isr(0x20), 0);
    EXPECT(pic_acknowledge(&pic), 0x55);
}

TEST(pic_short_initialization,
     "without ICW4, and single, the words that are not announced are not waited for")
{
    begin(0x03);
    out(0x20, 0x12), out(0x21, 0x60), out(0x21, 0x55);
    EXPECT(in(0x21), 0x55);
    pic_set(&pic, 1, true);
    EXPECT(pic_acknowledge(&pic), 0x61);
    EXPECT(isr(0x20), 0x02); /* automatic end of interrupt is gone with ICW4 */
}

TEST(pic_automatic_eoi,
     "with automatic end of interrupt nothing stays in service, and rotation turns")
{
    begin(0x03);
    pic_set(&pic, 4, true);
    EXPECT(pic_acknowledge(&pic), 0x34);
    EXPECT(isr(0x20), 0);
    out(0x20, 0x80); /* rotate in automatic mode */
    pic_set(&pic, 1, true);
    EXPECT(pic_acknowledge(&pic), 0x31);
    pic_set(&pic, 0, true), pic_set(&pic, 6, true);
    EXPECT(pic_acknowledge(&pic), 0x36); /* 1 is the lowest now: 2, 3, ... 7, 0, 1 */
    out(0x20, 0x00);
    EXPECT(pic_acknowledge(&pic), 0x30); /* 6 was the lowest; it does not turn any more */
    pic_set(&pic, 7, true), pic_set(&pic, 1, false), pic_set(&pic, 1, true);
    EXPECT(pic_acknowledge(&pic), 0x37);
}

TEST(pic_rotation, "rotating end of interrupt makes what was served the least urgent; set priority "
                   "does so without")
{
    begin(0x01);
    pic_set(&pic, 2 + 1, true);
    EXPECT(pic_acknowledge(&pic), 0x33);
    out(0x20, 0xa0); /* rotate on non-specific end */
    EXPECT(isr(0x20), 0);
    pic_set(&pic, 3, false), pic_set(&pic, 3, true);
    pic_set(&pic, 7, true);
    EXPECT(pic_acknowledge(&pic), 0x37);
    out(0x20, 0x67); /* specific end of 7 */
    EXPECT(isr(0x20), 0);
    out(0x20, 0xc0 | 4); /* 5 is the most urgent */
    pic_set(&pic, 5, true);
    EXPECT(pic_acknowledge(&pic), 0x35);
    out(0x20, 0xe0 | 5); /* rotate on specific end */
    EXPECT(isr(0x20), 0);
    pic_set(&pic, 6, true);
    EXPECT(pic_acknowledge(&pic), 0x36);
}

TEST(pic_special_mask,
     "in special mask mode what is masked holds nothing back, and a plain end leaves it in service")
{
    begin(0x01);
    pic_set(&pic, 3, true);
    EXPECT(pic_acknowledge(&pic), 0x33);
    pic_set(&pic, 6, true);
    EXPECT(output, false);
    out(0x21, 0x08), out(0x20, MASK_SET);
    EXPECT(output, true);
    EXPECT(pic_acknowledge(&pic), 0x36);
    out(0x20, EOI);
    EXPECT(isr(0x20), 0x08);
    out(0x20, MASK_CLEAR);
    out(0x20, EOI);
    EXPECT(isr(0x20), 0);
}

TEST(pic_poll, "a poll acknowledges by a read, at either address, and says if there was something")
{
    begin(0x01);
    out(0x20, POLL);
    EXPECT(in(0x20) & 0x80, 0);
    pic_set(&pic, 5, true);
    out(0x20, POLL);
    EXPECT(in(0x21), 0x85);
    EXPECT(output, false);
    EXPECT(isr(0x20), 0x20);
    pic_set(&pic, 10, true);
    out(0xa0, POLL);
    EXPECT(in(0xa0), 0x82);
    EXPECT(isr(0xa0), 0x04);
}

TEST(pic_wide_accesses, "only bytes go to a chip; the edge/level registers are read as a word too")
{
    uint64_t value;
    begin(0x01);
    CHECK(!bus_read(&ports, 0x20, 2, &value));
    CHECK(!bus_write(&ports, 0x20, 2, 0));
    CHECK(bus_write(&ports, 0x4d0, 2, 0x0e20));
    CHECK(bus_read(&ports, 0x4d0, 2, &value));
    EXPECT(value, 0x0e20);
}
