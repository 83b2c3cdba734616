/* links: block-server/changes.c */
#include "unit_test.h"

#include "protocol/block.h"

#include "block-server/changes.h"

#define SECTORS 2048u
#define BYTES   (64u * 4096u) /* a quarter of the volume's blocks */

static uint8_t *memory;
static struct changes changes;

static void fresh(void)
{
    free(memory);
    memory = calloc(1, BLOCK_CHANGES_BYTES(BYTES));
    CHECK(changes_join(&changes, memory, BYTES));
}

/* The model: what each sector holds, 0: as in the base. */
static uint8_t model[SECTORS];
static unsigned model_blocks;
static uint8_t model_used[SECTORS / 8];

static void write_some(uint64_t sector, uint32_t count, uint8_t value)
{
    while (count) {
        uint32_t n = count;
        uint8_t *at = changes_prepare(&changes, sector, &n);
        if (!at) {
            EXPECT(model_blocks, BYTES / 4096);
            CHECK(!model_used[sector / 8]);
            return;
        }
        CHECK(n > 0 && n <= count && sector / 8 == (sector + n - 1) / 8);
        model_blocks += !model_used[sector / 8];
        model_used[sector / 8] = 1;
        memset(at, value, n * 512ul);
        if (unit_random() % 16) {
            changes_commit(&changes, sector, n);
            memset(&model[sector], value, n);
        } else {
            /* Killed before it counted. What was there before is torn, so make it whole again. */
            for (uint32_t i = 0; i < n; i++)
                memset(at + i * 512ul, model[sector + i], 512);
        }
        sector += n, count -= n;
    }
}

static void compare(uint64_t sector, uint32_t count)
{
    while (count) {
        uint8_t *at;
        uint32_t n = changes_find(&changes, sector, count, &at);
        CHECK(n > 0 && n <= count);
        for (uint32_t i = 0; i < n; i++) {
            EXPECT(at != NULL, model[sector + i] != 0);
            for (unsigned byte = 0; at && byte < 512; byte += 73)
                EXPECT(at[i * 512ul + byte], model[sector + i]);
        }
        sector += n, count -= n;
    }
}

TEST(block_changes_model,
     "random writes against a model, through ends of the server, until it is full")
{
    for (unsigned round = 0; round < 8; round++) {
        fresh();
        memset(model, 0, sizeof model);
        memset(model_used, 0, sizeof model_used);
        model_blocks = 0;
        for (unsigned step = 0; step < 4000; step++) {
            uint64_t sector = unit_random() % SECTORS;
            uint32_t count = 1 + (uint32_t)(unit_random() % 40);
            if (count > SECTORS - sector)
                count = (uint32_t)(SECTORS - sector);
            switch (unit_random() % (step < 2000 ? 8 : 3)) {
            case 0: write_some(sector, count, (uint8_t)(1 + unit_random() % 255)); break;
            case 1:
                if (unit_random() % 64 == 0)
                    CHECK(changes_join(&changes, memory, BYTES));
                break;
            default: compare(sector, count);
            }
        }
        compare(0, SECTORS);
        CHECK(model_blocks > 32);
    }
}

TEST(block_changes_far, "sectors at the end of the largest disk do not collide with others")
{
    static const uint64_t sectors[] = {
        0, 8, 1ull << 32, 1ull << 40, (1ull << 55) - 8, (1ull << 55) - 16};
    uint8_t *at;
    fresh();
    for (unsigned i = 0; i < 6; i++) {
        uint32_t n = 8;
        uint8_t *room = changes_prepare(&changes, sectors[i], &n);
        CHECK(room && n == 8);
        memset(room, (int)i + 1, 4096);
        changes_commit(&changes, sectors[i], 8);
    }
    CHECK(changes_join(&changes, memory, BYTES));
    for (unsigned i = 0; i < 6; i++) {
        EXPECT(changes_find(&changes, sectors[i], 8, &at), 8);
        EXPECT(*at, i + 1);
    }
}

TEST(block_changes_other, "memory of another volume is refused")
{
    fresh();
    CHECK(!changes_join(&changes, memory, BYTES / 2));
    CHECK(!changes_join(&changes, memory, 0));
    CHECK(changes_join(&changes, memory, BYTES));
    memory[0] ^= 1;
    CHECK(!changes_join(&changes, memory, BYTES));
}
