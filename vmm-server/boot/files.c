#include "boot/files.h"

static struct boot_file file_of(const struct vmm_file *file, const char *name, const char *text)
{
    return (struct boot_file){(const void *)file->address, file->size_bytes, name, text};
}

struct boot_files boot_files_of(const struct vmm_start *start)
{
    const struct plan_partition *partition = &start->partition;
    struct boot_files files = {
        .kernel = file_of(&start->kernel, partition->kernel, NULL),
        .initrd = file_of(&start->initrd, partition->initrd, NULL),
        .module_count = partition->module_count,
        .command_line = partition->command_line,
        .memory_bytes = start->memory_bytes,
        .entry = partition->entry,
        .has_bios = partition->board == PLAN_BOARD_PC,
    };
    for (unsigned i = 0; i < partition->module_count; i++)
        files.modules[i] =
            file_of(&start->modules[i], partition->modules[i].file, partition->modules[i].text);
    return files;
}
