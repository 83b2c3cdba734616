/* The machine's serial port: a 16550A (National Semiconductor PC16550D, 8.1-8.6) with a queue before it. */
#ifndef CONSOLE_SERVER_UART_H
#define CONSOLE_SERVER_UART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UART_QUEUE_BYTES 8192u

struct uart {
    uint16_t port;
    uint8_t interrupts;  /* what the IER holds */
    uint32_t head, tail; /* total bytes queued, sent */
    uint8_t queue[UART_QUEUE_BYTES];
};

/* Takes over the port as firmware or the kernel set its speed; FIFOs on, receive interrupts on. */
void uart_start(struct uart *uart, uint16_t port);

/* How much the queue still takes. */
size_t uart_room(const struct uart *uart);
/* Queues bytes; the caller has looked at uart_room. */
void uart_queue(struct uart *uart, const void *data, size_t size_bytes);
/* Sends what the line takes now. While something is left the transmitter's interrupt is on. */
void uart_send(struct uart *uart);
/* What has come in, at most size_bytes. 0: nothing, and the interrupt line has been low: whatever comes next raises it. */
size_t uart_receive(struct uart *uart, void *data, size_t size_bytes);
/* Has everything left the shift register? */
bool uart_idle(const struct uart *uart);

#endif
