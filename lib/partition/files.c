#include "files.h"

#include <stddef.h>

/* What comes with Septum for a partition that names no file of its own, or NULL. */
static const char *shipped_file(const struct plan_partition *partition, enum plan_file_kind kind)
{
    bool is_pc = partition->board == PLAN_BOARD_PC;
    bool is_guest = partition->boot != PLAN_BOOT_NONE && partition->boot != PLAN_BOOT_PROGRAM;
    /* A kernel whose entry is 16-bit code needs one; which kernels are so only the file tells. */
    bool may_be_real = partition->boot == PLAN_BOOT_LINUX && is_pc &&
                       (partition->entry == PLAN_ENTRY_BEST || partition->entry == PLAN_ENTRY_16);
    if (kind == PLAN_FILE_FIRMWARE && (partition->boot == PLAN_BOOT_BIOS || may_be_real))
        return is_pc ? "bios-256k.bin" : "bios-microvm.bin";
    if (kind == PLAN_FILE_FIRMWARE && partition->boot == PLAN_BOOT_UEFI)
        return "ovmf-code.bin";
    if (kind == PLAN_FILE_VARIABLES && partition->boot == PLAN_BOOT_UEFI)
        return "ovmf-variables.bin";
    if (kind == PLAN_FILE_VIDEO && is_pc && is_guest)
        return "vgabios-stdvga.bin";
    return NULL;
}

/* File n among the partition's own; NULL: it names none there. */
static const char *named_file(const struct plan_partition *partition, unsigned n)
{
    switch (n) {
    case PLAN_FILE_KERNEL: return partition->kernel;
    case PLAN_FILE_INITRD: return partition->initrd;
    case PLAN_FILE_FIRMWARE: return partition->firmware;
    case PLAN_FILE_VARIABLES: return partition->variables;
    case PLAN_FILE_VIDEO: return NULL;
    default: break;
    }
    if (n < PLAN_FILE_CARDS)
        return n - PLAN_FILE_MODULE < partition->module_count
                   ? partition->modules[n - PLAN_FILE_MODULE].file
                   : NULL;
    return n - PLAN_FILE_CARDS < partition->card_count ? partition->cards[n - PLAN_FILE_CARDS].rom
                                                       : NULL;
}

bool plan_file(const struct plan_partition *partition, unsigned n, struct plan_file *file)
{
    static const char *const words[PLAN_FILE_KINDS] = {"kernel", "initrd", "firmware", "variables",
                                                       "board",  "module", "rom"};
    enum plan_file_kind kind = n < PLAN_FILE_MODULE  ? (enum plan_file_kind)n
                               : n < PLAN_FILE_CARDS ? PLAN_FILE_MODULE
                                                     : PLAN_FILE_CARD_ROM;
    *file = (struct plan_file){.kind = kind, .word = words[kind], .path = named_file(partition, n)};
    if (kind == PLAN_FILE_KERNEL && partition->boot == PLAN_BOOT_PROGRAM)
        file->word = "program";
    if (kind == PLAN_FILE_KERNEL && partition->boot == PLAN_BOOT_ROM)
        file->word = "image";
    if (!file->path || !file->path[0]) {
        file->path = shipped_file(partition, kind);
        file->shipped = true;
    }
    return file->path != NULL;
}
