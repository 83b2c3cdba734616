/* Tasks: making them, what lies behind their spaces, their end. */
#include "core/task.h"

#include "virt/vcpu.h"
#include "x86/processor.h"

_Static_assert(sizeof(struct task) <= 2048, "a task is a small object");

#define PORTS_ORDER       1u /* 8 KiB */
#define GUEST_PORTS_ORDER 2u /* 12 KiB in 16 */

static struct task root_task;

/* ---- making ---------------------------------------------------------------------------------- */

static void make_table(struct task *task, struct table *table, const struct table_format *format,
                       enum space_kind space)
{
    *table = (struct table){.format = format,
                            .root = quota_alloc_pages(&task->quota, 0),
                            .end = spaces[space].end,
                            .quota = &task->quota};
}

static bool init_task(struct task *task, uint64_t slots)
{
    struct capability_space *space = &task->capabilities;
    list_init(&task->objects);
    make_table(task, &task->host, &table_format_host, SPACE_HOST);
    space->directory = quota_alloc_pages(&task->quota, 0);
    if (!task->host.root || !space->directory)
        return false;
    space->slots = (uint32_t)slots;
    for (uint64_t i = 0; i < CAP_SLOTS_MAX / CAPABILITIES_PER_PAGE; i++)
        space->directory[i] = empty_capabilities;
    return processor_task_init(task);
}

static void give_back(struct task *task, void *pages, unsigned order)
{
    if (pages)
        quota_free_pages(&task->quota, pages, order);
}

/* What create made, as far as it got, and what came later. No table has an entry any more. */
static void release(struct object *object)
{
    struct task *task = (struct task *)object;
    struct capability_space *space = &task->capabilities;
    if (task->host_cr3)
        processor_task_end(task);
    give_back(task, task->host.root, 0);
    give_back(task, task->guest.root, 0);
    give_back(task, task->dma.root, 0);
    if (task->domain)
        dma_domain_free(task->domain);
    give_back(task, task->ports, PORTS_ORDER);
    give_back(task, task->guest_ports, GUEST_PORTS_ORDER);
    for (uint32_t i = 0; i < space->slots / CAPABILITIES_PER_PAGE; i++) {
        if (space->directory[i] != empty_capabilities)
            quota_free_pages(&task->quota, space->directory[i], 0);
    }
    give_back(task, space->directory, 0);
    if (object->owner) /* the first task's memory is nobody's */
        quota_return(&task->quota, &object->owner->quota);
}

static enum septum_status create(struct object *object, const struct create_request *request)
{
    struct task *task = (struct task *)object;
    uint64_t pages = request->a0, slots = request->a1;
    quota_init(&task->quota, 0);
    if (!slots || slots > CAP_SLOTS_MAX)
        return STATUS_BAD_ARGUMENT;
    slots = (slots + CAPABILITIES_PER_PAGE - 1) & ~(uint64_t)(CAPABILITIES_PER_PAGE - 1);
    return pages <= UINT32_MAX &&
                   quota_move(&object->owner->quota, &task->quota, (uint32_t)pages) &&
                   init_task(task, slots)
               ? STATUS_OK
               : STATUS_NO_QUOTA;
}

struct task *task_create_root(uint32_t quota_pages)
{
    quota_init(&root_task.quota, quota_pages);
    root_task.object = (struct object){.type = OBJECT_TASK};
    return init_task(&root_task, CAP_SLOTS_MAX) ? &root_task : NULL;
}

/* ---- what lies behind its spaces ------------------------------------------------------------- */

enum septum_status task_make_space(struct task *task, enum space_kind space)
{
    struct table *table = space_table(task, space);
    if (space == SPACE_DMA && !task->domain && !(task->domain = (uint16_t)dma_domain_alloc()))
        return STATUS_NOT_SUPPORTED;
    if (table && !table->root) /* that of SPACE_HOST has always been */
        make_table(task, table, space == SPACE_DMA ? &table_format_dma : vcpu_ops->guest_format,
                   space);
    if (table)
        return table->root ? STATUS_OK : STATUS_NO_QUOTA;
    if (space != SPACE_PORT && space != SPACE_GUEST_PORT)
        return STATUS_OK;
    uint8_t **bitmap = space == SPACE_PORT ? &task->ports : &task->guest_ports;
    unsigned order = space == SPACE_PORT ? PORTS_ORDER : GUEST_PORTS_ORDER;
    uint8_t *fresh = *bitmap ? NULL : quota_alloc_pages(&task->quota, order);
    if (fresh)
        *bitmap = memset(fresh, 0xff, PAGE_SIZE << order);
    return *bitmap ? STATUS_OK : STATUS_NO_QUOTA;
}

enum septum_status task_map_kernel_page(struct task *task, uint64_t address, void *page)
{
    struct table_leaf leaf = {frame_physical(page), MAP_READ | MAP_WRITE, CACHE_INHERIT, false};
    uint64_t size = PAGE_SIZE;
    if (!address || address & PAGE_MASK || address >= SEPTUM_USER_END)
        return STATUS_BAD_ARGUMENT;
    spinlock_acquire(&mapping_lock);
    enum septum_status status = space_map(task, SPACE_HOST, address, &size, &leaf, 1);
    spinlock_release(&mapping_lock);
    return status == STATUS_BAD_ARGUMENT ? STATUS_BUSY : status;
}

void task_unmap_kernel_page(struct task *task, uint64_t address)
{
    unsigned budget = MAP_STEP;

    spinlock_acquire(&mapping_lock);
    table_clear(&task->host, address, PAGE_SIZE, &budget);
    space_flush(task, SPACE_HOST);
    spinlock_release(&mapping_lock);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* What is charged to the task dies with it, wherever its capabilities are. The first to go are
 * often the task's own threads; with them goes the last that could make more. */
static bool end(struct object *object)
{
    struct task *task = (struct task *)object;
    task->stopping = true;
    while (!list_empty(&task->objects)) {
        if (!revoke_object(list_first(&task->objects, struct object, link)))
            return false;
    }
    if (task->charged)
        return false; /* others are on their way: wait for them */
    for (; task->end_space < SPACE_KIND_COUNT; task->end_space++, task->end_base = 0) {
        enum space_kind space = (enum space_kind)task->end_space;
        if (!revoke_step(task, space, &task->end_base, spaces[space].end, true))
            return false;
    }
    return true;
}

const struct object_kind task_kind = OBJECT_KIND(task, create, end, release);
