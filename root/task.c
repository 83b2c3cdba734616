/*
 * Tasks. Memory that only one task has is delegated from root's own view of RAM; the bundle and guests' memory,
 * which must be executable, from physical space.
 */
#include "root.h"
#include "thread.h"
#include "string.h"

#define TASK_SLOTS  128u /* of its capability space: TASK_SLOT_FREE, and as many for itself */
#define GIB_PAGES   (1ull << 18)
#define LARGE_PAGES 512ull

/* Tell the counting plugin of bench/ what zeroing costs: instructions that do nothing. */
#define MARK_ZEROING "nopl 0x5cca000c(%rax)"
#define MARK_ZEROED  "nopl 0x5cca000d(%rax)"

struct resident residents[TASKS_MAX];

struct resident *resident_of(uint64_t id)
{
    struct resident *task = &residents[id % TASKS_MAX];
    return task->lives && task->id == id ? task : NULL;
}

void task_fail(struct resident *task, const char *problem)
{
    if (!task->problem)
        task->problem = problem;
}

static bool good(struct resident *task, uint64_t status)
{
    if (status == STATUS_NO_QUOTA)
        task_fail(task, "there is not enough kernel memory: use a larger pool=SIZE on the kernel's "
                        "command line");
    else if (status == STATUS_NO_BANDWIDTH)
        task_fail(task,
                  "the kernel grants no such share of a CPU: the period must be 100 us or more, "
                  "the budget 1 us or more and below the period");
    else if (status == STATUS_NOT_SUPPORTED)
        task_fail(task, "this machine has no hardware virtualization");
    else if (status != STATUS_OK)
        task_fail(task, "the kernel refused a part of it; this is an error of root's");
    return status == STATUS_OK;
}

/* ---- memory --------------------------------------------------------------------------------------- */

static struct extent *note_extent(struct resident *task, enum extent_kind kind, uint64_t physical,
                                  uint64_t address, uint64_t pages, unsigned rights)
{
    if (task->extent_count == EXTENTS_MAX) {
        task_fail(task, "its memory is in too many pieces: restart the machine");
        return NULL;
    }
    struct extent *extent = &task->extents[task->extent_count++];
    *extent = (struct extent){physical, address, pages, rights, kind};
    return extent;
}

/* Delegates what root sees of these frames. */
static void share(struct resident *task, enum extent_kind kind, uint64_t physical, uint64_t address,
                  uint64_t pages, unsigned rights)
{
    if (!note_extent(task, kind, physical, address, pages, rights)) {
        if (kind == EXTENT_OWN || kind == EXTENT_GUEST)
            frames_give(physical, pages);
        return;
    }
    good(task, sys_map(task->slots + RESIDENT_TASK,
                       MAP_HOW(SPACE_HOST, SPACE_HOST, rights, CACHE_INHERIT),
                       (uint64_t)direct(physical), address, pages, 0));
}

void *task_add_memory_at(struct resident *task, uint64_t address, uint64_t pages, unsigned rights)
{
    if (task->problem || pages == 0)
        return NULL;
    uint64_t physical = frames_take(pages, pages >= LARGE_PAGES ? LARGE_PAGES : 1);
    if (physical == POOL_NONE) {
        task_fail(task, "there is no memory left: give the machine more, or partitions less");
        return NULL;
    }
    memset(direct(physical), 0, pages * SEPTUM_PAGE_SIZE);
    share(task, EXTENT_OWN, physical, address, pages, rights);
    return task->problem ? NULL : direct(physical);
}

/* The task's next free address; room for so many pages. */
static uint64_t place(struct resident *task, uint64_t pages, uint64_t alignment)
{
    uint64_t bytes = alignment * SEPTUM_PAGE_SIZE;
    uint64_t address = (task->next_address + bytes - 1) / bytes * bytes;
    task->next_address = address + pages * SEPTUM_PAGE_SIZE;
    if (task->next_address > FILES_BASE)
        task_fail(task, "it needs more than 256 MiB beside its guest's memory");
    return address;
}

void *task_add_memory(struct resident *task, uint64_t pages, uint64_t alignment, unsigned rights,
                      uint64_t *address)
{
    *address = place(task, pages, alignment);
    return task_add_memory_at(task, *address, pages, rights);
}

/* Contiguous memory of as many of these pages as there are, aligned for the largest page it holds. */
static uint64_t take_large(uint64_t *pages)
{
    for (;;) {
        uint64_t frames = *pages >= GIB_PAGES ? frames_take(*pages, GIB_PAGES) : POOL_NONE;
        if (frames == POOL_NONE)
            frames = frames_take(*pages, LARGE_PAGES);
        if (frames != POOL_NONE || *pages <= LARGE_PAGES)
            return frames;
        *pages = (*pages / 2 + LARGE_PAGES - 1) / LARGE_PAGES * LARGE_PAGES;
    }
}

void task_add_guest_memory(struct resident *task, uint64_t size_bytes)
{
    uint64_t left = size_bytes / SEPTUM_PAGE_SIZE, address = GUEST_BASE;
    while (left && !task->problem) {
        uint64_t pages = left;
        uint64_t physical = take_large(&pages);
        if (physical == POOL_NONE) {
            task_fail(task, "there is not enough free memory for its guest: give it less, or the "
                            "machine more");
            return;
        }
        __asm__ volatile(MARK_ZEROING);
        memset(direct(physical), 0, pages * SEPTUM_PAGE_SIZE);
        __asm__ volatile(MARK_ZEROED);
        if (!note_extent(task, EXTENT_GUEST, physical, address, pages, MAP_RIGHTS)) {
            frames_give(physical, pages);
            return;
        }
        good(task, memory_map_at(task->slots + RESIDENT_TASK, SPACE_HOST, address, physical, pages,
                                 MAP_RIGHTS));
        address += pages * SEPTUM_PAGE_SIZE;
        left -= pages;
    }
}

void task_add_client_memory(struct resident *task, uint64_t size_bytes)
{
    uint64_t pages = size_bytes / SEPTUM_PAGE_SIZE;
    uint64_t physical = task->problem ? POOL_NONE : frames_take(pages, 1);
    if (physical == POOL_NONE) {
        task_fail(task, "there is no memory left: give the machine more, or partitions less");
        return;
    }
    memset(direct(physical), 0, size_bytes);
    share(task, EXTENT_GUEST, physical, GUEST_BASE, pages, MAP_READ | MAP_WRITE);
}

void task_add_bundle(struct resident *task, uint64_t physical, uint64_t address, uint64_t pages,
                     unsigned rights)
{
    if (task->problem || !note_extent(task, EXTENT_BUNDLE, physical, address, pages, rights))
        return;
    good(task,
         memory_map_at(task->slots + RESIDENT_TASK, SPACE_HOST, address, physical, pages, rights));
}

void task_add_file(struct resident *task, const struct archive_member *file, unsigned rights,
                   uint64_t *address)
{
    uint64_t pages = (file->size_bytes + SEPTUM_PAGE_SIZE - 1) / SEPTUM_PAGE_SIZE;
    if (pages * SEPTUM_PAGE_SIZE > GUEST_BASE - *address)
        task_fail(task, "its files are larger than 512 MiB together");
    task_add_bundle(task, bundle_physical(file), *address, pages, rights);
    *address += pages * SEPTUM_PAGE_SIZE;
}

uint64_t task_add_page(struct resident *task, uint64_t physical, uint64_t pages, unsigned rights)
{
    uint64_t address = place(task, pages, 1);
    if (!task->problem)
        share(task, EXTENT_SHARED, physical, address, pages, rights);
    return address;
}

uint64_t task_add_device(struct resident *task, uint64_t physical, uint64_t pages)
{
    uint64_t address = place(task, pages, 1);
    if (!task->problem)
        share(task, EXTENT_DEVICE, physical, address, pages, MAP_READ | MAP_WRITE);
    return address;
}

/* ---- objects and capabilities ------------------------------------------------------------------------ */

static bool create(struct resident *task, unsigned slot, enum object_type type, uint64_t a0,
                   uint64_t a1, uint64_t a2)
{
    return !task->problem && good(task, sys_create(task->slots + slot, type,
                                                   task->slots + RESIDENT_TASK, a0, a1, a2));
}

void task_add_capability(struct resident *task, cap_slot_t target, cap_slot_t source,
                         unsigned rights, uint64_t badge)
{
    if (!task->problem)
        good(task, sys_map(task->slots + RESIDENT_TASK,
                           MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, rights, 0), source, target,
                           1, badge));
}

void task_add_ports(struct resident *task, unsigned first, unsigned count)
{
    if (!task->problem)
        good(task, sys_map(task->slots + RESIDENT_TASK,
                           MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0), first, first,
                           count, 0));
}

void task_add_notification(struct resident *task, unsigned cpu)
{
    if (create(task, RESIDENT_NOTIFICATION, OBJECT_NOTIFICATION, cpu, 0, 0))
        task_add_capability(task, TASK_SLOT_NOTIFICATION, task->slots + RESIDENT_NOTIFICATION,
                            RIGHT_RECEIVE | RIGHT_SEND, 0);
}

void task_add_endpoint(struct resident *task, unsigned cpu)
{
    if (create(task, RESIDENT_ENDPOINT, OBJECT_ENDPOINT, cpu, 0, 0))
        task_add_capability(task, TASK_SLOT_ENDPOINT, task->slots + RESIDENT_ENDPOINT,
                            RIGHT_RECEIVE, 0);
}

void task_add_thread(struct resident *task, unsigned cpu, uint64_t budget)
{
    if (task->problem)
        return;
    struct task_thread *threads = task->start->threads;
    unsigned n = task->start->thread_count, same = 0;
    while (same < n && threads[same].cpu != cpu)
        same++;
    if (same == n && !create(task, RESIDENT_SCHED + n, OBJECT_SCHED, BOOT_SLOT_SCHED + cpu,
                             task->priority, budget))
        return;
    uint64_t stack = 0;
    if (n > 0)
        task_add_memory(task, THREAD_STACK_BYTES / SEPTUM_PAGE_SIZE,
                        THREAD_STACK_BYTES / SEPTUM_PAGE_SIZE, MAP_READ | MAP_WRITE, &stack);
    uint64_t buffer = place(task, 1, 1);
    if (!create(task, RESIDENT_THREAD + n, OBJECT_THREAD, task->slots + RESIDENT_SCHED + same,
                buffer, TASK_SLOT_FAULT))
        return;
    task_add_capability(task, TASK_SLOT_THREAD + n, task->slots + RESIDENT_THREAD + n,
                        RIGHT_CONTROL, 0);
    threads[n] = (struct task_thread){.buffer = buffer, .stack_base = stack, .cpu = cpu};
    task->start->thread_count = n + 1;
}

void task_add_vcpu(struct resident *task, unsigned n)
{
    uint64_t state = place(task, 1, 1);
    if (task->problem ||
        !create(task, RESIDENT_VCPU + n, OBJECT_VCPU, task->start->threads[n].cpu, state, 0))
        return;
    task_add_capability(task, TASK_SLOT_VCPU + n, task->slots + RESIDENT_VCPU + n,
                        RIGHT_SEND | RIGHT_CONTROL, 0);
    task->start->threads[n].vcpu_state = state;
}

void task_add_channel(struct resident *task, enum task_channel_kind kind, const char *name,
                      uint64_t physical, uint64_t size_bytes, cap_slot_t peer, uint64_t ring_bits)
{
    if (task->problem)
        return;
    unsigned n = task->start->channel_count++;
    uint64_t pages = size_bytes / SEPTUM_PAGE_SIZE, address = place(task, pages, 1);
    share(task, EXTENT_SHARED, physical, address, pages, MAP_READ | MAP_WRITE);
    task_add_capability(task, TASK_SLOT_CHANNEL + n, peer, RIGHT_SEND, ring_bits);
    struct task_channel *channel = &task->start->channels[n];
    *channel = (struct task_channel){
        .kind = kind, .address = address, .size_bytes = size_bytes, .ring_bits = ring_bits};
    print_buffer(channel->name, sizeof channel->name, "%s", name);
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

static void fill_start_page(struct resident *task)
{
    *task->start = (struct task_start){
        .magic = TASK_START_MAGIC,
        .abi_version = SEPTUM_ABI_VERSION,
        .task_id = (uint32_t)task->id,
        .cpu_count = boot->cpu_count,
        .tsc_khz = boot->tsc_khz,
        .slots_end = TASK_SLOTS,
        .virtualization = boot->virtualization,
        .debug = boot->debug != 0,
    };
    memcpy(task->start->name, task->name, sizeof task->name);
}

void task_begin(struct resident *task, const char *member, uint64_t quota_pages)
{
    task->id = ++task->generation * TASKS_MAX + task->index;
    task->problem = NULL;
    task->warned = false;
    task->start = NULL;
    task->extent_count = 0;
    task->next_address = PROGRAM_END;
    task->quota_pages = quota_pages;
    task->lives = true;
    task->started_at = ticks();
    reception_forget(task->id);
    uint64_t slots = pool_take(&memory.slots, RESIDENT_SLOTS, 1);
    task->slots = slots == POOL_NONE ? 0 : (cap_slot_t)slots;
    if (!task->slots)
        task_fail(task, "root has no capability slots left");
    else if (!bundle_find(member, &task->program))
        task_fail(task, "its program is not in the bundle: make the bundle anew with `septum run`");
    if (task->problem)
        return;
    if (!good(task, sys_create(task->slots + RESIDENT_TASK, OBJECT_TASK, BOOT_SLOT_TASK,
                               quota_pages, TASK_SLOTS, 0)))
        return;
    program_load(task, &task->program);
    task->start = task_add_memory(task, 1, 1, MAP_READ, &task->start_address);
    if (task->problem)
        return;
    fill_start_page(task);
    task_add_capability(task, TASK_SLOT_SELF, task->slots + RESIDENT_TASK,
                        RIGHT_CREATE | RIGHT_MAP | RIGHT_INSPECT, 0);
    task_add_capability(task, TASK_SLOT_ROOT, ROOT_SLOT_ENDPOINT, RIGHT_SEND, task->id);
    task_add_capability(task, TASK_SLOT_FAULT, ROOT_SLOT_ENDPOINT, RIGHT_SEND, task->id);
}

void *task_add_role(struct resident *task, uint64_t size_bytes)
{
    uint64_t address, pages = (size_bytes + SEPTUM_PAGE_SIZE - 1) / SEPTUM_PAGE_SIZE;
    void *role = task_add_memory(task, pages, 1, MAP_READ, &address);
    if (role) {
        task->start->role = address;
        task->start->role_bytes = size_bytes;
    }
    return role;
}

void task_add_heap(struct resident *task, uint64_t size_bytes)
{
    uint64_t address = HEAP_BASE, pages = (size_bytes + SEPTUM_PAGE_SIZE - 1) / SEPTUM_PAGE_SIZE;
    if (pages >= LARGE_PAGES ? task_add_memory_at(task, address, pages, MAP_READ | MAP_WRITE)
                             : task_add_memory(task, pages, 1, MAP_READ | MAP_WRITE, &address)) {
        task->start->heap_base = address;
        task->start->heap_bytes = pages * SEPTUM_PAGE_SIZE;
    }
}

const char *task_run(struct resident *task)
{
    if (!task->problem)
        good(task, sys_control(task->slots + RESIDENT_THREAD, CONTROL_THREAD_START, task->entry, 0,
                               task->start_address, 0)
                       .status);
    return task->problem;
}

const void *task_view(const struct resident *task, uint64_t address, uint64_t size_bytes,
                      unsigned rights)
{
    for (unsigned i = 0; i < task->extent_count; i++) {
        const struct extent *extent = &task->extents[i];
        uint64_t at = address - extent->address, bytes = extent->pages * SEPTUM_PAGE_SIZE;
        if (address >= extent->address && at < bytes && size_bytes <= bytes - at &&
            (extent->rights & rights) == rights)
            return (const char *)direct(extent->physical) + at;
    }
    return NULL;
}

void task_derail(struct resident *task)
{
    enum { NOWHERE = 0x10 };
    cap_slot_t thread = task->slots + RESIDENT_THREAD;
    sys_control(thread, CONTROL_THREAD_STOP, 0, 0, 0, 0);
    sys_control(thread, CONTROL_THREAD_READ_REGISTERS, 0, 0, 0, 0);
    thread_buffer()->registers.rip = NOWHERE;
    sys_control(thread, CONTROL_THREAD_WRITE_REGISTERS, 0, 0, 0, 0);
    sys_control(thread, CONTROL_THREAD_RESUME, 0, 0, 0, 0);
}

void task_halt(struct resident *task)
{
    for (unsigned n = 0; task->start && n < task->start->thread_count; n++)
        sys_control(task->slots + RESIDENT_THREAD + n, CONTROL_THREAD_STOP, 0, 0, 0, 0);
}

void task_end(struct resident *task)
{
    if (task->slots) {
        sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, task->slots, RESIDENT_SLOTS);
        pool_give(&memory.slots, task->slots, RESIDENT_SLOTS);
    }
    for (unsigned i = 0; i < task->extent_count; i++) {
        const struct extent *extent = &task->extents[i];
        if (extent->kind == EXTENT_OWN || extent->kind == EXTENT_GUEST)
            frames_give(extent->physical, extent->pages);
    }
    task->extent_count = 0;
    task->slots = 0;
    task->lives = false;
}
