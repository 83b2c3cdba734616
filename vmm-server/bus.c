/* Ranges of ports or addresses, searched by halves; the range that was hit last is tried first. */
#include "bus.h"

#include "string.h"

#include <stddef.h>

static bool holds(const struct bus_range *range, uint64_t address, unsigned size_bytes)
{
    return address >= range->base && address - range->base < range->size &&
           range->size - (address - range->base) >= size_bytes;
}

bool bus_add(struct bus *bus, const struct bus_range *range)
{
    unsigned at = 0;
    if (range->size == 0 || range->base + (range->size - 1) < range->base ||
        bus->count == BUS_RANGES_MAX)
        return false;
    while (at < bus->count && bus->ranges[at].base < range->base)
        at++;
    if (at > 0 && range->base - bus->ranges[at - 1].base < bus->ranges[at - 1].size)
        return false;
    if (at < bus->count && bus->ranges[at].base - range->base < range->size)
        return false;
    for (unsigned i = bus->count; i > at; i--)
        bus->ranges[i] = bus->ranges[i - 1];
    bus->ranges[at] = *range;
    bus->count++;
    return true;
}

void bus_remove(struct bus *bus, uint64_t base)
{
    for (unsigned i = 0; i < bus->count; i++) {
        if (bus->ranges[i].base != base)
            continue;
        bus->count--;
        for (; i < bus->count; i++)
            bus->ranges[i] = bus->ranges[i + 1];
    }
}

/* The range that holds the whole access, or NULL. */
static struct bus_range *find(struct bus *bus, uint64_t address, unsigned size_bytes)
{
    if (bus->last < bus->count && holds(&bus->ranges[bus->last], address, size_bytes))
        return &bus->ranges[bus->last];
    unsigned low = 0, high = bus->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (bus->ranges[middle].base <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || !holds(&bus->ranges[low - 1], address, size_bytes))
        return NULL;
    bus->last = low - 1;
    return &bus->ranges[low - 1];
}

bool bus_read(struct bus *bus, uint64_t address, unsigned size_bytes, uint64_t *value)
{
    struct bus_range *range = find(bus, address, size_bytes);
    return range &&
           range->operations->read(range->device, address - range->base, size_bytes, value);
}

bool bus_write(struct bus *bus, uint64_t address, unsigned size_bytes, uint64_t value)
{
    struct bus_range *range = find(bus, address, size_bytes);
    return range &&
           range->operations->write(range->device, address - range->base, size_bytes, value);
}

unsigned bus_read_string(struct bus *bus, uint64_t address, unsigned size_bytes, void *data,
                         unsigned count)
{
    struct bus_range *range = find(bus, address, size_bytes);
    uint64_t value;
    if (!range)
        return 0;
    if (range->operations->read_string)
        return range->operations->read_string(range->device, address - range->base, size_bytes,
                                              data, count);
    if (!range->operations->read(range->device, address - range->base, size_bytes, &value))
        return 0;
    memcpy(data, &value, size_bytes);
    return 1;
}

unsigned bus_write_string(struct bus *bus, uint64_t address, unsigned size_bytes, const void *data,
                          unsigned count)
{
    struct bus_range *range = find(bus, address, size_bytes);
    uint64_t value = 0;
    if (!range)
        return 0;
    if (range->operations->write_string)
        return range->operations->write_string(range->device, address - range->base, size_bytes,
                                               data, count);
    memcpy(&value, data, size_bytes);
    return range->operations->write(range->device, address - range->base, size_bytes, value);
}
