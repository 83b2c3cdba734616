/* The ACPI tables of a guest whose firmware puts them into its memory: files of fw_cfg, and a script (table_loader.c). */
#ifndef VMM_FIRMWARE_TABLE_LOADER_H
#define VMM_FIRMWARE_TABLE_LOADER_H

#include "devices/fw_cfg.h"
#include "firmware/acpi.h"

#define TABLE_LOADER_ENTRY_BYTES 128u
/* Two files are allocated; the rest are links. */
#define TABLE_LOADER_ENTRIES_MAX  (2u + 2 * ACPI_LINKS_MAX)
#define TABLE_LOADER_TABLES_BYTES 0x4000u

struct table_loader {
    struct acpi_machine machine;
    uint8_t rsdp[ACPI_RSDP_BYTES];
    uint8_t tables[TABLE_LOADER_TABLES_BYTES];
    uint8_t script[TABLE_LOADER_ENTRIES_MAX][TABLE_LOADER_ENTRY_BYTES];
    unsigned count; /* entries of the script */
};

/* Writes tables and script, and adds the files etc/acpi/rsdp, etc/acpi/tables and etc/table-loader, whose data stay in
 * `loader`. False: there is too little room. */
bool table_loader_add(struct table_loader *loader, const struct acpi_machine *machine,
                      struct fw_cfg *config);
/* The firmware has put the power management registers at `base`: tables that it reads from now on say so, as QEMU's do. U-Boot
 * puts them where SeaBIOS does not. */
void table_loader_move_power(struct table_loader *loader, uint16_t base);

#endif
