/* What both multiboot versions say of where a kernel goes, and doing it. */
#ifndef VMM_BOOT_MULTIBOOT_IMAGE_H
#define VMM_BOOT_MULTIBOOT_IMAGE_H

#include "boot/elf.h"

struct multiboot_image {
    const struct boot_file *file;
    uint64_t header; /* its offset in the file */
    /* The header's own addresses, for a file that is no ELF file or that wants to be taken for none. */
    bool has_addresses;
    uint32_t header_address, load_address, load_end, bss_end;
    bool has_entry;
    uint64_t entry;
    /* Multiboot2: it may be anywhere in this range. */
    bool relocatable;
    uint64_t lowest, highest, alignment;
    uint32_t preference; /* 1: as low as can be, 2: as high as can be */
    /* Where it went. */
    uint64_t low, high;
};

/* Puts the kernel into memory; fills in `low`, `high` and the physical address of its entry. */
bool multiboot_place(struct multiboot_image *image, const struct guest_memory *memory,
                     struct boot_complaint *complaint);
/* The room for modules: behind the kernel, or below one that went where there is more room below. And the one for what it
 * is told: low memory, out of the way of kernels that take all behind themselves; the former, if the kernel is there. */
struct multiboot_rooms {
    struct boot_room modules, low;
    struct boot_room *told;
};
void multiboot_rooms(const struct multiboot_image *image, const struct guest_memory *memory,
                     uint64_t memory_bytes, struct multiboot_rooms *rooms);

#endif
