/*
 * Multiboot2, version 2.0. The kernel is entered in 32-bit mode with EAX = 0x36d76289 and EBX at tags: command line, loader
 * name, modules, memory sizes and map, the ACPI RSDP (its copy), and where a relocatable kernel is. Missing: all that is of
 * EFI, framebuffer and VBE (a kernel that wishes for a picture gets none), ELF sections, boot device, network.
 */
#include "boot/multiboot_image.h"
#include "layout.h"

#include "print.h"
#include "string.h"

#define HEADER_MAGIC   0xe85250d6u
#define ENTRY_MAGIC    0x36d76289u
#define SEARCH_BYTES   32768u
#define HEADER_BYTES   16u
#define LOADER_NAME    "Septum"
#define KIB            1024u
#define RSDP_V1_BYTES  20u
#define RSDP_BYTES     36u
#define TOLD_BYTES_MAX 16384u /* the sum of all texts and tags is below it */

enum header_tag {
    HEADER_END = 0,
    HEADER_REQUEST = 1,
    HEADER_ADDRESS = 2,
    HEADER_ENTRY = 3,
    HEADER_CONSOLE = 4,
    HEADER_FRAMEBUFFER = 5,
    HEADER_ALIGN = 6,
    HEADER_EFI_SERVICES = 7,
    HEADER_EFI_ENTRY_32 = 8,
    HEADER_EFI_ENTRY_64 = 9,
    HEADER_RELOCATABLE = 10,
};
#define TAG_OPTIONAL 1u

enum info_tag {
    INFO_END = 0,
    INFO_COMMAND_LINE = 1,
    INFO_LOADER_NAME = 2,
    INFO_MODULE = 3,
    INFO_MEMORY = 4,
    INFO_MAP = 6,
    INFO_RSDP_1 = 14,
    INFO_RSDP_2 = 15,
    INFO_LOAD_BASE = 21,
};
#define INFO_GIVEN                                                                              \
    (1u << INFO_COMMAND_LINE | 1u << INFO_LOADER_NAME | 1u << INFO_MODULE | 1u << INFO_MEMORY | \
     1u << INFO_MAP | 1u << INFO_RSDP_1 | 1u << INFO_RSDP_2 | 1u << INFO_LOAD_BASE)

/* ---- the header -------------------------------------------------------------------------------------- */

static uint32_t word(const struct boot_file *file, uint64_t offset)
{
    uint32_t value = 0;
    if (offset + sizeof value <= file->size_bytes)
        memcpy(&value, (const uint8_t *)file->data + offset, sizeof value);
    return value;
}

static bool find_header(const struct boot_file *file, uint64_t *header)
{
    for (uint64_t at = 0;
         file->data && at + HEADER_BYTES <= file->size_bytes && at + HEADER_BYTES <= SEARCH_BYTES;
         at += 8)
        if (word(file, at) == HEADER_MAGIC &&
            word(file, at) + word(file, at + 4) + word(file, at + 8) + word(file, at + 12) == 0) {
            *header = at;
            return true;
        }
    return false;
}

/* Are all kinds of information there that the kernel can't do without? */
static bool is_given(const struct boot_file *file, uint64_t at, uint32_t size_bytes)
{
    for (uint32_t i = 8; i + 4 <= size_bytes; i += 4) {
        uint32_t kind = word(file, at + i);
        if (kind >= 32 || !(INFO_GIVEN >> kind & 1))
            return false;
    }
    return true;
}

/* False: it can't be done. */
static bool read_tag(struct multiboot_image *image, uint64_t at, uint32_t kind, uint32_t size_bytes)
{
    const struct boot_file *file = image->file;
    switch (kind) {
    case HEADER_REQUEST: return is_given(file, at, size_bytes);
    case HEADER_ADDRESS:
        image->has_addresses = true;
        image->header_address = word(file, at + 8);
        image->load_address = word(file, at + 12);
        image->load_end = word(file, at + 16);
        image->bss_end = word(file, at + 20);
        return size_bytes >= 24;
    case HEADER_ENTRY:
        image->has_entry = true;
        image->entry = word(file, at + 8);
        return size_bytes >= 12;
    case HEADER_RELOCATABLE:
        image->relocatable = true;
        image->lowest = word(file, at + 8);
        image->highest = word(file, at + 12);
        image->alignment = word(file, at + 16);
        image->preference = word(file, at + 20);
        return size_bytes >= 24;
    case HEADER_CONSOLE:
    case HEADER_FRAMEBUFFER: /* a wish: the kernel looks for the tag */
    case HEADER_ALIGN:       /* modules always begin at pages */
    case HEADER_EFI_SERVICES:
    case HEADER_EFI_ENTRY_32:
    case HEADER_EFI_ENTRY_64: return true; /* of those with EFI */
    default: return false;
    }
}

static bool read_header(const struct boot_file *file, struct multiboot_image *image,
                        struct boot_complaint *complaint)
{
    uint64_t at, end;
    if (!find_header(file, &at))
        return BOOT_REFUSE(
            complaint,
            "the kernel \"%s\" has no multiboot2 header in its first 32 KiB: give one "
            "that has, or boot it in another way",
            file->name);
    *image = (struct multiboot_image){.file = file, .header = at, .highest = UINT64_MAX};
    if (word(file, at + 4) != 0)
        return BOOT_REFUSE(
            complaint, "the kernel \"%s\" is for another processor: give one for x86", file->name);
    end = at + word(file, at + 8);
    if (end > file->size_bytes || end > SEARCH_BYTES)
        return BOOT_REFUSE(complaint, "the kernel \"%s\" is cut off in its header: copy it anew",
                           file->name);
    for (at += HEADER_BYTES; at + 8 <= end;) {
        uint32_t kind = word(file, at) & 0xffff, flags = word(file, at) >> 16;
        uint32_t size_bytes = word(file, at + 4);
        if (kind == HEADER_END)
            break;
        if (size_bytes < 8 || size_bytes > end - at)
            return BOOT_REFUSE(
                complaint, "the multiboot2 header of \"%s\" is damaged: build it anew", file->name);
        if (!read_tag(image, at, kind, size_bytes) && !(flags & TAG_OPTIONAL))
            return BOOT_REFUSE(complaint,
                               "the kernel \"%s\" asks its loader for what there is not (tag %u): "
                               "boot it in another way",
                               file->name, kind);
        at += (size_bytes + 7) & ~7u;
    }
    return true;
}

/* ---- what the kernel is told --------------------------------------------------------------------------- */

struct tags {
    uint8_t *base;
    uint32_t used;
};

/* The next tag's content of size_bytes, zeroed, behind its head. */
static void *put_tag(struct tags *tags, enum info_tag kind, uint32_t size_bytes)
{
    const uint32_t head[2] = {kind, size_bytes + 8};
    uint8_t *tag = tags->base + tags->used;
    memset(tag, 0, size_bytes + 8);
    memcpy(tag, head, sizeof head);
    tags->used += (size_bytes + 8 + 7) & ~7u;
    return tag + 8;
}

static void put_text(struct tags *tags, enum info_tag kind, const char *text)
{
    uint32_t size_bytes = (uint32_t)strlen(text) + 1;
    memcpy(put_tag(tags, kind, size_bytes), text, size_bytes);
}

static bool put_modules(struct tags *tags, struct boot_room *room, const struct boot_files *files,
                        struct boot_complaint *complaint)
{
    for (unsigned i = 0; i < files->module_count; i++) {
        const struct boot_file *file = &files->modules[i];
        const char *text = file->text ? file->text : "";
        uint32_t text_bytes = (uint32_t)strlen(text) + 1;
        uint64_t address;
        if (!boot_room_put(room, file, &address, complaint))
            return false;
        const uint32_t place[2] = {(uint32_t)address, (uint32_t)(address + file->size_bytes)};
        uint8_t *tag = put_tag(tags, INFO_MODULE, sizeof place + text_bytes);
        memcpy(tag, place, sizeof place);
        memcpy(tag + sizeof place, text, text_bytes);
    }
    return true;
}

static void put_memory(struct tags *tags, const struct guest_memory *memory)
{
    struct boot_range ranges[BOOT_RANGES_MAX];
    unsigned count = boot_memory_map(memory, ranges);
    const uint32_t sizes[2] = {LAYOUT_BASE_END / KIB,
                               (uint32_t)((memory->regions[0].size_bytes - LAYOUT_KERNEL) / KIB)};
    const uint32_t entry[2] = {24, 0}; /* size and version of an entry */
    memcpy(put_tag(tags, INFO_MEMORY, sizeof sizes), sizes, sizeof sizes);
    uint8_t *map = put_tag(tags, INFO_MAP, (uint32_t)sizeof entry + count * entry[0]);
    memcpy(map, entry, sizeof entry);
    for (unsigned i = 0; i < count; i++) {
        const uint64_t row[3] = {ranges[i].base, ranges[i].end - ranges[i].base, ranges[i].type};
        memcpy(map + sizeof entry + i * sizeof row, row, sizeof row);
    }
}

static void put_rsdp(struct tags *tags, const struct guest_memory *memory)
{
    const void *rsdp = guest_memory_at(memory, LAYOUT_ACPI, RSDP_BYTES, false);
    if (!rsdp || memcmp(rsdp, "RSD PTR ", 8) != 0)
        return;
    memcpy(put_tag(tags, INFO_RSDP_1, RSDP_V1_BYTES), rsdp, RSDP_V1_BYTES);
    memcpy(put_tag(tags, INFO_RSDP_2, RSDP_BYTES), rsdp, RSDP_BYTES);
}

bool multiboot2_load(const struct guest_memory *memory, const struct boot_files *files,
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
    if (!boot_room_take(rooms.told, TOLD_BYTES_MAX, "what it is told", &told_at, complaint))
        return false;
    struct tags tags = {memory->regions[0].host + told_at, 8};
    put_text(&tags, INFO_COMMAND_LINE, files->command_line);
    put_text(&tags, INFO_LOADER_NAME, LOADER_NAME);
    if (!put_modules(&tags, &rooms.modules, files, complaint))
        return false;
    put_memory(&tags, memory);
    put_rsdp(&tags, memory);
    if (image.relocatable) {
        const uint32_t base = (uint32_t)image.low;
        memcpy(put_tag(&tags, INFO_LOAD_BASE, sizeof base), &base, sizeof base);
    }
    put_tag(&tags, INFO_END, 0);
    const uint32_t head[2] = {tags.used, 0};
    memcpy(tags.base, head, sizeof head);
    *entry = (struct boot_entry){
        .mode = BOOT_PROTECTED, .rip = (uint32_t)image.entry, .rax = ENTRY_MAGIC, .rbx = told_at};
    return true;
}
