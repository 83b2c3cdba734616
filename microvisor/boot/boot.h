/* Between the files of boot/. */
#pragma once

#include "core/types.h"

struct task;

/* What the boot loader told, in one form (handover.c). All of it copied. */
struct handover {
    paddr_t rsdp; /* 0: not told */
    paddr_t module_base;
    uint64_t module_size;
    char command_line[1024];
};
extern struct handover handover;

/* Reads the loader's structures and registers all memory with memory_add. Stops with a sentence if
 * the kernel can't make sense of them. */
void handover_read(uint32_t magic, uint32_t info);

/* The value of `name=value` on the command line, or "" for the bare word `name`; NULL if absent. It
 * ends at a space or at the end of the line. */
const char *option_find(const char *name);
bool option_is(const char *name, const char *value);
uint64_t option_size(const char *name, uint64_t otherwise); /* with K, M or G */

/* ---- the physical memory map (memory.c) ------------------------------------------------------ */

/* Where types overlap the larger one holds; what nobody named is BOOT_MEMORY_DEVICE. RAM is rounded
 * inwards to pages, everything else outwards. */
void memory_add(paddr_t base, uint64_t size_bytes, enum boot_memory_type type);
uint64_t memory_ram_bytes(void);
/* The lowest free RAM at or above `above` that lies below `below`; 0 if there is none. */
paddr_t memory_find(uint64_t size_bytes, uint64_t alignment, paddr_t above, paddr_t below);
/* The whole address space below `end` as ranges in rising order; their number, at most `max`. */
unsigned memory_ranges(struct boot_memory_range *ranges, unsigned max, paddr_t end);

/* ---- the first program (loader.c) --------------------------------------------------------------- */

/* Loads the static ELF64 at the start of the module into free RAM, which becomes BOOT_MEMORY_ROOT, and
 * maps it into the task. Returns where it begins; stops with a sentence if it is no program. */
vaddr_t program_load(struct task *task);

/* A sentence about why the machine can't be started, then the end. */
_Noreturn void boot_stop(const char *format, ...) __attribute__((format(printf, 1, 2)));
