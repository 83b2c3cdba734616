/* From the bundle's partition file to a plan that this machine can carry out. */
#include "partition/parse.h"
#include "protocol/service.h"
#include "root.h"
#include "string.h"
#include "topology.h"

struct plan plan;

/* Kept for servers, VMMs and their tables, beside the guests' memory. */
#define RESERVE_BYTES(partitions) (((uint64_t)(partitions) + 2) << 20)

static bool read_file(struct partition_reader *reader, const char *path, const char **text,
                      size_t *size_bytes)
{
    (void)reader;
    char name[PLAN_PATH_MAX + 8];
    struct archive_member member;
    print_buffer(name, sizeof name, "conf/%s", path);
    if (!bundle_find(name, &member))
        return false;
    *text = (const char *)member.data;
    *size_bytes = member.size_bytes;
    return true;
}

static void report(struct partition_errors *errors, const char *message)
{
    (void)errors;
    say("%s\n", message);
}

static bool find_path(char *path, size_t size_bytes)
{
    struct archive_member member;
    if (!bundle_find("partition.conf", &member))
        return false;
    size_t n = 0;
    while (n < member.size_bytes && n + 1 < size_bytes && member.data[n] != '\n') {
        path[n] = (char)member.data[n];
        n++;
    }
    path[n] = 0;
    return n > 0;
}

static bool complain(const struct plan_partition *partition, const char *problem, const char *what)
{
    const struct plan_place *place = &partition->place;
    say("%s:%u:%u: %s \"%s\": ", plan.files[place->file], place->line, place->column,
        partition->boot == PLAN_BOOT_PROGRAM ? "task" : "partition", partition->name);
    say("%s%s\n", what, problem);
    return false;
}

/* What only the machine and the bundle can tell. */
static bool check_partition(const struct plan_partition *partition)
{
    char name[PLAN_PATH_MAX + 8];
    const char *const files[] = {partition->kernel, partition->initrd};
    struct archive_member member;
    bool good = true;
    if (boot->virtualization == BOOT_VIRT_NONE && partition->boot != PLAN_BOOT_PROGRAM)
        good = complain(partition,
                        "this processor shows neither VT-x nor AMD-V. Switch it on in the "
                        "firmware's set-up, or "
                        "give the emulator a CPU that has it (QEMU: -cpu EPYC-v3,+svm,+npt).",
                        "it has virtual CPUs, but ");
    for (unsigned i = 0; i < 2; i++) {
        print_buffer(name, sizeof name, "file/%s", files[i]);
        if (files[i][0] && !bundle_find(name, &member))
            good = complain(partition,
                            " is not in the bundle. Make the bundle anew with `septum run`.",
                            files[i]);
    }
    for (unsigned cpu = 0; cpu < 64; cpu++)
        if (partition->cpu_mask >> cpu & 1 && cpu >= boot->cpu_count) {
            char which[64];
            print_buffer(which, sizeof which, "CPU %u is not there: this machine has %u", cpu,
                         boot->cpu_count);
            good =
                complain(partition, ". Name others, or give the emulator more with --cpus.", which);
        }
    return good;
}

/* A file of a volume or of a network. */
static bool check_file(const char *file, const struct plan_place *place, const char *what,
                       const char *whose)
{
    char name[PLAN_PATH_MAX + 8];
    struct archive_member member;
    print_buffer(name, sizeof name, "file/%s", file);
    if (!file[0] || bundle_find(name, &member))
        return true;
    say("%s:%u:%u: %s \"%s\": %s is not in the bundle. Make the bundle anew with `septum run`.\n",
        plan.files[place->file], place->line, place->column, what, whose, file);
    return false;
}

static bool check(void)
{
    bool good = true;
    unsigned channels = 1 + plan.server_count, disks = 0, cards = 0;
    if (plan.partition_count == 0) {
        say("%s: there is no partition in this file. Add one: see docs/partition-file.md.\n",
            plan.files[0]);
        return false;
    }
    for (unsigned i = 0; i < plan.partition_count; i++) {
        good &= check_partition(&plan.partitions[i]);
        channels += plan.partitions[i].console == PLAN_CONSOLE_NONE ||
                            plan.partitions[i].boot == PLAN_BOOT_PROGRAM
                        ? 1
                        : 2;
        disks += plan.partitions[i].disk_count;
        cards += plan.partitions[i].card_count;
    }
    if (disks > SERVICE_CLIENTS_MAX || cards > SERVICE_CLIENTS_MAX) {
        say("%s: its partitions have %u disks and %u network cards; a server has at most %u of "
            "either. Use fewer.\n",
            plan.files[0], disks, cards, SERVICE_CLIENTS_MAX);
        good = false;
    }
    for (unsigned i = 0; i < plan.volume_count; i++)
        good &= check_file(plan.volumes[i].file, &plan.volumes[i].place, "volume",
                           plan.volumes[i].name);
    for (unsigned i = 0; i < plan.served_count; i++)
        good &= check_file(plan.served[i].file, &plan.served[i].place, "network",
                           plan.networks[plan.served[i].network].name);
    if (channels > CONSOLE_CLIENTS_MAX) {
        say("%s: its partitions need %u channels to the console, and there are %u. Use fewer "
            "partitions, or `console none`.\n",
            plan.files[0], channels, CONSOLE_CLIENTS_MAX);
        good = false;
    }
    for (unsigned i = 0; i < plan.server_count; i++)
        if (plan.servers[i].cpu >= boot->cpu_count) {
            say("%s:%u:%u: server \"%s\": CPU %u is not there: this machine has %u. Name "
                "another.\n",
                plan.files[plan.servers[i].place.file], plan.servers[i].place.line,
                plan.servers[i].place.column, plan.servers[i].name, plan.servers[i].cpu,
                boot->cpu_count);
            good = false;
        }
    return good;
}

const struct plan_server *plan_server_of(enum plan_device device)
{
    for (unsigned i = 0; i < plan.server_count; i++)
        if (plan.servers[i].device == device)
            return &plan.servers[i];
    return NULL;
}

static const uint32_t *cores_of_machine(void)
{
    static uint32_t cores[BOOT_CPUS_MAX];
    unsigned bits = topology_thread_bits(cpuid_host);
    for (unsigned cpu = 0; cpu < boot->cpu_count; cpu++)
        cores[cpu] = boot->apic_id[cpu] >> bits;
    return cores;
}

bool plan_load(void)
{
    static char path[PLAN_PATH_MAX];
    struct partition_reader reader = {.read = read_file};
    struct partition_errors errors = {report, 0};
    uint64_t free_bytes = pool_count(&memory.frames) * SEPTUM_PAGE_SIZE;
    uint64_t reserve = RESERVE_BYTES(PLAN_PARTITIONS_MAX);
    const struct partition_machine machine = {
        .cpus = boot->cpu_count,
        .memory_bytes = free_bytes > reserve ? free_bytes - reserve : 1,
        .cores = cores_of_machine(),
    };
    if (!find_path(path, sizeof path)) {
        say("root: the bundle has no partition file: make it with `septum run` or `septum iso`\n");
        return false;
    }
    return partition_parse(&plan, path, &reader, &machine, &errors) && check();
}
