/*
 * From the assembly of boot.S to the first instruction of the first program; docs/boot.md tells the
 * same as a story.
 */
#include "boot/boot.h"
#include "virt/vcpu.h"
#include "x86/features.h"
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"
/* Where the first program finds what is not in its file. */
#define ROOT_AREA           0x00007f0000000000ull
#define ROOT_BOOT_INFO      ROOT_AREA
#define ROOT_MESSAGE_BUFFER (ROOT_AREA + 0x10000)
#define ROOT_STACK_TOP      (ROOT_AREA + 0x100000)
#define ROOT_STACK_BYTES    (64ull << 10)
#define ROOT_AREA_BYTES     (PAGE_SIZE + ROOT_STACK_BYTES) /* its frames: boot information, stack */
#define PORT_COUNT          65536u

#define POOL_SHARE          16u /* of RAM */
#define POOL_LEAST          (8ull << 20)
#define POOL_MOST           (128ull << 20)
#define MESSAGE_AREA        0xfee00000ull /* local APICs and interrupt messages: no task may write there */
#define MESSAGE_AREA_BYTES  (1ull << 20)

extern uint64_t boot_entry_tsc;
extern char boot_stack_top[];
_Noreturn void boot_start(uint32_t magic, uint32_t info);

/* Whole pages: with KPTI user tables hold them. */
static struct cpu boot_cpu __attribute__((aligned(4096), section(".bss.page")));
static paddr_t trampoline_page;
_Static_assert(sizeof(struct boot_info) <= PAGE_SIZE, "boot information is one page");

_Noreturn void boot_stop(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintk(format, &arguments);
    va_end(arguments);
    printk("\nSeptum stops.\n");
    machine_halt();
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void memory_init(void)
{
    paddr_t image = image_physical(kernel_start);
    memory_add(image, image_physical(kernel_end) - image, BOOT_MEMORY_KERNEL);
    if (handover.module_size)
        memory_add(handover.module_base, handover.module_size, BOOT_MEMORY_MODULE);
    memory_add(MESSAGE_AREA, MESSAGE_AREA_BYTES, BOOT_MEMORY_KERNEL);
    /* Some firmware scribbles on the first 64 KiB. */
    trampoline_page = memory_find(PAGE_SIZE, PAGE_SIZE, 0x10000, 0xa0000);

    uint64_t ram = memory_ram_bytes();
    uint64_t size = ram / POOL_SHARE;
    size = size < POOL_LEAST ? POOL_LEAST : size > POOL_MOST ? POOL_MOST : size;
    size = option_size("pool", size);
    if (size < LARGE_PAGE || size > POOL_MAX)
        boot_stop("pool=%lu: the kernel pool is at least 2M and at most 1G.", size);
    size = (size + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
    paddr_t pool = memory_find(size, LARGE_PAGE, LARGE_PAGE, UINT64_MAX);
    if (!pool)
        boot_stop("There is no room for a kernel pool of %lu MiB in %lu MiB of memory: give the "
                  "machine more, or a smaller pool=SIZE.",
                  size >> 20, ram >> 20);
    memory_add(pool, size, BOOT_MEMORY_KERNEL);
    paging_map_pool(pool, size);
    frames_init(pool, size, (void *)POOL_BASE);
    printk("memory: %lu MiB, kernel pool %lu MiB at 0x%lx\n", ram >> 20, size >> 20, pool);
}

static void acpi_init(void)
{
    acpi_read(handover.rsdp);
    for (unsigned i = 0; i < acpi.ioapic_count; i++)
        memory_add(acpi.ioapics[i].address, PAGE_SIZE, BOOT_MEMORY_KERNEL);
    for (unsigned i = 0; i < acpi.dmar.unit_count; i++)
        memory_add(acpi.dmar.units[i], PAGE_SIZE, BOOT_MEMORY_KERNEL);
    memory_add(acpi.local_apic, PAGE_SIZE, BOOT_MEMORY_KERNEL);
}

/* ---- the last steps of each CPU -------------------------------------------------------------- */

void cpu_ready(struct cpu *cpu)
{
    if (!vcpu_init_cpu(cpu))
        boot_stop("%s can't be switched on on every CPU: look for a firmware update.",
                  vcpu_ops->name);
    sched_init_cpu();
}

/* ---- the first task -------------------------------------------------------------------------- */

static void must(bool done, const char *what)
{
    if (!done)
        boot_stop("The kernel pool is too small to %s: use a larger pool=SIZE.", what);
}

static void grant_ranges(struct task *root, const struct boot_info *info)
{
    static const uint8_t rights[] = {
        [BOOT_MEMORY_RAM] = MAP_READ | MAP_WRITE | MAP_EXECUTE,
        [BOOT_MEMORY_DEVICE] = MAP_READ | MAP_WRITE,
        [BOOT_MEMORY_FIRMWARE] = MAP_READ,
        [BOOT_MEMORY_MODULE] = MAP_READ | MAP_WRITE | MAP_EXECUTE,
        [BOOT_MEMORY_ROOT] = MAP_READ | MAP_WRITE | MAP_EXECUTE,
    };
    for (unsigned i = 0; i < info->memory_range_count; i++) {
        const struct boot_memory_range *range = &info->memory[i];
        if (rights[range->type])
            must(mapping_grant(root, SPACE_PHYSICAL, range->base, range->size_bytes, range->base,
                               rights[range->type], range->type == BOOT_MEMORY_DEVICE),
                 "describe the machine's memory");
    }
    must(mapping_grant(root, SPACE_PORT, 0, PORT_COUNT, 0, MAP_READ | MAP_WRITE, false),
         "describe the ports");
}

static void install(struct task *root, unsigned slot, struct object *object, uint64_t badge)
{
    enum septum_status error;
    struct capability *capability = capability_reserve(root, slot, &error);
    must(capability, "hold the first capabilities");
    capability_install(capability, object, RIGHTS_ALL, badge);
}

static void boot_info_fill(struct boot_info *info, const struct task *root)
{
    *info = (struct boot_info){
        .magic = BOOT_INFO_MAGIC,
        .abi_version = SEPTUM_ABI_VERSION,
        .cpu_count = cpu_count,
        .virtualization = vcpu_ops == &vmx_ops   ? BOOT_VIRT_VMX
                          : vcpu_ops == &svm_ops ? BOOT_VIRT_SVM
                                                 : BOOT_VIRT_NONE,
        .tsc_khz = tsc_khz,
        .rsdp = handover.rsdp,
        .module_base = handover.module_base,
        .module_size = handover.module_size,
        .quota_pages = root->quota.granted,
        .message_buffer = ROOT_MESSAGE_BUFFER,
        .calibration_ticks = tsc_calibration_ticks,
#ifdef SEPTUM_DEBUG
        .debug = 1,
#endif
        .gsi_count = gsi_count,
        .dma_confined = dma_confined,
        .interrupts_remapped = interrupts_remapped,
    };
    for (unsigned i = 0; i < cpu_count; i++)
        info->apic_id[i] = cpus[i]->x86.apic_id;
    memcpy(info->command_line, handover.command_line, sizeof(info->command_line));
    info->memory_range_count =
        memory_ranges(info->memory, BOOT_MEMORY_RANGES_MAX, 1ull << features.physical_bits);
}

/* Everything but the first instruction. The boot information stays mapped in the window until then. */
static struct thread *root_create(struct boot_info **info_result, vaddr_t *entry)
{
    struct task *root = task_create_root((uint32_t)frames_free_count());
    must(root, "make the first task");
    *entry = program_load(root);
    paddr_t area = memory_find(ROOT_AREA_BYTES, PAGE_SIZE, 1 << 20, UINT64_MAX);
    must(area, "find memory for the first stack");
    memory_add(area, ROOT_AREA_BYTES, BOOT_MEMORY_ROOT);
    struct boot_info *info = *info_result = window_map(area, PAGE_SIZE, 0);

    boot_info_fill(info, root);
    grant_ranges(root, info);
    must(mapping_grant(root, SPACE_HOST, ROOT_BOOT_INFO, PAGE_SIZE, area, MAP_READ, false) &&
             mapping_grant(root, SPACE_HOST, ROOT_STACK_TOP - ROOT_STACK_BYTES, ROOT_STACK_BYTES,
                           area + PAGE_SIZE, MAP_READ | MAP_WRITE, false),
         "map the first program");

    install(root, BOOT_SLOT_TASK, &root->object, 0);
    struct create_request request = {.owner = root, .a1 = ROOT_MESSAGE_BUFFER};
    struct object *object;
    for (unsigned i = cpu_count; i--;) {
        request.type = OBJECT_SCHED;
        request.home = i;
        must(object_create(&request, &object) == STATUS_OK, "make the first scheduling contexts");
        install(root, BOOT_SLOT_SCHED + i, object, SCHED_LIMITS_NONE);
    }
    request.type = OBJECT_THREAD;
    request.sched = (struct sched *)object;
    must(object_create(&request, &object) == STATUS_OK, "make the first thread");
    install(root, BOOT_SLOT_THREAD, object, 0);
    return container_of(object, struct thread, object);
}

/* ---- the order of things --------------------------------------------------------------------- */

_Noreturn void boot_start(uint32_t magic, uint32_t info)
{
    boot_cpu.kernel_stack = (uint64_t)boot_stack_top;
    cpus[0] = &boot_cpu;
    cpu_count = 1;
    cpu_init(&boot_cpu); /* from here on a fault is reported */
    console_init(true);
    handover_read(magic, info);
    console_init(!option_is("console", "none"));
    panic_debug_exit = option_find("debug-exit");
    vmx_backstop = option_find("vmx-timer");
    printk("Septum, interface %u\n", SEPTUM_ABI_VERSION);

    features_init();
    mitigations_init(option_is("mitigations", "off"), option_is("mitigations", "force"));
    cpu_init_features(&boot_cpu);
    acpi_init();
    memory_init();
    ioapic_init();
    apic_init_cpu(&boot_cpu);
    tsc_init();
    const char *why = NULL;
    if (acpi.dmar.unit_count && !option_is("iommu", "off"))
        why = vtd_init();
    if (why)
        printk("DMA is not confined: %s\n", why);
    why = vcpu_init();
    if (why)
        printk("no virtual machines on this machine: %s\n", why);
    cpu_ready(&boot_cpu);
    smp_init(trampoline_page);
    paging_drop_low();
    must(paging_user_init(), "hold the kernel's part of user tables");
    printk("cpus: %u, virtualization: %s\n", cpu_count, vcpu_ops ? vcpu_ops->name : "none");

    struct boot_info *boot_info;
    vaddr_t entry;
    unsigned mark = window_mark();
    struct thread *thread = root_create(&boot_info, &entry);
    boot_info->kernel_boot_instructions =
        processor_ticks() - boot_entry_tsc - tsc_calibration_ticks;
    printk("boot: %lu ticks, and %lu of calibration\n", boot_info->kernel_boot_instructions,
           tsc_calibration_ticks);
    window_release(mark);
    thread_start(thread, entry, ROOT_STACK_TOP, ROOT_BOOT_INFO);
    sched_exit();
}
