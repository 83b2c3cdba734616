/* links: tests/unit/kernel_stubs.c microvisor/core/frames.c microvisor/core/quota.c
 *        microvisor/core/tree.c microvisor/core/capability.c microvisor/core/table.c
 *        microvisor/core/mapping.c microvisor/core/revoke.c
 *        microvisor/core/task.c microvisor/core/inspect.c microvisor/virt/ept.c
 *        microvisor/x86/paging_format.c */
#include "unit_test.h"

#include "core/sched.h"
#include "core/syscall.h"
#include "core/trace.h"
#include "kernel_stubs.h"
#include "virt/vcpu.h"
#include "x86/processor.h"

#define HOW(from, to, rights) MAP_HOW(from, to, rights, CACHE_INHERIT)
#define HOST_AT               0x40000000ull
#define CHILD                 10 /* slot of the child task */

static struct task *child;

static void start(void)
{
    stub_start(2048);
    child = stub_task(CHILD, 300);
}

static enum septum_status root_to_host(uint64_t source, uint64_t target, uint64_t pages,
                                       unsigned rights)
{
    return stub_map(stub_root, 0, HOW(SPACE_PHYSICAL, SPACE_HOST, rights), source, target, pages,
                    0);
}

static const char *check(void)
{
    struct task *tasks[] = {stub_root, child};
    return stub_check(tasks, 2);
}

TEST(map_physical_to_host, "frames held by number appear at host addresses, as the table says")
{
    start();
    EXPECT(root_to_host(STUB_RAM + 0x5000, HOST_AT, 3, RW), STATUS_OK);
    EXPECT(stub_thread.registers.rdx, 3);
    struct table_entry entry = stub_look(&stub_root->host, HOST_AT + 0x2000);
    EXPECT(entry.frame, STUB_RAM + 0x7000);
    EXPECT(entry.rights, RW);
    EXPECT(entry.cache, CACHE_INHERIT);
    EXPECT(check(), NULL);
}

TEST(map_chain, "frames go on from host to guest and host spaces of other tasks, with fewer rights")
{
    start();
    EXPECT(root_to_host(STUB_RAM, HOST_AT, 16, MAP_RIGHTS), STATUS_OK);
    EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_HOST, SPACE_HOST, RW), HOST_AT, 0x1000, 16, 0),
           STATUS_OK);
    EXPECT(stub_map(child, 0, HOW(SPACE_HOST, SPACE_GUEST, MAP_READ), 0x3000, 0, 2, 0), STATUS_OK);
    EXPECT(stub_look(&child->guest, 0x1000).frame, STUB_RAM + 0x3000);
    EXPECT(stub_look(&child->guest, 0x1000).rights, MAP_READ);
    EXPECT(stub_map(child, 0, HOW(SPACE_GUEST, SPACE_HOST, MAP_READ), 0x1000, 0x100000, 1, 0),
           STATUS_OK);
    EXPECT(stub_look(&child->host, 0x100000).frame, STUB_RAM + 0x3000);
    EXPECT(check(), NULL);
}

TEST(map_rights_never_grow, "no delegation has a right that its source has not")
{
    start();
    for (unsigned have = MAP_READ; have <= MAP_RIGHTS; have += 2) {
        uint64_t source = HOST_AT + have * 0x1000;
        EXPECT(root_to_host(STUB_RAM, source, 1, have), STATUS_OK);
        for (unsigned want = MAP_READ; want <= MAP_RIGHTS; want += 2) {
            uint64_t target = 0x10000 + (have * 8 + want) * 0x1000;
            EXPECT(
                stub_map(stub_root, CHILD, HOW(SPACE_HOST, SPACE_HOST, want), source, target, 1, 0),
                want & ~have ? STATUS_BAD_RIGHTS : STATUS_OK);
            EXPECT(stub_look(&child->host, target).rights, want & ~have ? 0 : want);
        }
    }
    EXPECT(check(), NULL);
}

TEST(map_bad_arguments, "every undefined argument is refused, and changes nothing")
{
    static const struct {
        unsigned from, to, rights, cache;
        uint64_t source, target, count;
        enum septum_status status;
    } cases[] = {
        {SPACE_PHYSICAL, SPACE_HOST, 0, 0, STUB_RAM, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, MAP_WRITE, 0, STUB_RAM, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, 9, 0, STUB_RAM, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 3, STUB_RAM, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 1, STUB_RAM, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 2, STUB_RAM, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM + 1, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM, HOST_AT + 8, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM, HOST_AT, 0, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM, 0, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM, SEPTUM_USER_END, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM, SEPTUM_USER_END - 4096, 2,
         STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM, 1ull << 47, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM, ~0xfffull, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM, HOST_AT, UINT64_MAX, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM, HOST_AT, 1ull << 52, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, ~0xfffull, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_GUEST, RW, 0, STUB_RAM, 1ull << 48, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_PHYSICAL, RW, 0, STUB_RAM, STUB_RAM + 0x1000, 1,
         STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_DMA, RW, 0, STUB_RAM, HOST_AT, 1, STATUS_NOT_SUPPORTED},
        {SPACE_DMA, SPACE_HOST, RW, 0, STUB_RAM, HOST_AT, 1, STATUS_NOT_SUPPORTED},
        {SPACE_PHYSICAL, SPACE_PORT, RW, 0, STUB_RAM, 0, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PORT, SPACE_HOST, RW, 0, 0x60, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PORT, SPACE_CAPABILITY, RW, 0, 0x60, 5, 1, STATUS_BAD_ARGUMENT},
        {SPACE_CAPABILITY, SPACE_PORT, RW, 0, 5, 5, 1, STATUS_BAD_ARGUMENT},
        {SPACE_GUEST_PORT, SPACE_PORT, RW, 0, 5, 5, 1, STATUS_BAD_ARGUMENT},
        {SPACE_KIND_COUNT, SPACE_HOST, RW, 0, STUB_RAM, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_KIND_COUNT, RW, 0, STUB_RAM, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {255, 255, RW, 0, STUB_RAM, HOST_AT, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PORT, SPACE_PORT, MAP_READ, 0, 0x60, 0x60, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PORT, SPACE_PORT, RW, 0, 0x60, 0x61, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PORT, SPACE_PORT, RW, 0, 0xffff, 0xffff, 2, STATUS_BAD_ARGUMENT},
        {SPACE_PORT, SPACE_PORT, RW, 0, 0x10000, 0x10000, 1, STATUS_BAD_ARGUMENT},
        {SPACE_PORT, SPACE_PORT, RW, 0, 5, 5, UINT64_MAX, STATUS_BAD_ARGUMENT},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM - 0x1000, HOST_AT, 1, STATUS_NO_MAPPING},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM + STUB_RAM_SIZE, HOST_AT, 1,
         STATUS_NO_MAPPING},
        {SPACE_HOST, SPACE_HOST, RW, 0, HOST_AT, HOST_AT, 1, STATUS_NO_MAPPING},
        {SPACE_PHYSICAL, SPACE_HOST, RW, 0, STUB_RAM + STUB_RAM_SIZE - 0x1000, HOST_AT, 2,
         STATUS_NO_MAPPING},
        {SPACE_PHYSICAL, SPACE_HOST, MAP_RIGHTS, 0, STUB_DEVICE, HOST_AT, 1, STATUS_BAD_RIGHTS},
    };
    start();
    uint32_t used = child->quota.used;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        EXPECT(stub_map(stub_root, CHILD,
                        MAP_HOW(cases[i].from, cases[i].to, cases[i].rights, cases[i].cache),
                        cases[i].source, cases[i].target, cases[i].count, 0),
               cases[i].status);
        EXPECT(stub_thread.registers.rdx, 0);
        EXPECT(check(), NULL);
        EXPECT(child->quota.used, used);
    }
}

TEST(map_no_virtualization, "without VT-x or AMD-V guest spaces are not supported")
{
    const struct vcpu_ops *ops = vcpu_ops;
    start();
    vcpu_ops = NULL;
    enum septum_status memory =
        stub_map(stub_root, CHILD, HOW(SPACE_PHYSICAL, SPACE_GUEST, RW), STUB_RAM, 0, 1, 0);
    enum septum_status ports =
        stub_map(stub_root, CHILD, HOW(SPACE_PORT, SPACE_GUEST_PORT, RW), 0x60, 0x60, 1, 0);
    vcpu_ops = ops;
    EXPECT(memory, STATUS_NOT_SUPPORTED);
    EXPECT(ports, STATUS_NOT_SUPPORTED);
}

TEST(map_never_overwrites,
     "a target that is not free, at either end or within, is refused as a whole")
{
    start();
    EXPECT(root_to_host(STUB_RAM, HOST_AT + 0x4000, 4, RW), STATUS_OK);
    EXPECT(root_to_host(STUB_RAM, HOST_AT + 0x1000, 4, RW), STATUS_BAD_ARGUMENT);
    EXPECT(root_to_host(STUB_RAM, HOST_AT + 0x7000, 4, RW), STATUS_BAD_ARGUMENT);
    EXPECT(root_to_host(STUB_RAM, HOST_AT + 0x5000, 1, RW), STATUS_BAD_ARGUMENT);
    EXPECT(root_to_host(STUB_RAM, HOST_AT, 16, RW), STATUS_BAD_ARGUMENT);
    EXPECT(root_to_host(STUB_RAM, HOST_AT, 4, RW), STATUS_OK);
    EXPECT(root_to_host(STUB_RAM, HOST_AT + 0x8000, 4, RW), STATUS_OK);
    EXPECT(check(), NULL);
}

TEST(map_over_kernel_page,
     "a message buffer's address is in use: nothing is mapped over or around it")
{
    start();
    void *page = quota_alloc_pages(&child->quota, 0);
    EXPECT(task_map_kernel_page(child, 0x205000, page), STATUS_OK);
    EXPECT(stub_look(&child->host, 0x205000).frame, frame_physical(page));
    EXPECT(
        stub_map(stub_root, CHILD, HOW(SPACE_PHYSICAL, SPACE_HOST, RW), STUB_RAM, 0x204000, 3, 0),
        STATUS_BAD_ARGUMENT);
    EXPECT(
        stub_map(stub_root, CHILD, HOW(SPACE_PHYSICAL, SPACE_HOST, RW), STUB_RAM, 0x200000, 512, 0),
        STATUS_BAD_ARGUMENT);
    EXPECT(
        stub_map(stub_root, CHILD, HOW(SPACE_PHYSICAL, SPACE_HOST, RW), STUB_RAM, 0x204000, 1, 0),
        STATUS_OK);
    EXPECT(task_map_kernel_page(child, 0x205000, page), STATUS_BUSY);
    EXPECT(task_map_kernel_page(child, 0x204000, page), STATUS_BUSY);
    EXPECT(task_map_kernel_page(child, 0x204001, page), STATUS_BAD_ARGUMENT);
    EXPECT(task_map_kernel_page(child, 0, page), STATUS_BAD_ARGUMENT);
    EXPECT(task_map_kernel_page(child, SEPTUM_USER_END, page), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, CHILD, SPACE_HOST | UNMAP_SELF, 0, 1ull << 20), STATUS_OK);
    EXPECT(stub_look(&child->host, 0x205000).frame, frame_physical(page));
    task_unmap_kernel_page(child, 0x205000);
    EXPECT(stub_look(&child->host, 0x205000).size_bytes, 0);
    quota_free_pages(&child->quota, page, 0);
    EXPECT(check(), NULL);
}

TEST(map_merges_neighbours, "what is delegated page by page is one range in the end")
{
    start();
    for (unsigned i = 0; i < 40; i++)
        EXPECT(root_to_host(STUB_RAM + i * 0x1000, HOST_AT + i * 0x1000, 1, RW), STATUS_OK);
    EXPECT(stub_count_ranges(stub_root, SPACE_HOST), 1);
    EXPECT(root_to_host(STUB_RAM + 40 * 0x1000, HOST_AT + 40 * 0x1000, 1, MAP_READ), STATUS_OK);
    EXPECT(root_to_host(STUB_RAM + 42 * 0x1000, HOST_AT + 41 * 0x1000, 1, MAP_READ), STATUS_OK);
    EXPECT(stub_count_ranges(stub_root, SPACE_HOST), 3);
    EXPECT(check(), NULL);
}

TEST(map_in_chunks,
     "a large request is done in steps that leave no trace, however often it is preempted")
{
    uint32_t used[2];
    for (unsigned i = 0; i < 2; i++) {
        start();
        stub_preempt_one_in = i ? 2 : 0;
        /* not congruent: 4 KiB leaves only */
        EXPECT(root_to_host(STUB_RAM, HOST_AT + 0x1000, 10000, RW), STATUS_OK);
        EXPECT(stub_thread.registers.rdx, 10000);
        CHECK(i == 0 || stub_restarts > 3);
        EXPECT(stub_count_ranges(stub_root, SPACE_HOST), 1);
        EXPECT(stub_look(&stub_root->host, HOST_AT + 9999 * 0x1000).frame,
               STUB_RAM + 9998 * 0x1000);
        EXPECT(check(), NULL);
        used[i] = stub_root->quota.used;
    }
    EXPECT(used[0], used[1]);
}

TEST(map_large_error_tells_how_far, "an error in a later step tells how many pages were mapped")
{
    for (unsigned i = 0; i < 2; i++) {
        start();
        stub_preempt_one_in = i;
        EXPECT(root_to_host(STUB_RAM + STUB_RAM_SIZE - 3000 * 0x1000, HOST_AT + 0x1000, 4000, RW),
               STATUS_NO_MAPPING);
        uint64_t done = stub_thread.registers.rdx;
        CHECK(done > 3000 - MAP_STEP && done <= 3000);
        CHECK(stub_look(&stub_root->host, HOST_AT + done * 0x1000).size_bytes);
        EXPECT(stub_look(&stub_root->host, HOST_AT + (done + 1) * 0x1000).size_bytes, 0);
        EXPECT(check(), NULL);
    }
}

TEST(map_large_pages,
     "a step maps large pages whole, and a 4 KiB step crosses ranges of the source")
{
    start();
    EXPECT(root_to_host(STUB_RAM, HOST_AT, STUB_RAM_SIZE / 4096, RW), STATUS_OK);
    EXPECT(stub_look(&stub_root->host, HOST_AT + 5 * LARGE).size_bytes, LARGE);
    EXPECT(stub_root->host.root && check() == NULL, 1);
    /* five source ranges behind one request */
    for (unsigned i = 0; i < 5; i++)
        EXPECT(root_to_host(STUB_RAM + (5 - i) * 0x10000, 0x1000 + i * 0x3000, 3, RW), STATUS_OK);
    EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_HOST, SPACE_HOST, RW), 0x1000, 0x7000, 15, 0),
           STATUS_OK);
    EXPECT(stub_count_ranges(child, SPACE_HOST), 5);
    EXPECT(stub_look(&child->host, 0x7000 + 14 * 0x1000).frame, STUB_RAM + 0x12000);
    EXPECT(check(), NULL);
}

TEST(map_small_is_atomic,
     "a request of one step with a hole, or a right missing, in any place maps nothing")
{
    for (unsigned hole = 0; hole < 6; hole++) {
        start();
        for (unsigned i = 0; i < 6; i++) {
            if (i != hole || hole == 5)
                EXPECT(root_to_host(STUB_RAM + (6 - i) * 0x10000, 0x1000 + i * 0x1000, 1,
                                    i == hole ? MAP_READ : RW),
                       STATUS_OK);
        }
        uint32_t used = child->quota.used;
        EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_HOST, SPACE_HOST, RW), 0x1000, 0x1000, 6, 0),
               hole == 5 ? STATUS_BAD_RIGHTS : STATUS_NO_MAPPING);
        EXPECT(stub_count_ranges(child, SPACE_HOST), 0);
        EXPECT(child->quota.used, used);
    }
}

TEST(map_devices,
     "device ranges are uncached, or write-combining if asked for; memory is never uncached")
{
    start();
    EXPECT(root_to_host(STUB_DEVICE, HOST_AT, 1, RW), STATUS_OK);
    EXPECT(stub_look(&stub_root->host, HOST_AT).cache, CACHE_UNCACHED);
    EXPECT(stub_map(stub_root, 0, MAP_HOW(SPACE_PHYSICAL, SPACE_HOST, RW, CACHE_WRITE_COMBINING),
                    STUB_DEVICE + 0x1000, HOST_AT + 0x1000, 1, 0),
           STATUS_OK);
    EXPECT(stub_look(&stub_root->host, HOST_AT + 0x1000).cache, CACHE_WRITE_COMBINING);
    EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_HOST, SPACE_GUEST, RW), HOST_AT, 0x5000, 2, 0),
           STATUS_OK);
    EXPECT(stub_look(&child->guest, 0x5000).cache, CACHE_UNCACHED);
    EXPECT(stub_look(&child->guest, 0x6000).cache, CACHE_WRITE_COMBINING);
    EXPECT(stub_map(stub_root, CHILD, MAP_HOW(SPACE_HOST, SPACE_GUEST, RW, CACHE_UNCACHED),
                    HOST_AT + 0x1000, 0x7000, 1, 0),
           STATUS_OK);
    EXPECT(stub_look(&child->guest, 0x7000).cache, CACHE_UNCACHED);
    EXPECT(stub_map(stub_root, 0, MAP_HOW(SPACE_PHYSICAL, SPACE_HOST, RW, CACHE_WRITE_COMBINING),
                    STUB_RAM, HOST_AT + 0x10000, 1, 0),
           STATUS_BAD_ARGUMENT);
}

TEST(map_physical_to_physical, "frames keep their number in spaces without a table")
{
    start();
    EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_PHYSICAL, SPACE_PHYSICAL, RW), STUB_RAM, STUB_RAM,
                    1024, 0),
           STATUS_OK);
    EXPECT(stub_map(child, 0, HOW(SPACE_PHYSICAL, SPACE_HOST, RW), STUB_RAM + 0x2000, 0x1000, 1, 0),
           STATUS_OK);
    EXPECT(stub_map(child, 0, HOW(SPACE_PHYSICAL, SPACE_HOST, MAP_RIGHTS), STUB_RAM, 0x2000, 1, 0),
           STATUS_BAD_RIGHTS);
    EXPECT(stub_map(child, 0, HOW(SPACE_PHYSICAL, SPACE_HOST, RW), STUB_RAM + 1024 * 4096, 0x2000,
                    1, 0),
           STATUS_NO_MAPPING);
    EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_PHYSICAL, SPACE_PHYSICAL, RW), STUB_RAM + 0x1000,
                    STUB_RAM + 0x1000, 1, 0),
           STATUS_BAD_ARGUMENT);
    EXPECT(check(), NULL);
}

static int allowed(const uint8_t *bitmap, unsigned port)
{
    return bitmap && !(bitmap[port / 8] >> port % 8 & 1);
}

TEST(map_ports, "ports are let through one by one, and closed again when they are taken back")
{
    start();
    CHECK(allowed(stub_root->ports, 0) && allowed(stub_root->ports, 65535));
    EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_PORT, SPACE_PORT, RW), 0x3f5, 0x3f5, 20, 0),
           STATUS_OK);
    EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_PORT, SPACE_GUEST_PORT, RW), 0x60, 0x60, 5, 0),
           STATUS_OK);
    EXPECT(stub_map(child, 0, HOW(SPACE_PORT, SPACE_GUEST_PORT, RW), 0x3f8, 0x3f8, 8, 0),
           STATUS_OK);
    EXPECT(stub_map(child, 0, HOW(SPACE_PORT, SPACE_GUEST_PORT, RW), 0x3f0, 0x3f0, 8, 0),
           STATUS_NO_MAPPING);
    for (unsigned port = 0; port < 65536; port++) {
        EXPECT(allowed(child->ports, port), port >= 0x3f5 && port < 0x409);
        EXPECT(allowed(child->guest_ports, port),
               (port >= 0x60 && port < 0x65) || (port >= 0x3f8 && port < 0x400));
    }
    for (unsigned i = 8192; i < 12288; i++)
        EXPECT(child->guest_ports[i], 0xff);
    EXPECT(stub_unmap(stub_root, CHILD, SPACE_PORT | UNMAP_SELF, 0x3fa, 3), STATUS_OK);
    EXPECT(stub_unmap(stub_root, 0, SPACE_PORT, 0x62, 1), STATUS_OK);
    for (unsigned port = 0; port < 65536; port++) {
        int gone = port >= 0x3fa && port < 0x3fd;
        EXPECT(allowed(child->ports, port), port >= 0x3f5 && port < 0x409 && !gone);
        EXPECT(allowed(child->guest_ports, port), (port >= 0x60 && port < 0x65 && port != 0x62) ||
                                                      (port >= 0x3f8 && port < 0x400 && !gone));
    }
    EXPECT(check(), NULL);
}

TEST(map_quota_at_every_point,
     "a delegation that its receiver cannot pay, at whatever point, leaves nothing")
{
    /* small pages over the border of two tables; large pages; a guest space made by the way; ports */
    static const struct {
        unsigned from, to;
        uint64_t source, target, count;
    } cases[] = {
        {SPACE_PHYSICAL, SPACE_HOST, STUB_RAM + 0x1000, 0x3ff000, 300},
        {SPACE_PHYSICAL, SPACE_HOST, STUB_RAM, 0x40000000 - 0x1000, 500},
        {SPACE_PHYSICAL, SPACE_GUEST, STUB_RAM, 0, 512 + 3},
        {SPACE_PORT, SPACE_PORT, 0x3f8, 0x3f8, 8},
        {SPACE_PORT, SPACE_GUEST_PORT, 0x3f8, 0x3f8, 8},
        {SPACE_PHYSICAL, SPACE_PHYSICAL, STUB_RAM, STUB_RAM, 5},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (unsigned left = 0;; left++) {
            start();
            stub_exhaust(&child->quota, left);
            enum septum_status status =
                stub_map(stub_root, CHILD, HOW(cases[i].from, cases[i].to, RW), cases[i].source,
                         cases[i].target, cases[i].count, 0);
            EXPECT(check(), NULL);
            if (status == STATUS_OK)
                break;
            CHECK(left < 9);
            EXPECT(status, STATUS_NO_QUOTA);
            EXPECT(stub_count_ranges(child, (enum space_kind)cases[i].to), 0);
            /* what stays is the top of a space, made empty and for good */
            CHECK(quota_left(&child->quota) + 4 >= left);
            if (cases[i].to == SPACE_HOST)
                EXPECT(quota_left(&child->quota), left);
            stub_relax();
        }
        stub_relax();
    }
}

TEST(map_undo, "map_whole undoes what it has mapped when the quota ends between two ranges")
{
    for (unsigned left = 0; left < 12; left++) {
        start();
        for (unsigned i = 0; i < 100; i++) /* a hundred ranges: four pages of records */
            EXPECT(root_to_host(STUB_RAM + (200 - i) * 0x10000, 0x1000 + i * 0x1000, 1, RW),
                   STATUS_OK);
        stub_exhaust(&child->quota, left);
        enum septum_status status =
            stub_map(stub_root, CHILD, HOW(SPACE_HOST, SPACE_HOST, RW), 0x1000, 0x1000, 100, 0);
        EXPECT(status, left < 7 ? STATUS_NO_QUOTA : STATUS_OK);
        EXPECT(stub_count_ranges(child, SPACE_HOST), left < 7 ? 0 : 100);
        EXPECT(quota_left(&child->quota), left < 7 ? left : left - 7);
        EXPECT(check(), NULL);
        stub_relax();
    }
}

TEST(map_into_dying_task, "nothing is delegated into a task that is being destroyed")
{
    start();
    child->stopping = true;
    EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_PHYSICAL, SPACE_HOST, RW), STUB_RAM, HOST_AT, 1, 0),
           STATUS_BAD_CAPABILITY);
    EXPECT(stub_map(stub_root, CHILD, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, 1, 0), CHILD, 5,
                    1, 0),
           STATUS_BAD_CAPABILITY);
}

/* ---- inspect ---------------------------------------------------------------------------------- */

uint64_t tsc_khz = 1000000;

/* What `inspect` asks of modules that are not here. */
void sched_charge(struct sched *next)
{
    (void)next;
}

void trace_set(uint32_t mask)
{
    (void)mask;
}

unsigned trace_read(unsigned number, uint64_t *from, uint64_t *next, struct trace_record *to)
{
    (void)number;
    (void)from;
    (void)next;
    (void)to;
    return 0;
}

static struct message_buffer buffer;

static uint64_t ask(enum inspect_selector selector, uint64_t object, uint64_t a0, uint64_t a1,
                    enum septum_status *status)
{
    stub_thread.task = stub_root;
    stub_thread.buffer = &buffer;
    stub_thread.registers =
        (struct registers){.rdi = selector, .rsi = object, .rdx = a0, .r10 = a1};
    memset(&buffer, 0xee, sizeof(buffer));
    *status = sys_inspect(&stub_thread);
    return stub_thread.registers.rdx;
}

TEST(inspect_names_ranges, "INSPECT_RANGE shows each range with its frames and from whom it is")
{
    enum septum_status status;
    start();
    EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_PHYSICAL, SPACE_HOST, RW), STUB_RAM + 0x3000,
                    0x5000, 2, 0),
           STATUS_OK);
    CHECK(ask(INSPECT_RANGE, CHILD, SPACE_HOST, 0, &status) > 0);
    EXPECT(status, STATUS_OK);
    EXPECT(buffer.output[0], 0x5000);
    EXPECT(buffer.output[1], 0x2000);
    EXPECT(buffer.output[2], STUB_RAM + 0x3000);
    EXPECT(buffer.output[3], RW);
    EXPECT(buffer.output[4], 1);
    EXPECT(buffer.output[5], SPACE_PHYSICAL);
    EXPECT(buffer.output[6], STUB_RAM + 0x3000);
    EXPECT(ask(INSPECT_RANGE, CHILD, SPACE_HOST, 0x7000, &status), 0);
    EXPECT(buffer.output[1], 0);
    CHECK(ask(INSPECT_RANGE, CHILD, SPACE_HOST, 0x6fff, &status) > 0);
    EXPECT(buffer.output[0], 0x5000);
}

TEST(inspect_reads_tables, "INSPECT_TABLE shows what the hardware's tables and bitmaps say")
{
    enum septum_status status;
    start();
    EXPECT(
        stub_map(stub_root, CHILD, HOW(SPACE_PHYSICAL, SPACE_GUEST, RW), STUB_RAM, LARGE, 1024, 0),
        STATUS_OK);
    EXPECT(stub_map(stub_root, CHILD, HOW(SPACE_PORT, SPACE_PORT, RW), 0x70, 0x70, 2, 0),
           STATUS_OK);
    CHECK(ask(INSPECT_TABLE, CHILD, SPACE_GUEST, 0, &status) > 0);
    EXPECT(buffer.output[0], LARGE);
    EXPECT(buffer.output[1], LARGE);
    EXPECT(buffer.output[2], STUB_RAM);
    EXPECT(buffer.output[3], RW);
    CHECK(ask(INSPECT_TABLE, CHILD, SPACE_GUEST, 2 * LARGE, &status) > 0);
    EXPECT(buffer.output[2], STUB_RAM + LARGE);
    EXPECT(ask(INSPECT_TABLE, CHILD, SPACE_GUEST, 3 * LARGE, &status), 0);
    EXPECT(buffer.output[1], 0);
    CHECK(ask(INSPECT_TABLE, CHILD, SPACE_PORT, 0, &status) > 0);
    EXPECT(buffer.output[0], 0x70);
    EXPECT(buffer.output[1], 2);
    EXPECT(ask(INSPECT_TABLE, CHILD, SPACE_PORT, 0x72, &status), 0);
    EXPECT(ask(INSPECT_TABLE, CHILD, SPACE_GUEST_PORT, 0, &status), 0);
    EXPECT(ask(INSPECT_TABLE, CHILD, SPACE_PORT, UINT64_MAX, &status), 0);
    EXPECT(ask(INSPECT_TABLE, CHILD, SPACE_GUEST, UINT64_MAX, &status), 0);
}

TEST(inspect_needs_rights, "frame numbers are shown only with RIGHT_INSPECT and RIGHT_MACHINE")
{
    enum septum_status status;
    start();
    for (unsigned rights = 0; rights < 256; rights++) {
        unsigned needed = RIGHT_INSPECT | RIGHT_MACHINE;
        EXPECT(stub_map(stub_root, 0, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, rights, 0), CHILD,
                        11, 1, 0),
               STATUS_OK);
        ask(INSPECT_RANGE, 11, SPACE_HOST, 0, &status);
        EXPECT(status, (rights & needed) == needed ? STATUS_OK : STATUS_BAD_RIGHTS);
        ask(INSPECT_TABLE, 11, SPACE_HOST, 0, &status);
        EXPECT(status, (rights & needed) == needed ? STATUS_OK : STATUS_BAD_RIGHTS);
        ask(INSPECT_QUOTA, 11, 0, 0, &status);
        EXPECT(status, rights & RIGHT_INSPECT ? STATUS_OK : STATUS_BAD_RIGHTS);
        EXPECT(stub_unmap(stub_root, 0, SPACE_CAPABILITY | UNMAP_SELF, 11, 1), STATUS_OK);
    }
    ask(INSPECT_RANGE, 0, SPACE_HOST, 0, &status);
    EXPECT(status, STATUS_BAD_CAPABILITY);
    ask(INSPECT_TABLE, CHILD, SPACE_PHYSICAL, 0, &status);
    EXPECT(status, STATUS_BAD_ARGUMENT);
    ask(INSPECT_TABLE, CHILD, SPACE_KIND_COUNT, 0, &status);
    EXPECT(status, STATUS_BAD_ARGUMENT);
    ask(INSPECT_RANGE, CHILD, UINT64_MAX, 0, &status);
    EXPECT(status, STATUS_BAD_ARGUMENT);
}

TEST(inspect_quota_and_capability, "quota and capability are reported as they are")
{
    enum septum_status status;
    start();
    EXPECT(ask(INSPECT_QUOTA, CHILD, 0, 0, &status), 300);
    EXPECT(stub_thread.registers.r10, child->quota.used);
    EXPECT(ask(INSPECT_QUOTA, 0, 0, 0, &status), stub_root->quota.granted);
    EXPECT(stub_thread.registers.r8, 300);
    EXPECT(ask(INSPECT_CAPABILITY, CHILD, 0, 0, &status), OBJECT_TASK);
    EXPECT(stub_thread.registers.r10, RIGHTS_ALL);
    EXPECT(ask(INSPECT_CAPABILITY, CHILD + 1, 0, 0, &status), OBJECT_NONE);
    EXPECT(ask(INSPECT_CAPABILITY, UINT64_MAX, 0, 0, &status), OBJECT_NONE);
    EXPECT(status, STATUS_OK);
}

TEST(inspect_capability_range,
     "INSPECT_RANGE of a capability space names slots, rights and parents")
{
    enum septum_status status;
    start();
    stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 300);
    EXPECT(stub_map(stub_root, CHILD, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHT_SEND, 0),
                    300, 77, 1, 9),
           STATUS_OK);
    CHECK(ask(INSPECT_RANGE, CHILD, SPACE_CAPABILITY, 0, &status) > 0);
    EXPECT(buffer.output[0], 77);
    EXPECT(buffer.output[3], RIGHT_SEND | OBJECT_ENDPOINT << 8);
    EXPECT(buffer.output[6], 300);
    EXPECT(buffer.output[7], 9);
    EXPECT(ask(INSPECT_RANGE, CHILD, SPACE_CAPABILITY, 78, &status), 0);
    EXPECT(ask(INSPECT_RANGE, CHILD, SPACE_CAPABILITY, UINT64_MAX, &status), 0);
}
