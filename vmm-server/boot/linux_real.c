/*
 * Where things go is boot.rst's sample of a loader: the setup's segment at 0x90000 for whom nothing else is allowed, else
 * at 0x10000; its heap up to the command line. SeaBIOS uses low memory while it starts, so that nothing can lie there
 * before it has ended: it keeps the end of RAM below 4 GiB, the page of its data below 640 KiB, and the first 0x7c00 bytes.
 */
#include "boot/linux_real.h"

#include "layout.h"
#include "print.h"
#include "string.h"

#define OLD_BASE       0x90000u /* of a zImage, and of all before 2.02 */
#define NEW_BASE       0x10000u
#define OLD_HEAP_END   0x9800u
#define NEW_HEAP_END   0xe000u
#define HEAP_MIN       0x200u   /* boot.rst: heap_end_ptr lies so far before the heap's end */
#define LOW_KERNEL     0x10000u /* where a zImage goes */
#define LOW_KERNEL_MAX (OLD_BASE - LOW_KERNEL)
#define CAN_USE_HEAP   0x80u
/* What SeaBIOS 1.16 keeps of the end of memory: its BUILD_MAX_HIGHTABLE. */
#define BIOS_END_BYTES 0x40000u

extern const uint8_t linux_rom[LINUX_ROM_BYTES];

/* The kernel's end in memory, when it has unpacked itself, as far as it tells. */
static uint64_t kernel_end(const struct linux_setup *setup)
{
    uint64_t end = setup->address + setup->payload_bytes, unpacked = 0;
    if (setup->version >= 0x20a)
        unpacked = (setup->pref_address > setup->address ? setup->pref_address : setup->address) +
                   setup->init_size;
    if (end < LAYOUT_KERNEL)
        end = LAYOUT_KERNEL;
    return end > unpacked ? end : unpacked;
}

bool linux_real_place(const struct boot_files *files, uint64_t low_end, struct linux_real *real,
                      struct boot_complaint *complaint)
{
    struct linux_setup *setup = &real->setup;
    uint64_t initrd = 0;
    if (!linux_setup_read(files, setup, complaint))
        return false;
    bool old = !setup->high || setup->version < 0x202;
    uint32_t base = old ? OLD_BASE : NEW_BASE;
    uint64_t end = low_end > BIOS_END_BYTES ? low_end - BIOS_END_BYTES : 0;
    real->heap_end = old ? OLD_HEAP_END : NEW_HEAP_END;
    real->command_line = files->command_line;
    setup->address = setup->high ? LAYOUT_KERNEL : LOW_KERNEL;
    if (setup->payload > real->heap_end - HEAP_MIN ||
        (!setup->high && setup->payload_bytes > LOW_KERNEL_MAX))
        return BOOT_REFUSE(complaint,
                           "the kernel \"%s\" is damaged: its setup code or its low part is too "
                           "large for where it goes: copy it anew",
                           files->kernel.name);
    if (setup->pref_address > UINT32_MAX || kernel_end(setup) > end)
        return BOOT_REFUSE(complaint,
                           "the guest's memory of %luM is too little for its kernel \"%s\" and the "
                           "BIOS: give it at least %luM, and more for its programs",
                           files->memory_bytes / MIB, files->kernel.name,
                           (kernel_end(setup) + BIOS_END_BYTES + MIB - 1) / MIB);
    if (!linux_place_initrd(files, setup, kernel_end(setup), end, &initrd, complaint))
        return false;
    real->setup_code = (struct linux_piece){NULL, base, (uint32_t)setup->payload};
    real->command = (struct linux_piece){files->command_line, base + real->heap_end,
                                         (uint32_t)strlen(files->command_line) + 1};
    real->kernel = (struct linux_piece){setup->file + setup->payload, (uint32_t)setup->address,
                                        (uint32_t)setup->payload_bytes};
    if (initrd)
        real->initrd = (struct linux_piece){files->initrd.data, (uint32_t)initrd,
                                            (uint32_t)files->initrd.size_bytes};
    return true;
}

static void patch_setup(const struct linux_real *real, uint8_t *to)
{
    const struct linux_setup *setup = &real->setup;
    memcpy(to, setup->file, setup->payload);
    linux_put(to, TYPE_OF_LOADER, LOADER_UNDEFINED, 1);
    linux_put(to, RAMDISK_IMAGE, real->initrd.address, 4);
    linux_put(to, RAMDISK_SIZE, real->initrd.size_bytes, 4);
    if (setup->version >= 0x201) {
        to[LOADFLAGS] |= CAN_USE_HEAP;
        linux_put(to, HEAP_END_PTR, real->heap_end - HEAP_MIN, 2);
    }
    if (setup->version >= 0x202) {
        linux_put(to, CMD_LINE_PTR, real->command.address, 4);
    } else {
        linux_put(to, OLD_CL_MAGIC, OLD_CL_VALUE, 2);
        linux_put(to, OLD_CL_OFFSET, real->heap_end, 2);
        linux_put(to, SETUP_MOVE_SIZE, real->heap_end + real->command.size_bytes, 2);
    }
}

/* SeaBIOS takes no ROM whose bytes do not add up to 0. */
static void make_rom(uint8_t *rom)
{
    uint8_t sum = 0;
    memcpy(rom, linux_rom, LINUX_ROM_BYTES);
    for (unsigned i = 0; i < LINUX_ROM_BYTES; i++)
        sum = (uint8_t)(sum + rom[i]);
    rom[LINUX_ROM_BYTES - 1] = (uint8_t)(rom[LINUX_ROM_BYTES - 1] - sum);
}

static bool add_piece(struct fw_cfg *config, const struct linux_piece *piece,
                      enum fw_cfg_key address, enum fw_cfg_key size, enum fw_cfg_key data)
{
    return fw_cfg_add_item(config, address, piece->address, 4) &&
           fw_cfg_add_item(config, size, piece->size_bytes, 4) &&
           fw_cfg_add_data(config, data, piece->data, piece->size_bytes);
}

bool linux_real_add(struct linux_real *real, uint8_t *to, struct fw_cfg *config)
{
    patch_setup(real, to);
    real->setup_code.data = to;
    make_rom(real->rom);
    return add_piece(config, &real->setup_code, FW_CFG_SETUP_ADDRESS, FW_CFG_SETUP_SIZE,
                     FW_CFG_SETUP_DATA) &&
           add_piece(config, &real->command, FW_CFG_COMMAND_ADDRESS, FW_CFG_COMMAND_SIZE,
                     FW_CFG_COMMAND_DATA) &&
           add_piece(config, &real->kernel, FW_CFG_KERNEL_ADDRESS, FW_CFG_KERNEL_SIZE,
                     FW_CFG_KERNEL_DATA) &&
           add_piece(config, &real->initrd, FW_CFG_INITRD_ADDRESS, FW_CFG_INITRD_SIZE,
                     FW_CFG_INITRD_DATA) &&
           fw_cfg_add_file(config, LINUX_ROM_FILE, real->rom, LINUX_ROM_BYTES);
}
