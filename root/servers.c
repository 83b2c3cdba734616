/* What the monitor tells of block-server and net-server. */
#include "monitor.h"
#include "protocol/block.h"
#include "protocol/network.h"
#include "service.h"

const char *server_state_word(const struct service *service)
{
    return service->task ? "running" : service->waits ? "to restart" : "off";
}

static uint64_t seconds_up(const struct service *service)
{
    return service->task ? (ticks() - service->started_at) / boot->tsc_khz / 1000 : 0;
}

static uint64_t memory_of(const struct resident *task)
{
    uint64_t pages = 0;
    for (unsigned i = 0; i < task->extent_count; i++)
        if (task->extents[i].kind == EXTENT_OWN)
            pages += task->extents[i].pages;
    return pages * SEPTUM_PAGE_SIZE;
}

void servers_list(struct sink *sink)
{
    for (const struct service *service = services; service < services + SERVICES; service++)
        if (service->wanted)
            print(sink, "%-16s %-11s %8luK %6s %6lu %6lu s\n", service->program,
                  server_state_word(service), service->task ? memory_of(service->task) >> 10 : 0,
                  "", service->lives, seconds_up(service));
}

/* The server wrote the counts, so they are only what it says. */
static void show_client(struct sink *sink, const struct service *service, unsigned n)
{
    const struct service_client *client = &service->clients[n];
    const volatile void *status = service->status;
    bool is_block = service->kind == TASK_CHANNEL_BLOCK;
    print(sink, "  client %-4u  %s, %s%s", n, client->task->name,
          is_block ? plan.volumes[client->object].name : plan.networks[client->object].name,
          client->mapped ? "" : ", not attached");
    if (status && client->mapped && is_block) {
        const volatile struct block_server_status *block = status;
        print(sink, ": %lu reads, %lu KiB; %lu writes, %lu KiB; %lu flushes; %lu errors",
              block->client[n].reads, block->client[n].read_bytes >> 10, block->client[n].writes,
              block->client[n].written_bytes >> 10, block->client[n].flushes,
              block->client[n].errors);
    } else if (status && client->mapped) {
        const volatile struct network_server_status *network = status;
        print(sink, ": %lu frames sent, %lu KiB; %lu received, %lu KiB; %lu dropped",
              network->client[n].frames_sent, network->client[n].bytes_sent >> 10,
              network->client[n].frames_received, network->client[n].bytes_received >> 10,
              network->client[n].dropped);
    }
    print(sink, "\n");
}

void server_show(struct sink *sink, const struct service *service)
{
    print(sink, "%s: %s, for %lu s, life %lu, started again %u times\n", service->program,
          server_state_word(service), seconds_up(service), service->lives, service->restarts);
    print(sink, "  CPU          %u, priority %u\n", service->wanted->cpu,
          service->wanted->priority);
    print(sink, "  DMA          %s\n",
          service_is_trusted(service)               ? "not confined: trusted by all partitions"
          : service->task && service->devices.count ? "confined by VT-d"
                                                    : "none");
    for (unsigned i = 0; i < service->devices.count; i++)
        device_show(sink, &service->devices.devices[i]);
    for (unsigned n = 0; n < service->client_count; n++)
        show_client(sink, service, n);
}
