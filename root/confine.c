/*
 * Devices behind an IOMMU: what a server's devices reach, and what is done when one reaches for more.
 *
 * A server's DMA space has the memory that it has for its devices, and the memory of its clients' guests, all at their
 * physical addresses; so a server does not know whether there is an IOMMU. A device is bound to it while the server
 * lives. Emulated virtio devices can be made to go around the IOMMU: they do not offer VIRTIO_F_ACCESS_PLATFORM then.
 */
#include "message.h"
#include "service.h"
#include "string.h"

#define FAULTS_SHOWN 4u /* of a server's life; and of those of nobody's devices */

enum { DEVICE_FEATURE_SELECT = 0x00, DEVICE_FEATURE = 0x04, ACCESS_PLATFORM = 1u << (33 - 32) };

static const char *const fault_cause = "its device reached for memory that it was not given";

/* ---- devices ---------------------------------------------------------------------------------------------- */

bool confine_can(const struct device *device, volatile uint32_t *virtio_common)
{
    cap_slot_t slot = boot->dma_confined ? slot_take() : 0;
    if (!slot)
        return false;
    uint64_t status =
        sys_create(slot, OBJECT_DEVICE, BOOT_SLOT_TASK, device->function.location, 0, 0);
    sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, slot, 1);
    slot_give(slot);
    if (status != STATUS_OK || !virtio_common)
        return status == STATUS_OK;
    virtio_common[DEVICE_FEATURE_SELECT / 4] = 1;
    return virtio_common[DEVICE_FEATURE / 4] & ACCESS_PLATFORM;
}

void confine_bind(struct device_set *set, struct resident *task)
{
    for (unsigned i = 0; i < set->count; i++) {
        struct device *device = &set->devices[i];
        if (!device->confined)
            continue;
        if (!device->slot)
            device->slot = slot_take();
        if (sys_create(device->slot, OBJECT_DEVICE, task->slots + RESIDENT_TASK,
                       device->function.location, 0, 0) != STATUS_OK)
            task_fail(task, "the IOMMU refuses a device of it");
    }
}

void confine_unbind(const struct device_set *set)
{
    for (unsigned i = 0; i < set->count; i++)
        if (set->devices[i].slot)
            sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, set->devices[i].slot, 1);
}

/* ---- memory ----------------------------------------------------------------------------------------------- */

uint64_t confine_give(const struct resident *task, uint64_t physical, uint64_t pages)
{
    if (!boot->dma_confined)
        return STATUS_OK;
    return memory_map_at(task->slots + RESIDENT_TASK, SPACE_DMA, physical, physical, pages,
                         MAP_READ | MAP_WRITE);
}

void confine_take(const struct resident *task, uint64_t physical, uint64_t pages)
{
    if (boot->dma_confined)
        sys_unmap(task->slots + RESIDENT_TASK, SPACE_DMA | UNMAP_SELF, physical, pages);
}

/* ---- faults ----------------------------------------------------------------------------------------------- */

void confine_start(void)
{
    if (!boot->dma_confined)
        return;
    if (sys_create(ROOT_SLOT_DMA_FAULT, OBJECT_INTERRUPT, BOOT_SLOT_TASK, INTERRUPT_DMA_FAULT, 0,
                   0) != STATUS_OK ||
        sys_control(ROOT_SLOT_DMA_FAULT, CONTROL_INTERRUPT_BIND, ROOT_SLOT_NOTIFICATION,
                    ROOT_BIT_DMA_FAULT, 0, 0)
                .status != STATUS_OK)
        say("root: what devices are refused will not be told\n");
}

/* The server that drives it; NULL: none that runs. */
static struct service *driver_of(uint32_t requester)
{
    for (struct service *service = services; service < services + SERVICES; service++)
        for (unsigned i = 0; service->task && i < service->devices.count; i++)
            if (service->devices.devices[i].function.location == requester)
                return service;
    return NULL;
}

/* VT-d's reasons from here on are about interrupt messages (VT-d 3.4, 7.1.3). */
#define REASON_INTERRUPT 0x20u

static void take_fault(uint64_t what, uint64_t address)
{
    static uint32_t nobodys;
    uint32_t at = what & 0xffff, *told = &nobodys;
    struct service *service = driver_of(at);
    if (service)
        told = &service->faults;
    if (++*told > FAULTS_SHOWN)
        return;
    const char *driver = service ? service->program : "of nobody";
    if ((what >> 16 & 0xff) >= REASON_INTERRUPT)
        say("DMA fault: device %02x:%02x.%u (%s) interrupt message %lu, which is not its own\n",
            at >> 8, at >> 3 & 31, at & 7, driver, address >> 48);
    else
        say("DMA fault: device %02x:%02x.%u (%s) address 0x%lx %s\n", at >> 8, at >> 3 & 31,
            at & 7, driver, address, what >> 24 & 1 ? "write" : "read");
    if (service && !service->failure)
        service->failure = fault_cause;
}

void confine_faults(void)
{
    struct message m;
    sys_control(ROOT_SLOT_DMA_FAULT, CONTROL_INTERRUPT_ACK, 0, 0, 0, 0);
    while ((m = sys_inspect(INSPECT_DMA_FAULT, BOOT_SLOT_TASK, 0, 0)).status == STATUS_OK && m.w[0])
        take_fault(m.w[1], m.w[2]);
}
