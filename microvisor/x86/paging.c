/*
 * The kernel's own address space, which boot.S has begun: the image, the pool, and a window of small
 * pages for device registers and, while starting, for whatever has to be read.
 */
#include "x86/paging.h"

#include "core/table.h"
#include "x86/features.h"
#include "x86/instructions.h"
#include "x86/mitigations.h"
#include "x86/platform.h"

#include "check/watch.h"

extern uint64_t kernel_pdpt[512], kernel_pd[512], window_pt[512], pool_pd[512];

#define ENTRY_ADDRESS 0x000ffffffffff000ull
#define WINDOW_PAGES 512u

static unsigned window_used;

void *window_map(paddr_t physical, uint64_t size_bytes, uint64_t cache)
{
    uint64_t pages = ((physical & PAGE_MASK) + size_bytes + PAGE_MASK) >> PAGE_SHIFT;
    vaddr_t at = WINDOW_BASE + window_used * PAGE_SIZE + (physical & PAGE_MASK);
    if (size_bytes > WINDOW_PAGES * PAGE_SIZE || pages > WINDOW_PAGES - window_used ||
        physical > ENTRY_ADDRESS - size_bytes)
        return NULL;
    for (uint64_t i = 0; i < pages; i++)
        window_pt[window_used++] = ((physical & ~PAGE_MASK) + i * PAGE_SIZE) | PAGE_PRESENT |
                                   PAGE_WRITE | PAGE_ACCESSED | PAGE_DIRTY | PAGE_NO_EXECUTE | cache;
    return (void *)at;
}

unsigned window_mark(void)
{
    return window_used;
}

void window_release(unsigned mark)
{
    while (window_used > mark) {
        window_pt[--window_used] = 0;
        invalidate_page(WINDOW_BASE + window_used * PAGE_SIZE);
    }
}

void paging_map_pool(paddr_t base, uint64_t size_bytes)
{
    for (uint64_t offset = 0; offset < size_bytes; offset += LARGE_PAGE)
        pool_pd[offset / LARGE_PAGE] = (base + offset) | PAGE_PRESENT | PAGE_WRITE | PAGE_ACCESSED |
                                       PAGE_DIRTY | PAGE_LARGE | PAGE_GLOBAL | PAGE_NO_EXECUTE;
}

void paging_flush_all(void *unused)
{
    (void)unused;
    uint64_t cr4 = read_cr4();
    write_cr4(cr4 ^ CR4_PGE); /* any change of it drops everything, of all PCIDs (SDM 3, 4.10.4.1) */
    write_cr4(cr4);
}

void paging_drop_low(void)
{
    kernel_root[0] = 0;
    kernel_pdpt[0] = 0;
    kernel_pd[0] = 0;
    cross_call_urgent(cpus_online(), paging_flush_all, NULL);
}

/* ---- the kernel's part of user tables ----------------------------------------------------------- */

uint64_t paging_user_top;

static uint64_t *table_below(uint64_t *entry)
{
    if (!*entry) {
        void *table = frames_alloc(0);
        if (!table)
            return NULL;
        *entry = frame_physical(table) | PAGE_PRESENT | PAGE_WRITE | PAGE_ACCESSED | PAGE_DIRTY;
    }
    return frame_virtual(*entry & ENTRY_ADDRESS);
}

/* Maps something of the image or the pool at its own address into the part that user tables share. */
static bool user_map(const void *start, const void *end, uint64_t flags)
{
    for (vaddr_t at = (vaddr_t)start; at < (vaddr_t)end; at += PAGE_SIZE) {
        uint64_t *table = &paging_user_top;
        for (unsigned shift = 30; shift >= 12; shift -= 9) {
            uint64_t *next = table_below(table);
            if (!next)
                return false;
            table = &next[at >> shift & 511];
        }
        paddr_t frame = at >= KERNEL_BASE ? image_physical((void *)at) : frame_physical((void *)at);
        *table = frame | flags | PAGE_PRESENT | PAGE_ACCESSED | PAGE_DIRTY;
    }
    return true;
}

bool paging_user_init(void)
{
    table_format_host.largest_leaf = features.page_1g ? 2 : 1;
    if (!mitigations.kpti) {
        paging_user_top = kernel_root[KERNEL_TOP_INDEX];
        return true;
    }
    bool done = user_map(kernel_start, kernel_rodata, 0) &&
                user_map(kernel_rodata, kernel_data, PAGE_NO_EXECUTE) &&
                user_map(idt, idt + PAGE_SIZE, PAGE_NO_EXECUTE);
    for (unsigned i = 0; i < cpu_count; i++) {
        const char *stacks = (const char *)cpus[i]->kernel_stack;
        done = done && user_map(cpus[i], cpus[i] + 1, PAGE_WRITE | PAGE_NO_EXECUTE) &&
               user_map(stacks, stacks + IST_COUNT * PAGE_SIZE, PAGE_WRITE | PAGE_NO_EXECUTE);
    }
    return done;
}
