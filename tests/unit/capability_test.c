/* links: tests/unit/kernel_stubs.c microvisor/core/frames.c microvisor/core/quota.c
 *        microvisor/core/tree.c microvisor/core/capability.c microvisor/core/table.c
 *        microvisor/core/mapping.c microvisor/core/revoke.c
 *        microvisor/core/task.c microvisor/virt/ept.c microvisor/x86/paging_format.c */
#include "unit_test.h"

#include "kernel_stubs.h"
#include "x86/processor.h"

#define CAPS(rights) MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, rights, 0)

static const struct capability *cap(const struct task *task, uint64_t slot)
{
    return capability_lookup(&task->capabilities, slot);
}

static enum septum_status give(cap_slot_t task, uint64_t from, uint64_t to, uint64_t count,
                               unsigned rights, uint64_t badge)
{
    return stub_map(stub_root, task, CAPS(rights), from, to, count, badge);
}

TEST(capability_lookup_any_number, "any number names a capability, an empty one if there is none")
{
    stub_start(512);
    for (uint64_t slot = 0; slot < 70000; slot += 13)
        EXPECT(cap(stub_root, slot)->type, OBJECT_NONE);
    EXPECT(cap(stub_root, UINT64_MAX)->type, OBJECT_NONE);
    EXPECT(cap(stub_root, 1ull << 63)->type, OBJECT_NONE);
    EXPECT(cap(stub_root, CAP_SLOTS_MAX)->type, OBJECT_NONE);
}

TEST(capability_object_checks, "an object is found by slot, type and rights, and each error has its name")
{
    enum septum_status status = STATUS_OK;
    stub_start(512);
    struct object *object = stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100);
    EXPECT(capability_object(stub_root, 100, OBJECT_ENDPOINT, RIGHTS_ALL, &status), object);
    EXPECT(status, STATUS_OK);
    EXPECT(capability_object(stub_root, 100, OBJECT_THREAD, 0, &status), NULL);
    EXPECT(status, STATUS_BAD_CAPABILITY);
    EXPECT(capability_object(stub_root, 101, OBJECT_ENDPOINT, 0, &status), NULL);
    EXPECT(status, STATUS_BAD_CAPABILITY);
    EXPECT(give(0, 100, 101, 1, RIGHT_SEND, 0), STATUS_OK);
    EXPECT(capability_object(stub_root, 101, OBJECT_ENDPOINT, RIGHT_SEND, &status), object);
    EXPECT(capability_object(stub_root, 101, OBJECT_ENDPOINT, RIGHT_SEND | RIGHT_RECEIVE, &status),
           NULL);
    EXPECT(status, STATUS_BAD_RIGHTS);
}

TEST(capability_reserve_refuses, "slot 0, slots beyond the end, slots in use and dying tasks take nothing")
{
    enum septum_status status;
    stub_start(512);
    struct task *task = stub_task(10, 20);
    EXPECT(capability_reserve(task, 0, &status), NULL);
    EXPECT(status, STATUS_BAD_SLOT);
    EXPECT(capability_reserve(task, 512, &status), NULL);
    EXPECT(capability_reserve(task, UINT64_MAX, &status), NULL);
    EXPECT(status, STATUS_BAD_SLOT);
    CHECK(capability_reserve(task, 511, &status) != NULL);
    CHECK(capability_reserve(task, 511, &status) != NULL); /* until it is filled */
    stub_object(task, OBJECT_ENDPOINT, task, 511);
    EXPECT(capability_reserve(task, 511, &status), NULL);
    task->stopping = true;
    EXPECT(capability_reserve(task, 5, &status), NULL);
    EXPECT(status, STATUS_BAD_SLOT);
}

TEST(capability_pages_are_charged, "64 slots cost a page of the task's quota, when first used")
{
    enum septum_status status;
    stub_start(512);
    struct task *task = stub_task(10, 4); /* top table, directory, two pages of slots */
    EXPECT(task->quota.used, 2);
    CHECK(capability_reserve(task, 1, &status) != NULL);
    CHECK(capability_reserve(task, 63, &status) != NULL);
    EXPECT(task->quota.used, 3);
    CHECK(capability_reserve(task, 64, &status) != NULL);
    EXPECT(task->quota.used, 4);
    EXPECT(capability_reserve(task, 128, &status), NULL);
    EXPECT(status, STATUS_NO_QUOTA);
    EXPECT(cap(task, 128)->type, OBJECT_NONE);
}

TEST(capability_delegation, "a delegated capability names the same object, with fewer rights and a parent")
{
    stub_start(512);
    struct task *task = stub_task(10, 20);
    struct object *object = stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100);
    EXPECT(give(10, 100, 7, 1, RIGHT_SEND | RIGHT_BADGE, 0x1234), STATUS_OK);
    EXPECT(cap(task, 7)->object, object);
    EXPECT(cap(task, 7)->type, OBJECT_ENDPOINT);
    EXPECT(cap(task, 7)->rights, RIGHT_SEND | RIGHT_BADGE);
    EXPECT(cap(task, 7)->badge, 0x1234);
    EXPECT(cap(task, 7)->parent, cap(stub_root, 100));
    EXPECT(cap(task, 7)->task, task);
    EXPECT(cap(task, 7)->slot, 7);
}

TEST(capability_rights_never_grow, "for every pair of right sets: a subset is granted, anything else refused")
{
    stub_start(512);
    stub_object(stub_root, OBJECT_NOTIFICATION, stub_root, 100);
    for (unsigned have = 0; have < 256; have++) {
        EXPECT(give(0, 100, 101, 1, have, 0), STATUS_OK);
        for (unsigned want = 0; want < 256; want++) {
            enum septum_status expected = want & ~have ? STATUS_BAD_RIGHTS : STATUS_OK;
            EXPECT(give(0, 101, 102, 1, want, 0), expected);
            if (expected == STATUS_OK)
                EXPECT(stub_unmap(stub_root, 0, SPACE_CAPABILITY | UNMAP_SELF, 102, 1), STATUS_OK);
            EXPECT(cap(stub_root, 102)->type, OBJECT_NONE);
        }
        EXPECT(stub_unmap(stub_root, 0, SPACE_CAPABILITY | UNMAP_SELF, 101, 1), STATUS_OK);
    }
}

TEST(capability_badges, "a badge can be set where the right is, is inherited, and other types have none")
{
    stub_start(512);
    stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100);
    stub_object(stub_root, OBJECT_THREAD, stub_root, 101);
    EXPECT(give(0, 100, 110, 1, RIGHT_SEND, 5), STATUS_OK);
    EXPECT(give(0, 110, 111, 1, RIGHT_SEND, 0), STATUS_OK);
    EXPECT(cap(stub_root, 111)->badge, 5);
    EXPECT(give(0, 110, 112, 1, RIGHT_SEND, 6), STATUS_BAD_RIGHTS);
    EXPECT(give(0, 110, 112, 1, RIGHT_SEND, 5), STATUS_BAD_RIGHTS);
    EXPECT(cap(stub_root, 112)->type, OBJECT_NONE);
    EXPECT(give(0, 101, 113, 1, RIGHTS_ALL, 9), STATUS_BAD_ARGUMENT);
    EXPECT(give(0, 101, 113, 1, RIGHTS_ALL, 0), STATUS_OK);
}

TEST(capability_sched_limits, "the limits of a scheduling context can be lowered in a copy, never raised")
{
    stub_start(512);
    stub_object(stub_root, OBJECT_SCHED, stub_root, 100);
    capability_lookup(&stub_root->capabilities, 100)->badge = 30 | 500000ull << 32;
    EXPECT(give(0, 100, 101, 1, RIGHTS_ALL, 0), STATUS_OK);
    EXPECT(cap(stub_root, 101)->badge, 30 | 500000ull << 32);
    EXPECT(give(0, 100, 102, 1, RIGHT_CREATE, 20 | 400000ull << 32), STATUS_OK);
    EXPECT(cap(stub_root, 102)->badge, 20 | 400000ull << 32);
    EXPECT(give(0, 102, 103, 1, 0, 21 | 400000ull << 32), STATUS_BAD_RIGHTS);
    EXPECT(give(0, 102, 103, 1, 0, 20 | 400001ull << 32), STATUS_BAD_RIGHTS);
    EXPECT(give(0, 102, 103, 1, 0, UINT64_MAX), STATUS_BAD_RIGHTS);
    EXPECT(give(0, 102, 103, 1, 0, 1), STATUS_OK);
}

TEST(capability_reply_stays, "a saved reply can be neither delegated nor kept from its owner's control")
{
    enum septum_status status;
    stub_start(512);
    struct capability *slot = capability_reserve(stub_root, 50, &status);
    slot->rights = RIGHT_SEND;
    slot->type = OBJECT_REPLY;
    EXPECT(give(0, 50, 51, 1, RIGHT_SEND, 0), STATUS_BAD_CAPABILITY);
    EXPECT(stub_unmap(stub_root, 0, SPACE_CAPABILITY, 50, 1), STATUS_OK);
    EXPECT(stub_reply_dropped, NULL);
    EXPECT(stub_unmap(stub_root, 0, SPACE_CAPABILITY | UNMAP_SELF, 1, 4000), STATUS_OK);
    EXPECT(stub_reply_dropped, slot);
    EXPECT(slot->type, OBJECT_NONE);
}

TEST(capability_ranges_are_atomic, "of several slots all are delegated, or none")
{
    stub_start(512);
    struct task *task = stub_task(10, 20);
    for (unsigned i = 0; i < 4; i++)
        stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100 + i);
    EXPECT(give(10, 100, 60, 5, RIGHT_SEND, 0), STATUS_NO_MAPPING); /* 104 is empty */
    EXPECT(give(10, 100, 509, 4, RIGHT_SEND, 0), STATUS_BAD_SLOT);  /* one too many */
    EXPECT(give(10, 100, 0, 4, RIGHT_SEND, 0), STATUS_BAD_SLOT);
    for (unsigned i = 0; i < 512; i++)
        EXPECT(cap(task, i)->type, OBJECT_NONE);
    EXPECT(give(10, 103, 63, 1, RIGHT_SEND, 0), STATUS_OK);
    EXPECT(give(10, 100, 60, 4, RIGHT_SEND, 0), STATUS_BAD_SLOT);
    EXPECT(cap(task, 60)->type, OBJECT_NONE);
    EXPECT(give(10, 100, 62, 1, RIGHT_SEND, 0), STATUS_OK);
    EXPECT(give(10, 100, 64, 4, RIGHT_SEND, 0), STATUS_OK);
    for (unsigned i = 0; i < 4; i++)
        EXPECT(cap(task, 64 + i)->object, cap(stub_root, 100 + i)->object);
}

TEST(capability_overlapping_ranges, "a range of slots delegated onto itself is refused")
{
    stub_start(512);
    for (unsigned i = 0; i < 4; i++)
        stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100 + i);
    EXPECT(give(0, 100, 100, 4, RIGHT_SEND, 0), STATUS_BAD_SLOT);
    EXPECT(give(0, 100, 102, 4, RIGHT_SEND, 0), STATUS_BAD_SLOT);
    EXPECT(give(0, 100, 98, 4, RIGHT_SEND, 0), STATUS_BAD_SLOT);
    EXPECT(give(0, 100, 104, 4, RIGHT_SEND, 0), STATUS_OK);
}

TEST(capability_task_needs_right, "delegating into a task and taking from it needs the map right")
{
    stub_start(512);
    stub_task(10, 20);
    stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100);
    EXPECT(give(0, 10, 11, 1, RIGHTS_ALL & ~RIGHT_MAP, 0), STATUS_OK);
    EXPECT(give(11, 100, 7, 1, RIGHT_SEND, 0), STATUS_BAD_RIGHTS);
    EXPECT(stub_unmap(stub_root, 11, SPACE_CAPABILITY | UNMAP_SELF, 1, 8), STATUS_BAD_RIGHTS);
    EXPECT(give(100, 100, 7, 1, RIGHT_SEND, 0), STATUS_BAD_CAPABILITY);
    EXPECT(give(99, 100, 7, 1, RIGHT_SEND, 0), STATUS_BAD_CAPABILITY);
    EXPECT(stub_unmap(stub_root, 99, SPACE_CAPABILITY, 1, 8), STATUS_BAD_CAPABILITY);
}

TEST(capability_unmap_children, "without UNMAP_SELF only what was derived goes")
{
    stub_start(512);
    struct task *task = stub_task(10, 20);
    stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100);
    EXPECT(give(10, 100, 1, 1, RIGHTS_ALL, 0), STATUS_OK);
    EXPECT(stub_map(task, 0, CAPS(RIGHT_SEND), 1, 2, 1, 0), STATUS_OK);
    EXPECT(stub_map(task, 0, CAPS(RIGHT_SEND), 2, 3, 1, 0), STATUS_OK);
    EXPECT(stub_unmap(task, 0, SPACE_CAPABILITY, 2, 1), STATUS_OK);
    EXPECT(cap(task, 3)->type, OBJECT_NONE);
    EXPECT(cap(task, 2)->type, OBJECT_ENDPOINT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_CAPABILITY, 100, 1), STATUS_OK);
    EXPECT(cap(task, 1)->type, OBJECT_NONE);
    EXPECT(cap(task, 2)->type, OBJECT_NONE);
    EXPECT(cap(stub_root, 100)->type, OBJECT_ENDPOINT);
    EXPECT(stub_destroyed[OBJECT_ENDPOINT], 0);
}

TEST(capability_last_destroys, "when an object's first capability goes, all go, and the object is destroyed")
{
    stub_start(512);
    struct task *task = stub_task(10, 20);
    uint32_t used = stub_root->quota.used;
    stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100);
    EXPECT(give(10, 100, 1, 1, RIGHTS_ALL, 0), STATUS_OK);
    EXPECT(stub_unmap(stub_root, 0, SPACE_CAPABILITY | UNMAP_SELF, 100, 1), STATUS_OK);
    EXPECT(cap(task, 1)->type, OBJECT_NONE);
    EXPECT(stub_destroyed[OBJECT_ENDPOINT], 1);
    CHECK(stub_quiesces > 0);
    EXPECT(stub_root->quota.used, used + 1); /* the page of slots that holds slot 100 */
    EXPECT(stub_root->charged, 1);
}

TEST(capability_quota_at_every_point, "delegating many slots without quota for their pages fills none")
{
    for (unsigned left = 0; left < 6; left++) {
        stub_start(512);
        struct task *task = stub_task(10, 40);
        for (unsigned i = 0; i < 200; i++)
            stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100 + i);
        stub_exhaust(&task->quota, left);
        enum septum_status status = give(10, 100, 50, 200, RIGHT_SEND, 0);
        EXPECT(status, left < 4 ? STATUS_NO_QUOTA : STATUS_OK);
        for (unsigned i = 50; i < 250; i++)
            EXPECT(cap(task, i)->type, status == STATUS_OK ? OBJECT_ENDPOINT : OBJECT_NONE);
        stub_relax();
    }
}

TEST(capability_long_chain, "a chain of thousands of derivations, and a fan of thousands, go in bounded steps")
{
    stub_start(2048);
    stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100);
    for (unsigned i = 100; i < 5100; i++)
        EXPECT(give(0, i, i + 1, 1, RIGHTS_ALL, 0), STATUS_OK);
    for (unsigned i = 6000; i < 12000; i++)
        EXPECT(give(0, 2000, i, 1, RIGHTS_ALL, 0), STATUS_OK);
    stub_preempt_one_in = 2;
    stub_commits = 0;
    EXPECT(stub_unmap(stub_root, 0, SPACE_CAPABILITY, 100, 1), STATUS_OK);
    CHECK(stub_restarts > 5);
    CHECK(stub_commits >= 11000 / MAP_STEP);
    for (unsigned i = 101; i < 12000; i++)
        EXPECT(cap(stub_root, i)->type, OBJECT_NONE);
    EXPECT(cap(stub_root, 100)->type, OBJECT_ENDPOINT);
    CHECK(list_empty(&cap(stub_root, 100)->kin));
}

TEST(capability_no_derivation_meanwhile, "while an object's capabilities are taken back nobody derives more")
{
    bool done;
    stub_start(2048);
    stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 100);
    stub_object(stub_root, OBJECT_ENDPOINT, stub_root, 99);
    for (unsigned i = 0; i < 3000; i++)
        EXPECT(give(0, 100, 1000 + i, 1, RIGHTS_ALL, 0), STATUS_OK);
    uint64_t base = 100;
    done = revoke_step(stub_root, SPACE_CAPABILITY, &base, 101, true);
    CHECK(!done);
    CHECK(revoke_in_progress(cap(stub_root, 100)));
    CHECK(!revoke_in_progress(cap(stub_root, 99)));
    EXPECT(give(0, 99, 98, 1, RIGHTS_ALL, 0), STATUS_OK);
    /* This call helps until the other is done, and then finds that its source is gone. */
    EXPECT(give(0, 100, 97, 1, RIGHTS_ALL, 0), STATUS_NO_MAPPING);
    CHECK(!revoke_in_progress(cap(stub_root, 100)));
    EXPECT(cap(stub_root, 97)->type, OBJECT_NONE);
    while (revoke_reap_step())
        continue;
    EXPECT(stub_destroyed[OBJECT_ENDPOINT], 1);
}

/* Random derivations against a naive model: the parent of each slot. */
enum { SLOTS = 60, TASKS = 3 };
static struct {
    int live, parent, rights;
} model[TASKS][SLOTS];

static void model_take(int index, int self)
{
    for (int i = 0; i < TASKS * SLOTS; i++) {
        if (model[i / SLOTS][i % SLOTS].live && model[i / SLOTS][i % SLOTS].parent == index)
            model_take(i, 1);
    }
    if (self)
        model[index / SLOTS][index % SLOTS].live = 0;
}

TEST(capability_random, "random derivation and revocation agrees with a naive model")
{
    struct task *tasks[TASKS];
    stub_start(1024);
    tasks[0] = stub_root;
    tasks[1] = stub_task(1001, 40);
    tasks[2] = stub_task(1002, 40);
    for (unsigned t = 1; t < TASKS; t++) { /* everybody may map into everybody */
        EXPECT(give(1001, 1001, 301, 1, RIGHTS_ALL, 0), t == 1 ? STATUS_OK : STATUS_BAD_SLOT);
        EXPECT(give(1002, 1002, 302, 1, RIGHTS_ALL, 0), t == 1 ? STATUS_OK : STATUS_BAD_SLOT);
    }
    EXPECT(give(1001, 1002, 302, 1, RIGHTS_ALL, 0), STATUS_OK);
    EXPECT(give(1002, 1001, 301, 1, RIGHTS_ALL, 0), STATUS_OK);
    memset(model, 0, sizeof(model));
    stub_preempt_one_in = 3;
    for (unsigned round = 0; round < 20000; round++) {
        unsigned t = (unsigned)(unit_random() % TASKS), u = t;
        int from = 1 + (int)(unit_random() % (SLOTS - 1)), to = 1 + (int)(unit_random() % (SLOTS - 1));
        if (unit_random() % 2)
            u = (unsigned)(unit_random() % TASKS);
        cap_slot_t target = u == t ? 0 : t == 0 ? 1000 + u : 300 + u;
        if (u == 0 && t != 0)
            continue;
        switch (unit_random() % 8) {
        case 0:
            if (!model[t][from].live && stub_object(tasks[t], OBJECT_ENDPOINT, tasks[t], (cap_slot_t)from))
                model[t][from].live = 1, model[t][from].parent = -1, model[t][from].rights = 255;
            break;
        case 1: {
            int self = unit_random() % 2;
            uint64_t count = 1 + unit_random() % 5;
            EXPECT(stub_unmap(tasks[t], target, SPACE_CAPABILITY | (self ? UNMAP_SELF : 0),
                              (uint64_t)from, count),
                   STATUS_OK);
            for (int i = from; i < from + (int)count && i < SLOTS; i++) {
                if (model[u][i].live)
                    model_take((int)u * SLOTS + i, self);
            }
            break;
        }
        default: {
            int rights = (int)(unit_random() & 255) & model[t][from].rights;
            enum septum_status expected = !model[t][from].live ? STATUS_NO_MAPPING
                                          : model[u][to].live  ? STATUS_BAD_SLOT
                                                               : STATUS_OK;
            EXPECT(stub_map(tasks[t], target, CAPS(model[t][from].live ? rights : 0), (uint64_t)from,
                            (uint64_t)to, 1, 0),
                   expected);
            if (expected == STATUS_OK) {
                model[u][to].live = 1;
                model[u][to].parent = (int)t * SLOTS + from;
                model[u][to].rights = rights;
            }
        }
        }
        for (int i = 0; i < TASKS * SLOTS; i++) {
            const struct capability *c = cap(tasks[i / SLOTS], (uint64_t)(i % SLOTS));
            EXPECT(c->type != OBJECT_NONE, model[i / SLOTS][i % SLOTS].live);
            if (c->type != OBJECT_NONE)
                EXPECT(c->rights, model[i / SLOTS][i % SLOTS].rights);
        }
    }
}
