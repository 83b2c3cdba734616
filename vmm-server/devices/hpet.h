/* High precision event timer. The model's contract is at the head of hpet.c. */
#ifndef VMM_DEVICES_HPET_H
#define VMM_DEVICES_HPET_H

#include "device.h"
#include "devices/rate.h"

#define HPET_ADDRESS 0xfed00000ull
#define HPET_TIMERS  3u
#define HPET_PINS    24u /* of the IOAPIC */

struct hpet_timer {
    uint32_t config; /* the writable half */
    uint64_t comparator;
    uint64_t period; /* last value written in periodic mode; 0: none */
    uint64_t
        armed_for; /* value of the counter, unwrapped, at which it fires next; DEADLINE_NEVER: it does not */
    bool sets_value; /* the next write is to the comparator, though it is periodic */
    bool high;       /* its level is asserted */
};

struct hpet {
    struct device_host *host;
    /* Pins of the IOAPIC, and what timers 0 and 1 drive instead in legacy replacement. */
    struct interrupt_line *pins[HPET_PINS], *legacy[2];
    struct rate rate;
    uint64_t config, status;
    uint64_t base;      /* the counter at `since`, or where it stands */
    uint64_t since_tsc; /* when it was enabled */
    struct hpet_timer timers[HPET_TIMERS];
    struct device_timer timer;
};

/* `pins` and `legacy` are filled in by the caller after it. */
void hpet_init(struct hpet *hpet, struct device_host *host);
void hpet_reset(struct hpet *hpet);
bool hpet_attach(struct hpet *hpet, struct bus *addresses);
/* Does it drive the lines of the interval timer and the clock in their place? */
bool hpet_replaces(const struct hpet *hpet);
void hpet_dump(const struct hpet *hpet, struct sink *sink);

#endif
