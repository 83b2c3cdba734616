/*
 * The DMAR table: where the units of the IOMMU are (VT-d 3.4, 8.1 to 8.4). All units use the same tables here, so it
 * does not matter which unit a device belongs to, but it has to belong to one. What is not as it should be makes the
 * whole table unusable: who is not sure what the IOMMU sees is not protected by it.
 */
#include "x86/platform.h"
#include "x86/processor.h"

#define DMAR_FIRST_ENTRY 12u /* after host address width, flags, reserved bytes */
#define DMAR_REMAPS      1u  /* flags: interrupts can be remapped */
#define ENTRY_HEAD       16u /* of a unit: type, length, flags, size, segment, address */
#define RESERVED_HEAD    24u /* of reserved memory: type, length, segment, base, last byte */
#define SCOPE_HEAD \
    6u /* type, length, reserved, identifier, bus: then pairs of device and function */
#define SCOPE_DIRECT   8u /* the length with one pair: not behind a bridge */
#define SCOPE_ENDPOINT 1u
#define SCOPE_IOAPIC   3u
#define UNIT_ALL       1u /* all devices that no other unit has */

enum dmar_type { DMAR_UNIT = 0, DMAR_RESERVED = 1 };

static uint64_t read(const uint8_t *at, unsigned size_bytes)
{
    uint64_t value = 0;
    memcpy(&value, at, size_bytes);
    return value;
}

/* Device scopes. Of those behind bridges only the bridge is told, and the way from there would have to be looked for:
 * unless a unit has all devices, they are none of the IOMMU's. */
static bool scopes_read(struct dmar_facts *facts, const uint8_t *scope, const uint8_t *end)
{
    for (; scope < end; scope += scope[1]) {
        if (end - scope < SCOPE_HEAD || scope[1] < SCOPE_HEAD || scope[1] > end - scope)
            return false;
        if (scope[1] != SCOPE_DIRECT)
            continue;
        uint16_t source = (uint16_t)(scope[5] << 8 | (scope[6] & 31) << 3 | (scope[7] & 7));
        if (scope[0] == SCOPE_ENDPOINT && facts->device_count < DMAR_DEVICES_MAX)
            facts->devices[facts->device_count++] = source;
        if (scope[0] == SCOPE_IOAPIC && facts->ioapic_count < ACPI_IOAPICS_MAX) {
            facts->ioapics[facts->ioapic_count].id = scope[4];
            facts->ioapics[facts->ioapic_count++].source = source;
        }
    }
    return true;
}

static bool unit_read(struct dmar_facts *facts, const uint8_t *entry, unsigned length)
{
    paddr_t address = length < ENTRY_HEAD ? 0 : read(entry + 8, 8);
    if (!address || address & PAGE_MASK || address >> 52 || read(entry + 6, 2) ||
        facts->unit_count == DMAR_UNITS_MAX)
        return false;
    for (unsigned i = 0; i < facts->unit_count; i++)
        if (facts->units[i] == address)
            return false;
    facts->units[facts->unit_count++] = address;
    facts->all_devices |= entry[4] & UNIT_ALL;
    return scopes_read(facts, entry + ENTRY_HEAD, entry + length);
}

static bool entry_read(struct dmar_facts *facts, const uint8_t *entry, unsigned length)
{
    if (read(entry, 2) == DMAR_UNIT)
        return unit_read(facts, entry, length);
    if (read(entry, 2) == DMAR_RESERVED && length >= RESERVED_HEAD)
        printk("DMA: the firmware wants memory 0x%lx-0x%lx for a device, which gets none\n",
               read(entry + 8, 8), read(entry + 16, 8));
    return true;
}

bool dmar_read(struct dmar_facts *facts, const uint8_t *body, uint32_t size_bytes)
{
    *facts = (struct dmar_facts){.remaps_interrupts = size_bytes > 1 && body[1] & DMAR_REMAPS};
    uint32_t at = DMAR_FIRST_ENTRY, length = 0;
    for (; at < size_bytes; at += length) {
        length = size_bytes - at < 4 ? 0 : (uint32_t)read(body + at + 2, 2);
        if (length < 4 || length > size_bytes - at || !entry_read(facts, body + at, length))
            break;
    }
    if (at == size_bytes)
        return true;
    *facts = (struct dmar_facts){0};
    return false;
}
