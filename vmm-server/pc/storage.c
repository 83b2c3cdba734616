#include "pc/storage.h"

#include "devices/dma.h"
#include "devices/piix3.h"
#include "layout.h"
#include "machine.h"
#include "pc/pc.h"
#include "task.h"

#define IRQ_FLOPPY      6u
#define IRQ_IDE_FIRST   14u
#define IRQ_IDE_SECOND  15u
#define DMA_FLOPPY      2u
#define FLOPPY_1440K    0x40u /* of the first drive */
#define EQUIPPED_FLOPPY 0x01u
#define PLACES          (IDE_CHANNELS * IDE_DRIVES)

_Static_assert(IDE_CHANNELS *IDE_BUFFER_BYTES + FLOPPY_BUFFER_BYTES <= LAYOUT_BUFFERS_BYTES,
               "the buffers fit");

static uint32_t move(void *device, bool to_memory, uint8_t *data, uint32_t size_bytes, bool *end)
{
    return dma_transfer(device, DMA_FLOPPY, to_memory ? DMA_TO_MEMORY : DMA_FROM_MEMORY, data,
                        size_bytes, end);
}

/* Hard disks from the first place on; CD-ROMs from the second channel on, where installers look for them. PLACES: none is
 * free. */
static unsigned free_place(unsigned taken, enum ide_kind kind)
{
    static const uint8_t orders[][PLACES] = {[IDE_DISK] = {0, 1, 2, 3}, [IDE_CDROM] = {2, 3, 0, 1}};
    for (unsigned i = 0; i < PLACES; i++)
        if (!(taken >> orders[kind][i] & 1))
            return orders[kind][i];
    return PLACES;
}

static bool add_ide(struct machine *machine, unsigned n, unsigned *taken, enum ide_kind kind)
{
    unsigned place = free_place(*taken, kind);
    struct device_peer peer;
    if (place == PLACES || !machine_disk_peer(machine, n, &peer))
        return false;
    *taken |= 1u << place;
    machine->pc->storage.places[n] = (uint8_t)place;
    machine->pc->storage.channels |= TASK_BIT_CHANNEL(peer.number);
    ide_add_drive(&machine->pc->storage.ide, place, kind, &peer);
    return true;
}

static bool add_floppy(struct machine *machine, unsigned n)
{
    struct rtc *rtc = &machine->pc->chips.rtc;
    struct device_peer peer;
    if (!machine_disk_peer(machine, n, &peer))
        return false;
    machine->pc->storage.channels |= TASK_BIT_CHANNEL(peer.number);
    if (!floppy_insert(&machine->pc->storage.floppy, &peer))
        task_print(
            "floppy: its volume has %lu sectors and not the 2880 or 1440 of a floppy: the guest "
            "finds the drive empty\n",
            machine->pc->storage.floppy.disk.volume.sectors);
    rtc_set_byte(rtc, RTC_FLOPPY_TYPES, FLOPPY_1440K);
    rtc_set_byte(rtc, RTC_EQUIPMENT, rtc_byte(rtc, RTC_EQUIPMENT) | EQUIPPED_FLOPPY);
    return true;
}

bool storage_init(struct machine *machine)
{
    const struct plan_partition *partition = &machine->start->partition;
    struct pc *pc = machine->pc;
    struct storage *storage = &pc->storage;
    const struct floppy_dma dma = {&pc->chips.dma, move};
    uint8_t *buffers = guest_memory_ram(&machine->memory, LAYOUT_BUFFERS, LAYOUT_BUFFERS_BYTES);
    unsigned taken = 0;
    bool good = true;
    if (!buffers)
        return false;
    ide_init(&storage->ide, &machine->host, buffers, isa_line(&pc->lines, IRQ_IDE_FIRST),
             isa_line(&pc->lines, IRQ_IDE_SECOND));
    floppy_init(&storage->floppy, &machine->host, buffers + IDE_CHANNELS * IDE_BUFFER_BYTES, &dma,
                isa_line(&pc->lines, IRQ_FLOPPY));
    for (unsigned n = 0; n < partition->disk_count; n++) {
        const struct plan_disk *disk = &partition->disks[n];
        if (disk->kind == PLAN_DISK_FLOPPY)
            good &= add_floppy(machine, n);
        else if (disk->kind == PLAN_DISK_HARD && disk->wiring == PLAN_WIRING_IDE)
            good &= add_ide(machine, n, &taken, IDE_DISK);
    }
    for (unsigned n = 0; n < partition->disk_count; n++)
        if (partition->disks[n].kind == PLAN_DISK_CDROM)
            good &= add_ide(machine, n, &taken, IDE_CDROM);
    return good && ide_attach(&storage->ide, &machine->ports) &&
           ide_attach_function(&storage->ide, &pc->pci.bus, PIIX3_SLOT, PIIX3_FUNCTION_IDE) &&
           floppy_attach(&storage->floppy, &machine->ports);
}

void storage_attend(struct machine *machine, uint64_t bits)
{
    if (!(bits & machine->pc->storage.channels))
        return;
    ide_attend(&machine->pc->storage.ide, bits);
    floppy_attend(&machine->pc->storage.floppy, bits);
}
