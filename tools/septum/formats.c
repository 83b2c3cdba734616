/* What the files of a partition must look like, by what it boots. The VMM looks closer: this is for the person who wrote
 * the partition file. */
#include "septum.h"

#include <string.h>

#define FIRMWARE_BYTES_MAX (16u << 20)
#define CARD_ROM_BYTES_MAX (1u << 20)
#define PAGE               4096u

static uint64_t number_at(const struct content *content, size_t offset, unsigned size_bytes)
{
    uint64_t value = 0;
    if (offset <= content->size_bytes && size_bytes <= content->size_bytes - offset)
        memcpy(&value, content->data + offset, size_bytes);
    return value;
}

/* ---- Linux ---------------------------------------------------------------------------------- */

/* The setup header of a bzImage: Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel
 * Header". */
enum {
    SETUP_BOOT_FLAG = 0x1fe,
    SETUP_MAGIC = 0x202,
    SETUP_VERSION = 0x206,
    SETUP_LOADFLAGS = 0x211,
    SETUP_XLOADFLAGS = 0x236,
    SETUP_PREFERRED_ADDRESS = 0x258,
    SETUP_INIT_SIZE = 0x260,
    SETUP_END = 0x268,
    VERSION_FIRST = 0x200,
    VERSION_WITH_INIT_SIZE = 0x20a,
    VERSION_WITH_XLOADFLAGS = 0x20c,
    LOADED_HIGH = 1,
    XLF_KERNEL_64 = 1,
};

static const char *linux_problem(const struct plan_partition *partition,
                                 const struct content *kernel)
{
    uint64_t version = number_at(kernel, SETUP_VERSION, 2);
    bool has_64 = version >= VERSION_WITH_XLOADFLAGS &&
                  number_at(kernel, SETUP_XLOADFLAGS, 2) & XLF_KERNEL_64;
    if (kernel->size_bytes < SETUP_END || number_at(kernel, SETUP_BOOT_FLAG, 2) != 0xaa55 ||
        memcmp(kernel->data + SETUP_MAGIC, "HdrS", 4) != 0 || version < VERSION_FIRST)
        return "is no Linux kernel, or it is damaged. Name a bzImage, such as Debian's "
               "/boot/vmlinuz-*";
    if (partition->entry == PLAN_ENTRY_64 && !has_64)
        return "has no 64-bit entry. Name a 64-bit kernel of Linux 3.8 or later, or leave `entry` "
               "out";
    bool can_16 = partition->board == PLAN_BOARD_PC &&
                  (partition->entry == PLAN_ENTRY_BEST || partition->entry == PLAN_ENTRY_16);
    if (!(number_at(kernel, SETUP_LOADFLAGS, 1) & LOADED_HIGH) && !can_16)
        return "is a zImage, which has a 16-bit entry alone, for which a BIOS must be there. Add "
               "to this partition: board pc, and say `entry 16-bit` or nothing of `entry`";
    return NULL;
}

uint64_t format_linux_needs(const struct content *kernel)
{
    if (number_at(kernel, SETUP_VERSION, 2) < VERSION_WITH_INIT_SIZE)
        return (1u << 20) + kernel->size_bytes;
    return number_at(kernel, SETUP_PREFERRED_ADDRESS, 8) + number_at(kernel, SETUP_INIT_SIZE, 4);
}

/* ---- ELF ------------------------------------------------------------------------------------ */

/* gABI 4.1, "ELF Header", "Program Header", "Note Section". */
enum {
    ELF_CLASS = 4,
    ELF_CLASS_64 = 2,
    ELF_DATA = 5,
    ELF_LITTLE = 1,
    ELF_TYPE = 16,
    ELF_MACHINE = 18,
    ELF_EXECUTABLE = 2,
    ELF_386 = 3,
    ELF_X86_64 = 62,
    SEGMENT_NOTE = 4,
    XEN_PHYS32_ENTRY = 18, /* Xen, public/elfnote.h */
};

static bool is_elf(const struct content *file)
{
    uint64_t machine = number_at(file, ELF_MACHINE, 2);
    return file->size_bytes >= 52 && memcmp(file->data, "\177ELF", 4) == 0 &&
           file->data[ELF_DATA] == ELF_LITTLE && (machine == ELF_386 || machine == ELF_X86_64);
}

static bool notes_have_pvh(const struct content *file, uint64_t at, uint64_t size_bytes)
{
    if (at > file->size_bytes || size_bytes > file->size_bytes - at)
        return false;
    for (uint64_t end = at + size_bytes; at + 12 <= end;) {
        uint64_t name = number_at(file, at, 4), body = number_at(file, at + 4, 4);
        if (number_at(file, at + 8, 4) == XEN_PHYS32_ENTRY && name == 4 && at + 16 <= end &&
            memcmp(file->data + at + 12, "Xen", 4) == 0)
            return true;
        at += 12 + ((name + 3) & ~3ull) + ((body + 3) & ~3ull);
    }
    return false;
}

static bool has_pvh_note(const struct content *file)
{
    bool wide = file->data[ELF_CLASS] == ELF_CLASS_64;
    uint64_t table = number_at(file, wide ? 32 : 28, wide ? 8 : 4);
    uint64_t size = number_at(file, wide ? 54 : 42, 2), count = number_at(file, wide ? 56 : 44, 2);
    for (uint64_t i = 0; i < count && table <= file->size_bytes; i++) {
        uint64_t row = table + i * size;
        if (number_at(file, row, 4) == SEGMENT_NOTE &&
            notes_have_pvh(file, number_at(file, row + (wide ? 8 : 4), wide ? 8 : 4),
                           number_at(file, row + (wide ? 32 : 16), wide ? 8 : 4)))
            return true;
    }
    return false;
}

static const char *pvh_problem(const struct content *file)
{
    if (is_elf(file) && has_pvh_note(file))
        return NULL;
    return is_elf(file)
               ? "has no PVH note. Name a kernel that was built with one (Linux: "
                 "CONFIG_PVH)"
               : "is no ELF file for x86. Name an ELF kernel, such as Linux's vmlinux; for a "
                 "bzImage write `boot linux`";
}

/* For x86-64, linked to fixed addresses. */
static const char *program_problem(const struct content *program)
{
    if (!is_elf(program) || program->data[ELF_CLASS] != ELF_CLASS_64 ||
        number_at(program, ELF_TYPE, 2) != ELF_EXECUTABLE ||
        number_at(program, ELF_MACHINE, 2) != ELF_X86_64)
        return "is no program for Septum: that is a static ELF file for x86-64. Build it as "
               "docs/network.md shows";
    return NULL;
}

/* ---- multiboot ------------------------------------------------------------------------------ */

/* Multiboot 0.6.96, 3.1.1, and Multiboot2 2.0, 3.1.1: where the header may stand, and how it begins. */
static const char *multiboot_problem(const struct content *file, bool second)
{
    const uint32_t magic = second ? 0xe85250d6u : 0x1badb002u;
    unsigned step = second ? 8 : 4, words = second ? 4 : 3;
    for (uint64_t at = 0; at < (second ? 32768u : 8192u) && at + words * 4 <= file->size_bytes;
         at += step) {
        uint32_t sum = 0;
        for (unsigned i = 0; i < words; i++)
            sum += (uint32_t)number_at(file, at + i * 4, 4);
        if (number_at(file, at, 4) == magic && sum == 0)
            return NULL;
    }
    return second
               ? "has no multiboot2 header in its first 32 KiB. Name a kernel that has one, or "
                 "write "
                 "another kind behind `boot`"
               : "has no multiboot header in its first 8 KiB. Name a kernel that has one, or write "
                 "another kind behind `boot`";
}

/* ---- firmware ------------------------------------------------------------------------------- */

static const char *image_problem(const struct content *image)
{
    if (image->size_bytes % PAGE || image->size_bytes > FIRMWARE_BYTES_MAX)
        return "is no firmware image: that is whole pages of 4 KiB, at most 16 MiB. Name another";
    return NULL;
}

/* PCI Local Bus 3.0, 6.3.1.1: how an expansion ROM begins. */
static const char *card_rom_problem(const struct content *image)
{
    if (image->size_bytes > CARD_ROM_BYTES_MAX || number_at(image, 0, 2) != 0xaa55)
        return "is no expansion ROM: that begins with 55 aa and has at most 1 MiB. Name another";
    return NULL;
}

/* ---- all ------------------------------------------------------------------------------------ */

const char *format_problem(const struct plan_partition *partition, enum plan_file_kind kind,
                           const struct content *content)
{
    if (content->size_bytes == 0 && kind == PLAN_FILE_INITRD)
        return "is empty. Make it anew, or leave `initrd` out";
    if (content->size_bytes == 0 && kind != PLAN_FILE_KERNEL)
        return "is empty. Make it anew";
    if (kind == PLAN_FILE_FIRMWARE || kind == PLAN_FILE_VARIABLES)
        return image_problem(content);
    if (kind == PLAN_FILE_CARD_ROM)
        return card_rom_problem(content);
    if (kind != PLAN_FILE_KERNEL)
        return NULL;
    switch (partition->boot) {
    case PLAN_BOOT_PROGRAM: return program_problem(content);
    case PLAN_BOOT_LINUX: return linux_problem(partition, content);
    case PLAN_BOOT_PVH: return pvh_problem(content);
    case PLAN_BOOT_MULTIBOOT:
    case PLAN_BOOT_MULTIBOOT2:
        return multiboot_problem(content, partition->boot == PLAN_BOOT_MULTIBOOT2);
    default: return content->size_bytes ? image_problem(content) : "is empty. Make it anew";
    }
}
