/* unmap: complete and recursive, for memory, ports and capabilities, also of a part. */
#include "kit.h"

static uint64_t unmap(cap_slot_t task, uint64_t how, uint64_t base, uint64_t count)
{
    return sys_unmap(task, how, base, count);
}

static uint64_t map_host(cap_slot_t task, uint64_t source, uint64_t target, uint64_t pages)
{
    return sys_map(task, MAP_HOW(SPACE_HOST, SPACE_HOST, MAP_READ, CACHE_INHERIT), source, target,
                   pages, 0);
}

static bool mapped(cap_slot_t task, uint64_t address)
{
    return table_rights(task, SPACE_HOST, address, NULL) != 0;
}

/* Three tasks below the first: each got the pages at `address` from the one before it. The workers
 * do that by themselves, as map delegates from the caller. */
static void pass_on(struct worker *worker)
{
    worker->out[0] =
        map_host((cap_slot_t)worker->in[0], worker->in[1], worker->in[1], worker->in[2]);
}

struct chain {
    struct child_task tasks[3];
    uint64_t address, physical, pages;
};

static void chain_new(struct chain *chain, uint64_t pages, uint64_t alignment)
{
    chain->pages = pages;
    chain->address = addresses_new(pages, alignment);
    chain->physical = frames_take(pages, alignment);
    CHECK(chain->physical != POOL_NONE);
    for (unsigned i = 0; i < 3; i++)
        task_new(&chain->tasks[i]);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, chain->address, chain->physical, pages,
                            MAP_READ));
    EXPECT_OK(map_host(chain->tasks[0].task, chain->address, chain->address, pages));
    for (unsigned i = 0; i < 2; i++) {
        task_give(&chain->tasks[i], chain->tasks[i + 1].task, RIGHT_MAP, 0);
        struct worker *worker = worker_new(&chain->tasks[i], 0, PRIORITY_HIGH, pass_on);
        worker->in[0] = chain->tasks[i + 1].task;
        worker->in[1] = chain->address;
        worker->in[2] = pages;
        worker_start(worker);
        worker_join(worker);
        EXPECT_OK(worker->out[0]);
    }
    for (unsigned i = 0; i < 3; i++)
        CHECK(mapped(chain->tasks[i].task, chain->address + (pages - 1) * 4096));
}

TEST(unmap_takes_back_descendants,
     "taking back a page takes it from child, grandchild and their child")
{
    struct chain chain;
    chain_new(&chain, 1, 1);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_HOST, chain.address, 1));
    for (unsigned i = 0; i < 3; i++)
        CHECK(!mapped(chain.tasks[i].task, chain.address));
    CHECK(mapped(BOOT_SLOT_TASK, chain.address)); /* without UNMAP_SELF it stays */
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, chain.address, 1));
    CHECK(!mapped(BOOT_SLOT_TASK, chain.address));
}

TEST(unmap_from_the_frames, "taking back frames by physical address takes every mapping of them")
{
    struct chain chain;
    chain_new(&chain, 4, 1);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_PHYSICAL, chain.physical, 4));
    CHECK(!mapped(BOOT_SLOT_TASK, chain.address));
    for (unsigned i = 0; i < 3; i++)
        CHECK(!mapped(chain.tasks[i].task, chain.address + 3 * 4096));
}

TEST(unmap_in_the_middle, "who takes back from a descendant leaves those above it alone")
{
    struct chain chain;
    chain_new(&chain, 1, 1);
    EXPECT_OK(unmap(chain.tasks[1].task, SPACE_HOST | UNMAP_SELF, chain.address, 1));
    CHECK(mapped(chain.tasks[0].task, chain.address));
    CHECK(!mapped(chain.tasks[1].task, chain.address));
    CHECK(!mapped(chain.tasks[2].task, chain.address));
}

TEST(unmap_part_of_range, "taking back some pages of a range leaves the others, at every level")
{
    struct chain chain;
    chain_new(&chain, 16, 1);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_HOST, chain.address + 5 * 4096, 3));
    for (unsigned i = 0; i < 3; i++)
        for (uint64_t page = 0; page < 16; page++)
            EXPECT(mapped(chain.tasks[i].task, chain.address + page * 4096), page < 5 || page >= 8);
}

TEST(unmap_every_other_page, "a range can be taken back page by page, in any order")
{
    struct chain chain;
    chain_new(&chain, 16, 1);
    for (uint64_t i = 0; i < 16; i += 2)
        EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_PHYSICAL, chain.physical + i * 4096, 1));
    for (uint64_t i = 0; i < 16; i++)
        EXPECT(mapped(chain.tasks[2].task, chain.address + i * 4096), i & 1);
    for (uint64_t i = 15; i < 16; i -= 2)
        EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, chain.address + i * 4096, 1));
    for (uint64_t i = 0; i < 16; i++)
        CHECK(!mapped(chain.tasks[0].task, chain.address + i * 4096));
}

TEST(unmap_part_of_large_page,
     "taking back one page out of a large one leaves the other 511, at each level")
{
    struct chain chain;
    chain_new(&chain, 512, 512);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_HOST, chain.address + 100 * 4096, 1));
    for (unsigned i = 0; i < 3; i++) {
        CHECK(mapped(chain.tasks[i].task, chain.address + 99 * 4096));
        CHECK(!mapped(chain.tasks[i].task, chain.address + 100 * 4096));
        CHECK(mapped(chain.tasks[i].task, chain.address + 101 * 4096));
        CHECK(mapped(chain.tasks[i].task, chain.address + 511 * 4096));
    }
    CHECK(mapped(BOOT_SLOT_TASK, chain.address + 100 * 4096));
}

TEST(unmap_large_without_quota,
     "without quota to split a large page unmap succeeds: more goes, never less")
{
    struct child_task task;
    task_new_with_quota(&task, 60);
    uint64_t physical = frames_take(512, 512), address = addresses_new(512, 512), filler;
    CHECK(physical != POOL_NONE);
    pages_new(1, 1, &filler);
    EXPECT_OK(memory_map_at(task.task, SPACE_HOST, address, physical, 512, MAP_READ));
    uint64_t status = STATUS_OK;
    for (uint64_t i = 0; i < 64 && status == STATUS_OK; i++)
        status =
            memory_map_at(task.task, SPACE_HOST, 0x400000000000 + (i << 30), filler, 1, MAP_READ);
    EXPECT_STATUS(status, STATUS_NO_QUOTA);
    /* What is left are pages too few for two tables: capabilities take them one by one. */
    status = STATUS_OK;
    for (uint64_t slot = 64; slot < 512 && status == STATUS_OK; slot += 64)
        status = sys_map(task.task, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0),
                         guardian_endpoint, slot, 1, 0);
    EXPECT_STATUS(status, STATUS_NO_QUOTA);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_PHYSICAL, physical + 7 * 4096, 1));
    CHECK(!mapped(task.task, address + 7 * 4096));
}

TEST(unmap_nothing_there, "taking back what is not there is no error")
{
    uint64_t address = addresses_new(8, 1);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, address, 8));
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_PORT, 0, 65536));
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, TEST_SLOTS_FIRST, 16));
}

TEST(unmap_arguments, "unmap checks space, alignment, ends and flags")
{
    static const struct {
        uint64_t how, base, count;
    } bad[] = {
        {SPACE_KIND_COUNT, 0, 1},
        {255, 0, 1},
        {SPACE_HOST, 1, 1},
        {SPACE_HOST, 0x1000, 0},
        {SPACE_HOST, 0x1000, 1ull << 52},
        {SPACE_HOST, UINT64_MAX - 4095, 1},
        {SPACE_PORT, 65536, 1},
        {SPACE_PORT, 1, 65536},
        {SPACE_HOST | 1 << 12, 0x1000, 1},
        {SPACE_CAPABILITY, CAP_SLOTS_MAX, 1},
    };
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
        EXPECT_STATUS(unmap(BOOT_SLOT_TASK, bad[i].how, bad[i].base, bad[i].count),
                      STATUS_BAD_ARGUMENT);
}

static void read_forever(struct worker *worker)
{
    for (;;) {
        worker->out[0] += *(volatile uint64_t *)worker->in[0];
        worker->step++;
    }
}

/* A thread on that CPU that reads the page there for ever, has begun, and tells the endpoint of its fault. */
static struct worker *reader_go(unsigned cpu, uint64_t address, cap_slot_t endpoint)
{
    struct worker *worker = worker_new(NULL, cpu, PRIORITY_LOW, read_forever);
    worker->in[0] = address;
    worker_watch(worker, endpoint);
    worker_start(worker);
    worker_await_step(worker, 1);
    return worker;
}

TEST(unmap_is_effective,
     "a page that was taken back cannot be read by a thread that has just read it")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint64_t physical, address = addresses_new(1, 1);
    pages_new(1, 1, &physical);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, 1, MAP_READ));
    struct worker *worker = reader_go(0, address, endpoint);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, address, 1));
    uint64_t step = worker->step;
    struct message m = message_wait(endpoint, far_deadline());
    EXPECT_OK(m.status);
    EXPECT(TAG_ORIGIN(m.tag), ORIGIN_PAGE_FAULT);
    EXPECT_BETWEEN(worker->step, step, step + 1); /* it may have read before, and count after */
}

TEST_SMP(unmap_is_effective_elsewhere,
         "when unmap returns, a thread on another CPU can use the page no more")
{
    cap_slot_t endpoint = endpoint_new(0);
    uint64_t physical, address = addresses_new(1, 1);
    pages_new(1, 1, &physical);
    for (unsigned round = 0; round < 20; round++) {
        EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, physical, 1, MAP_READ));
        struct worker *worker = reader_go(1, address, endpoint);
        EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, address, 1));
        uint64_t step = worker->step;
        spin_ticks(20000);
        CHECK(worker->step <= step + 1); /* one read may have been done and not yet counted */
        EXPECT_OK(message_wait(endpoint, far_deadline()).status);
        child_thread_destroy(&worker->thread);
    }
}

/* ---- capabilities ---------------------------------------------------------------------------- */

static enum object_type type_in(cap_slot_t slot)
{
    return (enum object_type)sys_inspect(INSPECT_CAPABILITY, slot, 0, 0).w[0];
}

TEST(unmap_capability_descendants,
     "taking back a capability empties the slots of all copies made from it")
{
    cap_slot_t endpoint = endpoint_new(0);
    cap_slot_t child = capability_copy(endpoint, RIGHT_SEND | RIGHT_RECEIVE | RIGHT_BADGE, 0);
    cap_slot_t grandchild = capability_copy(child, RIGHT_SEND, 5);
    cap_slot_t sibling = capability_copy(endpoint, RIGHT_SEND, 0);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY, child, 1));
    EXPECT(type_in(child), OBJECT_ENDPOINT);
    EXPECT(type_in(grandchild), OBJECT_NONE);
    EXPECT(type_in(sibling), OBJECT_ENDPOINT);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY, endpoint, 1));
    EXPECT(type_in(child), OBJECT_NONE);
    EXPECT(type_in(sibling), OBJECT_NONE);
    EXPECT(type_in(endpoint), OBJECT_ENDPOINT);
}

TEST(unmap_capability_tree, "so it does with copies of copies of copies, however they branch")
{
    cap_slot_t slots[15] = {endpoint_new(0)};
    for (unsigned i = 1; i < 15; i++)
        slots[i] = capability_copy(slots[(i - 1) / 2], RIGHT_SEND | RIGHT_BADGE, 0);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY, slots[1], 1));
    for (unsigned i = 0; i < 15; i++) {
        unsigned above = i;
        while (above > 1 && above != 2)
            above = (above - 1) / 2;
        EXPECT(type_in(slots[i]), i > 2 && above == 1 ? OBJECT_NONE : OBJECT_ENDPOINT);
    }
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY, slots[0], 1));
    for (unsigned i = 0; i < 15; i++)
        EXPECT(type_in(slots[i]), i ? OBJECT_NONE : OBJECT_ENDPOINT);
}

TEST(unmap_capability_of_other_task,
     "a delegated capability is taken back out of the other task's space")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t endpoint = endpoint_new(0);
    task_give(&task, endpoint, RIGHT_RECEIVE, 0);
    struct worker *worker = worker_go(&task, 0, PRIORITY_HIGH, echo_server, endpoint);
    EXPECT_OK(message_call(endpoint, TAG(1, 0, 0), NULL, far_deadline()).status);
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY, endpoint, 1));
    /* It is still waiting, but its reply_wait finds no capability, and so does nothing. */
    EXPECT_STATUS(message_call(endpoint, TAG(1, 0, 0), NULL, ticks() + 4 * A_WHILE).status,
                  STATUS_TIMEOUT);
    worker_join(worker);
    EXPECT_STATUS(worker->message.status, STATUS_BAD_CAPABILITY);
}

TEST(unmap_capability_range, "a range of slots is emptied in one call")
{
    cap_slot_t first = slot_new();
    for (unsigned i = 1; i < 40; i++)
        slot_new();
    for (cap_slot_t slot = first; slot < first + 40; slot++)
        EXPECT_OK(sys_create(slot, OBJECT_ENDPOINT, BOOT_SLOT_TASK, 0, 0, 0));
    EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, first + 10, 20));
    for (cap_slot_t slot = first; slot < first + 40; slot++)
        EXPECT(type_in(slot),
               slot >= first + 10 && slot < first + 30 ? OBJECT_NONE : OBJECT_ENDPOINT);
}

TEST(unmap_slot_reused, "an emptied slot can be filled again at once")
{
    cap_slot_t slot = slot_new();
    for (unsigned i = 0; i < 50; i++) {
        EXPECT_OK(sys_create(slot, i & 1 ? OBJECT_ENDPOINT : OBJECT_NOTIFICATION, BOOT_SLOT_TASK, 0,
                             0, 0));
        EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_CAPABILITY | UNMAP_SELF, slot, 1));
        EXPECT(type_in(slot), OBJECT_NONE);
    }
}

TEST(unmap_copy_keeps_object,
     "an object lives as long as its first capability, whatever becomes of copies")
{
    cap_slot_t endpoint = endpoint_new(0), copy = capability_copy(endpoint, RIGHT_SEND, 0);
    slot_clear(copy);
    struct worker *worker = worker_go(NULL, 0, PRIORITY_HIGH, wait_once, endpoint);
    EXPECT(worker->step, 0);
    EXPECT_OK(message_send(endpoint, 0, NULL, DEADLINE_POLL));
    EXPECT_OK(worker->message.status);
}

TEST(map_capability_refusals, "delegating capabilities checks the source, the slot and the rights")
{
    cap_slot_t endpoint = endpoint_new(0), slot = slot_new();
    cap_slot_t send_only = capability_copy(endpoint, RIGHT_SEND, 0);
    uint64_t how = MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0);
    uint64_t all = MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND | RIGHT_RECEIVE, 0);
    EXPECT_STATUS(sys_map(BOOT_SLOT_TASK, how, endpoint, send_only, 1, 0), STATUS_BAD_SLOT);
    EXPECT_STATUS(sys_map(BOOT_SLOT_TASK, how, endpoint, 0, 1, 0), STATUS_BAD_SLOT);
    EXPECT_STATUS(sys_map(BOOT_SLOT_TASK, how, endpoint, CAP_SLOTS_MAX, 1, 0), STATUS_BAD_SLOT);
    uint64_t status = sys_map(BOOT_SLOT_TASK, how, TEST_SLOTS_END - 1, slot, 1, 0);
    EXPECT_STATUS(status, STATUS_NO_MAPPING);
    EXPECT_STATUS(sys_map(BOOT_SLOT_TASK, all, send_only, slot, 1, 0), STATUS_BAD_RIGHTS);
    EXPECT(type_in(slot), OBJECT_NONE);
}

TEST(map_capability_range, "several capabilities are delegated in one call")
{
    struct child_task task;
    task_new(&task);
    cap_slot_t first = slot_new();
    for (unsigned i = 1; i < 10; i++)
        slot_new();
    for (cap_slot_t slot = first; slot < first + 10; slot++)
        EXPECT_OK(sys_create(slot, OBJECT_NOTIFICATION, BOOT_SLOT_TASK, 0, 0, 0));
    EXPECT_OK(sys_map(task.task, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0), first,
                      first, 10, 0));
    struct worker *worker = worker_new(&task, 0, PRIORITY_HIGH, send_once);
    worker->in[0] = first + 7;
    worker->in[3] = 1;
    worker_start(worker);
    EXPECT_OK(message_wait(first + 7, DEADLINE_POLL).status);
}

/* ---- ports ----------------------------------------------------------------------------------- */

static void read_port_forever(struct worker *worker)
{
    for (;;) {
        uint8_t value;
        __asm__ volatile("inb %1, %0" : "=a"(value) : "d"((uint16_t)worker->in[0]));
        worker->out[0] = value;
        worker->step++;
    }
}

TEST(unmap_ports, "a port that was taken back can be used no more, on no CPU")
{
    for (unsigned cpu = 0; cpu < boot->cpu_count && cpu < 2; cpu++) {
        struct child_task task;
        task_new(&task);
        cap_slot_t endpoint = endpoint_new(0);
        task_give(&task, endpoint, RIGHT_SEND, 0);
        uint64_t how = MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0);
        EXPECT_OK(sys_map(task.task, how, 0x80, 0x80, 1, 0));
        struct worker *worker = worker_new(&task, cpu, PRIORITY_LOW, read_port_forever);
        worker->in[0] = 0x80;
        worker_watch(worker, endpoint);
        worker_start(worker);
        worker_await_step(worker, 1);
        EXPECT_OK(unmap(BOOT_SLOT_TASK, SPACE_PORT, 0x80, 1));
        uint64_t step = worker->step;
        spin_ticks(20000);
        CHECK(worker->step <= step + 1);
        struct message m = message_wait(endpoint, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(m.w[0], 13);
    }
}

static void map_foreign_port(struct worker *worker)
{
    worker->out[0] = sys_map(
        worker->in[0], MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0), 0x80, 0x80, 1, 0);
}

TEST(map_port_refusals, "ports keep their numbers, and must be held")
{
    struct child_task task;
    task_new(&task);
    uint64_t how = MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0);
    EXPECT_STATUS(sys_map(task.task, how, 0x80, 0x81, 1, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(sys_map(task.task, how, 65535, 65535, 2, 0), STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(sys_map(task.task, how, 0x80, 0x80, 0, 0), STATUS_BAD_ARGUMENT);
    task_give(&task, task.task, RIGHT_MAP, 0);
    struct worker *worker = worker_new(&task, 0, PRIORITY_HIGH, map_foreign_port);
    worker->in[0] = task.task;
    worker_start(worker);
    worker_join(worker);
    EXPECT_STATUS(worker->out[0], STATUS_NO_MAPPING);
}
