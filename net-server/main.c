/*
 * The network server: connects virtual network cards, the machine's cards and Septum itself, each network of the
 * partition file for itself. One thread does everything; it never waits for a client.
 */
#include "client.h"
#include "copy.h"
#include "host.h"
#include "message.h"
#include "pages.h"
#include "serve.h"
#include "sockets.h"
#include "string.h"
#include "task.h"
#include "uplink.h"

static const struct network_start *start;
static struct network networks[PLAN_NETWORKS_MAX];

void client_ring(uint32_t number, uint64_t bits)
{
    notification_signal(SERVICE_SLOT_CLIENT + number, bits);
}

static unsigned attach(const struct message *message)
{
    struct service_attach request;
    if (TAG_WORDS(message->tag) * 8 < 4 * 8 + offsetof(struct service_attach, extent) ||
        message->w[0] >= SERVICE_CLIENTS_MAX)
        return SERVICE_BAD_REQUEST;
    memcpy(&request, &thread_buffer()->words[4], sizeof request);
    size_t words = 4 + offsetof(struct service_attach, extent) / 8 +
                   request.extents * (sizeof request.extent[0] / 8);
    if (request.extents > SERVICE_EXTENTS_MAX || TAG_WORDS(message->tag) < words)
        return SERVICE_BAD_REQUEST;
    if (message->w[1] >= start->network_count)
        return SERVICE_NO_SUCH;
    uint64_t number = message->w[0];
    struct network *network = &networks[message->w[1]];
    void *channel = (void *)(SERVICE_CHANNEL_BASE + number * SERVICE_CHANNEL_BYTES);
    void *memory = (void *)(SERVICE_MEMORY_BASE + number * SERVICE_MEMORY_STRIDE);
    if (message->w[3] & SERVICE_SOCKETS)
        return sockets_attach(number, network, message->w[2], &request, channel, memory);
    return client_attach(number, network, message->w[2], &request, channel, memory);
}

static unsigned detach(uint64_t number)
{
    unsigned error = client_detach(number);
    if (error == SERVICE_BAD_CLIENT)
        error = sockets_detach(number);
    if (error == SERVICE_OK) {
        sys_unmap(0, SPACE_HOST | UNMAP_SELF, SERVICE_CHANNEL_BASE + number * SERVICE_CHANNEL_BYTES,
                  SERVICE_CHANNEL_BYTES / SEPTUM_PAGE_SIZE);
        sys_unmap(0, SPACE_CAPABILITY | UNMAP_SELF, SERVICE_SLOT_CLIENT + number, 1);
    }
    return error;
}

static bool request(const struct message *message, unsigned *error)
{
    switch (TAG_LABEL(message->tag)) {
    case SERVICE_ATTACH: *error = attach(message); break;
    case SERVICE_DETACH: *error = detach(message->w[0]); break;
    default: *error = SERVICE_BAD_REQUEST; break;
    }
    return true;
}

static void interrupts(uint64_t bits)
{
    for (uint32_t i = 0; i < uplink_count; i++) {
        uint32_t number = uplinks[i].grant->interrupt_number;
        if (!(bits & TASK_BIT_INTERRUPT(number)))
            continue;
        uplink_interrupt(i);
        sys_control(TASK_SLOT_INTERRUPT + number, CONTROL_INTERRUPT_ACK, 0, 0, 0, 0);
    }
}

/* Everything that can be done now. Returns until when to wait: 0 if there is more to do at once. */
static uint64_t work(void)
{
    switch_clock.now = ticks();
    clients_refresh();
    bool cards = uplink_count != 0, more = cards && uplinks_poll();
    more |= clients_send();
    if (cards && uplinks_kick())
        more |= uplinks_poll();
    /* Before lwIP's timers: a socket can start some. What these tell of sockets is for the next round. */
    sockets_turn();
    uint64_t deadline = hosts_poll();
    more |= sockets_ready();
    if (cards)
        uplinks_kick();
    clients_ring();
    sockets_ring();
    if (clients.deadline < deadline)
        deadline = clients.deadline;
    if (clients.tell_at < deadline)
        deadline = clients.tell_at;
    if (sockets_deadline() < deadline)
        deadline = sockets_deadline();
    if (!uplinks_wait(&deadline) || more)
        return DEADLINE_POLL;
    return deadline;
}

static void start_networks(void)
{
    for (uint32_t i = 0; i < start->network_count; i++) {
        struct network *network = &networks[i];
        const uint8_t *mac = NULL;
        network->plan = &start->networks[i];
        if (network->plan->uplink != PLAN_DISK_NONE && !uplink_connect(network, &mac))
            task_print("network \"%s\": the machine has no network card %u for it: it has no "
                       "uplink (see `machine`, or give QEMU one: -device virtio-net-pci)\n",
                       network->plan->name, network->plan->uplink);
        if (network->plan->host != PLAN_HOST_NONE)
            host_start(network, mac);
    }
}

void program_start(const void *argument)
{
    task_init(argument);
    start = (const struct network_start *)task->role;
    switch_clock = (struct switch_clock){ticks(), task->tsc_khz * 1000};
    clients.deadline = UINT64_MAX;
    clients.status = (struct network_server_status *)start->status_address;
    copy_init();
    pages_init(start, networks);
    hosts_init();
    uplinks_start(start);
    start_networks();
    if (clients.status)
        clients.status->uplinks = uplink_count;

    struct serve serve;
    serve_begin(&serve, request);
    for (;;) {
        uint64_t bits = serve_wait(&serve, work());
        clients.ready |= bits & ((1ull << SERVICE_CLIENTS_MAX) - 1);
        sockets_rung(bits);
        interrupts(bits);
    }
}
