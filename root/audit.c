/* The audit's frame, and its look at memory and ports. */
#include "audit.h"

#include "service.h"
#include "string.h"
#include "thread.h"

#define REACHES_MAX 2048u
#define SLICE_US    15ull /* of each period, while partitions run */
#define PERIOD_US   300ull
#define SHOWN_MAX   32u /* violations; all are counted */

struct audit_count audit_count;
char audit_result[64];

static struct reach reaches[REACHES_MAX];
static unsigned reach_count;

void audit_violation(const char *format, ...)
{
    char text[300];
    va_list list;
    va_start(list, format);
    print_buffer_list(text, sizeof text, format, list);
    va_end(list);
    if (++audit_count.violations <= SHOWN_MAX)
        say("audit: VIOLATION: %s\n", text);
}

const uint64_t *audit_look(enum inspect_selector selector, cap_slot_t task, enum space_kind space,
                           uint64_t base)
{
    struct message m = sys_inspect(selector, task, space, base);
    return m.status == STATUS_OK && m.w[0] ? thread_buffer()->output : NULL;
}

/* Shell sort, with the gaps of Ciura (2001). */
void audit_sort(void *elements, unsigned count, unsigned size_bytes)
{
    static const unsigned gaps[] = {701, 301, 132, 57, 23, 10, 4, 1};
    char *at = elements, keep[64];
    for (unsigned g = 0; g < sizeof gaps / sizeof *gaps; g++) {
        unsigned gap = gaps[g];
        for (unsigned i = gap; i < count; i++) {
            unsigned j = i;
            memcpy(keep, at + i * size_bytes, size_bytes);
            for (; j >= gap && *(uint64_t *)(at + (j - gap) * size_bytes) > *(uint64_t *)keep;
                 j -= gap)
                memcpy(at + j * size_bytes, at + (j - gap) * size_bytes, size_bytes);
            memcpy(at + j * size_bytes, keep, size_bytes);
        }
    }
}

/* ---- collecting --------------------------------------------------------------------------------------- */

/* Adds a piece, joined to the one before where it goes on. */
static void add(const struct reach *piece)
{
    struct reach *last = reach_count ? &reaches[reach_count - 1] : NULL;
    if (last && last->task == piece->task && last->space == piece->space &&
        last->rights == piece->rights && last->last + 1 == piece->first &&
        piece->address - last->address == piece->first - last->first) {
        last->last = piece->last;
    } else if (reach_count < REACHES_MAX) {
        reaches[reach_count++] = *piece;
    } else {
        audit_violation(
            "%s has memory in more pieces than the audit can hold: not all was looked at",
            piece->task->name);
    }
}

static void collect(const struct resident *task, enum space_kind space)
{
    uint64_t base = 0;
    const uint64_t *entry;
    while ((entry = audit_look(INSPECT_TABLE, task->slots + RESIDENT_TASK, space, base))) {
        const struct reach piece = {entry[2], entry[2] + entry[1] - 1, entry[0], task,
                                    space,    (uint32_t)entry[3]};
        audit_count.entries++;
        add(&piece);
        base = entry[0] + entry[1];
        if (base <= entry[0])
            break;
    }
}

/* spaces: bit n for enum space_kind n. */
static void collect_all(unsigned spaces)
{
    reach_count = 0;
    for (unsigned i = 0; i < TASKS_MAX; i++)
        for (unsigned space = 0; residents[i].lives && spaces >> space; space++)
            if (spaces >> space & 1)
                collect(&residents[i], (enum space_kind)space);
}

static const char *space_name(uint32_t space)
{
    switch (space) {
    case SPACE_HOST: return "its own memory";
    case SPACE_GUEST: return "its guest's memory";
    case SPACE_DMA: return "its devices' memory";
    case SPACE_PORT: return "its own ports";
    default: return "its guest's ports";
    }
}

/* ---- memory -------------------------------------------------------------------------------------------- */

/* The message buffers and vCPU state pages are kernel memory that is meant to be seen, each at its place. */
static bool is_kernel_page(const struct reach *reach)
{
    const struct task_start *start = reach->task->start;
    for (uint64_t address = reach->address;
         address <= reach->address + (reach->last - reach->first); address += SEPTUM_PAGE_SIZE) {
        unsigned n = 0;
        while (n < start->thread_count && start->threads[n].buffer != address &&
               start->threads[n].vcpu_state != address)
            n++;
        if (n == start->thread_count)
            return false;
    }
    return reach->space == SPACE_HOST && !(reach->rights & MAP_EXECUTE);
}

static bool was_given(const struct reach *reach)
{
    const struct resident *task = reach->task;
    uint64_t pages = (reach->last - reach->first + 1) / SEPTUM_PAGE_SIZE;
    if (reach->space == SPACE_DMA)
        return reach->address == reach->first && service_has_dma(task, reach->first, reach->last);
    for (unsigned i = 0; i < task->extent_count; i++) {
        const struct extent *extent = &task->extents[i];
        uint64_t at = (reach->first - extent->physical) / SEPTUM_PAGE_SIZE;
        if (reach->first >= extent->physical && at < extent->pages && pages <= extent->pages - at &&
            !(reach->rights & ~extent->rights))
            return true;
    }
    return (task == server_task() && server_has_channels(reach->first, reach->last)) ||
           (reach->space == SPACE_HOST && !(reach->rights & MAP_EXECUTE) &&
            service_has_memory(task, reach->first, reach->last, reach->address));
}

/* A run can go over a border between two things that were given: then its pages are looked at one by one. */
static void check_given(const struct reach *reach)
{
    if (was_given(reach) || is_kernel_page(reach))
        return;
    struct reach page = *reach;
    for (; page.first < reach->last;
         page.first += SEPTUM_PAGE_SIZE, page.address += SEPTUM_PAGE_SIZE) {
        page.last = page.first + SEPTUM_PAGE_SIZE - 1;
        if (!was_given(&page) && !is_kernel_page(&page)) {
            audit_violation(
                "frame 0x%lx is reachable from %s, in %s at 0x%lx, and was not given to it",
                page.first, page.task->name, space_name(page.space), page.address);
            return;
        }
    }
}

/* Two tasks may share what neither can write in the bundle, a channel's memory, and a guest's memory if one is its VMM
 * and the other a server of its disks or cards, or both are such servers. */
static bool is_declared(const struct reach *a, const struct reach *b, uint64_t first, uint64_t last)
{
    if (!((a->rights | b->rights) & MAP_WRITE) && bundle_holds(first, last - first + 1))
        return true;
    return (a->task == server_task() && server_has_channel_of(b->task, first, last)) ||
           (b->task == server_task() && server_has_channel_of(a->task, first, last)) ||
           service_shares(a->task, b->task, first, last);
}

/* What two runs have in common, a unit (page or port) at a time, to the first that is not declared. */
static void check_pair(const struct reach *a, const struct reach *b, uint64_t unit,
                       const char *what)
{
    uint64_t last = a->last < b->last ? a->last : b->last;
    bool whole = unit != 1 && is_declared(a, b, b->first, last);
    for (uint64_t at = b->first; !whole && at <= last; at += unit)
        if (unit == 1 || !is_declared(a, b, at, at + unit - 1)) {
            audit_violation("%s 0x%lx is reachable from %s, in %s, and from %s, in %s", what, at,
                            a->task->name, space_name(a->space), b->task->name,
                            space_name(b->space));
            return;
        }
    audit_count.shared += (last - b->first + 1) / unit;
}

/* Sorted: each run is compared with those that begin inside it. */
static void check_pairs(uint64_t unit, const char *what)
{
    audit_sort(reaches, reach_count, sizeof *reaches);
    for (unsigned i = 0; i < reach_count; i++)
        for (unsigned j = i + 1; j < reach_count && reaches[j].first <= reaches[i].last; j++)
            if (reaches[i].task != reaches[j].task)
                check_pair(&reaches[i], &reaches[j], unit, what);
}

void audit_memory(void)
{
    collect_all(1u << SPACE_HOST | 1u << SPACE_GUEST | 1u << SPACE_DMA);
    for (unsigned i = 0; i < reach_count; i++)
        check_given(&reaches[i]);
    check_pairs(SEPTUM_PAGE_SIZE, "frame");
}

/* ---- ports --------------------------------------------------------------------------------------------- */

static bool port_was_given(const struct reach *reach, uint64_t port)
{
    return reach->space == SPACE_PORT &&
           (reach->task == server_task() ? server_has_ports(port, port)
                                         : service_has_ports(reach->task, port, port));
}

void audit_ports(void)
{
    collect_all(1u << SPACE_PORT | 1u << SPACE_GUEST_PORT);
    for (unsigned i = 0; i < reach_count; i++) {
        const struct reach *reach = &reaches[i];
        uint64_t port = reach->first;
        while (port <= reach->last && port_was_given(reach, port))
            port++;
        if (port <= reach->last)
            audit_violation("port 0x%lx is reachable from %s, in %s, and was not given to it", port,
                            reach->task->name, space_name(reach->space));
    }
    check_pairs(1, "port");
}

/* ---- all ------------------------------------------------------------------------------------------------ */

static void say_passed(void)
{
    char trusted[64];
    services_trusted(trusted, sizeof trusted);
    print_buffer(audit_result, sizeof audit_result, "passed%s%s",
                 *trusted ? ", but DMA not confined: " : "", trusted);
    say("audit: %s%s: %u tasks, %u table entries, %u capabilities, %u vCPUs. Shared are %u "
        "pages, of channels%s and of programs. %s\n",
        audit_result, *trusted ? ", trusted by all partitions" : "", audit_count.tasks,
        audit_count.entries, audit_count.capabilities, audit_count.vcpus, audit_count.shared,
        plan.volume_count || plan.network_count ? ", of guests and their servers" : "",
        *trusted                    ? "Their devices reach all memory by themselves"
        : boot->interrupts_remapped ? "DMA and interrupts confined by VT-d"
        : boot->dma_confined        ? "DMA confined by VT-d"
                                    : "No task drives a device that reaches memory by itself");
}

unsigned audit(void)
{
    audit_count = (struct audit_count){0};
    for (unsigned i = 0; i < TASKS_MAX; i++)
        audit_count.tasks += residents[i].lives;
    audit_memory();
    audit_ports();
    audit_capabilities();
    audit_msrs();
    print_buffer(audit_result, sizeof audit_result, "FAILED, violations: %u",
                 audit_count.violations);
    if (audit_count.violations)
        say("audit: %s\n", audit_result);
    else
        say_passed();
    return audit_count.violations;
}

unsigned audit_in_slices(void)
{
    sys_schedule(ROOT_SLOT_SCHED, SCHEDULE_SET, PRIORITY_ROOT, SLICE_US | PERIOD_US << 32);
    unsigned violations = audit();
    sys_schedule(ROOT_SLOT_SCHED, SCHEDULE_SET, PRIORITY_ROOT, 0);
    return violations;
}
