/* The files that a loader needs, from what root has told the VMM. */
#ifndef VMM_BOOT_FILES_H
#define VMM_BOOT_FILES_H

#include "boot/loader.h"

#include "protocol/vmm.h"

/* They stay root's. */
struct boot_files boot_files_of(const struct vmm_start *start);

#endif
