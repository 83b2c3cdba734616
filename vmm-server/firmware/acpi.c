/*
 * ACPI tables for a machine without the PC's old devices (ACPI 6.5, section 5.2; hardware-reduced: 3.11.1). They tell
 * a guest where the devices are that it can't find by itself, how many processors there are, and how to power off
 * and to reset.
 */
#include "firmware/acpi_internal.h"
#include "layout.h"

#include "devices/ioapic.h"
#include "string.h"

/* 5.2.9. What a hardware-reduced machine lacks stays zero. */
struct fadt {
    struct header header;
    uint32_t facs, dsdt;
    uint8_t before_flags[65];
    uint16_t boot_architecture;
    uint8_t reserved;
    uint32_t flags;
    struct generic_address reset;
    uint8_t reset_value;
    uint16_t arm_boot;
    uint8_t minor;
    uint64_t x_facs, x_dsdt;
    struct generic_address blocks[8];
    struct generic_address sleep_control, sleep_status;
    uint64_t hypervisor;
} __attribute__((packed));
_Static_assert(offsetof(struct fadt, boot_architecture) == 109, "5.2.9: IAPC_BOOT_ARCH");
_Static_assert(offsetof(struct fadt, flags) == 112, "5.2.9: Flags");
_Static_assert(sizeof(struct fadt) == 276, "the FADT of ACPI 6");

/* IAPC_BOOT_ARCH: no VGA, no CMOS clock. Neither LEGACY_DEVICES nor 8042: a guest doesn't look for them. */
#define BOOT_NO_VGA  (1u << 2)
#define BOOT_NO_CMOS (1u << 5)
/* Flags: WBINVD works; no power and sleep buttons of the fixed kind; RESET_REG works; hardware-reduced. */
#define FADT_FLAGS (1u << 0 | 1u << 4 | 1u << 5 | 1u << 10 | 1u << 20)

static uint8_t checksum(const void *data, size_t size_bytes)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < size_bytes; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)data)[i]);
    return (uint8_t)-sum;
}

void *acpi_take(struct writer *writer, size_t size_bytes)
{
    size_t at = (writer->used + 15) & ~(size_t)15;
    if (at > writer->size_bytes || size_bytes > writer->size_bytes - at)
        return NULL;
    writer->used = at + size_bytes;
    return memset(writer->data + at, 0, size_bytes);
}

static uint32_t offset_of(const struct writer *writer, const void *place)
{
    return (uint32_t)((const uint8_t *)place - writer->data);
}

void acpi_point(struct writer *writer, void *field, unsigned size_bytes, const void *table)
{
    const uint64_t address = writer->address + (uint64_t)offset_of(writer, table);
    struct acpi_links *links = writer->links;
    memcpy(field, &address, size_bytes);
    if (links && links->pointer_count < ACPI_LINKS_MAX) {
        links->pointers[links->pointer_count].offset = offset_of(writer, field);
        links->pointers[links->pointer_count++].size_bytes = (uint8_t)size_bytes;
    }
}

/* The byte that makes the sum of `length` bytes zero. */
static void add_sum(struct writer *writer, const void *data, size_t length, uint8_t *sum)
{
    struct acpi_links *links = writer->links;
    *sum = 0;
    *sum = checksum(data, length);
    if (links && links->sum_count < ACPI_LINKS_MAX) {
        links->sums[links->sum_count].offset = offset_of(writer, data);
        links->sums[links->sum_count].length = (uint32_t)length;
        links->sums[links->sum_count++].sum = offset_of(writer, sum);
    }
}

void acpi_finish(struct writer *writer, struct header *header, const char *signature,
                 uint8_t revision, size_t length)
{
    memcpy(header->signature, signature, 4);
    header->length = (uint32_t)length;
    header->revision = revision;
    memcpy(header->oem, "SEPTUM", 6);
    memcpy(header->table, "SEPTUMVM", 8);
    header->oem_revision = 1;
    memcpy(header->creator, "SPTM", 4);
    header->creator_revision = 1;
    add_sum(writer, header, length, &header->checksum);
}

static void write_uart(struct aml *aml)
{
    size_t device = aml_open_device(aml, "COM1");
    aml_name(aml, "_HID");
    aml_eisa_id(aml, "PNP0501");
    aml_name(aml, "_UID");
    aml_integer(aml, 1);
    size_t resources = aml_resources_begin(aml);
    aml_resource_ports(aml, LAYOUT_PORT_UART, 8);
    aml_resource_interrupt(aml, LAYOUT_LINE_UART);
    aml_resources_end(aml, resources);
    aml_close(aml, device);
}

/* QEMU's pvpanic, which Linux knows by this identifier (Linux, drivers/misc/pvpanic). */
static void write_pvpanic(struct aml *aml)
{
    size_t device = aml_open_device(aml, "PANC");
    aml_name(aml, "_HID");
    aml_string(aml, "QEMU0001");
    size_t resources = aml_resources_begin(aml);
    aml_resource_ports(aml, LAYOUT_PORT_PVPANIC, 1);
    aml_resources_end(aml, resources);
    aml_close(aml, device);
}

static void write_virtio(struct aml *aml, unsigned n)
{
    const char name[4] = {'V', 'R', '0', (char)('0' + n)};
    size_t device = aml_open_device(aml, name);
    aml_name(aml, "_HID");
    aml_string(aml, "LNRO0005");
    aml_name(aml, "_UID");
    aml_integer(aml, n);
    size_t resources = aml_resources_begin(aml);
    aml_resource_memory(aml, (uint32_t)(LAYOUT_VIRTIO + n * LAYOUT_VIRTIO_PITCH), 0x200);
    aml_resource_interrupt(aml, LAYOUT_LINE_VIRTIO + n);
    aml_resources_end(aml, resources);
    aml_close(aml, device);
}

static struct header *write_dsdt(struct writer *writer, const struct acpi_machine *machine)
{
    struct header *header = acpi_take(writer, sizeof *header);
    if (!header)
        return NULL;
    struct aml aml = {writer->data + writer->used, writer->size_bytes - writer->used, 0, false};
    aml_name(&aml, "_S5_");
    size_t package = aml_open_package(&aml, 2);
    aml_integer(&aml, LAYOUT_SLEEP_TYPE);
    aml_integer(&aml, 0);
    aml_close(&aml, package);
    size_t scope = aml_open_scope(&aml, "\\_SB_");
    write_pvpanic(&aml);
    if (machine->uart)
        write_uart(&aml);
    for (unsigned n = 0; n < machine->virtio_count; n++)
        write_virtio(&aml, n);
    aml_close(&aml, scope);
    writer->used += aml.length;
    acpi_finish(writer, header, "DSDT", 2, sizeof *header + aml.length);
    return aml.full ? NULL : header;
}

static struct generic_address port(uint16_t address)
{
    return (struct generic_address){SPACE_IO, 8, 0, 1, address};
}

static struct header *write_fadt(struct writer *writer, const struct header *dsdt)
{
    struct fadt *fadt = acpi_take(writer, sizeof *fadt);
    if (!fadt)
        return NULL;
    fadt->boot_architecture = BOOT_NO_VGA | BOOT_NO_CMOS;
    fadt->flags = FADT_FLAGS;
    fadt->reset = port(LAYOUT_PORT_RESET);
    fadt->reset_value = LAYOUT_RESET_VALUE;
    fadt->minor = 5;
    acpi_point(writer, (uint8_t *)fadt + offsetof(struct fadt, dsdt), 4, dsdt);
    acpi_point(writer, (uint8_t *)fadt + offsetof(struct fadt, x_dsdt), 8, dsdt);
    fadt->sleep_control = port(LAYOUT_PORT_SLEEP_CONTROL);
    fadt->sleep_status = port(LAYOUT_PORT_SLEEP_STATUS);
    acpi_finish(writer, &fadt->header, "FACP", 6, sizeof *fadt);
    return &fadt->header;
}

static struct header *write_madt(struct writer *writer, unsigned vcpu_count)
{
    size_t length = sizeof(struct madt) + vcpu_count * sizeof(struct madt_local_apic) +
                    sizeof(struct madt_ioapic);
    struct madt *madt = acpi_take(writer, length);
    if (!madt)
        return NULL;
    madt->local_apic = APIC_ADDRESS;
    struct madt_local_apic *apic = (struct madt_local_apic *)(madt + 1);
    for (unsigned n = 0; n < vcpu_count; n++)
        *apic++ = (struct madt_local_apic){0, sizeof *apic, (uint8_t)n, (uint8_t)n, 1};
    *(struct madt_ioapic *)apic =
        (struct madt_ioapic){1, sizeof(struct madt_ioapic), 0, 0, (uint32_t)IOAPIC_ADDRESS, 0};
    acpi_finish(writer, &madt->header, "APIC", 5, length);
    return &madt->header;
}

/* The tables of `lean`, that the XSDT names. How many; 0: there is too little room. */
static unsigned write_lean(struct writer *writer, const struct acpi_machine *machine,
                           struct header *tables[ACPI_TABLES_MAX])
{
    struct header *dsdt = write_dsdt(writer, machine);
    tables[0] = dsdt ? write_fadt(writer, dsdt) : NULL;
    tables[1] = tables[0] ? write_madt(writer, machine->vcpu_count) : NULL;
    return tables[1] ? 2 : 0;
}

/* XSDT, or RSDT with its entries of 4 bytes (5.2.7, 5.2.8). NULL: there is too little room. */
static struct header *write_root(struct writer *writer, const char *signature, unsigned entry_bytes,
                                 struct header *const *tables, unsigned count)
{
    size_t length = sizeof(struct header) + count * entry_bytes;
    struct header *root = acpi_take(writer, length);
    if (!root)
        return NULL;
    for (unsigned i = 0; i < count; i++)
        acpi_point(writer, (uint8_t *)(root + 1) + i * entry_bytes, entry_bytes, tables[i]);
    acpi_finish(writer, root, signature, 1, length);
    return root;
}

_Static_assert(sizeof(struct rsdp) == ACPI_RSDP_BYTES, "5.2.5.3");

bool acpi_write(void *tables, size_t size_bytes, uint32_t address,
                const struct acpi_machine *machine, struct acpi_links *links)
{
    struct writer writer = {tables, size_bytes, 0, address, links};
    struct header *named[ACPI_TABLES_MAX];
    struct rsdp *rsdp = acpi_take(&writer, sizeof *rsdp);
    if (!rsdp)
        return false;
    unsigned count =
        machine->pc ? acpi_write_pc(&writer, machine, named) : write_lean(&writer, machine, named);
    struct header *xsdt = count ? write_root(&writer, "XSDT", 8, named, count) : NULL;
    struct header *rsdt = xsdt && machine->pc ? write_root(&writer, "RSDT", 4, named, count) : NULL;
    if (!xsdt || (machine->pc && !rsdt))
        return false;
    memcpy(rsdp->signature, "RSD PTR ", 8);
    memcpy(rsdp->oem, "SEPTUM", 6);
    rsdp->revision = 2;
    rsdp->length = sizeof *rsdp;
    acpi_point(&writer, (uint8_t *)rsdp + offsetof(struct rsdp, xsdt), 8, xsdt);
    if (rsdt)
        acpi_point(&writer, (uint8_t *)rsdp + offsetof(struct rsdp, rsdt), 4, rsdt);
    add_sum(&writer, rsdp, offsetof(struct rsdp, length), &rsdp->checksum);
    add_sum(&writer, rsdp, sizeof *rsdp, &rsdp->extended_checksum);
    if (links)
        links->used = (uint32_t)writer.used;
    return true;
}
