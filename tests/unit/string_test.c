/*
 * The kernel's string functions under other names, so that they do not replace the C library's.
 * links: tests/unit/string_kernel.c
 */
#include "unit_test.h"

void *kernel_memset(void *to, int byte, size_t count);
void *kernel_memcpy(void *to, const void *from, size_t count);
int kernel_memcmp(const void *left, const void *right, size_t count);

enum { SIZE = 300 };
static unsigned char got[SIZE], expected[SIZE], source[SIZE];

static void fill(void)
{
    for (unsigned i = 0; i < SIZE; i++) {
        got[i] = expected[i] = (unsigned char)unit_random();
        source[i] = (unsigned char)unit_random();
    }
}

TEST(string_set_and_copy, "memset and memcpy write just what they should, at every size and alignment")
{
    for (unsigned offset = 0; offset < 9; offset++) {
        for (unsigned count = 0; count < 200; count++) {
            fill();
            EXPECT(kernel_memset(got + offset, (int)count, count), got + offset);
            memset(expected + offset, (int)count, count);
            CHECK(memcmp(got, expected, SIZE) == 0);
            EXPECT(kernel_memcpy(got + offset, source + count % 7, count), got + offset);
            memcpy(expected + offset, source + count % 7, count);
            CHECK(memcmp(got, expected, SIZE) == 0);
        }
    }
}

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

TEST(string_compare, "memcmp orders bytes as unsigned, and stops where it should")
{
    for (unsigned round = 0; round < 2000; round++) {
        fill();
        size_t count = unit_random() % SIZE;
        memcpy(got, source, count);
        EXPECT(sign(kernel_memcmp(got, source, SIZE)), sign(memcmp(got, source, SIZE)));
        EXPECT(kernel_memcmp(got, source, count), 0);
    }
}
