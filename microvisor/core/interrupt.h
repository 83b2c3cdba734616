/* Device interrupts as objects: a source (IOAPIC line or MSI vector) that raises notification bits. */
#pragma once

#include "core/ipc.h"

struct interrupt {
    struct object object; /* home: the CPU that takes it */
    uint32_t gsi;         /* UINT32_MAX: MSI, */
    uint32_t source;      /* and of this device; UINT32_MAX: of any */
    uint32_t vector;
    uint32_t mode;        /* enum interrupt_mode */
    bool masked;
    uint32_t unacknowledged; /* edges since the last acknowledgement */
    struct notification *notification;
    uint64_t bits;
    struct list link; /* notification.sources */
};

/* Control's operations, on the interrupt's home CPU. */
enum septum_status interrupt_bind(struct interrupt *interrupt, struct notification *notification,
                                  uint64_t bits, uint32_t mode);
void interrupt_ack(struct interrupt *interrupt);
void interrupt_unbind(struct interrupt *interrupt);

/* From the trap code: a vector of the device range fired on this CPU. */
void interrupt_dispatch(unsigned vector);
