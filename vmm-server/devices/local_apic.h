/*
 * Local APIC of one vCPU (xAPIC page and x2APIC MSRs, TSC-deadline timer).
 *
 * Only its own vCPU's thread calls these functions, but for local_apic_raise, local_apic_signal,
 * local_apic_set_pin, local_apic_matches and local_apic_deliver, which any thread may call at any time, without a
 * lock: they set atomic bits (IRR, trigger mode, NMI, INIT, SIPI) and then kick the vCPU's thread through `operations`. The
 * model's contract is at the head of local_apic.c.
 */
#ifndef VMM_DEVICES_LOCAL_APIC_H
#define VMM_DEVICES_LOCAL_APIC_H

#include <stdbool.h>
#include <stdint.h>

struct local_apic;
struct sink;

/* An interrupt message, decoded from an ICR, an IOAPIC entry or an MSI. */
struct apic_message {
    uint32_t destination; /* an 8-bit 0xff must become APIC_BROADCAST */
    uint8_t vector;
    uint8_t delivery;  /* enum apic_delivery */
    uint8_t shorthand; /* 0 none, 1 self, 2 all, 3 all but self */
    bool logical, level, assert;
};
#define APIC_BROADCAST 0xffffffffu

enum apic_delivery {
    APIC_FIXED = 0,
    APIC_LOWEST = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_STARTUP = 6,
    APIC_EXTINT = 7
};

/* What happened to a vCPU that its run loop must see to; local_apic_events takes and clears them. */
enum local_apic_event {
    APIC_EVENT_NMI = 1,
    APIC_EVENT_INIT = 2,
    APIC_EVENT_STARTUP = 4,
    APIC_EVENT_EXTINT = 8
};

struct local_apic_operations {
    /* An ICR write: the machine calls local_apic_deliver with all its APICs. */
    void (*send)(struct local_apic *apic, const struct apic_message *message);
    /* EOI of a level-triggered vector: to the IOAPICs. Takes the machine's lock. */
    void (*end_of_interrupt)(struct local_apic *apic, uint8_t vector);
    /* Something new is pending: make its vCPU's thread look (raise its notification, unless it is the caller). */
    void (*kick)(struct local_apic *apic);
};

/* The processor's pins INTR and NMI, when the APIC is disabled by its base MSR. */
enum apic_pin { APIC_LINT0, APIC_LINT1 };

/* In the order of their registers. */
enum apic_lvt {
    APIC_LVT_TIMER,
    APIC_LVT_THERMAL,
    APIC_LVT_PMC,
    APIC_LVT_LINT0,
    APIC_LVT_LINT1,
    APIC_LVT_ERROR
};

struct local_apic {
    const struct local_apic_operations *operations;
    void *machine;     /* for the operations */
    uint32_t id;       /* x2APIC ID = vCPU number */
    uint64_t base_msr; /* IA32_APIC_BASE */
    uint32_t tpr, ldr, dfr, svr, esr, esr_pending;
    uint64_t icr;
    uint32_t lvt[6]; /* enum apic_lvt */
    uint32_t timer_initial, timer_divide;
    uint64_t timer_start_tsc;   /* host TSC at which the count began */
    uint64_t deadline_guest;    /* IA32_TSC_DEADLINE as the guest wrote it, 0: off */
    uint64_t deadline_tsc;      /* host TSC at which the timer fires, DEADLINE_NEVER: off */
    uint64_t tsc_offset;        /* guest TSC = host TSC + offset */
    uint32_t isr[8], isr_words; /* bit n of isr_words: isr[n] is not 0 */
    uint32_t irr[8];            /* atomic */
    uint32_t
        irr_words; /* atomic: bit n is set after a bit of irr[n] was, and cleared when it is found 0 */
    uint32_t tmr[8];        /* atomic: 1 = level */
    uint32_t events;        /* atomic: enum local_apic_event */
    uint32_t pins;          /* atomic: 1 << enum apic_pin of those that are high */
    uint8_t startup_vector; /* of the last SIPI */
    bool bootstrap;         /* the first vCPU */
    uint32_t *pv_eoi;       /* paravirtual EOI word in guest RAM, NULL: off */
    bool
        pv_eoi_armed; /* the guest may end the one interrupt in service, or on its way there, by its word */
};

void local_apic_init(struct local_apic *apic, uint32_t id,
                     const struct local_apic_operations *operations, void *machine);
/* As power-on (`init` false) or an INIT message leaves it. */
void local_apic_reset(struct local_apic *apic, bool init);

/* The MMIO page: offset 0-0xfff, aligned 32-bit accesses. False: not defined (or hardware-disabled, or x2APIC mode). */
bool local_apic_read(struct local_apic *apic, uint32_t offset, uint32_t *value, uint64_t now);
bool local_apic_write(struct local_apic *apic, uint32_t offset, uint32_t value, uint64_t now);
/* MSRs 0x1b, 0x6e0 and 0x800-0x83f. False: #GP. */
bool local_apic_read_msr(struct local_apic *apic, uint32_t index, uint64_t *value, uint64_t now);
bool local_apic_write_msr(struct local_apic *apic, uint32_t index, uint64_t value, uint64_t now);
/* CR8 is the TPR's upper half. */
uint64_t local_apic_cr8(const struct local_apic *apic);
void local_apic_set_cr8(struct local_apic *apic, uint64_t value);

/* The guest's TSC was moved: a TSC deadline is one of the guest's clock. */
void local_apic_set_tsc_offset(struct local_apic *apic, uint64_t offset, uint64_t now);
/* The word of KVM's MSR_KVM_EOI_EN (0x4b564d04), found in RAM by the caller; NULL turns it off. */
void local_apic_set_pv_eoi(struct local_apic *apic, uint32_t *word);

/* Does a message's destination name this APIC? (not for shorthands) */
bool local_apic_matches(const struct local_apic *apic, const struct apic_message *message);
/* Any thread: delivers a message that names this APIC. */
void local_apic_signal(struct local_apic *apic, const struct apic_message *message);
/* Any thread: delivers a message to whom it names among all of a machine's APICs: shorthands (`source` is who
 * sent it; NULL from a device), broadcast, lowest priority. */
void local_apic_deliver(struct local_apic *const *apics, unsigned count,
                        const struct local_apic *source, const struct apic_message *message);
/* Any thread: a fixed interrupt. */
void local_apic_raise(struct local_apic *apic, uint8_t vector, bool level);

/* Any thread: a pin changes. */
void local_apic_set_pin(struct local_apic *apic, enum apic_pin pin, bool high);
/* Is the 8259s' interrupt on LINT0, and wanted? The processor gets its vector from them, by acknowledge. */
bool local_apic_wants_acknowledge(const struct local_apic *apic);

/* Timer: fires what is due; local_apic.deadline_tsc is the next. Its clock is that of the TSC. */
void local_apic_timer(struct local_apic *apic, uint64_t now);
/* Takes and clears what the run loop must do beside vectors. */
uint32_t local_apic_events(struct local_apic *apic);
/* The vector that the processor would take now if it is interruptible, or -1; first settles a PV EOI that the
 * guest has done in its memory. */
int local_apic_pending(struct local_apic *apic);
/* It has been injected: moves it from IRR to ISR; arms the PV EOI where that is right. */
void local_apic_accept(struct local_apic *apic, uint8_t vector);
/* The same in two steps, for a vector that waits with the processor until the guest can take it: the request leaves
 * IRR, so that one which comes when the guest has taken the first but has not been seen to is a second interrupt; then
 * it is in service, or (not `taken`) requested again. No other call of the vCPU's thread between the two. */
void local_apic_hand_out(struct local_apic *apic, uint8_t vector);
void local_apic_hand_back(struct local_apic *apic, uint8_t vector, bool taken);
void local_apic_dump(struct local_apic *apic, struct sink *sink);

#endif
