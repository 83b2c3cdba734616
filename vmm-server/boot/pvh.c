/*
 * PVH direct boot: the kernel is entered in 32-bit mode at the address of its note, with EBX at a start info of version 1.
 * The initrd is the first module, if there is one.
 */
#include "boot/elf.h"
#include "layout.h"

#include "print.h"
#include "string.h"

#define START_MAGIC   0x336ec578u
#define START_VERSION 1u

/* Xen, public/arch-x86/hvm/start_info.h. */
struct start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, rsdp, map;
    uint32_t map_entries, reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "as Xen has it");

struct start_module {
    uint64_t address, size_bytes, command_line, reserved;
};

struct start_range {
    uint64_t base, size_bytes;
    uint32_t type, reserved;
};

/* All that the kernel is told, in one piece. */
struct told {
    struct start_info info;
    struct start_module modules[PLAN_MODULES_MAX + 1];
    struct start_range map[BOOT_RANGES_MAX];
    char texts[PLAN_MODULES_MAX + 1][PLAN_MODULE_TEXT_MAX];
    char command_line[PLAN_COMMAND_LINE_MAX];
};

static bool put_modules(struct boot_room *room, const struct boot_files *files, struct told *told,
                        uint64_t told_at, struct boot_complaint *complaint)
{
    unsigned count = 0;
    for (unsigned i = 0; i <= files->module_count; i++) {
        const struct boot_file *file = i ? &files->modules[i - 1] : &files->initrd;
        if (i == 0 && !file->data)
            continue;
        struct start_module *module = &told->modules[count];
        if (!boot_room_put(room, file, &module->address, complaint))
            return false;
        module->size_bytes = file->size_bytes;
        if (file->text && file->text[0]) {
            print_buffer(told->texts[count], sizeof told->texts[count], "%s", file->text);
            module->command_line =
                told_at + offsetof(struct told, texts) + count * sizeof told->texts[0];
        }
        count++;
    }
    told->info.module_count = count;
    told->info.modules = count ? told_at + offsetof(struct told, modules) : 0;
    return true;
}

static void put_info(const struct guest_memory *memory, const struct boot_files *files,
                     struct told *told, uint64_t told_at)
{
    struct boot_range ranges[BOOT_RANGES_MAX];
    unsigned count = boot_memory_map(memory, ranges);
    for (unsigned i = 0; i < count; i++)
        told->map[i] =
            (struct start_range){ranges[i].base, ranges[i].end - ranges[i].base, ranges[i].type, 0};
    told->info.magic = START_MAGIC;
    told->info.version = START_VERSION;
    told->info.rsdp = LAYOUT_ACPI;
    told->info.map = told_at + offsetof(struct told, map);
    told->info.map_entries = count;
    told->info.command_line = told_at + offsetof(struct told, command_line);
    print_buffer(told->command_line, sizeof told->command_line, "%s", files->command_line);
}

bool pvh_load(const struct guest_memory *memory, const struct boot_files *files,
              struct boot_entry *entry, struct boot_complaint *complaint)
{
    struct elf_kernel kernel;
    uint64_t told_at;
    if (!elf_open(&files->kernel, &kernel, complaint))
        return false;
    if (!kernel.has_pvh)
        return BOOT_REFUSE(complaint,
                           "the kernel \"%s\" has no PVH note: give one that was built with it "
                           "(Linux: CONFIG_PVH), or boot it in another way",
                           files->kernel.name);
    if (!elf_place(&kernel, memory, 0, complaint))
        return false;
    struct boot_room room = {memory, kernel.high, memory->regions[0].size_bytes,
                             files->memory_bytes};
    if (!boot_room_take(&room, sizeof(struct told), "what it is told", &told_at, complaint))
        return false;
    struct told *told = (struct told *)(memory->regions[0].host + told_at);
    memset(told, 0, sizeof *told);
    if (!put_modules(&room, files, told, told_at, complaint))
        return false;
    put_info(memory, files, told, told_at);
    *entry = (struct boot_entry){.mode = BOOT_PROTECTED, .rip = kernel.pvh_entry, .rbx = told_at};
    return true;
}
