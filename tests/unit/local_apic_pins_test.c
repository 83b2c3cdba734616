/* The local APIC's pins LINT0 and LINT1 (SDM 3A, 11.5.1).
 * links: vmm-server/devices/local_apic.c vmm-server/devices/local_apic_registers.c lib/print.c */
#include "local_apic_machine.h"

#define LVT_LINT1 0x360u
#define EXTINT    0x700u
#define NMI       0x400u
#define DISABLED  0xfee00100ull

static void pin(enum apic_pin number, bool high)
{
    local_apic_set_pin(apic, number, high);
}

TEST(apic_extint, "an unmasked ExtINT entry asks for an acknowledge for as long as the pin is "
                  "high, and kicks its thread")
{
    start();
    set(LVT_LINT0, EXTINT);
    unsigned before = kicks[0];
    pin(APIC_LINT0, true);
    EXPECT(local_apic_wants_acknowledge(apic), true);
    EXPECT(kicks[0], before + 1);
    EXPECT(local_apic_pending(apic), (uint64_t)-1);
    pin(APIC_LINT0, true);
    EXPECT(kicks[0], before + 1);
    pin(APIC_LINT0, false);
    EXPECT(local_apic_wants_acknowledge(apic), false);
    EXPECT(local_apic_events(apic), 0);
}

TEST(apic_extint_masked,
     "a masked entry asks for nothing, and its level counts when it is unmasked")
{
    start();
    set(LVT_LINT0, MASKED | EXTINT);
    pin(APIC_LINT0, true);
    EXPECT(local_apic_wants_acknowledge(apic), false);
    set(LVT_LINT0, EXTINT);
    EXPECT(local_apic_wants_acknowledge(apic), true);
    set(SVR, 0x0ff); /* disabled by software: all entries are masked */
    EXPECT(local_apic_wants_acknowledge(apic), false);
}

TEST(apic_pins_without_apic,
     "switched off by its base MSR, the pins are the processor's INTR and NMI")
{
    start();
    set_msr(0x1b, DISABLED);
    pin(APIC_LINT0, true);
    EXPECT(local_apic_wants_acknowledge(apic), true);
    EXPECT(local_apic_events(apic), 0);
    pin(APIC_LINT1, true);
    EXPECT(local_apic_events(apic), APIC_EVENT_NMI);
}

TEST(apic_nmi_pin, "LINT1 as NMI is one event for each edge, and none while it is masked")
{
    start();
    set(LVT_LINT1, NMI);
    pin(APIC_LINT1, true);
    EXPECT(local_apic_events(apic), APIC_EVENT_NMI);
    pin(APIC_LINT1, true);
    EXPECT(local_apic_events(apic), 0);
    pin(APIC_LINT1, false);
    set(LVT_LINT1, MASKED | NMI);
    pin(APIC_LINT1, true);
    EXPECT(local_apic_events(apic), 0);
}

TEST(apic_fixed_pin,
     "a pin of fixed delivery raises its vector at each edge, and asks for no acknowledge")
{
    start();
    set(LVT_LINT0, 0x51);
    pin(APIC_LINT0, true);
    EXPECT(local_apic_wants_acknowledge(apic), false);
    EXPECT(local_apic_pending(apic), 0x51);
    local_apic_accept(apic, 0x51);
    set(EOI, 0);
    EXPECT(local_apic_pending(apic), (uint64_t)-1);
    pin(APIC_LINT0, false);
    pin(APIC_LINT0, true);
    EXPECT(local_apic_pending(apic), 0x51);
}
