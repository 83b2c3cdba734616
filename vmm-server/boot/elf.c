#include "boot/elf.h"

#include "layout.h"
#include "print.h"
#include "string.h"

enum {
    CLASS_32 = 1,
    CLASS_64 = 2,
    LITTLE = 1,
    MACHINE_386 = 3,
    MACHINE_X86_64 = 62,
    SEGMENT_LOAD = 1,
    SEGMENT_NOTE = 4,
    NOTE_PHYS32_ENTRY = 18, /* Xen, public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY */
    SEGMENTS_MAX = 64,
    NOTES_MAX = 256,
};

struct segment {
    uint64_t type, offset, address, physical, file_bytes, memory_bytes;
};

/* 0 if it is not in the file. */
static uint64_t field(const struct boot_file *file, uint64_t offset, unsigned size_bytes)
{
    uint64_t value = 0;
    if (offset <= file->size_bytes && size_bytes <= file->size_bytes - offset)
        memcpy(&value, (const uint8_t *)file->data + offset, size_bytes);
    return value;
}

static struct segment segment_of(const struct elf_kernel *kernel, unsigned n)
{
    const struct boot_file *file = kernel->file;
    uint64_t row = kernel->table + (uint64_t)n * kernel->row_bytes;
    if (kernel->wide)
        return (struct segment){field(file, row, 4),      field(file, row + 8, 8),
                                field(file, row + 16, 8), field(file, row + 24, 8),
                                field(file, row + 32, 8), field(file, row + 40, 8)};
    return (struct segment){field(file, row, 4),      field(file, row + 4, 4),
                            field(file, row + 8, 4),  field(file, row + 12, 4),
                            field(file, row + 16, 4), field(file, row + 20, 4)};
}

static bool elf_is(const struct boot_file *file)
{
    return file->data && file->size_bytes >= 52 && memcmp(file->data, "\177ELF", 4) == 0;
}

static bool is_inside(const struct boot_file *file, uint64_t offset, uint64_t size_bytes)
{
    return offset <= file->size_bytes && size_bytes <= file->size_bytes - offset;
}

/* Names and contents of notes are padded to 4 bytes. */
static void read_notes(struct elf_kernel *kernel, const struct segment *segment)
{
    const struct boot_file *file = kernel->file;
    uint64_t at = segment->offset, end = at + segment->file_bytes;
    for (unsigned n = 0; n < NOTES_MAX && at + 12 <= end; n++) {
        uint64_t name = (field(file, at, 4) + 3) & ~3ull, body = field(file, at + 4, 4);
        uint64_t content = at + 12 + name;
        if (content > end || body > end - content)
            return;
        if (field(file, at + 8, 4) == NOTE_PHYS32_ENTRY && name == 4 && (body == 4 || body == 8) &&
            field(file, at + 12, 4) == 0x006e6558 /* "Xen" */) {
            kernel->pvh_entry = field(file, content, (unsigned)body);
            kernel->has_pvh = true;
        }
        at = content + ((body + 3) & ~3ull);
    }
}

static bool refuse_damaged(const struct boot_file *file, struct boot_complaint *complaint)
{
    return BOOT_REFUSE(complaint,
                       "the kernel \"%s\" is cut off or damaged: its headers tell of more than it "
                       "has: copy it anew",
                       file->name);
}

static bool read_segments(struct elf_kernel *kernel, struct boot_complaint *complaint)
{
    uint64_t begin = field(kernel->file, 24, kernel->wide ? 8 : 4);
    kernel->low = UINT64_MAX;
    kernel->entry = begin;
    for (unsigned n = 0; n < kernel->count; n++) {
        struct segment segment = segment_of(kernel, n);
        if (segment.type != SEGMENT_LOAD && segment.type != SEGMENT_NOTE)
            continue;
        if (!is_inside(kernel->file, segment.offset, segment.file_bytes))
            return refuse_damaged(kernel->file, complaint);
        if (segment.type == SEGMENT_NOTE) {
            read_notes(kernel, &segment);
            continue;
        }
        if (segment.file_bytes > segment.memory_bytes ||
            segment.physical + segment.memory_bytes < segment.physical)
            return refuse_damaged(kernel->file, complaint);
        if (segment.memory_bytes == 0)
            continue;
        if (segment.physical < kernel->low)
            kernel->low = segment.physical;
        if (segment.physical + segment.memory_bytes > kernel->high)
            kernel->high = segment.physical + segment.memory_bytes;
        /* The entry is a virtual address where the kernel is linked to another than it is loaded to. */
        if (begin >= segment.address && begin - segment.address < segment.memory_bytes)
            kernel->entry = begin - segment.address + segment.physical;
    }
    if (kernel->high == 0)
        return BOOT_REFUSE(complaint,
                           "the kernel \"%s\" has nothing to load: give an ELF file that is linked",
                           kernel->file->name);
    return true;
}

bool elf_open(const struct boot_file *file, struct elf_kernel *kernel,
              struct boot_complaint *complaint)
{
    *kernel = (struct elf_kernel){.file = file};
    bool is_elf = elf_is(file);
    uint64_t class = is_elf ? field(file, 4, 1) : 0, machine = is_elf ? field(file, 18, 2) : 0;
    if ((class != CLASS_32 && class != CLASS_64) || field(file, 5, 1) != LITTLE ||
        (machine != MACHINE_386 && machine != MACHINE_X86_64))
        return BOOT_REFUSE(complaint, "the kernel \"%s\" is no ELF file for x86: give one",
                           file->name);
    kernel->wide = class == CLASS_64;
    kernel->table = field(file, kernel->wide ? 32 : 28, kernel->wide ? 8 : 4);
    kernel->row_bytes = (unsigned)field(file, kernel->wide ? 54 : 42, 2);
    kernel->count = (unsigned)field(file, kernel->wide ? 56 : 44, 2);
    if (kernel->count > SEGMENTS_MAX || kernel->row_bytes < (kernel->wide ? 56u : 32u) ||
        !is_inside(file, kernel->table, (uint64_t)kernel->count * kernel->row_bytes))
        return refuse_damaged(file, complaint);
    return read_segments(kernel, complaint);
}

bool elf_place(const struct elf_kernel *kernel, const struct guest_memory *memory, uint64_t shift,
               struct boot_complaint *complaint)
{
    uint64_t low_end = memory->regions[0].size_bytes;
    for (unsigned n = 0; n < kernel->count; n++) {
        struct segment segment = segment_of(kernel, n);
        uint64_t to = segment.physical + shift; /* modulo 2^64: it may go down */
        if (segment.type != SEGMENT_LOAD || segment.memory_bytes == 0)
            continue;
        if (to > low_end || segment.memory_bytes > low_end - to)
            return BOOT_REFUSE(complaint,
                               "the kernel \"%s\" wants to be at 0x%lx to 0x%lx, and the guest has "
                               "0x%lx bytes of memory there: give it more",
                               kernel->file->name, to, to + segment.memory_bytes, low_end);
        uint8_t *place = memory->regions[0].host + to;
        memcpy(place, (const uint8_t *)kernel->file->data + segment.offset, segment.file_bytes);
        memset(place + segment.file_bytes, 0, segment.memory_bytes - segment.file_bytes);
    }
    return true;
}
