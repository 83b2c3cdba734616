/* Disks that are looked for, and their numbers. */
#include "drivers.h"

#include "string.h"

void probe_add(struct server *server, struct probe *probe)
{
    struct probe **at = &server->probes;
    while (*at)
        at = &(*at)->next;
    *at = probe;
}

void probe_found(struct probe *probe, struct disk *disk)
{
    probe->disks[probe->disk_count++] = disk;
}

void probes_look(struct server *server, uint64_t *until)
{
    for (struct probe *probe = server->probes; probe; probe = probe->next) {
        uint64_t look = server->now; /* if it ends: it is to be taken at once */
        if (probe->ended)
            continue;
        probe->ended = probe->look(probe, &look);
        if (look < *until)
            *until = look;
    }
}

/* The disk gets the next number, and the requests that it takes at once. False: there is no room for it. */
static bool add_disk(struct server *server, struct disk *disk)
{
    if (server->disk_count == DISKS_MAX)
        return false;
    for (unsigned i = 0; i < disk->depth; i++) {
        struct request *request = server_allocate(sizeof *request);
        if (!request)
            return false;
        request->next_free = server->free;
        server->free = request;
    }
    struct block_disk_status *status = &server->status->disk[server->disk_count];
    memcpy(status->name, disk->name, sizeof status->name);
    status->sectors = disk->sectors;
    server->disks[server->disk_count++] = disk;
    server->status->disks = server->disk_count;
    return true;
}

static void complain(const struct device_grant *grant, const char *problem)
{
    server_log("device %04x:%04x at %02x:%02x.%u: %s\n", grant->vendor, grant->device,
               grant->location >> 8, grant->location >> 3 & 31, grant->location & 7, problem);
}

bool probes_take(struct server *server)
{
    struct probe *probe = server->probes;
    if (!probe || !probe->ended)
        return false;
    server->probes = probe->next;
    for (unsigned i = 0; i < probe->disk_count; i++)
        if (!add_disk(server, probe->disks[i]))
            probe->problem = "there are too many disks";
    if (probe->problem)
        complain(probe->grant, probe->problem);
    return true;
}
