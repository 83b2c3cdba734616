/*
 * Loads the first program: the static ELF64 with which the boot module begins (ELF specification,
 * chapter 5). Every number of the file is checked against the module's size before it is used.
 */
#include "boot/boot.h"
#include "core/mapping.h"
#include "x86/paging.h"

struct elf_header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, program_headers, section_headers;
    uint32_t flags;
    uint16_t header_bytes, program_header_bytes, program_header_count, section_words[3];
};

struct elf_segment {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_bytes, memory_bytes, alignment;
};

#define ELF_EXECUTABLE   2u
#define ELF_X86_64       62u
#define ELF_LOAD         1u
#define ELF_FLAG_EXECUTE 1u
#define ELF_FLAG_WRITE   2u
#define USER_BASE        0x1000ull             /* page 0 stays unmapped */
#define USER_END         (SEPTUM_USER_END / 2) /* above are the first stack and the boot information */
#define CHUNK            (512u << 10)

static uint64_t page_up(uint64_t value)
{
    return (value + PAGE_MASK) & ~PAGE_MASK;
}

/* Loadable segments in rising order, no two on one page, all inside file and user space. */
static const char *segment_check(const struct elf_segment *s, vaddr_t free_from)
{
    if (s->file_bytes > s->memory_bytes || s->offset > handover.module_size ||
        s->file_bytes > handover.module_size - s->offset)
        return "a segment lies outside the file";
    if (s->address < free_from || s->address >= USER_END || s->memory_bytes > USER_END - s->address)
        return "a segment's addresses overlap another's page, or are not user addresses";
    if (s->flags & ELF_FLAG_EXECUTE && s->flags & ELF_FLAG_WRITE)
        return "a segment is both writable and executable";
    return NULL;
}

/* Copies from the module (or, with from 0, zeroes) in pieces that fit the window. */
static void fill(paddr_t to, paddr_t from, uint64_t size_bytes)
{
    while (size_bytes) {
        uint64_t part = size_bytes < CHUNK ? size_bytes : CHUNK;
        unsigned mark = window_mark();
        void *target = window_map(to, part, 0);
        if (from)
            memcpy(target, window_map(from, part, 0), part);
        else
            memset(target, 0, part);
        window_release(mark);
        to += part;
        from += from ? part : 0;
        size_bytes -= part;
    }
}

static const char *segment_load(struct task *task, const struct elf_segment *s)
{
    vaddr_t start = s->address & ~PAGE_MASK;
    uint64_t size_bytes = page_up(s->address + s->memory_bytes) - start;
    unsigned rights = MAP_READ | (s->flags & ELF_FLAG_WRITE ? MAP_WRITE : 0) |
                      (s->flags & ELF_FLAG_EXECUTE ? MAP_EXECUTE : 0);
    paddr_t frames = memory_find(size_bytes, PAGE_SIZE, 1 << 20, UINT64_MAX);
    if (!frames)
        return "there is no memory for one of its segments";
    memory_add(frames, size_bytes, BOOT_MEMORY_ROOT);
    fill(frames, 0, size_bytes);
    fill(frames + (s->address - start), handover.module_base + s->offset, s->file_bytes);
    return mapping_grant(task, SPACE_HOST, start, size_bytes, frames, rights, false)
               ? NULL
               : "the kernel pool is too small to map it: use a larger pool=SIZE";
}

static const char *load(struct task *task, vaddr_t *entry)
{
    static const uint8_t ident[7] = {0x7f, 'E', 'L', 'F', 2, 1, 1}; /* 64-bit, little-endian */
    const struct elf_header *header = window_map(handover.module_base, PAGE_SIZE, 0);
    if (!header || handover.module_size < PAGE_SIZE || memcmp(header->ident, ident, sizeof(ident)))
        return "it does not begin with an ELF64 header";
    if (header->type != ELF_EXECUTABLE || header->machine != ELF_X86_64 ||
        header->program_header_bytes != sizeof(struct elf_segment))
        return "it is no static x86-64 program";
    const struct elf_segment *s =
        (const struct elf_segment *)((const char *)header + header->program_headers);
    if (header->program_headers > PAGE_SIZE ||
        header->program_header_count > (PAGE_SIZE - header->program_headers) / sizeof(*s))
        return "its program headers are not in the file's first page";
    vaddr_t free_from = USER_BASE;
    bool entry_good = false;
    *entry = header->entry;
    for (unsigned i = 0; i < header->program_header_count; i++, s++) {
        if (s->type != ELF_LOAD || s->memory_bytes == 0)
            continue;
        const char *wrong = segment_check(s, free_from);
        if (!wrong)
            wrong = segment_load(task, s);
        if (wrong)
            return wrong;
        free_from = page_up(s->address + s->memory_bytes);
        entry_good |= s->flags & ELF_FLAG_EXECUTE && *entry - s->address < s->file_bytes;
    }
    return entry_good ? NULL : "it has no segment to load that holds its entry point as code";
}

vaddr_t program_load(struct task *task)
{
    if (!handover.module_size)
        boot_stop("There is no boot module: give one with GRUB's `module2` or QEMU's -initrd.");
    unsigned mark = window_mark();
    vaddr_t entry;
    const char *wrong = load(task, &entry);
    window_release(mark);
    if (wrong)
        boot_stop("The boot module can't be started: %s.", wrong);
    return entry;
}
