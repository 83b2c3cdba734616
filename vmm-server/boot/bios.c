/*
 * What fw_cfg holds is what SeaBIOS 1.16 and OVMF read on QEMU's machines (QEMU, hw/i386/fw_cfg.c; SeaBIOS,
 * src/fw/paravirt.c). On `lean` the image's end lies below 1 MiB in RAM, as if the board's shadow memory were open; on a
 * `pc` the board sees to that (pc/).
 */
#include "boot/bios.h"
#include "boot/files.h"
#include "boot/linux_real.h"

#include "devices/flash.h"
#include "devices/fw_cfg.h"
#include "firmware/smbios.h"
#include "firmware/table_loader.h"
#include "layout.h"
#include "pc/display.h"
#include "pc/firmware.h"
#include "string.h"
#include "task.h"

#define IMAGE_MAX    (16 * MIB)
#define SHADOW_BYTES (128u << 10) /* of the image's end, below 1 MiB */
#define E820_RAM     1u
#define ORDER_BYTES  768u
#define LINE_BYTES   96u

#define REFUSE(...)  (print_buffer(why, why_bytes, __VA_ARGS__), false)

/* QEMU's file etc/e820: an array of these. */
struct e820_entry {
    uint64_t base, size_bytes;
    uint32_t type;
} __attribute__((packed));

/* QEMU's etc/system-states: of the sleep types 0 to 5 those with bit 7 are there. Power-off is all that is. */
static const uint8_t system_states[6] = {0x80, 0, 0, 1, 2, 0x80};

/* Lives as long as the machine. */
struct bios {
    struct fw_cfg config;
    struct flash variables; /* PLAN_BOOT_UEFI */
    struct table_loader loader;
    struct smbios smbios;
    struct e820_entry map[GUEST_MEMORY_REGIONS_MAX];
    char order[ORDER_BYTES];
    struct linux_real real; /* a kernel's 16-bit entry */
};

static bool is_linux_real(const struct vmm_start *start)
{
    const struct boot_files files = boot_files_of(start);
    return start->partition.boot == PLAN_BOOT_LINUX && linux_is_real(&files);
}

bool bios_wanted(const struct vmm_start *start)
{
    return start->partition.boot == PLAN_BOOT_BIOS || start->partition.boot == PLAN_BOOT_ROM ||
           start->partition.boot == PLAN_BOOT_UEFI || is_linux_real(start);
}

/* ---- the image ------------------------------------------------------------------------------------------- */

/* Accesses that the memory does not take: writes, which a ROM ignores. */
static bool image_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)device, (void)offset, (void)size_bytes;
    *value = UINT64_MAX;
    return true;
}

static bool image_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    (void)device, (void)offset, (void)size_bytes, (void)value;
    return true;
}

static const struct bus_operations image_operations = {.read = image_read, .write = image_write};

/* `lean` has no windows (device_host.map): its image is one more region. */
static bool map_image(struct machine *machine, const struct vmm_file *image)
{
    struct guest_memory *memory = &machine->memory;
    gpa_t base = LAYOUT_HIGH_BASE - image->size_bytes;
    uint8_t *host = (uint8_t *)image->address;
    if (!bus_add(&machine->addresses,
                 &(struct bus_range){base, image->size_bytes, &image_operations, NULL, "firmware"}))
        return false;
    if (machine->pc)
        return machine->host.map(&machine->host, base, image->size_bytes, host, false);
    if (sys_map(TASK_SLOT_SELF,
                MAP_HOW(SPACE_HOST, SPACE_GUEST, MAP_READ | MAP_EXECUTE, CACHE_INHERIT),
                image->address, base, image->size_bytes / SEPTUM_PAGE_SIZE, 0) != STATUS_OK)
        return false;
    memory->regions[memory->count].base = base;
    memory->regions[memory->count].size_bytes = image->size_bytes;
    memory->regions[memory->count].host = host;
    memory->regions[memory->count++].read_only = true;
    return true;
}

/* OVMF's variables lie below its code. */
static bool attach_variables(struct machine *machine, struct bios *bios)
{
    const struct vmm_file *image = &machine->start->firmware, *kept = &machine->start->variables;
    gpa_t base = LAYOUT_HIGH_BASE - image->size_bytes - kept->size_bytes;
    if (!kept->address || kept->size_bytes > IMAGE_MAX || !machine->pc)
        return false;
    flash_init(&bios->variables, &machine->host, base, (uint8_t *)kept->address, kept->size_bytes);
    return flash_attach(&bios->variables);
}

/* The end of the image, where a processor in real mode reaches it. */
static void copy_shadow(struct machine *machine, const struct vmm_file *image)
{
    uint64_t size_bytes = image->size_bytes < SHADOW_BYTES ? image->size_bytes : SHADOW_BYTES;
    memcpy(machine->memory.regions[0].host + LAYOUT_KERNEL - size_bytes,
           (const uint8_t *)image->address + image->size_bytes - size_bytes, size_bytes);
}

/* ---- what the firmware asks for ---------------------------------------------------------------------------- */

/* RAM, of which the firmware takes what it needs. */
static unsigned fill_map(const struct machine *machine, struct e820_entry *map)
{
    unsigned count = 0;
    for (unsigned i = 0; i < machine->memory.count; i++)
        if (!machine->memory.regions[i].read_only)
            map[count++] = (struct e820_entry){machine->memory.regions[i].base,
                                               machine->memory.regions[i].size_bytes, E820_RAM};
    return count;
}

/* A line of the boot order, by which SeaBIOS knows a device (its src/boot.c, "bootprio_find"); what has no room any more
 * is left out. */
static void add_line(char *order, const char *line)
{
    size_t used = strlen(order);
    print_buffer(order + used, ORDER_BYTES - used, "%s%s", used ? "\n" : "", line);
}

/* Disks of one kind, in the order of the partition file. */
static void add_disks(const struct machine *machine, enum plan_disk_kind kind, char *order)
{
    const struct plan_partition *partition = &machine->start->partition;
    char line[LINE_BYTES];
    for (unsigned n = 0; n < partition->disk_count; n++) {
        if (partition->disks[n].kind != kind)
            continue;
        if (machine->pc)
            pc_firmware_disk_path(machine, n, line, sizeof line);
        else
            print_buffer(line, sizeof line, "/virtio-mmio@%016lx/disk@0,0",
                         machine->disk_places[n]);
        add_line(order, line);
    }
}

/* Cards with a ROM that boots from the network, in the order of the partition file. */
static void add_cards(const struct machine *machine, char *order)
{
    char line[LINE_BYTES];
    for (unsigned n = 0; machine->pc && n < machine->start->partition.card_count; n++) {
        if (!machine->start->card_roms[n].size_bytes)
            continue;
        pc_firmware_card_path(machine, n, line, sizeof line);
        add_line(order, line);
    }
}

static void fill_order(const struct machine *machine, char *order)
{
    const char *letters = machine->start->partition.boot_order;
    if (is_linux_real(machine->start)) {
        add_line(order, LINUX_ROM_PATH);
        letters = "";
    }
    for (; *letters; letters++) {
        if (*letters == 'c')
            add_disks(machine, PLAN_DISK_HARD, order);
        else if (*letters == 'd')
            add_disks(machine, PLAN_DISK_CDROM, order);
        else if (*letters == 'a')
            add_disks(machine, PLAN_DISK_FLOPPY, order);
        else
            add_cards(machine, order);
    }
    add_line(order, "HALT");
}

static bool add_smbios(struct machine *machine, struct bios *bios)
{
    struct smbios *smbios = &bios->smbios;
    const struct smbios_machine described = {
        .name = machine->start->partition.name,
        .vcpu_count = machine->vcpu_count,
        .memory_bytes = machine->start->memory_bytes,
        .low_bytes = machine->memory.regions[0].size_bytes,
    };
    return smbios_fill(smbios, &described, 0) &&
           fw_cfg_add_file(&bios->config, "etc/smbios/smbios-anchor", smbios->anchor,
                           sizeof smbios->anchor) &&
           fw_cfg_add_file(&bios->config, "etc/smbios/smbios-tables", smbios->tables, smbios->used);
}

static bool fill_config(struct machine *machine, struct bios *bios, const struct acpi_machine *acpi)
{
    struct fw_cfg *config = &bios->config;
    /* SeaBIOS's own text goes to the serial port where there is no display. */
    bool serial =
        machine->start->partition.console == PLAN_CONSOLE_UART && !machine->start->video.address;
    uint32_t map_bytes = fill_map(machine, bios->map) * (uint32_t)sizeof *bios->map;
    fill_order(machine, bios->order);
    bool good =
        fw_cfg_add_item(config, FW_CFG_RAM_SIZE, machine->start->memory_bytes, 8) &&
        fw_cfg_add_item(config, FW_CFG_NOGRAPHIC, serial, 2) &&
        fw_cfg_add_item(config, FW_CFG_NB_CPUS, machine->vcpu_count, 2) &&
        fw_cfg_add_item(config, FW_CFG_MAX_CPUS, machine->vcpu_count, 2) &&
        fw_cfg_add_item(config, FW_CFG_NUMA, 0, 8) &&
        fw_cfg_add_item(config, FW_CFG_BOOT_MENU, 0, 2) &&
        fw_cfg_add_item(config, FW_CFG_IRQ0_OVERRIDE, machine->pc != NULL, 1) &&
        fw_cfg_add_file(config, "etc/e820", bios->map, map_bytes) &&
        fw_cfg_add_file(config, "etc/system-states", system_states, sizeof system_states) &&
        fw_cfg_add_file(config, "bootorder", bios->order, (uint32_t)strlen(bios->order) + 1);
    /* SeaBIOS takes a function's ROM from here rather than read it from the function: in one transfer (its
     * src/optionroms.c, "lookup_hardcode"). */
    const struct vmm_file *video = &machine->start->video;
    if (machine->pc && video->address)
        good = good && fw_cfg_add_file(config, DISPLAY_ROM_FILE, (const void *)video->address,
                                       (uint32_t)video->size_bytes);
    if (serial)
        good = good && fw_cfg_add_number(config, "etc/sercon-port", LAYOUT_PORT_UART, 2);
    machine->table_loader = &bios->loader;
    return good && add_smbios(machine, bios) && table_loader_add(&bios->loader, acpi, config) &&
           fw_cfg_attach(config, &machine->ports);
}

/* A kernel that begins in real mode. */
static bool add_linux(struct machine *machine, struct bios *bios, char *why, size_t why_bytes)
{
    struct linux_real *real = &bios->real;
    const struct boot_files files = boot_files_of(machine->start);
    struct boot_complaint complaint = {why, why_bytes};
    if (!linux_real_place(&files, machine->memory.regions[0].size_bytes, real, &complaint))
        return false;
    uint8_t *setup = task_allocate(real->setup_code.size_bytes, SEPTUM_PAGE_SIZE);
    return (setup && linux_real_add(real, setup, &bios->config)) ||
           REFUSE("its VMM has no memory left for its kernel's setup code; this is an error of "
                  "root's");
}

bool bios_init(struct machine *machine, const struct acpi_machine *acpi, char *why,
               size_t why_bytes)
{
    const struct vmm_start *start = machine->start;
    const struct vmm_file *image =
        start->partition.boot == PLAN_BOOT_ROM ? &start->kernel : &start->firmware;
    struct bios *bios = task_allocate(sizeof *bios, _Alignof(struct bios));
    if (!image->address || image->size_bytes % SEPTUM_PAGE_SIZE || image->size_bytes > IMAGE_MAX)
        return REFUSE(
            "its firmware's image has %lu bytes: it must be whole pages of 4096 bytes, at least "
            "one and at most 16 MiB: name another file, or copy it anew",
            image->size_bytes);
    if (!bios)
        return REFUSE("its VMM has no memory left for its firmware; this is an error of root's");
    fw_cfg_init(&bios->config, &machine->memory);
    if (!fill_config(machine, bios, acpi))
        return REFUSE("its devices do not fit together; this is an error of the VMM");
    if (is_linux_real(start) && !add_linux(machine, bios, why, why_bytes))
        return false;
    if (!map_image(machine, image))
        return REFUSE(
            "its firmware can't be mapped: use a larger pool=SIZE on the kernel's command "
            "line");
    if (start->partition.boot == PLAN_BOOT_UEFI && !attach_variables(machine, bios))
        return REFUSE(
            "its firmware's variables have %lu bytes: they must be whole blocks of 4096 bytes, "
            "at most 16 MiB, on the board `pc`: name another file, or copy it anew",
            start->variables.size_bytes);
    if (!machine->pc)
        copy_shadow(machine, image);
    else if (!pc_firmware_shadow(machine, image))
        return REFUSE("its firmware can't be shown below 1 MiB; this is an error of the VMM");
    return true;
}
