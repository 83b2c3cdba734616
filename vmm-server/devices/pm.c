/*
 * Power management of a PIIX4, as ACPI sees it.
 *
 * State:    PM1 status, enable and control, one block of general-purpose events, the SMI command port.
 * Features: the ACPI timer (3.579545 MHz, 32 bits, computed when it is read; carry with interrupt), power button, SCI as a
 *           level on IRQ 9, soft off by sleep type 0; ACPI enable and disable by the SMI command port.
 * Missing:  SMI (commands act at once, and a machine begins in ACPI mode: there is no SMM to leave it for), sleep other
 *           than soft off, device traps and idle timers, events of the general-purpose block (its bits can be enabled,
 *           and nothing sets them), the RTC's wake-up, SMBus. The timer of the chip has 24 bits; software that asks
 *           for 24 masks them.
 * Spec:     82371AB PIIX4, April 1997 (order 290562-001), 7.2 and 11.3; ACPI 6.5, 4.8.3.
 */
#include "devices/pm.h"

#include <stddef.h>
#include <septum.h>

#define HERTZ     3579545u
#define PORTS     64u
#define SMI_PORT  0xb2u
#define SMI_PORTS 2u

/* As QEMU's firmware tables name them. */
#define ACPI_ENABLE  0xf1u
#define ACPI_DISABLE 0xf0u

#define CARRY_BIT    31u /* of the timer: its change is the carry */

enum port {
    PORT_STATUS = 0x00,
    PORT_ENABLE = 0x02,
    PORT_CONTROL = 0x04,
    PORT_TIMER = 0x08,
    PORT_GPE_STATUS = 0x0c,
    PORT_GPE_ENABLE = 0x0e,
};

enum {
    EVENT_TIMER = 0x0001,
    EVENT_GLOBAL = 0x0020,
    EVENT_BUTTON = 0x0100,
    EVENT_CLOCK = 0x0400,
    STATUS_CLEARABLE = 0x8531,
    ENABLE_WRITABLE = EVENT_TIMER | EVENT_GLOBAL | EVENT_BUTTON | EVENT_CLOCK,
    CONTROL_ACPI = 0x0001,
    CONTROL_KEPT = 0x1c03,
    CONTROL_SLEEP = 0x2000,
    CONTROL_TYPE = 0x1c00,
    TYPE_SOFT_OFF = 0x0000,
    GPE_WRITABLE = 0x0f01,
};

/* ---- the timer ----------------------------------------------------------------------------------------- */

static uint64_t timer_now(const struct pm *pm)
{
    return rate_ticks(&pm->rate, pm->host->now() - pm->epoch_tsc);
}

static void update(struct pm *pm)
{
    uint64_t overflows = timer_now(pm) >> CARRY_BIT;
    if (overflows != pm->overflows)
        pm->status |= EVENT_TIMER;
    pm->overflows = overflows;
    device_timer_set(&pm->timer,
                     pm->enable & EVENT_TIMER
                         ? pm->epoch_tsc + rate_tsc(&pm->rate, (overflows + 1) << CARRY_BIT)
                         : DEADLINE_NEVER);
    pm->sci->set(pm->sci, pm->control & CONTROL_ACPI &&
                              (pm->status & pm->enable || pm->gpe_status & pm->gpe_enable));
}

static void expired(struct device_timer *timer)
{
    update((struct pm *)((char *)timer - offsetof(struct pm, timer)));
}

void pm_press(struct pm *pm)
{
    pm->status |= EVENT_BUTTON;
    update(pm);
}

/* ---- registers ------------------------------------------------------------------------------------------ */

static uint8_t read_byte(const struct pm *pm, unsigned offset)
{
    unsigned high = offset & 1 ? 8 : 0;
    switch (offset & ~1u) {
    case PORT_STATUS: return (uint8_t)(pm->status >> high);
    case PORT_ENABLE: return (uint8_t)(pm->enable >> high);
    case PORT_CONTROL: return (uint8_t)(pm->control >> high);
    case PORT_GPE_STATUS: return (uint8_t)(pm->gpe_status >> high);
    case PORT_GPE_ENABLE: return (uint8_t)(pm->gpe_enable >> high);
    }
    return 0;
}

static bool pm_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct pm *pm = device;
    /* Of the timer, which is read all the time, all bytes are of one moment. */
    if (offset >= PORT_TIMER && offset < PORT_TIMER + 4) {
        *value = (uint32_t)timer_now(pm) >> 8 * (offset - PORT_TIMER);
        *value &= size_bytes == 4 ? UINT32_MAX : (1u << 8 * size_bytes) - 1;
        return size_bytes <= 4;
    }
    update(pm);
    *value = 0;
    for (unsigned i = 0; i < size_bytes; i++)
        *value |= (uint64_t)read_byte(pm, (unsigned)offset + i) << 8 * i;
    return true;
}

static void set_bits(uint16_t *word, uint16_t mask, uint16_t value)
{
    *word = (uint16_t)((*word & ~mask) | (value & mask));
}

static void write_byte(struct pm *pm, unsigned offset, uint8_t value)
{
    unsigned high = offset & 1 ? 8 : 0;
    uint16_t mask = (uint16_t)(0xff << high), bits = (uint16_t)(value << high);
    switch (offset & ~1u) {
    case PORT_STATUS: pm->status &= (uint16_t) ~(bits & STATUS_CLEARABLE); break;
    case PORT_ENABLE: set_bits(&pm->enable, mask & ENABLE_WRITABLE, bits); break;
    case PORT_CONTROL:
        set_bits(&pm->control, mask & CONTROL_KEPT, bits);
        if (bits & CONTROL_SLEEP && (pm->control & CONTROL_TYPE) == TYPE_SOFT_OFF)
            pm->power_off(pm);
        break;
    case PORT_GPE_STATUS: pm->gpe_status &= (uint16_t)~bits; break;
    case PORT_GPE_ENABLE: set_bits(&pm->gpe_enable, mask & GPE_WRITABLE, bits); break;
    }
}

static bool pm_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct pm *pm = device;
    update(pm);
    for (unsigned i = 0; i < size_bytes; i++)
        write_byte(pm, (unsigned)offset + i, (uint8_t)(value >> 8 * i));
    update(pm);
    return true;
}

static bool smi_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    const struct pm *pm = device;
    *value = offset == 0 ? pm->smi_command : pm->smi_status;
    return size_bytes == 1;
}

static bool smi_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct pm *pm = device;
    if (size_bytes != 1)
        return false;
    if (offset == 0)
        pm->smi_command = (uint8_t)value;
    else
        pm->smi_status = (uint8_t)value;
    if (offset == 0 && value == ACPI_ENABLE)
        pm->control |= CONTROL_ACPI;
    if (offset == 0 && value == ACPI_DISABLE)
        pm->control &= (uint16_t)~CONTROL_ACPI;
    update(pm);
    return true;
}

/* ---- the machine's side ---------------------------------------------------------------------------------- */

void pm_init(struct pm *pm, struct device_host *host, struct interrupt_line *sci, void *machine)
{
    *pm = (struct pm){.host = host,
                      .sci = sci,
                      .machine = machine,
                      .epoch_tsc = host->now(),
                      .timer = {.deadline_tsc = DEADLINE_NEVER, .expired = expired}};
    rate_init(&pm->rate, HERTZ, host->tsc_khz);
    host->add_timer(host, &pm->timer);
    pm_reset(pm);
}

void pm_reset(struct pm *pm)
{
    pm->status = pm->enable = pm->gpe_status = pm->gpe_enable = 0;
    pm->smi_command = pm->smi_status = 0;
    pm->control = CONTROL_ACPI;
    update(pm);
}

bool pm_attach(struct pm *pm, struct bus *ports)
{
    static const struct bus_operations operations = {.read = smi_read, .write = smi_write};
    return bus_add(ports, &(struct bus_range){SMI_PORT, SMI_PORTS, &operations, pm, "SMI command"});
}

void pm_move(struct pm *pm, struct bus *ports, uint16_t port, bool on)
{
    static const struct bus_operations operations = {.read = pm_read, .write = pm_write};
    struct bus_range range = {port, PORTS, &operations, pm, "power management"};
    if (!on) {
        if (pm->placed)
            bus_remove(ports, port);
        pm->placed = false;
        return;
    }
    pm->placed = bus_add(ports, &range);
    if (!pm->placed)
        print(pm->host->log,
              "the guest puts power management onto port 0x%x, where something else is: it is not "
              "reached there\n",
              port);
}

void pm_dump(struct pm *pm, struct sink *sink)
{
    print(sink, "  pm status %x enable %x control %x gpe %x of %x\n", pm->status, pm->enable,
          pm->control, pm->gpe_status, pm->gpe_enable);
}
