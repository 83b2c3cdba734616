/* map and unmap of memory: what can be delegated where, and what becomes of it in the page
 * tables. */
#include "kit.h"

#define LARGE_PAGES 512u

static uint64_t map_host(cap_slot_t task, uint64_t source, uint64_t target, uint64_t pages,
                         unsigned rights)
{
    return sys_map(task, MAP_HOW(SPACE_HOST, SPACE_HOST, rights, CACHE_INHERIT), source, target,
                   pages, 0);
}

TEST(map_physical_to_host, "frames held by physical address appear at the address given")
{
    uint64_t physical, frame, address = addresses_new(4, 1);
    uint64_t *first = pages_new(4, 1, &physical);
    EXPECT_OK(
        memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, 4, MAP_READ | MAP_WRITE));
    for (uint64_t i = 0; i < 4; i++) {
        first[i * 512] = 0xaaa + i;
        EXPECT(((uint64_t *)address)[i * 512], 0xaaa + i);
        EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_HOST, address + i * 4096, &frame),
               MAP_READ | MAP_WRITE);
        EXPECT(frame, physical + i * 4096);
    }
}

TEST(map_host_to_host, "a task delegates from its own addresses to another address of its own")
{
    uint64_t address = addresses_new(1, 1);
    uint64_t *page = pages_new(1, 1, NULL);
    EXPECT_OK(map_host(BOOT_SLOT_TASK, (uint64_t)page, address, 1, MAP_READ));
    page[3] = 77;
    EXPECT(((uint64_t *)address)[3], 77);
    CHECK(can_read((void *)address));
    CHECK(!can_write((void *)address));
}

static void copy_value(struct worker *worker)
{
    volatile uint64_t *shared = (volatile uint64_t *)worker->in[0];
    worker->out[0] = shared[0];
    shared[1] = worker->in[1];
}

TEST(map_shares_memory, "two tasks share a page: each sees what the other writes")
{
    struct child_task task;
    task_new(&task);
    uint64_t address = addresses_new(1, 1);
    uint64_t *page = pages_new(1, 1, NULL);
    EXPECT_OK(map_host(task.task, (uint64_t)page, address, 1, MAP_READ | MAP_WRITE));
    page[0] = 1234;
    struct worker *worker = worker_new(&task, 0, PRIORITY_HIGH, copy_value);
    worker->in[0] = address;
    worker->in[1] = 5678;
    worker_start(worker);
    worker_join(worker);
    EXPECT(worker->out[0], 1234);
    EXPECT(page[1], 5678);
}

TEST(map_large_page, "512 aligned frames become one large page of the hardware's table")
{
    uint64_t physical = frames_take(LARGE_PAGES, LARGE_PAGES);
    uint64_t address = addresses_new(LARGE_PAGES, LARGE_PAGES);
    CHECK(physical != POOL_NONE);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, LARGE_PAGES,
                            MAP_READ | MAP_WRITE));
    EXPECT_OK(sys_inspect(INSPECT_TABLE, BOOT_SLOT_TASK, SPACE_HOST, address).status);
    EXPECT(thread_buffer()->output[0], address);
    EXPECT(thread_buffer()->output[1], LARGE_PAGES * SEPTUM_PAGE_SIZE);
    EXPECT(thread_buffer()->output[2], physical);
}

TEST(map_misaligned_not_large, "frames that are not aligned as their addresses become small pages")
{
    uint64_t physical = frames_take(LARGE_PAGES + 1, LARGE_PAGES);
    uint64_t address = addresses_new(LARGE_PAGES, LARGE_PAGES);
    CHECK(physical != POOL_NONE);
    EXPECT_OK(
        memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical + 4096, LARGE_PAGES, MAP_READ));
    EXPECT_OK(sys_inspect(INSPECT_TABLE, BOOT_SLOT_TASK, SPACE_HOST, address).status);
    EXPECT(thread_buffer()->output[1], SEPTUM_PAGE_SIZE);
    EXPECT(thread_buffer()->output[2], physical + 4096);
}

TEST(map_thousands_of_pages, "a request of 4,000 pages is done whole")
{
    uint64_t pages = 4000, physical = frames_take(pages, 1), address = addresses_new(pages, 1),
             frame;
    CHECK(physical != POOL_NONE);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, pages, MAP_READ));
    for (uint64_t i = 0; i < pages; i += 133) {
        EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_HOST, address + i * 4096, &frame), MAP_READ);
        EXPECT(frame, physical + i * 4096);
    }
    EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_HOST, address + (pages - 1) * 4096, NULL), MAP_READ);
    EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_HOST, address + pages * 4096, NULL), 0);
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, address, pages));
    EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_HOST, address, NULL), 0);
}

TEST(map_rights_shrink, "a delegation has at most the rights of its source: BAD_RIGHTS")
{
    uint64_t physical, address = addresses_new(1, 1), second = addresses_new(1, 1);
    pages_new(1, 1, &physical);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, 1, MAP_READ));
    EXPECT_STATUS(map_host(BOOT_SLOT_TASK, address, second, 1, MAP_READ | MAP_WRITE),
                  STATUS_BAD_RIGHTS);
    EXPECT_STATUS(map_host(BOOT_SLOT_TASK, address, second, 1, MAP_READ | MAP_EXECUTE),
                  STATUS_BAD_RIGHTS);
    EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_HOST, second, NULL), 0);
    EXPECT_OK(map_host(BOOT_SLOT_TASK, address, second, 1, MAP_READ));
}

TEST(map_write_only_is_odd, "rights are read, write, execute; none of them says BAD_ARGUMENT")
{
    uint64_t physical, address = addresses_new(1, 1);
    pages_new(1, 1, &physical);
    EXPECT_STATUS(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, 1, 0),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, 1, 8),
                  STATUS_BAD_ARGUMENT);
}

TEST(map_bad_addresses, "odd addresses, empty ranges and ends beyond the space say BAD_ARGUMENT")
{
    uint64_t physical, address = addresses_new(1, 1);
    pages_new(1, 1, &physical);
    const struct {
        uint64_t target, source, pages;
    } bad[] = {
        {address + 1, physical, 1},
        {address, physical + 8, 1},
        {address, physical, 0},
        {SEPTUM_USER_END, physical, 1},
        {SEPTUM_USER_END - 4096, physical, 2},
        {0xffffffff80000000, physical, 1},
        {address, physical, UINT64_MAX},
        {address, physical, 1ull << 52},
        {UINT64_MAX - 4095, physical, 1},
        {address, UINT64_MAX - 4095, 2},
        {0x0000800000000000, physical, 1},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        EXPECT_STATUS(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, bad[i].target, bad[i].source,
                                    bad[i].pages, MAP_READ),
                      STATUS_BAD_ARGUMENT);
}

TEST(map_last_user_page, "the last page of user space can be mapped; the one behind it cannot")
{
    uint64_t physical;
    pages_new(1, 1, &physical);
    EXPECT_OK(
        memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, SEPTUM_USER_END - 4096, physical, 1, MAP_READ));
    EXPECT_STATUS(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, SEPTUM_USER_END, physical, 1, MAP_READ),
                  STATUS_BAD_ARGUMENT);
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, SEPTUM_USER_END - 4096, 1));
}

TEST(map_spaces_must_fit, "memory does not become ports or capabilities, nor back")
{
    static const enum space_kind memory_kinds[] = {SPACE_PHYSICAL, SPACE_HOST, SPACE_GUEST};
    static const enum space_kind others[] = {SPACE_PORT, SPACE_GUEST_PORT, SPACE_CAPABILITY};
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned j = 0; j < 3; j++) {
            EXPECT_STATUS(sys_map(BOOT_SLOT_TASK, MAP_HOW(memory_kinds[i], others[j], MAP_READ, 0),
                                  0x100000, 200, 1, 0),
                          STATUS_BAD_ARGUMENT);
            EXPECT_STATUS(sys_map(BOOT_SLOT_TASK, MAP_HOW(others[j], memory_kinds[i], MAP_READ, 0),
                                  200, 0x100000, 1, 0),
                          STATUS_BAD_ARGUMENT);
        }
    }
    EXPECT_STATUS(sys_map(BOOT_SLOT_TASK, MAP_HOW(SPACE_KIND_COUNT, SPACE_HOST, MAP_READ, 0),
                          0x100000, 0x100000, 1, 0),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(
        sys_map(BOOT_SLOT_TASK, MAP_HOW(SPACE_HOST, 255, MAP_READ, 0), 0x100000, 0x100000, 1, 0),
        STATUS_BAD_ARGUMENT);
}

TEST(map_source_not_held, "memory that the task does not hold cannot be delegated: NO_MAPPING")
{
    uint64_t address = addresses_new(1, 1), hole = addresses_new(3, 1), physical;
    pages_new(1, 1, &physical);
    EXPECT_STATUS(map_host(BOOT_SLOT_TASK, hole, address, 1, MAP_READ), STATUS_NO_MAPPING);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, hole, physical, 1, MAP_READ));
    EXPECT_STATUS(map_host(BOOT_SLOT_TASK, hole, addresses_new(3, 1), 3, MAP_READ),
                  STATUS_NO_MAPPING);
    for (uint32_t i = 0; i < boot->memory_range_count; i++)
        if (boot->memory[i].type == BOOT_MEMORY_KERNEL)
            EXPECT_STATUS(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, boot->memory[i].base,
                                        1, MAP_READ),
                          STATUS_NO_MAPPING);
}

TEST(map_kernel_pages_stay, "message buffers and state pages cannot be delegated: NO_MAPPING")
{
    EXPECT_STATUS(map_host(BOOT_SLOT_TASK, boot->message_buffer, addresses_new(1, 1), 1, MAP_READ),
                  STATUS_NO_MAPPING);
}

TEST(map_target_taken, "nothing is mapped over a page that is mapped")
{
    uint64_t physical, frame, address = addresses_new(3, 1);
    pages_new(4, 1, &physical);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address + 4096, physical, 1, MAP_READ));
    EXPECT_STATUS(
        memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address + 4096, physical + 4096, 1, MAP_READ),
        STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical + 4096, 3, MAP_READ),
                  STATUS_BAD_ARGUMENT);
    EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_HOST, address + 4096, &frame), MAP_READ);
    EXPECT(frame, physical);
    EXPECT_STATUS(
        memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, boot->message_buffer, physical, 1, MAP_READ),
        STATUS_BAD_ARGUMENT);
}

TEST(map_task_refusals, "map checks the task's capability and RIGHT_MAP")
{
    struct child_task task;
    task_new(&task);
    uint64_t physical, address = addresses_new(1, 1);
    pages_new(1, 1, &physical);
    cap_slot_t weak = capability_copy(task.task, RIGHT_INSPECT | RIGHT_CREATE, 0);
    EXPECT_STATUS(memory_map_at(weak, SPACE_HOST, address, physical, 1, MAP_READ),
                  STATUS_BAD_RIGHTS);
    EXPECT_STATUS(sys_unmap(weak, SPACE_HOST | UNMAP_SELF, address, 1), STATUS_BAD_RIGHTS);
    EXPECT_STATUS(memory_map_at(guardian_endpoint, SPACE_HOST, address, physical, 1, MAP_READ),
                  STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(memory_map_at(TEST_SLOTS_END - 1, SPACE_HOST, address, physical, 1, MAP_READ),
                  STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(sys_unmap(TEST_SLOTS_END - 1, SPACE_HOST, address, 1), STATUS_BAD_CAPABILITY);
}

TEST(map_no_quota, "mapping without quota for tables says NO_QUOTA, and changes nothing")
{
    struct child_task task;
    task_new_with_quota(&task, 40);
    uint64_t physical, used;
    pages_new(1, 1, &physical);
    uint64_t status = STATUS_OK, mapped = 0;
    for (; mapped < 64 && status == STATUS_OK; mapped++)
        status = memory_map_at(task.task, SPACE_HOST, 0x400000000000 + (mapped << 30), physical, 1,
                               MAP_READ);
    EXPECT_STATUS(status, STATUS_NO_QUOTA);
    used = sys_inspect(INSPECT_QUOTA, task.task, 0, 0).w[1];
    for (unsigned i = 0; i < 10; i++)
        EXPECT_STATUS(memory_map_at(task.task, SPACE_HOST, 0x500000000000, physical, 1, MAP_READ),
                      STATUS_NO_QUOTA);
    EXPECT(sys_inspect(INSPECT_QUOTA, task.task, 0, 0).w[1], used);
    EXPECT_OK(sys_unmap(task.task, SPACE_HOST | UNMAP_SELF, 0x400000000000, 1ull << 24));
    EXPECT_OK(memory_map_at(task.task, SPACE_HOST, 0x500000000000, physical, 1, MAP_READ));
}

/* in[0]: its own task, in[1]: a frame that it holds, in[2]: where to map it. */
static void map_for_itself(struct worker *worker)
{
    uint64_t how = MAP_HOW(SPACE_PHYSICAL, SPACE_HOST, MAP_READ, CACHE_INHERIT);
    worker->out[0] = sys_map(worker->in[0], how, worker->in[1], worker->in[2], 1, 0);
    worker->out[1] = sys_map(worker->in[0], how, worker->in[1] + 4096, worker->in[2] + 4096, 1, 0);
}

TEST(map_physical_to_task,
     "frames can be given by physical address to a task, which maps them itself")
{
    struct child_task task;
    task_new(&task);
    uint64_t physical, address = addresses_new(1, 1), frame;
    pages_new(1, 1, &physical);
    EXPECT_OK(
        memory_map_at(task.task, SPACE_PHYSICAL, physical, physical, 1, MAP_READ | MAP_WRITE));
    task_give(&task, task.task, RIGHTS_ALL & ~RIGHT_MACHINE, 0);
    struct worker *worker = worker_new(&task, 0, PRIORITY_HIGH, map_for_itself);
    worker->in[0] = task.task;
    worker->in[1] = physical;
    worker->in[2] = address;
    worker_start(worker);
    worker_join(worker);
    EXPECT_OK(worker->out[0]);
    EXPECT_STATUS(worker->out[1], STATUS_NO_MAPPING);
    EXPECT(table_rights(task.task, SPACE_HOST, address, &frame), MAP_READ);
    EXPECT(frame, physical);
}

TEST(map_physical_moves_not,
     "in SPACE_PHYSICAL frames keep their addresses: others say BAD_ARGUMENT")
{
    struct child_task task;
    task_new(&task);
    uint64_t physical;
    pages_new(2, 1, &physical);
    EXPECT_STATUS(memory_map_at(task.task, SPACE_PHYSICAL, physical + 4096, physical, 1, MAP_READ),
                  STATUS_BAD_ARGUMENT);
}

TEST(map_guest_space, "memory can be mapped into a task's guest-physical space, apart from its own")
{
    uint64_t physical, frame;
    pages_new(1, 1, &physical);
    uint64_t status = memory_map_at(BOOT_SLOT_TASK, SPACE_GUEST, 0x5000, physical, 1, MAP_RIGHTS);
    if (boot->virtualization == BOOT_VIRT_NONE) {
        EXPECT_STATUS(status, STATUS_NOT_SUPPORTED);
        return;
    }
    EXPECT_OK(status);
    EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_GUEST, 0x5000, &frame), MAP_RIGHTS);
    EXPECT(frame, physical);
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_GUEST | UNMAP_SELF, 0x5000, 1));
    EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_GUEST, 0x5000, NULL), 0);
}

static void wait_for_dma(struct worker *worker)
{
    window_open(SPACE_DMA, 0x5000, 16);
    wait_once(worker);
}

TEST(map_dma_space,
     "with an IOMMU memory can be mapped into DMA space, in map and in items; else NOT_SUPPORTED")
{
    uint64_t physical, expected = boot->dma_confined ? STATUS_OK : STATUS_NOT_SUPPORTED;
    pages_new(1, 1, &physical);
    EXPECT_STATUS(sys_map(BOOT_SLOT_TASK, MAP_HOW(SPACE_PHYSICAL, SPACE_DMA, MAP_READ, 0), physical,
                          0x4000, 1, 0),
                  expected);
    EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_DMA, 0x4000, NULL),
           boot->dma_confined ? MAP_READ : 0);
    cap_slot_t endpoint = endpoint_new(0);
    struct worker *worker = worker_new(NULL, 0, PRIORITY_HIGH, wait_for_dma);
    worker->in[0] = endpoint;
    worker_start(worker);
    thread_buffer()->items[0] = item_memory(SPACE_PHYSICAL, physical, SPACE_DMA, 0, 1, MAP_READ);
    EXPECT_STATUS(message_send(endpoint, TAG(0, 0, 1), NULL, DEADLINE_POLL), expected);
    EXPECT(table_rights(BOOT_SLOT_TASK, SPACE_DMA, 0x5000, NULL),
           boot->dma_confined ? MAP_READ : 0);
}

TEST(map_device_memory, "device memory is mapped uncached; RAM is not")
{
    uint64_t physical;
    void *page = pages_new(1, 1, &physical);
    EXPECT_OK(sys_inspect(INSPECT_TABLE, BOOT_SLOT_TASK, SPACE_HOST, (uint64_t)page).status);
    EXPECT(thread_buffer()->output[4], CACHE_INHERIT);
    for (uint32_t i = 0; i < boot->memory_range_count; i++) {
        if (boot->memory[i].type != BOOT_MEMORY_DEVICE)
            continue;
        uint64_t address = addresses_new(1, 1);
        EXPECT_OK(
            memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, boot->memory[i].base, 1, MAP_READ));
        EXPECT_OK(sys_inspect(INSPECT_TABLE, BOOT_SLOT_TASK, SPACE_HOST, address).status);
        EXPECT(thread_buffer()->output[4], CACHE_UNCACHED);
        EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, address, 1));
        break;
    }
}

TEST(map_cache_attributes, "memory has one cache attribute for all; device memory may be made "
                           "write-combining")
{
    uint64_t physical, address = addresses_new(1, 1);
    pages_new(1, 1, &physical);
    for (uint64_t cache = CACHE_UNCACHED; cache <= 3; cache++)
        EXPECT_STATUS(sys_map(BOOT_SLOT_TASK, MAP_HOW(SPACE_PHYSICAL, SPACE_HOST, MAP_READ, cache),
                              physical, address, 1, 0),
                      STATUS_BAD_ARGUMENT);
    for (uint32_t i = 0; i < boot->memory_range_count; i++) {
        if (boot->memory[i].type != BOOT_MEMORY_DEVICE)
            continue;
        EXPECT_OK(sys_map(BOOT_SLOT_TASK,
                          MAP_HOW(SPACE_PHYSICAL, SPACE_HOST, MAP_READ, CACHE_WRITE_COMBINING),
                          boot->memory[i].base, address, 1, 0));
        EXPECT_OK(sys_inspect(INSPECT_TABLE, BOOT_SLOT_TASK, SPACE_HOST, address).status);
        EXPECT(thread_buffer()->output[4], CACHE_WRITE_COMBINING);
        EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, address, 1));
        break;
    }
}
