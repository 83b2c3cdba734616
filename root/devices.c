/*
 * Devices: which there are drivers for, what of them a server gets, how they interrupt, and how they are stopped.
 *
 * Without an IOMMU (confine.c) a device that may reach memory reaches all of it: who drives one is trusted by all
 * partitions. So the switch for that is root's. When a server has died, its devices are cut off first, and then reset: a transfer that
 * an emulator or a controller has begun goes on until then.
 */
#include "devices.h"

#include "message.h"
#include "port.h"
#include "thread.h"

#define FUNCTIONS_MAX 64u
#define BAR_BYTES_MAX (16ull << 20)
#define ISA_LINES     16u
#define NO_LINE       UINT32_MAX
#define RESET_MS      1000u
#define NATIVE_CHANNEL \
    5u /* programming interface of an IDE controller: either channel has BARs of its own */

enum { IDE_COMMAND_1 = 0x1f0, IDE_CONTROL_1 = 0x3f6, IDE_COMMAND_2 = 0x170, IDE_CONTROL_2 = 0x376 };
enum { IDE_LINE_1 = 14, IDE_LINE_2 = 15 };
enum { VIRTIO_COMMON, VIRTIO_NOTIFY, VIRTIO_ISR, VIRTIO_DEVICE };

static bool reset_virtio(const struct device *device);
static bool reset_ide(const struct device *device);
static bool reset_ahci(const struct device *device);
static bool reset_e1000(const struct device *device);

static const struct device_kind {
    const char *name;
    enum plan_device server;
    uint16_t vendor, devices[2]; /* vendor 0: told by its class */
    uint32_t class_code;         /* base class and subclass */
    unsigned bars; /* mask of those that a driver needs; 0: those of the virtio parts */
    bool (*reset)(const struct device *device);
} kinds[] = {
    {"virtio-blk", PLAN_DEVICE_DISKS, 0x1af4, {0x1042, 0x1001}, 0, 0, reset_virtio},
    {"IDE", PLAN_DEVICE_DISKS, 0, {0}, 0x0101, 1 << 4, reset_ide},
    {"AHCI", PLAN_DEVICE_DISKS, 0, {0}, 0x0106, 1 << 5, reset_ahci},
    {"virtio-net", PLAN_DEVICE_NETWORKS, 0x1af4, {0x1041, 0x1000}, 0, 0, reset_virtio},
    {"e1000", PLAN_DEVICE_NETWORKS, 0x8086, {0x100e}, 0, 1 << 0, reset_e1000},
};

/* How it interrupts, by enum device_interrupt. */
static const char *const how[] = {", by its interrupt line", ", by MSI", ", by MSI-X"};

/* ---- words --------------------------------------------------------------------------------------------- */

/* "IDE at 00:01.1" */
static const char *place_of(const struct device *device)
{
    static char text[40];
    uint32_t at = device->function.location;
    print_buffer(text, sizeof text, "%s at %02x:%02x.%u", device->kind->name, at >> 8, at >> 3 & 31,
                 at & 7);
    return text;
}

static void say_device(const char *server, const struct device *device, const char *what)
{
    say("%s: %s%s\n", server, place_of(device), what);
}

void device_show(struct sink *sink, const struct device *device)
{
    print(sink, "  device       %s%s\n", place_of(device), how[device->grant.interrupt]);
}

static bool refuse(const char *server, const struct device *device, const char *why)
{
    say_device(server, device, why);
    return false;
}

/* ---- what the server gets --------------------------------------------------------------------------------- */

static bool is_ide(const struct device *device)
{
    return device->kind->reset == reset_ide;
}

static bool is_virtio(const struct device *device)
{
    return device->kind->reset == reset_virtio;
}

/* All of it is device memory: none of RAM, of the kernel's or of the firmware's. */
static bool is_device_memory(const struct pci_bar *bar)
{
    for (uint32_t i = 0; i < boot->memory_range_count; i++) {
        const struct boot_memory_range *range = &boot->memory[i];
        if (range->type == BOOT_MEMORY_DEVICE && bar->base >= range->base &&
            bar->base - range->base <= range->size_bytes &&
            bar->size_bytes <= range->size_bytes - (bar->base - range->base))
            return true;
    }
    return false;
}

static const char *bar_problem(const struct pci_bar *bar)
{
    if (bar->is_port)
        return NULL;
    if (bar->base % SEPTUM_PAGE_SIZE || bar->size_bytes % SEPTUM_PAGE_SIZE)
        return " is refused: its registers share a page with something else";
    if (bar->size_bytes > BAR_BYTES_MAX)
        return " is refused: it has more than 16 MiB of registers";
    if (!is_device_memory(bar))
        return " is refused: its registers lie over memory";
    if (memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, (uint64_t)direct(bar->base), bar->base,
                      bar->size_bytes / SEPTUM_PAGE_SIZE, MAP_READ | MAP_WRITE) != STATUS_OK)
        return " is refused: its registers lie over another device's";
    return NULL;
}

/* Which BARs a driver of a virtio device needs; 0: it has not all that it must have. */
static unsigned virtio_bars(struct device *device)
{
    struct pci_virtio_part parts[PCI_VIRTIO_KINDS];
    unsigned mask = 0;
    pci_virtio_parts(&pci_ports, device->function.location, device->bars, parts);
    for (unsigned i = VIRTIO_COMMON; i <= VIRTIO_DEVICE; i++) {
        if (!parts[i].size_bytes)
            return 0;
        mask |= 1u << parts[i].bar;
        device->grant.virtio[i] = (struct device_virtio_part){
            parts[i].bar, parts[i].offset, parts[i].size_bytes, parts[i].notify_multiplier};
    }
    return mask;
}

/* The two channels as they have always been; or where the BARs have them, and the control register in its four. */
static void ide_ports(struct device *device)
{
    enum { CONTROL = 2 };
    static const struct {
        uint16_t first, count;
    } ports[] = {{IDE_COMMAND_1, 8}, {IDE_CONTROL_1, 1}, {IDE_COMMAND_2, 8}, {IDE_CONTROL_2, 1}};
    for (unsigned n = 0; n < 4; n++)
        if (!(device->function.class_code & NATIVE_CHANNEL))
            device->bars[n] = (struct pci_bar){ports[n].first, ports[n].count, true};
        else if (ports[n].count == 1)
            device->bars[n] = (struct pci_bar){device->bars[n].base + CONTROL, 1, true};
}

/* Leaves in device->bars what the server is to have. NULL, or why not. */
static const char *choose_bars(struct device *device, struct pci_bar all[PCI_BARS])
{
    unsigned mask = device->kind->bars;
    pci_bars(&pci_ports, device->function.location, all);
    for (unsigned n = 0; n < PCI_BARS; n++)
        device->bars[n] = all[n];
    if (is_virtio(device) && !(mask = virtio_bars(device)))
        return " is refused: it is no modern virtio device (QEMU: disable-legacy=on)";
    if (is_ide(device) && device->function.class_code & NATIVE_CHANNEL)
        mask |= 15;
    for (unsigned n = 0; n < PCI_BARS; n++) {
        const char *problem = NULL;
        if (!(mask >> n & 1))
            device->bars[n].size_bytes = 0;
        else if (device->bars[n].size_bytes)
            problem = bar_problem(&device->bars[n]);
        else
            problem = " is refused: the firmware gave its registers no place";
        if (problem)
            return problem;
    }
    if (is_ide(device))
        ide_ports(device);
    return NULL;
}

/* ---- interrupts --------------------------------------------------------------------------------------------- */

/* The number of a new interrupt of the set, or of the one that has this line already; -1: there is none to be had. line
 * NO_LINE: by messages of the device at `location`. */
static int make_interrupt(struct device_set *set, uint32_t line, uint32_t location, unsigned mode,
                          cap_slot_t notification, unsigned cpu)
{
    unsigned n = 0;
    while (n < set->interrupt_count && (line == NO_LINE || set->interrupts[n].line != line))
        n++;
    if (n < set->interrupt_count)
        return (int)n;
    cap_slot_t slot = n < DEVICE_INTERRUPTS ? slot_take() : 0;
    if (!slot)
        return -1;
    if (sys_create(slot, OBJECT_INTERRUPT, BOOT_SLOT_TASK,
                   line == NO_LINE ? INTERRUPT_MSI_OF(location) : line, cpu, 0) != STATUS_OK) {
        slot_give(slot);
        return -1;
    }
    sys_control(slot, CONTROL_INTERRUPT_BIND, notification, TASK_BIT_INTERRUPT(n), mode, 0);
    set->interrupts[n].slot = slot;
    set->interrupts[n].line = line;
    set->interrupt_count++;
    return (int)n;
}

/* The message of an interrupt that is one. */
static int make_message(struct device_set *set, struct device *device, cap_slot_t notification,
                        unsigned cpu)
{
    int n = make_interrupt(set, NO_LINE, device->function.location, 0, notification, cpu);
    if (n < 0)
        return n;
    struct message m = sys_control(set->interrupts[n].slot, CONTROL_INTERRUPT_MSI_INFO, 0, 0, 0, 0);
    device->msi_address = m.w[0];
    device->msi_data = m.w[1];
    return n;
}

/*
 * MSI-X where the table is out of the server's reach; else MSI; else the line that the firmware has routed to the
 * interrupt controller of old, whose lines are the first of the IOAPIC (all PCs; active high there).
 */
static int choose_interrupt(struct device_set *set, struct device *device,
                            const struct pci_bar all[PCI_BARS], cap_slot_t notification,
                            unsigned cpu)
{
    uint32_t location = device->function.location, line = device->function.interrupt_line;
    unsigned msix = pci_capability(&pci_ports, location, PCI_CAPABILITY_MSIX, 0);
    struct pci_msix table;
    if (is_ide(device) && !(device->function.class_code & NATIVE_CHANNEL)) {
        int first = make_interrupt(set, IDE_LINE_1, location, 0, notification, cpu);
        return first >= 0 && make_interrupt(set, IDE_LINE_2, location, 0, notification, cpu) == first + 1
                   ? first
                   : -1;
    }
    if (is_virtio(device) && msix && pci_msix_table(&pci_ports, location, msix, all, &table) &&
        !device->bars[table.bar].size_bytes && !bar_problem(&all[table.bar])) {
        device->msi_capability = msix;
        device->msix_table =
            (volatile uint32_t *)((char *)direct(all[table.bar].base) + table.offset);
        device->grant.interrupt = DEVICE_INTERRUPT_MSIX;
        return make_message(set, device, notification, cpu);
    }
    device->msi_capability = pci_capability(&pci_ports, location, PCI_CAPABILITY_MSI, 0);
    device->grant.interrupt = device->msi_capability ? DEVICE_INTERRUPT_MSI : DEVICE_INTERRUPT_LINE;
    if (device->msi_capability)
        return make_message(set, device, notification, cpu);
    return device->function.interrupt_pin && line && line < ISA_LINES
               ? make_interrupt(set, line, location, INTERRUPT_LEVEL, notification, cpu)
               : -1;
}

static volatile void *registers(const struct device *device, unsigned bar, uint64_t offset)
{
    return (char *)direct(device->bars[bar].base) + offset;
}

/* ---- finding ---------------------------------------------------------------------------------------------- */

static const struct device_kind *kind_of(const struct pci_function *function)
{
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct device_kind *kind = &kinds[i];
        if (kind->vendor
                ? function->vendor == kind->vendor &&
                      (function->device == kind->devices[0] || function->device == kind->devices[1])
                : function->class_code >> 8 == kind->class_code)
            return kind;
    }
    return NULL;
}

static bool take(struct device_set *set, const struct pci_function *function,
                 const struct device_kind *kind, const char *server, cap_slot_t notification,
                 unsigned cpu)
{
    struct pci_bar all[PCI_BARS];
    struct device *device, nobodys = {.kind = kind, .function = *function};
    if (set->count == DEVICES_MAX)
        return refuse(server, &nobodys, " is left alone: it has as many as it can drive");
    device = &set->devices[set->count];
    *device = nobodys;
    const char *problem = choose_bars(device, all);
    if (problem)
        return refuse(server, device, problem);
    device->confined = confine_can(
        device, is_virtio(device) ? registers(device, device->grant.virtio[VIRTIO_COMMON].bar,
                                              device->grant.virtio[VIRTIO_COMMON].offset_bytes)
                                  : NULL);
    int interrupt = choose_interrupt(set, device, all, notification, cpu);
    if (interrupt < 0)
        return refuse(server, device, " is refused: there is no interrupt for it");
    struct device_grant *grant = &device->grant;
    grant->vendor = function->vendor;
    grant->device = function->device;
    grant->subsystem_vendor = function->subsystem_vendor;
    grant->subsystem = function->subsystem;
    grant->class_code = function->class_code;
    grant->location = function->location;
    grant->interrupt_number = (uint32_t)interrupt;
    say_device(server, device, how[grant->interrupt]);
    set->count++;
    return true;
}

void devices_find(struct device_set *set, enum plan_device what, const char *server,
                  cap_slot_t notification, unsigned cpu)
{
    static struct pci_function functions[FUNCTIONS_MAX];
    static unsigned count;
    if (count == 0)
        count = pci_scan(&pci_ports, functions, FUNCTIONS_MAX);
    if (count > FUNCTIONS_MAX)
        say("root: only %u of %u PCI functions were looked at\n", FUNCTIONS_MAX, count);
    for (unsigned i = 0; i < count && i < FUNCTIONS_MAX; i++) {
        const struct device_kind *kind = kind_of(&functions[i]);
        if (kind && kind->server == what)
            take(set, &functions[i], kind, server, notification, cpu);
    }
}

/* ---- giving ------------------------------------------------------------------------------------------------- */

void devices_give(const struct device_set *set, struct resident *task, struct device_grant *grants)
{
    for (unsigned i = 0; i < set->count; i++) {
        const struct device *device = &set->devices[i];
        grants[i] = device->grant;
        for (unsigned n = 0; n < PCI_BARS; n++) {
            const struct pci_bar *bar = &device->bars[n];
            struct device_bar *told = &grants[i].bars[n];
            told->size_bytes = bar->size_bytes;
            if (bar->size_bytes && bar->is_port) {
                told->port = (uint32_t)bar->base;
                task_add_ports(task, told->port, (unsigned)bar->size_bytes);
            } else if (bar->size_bytes) {
                told->address =
                    task_add_device(task, bar->base, bar->size_bytes / SEPTUM_PAGE_SIZE);
            }
        }
    }
    for (unsigned n = 0; n < set->interrupt_count; n++)
        task_add_capability(task, TASK_SLOT_INTERRUPT + n, set->interrupts[n].slot, RIGHT_CONTROL,
                            0);
}

bool devices_have_ports(const struct device_set *set, uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < set->count; i++)
        for (unsigned n = 0; n < PCI_BARS; n++) {
            const struct pci_bar *bar = &set->devices[i].bars[n];
            if (bar->is_port && bar->size_bytes && first >= bar->base &&
                last < bar->base + bar->size_bytes)
                return true;
        }
    return false;
}

/* ---- stop and go -------------------------------------------------------------------------------------------- */

/* Another millisecond of the time that a reset may take; false: it is over. */
static bool patience(unsigned *waited)
{
    sleep_until(ticks() + milliseconds(1));
    return ++*waited < RESET_MS;
}

static bool becomes_clear(const volatile uint32_t *at, uint32_t bits)
{
    for (unsigned waited = 0; *at & bits;)
        if (!patience(&waited))
            return false;
    return true;
}

/* VIRTIO 1.2, 4.1.4.3.1: writing 0 to device_status resets; done when it reads 0. */
static bool reset_virtio(const struct device *device)
{
    enum { STATUS = 0x14 };
    const struct device_virtio_part *common = &device->grant.virtio[VIRTIO_COMMON];
    volatile uint8_t *status = registers(device, common->bar, common->offset_bytes + STATUS);
    *status = 0;
    for (unsigned waited = 0; *status;)
        if (!patience(&waited))
            return false;
    return true;
}

/* Programming Interface for Bus Master IDE Controller, 1.0: clearing bit 0 of a channel's command register ends its
 * transfer. */
static bool reset_ide(const struct device *device)
{
    const struct pci_bar *bar = &device->bars[4];
    port_write8((uint16_t)bar->base, 0);
    port_write8((uint16_t)(bar->base + 8), 0);
    return true;
}

/* AHCI 1.3.1, 10.4.3: GHC.HR resets the controller and clears itself. */
static bool reset_ahci(const struct device *device)
{
    volatile uint32_t *control = registers(device, 5, 4);
    *control |= 1;
    return becomes_clear(control, 1);
}

/* 8254x manual, 13.4.1: CTRL.RST resets all but PCI configuration and clears itself. */
static bool reset_e1000(const struct device *device)
{
    volatile uint32_t *control = registers(device, 0, 0);
    *control |= 1u << 26;
    return becomes_clear(control, 1u << 26);
}

void devices_stop(struct device_set *set)
{
    for (unsigned i = 0; i < set->count; i++)
        pci_command(&pci_ports, set->devices[i].function.location, 0, PCI_MASTER);
    for (unsigned i = 0; i < set->count; i++) {
        struct device *device = &set->devices[i];
        pci_interrupts_off(&pci_ports, device->function.location);
        pci_command(&pci_ports, device->function.location, PCI_DECODES_MEMORY | PCI_DECODES_PORTS,
                    0);
        if (!device->kind->reset(device))
            say_device("root", device, " does not finish its reset");
    }
    confine_unbind(set);
}

bool devices_are_trusted(const struct device_set *set)
{
    for (unsigned i = 0; i < set->count; i++)
        if (!set->devices[i].confined)
            return true;
    return false;
}

static void let_interrupt(const struct device *device)
{
    uint32_t location = device->function.location;
    if (device->msix_table) {
        pci_msix_enable(&pci_ports, location, device->msi_capability, true);
        pci_msix_entry(device->msix_table, 0, device->msi_address, (uint32_t)device->msi_data);
    } else if (device->msi_capability) {
        pci_msi_set(&pci_ports, location, device->msi_capability, device->msi_address,
                    (uint32_t)device->msi_data);
    } else {
        pci_command(&pci_ports, location, 0, PCI_NO_LINE);
    }
}

void devices_go(struct device_set *set, struct resident *task)
{
    devices_stop(set);
    confine_bind(set, task);
    for (unsigned i = 0; i < set->count; i++) {
        let_interrupt(&set->devices[i]);
        pci_command(&pci_ports, set->devices[i].function.location, PCI_MASTER, 0);
    }
    /* A line that the server before has not acknowledged is masked. */
    for (unsigned n = 0; n < set->interrupt_count; n++)
        sys_control(set->interrupts[n].slot, CONTROL_INTERRUPT_ACK, 0, 0, 0, 0);
}
