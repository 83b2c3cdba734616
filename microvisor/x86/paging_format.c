/* The format of user page tables, for core/table.c (SDM 3, 4.5), and that of VT-d (VT-d 3.4, 9.9). With the user bit
 * everywhere the first serves as the format of nested tables, too (APM 2, 15.25.5). */
#include "core/table.h"
#include "x86/paging.h"

static void host_decode(uint64_t entry, unsigned *rights, enum map_cache *cache)
{
    *rights = MAP_READ | (entry & PAGE_WRITE ? MAP_WRITE : 0) |
              (entry & PAGE_NO_EXECUTE ? 0 : MAP_EXECUTE);
    *cache = entry & PAGE_CACHE_DISABLE   ? CACHE_UNCACHED
             : entry & PAGE_WRITE_THROUGH ? CACHE_WRITE_COMBINING
                                          : CACHE_INHERIT;
}

struct table_format table_format_host = {
    .present_mask = PAGE_PRESENT,
    .directory = PAGE_PRESENT | PAGE_WRITE | PAGE_USER,
    .large = PAGE_LARGE,
    .address_mask = 0x000ffffffffff000ull,
    .largest_leaf = 1, /* 2 with features.page_1g: paging_user_init */
    .rights = {[MAP_READ] = PAGE_PRESENT | PAGE_USER | PAGE_NO_EXECUTE,
               [MAP_READ | MAP_WRITE] = PAGE_PRESENT | PAGE_USER | PAGE_WRITE | PAGE_NO_EXECUTE,
               [MAP_READ | MAP_EXECUTE] = PAGE_PRESENT | PAGE_USER,
               [MAP_RIGHTS] = PAGE_PRESENT | PAGE_USER | PAGE_WRITE},
    .memory = {0, PAGE_UNCACHED, PAGE_WRITE_THROUGH},
    .device = {PAGE_UNCACHED, PAGE_UNCACHED, PAGE_WRITE_THROUGH},
    .decode = host_decode,
};

#define DMA_READ 1ull
#define DMA_WRITE 2ull

static void dma_decode(uint64_t entry, unsigned *rights, enum map_cache *cache)
{
    *rights = (entry & DMA_READ ? MAP_READ : 0) | (entry & DMA_WRITE ? MAP_WRITE : 0);
    *cache = CACHE_INHERIT;
}

/* Devices do not execute, and how they reach memory is theirs to say: there are no bits for either. */
struct table_format table_format_dma = {
    .present_mask = DMA_READ | DMA_WRITE,
    .directory = DMA_READ | DMA_WRITE,
    .large = PAGE_LARGE,
    .address_mask = 0x000ffffffffff000ull,
    .largest_leaf = 2, /* what all units have: vtd.c at boot */
    .rights = {[MAP_READ] = DMA_READ,
               [MAP_READ | MAP_WRITE] = DMA_READ | DMA_WRITE,
               [MAP_READ | MAP_EXECUTE] = DMA_READ,
               [MAP_RIGHTS] = DMA_READ | DMA_WRITE},
    .decode = dma_decode,
};
