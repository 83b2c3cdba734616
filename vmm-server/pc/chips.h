/* The chips of a `pc` that every PC has had since the eighties, and how they are wired. */
#ifndef VMM_PC_CHIPS_H
#define VMM_PC_CHIPS_H

#include "devices/debug_ports.h"
#include "devices/dma.h"
#include "devices/hpet.h"
#include "devices/i8042.h"
#include "devices/parallel.h"
#include "devices/pic.h"
#include "devices/pit.h"
#include "devices/pm.h"
#include "devices/rtc.h"
#include "devices/system_control.h"
#include "devices/uart.h"

struct machine;

struct chips {
    struct pic pic;
    struct pit pit;
    struct rtc rtc;
    struct i8042 i8042;
    struct system_control system_control;
    struct dma dma;
    struct pm pm;
    struct hpet hpet;
    struct debug_ports debug_ports;
    struct parallel parallel;
    struct uart uart; /* the second: what is sent goes into the system log */
    struct chips_log {
        struct character_backend backend;
        struct line_log log;
    } uart_log;
    /* Between the interval timer or the clock and its line: the HPET can take their places. */
    struct chips_line {
        struct interrupt_line line, *to;
        const struct hpet *hpet;
    } timer_line, clock_line;
    bool a20_is_off; /* address line 20 is held low */
};

/* Called by pc_init when the lines are there. False: a port is taken. */
bool chips_init(struct machine *machine);
/* The processor's acknowledge of an interrupt of the 8259s: its vector. Called by the vCPU's loop; takes the machine's
 * lock. */
uint8_t chips_acknowledge(struct machine *machine);
/* The power button is pressed: a system that knows ACPI shuts down. Takes the machine's lock. */
void chips_press_button(struct machine *machine);
/* The processor's reset line is pulsed. Who has left a shutdown code for it in the CMOS memory, as programs of a 286 do to
 * leave protected mode, gets all processors reset, the first one into the firmware, and memory and devices stay: true. False:
 * the machine is to be reset. The machine's lock is held. */
bool chips_reset_processors(struct machine *machine);
/* For reports. */
void chips_dump(struct machine *machine, struct sink *sink);

#endif
