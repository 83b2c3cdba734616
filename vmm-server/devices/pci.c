/*
 * PCI bus.
 *
 * State:    the configuration address; for each function its 256 bytes of configuration, where its ranges are, its
 *           INTx line.
 * Features: configuration mechanism 1 by bytes, words and doublewords; BARs of ports, 32 and 64-bit memory and ROM that
 *           are sized and moved by the guest; status bits that a 1 clears; Interrupt Disable and Interrupt Status;
 *           capabilities.
 * Missing:  bridges to further buses, mechanism 2, memory-mapped configuration, special cycles, errors (no status bit of
 *           those is ever set), MSI without X.
 * Spec:     PCI Local Bus Specification 3.0, February 2004, 3.2.2.3.2 and chapter 6.
 *
 * A range is on its bus only where nothing else is: no RAM, no other device. Where the guest puts two ranges onto each
 * other, the first keeps its place, and the second comes when that is free.
 */
#include "devices/pci.h"

#include "string.h"

#include <stddef.h>

#define ADDRESS_ENABLE  0x80000000u
#define ADDRESS_MASK    0x80fffffcu
#define DATA_OFFSET     4u /* of port 0xcfc */
#define PORTS_BYTES     8u

#define HEAD_BYTES      0x40u
#define HEADER_TYPE     0x0eu
#define CACHE_LINE_SIZE 0x0cu
#define SUBSYSTEM       0x2cu
#define MULTIFUNCTION   0x80u

#define COMMAND_WRITABLE                                                               \
    (PCI_COMMAND_PORTS | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | 1u << 6 | 1u << 8 | \
     PCI_COMMAND_NO_INTX)
#define STATUS_INTX                      (1u << 3)
#define STATUS_CAPABILITIES              (1u << 4)
#define STATUS_CLEARS                    0xf900u

#define BAR_PORTS                        1u
#define BAR_64                           4u
#define BAR_PREFETCHABLE                 8u
#define ROM_ENABLE                       1u

#define PORTS_END                        0x10000ull
#define MEMORY_32_LAST                   0xffffffffull

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* ---- fields ---------------------------------------------------------------------------------------------- */

uint32_t pci_function_get(const struct pci_function *function, unsigned offset, unsigned size_bytes)
{
    uint32_t value = 0;
    memcpy(&value, function->config + offset, size_bytes);
    return value;
}

void pci_function_put(struct pci_function *function, unsigned offset, unsigned size_bytes,
                      uint32_t value)
{
    memcpy(function->config + offset, &value, size_bytes);
}

static bool overlaps(unsigned offset, unsigned size_bytes, unsigned start, unsigned count)
{
    return offset < start + count && start < offset + size_bytes;
}

/* ---- ranges ---------------------------------------------------------------------------------------------- */

static unsigned bar_offset(unsigned number)
{
    return number == PCI_ROM ? PCI_ROM_BAR : PCI_BAR_0 + 4 * number;
}

/* Where the guest wants the range. False: nowhere. Address 0, and the end of 32 bits, are what sizing leaves there. */
static bool wanted(const struct pci_function *function, unsigned number, uint64_t *address)
{
    const struct pci_bar *bar = &function->bars[number];
    unsigned offset = bar_offset(number);
    uint32_t command = pci_function_get(function, PCI_COMMAND, 2);
    uint64_t low = pci_function_get(function, offset, 4), last;
    bool ports = bar->kind == PCI_BAR_PORTS;
    if (!(command & (ports ? PCI_COMMAND_PORTS : PCI_COMMAND_MEMORY)) ||
        (number == PCI_ROM && !(low & ROM_ENABLE)))
        return false;
    if (bar->kind == PCI_BAR_MEMORY_64)
        low |= (uint64_t)pci_function_get(function, offset + 4, 4) << 32;
    *address = low & ~(bar->size_bytes - 1);
    last = *address + (bar->size_bytes - 1);
    if (*address == 0 || last < *address)
        return false;
    return ports ? last < PORTS_END : bar->kind == PCI_BAR_MEMORY_64 || last < MEMORY_32_LAST;
}

static bool covers_ram(const struct guest_memory *memory, uint64_t address, uint64_t size_bytes)
{
    for (unsigned i = 0; i < memory->count; i++)
        if (address - memory->regions[i].base < memory->regions[i].size_bytes ||
            memory->regions[i].base - address < size_bytes)
            return true;
    return false;
}

/* Of a range that its device maps into the guest: what is not covered there. */
static bool bare_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)device, (void)offset, (void)size_bytes;
    *value = UINT64_MAX;
    return true;
}

static bool bare_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    (void)device, (void)offset, (void)size_bytes, (void)value;
    return true;
}

static const struct bus_operations bare = {.read = bare_read, .write = bare_write};

static struct bus *bus_of(const struct pci_function *function, const struct pci_bar *bar)
{
    struct device_host *host = function->bus->host;
    return bar->kind == PCI_BAR_PORTS ? host->ports : host->addresses;
}

static void take_off(struct pci_function *function, unsigned number)
{
    struct pci_bar *bar = &function->bars[number];
    uint64_t address;
    if (!bar->mapped || (wanted(function, number, &address) && address == bar->address))
        return;
    bus_remove(bus_of(function, bar), bar->address);
    bar->mapped = false;
    if (bar->moved)
        bar->moved(function, number, bar->address, false);
}

static void put_on(struct pci_function *function, unsigned number)
{
    struct pci_bar *bar = &function->bars[number];
    uint64_t address;
    if (bar->mapped || bar->kind == PCI_BAR_NONE || !wanted(function, number, &address) ||
        (bar->kind != PCI_BAR_PORTS &&
         covers_ram(function->bus->host->memory, address, bar->size_bytes)))
        return;
    const struct bus_range range = {address, bar->size_bytes,
                                    bar->operations ? bar->operations : &bare, bar->device,
                                    bar->name};
    if (!bus_add(bus_of(function, bar), &range))
        return;
    bar->address = address;
    bar->mapped = true;
    if (bar->moved)
        bar->moved(function, number, address, true);
}

/* What `function` leaves may be where another waits to be. */
static void settle_ranges(struct pci_function *function)
{
    struct pci_bus *bus = function->bus;
    for (unsigned number = 0; number <= PCI_ROM; number++)
        take_off(function, number);
    for (unsigned number = 0; number <= PCI_ROM; number++)
        put_on(function, number);
    for (unsigned n = 0; n < bus->count; n++)
        for (unsigned number = 0; number <= PCI_ROM; number++)
            put_on(bus->functions[n], number);
}

/* ---- INTx -------------------------------------------------------------------------------------------------- */

static void settle_line(struct pci_function *function)
{
    uint32_t status = pci_function_get(function, PCI_STATUS, 2) & ~STATUS_INTX;
    unsigned pin = function->config[PCI_INTERRUPT_PIN];
    bool out =
        function->asserted && !(pci_function_get(function, PCI_COMMAND, 2) & PCI_COMMAND_NO_INTX);
    pci_function_put(function, PCI_STATUS, 2, status | (function->asserted ? STATUS_INTX : 0));
    if (out == function->routed || pin == 0)
        return;
    function->routed = out;
    if (function->bus->route)
        function->bus->route(function->bus, function->slot, pin - 1, out);
}

static void set_line(struct interrupt_line *line, bool high)
{
    struct pci_function *function = CONTAINER(line, struct pci_function, intx);
    function->asserted = high;
    if (function->bus)
        settle_line(function);
}

struct interrupt_line *pci_function_line(struct pci_function *function)
{
    function->intx.set = set_line;
    return &function->intx;
}

bool pci_function_is_master(const struct pci_function *function)
{
    return (pci_function_get(function, PCI_COMMAND, 2) & PCI_COMMAND_MASTER) != 0;
}

/* ---- configuration ------------------------------------------------------------------------------------------- */

void pci_function_write(struct pci_function *function, unsigned offset, unsigned size_bytes,
                        uint32_t value)
{
    for (unsigned i = 0; i < size_bytes; i++) {
        uint8_t byte = (uint8_t)(value >> 8 * i), *at = &function->config[offset + i];
        uint8_t mask = function->writable[offset + i];
        *at = (uint8_t)((*at & ~mask) | (byte & mask));
        *at = (uint8_t)(*at & ~(byte & function->clears[offset + i]));
    }
    if (overlaps(offset, size_bytes, PCI_COMMAND, 2) ||
        overlaps(offset, size_bytes, PCI_BAR_0, 4 * PCI_BARS) ||
        overlaps(offset, size_bytes, PCI_ROM_BAR, 4))
        settle_ranges(function);
    if (overlaps(offset, size_bytes, PCI_COMMAND, 2))
        settle_line(function);
    if (function->written)
        function->written(function, offset, size_bytes);
}

/* The function that the address register names; NULL: none. */
static struct pci_function *addressed(const struct pci_bus *bus)
{
    uint8_t place = (uint8_t)(bus->address >> 8);
    if (!(bus->address & ADDRESS_ENABLE) || bus->address >> 16 & 0xff)
        return NULL;
    for (unsigned n = 0; n < bus->count; n++)
        if ((bus->functions[n]->slot << 3 | bus->functions[n]->number) == place)
            return bus->functions[n];
    return NULL;
}

/* An access to configuration, and not to what else is between these ports. */
static bool is_data(uint64_t offset, unsigned size_bytes)
{
    return offset >= DATA_OFFSET && size_bytes <= 4 && offset + size_bytes <= PORTS_BYTES;
}

static bool ports_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct pci_bus *bus = device;
    if (offset == 0 && size_bytes == 4) {
        *value = bus->address;
        return true;
    }
    *value = UINT64_MAX;
    if (!is_data(offset, size_bytes))
        return !bus->behind.operations ||
               bus->behind.operations->read(bus->behind.device, offset, size_bytes, value);
    struct pci_function *function = addressed(bus);
    if (!function)
        return true; /* master abort */
    unsigned at = (bus->address & 0xfc) + (unsigned)(offset - DATA_OFFSET);
    if (at + size_bytes > PCI_CONFIG_BYTES)
        return true;
    if (function->reading)
        function->reading(function, at, size_bytes);
    *value = pci_function_get(function, at, size_bytes);
    return true;
}

static bool ports_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct pci_bus *bus = device;
    if (offset == 0 && size_bytes == 4) {
        bus->address = (uint32_t)value & ADDRESS_MASK;
        return true;
    }
    if (!is_data(offset, size_bytes))
        return !bus->behind.operations ||
               bus->behind.operations->write(bus->behind.device, offset, size_bytes, value);
    struct pci_function *function = addressed(bus);
    unsigned at = (bus->address & 0xfc) + (unsigned)(offset - DATA_OFFSET);
    if (function && at + size_bytes <= PCI_CONFIG_BYTES)
        pci_function_write(function, at, size_bytes, (uint32_t)value);
    return true;
}

/* ---- putting it together ----------------------------------------------------------------------------------- */

void pci_bus_init(struct pci_bus *bus, struct device_host *host)
{
    *bus = (struct pci_bus){.host = host};
}

bool pci_bus_attach(struct pci_bus *bus, struct bus *ports)
{
    static const struct bus_operations operations = {.read = ports_read, .write = ports_write};
    const struct bus_range range = {PCI_PORTS, PORTS_BYTES, &operations, bus, "PCI configuration"};
    for (unsigned i = 0; i < ports->count; i++)
        if (ports->ranges[i].base == PCI_PORTS && ports->ranges[i].size == PORTS_BYTES)
            bus->behind = ports->ranges[i];
    bus_remove(ports, PCI_PORTS);
    return bus_add(ports, &range);
}

void pci_bus_reset(struct pci_bus *bus)
{
    bus->address = 0;
    for (unsigned n = 0; n < bus->count; n++) {
        struct pci_function *function = bus->functions[n];
        for (unsigned at = PCI_COMMAND; at < HEAD_BYTES; at++)
            function->config[at] = (uint8_t)(function->config[at] & ~function->writable[at]);
        settle_ranges(function);
        settle_line(function);
        if (function->reset)
            function->reset(function);
    }
}

void pci_function_init(struct pci_function *function, const struct pci_identity *identity,
                       void *device)
{
    function->device = device;
    pci_function_put(function, 0, 4, identity->vendor | (uint32_t)identity->device << 16);
    pci_function_put(function, 8, 4, identity->revision | identity->class_code << 8);
    pci_function_put(function, SUBSYSTEM, 4,
                     identity->subsystem_vendor | (uint32_t)identity->subsystem << 16);
    function->config[HEADER_TYPE] = identity->multifunction ? MULTIFUNCTION : 0;
    function->config[PCI_INTERRUPT_PIN] = identity->interrupt_pin;
    function->writable[PCI_COMMAND] = COMMAND_WRITABLE & 0xff;
    function->writable[PCI_COMMAND + 1] = COMMAND_WRITABLE >> 8;
    function->writable[CACHE_LINE_SIZE] = 0xff;
    function->writable[PCI_INTERRUPT_LINE] = 0xff;
    function->clears[PCI_STATUS + 1] = STATUS_CLEARS >> 8;
    function->capability_end = HEAD_BYTES;
    pci_function_line(function);
}

void pci_function_add_bar(struct pci_function *function, unsigned number, const struct pci_bar *bar)
{
    unsigned offset = bar_offset(number);
    uint64_t mask = ~(bar->size_bytes - 1);
    uint32_t low = (uint32_t)mask | (number == PCI_ROM ? ROM_ENABLE : 0), high = mask >> 32;
    function->bars[number] = *bar;
    function->bars[number].mapped = false;
    memcpy(function->writable + offset, &low, sizeof low);
    if (number != PCI_ROM)
        function->config[offset] =
            (uint8_t)(bar->kind == PCI_BAR_PORTS ? BAR_PORTS
                                                 : (bar->kind == PCI_BAR_MEMORY_64 ? BAR_64 : 0) |
                                                       (bar->prefetchable ? BAR_PREFETCHABLE : 0));
    if (bar->kind == PCI_BAR_MEMORY_64)
        memcpy(function->writable + offset + 4, &high, sizeof high);
}

unsigned pci_function_add_capability(struct pci_function *function, uint8_t id, unsigned size_bytes)
{
    unsigned offset = function->capability_end, size = (size_bytes + 3) & ~3u;
    if (size > PCI_CONFIG_BYTES - offset || offset == 0)
        return 0;
    function->config[offset] = id;
    function->config[offset + 1] = function->config[PCI_CAPABILITIES];
    function->config[PCI_CAPABILITIES] = (uint8_t)offset;
    function->config[PCI_STATUS] |= STATUS_CAPABILITIES;
    function->capability_end = (uint8_t)(offset + size); /* 0: full */
    return offset;
}

bool pci_bus_add(struct pci_bus *bus, struct pci_function *function, unsigned slot, unsigned number)
{
    if (bus->count == PCI_FUNCTIONS_MAX || slot >= 32 || number >= 8)
        return false;
    for (unsigned n = 0; n < bus->count; n++)
        if (bus->functions[n]->slot == slot && bus->functions[n]->number == number)
            return false;
    function->bus = bus;
    function->slot = (uint8_t)slot;
    function->number = (uint8_t)number;
    bus->functions[bus->count++] = function;
    return true;
}
