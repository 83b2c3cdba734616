/* A gather and a scatter whose elements lie across the ends of eight pages, so that they touch nine. */
#ifndef GUESTS_TINY_STEP_SPREAD_H
#define GUESTS_TINY_STEP_SPREAD_H

enum { SPREAD_PAGES = 9, SPREAD_RAM = 8, SPREAD_DEVICE = 32, SPREAD_ENDS = 8 };

static uint8_t spread[SPREAD_PAGES][PAGE] __attribute__((aligned(4096)));

/* The operand is at the last two bytes of the first page; vector 2 has 3, 5, 7 and so on. */
extern const uint8_t gather_spread[], scatter_spread[];
__asm__("gather_spread:\n"
        "    vpslld $9, %ymm2, %ymm2\n"
        "    vpcmpeqd %ymm6, %ymm6, %ymm6\n"
        "    vpgatherdd %ymm6, -0x1800(%rdi,%ymm2,4), %ymm0\n"
        "    ret\n"
        "scatter_spread:\n"
        "    vpslld $9, %zmm2, %zmm2\n"
        "    mov $0xff, %eax\n"
        "    kmovw %eax, %k1\n"
        "    vpscatterdd %zmm1, -0x1800(%rdi,%zmm2,4){%k1}\n"
        "    ret\n");

static uint8_t *spread_at(unsigned first, unsigned page)
{
    return (uint8_t *)MIXED + (first + page) * PAGE;
}

static void map_spread(void)
{
    enum { PRESENT_WRITABLE = 3 };
    for (unsigned i = 0; i < SPREAD_PAGES; i++) {
        tables[2][SPREAD_RAM + i] = (uint64_t)spread[i] | PRESENT_WRITABLE;
        tables[2][SPREAD_DEVICE + i] = (WINDOW + i * PAGE) | PRESENT_WRITABLE;
    }
}

/* First and last bytes of each page. */
static void fill_ends(unsigned first)
{
    for (unsigned i = 0; i < SPREAD_PAGES; i++)
        for (unsigned n = 0; n < SPREAD_ENDS; n++) {
            *(volatile uint8_t *)(spread_at(first, i) + n) = (uint8_t)(i * 16 + n);
            *(volatile uint8_t *)(spread_at(first, i + 1) - 1 - n) = (uint8_t)(i * 16 + 8 + n);
        }
}

static bool same_ends(void)
{
    for (unsigned i = 0; i < SPREAD_PAGES * PAGE; i++) {
        bool end = i % PAGE < SPREAD_ENDS || i % PAGE >= PAGE - SPREAD_ENDS;
        if (end && *(const volatile uint8_t *)(spread_at(SPREAD_RAM, 0) + i) !=
                       *(const volatile uint8_t *)(spread_at(SPREAD_DEVICE, 0) + i))
            return false;
    }
    return true;
}

static void try_spread(const char *name, const uint8_t *code)
{
    fill_ends(SPREAD_RAM);
    fill_ends(SPREAD_DEVICE);
    run_code(code, spread_at(SPREAD_RAM, 1) - 2, &expected, 2);
    run_code(code, spread_at(SPREAD_DEVICE, 1) - 2, &got, 2);
    tried++;
    if (!same_results() || !same_ends())
        complain(name, "nine pages");
}

#endif
