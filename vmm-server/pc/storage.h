/* The disks of a `pc` that are no virtio devices: four places on IDE, a floppy drive. */
#ifndef VMM_PC_STORAGE_H
#define VMM_PC_STORAGE_H

#include "devices/floppy.h"
#include "devices/ide.h"

#include "partition/plan.h"

struct machine;

struct storage {
    struct ide ide;
    struct floppy floppy;
    uint64_t channels;              /* that ring for one of them: TASK_BIT_CHANNEL */
    uint8_t places[PLAN_CARDS_MAX]; /* of the partition's disks on IDE: channel * 2 + drive */
};

/* Called by pc_init when the PCI bus and the chips are there. Waits a while for the servers of the disks. False: a port is
 * taken, or a channel is missing. */
bool storage_init(struct machine *machine);
/* Servers have rung. With the machine's lock. */
void storage_attend(struct machine *machine, uint64_t bits);

#endif
