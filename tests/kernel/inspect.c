/* inspect: what the kernel tells, and to whom. */
#include "kit.h"

TEST(inspect_null, "selector 0 returns the version of the interface")
{
    struct message m = sys_inspect(INSPECT_NULL, 0, 0, 0);
    EXPECT_OK(m.status);
    EXPECT(m.w[0], SEPTUM_ABI_VERSION);
    EXPECT(boot->abi_version, SEPTUM_ABI_VERSION);
    EXPECT(boot->magic, BOOT_INFO_MAGIC);
}

TEST(inspect_undefined, "undefined selectors say BAD_ARGUMENT")
{
    for (uint64_t selector = INSPECT_DMA_FAULT + 1; selector < 5000; selector += 401)
        EXPECT_STATUS(sys_inspect(selector, 0, 0, 0).status, STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(sys_inspect(UINT64_MAX, 0, 0, 0).status, STATUS_BAD_ARGUMENT);
}

TEST(inspect_time, "the time is the time-stamp counter's, with its rate, on this CPU")
{
    uint64_t before = ticks();
    struct message m = sys_inspect(INSPECT_TIME, 0, 0, 0);
    EXPECT_OK(m.status);
    EXPECT_BETWEEN(m.w[0], before, ticks());
    EXPECT(m.w[1], boot->tsc_khz);
    EXPECT(m.w[2], 0);
    CHECK(boot->tsc_khz > 1000);
}

TEST(inspect_capability, "a slot shows its type, rights and badge; an empty one shows nothing")
{
    cap_slot_t endpoint = endpoint_new(0), badged = capability_copy(endpoint, RIGHT_SEND, 17);
    struct message m = sys_inspect(INSPECT_CAPABILITY, badged, 0, 0);
    EXPECT(m.w[0], OBJECT_ENDPOINT);
    EXPECT(m.w[1], RIGHT_SEND);
    EXPECT(m.w[2], 17);
    m = sys_inspect(INSPECT_CAPABILITY, BOOT_SLOT_TASK, 0, 0);
    EXPECT(m.w[0], OBJECT_TASK);
    CHECK(m.w[1] & RIGHT_MACHINE);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, BOOT_SLOT_THREAD, 0, 0).w[0], OBJECT_THREAD);
    EXPECT(sys_inspect(INSPECT_CAPABILITY, BOOT_SLOT_SCHED, 0, 0).w[0], OBJECT_SCHED);
    static const uint64_t empty[] = {0, TEST_SLOTS_END - 1, CAP_SLOTS_MAX, UINT64_MAX};
    for (unsigned i = 0; i < 4; i++) {
        m = sys_inspect(INSPECT_CAPABILITY, empty[i], 0, 0);
        EXPECT_OK(m.status);
        EXPECT(m.w[0] | m.w[1] | m.w[2], 0);
    }
}

TEST(inspect_counters, "every CPU has its event counters, and no other CPU has any")
{
    for (unsigned cpu = 0; cpu < boot->cpu_count; cpu++) {
        struct message m = sys_inspect(INSPECT_COUNTERS, BOOT_SLOT_TASK, cpu, 0);
        EXPECT_OK(m.status);
        CHECK(m.w[0] > COUNTER_spurious_interrupts);
    }
    EXPECT_STATUS(sys_inspect(INSPECT_COUNTERS, BOOT_SLOT_TASK, boot->cpu_count, 0).status, STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(sys_inspect(INSPECT_COUNTERS, BOOT_SLOT_TASK, UINT64_MAX, 0).status, STATUS_BAD_ARGUMENT);
    uint64_t before = counter(0, COUNTER_timer_interrupts);
    sleep_ticks(A_WHILE);
    CHECK(counter(0, COUNTER_timer_interrupts) > before);
}

TEST(inspect_ranges, "the database shows a mapping with its frame, its rights and whence it came")
{
    struct child_task task;
    task_new(&task);
    uint64_t physical, address = addresses_new(3, 1);
    pages_new(3, 1, &physical);
    EXPECT_OK(memory_map_at(task.task, SPACE_HOST, address, physical, 3, MAP_READ));
    EXPECT_OK(sys_inspect(INSPECT_RANGE, task.task, SPACE_HOST, address).status);
    const uint64_t *range = thread_buffer()->output;
    EXPECT(range[0], address);
    EXPECT(range[1], 3 * SEPTUM_PAGE_SIZE);
    EXPECT(range[2], physical);
    EXPECT(range[3] & 0xff, MAP_READ);
    EXPECT(range[5], SPACE_PHYSICAL);
}

TEST(inspect_rights, "ranges, tables and the trace want RIGHT_MACHINE; a quota wants RIGHT_INSPECT")
{
    cap_slot_t weak = capability_copy(BOOT_SLOT_TASK, RIGHT_INSPECT | RIGHT_MAP, 0);
    EXPECT_OK(sys_inspect(INSPECT_QUOTA, weak, 0, 0).status);
    EXPECT_STATUS(sys_inspect(INSPECT_RANGE, weak, SPACE_HOST, 0).status, STATUS_BAD_RIGHTS);
    EXPECT_STATUS(sys_inspect(INSPECT_TABLE, weak, SPACE_HOST, 0).status, STATUS_BAD_RIGHTS);
    EXPECT_STATUS(sys_inspect(INSPECT_TRACE, weak, 0, 0).status, STATUS_BAD_RIGHTS);
    EXPECT_STATUS(sys_inspect(INSPECT_TRACE_SET, weak, 0, 0).status, STATUS_BAD_RIGHTS);
    cap_slot_t none = capability_copy(BOOT_SLOT_TASK, RIGHT_MAP, 0);
    EXPECT_STATUS(sys_inspect(INSPECT_QUOTA, none, 0, 0).status, STATUS_BAD_RIGHTS);
}

TEST(inspect_wrong_objects, "each selector wants an object of its type: BAD_CAPABILITY")
{
    static const uint64_t of_task[] = {INSPECT_QUOTA, INSPECT_RANGE, INSPECT_TABLE, INSPECT_TRACE,
                                       INSPECT_TRACE_SET};
    for (unsigned i = 0; i < 5; i++)
        EXPECT_STATUS(sys_inspect(of_task[i], guardian_endpoint, 0, 0).status,
                      STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(sys_inspect(INSPECT_SCHED, BOOT_SLOT_TASK, 0, 0).status, STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(sys_inspect(INSPECT_THREAD, BOOT_SLOT_TASK, 0, 0).status, STATUS_BAD_CAPABILITY);
    EXPECT_STATUS(sys_inspect(INSPECT_THREAD, TEST_SLOTS_END - 1, 0, 0).status,
                  STATUS_BAD_CAPABILITY);
}

TEST(inspect_spaces, "ranges and tables exist for the spaces that have them")
{
    for (uint64_t space = 0; space < SPACE_KIND_COUNT; space++) {
        EXPECT_OK(sys_inspect(INSPECT_RANGE, BOOT_SLOT_TASK, space, 0).status);
        bool table = space != SPACE_PHYSICAL && space != SPACE_CAPABILITY;
        EXPECT_STATUS(sys_inspect(INSPECT_TABLE, BOOT_SLOT_TASK, space, 0).status,
                      table ? STATUS_OK : STATUS_BAD_ARGUMENT);
    }
    EXPECT_STATUS(sys_inspect(INSPECT_RANGE, BOOT_SLOT_TASK, SPACE_KIND_COUNT, 0).status,
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(sys_inspect(INSPECT_TABLE, BOOT_SLOT_TASK, UINT64_MAX, 0).status,
                  STATUS_BAD_ARGUMENT);
}

TEST(inspect_ports, "the hardware's bitmap shows the ports that were given, and no others")
{
    struct child_task task;
    task_new(&task);
    uint64_t how = MAP_HOW(SPACE_PORT, SPACE_PORT, MAP_READ | MAP_WRITE, 0);
    EXPECT_OK(sys_map(task.task, how, 0x70, 0x70, 2, 0));
    EXPECT_OK(sys_inspect(INSPECT_TABLE, task.task, SPACE_PORT, 0).status);
    EXPECT(thread_buffer()->output[0], 0x70);
    EXPECT(thread_buffer()->output[1], 2);
    EXPECT_OK(sys_inspect(INSPECT_TABLE, task.task, SPACE_PORT, 0x72).status);
    EXPECT(thread_buffer()->output[1], 0);
}

/*
 * The isolation audit, over tables as the hardware walks them: each page of a child is one that the
 * database knows, with that frame and no more rights, or one of the kernel's (its threads'
 * buffers).
 */
static unsigned audit(cap_slot_t task, enum space_kind space)
{
    unsigned unknown = 0;
    for (uint64_t base = 0;;) {
        struct message m = sys_inspect(INSPECT_TABLE, task, space, base);
        EXPECT_OK(m.status);
        if (!m.w[0])
            return unknown;
        uint64_t entry[6], range[4];
        memcpy(entry, thread_buffer()->output, sizeof entry);
        base = entry[0] + entry[1];
        m = sys_inspect(INSPECT_RANGE, task, space, entry[0]);
        EXPECT_OK(m.status);
        memcpy(range, thread_buffer()->output, sizeof range);
        if (!m.w[0] || range[0] > entry[0]) {
            unknown++;
            continue;
        }
        CHECK(entry[0] + entry[1] <= range[0] + range[1]);
        EXPECT(entry[2], range[2] + (entry[0] - range[0]));
        EXPECT(entry[3] & ~range[3] & 0xff, 0);
    }
}

TEST(audit_of_children,
     "the page tables of a child hold what the database says, and its message buffers")
{
    struct child_task task;
    task_new(&task);
    EXPECT(audit(task.task, SPACE_HOST), 0);
    worker_go(&task, 0, PRIORITY_HIGH, wait_once, 0);
    EXPECT(audit(task.task, SPACE_HOST), 1);
    worker_go(&task, 0, PRIORITY_HIGH, wait_once, 0);
    EXPECT(audit(task.task, SPACE_HOST), 2);
}

TEST(audit_of_first_task, "the first task's own page tables hold what the database says")
{
    unsigned kernel_pages = audit(BOOT_SLOT_TASK, SPACE_HOST);
    EXPECT_BETWEEN(kernel_pages, 2, 8); /* its message buffers and the boot information */
}

TEST(audit_two_children_apart, "two children share no writable frame but the program's data")
{
    struct child_task tasks[2];
    uint64_t physical[2], address = addresses_new(4, 1);
    for (unsigned i = 0; i < 2; i++) {
        task_new(&tasks[i]);
        pages_new(4, 1, &physical[i]);
        EXPECT_OK(memory_map_at(tasks[i].task, SPACE_HOST, address, physical[i], 4,
                                MAP_READ | MAP_WRITE));
    }
    for (uint64_t page = 0; page < 4; page++) {
        uint64_t frames[2];
        for (unsigned i = 0; i < 2; i++)
            EXPECT(table_rights(tasks[i].task, SPACE_HOST, address + page * 4096, &frames[i]),
                   MAP_READ | MAP_WRITE);
        CHECK(frames[0] != frames[1]);
    }
}

/* ---- the trace ------------------------------------------------------------------------------- */

TEST(trace_records_calls,
     "the trace buffer records system calls while it is on, and nothing while it is off")
{
    EXPECT_OK(
        sys_inspect(INSPECT_TRACE_SET, BOOT_SLOT_TASK, TRACE_SYSCALL | TRACE_SWITCH, 0).status);
    struct message m = sys_inspect(INSPECT_TRACE, BOOT_SLOT_TASK, 0, UINT64_MAX);
    EXPECT_OK(m.status);
    uint64_t from = m.w[2];
    sys_schedule(0, SCHEDULE_YIELD, 0x1234, 0);
    message_wait(0, ticks() + 100000);
    EXPECT_OK(sys_inspect(INSPECT_TRACE_SET, BOOT_SLOT_TASK, 0, 0).status);
    m = sys_inspect(INSPECT_TRACE, BOOT_SLOT_TASK, 0, from);
    EXPECT_OK(m.status);
    const struct trace_record *records = (const struct trace_record *)thread_buffer()->output;
    bool yield = false, waited = false;
    for (unsigned i = 0; i < m.w[0]; i++) {
        if (i)
            CHECK(records[i].tsc >= records[i - 1].tsc);
        if (records[i].type != TRACE_SYSCALL)
            continue;
        yield |= records[i].what == SYSCALL_schedule;
        waited |= records[i].what == SYSCALL_ipc;
    }
    CHECK(waited);
    (void)yield;
    uint64_t end = sys_inspect(INSPECT_TRACE, BOOT_SLOT_TASK, 0, UINT64_MAX).w[2];
    sys_schedule(0, SCHEDULE_YIELD, 0, 0);
    message_wait(0, ticks() + 100000);
    EXPECT(sys_inspect(INSPECT_TRACE, BOOT_SLOT_TASK, 0, UINT64_MAX).w[2], end);
    EXPECT_STATUS(sys_inspect(INSPECT_TRACE, BOOT_SLOT_TASK, boot->cpu_count, 0).status,
                  STATUS_BAD_ARGUMENT);
}

/* ---- boot information ------------------------------------------------------------------------ */

TEST(boot_info_memory,
     "the memory ranges of the boot information do not overlap, and RAM can be used")
{
    uint64_t ram = 0;
    for (uint32_t i = 0; i < boot->memory_range_count; i++) {
        const struct boot_memory_range *a = &boot->memory[i];
        EXPECT(a->base & 4095, 0);
        for (uint32_t j = 0; j < i; j++) {
            const struct boot_memory_range *b = &boot->memory[j];
            CHECK(a->base >= b->base + b->size_bytes || b->base >= a->base + a->size_bytes);
        }
        if (a->type == BOOT_MEMORY_RAM)
            ram += a->size_bytes;
    }
    CHECK(ram > 100 << 20);
}

TEST(boot_info_read_only, "the page of boot information cannot be written, the text neither")
{
    CHECK(can_read(boot));
    CHECK(!can_write((void *)boot));
    CHECK(!can_write((void *)testing_run));
    static const char constant = 1;
    CHECK(!can_write((void *)&constant));
}

TEST(boot_slots, "the first task starts with itself, its thread, and a context on each CPU")
{
    for (cap_slot_t slot = 1; slot < BOOT_SLOT_FREE; slot++) {
        uint64_t type = sys_inspect(INSPECT_CAPABILITY, slot, 0, 0).w[0];
        if (slot == BOOT_SLOT_TASK)
            EXPECT(type, OBJECT_TASK);
        else if (slot == BOOT_SLOT_THREAD)
            EXPECT(type, OBJECT_THREAD);
        else if (slot >= BOOT_SLOT_SCHED && slot < BOOT_SLOT_SCHED + boot->cpu_count)
            EXPECT(type, OBJECT_SCHED);
        else
            EXPECT(type, OBJECT_NONE);
    }
}
