/*
 * Multiboot 0.6.96. The kernel is entered in 32-bit mode with EAX = 0x2badb002 and EBX at the information of section 3.3,
 * which has: memory sizes and map, command line, modules, the loader's name. Missing: ELF sections, drives, APM, VBE (a
 * kernel that asks for a video mode is started without one).
 */
#include "boot/multiboot_image.h"
#include "layout.h"

#include "print.h"
#include "string.h"

#define HEADER_MAGIC 0x1badb002u
#define ENTRY_MAGIC  0x2badb002u
#define SEARCH_BYTES 8192u
#define HEADER_WORDS 3u
#define LOADER_NAME  "Septum"
#define KIB          1024u

enum header_flag {
    HEADER_ALIGN = 1,
    HEADER_MEMORY = 2,
    HEADER_VIDEO = 4,
    HEADER_MUST = 0xffff, /* what a loader does not know of these, it must refuse */
    HEADER_ADDRESSES = 1 << 16,
};

enum info_flag {
    INFO_MEMORY = 1 << 0,
    INFO_COMMAND_LINE = 1 << 2,
    INFO_MODULES = 1 << 3,
    INFO_MAP = 1 << 6,
    INFO_LOADER_NAME = 1 << 9,
};

/* Section 3.3. */
struct info {
    uint32_t flags, memory_lower, memory_upper, boot_device, command_line;
    uint32_t module_count, modules, symbols[4], map_bytes, map;
    uint32_t drive_bytes, drives, config_table, loader_name, apm_table, vbe[4];
};

struct module {
    uint32_t begin, end, text, reserved;
};

struct map_entry {
    uint32_t size_bytes; /* of what follows */
    uint32_t base[2], length[2], type;
};

/* All that the kernel is told, in one piece. */
struct told {
    struct info info;
    struct module modules[PLAN_MODULES_MAX];
    struct map_entry map[BOOT_RANGES_MAX];
    char loader_name[sizeof LOADER_NAME];
    char texts[PLAN_MODULES_MAX][PLAN_MODULE_TEXT_MAX];
    char command_line[PLAN_COMMAND_LINE_MAX];
};

static uint32_t word(const struct boot_file *file, uint64_t offset)
{
    uint32_t value = 0;
    if (offset + sizeof value <= file->size_bytes)
        memcpy(&value, (const uint8_t *)file->data + offset, sizeof value);
    return value;
}

static bool find_header(const struct boot_file *file, uint64_t *header)
{
    for (uint64_t at = 0; file->data && at + HEADER_WORDS * 4 <= file->size_bytes &&
                          at + HEADER_WORDS * 4 <= SEARCH_BYTES;
         at += 4)
        if (word(file, at) == HEADER_MAGIC &&
            word(file, at) + word(file, at + 4) + word(file, at + 8) == 0) {
            *header = at;
            return true;
        }
    return false;
}

static bool read_header(const struct boot_file *file, struct multiboot_image *image,
                        struct boot_complaint *complaint)
{
    uint64_t at;
    if (!find_header(file, &at))
        return BOOT_REFUSE(complaint,
                           "the kernel \"%s\" has no multiboot header in its first 8 KiB: give one "
                           "that has, or boot it in another way",
                           file->name);
    uint32_t flags = word(file, at + 4);
    uint32_t unknown =
        flags & HEADER_MUST & ~(uint32_t)(HEADER_ALIGN | HEADER_MEMORY | HEADER_VIDEO);
    if (unknown)
        return BOOT_REFUSE(complaint,
                           "the kernel \"%s\" asks its loader for what multiboot 0.6.96 does not "
                           "have (flags 0x%x): boot it in another way",
                           file->name, unknown);
    *image = (struct multiboot_image){.file = file, .header = at, .highest = UINT64_MAX};
    if (flags & HEADER_ADDRESSES) {
        image->has_addresses = image->has_entry = true;
        image->header_address = word(file, at + 12);
        image->load_address = word(file, at + 16);
        image->load_end = word(file, at + 20);
        image->bss_end = word(file, at + 24);
        image->entry = word(file, at + 28);
    }
    return true;
}

static bool put_modules(struct boot_room *room, const struct boot_files *files, struct told *told,
                        uint64_t told_at, struct boot_complaint *complaint)
{
    for (unsigned i = 0; i < files->module_count; i++) {
        const struct boot_file *file = &files->modules[i];
        uint64_t address;
        if (!boot_room_put(room, file, &address, complaint))
            return false;
        print_buffer(told->texts[i], sizeof told->texts[i], "%s", file->text ? file->text : "");
        told->modules[i] = (struct module){
            .begin = (uint32_t)address,
            .end = (uint32_t)(address + file->size_bytes),
            .text = (uint32_t)(told_at + offsetof(struct told, texts) + i * sizeof told->texts[0])};
    }
    return true;
}

static void put_map(const struct guest_memory *memory, struct told *told, uint64_t told_at)
{
    struct boot_range ranges[BOOT_RANGES_MAX];
    unsigned count = boot_memory_map(memory, ranges);
    for (unsigned i = 0; i < count; i++) {
        uint64_t length = ranges[i].end - ranges[i].base;
        told->map[i] =
            (struct map_entry){.size_bytes = sizeof(struct map_entry) - 4,
                               .base = {(uint32_t)ranges[i].base, (uint32_t)(ranges[i].base >> 32)},
                               .length = {(uint32_t)length, (uint32_t)(length >> 32)},
                               .type = ranges[i].type};
    }
    told->info.map = (uint32_t)(told_at + offsetof(struct told, map));
    told->info.map_bytes = count * (uint32_t)sizeof(struct map_entry);
    told->info.memory_lower = LAYOUT_BASE_END / KIB;
    told->info.memory_upper = (uint32_t)((memory->regions[0].size_bytes - LAYOUT_KERNEL) / KIB);
}

bool multiboot_load(const struct guest_memory *memory, const struct boot_files *files,
                    struct boot_entry *entry, struct boot_complaint *complaint)
{
    struct multiboot_image image;
    struct multiboot_rooms rooms;
    uint64_t told_at;
    boot_write_bios_data(memory);
    if (!read_header(&files->kernel, &image, complaint) ||
        !multiboot_place(&image, memory, complaint))
        return false;
    multiboot_rooms(&image, memory, files->memory_bytes, &rooms);
    if (!boot_room_take(rooms.told, sizeof(struct told), "what it is told", &told_at, complaint))
        return false;
    struct told *told = (struct told *)(memory->regions[0].host + told_at);
    memset(told, 0, sizeof *told);
    if (!put_modules(&rooms.modules, files, told, told_at, complaint))
        return false;
    put_map(memory, told, told_at);
    print_buffer(told->command_line, sizeof told->command_line, "%s", files->command_line);
    memcpy(told->loader_name, LOADER_NAME, sizeof LOADER_NAME);
    told->info.flags = INFO_MEMORY | INFO_COMMAND_LINE | INFO_MODULES | INFO_MAP | INFO_LOADER_NAME;
    told->info.command_line = (uint32_t)(told_at + offsetof(struct told, command_line));
    told->info.loader_name = (uint32_t)(told_at + offsetof(struct told, loader_name));
    told->info.module_count = files->module_count;
    told->info.modules = (uint32_t)(told_at + offsetof(struct told, modules));
    *entry = (struct boot_entry){
        .mode = BOOT_PROTECTED, .rip = (uint32_t)image.entry, .rax = ENTRY_MAGIC, .rbx = told_at};
    return true;
}
