/*
 * What a device model sees of the machine around it. A model is one file, never holds a file-global
 * instance, and has the verbs x_init, x_reset and where they apply x_interrupt, x_input, x_dump. The
 * machine's lock is held whenever a model's function runs, so models need none of their own; the local
 * APICs are the exception (devices/local_apic.h).
 */
#ifndef VMM_DEVICE_H
#define VMM_DEVICE_H

#include "bus.h"
#include "guest_memory.h"

#include "print.h"

/* An interrupt line, as a device sees it: the machine wires it to an IOAPIC pin (and PIC, on a `pc`). */
struct interrupt_line {
    void (*set)(struct interrupt_line *line, bool high);
};

/* A timer of a device. Runs on the first vCPU's thread at or after its deadline (host TSC). */
struct device_timer {
    uint64_t deadline_tsc; /* DEADLINE_NEVER: off */
    void (*expired)(struct device_timer *timer);
    struct device_timer *next; /* the machine's list */
    uint64_t *first;           /* the machine's: no timer expires before */
};

/* With the machine's lock, once the machine has the timer. Another vCPU's thread than the first kicks that one. */
static inline void device_timer_set(struct device_timer *timer, uint64_t deadline_tsc)
{
    timer->deadline_tsc = deadline_tsc;
    if (timer->first && deadline_tsc < *timer->first)
        __atomic_store_n(timer->first, deadline_tsc, __ATOMIC_RELAXED);
}

struct device_host {
    struct bus *ports;
    struct bus *addresses;
    const struct guest_memory *memory;
    struct sink
        *log; /* lines for the system log, prefixed with the partition's name by its reader */
    uint64_t tsc_khz;
    uint64_t (*now)(void); /* host TSC; a test's own clock in unit tests */
    /* Puts a timer into the machine's list, once; a deadline that is changed later needs no call. */
    void (*add_timer)(struct device_host *host, struct device_timer *timer);
    /* While a device holds it, no vCPU that leaves its guest for whatever reason goes back into it. */
    void (*hold)(struct device_host *host, bool on);
    /* From now on the guest finds `memory` (of this task, whole pages) at gpa, in place of what was there, and may execute
     * it if this task may; NULL: nothing, its accesses go to the bus. RAM comes back if it is given
     * (guest_memory_ram). A write to what is not writable goes to the bus, and is nothing if nobody is there. False: gpa is
     * not one of a page, the machine is `lean`, or there is no room or no kernel memory left for it: then nothing is
     * there. With the machine's lock; complete when it returns. */
    bool (*map)(struct device_host *host, gpa_t gpa, uint64_t size_bytes, uint8_t *memory,
                bool writable);
    /* From now on the guest's reads of the page at gpa, where there is no RAM, find `page` and make no exit; its writes go
     * to the bus. NULL: reads do so too. False: the machine has no such pages, or there is no kernel memory left for it:
     * reads go to the bus. With the machine's lock; complete when it returns. */
    bool (*show)(struct device_host *host, gpa_t gpa, const uint8_t *page);
};

/* The server at the far end of a device's channel (protocol/service.h). */
struct device_peer {
    void *channel;
    uint8_t *memory; /* offset 0 of the client's memory, here */
    unsigned number; /* of the channel: for */
    void (*ring)(unsigned number);
};

#endif
