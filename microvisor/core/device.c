/*
 * Devices as objects. While one exists, the device reaches what is in its owner's DMA space; before and after, nothing.
 * Who may make one, and for which task, is decided by RIGHT_MACHINE (create.c). It is the owner's, so that it ends
 * before his tables do.
 */
#include "core/task.h"
#include "x86/processor.h"

struct device {
    struct object object;
    uint32_t requester;
};

static enum septum_status create(struct object *object, const struct create_request *request)
{
    struct device *device = (struct device *)object;
    if (!dma_confined)
        return STATUS_NOT_SUPPORTED;
    if (request->a0 > UINT16_MAX)
        return STATUS_BAD_ARGUMENT;
    device->requester = (uint32_t)request->a0;
    spinlock_acquire(&mapping_lock);
    enum septum_status status = task_make_space(object->owner, SPACE_DMA);
    spinlock_release(&mapping_lock);
    return status == STATUS_OK ? dma_attach(device->requester, object->owner) : status;
}

static bool end(struct object *object)
{
    dma_detach(((struct device *)object)->requester, object->owner);
    return true;
}

const struct object_kind device_kind = OBJECT_KIND(device, create, end, NULL);
