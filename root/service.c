#include "service.h"

#include "message.h"
#include "picture.h"
#include "protocol/block.h"
#include "protocol/network.h"
#include "protocol/socket.h"
#include "string.h"
#include "thread.h"

#define QUOTA_PAGES 80u
#define CLIENT_PAGES \
    6u /* of kernel memory: tables and records of a client's memory, beside 1 a GiB */
#define DMA_PAGES       8u
#define CALL_MS         3000u
#define FIRST_CALL_MS   15000u       /* it looks for its disks first */
#define DMA_END         (1ull << 32) /* what controllers of old can name */
#define CHANNEL_PAGES   (SERVICE_CHANNEL_BYTES / SEPTUM_PAGE_SIZE)
#define PAGES_OF(bytes) (((bytes) + SEPTUM_PAGE_SIZE - 1) / SEPTUM_PAGE_SIZE)
#define GIB(bytes)      ((bytes) >> 30)
#define LARGE_PAGES     512u                 /* in a page of 2 MiB, and entries in a table */
#define LOG_BIT         TASK_BIT_CHANNEL(31) /* bits below are clients' */

struct service services[SERVICES] = {
    {.program = "block-server", .device = PLAN_DEVICE_DISKS, .kind = TASK_CHANNEL_BLOCK},
    {.program = "net-server", .device = PLAN_DEVICE_NETWORKS, .kind = TASK_CHANNEL_NETWORK},
};

uint64_t service_system_status;

static bool serves_disks(const struct service *service)
{
    return service->device == PLAN_DEVICE_DISKS;
}

/* ---- requests --------------------------------------------------------------------------------------------- */

/* The server's answer. One that does not answer has failed; it is looked after when the main thread's turn ends. */
static enum service_error request(struct service *service, uint64_t tag, const uint64_t *w)
{
    struct message reply =
        message_call(service->task->slots + RESIDENT_ENDPOINT, tag, w,
                     ticks() + milliseconds(service->answered ? CALL_MS : FIRST_CALL_MS));
    service->answered = true;
    if (reply.status == STATUS_OK)
        return (enum service_error)TAG_LABEL(reply.tag);
    service->failure = "it does not answer root";
    return SERVICE_OK;
}

/* Fills the words from 4 on: who the client is, and where its memory lies. */
static unsigned describe(const struct service_client *client, struct service_attach *attach)
{
    const struct resident *task = client->task;
    *attach = (struct service_attach){.parameter = client->parameter,
                                      .rate_bytes = client->rate_bytes,
                                      .rate_requests = client->rate_requests};
    print_buffer(attach->name, sizeof attach->name, "%s", task->name);
    for (unsigned i = 0; i < task->extent_count; i++)
        if (task->extents[i].kind == EXTENT_GUEST && attach->extents < SERVICE_EXTENTS_MAX)
            attach->extent[attach->extents++] = (struct service_extent){
                task->extents[i].address - GUEST_BASE, task->extents[i].physical,
                task->extents[i].pages * SEPTUM_PAGE_SIZE};
    return (unsigned)(offsetof(struct service_attach, extent) +
                      attach->extents * sizeof *attach->extent) /
           8;
}

/* Has the server the same guest's memory for another client? In its DMA space it is once. */
static bool has_twin(const struct service *service, const struct service_client *client)
{
    for (unsigned n = 0; n < service->client_count; n++)
        if (&service->clients[n] != client && service->clients[n].mapped &&
            service->clients[n].task == client->task)
            return true;
    return false;
}

/* Whole extents, mapped from physical memory in the largest pages. */
static bool map_memory(const struct service *service, struct service_client *client)
{
    uint64_t status = STATUS_OK;
    unsigned extents = 0;
    client->mapped = true;
    if (client->changes_bytes)
        status = memory_map_at(service->task->slots + RESIDENT_TASK, SPACE_HOST,
                               service_changes_address(service, client), client->changes,
                               PAGES_OF(client->changes_bytes), MAP_READ | MAP_WRITE);
    for (unsigned i = 0; i < client->task->extent_count && status == STATUS_OK; i++) {
        const struct extent *extent = &client->task->extents[i];
        if (extent->kind != EXTENT_GUEST)
            continue;
        if (++extents > SERVICE_EXTENTS_MAX)
            return false;
        status =
            memory_map_at(service->task->slots + RESIDENT_TASK, SPACE_HOST,
                          service_client_address(service, client) + extent->address - GUEST_BASE,
                          extent->physical, extent->pages, MAP_READ | MAP_WRITE);
        if (status == STATUS_OK && !has_twin(service, client))
            status = confine_give(service->task, extent->physical, extent->pages);
    }
    return status == STATUS_OK;
}

static void unmap_memory(const struct service *service, struct service_client *client)
{
    for (unsigned i = 0; service->task && client->mapped && i < client->task->extent_count; i++) {
        const struct extent *extent = &client->task->extents[i];
        if (extent->kind != EXTENT_GUEST)
            continue;
        sys_unmap(service->task->slots + RESIDENT_TASK, SPACE_HOST | UNMAP_SELF,
                  service_client_address(service, client) + extent->address - GUEST_BASE,
                  extent->pages);
        if (!has_twin(service, client))
            confine_take(service->task, extent->physical, extent->pages);
    }
    if (service->task && client->mapped && client->changes_bytes)
        sys_unmap(service->task->slots + RESIDENT_TASK, SPACE_HOST | UNMAP_SELF,
                  service_changes_address(service, client), PAGES_OF(client->changes_bytes));
    client->mapped = false;
}

static uint64_t give_capability(const struct resident *to, cap_slot_t slot, cap_slot_t source,
                                uint64_t badge)
{
    return sys_map(to->slots + RESIDENT_TASK,
                   MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0), source, slot, 1,
                   badge);
}

static cap_slot_t door_of(const struct service_client *client)
{
    return TASK_SLOT_DOOR + (unsigned)__builtin_ctzll(client->ring_bits);
}

static void take_channel(const struct service *service, const struct service_client *client)
{
    uint64_t n = (uint64_t)(client - service->clients);
    cap_slot_t server = service->task->slots + RESIDENT_TASK;
    sys_unmap(server, SPACE_HOST | UNMAP_SELF, SERVICE_CHANNEL_BASE + n * SERVICE_CHANNEL_BYTES,
              CHANNEL_PAGES);
    sys_unmap(server, SPACE_CAPABILITY | UNMAP_SELF, SERVICE_SLOT_CLIENT + n, 1);
    sys_unmap(client->task->slots + RESIDENT_TASK, SPACE_CAPABILITY | UNMAP_SELF, door_of(client),
              1);
}

/* Each side gets the other's bell. */
static bool give_channel(const struct service *service, const struct service_client *client)
{
    uint64_t n = (uint64_t)(client - service->clients);
    return memory_map_at(service->task->slots + RESIDENT_TASK, SPACE_HOST,
                         SERVICE_CHANNEL_BASE + n * SERVICE_CHANNEL_BYTES, client->physical,
                         CHANNEL_PAGES, MAP_READ | MAP_WRITE) == STATUS_OK &&
           give_capability(service->task, SERVICE_SLOT_CLIENT + n,
                           client->task->slots + RESIDENT_NOTIFICATION,
                           client->ring_bits) == STATUS_OK &&
           give_capability(client->task, door_of(client), service->task->slots + RESIDENT_ENDPOINT,
                           SERVICE_BADGE(n)) == STATUS_OK;
}

static const char *attach(struct service *service, struct service_client *client)
{
    static const char *const problems[] = {
        [SERVICE_BAD_CLIENT] = "its disk or network card was refused; this is an error of root's",
        [SERVICE_BAD_REQUEST] = "its disk or network card was refused; this is an error of root's",
        [SERVICE_NO_MEMORY] = "the server of its disk or network card has no memory left for it",
        [SERVICE_NO_SUCH] =
            "its disk or network is not there: what the server said above tells why",
    };
    struct service_attach words;
    struct message_buffer *buffer = thread_buffer();
    unsigned n = (unsigned)(client - service->clients), count = describe(client, &words);
    const uint64_t w[4] = {n, client->object, client->ring_bits, client->flags};
    if (!map_memory(service, client) || !give_channel(service, client)) {
        unmap_memory(service, client);
        take_channel(service, client);
        return "its memory can't be shown to the server of its disk or network card: it is in too "
               "many pieces, or kernel memory is short (pool=SIZE on the kernel's command line)";
    }
    memcpy(&buffer->words[4], &words, count * 8);
    enum service_error error = request(service, TAG(SERVICE_ATTACH, 4 + count, 0), w);
    if (error == SERVICE_OK)
        return NULL;
    unmap_memory(service, client);
    take_channel(service, client);
    return error <= SERVICE_NO_SUCH ? problems[error] : problems[SERVICE_BAD_REQUEST];
}

/* ---- clients ------------------------------------------------------------------------------------------------- */

static struct service_client *new_client(struct service *service, unsigned partition,
                                         uint32_t object)
{
    uint64_t physical =
        service->client_count < SERVICE_CLIENTS_MAX ? frames_take(CHANNEL_PAGES, 1) : POOL_NONE;
    if (physical == POOL_NONE) {
        say("root: no channel to the %s for %s\n", service->program,
            plan.partitions[partition].name);
        return NULL;
    }
    struct service_client *client = &service->clients[service->client_count++];
    *client = (struct service_client){
        .object = object, .task = &residents[partition], .physical = physical};
    memset(direct(physical), 0, SERVICE_CHANNEL_BYTES);
    return client;
}

/* Where the changes of a private volume go, as long as the machine runs. */
static void add_changes(struct service_client *client, const struct plan_volume *volume)
{
    uint64_t bytes = BLOCK_CHANGES_BYTES(volume->changes_bytes), pages = PAGES_OF(bytes);
    if (volume->access != PLAN_ACCESS_PRIVATE)
        return;
    client->changes = frames_take(pages, pages >= LARGE_PAGES ? LARGE_PAGES : 1);
    if (client->changes == POOL_NONE) {
        say("root: there is no memory for the changes of volume %s: give the machine more\n",
            volume->name);
        return;
    }
    memset(direct(client->changes), 0, pages * SEPTUM_PAGE_SIZE);
    client->changes_bytes = bytes;
}

static void make_clients(struct service *service)
{
    for (unsigned i = 0; i < plan.partition_count; i++) {
        const struct plan_partition *partition = &plan.partitions[i];
        unsigned count = serves_disks(service) ? partition->disk_count : partition->card_count;
        for (unsigned n = 0; n < count; n++) {
            const struct plan_disk *disk = &partition->disks[n];
            const struct plan_card *card = &partition->cards[n];
            struct service_client *client =
                new_client(service, i, serves_disks(service) ? disk->volume : card->network);
            if (!client)
                return;
            client->flags = partition_is_native(&partitions[i]) ? SERVICE_SOCKETS : 0;
            client->parameter = serves_disks(service) ? 0
                                : client->flags       ? n * SOCKET_MEMORY_BYTES
                                                      : card->mac;
            client->rate_bytes = serves_disks(service) ? disk->rate_bytes : card->rate_bytes;
            client->rate_requests = serves_disks(service) ? disk->rate_requests : 0;
            if (serves_disks(service))
                add_changes(client, &plan.volumes[client->object]);
        }
    }
}

void services_add_channels(struct resident *task)
{
    for (struct service *service = services; service < services + SERVICES; service++)
        for (unsigned n = 0; n < service->client_count; n++) {
            struct service_client *client = &service->clients[n];
            if (client->task != task || task->problem)
                continue;
            client->ring_bits = TASK_BIT_CHANNEL(task->start->channel_count);
            const char *name = serves_disks(service) ? plan.volumes[client->object].name
                                                     : plan.networks[client->object].name;
            task_add_channel(task,
                             client->flags & SERVICE_SOCKETS ? TASK_CHANNEL_SOCKET : service->kind,
                             name, client->physical, SERVICE_CHANNEL_BYTES, service->notification,
                             TASK_BIT_CHANNEL(n));
            if (task->problem)
                continue;
            task->start->channels[task->start->channel_count - 1].door = service->wanted->cpu + 1;
            task->start->slots_end = TASK_SLOT_DOOR;
        }
}

const char *services_attach(struct resident *task)
{
    for (struct service *service = services; service < services + SERVICES; service++)
        for (unsigned n = 0; n < service->client_count; n++) {
            struct service_client *client = &service->clients[n];
            const char *problem = NULL;
            if (client->task != task)
                continue;
            client->live = true;
            if (!service->task && !service->waits)
                problem = serves_disks(service)
                              ? "its disks need the block server, which does not run"
                              : "its cards need the net server, which does not run";
            else if (service->task && !service->failure)
                problem = attach(service, client);
            if (problem)
                return problem;
        }
    return NULL;
}

/* The channel's memory is taken from both, and emptied. */
static void clear_channel(const struct service_client *client)
{
    sys_unmap(BOOT_SLOT_TASK, SPACE_HOST, (uint64_t)direct(client->physical), CHANNEL_PAGES);
    memset(direct(client->physical), 0, SERVICE_CHANNEL_BYTES);
}

static void detach(struct service *service, struct service_client *client)
{
    const uint64_t w[4] = {(uint64_t)(client - service->clients), 0, 0, 0};
    if (client->mapped && !service->failure) {
        enum service_error error = request(service, TAG(SERVICE_DETACH, 1, 0), w);
        if (error != SERVICE_OK)
            service->failure = "it does not give a partition's memory back";
    }
    if (client->mapped && service->failure) {
        service_cut_off(service);
        task_halt(service->task);
    }
    unmap_memory(service, client);
    clear_channel(client);
    client->live = false;
}

void services_detach(struct resident *task)
{
    for (struct service *service = services; service < services + SERVICES; service++)
        for (unsigned n = 0; n < service->client_count; n++)
            if (service->clients[n].task == task && service->clients[n].live)
                detach(service, &service->clients[n]);
}

/* ---- what a server is told ---------------------------------------------------------------------------------- */

/* Contiguous memory that devices can name. */
static void add_device_memory(struct service *service, struct resident *task, uint64_t bytes,
                              struct device_memory *told)
{
    if (!task_add_memory(task, PAGES_OF(bytes), 1, MAP_READ | MAP_WRITE, &told->address))
        return;
    told->physical = service->dma = task->extents[task->extent_count - 1].physical;
    told->size_bytes = service->dma_bytes = bytes;
    if (confine_give(task, told->physical, PAGES_OF(bytes)) != STATUS_OK)
        task_fail(task, "there is not enough kernel memory for its devices");
    if (told->physical + bytes > DMA_END)
        task_fail(task, "there is no memory below 4 GiB left for its devices");
}

static void *add_status(struct service *service, struct resident *task, uint64_t *address)
{
    void *status = task_add_memory(task, 1, 1, MAP_READ | MAP_WRITE, address);
    service->status = status;
    return status;
}

/* A file of a volume or a network; of none, or none in the bundle: without a byte. */
static void find_file(const char *path, struct archive_member *file)
{
    char name[PLAN_PATH_MAX + 8];
    *file = (struct archive_member){0};
    print_buffer(name, sizeof name, "file/%s", path);
    if (path[0])
        bundle_find(name, file);
}

static void fill_block(struct service *service, struct resident *task)
{
    struct block_start *start = task_add_role(task, sizeof *start);
    uint64_t files = FILES_BASE;
    struct archive_member file;
    if (!start || !add_status(service, task, &start->status_address))
        return;
    start->device_count = service->devices.count;
    start->volume_count = plan.volume_count;
    memcpy(start->volumes, plan.volumes, sizeof start->volumes);
    devices_give(&service->devices, task, start->devices);
    add_device_memory(service, task, BLOCK_DMA_BYTES(service->devices.count), &start->memory);
    for (unsigned i = 0; i < plan.volume_count; i++) {
        find_file(plan.volumes[i].file, &file);
        if (!file.size_bytes)
            continue;
        start->files[i].address = files;
        start->files[i].size_bytes = file.size_bytes;
        start->files[i].physical = bundle_physical(&file);
        task_add_file(task, &file, MAP_READ, &files);
    }
}

/* Each behind a page of the server's own, for what it says before the file. */
static void add_served(struct resident *task, struct network_start *start)
{
    uint64_t address = FILES_BASE;
    for (unsigned i = 0; i < plan.served_count; i++) {
        struct network_file *served = &start->files[start->file_count++];
        struct archive_member file;
        find_file(plan.served[i].file, &file);
        served->network = plan.served[i].network;
        memcpy(served->name, plan.served[i].name, sizeof served->name);
        task_add_memory_at(task, address, 1, MAP_READ | MAP_WRITE);
        address += SEPTUM_PAGE_SIZE;
        served->address = address;
        served->size_bytes = file.size_bytes;
        task_add_file(task, &file, MAP_READ, &address);
    }
}

static void fill_network(struct service *service, struct resident *task)
{
    struct network_start *start = task_add_role(task, sizeof *start);
    if (!start || !add_status(service, task, &start->status_address))
        return;
    start->device_count = service->devices.count;
    start->network_count = plan.network_count;
    memcpy(start->networks, plan.networks, sizeof start->networks);
    devices_give(&service->devices, task, start->devices);
    if (service_system_status)
        start->system_address =
            task_add_page(task, service_system_status, SYSTEM_STATUS_PAGES, MAP_READ);
    if (picture_shared) {
        uint64_t before;
        task_add_memory(task, 1, 1, MAP_READ | MAP_WRITE, &before);
        start->picture_address =
            task_add_page(task, picture_shared, PAGES_OF(VMM_PICTURE_FILE_BYTES), MAP_READ);
    }
    add_served(task, start);
    add_device_memory(service, task, NETWORK_DMA_BYTES(service->devices.count), &start->memory);
}

static uint64_t heap_of(const struct service *service)
{
    return serves_disks(service) ? BLOCK_HEAP_BYTES(service->devices.count) : NETWORK_HEAP_BYTES;
}

static uint64_t quota_of(const struct service *service)
{
    uint64_t pages = QUOTA_PAGES + PAGES_OF(heap_of(service)) / LARGE_PAGES;
    if (boot->dma_confined) /* tables of its DMA space, with those of the clients' memory */
        pages += DMA_PAGES + service->client_count * CLIENT_PAGES;
    for (unsigned n = 0; n < service->client_count; n++)
        pages += CLIENT_PAGES + GIB(plan.partitions[service->clients[n].task->index].memory_bytes) +
                 PAGES_OF(service->clients[n].changes_bytes) / LARGE_PAGES;
    for (unsigned i = 0; serves_disks(service) && i < plan.volume_count; i++) {
        struct archive_member file;
        find_file(plan.volumes[i].file, &file);
        pages += 1 + PAGES_OF(file.size_bytes) / LARGE_PAGES;
    }
    for (unsigned i = 0; !serves_disks(service) && i < plan.served_count; i++) {
        struct archive_member file;
        find_file(plan.served[i].file, &file);
        pages += 2 + PAGES_OF(file.size_bytes) / LARGE_PAGES;
    }
    if (!serves_disks(service) && picture_shared)
        pages += 1 + PAGES_OF(VMM_PICTURE_FILE_BYTES) / LARGE_PAGES;
    return pages;
}

/* ---- beginning and end ------------------------------------------------------------------------------------ */

static const char *build(struct service *service, struct resident *task)
{
    unsigned cpu = service->wanted->cpu;
    char member[TASK_NAME_MAX + 16];
    print_buffer(member, sizeof member, "program/%s", service->program);
    task_begin(task, member, quota_of(service));
    task_add_thread(task, cpu, 0);
    task_add_endpoint(task, cpu);
    task_add_capability(task, TASK_SLOT_NOTIFICATION, service->notification, RIGHT_RECEIVE, 0);
    task_add_heap(task, heap_of(service));
    server_channel_add(&service->log, task);
    if (serves_disks(service))
        fill_block(service, task);
    else
        fill_network(service, task);
    if (!task->problem)
        devices_go(&service->devices, task);
    return task_run(task);
}

/* The console server has the first place behind the partitions. */
struct resident *service_place(const struct service *service)
{
    return &residents[PLAN_PARTITIONS_MAX + 1 + (service - services)];
}

void service_start(struct service *service)
{
    struct resident *task = service_place(service);
    task->index = (uint32_t)(task - residents);
    task->priority = service->wanted->priority;
    print_buffer(task->name, sizeof task->name, "%s", service->program);
    service->failure = NULL;
    service->faults = 0;
    service->answered = false;
    service->waits = false;
    service->lives++;
    service->started_at = ticks();
    const char *problem = build(service, task);
    if (problem) {
        say("root: the %s can't be started: %s\n", service->program, problem);
        service_cut_off(service);
        task_end(task);
        service->status = NULL;
        return;
    }
    service->task = task;
    server_channel_attach(&service->log, task);
    for (unsigned n = 0; n < service->client_count && !service->failure; n++) {
        struct service_client *client = &service->clients[n];
        problem = client->live ? attach(service, client) : NULL;
        if (problem)
            say("%s: %s\n", client->task->name, problem);
    }
}

/* What outlives a server; its devices only if it needs them. */
static bool make_once(struct service *service)
{
    bool needs_devices = false;
    for (unsigned i = 0; serves_disks(service) && i < plan.volume_count; i++)
        needs_devices |= plan.volumes[i].disk != PLAN_DISK_NONE;
    for (unsigned i = 0; !serves_disks(service) && i < plan.network_count; i++)
        needs_devices |= plan.networks[i].uplink != PLAN_DISK_NONE;
    service->notification = slot_take();
    if (sys_create(service->notification, OBJECT_NOTIFICATION, BOOT_SLOT_TASK, service->wanted->cpu,
                   0, 0) != STATUS_OK) {
        say("root: there is too little kernel memory for the %s: use a larger pool=SIZE on the "
            "kernel's command line\n",
            service->program);
        return false;
    }
    server_channel_make(&service->log, TASK_CHANNEL_LOG, service->program);
    service->log.raises = service->notification;
    service->log.bits = LOG_BIT;
    make_clients(service);
    if (needs_devices)
        devices_find(&service->devices, service->device, service->program, service->notification,
                     service->wanted->cpu);
    return true;
}

void services_start(void)
{
    for (struct service *service = services; service < services + SERVICES; service++) {
        if (serves_disks(service) ? plan.volume_count : plan.network_count)
            service->wanted = plan_server_of(service->device);
        if (!service->wanted || !make_once(service))
            continue;
        service_start(service);
        if (service_is_trusted(service))
            say("DMA NOT CONFINED: %s, trusted by all partitions\n", service->program);
    }
}

void service_cut_off(struct service *service)
{
    devices_stop(&service->devices);
}

void service_end(struct service *service)
{
    service_cut_off(service);
    if (service->task) {
        server_channel_detach(&service->log);
        task_end(service->task);
    }
    service->task = NULL;
    service->failure = NULL;
    service->status = NULL;
    for (unsigned n = 0; n < service->client_count; n++)
        service->clients[n].mapped = false;
}

struct service *service_of(const struct resident *task)
{
    for (struct service *service = services; service < services + SERVICES; service++)
        if (service->task && service->task == task)
            return service;
    return NULL;
}

struct service *service_named(const char *name)
{
    for (struct service *service = services; service < services + SERVICES; service++)
        if (service->wanted &&
            (strcmp(service->program, name) == 0 || strcmp(service->wanted->name, name) == 0))
            return service;
    return NULL;
}

bool service_is_trusted(const struct service *service)
{
    return service->task && devices_are_trusted(&service->devices);
}

void services_trusted(char *text, size_t size_bytes)
{
    text[0] = 0;
    for (struct service *service = services; service < services + SERVICES; service++)
        if (service_is_trusted(service)) {
            size_t length = strlen(text);
            print_buffer(text + length, size_bytes - length, "%s%s", length ? ", " : "",
                         service->program);
        }
}
