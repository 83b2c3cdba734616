/* A VMM: puts its partition's machine together, loads its kernel, starts its vCPUs. */
#include "boot/bios.h"
#include "boot/files.h"
#include "boot/loader.h"
#include "layout.h"
#include "machine.h"
#include "message.h"
#include "task.h"
#include "vcpu_thread.h"

#define WHY_BYTES  400u
#define MEMORY_MIN (2 * MIB)

/* Tells the counting plugin of bench/: an instruction that does nothing. */
#define MARK_START "nopl 0x5cca000a(%rax)"
#define MARK_GUEST "nopl 0x5cca000b(%rax)"

static struct machine machine;

/* The guest can't be started: the log says why, root carries out the policy. */
static _Noreturn void refuse(const char *why)
{
    const uint64_t w[4] = {ROOT_GUEST_REFUSED, 0, 0, 0};
    task_print("the guest can't be started: %s\n", why);
    message_send(TASK_SLOT_ROOT, TAG(ROOT_GUEST_ENDED, 1, 0), w, DEADLINE_NEVER);
    for (;;)
        message_wait(TASK_SLOT_NOTIFICATION, DEADLINE_NEVER);
}

/* How kernels get into memory, by what the partition boots. */
static boot_loader *const loaders[] = {
    [PLAN_BOOT_LINUX] = linux_load,
    [PLAN_BOOT_PVH] = pvh_load,
    [PLAN_BOOT_MULTIBOOT] = multiboot_load,
    [PLAN_BOOT_MULTIBOOT2] = multiboot2_load,
};

static boot_loader *loader_of(const struct vmm_start *start)
{
    uint32_t boot = start->partition.boot;
    return boot < sizeof loaders / sizeof *loaders ? loaders[boot] : NULL;
}

static void load_kernel(const struct vmm_start *start)
{
    char why[WHY_BYTES];
    const struct plan_partition *partition = &start->partition;
    struct boot_complaint complaint = {why, sizeof why};
    struct boot_entry entry;
    const struct boot_files files = boot_files_of(start);
    if (!loader_of(start)(&machine.memory, &files, &entry, &complaint))
        refuse(why);
    if (entry.mode == BOOT_LONG && partition->board == PLAN_BOARD_LEAN)
        machine_begin_x2apic(&machine);
    vcpu_begin(&machine.vcpus[0], &entry);
}

void program_start(const void *argument)
{
    char why[WHY_BYTES];
    __asm__ volatile(MARK_START);
    task_init(argument);
    const struct vmm_start *start = (const struct vmm_start *)task->role;
    if (task->virtualization == BOOT_VIRT_NONE)
        refuse("this machine has no hardware virtualization: use a processor with VT-x or AMD-V, "
               "and turn it on in the firmware's set-up");
    if (start->memory_bytes < MEMORY_MIN)
        refuse("it has less than 2M of memory: give it more");
    if (!loader_of(start) && !bios_wanted(start))
        refuse("its partition does not say what it boots, or what this VMM does not boot: use "
               "`boot linux "
               "{ kernel \"FILE\" }`");
    if (!machine_init(&machine, start, why, sizeof why))
        refuse(why);
    if (bios_wanted(start))
        vcpu_begin_reset(&machine.vcpus[0]);
    else
        load_kernel(start);
    machine.status->state = VMM_RUNNING;
    machine.status->first_entry_tsc = ticks();
    task_ready();
    for (unsigned n = 1; n < machine.vcpu_count; n++)
        if (task_thread_start(n, vcpu_thread, &machine.vcpus[n]) != STATUS_OK)
            refuse("a thread of its VMM can't be started; this is an error of root's");
    machine_attend(&machine, machine.early_bits);
    __asm__ volatile(MARK_GUEST);
    vcpu_thread(&machine.vcpus[0]);
}
