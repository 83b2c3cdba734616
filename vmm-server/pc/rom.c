#include "pc/rom.h"

/* PCI 3.0, 6.2.5.2: the address's lowest 11 bits are none. */
#define BYTES_LEAST 2048u

static bool rom_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    const struct vmm_file *file = device;
    const uint8_t *rom = (const uint8_t *)file->address;
    *value = 0;
    for (unsigned i = 0; i < size_bytes; i++)
        *value |= (uint64_t)(offset + i < file->size_bytes ? rom[offset + i] : 0xff) << (8 * i);
    return true;
}

static bool rom_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    (void)device, (void)offset, (void)size_bytes, (void)value;
    return true;
}

struct pci_bar pc_rom_bar(const struct vmm_file *file, const char *name)
{
    static const struct bus_operations operations = {.read = rom_read, .write = rom_write};
    uint64_t size_bytes = BYTES_LEAST;
    while (size_bytes < file->size_bytes)
        size_bytes *= 2;
    return (struct pci_bar){.kind = PCI_BAR_MEMORY,
                            .size_bytes = size_bytes,
                            .operations = &operations,
                            .device = (void *)file,
                            .name = name};
}
