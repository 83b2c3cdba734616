/* Partitions: their VMMs, and native tasks, from beginning to end. */
#include "message.h"
#include "partition/files.h"
#include "protocol/socket.h"
#include "service.h"
#include "string.h"

#define HEAP_BYTES (116u << 10)
/* More for a `pc`: its board, what its console shows. */
#define PC_HEAP_BYTES (244u << 10)
/* More for each disk and each network card: with the page of its registers, and what its alignment costs. */
#define CLIENT_HEAP_BYTES (40u << 10)
#define PAGES_OF(bytes)   (((bytes) + SEPTUM_PAGE_SIZE - 1) / SEPTUM_PAGE_SIZE)
/* Of one page table. */
#define TABLE_PAGES 512u

struct partition partitions[PLAN_PARTITIONS_MAX];

void partitions_init(void)
{
    for (unsigned i = 0; i < plan.partition_count; i++) {
        struct partition *partition = &partitions[i];
        *partition = (struct partition){.plan = &plan.partitions[i], .task = &residents[i]};
        partition->task->index = i;
        partition->task->priority = partition->plan->priority;
        print_buffer(partition->task->name, sizeof partition->task->name, "%s",
                     partition->plan->name);
        if (partition->plan->console != PLAN_CONSOLE_NONE)
            server_channel_make(&partition->console, TASK_CHANNEL_CONSOLE, partition->plan->name);
        if (!partition_is_native(partition))
            server_channel_make(&partition->log, TASK_CHANNEL_LOG, partition->plan->name);
    }
}

bool partition_is_native(const struct partition *partition)
{
    return partition->plan->boot == PLAN_BOOT_PROGRAM;
}

struct partition *partition_named(const char *name)
{
    for (unsigned i = 0; i < plan.partition_count; i++)
        if (strcmp(plan.partitions[i].name, name) == 0)
            return &partitions[i];
    return NULL;
}

/* The CPU of vCPU n. */
static unsigned cpu_of(const struct plan_partition *wanted, unsigned n)
{
    unsigned count = 0;
    uint64_t mask;
    for (mask = wanted->cpu_mask; mask; mask &= mask - 1)
        count++;
    mask = wanted->cpu_mask;
    for (n %= count; n; n--)
        mask &= mask - 1; /* without its lowest bit */
    return (unsigned)__builtin_ctzll(mask);
}

/* The files of the partition that is built; `data` NULL: it has none there. */
static struct archive_member files[PLAN_FILE_COUNT];

/* Finds them; returns their pages. */
static uint64_t find_files(const struct plan_partition *wanted)
{
    uint64_t pages = 0;
    for (unsigned n = 0; n < PLAN_FILE_COUNT; n++) {
        struct plan_file file;
        char name[PLAN_PATH_MAX + 16];
        files[n] = (struct archive_member){0};
        if (!plan_file(wanted, n, &file))
            continue;
        print_buffer(name, sizeof name, "%s/%s", file.shipped ? "firmware" : "file", file.path);
        if (bundle_find(name, &files[n]))
            pages += PAGES_OF(files[n].size_bytes);
    }
    return pages;
}

/*
 * Kernel memory for the VMM: what a task costs, its threads and vCPUs, tables for the files (small pages) and for
 * the guest's memory (large pages, in the host's space and in the guest's), and some for the VMM's own
 * objects and for cutting the guest's memory at odd places; and the channels to the shared servers.
 */
static uint64_t quota_of(const struct plan_partition *wanted, uint64_t file_pages)
{
    uint64_t guest_tables = wanted->memory_bytes / (1ull << 30) + 2;
    uint64_t channels = wanted->disk_count + wanted->card_count;
    /* A `pc` has windows in its memory: ROM, pictures of 16 MiB in small pages, and what cuts them out of RAM. */
    uint64_t windows = wanted->board == PLAN_BOARD_PC ? 32 : 0;
    return 40 + wanted->vcpu_count * 16 + file_pages / TABLE_PAGES + 3 + 2 * guest_tables +
           channels + windows;
}

static void add_file(struct resident *task, struct vmm_file *told,
                     const struct archive_member *file, unsigned rights, uint64_t *address)
{
    if (!file->data || !file->size_bytes)
        return; /* the VMM says what that means for its guest */
    told->address = *address;
    told->size_bytes = file->size_bytes;
    task_add_file(task, file, rights, address);
}

/* What the firmware keeps: the file, once; then what its guests have made of it, until the machine restarts. */
static void add_variables(struct partition *partition, struct vmm_file *told,
                          const struct archive_member *file)
{
    uint64_t pages = PAGES_OF(file->size_bytes);
    if (!file->data || !pages)
        return;
    if (!partition->variables) {
        uint64_t physical = frames_take(pages, 1);
        if (physical == POOL_NONE) {
            task_fail(partition->task, "there is no memory left for its firmware's variables: give "
                                       "the machine more, or partitions less");
            return;
        }
        memset(direct(physical), 0, pages * SEPTUM_PAGE_SIZE);
        memcpy(direct(physical), file->data, file->size_bytes);
        partition->variables = physical;
    }
    told->address =
        task_add_page(partition->task, partition->variables, pages, MAP_READ | MAP_WRITE);
    told->size_bytes = file->size_bytes;
}

static void add_role(struct partition *partition)
{
    struct resident *task = partition->task;
    struct vmm_start *start = task_add_role(task, sizeof *start);
    uint64_t command, status, address = FILES_BASE;
    /* A guest runs firmware where it lies: it may what its VMM may. */
    unsigned firmware = MAP_READ | MAP_EXECUTE;
    bool is_rom = partition->plan->boot == PLAN_BOOT_ROM;
    partition->command = task_add_memory(task, 1, 1, MAP_READ, &command);
    partition->status = task_add_memory(task, 1, 1, MAP_READ | MAP_WRITE, &status);
    if (!start || !partition->command || !partition->status)
        return;
    start->partition = *partition->plan;
    start->memory_address = GUEST_BASE;
    start->memory_bytes = partition->plan->memory_bytes;
    start->command_address = command;
    start->status_address = status;
    start->calendar_seconds = calendar.seconds;
    start->calendar_ticks = calendar.ticks;
    if (partition->plan->board == PLAN_BOARD_PC)
        task_add_memory(task, VMM_VIDEO_BYTES / SEPTUM_PAGE_SIZE, TABLE_PAGES, MAP_READ | MAP_WRITE,
                        &start->video_memory);
    if (partition->plan->board == PLAN_BOARD_PC)
        partition->picture = task_add_memory(task, VMM_PICTURE_BYTES / SEPTUM_PAGE_SIZE, 1,
                                             MAP_READ | MAP_WRITE, &start->picture_address);
    add_file(task, &start->kernel, &files[PLAN_FILE_KERNEL], is_rom ? firmware : MAP_READ,
             &address);
    add_file(task, &start->initrd, &files[PLAN_FILE_INITRD], MAP_READ, &address);
    add_file(task, &start->firmware, &files[PLAN_FILE_FIRMWARE], firmware, &address);
    add_variables(partition, &start->variables, &files[PLAN_FILE_VARIABLES]);
    add_file(task, &start->video, &files[PLAN_FILE_VIDEO], firmware, &address);
    for (unsigned n = 0; n < PLAN_MODULES_MAX; n++)
        add_file(task, &start->modules[n], &files[PLAN_FILE_MODULE + n], MAP_READ, &address);
    for (unsigned n = 0; n < PLAN_CARDS_MAX; n++)
        add_file(task, &start->card_roms[n], &files[PLAN_FILE_CARDS + n], MAP_READ, &address);
}

/* False: it has a problem, from before or now. */
static bool attach_services(struct resident *task)
{
    const char *problem = task->problem ? NULL : services_attach(task);
    if (problem)
        task_fail(task, problem);
    return !task->problem;
}

static const char *build(struct partition *partition)
{
    const struct plan_partition *wanted = partition->plan;
    struct resident *task = partition->task;
    task_begin(task, "program/vmm-server", quota_of(wanted, find_files(wanted)));
    add_role(partition);
    for (unsigned n = 0; n < wanted->vcpu_count; n++) {
        task_add_thread(task, cpu_of(wanted, n),
                        wanted->budget_us | (uint64_t)wanted->period_us << 32);
        task_add_vcpu(task, n);
    }
    task_add_notification(task, cpu_of(wanted, 0));
    task_add_heap(task, HEAP_BYTES + (wanted->board == PLAN_BOARD_PC ? PC_HEAP_BYTES : 0) +
                            (wanted->disk_count + wanted->card_count) * CLIENT_HEAP_BYTES);
    if (!task->problem && wanted->console != PLAN_CONSOLE_NONE)
        server_channel_add(&partition->console, task);
    server_channel_add(&partition->log, task);
    services_add_channels(task);
    task_add_guest_memory(task, wanted->memory_bytes);
    if (!attach_services(task))
        return task->problem;
    if (wanted->console != PLAN_CONSOLE_NONE)
        server_channel_attach(&partition->console, task);
    server_channel_attach(&partition->log, task);
    return task_run(task);
}

/* ---- native tasks --------------------------------------------------------------------------------------- */

/* As above: the task, its program's tables and its heap's, what it shares with the network server. */
static uint64_t native_quota_of(const struct plan_partition *wanted, uint64_t program_pages)
{
    uint64_t channels = 1 + wanted->card_count;
    uint64_t pages = program_pages + PAGES_OF(wanted->memory_bytes) +
                     channels * PAGES_OF(SERVICE_CHANNEL_BYTES + SOCKET_MEMORY_BYTES);
    return 40 + 2 * channels + pages / TABLE_PAGES;
}

/* It has a thread, its heap, its console, and sockets: nothing else. What it prints goes to its console. */
static const char *build_native(struct partition *partition)
{
    const struct plan_partition *wanted = partition->plan;
    struct resident *task = partition->task;
    uint64_t shared_bytes = wanted->card_count * SOCKET_MEMORY_BYTES;
    char member[PLAN_PATH_MAX + 8];
    print_buffer(member, sizeof member, "file/%s", wanted->kernel);
    task_begin(task, member, native_quota_of(wanted, find_files(wanted)));
    struct native_start *start = task_add_role(task, sizeof *start);
    if (start) {
        *start = (struct native_start){.memory_address = GUEST_BASE, .memory_bytes = shared_bytes};
        memcpy(start->arguments, wanted->command_line, sizeof start->arguments);
    }
    task_add_thread(task, wanted->cpu, wanted->budget_us | (uint64_t)wanted->period_us << 32);
    task_add_notification(task, wanted->cpu);
    task_add_heap(task, wanted->memory_bytes);
    if (!task->problem)
        server_channel_add(&partition->console, task);
    services_add_channels(task);
    if (shared_bytes)
        task_add_client_memory(task, shared_bytes);
    if (!attach_services(task))
        return task->problem;
    server_channel_attach(&partition->console, task);
    return task_run(task);
}

/* ---- beginning and end ------------------------------------------------------------------------------------ */

const char *partition_start(struct partition *partition)
{
    partition->started_at = ticks();
    partition->ready = partition->by_hand = partition->failed = false;
    partition->lives++;
    const char *problem =
        partition_is_native(partition) ? build_native(partition) : build(partition);
    partition->state = PARTITION_RUNNING;
    if (problem)
        partition_end(partition, PARTITION_OFF);
    return problem;
}

void partition_end(struct partition *partition, enum partition_state state)
{
    if (partition->task->lives) {
        task_halt(partition->task);
        services_detach(partition->task);
        if (partition->plan->console != PLAN_CONSOLE_NONE)
            server_channel_detach(&partition->console);
        if (!partition_is_native(partition))
            server_channel_detach(&partition->log);
        task_end(partition->task);
    }
    partition->command = NULL;
    partition->status = NULL;
    partition->picture = NULL;
    partition->state = state;
}

void partitions_end_all(void)
{
    for (unsigned i = 0; i < plan.partition_count; i++)
        partition_end(&partitions[i], PARTITION_OFF);
}

void partition_command(struct partition *partition, enum vmm_command_code code, uint64_t argument)
{
    struct vmm_command *command = partition->command;
    command->argument = argument;
    command->command = code;
    __atomic_store_n(&command->sequence, command->sequence + 1, __ATOMIC_RELEASE);
    notification_signal(partition->task->slots + RESIDENT_NOTIFICATION, TASK_BIT_COMMAND);
}
