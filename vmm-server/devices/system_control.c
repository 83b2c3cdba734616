/*
 * System control ports A (0x92) and B (0x61) of a PS/2 and of a PIIX.
 *
 * State:    what was written to the two.
 * Features: gate and output of the timer's channel 2, the refresh toggle (computed from the time: 15 us each way),
 *           speaker data; A20 and fast reset by port 0x92.
 * Polling:  software that measures a time with channel 2 looks for its output again and again, an exit each time. After
 *           many looks the guest is held for a part of the time that is still to go.
 * Missing:  a speaker; parity and channel checks, which never come.
 * Spec:     82371SB PIIX3, April 1997, 2.5.5.1 (NMI status and control, 0x61) and 2.5.5.3 (port 92).
 */
#include "devices/system_control.h"

#include <septum.h>
#include <stddef.h>

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#define PORT_A                           0x92u
#define PORT_B                           0x61u

enum {
    B_GATE = 0x01,
    B_KEPT = 0x0f,
    B_REFRESH = 0x10,
    B_OUTPUT = 0x20,
    A_RESET = 0x01,
    A_A20 = 0x02,
};

#define REFRESH_TICKS 18u /* of the timer: 15.09 us */

/* Looks that go as they are: enough for who calibrates by counting them. */
#define LOOKS_FREE 2000u
/* Then so long at most: interrupts come in between. */
#define WAITS_A_MS 2u

static void stop_waiting(struct device_timer *timer)
{
    struct system_control *control = CONTAINER(timer, struct system_control, timer);
    device_timer_set(timer, DEADLINE_NEVER);
    control->waits = false;
    control->pit->host->hold(control->pit->host, false);
}

/* The output was seen low. */
static void wait_for_output(struct system_control *control)
{
    struct device_host *host = control->pit->host;
    uint64_t rises = pit_output_rises(control->pit), now = host->now();
    if (rises == DEADLINE_NEVER || control->waits || control->looks++ < LOOKS_FREE)
        return;
    uint64_t end = now + host->tsc_khz / WAITS_A_MS;
    device_timer_set(&control->timer, rises < end ? rises : end);
    control->waits = true;
    host->hold(host, true);
}

static bool b_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct system_control *control = device;
    (void)offset;
    wait_for_output(control);
    *value = control->port_b | (pit_output(control->pit) ? B_OUTPUT : 0u) |
             (pit_ticks(control->pit) / REFRESH_TICKS & 1 ? B_REFRESH : 0u);
    return size_bytes == 1;
}

static bool b_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct system_control *control = device;
    (void)offset;
    control->port_b = value & B_KEPT;
    control->looks = 0;
    pit_set_gate(control->pit, (value & B_GATE) != 0);
    return size_bytes == 1;
}

static bool a_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    const struct system_control *control = device;
    (void)offset;
    *value = control->port_a;
    return size_bytes == 1;
}

static bool a_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct system_control *control = device;
    bool resets = value & ~(uint64_t)control->port_a & A_RESET;
    (void)offset;
    control->port_a = value & (A_RESET | A_A20);
    control->a20(control, (value & A_A20) != 0);
    if (resets)
        control->reset(control);
    return size_bytes == 1;
}

void system_control_init(struct system_control *control, struct pit *pit, void *machine)
{
    *control = (struct system_control){.pit = pit, .machine = machine};
    control->timer = (struct device_timer){.deadline_tsc = DEADLINE_NEVER, .expired = stop_waiting};
    pit->host->add_timer(pit->host, &control->timer);
    system_control_reset(control);
}

void system_control_reset(struct system_control *control)
{
    control->port_a = A_A20;
    control->port_b = 0;
    pit_set_gate(control->pit, false);
}

bool system_control_attach(struct system_control *control, struct bus *ports)
{
    static const struct bus_operations a = {.read = a_read, .write = a_write};
    static const struct bus_operations b = {.read = b_read, .write = b_write};
    return bus_add(ports, &(struct bus_range){PORT_A, 1, &a, control, "system control port"}) &&
           bus_add(ports, &(struct bus_range){PORT_B, 1, &b, control, "speaker and timer gate"});
}

void system_control_show_a20(struct system_control *control, bool on)
{
    control->port_a = (uint8_t)(on ? control->port_a | A_A20 : control->port_a & ~A_A20);
}
