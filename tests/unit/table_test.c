/* links: microvisor/core/frames.c microvisor/core/quota.c microvisor/core/table.c microvisor/virt/ept.c
 *        microvisor/x86/paging_format.c */
#include "unit_test.h"

#include "core/table.h"

#define POOL_PAGES 4096u
#define LARGE (2ull << 20)
#define HUGE (1ull << 30)
#define END 0x00007ffffffff000ull

void cross_call_poll(void)
{
}

void assertion_failed(const char *file, unsigned line, const char *what)
{
    printf("%s:%u: assertion failed: %s\n", file, line, what);
    abort();
}

static struct table_format *const formats[] = {&table_format_host, &table_format_ept};
static void *memory;
static struct quota q;
static struct table t;

static void start(struct table_format *format, unsigned largest_leaf)
{
    free(memory);
    memory = aligned_alloc(4096, POOL_PAGES * 4096);
    memset(memory, 0xa5, POOL_PAGES * 4096);
    frames_init(0x8000000, POOL_PAGES * 4096, memory);
    quota_init(&q, POOL_PAGES - 64);
    format->largest_leaf = largest_leaf;
    t = (struct table){
        .format = format, .root = quota_alloc_pages(&q, 0), .end = END, .quota = &q};
    CHECK(t.root);
}

static uint64_t leaf_bits(const struct table_format *format, unsigned rights, enum map_cache cache,
                          bool device)
{
    struct table_leaf leaf = {0, rights, cache, device};
    return table_leaf_bits(format, &leaf);
}

static struct table_entry look(uint64_t address)
{
    struct table_entry entry;
    if (table_next(&t, address, &entry) && entry.address <= address)
        return entry;
    return (struct table_entry){0};
}

static enum septum_status map(uint64_t address, uint64_t frame, uint64_t size, unsigned rights)
{
    struct table_leaf leaf = {frame, rights, CACHE_INHERIT, false};
    uint64_t mapped = size;
    enum septum_status status = table_map(&t, address, &mapped, &leaf, UINT32_MAX);
    CHECK(status != STATUS_OK || !table_garbage);
    table_free_garbage();
    EXPECT(mapped, size);
    return status;
}

TEST(table_map_is_bounded, "a mapping stops after as many leaves as it may write, and says where")
{
    for (unsigned i = 0; i < 2; i++) {
            struct table_leaf leaf = {LARGE - 0x3000, MAP_READ, CACHE_INHERIT, false};
        uint64_t size = 3 * LARGE;
        start(formats[i], 1);
        EXPECT(table_map(&t, LARGE - 0x3000, &size, &leaf, 4), STATUS_OK);
        EXPECT(size, LARGE + 0x3000);
        EXPECT(look(LARGE - 0x1000).frame, LARGE - 0x1000);
        EXPECT(look(LARGE).size_bytes, LARGE);
        EXPECT(look(2 * LARGE).size_bytes, 0);
    }
}

static void clear(uint64_t address, uint64_t size)
{
    unsigned budget = UINT32_MAX;
    CHECK(table_clear(&t, address, size, &budget));
    table_free_garbage();
}

TEST(table_host_bits, "the host's leaves carry present, user, write, no-execute and cache bits of the SDM")
{
    const struct table_format *f = &table_format_host;
    const uint64_t nx = 1ull << 63;
    EXPECT(leaf_bits(f, MAP_READ, CACHE_INHERIT, false) & ~0x60ull, nx | 5);
    EXPECT(leaf_bits(f, MAP_READ | MAP_WRITE, CACHE_INHERIT, false) & ~0x60ull, nx | 7);
    EXPECT(leaf_bits(f, MAP_READ | MAP_EXECUTE, CACHE_INHERIT, false) & ~0x60ull, 5);
    EXPECT(leaf_bits(f, MAP_READ, CACHE_INHERIT, true) & 0x18, 0x18);
    EXPECT(leaf_bits(f, MAP_READ, CACHE_UNCACHED, false) & 0x18, 0x18);
    EXPECT(leaf_bits(f, MAP_READ, CACHE_WRITE_COMBINING, true) & 0x18, 0x08);
    EXPECT(f->large, 0x80);
    EXPECT(f->directory & 7, 7); /* with the user bit: nested paging needs it as well */
}

TEST(table_ept_bits, "EPT leaves carry read, write, execute, a memory type and ignore-PAT")
{
    const struct table_format *f = &table_format_ept;
    EXPECT(leaf_bits(f, MAP_READ, CACHE_INHERIT, false), 1 | 6 << 3 | 0x40);
    EXPECT(leaf_bits(f, MAP_RIGHTS, CACHE_INHERIT, false), 7 | 6 << 3 | 0x40);
    EXPECT(leaf_bits(f, MAP_READ | MAP_WRITE, CACHE_INHERIT, true), 3 | 0 << 3 | 0x40);
    EXPECT(leaf_bits(f, MAP_READ | MAP_WRITE, CACHE_WRITE_COMBINING, true), 3 | 1 << 3 | 0x40);
    EXPECT(leaf_bits(f, MAP_READ, CACHE_UNCACHED, false), 1 | 0x40);
    EXPECT(f->directory, 7);
}

TEST(table_decodes_what_it_encodes, "rights and cache attribute are read back from every leaf")
{
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned rights = MAP_READ; rights <= MAP_RIGHTS; rights += 2) {
            for (unsigned cache = CACHE_INHERIT; cache <= CACHE_WRITE_COMBINING; cache++) {
                unsigned got_rights;
                enum map_cache got_cache;
                uint64_t leaf = leaf_bits(formats[i], rights, (enum map_cache)cache, false);
                formats[i]->decode(leaf | 0x1000, &got_rights, &got_cache);
                EXPECT(got_rights, rights);
                EXPECT(got_cache, cache);
            }
        }
    }
}

TEST(table_maps_pages, "pages are found at their addresses with their frames, and nowhere else")
{
    for (unsigned i = 0; i < 2; i++) {
        start(formats[i], 2);
        EXPECT(map(0x7f0000001000, 0x12345000, 0x3000, MAP_READ), STATUS_OK);
        EXPECT(q.used, 4);
        EXPECT(look(0x7f0000000fff).size_bytes, 0);
        EXPECT(look(0x7f0000001000).frame, 0x12345000);
        EXPECT(look(0x7f0000003fff).frame, 0x12347000);
        EXPECT(look(0x7f0000003000).rights, MAP_READ);
        EXPECT(look(0x7f0000004000).size_bytes, 0);
    }
}

TEST(table_largest_leaves, "a mapping uses the largest leaves that address, frame and size allow")
{
    for (unsigned i = 0; i < 2; i++) {
        start(formats[i], 2);
        /* 4K ... 2M ... 1G ... 2M ... 4K, address and frame congruent */
        uint64_t from = HUGE - LARGE - 0x1000, size = 0x1000 + LARGE + HUGE + LARGE + 0x1000;
        EXPECT(map(from, 4 * HUGE - LARGE - 0x1000, size, MAP_RIGHTS), STATUS_OK);
        EXPECT(look(from).size_bytes, 0x1000);
        EXPECT(look(HUGE - LARGE).size_bytes, LARGE);
        EXPECT(look(HUGE).size_bytes, HUGE);
        EXPECT(look(HUGE + 12345678).frame, 4 * HUGE);
        EXPECT(look(2 * HUGE).size_bytes, LARGE);
        EXPECT(look(2 * HUGE + LARGE).size_bytes, 0x1000);
        EXPECT(q.used, 1 + 1 + 2 + 2);
    }
}

TEST(table_leaf_limit, "no leaf is larger than the processor has")
{
    for (unsigned i = 0; i < 2; i++) {
        start(formats[i], 1);
        EXPECT(map(0, 4 * HUGE, HUGE, MAP_RIGHTS), STATUS_OK);
        EXPECT(look(0).size_bytes, LARGE);
        EXPECT(q.used, 3);
    }
}

TEST(table_misaligned_frames, "where frame and address are not congruent there are only small leaves")
{
    start(&table_format_host, 2);
    EXPECT(map(LARGE, LARGE + 0x1000, LARGE, MAP_READ), STATUS_OK);
    EXPECT(look(LARGE).size_bytes, 0x1000);
    EXPECT(look(2 * LARGE - 1).frame, 2 * LARGE);
}

TEST(table_refuses_to_overwrite, "what is mapped is never mapped over, by small or large leaves")
{
    for (unsigned i = 0; i < 2; i++) {
        start(formats[i], 2);
        EXPECT(map(HUGE + 0x5000, 0x5000, 0x1000, MAP_READ), STATUS_OK);
        EXPECT(map(4 * HUGE, 4 * HUGE, HUGE, MAP_READ), STATUS_OK);
        uint32_t used = q.used;
        EXPECT(map(HUGE + 0x4000, 0x100000, 0x3000, MAP_READ), STATUS_BAD_ARGUMENT);
        EXPECT(map(HUGE, HUGE, HUGE, MAP_READ), STATUS_BAD_ARGUMENT);
        EXPECT(map(HUGE, LARGE, LARGE, MAP_READ), STATUS_BAD_ARGUMENT);
        EXPECT(map(4 * HUGE + 0x7000, 0x7000, 0x1000, MAP_READ), STATUS_BAD_ARGUMENT);
        EXPECT(map(4 * HUGE + LARGE, LARGE, LARGE, MAP_READ), STATUS_BAD_ARGUMENT);
        EXPECT(q.used, used);
        EXPECT(look(HUGE + 0x5000).frame, 0x5000);
        EXPECT(look(HUGE + 0x4000).size_bytes, 0);
    }
}

TEST(table_clear_gives_back, "clearing the last leaf of a table frees it and those above")
{
    for (unsigned i = 0; i < 2; i++) {
        start(formats[i], 2);
        EXPECT(map(0x1000, 0x1000, 0x2000, MAP_READ), STATUS_OK);
        EXPECT(map(0x600000000000, 0x9000, 0x1000, MAP_READ), STATUS_OK);
        EXPECT(q.used, 7);
        clear(0x1000, 0x1000);
        EXPECT(q.used, 7);
        EXPECT(look(0x1000).size_bytes, 0);
        EXPECT(look(0x2000).frame, 0x2000);
        clear(0x2000, 0x1000);
        EXPECT(q.used, 4);
        clear(0, END);
        EXPECT(q.used, 1);
    }
}

TEST(table_garbage_is_absent, "a table that waits for the flush has no present entry, whatever it links")
{
    for (unsigned i = 0; i < 2; i++) {
            unsigned budget = UINT32_MAX, tables = 0;
        start(formats[i], 2);
        EXPECT(map(0x1000, 0x1000, 0x2000, MAP_READ), STATUS_OK);
        EXPECT(map(0x600000000000, 0x9000, 0x1000, MAP_READ), STATUS_OK);
        CHECK(table_clear(&t, 0, END, &budget));
        for (uint64_t *table = table_garbage; table; table = (uint64_t *)table[0], tables++) {
            for (unsigned j = 0; j < 512; j++)
                EXPECT(table[j] & formats[i]->present_mask, 0);
        }
        EXPECT(tables, 6);
        EXPECT(q.used, 7);
        table_free_garbage();
        EXPECT(q.used, 1);
    }
}

TEST(table_clear_is_bounded, "a small budget clears a little, and repeated calls come to the end")
{
    for (unsigned i = 0; i < 2; i++) {
        start(formats[i], 1);
        uint64_t size = 5 * LARGE;
        EXPECT(map(LARGE + 0x3000, 0x1000, size, MAP_READ), STATUS_OK);
        unsigned calls = 0;
        for (bool done = false; !done; calls++) {
                    unsigned budget = 64;
            done = table_clear(&t, LARGE + 0x3000, size, &budget);
            table_free_garbage();
            CHECK(calls < 60);
        }
        CHECK(calls >= 5 * 512 / 64);
        EXPECT(q.used, 1);
    }
}

TEST(table_split_keeps_translations, "splitting large leaves changes their number and nothing else")
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t from, to;
        start(formats[i], 2);
        EXPECT(map(HUGE, 8 * HUGE, HUGE, MAP_READ | MAP_EXECUTE), STATUS_OK);
        CHECK(table_split(&t, HUGE, &from, &to)); /* nothing lies across its start */
        EXPECT(look(HUGE).size_bytes, HUGE);
        CHECK(table_split(&t, HUGE + 3 * LARGE + 0x5000, &from, &to));
        EXPECT(look(HUGE).size_bytes, LARGE);
        EXPECT(look(HUGE + 3 * LARGE).size_bytes, 0x1000);
        EXPECT(look(HUGE + 4 * LARGE).size_bytes, LARGE);
        for (uint64_t at = HUGE; at < 2 * HUGE; at += LARGE / 4) {
            struct table_entry entry = look(at);
            EXPECT(entry.frame + (at - entry.address), at + 7 * HUGE);
            EXPECT(entry.rights, MAP_READ | MAP_EXECUTE);
        }
        EXPECT(q.used, 4);
        clear(HUGE + 3 * LARGE + 0x5000, 0x2000);
        EXPECT(look(HUGE + 3 * LARGE + 0x5000).size_bytes, 0);
        EXPECT(look(HUGE + 3 * LARGE + 0x7000).frame, 8 * HUGE + 3 * LARGE + 0x7000);
        clear(HUGE, HUGE);
        EXPECT(q.used, 1);
    }
}

TEST(table_split_without_quota, "a split that cannot be paid changes nothing and names the whole leaf")
{
    uint64_t from, to;
    start(&table_format_ept, 2);
    EXPECT(map(HUGE, HUGE, HUGE, MAP_READ), STATUS_OK);
    q.granted = q.used;
    CHECK(!table_split(&t, HUGE + 0x1000, &from, &to));
    EXPECT(from, HUGE);
    EXPECT(to, 2 * HUGE);
    EXPECT(look(HUGE).size_bytes, HUGE);
    q.granted++; /* enough for the first of two splits */
    CHECK(!table_split(&t, HUGE + LARGE + 0x1000, &from, &to));
    EXPECT(from, HUGE + LARGE);
    EXPECT(to, HUGE + 2 * LARGE);
    EXPECT(look(HUGE).size_bytes, LARGE);
}

TEST(table_quota_at_every_point, "a mapping that cannot be paid, at whichever table, leaves nothing behind")
{
    for (unsigned i = 0; i < 2; i++) {
        uint64_t from = HUGE - LARGE - 0x2000, size = 0x2000 + LARGE + 0x2000;
        for (unsigned granted = 1;; granted++) {
            start(formats[i], 2);
            EXPECT(map(0x200000000000, 0x1000, 0x1000, MAP_READ), STATUS_OK);
            uint32_t used = q.used;
            q.granted = used + granted - 1;
            enum septum_status status = map(from, from, size, MAP_RIGHTS);
            if (status == STATUS_OK) {
                EXPECT(granted - 1, 1 + 2 + 2); /* two levels above, two ends of small pages */
                break;
            }
            EXPECT(status, STATUS_NO_QUOTA);
            EXPECT(q.used, used);
            CHECK(!look(from).size_bytes && !look(HUGE - LARGE).size_bytes);
            EXPECT(look(0x200000000000).frame, 0x1000);
        }
    }
}

TEST(table_next_walks_all, "walking by table_next sees each leaf once, in order")
{
    for (unsigned i = 0; i < 2; i++) {
        struct table_entry entry;
        uint64_t expected[64], at = 0;
        unsigned count = 0, seen = 0;
        start(formats[i], 2);
        for (uint64_t address = 0x1000; count < 55; address = address * 3 / 2 + 0x5000) {
            address &= ~0xfffull;
            EXPECT(map(address, 0x1000 * (count + 1), 0x1000, MAP_READ), STATUS_OK);
            expected[count++] = address;
        }
        for (; table_next(&t, at, &entry); at = entry.address + entry.size_bytes) {
            EXPECT(entry.address, expected[seen]);
            EXPECT(entry.frame, 0x1000 * (seen + 1));
            seen++;
        }
        EXPECT(seen, count);
    }
}

TEST(table_kernel_half, "the kernel's top-level entries are neither shown nor cleared nor freed")
{
    struct table_entry entry;
    start(&table_format_host, 1);
    t.root[511] = 0x1234567;
    EXPECT(map(END - 0x1000, 0x1000, 0x1000, MAP_READ), STATUS_OK);
    CHECK(table_next(&t, 0, &entry));
    CHECK(!table_next(&t, END, &entry));
    clear(0, END);
    EXPECT(t.root[511], 0x1234567);
    EXPECT(q.used, 1);
}

TEST(table_all_is_cleared, "a table with leaves of all sizes is cleared in bounded steps")
{
    for (unsigned i = 0; i < 2; i++) {
        bool done = false;
        unsigned calls = 0;
        start(formats[i], 2);
        for (unsigned j = 1; j < 20; j++)
            EXPECT(map(j * 5 * HUGE - 0x100000, j * HUGE - 0x100000, 0x100000 + LARGE, MAP_READ),
                   STATUS_OK);
        for (; !done; calls++) {
                    unsigned budget = TABLE_ENTRIES;
            done = table_clear(&t, 0, END, &budget);
            table_free_garbage();
            CHECK(calls < 100);
        }
        CHECK(calls > 3);
        EXPECT(q.used, 1);
    }
}

TEST(table_random, "random mapping, splitting and clearing agrees with an array of pages")
{
    enum { PAGES = 4096 }; /* 16 MiB around the border of a 1 GiB entry */
    static uint64_t model[PAGES];
    const uint64_t base = HUGE - PAGES * 4096 / 2;
    for (unsigned i = 0; i < 2; i++) {
        start(formats[i], 2);
        memset(model, 0, sizeof(model));
        for (unsigned round = 0; round < 400; round++) {
            uint64_t first = unit_random() % PAGES, count = 1 + unit_random() % 1500, from, to;
            if (unit_random() % 2)
                first &= ~511ull;
            if (count > PAGES - first)
                count = PAGES - first;
            bool free_range = true;
            for (uint64_t k = first; k < first + count; k++)
                free_range = free_range && !model[k];
            if (unit_random() % 2) {
                enum septum_status status =
                    map(base + first * 4096, 5 * HUGE + first * 4096, count * 4096, MAP_READ);
                EXPECT(status, free_range ? STATUS_OK : STATUS_BAD_ARGUMENT);
                for (uint64_t k = first; free_range && k < first + count; k++)
                    model[k] = 5 * HUGE + k * 4096;
            } else {
                CHECK(table_split(&t, base + first * 4096, &from, &to));
                CHECK(table_split(&t, base + (first + count) * 4096, &from, &to));
                clear(base + first * 4096, count * 4096);
                memset(&model[first], 0, count * sizeof(model[0]));
            }
            for (uint64_t k = 0; k < PAGES; k += round % 8 ? 37 : 1) {
                struct table_entry entry = look(base + k * 4096);
                uint64_t frame = entry.size_bytes ? entry.frame + (base + k * 4096 - entry.address) : 0;
                EXPECT(frame, model[k]);
            }
        }
        clear(0, END);
        EXPECT(q.used, 1);
    }
}
