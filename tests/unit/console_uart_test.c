/*
 * The console server's UART, with a port that does something between any two accesses, and an interrupt by edges.
 * links:
 */
#include "unit_test.h"

/* The port is this test's. */
#define LIB_PORT_H
static uint8_t port_read8(uint16_t port);
static void port_write8(uint16_t port, uint8_t value);

#include "console-server/uart.c"

enum { PORT = 0x3f8, CAUSE_RECEIVED = 4, CAUSE_TRANSMITTER = 2, MESSAGE_BYTES = 2000 };

/* A 16550A (8.1-8.6): what it has received, what it has to send, and its interrupt line. */
static struct {
    uint8_t ier, received[FIFO_BYTES];
    unsigned received_count, sending;
    bool transmitter_empty, high, edge; /* edge: the line has risen, and nobody has looked since */
    int stuck;                          /* 0 to 255: whatever is read is this; else -1 */
    void (*between)(void);              /* before each access */
} chip;
static struct uart uart;
static uint8_t coming, got[MESSAGE_BYTES];
static unsigned came, got_count, accesses;

static uint8_t cause(void)
{
    if ((chip.ier & IER_RECEIVED) && chip.received_count)
        return CAUSE_RECEIVED;
    return (chip.ier & IER_TRANSMITTER_EMPTY) && chip.transmitter_empty ? CAUSE_TRANSMITTER
                                                                        : IIR_NONE;
}

static void update_line(void)
{
    bool high = cause() != IIR_NONE;
    chip.edge |= high && !chip.high;
    chip.high = high;
}

static void byte_comes(void)
{
    if (chip.received_count == FIFO_BYTES || came == MESSAGE_BYTES)
        return;
    chip.received[chip.received_count++] = coming++;
    came++;
    update_line();
}

static void all_is_sent(void)
{
    chip.transmitter_empty |= chip.sending > 0;
    chip.sending = 0;
    update_line();
}

static uint8_t port_read8(uint16_t port)
{
    uint8_t value = 0;
    accesses++;
    if (chip.stuck >= 0)
        return (uint8_t)chip.stuck;
    if (chip.between)
        chip.between();
    switch (port - PORT) {
    case DATA:
        CHECK(chip.received_count > 0);
        value = chip.received[0];
        memmove(chip.received, chip.received + 1, --chip.received_count);
        break;
    case IIR:
        value = cause();
        if (value == CAUSE_TRANSMITTER)
            chip.transmitter_empty = false;
        break;
    case LSR:
        value = (uint8_t)((chip.received_count ? LSR_RECEIVED : 0) |
                          (chip.sending ? 0 : LSR_TRANSMITTER_EMPTY));
        break;
    default: unit_fail(__FILE__, __LINE__, "a register is read that has nothing to say");
    }
    update_line();
    return value;
}

static void port_write8(uint16_t port, uint8_t value)
{
    if (chip.between)
        chip.between();
    if (port == PORT + DATA) {
        CHECK(chip.sending < FIFO_BYTES);
        chip.sending++;
        chip.transmitter_empty = false;
    } else if (port == PORT + IER) {
        chip.transmitter_empty |= (value & ~chip.ier & IER_TRANSMITTER_EMPTY) && !chip.sending;
        chip.ier = value;
    }
    update_line();
}

static void start(void)
{
    memset(&chip, 0, sizeof chip);
    chip.stuck = -1;
    came = got_count = accesses = coming = 0;
    uart_start(&uart, PORT);
}

/* What the server does, as often as an edge tells it to. */
static void serve_edges(void)
{
    while (chip.edge) {
        size_t n;
        chip.edge = false;
        while ((n = uart_receive(&uart, got + got_count, sizeof got - got_count)) > 0)
            got_count += (unsigned)n;
        uart_send(&uart);
    }
}

static void anything_happens(void)
{
    switch (unit_random() % 8) {
    case 0: byte_comes(); break;
    case 1: all_is_sent(); break;
    default: break;
    }
}

TEST(console_uart_edges, "whatever comes when, no byte waits for an edge that does not come")
{
    static const uint8_t output[3 * FIFO_BYTES];
    start();
    chip.between = anything_happens;
    while (came < MESSAGE_BYTES) {
        if (uart_room(&uart) > UART_QUEUE_BYTES - FIFO_BYTES)
            uart_queue(&uart, output, 1 + unit_random() % sizeof output);
        uart_send(&uart);
        byte_comes();
        all_is_sent();
        serve_edges();
        EXPECT(got_count, came);
    }
    for (unsigned i = 0; i < MESSAGE_BYTES; i++)
        EXPECT(got[i], i & 0xff);
}

TEST(console_uart_absent, "a port that is not there has nothing to say, and is soon let be")
{
    uint8_t byte;
    start();
    accesses = 0;
    chip.stuck = ABSENT;
    EXPECT(uart_receive(&uart, &byte, 1), 0);
    CHECK(accesses <= 2);
}

TEST(console_uart_stuck, "a port that tells of an interrupt for ever holds nobody for ever")
{
    uint8_t byte;
    start();
    chip.stuck = CAUSE_TRANSMITTER;
    EXPECT(uart_receive(&uart, &byte, 1), 0);
}
