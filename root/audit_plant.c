/* Debug builds: one violation of each kind, for the tests that show that the audit names it. */
#include "audit.h"
#include "service.h"
#include "string.h"

#ifdef SEPTUM_DEBUG

#define PLANT_ADDRESS  0x0f000000ull /* nothing is there in any task */
#define PLANT_SLOT     100u
#define PLANT_PORT     0x3f8u
#define PLANT_IDE_PORT 0x1f7u
#define PLANT_MSR      0x1a0u /* IA32_MISC_ENABLE, or nothing */

static const struct extent *guest_memory(const struct resident *task)
{
    for (unsigned i = 0; i < task->extent_count; i++)
        if (task->extents[i].kind == EXTENT_GUEST)
            return &task->extents[i];
    return NULL;
}

static uint64_t give_capability(const struct resident *to, cap_slot_t source, unsigned rights)
{
    return sys_map(to->slots + RESIDENT_TASK,
                   MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, rights, 0), source, PLANT_SLOT, 1,
                   0);
}

/* A frame at a place of its own. */
static uint64_t give_frame(const struct resident *to, enum space_kind space, uint64_t physical)
{
    return memory_map_at(to->slots + RESIDENT_TASK, space, PLANT_ADDRESS, physical, 1, MAP_READ);
}

/* The frame of a server's extent of a kind, the last that it has; 0: none. */
static uint64_t frame_of(const struct resident *task, enum extent_kind kind)
{
    uint64_t physical = 0;
    for (unsigned i = 0; i < task->extent_count; i++)
        if (task->extents[i].kind == kind)
            physical = task->extents[i].physical;
    return physical;
}

/* Around the block server: the first partition has a disk, the second has none. */
static uint64_t plant_service(const char *kind, const struct resident *first,
                              const struct resident *second)
{
    const struct service *block = &services[0];
    const struct service_client *client = &block->clients[0];
    if (!block->task || !block->client_count || client->task != first)
        return STATUS_NOT_SUPPORTED;
    if (strcmp(kind, "server-frame") == 0)
        return give_frame(block->task, SPACE_HOST, guest_memory(second)->physical);
    if (strcmp(kind, "server-place") == 0)
        return give_frame(block->task, SPACE_HOST, guest_memory(first)->physical);
    if (strcmp(kind, "dma-frame") == 0)
        return give_frame(block->task, SPACE_DMA, guest_memory(second)->physical);
    if (strcmp(kind, "dma-guest") == 0)
        return give_frame(first, SPACE_DMA, guest_memory(first)->physical);
    if (strcmp(kind, "dma-lost") ==
        0) { /* no violation: the server names to its devices what it has not */
        confine_take(block->task, block->dma, block->dma_bytes / SEPTUM_PAGE_SIZE);
        return STATUS_OK;
    }
    if (strcmp(kind, "server-memory") == 0)
        return give_frame(first, SPACE_GUEST, frame_of(block->task, EXTENT_OWN));
    if (strcmp(kind, "registers") == 0)
        return give_frame(first, SPACE_GUEST, frame_of(block->task, EXTENT_DEVICE));
    if (strcmp(kind, "channel") == 0)
        return give_frame(second, SPACE_HOST, client->physical);
    if (strcmp(kind, "changes") == 0)
        return give_frame(first, SPACE_GUEST, client->changes);
    if (strcmp(kind, "device-port") == 0)
        return sys_map(first->slots + RESIDENT_TASK,
                       MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0), PLANT_IDE_PORT,
                       PLANT_IDE_PORT, 1, 0);
    if (strcmp(kind, "device-line") == 0)
        return give_capability(first, block->devices.interrupts[0].slot, RIGHT_CONTROL);
    if (strcmp(kind, "doorbell") == 0)
        return give_capability(second, block->notification, RIGHT_SEND);
    if (strcmp(kind, "door") == 0)
        return sys_map(second->slots + RESIDENT_TASK,
                       MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0),
                       block->task->slots + RESIDENT_ENDPOINT, PLANT_SLOT, 1, SERVICE_BADGE(0));
    return STATUS_NOT_SUPPORTED;
}

static uint64_t plant(const char *kind, const struct resident *first, const struct resident *second)
{
    cap_slot_t to = first->slots + RESIDENT_TASK;
    if (strcmp(kind, "frame") == 0 && guest_memory(second))
        return memory_map_at(to, SPACE_GUEST, PLANT_ADDRESS, guest_memory(second)->physical, 1,
                             MAP_READ);
    if (strcmp(kind, "port") == 0)
        return sys_map(to, MAP_HOW(SPACE_PORT, SPACE_GUEST_PORT, MAP_READ | MAP_WRITE, 0),
                       PLANT_PORT, PLANT_PORT, 1, 0);
    if (strcmp(kind, "interrupt") == 0)
        return give_capability(first, server_interrupt(), RIGHT_CONTROL);
    if (strcmp(kind, "endpoint") == 0)
        return give_capability(first, server_task()->slots + RESIDENT_ENDPOINT, RIGHT_SEND);
    if (strcmp(kind, "msr") == 0)
        return sys_control(first->slots + RESIDENT_VCPU, CONTROL_VCPU_VIOLATE,
                           VCPU_VIOLATE_MSR | PLANT_MSR, 0, 0, 0)
            .status;
    return plant_service(kind, first, second);
}

void audit_plant(void)
{
    char kind[16];
    if (!option_value("plant", kind, sizeof kind))
        return;
    uint64_t status = residents[0].lives && residents[1].lives && server_task()
                          ? plant(kind, &residents[0], &residents[1])
                          : STATUS_NOT_SUPPORTED;
    say("audit: a violation is planted: %s (status %lu)\n", kind, status);
}

#else

void audit_plant(void)
{
}

#endif
