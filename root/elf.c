/* Reading ELF files whose numbers are not believed. */
#include "elf.h"

#include "string.h"

bool elf_within(uint64_t offset, uint64_t part_bytes, uint64_t size_bytes)
{
    return offset <= size_bytes && part_bytes <= size_bytes - offset;
}

const struct elf_header *elf_check(const void *file, size_t size_bytes)
{
    static const uint8_t ident[7] = {0x7f, 'E', 'L', 'F', 2, 1, 1}; /* 64-bit, little-endian */
    const struct elf_header *elf = file;
    if (size_bytes < sizeof *elf || memcmp(elf->ident, ident, sizeof ident) != 0 ||
        elf->type != ELF_EXECUTABLE || elf->machine != ELF_X86_64)
        return NULL;
    if (elf->segment_bytes != sizeof(struct elf_segment) || elf->segments % 8 ||
        !elf_within(elf->segments, elf->segment_count * sizeof(struct elf_segment), size_bytes))
        return NULL;
    if (elf->section_count &&
        (elf->section_bytes != sizeof(struct elf_section) || elf->sections % 8))
        return NULL;
    if (!elf_within(elf->sections, elf->section_count * sizeof(struct elf_section), size_bytes))
        return NULL;
    return elf;
}

const struct elf_segment *elf_segment(const struct elf_header *elf, unsigned n)
{
    return (const struct elf_segment *)((const char *)elf + elf->segments) + n;
}

const struct elf_section *elf_section(const struct elf_header *elf, unsigned n)
{
    return (const struct elf_section *)((const char *)elf + elf->sections) + n;
}

uint64_t elf_end(const struct elf_header *elf)
{
    uint64_t end = elf->sections + elf->section_count * sizeof(struct elf_section);
    for (unsigned i = 0; i < elf->section_count; i++) {
        const struct elf_section *section = elf_section(elf, i);
        uint64_t section_end = section->offset + section->size_bytes;
        if (section->type != ELF_SECTION_NOBITS && section_end > end)
            end = section_end;
    }
    for (unsigned i = 0; i < elf->segment_count; i++) {
        const struct elf_segment *segment = elf_segment(elf, i);
        if (segment->offset + segment->file_bytes > end)
            end = segment->offset + segment->file_bytes;
    }
    return end;
}
