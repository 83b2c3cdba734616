/*
 * i440FX (82441FX): the host bridge.
 *
 * State:    configuration registers; which segments between 768 KiB and 1 MiB are RAM.
 * Features: the attribute registers PAM0 to PAM6, all four combinations of reading and writing RAM or what is behind;
 *           where reads go to ROM and writes to RAM, each write costs an exit. Where no ROM is behind, nobody answers on
 *           PCI: reads give ones, writes are dropped.
 * Missing:  SMRAM (the register is kept: there is no system management mode), DRAM set-up, timers, error reports, AGP.
 * Spec:     Intel 82441FX PCI and Memory Controller (PMC), May 1996 (order 290549-001), 3.2.
 */
#include "devices/i440fx.h"

#include "string.h"

#define VENDOR          0x8086u
#define DEVICE          0x1237u
#define SUBSYSTEM_OWNER 0x1af4u /* by this SeaBIOS knows that it runs on a virtual machine */
#define SUBSYSTEM       0x1100u
#define REVISION        2u
#define CLASS_HOST      0x060000u

#define PAM_FIRST       0x59u
#define PAM_COUNT       7u
#define PAM_WRITABLE    0x33u
#define SMRAM           0x72u
#define SMRAM_AT_RESET  0x02u
#define SMRAM_WRITABLE  0x78u

#define READS_RAM       1u
#define WRITES_RAM      2u
#define ALL_RAM         (READS_RAM | WRITES_RAM)

#define PICTURE_BASE    0xa0000u
#define PICTURE_BYTES   0x20000u
#define LAST_BASE       0xf0000u /* the segment of PAM0 */
#define LAST_BYTES      0x10000u
#define SEGMENTS_BASE   0xc0000u
#define SEGMENT_BYTES   0x4000u

/* Segment 0 is the last 64 KiB, the others follow each other from 768 KiB on (3.2.18). */
static gpa_t base_of(unsigned segment)
{
    return segment == 0 ? LAST_BASE : SEGMENTS_BASE + (segment - 1) * SEGMENT_BYTES;
}

static uint64_t bytes_of(unsigned segment)
{
    return segment == 0 ? LAST_BYTES : SEGMENT_BYTES;
}

static uint8_t mode_of(const struct i440fx *bridge, unsigned segment)
{
    uint8_t value = bridge->function.config[PAM_FIRST + (segment + 1) / 2];
    return (segment + 1) % 2 ? value >> 4 & 3 : value & 3;
}

/* ---- what goes to PCI, and is not mapped ---------------------------------------------------------------- */

/* Only where there is no ROM is it read here. Systems look for expansion ROMs there. */
static bool nobody_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)device, (void)offset, (void)size_bytes;
    *value = UINT64_MAX;
    return true;
}

static bool nobody_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    (void)device, (void)offset, (void)size_bytes, (void)value;
    return true;
}

/* Reads from ROM, writes to RAM. */
static bool split_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    memcpy((uint8_t *)device + offset, &value, size_bytes);
    return true;
}

static const struct bus_operations nobody = {.read = nobody_read, .write = nobody_write};
static const struct bus_operations split = {.read = nobody_read, .write = split_write};

/* ---- segments ---------------------------------------------------------------------------------------------- */

/* What is there if it is not RAM; NULL: nothing. */
static uint8_t *rom_at(const struct i440fx *bridge, gpa_t base, uint64_t size_bytes)
{
    uint64_t offset = base - bridge->rom_base;
    return bridge->rom && base >= bridge->rom_base && offset < bridge->rom_bytes &&
                   size_bytes <= bridge->rom_bytes - offset
               ? bridge->rom + offset
               : NULL;
}

static bool set_segment(struct i440fx *bridge, unsigned segment, uint8_t mode)
{
    struct device_host *host = bridge->function.bus->host;
    gpa_t base = base_of(segment);
    uint64_t size_bytes = bytes_of(segment);
    uint8_t *ram = guest_memory_ram(host->memory, base, size_bytes);
    const struct bus_range unmapped = {base, size_bytes, mode == WRITES_RAM ? &split : &nobody, ram,
                                       "shadow memory"};
    if (!ram)
        return false;
    if (bridge->settled && bridge->modes[segment] != ALL_RAM)
        bus_remove(host->addresses, base);
    bridge->modes[segment] = mode;
    bool good = mode == ALL_RAM || bus_add(host->addresses, &unmapped);
    return host->map(host, base, size_bytes,
                     mode & READS_RAM ? ram : rom_at(bridge, base, size_bytes), mode == ALL_RAM) &&
           good;
}

static bool settle(struct i440fx *bridge, bool all)
{
    bool good = true;
    for (unsigned segment = 0; segment < I440FX_SEGMENTS; segment++) {
        uint8_t mode = mode_of(bridge, segment);
        if (all || mode != bridge->modes[segment])
            good &= set_segment(bridge, segment, mode);
    }
    bridge->settled = true;
    return good;
}

static void written(struct pci_function *function, unsigned offset, unsigned size_bytes)
{
    struct i440fx *bridge = function->device;
    if (offset < PAM_FIRST + PAM_COUNT && offset + size_bytes > PAM_FIRST && !settle(bridge, false))
        print(function->bus->host->log,
              "the host bridge could not change memory below 1 MiB as the guest wants it\n");
}

static void reset(struct pci_function *function)
{
    memset(function->config + PAM_FIRST, 0, PAM_COUNT);
    function->config[SMRAM] = SMRAM_AT_RESET;
    settle(function->device, false);
}

/* ---- putting it together ----------------------------------------------------------------------------------- */

bool i440fx_init(struct i440fx *bridge, struct pci_bus *bus)
{
    static const struct pci_identity identity = {
        .vendor = VENDOR,
        .device = DEVICE,
        .subsystem_vendor = SUBSYSTEM_OWNER,
        .subsystem = SUBSYSTEM,
        .class_code = CLASS_HOST,
        .revision = REVISION,
    };
    struct pci_function *function = &bridge->function;
    pci_function_init(function, &identity, bridge);
    function->writable[PAM_FIRST] = PAM_WRITABLE & 0xf0;
    memset(function->writable + PAM_FIRST + 1, PAM_WRITABLE, PAM_COUNT - 1);
    function->config[SMRAM] = SMRAM_AT_RESET;
    function->writable[SMRAM] = SMRAM_WRITABLE;
    function->written = written;
    function->reset = reset;
    return pci_bus_add(bus, function, 0, 0) &&
           bus->host->map(bus->host, PICTURE_BASE, PICTURE_BYTES, NULL, false) &&
           settle(bridge, true);
}

bool i440fx_set_rom(struct i440fx *bridge, gpa_t rom_base, uint64_t rom_bytes, uint8_t *rom)
{
    bridge->rom_base = rom_base;
    bridge->rom_bytes = rom_bytes;
    bridge->rom = rom;
    return settle(bridge, true);
}

void i440fx_open(struct i440fx *bridge)
{
    for (unsigned i = 0; i < PAM_COUNT; i++)
        pci_function_write(&bridge->function, PAM_FIRST + i, 1, PAM_WRITABLE);
}
