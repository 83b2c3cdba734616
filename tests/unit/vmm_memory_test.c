/* links: vmm-server/bus.c vmm-server/guest_memory.c */
#include "unit_test.h"

#include "bus.h"
#include "guest_memory.h"

static struct bus bus;
static uint64_t last_offset, last_value;
static unsigned last_size;
static void *last_device;
static bool defined;

static bool take_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    last_device = device, last_offset = offset, last_size = size_bytes;
    *value = 0x1234;
    return defined;
}

static bool take_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    last_device = device, last_offset = offset, last_size = size_bytes, last_value = value;
    return defined;
}

static const struct bus_operations operations = {.read = take_read, .write = take_write};

static bool add(uint64_t base, uint64_t size, uintptr_t device)
{
    return bus_add(&bus, &(struct bus_range){base, size, &operations, (void *)device, "test"});
}

static void begin(void)
{
    bus = (struct bus){0};
    defined = true;
    CHECK(add(0x100, 0x10, 1) && add(0x80, 8, 2) && add(0x110, 1, 3) && add(0xff0, 0x10, 4));
}

TEST(bus_routes, "an access goes to the range that holds it, with its offset there")
{
    static const struct {
        uint64_t address, device, offset;
    } hits[] = {{0x100, 1, 0}, {0x10f, 1, 15}, {0x80, 2, 0}, {0x110, 3, 0}, {0xfff, 4, 15}};
    uint64_t value;
    begin();
    for (unsigned i = 0; i < sizeof hits / sizeof *hits; i++) {
        CHECK(bus_read(&bus, hits[i].address, 1, &value));
        EXPECT((uintptr_t)last_device, hits[i].device);
        EXPECT(last_offset, hits[i].offset);
        EXPECT(value, 0x1234);
        CHECK(bus_write(&bus, hits[i].address, 1, i));
        EXPECT((uintptr_t)last_device, hits[i].device);
        EXPECT(last_value, i);
    }
}

TEST(bus_nobody, "an access outside all ranges, or across the end of one, is nobody's; the device "
                 "may refuse one")
{
    static const struct {
        uint64_t address;
        unsigned size;
    } misses[] = {{0xff, 1}, {0x111, 1}, {0x10f, 2}, {0x88, 1},
                  {0x7f, 2}, {0xffe, 4}, {0, 1},     {UINT64_MAX, 2}};
    uint64_t value;
    begin();
    for (unsigned i = 0; i < sizeof misses / sizeof *misses; i++)
        CHECK(!bus_read(&bus, misses[i].address, misses[i].size, &value) &&
              !bus_write(&bus, misses[i].address, misses[i].size, 0));
    defined = false;
    CHECK(!bus_read(&bus, 0x100, 4, &value) && !bus_write(&bus, 0x100, 4, 0));
}

TEST(bus_overlaps, "overlapping and empty ranges, and one too many, are refused")
{
    begin();
    CHECK(!add(0x10f, 1, 9) && !add(0x100, 0x10, 9) && !add(0xf0, 0x11, 9) && !add(0x7f, 2, 9));
    CHECK(!add(0x200, 0, 9) && !add(UINT64_MAX, 2, 9));
    for (unsigned i = bus.count; i < BUS_RANGES_MAX; i++)
        CHECK(add(0x10000 + i * 16ull, 16, 5));
    CHECK(!add(0x90000, 1, 9));
}

TEST(bus_as_model, "random accesses find what a search from the front finds")
{
    uint64_t value;
    bus = (struct bus){0};
    defined = true;
    for (unsigned i = 0; i < 200; i++)
        add(unit_random() % 2048, unit_random() % 64, 1 + i);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t address = unit_random() % 2200;
        unsigned size = 1u << unit_random() % 4;
        const struct bus_range *found = NULL;
        for (unsigned r = 0; r < bus.count; r++)
            if (address >= bus.ranges[r].base &&
                address + size <= bus.ranges[r].base + bus.ranges[r].size)
                found = &bus.ranges[r];
        EXPECT(bus_read(&bus, address, size, &value), found != NULL);
        if (found)
            EXPECT((uintptr_t)last_device, (uintptr_t)found->device);
    }
}

/* ---- guest memory -------------------------------------------------------------------------------- */

static uint8_t low[0x3000], high[0x2000], rom[0x1000];
static const struct guest_memory memory = {.regions = {{0, sizeof low, low, false},
                                                       {0x3000, sizeof rom, rom, true},
                                                       {0x100000000, sizeof high, high, false}},
                                           .count = 3};

TEST(memory_at, "an address is found if all its bytes are in one region that may be so used")
{
    EXPECT(guest_memory_at(&memory, 0, sizeof low, true), low);
    EXPECT(guest_memory_at(&memory, 0x2fff, 1, true), low + 0x2fff);
    EXPECT(guest_memory_at(&memory, 0x2fff, 2, false), NULL);
    EXPECT(guest_memory_at(&memory, 0x3000, 4, false), rom);
    EXPECT(guest_memory_at(&memory, 0x3000, 4, true), NULL);
    EXPECT(guest_memory_at(&memory, 0x100001ff8, 8, true), high + 0x1ff8);
    EXPECT(guest_memory_at(&memory, 0x100001ff9, 8, true), NULL);
    EXPECT(guest_memory_at(&memory, 0x4000, 1, false), NULL);
    EXPECT(guest_memory_at(&memory, UINT64_MAX, 2, false), NULL);
    EXPECT(guest_memory_at(&memory, 16, UINT64_MAX, false), NULL);
}

TEST(memory_copies, "copies go across regions; a byte that is not there makes them do nothing")
{
    uint8_t data[16];
    memset(low, 1, sizeof low);
    memset(rom, 2, sizeof rom);
    memset(data, 9, sizeof data);
    CHECK(guest_memory_read(&memory, 0x2ff8, data, 16));
    for (unsigned i = 0; i < 16; i++)
        EXPECT(data[i], i < 8 ? 1 : 2);
    memset(data, 9, sizeof data);
    CHECK(!guest_memory_read(&memory, 0x3ff8, data, 16));
    EXPECT(data[0], 9);
    CHECK(!guest_memory_write(&memory, 0x2ff8, data, 16));
    EXPECT(low[0x2ff8], 1);
    CHECK(guest_memory_write(&memory, 0x2ff0, data, 16));
    EXPECT(low[0x2fff], 9);
    CHECK(!guest_memory_read(&memory, UINT64_MAX - 3, data, 8));
}

/* ---- windows ------------------------------------------------------------------------------------- */

static uint8_t cover[0x8000];
static struct guest_windows windows;
static struct guest_memory covered;

static void begin_windows(void)
{
    windows = (struct guest_windows){0};
    covered = memory;
    covered.windows = &windows;
}

TEST(windows_none, "a machine without windows refuses one, and counts no changes")
{
    struct guest_memory plain = memory;
    CHECK(!guest_memory_cover(&plain, 0, 0x1000, cover, true));
    EXPECT(guest_memory_changes(&plain), 0);
    EXPECT(guest_memory_at(&plain, 0, sizeof low, true), low);
}

TEST(windows_override,
     "a window stands before RAM, may be read-only or a hole, and ends with the RAM's return")
{
    begin_windows();
    CHECK(guest_memory_cover(&covered, 0x1000, 0x1000, cover, false));
    EXPECT(guest_memory_at(&covered, 0, 0x1000, true), low);
    EXPECT(guest_memory_at(&covered, 0, 0x1001, false), NULL);
    EXPECT(guest_memory_at(&covered, 0x1004, 8, false), cover + 4);
    EXPECT(guest_memory_at(&covered, 0x1004, 8, true), NULL);
    EXPECT(guest_memory_at(&covered, 0x2000, 0x1000, true), low + 0x2000);
    CHECK(guest_memory_cover(&covered, 0x1000, 0x1000, NULL, false));
    EXPECT(guest_memory_at(&covered, 0x1004, 8, false), NULL);
    EXPECT(guest_memory_ram(&covered, 0x1000, 0x1000), low + 0x1000);
    EXPECT(guest_memory_ram(&covered, 0x2000, 0x1001), NULL);
    CHECK(guest_memory_cover(&covered, 0x1000, 0x1000, low + 0x1000, false));
    EXPECT(guest_memory_at(&covered, 0x1000, 1, false), low + 0x1000);
    EXPECT(guest_memory_at(&covered, 0x1000, 1, true), NULL);
    CHECK(guest_memory_cover(&covered, 0x1000, 0x1000, low + 0x1000, true));
    EXPECT(guest_memory_at(&covered, 0, sizeof low, true), low);
    EXPECT(guest_memory_changes(&covered), 4);
    EXPECT(windows.tables[windows.sequence & 1].count, 0);
}

TEST(windows_beyond, "a window can be where there is no RAM, and goes without leaving anything")
{
    begin_windows();
    CHECK(guest_memory_cover(&covered, 0x800000, 0x8000, cover, true));
    EXPECT(guest_memory_at(&covered, 0x807fff, 1, true), cover + 0x7fff);
    EXPECT(guest_memory_at(&covered, 0x808000, 1, true), NULL);
    EXPECT(guest_memory_at(&covered, 0x100000000, 8, true), high);
    CHECK(guest_memory_cover(&covered, 0x800000, 0x8000, NULL, true));
    EXPECT(guest_memory_at(&covered, 0x800000, 1, false), NULL);
    EXPECT(windows.tables[windows.sequence & 1].count, 0);
    CHECK(!guest_memory_cover(&covered, 0x800000, 0, cover, true));
    CHECK(!guest_memory_cover(&covered, UINT64_MAX - 0xfff, 0x2000, cover, true));
}

TEST(windows_full, "one window too many is refused, and changes nothing")
{
    begin_windows();
    for (unsigned i = 0; i < GUEST_WINDOWS_MAX; i++)
        CHECK(guest_memory_cover(&covered, 0x800000 + i * 0x2000, 0x1000, cover, true));
    CHECK(!guest_memory_cover(&covered, 0x900000, 0x1000, cover, true));
    CHECK(!guest_memory_cover(&covered, 0x800400, 0x400, cover + 0x1000, true));
    EXPECT(guest_memory_at(&covered, 0x800400, 1, true), cover + 0x400);
    EXPECT(guest_memory_changes(&covered), GUEST_WINDOWS_MAX);
    CHECK(guest_memory_cover(&covered, 0x800000, 0x1000, NULL, true));
    CHECK(guest_memory_cover(&covered, 0x900000, 0x1000, cover, true));
}

TEST(windows_usual,
     "where most addresses lie is the largest piece of writable RAM that no window cuts")
{
    struct guest_region usual = guest_memory_usual(&memory);
    EXPECT(usual.host, low);
    EXPECT(usual.size_bytes, sizeof low);
    begin_windows();
    covered.count = 1;
    EXPECT(guest_memory_usual(&covered).size_bytes, 0); /* none was looked for yet */
    CHECK(guest_memory_cover(&covered, 0x800, 0x400, cover, true));
    usual = guest_memory_usual(&covered);
    EXPECT(usual.base, 0xc00);
    EXPECT(usual.host, low + 0xc00);
    EXPECT(usual.size_bytes, sizeof low - 0xc00);
    CHECK(guest_memory_cover(&covered, 0x1000, 0x1c00, NULL, true));
    usual = guest_memory_usual(&covered);
    EXPECT(usual.host, low);
    EXPECT(usual.size_bytes, 0x800);
    CHECK(guest_memory_cover(&covered, 0, sizeof low, cover, true));
    EXPECT(guest_memory_usual(&covered).size_bytes, 0);
}

TEST(windows_as_model, "after random changes each page is what it was last made, and pieces that "
                       "belong together are one")
{
    enum { PAGES = 8, PAGE = 0x400, STEPS = 5000 };
    uint8_t *now[PAGES];
    bool writable[PAGES];
    begin_windows();
    for (unsigned i = 0; i < PAGES; i++)
        now[i] = low + i * PAGE, writable[i] = true;
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned first = unit_random() % PAGES, count = 1 + unit_random() % (PAGES - first);
        unsigned kind = unit_random() % 4;
        bool write = unit_random() % 2;
        uint8_t *host = kind == 0 ? NULL : kind == 1 ? cover + first * PAGE : low + first * PAGE;
        CHECK(guest_memory_cover(&covered, first * PAGE, count * PAGE, host, write));
        for (unsigned i = first; i < first + count; i++) {
            now[i] = host ? host + (i - first) * PAGE : NULL;
            writable[i] = write;
        }
        for (unsigned i = 0; i < PAGES; i++) {
            EXPECT(guest_memory_at(&covered, i * PAGE, PAGE, false), now[i]);
            EXPECT(guest_memory_at(&covered, i * PAGE + 5, 7, true),
                   now[i] && writable[i] ? now[i] + 5 : NULL);
            bool together = i && now[i] && now[i - 1] && now[i - 1] + PAGE == now[i] &&
                            writable[i] == writable[i - 1];
            if (i)
                EXPECT(guest_memory_at(&covered, i * PAGE - 8, 16, false),
                       together ? now[i] - 8 : NULL);
        }
    }
}
