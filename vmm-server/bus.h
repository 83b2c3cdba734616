/*
 * Where a guest's accesses go: one bus for ports, one for guest-physical addresses. A device model
 * takes ranges; an access is handed to the range that holds all of it.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <stdbool.h>
#include <stdint.h>

#define BUS_RANGES_MAX 160u

struct bus_operations {
    /* offset is relative to the range, size_bytes 1, 2, 4 or 8. False: the device does not define that
     * access; the partition's `unknown` policy decides. The machine's lock is held. */
    bool (*read)(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value);
    bool (*write)(void *device, uint64_t offset, unsigned size_bytes, uint64_t value);
    /* `count` accesses to the same place, one after the other, as a repeated string instruction makes them: data is
     * count * size_bytes long. How many were done, at least 1; the rest comes again. NULL: one by one. */
    unsigned (*read_string)(void *device, uint64_t offset, unsigned size_bytes, void *data,
                            unsigned count);
    unsigned (*write_string)(void *device, uint64_t offset, unsigned size_bytes, const void *data,
                             unsigned count);
};

struct bus_range {
    uint64_t base, size;
    const struct bus_operations *operations;
    void *device;
    const char *name; /* for reports */
};

struct bus {
    struct bus_range ranges[BUS_RANGES_MAX]; /* by rising base, never overlapping */
    unsigned count;
    unsigned last; /* the one that was hit last */
};

/* False: it overlaps another, is empty or there is no room. Only while the machine is put together, or with its lock. */
bool bus_add(struct bus *bus, const struct bus_range *range);
/* Takes away the range that begins at base; a device may do so while it is accessed. */
void bus_remove(struct bus *bus, uint64_t base);
/* False: nobody is there, or the device does not define the access. */
bool bus_read(struct bus *bus, uint64_t address, unsigned size_bytes, uint64_t *value);
bool bus_write(struct bus *bus, uint64_t address, unsigned size_bytes, uint64_t value);
/* Repeated accesses to one address: how many were done; 0: as above, false. */
unsigned bus_read_string(struct bus *bus, uint64_t address, unsigned size_bytes, void *data,
                         unsigned count);
unsigned bus_write_string(struct bus *bus, uint64_t address, unsigned size_bytes, const void *data,
                          unsigned count);

#endif
