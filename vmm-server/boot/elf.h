/* ELF kernels, 32-bit and 64-bit (System V gABI 4.1, chapters 4 and 5): where their segments go, and PVH's note. */
#ifndef VMM_BOOT_ELF_H
#define VMM_BOOT_ELF_H

#include "boot/loader.h"

struct elf_kernel {
    const struct boot_file *file;
    bool wide; /* ELF64 */
    uint64_t low,
        high;       /* physical addresses of its segments, from the first to the end of the last */
    uint64_t entry; /* physical */
    uint64_t pvh_entry; /* of the note; valid if has_pvh */
    bool has_pvh;
    uint64_t table; /* of program headers: offset */
    unsigned count, row_bytes;
};

/* Reads and checks the headers: what it says lies inside of the file. */
bool elf_open(const struct boot_file *file, struct elf_kernel *kernel,
              struct boot_complaint *complaint);
/* Puts the segments into the guest's low memory, each `shift` above its own address. */
bool elf_place(const struct elf_kernel *kernel, const struct guest_memory *memory, uint64_t shift,
               struct boot_complaint *complaint);

#endif
