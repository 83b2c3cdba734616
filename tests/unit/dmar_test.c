/* links: microvisor/x86/dmar.c */
#include "unit_test.h"

#include "x86/platform.h"
#include "x86/processor.h"

static char said[256];

void printk(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(said, sizeof said, format, arguments);
    va_end(arguments);
}

static uint8_t body[1024];
static uint32_t size;
static struct dmar_facts facts;

static void put(uint64_t value, unsigned bytes)
{
    for (; bytes--; value >>= 8)
        body[size++] = (uint8_t)value;
}

static void begin(void)
{
    size = 0;
    put(47, 1); /* host address width less one */
    put(1, 1);  /* interrupt remapping */
    put(0, 8);
    put(0, 2);
    said[0] = 0;
}

static void unit(uint64_t address, unsigned flags, unsigned segment, unsigned scopes_bytes)
{
    put(0, 2);
    put(16 + scopes_bytes, 2);
    put(flags, 1);
    put(0, 1);
    put(segment, 2);
    put(address, 8);
}

static void scope(unsigned type, unsigned id, unsigned bus, unsigned device, unsigned function)
{
    put(type, 1);
    put(8, 1);
    put(0, 2);
    put(id, 1);
    put(bus, 1);
    put(device, 1);
    put(function, 1);
}

/* A copy of exactly its size, so that the sanitizer sees what is read beyond it. */
static bool parse(void)
{
    uint8_t *copy = malloc(size);
    memcpy(copy, body, size);
    bool good = dmar_read(&facts, copy, size);
    free(copy);
    return good;
}

static void expect_refused(void)
{
    CHECK(!parse());
    EXPECT(facts.unit_count, 0);
    EXPECT(facts.device_count, 0);
    CHECK(!facts.all_devices);
}

TEST(dmar_units, "units, and the devices and IOAPICs that they see, are found")
{
    begin();
    unit(0xfed90000, 0, 0, 24);
    scope(1, 0, 0, 5, 0);
    scope(1, 0, 2, 31, 7);
    scope(3, 9, 0xff, 0, 0);
    unit(0xfed91000, 1, 0, 0);
    CHECK(parse());
    EXPECT(facts.unit_count, 2);
    EXPECT(facts.units[0], 0xfed90000);
    EXPECT(facts.units[1], 0xfed91000);
    EXPECT(facts.device_count, 2);
    EXPECT(facts.devices[0], 5 << 3);
    EXPECT(facts.devices[1], 2 << 8 | 31 << 3 | 7);
    CHECK(facts.all_devices);
    EXPECT(facts.ioapic_count, 1);
    EXPECT(facts.ioapics[0].id, 9);
    EXPECT(facts.ioapics[0].source, 0xff00);
    CHECK(facts.remaps_interrupts);
    body[1] = 0;
    CHECK(parse() && !facts.remaps_interrupts);
}

TEST(dmar_not_all_devices, "without a unit that has all devices, those that are named are all")
{
    begin();
    unit(0xfed90000, 0, 0, 8);
    scope(1, 0, 0, 5, 0);
    CHECK(parse());
    CHECK(!facts.all_devices);
    EXPECT(facts.device_count, 1);
}

TEST(dmar_bridge,
     "what is behind a bridge, and the bridge, is no device that a unit is known to see")
{
    begin();
    unit(0xfed90000, 0, 0, 18);
    scope(2, 0, 0, 28, 0);
    put(1, 1); /* an endpoint behind it: two pairs */
    put(10, 1);
    put(0, 2);
    put(0, 2);
    put(28, 2);
    put(0, 2);
    CHECK(parse());
    EXPECT(facts.device_count, 0);
}

TEST(dmar_reserved, "memory that the firmware wants for a device is told")
{
    begin();
    unit(0xfed90000, 1, 0, 0);
    put(1, 2);
    put(24, 2);
    put(0, 4);
    put(0x7c000000, 8);
    put(0x7fffffff, 8);
    CHECK(parse());
    CHECK(strstr(said, "0x7c000000-0x7fffffff"));
}

TEST(dmar_lengths,
     "an entry or a scope that is too short, or goes over the end, makes all of it unusable")
{
    static const unsigned entries[] = {0, 1, 3, 4, 15, 17, 100, 0xffff};
    for (unsigned i = 0; i < sizeof entries / sizeof *entries; i++) {
        begin();
        unit(0xfed90000, 1, 0, 0);
        body[14] = (uint8_t)entries[i];
        body[15] = (uint8_t)(entries[i] >> 8);
        expect_refused();
    }
    static const unsigned scopes[] = {0, 1, 5, 9, 255};
    for (unsigned i = 0; i < sizeof scopes / sizeof *scopes; i++) {
        begin();
        unit(0xfed90000, 1, 0, 8);
        scope(1, 0, 0, 5, 0);
        body[29] = (uint8_t)scopes[i];
        expect_refused();
    }
    for (unsigned cut = 1; cut < 16; cut++) {
        begin();
        unit(0xfed90000, 1, 0, 0);
        size -= cut;
        expect_refused();
    }
    for (size = 0; size < 12; size++)
        expect_refused();
}

TEST(dmar_addresses,
     "a unit without a place of its own, or of another segment, makes all of it unusable")
{
    static const struct {
        uint64_t address;
        unsigned segment;
    } bad[] = {{0, 0}, {0xfed90800, 0}, {1ull << 52, 0}, {0xfed90000, 1}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin();
        unit(bad[i].address, 1, bad[i].segment, 0);
        expect_refused();
    }
    begin();
    unit(0xfed90000, 0, 0, 0);
    unit(0xfed90000, 1, 0, 0);
    expect_refused();
}

TEST(dmar_many, "more units than fit make it unusable; more devices than fit are not seen")
{
    begin();
    for (unsigned i = 0; i <= DMAR_UNITS_MAX; i++) {
        unit(0xfed90000 + i * 4096, 0, 0, 0);
        if (i + 1 == DMAR_UNITS_MAX)
            CHECK(parse());
    }
    expect_refused();
    begin();
    unit(0xfed90000, 0, 0, 8 * (DMAR_DEVICES_MAX + 1));
    for (unsigned i = 0; i <= DMAR_DEVICES_MAX; i++)
        scope(1, 0, i / 32, i % 32, 0);
    CHECK(parse());
    EXPECT(facts.device_count, DMAR_DEVICES_MAX);
}

TEST(dmar_random,
     "of a hundred thousand damaged tables none is read beyond its end, and what is found is sound")
{
    for (unsigned n = 0; n < 100000; n++) {
        begin();
        unit(0xfed90000, 0, 0, 16);
        scope(1, 0, 0, 5, 0);
        scope(3, 9, 0xff, 0, 0);
        unit(0xfed91000, 1, 0, 0);
        for (unsigned damage = 1 + unit_random() % 3; damage--;)
            body[unit_random() % size] = (uint8_t)unit_random();
        size -= unit_random() % 4 ? 0 : unit_random() % size;
        if (!parse())
            continue;
        for (unsigned i = 0; i < facts.unit_count; i++)
            CHECK(facts.units[i] && facts.units[i] % 4096 == 0 && !(facts.units[i] >> 52));
        CHECK(facts.device_count <= 2);
    }
}
