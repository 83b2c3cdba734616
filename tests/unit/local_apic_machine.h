/* Four local APICs and what they do to the machine around, for their tests. */
#ifndef LOCAL_APIC_MACHINE_H
#define LOCAL_APIC_MACHINE_H

#include "unit_test.h"

#include "devices/local_apic.h"

#include <septum.h>

#define APICS 4u

static struct local_apic apics[APICS];
static struct local_apic *const all[APICS] = {&apics[0], &apics[1], &apics[2], &apics[3]};
static struct local_apic *const apic = &apics[0];
static struct apic_message sent;
static unsigned sent_count, kicks[APICS], ended_count;
static uint8_t ended;
static uint64_t now;

static inline void send(struct local_apic *from, const struct apic_message *message)
{
    sent = *message;
    sent_count++;
    local_apic_deliver(all, APICS, from, message);
}

static inline void end(struct local_apic *from, uint8_t vector)
{
    (void)from;
    ended = vector;
    ended_count++;
}

static inline void kick(struct local_apic *to)
{
    kicks[to - apics]++;
}

static const struct local_apic_operations operations = {send, end, kick};

enum {
    ID = 0x20,
    VERSION = 0x30,
    TPR = 0x80,
    PPR = 0xa0,
    EOI = 0xb0,
    LDR = 0xd0,
    DFR = 0xe0,
    SVR = 0xf0,
    ISR = 0x100,
    TMR = 0x180,
    IRR = 0x200,
    ESR = 0x280,
    ICR = 0x300,
    ICR2 = 0x310,
    LVT_TIMER = 0x320,
    LVT_LINT0 = 0x350,
    LVT_ERROR = 0x370,
    INITIAL = 0x380,
    CURRENT = 0x390,
    DIVIDE = 0x3e0,
};

#define MASKED   0x10000u
#define PERIODIC 0x20000u
#define DEADLINE 0x40000u

static inline uint32_t get_of(struct local_apic *from, uint32_t offset)
{
    uint32_t value = 0;
    CHECK(local_apic_read(from, offset, &value, now));
    return value;
}

static inline uint32_t get(uint32_t offset)
{
    return get_of(apic, offset);
}

static inline void set_of(struct local_apic *to, uint32_t offset, uint32_t value)
{
    CHECK(local_apic_write(to, offset, value, now));
}

static inline void set(uint32_t offset, uint32_t value)
{
    set_of(apic, offset, value);
}

static inline uint64_t get_msr(uint32_t index)
{
    uint64_t value = 0;
    CHECK(local_apic_read_msr(apic, index, &value, now));
    return value;
}

static inline void set_msr(uint32_t index, uint64_t value)
{
    CHECK(local_apic_write_msr(apic, index, value, now));
}

static inline void clear_events(void)
{
    sent_count = ended_count = 0;
    memset(kicks, 0, sizeof kicks);
}

static inline void start(void)
{
    now = 1000000;
    for (unsigned i = 0; i < APICS; i++) {
        local_apic_init(&apics[i], i, &operations, NULL);
        set_of(&apics[i], SVR, 0x1ff);
        set_of(&apics[i], LDR, 1u << (24 + i));
    }
    clear_events();
}

static inline void start_x2apic(void)
{
    start();
    for (unsigned i = 0; i < APICS; i++)
        CHECK(local_apic_write_msr(&apics[i], 0x1b, 0xfee00c00 | (i == 0) << 8, now));
}

static inline void accept_pending(uint8_t vector)
{
    EXPECT(local_apic_pending(apic), vector);
    local_apic_accept(apic, vector);
}

#endif
