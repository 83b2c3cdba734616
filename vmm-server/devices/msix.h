/* The MSI-X capability of a PCI function: its table and pending bits in a BAR. The contract is at the head of msix.c. */
#ifndef VMM_DEVICES_MSIX_H
#define VMM_DEVICES_MSIX_H

#include "devices/pci.h"

#define MSIX_VECTORS_MAX 16u
#define MSIX_ENTRY_BYTES 16u
#define MSIX_PBA_BYTES   8u

struct msix {
    struct pci_function *function;
    unsigned capability; /* its place in the configuration */
    unsigned vectors;
    struct msix_entry {
        uint64_t address;
        uint32_t data, control;
    } entries[MSIX_VECTORS_MAX];
    uint64_t pending; /* bit n: vector n waits until it is no longer masked */
};

/* Gives a function the capability; the table and the pending bits are at these offsets of its BAR, whose device passes
 * accesses on. False: no room, or too many vectors. */
bool msix_init(struct msix *msix, struct pci_function *function, unsigned vectors, unsigned bar,
               uint32_t table, uint32_t pending);
/* As the function's reset leaves it. */
void msix_reset(struct msix *msix);
/* Accesses to the table and to the pending bits, by their own offsets. False: not defined. */
bool msix_table_read(struct msix *msix, uint64_t offset, unsigned size_bytes, uint64_t *value);
bool msix_table_write(struct msix *msix, uint64_t offset, unsigned size_bytes, uint64_t value);
bool msix_pending_read(struct msix *msix, uint64_t offset, unsigned size_bytes, uint64_t *value);
/* To be called when the guest has written to the function's configuration (pci_function.written). */
void msix_written(struct msix *msix);
/* Sends a vector's message, or remembers it while it is masked. A vector beyond the table: nothing. False, and nothing is
 * done: the function does not interrupt by messages, but by INTx. */
bool msix_send(struct msix *msix, unsigned vector);

#endif
