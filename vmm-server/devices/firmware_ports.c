/*
 * Sleep control and status registers, reset register.
 *
 * State:    none.
 * Features: power-off by SLP_EN with its sleep type; reset by bit 2 of the reset register, as on a PIIX (port 0xcf9):
 *           hard or soft by its bit 1.
 * Missing:  other sleep states, wake-up (WAK_STS is never set); PCI configuration, in whose ports (0xcf8-0xcff) the
 *           reset register lies: they read as ones.
 * Spec:     ACPI 6.5, sections 4.8.3.7 (sleep control and status), 4.8.3.6 (reset register).
 */
#include "devices/firmware_ports.h"

#define SLEEP_ENABLE     0x20u
#define SLEEP_TYPE_SHIFT 2u
#define SLEEP_TYPE_MASK  7u
#define RESET_CPU        4u
#define RESET_HARD       2u
/* In the ports of PCI configuration. */
#define RESET_OFFSET 1u
#define RESET_PORTS  8u

static bool sleep_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)device, (void)offset;
    *value = 0;
    return size_bytes == 1;
}

static bool sleep_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct firmware_ports *ports = device;
    if (offset == 0 && value & SLEEP_ENABLE &&
        (value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK) == ports->sleep_type)
        ports->power_off(ports);
    return size_bytes == 1;
}

static bool reset_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)device;
    *value = offset == RESET_OFFSET && size_bytes == 1 ? 0 : UINT64_MAX;
    return true;
}

static bool reset_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct firmware_ports *ports = device;
    if (offset == RESET_OFFSET && size_bytes == 1 && value & RESET_CPU)
        ports->reset(ports, (value & RESET_HARD) != 0);
    return true;
}

static const struct bus_operations sleep_operations = {.read = sleep_read, .write = sleep_write};
static const struct bus_operations reset_operations = {.read = reset_read, .write = reset_write};

bool firmware_ports_attach(struct firmware_ports *ports, struct bus *bus, uint16_t sleep_control,
                           uint16_t reset)
{
    return bus_add(bus, &(struct bus_range){sleep_control, 2, &sleep_operations, ports, "sleep"}) &&
           bus_add(bus, &(struct bus_range){reset - RESET_OFFSET, RESET_PORTS, &reset_operations,
                                            ports, "reset"});
}
