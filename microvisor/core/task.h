/* Tasks: a capability space, address spaces, port permissions, a quota. */
#pragma once

#include "core/mapping.h"

/* A permission bitmap for the 65536 ports, a set bit denies; made when the first port arrives. */
#define PORT_BITMAP_BYTES 8192u

struct task {
    struct object object;
    struct capability_space capabilities;
    uint64_t host_cr3; /* what address_space_load puts into CR3: root table and PCID */
    struct table host, guest, dma;
    /* NULL: none. 8 KiB; the trailing byte of ones is the loader's business. */
    uint8_t *ports;
    /* NULL: none. 12 KiB, as VMX (2 x 4 KiB) and SVM (12 KiB) want it; the last 4 KiB are ones. */
    uint8_t *guest_ports;
    struct range_tree ranges[SPACE_CAPABILITY]; /* by space kind, without capabilities */
    struct quota quota;
    uint64_t host_cpus;        /* CPUs that may know `host`: set when a thread is bound there */
    uint64_t guest_cpus;       /* the same for `guest`: set when a vCPU is made there */
    uint64_t guest_generation; /* counts guest flushes; a vCPU with an older one flushes at entry */
    uint16_t pcid;
    uint16_t domain; /* of `dma`: what the IOMMU tells translations apart by */
    uint32_t end_space; /* how far its end has come */
    uint64_t end_base;
    bool stopping;       /* being destroyed: makes no new objects, starts no threads */
    struct list objects; /* struct object.link: all that is charged to it and is not dying */
    uint32_t charged;    /* how many, with those that are dying */
};

/* The hardware's table behind a space, NULL if there is none. */
static inline struct table *space_table(struct task *task, enum space_kind space)
{
    return space == SPACE_HOST    ? &task->host
           : space == SPACE_GUEST ? &task->guest
           : space == SPACE_DMA   ? &task->dma
                                  : NULL;
}

/* The first task, at boot. */
struct task *task_create_root(uint32_t quota_pages);

/* Makes what the hardware needs behind a space, if it is not there yet: the top table of SPACE_GUEST
 * or SPACE_DMA, the bitmap of a space of ports. OK or NO_QUOTA; NOT_SUPPORTED, there are no more domains.
 * mapping_lock held. */
enum septum_status task_make_space(struct task *task, enum space_kind space);

/*
 * Makes a kernel frame visible to user space: a message buffer or a vCPU's state page, read-write,
 * at `address` in the task's host space, which must be free. Not in the database (it cannot be
 * delegated), but shown by the audit's table walk.
 */
enum septum_status task_map_kernel_page(struct task *task, uint64_t address, void *page);
void task_unmap_kernel_page(struct task *task, uint64_t address);
