/* links: vmm-server/firmware/mp_table.c */
#include "bytes.h"
#include "unit_test.h"

#include "firmware/mp_table.h"

#define ADDRESS 0xf1000u
#define SLOTS   4u

static uint8_t table[2048];

static unsigned input_of(void *board, unsigned slot, unsigned pin)
{
    EXPECT(board, table);
    return (slot + pin) % 2 ? 10 : 11;
}

static const struct mp_machine machine = {3, 0x800f12, 0x78bfbff, input_of, table, SLOTS};

TEST(mp_pointer, "the floating pointer leads to the table; both sums are zero")
{
    CHECK(mp_table_write(table, sizeof table, ADDRESS, &machine));
    CHECK(memcmp(table, "_MP_", 4) == 0);
    EXPECT(sum(table, 16), 0);
    EXPECT(word(table + 4, 4), ADDRESS + 16);
    CHECK(memcmp(table + 16, "PCMP", 4) == 0);
    EXPECT(sum(table + 16, word(table + 20, 2)), 0);
    EXPECT(word(table + 16 + 36, 4), 0xfee00000);
}

TEST(mp_entries, "entries stand in the order of their types, as many as the header says")
{
    CHECK(mp_table_write(table, sizeof table, ADDRESS, &machine));
    const uint8_t *entry = table + 16 + 44, *end = table + 16 + word(table + 20, 2);
    unsigned counts[5] = {0}, last = 0, irqs = 0, first = 0;
    for (unsigned n = 0; n < word(table + 16 + 34, 2); n++) {
        CHECK(entry < end && *entry < 5 && *entry >= last);
        last = *entry;
        counts[last]++;
        if (last == 0) {
            EXPECT(entry[1], counts[0] - 1);
            first += entry[3] == 3;
        }
        if (last == 3 && entry[4] == 1) { /* ISA */
            irqs |= 1u << entry[5];
            EXPECT(entry[7], entry[5] == 0 ? 2 : entry[5]);
            EXPECT(word(entry + 2, 2), 0);
        }
        if (last == 3 && entry[4] == 0) {
            EXPECT(entry[7], ((entry[5] >> 2) + (entry[5] & 3)) % 2 ? 10 : 11);
            EXPECT(word(entry + 2, 2), 0xd);
        }
        entry += last ? 8 : 20;
    }
    EXPECT(entry, end);
    EXPECT(first, 1);
    EXPECT(counts[0], 3);
    EXPECT(counts[1], 2);
    EXPECT(counts[2], 1);
    EXPECT(counts[3], 4 * SLOTS + 13);
    EXPECT(counts[4], 2);
    EXPECT(irqs, 0xffff & ~(1u << 2 | 1u << 10 | 1u << 11)); /* PCI has these two for itself */
}

TEST(mp_room, "with too little room nothing is written beyond it, and that is said")
{
    CHECK(mp_table_write(table, sizeof table, ADDRESS, &machine));
    size_t needed = 16 + word(table + 20, 2);
    for (size_t room = 0; room < needed; room++) {
        uint8_t *small = malloc(room ? room : 1);
        CHECK(!mp_table_write(small, room, ADDRESS, &machine));
        free(small);
    }
    CHECK(mp_table_write(table, needed, ADDRESS, &machine));
}
