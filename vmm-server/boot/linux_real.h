/* A Linux kernel by its 16-bit entry: what boot/linux_rom.S fetches by fw_cfg, and where it puts it, when SeaBIOS has set
 * the machine up. */
#ifndef VMM_BOOT_LINUX_REAL_H
#define VMM_BOOT_LINUX_REAL_H

#include "boot/linux_setup.h"
#include "devices/fw_cfg.h"

#define LINUX_ROM_BYTES 512u
/* How SeaBIOS names it: in fw_cfg, and in the boot order. */
#define LINUX_ROM_FILE "genroms/linux.bin"
#define LINUX_ROM_PATH "/rom@" LINUX_ROM_FILE

struct linux_piece {
    const void *data;
    uint32_t address, size_bytes;
};

struct linux_real {
    struct linux_setup setup;
    const char *command_line;
    uint32_t heap_end; /* of the setup's segment; the command line is there */
    struct linux_piece setup_code, command, kernel, initrd;
    uint8_t rom[LINUX_ROM_BYTES];
};

/* Looks at the kernel and finds the places. low_end: where RAM below 4 GiB ends. False: the complaint says why not. */
bool linux_real_place(const struct boot_files *files, uint64_t low_end, struct linux_real *real,
                      struct boot_complaint *complaint);
/* Makes the setup code as the kernel is to find it, in `to`, of setup_code.size_bytes, and gives all to fw_cfg. Both stay as long
 * as the guest. False: fw_cfg has no room. */
bool linux_real_add(struct linux_real *real, uint8_t *to, struct fw_cfg *config);

#endif
