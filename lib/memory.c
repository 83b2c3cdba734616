/* The pools of a first task. */
#include "memory.h"

#include "string.h"

struct memory memory;

void memory_init(const struct boot_info *boot, cap_slot_t slots_end)
{
    memory = (struct memory){0};
    for (uint32_t i = 0; i < boot->memory_range_count; i++) {
        const struct boot_memory_range *range = &boot->memory[i];
        /* The first megabyte is left alone: firmware may have its own ideas about it. */
        if (range->type == BOOT_MEMORY_RAM && range->base >= 0x100000)
            pool_give(&memory.frames, range->base / SEPTUM_PAGE_SIZE,
                      range->size_bytes / SEPTUM_PAGE_SIZE);
    }
    pool_give(&memory.addresses, MEMORY_ADDRESS_BASE / SEPTUM_PAGE_SIZE,
              (MEMORY_ADDRESS_END - MEMORY_ADDRESS_BASE) / SEPTUM_PAGE_SIZE);
    pool_give(&memory.slots, BOOT_SLOT_FREE, slots_end - BOOT_SLOT_FREE);
}

static uint64_t take_pages(struct pool *pool, uint64_t pages, uint64_t alignment)
{
    uint64_t number = pool_take(pool, pages, alignment);
    return number == POOL_NONE ? POOL_NONE : number * SEPTUM_PAGE_SIZE;
}

uint64_t frames_take(uint64_t pages, uint64_t alignment)
{
    return take_pages(&memory.frames, pages, alignment);
}

void frames_give(uint64_t physical, uint64_t pages)
{
    pool_give(&memory.frames, physical / SEPTUM_PAGE_SIZE, pages);
}

uint64_t address_take(uint64_t pages, uint64_t alignment)
{
    return take_pages(&memory.addresses, pages, alignment);
}

void address_give(uint64_t address, uint64_t pages)
{
    pool_give(&memory.addresses, address / SEPTUM_PAGE_SIZE, pages);
}

cap_slot_t slot_take(void)
{
    uint64_t slot = pool_take(&memory.slots, 1, 1);
    return slot == POOL_NONE ? 0 : (cap_slot_t)slot;
}

void slot_give(cap_slot_t slot)
{
    pool_give(&memory.slots, slot, 1);
}

uint64_t memory_map_at(cap_slot_t task, enum space_kind space, uint64_t address, uint64_t physical,
                       uint64_t pages, unsigned rights)
{
    return sys_map(task, MAP_HOW(SPACE_PHYSICAL, space, rights, CACHE_INHERIT), physical, address,
                   pages, 0);
}

void *memory_take(uint64_t pages, uint64_t alignment, uint64_t *physical)
{
    uint64_t frames = frames_take(pages, alignment);
    if (frames == POOL_NONE)
        return NULL;
    uint64_t address = address_take(pages, alignment);
    if (address == POOL_NONE || memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, address, frames, pages,
                                              MAP_READ | MAP_WRITE) != STATUS_OK) {
        frames_give(frames, pages);
        return NULL;
    }
    if (physical)
        *physical = frames;
    memset((void *)address, 0, pages * SEPTUM_PAGE_SIZE);
    return (void *)address;
}

void memory_give(void *address, uint64_t physical, uint64_t pages)
{
    sys_unmap(BOOT_SLOT_TASK, SPACE_PHYSICAL, physical, pages);
    frames_give(physical, pages);
    address_give((uint64_t)address, pages);
}
