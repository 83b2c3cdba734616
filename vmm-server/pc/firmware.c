#include "pc/firmware.h"

#include "firmware/mp_table.h"
#include "firmware/smbios.h"
#include "layout.h"
#include "machine.h"
#include "pc/pc.h"
#include "string.h"

#define SHADOW_BYTES  (128u << 10) /* of the image's end, below 1 MiB */
#define PCI_SLOTS     16u          /* that the MP table describes */
#define LEAF_FEATURES 1u
/* SMBIOS, 5.2.1: the entry point is at a multiple of 16 between 0xf0000 and 0xfffff. */
#define SMBIOS_ALIGNMENT 16u

uint32_t pc_firmware_hole(uint64_t low_bytes)
{
    return low_bytes <= 2 * GIB   ? (uint32_t)(2 * GIB)
           : low_bytes <= 3 * GIB ? (uint32_t)(3 * GIB)
                                  : (uint32_t)LAYOUT_PC_LOW_END;
}

bool pc_firmware_shadow(struct machine *machine, const struct vmm_file *image)
{
    uint64_t size_bytes = image->size_bytes < SHADOW_BYTES ? image->size_bytes : SHADOW_BYTES;
    return i440fx_set_rom(&machine->pc->pci.host_bridge, LAYOUT_KERNEL - size_bytes, size_bytes,
                          (uint8_t *)image->address + image->size_bytes - size_bytes);
}

/* ---- in the place of firmware ------------------------------------------------------------------------------ */

static bool write_smbios(struct machine *machine)
{
    struct smbios smbios;
    uint8_t *at = machine->memory.regions[0].host + LAYOUT_PC_SMBIOS;
    const uint32_t tables = LAYOUT_PC_SMBIOS + (SMBIOS_ANCHOR_BYTES + SMBIOS_ALIGNMENT) /
                                                   SMBIOS_ALIGNMENT * SMBIOS_ALIGNMENT;
    const struct smbios_machine described = {
        .name = machine->start->partition.name,
        .vcpu_count = machine->vcpu_count,
        .memory_bytes = machine->start->memory_bytes,
        .low_bytes = machine->memory.regions[0].size_bytes,
    };
    if (!smbios_fill(&smbios, &described, tables))
        return false;
    memcpy(at, smbios.anchor, sizeof smbios.anchor);
    memcpy(at + (tables - LAYOUT_PC_SMBIOS), smbios.tables, smbios.used);
    return true;
}

static unsigned input_of(void *board, unsigned slot, unsigned pin)
{
    return piix3_line_of(board, piix3_pirq_of(slot, pin));
}

bool pc_firmware_tables(struct machine *machine)
{
    struct cpuid_guest guest = {0};
    struct cpuid_registers values = cpuid_answer(&machine->cpuid, &guest, LEAF_FEATURES, 0);
    const struct mp_machine described = {
        .vcpu_count = machine->vcpu_count,
        .signature = values.eax,
        .features = values.edx,
        .input_of = input_of,
        .board = &machine->pc->pci.piix3,
        .pci_slots = PCI_SLOTS,
    };
    return write_smbios(machine) && mp_table_write(machine->memory.regions[0].host + LAYOUT_PC_MP,
                                                   LAYOUT_PC_MP_BYTES, LAYOUT_PC_MP, &described);
}

/* ---- boot order ---------------------------------------------------------------------------------------------- */

void pc_firmware_disk_path(const struct machine *machine, unsigned n, char *path, size_t size_bytes)
{
    const struct plan_disk *disk = &machine->start->partition.disks[n];
    unsigned place = machine->pc->storage.places[n];
    if (disk->kind == PLAN_DISK_FLOPPY)
        print_buffer(path, size_bytes, "/pci@i0cf8/isa@%x/fdc@03f0/floppy@0", PIIX3_SLOT);
    else if (disk->kind == PLAN_DISK_HARD && disk->wiring == PLAN_WIRING_VIRTIO)
        print_buffer(path, size_bytes, "/pci@i0cf8/scsi@%x/disk@0,0",
                     (unsigned)machine->disk_places[n]);
    else
        print_buffer(path, size_bytes, "/pci@i0cf8/ide@%x,%x/drive@%x/disk@%x", PIIX3_SLOT,
                     PIIX3_FUNCTION_IDE, place / IDE_DRIVES, place % IDE_DRIVES);
}

void pc_firmware_card_path(const struct machine *machine, unsigned n, char *path, size_t size_bytes)
{
    print_buffer(path, size_bytes, "/pci@i0cf8/ethernet@%x", machine->card_slots[n]);
}
