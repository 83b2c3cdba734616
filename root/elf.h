/* ELF64 files (System V ABI, AMD64; ELF-64 Object File Format 1.5), as far as root reads them. */
#ifndef ROOT_ELF_H
#define ROOT_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf_header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, segments, sections;
    uint32_t flags;
    uint16_t header_bytes, segment_bytes, segment_count, section_bytes, section_count, names;
};

struct elf_segment {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_bytes, memory_bytes, alignment;
};

struct elf_section {
    uint32_t name, type;
    uint64_t flags, address, offset, size_bytes;
    uint32_t link, info;
    uint64_t alignment, entry_bytes;
};

struct elf_symbol {
    uint32_t name;
    uint8_t info, other;
    uint16_t section;
    uint64_t value, size_bytes;
};

enum {
    ELF_EXECUTABLE = 2,
    ELF_X86_64 = 62,
    ELF_SEGMENT_LOAD = 1,
    ELF_SEGMENT_EXECUTE = 1,
    ELF_SEGMENT_WRITE = 2,
    ELF_SECTION_SYMBOLS = 2,
    ELF_SECTION_NOBITS = 8,
    ELF_SYMBOL_FUNCTION = 2,
    ELF_SYMBOL_NOTYPE = 0,
};

/* The header, segments and sections of a file whose tables lie within its size; NULL: it is no such file. */
const struct elf_header *elf_check(const void *file, size_t size_bytes);
const struct elf_segment *elf_segment(const struct elf_header *elf, unsigned n);
const struct elf_section *elf_section(const struct elf_header *elf, unsigned n);
/* Does a piece of the file lie within its size? */
bool elf_within(uint64_t offset, uint64_t part_bytes, uint64_t size_bytes);
/* Where the file ends, by its own account. */
uint64_t elf_end(const struct elf_header *elf);

#endif
