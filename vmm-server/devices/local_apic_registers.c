/* Local APIC: its registers as the guest sees them, in the page and as MSRs, and its timer. The model's contract
 * is at the head of local_apic.c. */
#include "devices/local_apic.h"
#include "devices/local_apic_internal.h"

#include <septum.h>

/* Registers by number: offset / 16 in the page, MSR - 0x800 (SDM table 11-1 and 11-6). */
enum apic_register {
    REGISTER_ID = 0x02,
    REGISTER_VERSION = 0x03,
    REGISTER_TPR = 0x08,
    REGISTER_APR = 0x09,
    REGISTER_PPR = 0x0a,
    REGISTER_EOI = 0x0b,
    REGISTER_RRD = 0x0c,
    REGISTER_LDR = 0x0d,
    REGISTER_DFR = 0x0e,
    REGISTER_SVR = 0x0f,
    REGISTER_ISR = 0x10, /* eight each */
    REGISTER_TMR = 0x18,
    REGISTER_IRR = 0x20,
    REGISTER_ESR = 0x28,
    REGISTER_ICR = 0x30,
    REGISTER_ICR_HIGH = 0x31,
    REGISTER_LVT = 0x32, /* six */
    REGISTER_LVT_LAST = 0x37,
    REGISTER_TIMER_INITIAL = 0x38,
    REGISTER_TIMER_CURRENT = 0x39,
    REGISTER_TIMER_DIVIDE = 0x3e,
    REGISTER_SELF_IPI = 0x3f, /* x2APIC only */
};

#define MSR_APIC_BASE    0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_X2APIC_FIRST 0x800u
#define MSR_X2APIC_LAST  0x83fu

/* Version 0x14, number of the last LVT entry in bits 16-23 (11.4.8). */
#define VERSION (0x14u | APIC_LVT_ERROR << 16)

/* Interrupt command (11.6.1). */
#define ICR_STATUS          (1u << 12) /* always idle; a write of it is ignored */
#define ICR_LOGICAL         (1u << 11)
#define ICR_ASSERT          (1u << 14)
#define ICR_LEVEL           (1u << 15)
#define ICR_SHORTHAND_SHIFT 18
#define ICR_WRITABLE        0x000ccfffu /* not delivery status, nor what is reserved */

#define SVR_WRITABLE        0x3ffu /* vector, enable, focus checking */

enum timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_TSC_DEADLINE };
#define LVT_TIMER_MODE_SHIFT 17

/* Vector and mask everywhere; timer mode; delivery mode; polarity and trigger of the pins (11.5.1). */
static const uint32_t lvt_writable[] = {
    [APIC_LVT_TIMER] = 0x000700ff, [APIC_LVT_THERMAL] = 0x000107ff, [APIC_LVT_PMC] = 0x000107ff,
    [APIC_LVT_LINT0] = 0x0001a7ff, [APIC_LVT_LINT1] = 0x0001a7ff,   [APIC_LVT_ERROR] = 0x000100ff,
};

/* ---- Timer ----------------------------------------------------------------------------------- */

static enum timer_mode timer_mode(const struct local_apic *apic)
{
    return apic->lvt[APIC_LVT_TIMER] >> LVT_TIMER_MODE_SHIFT & 3;
}

/* Divide configuration (11.5.4): bits 0, 1 and 3 count 2, 4, ... 128, 1. */
static unsigned timer_shift(const struct local_apic *apic)
{
    uint32_t divide = apic->timer_divide;
    return ((divide >> 1 & 4) + (divide & 3) + 1) & 7;
}

static void timer_stop(struct local_apic *apic)
{
    apic->timer_initial = 0;
    apic->deadline_guest = 0;
    apic->deadline_tsc = DEADLINE_NEVER;
}

static uint32_t timer_current(const struct local_apic *apic, uint64_t now)
{
    uint64_t gone = (now - apic->timer_start_tsc) >> timer_shift(apic);
    uint32_t initial = apic->timer_initial;
    if (apic->deadline_tsc == DEADLINE_NEVER)
        return 0;
    if (now < apic->timer_start_tsc)
        return initial;
    if (timer_mode(apic) == TIMER_PERIODIC)
        return initial - (uint32_t)(gone % initial);
    return gone >= initial ? 0 : initial - (uint32_t)gone;
}

static void timer_set_initial(struct local_apic *apic, uint32_t value, uint64_t now)
{
    if (timer_mode(apic) == TIMER_TSC_DEADLINE)
        return; /* 11.5.4.1: ignored */
    apic->timer_initial = value;
    apic->timer_start_tsc = now;
    apic->deadline_tsc = value ? now + ((uint64_t)value << timer_shift(apic)) : DEADLINE_NEVER;
}

/* The count goes on from where it is, at the new rate. */
static void timer_set_divide(struct local_apic *apic, uint32_t value, uint64_t now)
{
    uint32_t current = timer_current(apic, now);
    apic->timer_divide = value & 0xb;
    if (timer_mode(apic) == TIMER_TSC_DEADLINE || apic->deadline_tsc == DEADLINE_NEVER)
        return;
    apic->timer_start_tsc = now - ((uint64_t)(apic->timer_initial - current) << timer_shift(apic));
    apic->deadline_tsc = now + ((uint64_t)current << timer_shift(apic));
}

/* The host's clock at the deadline of the guest's: now, if it has passed. */
static void timer_set_deadline(struct local_apic *apic, uint64_t guest, uint64_t now)
{
    uint64_t guest_now = now + apic->tsc_offset;
    uint64_t left = guest > guest_now ? guest - guest_now : 0;
    apic->deadline_guest = guest;
    apic->deadline_tsc = guest == 0 || left >= DEADLINE_NEVER - now ? DEADLINE_NEVER : now + left;
}

/* A change between TSC-deadline mode and the others disarms the timer (11.5.4.1). */
static void timer_set_lvt(struct local_apic *apic, uint32_t value)
{
    enum timer_mode old = timer_mode(apic);
    apic_store(&apic->lvt[APIC_LVT_TIMER], value);
    if ((old == TIMER_TSC_DEADLINE) != (timer_mode(apic) == TIMER_TSC_DEADLINE))
        timer_stop(apic);
}

void local_apic_set_tsc_offset(struct local_apic *apic, uint64_t offset, uint64_t now)
{
    apic->tsc_offset = offset;
    if (apic->deadline_guest)
        timer_set_deadline(apic, apic->deadline_guest, now);
}

void local_apic_timer(struct local_apic *apic, uint64_t now)
{
    uint32_t lvt = apic->lvt[APIC_LVT_TIMER];
    if (now < apic->deadline_tsc)
        return;
    if (timer_mode(apic) == TIMER_PERIODIC) {
        /* Periods that passed unseen are one interrupt. */
        uint64_t period = (uint64_t)apic->timer_initial << timer_shift(apic);
        apic->timer_start_tsc += (now - apic->timer_start_tsc) / period * period;
        apic->deadline_tsc = apic->timer_start_tsc + period;
    } else {
        apic->deadline_guest = 0;
        apic->deadline_tsc = DEADLINE_NEVER;
    }
    if (!(lvt & APIC_LVT_MASKED))
        local_apic_raise(apic, (uint8_t)lvt, false);
}

/* ---- Registers that both ways of access share ------------------------------------------------ */

static uint32_t read_register(struct local_apic *apic, uint32_t number, uint64_t now)
{
    switch (number) {
    case REGISTER_VERSION: return VERSION;
    case REGISTER_TPR: return apic->tpr;
    case REGISTER_PPR: return apic_priority(apic);
    case REGISTER_LDR: return apic->ldr;
    case REGISTER_SVR: return apic->svr;
    case REGISTER_ISR ... REGISTER_ISR + 7: return apic->isr[number - REGISTER_ISR];
    case REGISTER_TMR ... REGISTER_TMR + 7: return apic_load(&apic->tmr[number - REGISTER_TMR]);
    case REGISTER_IRR ... REGISTER_IRR + 7: return apic_load(&apic->irr[number - REGISTER_IRR]);
    case REGISTER_ESR: return apic->esr;
    case REGISTER_ICR: return (uint32_t)apic->icr;
    case REGISTER_LVT ... REGISTER_LVT_LAST: return apic->lvt[number - REGISTER_LVT];
    case REGISTER_TIMER_INITIAL: return apic->timer_initial;
    case REGISTER_TIMER_CURRENT:
        return timer_mode(apic) == TIMER_TSC_DEADLINE ? 0 : timer_current(apic, now);
    case REGISTER_TIMER_DIVIDE: return apic->timer_divide;
    }
    return 0;
}

static void write_lvt(struct local_apic *apic, unsigned entry, uint32_t value)
{
    value &= lvt_writable[entry];
    if (!(apic->svr & APIC_SVR_ENABLED))
        value |= APIC_LVT_MASKED; /* 11.4.7.2 */
    if (entry == APIC_LVT_TIMER)
        timer_set_lvt(apic, value);
    else
        apic_store(&apic->lvt[entry], value);
}

static void write_svr(struct local_apic *apic, uint32_t value)
{
    apic_store(&apic->svr, value & SVR_WRITABLE);
    if (value & APIC_SVR_ENABLED)
        return;
    for (unsigned i = 0; i <= APIC_LVT_ERROR; i++)
        apic_store(&apic->lvt[i], apic->lvt[i] | APIC_LVT_MASKED);
}

static void write_register(struct local_apic *apic, uint32_t number, uint32_t value, uint64_t now)
{
    switch (number) {
    case REGISTER_TPR: apic_store(&apic->tpr, value & 0xff); break;
    case REGISTER_EOI: apic_end_of_interrupt(apic); break;
    case REGISTER_SVR: write_svr(apic, value); break;
    case REGISTER_ESR: /* 11.5.3: a write brings what was noted since the last */
        apic->esr = __atomic_exchange_n(&apic->esr_pending, 0, __ATOMIC_ACQ_REL);
        break;
    case REGISTER_LVT ... REGISTER_LVT_LAST: write_lvt(apic, number - REGISTER_LVT, value); break;
    case REGISTER_TIMER_INITIAL: timer_set_initial(apic, value, now); break;
    case REGISTER_TIMER_DIVIDE: timer_set_divide(apic, value, now); break;
    }
    local_apic_timer(apic, now);
}

static void write_icr(struct local_apic *apic, uint32_t command, uint32_t destination)
{
    struct apic_message message = {
        .destination = destination,
        .vector = (uint8_t)command,
        .delivery = command >> 8 & 7,
        .shorthand = command >> ICR_SHORTHAND_SHIFT & 3,
        .logical = (command & ICR_LOGICAL) != 0,
        .level = (command & ICR_LEVEL) != 0,
        .assert = (command & ICR_ASSERT) != 0,
    };
    if (message.delivery == APIC_FIXED || message.delivery == APIC_LOWEST) {
        if (message.vector < APIC_VECTOR_FIRST) {
            apic_error(apic, APIC_ERROR_SEND_VECTOR);
            return;
        }
        message.level = false; /* the trigger mode is INIT's alone (11.6.1) */
    }
    if (message.shorthand == APIC_TO_SELF && message.delivery == APIC_FIXED) {
        local_apic_raise(apic, message.vector, false);
        return;
    }
    apic->operations->send(apic, &message);
}

/* ---- The page -------------------------------------------------------------------------------- */

static bool page_is_there(const struct local_apic *apic, uint32_t offset)
{
    return (apic->base_msr & APIC_BASE_ENABLED) && !apic_x2apic(apic) && (offset & 0xf) == 0 &&
           offset < 0x1000;
}

static bool page_register(uint32_t number)
{
    switch (number) {
    case REGISTER_ID ... REGISTER_VERSION:
    case REGISTER_TPR ... REGISTER_ESR:
    case REGISTER_ICR ... REGISTER_TIMER_CURRENT:
    case REGISTER_TIMER_DIVIDE: return true;
    }
    return false;
}

bool local_apic_read(struct local_apic *apic, uint32_t offset, uint32_t *value, uint64_t now)
{
    uint32_t number = offset / 16;
    if (!page_is_there(apic, offset))
        return false;
    if (!page_register(number))
        apic_error(apic, APIC_ERROR_REGISTER);
    apic_settle(apic);
    switch (number) {
    case REGISTER_ID: *value = apic->id << 24; break;
    case REGISTER_DFR: *value = apic->dfr; break;
    case REGISTER_ICR_HIGH: *value = (uint32_t)(apic->icr >> 32); break;
    default: *value = read_register(apic, number, now); break;
    }
    return true;
}

bool local_apic_write(struct local_apic *apic, uint32_t offset, uint32_t value, uint64_t now)
{
    uint32_t number = offset / 16, destination;
    if (!page_is_there(apic, offset))
        return false;
    if (!page_register(number))
        apic_error(apic, APIC_ERROR_REGISTER);
    switch (number) {
    case REGISTER_LDR: apic_store(&apic->ldr, value & 0xff000000); break;
    case REGISTER_DFR: apic_store(&apic->dfr, value | 0x0fffffff); break;
    case REGISTER_ICR_HIGH:
        apic->icr = (uint64_t)(value & 0xff000000) << 32 | (uint32_t)apic->icr;
        break;
    case REGISTER_ICR:
        apic->icr = (apic->icr & ~0xffffffffull) | (value & ICR_WRITABLE);
        destination = (uint32_t)(apic->icr >> 56);
        write_icr(apic, value, destination == 0xff ? APIC_BROADCAST : destination);
        break;
    default: write_register(apic, number, value, now); break;
    }
    return true;
}

/* ---- MSRs ------------------------------------------------------------------------------------ */

/* The four states and the ways between them (figure 11-27). */
static bool write_base(struct local_apic *apic, uint64_t value)
{
    uint64_t mode = APIC_BASE_ENABLED | APIC_BASE_X2APIC;
    uint64_t old = apic->base_msr & mode, new = (value & mode);

    if ((value & ~(mode | APIC_BASE_BOOTSTRAP)) != APIC_BASE_DEFAULT || new == APIC_BASE_X2APIC ||
        (old == 0 && new == mode) || (old == mode && new == APIC_BASE_ENABLED))
        return false;
    apic_store64(&apic->base_msr, value);
    if (new == 0 && old != 0)
        apic_reset_registers(apic);
    if (new == mode && old != mode) {
        apic_store(&apic->ldr, apic_x2apic_ldr(apic->id));
        apic->icr = (uint32_t)apic->icr;
    }
    return true;
}

bool local_apic_read_msr(struct local_apic *apic, uint32_t index, uint64_t *value, uint64_t now)
{
    uint32_t number = index - MSR_X2APIC_FIRST;
    if (index == MSR_APIC_BASE) {
        *value = apic->base_msr;
        return true;
    }
    if (index == MSR_TSC_DEADLINE) {
        *value = timer_mode(apic) == TIMER_TSC_DEADLINE ? apic->deadline_guest : 0;
        return true;
    }
    if (index < MSR_X2APIC_FIRST || index > MSR_X2APIC_LAST || !apic_x2apic(apic) ||
        !page_register(number))
        return false;
    apic_settle(apic);
    switch (number) {
    case REGISTER_APR:
    case REGISTER_EOI:
    case REGISTER_RRD:
    case REGISTER_DFR:
    case REGISTER_ICR_HIGH: return false; /* 11.12.1.2: not there, or write only */
    case REGISTER_ID: *value = apic->id; break;
    case REGISTER_ICR: *value = apic->icr; break;
    default: *value = read_register(apic, number, now); break;
    }
    return true;
}

/* Reserved bits of each register that can be written; all ones: it can't. */
static uint64_t msr_reserved(uint32_t number)
{
    switch (number) {
    case REGISTER_TPR:
    case REGISTER_SELF_IPI: return ~0xffull;
    case REGISTER_EOI:
    case REGISTER_ESR: return ~0ull; /* only 0 can be written */
    case REGISTER_SVR: return ~(uint64_t)SVR_WRITABLE;
    case REGISTER_ICR: return 0xffffffffull & ~(uint64_t)(ICR_WRITABLE | ICR_STATUS);
    case REGISTER_LVT ... REGISTER_LVT_LAST:
        return ~((uint64_t)lvt_writable[number - REGISTER_LVT] | 0x5000); /* and read-only bits */
    case REGISTER_TIMER_INITIAL: return ~0xffffffffull;
    case REGISTER_TIMER_DIVIDE: return ~0xbull;
    }
    return ~0ull;
}

static bool write_x2apic(struct local_apic *apic, uint32_t number, uint64_t value, uint64_t now)
{
    if (number == REGISTER_EOI && value == 0) { /* the most frequent */
        apic_end_of_interrupt(apic);
        return true;
    }
    if (value & msr_reserved(number))
        return false;
    switch (number) {
    case REGISTER_TPR:
    case REGISTER_SVR:
    case REGISTER_ESR:
    case REGISTER_LVT ... REGISTER_LVT_LAST:
    case REGISTER_TIMER_INITIAL:
    case REGISTER_TIMER_DIVIDE: write_register(apic, number, (uint32_t)value, now); return true;
    case REGISTER_ICR:
        apic->icr = value & ~(uint64_t)ICR_STATUS;
        write_icr(apic, (uint32_t)value, (uint32_t)(value >> 32));
        return true;
    case REGISTER_SELF_IPI:
        if (value < APIC_VECTOR_FIRST)
            apic_error(apic, APIC_ERROR_SEND_VECTOR);
        else
            local_apic_raise(apic, (uint8_t)value, false);
        return true;
    }
    return false; /* read only, or not there */
}

bool local_apic_write_msr(struct local_apic *apic, uint32_t index, uint64_t value, uint64_t now)
{
    if (index >= MSR_X2APIC_FIRST && index <= MSR_X2APIC_LAST)
        return apic_x2apic(apic) && write_x2apic(apic, index - MSR_X2APIC_FIRST, value, now);
    if (index == MSR_APIC_BASE)
        return write_base(apic, value);
    if (index == MSR_TSC_DEADLINE) {
        if (timer_mode(apic) == TIMER_TSC_DEADLINE) {
            timer_set_deadline(apic, value, now);
            local_apic_timer(apic, now);
        }
        return true;
    }
    return false;
}
