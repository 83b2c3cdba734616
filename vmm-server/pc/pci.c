#include "pc/pci.h"

#include "boot/bios.h"
#include "devices/virtio_pci.h"
#include "layout.h"
#include "machine.h"
#include "pc/pc.h"
#include "pc/rom.h"
#include "task.h"

#include <stddef.h>

/* Where this machine's own set-up puts ranges. */
#define PORTS_BASE                       0xc000u
#define MEMORY_BASE                      LAYOUT_PC_LOW_END
#define MEMORY_END                       0xfec00000u
#define PAGE_BYTES                       0x1000u

#define PORT_ELCR                        0x4d0u

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static void sends(struct pci_bus *bus, const struct pci_message *message)
{
    machine_message(CONTAINER(bus->host, struct machine, host), message->address, message->data);
}

bool pc_pci_init(struct machine *machine)
{
    struct pc_pci *pci = &machine->pc->pci;
    pci_bus_init(&pci->bus, &machine->host);
    pci->bus.send = sends;
    pci->next_slot = PC_PCI_SLOT_FREE;
    pci->piix3.machine = machine;
    for (unsigned irq = 0; irq < PIIX3_ISA_LINES; irq++)
        pci->piix3.lines[irq] = isa_line(&machine->pc->lines, irq);
    return pci_bus_attach(&pci->bus, &machine->ports) &&
           i440fx_init(&pci->host_bridge, &pci->bus) && piix3_init(&pci->piix3, &pci->bus);
}

/* ---- virtio ---------------------------------------------------------------------------------------------- */

struct interrupt_line *pc_pci_virtio_line(void)
{
    struct virtio_pci *virtio = task_allocate(sizeof *virtio, _Alignof(struct virtio_pci));
    return virtio ? virtio_pci_line(virtio) : NULL;
}

bool pc_pci_add_virtio(struct machine *machine, struct virtio_device *device,
                       const struct vmm_file *rom)
{
    const struct pci_bar bar = rom ? pc_rom_bar(rom, "expansion ROM") : (struct pci_bar){0};
    struct virtio_pci *virtio = CONTAINER(device->line, struct virtio_pci, function.intx);
    struct pc_pci *pci = &machine->pc->pci;
    return device->line &&
           virtio_pci_attach(virtio, device, &pci->bus, pci->next_slot++, rom ? &bar : NULL);
}

/* ---- what firmware does -------------------------------------------------------------------------------------- */

/* The next place for a range of that size, which is a power of two; 0: none. */
static uint32_t take(uint64_t *next, uint64_t size_bytes, uint64_t end)
{
    uint64_t place = (*next + size_bytes - 1) & ~(size_bytes - 1);
    if (place >= end || size_bytes > end - place)
        return 0;
    *next = place + size_bytes;
    return (uint32_t)place;
}

static void set_up_function(struct pc_pci *pci, struct pci_function *function, uint64_t *ports,
                            uint64_t *memory)
{
    unsigned pin = function->config[PCI_INTERRUPT_PIN];
    for (unsigned number = 0; number <= PCI_ROM; number++) {
        const struct pci_bar *bar = &function->bars[number];
        unsigned offset = number == PCI_ROM ? PCI_ROM_BAR : PCI_BAR_0 + 4 * number;
        uint64_t size_bytes = bar->size_bytes < PAGE_BYTES ? PAGE_BYTES : bar->size_bytes;
        if (bar->kind == PCI_BAR_PORTS)
            pci_function_write(function, offset, 4, take(ports, bar->size_bytes, UINT16_MAX));
        else if (bar->kind != PCI_BAR_NONE)
            pci_function_write(function, offset, 4, take(memory, size_bytes, MEMORY_END));
    }
    if (pin && function->slot != PIIX3_SLOT)
        pci_function_write(function, PCI_INTERRUPT_LINE, 1,
                           piix3_line_of(&pci->piix3, piix3_pirq_of(function->slot, pin - 1)));
    pci_function_write(function, PCI_COMMAND, 2, PCI_COMMAND_PORTS | PCI_COMMAND_MEMORY);
}

/* The lines of the PIRQs are level-triggered: the 8259s must know. */
static void set_triggers(struct machine *machine)
{
    const struct piix3 *piix3 = &machine->pc->pci.piix3;
    uint32_t level = 1u << PIIX3_SCI;
    for (unsigned pirq = 0; pirq < PIIX3_PIRQS; pirq++)
        level |= 1u << piix3_line_of(piix3, pirq);
    bus_write(&machine->ports, PORT_ELCR, 1, level & 0xff);
    bus_write(&machine->ports, PORT_ELCR + 1, 1, level >> 8 & 0xff);
}

void pc_pci_set_up(struct machine *machine)
{
    struct pc_pci *pci = &machine->pc->pci;
    uint64_t ports = PORTS_BASE, memory = MEMORY_BASE;
    if (bios_wanted(machine->start))
        return; /* it does so itself */
    i440fx_open(&pci->host_bridge);
    piix3_set_up(&pci->piix3);
    for (unsigned n = 0; n < pci->bus.count; n++)
        set_up_function(pci, pci->bus.functions[n], &ports, &memory);
    set_triggers(machine);
}
