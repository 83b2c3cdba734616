/*
 * Local APIC: messages, priorities, end of interrupt. Registers and timer are in local_apic_registers.c.
 *
 * State:    one APIC's registers, IRR, ISR and TMR, its timer, and the word of KVM's paravirtual EOI.
 * Features: xAPIC page and x2APIC MSRs; fixed, lowest-priority, NMI, INIT, start-up and ExtINT messages; flat,
 *           cluster and x2APIC logical destinations, shorthands, self-IPI; one-shot, periodic and TSC-deadline
 *           timer; error status with its interrupt; PV EOI; LINT0 and LINT1: fixed, NMI, ExtINT, or straight to the
 *           processor while the APIC is disabled.
 * Missing:  a moved register page (a write that moves it faults), SMI, INIT by pins, pins that are level-triggered or
 *           active low (taken as edges, active high; ExtINT is a level), performance and thermal interrupts (their
 *           entries are kept, nothing raises them), CMCI, EOI-broadcast suppression. The timer's clock is the TSC's,
 *           divided.
 * Spec:     Intel SDM 3A, chapter 11 (Advanced Programmable Interrupt Controller), June 2023; KVM's PV EOI:
 *           Linux, Documentation/virt/kvm/x86/msr.rst, MSR_KVM_EOI_EN.
 *
 * Locks: none. What other threads touch (irr, tmr, events, pins, esr_pending, startup_vector) or read (svr, ldr,
 * dfr, tpr, base_msr, lvt[ERROR], lvt[LINT0], lvt[LINT1]) is atomic; a message that meets a mode change goes by the
 * old mode or the new one.
 */
#include "devices/local_apic.h"
#include "devices/local_apic_internal.h"

#include "print.h"
#include "string.h"

#include <stddef.h>
#include <septum.h>

#define PV_EOI_BIT 1u

/* ---- 256-bit registers ----------------------------------------------------------------------- */

static bool bit_test(const uint32_t bits[8], uint8_t vector)
{
    return __atomic_load_n(&bits[vector / 32], __ATOMIC_ACQUIRE) >> vector % 32 & 1;
}

static void bit_clear(uint32_t bits[8], uint8_t vector)
{
    __atomic_fetch_and(&bits[vector / 32], ~(1u << vector % 32), __ATOMIC_ACQ_REL);
}

/* Sets it and says whether it was set before. */
static bool bit_set(uint32_t bits[8], uint8_t vector)
{
    uint32_t bit = 1u << vector % 32;
    return (__atomic_fetch_or(&bits[vector / 32], bit, __ATOMIC_ACQ_REL) & bit) != 0;
}

/* The highest vector in service, or -1. */
static int in_service(const struct local_apic *apic)
{
    if (apic->isr_words == 0)
        return -1;
    int i = 31 - __builtin_clz(apic->isr_words);
    return i * 32 + 31 - __builtin_clz(apic->isr[i]);
}

/* Whoever requests sets the bit in irr_words last: we clear it first, and look again. */
static void word_found_empty(struct local_apic *apic, int word)
{
    __atomic_fetch_and(&apic->irr_words, ~(1u << word), __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&apic->irr[word], __ATOMIC_SEQ_CST))
        __atomic_fetch_or(&apic->irr_words, 1u << word, __ATOMIC_SEQ_CST);
}

/* The highest vector requested, or -1. */
static int requested(struct local_apic *apic)
{
    uint32_t words;
    while ((words = __atomic_load_n(&apic->irr_words, __ATOMIC_ACQUIRE)) != 0) {
        int i = 31 - __builtin_clz(words);
        uint32_t word = __atomic_load_n(&apic->irr[i], __ATOMIC_ACQUIRE);
        if (word)
            return i * 32 + 31 - __builtin_clz(word);
        word_found_empty(apic, i);
    }
    return -1;
}

static void disarm_pv_eoi(struct local_apic *apic)
{
    if (apic->pv_eoi_armed)
        __atomic_fetch_and(apic->pv_eoi, ~PV_EOI_BIT, __ATOMIC_RELEASE);
    apic->pv_eoi_armed = false;
}

/* ---- Start ----------------------------------------------------------------------------------- */

void local_apic_init(struct local_apic *apic, uint32_t id,
                     const struct local_apic_operations *operations, void *machine)
{
    memset(apic, 0, sizeof *apic);
    apic->operations = operations;
    apic->machine = machine;
    apic->id = id;
    apic->bootstrap = id == 0;
    local_apic_reset(apic, false);
}

/* SDM 11.4.7.1 and 11.4.7.3; in x2APIC mode 11.12.5.1: INIT keeps the mode. */
void local_apic_reset(struct local_apic *apic, bool init)
{
    if (!init) {
        apic_store64(&apic->base_msr, APIC_BASE_DEFAULT | APIC_BASE_ENABLED |
                                          (apic->bootstrap ? APIC_BASE_BOOTSTRAP : 0));
        __atomic_store_n(&apic->events, 0, __ATOMIC_RELEASE);
        apic->pv_eoi = NULL;
        apic->pv_eoi_armed = false; /* its word may be another kernel's by now */
    }
    apic_reset_registers(apic);
    if (apic_x2apic(apic))
        apic_store(&apic->ldr, apic_x2apic_ldr(apic->id));
}

/* Also what turning the APIC off by its base MSR does to it (11.4.3). */
void apic_reset_registers(struct local_apic *apic)
{
    apic_store(&apic->tpr, 0);
    apic_store(&apic->ldr, 0);
    apic_store(&apic->dfr, 0xffffffff);
    apic_store(&apic->svr, 0xff);
    apic->esr = apic->icr = 0;
    __atomic_store_n(&apic->esr_pending, 0, __ATOMIC_RELEASE);
    for (unsigned i = 0; i <= APIC_LVT_ERROR; i++)
        apic_store(&apic->lvt[i], APIC_LVT_MASKED);
    apic->isr_words = 0;
    for (unsigned i = 0; i < 8; i++) {
        apic->isr[i] = 0;
        __atomic_store_n(&apic->irr[i], 0, __ATOMIC_RELEASE);
        __atomic_store_n(&apic->tmr[i], 0, __ATOMIC_RELEASE);
    }
    apic->timer_initial = apic->timer_divide = 0;
    apic->timer_start_tsc = apic->deadline_guest = 0;
    apic->deadline_tsc = DEADLINE_NEVER;
    disarm_pv_eoi(apic);
}

/* ---- Messages: any thread -------------------------------------------------------------------- */

bool local_apic_matches(const struct local_apic *apic, const struct apic_message *message)
{
    uint32_t to = message->destination, ldr = apic_load(&apic->ldr);
    if (!(apic_load64(&apic->base_msr) & APIC_BASE_ENABLED))
        return false;
    if (to == APIC_BROADCAST)
        return true;
    if (!message->logical)
        return to == apic->id;
    if (apic_x2apic(apic)) /* 11.12.10.2 */
        return to >> 16 == ldr >> 16 && (to & ldr & 0xffff);
    ldr >>= 24;
    if (apic_load(&apic->dfr) >> 28 == 0xf) /* flat; else cluster (11.6.2.2) */
        return (to & ldr & 0xff) != 0;
    return (to >> 4 & 0xf) == ldr >> 4 && (to & ldr & 0xf);
}

/* An INIT ends the wait for a start-up message that came before it. */
static void signal_init(struct local_apic *apic)
{
    uint32_t old = __atomic_load_n(&apic->events, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&apic->events, &old,
                                        (old & ~APIC_EVENT_STARTUP) | APIC_EVENT_INIT, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
    }
}

void local_apic_signal(struct local_apic *apic, const struct apic_message *message)
{
    switch (message->delivery) {
    case APIC_FIXED:
    case APIC_LOWEST: local_apic_raise(apic, message->vector, message->level); return;
    case APIC_NMI: __atomic_fetch_or(&apic->events, APIC_EVENT_NMI, __ATOMIC_ACQ_REL); break;
    case APIC_INIT:
        if (message->level && !message->assert)
            return; /* level de-assert: processors since the Pentium 4 ignore it (11.6.1) */
        signal_init(apic);
        break;
    case APIC_STARTUP:
        __atomic_store_n(&apic->startup_vector, message->vector, __ATOMIC_RELAXED);
        __atomic_fetch_or(&apic->events, APIC_EVENT_STARTUP, __ATOMIC_ACQ_REL);
        break;
    case APIC_EXTINT: __atomic_fetch_or(&apic->events, APIC_EVENT_EXTINT, __ATOMIC_ACQ_REL); break;
    default: return;
    }
    apic->operations->kick(apic);
}

void local_apic_raise(struct local_apic *apic, uint8_t vector, bool level)
{
    if (!(apic_load(&apic->svr) & APIC_SVR_ENABLED))
        return; /* 11.4.7.2: what comes while it is disabled by software is not accepted */
    if (vector < APIC_VECTOR_FIRST) {
        apic_error(apic, APIC_ERROR_RECEIVE_VECTOR);
        return;
    }
    /* The mode first: who sees the request must see its mode. */
    if (level)
        bit_set(apic->tmr, vector);
    else
        bit_clear(apic->tmr, vector);
    /* If it was requested already, whoever did that has kicked or will. */
    if (!bit_set(apic->irr, vector)) {
        __atomic_fetch_or(&apic->irr_words, 1u << vector / 32, __ATOMIC_ACQ_REL);
        apic->operations->kick(apic);
    }
}

static uint32_t delivery_of(uint32_t lvt)
{
    return lvt >> 8 & 7;
}

void local_apic_set_pin(struct local_apic *apic, enum apic_pin pin, bool high)
{
    uint32_t bit = 1u << pin, lvt = apic_load(&apic->lvt[APIC_LVT_LINT0 + pin]);
    uint32_t old = high ? __atomic_fetch_or(&apic->pins, bit, __ATOMIC_ACQ_REL)
                        : __atomic_fetch_and(&apic->pins, ~bit, __ATOMIC_ACQ_REL);
    if (!high || old & bit)
        return;
    struct apic_message message = {.vector = (uint8_t)lvt, .delivery = (uint8_t)delivery_of(lvt)};
    if (!(apic_load64(&apic->base_msr) & APIC_BASE_ENABLED))
        message.delivery = pin == APIC_LINT0 ? APIC_EXTINT : APIC_NMI;
    else if (lvt & APIC_LVT_MASKED)
        return;
    /* ExtINT needs no message: the pin's level is looked at. */
    if (message.delivery == APIC_EXTINT)
        apic->operations->kick(apic);
    else if (message.delivery == APIC_FIXED || message.delivery == APIC_NMI)
        local_apic_signal(apic, &message);
}

bool local_apic_wants_acknowledge(const struct local_apic *apic)
{
    uint32_t lvt = apic->lvt[APIC_LVT_LINT0];
    if (!(__atomic_load_n(&apic->pins, __ATOMIC_ACQUIRE) & 1u << APIC_LINT0))
        return false;
    return !(apic->base_msr & APIC_BASE_ENABLED) ||
           (!(lvt & APIC_LVT_MASKED) && delivery_of(lvt) == APIC_EXTINT);
}

/* Notes an error (11.5.3), and raises the error interrupt if the guest wants it. */
void apic_error(struct local_apic *apic, uint32_t error)
{
    uint32_t lvt = apic_load(&apic->lvt[APIC_LVT_ERROR]);
    uint32_t old = __atomic_fetch_or(&apic->esr_pending, error, __ATOMIC_ACQ_REL);
    uint8_t vector = (uint8_t)lvt;
    /* With an illegal vector of its own it is one more error, which must not raise itself. */
    if (!(old & error) && !(lvt & APIC_LVT_MASKED) && vector >= APIC_VECTOR_FIRST)
        local_apic_raise(apic, vector, false);
}

/* Lowest priority: the lowest task priority class among those named; vectors spread over equals (11.6.2.4). */
static struct local_apic *arbitrate(struct local_apic *const *apics, unsigned count,
                                    const struct apic_message *message)
{
    unsigned lowest = 16, equals = 0, chosen;
    for (unsigned i = 0; i < count; i++) {
        unsigned class = apic_load(&apics[i]->tpr) >> 4 & 0xf;
        if (!local_apic_matches(apics[i], message) ||
            !(apic_load(&apics[i]->svr) & APIC_SVR_ENABLED))
            continue;
        equals = class < lowest ? 1 : equals + (class == lowest);
        lowest = class < lowest ? class : lowest;
    }
    if (equals == 0)
        return NULL;
    chosen = message->vector % equals;
    for (unsigned i = 0; i < count; i++) {
        /* Priorities and modes may have changed since: then it goes to whom it would have gone before. */
        if (local_apic_matches(apics[i], message) &&
            (apic_load(&apics[i]->svr) & APIC_SVR_ENABLED) &&
            (apic_load(&apics[i]->tpr) >> 4 & 0xf) <= lowest && chosen-- == 0)
            return apics[i];
    }
    return NULL;
}

void local_apic_deliver(struct local_apic *const *apics, unsigned count,
                        const struct local_apic *source, const struct apic_message *message)
{
    if (message->shorthand == APIC_TO_NAMED && message->delivery == APIC_LOWEST) {
        struct local_apic *apic = arbitrate(apics, count, message);
        if (apic)
            local_apic_signal(apic, message);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        bool to;
        switch (message->shorthand) {
        case APIC_TO_SELF: to = apics[i] == source; break;
        case APIC_TO_ALL: to = true; break;
        case APIC_TO_OTHERS: to = apics[i] != source; break;
        default: to = local_apic_matches(apics[i], message); break;
        }
        if (to && (apic_load64(&apics[i]->base_msr) & APIC_BASE_ENABLED))
            local_apic_signal(apics[i], message);
    }
}

/* ---- The vCPU's own thread: priorities, EOI -------------------------------------------------- */

/* Processor priority (11.8.3.1). */
uint32_t apic_priority(const struct local_apic *apic)
{
    int vector = in_service(apic);
    uint32_t class = vector < 0 ? 0 : (uint32_t)vector & 0xf0;
    return (apic->tpr & 0xf0) >= class ? apic->tpr : class;
}

static void end_of_interrupt(struct local_apic *apic)
{
    int vector = in_service(apic);
    if (vector < 0)
        return;
    uint32_t *word = &apic->isr[vector / 32];
    *word &= ~(1u << vector % 32);
    if (*word == 0)
        apic->isr_words &= ~(1u << vector / 32);
    if (bit_test(apic->tmr, (uint8_t)vector))
        apic->operations->end_of_interrupt(apic, (uint8_t)vector);
}

/*
 * What the guest did with an armed word: cleared means that it has ended its interrupt. If it has not and
 * `disarm`, the word is taken back, and the guest will write EOI. The guest does not run now, so there is no
 * window between our look and our change.
 */
static void settle_pv_eoi(struct local_apic *apic, bool disarm)
{
    if (!apic->pv_eoi_armed)
        return;
    if (!(__atomic_load_n(apic->pv_eoi, __ATOMIC_ACQUIRE) & PV_EOI_BIT)) {
        apic->pv_eoi_armed = false;
        end_of_interrupt(apic);
    } else if (disarm) {
        disarm_pv_eoi(apic);
    }
}

/*
 * Armed when a vector goes to the processor, which may take it without an exit. Only if it will be the only one in
 * service, nobody waits for its end, and nothing else is requested: then nothing can become deliverable by its end but what
 * comes later, and local_apic_pending disarms for that.
 */
static void arm_pv_eoi(struct local_apic *apic, uint8_t vector)
{
    if (!apic->pv_eoi || bit_test(apic->tmr, vector) || requested(apic) >= 0 || apic->isr_words)
        return;
    __atomic_fetch_or(apic->pv_eoi, PV_EOI_BIT, __ATOMIC_RELEASE);
    apic->pv_eoi_armed = true;
}

void local_apic_set_pv_eoi(struct local_apic *apic, uint32_t *word)
{
    settle_pv_eoi(apic, true);
    apic->pv_eoi = word;
}

/* Before the guest looks at or changes registers that its own EOI would have changed. */
void apic_settle(struct local_apic *apic)
{
    settle_pv_eoi(apic, false);
}

void apic_end_of_interrupt(struct local_apic *apic)
{
    settle_pv_eoi(apic, true);
    end_of_interrupt(apic);
}

int local_apic_pending(struct local_apic *apic)
{
    if (!apic->pv_eoi_armed && __atomic_load_n(&apic->irr_words, __ATOMIC_ACQUIRE) == 0)
        return -1;
    int vector = requested(apic);
    settle_pv_eoi(apic, vector >= 0);
    if (vector < 0 || !(apic->svr & APIC_SVR_ENABLED))
        return -1;
    return ((uint32_t)vector & 0xf0) > (apic_priority(apic) & 0xf0) ? vector : -1;
}

static inline void take_request(struct local_apic *apic, uint8_t vector)
{
    bit_clear(apic->irr, vector);
    if (__atomic_load_n(&apic->irr[vector / 32], __ATOMIC_RELAXED) == 0)
        word_found_empty(apic, vector / 32);
    arm_pv_eoi(apic, vector);
}

static inline void begin_service(struct local_apic *apic, uint8_t vector)
{
    apic->isr[vector / 32] |= 1u << vector % 32;
    apic->isr_words |= 1u << vector / 32;
}

void local_apic_hand_out(struct local_apic *apic, uint8_t vector)
{
    settle_pv_eoi(apic, true);
    take_request(apic, vector);
}

void local_apic_hand_back(struct local_apic *apic, uint8_t vector, bool taken)
{
    if (taken) {
        begin_service(apic, vector);
        return;
    }
    disarm_pv_eoi(apic);
    bit_set(apic->irr, vector);
    __atomic_fetch_or(&apic->irr_words, 1u << vector / 32, __ATOMIC_ACQ_REL);
}

void local_apic_accept(struct local_apic *apic, uint8_t vector)
{
    settle_pv_eoi(apic, true);
    take_request(apic, vector);
    begin_service(apic, vector);
}

uint32_t local_apic_events(struct local_apic *apic)
{
    if (__atomic_load_n(&apic->events, __ATOMIC_RELAXED) == 0)
        return 0;
    return __atomic_exchange_n(&apic->events, 0, __ATOMIC_ACQ_REL);
}

uint64_t local_apic_cr8(const struct local_apic *apic)
{
    return apic->tpr >> 4 & 0xf;
}

void local_apic_set_cr8(struct local_apic *apic, uint64_t value)
{
    apic_store(&apic->tpr, (uint32_t)(value & 0xf) << 4);
}

void local_apic_dump(struct local_apic *apic, struct sink *sink)
{
    print(sink, "  apic %u base %lx svr %x tpr %x ldr %x esr %x icr %lx\n", apic->id,
          (unsigned long)apic->base_msr, apic->svr, apic->tpr, apic->ldr, apic->esr,
          (unsigned long)apic->icr);
    print(sink, "    highest requested %d, in service %d; timer entry %x count %u deadline %lx\n",
          requested(apic), in_service(apic), apic->lvt[APIC_LVT_TIMER], apic->timer_initial,
          (unsigned long)apic->deadline_tsc);
}
