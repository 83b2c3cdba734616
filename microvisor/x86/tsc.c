/*
 * Time. The TSC's frequency: asked of the processor, of the hypervisor, or measured against channel
 * 2 of the 8254 for less than a millisecond; in the same time the local APIC's timer, where it is needed.
 */
#include "x86/features.h"
#include "x86/platform.h"
#include "x86/processor.h"

uint64_t tsc_khz;
uint64_t tsc_calibration_ticks;
static uint64_t timer_ratio; /* the local APIC's timer ticks per TSC tick, 32.32 */

#define PIT_HZ 1193182ull
#define PIT_TICKS 1100u /* 0.92 ms */
#define PIT_CHANNEL2 0x42u
#define PIT_COMMAND 0x43u
#define PIT_MODE0_CHANNEL2 0xb0u /* both bytes, count down once */
#define PIT_LATCH_CHANNEL2 0x80u
#define PORT_B 0x61u
#define PORT_B_GATE 1u
#define PORT_B_SPEAKER 2u
#define PORT_B_OUT 0x20u /* of channel 2: it has counted to the end */
#define PIT_READS 10000u /* far more than one tick takes */
#define BLUR_MAX 100u    /* so many times longer than a look is what is measured */
#define ATTEMPTS 20u     /* the last one counts, however it went */

static uint64_t ask_frequency(void)
{
    struct cpuid ratio = {0}, base = {0};
    uint32_t leaves = cpuid(0, 0).a;
    if (features.intel && leaves >= 0x15)
        ratio = cpuid(0x15, 0);
    if (features.intel && leaves >= 0x16)
        base = cpuid(0x16, 0);
    if (ratio.a && ratio.b && ratio.c) /* crystal frequency and its multiplier (SDM 3, 19.7.3) */
        return (uint64_t)ratio.c * ratio.b / ratio.a / 1000;
    if (ratio.a && ratio.b && base.a & 0xffff)
        return (uint64_t)(base.a & 0xffff) * 1000;
    if (features.hypervisor && cpuid(0x40000000, 0).a - 0x40000010u < 0xf0)
        return cpuid(0x40000010, 0).a;
    return 0;
}

/* What the clocks showed at one moment, and how many TSC ticks it took to look. */
struct moment {
    uint64_t tsc, width;
    uint32_t timer; /* the local APIC's */
    uint16_t pit;
};

static struct moment look(void)
{
    struct moment moment;
    uint64_t before = processor_ticks();
    out8(PIT_COMMAND, PIT_LATCH_CHANNEL2);
    moment.timer = apic_read(APIC_TIMER_CURRENT);
    moment.tsc = processor_ticks();
    moment.width = moment.tsc - before;
    moment.pit = in8(PIT_CHANNEL2);
    moment.pit |= (uint16_t)(in8(PIT_CHANNEL2) << 8);
    return moment;
}

/* Under a hypervisor the processor may be taken away while we look: then the clocks do not belong together. */
static bool is_sharp(const struct moment *from, const struct moment *to)
{
    return (from->width + to->width) * BLUR_MAX < to->tsc - from->tsc;
}

/* PIT_TICKS, or a little more, go by. False: it took so long that the counter may have gone around. */
static bool await_pit(struct moment *from, struct moment *to)
{
    unsigned reads = 0;
    out8(PORT_B, (uint8_t)((in8(PORT_B) & ~PORT_B_SPEAKER) | PORT_B_GATE));
    out8(PIT_COMMAND, PIT_MODE0_CHANNEL2);
    out8(PIT_CHANNEL2, 0xff);
    out8(PIT_CHANNEL2, 0xff);
    *from = look();
    do {
        *to = look();
        if (to->pit == from->pit && ++reads > PIT_READS)
            panic("the processor does not tell its TSC frequency and the 8254 timer does not count");
    } while ((uint16_t)(from->pit - to->pit) < PIT_TICKS);
    return !(in8(PORT_B) & PORT_B_OUT);
}

/* Half a millisecond, by the frequency that was told. */
static bool await_tsc(struct moment *from, struct moment *to)
{
    for (*from = *to = look(); to->tsc - from->tsc < tsc_khz / 2;)
        *to = look();
    return true;
}

void tsc_init(void)
{
    uint64_t start = processor_ticks();
    bool sharp = false;
    struct moment from, to;

    apic_write(APIC_TIMER_INITIAL, UINT32_MAX); /* does nothing in deadline mode (SDM 3, 11.5.4.1) */
    tsc_khz = ask_frequency();
    bool asked = tsc_khz;
    for (unsigned i = 0; !(asked && features.tsc_deadline) && !sharp && i < ATTEMPTS; i++) {
        bool good = asked ? await_tsc(&from, &to) : await_pit(&from, &to);
        if (!asked)
            tsc_khz = (to.tsc - from.tsc) * PIT_HZ / (uint16_t)(from.pit - to.pit) / 1000;
        timer_ratio = ((uint64_t)(from.timer - to.timer) << 32) / (to.tsc - from.tsc);
        sharp = good && is_sharp(&from, &to);
    }
    apic_write(APIC_TIMER_INITIAL, 0);
    tsc_calibration_ticks = processor_ticks() - start;
    printk("tsc: %lu kHz (%s), timer: %s\n", tsc_khz, asked ? "told" : "measured",
           features.tsc_deadline ? "TSC deadline" : "local APIC");
}

void processor_timer_arm(uint64_t deadline_tsc)
{
    if (features.tsc_deadline) {
        /* 0 would disarm; DEADLINE_NEVER does no harm. */
        write_msr(MSR_TSC_DEADLINE, deadline_tsc ? deadline_tsc : 1);
        return;
    }
    uint64_t now = processor_ticks();
    uint64_t ticks = deadline_tsc > now ? deadline_tsc - now : 0;
    /* Rounded up, so that it never fires early but for deadlines out of its reach, which are armed
     * again when it fires. */
    uint64_t count = (uint64_t)(((unsigned __int128)ticks * timer_ratio) >> 32) + 1;
    apic_write(APIC_TIMER_INITIAL, count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
}
