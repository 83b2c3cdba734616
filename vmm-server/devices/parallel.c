/*
 * Parallel port with a printer that is always ready.
 *
 * State:    data and control.
 * Features: data, status and control; a byte is printed at the strobe, into the system log by lines, and acknowledged by
 *           IRQ 7 where that is enabled.
 * Missing:  input from the data lines, EPP and ECP.
 * Spec:     IBM Personal System/2 Hardware Interface Technical Reference, October 1990: Parallel Port Controller, type 1.
 */
#include "devices/parallel.h"

#define PORTS 3u

enum { PORT_DATA, PORT_STATUS, PORT_CONTROL };

enum {
    STATUS_READY =
        0xdf, /* not busy, no acknowledge now, paper, selected, no error; unused bits are ones */
    CONTROL_STROBE = 0x01,
    CONTROL_SELECT_AND_INIT = 0x0c,
    CONTROL_INTERRUPT = 0x10,
    CONTROL_KEPT = 0x3f,
    CONTROL_UNUSED = 0xc0,
};

static bool parallel_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    const struct parallel *parallel = device;
    switch (offset) {
    case PORT_DATA: *value = parallel->data; break;
    case PORT_STATUS: *value = STATUS_READY; break;
    default: *value = parallel->control | CONTROL_UNUSED; break;
    }
    return size_bytes == 1;
}

/* The byte is taken when the strobe begins; the acknowledge is a pulse, whose end is the edge (type 1, "Interrupts"). */
static void write_control(struct parallel *parallel, uint8_t value)
{
    bool strobes = value & ~parallel->control & CONTROL_STROBE;
    parallel->control = value & CONTROL_KEPT;
    if (strobes)
        line_log_put(&parallel->printer, parallel->data);
    parallel->line->set(parallel->line, false);
    if (strobes && value & CONTROL_INTERRUPT)
        parallel->line->set(parallel->line, true);
}

static bool parallel_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct parallel *parallel = device;
    if (size_bytes != 1)
        return false;
    if (offset == PORT_DATA)
        parallel->data = (uint8_t)value;
    else if (offset == PORT_CONTROL)
        write_control(parallel, (uint8_t)value);
    return true;
}

void parallel_init(struct parallel *parallel, struct interrupt_line *line, struct sink *log)
{
    *parallel = (struct parallel){.line = line};
    line_log_init(&parallel->printer, log, "printer");
    parallel_reset(parallel);
}

void parallel_reset(struct parallel *parallel)
{
    parallel->data = 0;
    parallel->control = CONTROL_SELECT_AND_INIT;
    parallel->line->set(parallel->line, false);
}

bool parallel_attach(struct parallel *parallel, struct bus *ports, uint16_t base)
{
    static const struct bus_operations operations = {.read = parallel_read,
                                                     .write = parallel_write};
    return bus_add(ports, &(struct bus_range){base, PORTS, &operations, parallel, "parallel port"});
}
