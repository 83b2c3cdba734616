#include "metronome.h"

void lateness_add(struct lateness *lateness, uint64_t late)
{
    unsigned band = late < 2 ? 0 : 63 - (unsigned)__builtin_clzll(late);
    lateness->bands[band]++;
    lateness->all[lateness->count++] = late;
}

/* Lets all[root] sink in a heap of `count`. */
static void sink(uint64_t *all, uint32_t root, uint32_t count)
{
    for (;;) {
        uint32_t child = 2 * root + 1;
        if (child >= count)
            return;
        if (child + 1 < count && all[child] < all[child + 1])
            child++;
        if (all[root] >= all[child])
            return;
        uint64_t value = all[root];
        all[root] = all[child];
        all[child] = value;
        root = child;
    }
}

void lateness_sort(struct lateness *lateness)
{
    uint64_t *all = lateness->all;
    for (uint32_t i = lateness->count / 2; i-- > 0;)
        sink(all, i, lateness->count);
    for (uint32_t end = lateness->count; end-- > 1;) {
        uint64_t value = all[0];
        all[0] = all[end];
        all[end] = value;
        sink(all, 0, end);
    }
}

uint64_t lateness_part(const struct lateness *lateness, unsigned per_mille)
{
    uint64_t rank = ((uint64_t)lateness->count * per_mille + 999) / 1000;
    return lateness->all[rank ? rank - 1 : 0];
}
