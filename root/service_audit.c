/* What the audit asks about the servers that partitions share. */
#include "service.h"

static bool within(uint64_t first, uint64_t last, uint64_t base, uint64_t bytes)
{
    return first >= base && last - base < bytes;
}

/* The piece of the client's guest's memory that holds these bytes. */
static const struct extent *guest_piece(const struct service_client *client, uint64_t first,
                                        uint64_t last)
{
    for (unsigned i = 0; client->mapped && i < client->task->extent_count; i++) {
        const struct extent *extent = &client->task->extents[i];
        if (extent->kind == EXTENT_GUEST &&
            within(first, last, extent->physical, extent->pages * SEPTUM_PAGE_SIZE))
            return extent;
    }
    return NULL;
}

static bool is_channel(const struct service_client *client, uint64_t first, uint64_t last)
{
    return client->live && within(first, last, client->physical, SERVICE_CHANNEL_BYTES);
}

bool service_has_memory(const struct resident *task, uint64_t first, uint64_t last,
                        uint64_t address)
{
    const struct service *service = service_of(task);
    for (unsigned n = 0; service && n < service->client_count; n++) {
        const struct service_client *client = &service->clients[n];
        const struct extent *extent = guest_piece(client, first, last);
        if (is_channel(client, first, last) ||
            (client->mapped && within(first, last, client->changes, client->changes_bytes) &&
             address == service_changes_address(service, client) + first - client->changes) ||
            (extent && address == service_client_address(service, client) + extent->address -
                                      GUEST_BASE + first - extent->physical))
            return true;
    }
    return false;
}

static bool serves(const struct resident *server, const struct resident *task, uint64_t first,
                   uint64_t last)
{
    const struct service *service = service_of(server);
    for (unsigned n = 0; service && n < service->client_count; n++) {
        const struct service_client *client = &service->clients[n];
        if ((!task || client->task == task) &&
            (is_channel(client, first, last) || guest_piece(client, first, last)))
            return true;
    }
    return false;
}

bool service_shares(const struct resident *a, const struct resident *b, uint64_t first,
                    uint64_t last)
{
    if (service_of(a) && service_of(b))
        return serves(a, NULL, first, last) && serves(b, NULL, first, last);
    return serves(a, b, first, last) || serves(b, a, first, last);
}

bool service_has_dma(const struct resident *task, uint64_t first, uint64_t last)
{
    const struct service *service = service_of(task);
    if (!service)
        return false;
    for (unsigned n = 0; n < service->client_count; n++)
        if (guest_piece(&service->clients[n], first, last))
            return true;
    return within(first, last, service->dma,
                  (service->dma_bytes + SEPTUM_PAGE_SIZE - 1) & -SEPTUM_PAGE_SIZE);
}

bool service_has_ports(const struct resident *task, uint64_t first, uint64_t last)
{
    const struct service *service = service_of(task);
    return service && devices_have_ports(&service->devices, first, last);
}

cap_slot_t service_interrupt(const struct resident *task, unsigned n)
{
    const struct service *service = service_of(task);
    return service && n < service->devices.interrupt_count ? service->devices.interrupts[n].slot
                                                           : 0;
}

bool service_may_call(const struct resident *from, const struct resident *to, uint64_t badge)
{
    const struct service *service = service_of(to);
    for (unsigned n = 0; service && service->task && n < service->client_count; n++)
        if (service->clients[n].live && service->clients[n].task == from &&
            badge == SERVICE_BADGE(n))
            return true;
    return false;
}

bool service_may_ring(const struct resident *from, const struct resident *to, uint64_t bits)
{
    for (struct service *service = services; service < services + SERVICES; service++)
        for (unsigned n = 0; service->task && n < service->client_count; n++) {
            const struct service_client *client = &service->clients[n];
            if (client->live &&
                ((from == service->task && to == client->task && bits == client->ring_bits) ||
                 (from == client->task && to == service->task && bits == TASK_BIT_CHANNEL(n))))
                return true;
        }
    return false;
}
