/* links: vmm-server/devices/ioapic.c lib/print.c */
#include "unit_test.h"

#include "devices/ioapic.h"

static struct ioapic ioapic;
static struct bus_range window;
static struct apic_message sent[64];
static unsigned sent_count;

bool bus_add(struct bus *bus, const struct bus_range *range)
{
    (void)bus;
    window = *range;
    return true;
}

static void record(struct ioapic *from, const struct apic_message *message)
{
    CHECK(from == &ioapic && sent_count < 64);
    sent[sent_count++] = *message;
}

static void start(void)
{
    ioapic_init(&ioapic, record, NULL);
    CHECK(ioapic_attach(&ioapic, NULL, IOAPIC_ADDRESS));
    sent_count = 0;
}

static uint32_t get(uint32_t number)
{
    uint64_t value = 0;
    CHECK(window.operations->write(window.device, 0, 4, number));
    CHECK(window.operations->read(window.device, 0x10, 4, &value));
    return (uint32_t)value;
}

static void set(uint32_t number, uint32_t value)
{
    CHECK(window.operations->write(window.device, 0, 4, number));
    CHECK(window.operations->write(window.device, 0x10, 4, value));
}

static void line(unsigned pin, bool high)
{
    struct interrupt_line *input = ioapic_input(&ioapic, pin);
    input->set(input, high);
}

#define LOW(pin)  (0x10 + 2 * (pin))
#define HIGH(pin) (0x11 + 2 * (pin))
#define LEVEL     0x8000u
#define MASKED    0x10000u
#define REMOTE    0x4000u

TEST(ioapic_after_reset, "every pin is masked, the version says 24 pins")
{
    start();
    EXPECT(window.base, IOAPIC_ADDRESS);
    EXPECT(get(1), 0x00170011);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        EXPECT(get(LOW(pin)), MASKED);
        EXPECT(get(HIGH(pin)), 0);
        line(pin, true);
    }
    EXPECT(sent_count, 0);
    EXPECT(get(0x10 + 2 * IOAPIC_PINS), 0);
}

TEST(ioapic_registers, "what is writable is kept, what is not is not, and the ID has four bits")
{
    start();
    set(LOW(3), 0xffffffff);
    set(HIGH(3), 0xffffffff);
    EXPECT(get(LOW(3)), 0x1afff);
    EXPECT(get(HIGH(3)), 0xff000000);
    set(0, 0xffffffff);
    EXPECT(get(0), 0x0f000000);
    set(1, 0xffffffff);
    EXPECT(get(1), 0x00170011);
    set(0xff, 0x12345678); /* nobody is there, nothing happens */
    EXPECT(get(0xff), 0);
}

TEST(ioapic_undefined_accesses, "other sizes and offsets are refused")
{
    uint64_t value;
    start();
    EXPECT(window.operations->read(window.device, 0, 1, &value), false);
    EXPECT(window.operations->read(window.device, 0x10, 8, &value), false);
    EXPECT(window.operations->read(window.device, 0x20, 4, &value), false);
    EXPECT(window.operations->write(window.device, 0x10, 2, 0), false);
    EXPECT(window.operations->write(window.device, 0x40, 4, 0), false);
}

TEST(ioapic_edge, "an edge sends one message; staying high, falling and masked edges send none")
{
    start();
    set(HIGH(4), 0x02000000);
    set(LOW(4), 0x31);
    line(4, true);
    EXPECT(sent_count, 1);
    EXPECT(sent[0].vector, 0x31);
    EXPECT(sent[0].destination, 2);
    EXPECT(sent[0].delivery, APIC_FIXED);
    EXPECT(sent[0].shorthand, 0);
    CHECK(!sent[0].logical && !sent[0].level && sent[0].assert);
    line(4, true);
    line(4, false);
    EXPECT(sent_count, 1);
    line(4, true);
    EXPECT(sent_count, 2);
    EXPECT(get(LOW(4)), 0x31);
    line(4, false);
    set(LOW(4), MASKED | 0x31);
    line(4, true);
    set(LOW(4), 0x31);
    EXPECT(sent_count, 2);
}

TEST(ioapic_level, "a level is sent once until its end of interrupt, and again if it is still high")
{
    start();
    set(LOW(9), LEVEL | 0x45);
    line(9, true);
    EXPECT(sent_count, 1);
    CHECK(sent[0].level);
    EXPECT(get(LOW(9)), LEVEL | REMOTE | 0x45);
    line(9, false);
    line(9, true);
    EXPECT(sent_count, 1);
    ioapic_end_of_interrupt(&ioapic, 0x44); /* another's */
    EXPECT(sent_count, 1);
    ioapic_end_of_interrupt(&ioapic, 0x45);
    EXPECT(sent_count, 2);
    line(9, false);
    ioapic_end_of_interrupt(&ioapic, 0x45);
    EXPECT(sent_count, 2);
    EXPECT(get(LOW(9)), LEVEL | 0x45);
}

TEST(ioapic_level_masked, "a level that is high when its pin is unmasked is sent then")
{
    start();
    set(LOW(9), LEVEL | MASKED | 0x45);
    line(9, true);
    EXPECT(sent_count, 0);
    set(LOW(9), LEVEL | 0x45);
    EXPECT(sent_count, 1);
    set(LOW(9), LEVEL | MASKED | 0x45);
    EXPECT(get(LOW(9)), LEVEL | MASKED | REMOTE | 0x45);
    ioapic_end_of_interrupt(&ioapic, 0x45);
    EXPECT(sent_count, 1);
    EXPECT(get(LOW(9)), LEVEL | MASKED | 0x45);
}

TEST(ioapic_edge_clears_remote, "a write that makes a pin edge-triggered clears its remote IRR")
{
    start();
    set(LOW(9), LEVEL | 0x45);
    line(9, true);
    set(LOW(9), MASKED | 0x45);
    EXPECT(get(LOW(9)), MASKED | 0x45);
    set(LOW(9), LEVEL | 0x45);
    EXPECT(sent_count, 2);
}

TEST(ioapic_message_forms, "delivery mode, logical destination and broadcast go into the message")
{
    start();
    set(HIGH(1), 0xff000000);
    set(LOW(1), 0x0800 | APIC_LOWEST << 8 | 0x50);
    line(1, true);
    EXPECT(sent[0].delivery, APIC_LOWEST);
    EXPECT(sent[0].destination, APIC_BROADCAST);
    CHECK(sent[0].logical);
    set(HIGH(2), 0x03000000);
    set(LOW(2), APIC_NMI << 8);
    line(2, true);
    EXPECT(sent[1].delivery, APIC_NMI);
    EXPECT(sent[1].destination, 3);
}

TEST(ioapic_two_pins_one_vector, "an end of interrupt frees every pin with its vector")
{
    start();
    set(LOW(5), LEVEL | 0x60);
    set(LOW(6), LEVEL | 0x60);
    line(5, true);
    line(6, true);
    EXPECT(sent_count, 2);
    line(5, false);
    ioapic_end_of_interrupt(&ioapic, 0x60);
    EXPECT(sent_count, 3);
    EXPECT(get(LOW(5)), LEVEL | 0x60);
    EXPECT(get(LOW(6)), LEVEL | REMOTE | 0x60);
}

TEST(ioapic_reset_keeps_lines, "a reset masks all pins and leaves the levels of the lines")
{
    start();
    line(7, true);
    set(LOW(7), LEVEL | 0x70);
    EXPECT(sent_count, 1);
    ioapic_reset(&ioapic);
    EXPECT(get(LOW(7)), MASKED);
    set(LOW(7), LEVEL | 0x71);
    EXPECT(sent_count, 2);
    EXPECT(sent[1].vector, 0x71);
}

static void count_only(struct ioapic *from, const struct apic_message *message)
{
    CHECK(from == &ioapic && message->assert && message->shorthand == 0);
    sent_count++;
}

TEST(ioapic_garbage, "random writes, lines and ends of interrupt keep its promises: no level is "
                     "sent twice, none is lost")
{
    ioapic_init(&ioapic, count_only, NULL);
    CHECK(ioapic_attach(&ioapic, NULL, IOAPIC_ADDRESS));
    for (unsigned i = 0; i < 200000; i++) {
        uint64_t random = unit_random(), value;
        uint32_t remote = 0;
        for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
            remote |= (ioapic.entries[pin] & REMOTE ? 1u : 0) << pin;
        sent_count = 0;
        switch (random & 3) {
        case 0: window.operations->write(window.device, random >> 8 & 0x30, 4, random >> 32); break;
        case 1: line((random >> 8 & 0xff) % IOAPIC_PINS, random >> 16 & 1); break;
        case 2: ioapic_end_of_interrupt(&ioapic, (uint8_t)(random >> 8)); break;
        default: window.operations->read(window.device, random >> 8 & 0x30, 4, &value);
        }
        for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
            uint64_t entry = ioapic.entries[pin];
            bool waits =
                (ioapic.lines >> pin & 1) && (entry & LEVEL) && !(entry & (MASKED | REMOTE));
            CHECK(!waits);
            CHECK(!(entry & REMOTE) || (entry & LEVEL));
            /* What waits for its end before and after was not sent in between, unless it was ended. */
            if ((random & 3) == 1 && (remote >> pin & 1))
                CHECK(entry & REMOTE);
        }
        CHECK(sent_count <= IOAPIC_PINS);
    }
}
