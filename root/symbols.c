/* Names of places in a program, from the symbol table of its file in the bundle; and how it came there. */
#include "elf.h"
#include "root.h"
#include "string.h"

struct table {
    const struct elf_symbol *symbols;
    uint64_t count;
    const char *names;
    uint64_t names_bytes;
};

static bool find_table(const struct archive_member *program, struct table *table)
{
    const struct elf_header *elf = elf_check(program->data, program->size_bytes);
    for (unsigned i = 0; elf && i < elf->section_count; i++) {
        const struct elf_section *section = elf_section(elf, i);
        if (section->type != ELF_SECTION_SYMBOLS || section->link >= elf->section_count)
            continue;
        const struct elf_section *names = elf_section(elf, section->link);
        if (section->offset % 8 || names->size_bytes == 0 ||
            !elf_within(section->offset, section->size_bytes, program->size_bytes) ||
            !elf_within(names->offset, names->size_bytes, program->size_bytes))
            continue;
        *table = (struct table){(const struct elf_symbol *)(program->data + section->offset),
                                section->size_bytes / sizeof(struct elf_symbol),
                                (const char *)program->data + names->offset, names->size_bytes};
        return table->names[table->names_bytes - 1] == 0;
    }
    return false;
}

static const struct elf_symbol *find_symbol(const struct table *table, uint64_t address)
{
    const struct elf_symbol *best = NULL;
    for (uint64_t i = 0; i < table->count; i++) {
        const struct elf_symbol *symbol = &table->symbols[i];
        unsigned type = symbol->info & 15;
        if ((type == ELF_SYMBOL_FUNCTION || type == ELF_SYMBOL_NOTYPE) && symbol->section &&
            symbol->value <= address && symbol->name < table->names_bytes &&
            (!best || symbol->value > best->value ||
             (symbol->value == best->value && type == ELF_SYMBOL_FUNCTION)))
            best = symbol;
    }
    return best;
}

void symbol_name(const struct archive_member *program, uint64_t address, char *text,
                 size_t size_bytes)
{
    struct table table;
    const struct elf_symbol *symbol =
        find_table(program, &table) ? find_symbol(&table, address) : NULL;
    if (symbol && (symbol->size_bytes == 0 || address - symbol->value < symbol->size_bytes))
        print_buffer(text, size_bytes, "%s+0x%lx", table.names + symbol->name,
                     address - symbol->value);
    else
        print_buffer(text, size_bytes, "0x%lx", address);
}

/* Does an instruction end here that calls: E8 with a 32-bit offset, or FF /2 in any of its lengths? */
static bool is_return_address(const struct resident *task, uint64_t address)
{
    enum { LONGEST = 7 };
    const uint8_t *code = task_view(task, address - LONGEST, LONGEST, MAP_EXECUTE);
    if (!code)
        return false;
    code += LONGEST;
    if (code[-5] == 0xe8)
        return true;
    for (int length = 2; length <= LONGEST; length++)
        if (code[-length] == 0xff && (code[1 - length] >> 3 & 7) == 2)
            return true;
    return false;
}

/*
 * Programs are built without frame pointers, so each word of the stack that could be a return address is taken for
 * one: what a function has left there from earlier calls shows, too.
 */
void symbol_trace(const struct resident *task, uint64_t rsp, struct sink *sink)
{
    enum { WORDS = 256, SHOWN = 8 };
    unsigned shown = 0;
    char name[96];
    for (unsigned i = 0; i < WORDS && shown < SHOWN; i++) {
        const uint64_t *word = task_view(task, rsp + 8 * i, 8, MAP_WRITE);
        if (!word)
            break;
        uint64_t value = *(volatile const uint64_t *)word;
        if (!is_return_address(task, value))
            continue;
        symbol_name(&task->program, value, name, sizeof name);
        print(sink, "%s%s", shown++ ? ", " : "  called from ", name);
    }
    if (shown)
        print(sink, "\n");
}
