/* The kernel's own address space, and the bits of a page-table entry (SDM 3, 4.5). */
#pragma once

#include "core/types.h"

/* The kernel's half of every address space is one top-level entry, the last; boot.S builds it. */
#define KERNEL_BASE 0xffffffff80000000ull /* + physical address: the image */
#define WINDOW_BASE 0xffffffff80400000ull /* 512 small pages: device registers, boot-time windows */
#define POOL_BASE 0xffffffff40000000ull   /* the kernel pool, at most 1 GiB */
#define POOL_MAX (1ull << 30)
#define LARGE_PAGE (2ull << 20)

#define PAGE_PRESENT 1ull
#define PAGE_WRITE 2ull
#define PAGE_USER 4ull
#define PAGE_WRITE_THROUGH 8ull /* selects entry 1 of the PAT, which cpu.c sets to write-combining */
#define PAGE_CACHE_DISABLE 16ull
#define PAGE_UNCACHED (PAGE_CACHE_DISABLE | PAGE_WRITE_THROUGH) /* entry 3 */
#define PAGE_ACCESSED 32ull
#define PAGE_DIRTY 64ull
#define PAGE_LARGE 128ull
#define PAGE_GLOBAL 256ull
#define PAGE_NO_EXECUTE (1ull << 63)

#define CR3_NO_FLUSH (1ull << 63) /* with CR4.PCIDE */

#define KERNEL_TOP_INDEX 511u
extern uint64_t kernel_root[512]; /* the kernel's own top-level table: no user half */
extern char kernel_start[], kernel_rodata[], kernel_data[], kernel_end[];

/* Physical address of something in the image. */
static inline paddr_t image_physical(const void *address)
{
    return (vaddr_t)address - KERNEL_BASE;
}

/*
 * Maps physical memory or device registers into the window, writable and not executable, at the
 * same offset within the page; NULL if the window is full. The boot CPU only, at boot only.
 */
void *window_map(paddr_t physical, uint64_t size_bytes, uint64_t cache);
unsigned window_mark(void);
void window_release(unsigned mark); /* unmaps all that was mapped since that mark */

void paging_map_pool(paddr_t base, uint64_t size_bytes); /* multiples of 2 MiB */
/* The first 2 MiB of RAM, writable and executable: for the trampoline, until paging_drop_low. */
static inline void *paging_low(paddr_t physical)
{
    return (void *)(KERNEL_BASE + physical);
}
void paging_drop_low(void);
/* Once all CPUs are there: the kernel's part of user tables, the whole half or, with KPTI, what the way
 * in and out needs. False: no memory. */
bool paging_user_init(void);
extern uint64_t paging_user_top; /* the entry of a top-level table that holds it */
void paging_flush_all(void *unused); /* this CPU's translations, all of them */
