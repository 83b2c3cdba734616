/*
 * MSI-X.
 *
 * State:    message control, the table's entries, pending bits.
 * Features: masks of the function and of each vector; a message that is masked, or may not go out because the function is
 *           no bus master, is pending until it may.
 * Missing:  more than MSIX_VECTORS_MAX vectors, steering tags.
 * Spec:     PCI Local Bus Specification 3.0, February 2004, 6.8.2.
 */
#include "devices/msix.h"

#include "string.h"

#define CAPABILITY_ID    0x11u
#define CAPABILITY_BYTES 12u
#define CONTROL          2u /* offsets in the capability */
#define TABLE            4u
#define PENDING          8u
#define CONTROL_ENABLE   (1u << 15)
#define CONTROL_MASK     (1u << 14)
#define ENTRY_MASKED     1u

bool msix_init(struct msix *msix, struct pci_function *function, unsigned vectors, unsigned bar,
               uint32_t table, uint32_t pending)
{
    unsigned at = pci_function_add_capability(function, CAPABILITY_ID, CAPABILITY_BYTES);
    if (!at || vectors == 0 || vectors > MSIX_VECTORS_MAX)
        return false;
    *msix = (struct msix){.function = function, .capability = at, .vectors = vectors};
    pci_function_put(function, at + CONTROL, 2, vectors - 1);
    pci_function_put(function, at + TABLE, 4, table | bar);
    pci_function_put(function, at + PENDING, 4, pending | bar);
    function->writable[at + CONTROL + 1] = (CONTROL_ENABLE | CONTROL_MASK) >> 8;
    msix_reset(msix);
    return true;
}

void msix_reset(struct msix *msix)
{
    msix->pending = 0;
    pci_function_put(msix->function, msix->capability + CONTROL, 2, msix->vectors - 1);
    for (unsigned i = 0; i < msix->vectors; i++)
        msix->entries[i] = (struct msix_entry){.control = ENTRY_MASKED};
}

static uint32_t control(const struct msix *msix)
{
    return pci_function_get(msix->function, msix->capability + CONTROL, 2);
}

static void send(struct msix *msix, const struct msix_entry *entry)
{
    const struct pci_message message = {entry->address, entry->data};
    msix->function->bus->send(msix->function->bus, &message);
}

/* May a message go out that its own entry does not mask? */
static bool is_open(const struct msix *msix, uint32_t control)
{
    return (control & (CONTROL_ENABLE | CONTROL_MASK)) == CONTROL_ENABLE &&
           pci_function_is_master(msix->function);
}

/* Sends what is pending, if it may now. */
static void settle(struct msix *msix, unsigned vector)
{
    const struct msix_entry *entry = &msix->entries[vector];
    if (!(msix->pending >> vector & 1) || entry->control & ENTRY_MASKED ||
        !is_open(msix, control(msix)))
        return;
    msix->pending &= ~(1ull << vector);
    send(msix, entry);
}

bool msix_send(struct msix *msix, unsigned vector)
{
    uint32_t now = control(msix);
    if (!(now & CONTROL_ENABLE))
        return false;
    if (vector >= msix->vectors)
        return true;
    const struct msix_entry *entry = &msix->entries[vector];
    if (entry->control & ENTRY_MASKED || !is_open(msix, now))
        msix->pending |= 1ull << vector;
    else
        send(msix, entry);
    return true;
}

void msix_written(struct msix *msix)
{
    for (unsigned vector = 0; msix->pending && vector < msix->vectors; vector++)
        settle(msix, vector);
}

/* 6.8.2: aligned doublewords and quadwords. */
static bool is_defined(uint64_t offset, unsigned size_bytes, uint64_t end)
{
    return (size_bytes == 4 || size_bytes == 8) && offset % size_bytes == 0 &&
           offset + size_bytes <= end;
}

bool msix_table_read(struct msix *msix, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    if (!is_defined(offset, size_bytes, msix->vectors * MSIX_ENTRY_BYTES))
        return false;
    *value = 0;
    memcpy(value, (const uint8_t *)msix->entries + offset, size_bytes);
    return true;
}

bool msix_table_write(struct msix *msix, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    if (!is_defined(offset, size_bytes, msix->vectors * MSIX_ENTRY_BYTES))
        return false;
    unsigned vector = (unsigned)(offset / MSIX_ENTRY_BYTES);
    memcpy((uint8_t *)msix->entries + offset, &value, size_bytes);
    msix->entries[vector].address &= ~3ull;
    msix->entries[vector].control &= ENTRY_MASKED;
    settle(msix, vector);
    return true;
}

bool msix_pending_read(struct msix *msix, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    if (!is_defined(offset, size_bytes, MSIX_PBA_BYTES))
        return false;
    *value = size_bytes == 8 ? msix->pending : msix->pending >> 8 * offset & UINT32_MAX;
    return true;
}
