/*
 * 16550A UART.
 *
 * State:    8 registers and the divisor latch, 16-byte receive and transmit FIFOs, one interrupt line.
 * Features: FIFO control and trigger levels, divisor latch (kept, not obeyed), loopback, scratch register; receive,
 *           time-out, overrun and transmitter-empty interrupts. Output waits in the transmit FIFO while the far
 *           end has no room, and THRE stays clear until it has gone: the guest waits, its vCPU does not.
 * Missing:  modem-status changes (the lines are always up, but in loopback), break, parity and framing errors,
 *           time: characters move at once, and a time-out is one as soon as fewer are there than the trigger.
 * Spec:     National Semiconductor PC16550D, June 1995, sections 8.1-8.9.
 */
#include "devices/uart.h"

#include "string.h"

#define PORTS      8u
#define FIFO_BYTES 16u

enum uart_port {
    PORT_DATA,
    PORT_IER,
    PORT_IIR_FCR,
    PORT_LCR,
    PORT_MCR,
    PORT_LSR,
    PORT_MSR,
    PORT_SCR
};

enum {
    IER_RECEIVE = 0x01,
    IER_TRANSMIT = 0x02,
    IER_LINE = 0x04,
    IER_WRITABLE = 0x0f,
};

/* Causes by falling priority (8.6). */
enum {
    IIR_NONE = 0x01,
    IIR_TRANSMIT = 0x02,
    IIR_RECEIVE = 0x04,
    IIR_LINE = 0x06,
    IIR_TIMEOUT = 0x0c,
    IIR_FIFOS = 0xc0,
};

enum {
    FCR_ENABLE = 0x01,
    FCR_CLEAR_RECEIVE = 0x02,
    FCR_CLEAR_TRANSMIT = 0x04,
    FCR_KEPT = 0xc9, /* enable, DMA mode, trigger level */
};

#define LCR_DIVISOR_LATCH 0x80

enum {
    MCR_DTR = 0x01,
    MCR_RTS = 0x02,
    MCR_OUT1 = 0x04,
    MCR_OUT2 = 0x08,
    MCR_LOOP = 0x10,
    MCR_WRITABLE = 0x1f,
};

enum {
    LSR_DATA = 0x01,
    LSR_OVERRUN = 0x02,
    LSR_HOLDING_EMPTY = 0x20,
    LSR_EMPTY = 0x40,
};

enum {
    MSR_CTS = 0x10,
    MSR_DSR = 0x20,
    MSR_RI = 0x40,
    MSR_DCD = 0x80,
};

/* ---- Interrupts ------------------------------------------------------------------------------ */

static unsigned trigger_level(const struct uart *uart)
{
    static const uint8_t levels[] = {1, 4, 8, 14};
    return uart->fcr & FCR_ENABLE ? levels[uart->fcr >> 6] : 1;
}

static uint8_t cause(const struct uart *uart)
{
    if ((uart->ier & IER_LINE) && (uart->lsr & LSR_OVERRUN))
        return IIR_LINE;
    if ((uart->ier & IER_RECEIVE) && uart->rx_count)
        return uart->rx_count >= trigger_level(uart) ? IIR_RECEIVE : IIR_TIMEOUT;
    if ((uart->ier & IER_TRANSMIT) && uart->thre_pending)
        return IIR_TRANSMIT;
    return IIR_NONE;
}

static void update_line(struct uart *uart)
{
    uart->line->set(uart->line, cause(uart) != IIR_NONE);
}

/* ---- Characters ------------------------------------------------------------------------------ */

static unsigned fifo_bytes(const struct uart *uart)
{
    return uart->fcr & FCR_ENABLE ? FIFO_BYTES : 1;
}

static void receive(struct uart *uart, uint8_t character)
{
    if (uart->rx_count == fifo_bytes(uart)) {
        uart->lsr |= LSR_OVERRUN;
        return;
    }
    uart->rx[(uart->rx_head + uart->rx_count++) % FIFO_BYTES] = character;
}

/* Takes from the far end what fits; what does not stays there. */
static void pull(struct uart *uart)
{
    uint8_t data[FIFO_BYTES];
    size_t room = fifo_bytes(uart) - uart->rx_count, count;
    if ((uart->mcr & MCR_LOOP) || room == 0)
        return;
    count = uart->backend->read(uart->backend, data, room);
    for (size_t i = 0; i < count && i < room; i++)
        receive(uart, data[i]);
}

/* Sends what waits; when all has gone the transmitter is empty, and says so once. */
static void push(struct uart *uart)
{
    size_t sent;
    if (uart->tx_count == 0)
        return;
    if (uart->mcr & MCR_LOOP) {
        for (unsigned i = 0; i < uart->tx_count; i++)
            receive(uart, uart->tx[i]);
        sent = uart->tx_count;
    } else {
        sent = uart->backend->write(uart->backend, uart->tx, uart->tx_count);
    }
    if (sent >= uart->tx_count) {
        uart->tx_count = 0;
        uart->lsr |= LSR_HOLDING_EMPTY | LSR_EMPTY;
        uart->thre_pending = true;
    } else if (sent) {
        uart->tx_count -= (uint8_t)sent;
        memmove(uart->tx, uart->tx + sent, uart->tx_count);
    }
}

static void write_data(struct uart *uart, uint8_t value)
{
    if (uart->tx_count == fifo_bytes(uart))
        uart->tx[uart->tx_count - 1] = value; /* written over, as in the device */
    else
        uart->tx[uart->tx_count++] = value;
    uart->lsr &= (uint8_t) ~(LSR_HOLDING_EMPTY | LSR_EMPTY);
    uart->thre_pending = false;
    update_line(uart); /* low before it is high again: an edge-triggered pin must see it */
    push(uart);
}

static uint8_t read_data(struct uart *uart)
{
    uint8_t value = uart->rx[uart->rx_head];
    if (uart->rx_count) {
        uart->rx_head = (uart->rx_head + 1) % FIFO_BYTES;
        uart->rx_count--;
    }
    if (uart->rx_count == 0)
        pull(uart);
    return value;
}

/* ---- Registers ------------------------------------------------------------------------------- */

static void write_fcr(struct uart *uart, uint8_t value)
{
    /* Turning the FIFOs on or off empties them (8.4). */
    if ((value ^ uart->fcr) & FCR_ENABLE)
        value |= FCR_CLEAR_RECEIVE | FCR_CLEAR_TRANSMIT;
    uart->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
    if (value & FCR_CLEAR_RECEIVE)
        uart->rx_head = uart->rx_count = 0;
    if ((value & FCR_CLEAR_TRANSMIT) && uart->tx_count) {
        uart->tx_count = 0;
        uart->lsr |= LSR_HOLDING_EMPTY | LSR_EMPTY;
        uart->thre_pending = true;
    }
    pull(uart);
}

static void write_ier(struct uart *uart, uint8_t value)
{
    /* Enabling it with an empty transmitter brings the interrupt at once. */
    if ((value & ~uart->ier & IER_TRANSMIT) && (uart->lsr & LSR_HOLDING_EMPTY))
        uart->thre_pending = true;
    uart->ier = value & IER_WRITABLE;
}

/* In loopback the outputs are wired to the inputs (8.7). */
static uint8_t modem_status(const struct uart *uart)
{
    if (!(uart->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (uint8_t)((uart->mcr & MCR_RTS ? MSR_CTS : 0) | (uart->mcr & MCR_DTR ? MSR_DSR : 0) |
                     (uart->mcr & MCR_OUT1 ? MSR_RI : 0) | (uart->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static uint8_t read_iir(struct uart *uart)
{
    uint8_t value = cause(uart);
    if (value == IIR_TRANSMIT)
        uart->thre_pending = false;
    return value | (uart->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static uint8_t read_lsr(struct uart *uart)
{
    uint8_t value = uart->lsr | (uart->rx_count ? LSR_DATA : 0);
    uart->lsr &= (uint8_t)~LSR_OVERRUN;
    return value;
}

static uint8_t read_port(struct uart *uart, uint64_t port)
{
    bool latch = (uart->lcr & LCR_DIVISOR_LATCH) != 0;
    switch (port) {
    case PORT_DATA: return latch ? uart->dll : read_data(uart);
    case PORT_IER: return latch ? uart->dlm : uart->ier;
    case PORT_IIR_FCR: return read_iir(uart);
    case PORT_LCR: return uart->lcr;
    case PORT_MCR: return uart->mcr;
    case PORT_LSR: return read_lsr(uart);
    case PORT_MSR: return modem_status(uart);
    default: return uart->scr;
    }
}

static bool uart_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct uart *uart = device;
    if (size_bytes != 1)
        return false;
    *value = read_port(uart, offset);
    update_line(uart);
    return true;
}

static bool uart_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct uart *uart = device;
    uint8_t byte = (uint8_t)value;
    bool latch = (uart->lcr & LCR_DIVISOR_LATCH) != 0;
    if (size_bytes != 1)
        return false;
    switch (offset) {
    case PORT_DATA:
        if (latch)
            uart->dll = byte;
        else
            write_data(uart, byte);
        break;
    case PORT_IER:
        if (latch)
            uart->dlm = byte;
        else
            write_ier(uart, byte);
        break;
    case PORT_IIR_FCR: write_fcr(uart, byte); break;
    case PORT_LCR: uart->lcr = byte; break;
    case PORT_MCR:
        uart->mcr = byte & MCR_WRITABLE;
        pull(uart);
        break;
    case PORT_SCR: uart->scr = byte; break;
    default: break; /* LSR and MSR are read only */
    }
    update_line(uart);
    return true;
}

/* ---- The machine's side ---------------------------------------------------------------------- */

void uart_init(struct uart *uart, struct character_backend *backend, struct interrupt_line *line)
{
    memset(uart, 0, sizeof *uart);
    uart->backend = backend;
    uart->line = line;
    uart_reset(uart);
}

/* Master reset (8.1, table III). What the far end has not taken yet is lost. */
void uart_reset(struct uart *uart)
{
    uart->ier = uart->fcr = uart->lcr = uart->mcr = 0;
    uart->lsr = LSR_HOLDING_EMPTY | LSR_EMPTY;
    uart->rx_head = uart->rx_count = uart->tx_count = 0;
    uart->thre_pending = false;
    update_line(uart);
}

bool uart_attach(struct uart *uart, struct bus *ports, uint16_t base)
{
    static const struct bus_operations operations = {.read = uart_read, .write = uart_write};
    struct bus_range range = {base, PORTS, &operations, uart, "UART"};
    return bus_add(ports, &range);
}

void uart_input(struct uart *uart)
{
    pull(uart);
    update_line(uart);
}

void uart_room(struct uart *uart)
{
    push(uart);
    update_line(uart);
}

void uart_dump(const struct uart *uart, struct sink *sink)
{
    print(sink, "  uart ier %x fcr %x lcr %x mcr %x lsr %x, %u to read, %u to send\n", uart->ier,
          uart->fcr, uart->lcr, uart->mcr, uart->lsr, uart->rx_count, uart->tx_count);
}
