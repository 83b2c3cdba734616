/* Random numbers of hostile tasks: uniform ones, and those at the edges of what a call may
 * expect. */
#include "hostile.h"

uint64_t hostile_random(struct hostile_page *page)
{
    uint64_t x = page->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    page->random = x ? x : 1;
    return x * 0x2545f4914f6cdd1dull;
}

uint64_t hostile_below(struct hostile_page *page, uint64_t limit)
{
    return (hostile_random(page) >> 32) % limit;
}

uint64_t hostile_value(struct hostile_page *page)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     3,
                                     4,
                                     7,
                                     8,
                                     15,
                                     16,
                                     31,
                                     32,
                                     63,
                                     64,
                                     127,
                                     128,
                                     255,
                                     256,
                                     511,
                                     512,
                                     513,
                                     4095,
                                     4096,
                                     4097,
                                     8192,
                                     65535,
                                     65536,
                                     0x100000,
                                     0x1fffff,
                                     0x200000,
                                     0x3fffffff,
                                     0x40000000,
                                     0x7fffffff,
                                     0x80000000,
                                     0xfee00000,
                                     0xfffff000,
                                     0xffffffff,
                                     0x100000000,
                                     CAP_SLOTS_MAX - 1,
                                     CAP_SLOTS_MAX,
                                     0x400000,
                                     SEPTUM_USER_END - 4096,
                                     SEPTUM_USER_END - 1,
                                     SEPTUM_USER_END,
                                     0x7fffffffffff,
                                     0x800000000000,
                                     0xffff7fffffffffff,
                                     0xffff800000000000,
                                     0xffffffff80000000,
                                     0xfffffffffffff000,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     UINT64_MAX - 1,
                                     UINT64_MAX};
    switch (hostile_below(page, 8)) {
    case 0:
    case 1: return edges[hostile_below(page, sizeof edges / sizeof edges[0])];
    case 2:
    case 3: return hostile_below(page, SLOT_COUNT + 4);
    case 4: return SCRATCH_ADDRESS + hostile_below(page, SCRATCH_PAGES) * 4096;
    case 5: return TARGET_ADDRESS + hostile_below(page, TARGET_PAGES) * 4096;
    case 6: return page->scratch_physical + hostile_below(page, SCRATCH_PAGES + 1) * 4096;
    default: return hostile_random(page) >> hostile_below(page, 64);
    }
}

struct message hostile_call(struct hostile_page *page, uint64_t rax, const uint64_t a[6],
                            uint64_t rbx)
{
    page->last[0] = rax;
    for (unsigned i = 0; i < 6; i++)
        page->last[1 + i] = a[i];
    page->last[7] = rbx;
    struct message m = syscall_raw(rax, a[0], a[1], a[2], a[3], a[4], a[5], rbx);
    if ((rax & 0xff) < SYSCALL_COUNT)
        __atomic_fetch_add(&page->table[rax & 0xff][m.status % STATUS_SLOTS], 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&page->made, 1, __ATOMIC_RELAXED);
    return m;
}
