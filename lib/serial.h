/* Output on the first serial port, by polling: for tests and for a first task's last words. */
#ifndef LIB_SERIAL_H
#define LIB_SERIAL_H

#include "print.h"

/* The sink of COM1. The machine's firmware or the kernel has set the line up. Whole lines are
 * written under a lock, so that threads of several CPUs do not mix theirs. */
extern struct sink serial;

/* Prints to COM1, as one piece. */
void serial_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends an emulator: QEMU by its debug-exit device with `value`, Bochs by its shutdown port. */
_Noreturn void machine_end(unsigned value);

#endif
