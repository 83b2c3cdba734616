/* 16550A UART. The model's contract is at the head of uart.c. */
#ifndef VMM_DEVICES_UART_H
#define VMM_DEVICES_UART_H

#include "device.h"
#include "devices/character.h"

struct uart {
    struct character_backend *backend;
    struct interrupt_line *line;
    uint8_t ier, fcr, lcr, mcr, lsr, scr, dll, dlm;
    uint8_t rx[16], tx[16];
    uint8_t rx_head, rx_count, tx_count;
    bool thre_pending; /* THRE interrupt not yet taken by reading IIR */
};

void uart_init(struct uart *uart, struct character_backend *backend, struct interrupt_line *line);
void uart_reset(struct uart *uart);
bool uart_attach(struct uart *uart, struct bus *ports, uint16_t base);
/* The backend has input, or room again. */
void uart_input(struct uart *uart);
void uart_room(struct uart *uart);
void uart_dump(const struct uart *uart, struct sink *sink);

#endif
