/*
 * PIIX3 (82371SB): the ISA bridge; and the power management function of a PIIX4 (82371AB), as virtual machines of this
 * kind have it.
 *
 * State:    configuration registers; how many functions assert each PIRQ, which ISA lines follow.
 * Features: routing of the PIRQs to ISA lines, whose trigger mode is the 8259s' and the IOAPIC's matter; the base address
 *           and the enable bit of the power management registers, which devices/pm.c has.
 * Missing:  system management interrupts (the bit that says they are set up is always 1, so that no firmware tries), USB,
 *           the SMBus controller, chip selects (the registers are kept), DMA routing of MIRQs. Port 0xcf9 is
 *           devices/firmware_ports.c's, ELCR devices/pic.c's.
 * Spec:     Intel 82371FB (PIIX) and 82371SB (PIIX3), April 1997 (order 290550-002), 2.2; 82371AB (PIIX4), April
 *           1997 (order 290562-001), 7.1.
 */
#include "devices/piix3.h"

#include <stddef.h>

#define VENDOR          0x8086u
#define DEVICE_ISA      0x7000u
#define DEVICE_POWER    0x7113u
#define SUBSYSTEM_OWNER 0x1af4u
#define SUBSYSTEM       0x1100u
#define CLASS_ISA       0x060100u
#define CLASS_POWER     0x068000u
#define REVISION_POWER  3u

#define PIRQ_FIRST      0x60u
#define PIRQ_OFF        0x80u
#define PIRQ_WRITABLE   0x8fu
/* Lines that a PIRQ may go to (2.2.12): not the timer, keyboard, cascade, clock and coprocessor. */
#define ROUTABLE                         0xdef8u

#define PM_BASE                          0x40u
#define PM_BASE_MASK                     0xffc0u
#define PM_MISC                          0x80u
#define PM_MISC_ENABLE                   1u
#define DEVICE_ACTIVITY_B                0x58u
#define SMI_SET_UP                       0x02u /* APMC_EN, bit 25 */
#define SMBUS_BASE                       0x90u
#define SMBUS_CONFIG                     0xd2u

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* Registers of the ISA bridge that are kept, with their values after reset (2.2.7 to 2.2.20). */
static const struct {
    uint8_t offset, value, writable;
} kept[] = {
    {0x4c, 0x4d, 0xff}, {0x4e, 0x03, 0xff}, {0x4f, 0x00, 0x01}, {0x69, 0x02, 0xfe},
    {0x6a, 0x00, 0x1c}, {0x6b, 0x00, 0xff}, {0x70, 0x80, 0xcf}, {0x71, 0x80, 0xcf},
    {0x76, 0x0c, 0x8f}, {0x77, 0x0c, 0x8f}, {0x78, 0x02, 0xff}, {0x79, 0x00, 0xff},
    {0x80, 0x00, 0x7f}, {0x82, 0x00, 0x3f}, {0xa0, 0x08, 0x1f}, {0xa2, 0x00, 0xff},
    {0xa3, 0x00, 0xff}, {0xaa, 0x00, 0xff}, {0xac, 0x00, 0xff}, {0xae, 0x00, 0xff},
};

/* ---- interrupts -------------------------------------------------------------------------------------------- */

unsigned piix3_pirq_of(unsigned slot, unsigned pin)
{
    return (slot + pin - 1) & (PIIX3_PIRQS - 1);
}

unsigned piix3_line_of(const struct piix3 *piix3, unsigned pirq)
{
    uint8_t route = piix3->isa.config[PIRQ_FIRST + pirq];
    unsigned line = route & 0xf;
    return route & PIRQ_OFF || !(ROUTABLE >> line & 1) ? PIIX3_ISA_LINES : line;
}

static void settle_lines(struct piix3 *piix3)
{
    uint32_t driven = 0;
    for (unsigned pirq = 0; pirq < PIIX3_PIRQS; pirq++)
        if (piix3->asserted[pirq])
            driven |= 1u << piix3_line_of(piix3, pirq);
    uint16_t changed = (uint16_t)(driven ^ piix3->driven);
    piix3->driven = (uint16_t)driven;
    for (unsigned line = 0; line < PIIX3_ISA_LINES; line++)
        if (changed >> line & 1)
            piix3->lines[line]->set(piix3->lines[line], driven >> line & 1);
}

static void route(struct pci_bus *bus, unsigned slot, unsigned pin, bool high)
{
    struct piix3 *piix3 = bus->bridge;
    piix3->asserted[piix3_pirq_of(slot, pin)] += high ? 1u : -1u;
    settle_lines(piix3);
}

static void isa_written(struct pci_function *function, unsigned offset, unsigned size_bytes)
{
    if (offset < PIRQ_FIRST + PIIX3_PIRQS && offset + size_bytes > PIRQ_FIRST)
        settle_lines(CONTAINER(function, struct piix3, isa));
}

static void isa_reset(struct pci_function *function)
{
    for (unsigned i = 0; i < sizeof kept / sizeof *kept; i++)
        function->config[kept[i].offset] = kept[i].value;
    for (unsigned pirq = 0; pirq < PIIX3_PIRQS; pirq++)
        function->config[PIRQ_FIRST + pirq] = PIRQ_OFF;
    settle_lines(CONTAINER(function, struct piix3, isa));
}

/* ---- power management ---------------------------------------------------------------------------------------- */

static void settle_power(struct piix3 *piix3)
{
    uint16_t port = pci_function_get(&piix3->power, PM_BASE, 2) & PM_BASE_MASK;
    bool on = (piix3->power.config[PM_MISC] & PM_MISC_ENABLE) && port != 0;
    if (on == piix3->power_on && (!on || port == piix3->power_port))
        return;
    if (piix3->power_on && piix3->power_moved)
        piix3->power_moved(piix3, piix3->power_port, false);
    piix3->power_on = on;
    piix3->power_port = port;
    if (on && piix3->power_moved)
        piix3->power_moved(piix3, port, true);
}

static void power_written(struct pci_function *function, unsigned offset, unsigned size_bytes)
{
    (void)offset, (void)size_bytes;
    settle_power(CONTAINER(function, struct piix3, power));
}

static void power_reset(struct pci_function *function)
{
    pci_function_put(function, PM_BASE, 4, 1);
    pci_function_put(function, SMBUS_BASE, 4, 1);
    function->config[PM_MISC] = 0;
    function->config[SMBUS_CONFIG] = 0;
    function->config[DEVICE_ACTIVITY_B + 3] = SMI_SET_UP;
    settle_power(CONTAINER(function, struct piix3, power));
}

/* ---- putting it together ----------------------------------------------------------------------------------- */

static bool init_isa(struct piix3 *piix3, struct pci_bus *bus)
{
    static const struct pci_identity identity = {.vendor = VENDOR,
                                                 .device = DEVICE_ISA,
                                                 .subsystem_vendor = SUBSYSTEM_OWNER,
                                                 .subsystem = SUBSYSTEM,
                                                 .class_code = CLASS_ISA,
                                                 .multifunction = true};
    struct pci_function *function = &piix3->isa;
    pci_function_init(function, &identity, piix3);
    for (unsigned i = 0; i < sizeof kept / sizeof *kept; i++)
        function->writable[kept[i].offset] = kept[i].writable;
    for (unsigned pirq = 0; pirq < PIIX3_PIRQS; pirq++)
        function->writable[PIRQ_FIRST + pirq] = PIRQ_WRITABLE;
    function->written = isa_written;
    function->reset = isa_reset;
    isa_reset(function);
    return pci_bus_add(bus, function, PIIX3_SLOT, 0);
}

static bool init_power(struct piix3 *piix3, struct pci_bus *bus)
{
    static const struct pci_identity identity = {.vendor = VENDOR,
                                                 .device = DEVICE_POWER,
                                                 .subsystem_vendor = SUBSYSTEM_OWNER,
                                                 .subsystem = SUBSYSTEM,
                                                 .class_code = CLASS_POWER,
                                                 .revision = REVISION_POWER,
                                                 .interrupt_pin = 1,
                                                 .multifunction = true};
    struct pci_function *function = &piix3->power;
    pci_function_init(function, &identity, piix3);
    function->writable[PM_BASE] = PM_BASE_MASK & 0xff;
    function->writable[PM_BASE + 1] = PM_BASE_MASK >> 8;
    function->writable[PM_MISC] = PM_MISC_ENABLE;
    function->writable[SMBUS_BASE] = 0xf0;
    function->writable[SMBUS_BASE + 1] = 0xff;
    function->writable[SMBUS_CONFIG] = 0x0f;
    for (unsigned i = 0; i < 4; i++)
        function->writable[DEVICE_ACTIVITY_B + i] = 0xff;
    function->writable[DEVICE_ACTIVITY_B + 3] &= (uint8_t)~SMI_SET_UP;
    function->written = power_written;
    function->reset = power_reset;
    power_reset(function);
    return pci_bus_add(bus, function, PIIX3_SLOT, PIIX3_FUNCTION_POWER);
}

bool piix3_init(struct piix3 *piix3, struct pci_bus *bus)
{
    bus->route = route;
    bus->bridge = piix3;
    return init_isa(piix3, bus) && init_power(piix3, bus);
}

void piix3_set_up(struct piix3 *piix3)
{
    static const uint8_t routes[PIIX3_PIRQS] = {10, 10, 11, 11};
    for (unsigned pirq = 0; pirq < PIIX3_PIRQS; pirq++)
        pci_function_write(&piix3->isa, PIRQ_FIRST + pirq, 1, routes[pirq]);
    pci_function_write(&piix3->power, PM_BASE, 4, PIIX3_PM_BASE);
    pci_function_write(&piix3->power, PM_MISC, 1, PM_MISC_ENABLE);
    pci_function_write(&piix3->power, PCI_INTERRUPT_LINE, 1, PIIX3_SCI);
}
