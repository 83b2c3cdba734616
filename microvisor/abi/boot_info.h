/*
 * What the microvisor tells the first task. The page is mapped read-only; its address is the first
 * task's argument (rdi).
 */
#ifndef SEPTUM_BOOT_INFO_H
#define SEPTUM_BOOT_INFO_H

#include <stdint.h>

#define BOOT_INFO_MAGIC 0x7370745fu
#define BOOT_MEMORY_RANGES_MAX 64u
#define BOOT_CPUS_MAX 64u

/* Capability slots that the first task starts with. */
enum boot_slot {
    BOOT_SLOT_TASK = 1,    /* itself, with RIGHT_MACHINE */
    BOOT_SLOT_THREAD = 2,  /* its first thread, on CPU 0 */
    BOOT_SLOT_SCHED = 8,   /* + CPU: a scheduling context without limit on each CPU */
    BOOT_SLOT_FREE = 8 + BOOT_CPUS_MAX,
};

enum boot_memory_type {
    BOOT_MEMORY_RAM = 1,    /* in the first task's SPACE_PHYSICAL, write-back */
    BOOT_MEMORY_DEVICE = 2, /* in the first task's SPACE_PHYSICAL, uncached */
    BOOT_MEMORY_FIRMWARE = 3, /* ACPI tables and such: in SPACE_PHYSICAL, read-only, write-back */
    BOOT_MEMORY_KERNEL = 4, /* not available */
    BOOT_MEMORY_MODULE = 5, /* the boot module: in SPACE_PHYSICAL, write-back */
    BOOT_MEMORY_ROOT = 6,   /* the first task's own program: in SPACE_PHYSICAL, and mapped in SPACE_HOST */
};

struct boot_memory_range {
    uint64_t base; /* page-aligned */
    uint64_t size_bytes;
    uint64_t type; /* enum boot_memory_type */
};

enum boot_virtualization { BOOT_VIRT_NONE, BOOT_VIRT_VMX, BOOT_VIRT_SVM };

struct boot_info {
    uint32_t magic;
    uint32_t abi_version;
    uint32_t cpu_count;
    uint32_t virtualization; /* enum boot_virtualization */
    uint64_t tsc_khz;
    uint64_t rsdp; /* physical address of ACPI's root pointer, 0 if none */
    uint64_t module_base; /* physical; the file as loaded: ELF, then whatever follows */
    uint64_t module_size;
    uint64_t quota_pages; /* kernel memory granted to the first task */
    uint64_t message_buffer; /* address of the first thread's message buffer */
    uint64_t kernel_boot_instructions; /* TSC ticks from entry to here, calibration excluded */
    uint64_t calibration_ticks;
    uint64_t debug; /* nonzero: a kernel with the checks of microvisor/check */
    uint64_t dma_confined; /* nonzero: SPACE_DMA and OBJECT_DEVICE are there, and devices reach no memory without */
    uint64_t interrupts_remapped; /* nonzero: devices raise no interrupt but those that were made for them */
    uint32_t gsi_count;
    uint32_t memory_range_count;
    uint32_t apic_id[BOOT_CPUS_MAX];
    struct boot_memory_range memory[BOOT_MEMORY_RANGES_MAX];
    char command_line[1024];
};

#endif
