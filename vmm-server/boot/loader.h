/*
 * What the ways to boot have in common: the files, the state in which the first vCPU begins, the memory map. Files come
 * from people and are checked byte by byte; nothing is written outside the guest's memory.
 */
#ifndef VMM_BOOT_LOADER_H
#define VMM_BOOT_LOADER_H

#include "guest_memory.h"
#include "partition/plan.h"

#include <stdbool.h>
#include <stddef.h>

struct boot_file {
    const void *data; /* NULL: there is none */
    uint64_t size_bytes;
    const char *name; /* for messages */
    const char *text; /* of a module */
};

struct boot_files {
    struct boot_file kernel, initrd, modules[PLAN_MODULES_MAX];
    unsigned module_count;
    const char *command_line;
    uint64_t memory_bytes; /* of the guest, in all */
    uint32_t entry;        /* enum plan_entry */
    bool has_bios;         /* the board is one on which a BIOS can run */
};

enum boot_mode {
    BOOT_LONG,      /* 64-bit mode, paging by `page_tables` */
    BOOT_PROTECTED, /* 32-bit mode, no paging */
};

/* How the first vCPU begins: flat segments 0x10 (code) and 0x18 (data) of the GDT, interrupts off, these registers, and
 * all others 0. */
struct boot_entry {
    enum boot_mode mode;
    uint64_t rip, rax, rbx, rsi, page_tables, gdt;
    uint32_t gdt_limit;
};

/* Where a refusal is written: a sentence that says what is wrong and what to do. */
struct boot_complaint {
    char *text;
    size_t size_bytes;
};
#define BOOT_REFUSE(complaint, ...) \
    (print_buffer((complaint)->text, (complaint)->size_bytes, __VA_ARGS__), false)

/* The memory map that a guest is told, by rising addresses; types as in E820 (ACPI 6.5, table 15.3). */
enum boot_range_type { BOOT_RAM = 1, BOOT_RESERVED = 2 };
struct boot_range {
    uint64_t base, end;
    enum boot_range_type type;
};
#define BOOT_RANGES_MAX (GUEST_MEMORY_REGIONS_MAX + 2)
/* Fills in the map; returns the number of ranges. */
unsigned boot_memory_map(const struct guest_memory *memory, struct boot_range *ranges);

/* Places for files and tables in low memory, from an address upwards, each at the beginning of a page. */
struct boot_room {
    const struct guest_memory *memory;
    uint64_t next, end;
    uint64_t memory_bytes; /* for messages */
};
/* Room for size_bytes; *address is where. False: `complaint` says that `what` does not fit. */
bool boot_room_take(struct boot_room *room, uint64_t size_bytes, const char *what,
                    uint64_t *address, struct boot_complaint *complaint);
/* The same, and copies a file there. */
bool boot_room_put(struct boot_room *room, const struct boot_file *file, uint64_t *address,
                   struct boot_complaint *complaint);

/* What kernels for PCs look up although their loader tells it: the size of base memory in KiB, in the BIOS data area. Before the
 * kernel is placed, which may want to be there. */
void boot_write_bios_data(const struct guest_memory *memory);

/* Writes the GDT of `entry` into low memory, and fills in where it is. */
void boot_write_gdt(const struct guest_memory *memory, struct boot_entry *entry);

/* A loader: puts all into the guest's memory, whose low part begins at 0 (layout.h). Called once, before the guest runs.
 * False: the complaint says why. */
typedef bool boot_loader(const struct guest_memory *memory, const struct boot_files *files,
                         struct boot_entry *entry, struct boot_complaint *complaint);

/* A Linux bzImage by its 64-bit or 32-bit entry (Linux, Documentation/arch/x86/boot.rst), any protocol from 2.00 on;
 * the 16-bit entry is boot/linux_real.h's. */
boot_loader linux_load;
/* An ELF kernel with a PVH note (Xen, docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h). */
boot_loader pvh_load;
/* A kernel with a multiboot header (Multiboot Specification 0.6.96). */
boot_loader multiboot_load;
/* The same of version 2 (Multiboot2 Specification 2.0). */
boot_loader multiboot2_load;

#endif
