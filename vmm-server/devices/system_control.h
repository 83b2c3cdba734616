/* System control ports 0x61 and 0x92. The model's contract is at the head of system_control.c. */
#ifndef VMM_DEVICES_SYSTEM_CONTROL_H
#define VMM_DEVICES_SYSTEM_CONTROL_H

#include "devices/pit.h"

struct system_control {
    struct pit *pit;
    void (*a20)(struct system_control *control, bool on);
    void (*reset)(struct system_control *control);
    void *machine;
    uint8_t port_b; /* 0x61, what was written */
    unsigned looks; /* so often was it read while the timer's output was low */
    bool waits;     /* the guest is held until the timer expires */
    struct device_timer timer;
    uint8_t port_a; /* 0x92 */
};

void system_control_init(struct system_control *control, struct pit *pit, void *machine);
void system_control_reset(struct system_control *control);
bool system_control_attach(struct system_control *control, struct bus *ports);
/* The A20 gate was set elsewhere: port 0x92 shows it. */
void system_control_show_a20(struct system_control *control, bool on);

#endif
