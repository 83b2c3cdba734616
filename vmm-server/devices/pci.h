/*
 * A guest's PCI bus: configuration by ports 0xcf8 and 0xcfc (PCI Local Bus 3.0, 3.2.2.3), functions with base
 * address registers that their devices' ranges follow, INTx wires and interrupt messages.
 */
#ifndef VMM_DEVICES_PCI_H
#define VMM_DEVICES_PCI_H

#include "device.h"

#define PCI_CONFIG_BYTES  256u
#define PCI_FUNCTIONS_MAX 32u
#define PCI_BARS          6u
#define PCI_ROM           6u /* the expansion ROM's, behind them */
#define PCI_PORTS         0xcf8u

/* Places in a function's configuration (PCI 3.0, 6.1). */
enum pci_place {
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_BAR_0 = 0x10,
    PCI_ROM_BAR = 0x30,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};

enum pci_command {
    PCI_COMMAND_PORTS = 1,
    PCI_COMMAND_MEMORY = 2,
    PCI_COMMAND_MASTER = 4,
    PCI_COMMAND_NO_INTX = 1 << 10,
};

struct pci_bus;
struct pci_function;

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_PORTS, PCI_BAR_MEMORY, PCI_BAR_MEMORY_64 };

struct pci_bar {
    enum pci_bar_kind kind;
    uint64_t size_bytes; /* a power of two: at least 4 of ports, 16 of memory, 2048 of a ROM */
    bool prefetchable;
    /* Accesses go to these where the guest has put the range; NULL: `moved` alone takes care of it, by device_host.map for
     * example, and what it leaves uncovered reads as ones. */
    const struct bus_operations *operations;
    void *device;
    const char *name;
    /* The guest has put the range elsewhere, or switched it off (mapped false, and address where it was); NULL: nothing
     * to do. Never called with a place where RAM or another range is. */
    void (*moved)(struct pci_function *function, unsigned bar, uint64_t address, bool mapped);
    uint64_t address; /* where it is now, if it is on a bus */
    bool mapped;
};

/* An interrupt message, as MSI and MSI-X send it (SDM 3A, 11.11). */
struct pci_message {
    uint64_t address;
    uint32_t data;
};

struct pci_function {
    struct pci_bus *bus;
    uint8_t slot, number; /* device and function */
    uint8_t config[PCI_CONFIG_BYTES];
    uint8_t writable[PCI_CONFIG_BYTES]; /* which bits the guest can change */
    uint8_t clears[PCI_CONFIG_BYTES];   /* which bits a 1 clears */
    struct pci_bar bars[PCI_BARS + 1];
    void *device;
    /* The guest has written so many bytes at `offset`; what may be changed there is. NULL: nothing to do. */
    void (*written)(struct pci_function *function, unsigned offset, unsigned size_bytes);
    /* It is about to read them: the device may first put there what it finds. NULL: nothing to do. */
    void (*reading)(struct pci_function *function, unsigned offset, unsigned size_bytes);
    /* The bus's reset: device registers in its configuration begin anew. NULL: it has none. */
    void (*reset)(struct pci_function *function);
    uint8_t capability_end; /* the next free place for a capability */
    struct interrupt_line intx;
    bool asserted, routed; /* INTx as the device has it, and as it goes out */
};

/* What identifies a function (PCI Local Bus 3.0, 6.2.1). */
struct pci_identity {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint32_t class_code; /* base class << 16 | subclass << 8 | programming interface */
    uint8_t revision;
    uint8_t interrupt_pin; /* 1: INTA; 0: none */
    bool multifunction;
};

struct pci_bus {
    struct device_host *host;
    uint32_t address; /* port 0xcf8 */
    struct pci_function *functions[PCI_FUNCTIONS_MAX];
    unsigned count;
    /* INTx of a function changes: the bridge routes it. pin 0 to 3. */
    void (*route)(struct pci_bus *bus, unsigned slot, unsigned pin, bool high);
    /* Sends an interrupt message into the machine. */
    void (*send)(struct pci_bus *bus, const struct pci_message *message);
    void *bridge;
    struct bus_range
        behind; /* whose the ports were: its is what configuration is not, as port 0xcf9 */
};

void pci_bus_init(struct pci_bus *bus, struct device_host *host);
/* Takes ports 0xcf8 to 0xcff. Accesses that are none of configuration go to the device that had a range there. */
bool pci_bus_attach(struct pci_bus *bus, struct bus *ports);
/* As the bus's reset leaves its functions: no range is mapped, no bus mastering. */
void pci_bus_reset(struct pci_bus *bus);

/* Fills in the head of a function that is all zero; then bars and capabilities are added, then it is put on the bus. */
void pci_function_init(struct pci_function *function, const struct pci_identity *identity,
                       void *device);
/* Its size is a power of two. */
void pci_function_add_bar(struct pci_function *function, unsigned number,
                          const struct pci_bar *bar);
/* Room for a capability of so many bytes with this ID; its offset, its first two bytes filled in. 0: no room. */
unsigned pci_function_add_capability(struct pci_function *function, uint8_t id,
                                     unsigned size_bytes);
/* False: the slot's function is taken, or the bus is full. */
bool pci_bus_add(struct pci_bus *bus, struct pci_function *function, unsigned slot,
                 unsigned number);
/* Fields of a configuration, least byte first; for devices. */
uint32_t pci_function_get(const struct pci_function *function, unsigned offset,
                          unsigned size_bytes);
void pci_function_put(struct pci_function *function, unsigned offset, unsigned size_bytes,
                      uint32_t value);
/* As if the guest had written it: what a board's own set-up does in place of firmware. */
void pci_function_write(struct pci_function *function, unsigned offset, unsigned size_bytes,
                        uint32_t value);
/* Has the guest let it reach memory (command register, bit 2)? */
bool pci_function_is_master(const struct pci_function *function);
/* Its INTx line, as a device's. Respects the command register's Interrupt Disable. */
struct interrupt_line *pci_function_line(struct pci_function *function);

#endif
