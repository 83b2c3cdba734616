/*
 * The script that tells firmware where to put tables and how to link them (QEMU, hw/acpi/bios-linker-loader.c; SeaBIOS,
 * src/fw/romfile_loader.h; edk2, OvmfPkg/AcpiPlatformDxe/QemuLoader.h). The tables are written for address 0, so that
 * each pointer is an offset in etc/acpi/tables, to which the firmware adds that file's address. The RSDP, which stands at
 * their beginning, is a file of its own, because old systems look for it between 0xe0000 and 0xfffff.
 */
#include "firmware/table_loader.h"

#include "string.h"

#define RSDP_FILE   "etc/acpi/rsdp"
#define TABLES_FILE "etc/acpi/tables"

enum { ALLOCATE = 1, ADD_POINTER = 2, ADD_SUM = 3 };
enum { ZONE_HIGH = 1, ZONE_F_SEGMENT = 2 };

#define RSDP_ALIGNMENT   16u
#define TABLES_ALIGNMENT 64u

/* One entry, little-endian. */
struct entry {
    uint32_t command;
    char file[FW_CFG_NAME_BYTES]; /* of a pointer: that in which it stands */
    union {
        struct {
            uint32_t alignment;
            uint8_t zone;
        } __attribute__((packed)) allocate;
        struct {
            char to[FW_CFG_NAME_BYTES];
            uint32_t offset;
            uint8_t size_bytes;
        } __attribute__((packed)) pointer;
        struct {
            uint32_t sum, start, length;
        } __attribute__((packed)) sum;
    };
} __attribute__((packed));
_Static_assert(sizeof(struct entry) <= TABLE_LOADER_ENTRY_BYTES, "an entry has 128 bytes");

static void add(struct table_loader *loader, const struct entry *entry)
{
    memcpy(loader->script[loader->count++], entry, sizeof *entry);
}

/* The file in which a place of the tables is, at the same offset. */
static const char *file_of(uint32_t offset)
{
    return offset < ACPI_RSDP_BYTES ? RSDP_FILE : TABLES_FILE;
}

static void add_allocation(struct table_loader *loader, const char *file, uint32_t alignment,
                           uint8_t zone)
{
    struct entry entry = {.command = ALLOCATE, .allocate = {alignment, zone}};
    memcpy(entry.file, file, strlen(file));
    add(loader, &entry);
}

static void add_pointer(struct table_loader *loader, uint32_t offset, uint8_t size_bytes)
{
    struct entry entry = {.command = ADD_POINTER,
                          .pointer = {.offset = offset, .size_bytes = size_bytes}};
    memcpy(entry.file, file_of(offset), strlen(file_of(offset)));
    memcpy(entry.pointer.to, TABLES_FILE, sizeof TABLES_FILE);
    add(loader, &entry);
}

/* The sum's byte is 0 until the firmware has linked the tables (write_tables): SeaBIOS corrects it, edk2 writes it anew. */
static void add_sum(struct table_loader *loader, uint32_t sum, uint32_t start, uint32_t length)
{
    struct entry entry = {.command = ADD_SUM, .sum = {sum, start, length}};
    memcpy(entry.file, file_of(start), strlen(file_of(start)));
    add(loader, &entry);
}

/* The tables, with the sums that the firmware is to make at 0. */
static bool write_tables(struct table_loader *loader, struct acpi_links *links)
{
    if (!acpi_write(loader->tables, sizeof loader->tables, 0, &loader->machine, links))
        return false;
    for (unsigned i = 0; i < links->sum_count; i++)
        loader->tables[links->sums[i].sum] = 0;
    memcpy(loader->rsdp, loader->tables, sizeof loader->rsdp);
    return true;
}

void table_loader_move_power(struct table_loader *loader, uint16_t base)
{
    struct acpi_links links = {0};
    loader->machine.pm_base = base;
    write_tables(loader, &links); /* what had room before has room now */
}

bool table_loader_add(struct table_loader *loader, const struct acpi_machine *machine,
                      struct fw_cfg *config)
{
    struct acpi_links links = {0};
    loader->machine = *machine;
    if (!write_tables(loader, &links))
        return false;
    loader->count = 0;
    add_allocation(loader, RSDP_FILE, RSDP_ALIGNMENT, ZONE_F_SEGMENT);
    add_allocation(loader, TABLES_FILE, TABLES_ALIGNMENT, ZONE_HIGH);
    for (unsigned i = 0; i < links.pointer_count; i++)
        add_pointer(loader, links.pointers[i].offset, links.pointers[i].size_bytes);
    for (unsigned i = 0; i < links.sum_count; i++)
        add_sum(loader, links.sums[i].sum, links.sums[i].offset, links.sums[i].length);
    return fw_cfg_add_file(config, RSDP_FILE, loader->rsdp, sizeof loader->rsdp) &&
           fw_cfg_add_file(config, TABLES_FILE, loader->tables, links.used) &&
           fw_cfg_add_file(config, "etc/table-loader", loader->script,
                           loader->count * TABLE_LOADER_ENTRY_BYTES);
}
