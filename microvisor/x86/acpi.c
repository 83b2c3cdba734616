/*
 * ACPI 6.4, sections 5.2.5 to 5.2.12: from the root pointer to the MADT and the DMAR table. Tables are read through
 * temporary windows; a length or checksum that is wrong makes a table absent.
 */
#include "x86/paging.h"
#include "x86/platform.h"
#include "x86/processor.h"

struct __attribute__((packed)) rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
    uint8_t extended_checksum, reserved[3];
};
#define RSDP_V1_BYTES 20u

struct __attribute__((packed)) acpi_table {
    char signature[4];
    uint32_t length;
    uint8_t rest[28];
    uint8_t body[];
};
#define TABLE_BYTES_MAX  (1u << 20)
#define MADT_FIRST_ENTRY 8u /* after the local APIC's address and flags */

enum madt_type {
    MADT_LOCAL_APIC = 0,
    MADT_IOAPIC = 1,
    MADT_LOCAL_NMI = 4,
    MADT_LOCAL_APIC_ADDRESS = 5,
    MADT_X2APIC = 9,
    MADT_X2APIC_NMI = 10,
};
#define MADT_USABLE 3u /* enabled, or can be brought online */
#define APIC_ID_MAX 254u

struct acpi_facts acpi;

static bool checksum_good(const void *data, uint64_t size_bytes)
{
    uint8_t sum = 0;
    for (uint64_t i = 0; i < size_bytes; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
    return sum == 0;
}

/* A whole table, checked; NULL if it is not good or has another signature. */
static const struct acpi_table *acpi_open(paddr_t at, const char *signature)
{
    unsigned mark = window_mark();
    const struct acpi_table *table = window_map(at, sizeof(*table), 0);
    uint32_t length = table ? table->length : 0;
    if (length >= sizeof(*table) && length <= TABLE_BYTES_MAX &&
        memcmp(table->signature, signature, 4) == 0) {
        table = window_map(at, length, 0);
        if (table && checksum_good(table, length))
            return table;
    }
    window_release(mark);
    return NULL;
}

static void add_cpu(uint32_t apic_id, uint32_t flags)
{
    bool known = !(flags & MADT_USABLE);
    for (unsigned i = 0; i < acpi.cpu_count; i++)
        known = known || acpi.apic_ids[i] == apic_id;
    if (known)
        return;
    /* Without interrupt remapping no message reaches an identifier above 254. */
    if (acpi.cpu_count == CPUS_MAX || apic_id > APIC_ID_MAX)
        acpi.cpus_left_out++;
    else
        acpi.apic_ids[acpi.cpu_count++] = apic_id;
}

/* One entry of the MADT: `length` bytes of it are inside the table. */
static void madt_entry(const uint8_t *entry, unsigned length)
{
    uint32_t words[4] = {0}; /* what is not there reads as zero */
    memcpy(words, entry, length < sizeof(words) ? length : sizeof(words));
    switch (entry[0]) {
    case MADT_LOCAL_APIC: add_cpu(words[0] >> 24, words[1]); break;
    case MADT_X2APIC: add_cpu(words[1], words[2]); break;
    case MADT_IOAPIC:
        if (acpi.ioapic_count < ACPI_IOAPICS_MAX)
            acpi.ioapics[acpi.ioapic_count++] = (struct ioapic_facts){words[1], words[2], entry[2]};
        break;
    case MADT_LOCAL_NMI: /* the pin is byte 5 */
        acpi.nmi_lints |= 1u << (words[1] >> 8 & 1);
        break;
    case MADT_X2APIC_NMI: acpi.nmi_lints |= 1u << (words[2] & 1); break;
    case MADT_LOCAL_APIC_ADDRESS: acpi.local_apic = words[1] | (paddr_t)words[2] << 32; break;
    }
}

static void madt_read(const struct acpi_table *madt)
{
    const uint8_t *entry = madt->body + MADT_FIRST_ENTRY;
    const uint8_t *end = (const uint8_t *)madt + madt->length;
    memcpy(&acpi.local_apic, madt->body, sizeof(uint32_t));
    for (; end - entry >= 2 && entry[1] >= 2 && entry[1] <= end - entry; entry += entry[1])
        madt_entry(entry, entry[1]);
}

/* The first good one that the root table tells, in entries of so many bytes; or NULL. */
static const struct acpi_table *acpi_find(const struct acpi_table *root, unsigned entry_bytes,
                                          const char *signature)
{
    const struct acpi_table *found = NULL;
    for (uint64_t end = entry_bytes; !found && end <= root->length - sizeof(*root); end += entry_bytes) {
        paddr_t address = 0;
        memcpy(&address, root->body + end - entry_bytes, entry_bytes);
        found = acpi_open(address, signature);
    }
    return found;
}

static bool tables_read(paddr_t rsdp_at)
{
    const struct rsdp *rsdp = window_map(rsdp_at, sizeof(*rsdp), 0);
    if (!rsdp || memcmp(rsdp->signature, "RSD PTR ", 8) != 0 || !checksum_good(rsdp, RSDP_V1_BYTES))
        return false;
    bool extended = rsdp->revision >= 2 && rsdp->xsdt && checksum_good(rsdp, sizeof(*rsdp));
    unsigned entry_bytes = extended ? 8 : 4;
    const struct acpi_table *root =
        extended ? acpi_open(rsdp->xsdt, "XSDT") : acpi_open(rsdp->rsdt, "RSDT");
    if (!root)
        return false;
    const struct acpi_table *madt = acpi_find(root, entry_bytes, "APIC");
    const struct acpi_table *dmar = acpi_find(root, entry_bytes, "DMAR");
    if (madt)
        madt_read(madt);
    if (dmar && !dmar_read(&acpi.dmar, dmar->body, dmar->length - (uint32_t)sizeof(*dmar)))
        printk("DMA: the firmware's DMAR table is not good, or not for this kernel\n");
    return madt;
}

void acpi_read(paddr_t rsdp)
{
    unsigned mark = window_mark();
    acpi.local_apic = 0xfee00000;
    if (!rsdp || !tables_read(rsdp))
        printk("no ACPI tables: one processor, and no interrupt lines\n");
    window_release(mark);
}
