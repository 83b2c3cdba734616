/*
 * What the boot loader tells: PVH's start info (Xen, public/arch-x86/hvm/start_info.h) or Multiboot2's
 * tags (Multiboot2 specification 2.0, section 3). Both become calls of memory_add and one structure.
 */
#include "boot/boot.h"
#include "x86/paging.h"

struct handover handover;

#define PVH_MAGIC           0x336ec578u
#define MULTIBOOT2_MAGIC    0x36d76289u
#define STRUCTURE_BYTES_MAX (256u << 10)

struct pvh_start_info {
    uint32_t magic, version, flags, module_count;
    uint64_t modules, command_line, rsdp;
    uint64_t memory_map; /* from version 1 on */
    uint32_t memory_map_count, reserved;
};

struct pvh_module {
    uint64_t base, size, command_line, reserved;
};

/* The entries of both maps begin the same way. */
struct map_entry {
    uint64_t base, size;
    uint32_t type; /* as the BIOS has it */
    uint32_t reserved;
};
#define MAP_ENTRIES_MAX 128u
enum { E820_RAM = 1, E820_ACPI = 3, E820_ACPI_NVS = 4 };

struct multiboot_tag {
    uint32_t type, size;
};
enum {
    TAG_END,
    TAG_COMMAND_LINE,
    TAG_MODULE = 3,
    TAG_MEMORY_MAP = 6,
    TAG_RSDP_OLD = 14,
    TAG_RSDP_NEW
};

static void add_entry(const struct map_entry *entry)
{
    static const uint8_t types[] = {[E820_RAM] = BOOT_MEMORY_RAM,
                                    [E820_ACPI] = BOOT_MEMORY_FIRMWARE,
                                    [E820_ACPI_NVS] = BOOT_MEMORY_FIRMWARE};
    unsigned type = entry->type < sizeof(types) ? types[entry->type] : 0;
    memory_add(entry->base, entry->size, type ? type : BOOT_MEMORY_DEVICE);
}

static void copy_command_line(const char *from, uint64_t size_bytes)
{
    for (uint64_t i = 0; i < size_bytes && i < sizeof(handover.command_line) - 1 && from[i]; i++)
        handover.command_line[i] = from[i];
}

/* The first module is the one; what may follow is ordinary memory to us. */
static void take_module(paddr_t base, paddr_t end)
{
    if (handover.module_base)
        return;
    if (end < base)
        boot_stop("The boot loader's module ends before it begins, which can't be right.");
    handover.module_base = base;
    handover.module_size = end - base;
}

static void pvh_read(paddr_t info_at)
{
    const struct pvh_start_info *info = window_map(info_at, sizeof(*info), 0);
    if (info->magic != PVH_MAGIC || info->version < 1)
        boot_stop("The boot loader speaks neither Multiboot2 nor PVH version 1: boot with GRUB's "
                  "`multiboot2` command or with QEMU's -kernel.");
    const struct map_entry *map = window_map(info->memory_map, MAP_ENTRIES_MAX * sizeof(*map), 0);
    for (uint32_t i = 0; i < info->memory_map_count && i < MAP_ENTRIES_MAX; i++)
        add_entry(&map[i]);
    if (info->command_line)
        copy_command_line(window_map(info->command_line, sizeof(handover.command_line), 0),
                          sizeof(handover.command_line));
    if (info->module_count) {
        const struct pvh_module *module = window_map(info->modules, sizeof(*module), 0);
        take_module(module->base, module->base + module->size);
    }
    handover.rsdp = info->rsdp;
}

/* `tag` lies wholly in the information, and has at least 8 bytes after its head. */
static void multiboot_tag(paddr_t physical, const uint8_t *tag, uint32_t size_bytes)
{
    const uint32_t *words = (const uint32_t *)(tag + sizeof(struct multiboot_tag));
    uint32_t rest = size_bytes - sizeof(struct multiboot_tag);
    switch (*(const uint32_t *)tag) {
    case TAG_COMMAND_LINE: copy_command_line((const char *)words, rest); break;
    case TAG_MODULE: take_module(words[0], words[1]); break;
    case TAG_MEMORY_MAP: /* words: size of an entry, version */
        for (uint64_t at = 16; words[0] >= sizeof(struct map_entry) && at + words[0] <= size_bytes;
             at += words[0])
            add_entry((const struct map_entry *)(tag + at));
        break;
    case TAG_RSDP_OLD:
    case TAG_RSDP_NEW:
        /* A copy; it serves as the original, and its page is kept as the firmware's. */
        handover.rsdp = physical + sizeof(struct multiboot_tag);
        memory_add(handover.rsdp, rest, BOOT_MEMORY_FIRMWARE);
        break;
    }
}

static void multiboot_read(paddr_t info_at)
{
    const uint8_t *info = window_map(info_at, STRUCTURE_BYTES_MAX, 0);
    uint32_t size_bytes = *(const uint32_t *)info;
    if (size_bytes > STRUCTURE_BYTES_MAX)
        boot_stop(
            "The boot loader's Multiboot2 information is %u bytes long, which can't be right.",
            size_bytes);
    for (uint32_t at = 8; at + sizeof(struct multiboot_tag) <= size_bytes;) {
        const struct multiboot_tag *tag = (const struct multiboot_tag *)(info + at);
        if (tag->type == TAG_END || tag->size < sizeof(*tag) || tag->size > size_bytes - at)
            break;
        if (tag->size >= sizeof(*tag) + 8)
            multiboot_tag(info_at + at, info + at, tag->size);
        at += (tag->size + 7) & ~7u;
    }
}

void handover_read(uint32_t magic, uint32_t info)
{
    unsigned mark = window_mark();
    if (magic == MULTIBOOT2_MAGIC)
        multiboot_read(info);
    else
        pvh_read(info);
    window_release(mark);
}

/* ---- options --------------------------------------------------------------------------------- */

/* What comes after the word, if that is what is there; else NULL. */
static const char *after(const char *at, const char *word)
{
    while (*word && *at == *word) {
        at++;
        word++;
    }
    return *word ? NULL : at;
}

const char *option_find(const char *name)
{
    for (const char *at = handover.command_line; *at; at++) {
        bool begins = at == handover.command_line || at[-1] == ' ';
        const char *end = begins ? after(at, name) : NULL;
        if (end && (!*end || *end == ' ' || *end == '='))
            return end + (*end == '=');
    }
    return NULL;
}

bool option_is(const char *name, const char *value)
{
    const char *found = option_find(name), *end = found ? after(found, value) : NULL;
    return end && (!*end || *end == ' ');
}

uint64_t option_size(const char *name, uint64_t otherwise)
{
    const char *at = option_find(name);
    uint64_t size = 0;
    if (!at || *at < '0' || *at > '9')
        return otherwise;
    for (; *at >= '0' && *at <= '9' && size < 1ull << 40; at++)
        size = size * 10 + (uint64_t)(*at - '0');
    unsigned shift = *at == 'K' ? 10 : *at == 'M' ? 20 : *at == 'G' ? 30 : 0;
    return size << shift;
}
