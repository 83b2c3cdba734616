/* links: vmm-server/devices/uart.c lib/print.c */
#include "unit_test.h"

#include "devices/uart.h"

static struct uart uart;
static struct bus_range window;
static uint8_t output[256];
static const char *input = "";
static size_t output_count, output_room, input_count;
static bool high;
static unsigned edges;

bool bus_add(struct bus *bus, const struct bus_range *range)
{
    (void)bus;
    window = *range;
    return true;
}

static size_t far_write(struct character_backend *backend, const void *data, size_t size_bytes)
{
    size_t count = size_bytes < output_room ? size_bytes : output_room;
    (void)backend;
    CHECK(output_count + count <= sizeof output);
    memcpy(output + output_count, data, count);
    output_count += count;
    output_room -= count;
    return count;
}

static size_t far_read(struct character_backend *backend, void *data, size_t size_bytes)
{
    size_t count = size_bytes < input_count ? size_bytes : input_count;
    (void)backend;
    memcpy(data, input, count);
    input += count;
    input_count -= count;
    return count;
}

static void set_line(struct interrupt_line *line, bool to)
{
    (void)line;
    edges += to && !high;
    high = to;
}

static struct character_backend backend = {far_write, far_read};
static struct interrupt_line line = {set_line};

static void start(void)
{
    output_count = input_count = edges = 0;
    output_room = sizeof output;
    uart_init(&uart, &backend, &line);
    CHECK(uart_attach(&uart, NULL, 0x3f8));
    EXPECT(window.base, 0x3f8);
    EXPECT(window.size, 8);
}

static uint8_t in(unsigned port)
{
    uint64_t value = 0;
    CHECK(window.operations->read(window.device, port, 1, &value));
    return (uint8_t)value;
}

static void out(unsigned port, uint8_t value)
{
    CHECK(window.operations->write(window.device, port, 1, value));
}

static void typed(const char *text)
{
    input = text;
    input_count = strlen(text);
    uart_input(&uart);
}

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = 2 };

TEST(uart_after_reset, "the registers have their reset values (table III)")
{
    start();
    EXPECT(in(IER), 0);
    EXPECT(in(IIR), 0x01);
    EXPECT(in(LCR), 0);
    EXPECT(in(MCR), 0);
    EXPECT(in(LSR), 0x60);
    EXPECT(in(MSR), 0xb0);
    CHECK(!high);
}

TEST(uart_found_by_linux,
     "it is found as a 16550A: IER, scratch, divisor latch, FIFO bits, loopback")
{
    start();
    out(IER, 0xff);
    EXPECT(in(IER), 0x0f);
    out(IER, 0);
    out(SCR, 0xa5);
    EXPECT(in(SCR), 0xa5);
    out(LCR, 0x80);
    out(DATA, 0x12);
    out(IER, 0x34);
    EXPECT(in(DATA), 0x12);
    EXPECT(in(IER), 0x34);
    EXPECT(output_count, 0);
    out(LCR, 3);
    EXPECT(in(IER), 0);
    out(FCR, 1);
    EXPECT(in(IIR), 0xc1);
    out(FCR, 0);
    EXPECT(in(IIR), 0x01);
    out(MCR, 0x1a);
    EXPECT(in(MSR), 0x90); /* RTS and OUT2 come back as CTS and DCD */
    out(MCR, 0x15);
    EXPECT(in(MSR), 0x60);
}

TEST(uart_sends, "a character goes out at once and the transmitter is empty again")
{
    start();
    out(DATA, 'x');
    EXPECT(output_count, 1);
    EXPECT(output[0], 'x');
    EXPECT(in(LSR), 0x60);
}

TEST(uart_transmit_interrupt,
     "THRE interrupts when enabled and after each emptying; reading IIR takes it")
{
    start();
    out(IER, 2);
    CHECK(high);
    EXPECT(in(IIR), 0x02);
    CHECK(!high);
    EXPECT(in(IIR), 0x01);
    out(DATA, 'a');
    CHECK(high);
    edges = 0;
    out(DATA, 'b');
    EXPECT(edges, 1); /* low, then high */
    EXPECT(in(IIR), 0x02);
    out(IER, 0);
    out(IER, 2);
    EXPECT(in(IIR), 0x02);
}

TEST(uart_back_pressure, "while the far end is full characters wait, in order, and THRE says so")
{
    start();
    out(FCR, 1);
    out(IER, 2);
    in(IIR);
    output_room = 3;
    for (unsigned i = 0; i < 16; i++)
        out(DATA, (uint8_t)('a' + i));
    EXPECT(output_count, 3);
    EXPECT(in(LSR), 0);
    in(IIR); /* of the first three */
    CHECK(!high);
    output_room = 5;
    uart_room(&uart);
    EXPECT(in(LSR), 0);
    CHECK(!high);
    output_room = 100;
    uart_room(&uart);
    EXPECT(output_count, 16);
    CHECK(memcmp(output, "abcdefghijklmnop", 16) == 0);
    EXPECT(in(LSR), 0x60);
    CHECK(high);
    EXPECT(in(IIR), 0xc2);
}

TEST(uart_transmit_overrun, "a full transmit FIFO keeps what is in it, but for the last character")
{
    start();
    out(FCR, 1);
    output_room = 0;
    for (unsigned i = 0; i < 20; i++)
        out(DATA, (uint8_t)('a' + i));
    output_room = 100;
    uart_room(&uart);
    EXPECT(output_count, 16);
    CHECK(memcmp(output, "abcdefghijklmnot", 16) == 0);
}

TEST(uart_receives, "characters come in order, with data ready, and none is taken without room")
{
    start();
    typed("xyz");
    EXPECT(input_count, 2); /* one fits without FIFOs */
    EXPECT(in(LSR), 0x61);
    EXPECT(in(DATA), 'x');
    EXPECT(in(DATA), 'y');
    EXPECT(in(DATA), 'z');
    EXPECT(in(LSR), 0x60);
    out(FCR, 1);
    typed("0123456789abcdefghij");
    EXPECT(input_count, 4);
    for (const char *c = "0123456789abcdefghij"; *c; c++)
        EXPECT(in(DATA), *c);
    EXPECT(in(LSR), 0x60);
}

TEST(uart_receive_interrupt,
     "the trigger level decides between data and time-out; both are over when it is read")
{
    start();
    out(FCR, 0x81); /* 8 */
    out(IER, 1);
    typed("1234567");
    CHECK(high);
    EXPECT(in(IIR), 0xcc);
    typed("8");
    EXPECT(in(IIR), 0xc4);
    EXPECT(in(DATA), '1');
    EXPECT(in(IIR), 0xcc);
    for (unsigned i = 0; i < 7; i++)
        in(DATA);
    CHECK(!high);
    EXPECT(in(IIR), 0xc1);
}

TEST(uart_priorities, "overrun before data before transmitter")
{
    start();
    out(IER, 7);
    out(MCR, 0x10);
    out(DATA, 'a');
    out(DATA, 'b');
    EXPECT(in(IIR), 0x06);
    EXPECT(in(LSR), 0x63);
    EXPECT(in(IIR), 0x04);
    EXPECT(in(DATA), 'a');
    EXPECT(in(IIR), 0x02);
    EXPECT(in(IIR), 0x01);
    EXPECT(output_count, 0); /* nothing leaves it in loopback */
}

TEST(uart_loopback, "in loopback what is sent comes back, and the far end's input waits")
{
    start();
    out(FCR, 1);
    out(MCR, 0x10);
    typed("far");
    EXPECT(in(LSR), 0x60);
    for (unsigned i = 0; i < 16; i++)
        out(DATA, (uint8_t)i);
    for (unsigned i = 0; i < 16; i++)
        EXPECT(in(DATA), i);
    out(MCR, 0);
    EXPECT(in(DATA), 'f');
}

TEST(uart_clear_fifos, "FCR clears either FIFO, and both when it turns them on or off")
{
    start();
    out(FCR, 1);
    typed("abc");
    out(FCR, 3);
    EXPECT(in(LSR), 0x60);
    output_room = 0;
    out(DATA, 'x');
    EXPECT(in(LSR), 0);
    out(FCR, 5);
    EXPECT(in(LSR), 0x60);
    typed("abc");
    out(DATA, 'x');
    out(FCR, 0);
    EXPECT(in(LSR), 0x60);
}

TEST(uart_undefined_sizes, "accesses of more than a byte are refused")
{
    uint64_t value;
    start();
    for (unsigned size = 2; size <= 8; size *= 2) {
        EXPECT(window.operations->read(window.device, 0, size, &value), false);
        EXPECT(window.operations->write(window.device, 0, size, 0), false);
    }
}

TEST(uart_random_writes,
     "garbage on its registers loses no character of the far end's and overflows nothing")
{
    start();
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t random = unit_random();
        output_count = 0;
        output_room = random >> 32 & 31;
        if (random >> 40 & 1)
            out(random & 7, (uint8_t)(random >> 8));
        else
            in(random & 7);
        if ((random >> 41 & 7) == 0)
            typed("some text that is longer than a FIFO");
        if ((random >> 44 & 7) == 0)
            uart_room(&uart);
        CHECK(uart.rx_count <= 16 && uart.tx_count <= 16 && uart.rx_head < 16);
        CHECK(high == ((uart.ier & 4 && uart.lsr & 2) || (uart.ier & 1 && uart.rx_count) ||
                       (uart.ier & 2 && uart.thre_pending)));
    }
}
