/* A PCI bus with buses and memory around it, and the guest's side of its configuration ports. */
#ifndef PCI_MACHINE_H
#define PCI_MACHINE_H

#include "unit_test.h"

#include "devices/pci.h"

#include <stdbool.h>

#define MACHINE_RAM_BYTES 0x200000u

static uint8_t machine_ram[MACHINE_RAM_BYTES] __attribute__((aligned(4096)));
static struct guest_windows machine_windows;
static struct guest_memory machine_memory;
static struct bus machine_ports, machine_addresses;
static struct pci_bus machine_pci;
static struct pci_message messages[64];
static unsigned message_count;
static int intx[4]; /* how many assert each pin's route */
static unsigned maps;

static inline bool machine_map(struct device_host *host, gpa_t gpa, uint64_t size_bytes,
                               uint8_t *memory, bool writable)
{
    (void)host;
    maps++;
    return guest_memory_cover(&machine_memory, gpa, size_bytes, memory, writable);
}

static inline void machine_log(struct sink *sink, const char *data, size_t count)
{
    (void)sink, (void)data, (void)count;
}

static struct sink machine_sink = {machine_log};
static struct device_host machine_host = {.ports = &machine_ports,
                                          .addresses = &machine_addresses,
                                          .memory = &machine_memory,
                                          .log = &machine_sink,
                                          .map = machine_map};

static inline void machine_send(struct pci_bus *bus, const struct pci_message *message)
{
    (void)bus;
    messages[message_count++ % 64] = *message;
}

static inline void machine_route(struct pci_bus *bus, unsigned slot, unsigned pin, bool high)
{
    (void)bus, (void)slot;
    intx[pin] += high ? 1 : -1;
}

/* An empty bus, 2 MiB of RAM at 0, no message sent. */
static inline void machine_begin(void)
{
    memset(machine_ram, 0, sizeof machine_ram);
    machine_windows = (struct guest_windows){0};
    machine_memory = (struct guest_memory){.regions = {{0, sizeof machine_ram, machine_ram, false}},
                                           .count = 1,
                                           .windows = &machine_windows};
    machine_ports = machine_addresses = (struct bus){0};
    pci_bus_init(&machine_pci, &machine_host);
    machine_pci.send = machine_send;
    machine_pci.route = machine_route;
    message_count = maps = 0;
    memset(intx, 0, sizeof intx);
    CHECK(pci_bus_attach(&machine_pci, &machine_ports));
}

/* ---- the guest's accesses ------------------------------------------------------------------------ */

static inline uint32_t config_read(unsigned slot, unsigned function, unsigned offset,
                                   unsigned size_bytes)
{
    uint64_t value = 0;
    CHECK(bus_write(&machine_ports, 0xcf8, 4,
                    0x80000000u | slot << 11 | function << 8 | (offset & 0xfc)));
    CHECK(bus_read(&machine_ports, 0xcfc + (offset & 3), size_bytes, &value));
    return (uint32_t)(value & (UINT64_MAX >> (64 - 8 * size_bytes)));
}

static inline void config_write(unsigned slot, unsigned function, unsigned offset,
                                unsigned size_bytes, uint32_t value)
{
    CHECK(bus_write(&machine_ports, 0xcf8, 4,
                    0x80000000u | slot << 11 | function << 8 | (offset & 0xfc)));
    CHECK(bus_write(&machine_ports, 0xcfc + (offset & 3), size_bytes, value));
}

#endif
