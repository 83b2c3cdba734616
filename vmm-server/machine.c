#include "machine.h"

#include "boot/bios.h"
#include "cpu/control.h"
#include "firmware/acpi.h"
#include "layout.h"
#include "message.h"
#include "pc/chips.h"
#include "pc/firmware.h"
#include "pc/display.h"
#include "pc/pc.h"
#include "pc/picture.h"
#include "string.h"
#include "task.h"
#include "thread.h"
#include "vcpu_thread.h"

#include <stddef.h>

#define LOCAL_APIC_BYTES  0x1000ull
#define MESSAGE_ADDRESS   0xfee00000ull
#define APIC_BASE_ADDRESS 0xffffffffff000ull
#define MSR_APIC_BASE     0x1bu
#define APIC_X2APIC       (1ull << 10)
/* Leaves of CPUID, and of XSAVE's the masks, the upper halves of ZMM0 to ZMM15, and ZMM16 to ZMM31. */
#define FEATURES       0x1u
#define STRUCTURED     0x7u
#define XSAVE          0xdu
#define XSAVE_MASKS    5u
#define XSAVE_UPPER    6u
#define XSAVE_HIGH     7u
#define XSAVE_PKRU     9u
#define XSAVE_COMPACTS 2u /* EAX of subleaf 1 */
#define PHYSICAL_BITS  0x80000008u

/* IA32_MISC_ENABLE at the start (SDM 4): fast strings; no branch trace store, no precise events. */
#define MISC_ENABLE                      (1ull << 0 | 1ull << 11 | 1ull << 12)

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* ---- interrupts -------------------------------------------------------------------------------------------- */

static void deliver(struct machine *machine, const struct local_apic *source,
                    const struct apic_message *message)
{
    struct local_apic *apics[PLAN_VCPUS_MAX];
    for (unsigned i = 0; i < machine->vcpu_count; i++)
        apics[i] = &machine->vcpus[i].apic;
    local_apic_deliver(apics, machine->vcpu_count, source, message);
}

void machine_ioapic_sends(struct ioapic *ioapic, const struct apic_message *message)
{
    deliver(ioapic->machine, NULL, message);
}

/* SDM 3A, 11.11: where the address is not the local APICs', there is no interrupt. With the redirection hint the one of
 * those named is taken that lowest-priority delivery would take. */
void machine_message(struct machine *machine, uint64_t address, uint32_t data)
{
    uint32_t destination = address >> 12 & 0xff;
    bool hint = address >> 3 & 1, logical = address >> 2 & 1;
    uint8_t delivery = data >> 8 & 7;
    const struct apic_message message = {
        .destination = destination == 0xff ? APIC_BROADCAST : destination,
        .vector = (uint8_t)data,
        .delivery = hint && logical && delivery == APIC_FIXED ? APIC_LOWEST : delivery,
        .logical = logical,
        .level = data >> 15 & 1,
        .assert = true,
    };
    if (address >> 20 == MESSAGE_ADDRESS >> 20)
        deliver(machine, NULL, &message);
}

static void apic_sends(struct local_apic *apic, const struct apic_message *message)
{
    struct machine *machine = apic->machine;
    deliver(machine, apic, message);
    machine->vcpus[apic->id].yields = machine->shares_cpu;
}

static void apic_ends_interrupt(struct local_apic *apic, uint8_t vector)
{
    struct machine *machine = apic->machine;
    lock_take(&machine->lock);
    ioapic_end_of_interrupt(&machine->ioapic, vector);
    lock_give(&machine->lock);
}

void machine_kick(struct machine *machine, unsigned vcpu)
{
    if (thread_self()->self != TASK_SLOT_THREAD + vcpu)
        notification_signal(machine->vcpus[vcpu].notification, MACHINE_BIT_KICK);
}

static void apic_kicks(struct local_apic *apic)
{
    machine_kick(apic->machine, apic->id);
}

static const struct local_apic_operations apic_operations = {apic_sends, apic_ends_interrupt,
                                                             apic_kicks};

/* ---- the guest's end --------------------------------------------------------------------------------------- */

void machine_end(struct machine *machine, enum root_guest_end end)
{
    const uint64_t w[4] = {end, 0, 0, 0};
    if (__atomic_exchange_n(&machine->ended, 1, __ATOMIC_ACQ_REL))
        return;
    machine->status->state = VMM_ENDED;
    message_send(TASK_SLOT_ROOT, TAG(ROOT_GUEST_ENDED, 1, 0), w, DEADLINE_NEVER);
    for (unsigned i = 0; i < machine->vcpu_count; i++)
        machine_kick(machine, i);
}

/* ---- devices' calls ------------------------------------------------------------------------------------------ */

static void add_timer(struct device_host *host, struct device_timer *timer)
{
    struct machine *machine = CONTAINER(host, struct machine, host);
    timer->next = machine->timers;
    timer->first = &machine->first_timer; /* 0 at first: all are looked at */
    machine->timers = timer;
}

static void hold(struct device_host *host, bool on)
{
    struct machine *machine = CONTAINER(host, struct machine, host);
    if (__atomic_add_fetch(&machine->held, on ? 1u : -1u, __ATOMIC_ACQ_REL) != 0) {
        machine_kick(machine, 0); /* the device's timer may end it: that thread must know of it */
        return;
    }
    for (unsigned i = 0; i < machine->vcpu_count; i++)
        machine_kick(machine, i);
}

/* ---- the first vCPU's thread ----------------------------------------------------------------------------------- */

static void command(struct machine *machine)
{
    const volatile struct vmm_command *from = machine->command;
    uint64_t sequence = __atomic_load_n(&machine->command->sequence, __ATOMIC_ACQUIRE);
    uint64_t argument = from->argument;
    switch (from->command) {
    case VMM_COMMAND_PAUSE:
    case VMM_COMMAND_RESUME:
        __atomic_store_n(&machine->paused, from->command == VMM_COMMAND_PAUSE, __ATOMIC_RELEASE);
        machine->status->state = machine->paused ? VMM_PAUSED : VMM_RUNNING;
        for (unsigned i = 0; i < machine->vcpu_count; i++)
            machine_kick(machine, i);
        break;
    case VMM_COMMAND_POWER_BUTTON:
        if (machine->pc)
            chips_press_button(machine);
        else
            task_print("a lean machine has no power button\n");
        break;
    case VMM_COMMAND_NMI:
        /* On a `pc` by its wire, so that a guest which has masked it is left alone. */
        if (argument < machine->vcpu_count && machine->pc) {
            local_apic_set_pin(&machine->vcpus[argument].apic, APIC_LINT1, true);
            local_apic_set_pin(&machine->vcpus[argument].apic, APIC_LINT1, false);
        } else if (argument < machine->vcpu_count)
            local_apic_signal(&machine->vcpus[argument].apic,
                              &(struct apic_message){.delivery = APIC_NMI, .assert = true});
        break;
    case VMM_COMMAND_SCREENSHOT:
        lock_take(&machine->lock);
        if (machine->pc && machine->start->picture_address)
            picture_take(&machine->pc->display->vga,
                         (struct vmm_picture *)machine->start->picture_address);
        lock_give(&machine->lock);
        break;
    case VMM_COMMAND_DIE: machine->die_at_reason = argument; break;
    default: task_print("command %lu is not known here\n", (uint64_t)from->command);
    }
    __atomic_store_n(&machine->status->command_done, sequence, __ATOMIC_RELEASE);
}

void machine_attend(struct machine *machine, uint64_t bits)
{
    if (bits & TASK_BIT_COMMAND)
        command(machine);
    if (bits & MACHINE_CHANNEL_BITS)
        machine_devices_attend(machine, bits);
}

static __attribute__((noinline)) uint64_t expire_timers(struct machine *machine, uint64_t now)
{
    uint64_t first = DEADLINE_NEVER;
    lock_take(&machine->lock);
    for (struct device_timer *timer = machine->timers; timer; timer = timer->next)
        if (timer->deadline_tsc <= now)
            timer->expired(timer);
    for (const struct device_timer *timer = machine->timers; timer; timer = timer->next)
        first = timer->deadline_tsc < first ? timer->deadline_tsc : first;
    __atomic_store_n(&machine->first_timer, first, __ATOMIC_RELAXED);
    lock_give(&machine->lock);
    return first;
}

/* Without the lock as long as none expires: who sets a timer while the first vCPU's thread looks kicks it. */
uint64_t machine_timers(struct machine *machine, uint64_t now)
{
    uint64_t first = __atomic_load_n(&machine->first_timer, __ATOMIC_RELAXED);
    return first > now ? first : expire_timers(machine, now);
}

/* ---- accesses -------------------------------------------------------------------------------------------------- */

/* Nobody takes this access. True: go on as if it had been nothing. */
static bool unknown(struct vcpu *vcpu, enum unknown_kind kind, uint64_t what, bool write)
{
    switch (unknown_note(&vcpu->machine->unknown, kind, what, write, vcpu->rip)) {
    case PLAN_UNKNOWN_IGNORE: return true;
    case PLAN_UNKNOWN_HALT:
        vcpu_stop_guest(vcpu, "it accessed what is not there, and its partition says "
                              "`unknown halt`");
        return true;
    case PLAN_UNKNOWN_INJECT: break;
    }
    return false;
}

bool machine_port_read(struct vcpu *vcpu, uint16_t port, unsigned size_bytes, uint32_t *value)
{
    uint64_t wide = UINT64_MAX;
    lock_take(&vcpu->machine->lock);
    bool good = bus_read(&vcpu->machine->ports, port, size_bytes, &wide) ||
                unknown(vcpu, UNKNOWN_PORT, port, false);
    lock_give(&vcpu->machine->lock);
    *value = (uint32_t)wide;
    return good;
}

bool machine_port_write(struct vcpu *vcpu, uint16_t port, unsigned size_bytes, uint32_t value)
{
    lock_take(&vcpu->machine->lock);
    bool good = bus_write(&vcpu->machine->ports, port, size_bytes, value) ||
                unknown(vcpu, UNKNOWN_PORT, port, true);
    lock_give(&vcpu->machine->lock);
    return good;
}

unsigned machine_port_read_string(struct vcpu *vcpu, uint16_t port, unsigned size_bytes, void *data,
                                  unsigned count)
{
    lock_take(&vcpu->machine->lock);
    unsigned done = bus_read_string(&vcpu->machine->ports, port, size_bytes, data, count);
    if (!done && unknown(vcpu, UNKNOWN_PORT, port, false)) {
        memset(data, 0xff, size_bytes * count);
        done = count;
    }
    lock_give(&vcpu->machine->lock);
    return done;
}

unsigned machine_port_write_string(struct vcpu *vcpu, uint16_t port, unsigned size_bytes,
                                   const void *data, unsigned count)
{
    lock_take(&vcpu->machine->lock);
    unsigned done = bus_write_string(&vcpu->machine->ports, port, size_bytes, data, count);
    if (!done && unknown(vcpu, UNKNOWN_PORT, port, true))
        done = count;
    lock_give(&vcpu->machine->lock);
    return done;
}

/* The local APIC's page, as this vCPU sees it. */
static bool is_local_apic(const struct vcpu *vcpu, gpa_t gpa)
{
    return gpa - (vcpu->apic.base_msr & APIC_BASE_ADDRESS) < LOCAL_APIC_BYTES;
}

bool machine_memory_read(struct vcpu *vcpu, gpa_t gpa, unsigned size_bytes, uint64_t *value)
{
    uint32_t word = 0;
    *value = UINT64_MAX;
    if (is_local_apic(vcpu, gpa) && size_bytes == 4 &&
        local_apic_read(&vcpu->apic, gpa & (LOCAL_APIC_BYTES - 1), &word, ticks())) {
        *value = word;
        return true;
    }
    lock_take(&vcpu->machine->lock);
    bool good = bus_read(&vcpu->machine->addresses, gpa, size_bytes, value) ||
                unknown(vcpu, UNKNOWN_ADDRESS, gpa, false);
    lock_give(&vcpu->machine->lock);
    return good;
}

bool machine_memory_write(struct vcpu *vcpu, gpa_t gpa, unsigned size_bytes, uint64_t value)
{
    if (is_local_apic(vcpu, gpa) && size_bytes == 4 &&
        local_apic_write(&vcpu->apic, gpa & (LOCAL_APIC_BYTES - 1), (uint32_t)value, ticks()))
        return true;
    lock_take(&vcpu->machine->lock);
    bool good =
        bus_write(&vcpu->machine->addresses, gpa, size_bytes, value) ||
        guest_memory_at(&vcpu->machine->memory, gpa, 1, false) || /* ROM keeps what it has */
        unknown(vcpu, UNKNOWN_ADDRESS, gpa, true);
    lock_give(&vcpu->machine->lock);
    return good;
}

/* ---- the world of instruction execution -------------------------------------------------------------------------- */

static struct vcpu *vcpu_of(struct execute_world *world)
{
    return CONTAINER(world, struct vcpu, world);
}

static void *world_ram(struct execute_world *world, uint64_t gpa, unsigned size_bytes, bool write)
{
    return guest_memory_at(&vcpu_of(world)->machine->memory, gpa, size_bytes, write);
}

static bool world_read(struct execute_world *world, uint64_t gpa, unsigned size_bytes,
                       uint64_t *value)
{
    void *ram = world_ram(world, gpa, size_bytes, false);
    if (!ram)
        return machine_memory_read(vcpu_of(world), gpa, size_bytes, value);
    *value = 0;
    memcpy(value, ram, size_bytes);
    return true;
}

static bool world_write(struct execute_world *world, uint64_t gpa, unsigned size_bytes,
                        uint64_t value)
{
    void *ram = world_ram(world, gpa, size_bytes, true);
    if (!ram)
        return machine_memory_write(vcpu_of(world), gpa, size_bytes, value);
    memcpy(ram, &value, size_bytes);
    return true;
}

static bool world_port_read(struct execute_world *world, uint16_t port, unsigned size_bytes,
                            uint32_t *value)
{
    return machine_port_read(vcpu_of(world), port, size_bytes, value);
}

static bool world_port_write(struct execute_world *world, uint16_t port, unsigned size_bytes,
                             uint32_t value)
{
    return machine_port_write(vcpu_of(world), port, size_bytes, value);
}

static bool world_control_read(struct execute_world *world, unsigned number, uint64_t *value)
{
    return control_read(vcpu_of(world), number, value);
}

static bool world_control_write(struct execute_world *world, unsigned number, uint64_t value)
{
    return control_write(vcpu_of(world), number, value);
}

static unsigned world_port_read_string(struct execute_world *world, uint16_t port,
                                       unsigned size_bytes, void *data, unsigned count)
{
    return machine_port_read_string(vcpu_of(world), port, size_bytes, data, count);
}

static unsigned world_port_write_string(struct execute_world *world, uint16_t port,
                                        unsigned size_bytes, const void *data, unsigned count)
{
    return machine_port_write_string(vcpu_of(world), port, size_bytes, data, count);
}

static void world_need(const struct execute_world *world, uint32_t groups)
{
    vcpu_need(CONTAINER(world, struct vcpu, world), groups);
}

static bool world_vectors(struct execute_world *world, bool back)
{
    return sys_control(vcpu_of(world)->slot, back ? CONTROL_VCPU_WRITE_FPU : CONTROL_VCPU_READ_FPU,
                       0, 0, 0, 0)
               .status == STATUS_OK;
}

static bool world_device_read(struct execute_world *world, uint64_t gpa, unsigned size_bytes,
                              uint64_t *value)
{
    return machine_memory_read(vcpu_of(world), gpa, size_bytes, value);
}

static bool world_device_write(struct execute_world *world, uint64_t gpa, unsigned size_bytes,
                               uint64_t value)
{
    return machine_memory_write(vcpu_of(world), gpa, size_bytes, value);
}

static uint32_t world_memory_changes(struct execute_world *world)
{
    return guest_memory_changes(&vcpu_of(world)->machine->memory);
}

static const struct execute_world world = {
    .need = world_need,
    .memory_read = world_read,
    .memory_write = world_write,
    .ram_at = world_ram,
    .port_read = world_port_read,
    .port_write = world_port_write,
    .port_read_string = world_port_read_string,
    .port_write_string = world_port_write_string,
    .vectors = world_vectors,
    .device_read = world_device_read,
    .device_write = world_device_write,
    .memory_changes = world_memory_changes,
    .control_read = world_control_read,
    .control_write = world_control_write,
};

/* ---- putting it together -------------------------------------------------------------------------------------------- */

static void init_vcpu(struct machine *machine, unsigned n, uint64_t tsc_offset)
{
    struct vcpu *vcpu = &machine->vcpus[n];
    struct cpuid_guest guest = {0};
    vcpu_init(vcpu, machine, n);
    vcpu->world = world;
    vcpu->world.state = vcpu->state;
    vcpu->world.physical_bits = cpuid_answer(&machine->cpuid, &guest, PHYSICAL_BITS, 0).eax & 0xff;
    local_apic_init(&vcpu->apic, n, &apic_operations, machine);
    vcpu->misc_enable = MISC_ENABLE;
    if (!bios_wanted(machine->start))
        mtrr_as_by_firmware(&vcpu->mtrr);
    vcpu->tsc_offset = tsc_offset;
    local_apic_set_tsc_offset(&vcpu->apic, tsc_offset, ticks());
}

void machine_know_processor(struct machine *machine, uint64_t xcr0_allowed, bool speculation)
{
    const struct cpuid_guest guest = {0};
    struct cpuid_policy *cpuid = &machine->cpuid;
    cpuid->xcr0_allowed = xcr0_allowed;
    cpuid->speculation = speculation;
    for (unsigned n = 0; n < machine->vcpu_count; n++) {
        struct execute_world *of = &machine->vcpus[n].world;
        of->features = cpuid_answer(cpuid, &guest, FEATURES, 0).ecx |
                       (uint64_t)cpuid_answer(cpuid, &guest, STRUCTURED, 0).ebx << 32;
        of->upper_offset = cpuid_answer(cpuid, &guest, XSAVE, XSAVE_UPPER).ebx;
        of->mask_offset = cpuid_answer(cpuid, &guest, XSAVE, XSAVE_MASKS).ebx;
        of->high_offset = cpuid_answer(cpuid, &guest, XSAVE, XSAVE_HIGH).ebx;
        of->pkru_offset = cpuid_answer(cpuid, &guest, XSAVE, XSAVE_PKRU).ebx;
        of->compacts = cpuid_answer(cpuid, &guest, XSAVE, 1).eax & XSAVE_COMPACTS;
    }
}

void machine_begin_x2apic(struct machine *machine)
{
    for (unsigned n = 0; n < machine->vcpu_count; n++) {
        struct local_apic *apic = &machine->vcpus[n].apic;
        local_apic_write_msr(apic, MSR_APIC_BASE, apic->base_msr | APIC_X2APIC, ticks());
    }
}

static bool shares_cpu(const struct machine *machine)
{
    uint64_t seen = 0;
    for (unsigned n = 0; n < machine->vcpu_count; n++) {
        uint64_t bit = 1ull << task->threads[n].cpu;
        if (seen & bit)
            return true;
        seen |= bit;
    }
    return false;
}

/* A Linux on a hardware-reduced machine without EFI reboots by a jump to the firmware in real mode. */
static void write_reset_vector(struct machine *machine)
{
    static const uint8_t code[] = {0xba,
                                   LAYOUT_PORT_RESET & 0xff,
                                   LAYOUT_PORT_RESET >> 8, /* mov dx */
                                   0xb0,
                                   LAYOUT_RESET_VALUE, /* mov al */
                                   0xee,               /* out */
                                   0xf4,
                                   0xeb,
                                   0xfd}; /* hlt, and again */
    memcpy(machine->memory.regions[0].host + LAYOUT_RESET_VECTOR, code, sizeof code);
}

/* What firmware would have left in memory, for a kernel that is booted directly. */
static bool write_tables(struct machine *machine, const struct acpi_machine *acpi)
{
    write_reset_vector(machine);
    return acpi_write(machine->memory.regions[0].host + LAYOUT_ACPI, LAYOUT_ACPI_BYTES, LAYOUT_ACPI,
                      acpi, NULL) &&
           (!machine->pc || pc_firmware_tables(machine));
}

/* What ACPI tells of the machine; its devices add to it. */
static struct acpi_machine describe(const struct machine *machine)
{
    const struct plan_partition *partition = &machine->start->partition;
    bool pc = partition->board == PLAN_BOARD_PC, uefi = partition->boot == PLAN_BOOT_UEFI;
    struct acpi_machine acpi = {
        .vcpu_count = machine->vcpu_count,
        .pc = pc,
        .second_uart = pc,
        .pm_base = uefi ? LAYOUT_PC_PM_BASE_UEFI : LAYOUT_PC_PM_BASE,
        .pci_hole = pc_firmware_hole(machine->memory.regions[0].size_bytes),
    };
    for (unsigned n = 0; n < partition->disk_count; n++)
        acpi.floppy |= partition->disks[n].kind == PLAN_DISK_FLOPPY;
    return acpi;
}

bool machine_init(struct machine *machine, const struct vmm_start *start, char *why,
                  size_t why_bytes)
{
    uint64_t tsc_offset = -ticks();
    struct acpi_machine acpi;
    machine->start = start;
    machine->status = (struct vmm_status *)start->status_address;
    machine->command = (const struct vmm_command *)start->command_address;
    machine->die_at_reason = EXIT_COUNT;
    machine->vcpu_count = start->partition.vcpu_count;
    machine->shares_cpu = shares_cpu(machine);
    machine->unknown.policy = (enum plan_unknown)start->partition.unknown;
    machine->cpuid = (struct cpuid_policy){.vcpu_count = machine->vcpu_count,
                                           .tsc_khz = task->tsc_khz,
                                           .host = cpuid_host,
                                           .mtrr = start->partition.board == PLAN_BOARD_PC};
    machine->host = (struct device_host){.ports = &machine->ports,
                                         .addresses = &machine->addresses,
                                         .memory = &machine->memory,
                                         .log = &task_log,
                                         .tsc_khz = task->tsc_khz,
                                         .now = ticks,
                                         .add_timer = add_timer,
                                         .hold = hold,
                                         .map = machine_memory_map,
                                         .show = machine_memory_show};
    if (!machine_memory_init(machine)) {
        print_buffer(why, why_bytes,
                     "its memory can't be mapped for it: use a larger pool=SIZE on the kernel's "
                     "command line");
        return false;
    }
    acpi = describe(machine);
    for (unsigned n = 0; n < machine->vcpu_count; n++)
        init_vcpu(machine, n, tsc_offset);
    if (!machine_devices_init(machine, &acpi) ||
        (!bios_wanted(start) && !write_tables(machine, &acpi))) {
        print_buffer(why, why_bytes,
                     "its devices do not fit together; this is an error of the VMM");
        return false;
    }
    return !bios_wanted(start) || bios_init(machine, &acpi, why, why_bytes);
}
