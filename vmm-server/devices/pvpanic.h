/* The port by which a guest says that it panicked. The model's contract is at the head of pvpanic.c. */
#ifndef VMM_DEVICES_PVPANIC_H
#define VMM_DEVICES_PVPANIC_H

#include "device.h"

struct pvpanic {
    /* The guest has panicked. The machine's lock is held. */
    void (*panicked)(struct pvpanic *pvpanic);
    void *machine;
};

bool pvpanic_attach(struct pvpanic *pvpanic, struct bus *ports, uint16_t port);

#endif
