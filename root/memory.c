/* All RAM, mapped once at one place, in the largest pages: what root fills in for others it reaches there. */
#include "root.h"

#define DIRECT_BASE 0x0000400000000000ull

void *direct(uint64_t physical)
{
    return (void *)(DIRECT_BASE + physical);
}

const char *direct_map(void)
{
    for (uint32_t i = 0; i < boot->memory_range_count; i++) {
        const struct boot_memory_range *range = &boot->memory[i];
        unsigned rights = range->type == BOOT_MEMORY_RAM      ? MAP_READ | MAP_WRITE
                          : range->type == BOOT_MEMORY_MODULE ? MAP_READ
                                                              : 0;
        if (rights &&
            memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, (uint64_t)direct(range->base), range->base,
                          range->size_bytes / SEPTUM_PAGE_SIZE, rights) != STATUS_OK)
            return "root can't map all memory: use a larger pool=SIZE on the kernel's command line";
    }
    return NULL;
}
