/*
 * 16550A, transmit only.
 *
 * State:    a lock, so that a line stays whole.
 * Features: polled output.
 * Missing:  set-up (done by who booted us), receive, interrupts.
 * Spec:     National Semiconductor PC16550D, June 1995, section 8.4.
 */
#include "serial.h"

#include "port.h"
#include "syscall.h"

#define COM1_DATA      0x3f8
#define COM1_STATUS    0x3fd
#define STATUS_THRE    0x20
#define STATUS_TEMT    0x40
#define DEBUG_EXIT     0xf4 /* QEMU's isa-debug-exit, as the test machines have it */
#define BOCHS_SHUTDOWN 0x8900

static void serial_write(struct sink *sink, const char *text, size_t size_bytes)
{
    (void)sink;
    for (; size_bytes; size_bytes--, text++) {
        while ((port_read8(COM1_STATUS) & STATUS_THRE) == 0)
            __builtin_ia32_pause();
        port_write8(COM1_DATA, (uint8_t)*text);
    }
}

struct sink serial = {serial_write};

void serial_print(const char *format, ...)
{
    static uint32_t lock;
    /* Yielding is no help against a holder of lower priority: give up waiting after a while. */
    for (unsigned tries = 0; __atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE) && tries < 1000;
         tries++)
        sys_schedule(0, SCHEDULE_YIELD, 0, 0);
    va_list list;
    va_start(list, format);
    print_list(&serial, format, list);
    va_end(list);
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

_Noreturn void machine_end(unsigned value)
{
    while ((port_read8(COM1_STATUS) & STATUS_TEMT) == 0) /* what was printed must be out first */
        __builtin_ia32_pause();
    port_write8(DEBUG_EXIT, (uint8_t)value);
    for (;;)
        for (const char *c = "Shutdown"; *c; c++)
            port_write8(BOCHS_SHUTDOWN, (uint8_t)*c);
}
