/* links: microvisor/core/frames.c */
#include "unit_test.h"

#include "core/quota.h"

#define POOL_PAGES 2048u
#define BASE 0x12345000ull /* on purpose not aligned to the largest block */

void cross_call_poll(void)
{
}

void assertion_failed(const char *file, unsigned line, const char *what)
{
    printf("%s:%u: assertion failed: %s\n", file, line, what);
    abort();
}

static uint8_t *memory;

static void start(uint64_t base)
{
    free(memory);
    memory = aligned_alloc(4096, POOL_PAGES * 4096);
    memset(memory, 0xa5, POOL_PAGES * 4096);
    frames_init(base, POOL_PAGES * 4096, memory);
}

static int is_zero(const uint8_t *frames, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (frames[i])
            return 0;
    }
    return 1;
}

TEST(frames_all_can_be_had, "every free frame can be allocated, once, and lies in the pool")
{
    start(BASE);
    uint64_t count = frames_free_count(), got = 0;
    static uint8_t seen[POOL_PAGES];
    memset(seen, 0, sizeof(seen));
    for (uint8_t *frame; (frame = frames_alloc(0)) != NULL; got++) {
        size_t index = (size_t)(frame - memory) / 4096;
        CHECK(index < POOL_PAGES && !seen[index]);
        seen[index] = 1;
    }
    EXPECT(got, count);
    EXPECT(frames_free_count(), 0);
    CHECK(count > POOL_PAGES - 16);
}

TEST(frames_are_cleared, "a frame that was dirty when it was freed is all zero when allocated")
{
    start(BASE);
    for (unsigned order = 0; order < 4; order++) {
        uint8_t *frames = frames_alloc(order);
        CHECK(is_zero(frames, 4096u << order));
        memset(frames, 0xff, 4096u << order);
        frames_free(frames, order);
        uint8_t *again = frames_alloc(order);
        CHECK(is_zero(again, 4096u << order));
    }
}

TEST(frames_blocks_are_aligned, "a block of 2^n frames is physically aligned to its size")
{
    for (uint64_t base = 0x100000; base < 0x100000 + 8 * 4096; base += 4096) {
        start(base);
        for (unsigned order = 0; order < 4; order++) {
            void *frames = frames_alloc(order);
            EXPECT(frame_physical(frames) & ((4096ull << order) - 1), 0);
        }
    }
}

TEST(frames_addresses, "kernel and physical addresses are converted both ways, and only inside the pool")
{
    start(BASE);
    void *frame = frames_alloc(0);
    paddr_t physical = frame_physical(frame);
    EXPECT(frame_virtual(physical), frame);
    EXPECT(physical - BASE, (uint64_t)((uint8_t *)frame - memory));
    CHECK(frame_is_kernel(physical));
    CHECK(!frame_is_kernel(BASE - 1));
    CHECK(!frame_is_kernel(BASE + POOL_PAGES * 4096));
    CHECK(!frame_is_kernel(0));
    CHECK(!frame_is_kernel(UINT64_MAX));
}

TEST(frames_merge, "freed neighbours become blocks again: after any order all of it can be had in eights")
{
    start(BASE);
    static void *frames[POOL_PAGES];
    uint64_t before = frames_free_count();
    unsigned eights = 0, count = 0;
    for (; frames_alloc(3); eights++)
        continue;
    start(BASE);
    for (void *frame; (frame = frames_alloc(0)) != NULL;)
        frames[count++] = frame;
    for (unsigned i = count; i > 1; i--) {
        unsigned j = (unsigned)(unit_random() % i);
        void *other = frames[j];
        frames[j] = frames[i - 1];
        frames[i - 1] = other;
    }
    for (unsigned i = 0; i < count; i++)
        frames_free(frames[i], 0);
    EXPECT(frames_free_count(), before);
    for (unsigned i = 0; i < eights; i++)
        CHECK(frames_alloc(3) != NULL);
}

TEST(frames_empty_pool, "an empty pool gives NULL, for each size, and recovers")
{
    start(BASE);
    void *last = NULL;
    for (void *frame; (frame = frames_alloc(0)) != NULL;)
        last = frame;
    for (unsigned order = 0; order < 4; order++)
        CHECK(!frames_alloc(order));
    frames_free(last, 0);
    CHECK(!frames_alloc(1));
    EXPECT(frames_alloc(0), last);
}

TEST(frames_random, "random allocations never overlap, and the count is always right")
{
    enum { BLOCKS = 300 };
    static struct {
        uint8_t *at;
        unsigned order;
    } blocks[BLOCKS];
    start(BASE);
    memset(blocks, 0, sizeof(blocks));
    uint64_t free_frames = frames_free_count();
    for (unsigned i = 0; i < 20000; i++) {
        unsigned k = (unsigned)(unit_random() % BLOCKS);
        if (blocks[k].at) {
            for (size_t j = 0; j < 4096u << blocks[k].order; j += 512)
                EXPECT(blocks[k].at[j], k & 0xff);
            frames_free(blocks[k].at, blocks[k].order);
            free_frames += 1u << blocks[k].order;
            blocks[k].at = NULL;
            continue;
        }
        blocks[k].order = (unsigned)(unit_random() % 4);
        blocks[k].at = frames_alloc(blocks[k].order);
        if (!blocks[k].at)
            continue;
        free_frames -= 1u << blocks[k].order;
        memset(blocks[k].at, (int)(k & 0xff), 4096u << blocks[k].order);
        EXPECT(frames_free_count(), free_frames);
    }
}

TEST(frames_tiny_pools, "a region of any small size can be a pool, even one without a usable frame")
{
    for (unsigned pages = 0; pages < 40; pages++) {
        uint8_t *small = aligned_alloc(4096, (pages + 1) * 4096);
        frames_init(BASE, pages * 4096, small);
        uint64_t count = frames_free_count();
        while (frames_alloc(0))
            count--;
        EXPECT(count, 0);
        free(small);
    }
}
