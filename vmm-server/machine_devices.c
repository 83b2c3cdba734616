/*
 * The devices of a machine: which there are, where they are, and what their far ends have to say.
 */
#include "machine.h"

#include "boot/bios.h"
#include "devices/virtio_packed.h"
#include "layout.h"
#include "message.h"
#include "pc/chips.h"
#include "pc/display.h"
#include "pc/pc.h"
#include "string.h"
#include "task.h"

/* How long a guest's start waits for the server of its disks: it may be starting too. */
#define VOLUME_WAIT_MS  10000u
#define VOLUME_LOOKS_MS 20u

/* ---- what is asked for on every PC and isn't here ---------------------------------------------------- */

static bool absent_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)device, (void)offset, (void)size_bytes;
    *value = UINT64_MAX;
    return true;
}

static bool absent_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    (void)device, (void)offset, (void)size_bytes, (void)value;
    return true;
}

static const struct bus_operations absent = {.read = absent_read, .write = absent_write};

static const struct bus_range absent_ports[] = {
    {0x20, 2, &absent, NULL, "first interrupt controller"},
    {0x40, 4, &absent, NULL, "interval timer"},
    {0x60, 1, &absent, NULL, "keyboard data"},
    {0x61, 1, &absent, NULL, "speaker and timer gate"},
    {0x64, 1, &absent, NULL, "keyboard status"},
    {0x80, 1, &absent, NULL, "diagnostics, written to as a delay"},
    {0xa0, 2, &absent, NULL, "second interrupt controller"},
    {0x2f8, 8, &absent, NULL, "second serial port"},
};

/* Looked for on every PC, and on no board. */
static const struct bus_range absent_everywhere[] = {
    {0x278, 8, &absent, NULL, "second parallel port"},
    {0x2e8, 8, &absent, NULL, "fourth serial port"},
    {0x3e8, 8, &absent, NULL, "third serial port"},
};

/* A clock that reads as ones is one that is being updated, for ever; firmware waits for its end. The index reads as
 * ones: with NMIs off, so that firmware need not switch them off on each of its ways into 32-bit mode. */
static bool stopped_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)device, (void)size_bytes;
    *value = offset == 0 ? 0xff : 0;
    return true;
}

static const struct bus_operations stopped = {.read = stopped_read, .write = absent_write};

static const struct bus_range absent_clock = {0x70, 2, &absent, NULL, "clock and CMOS"};
static const struct bus_range stopped_clock = {0x70, 2, &stopped, NULL, "clock and CMOS"};

/* What firmware looks for besides. */
static const struct bus_range absent_to_firmware[] = {
    {0x00, 0x10, &absent, NULL, "first DMA controller"},
    {0x92, 1, &absent, NULL, "A20 gate"},
    {0xc0, 0x20, &absent, NULL, "second DMA controller"},
    {0x170, 8, &absent, NULL, "second IDE channel"},
    {0x1f0, 8, &absent, NULL, "first IDE channel"},
    {0x376, 1, &absent, NULL, "second IDE channel's control"},
    {0x378, 8, &absent, NULL, "first parallel port"},
    {0x3b0, 0x30, &absent, NULL, "display"},
    {0x3f0, 8, &absent, NULL, "floppy controller"},
    {0x402, 1, &absent, NULL, "debug output"},
};

/* Where there is no UART. */
static const struct bus_range absent_uart = {LAYOUT_PORT_UART, 8, &absent, NULL,
                                             "first serial port"};

/* ---- what the guest says by devices ------------------------------------------------------------------ */

static void guest_powers_off(struct firmware_ports *ports)
{
    task_print("the guest has powered off\n");
    machine_end(ports->machine, ROOT_GUEST_POWER_OFF);
}

static void guest_resets(struct firmware_ports *ports, bool hard)
{
    struct machine *machine = ports->machine;
    if (!hard && machine->pc && chips_reset_processors(machine))
        return;
    task_print("the guest reboots\n");
    machine_end(machine, ROOT_GUEST_REBOOT);
}

static void guest_panicked(struct pvpanic *pvpanic)
{
    task_print("the guest says that it panicked: its console shows why\n");
    machine_end(pvpanic->machine, ROOT_GUEST_PANIC);
}

/* ---- far ends ------------------------------------------------------------------------------------------ */

static void attend_console(struct machine *machine)
{
    if (machine->start->partition.console == PLAN_CONSOLE_UART) {
        uart_input(&machine->uart);
        uart_room(&machine->uart);
    } else if (machine->start->partition.console == PLAN_CONSOLE_VGA) {
        display_attend(machine->pc->display);
    } else {
        virtio_console_input(&machine->virtio_console);
        virtio_console_room(&machine->virtio_console);
    }
}

void machine_devices_attend(struct machine *machine, uint64_t bits)
{
    lock_take(&machine->lock);
    if (machine->console.open && bits & TASK_BIT_CHANNEL(machine->console.channel))
        attend_console(machine);
    for (unsigned n = 0; n < machine->disk_count; n++)
        if (bits & TASK_BIT_CHANNEL(machine->disks[n]->disk.peer.number))
            virtio_block_attend(machine->disks[n]);
    if (machine->pc)
        storage_attend(machine, bits);
    for (unsigned n = 0; n < machine->card_count; n++)
        if (bits & TASK_BIT_CHANNEL(machine->cards[n]->peer.number))
            virtio_net_attend(machine->cards[n]);
    lock_give(&machine->lock);
}

/* The n-th channel of a kind; false: root has made fewer. */
static bool find_peer(const struct machine *machine, enum task_channel_kind kind, unsigned n,
                      struct device_peer *peer)
{
    for (unsigned channel = 0; channel < task->channel_count; channel++) {
        if (task->channels[channel].kind != kind || n-- != 0)
            continue;
        *peer = (struct device_peer){(void *)task->channels[channel].address,
                                     (uint8_t *)machine->start->memory_address, channel,
                                     task_channel_ring};
        return true;
    }
    return false;
}

/* ---- putting them together ------------------------------------------------------------------------------- */

static bool init_uart(struct machine *machine, struct acpi_machine *acpi)
{
    uart_init(&machine->uart, &machine->console.backend,
              ioapic_input(&machine->ioapic, LAYOUT_LINE_UART));
    acpi->uart = true;
    return uart_attach(&machine->uart, &machine->ports, LAYOUT_PORT_UART);
}

static bool offer_packed(struct virtio_device *device)
{
    struct virtio_packed *packed =
        task_allocate(device->queue_count * sizeof *packed, _Alignof(struct virtio_packed));
    if (packed)
        virtio_offer_packed(device, packed);
    return packed;
}

/* rom: of a `pc`, or NULL. */
static bool attach_virtio(struct machine *machine, struct acpi_machine *acpi,
                          struct virtio_device *device, const struct vmm_file *rom)
{
    if (machine->start->partition.rings == PLAN_RINGS_PACKED && !offer_packed(device))
        return false;
    if (machine->pc)
        return pc_pci_add_virtio(machine, device, rom);
    uint64_t address = LAYOUT_VIRTIO + acpi->virtio_count++ * LAYOUT_VIRTIO_PITCH;
    uint8_t *page = task_allocate(SEPTUM_PAGE_SIZE, SEPTUM_PAGE_SIZE);
    if (!page || !virtio_mmio_attach(device, &machine->addresses, address))
        return false;
    virtio_mmio_show(device, address, page);
    return true;
}

/* NULL: there is no memory for it. */
static struct interrupt_line *virtio_line(struct machine *machine, const struct acpi_machine *acpi)
{
    if (machine->pc)
        return pc_pci_virtio_line();
    return ioapic_input(&machine->ioapic, LAYOUT_LINE_VIRTIO + acpi->virtio_count);
}

static bool init_virtio_console(struct machine *machine, struct acpi_machine *acpi)
{
    virtio_console_init(&machine->virtio_console, &machine->host, &machine->console.backend,
                        virtio_line(machine, acpi));
    return attach_virtio(machine, acpi, &machine->virtio_console.device, NULL);
}

static bool init_random(struct machine *machine, struct acpi_machine *acpi)
{
    uint8_t seed[CHACHA_KEY_BYTES];
    chacha_gather(seed);
    virtio_random_init(&machine->random, &machine->host, seed, virtio_line(machine, acpi));
    memset(seed, 0, sizeof seed);
    return attach_virtio(machine, acpi, &machine->random.device, NULL);
}

/* The volume is there when it has a generation. What rings meanwhile is kept for later. */
static void await_volume(struct machine *machine, const struct device_peer *peer, unsigned n)
{
    const struct block_volume *volume =
        (const void *)((const char *)peer->channel + BLOCK_VOLUME_OFFSET);
    uint64_t end = ticks() + VOLUME_WAIT_MS * task->tsc_khz;
    while (!__atomic_load_n(&volume->generation, __ATOMIC_ACQUIRE)) {
        uint64_t now = ticks();
        if (now >= end) {
            task_print(
                "disk %u: the block server has not shown its volume in %u seconds: the guest "
                "finds an empty disk until it does; the block server's log says why\n",
                n, VOLUME_WAIT_MS / 1000);
            return;
        }
        struct message message =
            message_wait(TASK_SLOT_NOTIFICATION, now + VOLUME_LOOKS_MS * task->tsc_khz);
        if (message.status == STATUS_OK)
            machine->early_bits |= message.w[0];
    }
}

bool machine_disk_peer(struct machine *machine, unsigned n, struct device_peer *peer)
{
    if (!find_peer(machine, TASK_CHANNEL_BLOCK, n, peer))
        return false;
    await_volume(machine, peer, n);
    return true;
}

static bool init_disk(struct machine *machine, struct acpi_machine *acpi, unsigned n)
{
    struct device_peer peer;
    struct virtio_block *disk = task_allocate(sizeof *disk, _Alignof(struct virtio_block));
    if (!disk || !machine_disk_peer(machine, n, &peer))
        return false;
    unsigned queues =
        machine->vcpu_count < VIRTIO_QUEUES_MAX ? machine->vcpu_count : VIRTIO_QUEUES_MAX;
    virtio_block_init(disk, &machine->host, &peer, queues, virtio_line(machine, acpi));
    machine->disk_places[n] = machine->pc
                                  ? machine->pc->pci.next_slot
                                  : LAYOUT_VIRTIO + acpi->virtio_count * LAYOUT_VIRTIO_PITCH;
    machine->disks[machine->disk_count++] = disk;
    return attach_virtio(machine, acpi, &disk->device, NULL);
}

/* Its link comes up when the server is there: nothing waits for it. */
static bool init_card(struct machine *machine, struct acpi_machine *acpi, unsigned n)
{
    struct device_peer peer;
    struct virtio_net *card = task_allocate(sizeof *card, _Alignof(struct virtio_net));
    const struct vmm_file *rom = &machine->start->card_roms[n];
    if (!card || !find_peer(machine, TASK_CHANNEL_NETWORK, n, &peer))
        return false;
    unsigned pairs =
        machine->vcpu_count < VIRTIO_NET_PAIRS_MAX ? machine->vcpu_count : VIRTIO_NET_PAIRS_MAX;
    virtio_net_init(card, &machine->host, &peer, machine->start->partition.cards[n].mac, pairs,
                    virtio_line(machine, acpi));
    if (machine->pc)
        machine->card_slots[n] = machine->pc->pci.next_slot;
    machine->cards[machine->card_count++] = card;
    return attach_virtio(machine, acpi, &card->device, rom->size_bytes ? rom : NULL);
}

bool machine_devices_init(struct machine *machine, struct acpi_machine *acpi)
{
    const struct plan_partition *partition = &machine->start->partition;
    bool good = true;
    ioapic_init(&machine->ioapic, machine_ioapic_sends, machine);
    good &= ioapic_attach(&machine->ioapic, &machine->addresses, IOAPIC_ADDRESS);
    machine->firmware_ports =
        (struct firmware_ports){guest_powers_off, guest_resets, machine, LAYOUT_SLEEP_TYPE};
    good &= firmware_ports_attach(&machine->firmware_ports, &machine->ports,
                                  LAYOUT_PORT_SLEEP_CONTROL, LAYOUT_PORT_RESET);
    machine->pvpanic = (struct pvpanic){guest_panicked, machine};
    good &= pvpanic_attach(&machine->pvpanic, &machine->ports, LAYOUT_PORT_PVPANIC);
    console_init(&machine->console);
    if (partition->console == PLAN_CONSOLE_UART)
        good &= init_uart(machine, acpi);
    else
        good &= bus_add(&machine->ports, &absent_uart);
    for (unsigned i = 0; i < sizeof absent_everywhere / sizeof *absent_everywhere; i++)
        good &= bus_add(&machine->ports, &absent_everywhere[i]);
    if (partition->board == PLAN_BOARD_PC && !pc_init(machine, acpi))
        return false;
    if (partition->console == PLAN_CONSOLE_VIRTIO)
        good &= init_virtio_console(machine, acpi);
    if (partition->random)
        good &= init_random(machine, acpi);
    for (unsigned n = 0; n < partition->disk_count; n++)
        if (partition->disks[n].kind == PLAN_DISK_HARD &&
            partition->disks[n].wiring == PLAN_WIRING_VIRTIO)
            good &= init_disk(machine, acpi, n);
    for (unsigned n = 0; n < partition->card_count; n++)
        good &= init_card(machine, acpi, n);
    if (machine->pc) {
        pc_pci_set_up(machine);
        return good;
    }
    for (unsigned i = 0; i < sizeof absent_ports / sizeof *absent_ports; i++)
        good &= bus_add(&machine->ports, &absent_ports[i]);
    if (!bios_wanted(machine->start))
        return good && bus_add(&machine->ports, &absent_clock);
    for (unsigned i = 0; i < sizeof absent_to_firmware / sizeof *absent_to_firmware; i++)
        good &= bus_add(&machine->ports, &absent_to_firmware[i]);
    return good && bus_add(&machine->ports, &stopped_clock);
}
