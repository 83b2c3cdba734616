#include "kernel_stubs.h"

#include <asm/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/ipc.h"
#include "core/syscall.h"
#include "virt/vcpu.h"
#include "x86/processor.h"

struct task *stub_root;
struct thread stub_thread;
unsigned stub_commits, stub_quiesces, stub_preempt_one_in, stub_restarts;
unsigned stub_destroyed[OBJECT_TYPE_COUNT];
struct capability *stub_reply_dropped;
void (*stub_on_flush)(struct task *task, enum space_kind space);

/* ---- the processor ---------------------------------------------------------------------------- */

static struct cpu cpu;
struct cpu *cpus[CPUS_MAX] = {&cpu};
unsigned cpu_count = 1;

static const struct vcpu_ops ops = {.name = "stub", .guest_format = &table_format_ept};
const struct vcpu_ops *vcpu_ops = &ops;

/* GS is what the kernel finds its CPU by; Linux leaves it to us. */
__attribute__((constructor)) static void set_gs(void)
{
    cpu.self = &cpu;
    cpu.current = &stub_thread;
    if (syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu))
        abort();
}

bool dma_confined;

void dma_flush(void)
{
}

unsigned dma_domain_alloc(void)
{
    return 1;
}

void dma_domain_free(unsigned domain)
{
    (void)domain;
}

bool dma_fault_next(uint64_t *what, uint64_t *address)
{
    (void)what;
    (void)address;
    return false;
}

void assertion_failed(const char *file, unsigned line, const char *what)
{
    printf("%s:%u: assertion failed: %s\n", file, line, what);
    abort();
}

void cross_call_poll(void)
{
}

void cross_quiesce(void)
{
}

void cross_call(unsigned number, void (*run)(void *), void *argument)
{
    if (number != cpu.number)
        abort();
    run(argument);
}

void flush_add(struct flush *flush, struct task *task, enum space_kind space)
{
    flush->several |= flush->task && flush->task != task;
    flush->task = task;
    flush->spaces |= 1u << space;
}

void flush_commit(struct flush *flush)
{
    stub_commits += flush->task || flush->quiesce;
    stub_quiesces += flush->quiesce;
    if (flush->several && stub_on_flush)
        stub_on_flush(NULL, SPACE_KIND_COUNT);
    for (unsigned space = 0; space < SPACE_KIND_COUNT && stub_on_flush; space++) {
        if (flush->spaces & 1u << space)
            stub_on_flush(flush->task, (enum space_kind)space);
    }
    *flush = (struct flush){0};
}

bool processor_task_init(struct task *task)
{
    task->host.root[511] = 0x1003; /* what the kernel's half would be */
    task->host_cr3 = frame_physical(task->host.root);
    return true;
}

void processor_task_end(struct task *task)
{
    task->host_cr3 = 0;
}

bool syscall_preempted(void)
{
    return stub_preempt_one_in && rand() % (int)stub_preempt_one_in == 0;
}

/* ---- objects of other modules ----------------------------------------------------------------- */

enum septum_status stub_task_create(struct task *owner, uint64_t pages, uint64_t slots,
                                    struct task **result)
{
    struct create_request request = {.owner = owner, .a0 = pages, .a1 = slots};
    struct task *task = quota_alloc(&owner->quota, sizeof(*task));
    if (!task)
        return STATUS_NO_QUOTA;
    task->object = (struct object){.type = OBJECT_TASK, .owner = owner};
    enum septum_status status = task_kind.create(&task->object, &request);
    if (status == STATUS_OK) {
        *result = task;
    } else {
        task_kind.release(&task->object);
        quota_free(&owner->quota, task, sizeof(*task));
    }
    return status;
}

bool object_destroy(struct object *object)
{
    if (object->type == OBJECT_TASK) {
        if (!task_kind.end(object))
            return false;
        task_kind.release(object);
        if (object->owner)
            quota_free(&object->owner->quota, object, sizeof(struct task));
        return true;
    }
    stub_destroyed[object->type]++;
    quota_free(&object->owner->quota, object, 128);
    return true;
}

void reply_capability_dropped(struct capability *slot)
{
    stub_reply_dropped = slot;
    slot->type = OBJECT_NONE;
}

/* ---- the world -------------------------------------------------------------------------------- */

static void *pool_memory;

/* What stub_exhaust has taken. */
static struct quota *exhausted;
static void *hogs[65536];
static uint16_t hog_sizes[65536];
static unsigned hog_count;

void stub_start(uint64_t pool_pages)
{
    free(pool_memory);
    hog_count = 0;
    pool_memory = aligned_alloc(PAGE_SIZE, pool_pages * PAGE_SIZE);
    memset(pool_memory, 0xa5, pool_pages * PAGE_SIZE); /* frames_alloc has to clear */
    frames_init(0x10000000, pool_pages * PAGE_SIZE, pool_memory);
    if (stub_root)
        memset(stub_root, 0, sizeof(*stub_root));
    stub_root = task_create_root((uint32_t)frames_free_count());
    mapping_grant(stub_root, SPACE_PHYSICAL, STUB_RAM, STUB_RAM_SIZE, STUB_RAM, MAP_RIGHTS, false);
    mapping_grant(stub_root, SPACE_PHYSICAL, STUB_DEVICE, STUB_DEVICE_SIZE, STUB_DEVICE, RW, true);
    mapping_grant(stub_root, SPACE_PORT, 0, 65536, 0, RW, false);
    stub_commits = stub_quiesces = stub_preempt_one_in = stub_restarts = 0;
    memset(stub_destroyed, 0, sizeof(stub_destroyed));
    stub_reply_dropped = NULL;
    stub_on_flush = NULL;
}

static void install(struct task *holder, cap_slot_t slot, struct object *object, uint64_t badge)
{
    enum septum_status status;
    struct capability *capability = capability_reserve(holder, slot, &status);
    if (!capability)
        abort();
    capability_install(capability, object, RIGHTS_ALL, badge);
}

struct task *stub_task(cap_slot_t slot, uint32_t pages)
{
    struct task *task = NULL;
    if (stub_task_create(stub_root, pages, 512, &task) != STATUS_OK)
        abort();
    install(stub_root, slot, &task->object, 0);
    return task;
}

struct object *stub_object(struct task *owner, enum object_type type, struct task *holder,
                           cap_slot_t slot)
{
    struct object *object = quota_alloc(&owner->quota, 128);
    if (!object)
        return NULL;
    object->type = (uint8_t)type;
    object->owner = owner;
    install(holder, slot, object, 0);
    return object;
}

static enum septum_status call(enum septum_status (*handler)(struct thread *), struct task *caller)
{
    enum septum_status status;
    stub_thread.task = caller;
    while ((status = handler(&stub_thread)) == SYSCALL_RESTART)
        stub_restarts++;
    return status;
}

enum septum_status stub_map(struct task *caller, cap_slot_t task, uint64_t how, uint64_t source,
                            uint64_t target, uint64_t count, uint64_t badge)
{
    stub_thread.registers = (struct registers){
        .rdi = task, .rsi = how, .rdx = source, .r10 = target, .r8 = count, .r9 = badge};
    return call(sys_map, caller);
}

enum septum_status stub_unmap(struct task *caller, cap_slot_t task, uint64_t how, uint64_t base,
                              uint64_t count)
{
    stub_thread.registers = (struct registers){.rdi = task, .rsi = how, .rdx = base, .r10 = count};
    return call(sys_unmap, caller);
}

/* ---- quotas that are used up ------------------------------------------------------------------ */

static void hog(void *memory, size_t size_bytes)
{
    hogs[hog_count] = memory;
    hog_sizes[hog_count++] = (uint16_t)size_bytes;
}

void stub_exhaust(struct quota *quota, uint32_t left)
{
    exhausted = quota;
    for (size_t size = 64; size <= 2048; size *= 2) {
        while (!list_empty(&quota->partial[__builtin_ctzll(size) - 6]))
            hog(quota_alloc(quota, size), size);
    }
    while (quota_left(quota) > left)
        hog(quota_alloc_pages(quota, 0), PAGE_SIZE);
}

void stub_relax(void)
{
    while (hog_count) {
        void *memory = hogs[--hog_count];
        if (hog_sizes[hog_count] == PAGE_SIZE)
            quota_free_pages(exhausted, memory, 0);
        else
            quota_free(exhausted, memory, hog_sizes[hog_count]);
    }
}

/* ---- looking ---------------------------------------------------------------------------------- */

struct table_entry stub_look(const struct table *table, uint64_t address)
{
    struct table_entry entry;
    if (table_next(table, address, &entry) && entry.address <= address)
        return entry;
    return (struct table_entry){0};
}

static const char *wrong;

static void complain(const char *what)
{
    if (!wrong)
        wrong = what;
}

/* Order and priorities of a tree; counts its nodes. */
static unsigned check_tree(const struct tree_node *t, uint64_t low, uint64_t high)
{
    if (!t)
        return 0;
    if (t->start < low || t->last > high || t->last < t->start)
        complain("a tree is out of order");
    if ((t->left && t->left->priority > t->priority) ||
        (t->right && t->right->priority > t->priority))
        complain("a tree is out of balance");
    unsigned count = 1;
    if (t->left)
        count += t->start ? check_tree(t->left, low, t->start - 1) : 1000000;
    if (t->right)
        count += check_tree(t->right, t->last + 1, high);
    return count;
}

/* Returns how many there are. */
static unsigned check_children(const struct range *parent)
{
    unsigned count = 0;
    for (const struct list *at = parent->children.next; at != &parent->children; at = at->next) {
        const struct range *child = container_of(at, struct range, sibling);
        count++;
        if (at->next->prev != at)
            complain("a list of children is broken");
        if (child->parent != parent)
            complain("a child does not name its parent");
        if (child->frame < parent->frame || range_last_frame(child) > range_last_frame(parent))
            complain("a child has frames that its parent has not");
        if (child->rights & ~(unsigned)parent->rights)
            complain("a child has rights that its parent has not");
    }
    return count;
}

/* Of all ranges looked at: those on lists of children, and those that have a parent. Every one with a
 * parent must be on its parent's list. */
struct kin {
    unsigned children, have_parents;
};

/* Ranges of a space, in order; each must be in the table as the range says. Returns bytes seen. */
static uint64_t check_space(struct task *task, enum space_kind space, struct kin *kin)
{
    const struct table *table = space_table(task, space);
    struct tree_node *node;
    uint64_t end = 0, mapped = 0;
    unsigned nodes = 0;
    while ((node = tree_first(task->ranges[space].root, end)) != NULL) {
        const struct range *range = container_of(node, struct range, place);
        if (range->place.start < end)
            complain("ranges overlap");
        if (range->task != task || range->space != space || range->cut)
            complain("a range is marked wrongly");
        kin->children += check_children(range);
        kin->have_parents += range->parent != NULL;
        nodes++;
        for (uint64_t at = range->place.start; table && at <= range->place.last;) {
            struct table_entry entry = stub_look(table, at);
            if (!entry.size_bytes || entry.address < range->place.start ||
                entry.address + entry.size_bytes - 1 > range->place.last ||
                entry.frame != range->frame + (at - range->place.start) ||
                entry.rights != range->rights) {
                complain("a table differs from its range");
                break;
            }
            at = entry.address + entry.size_bytes;
        }
        mapped += range->place.last - range->place.start + 1;
        end = range->place.last + 1;
    }
    if (nodes != check_tree(task->ranges[space].root, 0, UINT64_MAX))
        complain("a tree has nodes that a walk does not find");
    return mapped;
}

static uint64_t count_table(const struct table *table)
{
    struct table_entry entry;
    uint64_t mapped = 0, at = 0;
    for (; table_next(table, at, &entry); at = entry.address + entry.size_bytes)
        mapped += entry.size_bytes;
    return mapped;
}

/* No table but the top may be empty. */
static void check_empty(const struct table *table, const uint64_t *entries, unsigned level,
                        unsigned count)
{
    unsigned used = 0;
    for (unsigned i = 0; i < count; i++) {
        uint64_t entry = entries[i];
        used += entry != 0;
        if (level && entry & table->format->present_mask && !(entry & table->format->large))
            check_empty(table, frame_virtual(entry & table->format->address_mask), level - 1, 512);
    }
    if (!used && level < 3)
        complain("an empty table was left");
}

const char *stub_check(struct task *const *tasks, unsigned count)
{
    struct kin kin = {0};
    wrong = NULL;
    for (unsigned i = 0; i < count; i++) {
        for (unsigned space = 0; space < SPACE_CAPABILITY; space++) {
            const struct table *table = space_table(tasks[i], (enum space_kind)space);
            uint64_t mapped = check_space(tasks[i], (enum space_kind)space, &kin);
            if (!table || !table->root)
                continue;
            if (count_table(table) != mapped)
                complain("a table maps what no range has");
            check_empty(table, table->root, 3,
                        (unsigned)((table->end + table_span(3) - 1) / table_span(3)));
        }
    }
    if (kin.children != kin.have_parents)
        complain("a range is on no list of children");

    return wrong;
}

unsigned stub_count_ranges(const struct task *task, enum space_kind space)
{
    unsigned count = 0;
    const struct range *range;
    for (uint64_t at = 0; (range = range_find(&task->ranges[space], at)) != NULL; count++)
        at = range->place.last + 1;
    return count;
}
