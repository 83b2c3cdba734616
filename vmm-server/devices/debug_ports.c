/*
 * Debug console ports and the debug-exit port.
 *
 * State:    the line that is being written, of each console.
 * Features: what is written to ports 0x402 and 0xe9 goes into the system log by lines, repeated strings at once; a
 *           read says 0xe9, by which software knows that they are there. Ports 0x501 and 0xf4, if the partition has
 *           them, end the guest with a report of what was written.
 * Missing:  nothing.
 * Spec:     Bochs, "port 0xE9 hack"; SeaBIOS, docs/Debugging.md; QEMU, isa-debugcon and isa-debug-exit.
 */
#include "devices/debug_ports.h"

#define FIRMWARE_PORT 0x402u
#define GUEST_PORT    0xe9u
#define EXIT_PORT     0x501u /* where QEMU's is, and where its users put it */
#define EXIT_PORT_2   0xf4u
#define EXIT_PORTS    4u
#define HERE          0xe9u

static bool console_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)device, (void)offset;
    *value = HERE;
    return size_bytes == 1;
}

static bool console_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    (void)offset;
    line_log_put(device, (uint8_t)value);
    return size_bytes == 1;
}

static unsigned console_write_string(void *device, uint64_t offset, unsigned size_bytes,
                                     const void *data, unsigned count)
{
    const uint8_t *characters = data;
    (void)offset;
    for (unsigned i = 0; i < count; i++)
        line_log_put(device, characters[i * size_bytes]);
    return count;
}

static bool exit_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)device, (void)offset, (void)size_bytes;
    *value = 0;
    return true;
}

static bool exit_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct debug_ports *ports = device;
    (void)offset, (void)size_bytes;
    ports->exited(ports, (uint32_t)value);
    return true;
}

void debug_ports_init(struct debug_ports *ports, struct sink *log, void *machine)
{
    *ports = (struct debug_ports){.machine = machine};
    line_log_init(&ports->firmware, log, "firmware");
    line_log_init(&ports->guest, log, "debug console");
}

bool debug_ports_attach(struct debug_ports *ports, struct bus *bus, bool test_device)
{
    static const struct bus_operations console = {
        .read = console_read, .write = console_write, .write_string = console_write_string};
    static const struct bus_operations end = {.read = exit_read, .write = exit_write};
    return bus_add(bus, &(struct bus_range){FIRMWARE_PORT, 1, &console, &ports->firmware,
                                            "firmware's debug console"}) &&
           bus_add(bus,
                   &(struct bus_range){GUEST_PORT, 1, &console, &ports->guest, "debug console"}) &&
           (!test_device ||
            (bus_add(bus, &(struct bus_range){EXIT_PORT, EXIT_PORTS, &end, ports, "debug exit"}) &&
             bus_add(bus,
                     &(struct bus_range){EXIT_PORT_2, EXIT_PORTS, &end, ports, "debug exit"})));
}
