/* links: vmm-server/cpu/mtrr.c */
#include "unit_test.h"

#include "cpu/mtrr.h"

static struct mtrr mtrr;

static void keeps(uint32_t index, uint64_t value)
{
    uint64_t read;
    CHECK(mtrr_write(&mtrr, 40, index, value));
    CHECK(mtrr_read(&mtrr, index, &read));
    EXPECT(read, value);
}

TEST(mtrr_registers,
     "there are eight variable ranges, eleven fixed ones, a default; the rest is none")
{
    static const uint32_t fixed[] = {0x250, 0x258, 0x259, 0x268, 0x26f};
    uint64_t value;
    CHECK(mtrr_read(&mtrr, 0xfe, &value));
    EXPECT(value, 0x508);
    CHECK(!mtrr_write(&mtrr, 40, 0xfe, value));
    for (uint32_t i = 0; i < 8; i++) {
        keeps(0x200 + 2 * i, (uint64_t)i << 20 | 6);
        keeps(0x201 + 2 * i, 0xfff0000800);
    }
    for (unsigned i = 0; i < sizeof fixed / sizeof *fixed; i++)
        keeps(fixed[i], 0x0605040100060504 + i % 2);
    keeps(0x2ff, 0xc06);
    for (uint32_t index = 0x210; index < 0x250; index++)
        CHECK(!mtrr_read(&mtrr, index, &value) && !mtrr_write(&mtrr, 40, index, 0));
    CHECK(mtrr_read(&mtrr, 0x20e, &value) && value == (7ull << 20 | 6));
}

TEST(mtrr_reserved,
     "types that are none, reserved bits, and addresses that are too wide are refused")
{
    uint64_t value;
    keeps(0x200, 0x100006);
    for (uint64_t type = 0; type < 256; type++)
        EXPECT(mtrr_write(&mtrr, 40, 0x202, type), type < 2 || (type > 3 && type < 7));
    CHECK(!mtrr_write(&mtrr, 40, 0x200, 1ull << 40 | 6) && !mtrr_write(&mtrr, 40, 0x200, 0x106));
    CHECK(!mtrr_write(&mtrr, 40, 0x201, 1ull << 40) && !mtrr_write(&mtrr, 40, 0x201, 0x400));
    CHECK(!mtrr_write(&mtrr, 40, 0x250, 0x0606060602060606));
    CHECK(!mtrr_write(&mtrr, 40, 0x2ff, 0x100) && !mtrr_write(&mtrr, 40, 0x2ff, 0x802));
    CHECK(mtrr_read(&mtrr, 0x200, &value) && value == 0x100006);
}

TEST(mtrr_firmware, "firmware leaves all write-back, and the screen uncached")
{
    uint64_t value;
    mtrr_as_by_firmware(&mtrr);
    CHECK(mtrr_read(&mtrr, 0x2ff, &value) && value == 0xc06);
    CHECK(mtrr_read(&mtrr, 0x259, &value) && value == 0);
    CHECK(mtrr_read(&mtrr, 0x26f, &value) && value == 0x0606060606060606);
    CHECK(mtrr_read(&mtrr, 0x201, &value) && value == 0);
}
