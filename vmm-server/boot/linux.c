/* The 64-bit and the 32-bit entry. Each size and address of the file is checked against the guest's memory. */
#include "boot/linux_setup.h"
#include "layout.h"

#include "print.h"
#include "string.h"

/* Of boot_params alone (Linux, arch/x86/include/uapi/asm/bootparam.h). */
enum {
    EXT_MEM_K = 0x02, /* KiB above 1 MiB, at most 65535 */
    ACPI_RSDP = 0x70,
    ALT_MEM_K = 0x1e0,
    E820_ENTRIES = 0x1e8,
    E820_TABLE = 0x2d0,
    BOOT_PARAMS_BYTES = 0x1000,
};

#define OLD_BOOT_PARAMS 0x90000u /* before 2.02 a kernel knows no other place */
#define OLD_CL_PLACE    0x1000u  /* behind them */

/* Where the kernel wants to be, or the first place that is good for one that can be moved. */
static bool place_kernel(const struct boot_files *files, struct linux_setup *setup,
                         uint64_t low_end, struct boot_complaint *complaint)
{
    uint64_t lowest = (LAYOUT_KERNEL + setup->alignment - 1) & ~(setup->alignment - 1);
    setup->address = setup->pref_address;
    bool fits = setup->address >= LAYOUT_KERNEL && setup->address < low_end &&
                setup->init_size <= low_end - setup->address;
    if (!fits && setup->relocatable)
        setup->address = lowest;
    if (setup->address < LAYOUT_KERNEL || setup->address >= low_end ||
        setup->init_size > low_end - setup->address)
        return BOOT_REFUSE(
            complaint,
            "the guest's memory of %luM is too little for its kernel \"%s\": give it at "
            "least %luM, and more for its initrd and programs",
            files->memory_bytes / MIB, files->kernel.name,
            (setup->address + setup->init_size + MIB - 1) / MIB);
    return true;
}

static void put_memory(const struct guest_memory *memory, uint8_t *params)
{
    struct boot_range ranges[BOOT_RANGES_MAX];
    unsigned count = boot_memory_map(memory, ranges);
    uint64_t above = (memory->regions[0].size_bytes - LAYOUT_KERNEL) / 1024;
    for (unsigned i = 0; i < count; i++) {
        linux_put(params, E820_TABLE + i * 20, ranges[i].base, 8);
        linux_put(params, E820_TABLE + i * 20 + 8, ranges[i].end - ranges[i].base, 8);
        linux_put(params, E820_TABLE + i * 20 + 16, ranges[i].type, 4);
    }
    linux_put(params, E820_ENTRIES, count, 1);
    linux_put(params, ALT_MEM_K, above, 4);
    linux_put(params, EXT_MEM_K, above < 0xffff ? above : 0xffff, 2);
}

static uint64_t boot_params_of(const struct linux_setup *setup)
{
    return setup->version < 0x202 ? OLD_BOOT_PARAMS : LAYOUT_BOOT_PARAMS;
}

static void write_boot_params(const struct guest_memory *memory, const struct linux_setup *setup,
                              const char *command_line, uint64_t initrd, uint64_t initrd_bytes)
{
    uint8_t *low = memory->regions[0].host, *params = low + boot_params_of(setup);
    uint64_t end = setup->header_end < E820_TABLE ? setup->header_end : E820_TABLE;
    memset(params, 0, BOOT_PARAMS_BYTES);
    memcpy(params + SETUP_SECTS, setup->file + SETUP_SECTS, end - SETUP_SECTS);
    linux_put(params, TYPE_OF_LOADER, LOADER_UNDEFINED, 1);
    linux_put(params, RAMDISK_IMAGE, initrd, 4);
    linux_put(params, RAMDISK_SIZE, initrd ? initrd_bytes : 0, 4);
    linux_put(params, ACPI_RSDP, LAYOUT_ACPI, 8);
    put_memory(memory, params);
    if (setup->version >= 0x202) {
        linux_put(params, CMD_LINE_PTR, LAYOUT_COMMAND_LINE, 4);
        memcpy(low + LAYOUT_COMMAND_LINE, command_line, strlen(command_line) + 1);
    } else {
        linux_put(params, OLD_CL_MAGIC, OLD_CL_VALUE, 2);
        linux_put(params, OLD_CL_OFFSET, OLD_CL_PLACE, 2);
        memcpy(params + OLD_CL_PLACE, command_line, strlen(command_line) + 1);
    }
}

/* boot.rst, "64-bit Boot Protocol": an identity map. */
static void write_page_tables(uint8_t *low)
{
    const uint64_t present = 0x27, large = 0xe7; /* accessed; large: and dirty, 2 MiB */
    uint64_t *tables = (uint64_t *)(low + LAYOUT_PAGE_TABLES);
    tables[0] = (LAYOUT_PAGE_TABLES + 0x1000) | present;
    for (unsigned i = 0; i < 4; i++)
        tables[512 + i] = (LAYOUT_PAGE_TABLES + 0x2000 + i * 0x1000) | present;
    for (uint64_t i = 0; i < 4 * 512; i++)
        tables[1024 + i] = i << 21 | large;
}

bool linux_load(const struct guest_memory *memory, const struct boot_files *files,
                struct boot_entry *entry, struct boot_complaint *complaint)
{
    struct linux_setup setup;
    uint64_t low_end = memory->regions[0].size_bytes, initrd;
    uint8_t *low = memory->regions[0].host;
    if (!linux_setup_read(files, &setup, complaint))
        return false;
    if (!setup.high || files->entry == PLAN_ENTRY_16)
        return BOOT_REFUSE(complaint,
                           "the kernel \"%s\" can only be entered in real mode, with a BIOS: give "
                           "its partition `board pc`, and say nothing of `entry` or `entry 16-bit`",
                           files->kernel.name);
    if (!place_kernel(files, &setup, low_end, complaint) ||
        !linux_place_initrd(files, &setup, setup.address + setup.init_size, low_end, &initrd,
                            complaint))
        return false;
    memcpy(low + setup.address, setup.file + setup.payload, setup.payload_bytes);
    if (initrd)
        memcpy(low + initrd, files->initrd.data, files->initrd.size_bytes);
    write_boot_params(memory, &setup, files->command_line, initrd, files->initrd.size_bytes);
    *entry = (struct boot_entry){
        .mode = BOOT_PROTECTED, .rip = setup.address, .rsi = boot_params_of(&setup)};
    if (setup.has_64) {
        entry->mode = BOOT_LONG;
        entry->rip += ENTRY_64BIT;
        entry->page_tables = LAYOUT_PAGE_TABLES;
        write_page_tables(low);
    }
    boot_write_gdt(memory, entry);
    return true;
}
