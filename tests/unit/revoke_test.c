/* links: tests/unit/kernel_stubs.c microvisor/core/frames.c microvisor/core/quota.c
 *        microvisor/core/tree.c microvisor/core/capability.c microvisor/core/table.c
 *        microvisor/core/mapping.c microvisor/core/revoke.c
 *        microvisor/core/task.c microvisor/virt/ept.c microvisor/x86/paging_format.c */
#include "unit_test.h"

#include "core/mapping.h"
#include "kernel_stubs.h"

#define HOW(from, to, rights) MAP_HOW(from, to, rights, CACHE_INHERIT)
#define SLOT(i)               (10u + (i)) /* of task i in the first task */

enum { TASKS = 4 };
static struct task *tasks[TASKS]; /* tasks[0] is the first task */

static void start(uint32_t quota)
{
    stub_start(8192);
    tasks[0] = stub_root;
    for (unsigned i = 1; i < TASKS; i++)
        tasks[i] = stub_task(SLOT(i), quota);
    /* everybody may map into everybody */
    for (unsigned i = 1; i < TASKS; i++) {
        for (unsigned j = 1; j < TASKS; j++)
            stub_map(stub_root, SLOT(i), MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHTS_ALL, 0),
                     SLOT(j), SLOT(j), 1, 0);
    }
}

static enum septum_status give(unsigned from, enum space_kind source_space, uint64_t source,
                               unsigned to, enum space_kind target_space, uint64_t target,
                               uint64_t pages, unsigned rights)
{
    return stub_map(tasks[from], to == from ? 0 : SLOT(to), HOW(source_space, target_space, rights),
                    source, target, pages, 0);
}

static enum septum_status take(unsigned from, enum space_kind space, uint64_t base, uint64_t pages)
{
    return stub_unmap(tasks[from], 0, space | UNMAP_SELF, base, pages);
}

static const char *check(void)
{
    return stub_check(tasks, TASKS);
}

static bool has(unsigned task, enum space_kind space, uint64_t address)
{
    return stub_look(space_table(tasks[task], space), address).size_bytes != 0;
}

TEST(unmap_bad_arguments, "undefined spaces, flags, alignments and ends are refused")
{
    start(100);
    EXPECT(stub_unmap(stub_root, 0, SPACE_KIND_COUNT, 0, 1), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_HOST | 1 << 9, 0, 1), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_HOST | 1ull << 63, 0, 1), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_HOST, 1, 1), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_HOST, 0, 0), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_HOST, 0, UINT64_MAX), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_HOST, 0x1000, UINT64_MAX / 0x1000), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_HOST, SEPTUM_USER_END, 1), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_HOST, ~0xfffull, 1), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_PORT, 65536, 1), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_PORT, 1, 65536), STATUS_BAD_ARGUMENT);
    EXPECT(stub_unmap(stub_root, 0, SPACE_HOST, 0, SEPTUM_USER_END / 4096), STATUS_OK);
    EXPECT(stub_unmap(stub_root, 0, SPACE_GUEST, 0, 1ull << 36), STATUS_OK);
    EXPECT(stub_unmap(stub_root, 0, SPACE_DMA | UNMAP_SELF, 0, 1), STATUS_OK);
    EXPECT(check(), NULL);
}

TEST(unmap_takes_descendants, "what was delegated on and on goes with the first, in all spaces")
{
    start(100);
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, 0x10000, 16, RW), STATUS_OK);
    EXPECT(give(1, SPACE_HOST, 0x10000, 2, SPACE_GUEST, 0x4000, 8, RW), STATUS_OK);
    EXPECT(give(2, SPACE_GUEST, 0x5000, 3, SPACE_HOST, 0x7000, 2, MAP_READ), STATUS_OK);
    EXPECT(give(3, SPACE_HOST, 0x8000, 1, SPACE_HOST, 0x90000, 1, MAP_READ), STATUS_OK);
    EXPECT(stub_unmap(stub_root, 0, SPACE_PHYSICAL, STUB_RAM + 0x2000, 1), STATUS_OK);
    CHECK(!has(1, SPACE_HOST, 0x12000) && has(1, SPACE_HOST, 0x11000) &&
          has(1, SPACE_HOST, 0x13000));
    CHECK(!has(2, SPACE_GUEST, 0x6000) && has(2, SPACE_GUEST, 0x5000) &&
          has(2, SPACE_GUEST, 0x7000));
    CHECK(has(3, SPACE_HOST, 0x7000) && !has(3, SPACE_HOST, 0x8000));
    CHECK(!has(1, SPACE_HOST, 0x90000));
    EXPECT(check(), NULL);
    EXPECT(take(1, SPACE_HOST, 0x10000, 16), STATUS_OK);
    for (unsigned i = 1; i < TASKS; i++)
        EXPECT(stub_count_ranges(tasks[i], SPACE_HOST) + stub_count_ranges(tasks[i], SPACE_GUEST),
               0);
    EXPECT(check(), NULL);
}

TEST(unmap_keeps_self, "without UNMAP_SELF the range stays, with UNMAP_SELF its parent does")
{
    start(100);
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, 0x10000, 4, RW), STATUS_OK);
    EXPECT(give(1, SPACE_HOST, 0x10000, 2, SPACE_HOST, 0x20000, 4, RW), STATUS_OK);
    EXPECT(stub_unmap(tasks[1], 0, SPACE_HOST, 0x10000, 4), STATUS_OK);
    CHECK(has(1, SPACE_HOST, 0x10000) && !has(2, SPACE_HOST, 0x20000));
    EXPECT(take(1, SPACE_HOST, 0x10000, 4), STATUS_OK);
    CHECK(!has(1, SPACE_HOST, 0x10000));
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, 0x10000, 4, RW), STATUS_OK);
}

TEST(unmap_empty, "taking back what nobody holds does nothing, and does not flush")
{
    start(100);
    stub_commits = 0;
    EXPECT(stub_unmap(stub_root, SLOT(1), SPACE_HOST | UNMAP_SELF, 0, 1ull << 30), STATUS_OK);
    EXPECT(stub_unmap(stub_root, SLOT(1), SPACE_GUEST | UNMAP_SELF, 0, 1ull << 30), STATUS_OK);
    EXPECT(stub_unmap(stub_root, SLOT(1), SPACE_PORT | UNMAP_SELF, 0, 65536), STATUS_OK);
    EXPECT(stub_commits, 0);
}

TEST(unmap_splits_large_page,
     "taking a small page from a large one leaves the other 511 as they were")
{
    start(100);
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_GUEST, LARGE, 1024, RW), STATUS_OK);
    EXPECT(give(1, SPACE_GUEST, LARGE, 2, SPACE_HOST, 2 * LARGE, 1024, MAP_READ), STATUS_OK);
    EXPECT(stub_look(&tasks[2]->host, 2 * LARGE).size_bytes, LARGE);
    EXPECT(take(1, SPACE_GUEST, LARGE + 0x5000, 1), STATUS_OK);
    for (uint64_t i = 0; i < 1024; i++) {
        struct table_entry guest = stub_look(&tasks[1]->guest, LARGE + i * 4096);
        EXPECT(guest.size_bytes, i == 5 ? 0 : i < 512 ? 4096 : LARGE);
        EXPECT(has(2, SPACE_HOST, 2 * LARGE + i * 4096), i != 5);
        if (i != 5)
            EXPECT(guest.frame + (LARGE + i * 4096 - guest.address), STUB_RAM + i * 4096);
    }
    EXPECT(stub_count_ranges(tasks[1], SPACE_GUEST), 2);
    EXPECT(check(), NULL);
}

TEST(unmap_moves_children,
     "when a range is split, its children stay with the half that they came from")
{
    start(300);
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, LARGE, 1000, RW), STATUS_OK);
    for (uint64_t i = 0; i < 1000; i++) /* not merged: every other address is left out */
        EXPECT(give(1, SPACE_HOST, LARGE + i * 4096, 2, SPACE_HOST, 0x10000 + i * 8192, 1, RW),
               STATUS_OK);
    stub_preempt_one_in = 1;
    EXPECT(take(1, SPACE_HOST, LARGE + 100 * 4096, 1), STATUS_OK);
    CHECK(stub_restarts > 0);
    EXPECT(check(), NULL);
    EXPECT(stub_count_ranges(tasks[1], SPACE_HOST), 2);
    EXPECT(stub_count_ranges(tasks[2], SPACE_HOST), 999);
    EXPECT(take(1, SPACE_HOST, LARGE + 101 * 4096, 899), STATUS_OK);
    EXPECT(stub_count_ranges(tasks[2], SPACE_HOST), 100);
    EXPECT(take(1, SPACE_HOST, LARGE, 100), STATUS_OK);
    EXPECT(stub_count_ranges(tasks[2], SPACE_HOST), 0);
    EXPECT(check(), NULL);
}

TEST(unmap_deep_chain, "a chain of thousands of delegations, and part of each, go in bounded steps")
{
    start(1500);
    enum { DEPTH = 3000 };
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, 0x10000, 3, RW), STATUS_OK);
    for (uint64_t i = 1; i < DEPTH; i++)
        EXPECT(give(1, SPACE_HOST, 0x10000 * i, 1, SPACE_HOST, 0x10000 * (i + 1), 3, RW),
               STATUS_OK);
    stub_preempt_one_in = 1;
    stub_restarts = 0;
    EXPECT(stub_unmap(stub_root, 0, SPACE_PHYSICAL, STUB_RAM + 0x1000, 1), STATUS_OK);
    CHECK(stub_restarts >= 2 * DEPTH / MAP_STEP);
    EXPECT(stub_count_ranges(tasks[1], SPACE_HOST), 2 * DEPTH);
    EXPECT(check(), NULL);
    for (uint64_t i = 1; i <= DEPTH; i++)
        CHECK(!has(1, SPACE_HOST, 0x10000 * i + 0x1000) &&
              has(1, SPACE_HOST, 0x10000 * i + 0x2000));
    EXPECT(stub_unmap(stub_root, 0, SPACE_PHYSICAL, STUB_RAM, 3), STATUS_OK);
    EXPECT(stub_count_ranges(tasks[1], SPACE_HOST), 0);
    EXPECT(check(), NULL);
}

TEST(unmap_wide, "a page given away ten thousand times is taken back everywhere")
{
    start(1500);
    for (uint64_t i = 0; i < 10000; i++)
        EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, 0x1000 + i * 0x2000, 1, MAP_READ),
               STATUS_OK);
    stub_preempt_one_in = 3;
    EXPECT(stub_unmap(stub_root, 0, SPACE_PHYSICAL, STUB_RAM, 1), STATUS_OK);
    EXPECT(stub_count_ranges(tasks[1], SPACE_HOST), 0);
    EXPECT(check(), NULL);
}

TEST(unmap_many_ranges,
     "children of many ranges are taken back without the ranges, preempted all the time")
{
    start(1500);
    for (uint64_t i = 0; i < 3000; i++)
        EXPECT(
            give(0, SPACE_PHYSICAL, STUB_RAM + i * 4096, 1, SPACE_HOST, 0x10000 + i * 8192, 1, RW),
            STATUS_OK);
    EXPECT(give(1, SPACE_HOST, 0x10000 + 2999 * 8192, 2, SPACE_HOST, 0x1000, 1, RW), STATUS_OK);
    stub_preempt_one_in = 1;
    EXPECT(stub_unmap(tasks[1], 0, SPACE_HOST, 0x10000, 3000 * 2), STATUS_OK);
    CHECK(stub_restarts > 3);
    EXPECT(stub_count_ranges(tasks[1], SPACE_HOST), 3000);
    EXPECT(stub_count_ranges(tasks[2], SPACE_HOST), 0);
    EXPECT(stub_unmap(stub_root, SLOT(1), SPACE_HOST | UNMAP_SELF, 0, 1ull << 30), STATUS_OK);
    EXPECT(stub_count_ranges(tasks[1], SPACE_HOST), 0);
    EXPECT(check(), NULL);
}

TEST(unmap_no_delegation_meanwhile, "from what is being taken away nobody can delegate any more")
{
    start(1500);
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, LARGE, 4, RW), STATUS_OK);
    for (uint64_t i = 0; i < 3000; i++)
        EXPECT(give(1, SPACE_HOST, LARGE, 2, SPACE_HOST, 0x400000 + i * 0x2000, 1, RW), STATUS_OK);
    uint64_t base = LARGE;
    CHECK(!revoke_step(tasks[1], SPACE_HOST, &base, LARGE + 0x1000, true));
    EXPECT(give(1, SPACE_HOST, LARGE, 3, SPACE_HOST, 0x1000, 1, RW), STATUS_NO_MAPPING);
    EXPECT(give(1, SPACE_HOST, LARGE + 0x1000, 3, SPACE_HOST, 0x1000, 1, RW), STATUS_OK);
    /* somebody else's call finishes the first */
    EXPECT(take(3, SPACE_HOST, 0x100000, 1), STATUS_OK);
    EXPECT(stub_count_ranges(tasks[2], SPACE_HOST), 0);
    CHECK(!has(1, SPACE_HOST, LARGE) && has(1, SPACE_HOST, LARGE + 0x1000));
    EXPECT(check(), NULL);
}

TEST(unmap_without_quota,
     "a holder who cannot pay for the pieces that remain loses more, never less")
{
    /* what is taken from a range of 1024 pages in large leaves, and what a task with no quota keeps */
    static const struct {
        uint64_t first, count, kept_from, kept_to;
    } cases[] = {
        {0, 512, 512, 1024},                    /* at the border of a leaf: nothing to pay */
        {512, 512, 0, 512},  {3, 1, 512, 1024}, /* the leaf goes as a whole */
        {1020, 1, 0, 512},   {511, 2, 0, 0},    /* both do */
        {0, 1024, 0, 0},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        start(100);
        EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_GUEST, LARGE, 1024, RW), STATUS_OK);
        EXPECT(give(1, SPACE_GUEST, LARGE, 2, SPACE_GUEST, LARGE, 1024, RW), STATUS_OK);
        stub_exhaust(&tasks[1]->quota, 0);
        EXPECT(take(1, SPACE_GUEST, LARGE + cases[i].first * 4096, cases[i].count), STATUS_OK);
        for (uint64_t page = 0; page < 1024; page++) {
            bool kept = page >= cases[i].kept_from && page < cases[i].kept_to;
            EXPECT(has(1, SPACE_GUEST, LARGE + page * 4096), kept);
            EXPECT(has(2, SPACE_GUEST, LARGE + page * 4096), kept); /* it had from him */
        }
        EXPECT(check(), NULL);
        stub_relax();
    }
}

TEST(unmap_without_record, "a holder with no room for a second range loses the smaller side")
{
    for (unsigned small = 1; small < 9; small += 6) {
        start(100);
        EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM + 0x1000, 1, SPACE_HOST, 0x10000, 9, RW),
               STATUS_OK);
        stub_exhaust(&tasks[1]->quota, 0);
        EXPECT(take(1, SPACE_HOST, 0x10000 + small * 4096, 1), STATUS_OK);
        for (uint64_t page = 0; page < 9; page++)
            EXPECT(has(1, SPACE_HOST, 0x10000 + page * 4096), small == 1 ? page > 1 : page < 7);
        EXPECT(check(), NULL);
        stub_relax();
    }
}

static uint32_t used_at_flush;

static void note_use(struct task *task, enum space_kind space)
{
    (void)space;
    used_at_flush = task->quota.used;
}

TEST(unmap_flushes_first, "tables are freed after the flush, never before")
{
    start(100);
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, 0x10000, 2, RW), STATUS_OK);
    uint32_t used = tasks[1]->quota.used;
    stub_commits = 0;
    stub_on_flush = note_use;
    EXPECT(take(1, SPACE_HOST, 0x10000, 1), STATUS_OK);
    EXPECT(stub_commits, 1);
    EXPECT(tasks[1]->quota.used, used);
    EXPECT(take(1, SPACE_HOST, 0x11000, 1), STATUS_OK);
    EXPECT(stub_commits, 2);
    EXPECT(used_at_flush, used - 1);            /* the last range's frame; */
    EXPECT(tasks[1]->quota.used, used - 1 - 3); /* then three tables */
}

TEST(unmap_stops_growth,
     "a range that is being taken back does not grow by what is delegated beside it")
{
    start(1500);
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, LARGE, 4, RW), STATUS_OK);
    for (uint64_t i = 0; i < 3000; i++)
        EXPECT(give(1, SPACE_HOST, LARGE + 0x3000, 2, SPACE_HOST, 0x400000 + i * 0x2000, 1, RW),
               STATUS_OK);
    uint64_t base = LARGE + 0x1000;
    CHECK(!revoke_step(tasks[1], SPACE_HOST, &base, LARGE + 0x4000, true));
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM + 0x4000, 1, SPACE_HOST, LARGE + 0x4000, 4, RW),
           STATUS_OK);
    while (!revoke_step(tasks[1], SPACE_HOST, &base, LARGE + 0x4000, true))
        continue;
    EXPECT(stub_count_ranges(tasks[1], SPACE_HOST), 2);
    CHECK(!has(1, SPACE_HOST, LARGE + 0x3000) && has(1, SPACE_HOST, LARGE + 0x4000));
    EXPECT(check(), NULL);
}

/* ---- random sequences against a naive model ---------------------------------------------------- */

/*
 * Two spaces of each task, PAGES pages each, and the first task's frames. The model holds for each page
 * its frame, rights and parent, page by page; to take a page back is to take all pages that name it.
 */
enum { PAGES = 1536, SPACES = 2, FRAMES = 0, PLACES = FRAMES + PAGES + TASKS * SPACES * PAGES };
#define WINDOW (1ull << 30)

struct page {
    uint64_t frame;
    int parent; /* -1: none */
    uint8_t live, rights;
    int first_child, next_child; /* lists by parent, to be quick */
};
static struct page pages[PLACES];
/* What a processor may still have in its TLB: as of the last flush, or the start of the call. */
static uint64_t cached[PLACES], present[PLACES];

static int place_of(unsigned task, unsigned space, unsigned page)
{
    return (int)(PAGES + (task * SPACES + space) * PAGES + page);
}

static enum space_kind kind(unsigned space)
{
    return space ? SPACE_GUEST : SPACE_HOST;
}

static void read_table(unsigned task, unsigned space)
{
    const struct table *table = space_table(tasks[task], kind(space));
    struct table_entry entry;
    uint64_t *out = &present[place_of(task, space, 0)], at = WINDOW;
    memset(out, 0, PAGES * sizeof(*out));
    for (; table_next(table, at, &entry) && entry.address < WINDOW + PAGES * 4096;
         at = entry.address + entry.size_bytes) {
        for (uint64_t offset = 0; offset < entry.size_bytes; offset += 4096) {
            uint64_t page = (entry.address + offset - WINDOW) / 4096;
            if (page < PAGES)
                out[page] = (entry.frame + offset) | entry.rights;
        }
    }
}

static void read_tables(void)
{
    for (unsigned task = 0; task < TASKS; task++) {
        for (unsigned space = 0; space < SPACES; space++)
            read_table(task, space);
    }
}

static void flushed(struct task *task, enum space_kind space)
{
    for (unsigned t = 0; t < TASKS; t++) {
        for (unsigned s = 0; s < SPACES; s++) {
            if (task && (tasks[t] != task || kind(s) != space))
                continue;
            int first = place_of(t, s, 0);
            read_table(t, s);
            memcpy(&cached[first], &present[first], PAGES * sizeof(cached[0]));
        }
    }
}

static void model_link(int parent, int page)
{
    pages[page].next_child = pages[parent].first_child;
    pages[parent].first_child = page;
}

static void model_drop_children(int page)
{
    int child = pages[page].first_child;
    pages[page].first_child = -1;
    while (child >= 0) {
        int next = pages[child].next_child;
        model_drop_children(child);
        pages[child].live = 0;
        child = next;
    }
}

static void model_drop(int page)
{
    model_drop_children(page);
    if (pages[page].live && pages[page].parent >= 0) {
        int *link = &pages[pages[page].parent].first_child;
        while (*link != page)
            link = &pages[*link].next_child;
        *link = pages[page].next_child;
    }
    pages[page].live = 0;
}

static void random_start(uint32_t quota)
{
    start(quota);
    table_format_host.largest_leaf = 1;
    memset(pages, 0, sizeof(pages));
    for (int i = 0; i < PLACES; i++)
        pages[i].first_child = pages[i].parent = -1;
    for (unsigned i = 0; i < PAGES; i++) {
        pages[i].live = 1;
        pages[i].frame = STUB_RAM + i * 4096;
        pages[i].rights = MAP_RIGHTS;
    }
    memset(cached, 0, sizeof(cached));
    stub_on_flush = flushed;
}

static unsigned random_page(void)
{
    unsigned page = (unsigned)(unit_random() % PAGES);
    return unit_random() % 3 ? page : page & ~511u;
}

static uint64_t random_count(unsigned page)
{
    uint64_t count = unit_random() % 4 ? 1 + unit_random() % 40 : 1 + unit_random() % 1100;
    if (unit_random() % 4 == 0)
        count = 512;
    return count < PAGES - page ? count : PAGES - page;
}

static void random_give(bool exact)
{
    unsigned from = (unsigned)(unit_random() % TASKS), to = (unsigned)(unit_random() % TASKS);
    unsigned space = (unsigned)(unit_random() % SPACES),
             target = (unsigned)(unit_random() % SPACES);
    bool physical = from == 0 && unit_random() % 2;
    if (to == 0 && from != 0)
        to = from;
    unsigned first = random_page(), at = random_page();
    uint64_t count = random_count(first > at ? first : at);
    int source = physical ? (int)first : place_of(from, space, first);
    int place = place_of(to, target, at);

    enum septum_status expected = STATUS_OK;
    unsigned rights = unit_random() % 2 ? pages[source].rights | MAP_READ : MAP_READ;
    for (uint64_t i = 0; i < count && expected == STATUS_OK; i++) {
        if (!pages[source + (int)i].live)
            expected = STATUS_NO_MAPPING;
        else if (rights & ~(unsigned)pages[source + (int)i].rights)
            expected = STATUS_BAD_RIGHTS;
    }
    for (uint64_t i = 0; i < count && expected == STATUS_OK; i++) {
        if (pages[place + (int)i].live)
            expected = STATUS_BAD_ARGUMENT;
    }
    enum septum_status status = give(from, physical ? SPACE_PHYSICAL : kind(space),
                                     physical ? STUB_RAM + first * 4096 : WINDOW + first * 4096, to,
                                     kind(target), WINDOW + at * 4096, count, rights);
    if (exact)
        EXPECT(status == STATUS_OK, expected == STATUS_OK);
    else
        CHECK(status != STATUS_OK || expected == STATUS_OK);
    for (uint64_t i = 0; i < stub_thread.registers.rdx; i++) { /* all of it, or what was done */
        struct page *page = &pages[place + (int)i];
        page->live = 1;
        page->frame = pages[source + (int)i].frame;
        page->rights = (uint8_t)rights;
        page->parent = source + (int)i;
        page->first_child = -1;
        model_link(source + (int)i, place + (int)i);
    }
}

static void random_take(void)
{
    unsigned task = (unsigned)(unit_random() % TASKS), space = (unsigned)(unit_random() % SPACES);
    unsigned first = random_page();
    uint64_t count = random_count(first);
    bool physical = task == 0 && unit_random() % 4 == 0;
    bool self = !physical && unit_random() % 2;
    EXPECT(stub_unmap(tasks[task], 0,
                      (physical ? SPACE_PHYSICAL : kind(space)) | (self ? UNMAP_SELF : 0),
                      (physical ? STUB_RAM : WINDOW) + first * 4096, count),
           STATUS_OK);
    for (uint64_t i = 0; i < count; i++) {
        int page = (physical ? 0 : place_of(task, space, 0)) + (int)(first + i);
        if (self)
            model_drop(page);
        else
            model_drop_children(page);
    }
}

/* The tables and the model are the same; or, if quotas may end, the tables have less and are closed. */
static void compare(bool exact)
{
    read_tables();
    EXPECT(check(), NULL);
    for (int i = PAGES; i < PLACES; i++) {
        uint64_t expected = pages[i].live ? pages[i].frame | pages[i].rights : 0;
        if (exact || present[i])
            EXPECT(present[i], expected);
        /* A translation that was there at the last flush and is not there now may still be used. */
        if (cached[i])
            EXPECT(cached[i], present[i]);
        if (present[i] && pages[i].parent >= PAGES)
            CHECK(present[pages[i].parent]);
    }
    for (int i = PAGES; i < PLACES && !exact; i++) {
        if (pages[i].live && !present[i])
            model_drop(i);
    }
    memcpy(cached, present, sizeof(cached));
}

TEST(revoke_random,
     "random delegation and revocation of large and small pages agrees with a naive model")
{
    random_start(1000);
    uint32_t used[TASKS];
    for (unsigned i = 0; i < TASKS; i++)
        used[i] = tasks[i]->quota.used;
    for (unsigned round = 0; round < 1500; round++) {
        stub_preempt_one_in = round % 3;
        if (unit_random() % 3)
            random_give(true);
        else
            random_take();
        compare(true);
    }
    EXPECT(stub_unmap(stub_root, 0, SPACE_PHYSICAL, STUB_RAM, PAGES), STATUS_OK);
    for (unsigned i = 0; i < TASKS; i++)
        CHECK(tasks[i]->quota.used <= used[i] + 1); /* the top of the guest space stays */
}

TEST(revoke_random_poor,
     "the same with tasks whose quotas end all the time: more may go, never less")
{
    for (uint32_t quota = 8; quota < 24; quota += 3) {
        random_start(quota);
        for (unsigned round = 0; round < 400; round++) {
            stub_preempt_one_in = round % 3;
            if (unit_random() % 3)
                random_give(false);
            else
                random_take();
            compare(false);
        }
    }
}

/* ---- the end of tasks and objects -------------------------------------------------------------- */

static enum septum_status drop(struct task *task, cap_slot_t slot)
{
    return stub_unmap(task, 0, SPACE_CAPABILITY | UNMAP_SELF, slot, 1);
}

TEST(task_end_returns_all, "a task that ends gives its owner every page back, whatever it had")
{
    stub_start(8192);
    uint64_t frames = frames_free_count();
    uint32_t used = stub_root->quota.used, given = stub_root->quota.given;
    for (unsigned round = 0; round < 3; round++) {
        tasks[0] = stub_root;
        for (unsigned i = 1; i < TASKS; i++)
            tasks[i] = stub_task(SLOT(i), 500);
        stub_preempt_one_in = round;
        EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, 0x10000, 3000, RW), STATUS_OK);
        EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_GUEST, 0, 3000, RW), STATUS_OK);
        EXPECT(stub_map(stub_root, SLOT(1), HOW(SPACE_PORT, SPACE_PORT, RW), 5, 5, 9, 0),
               STATUS_OK);
        EXPECT(stub_map(stub_root, SLOT(1), HOW(SPACE_PORT, SPACE_GUEST_PORT, RW), 5, 5, 9, 0),
               STATUS_OK);
        for (unsigned i = 0; i < 100; i++)
            CHECK(stub_object(tasks[1], (enum object_type)(OBJECT_THREAD + i % 6), tasks[1],
                              100 + i));
        for (unsigned i = 0; i < 100; i++) /* charged to one, held by another */
            CHECK(stub_object(tasks[1], OBJECT_ENDPOINT, tasks[2], 100 + i));
        for (unsigned i = 0; i < 100; i++)
            CHECK(stub_object(tasks[2], OBJECT_ENDPOINT, tasks[1], 300 + i));
        EXPECT(drop(stub_root, SLOT(1)), STATUS_OK);
        EXPECT(stub_destroyed[OBJECT_ENDPOINT], (round + 1) * 217);
        EXPECT(tasks[2]->charged, 0);
        for (unsigned i = 0; i < 512; i++)
            EXPECT(capability_lookup(&tasks[2]->capabilities, i)->type, OBJECT_NONE);
        EXPECT(drop(stub_root, SLOT(2)), STATUS_OK);
        EXPECT(drop(stub_root, SLOT(3)), STATUS_OK);
        EXPECT(stub_root->quota.given, given);
        EXPECT(stub_root->quota.used, used + 1); /* the page of slots */
        EXPECT(frames_free_count(), frames - 1);
        EXPECT(stub_root->charged, 0);
    }
    EXPECT(stub_check(tasks, 1), NULL);
}

TEST(task_end_revokes_gifts, "what a task had delegated on goes when it ends")
{
    start(100);
    EXPECT(give(0, SPACE_PHYSICAL, STUB_RAM, 1, SPACE_HOST, 0x10000, 3, RW), STATUS_OK);
    EXPECT(give(1, SPACE_HOST, 0x10000, 2, SPACE_HOST, 0x10000, 3, RW), STATUS_OK);
    EXPECT(give(2, SPACE_HOST, 0x10000, 3, SPACE_GUEST, 0x10000, 3, RW), STATUS_OK);
    EXPECT(drop(stub_root, SLOT(1)), STATUS_OK);
    tasks[1] = tasks[2];
    CHECK(!has(2, SPACE_HOST, 0x10000) && !has(3, SPACE_GUEST, 0x11000));
    EXPECT(check(), NULL);
}

/* A task below `owner`, its capability in `owner`'s slot. */
static struct task *task_below(struct task *owner, cap_slot_t slot, uint32_t pages)
{
    enum septum_status status;
    struct task *task = NULL;
    if (stub_task_create(owner, pages, 64, &task) != STATUS_OK)
        return NULL;
    struct capability *capability = capability_reserve(owner, slot, &status);
    if (!capability)
        abort();
    capability_install(capability, &task->object, RIGHTS_ALL, 0);
    return task;
}

TEST(task_end_is_recursive, "tasks made by a task that ends, and theirs, end with it")
{
    stub_start(8192);
    uint64_t frames = frames_free_count();
    struct task *task = stub_task(SLOT(1), 2000);
    for (unsigned depth = 0; depth < 100; depth++) {
        struct task *next = task_below(task, 5, 1900 - depth * 15);
        CHECK(next != NULL);
        CHECK(stub_object(next, OBJECT_THREAD, next, 7) != NULL);
        CHECK(stub_object(next, OBJECT_ENDPOINT, stub_root, 200 + depth) != NULL);
        task = next;
    }
    stub_preempt_one_in = 2;
    EXPECT(drop(stub_root, SLOT(1)), STATUS_OK);
    EXPECT(stub_destroyed[OBJECT_THREAD], 100);
    EXPECT(stub_destroyed[OBJECT_ENDPOINT], 100);
    EXPECT(stub_root->quota.given, 0);
    EXPECT(stub_root->charged, 0);
    EXPECT(frames_free_count(), frames - 3); /* slots of the first task */
}

TEST(task_create_at_every_quota,
     "a task that cannot be paid, at whatever point, leaves nothing behind")
{
    struct task *task;
    start(100);
    EXPECT(stub_task_create(tasks[1], 10, 0, &task), STATUS_BAD_ARGUMENT);
    EXPECT(stub_task_create(tasks[1], 10, CAP_SLOTS_MAX + 1, &task), STATUS_BAD_ARGUMENT);
    EXPECT(stub_task_create(tasks[1], 1ull << 32, 64, &task), STATUS_NO_QUOTA);
    EXPECT(stub_task_create(tasks[1], UINT32_MAX, 64, &task), STATUS_NO_QUOTA);
    for (uint32_t pages = 0; pages < 4; pages++) {
        uint32_t used = tasks[1]->quota.used, given = tasks[1]->quota.given;
        enum septum_status status = stub_task_create(tasks[1], pages, 64, &task);
        EXPECT(status, pages < 2 ? STATUS_NO_QUOTA : STATUS_OK);
        if (status == STATUS_OK) {
            while (!object_destroy(&task->object))
                continue;
        }
        EXPECT(tasks[1]->quota.used, used);
        EXPECT(tasks[1]->quota.given, given);
    }
    for (uint32_t left = 0; left < 5; left++) {
        stub_exhaust(&tasks[1]->quota, left);
        EXPECT(stub_task_create(tasks[1], 3, 64, &task), left < 4 ? STATUS_NO_QUOTA : STATUS_OK);
        EXPECT(quota_left(&tasks[1]->quota), left < 4 ? left : left - 4);
        stub_relax();
    }
}

TEST(task_end_by_itself,
     "a task may drop the capability to itself; root's own end frees nothing it stands on")
{
    start(100);
    EXPECT(stub_unmap(stub_root, SLOT(1), SPACE_CAPABILITY | UNMAP_SELF, SLOT(1), 1), STATUS_OK);
    EXPECT(stub_map(stub_root, 0, MAP_HOW(SPACE_CAPABILITY, SPACE_CAPABILITY, RIGHTS_ALL, 0),
                    SLOT(1), SLOT(9), 1, 0),
           STATUS_OK);
    EXPECT(stub_unmap(stub_root, SLOT(9), SPACE_CAPABILITY | UNMAP_SELF, 1, 500), STATUS_OK);
    EXPECT(drop(stub_root, SLOT(1)), STATUS_OK);
    EXPECT(capability_lookup(&stub_root->capabilities, SLOT(9))->type, OBJECT_NONE);
    /* the first task's own capability, as the boot code installs it */
    enum septum_status status;
    struct capability *capability = capability_reserve(stub_root, 1, &status);
    capability_install(capability, &stub_root->object, RIGHTS_ALL, 0);
    EXPECT(drop(stub_root, 1), STATUS_OK);
    EXPECT(stub_root->quota.used, 0);
}
