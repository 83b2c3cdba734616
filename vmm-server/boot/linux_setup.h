/* The setup header of a Linux kernel (Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"): read once and
 * checked, for the loaders of its 64-bit, 32-bit and 16-bit entries. */
#ifndef VMM_BOOT_LINUX_SETUP_H
#define VMM_BOOT_LINUX_SETUP_H

#include "boot/loader.h"
#include "string.h"

/* Offsets in the file, and the same in boot_params . */
enum {
    OLD_CL_MAGIC = 0x20, /* before 2.02: the command line is at OLD_CL_OFFSET from boot_params */
    OLD_CL_OFFSET = 0x22,
    SETUP_SECTS = 0x1f1,
    SYSSIZE = 0x1f4,
    BOOT_FLAG = 0x1fe,
    JUMP_OFFSET = 0x201,
    HEADER = 0x202,
    VERSION = 0x206,
    TYPE_OF_LOADER = 0x210,
    LOADFLAGS = 0x211,
    SETUP_MOVE_SIZE = 0x212,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    HEAP_END_PTR = 0x224,
    CMD_LINE_PTR = 0x228,
    INITRD_ADDR_MAX = 0x22c,
    KERNEL_ALIGNMENT = 0x230,
    RELOCATABLE_KERNEL = 0x234,
    XLOADFLAGS = 0x236,
    CMDLINE_SIZE = 0x238,
    PAYLOAD_OFFSET = 0x248,
    PAYLOAD_LENGTH = 0x24c,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    HEADER_MIN_END = 0x224, /* of 2.00 */
    HEADER_BYTES_READ = 0x264,
};

#define SECTOR           512u
#define LOADED_HIGH      1u
#define ENTRY_64BIT      0x200u
#define LOADER_UNDEFINED 0xff
#define OLD_CL_VALUE     0xa33fu

struct linux_setup {
    const uint8_t *file;
    uint64_t file_bytes;
    uint32_t version;
    bool has_64; /* and is to be entered so, unless the partition wants another entry */
    bool high;   /* a bzImage; else a zImage, for the first 640 KiB */
    uint64_t payload, payload_bytes; /* what is loaded: offset in the file, size */
    uint64_t alignment, pref_address, init_size, initrd_max, header_end;
    uint32_t cmdline_size;
    bool relocatable;
    uint64_t address; /* where it goes: the loader's */
};

static inline void linux_put(uint8_t *params, unsigned offset, uint64_t value, unsigned size_bytes)
{
    memcpy(params + offset, &value, size_bytes);
}

/* False: it is no kernel, cut off or damaged; the complaint says so. */
bool linux_setup_read(const struct boot_files *files, struct linux_setup *setup,
                      struct boot_complaint *complaint);
/* A place between kernel_end and `end`, as high as the kernel takes it, so that it is out of the way of what the kernel
 * unpacks; *address is 0 where there is no initrd. False: it does not fit. */
bool linux_place_initrd(const struct boot_files *files, const struct linux_setup *setup,
                        uint64_t kernel_end, uint64_t end, uint64_t *address,
                        struct boot_complaint *complaint);
/* Does this kernel begin in real mode, with a BIOS around it? So it is where the partition says so, and where it has no
 * other entry that it was made for: a zImage, and all before protocol 2.02. Only on a board that has a BIOS for it. */
bool linux_is_real(const struct boot_files *files);

#endif
