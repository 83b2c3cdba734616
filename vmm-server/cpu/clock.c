#include "cpu/clock.h"
#include "machine.h"

#include "string.h"
#include "task.h"

#define MSR_WALL_CLOCK_OLD 0x11u
#define MSR_WALL_CLOCK     0x4b564d00u
#define MSR_PV_EOI         0x4b564d04u

#define ENABLED            1ull
#define STABLE             1u
#define NS_PER_SEC         1000000000ull

/* struct pvclock_vcpu_time_info */
struct time_info {
    uint32_t version, pad;
    uint64_t tsc_timestamp, system_time;
    uint32_t multiplier;
    int8_t shift;
    uint8_t flags, pad2[2];
};
_Static_assert(sizeof(struct time_info) == 32, "msr.rst");

/* struct pvclock_wall_clock */
struct wall_clock {
    uint32_t version, seconds, nanoseconds;
};

/* The rate is brought between 1 and 2 GHz by the shift; the rest is the multiplier's. */
struct clock_scale clock_scale_of(uint64_t tsc_khz)
{
    uint64_t rate = tsc_khz * 1000;
    struct clock_scale scale = {0, 0};
    for (; rate > 2 * NS_PER_SEC; rate >>= 1)
        scale.shift--;
    for (; rate <= NS_PER_SEC && rate; rate <<= 1)
        scale.shift++;
    scale.multiplier = rate ? (uint32_t)((NS_PER_SEC << 32) / rate) : 0;
    return scale;
}

uint64_t clock_began(uint64_t seconds, uint64_t ticks, uint64_t began_ticks, uint64_t tsc_khz)
{
    bool later = began_ticks >= ticks;
    uint64_t apart = later ? began_ticks - ticks : ticks - began_ticks;
    uint64_t apart_ns = apart / tsc_khz * 1000000 + apart % tsc_khz * 1000000 / tsc_khz;
    if (!seconds)
        return 0;
    return later ? seconds * NS_PER_SEC + apart_ns : seconds * NS_PER_SEC - apart_ns;
}

/* The guest's TSC began at 0 with the guest, and so does its clock. */
static bool write_time(struct vcpu *vcpu, uint64_t value)
{
    struct clock_scale scale = clock_scale_of(task->tsc_khz);
    const struct time_info info = {.version = 2, /* even: nobody is writing */
                                   .multiplier = scale.multiplier,
                                   .shift = scale.shift,
                                   .flags = STABLE};
    vcpu->clock_msr = value;
    return !(value & ENABLED) ||
           guest_memory_write(&vcpu->machine->memory, value & ~ENABLED, &info, sizeof info);
}

/* The time of day at which the guest's TSC was 0; where nobody knows it, the guest's calendar begins in 1970. */
static bool write_wall_clock(struct vcpu *vcpu, uint64_t value)
{
    const struct vmm_start *start = vcpu->machine->start;
    uint64_t began = clock_began(start->calendar_seconds, start->calendar_ticks, 0 - vcpu->tsc_offset, task->tsc_khz);
    const struct wall_clock clock = {.version = 2,
                                     .seconds = (uint32_t)(began / NS_PER_SEC),
                                     .nanoseconds = (uint32_t)(began % NS_PER_SEC)};
    vcpu->wall_clock_msr = value;
    return guest_memory_write(&vcpu->machine->memory, value, &clock, sizeof clock);
}

static bool write_pv_eoi(struct vcpu *vcpu, uint64_t value)
{
    uint32_t *word = NULL;
    if (value & ENABLED) {
        word = value & 2
                   ? NULL
                   : guest_memory_at(&vcpu->machine->memory, value & ~3ull, sizeof *word, true);
        if (!word)
            return false;
    }
    vcpu->pv_eoi_msr = value;
    local_apic_set_pv_eoi(&vcpu->apic, word);
    return true;
}

bool clock_read_msr(struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
    bool wall = index == MSR_WALL_CLOCK || index == MSR_WALL_CLOCK_OLD;
    *value = index == MSR_PV_EOI ? vcpu->pv_eoi_msr : wall ? vcpu->wall_clock_msr : vcpu->clock_msr;
    return true;
}

bool clock_write_msr(struct vcpu *vcpu, uint32_t index, uint64_t value)
{
    if (index == MSR_PV_EOI)
        return write_pv_eoi(vcpu, value);
    if (index == MSR_WALL_CLOCK || index == MSR_WALL_CLOCK_OLD)
        return write_wall_clock(vcpu, value);
    return write_time(vcpu, value);
}
