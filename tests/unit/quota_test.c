/* links: microvisor/core/frames.c microvisor/core/quota.c */
#include "unit_test.h"

#include "core/quota.h"

void cross_call_poll(void)
{
}

void assertion_failed(const char *file, unsigned line, const char *what)
{
    printf("%s:%u: assertion failed: %s\n", file, line, what);
    abort();
}

static void *memory;
static struct quota q;

static void start(uint32_t pages)
{
    free(memory);
    memory = aligned_alloc(4096, 4096 * 4096);
    memset(memory, 0x5a, 4096 * 4096);
    frames_init(0x4000000, 4096 * 4096, memory);
    quota_init(&q, pages);
}

TEST(quota_limits_pages, "no more pages can be charged than were granted")
{
    start(5);
    void *pages[5];
    for (unsigned i = 0; i < 5; i++)
        CHECK((pages[i] = quota_alloc_pages(&q, 0)) != NULL);
    CHECK(!quota_alloc_pages(&q, 0));
    CHECK(!quota_alloc(&q, 64));
    EXPECT(q.used, 5);
    quota_free_pages(&q, pages[2], 0);
    EXPECT(quota_left(&q), 1);
    CHECK(quota_alloc(&q, 64) != NULL);
    CHECK(!quota_alloc_pages(&q, 0));
}

TEST(quota_limits_blocks, "a block of 2^n pages costs 2^n, and is refused as a whole")
{
    start(7);
    void *block = quota_alloc_pages(&q, 2);
    CHECK(block != NULL);
    EXPECT(q.used, 4);
    CHECK(!quota_alloc_pages(&q, 2));
    EXPECT(q.used, 4);
    CHECK(quota_alloc_pages(&q, 1) != NULL);
    quota_free_pages(&q, block, 2);
    EXPECT(quota_left(&q), 5);
}

TEST(quota_objects_share_frames, "63, 31, 15, 7, 3 and 1 objects of the six sizes lie in one frame")
{
    static const unsigned per_page[] = {63, 31, 15, 7, 3, 1};
    for (unsigned class = 0; class < 6; class++) {
        start(2);
        size_t size = 64u << class;
        for (unsigned i = 0; i < 2 * per_page[class]; i++) {
            EXPECT(q.used, i / per_page[class] + (i % per_page[class] != 0));
            CHECK(quota_alloc(&q, size) != NULL);
        }
        CHECK(!quota_alloc(&q, size));
        EXPECT(q.used, 2);
    }
}

TEST(quota_sizes_round_up, "a size between two classes takes the larger: neighbours do not touch")
{
    static const size_t sizes[] = {1, 63, 64, 65, 96, 128, 129, 250, 257, 513, 1000, 1025, 2048};
    start(64);
    uint8_t *objects[13][3];
    for (unsigned i = 0; i < 13; i++) {
        for (unsigned j = 0; j < 3; j++) {
            objects[i][j] = quota_alloc(&q, sizes[i]);
            memset(objects[i][j], (int)(i * 3 + j + 1), sizes[i]);
        }
    }
    for (unsigned i = 0; i < 13; i++) {
        for (unsigned j = 0; j < 3; j++) {
            for (size_t k = 0; k < sizes[i]; k++)
                EXPECT(objects[i][j][k], i * 3 + j + 1);
            quota_free(&q, objects[i][j], sizes[i]);
        }
    }
    EXPECT(q.used, 0);
}

TEST(quota_objects_are_cleared, "an object is all zero, also where another was before")
{
    start(1);
    for (unsigned i = 0; i < 200; i++) {
        uint8_t *object = quota_alloc(&q, 200);
        for (unsigned j = 0; j < 200; j++)
            EXPECT(object[j], 0);
        memset(object, 0xff, 200);
        quota_free(&q, object, 200);
    }
    EXPECT(q.used, 0);
}

TEST(quota_empty_slab_goes_back, "a frame whose last object is freed is nobody's any more")
{
    start(10);
    uint64_t before = frames_free_count();
    void *objects[40];
    for (unsigned i = 0; i < 40; i++)
        objects[i] = quota_alloc(&q, 128);
    EXPECT(q.used, 2);
    for (unsigned i = 0; i < 40; i++)
        quota_free(&q, objects[i], 128);
    EXPECT(q.used, 0);
    EXPECT(frames_free_count(), before);
}

TEST(quota_random_objects, "random allocation and freeing of all sizes keeps contents and counts")
{
    enum { OBJECTS = 500 };
    static struct {
        uint8_t *at;
        size_t size;
    } objects[OBJECTS];
    memset(objects, 0, sizeof(objects));
    start(100);
    uint64_t before = frames_free_count();
    for (unsigned i = 0; i < 50000; i++) {
        unsigned k = (unsigned)(unit_random() % OBJECTS);
        if (objects[k].at) {
            EXPECT(objects[k].at[0], k & 0xff);
            EXPECT(objects[k].at[objects[k].size - 1], k & 0xff);
            quota_free(&q, objects[k].at, objects[k].size);
            objects[k].at = NULL;
        } else {
            objects[k].size = 1 + unit_random() % (unit_random() % 4 ? 300 : 2048);
            objects[k].at = quota_alloc(&q, objects[k].size);
            if (objects[k].at)
                memset(objects[k].at, (int)(k & 0xff), objects[k].size);
        }
        CHECK(q.used <= 100);
        EXPECT(frames_free_count() + q.used, before);
    }
    for (unsigned k = 0; k < OBJECTS; k++) {
        if (objects[k].at)
            quota_free(&q, objects[k].at, objects[k].size);
    }
    EXPECT(q.used, 0);
}

TEST(quota_moves, "pages given to another quota are missing here, and come back at its end")
{
    struct quota child;
    start(20);
    quota_init(&child, 0);
    CHECK(quota_move(&q, &child, 8));
    EXPECT(quota_left(&q), 12);
    EXPECT(quota_left(&child), 8);
    EXPECT(child.granted, 8);
    EXPECT(q.given, 8);
    CHECK(!quota_move(&q, &child, 13));
    EXPECT(child.granted, 8);
    EXPECT(q.given, 8);
    void *page = quota_alloc_pages(&child, 0);
    quota_free_pages(&child, page, 0);
    quota_return(&child, &q);
    EXPECT(quota_left(&q), 20);
    EXPECT(quota_left(&child), 0);
}

TEST(quota_move_counts_use, "what is in use cannot be given away")
{
    struct quota child;
    start(4);
    quota_init(&child, 0);
    quota_alloc_pages(&q, 1);
    CHECK(!quota_move(&q, &child, 3));
    CHECK(quota_move(&q, &child, 2));
    CHECK(!quota_move(&q, &child, 1));
    CHECK(!quota_alloc_pages(&q, 0));
    CHECK(!quota_move(&q, &child, UINT32_MAX));
}
