/* The world of a hostile task. */
#include "world.h"

#define QUOTA_PAGES   220u
#define LINE_GSI      10u /* no device of the test machines is on it */

#define RIGHTS_OF_ALL (RIGHTS_ALL & ~RIGHT_MACHINE)

/* Its scheduling context may go up to this, and have half a CPU at most. */
#define HOSTILE_PRIORITY     5u
#define HOSTILE_PRIORITY_MAX 10u
#define HOSTILE_SHARE_PPM    500000ull

extern char image_data_start[], image_data_end[];

static cap_slot_t make(struct world *world, enum object_type type, cap_slot_t owner, uint64_t a0,
                       uint64_t a1, uint64_t a2)
{
    cap_slot_t mine;
    EXPECT_OK(create_status(&mine, type, owner, a0, a1, a2));
    CHECK(world->owned_count < sizeof world->owned / sizeof world->owned[0]);
    world->owned[world->owned_count++] = mine;
    return mine;
}

/* Creates an object charged to the task and gives it to it with all rights. */
static cap_slot_t give_object(struct world *world, enum hostile_slot slot, enum object_type type,
                              uint64_t a0, uint64_t a1, uint64_t a2)
{
    cap_slot_t mine = make(world, type, world->task.task, a0, a1, a2);
    EXPECT_OK(child_give(&world->task, slot, mine, RIGHTS_OF_ALL, 0));
    return mine;
}

static void give_memory(struct world *world)
{
    EXPECT_OK(memory_map_at(world->task.task, SPACE_PHYSICAL, world->scratch_physical,
                            world->scratch_physical, SCRATCH_PAGES, MAP_RIGHTS));
    EXPECT_OK(memory_map_at(world->task.task, SPACE_HOST, SCRATCH_ADDRESS, world->scratch_physical,
                            SCRATCH_PAGES, MAP_READ | MAP_WRITE));
    EXPECT_OK(memory_map_at(world->task.task, SPACE_HOST, (uint64_t)world->page,
                            world->page_physical, 1, MAP_READ | MAP_WRITE));
    EXPECT_OK(sys_map(world->task.task, MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0),
                      FIRST_PORT, FIRST_PORT, PORTS, 0));
}

static void give_vcpus(struct world *world, unsigned cpu)
{
    if (boot->virtualization == BOOT_VIRT_NONE)
        return;
    give_object(world, SLOT_VCPU, OBJECT_VCPU, cpu, VCPU_ADDRESS, 0);
    if (boot->cpu_count > 1)
        give_object(world, SLOT_FAR_VCPU, OBJECT_VCPU, !cpu, FAR_VCPU_ADDRESS, 0);
    world->page->has_vcpu = 1;
}

static void give_interrupts(struct world *world, unsigned cpu, bool line)
{
    cap_slot_t mine = make(world, OBJECT_INTERRUPT, BOOT_SLOT_TASK, INTERRUPT_MSI, cpu, 0);
    EXPECT_OK(child_give(&world->task, SLOT_MSI, mine, RIGHTS_OF_ALL, 0));
    if (!line)
        return;
    mine = make(world, OBJECT_INTERRUPT, BOOT_SLOT_TASK, LINE_GSI, cpu, 0);
    EXPECT_OK(child_give(&world->task, SLOT_LINE, mine, RIGHTS_OF_ALL, 0));
}

static void give_objects(struct world *world, unsigned cpu, cap_slot_t peer, bool line)
{
    unsigned far = boot->cpu_count > 1 ? !cpu : cpu;
    EXPECT_OK(child_give(&world->task, SLOT_TASK, world->task.task, RIGHTS_OF_ALL, 0));
    world->endpoint = give_object(world, SLOT_ENDPOINT, OBJECT_ENDPOINT, cpu, 0, 0);
    give_object(world, SLOT_SILENT, OBJECT_ENDPOINT, cpu, 0, 0);
    give_object(world, SLOT_NOTIFICATION, OBJECT_NOTIFICATION, cpu, 0, 0);
    give_object(world, SLOT_BOUND, OBJECT_NOTIFICATION, cpu, 0, 0);
    give_object(world, SLOT_FAR_ENDPOINT, OBJECT_ENDPOINT, far, 0, 0);
    give_object(world, SLOT_FAR_NOTIFICATION, OBJECT_NOTIFICATION, far, 0, 0);
    give_object(world, SLOT_CHILD, OBJECT_TASK, 60, 64, 0);
    EXPECT_OK(child_give(&world->task, SLOT_SEND_ONLY, world->endpoint, RIGHT_SEND, 0xbad));
    EXPECT_OK(child_give(&world->task, SLOT_NO_RIGHTS, world->endpoint, RIGHT_BADGE, 0));
    if (peer)
        EXPECT_OK(child_give(&world->task, SLOT_PEER, peer, RIGHT_SEND, 0xfee1));
    give_vcpus(world, cpu);
    give_interrupts(world, cpu, line);
}

static void make_thread(struct world *world, struct child_thread *thread, enum hostile_slot slot,
                        cap_slot_t sched, cap_slot_t fault_endpoint)
{
    EXPECT_OK(child_thread_create(thread, world->task.task, sched, fault_endpoint));
    EXPECT_OK(child_give(&world->task, slot, thread->thread, RIGHTS_OF_ALL, 0));
}

void world_create(struct world *world, unsigned cpu, uint64_t seed, uint64_t calls,
                  void (*begin)(void *page), cap_slot_t peer, bool line)
{
    *world = (struct world){0};
    EXPECT_OK(child_create(&world->task, QUOTA_PAGES, SLOT_COUNT, CHILD_DATA_PRIVATE));
    world->scratch_physical = frames_take(SCRATCH_PAGES, 1);
    CHECK(world->scratch_physical != POOL_NONE);
    world->page = pages_new(1, 1, &world->page_physical);
    world->page->random = seed * 2 + 1;
    world->page->calls = calls;
    world->page->cpu_count = boot->cpu_count;
    world->page->scratch_physical = world->scratch_physical;
    world->page->tsc_khz = boot->tsc_khz;
    give_memory(world);
    give_objects(world, cpu, peer, line);
    cap_slot_t sched =
        make(world, OBJECT_SCHED, world->task.task, BOOT_SLOT_SCHED + cpu, HOSTILE_PRIORITY, 0);
    EXPECT_OK(child_give(&world->task, SLOT_SCHED, sched, RIGHTS_OF_ALL,
                         HOSTILE_PRIORITY_MAX | HOSTILE_SHARE_PPM << 32));
    make_thread(world, &world->caller, SLOT_THREAD, sched, 0);
    make_thread(world, &world->victim, SLOT_VICTIM, sched, SLOT_ENDPOINT);
    make_thread(world, &world->server, SLOT_SERVER, sched, SLOT_SILENT);
    EXPECT_OK(child_thread_start(&world->server, hostile_server, world->page));
    EXPECT_OK(child_thread_start(&world->caller, begin, world->page));
    world->alive = true;
}

void world_destroy(struct world *world)
{
    child_thread_destroy(&world->caller);
    child_thread_destroy(&world->victim);
    child_thread_destroy(&world->server);
    child_destroy(&world->task);
    memory_give(world->page, world->page_physical, 1);
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_PHYSICAL, world->scratch_physical, SCRATCH_PAGES));
    frames_give(world->scratch_physical, SCRATCH_PAGES);
    for (unsigned i = 0; i < world->owned_count; i++) {
        EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, world->owned[i], 1));
        slot_give(world->owned[i]);
    }
    world->alive = false;
}

bool world_runs(const struct world *world)
{
    struct message m = sys_inspect(INSPECT_THREAD, world->caller.thread, 0, 0);
    return m.status == STATUS_OK && !(m.w[0] & THREAD_STOPPED);
}

/* ---- the audit ------------------------------------------------------------------------------- */

static bool inside(uint64_t frame, uint64_t size, uint64_t base, uint64_t pages)
{
    return frame >= base && frame + size <= base + pages * SEPTUM_PAGE_SIZE;
}

static bool own_frame(const struct world *world, uint64_t frame, uint64_t size)
{
    uint64_t stack_pages = THREAD_STACK_BYTES / SEPTUM_PAGE_SIZE;
    uint64_t data_pages = (uint64_t)(image_data_end - image_data_start) / SEPTUM_PAGE_SIZE;
    return inside(frame, size, world->scratch_physical, SCRATCH_PAGES) ||
           inside(frame, size, world->page_physical, 1) ||
           inside(frame, size, world->task.data_frames, data_pages) ||
           inside(frame, size, world->caller.stack_frames, stack_pages) ||
           inside(frame, size, world->victim.stack_frames, stack_pages) ||
           inside(frame, size, world->server.stack_frames, stack_pages);
}

/* A message to the server thread may have lent it what another task owned, into its receive window. */
static bool lent_frame(const struct world *worlds, unsigned count, uint64_t address, uint64_t frame,
                       uint64_t size)
{
    for (unsigned i = 0; i < count; i++)
        if (worlds[i].alive && own_frame(&worlds[i], frame, size))
            return inside(address, size, TARGET_ADDRESS, TARGET_PAGES);
    return false;
}

static bool of_type(uint64_t frame, uint64_t size, enum boot_memory_type type)
{
    for (uint32_t i = 0; i < boot->memory_range_count; i++)
        if (boot->memory[i].type == type && inside(frame, size, boot->memory[i].base,
                                                   boot->memory[i].size_bytes / SEPTUM_PAGE_SIZE))
            return true;
    return false;
}

/* The kernel's pages in the watcher's own table: none of them may be in a hostile task's. */
static bool watchers_page(uint64_t frame)
{
    for (uint64_t base = 0;;) {
        EXPECT_OK(sys_inspect(INSPECT_TABLE, BOOT_SLOT_TASK, SPACE_HOST, base).status);
        const uint64_t *entry = thread_buffer()->output;
        if (entry[1] == 0)
            return false;
        if (of_type(entry[2], entry[1], BOOT_MEMORY_KERNEL) && entry[2] == frame)
            return true;
        base = entry[0] + entry[1];
    }
}

static void audit_memory(const struct world *world, enum space_kind space,
                         const struct world *worlds, unsigned count)
{
    for (uint64_t base = 0;;) {
        EXPECT_OK(sys_inspect(INSPECT_TABLE, world->task.task, space, base).status);
        const uint64_t *entry = thread_buffer()->output;
        uint64_t address = entry[0], size = entry[1], frame = entry[2], rights = entry[3];
        if (size == 0)
            return;
        base = address + size;
        if (own_frame(world, frame, size))
            continue;
        if (space == SPACE_HOST && lent_frame(worlds, count, address, frame, size))
            continue;
        if (of_type(frame, size, BOOT_MEMORY_ROOT) && !(rights & MAP_WRITE))
            continue; /* the program's text and constants */
        if (space == SPACE_HOST && size == SEPTUM_PAGE_SIZE &&
            of_type(frame, size, BOOT_MEMORY_KERNEL) && !watchers_page(frame))
            continue; /* a message buffer or a vCPU's state page */
        test_fail(
            __FILE__, __LINE__,
            "expected only frames of its own in a hostile task, got 0x%lx (rights %lu) at 0x%lx",
            frame, rights, address);
    }
}

static void audit_ports(const struct world *world, enum space_kind space)
{
    for (uint64_t base = 0;;) {
        EXPECT_OK(sys_inspect(INSPECT_TABLE, world->task.task, space, base).status);
        const uint64_t *entry = thread_buffer()->output;
        if (entry[1] == 0)
            return;
        CHECK(entry[0] >= FIRST_PORT && entry[0] + entry[1] <= FIRST_PORT + PORTS);
        base = entry[0] + entry[1];
    }
}

void world_audit(const struct world *world, const struct world *worlds, unsigned count)
{
    audit_memory(world, SPACE_HOST, worlds, count);
    if (boot->virtualization != BOOT_VIRT_NONE)
        audit_memory(world, SPACE_GUEST, worlds, count);
    audit_ports(world, SPACE_PORT);
    audit_ports(world, SPACE_GUEST_PORT);
}
