/* QEMU's firmware configuration device: how SeaBIOS, OVMF and U-Boot learn of the machine. */
#ifndef VMM_DEVICES_FW_CFG_H
#define VMM_DEVICES_FW_CFG_H

#include "bus.h"
#include "guest_memory.h"

#include <stddef.h>

#define FW_CFG_PORT       0x510u
#define FW_CFG_ITEMS_MAX  48u
#define FW_CFG_NAME_BYTES 56u

/* Items with numbers of their own (QEMU, docs/specs/fw_cfg.rst and include/standard-headers/linux/qemu_fw_cfg.h). */
enum fw_cfg_key {
    FW_CFG_SIGNATURE = 0x00,
    FW_CFG_ID = 0x01,
    FW_CFG_RAM_SIZE = 0x03,
    FW_CFG_NOGRAPHIC = 0x04,
    FW_CFG_NB_CPUS = 0x05,
    FW_CFG_KERNEL_ADDRESS = 0x07, /* these, to 0x18: of a kernel that an option ROM starts */
    FW_CFG_KERNEL_SIZE = 0x08,
    FW_CFG_INITRD_ADDRESS = 0x0a,
    FW_CFG_INITRD_SIZE = 0x0b,
    FW_CFG_NUMA = 0x0d,
    FW_CFG_BOOT_MENU = 0x0e,
    FW_CFG_MAX_CPUS = 0x0f,
    FW_CFG_KERNEL_DATA = 0x11,
    FW_CFG_INITRD_DATA = 0x12,
    FW_CFG_COMMAND_ADDRESS = 0x13,
    FW_CFG_COMMAND_SIZE = 0x14,
    FW_CFG_COMMAND_DATA = 0x15,
    FW_CFG_SETUP_ADDRESS = 0x16,
    FW_CFG_SETUP_SIZE = 0x17,
    FW_CFG_SETUP_DATA = 0x18,
    FW_CFG_FILE_DIRECTORY = 0x19,
    FW_CFG_FILE_FIRST = 0x20,
    FW_CFG_IRQ0_OVERRIDE = 0x8002,
};

struct fw_cfg_item {
    char name[FW_CFG_NAME_BYTES]; /* of a file; empty: the item has a number alone */
    uint16_t key;
    uint32_t size_bytes;
    const void *data; /* NULL: `value` holds it */
    uint8_t value[8];
};

struct fw_cfg {
    const struct guest_memory *memory;
    struct fw_cfg_item items[FW_CFG_ITEMS_MAX];
    unsigned count, files;
    uint16_t key; /* selected */
    uint32_t offset;
    uint32_t dma_high; /* of the DMA address, until the lower half is written */
};

/* With signature, ID and an empty directory. */
void fw_cfg_init(struct fw_cfg *config, const struct guest_memory *memory);
/* The data stays the caller's, and must stay. False: there is no room, or the name is too long or there already. Only
 * before the guest runs. */
bool fw_cfg_add_file(struct fw_cfg *config, const char *name, const void *data,
                     uint32_t size_bytes);
/* A file that holds a number of so many bytes, little-endian, at most 8. */
bool fw_cfg_add_number(struct fw_cfg *config, const char *name, uint64_t value,
                       unsigned size_bytes);
/* An item with a number of its own, that holds a number. */
bool fw_cfg_add_item(struct fw_cfg *config, enum fw_cfg_key key, uint64_t value,
                     unsigned size_bytes);
/* The same that holds data, which stays the caller's, as a file's does. */
bool fw_cfg_add_data(struct fw_cfg *config, enum fw_cfg_key key, const void *data,
                     uint32_t size_bytes);
bool fw_cfg_attach(struct fw_cfg *config, struct bus *ports);

#endif
