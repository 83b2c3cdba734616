/* links: vmm-server/firmware/smbios.c */
#include "bytes.h"
#include "unit_test.h"

#include "firmware/smbios.h"

static struct smbios smbios;
static const struct smbios_machine machine = {"web", 3, 6ull << 30, 3ull << 30};

/* The string of a number, counted from 1; the byte behind the structure for 0. */
static const char *string(const uint8_t *structure, unsigned number)
{
    const char *text = (const char *)structure + structure[1];
    while (--number)
        text += strlen(text) + 1;
    return text;
}

static const uint8_t *next(const uint8_t *structure)
{
    const uint8_t *at = structure + structure[1];
    while (at[0] || at[1])
        at++;
    return at + 2;
}

/* The n-th structure of a type, NULL: there is none. */
static const uint8_t *find(uint8_t type, unsigned n)
{
    const uint8_t *at = smbios.tables;
    while (at < smbios.tables + smbios.used) {
        if (at[0] == type && n-- == 0)
            return at;
        at = next(at);
    }
    EXPECT(at - smbios.tables, smbios.used);
    return NULL;
}

TEST(smbios_anchor, "the entry point's two sums are zero, and it tells how many structures there "
                    "are and how long they are")
{
    CHECK(smbios_fill(&smbios, &machine, 0xf1000));
    CHECK(memcmp(smbios.anchor, "_SM_", 4) == 0 && memcmp(smbios.anchor + 16, "_DMI_", 5) == 0);
    EXPECT(sum(smbios.anchor, 31), 0);
    EXPECT(sum(smbios.anchor + 16, 15), 0);
    EXPECT(smbios.anchor[5], 31);
    EXPECT(word(smbios.anchor + 22, 2), smbios.used);
    EXPECT(word(smbios.anchor + 24, 4), 0xf1000);
    unsigned count = 0, largest = 0;
    for (const uint8_t *at = smbios.tables; at < smbios.tables + smbios.used; at = next(at)) {
        unsigned size = (unsigned)(next(at) - at);
        largest = size > largest ? size : largest;
        count++;
    }
    EXPECT(word(smbios.anchor + 28, 2), count);
    EXPECT(word(smbios.anchor + 8, 2), largest);
    EXPECT(count, 1 + 1 + 1 + 3 + 2 + 2 + 1 + 1);
}

TEST(smbios_structures, "each structure has the length of SMBIOS 2.8, and its strings")
{
    static const struct {
        uint8_t type, length;
    } wanted[] = {{0, 0x18},  {1, 0x1b},  {3, 0x16},  {4, 0x2a}, {16, 0x17},
                  {17, 0x28}, {19, 0x1f}, {32, 0x0b}, {127, 4}};
    CHECK(smbios_fill(&smbios, &machine, 0));
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        CHECK(find(wanted[i].type, 0));
        EXPECT(find(wanted[i].type, 0)[1], wanted[i].length);
    }
    const uint8_t *system = find(1, 0);
    CHECK(strcmp(string(system, system[4]), "Septum") == 0);
    CHECK(strcmp(string(system, system[7]), "web") == 0);
    CHECK(find(4, 2) && !find(4, 3));
    CHECK(strcmp(string(find(4, 2), 1), "CPU2") == 0);
    EXPECT(find(4, 1)[0x18], 0x41);
    EXPECT(word(find(17, 0) + 0x1c, 4), 0);
    EXPECT(word(find(17, 0) + 0x0c, 2), 6144);
    EXPECT(word(find(19, 0) + 0x17, 8), (3ull << 30) - 1);
    EXPECT(word(find(19, 1) + 0x0f, 8), 4ull << 30);
    EXPECT(word(find(19, 1) + 0x17, 8), (7ull << 30) - 1);
}

TEST(smbios_names, "the UUID is made of the name: the same for the same, another for another")
{
    uint8_t first[16];
    CHECK(smbios_fill(&smbios, &machine, 0));
    memcpy(first, find(1, 0) + 8, 16);
    CHECK(smbios_fill(&smbios, &(struct smbios_machine){"web", 1, 1 << 28, 1 << 28}, 0));
    CHECK(memcmp(first, find(1, 0) + 8, 16) == 0);
    CHECK(!find(19, 1));
    CHECK(smbios_fill(&smbios, &(struct smbios_machine){"db", 1, 1 << 28, 1 << 28}, 0));
    CHECK(memcmp(first, find(1, 0) + 8, 16) != 0);
}

TEST(smbios_largest, "a machine with 8 vCPUs, 256 GiB and the longest name has room")
{
    CHECK(smbios_fill(
        &smbios, &(struct smbios_machine){"abcdefghijklmnopqrstuvw", 8, 256ull << 30, 3ull << 30},
        0));
    EXPECT(word(find(17, 0) + 0x0c, 2), 0x7fff);
    EXPECT(word(find(17, 0) + 0x1c, 4), 262144);
}
