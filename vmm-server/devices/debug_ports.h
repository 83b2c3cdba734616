/* Debug console ports and the debug-exit port. The model's contract is at the head of debug_ports.c. */
#ifndef VMM_DEVICES_DEBUG_PORTS_H
#define VMM_DEVICES_DEBUG_PORTS_H

#include "device.h"
#include "devices/line_log.h"

struct debug_ports {
    struct line_log firmware, guest; /* ports 0x402 and 0xe9 */
    /* The guest ends itself with a value. */
    void (*exited)(struct debug_ports *ports, uint32_t value);
    void *machine;
};

void debug_ports_init(struct debug_ports *ports, struct sink *log, void *machine);
/* test_device: with ports 0x501 and 0xf4. */
bool debug_ports_attach(struct debug_ports *ports, struct bus *bus, bool test_device);

#endif
