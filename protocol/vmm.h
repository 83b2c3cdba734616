/*
 * Between root and a VMM: what the VMM is to be (struct vmm_start, at task_start.role, read-only), the
 * page in which root gives commands, and the page in which the VMM says how its guest fares.
 */
#ifndef PROTOCOL_VMM_H
#define PROTOCOL_VMM_H

#include "partition/plan.h"

#include <septum.h>

struct vmm_file {
    uint64_t address; /* read-only, page-aligned; 0: there is none */
    uint64_t size_bytes;
};

/* The screen of a `pc`: what its linear modes show (enough for 1280 by 1024 pixels of 32 bits), its four planes. */
#define VMM_VIDEO_LINEAR_BYTES 0x800000u
#define VMM_VIDEO_PLANES_BYTES 0x40000u
#define VMM_VIDEO_BYTES        (VMM_VIDEO_LINEAR_BYTES + VMM_VIDEO_PLANES_BYTES)

/* A picture of the screen: struct vmm_picture, and behind it a PNG file. Enough for most screens of 1280 by 1024; others
 * lose pixels. */
#define VMM_PICTURE_FILE       0x10000u /* where it begins */
#define VMM_PICTURE_FILE_BYTES 0x400000u
#define VMM_PICTURE_BYTES      (VMM_PICTURE_FILE + VMM_PICTURE_FILE_BYTES)
#define VMM_SMALL_COLUMNS      80u
#define VMM_SMALL_ROWS         48u

enum vmm_picture_kind { VMM_PICTURE_DARK, VMM_PICTURE_TEXT, VMM_PICTURE_GRAPHICS };

/* Written by the VMM at VMM_COMMAND_SCREENSHOT, read by root, who believes nothing of it. */
struct vmm_picture {
    uint32_t kind; /* enum vmm_picture_kind */
    uint32_t width, height;
    uint32_t text_bytes;                                 /* TEXT: lines of UTF-8 in `text` */
    uint32_t file_bytes;                                 /* of the file; 0: there is none */
    uint8_t small[VMM_SMALL_ROWS][VMM_SMALL_COLUMNS][3]; /* else: red, green, blue */
    char text[24576];
};
_Static_assert(sizeof(struct vmm_picture) <= VMM_PICTURE_FILE, "the file is behind it");

struct vmm_start {
    struct plan_partition partition; /* as the partition file has it, defaults filled in */
    uint64_t memory_address; /* guest RAM in the VMM's own space, zeroed, 2 MiB aligned; the VMM
                                        gives it to its vCPUs as SPACE_GUEST where it wants it */
    uint64_t memory_bytes;
    struct vmm_file kernel, initrd; /* kernel: the image, of PLAN_BOOT_ROM */
    struct vmm_file modules[PLAN_MODULES_MAX];
    struct vmm_file firmware;                  /* PLAN_BOOT_BIOS, PLAN_BOOT_UEFI */
    struct vmm_file variables;                 /* PLAN_BOOT_UEFI: as they are at the start */
    struct vmm_file video;                     /* the VGA BIOS, of a `pc` */
    struct vmm_file card_roms[PLAN_CARDS_MAX]; /* of a `pc` */
    uint64_t video_memory;     /* of a `pc`: VMM_VIDEO_BYTES, cleared, 2 MiB aligned; 0: none */
    uint64_t picture_address;  /* of a `pc`: struct vmm_picture, VMM_PICTURE_BYTES; 0: none */
    uint64_t command_address;  /* struct vmm_command, read-only here */
    uint64_t status_address;   /* struct vmm_status */
    uint64_t calendar_seconds; /* since 1970, UTC, when the TSC was calendar_ticks; 0: not known */
    uint64_t calendar_ticks;
};

/* Written by root; rung with TASK_BIT_COMMAND. */
struct vmm_command {
    uint64_t sequence; /* changes with each command */
    uint64_t command;  /* enum vmm_command_code */
    uint64_t argument;
};

enum vmm_command_code {
    VMM_COMMAND_NONE,
    VMM_COMMAND_PAUSE,
    VMM_COMMAND_RESUME,
    VMM_COMMAND_POWER_BUTTON, /* the guest is asked to shut down */
    VMM_COMMAND_NMI,          /* an NMI to vCPU `argument` */
    VMM_COMMAND_SCREENSHOT,   /* of a `pc`: its picture is made anew */
    VMM_COMMAND_DIE,          /* for tests: at the next exit of reason `argument` the VMM faults */
};

enum vmm_state { VMM_STARTING, VMM_RUNNING, VMM_PAUSED, VMM_ENDED };

/* Written by the VMM alone, read by root, who believes nothing of it. */
struct vmm_status {
    uint64_t command_done; /* sequence of the last command carried out */
    uint64_t state;        /* enum vmm_state */
    uint64_t first_entry_tsc;
    uint64_t entries; /* VM entries of all vCPUs */
    struct {
        uint64_t count;
        uint64_t ticks; /* spent by the VMM on them */
    } exits[EXIT_COUNT];
};
_Static_assert(sizeof(struct vmm_status) <= 4096, "the status is one page");

#endif
