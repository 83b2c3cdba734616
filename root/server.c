/*
 * The console server, and the channels to it. Its notification, its interrupt and the channels' memory are root's,
 * so that they outlive it: who has a channel goes on when a new server joins its rings.
 */
#include "message.h"
#include "thread.h"
#include "root.h"
#include "serial.h"
#include "string.h"

#define SERIAL_PORT  0x3f8u
#define SERIAL_PORTS 8u
/*
 * The server goes before all partitions, and what it does for one is not charged to that one. So its time is
 * limited: a guest that floods its console waits for the server, and takes no more than this from its neighbours.
 */
#define SERVER_BUDGET_US 120u
#define SERVER_PERIOD_US 10000u
#define SERIAL_LINE      4u /* the global system interrupt of COM1 on every PC with an IOAPIC */
#define QUOTA_PAGES      96u
#define HISTORY_BYTES    20480u /* what the server needs for each console, generously */
#define CALL_MS          3000u /* the line may have to take two rings full, at 11 bytes a millisecond */
#define CHANNELS_MAX     CONSOLE_CLIENTS_MAX
#define CHANNEL_PAGES    (CONSOLE_CHANNEL_BYTES / SEPTUM_PAGE_SIZE)

static struct {
    struct resident *task;
    cap_slot_t notification, interrupt;
    struct server_channel own_log, monitor;
    struct server_channel *channels[CHANNELS_MAX];
    struct resident *owners[CHANNELS_MAX]; /* NULL: root's own, or not attached */
    unsigned channel_count;
} server;

/* ---- its requests ------------------------------------------------------------------------------------- */

static bool request(uint64_t tag, const uint64_t *w)
{
    struct message reply = message_call(server.task->slots + RESIDENT_ENDPOINT, tag, w,
                                        ticks() + milliseconds(CALL_MS));
    if (reply.status == STATUS_OK && TAG_LABEL(reply.tag) == CONSOLE_OK)
        return true;
    serial_print("root: the console server does not do what it is asked (request %lu, status %lu, "
                 "answer %lu)\n",
                 (uint64_t)TAG_LABEL(tag), reply.status, (uint64_t)TAG_LABEL(reply.tag));
    return false;
}

static bool attach(struct server_channel *channel, cap_slot_t notification, uint64_t ring_bits)
{
    struct message_buffer *buffer = thread_buffer();
    const uint64_t w[4] = {channel->client, channel->kind, ring_bits, 0};
    char name[TASK_NAME_MAX] = {0};
    print_buffer(name, sizeof name, "%s", channel->name);
    memcpy(&buffer->words[4], name, sizeof name);
    buffer->items[0] =
        item_memory(SPACE_HOST, (uint64_t)direct(channel->physical), SPACE_HOST,
                    channel->client * CONSOLE_CHANNEL_BYTES, CHANNEL_PAGES, MAP_READ | MAP_WRITE);
    buffer->items[1] = item_capability(notification, channel->client, RIGHT_SEND, ring_bits);
    channel->attached = request(TAG(CONSOLE_ATTACH, 8, 2), w);
    return channel->attached;
}

/* ---- channels ------------------------------------------------------------------------------------------ */

void server_channel_make(struct server_channel *channel, enum task_channel_kind kind,
                         const char *name)
{
    *channel = (struct server_channel){.client = server.channel_count,
                                       .kind = kind,
                                       .name = name,
                                       .physical = frames_take(CHANNEL_PAGES, 1)};
    if (channel->physical == POOL_NONE || server.channel_count == CHANNELS_MAX) {
        say("root: no channel to the console for %s\n", name);
        channel->physical = 0;
        return;
    }
    memset(direct(channel->physical), 0, CONSOLE_CHANNEL_BYTES);
    server.channels[server.channel_count++] = channel;
}

void server_channel_add(struct server_channel *channel, struct resident *task)
{
    if (channel->physical)
        task_add_channel(task, channel->kind, channel->name, channel->physical,
                         CONSOLE_CHANNEL_BYTES, server.notification,
                         TASK_BIT_CHANNEL(channel->client));
}

/* The bit of the task's notification that means this channel. */
static uint64_t bit_of(const struct server_channel *channel, const struct resident *task)
{
    for (unsigned n = 0; n < task->start->channel_count; n++)
        if (task->start->channels[n].kind == channel->kind)
            return channel->bits ? channel->bits : TASK_BIT_CHANNEL(n);
    return 0;
}

void server_channel_attach(struct server_channel *channel, struct resident *task)
{
    if (!channel->physical || !server.task)
        return;
    server.owners[channel->client] = task;
    attach(channel,
           task == server.task ? server.notification
           : channel->raises   ? channel->raises
                               : task->slots + RESIDENT_NOTIFICATION,
           bit_of(channel, task));
}

void server_channel_detach(struct server_channel *channel)
{
    const uint64_t w[4] = {channel->client, 0, 0, 0};
    if (!channel->physical)
        return;
    server.owners[channel->client] = NULL;
    if (server.task && channel->attached)
        request(TAG(CONSOLE_DETACH, 1, 0), w);
    channel->attached = false;
    sys_unmap(BOOT_SLOT_TASK, SPACE_HOST, (uint64_t)direct(channel->physical), CHANNEL_PAGES);
    memset(direct(channel->physical), 0, CONSOLE_CHANNEL_BYTES);
}

struct resident *server_task(void)
{
    return server.task;
}

cap_slot_t server_interrupt(void)
{
    return server.interrupt;
}

/* ---- for the audit ---------------------------------------------------------------------------------------- */

static bool channel_covers(const struct server_channel *channel, uint64_t first, uint64_t last)
{
    return channel->physical && first >= channel->physical &&
           last - channel->physical < CONSOLE_CHANNEL_BYTES;
}

bool server_has_channels(uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < server.channel_count; i++)
        if (server.channels[i]->attached && channel_covers(server.channels[i], first, last))
            return true;
    return false;
}

bool server_has_channel_of(const struct resident *task, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < server.channel_count; i++)
        if (server.owners[i] == task && channel_covers(server.channels[i], first, last))
            return true;
    return false;
}

bool server_has_ports(uint64_t first, uint64_t last)
{
    return first >= SERIAL_PORT && last < SERIAL_PORT + SERIAL_PORTS;
}

bool server_may_ring(const struct resident *from, const struct resident *to, uint64_t bits)
{
    for (unsigned i = 0; i < server.channel_count; i++) {
        const struct resident *owner = server.owners[i];
        if (!owner || (from != owner && to != owner) || (from != server.task && to != server.task))
            continue;
        if (bits == (to == server.task ? TASK_BIT_CHANNEL(i) : bit_of(server.channels[i], owner)))
            return true;
    }
    return false;
}

void server_flush(void)
{
    if (server.task)
        request(TAG(CONSOLE_FLUSH, 0, 0), NULL);
}

/* ---- beginning and end ----------------------------------------------------------------------------------- */

static bool make_once(unsigned cpu)
{
    server.notification = slot_take();
    server.interrupt = slot_take();
    if (sys_create(server.notification, OBJECT_NOTIFICATION, BOOT_SLOT_TASK, cpu, 0, 0) !=
        STATUS_OK)
        return false;
    if (sys_create(server.interrupt, OBJECT_INTERRUPT, BOOT_SLOT_TASK, SERIAL_LINE, cpu, 0) !=
            STATUS_OK ||
        sys_control(server.interrupt, CONTROL_INTERRUPT_BIND, server.notification,
                    TASK_BIT_INTERRUPT(0), 0, 0)
                .status != STATUS_OK)
        return false;
    server_channel_make(&server.monitor, TASK_CHANNEL_CONSOLE, CONSOLE_SYSTEM);
    server_channel_make(&server.own_log, TASK_CHANNEL_LOG, "console");
    return true;
}

static const char *build(struct resident *task, unsigned cpu, bool framed)
{
    task_begin(task, "program/console-server", QUOTA_PAGES);
    task_add_thread(task, cpu, SERVER_BUDGET_US | (uint64_t)SERVER_PERIOD_US << 32);
    task_add_endpoint(task, cpu);
    task_add_capability(task, TASK_SLOT_NOTIFICATION, server.notification, RIGHT_RECEIVE, 0);
    task_add_capability(task, TASK_SLOT_INTERRUPT, server.interrupt, RIGHT_CONTROL, 0);
    task_add_heap(task, (plan.partition_count + 1) * HISTORY_BYTES);
    server_channel_add(&server.own_log, task);
    struct console_start *start = task_add_role(task, sizeof *start);
    if (start)
        *start = (struct console_start){.framed = framed, .port = SERIAL_PORT};
    task_add_ports(task, SERIAL_PORT, SERIAL_PORTS);
    return task_run(task);
}

void server_start(void)
{
    const struct plan_server *wanted = plan_server_of(PLAN_DEVICE_SERIAL);
    if (!wanted)
        return;
    if (!server.notification && !make_once(wanted->cpu)) {
        say("root: there is no console: the kernel did not give the serial port's interrupt\n");
        return;
    }
    struct resident *task = &residents[PLAN_PARTITIONS_MAX];
    task->index = PLAN_PARTITIONS_MAX;
    task->priority = wanted->priority;
    print_buffer(task->name, sizeof task->name, "%s", wanted->name);
    const char *problem = build(task, wanted->cpu, option("framed"));
    if (problem) {
        say("root: the console server can't be started: %s\n", problem);
        task_end(task);
        return;
    }
    server.task = task;
    if (attach(&server.monitor, ROOT_SLOT_NOTIFICATION, ROOT_BIT_CONSOLE))
        console_use(direct(server.monitor.physical), server.notification,
                    TASK_BIT_CHANNEL(server.monitor.client));
    server_channel_attach(&server.own_log, task);
    for (unsigned i = 0; i < server.channel_count; i++)
        if (server.owners[i] && server.owners[i] != task)
            server_channel_attach(server.channels[i], server.owners[i]);
}

void server_end_output(void)
{
    console_use(NULL, 0, 0);
}

void server_end(void)
{
    server_end_output();
    if (server.task)
        task_end(server.task);
    server.task = NULL;
    for (unsigned i = 0; i < server.channel_count; i++)
        server.channels[i]->attached = false;
}
