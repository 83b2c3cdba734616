#include "uart.h"

#include "port.h"
#include "string.h"

enum { DATA = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5 };
enum { IER_RECEIVED = 1, IER_TRANSMITTER_EMPTY = 2 };
enum { IIR_NONE = 1, FCR_ENABLE_AND_CLEAR = 7, MCR_DTR_RTS_OUT2 = 0x0b, LCR_8N1 = 3 };
enum { LSR_RECEIVED = 1, LSR_TRANSMITTER_EMPTY = 0x20, LSR_ALL_SENT = 0x40 };
enum { FIFO_BYTES = 16, ABSENT = 0xff, INTERRUPT_CAUSES_MAX = 8 };

static void set_interrupts(struct uart *uart, uint8_t interrupts)
{
    if (uart->interrupts != interrupts)
        port_write8(uart->port + IER, interrupts);
    uart->interrupts = interrupts;
}

void uart_start(struct uart *uart, uint16_t port)
{
    uart->port = port;
    uart->head = uart->tail = 0;
    port_write8(port + LCR, LCR_8N1);
    port_write8(port + FCR, FCR_ENABLE_AND_CLEAR);
    port_write8(port + MCR, MCR_DTR_RTS_OUT2);
    uart->interrupts = 0;
    set_interrupts(uart, IER_RECEIVED);
}

size_t uart_room(const struct uart *uart)
{
    return UART_QUEUE_BYTES - (uart->head - uart->tail);
}

void uart_queue(struct uart *uart, const void *data, size_t size_bytes)
{
    size_t at = uart->head % UART_QUEUE_BYTES, to_end = UART_QUEUE_BYTES - at;
    size_t first = size_bytes < to_end ? size_bytes : to_end;
    memcpy(uart->queue + at, data, first);
    memcpy(uart->queue, (const uint8_t *)data + first, size_bytes - first);
    uart->head += (uint32_t)size_bytes;
}

void uart_send(struct uart *uart)
{
    while (uart->head != uart->tail) {
        if (!(port_read8(uart->port + LSR) & LSR_TRANSMITTER_EMPTY)) {
            set_interrupts(uart, IER_RECEIVED | IER_TRANSMITTER_EMPTY);
            return;
        }
        for (unsigned i = 0; i < FIFO_BYTES && uart->head != uart->tail; i++, uart->tail++)
            port_write8(uart->port + DATA, uart->queue[uart->tail % UART_QUEUE_BYTES]);
    }
    set_interrupts(uart, IER_RECEIVED);
}

static size_t take(struct uart *uart, uint8_t *bytes, size_t size_bytes)
{
    uint8_t status;
    size_t n = 0;
    while (n < size_bytes && ((status = port_read8(uart->port + LSR)) & LSR_RECEIVED) &&
           status != ABSENT)
        bytes[n++] = port_read8(uart->port + DATA);
    return n;
}

size_t uart_receive(struct uart *uart, void *data, size_t size_bytes)
{
    /* Received bytes settle by reading them, an empty transmitter by reading IIR (8.6, table IV). A byte that comes
     * while the other cause still holds the line up makes no edge: so it is over when IIR tells of none. A port that is
     * stuck does not hold us for ever. */
    for (unsigned i = 0; i < INTERRUPT_CAUSES_MAX; i++) {
        size_t n = take(uart, data, size_bytes);
        if (n || (port_read8(uart->port + IIR) & IIR_NONE))
            return n;
    }
    return 0;
}

bool uart_idle(const struct uart *uart)
{
    return uart->head == uart->tail && (port_read8(uart->port + LSR) & LSR_ALL_SENT);
}
