/*
 * The format of extended page tables (SDM 3, 29.3.2). The memory type is ours alone (ignore-PAT is
 * set): a guest cannot make another's cached memory uncached, nor a device's registers cached.
 */
#include "core/table.h"

#define EPT_READ                 1ull
#define EPT_WRITE                2ull
#define EPT_EXECUTE              4ull
#define EPT_TYPE(type)           ((uint64_t)(type) << 3)
#define EPT_TYPE_UNCACHED        EPT_TYPE(0)
#define EPT_TYPE_WRITE_COMBINING EPT_TYPE(1)
#define EPT_TYPE_WRITE_BACK      EPT_TYPE(6)
#define EPT_TYPE_MASK            EPT_TYPE(7)
#define EPT_IGNORE_PAT           0x40ull
#define EPT_LARGE                0x80ull

static void ept_decode(uint64_t entry, unsigned *rights, enum map_cache *cache)
{
    uint64_t type = entry & EPT_TYPE_MASK;
    *rights = (entry & EPT_READ ? MAP_READ : 0) | (entry & EPT_WRITE ? MAP_WRITE : 0) |
              (entry & EPT_EXECUTE ? MAP_EXECUTE : 0);
    *cache = type == EPT_TYPE_WRITE_BACK        ? CACHE_INHERIT
             : type == EPT_TYPE_WRITE_COMBINING ? CACHE_WRITE_COMBINING
                                                : CACHE_UNCACHED;
}

struct table_format table_format_ept = {
    .present_mask = EPT_READ | EPT_WRITE | EPT_EXECUTE,
    .directory = EPT_READ | EPT_WRITE | EPT_EXECUTE,
    .large = EPT_LARGE,
    .address_mask = 0x000ffffffffff000ull,
    .largest_leaf = 1, /* 2 if EPT has 1 GiB leaves: vmx.c at boot */
    .rights = {[MAP_READ] = EPT_READ | EPT_IGNORE_PAT,
               [MAP_READ | MAP_WRITE] = EPT_READ | EPT_WRITE | EPT_IGNORE_PAT,
               [MAP_READ | MAP_EXECUTE] = EPT_READ | EPT_EXECUTE | EPT_IGNORE_PAT,
               [MAP_RIGHTS] = EPT_READ | EPT_WRITE | EPT_EXECUTE | EPT_IGNORE_PAT},
    .memory = {EPT_TYPE_WRITE_BACK, EPT_TYPE_UNCACHED, EPT_TYPE_WRITE_COMBINING},
    .device = {EPT_TYPE_UNCACHED, EPT_TYPE_UNCACHED, EPT_TYPE_WRITE_COMBINING},
    .decode = ept_decode,
};
