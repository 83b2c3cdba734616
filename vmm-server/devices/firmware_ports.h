/* The ports for power-off and reset that the FADT names. The model's contract is at the head of firmware_ports.c. */
#ifndef VMM_DEVICES_FIRMWARE_PORTS_H
#define VMM_DEVICES_FIRMWARE_PORTS_H

#include "device.h"

struct firmware_ports {
    /* The guest asks to be switched off, or to be reset; hard: all of the machine, else its processors, whose firmware sees
     * to the rest. The machine's lock is held. */
    void (*power_off)(struct firmware_ports *ports);
    void (*reset)(struct firmware_ports *ports, bool hard);
    void *machine;
    uint8_t sleep_type; /* the one that means power-off */
};

bool firmware_ports_attach(struct firmware_ports *ports, struct bus *bus, uint16_t sleep_control,
                           uint16_t reset);

#endif
