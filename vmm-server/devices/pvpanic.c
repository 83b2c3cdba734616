/*
 * pvpanic.
 *
 * State:    none.
 * Features: the PANICKED event.
 * Missing:  CRASH_LOADED (a guest that boots a crash kernel goes on by itself), SHUTDOWN.
 * Spec:     QEMU, docs/specs/pvpanic.rst.
 */
#include "devices/pvpanic.h"

#define PVPANIC_PANICKED 1u

static bool pvpanic_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)device, (void)offset, (void)size_bytes;
    *value = PVPANIC_PANICKED;
    return true;
}

static bool pvpanic_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    (void)offset, (void)size_bytes;
    struct pvpanic *pvpanic = device;
    if (value & PVPANIC_PANICKED)
        pvpanic->panicked(pvpanic);
    return true;
}

static const struct bus_operations pvpanic_operations = {.read = pvpanic_read, .write = pvpanic_write};

bool pvpanic_attach(struct pvpanic *pvpanic, struct bus *ports, uint16_t port)
{
    return bus_add(ports, &(struct bus_range){port, 1, &pvpanic_operations, pvpanic, "pvpanic"});
}
