/* Between local_apic.c and local_apic_registers.c. */
#ifndef VMM_DEVICES_LOCAL_APIC_INTERNAL_H
#define VMM_DEVICES_LOCAL_APIC_INTERNAL_H

#include "devices/local_apic.h"

/* IA32_APIC_BASE (SDM 11.4.4). */
#define APIC_BASE_DEFAULT   0xfee00000ull
#define APIC_BASE_BOOTSTRAP (1ull << 8)
#define APIC_BASE_X2APIC    (1ull << 10)
#define APIC_BASE_ENABLED   (1ull << 11)

#define APIC_SVR_ENABLED    (1u << 8)
#define APIC_LVT_MASKED     (1u << 16)
#define APIC_VECTOR_FIRST   16u /* lower ones are illegal (11.5.2) */

/* Error status (11.5.3). */
#define APIC_ERROR_SEND_VECTOR    (1u << 5)
#define APIC_ERROR_RECEIVE_VECTOR (1u << 6)
#define APIC_ERROR_REGISTER       (1u << 7)

/* apic_message.shorthand, as in the ICR. */
enum apic_shorthand { APIC_TO_NAMED, APIC_TO_SELF, APIC_TO_ALL, APIC_TO_OTHERS };

/* Registers that other vCPUs' threads look at. */
static inline uint32_t apic_load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void apic_store(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline uint64_t apic_load64(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void apic_store64(uint64_t *word, uint64_t value)
{
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline bool apic_x2apic(const struct local_apic *apic)
{
    return (apic_load64(&apic->base_msr) & APIC_BASE_X2APIC) != 0;
}

/* 11.12.10.2: cluster in the upper half, one bit in the lower. */
static inline uint32_t apic_x2apic_ldr(uint32_t id)
{
    return id >> 4 << 16 | 1u << (id & 0xf);
}

void apic_reset_registers(struct local_apic *apic);
void apic_error(struct local_apic *apic, uint32_t error);
uint32_t apic_priority(const struct local_apic *apic);
void apic_settle(struct local_apic *apic);
void apic_end_of_interrupt(struct local_apic *apic);

#endif
