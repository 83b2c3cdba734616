/*
 * The emulator: QEMU with KVM where nested virtualization works, else with TCG, which emulates
 * AMD-V; or Bochs, which emulates VT-x.
 */
#include "septum.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB             (UINT64_C(1) << 20)
#define MEMORY_STEP     (64 * MIB)
#define POOL_LEAST      (8 * MIB)
#define POOL_MOST       (128 * MIB)
#define KERNEL_AND_ROOT (32 * MIB)
#define SERVERS         (16 * MIB)

/* ---- how much ------------------------------------------------------------------------------- */

uint64_t machine_guest_bytes(uint64_t memory_bytes, size_t bundle_bytes)
{
    /* The kernel's pool: docs/boot.md. */
    uint64_t pool = memory_bytes / 16 < POOL_LEAST  ? POOL_LEAST
                    : memory_bytes / 16 > POOL_MOST ? POOL_MOST
                                                    : memory_bytes / 16;
    uint64_t own = pool + KERNEL_AND_ROOT + bundle_bytes;
    return memory_bytes > own ? memory_bytes - own : 1;
}

/* What the private copies of a partition's disks may take. */
static uint64_t changes_bytes(const struct plan *plan, const struct plan_partition *partition)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < partition->disk_count; i++) {
        const struct plan_volume *volume = &plan->volumes[partition->disks[i].volume];
        bytes += volume->access == PLAN_ACCESS_PRIVATE ? volume->changes_bytes : 0;
    }
    return bytes;
}

static uint64_t memory_needed(const struct plan *plan, size_t bundle_bytes)
{
    uint64_t guests = 0, memory = MEMORY_STEP;
    for (unsigned i = 0; i < plan->partition_count; i++)
        guests += plan->partitions[i].memory_bytes + changes_bytes(plan, &plan->partitions[i]);
    if (plan->volume_count || plan->network_count)
        guests += SERVERS;
    while (machine_guest_bytes(memory, bundle_bytes) < guests)
        memory += MEMORY_STEP;
    return memory;
}

/* A core has all of its threads. */
static uint32_t whole_cores(const struct plan *plan, uint32_t cpus)
{
    return (cpus + plan->threads - 1) / plan->threads * plan->threads;
}

static uint32_t cpus_needed(const struct plan *plan)
{
    uint32_t cpus = 1;
    for (unsigned i = 0; i < plan->server_count; i++)
        cpus = plan->servers[i].cpu >= cpus ? plan->servers[i].cpu + 1 : cpus;
    for (unsigned i = 0; i < plan->partition_count; i++) {
        uint32_t highest = 64 - (uint32_t)__builtin_clzll(plan->partitions[i].cpu_mask);
        cpus = highest > cpus ? highest : cpus;
    }
    return cpus;
}

/* ---- KVM ------------------------------------------------------------------------------------ */

/* A file of /proc, /sys or /dev; tests put a folder of their own in their place. */
static char *host_path(const char *path)
{
    const char *root = getenv("SEPTUM_HOST_ROOT");
    char *full;
    if (asprintf(&full, "%s%s", root ? root : "", path) < 0)
        abort();
    return full;
}

/* The first bytes of such a file; these have no size that could be asked for. */
static bool host_read(const char *path, char *text, size_t size_bytes)
{
    char *full = host_path(path);
    FILE *file = fopen(full, "re");
    free(full);
    if (!file)
        return false;
    size_t size = fread(text, 1, size_bytes - 1, file);
    text[size] = 0;
    fclose(file);
    return true;
}

/* Is `flag` among the flags of the first CPU? */
static bool has_flag(const char *cpuinfo, const char *flag)
{
    const char *line = strstr(cpuinfo, "\nflags");
    size_t length = strlen(flag);
    if (!line)
        return false;
    const char *end = strchrnul(line + 1, '\n');
    for (const char *at = line; (at = strstr(at, flag)) && at < end; at += length)
        if ((at[-1] == ' ' || at[-1] == '\t') && (at[length] == ' ' || at[length] == '\n'))
            return true;
    return false;
}

/* Why KVM can't be used here, with the cure; NULL: it can. */
static const char *kvm_problem(void)
{
    static char text[512], cpuinfo[16384];
    char nested[8];
    if (!host_read("/proc/cpuinfo", cpuinfo, sizeof cpuinfo))
        return "/proc/cpuinfo can't be read: mount /proc";
    bool intel = has_flag(cpuinfo, "vmx"), amd = has_flag(cpuinfo, "svm");
    if (!intel && !amd)
        return "this processor shows neither vmx nor svm: switch virtualization on in the "
               "firmware's set-up; in a virtual machine, let its host allow nested virtualization";
    const char *module = intel ? "kvm_intel" : "kvm_amd";
    char *device = host_path("/dev/kvm");
    bool there = access(device, F_OK) == 0, allowed = access(device, R_OK | W_OK) == 0;
    free(device);
    snprintf(text, sizeof text, "/sys/module/%s/parameters/nested", module);
    bool loaded = host_read(text, nested, sizeof nested);
    if (!loaded || !there) {
        snprintf(
            text, sizeof text,
            "the module %s is not loaded: `sudo modprobe %s`; if `sudo dmesg` then says that it is "
            "disabled, the firmware has locked virtualization: switch it on in its set-up",
            module, module);
        return text;
    }
    if (!allowed)
        return "/dev/kvm may not be used by you: `sudo usermod -aG kvm $USER`, then log in anew";
    if (nested[0] != 'Y' && nested[0] != '1') {
        snprintf(text, sizeof text,
                 "nested virtualization is off: `echo options %s nested=1 | sudo tee "
                 "/etc/modprobe.d/kvm-nested.conf`, then `sudo modprobe -r %s; sudo modprobe %s`",
                 module, module, module);
        return text;
    }
    return NULL;
}

void machine_choose(struct machine *machine, const struct options *options, const struct plan *plan,
                    size_t bundle_bytes)
{
    uint32_t cpus = options->cpus ? options->cpus : plan->cpus ? plan->cpus : cpus_needed(plan);
    machine->cpus = whole_cores(plan, cpus);
    machine->memory_bytes = options->memory_bytes ? options->memory_bytes
                            : plan->memory_bytes  ? plan->memory_bytes
                                                  : memory_needed(plan, bundle_bytes);
    machine->why = options->bochs ? NULL : kvm_problem();
    machine->how = options->bochs ? "Bochs, VT-x emulated"
                   : machine->why ? "QEMU, AMD-V emulated (TCG)"
                                  : "QEMU with KVM, nested";
}

/* ---- command lines -------------------------------------------------------------------------- */

void machine_qemu(struct machine *machine, const struct options *options, const struct plan *plan,
                  const char *bundle_path, struct command *command)
{
    static const char program[] = "qemu-system-x86_64";
    char *found = program_find(program), *kernel = build_path(options, "septum.elf");
    if (!found)
        give_up("%s is not there: `make setup-run` installs it", program);
    command_add(command, "%s", program);
    command_add(command, "-accel");
    command_add(command, machine->why ? "tcg" : "kvm");
    command_add(command, "-cpu");
    command_add(command, machine->why ? "EPYC-v3,+svm,+npt" : "host");
    command_add(command, "-smp");
    command_add(command, "%u,threads=%u", machine->cpus, plan->threads);
    command_add(command, "-m");
    command_add(command, "%lu", (unsigned long)(machine->memory_bytes / MIB));
    static const char *const fixed[] = {"-nodefaults",
                                        "-no-user-config",
                                        "-display",
                                        "none",
                                        "-no-reboot",
                                        "-chardev",
                                        "stdio,id=serial,signal=off",
                                        "-serial",
                                        "chardev:serial",
                                        "-device",
                                        "isa-debug-exit,iobase=0xf4,iosize=2"};
    for (unsigned i = 0; i < sizeof fixed / sizeof *fixed; i++)
        command_add(command, "%s", fixed[i]);
    if (options->iommu) { /* before the devices that it is for */
        command_add(command, "-machine");
        command_add(command, machine->why ? "q35" : "q35,kernel-irqchip=split");
        command_add(command, "-device");
        command_add(command, "intel-iommu,intremap=on,aw-bits=48");
    }
    devices_qemu(plan, options->iommu, command);
    command_add(command, "-kernel");
    command_add(command, "%s", kernel);
    command_add(command, "-initrd");
    command_add(command, "%s", bundle_path);
    command_add(command, "-append");
    command_add(command, "%s", machine->words);
    free(found);
    free(kernel);
}

void machine_bochs(struct machine *machine, const struct plan *plan, const char *image,
                   const char *folder, const char *port, struct command *command)
{
    char *program = setup_value("BOCHS"), *bios = setup_value("BOCHS_BIOS"),
         *vga = setup_value("BOCHS_VGABIOS"), *kind = setup_value("BOCHS_KIND"), *path;
    if (!program || access(program, X_OK) != 0 || !bios || !vga || !kind)
        give_up("Bochs is not there: `make setup-test` builds it");
    bool packaged = strcmp(kind, "packaged") == 0;
    if (asprintf(&path, "%s/bochsrc", folder) < 0)
        abort();
    FILE *file = fopen(path, "we");
    if (!file)
        give_up("%s can't be written: %s", path, strerror(errno));
    fprintf(file,
            "config_interface: textconfig\n"
            "display_library: %s\n"
            "romimage: file=%s\n"
            "vgaromimage: file=%s\n"
            "cpu: model=corei7_skylake_x, count=1:%u:%u, ips=50000000, reset_on_triple_fault=0, "
            "ignore_bad_msrs=1\n"
            "memory: guest=%lu, host=%lu\n"
            "pci: enabled=1, chipset=i440fx%s\n"
            "boot: cdrom\n"
            "ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n"
            "ata0-master: type=cdrom, path=%s, status=inserted\n"
            "clock: sync=none, time0=utc\n"
            "com1: enabled=1, mode=term, dev=%s\n"
            "log: bochs.log\n"
            "panic: action=fatal\n"
            "error: action=report\n"
            "info: action=ignore\n",
            packaged ? "rfb, options=\"timeout=0\"" : "nogui", bios, vga,
            machine->cpus / plan->threads, plan->threads,
            (unsigned long)(machine->memory_bytes / MIB),
            (unsigned long)(machine->memory_bytes / MIB),
            devices_cards(plan) ? ", slot1=e1000" : "", image, port);
    devices_bochs(plan, folder, file);
    if (packaged)
        fputs("sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy\n", file);
    fclose(file);
    command_add(command, "%s", program);
    command_add(command, "-q");
    command_add(command, "-unlock");
    command_add(command, "-f");
    command_add(command, "bochsrc");
    free(path);
}
