/* The files that a partition is started with: for the host tool, which puts them into the bundle, and for root, which
 * passes them on. */
#ifndef LIB_PARTITION_FILES_H
#define LIB_PARTITION_FILES_H

#include "plan.h"

#include <stdbool.h>

enum plan_file_kind {
    PLAN_FILE_KERNEL, /* or image, or program */
    PLAN_FILE_INITRD,
    PLAN_FILE_FIRMWARE,
    PLAN_FILE_VARIABLES,
    PLAN_FILE_VIDEO,
    PLAN_FILE_MODULE,
    PLAN_FILE_CARD_ROM,
    PLAN_FILE_KINDS
};
/* Numbers of plan_file: those of the kinds before MODULE, one for each module, and one for each network card. */
#define PLAN_FILE_CARDS (PLAN_FILE_MODULE + PLAN_MODULES_MAX)
#define PLAN_FILE_COUNT (PLAN_FILE_CARDS + PLAN_CARDS_MAX)

struct plan_file {
    enum plan_file_kind kind;
    const char *word; /* that names it in the partition file */
    const char *path; /* as the partition file has it, or the file's name in build/firmware */
    bool shipped;     /* the latter: "firmware/" + path in the bundle; else "file/" + path */
};

/* File n, below PLAN_FILE_COUNT. False: this partition has none there. */
bool plan_file(const struct plan_partition *partition, unsigned n, struct plan_file *file);

#endif
