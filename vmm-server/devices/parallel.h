/* Parallel port. The model's contract is at the head of parallel.c. */
#ifndef VMM_DEVICES_PARALLEL_H
#define VMM_DEVICES_PARALLEL_H

#include "device.h"
#include "devices/line_log.h"

struct parallel {
    struct interrupt_line *line; /* IRQ 7 */
    struct line_log printer;
    uint8_t data, control;
};

void parallel_init(struct parallel *parallel, struct interrupt_line *line, struct sink *log);
void parallel_reset(struct parallel *parallel);
bool parallel_attach(struct parallel *parallel, struct bus *ports, uint16_t base);

#endif
