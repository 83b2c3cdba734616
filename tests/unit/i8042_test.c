/* links: vmm-server/devices/i8042.c vmm-server/devices/i8042_devices.c vmm-server/bus.c lib/print.c */
#include "unit_test.h"

#include "chip_machine.h"

#include "devices/i8042.h"

#define OUTPUT_FULL 0x01
#define FROM_MOUSE  0x20
#define ACK         0xfa

static struct i8042 i8042;
static struct test_line keyboard, mouse;
static bool a20;
static unsigned resets;

static void set_a20(struct i8042 *from, bool on)
{
    CHECK(from == &i8042);
    a20 = on;
}

static void reset(struct i8042 *from)
{
    CHECK(from == &i8042);
    resets++;
}

static void begin(void)
{
    machine_start();
    keyboard = new_line(), mouse = new_line();
    a20 = true;
    resets = 0;
    i8042_init(&i8042, &keyboard.line, &mouse.line, NULL);
    i8042.a20 = set_a20;
    i8042.reset = reset;
    CHECK(i8042_attach(&i8042, &ports));
}

static uint8_t get(void)
{
    CHECK(in(0x64) & OUTPUT_FULL);
    return in(0x60);
}

/* Command byte; both devices on, interrupts as given. */
static void configure(uint8_t value)
{
    out(0x64, 0x60), out(0x60, value);
}

static void to_mouse(uint8_t value)
{
    out(0x64, 0xd4), out(0x60, value);
}

static bool is_empty(void)
{
    return !(in(0x64) & OUTPUT_FULL);
}

TEST(i8042_self_tests, "self test, line tests and what they leave")
{
    begin();
    EXPECT(in(0x64), 0x10);
    out(0x64, 0xaa);
    EXPECT(in(0x64) & 0x0d, 0x0d);
    EXPECT(get(), 0x55);
    EXPECT(in(0x64) & 0x04, 0x04);
    out(0x64, 0xab);
    EXPECT(get(), 0);
    out(0x64, 0xa9);
    EXPECT(get(), 0);
    EXPECT(is_empty(), true);
}

TEST(i8042_memory, "the command byte and the other bytes of memory are written and read")
{
    begin();
    out(0x64, 0x20);
    EXPECT(get(), 0x70);
    configure(0x47);
    out(0x64, 0x20);
    EXPECT(get(), 0x47);
    out(0x64, 0x60 + 17), out(0x60, 0xa5);
    out(0x64, 0x20 + 17);
    EXPECT(get(), 0xa5);
    out(0x64, 0xa7);
    out(0x64, 0xad);
    out(0x64, 0x20);
    EXPECT(get(), 0x77);
    out(0x64, 0xa8), out(0x64, 0xae);
    out(0x64, 0x20);
    EXPECT(get(), 0x47);
}

TEST(i8042_keyboard_interrupt,
     "a byte from the keyboard raises IRQ 1 until it is read, and the next raises it again")
{
    begin();
    configure(0x45);
    CHECK(i8042_key(&i8042, 0x1e, false, true));
    CHECK(i8042_key(&i8042, 0x1e, false, false));
    EXPECT(keyboard.rises, 1);
    EXPECT(get(), 0x1e);
    EXPECT(keyboard.rises, 2);
    EXPECT(get(), 0x9e);
    EXPECT(keyboard.high, false);
    EXPECT(is_empty(), true);
    EXPECT(in(0x60), 0x9e); /* an empty buffer shows its last byte */
    EXPECT(mouse.rises, 0);
}

TEST(i8042_translation,
     "without translation set 2 comes through, with break prefixes; extended keys have theirs")
{
    begin();
    configure(0x04);
    CHECK(i8042_key(&i8042, 0x1e, false, true));
    CHECK(i8042_key(&i8042, 0x1e, false, false));
    EXPECT(get(), 0x1c);
    EXPECT(get(), 0xf0);
    EXPECT(get(), 0x1c);
    CHECK(i8042_key(&i8042, 0x48, true, true)); /* up */
    CHECK(i8042_key(&i8042, 0x48, true, false));
    EXPECT(get(), 0xe0);
    EXPECT(get(), 0x75);
    EXPECT(get(), 0xe0);
    EXPECT(get(), 0xf0);
    EXPECT(get(), 0x75);
    configure(0x44);
    CHECK(i8042_key(&i8042, 0x48, true, true));
    CHECK(i8042_key(&i8042, 0x48, true, false));
    EXPECT(get(), 0xe0);
    EXPECT(get(), 0x48);
    EXPECT(get(), 0xe0);
    EXPECT(get(), 0xc8);
}

TEST(i8042_every_key, "every key of set 1 comes back as itself through set 2 and translation")
{
    begin();
    configure(0x44);
    unsigned keys = 0;
    for (unsigned number = 1; number < 0x80; number++) {
        if (!i8042_key(&i8042, (uint8_t)number, false, true))
            continue;
        EXPECT(get(), number);
        CHECK(i8042_key(&i8042, (uint8_t)number, false, false));
        EXPECT(get(), number | 0x80);
        keys++;
    }
    CHECK(keys >= 0x58);
}

TEST(i8042_keyboard_commands,
     "reset, identification, lights, rate, echo, resend, and what is no command")
{
    begin();
    configure(0x04);
    out(0x60, 0xff);
    EXPECT(get(), ACK);
    EXPECT(get(), 0xaa);
    out(0x60, 0xf2);
    EXPECT(get(), ACK);
    EXPECT(get(), 0xab);
    EXPECT(get(), 0x83);
    out(0x60, 0xfe);
    EXPECT(get(), 0x83);
    out(0x60, 0xed);
    EXPECT(get(), ACK);
    out(0x60, 0x07);
    EXPECT(get(), ACK);
    out(0x60, 0xf3);
    EXPECT(get(), ACK);
    out(0x60, 0x20);
    EXPECT(get(), ACK);
    out(0x60, 0xee);
    EXPECT(get(), 0xee);
    out(0x60, 0x12);
    EXPECT(get(), 0xfe);
    /* A command where an argument was waited for is a command. */
    out(0x60, 0xed);
    EXPECT(get(), ACK);
    out(0x60, 0xee);
    EXPECT(get(), 0xee);
    EXPECT(is_empty(), true);
}

TEST(i8042_identification_translated,
     "with translation the second byte of the keyboard's number is 0x41")
{
    begin();
    configure(0x44);
    out(0x60, 0xf2);
    EXPECT(get(), ACK);
    EXPECT(get(), 0xab);
    EXPECT(get(), 0x41);
}

TEST(i8042_scan_sets, "set 1 and 2 are chosen and told; set 3 is refused")
{
    begin();
    configure(0x04);
    out(0x60, 0xf0);
    EXPECT(get(), ACK);
    out(0x60, 0x00);
    EXPECT(get(), ACK);
    EXPECT(get(), 2);
    out(0x60, 0xf0);
    EXPECT(get(), ACK);
    out(0x60, 0x01);
    EXPECT(get(), ACK);
    CHECK(i8042_key(&i8042, 0x1e, false, true));
    EXPECT(get(), 0x1e);
    CHECK(i8042_key(&i8042, 0x1e, false, false));
    EXPECT(get(), 0x9e);
    out(0x60, 0xf0);
    EXPECT(get(), ACK);
    out(0x60, 0x03);
    EXPECT(get(), 0xfe);
}

TEST(i8042_keyboard_off, "a disabled keyboard takes no key; a disabled port keeps its bytes back")
{
    begin();
    configure(0x04);
    out(0x60, 0xf5);
    EXPECT(get(), ACK);
    EXPECT(i8042_key(&i8042, 0x1e, false, true), false);
    out(0x60, 0xf4);
    EXPECT(get(), ACK);
    out(0x64, 0xad);
    CHECK(i8042_key(&i8042, 0x1e, false, true));
    EXPECT(is_empty(), true);
    out(0x64, 0xae);
    EXPECT(get(), 0x1c);
}

TEST(i8042_full, "keys beyond the keyboard's memory are refused, and room is told")
{
    begin();
    configure(0x44);
    CHECK(i8042_room(&i8042) > 1);
    unsigned taken = 0;
    while (taken < 100 && i8042_key(&i8042, 0x1e, false, true))
        taken++;
    CHECK(taken > 10 && taken < 100);
    EXPECT(i8042_room(&i8042), 0);
    for (unsigned i = 0; i < taken; i++)
        EXPECT(get(), 0x1e);
    EXPECT(is_empty(), true);
    CHECK(i8042_room(&i8042) > 1);
}

TEST(i8042_mouse_commands, "the mouse resets, tells its number, status and a packet, on IRQ 12")
{
    begin();
    configure(0x47);
    to_mouse(0xff);
    EXPECT(in(0x64) & FROM_MOUSE, FROM_MOUSE);
    EXPECT(mouse.rises, 1);
    EXPECT(get(), ACK);
    EXPECT(get(), 0xaa);
    EXPECT(get(), 0x00);
    EXPECT(mouse.rises, 3);
    EXPECT(keyboard.rises, 0);
    to_mouse(0xf2);
    EXPECT(get(), ACK);
    EXPECT(get(), 0);
    to_mouse(0xe8);
    EXPECT(get(), ACK);
    to_mouse(3);
    EXPECT(get(), ACK);
    to_mouse(0xe7);
    EXPECT(get(), ACK);
    to_mouse(0xf4);
    EXPECT(get(), ACK);
    to_mouse(0xe9);
    EXPECT(get(), ACK);
    EXPECT(get(), 0x30);
    EXPECT(get(), 3);
    EXPECT(get(), 100);
    to_mouse(0xeb);
    EXPECT(get(), ACK);
    EXPECT(get(), 0x08);
    EXPECT(get(), 0);
    EXPECT(get(), 0);
    to_mouse(0x01);
    EXPECT(get(), 0xfe);
}

static void mouse_rate(uint8_t rate)
{
    to_mouse(0xf3);
    EXPECT(get(), ACK);
    to_mouse(rate);
    EXPECT(get(), ACK);
}

TEST(i8042_wheel, "three rates in a row make it a wheel mouse, whose packets have four bytes; "
                  "reset takes it back")
{
    begin();
    configure(0x47);
    mouse_rate(200), mouse_rate(100), mouse_rate(80);
    to_mouse(0xf2);
    EXPECT(get(), ACK);
    EXPECT(get(), 3);
    to_mouse(0xeb);
    for (unsigned i = 0; i < 5; i++)
        get();
    EXPECT(is_empty(), true);
    mouse_rate(200), mouse_rate(200), mouse_rate(80);
    to_mouse(0xf2);
    EXPECT(get(), ACK);
    EXPECT(get(), 4);
    to_mouse(0xff);
    EXPECT(get(), ACK);
    EXPECT(get(), 0xaa);
    EXPECT(get(), 0);
    to_mouse(0xf2);
    EXPECT(get(), ACK);
    EXPECT(get(), 0);
}

TEST(i8042_mouse_wraps, "in wrap mode the mouse sends back what it is told, until the end of it")
{
    begin();
    configure(0x47);
    to_mouse(0xee);
    EXPECT(get(), ACK);
    to_mouse(0x5a);
    EXPECT(get(), 0x5a);
    to_mouse(0xf2);
    EXPECT(get(), 0xf2);
    to_mouse(0xec);
    EXPECT(get(), ACK);
    to_mouse(0xf2);
    EXPECT(get(), ACK);
}

TEST(i8042_loop_back, "bytes as from keyboard and mouse come with the interrupt of each")
{
    begin();
    configure(0x47);
    out(0x64, 0xd2), out(0x60, 0x77);
    EXPECT(keyboard.rises, 1);
    EXPECT(get(), 0x77);
    out(0x64, 0xd3), out(0x60, 0x78);
    EXPECT(mouse.rises, 1);
    EXPECT(in(0x64) & FROM_MOUSE, FROM_MOUSE);
    EXPECT(get(), 0x78);
}

TEST(i8042_output_port, "A20 and reset by the output port, by their commands and by a pulse")
{
    begin();
    out(0x64, 0xd1), out(0x60, 0xdd);
    EXPECT(a20, false);
    out(0x64, 0xd0);
    EXPECT(get() & 0x02, 0);
    out(0x64, 0xdf);
    EXPECT(a20, true);
    out(0x64, 0xdd);
    EXPECT(a20, false);
    i8042_show_a20(&i8042, true);
    out(0x64, 0xd0);
    EXPECT(get() & 0x03, 0x03);
    EXPECT(resets, 0);
    out(0x64, 0xff);
    EXPECT(resets, 0);
    out(0x64, 0xfe);
    EXPECT(resets, 1);
    out(0x64, 0xd1), out(0x60, 0xde);
    EXPECT(resets, 2);
}

TEST(i8042_random, "no order of bytes breaks it")
{
    begin();
    srand((unsigned)unit_seed);
    for (unsigned i = 0; i < 300000; i++) {
        uint16_t port = rand() % 2 ? 0x60 : 0x64;
        if (rand() % 2)
            out(port, (uint8_t)rand());
        else
            in(port);
        if (rand() % 4 == 0)
            i8042_key(&i8042, (uint8_t)rand(), rand() % 2, rand() % 2);
        CHECK(i8042.answers.count <= I8042_QUEUE && i8042.keyboard.queue.count <= I8042_QUEUE);
    }
}
