/*
 * What runs in the place of block-server or net-server in tests of root: it answers root's requests, says what it was
 * given, looks at its clients' memory, and does not do its duty where the name of a volume says so.
 */
#include "service.h"

#include "message.h"
#include "protocol/block.h"
#include "protocol/network.h"
#include "protocol/status.h"
#include "string.h"
#include "task.h"

static struct {
    bool attached;
    uint64_t ring_bits;
} clients[SERVICE_CLIENTS_MAX];

static bool is_block(void)
{
    return strcmp(task->name, "block-server") == 0;
}

static const struct block_start *block(void)
{
    return (const struct block_start *)task->role;
}

static const char *object_name(uint64_t object)
{
    const struct network_start *network = (const struct network_start *)task->role;
    return is_block() ? block()->volumes[object].name : network->networks[object].name;
}

static void say_device(const struct device_grant *device)
{
    task_print("device %04x:%04x, interrupt %u, kind %u\n", device->vendor, device->device,
               device->interrupt_number, device->interrupt);
    for (unsigned n = 0; n < DEVICE_BARS; n++)
        if (device->bars[n].size_bytes && device->bars[n].port)
            task_print("BAR %u: %lu ports at 0x%x\n", n, device->bars[n].size_bytes,
                       device->bars[n].port);
        else if (device->bars[n].size_bytes)
            task_print("BAR %u: %lu bytes, the first are 0x%x\n", n, device->bars[n].size_bytes,
                       *(volatile uint32_t *)device->bars[n].address);
}

static void say_what_there_is(void)
{
    const struct network_start *network = (const struct network_start *)task->role;
    unsigned count = is_block() ? block()->device_count : network->device_count;
    const struct device_memory *memory = is_block() ? &block()->memory : &network->memory;
    task_print("%u devices, %lu bytes for them at 0x%lx\n", count, memory->size_bytes,
               memory->physical);
    for (unsigned i = 0; i < count; i++)
        say_device(is_block() ? &block()->devices[i] : &network->devices[i]);
    for (unsigned i = 0; is_block() && i < block()->volume_count; i++)
        if (block()->files[i].size_bytes)
            task_print("the file of %s has %lu bytes and begins with %c\n",
                       block()->volumes[i].name, block()->files[i].size_bytes,
                       *(const char *)block()->files[i].address);
}

/* The client's memory is there to its end, and what the VMM wrote at its beginning is seen. */
static void look_at_memory(uint64_t n, const char *object, const struct service_attach *attach)
{
    char *base = (char *)SERVICE_MEMORY_BASE + n * SERVICE_MEMORY_STRIDE;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < attach->extents; i++)
        bytes += attach->extent[i].size_bytes;
    base[bytes - 1] = 'S';
    task_print("client %lu is %s, of %s, with %lu KiB of memory\n", n, attach->name, object,
               bytes >> 10);
}

static enum service_error attach(const uint64_t *w, unsigned words)
{
    struct service_attach told;
    const char *object = object_name(w[1]);
    memcpy(&told, &thread_buffer()->words[4], sizeof told);
    if (w[0] >= SERVICE_CLIENTS_MAX || clients[w[0]].attached || words < 4 + 8)
        return SERVICE_BAD_CLIENT;
    if (strcmp(object, "missing") == 0)
        return SERVICE_NO_SUCH;
    clients[w[0]].attached = true;
    clients[w[0]].ring_bits = w[2];
    look_at_memory(w[0], object, &told);
    return SERVICE_OK;
}

static enum service_error detach(const uint64_t *w)
{
    if (w[0] >= SERVICE_CLIENTS_MAX || !clients[w[0]].attached)
        return SERVICE_BAD_CLIENT;
    clients[w[0]].attached = false;
    sys_unmap(0, SPACE_HOST | UNMAP_SELF, SERVICE_CHANNEL_BASE + w[0] * SERVICE_CHANNEL_BYTES,
              SERVICE_CHANNEL_BYTES / SEPTUM_PAGE_SIZE);
    sys_unmap(0, SPACE_CAPABILITY | UNMAP_SELF, SERVICE_SLOT_CLIENT + w[0], 1);
    task_print("client %lu is gone\n", w[0]);
    return SERVICE_OK;
}

/* A volume `silent`: it answers nothing any more. */
static void fall_silent(const char *object)
{
    if (strcmp(object, "silent") == 0)
        for (;;)
            message_wait(0, DEADLINE_NEVER);
}

/* The VMM rings: it gets the number that it wrote into the channel, plus one. */
static void answer(uint64_t bits)
{
    for (unsigned n = 0; n < SERVICE_CLIENTS_MAX; n++)
        if (bits >> n & 1 && clients[n].attached) {
            volatile uint64_t *word =
                (volatile uint64_t *)(SERVICE_CHANNEL_BASE + n * SERVICE_CHANNEL_BYTES);
            ++*word;
            notification_signal(SERVICE_SLOT_CLIENT + n, clients[n].ring_bits);
        }
}

/* What root shows the network server of the system; true: it has shown something. */
static bool say_status(void)
{
    const struct network_start *network = (const struct network_start *)task->role;
    const volatile struct system_status *status =
        is_block() ? NULL : (const volatile struct system_status *)network->system_address;
    if (!status || status->version == 0 || status->sequence % 2)
        return false;
    task_print("status: %u CPUs, %s, audit %u %u %s, %lu of %lu KiB free\n", status->cpu_count,
               (const char *)status->virtualization, status->audit_done, status->audit_findings,
               (const char *)status->audit, status->memory_free_bytes >> 10,
               status->memory_bytes >> 10);
    for (unsigned i = 0; i < status->task_count; i++) {
        const volatile struct status_task *told = &status->tasks[i];
        task_print("status of %s: %s, %lu restarts, %lu vCPUs, %lu KiB, up %lu ms, ticks %lu, "
                   "%s %lu\n",
                   (const char *)told->name, (const char *)told->state, told->restarts, told->vcpus,
                   told->memory_bytes >> 10, told->uptime_ms, told->cpu_ticks,
                   (const char *)status->reasons[EXIT_HLT], told->exits[EXIT_HLT]);
    }
    task_print("status: %s is %lu, the log has %lu bytes and begins with %c\n",
               (const char *)status->counter_names[2], status->counters[2], status->log_written,
               status->log[0]);
    return true;
}

_Noreturn void service_run(void)
{
    uint64_t objects[SERVICE_CLIENTS_MAX] = {0};
    bool pending = false, told = false;
    enum service_error error = SERVICE_OK;
    sys_control(TASK_SLOT_THREAD, CONTROL_THREAD_BIND_NOTIFICATION, TASK_SLOT_NOTIFICATION, 0, 0,
                0);
    say_what_there_is();
    for (;;) {
        struct message m =
            ipc(pending ? IPC_REPLY_WAIT : IPC_WAIT, TASK_SLOT_ENDPOINT, TAG(error, 0, 0), NULL,
                told || is_block() ? DEADLINE_NEVER : ticks() + 100 * task->tsc_khz);
        told = told || say_status();
        pending = m.status == STATUS_OK && TAG_ORIGIN(m.tag) == ORIGIN_MESSAGE;
        if (m.status == STATUS_OK && !pending)
            answer(m.w[0]);
        if (!pending)
            continue;
        if (m.badge) {
            answer(TASK_BIT_CHANNEL(m.badge - 1));
            error = SERVICE_OK;
        } else if (TAG_LABEL(m.tag) == SERVICE_ATTACH) {
            error = attach(m.w, TAG_WORDS(m.tag));
            objects[m.w[0] % SERVICE_CLIENTS_MAX] = m.w[1];
        } else {
            fall_silent(object_name(objects[m.w[0] % SERVICE_CLIENTS_MAX]));
            error = detach(m.w);
        }
    }
}
