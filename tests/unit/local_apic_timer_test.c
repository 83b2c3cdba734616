/* The local APIC's timer.
 * links: vmm-server/devices/local_apic.c vmm-server/devices/local_apic_registers.c lib/print.c */
#include "local_apic_machine.h"

TEST(apic_timer_one_shot, "one shot counts down at the divided rate, and fires once")
{
    static const struct {
        uint32_t divide, by;
    } rates[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
    for (unsigned i = 0; i < 8; i++) {
        start();
        set(LVT_TIMER, 0x50);
        set(DIVIDE, rates[i].divide);
        set(INITIAL, 1000);
        EXPECT(apic->deadline_tsc, now + 1000 * rates[i].by);
        now += 400 * rates[i].by;
        EXPECT(get(CURRENT), 600);
        local_apic_timer(apic, now);
        EXPECT(local_apic_pending(apic), -1);
        now += 600 * rates[i].by;
        local_apic_timer(apic, now);
        EXPECT(get(CURRENT), 0);
        EXPECT(get(INITIAL), 1000);
        EXPECT(apic->deadline_tsc, DEADLINE_NEVER);
        accept_pending(0x50);
        local_apic_timer(apic, now + 100000);
        EXPECT(local_apic_pending(apic), -1);
    }
}

TEST(apic_timer_periodic,
     "a periodic timer keeps its phase, and makes one of the periods that it missed")
{
    start();
    uint64_t begin = now;
    set(LVT_TIMER, PERIODIC | 0x50);
    set(DIVIDE, 11);
    set(INITIAL, 1000);
    now += 1010;
    local_apic_timer(apic, now);
    EXPECT(kicks[0], 1);
    EXPECT(apic->deadline_tsc, begin + 2000);
    EXPECT(get(CURRENT), 990);
    accept_pending(0x50);
    set(EOI, 0);
    now = begin + 7300;
    local_apic_timer(apic, now);
    EXPECT(kicks[0], 2);
    EXPECT(apic->deadline_tsc, begin + 8000);
    EXPECT(get(CURRENT), 700);
    set(INITIAL, 0);
    EXPECT(apic->deadline_tsc, DEADLINE_NEVER);
    EXPECT(get(CURRENT), 0);
}

TEST(apic_timer_masked, "a masked timer counts and does not fire")
{
    start();
    set(LVT_TIMER, MASKED | PERIODIC | 0x50);
    set(DIVIDE, 11);
    set(INITIAL, 100);
    now += 150;
    local_apic_timer(apic, now);
    EXPECT(local_apic_pending(apic), -1);
    EXPECT(get(CURRENT), 50);
}

TEST(apic_timer_divide_changes, "a new divider changes the rate of what is left")
{
    start();
    set(LVT_TIMER, 0x50);
    set(DIVIDE, 11);
    set(INITIAL, 1000);
    now += 600;
    set(DIVIDE, 0);
    EXPECT(get(CURRENT), 400);
    EXPECT(apic->deadline_tsc, now + 800);
    now += 200;
    EXPECT(get(CURRENT), 300);
}

TEST(apic_timer_deadline,
     "TSC-deadline mode fires when the guest's clock is there, and clears the MSR")
{
    start();
    local_apic_set_tsc_offset(apic, 5000, now);
    set_msr(0x6e0, now + 9000);
    EXPECT(get_msr(0x6e0), 0); /* not in that mode */
    set(LVT_TIMER, DEADLINE | 0x50);
    set_msr(0x6e0, now + 9000);
    EXPECT(get_msr(0x6e0), now + 9000);
    EXPECT(apic->deadline_tsc, now + 4000);
    set(INITIAL, 77);
    EXPECT(get(INITIAL), 0);
    EXPECT(get(CURRENT), 0);
    now += 4000;
    local_apic_timer(apic, now);
    EXPECT(get_msr(0x6e0), 0);
    accept_pending(0x50);
    set(EOI, 0);
    set_msr(0x6e0, 1); /* in the past: at once */
    accept_pending(0x50);
    set(EOI, 0);
    set_msr(0x6e0, UINT64_MAX);
    EXPECT(apic->deadline_tsc, UINT64_MAX - 5000);
    EXPECT(get_msr(0x6e0), UINT64_MAX);
    set_msr(0x6e0, now + 9000);
    local_apic_set_tsc_offset(apic, 6000, now);
    EXPECT(apic->deadline_tsc, now + 3000);
    set_msr(0x6e0, 0);
    EXPECT(apic->deadline_tsc, DEADLINE_NEVER);
    EXPECT(local_apic_pending(apic), -1);
}

TEST(apic_timer_mode_change, "between TSC-deadline and the other modes the timer is disarmed")
{
    start();
    set(LVT_TIMER, 0x50);
    set(DIVIDE, 11);
    set(INITIAL, 1000);
    set(LVT_TIMER, PERIODIC | 0x50);
    EXPECT(apic->deadline_tsc, now + 1000);
    set(LVT_TIMER, DEADLINE | 0x50);
    EXPECT(apic->deadline_tsc, DEADLINE_NEVER);
    EXPECT(get(INITIAL), 0);
    set_msr(0x6e0, now + 9000);
    set(LVT_TIMER, 0x50);
    EXPECT(apic->deadline_tsc, DEADLINE_NEVER);
    EXPECT(get_msr(0x6e0), 0);
}
