/* Power management registers of a PIIX4, as ACPI sees them. The model's contract is at the head of pm.c. */
#ifndef VMM_DEVICES_PM_H
#define VMM_DEVICES_PM_H

#include "device.h"
#include "devices/rate.h"

struct pm {
    struct device_host *host;
    struct interrupt_line *sci; /* IRQ 9 */
    /* The guest has gone to sleep type 0, soft off. */
    void (*power_off)(struct pm *pm);
    void *machine;
    struct rate rate;
    uint64_t epoch_tsc;
    uint64_t overflows; /* of the timer, that are in `status` */
    struct device_timer timer;
    uint16_t status, enable, control;
    uint16_t gpe_status, gpe_enable;
    uint8_t smi_command, smi_status;
    bool placed; /* its registers are on the bus */
};

void pm_init(struct pm *pm, struct device_host *host, struct interrupt_line *sci, void *machine);
void pm_reset(struct pm *pm);
/* The SMI command port, 0xb2. */
bool pm_attach(struct pm *pm, struct bus *ports);
/* Its registers are at `port` from now on, or not there (PMBASE of the PCI function). A place that is taken is left alone. */
void pm_move(struct pm *pm, struct bus *ports, uint16_t port, bool on);
/* The power button is pressed. */
void pm_press(struct pm *pm);
void pm_dump(struct pm *pm, struct sink *sink);

#endif
