/*
 * The file is copied field by field before it is looked at; nothing in it is trusted: each size is checked against the
 * file. What an old protocol does not have yet has the value that boot.rst gives.
 */
#include "boot/linux_setup.h"

#include "layout.h"
#include "print.h"
#include "string.h"

#define HEADER_MAGIC    0x53726448u /* "HdrS" */
#define XLF_KERNEL_64   1u
#define INITRD_MAX_OLD  0x37ffffffu
#define CMDLINE_MAX_OLD 255u
#define ALIGNMENT_OLD   4096u

static uint64_t field(const uint8_t *file, unsigned offset, unsigned size_bytes)
{
    uint64_t value = 0;
    memcpy(&value, file + offset, size_bytes);
    return value;
}

/* A field that the protocol has from `version` on; before that it has the value `before`. */
static uint64_t since(const struct linux_setup *setup, uint32_t version, unsigned offset,
                      unsigned size_bytes, uint64_t before)
{
    return setup->version >= version ? field(setup->file, offset, size_bytes) : before;
}

static bool is_linux(const struct boot_files *files, struct boot_complaint *complaint)
{
    const uint8_t *file = files->kernel.data;
    const char *name = files->kernel.name;
    if (!file || files->kernel.size_bytes < HEADER_BYTES_READ)
        return BOOT_REFUSE(
            complaint, "the kernel \"%s\" is empty or cut off (%lu bytes): copy or build it anew",
            name, files->kernel.size_bytes);
    if (field(file, BOOT_FLAG, 2) != 0xaa55 || field(file, HEADER, 4) != HEADER_MAGIC ||
        field(file, VERSION, 2) < 0x200)
        return BOOT_REFUSE(complaint,
                           "the kernel \"%s\" is no Linux kernel for x86: give a bzImage, which "
                           "Debian calls /boot/vmlinuz-VERSION",
                           name);
    bool has_64 = field(file, VERSION, 2) >= 0x20c && field(file, XLOADFLAGS, 2) & XLF_KERNEL_64;
    if (files->entry == PLAN_ENTRY_64 && !has_64)
        return BOOT_REFUSE(
            complaint,
            "the kernel \"%s\" has no 64-bit entry (boot protocol %x, wanted is "
            "20c): use an amd64 kernel of version 3.8 or later, or leave `entry` out",
            name, (unsigned)field(file, VERSION, 2));
    return true;
}

/* The header, copied and checked against the file's size. */
static bool read_setup(const struct boot_files *files, struct linux_setup *setup,
                       struct boot_complaint *complaint)
{
    const uint8_t *file = files->kernel.data;
    const char *name = files->kernel.name;
    uint64_t sectors = field(file, SETUP_SECTS, 1);
    *setup = (struct linux_setup){
        .file = file,
        .file_bytes = files->kernel.size_bytes,
        .version = (uint32_t)field(file, VERSION, 2),
        .payload = ((sectors ? sectors : 4) + 1) * SECTOR, /* 0 means 4, boot.rst */
        .header_end = HEADER + field(file, JUMP_OFFSET, 1),
        .high = (field(file, LOADFLAGS, 1) & LOADED_HIGH) != 0,
    };
    uint64_t there = setup->payload < setup->file_bytes ? setup->file_bytes - setup->payload : 0;
    /* Before 2.04 syssize has two bytes and can't be trusted (boot.rst). */
    setup->payload_bytes = since(setup, 0x204, SYSSIZE, 4, (there + 15) / 16) * 16;
    setup->alignment = since(setup, 0x205, KERNEL_ALIGNMENT, 4, ALIGNMENT_OLD);
    setup->relocatable = since(setup, 0x205, RELOCATABLE_KERNEL, 1, 0) != 0;
    setup->pref_address = since(setup, 0x20a, PREF_ADDRESS, 8, LAYOUT_KERNEL);
    setup->init_size = since(setup, 0x20a, INIT_SIZE, 4, setup->payload_bytes);
    setup->initrd_max = since(setup, 0x203, INITRD_ADDR_MAX, 4, INITRD_MAX_OLD);
    setup->cmdline_size = (uint32_t)since(setup, 0x206, CMDLINE_SIZE, 4, CMDLINE_MAX_OLD);
    setup->has_64 =
        since(setup, 0x20c, XLOADFLAGS, 2, 0) & XLF_KERNEL_64 && files->entry != PLAN_ENTRY_32;
    uint64_t packed =
        since(setup, 0x208, PAYLOAD_OFFSET, 4, 0) + since(setup, 0x208, PAYLOAD_LENGTH, 4, 0);
    /* syssize is rounded up to 16 bytes, the file is not. */
    if (there == 0 || setup->payload_bytes > ((there + 15) & ~15ull) || packed > there)
        return BOOT_REFUSE(complaint,
                           "the kernel \"%s\" is cut off: its header tells of %lu bytes, the file "
                           "has %lu: copy it anew",
                           name, setup->payload + setup->payload_bytes, setup->file_bytes);
    if (setup->payload_bytes > there)
        setup->payload_bytes = there;
    if (setup->header_end < HEADER_MIN_END ||
        (setup->has_64 && setup->payload_bytes <= ENTRY_64BIT) ||
        setup->init_size < setup->payload_bytes || setup->alignment < 4096 ||
        setup->alignment > GIB || (setup->alignment & (setup->alignment - 1)))
        return BOOT_REFUSE(complaint,
                           "the kernel \"%s\" is damaged: its header makes no sense: copy it anew",
                           name);
    return true;
}

bool linux_setup_read(const struct boot_files *files, struct linux_setup *setup,
                      struct boot_complaint *complaint)
{
    size_t command_bytes = strlen(files->command_line);
    if (!is_linux(files, complaint) || !read_setup(files, setup, complaint))
        return false;
    return command_bytes <= setup->cmdline_size ||
           BOOT_REFUSE(complaint,
                       "the command line has %lu bytes; this kernel takes %u: shorten it",
                       command_bytes, setup->cmdline_size);
}

bool linux_place_initrd(const struct boot_files *files, const struct linux_setup *setup,
                        uint64_t kernel_end, uint64_t end, uint64_t *address,
                        struct boot_complaint *complaint)
{
    *address = 0;
    if (!files->initrd.data)
        return true;
    if (files->initrd.size_bytes == 0)
        return BOOT_REFUSE(complaint, "the initrd \"%s\" is empty: build it anew",
                           files->initrd.name);
    if (end > setup->initrd_max)
        end = setup->initrd_max + 1;
    if (end < kernel_end || files->initrd.size_bytes > end - kernel_end)
        return BOOT_REFUSE(complaint,
                           "the guest's memory of %luM is too little for its kernel and its initrd "
                           "\"%s\": give it at least %luM",
                           files->memory_bytes / MIB, files->initrd.name,
                           (kernel_end + files->initrd.size_bytes) / MIB + 32);
    *address = (end - files->initrd.size_bytes) & ~0xfffull;
    return *address >= kernel_end ||
           BOOT_REFUSE(complaint, "the initrd \"%s\" does not fit: give the guest 1M more memory",
                       files->initrd.name);
}

bool linux_is_real(const struct boot_files *files)
{
    const uint8_t *file = files->kernel.data;
    if (!files->has_bios || !file || files->kernel.size_bytes < HEADER_BYTES_READ)
        return false;
    return files->entry == PLAN_ENTRY_16 ||
           (files->entry == PLAN_ENTRY_BEST && field(file, HEADER, 4) == HEADER_MAGIC &&
            (field(file, VERSION, 2) < 0x202 || !(field(file, LOADFLAGS, 1) & LOADED_HIGH)));
}
