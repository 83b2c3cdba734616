/*
 * How the system fares, in a page for the network server, which shows it to the world: nothing in it is secret, and the
 * server can't write there.
 */
#include "protocol/status.h"
#include "protocol/block.h"
#include "protocol/network.h"
#include "audit.h"
#include "monitor.h"
#include "picture.h"
#include "service.h"
#include "string.h"
#include "thread.h"

_Static_assert(sizeof(struct system_status) <= SYSTEM_STATUS_PAGES * SEPTUM_PAGE_SIZE, "it fits");
_Static_assert(STATUS_LOG_BYTES == CONSOLE_KEPT_BYTES, "the same places");

static struct system_status *page;

static const char *const counter_names[] = {
#define COUNTER(name, meaning) #name,
#include <counters.def>
#undef COUNTER
};
#define COUNTERS (sizeof counter_names / sizeof *counter_names)
_Static_assert(COUNTERS <= STATUS_COUNTERS_MAX, "all have a place");

/* "MSR read" is "msr_read". */
static void plain_word(char *to, const char *from)
{
    size_t n = 0;
    for (; *from && n + 1 < STATUS_REASON_MAX; from++)
        if (*from >= 'A' && *from <= 'Z')
            to[n++] = (char)(*from - 'A' + 'a');
        else if (*from != ',')
            to[n++] = *from == ' ' ? '_' : *from;
    to[n] = 0;
}

void status_make(void)
{
    if (!plan.network_count)
        return;
    uint64_t physical = frames_take(SYSTEM_STATUS_PAGES, 1);
    if (physical == POOL_NONE)
        return;
    page = direct(physical);
    memset(page, 0, SYSTEM_STATUS_PAGES * SEPTUM_PAGE_SIZE);
    page->tsc_khz = boot->tsc_khz;
    page->cpu_count = boot->cpu_count;
    for (unsigned i = 0; i < boot->memory_range_count; i++)
        if (boot->memory[i].type != BOOT_MEMORY_DEVICE)
            page->memory_bytes += boot->memory[i].size_bytes;
    print_buffer(page->virtualization, sizeof page->virtualization, "%s",
                 boot->virtualization == BOOT_VIRT_VMX   ? "VT-x"
                 : boot->virtualization == BOOT_VIRT_SVM ? "AMD-V"
                                                         : "none");
    for (unsigned i = 0; i < EXIT_COUNT; i++)
        plain_word(page->reasons[i], exit_name(i));
    for (unsigned i = 0; i < COUNTERS; i++)
        plain_word(page->counter_names[i], counter_names[i]);
    service_system_status = physical;
    picture_make();
}

/* What is alike in all of them. */
static struct status_task *next_task(enum status_kind kind, const struct resident *task,
                                     const char *name, const char *state)
{
    struct status_task *told = &page->tasks[page->task_count++];
    told->kind = kind;
    print_buffer(told->name, sizeof told->name, "%s", name);
    print_buffer(told->state, sizeof told->state, "%s", state);
    told->running = task->lives;
    told->cpu_ticks = usage_total(task);
    told->restarts = task->generation ? task->generation - 1 : 0;
    told->uptime_ms = task->lives ? (ticks() - task->started_at) / boot->tsc_khz : 0;
    return told;
}

static void write_partition(const struct partition *partition)
{
    struct status_task *told =
        next_task(partition_is_native(partition) ? STATUS_TASK : STATUS_PARTITION, partition->task,
                  partition->plan->name, partition_state_word(partition));
    told->cpu_mask = partition->plan->cpu_mask;
    told->memory_bytes = partition->plan->memory_bytes;
    told->screen = picture_shared && partition->plan->board == PLAN_BOARD_PC;
    told->vcpus = told->kind == STATUS_PARTITION ? partition->plan->vcpu_count : 0;
    for (unsigned i = 0; i < EXIT_COUNT; i++)
        told->exits[i] = partition->status ? partition->status->exits[i].count : 0;
}

static void write_server(const struct resident *task, const char *name, const char *state,
                         unsigned cpu)
{
    struct status_task *told = next_task(STATUS_SERVER, task, name, state);
    told->cpu_mask = 1ull << cpu;
    told->memory_bytes = 0;
    for (unsigned i = 0; task->lives && i < task->extent_count; i++)
        if (task->extents[i].kind == EXTENT_OWN)
            told->memory_bytes += task->extents[i].pages * SEPTUM_PAGE_SIZE;
}

static void write_tasks(void)
{
    const struct plan_server *console = plan_server_of(PLAN_DEVICE_SERIAL);
    page->task_count = 0;
    for (unsigned i = 0; i < plan.partition_count; i++)
        write_partition(&partitions[i]);
    if (console)
        write_server(&residents[PLAN_PARTITIONS_MAX], "console-server",
                     server_task() ? "running" : "off", console->cpu);
    for (const struct service *service = services; service < services + SERVICES; service++)
        if (service->wanted)
            write_server(service_place(service), service->program, server_state_word(service),
                         service->wanted->cpu);
}

/* The server wrote the counts, so they are only what it says. */
static void write_disks(void)
{
    page->disk_count = 0;
    for (const struct service *service = services; service < services + SERVICES; service++) {
        const volatile struct block_server_status *status = service->status;
        if (!status || service->kind != TASK_CHANNEL_BLOCK)
            continue;
        for (unsigned n = 0; n < service->client_count; n++) {
            const struct service_client *client = &service->clients[n];
            const volatile struct block_client_status *counts = &status->client[n];
            if (!client->mapped)
                continue;
            struct status_disk *told = &page->disks[page->disk_count++];
            print_buffer(told->task, sizeof told->task, "%s", client->task->name);
            print_buffer(told->volume, sizeof told->volume, "%s",
                         plan.volumes[client->object].name);
            told->reads = counts->reads;
            told->writes = counts->writes;
            told->flushes = counts->flushes;
            told->read_bytes = counts->read_bytes;
            told->written_bytes = counts->written_bytes;
            told->errors = counts->errors;
        }
    }
}

/* What it wants to show is what the network server says: any number is good. */
static void serve_pictures(void)
{
    for (const struct service *service = services; service < services + SERVICES; service++) {
        const volatile struct network_server_status *status = service->status;
        if (status && service->kind == TASK_CHANNEL_NETWORK)
            picture_want(__atomic_load_n(&status->picture_wanted, __ATOMIC_ACQUIRE),
                         status->picture_partition);
    }
}

void status_picture(uint32_t number, uint32_t size_bytes)
{
    if (!page)
        return;
    page->picture_bytes = size_bytes;
    __atomic_store_n(&page->picture_done, number, __ATOMIC_RELEASE);
}

static void write_counters(void)
{
    memset(page->counters, 0, sizeof page->counters);
    for (unsigned cpu = 0; cpu < boot->cpu_count; cpu++) {
        struct message m = sys_inspect(INSPECT_COUNTERS, BOOT_SLOT_TASK, cpu, 0);
        for (unsigned i = 0; m.status == STATUS_OK && i < m.w[0] && i < COUNTERS; i++)
            page->counters[i] += thread_buffer()->output[i];
    }
}

void status_write(void)
{
    if (!page)
        return;
    serve_pictures();
    __atomic_store_n(&page->sequence, page->sequence + 1, __ATOMIC_SEQ_CST);
    page->version = STATUS_VERSION;
    page->ticks = ticks();
    page->uptime_ms = (page->ticks - kernel_began) / boot->tsc_khz;
    page->memory_free_bytes = pool_count(&memory.frames) * SEPTUM_PAGE_SIZE;
    page->audit_findings = audit_count.violations;
    page->audit_done = audit_result[0] != 0;
    memcpy(page->audit, audit_result, sizeof page->audit);
    write_tasks();
    write_disks();
    write_counters();
    memcpy(page->log, console_kept(&page->log_written), sizeof page->log);
    __atomic_store_n(&page->sequence, page->sequence + 1, __ATOMIC_SEQ_CST);
}
