/* links: vmm-server/firmware/acpi.c vmm-server/firmware/acpi_pc.c vmm-server/firmware/aml.c */
/* What the tables say is compared by tests/system/test_acpi.py with what ACPICA reads in them; for that this program
 * writes them to the folder of the environment's ACPI_DUMP. */
#include "bytes.h"
#include "unit_test.h"

#include "firmware/acpi.h"
#include "layout.h"

static uint8_t tables[LAYOUT_ACPI_BYTES];
static const struct acpi_machine machine = {.vcpu_count = 4, .virtio_count = 3, .uart = true};

static const uint8_t *at(uint64_t address)
{
    CHECK(address >= LAYOUT_ACPI && address < LAYOUT_ACPI + sizeof tables);
    return tables + (address - LAYOUT_ACPI);
}

static const uint8_t *table(uint64_t address, const char *signature)
{
    const uint8_t *found = at(address);
    CHECK(memcmp(found, signature, 4) == 0);
    EXPECT(sum(found, word(found + 4, 4)), 0);
    return found;
}

static void dump(const char *name, const uint8_t *found)
{
    char path[512];
    if (!getenv("ACPI_DUMP"))
        return;
    snprintf(path, sizeof path, "%s/%s.dat", getenv("ACPI_DUMP"), name);
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(found, word(found + 4, 4), 1, file) == 1 && fclose(file) == 0);
}

TEST(acpi_chain, "RSDP, XSDT, FADT, MADT and DSDT lead to one another, with sums of zero")
{
    CHECK(acpi_write(tables, sizeof tables, LAYOUT_ACPI, &machine, NULL));
    CHECK(memcmp(tables, "RSD PTR ", 8) == 0);
    EXPECT(sum(tables, 20), 0);
    EXPECT(sum(tables, 36), 0);
    const uint8_t *xsdt = table(word(tables + 24, 8), "XSDT");
    EXPECT(word(xsdt + 4, 4), 36 + 2 * 8);
    const uint8_t *fadt = table(word(xsdt + 36, 8), "FACP");
    const uint8_t *madt = table(word(xsdt + 44, 8), "APIC");
    EXPECT(word(fadt + 40, 4), word(fadt + 140, 8));
    dump("dsdt", table(word(fadt + 140, 8), "DSDT"));
    dump("fadt", fadt);
    dump("madt", madt);
}

TEST(acpi_fadt, "the FADT is hardware-reduced, with reset register, sleep control and sleep status")
{
    CHECK(acpi_write(tables, sizeof tables, LAYOUT_ACPI, &machine, NULL));
    const uint8_t *fadt = at(word(at(word(tables + 24, 8)) + 36, 8));
    CHECK(word(fadt + 112, 4) & 1u << 20);
    CHECK(word(fadt + 112, 4) & 1u << 10);
    EXPECT(word(fadt + 109, 2), 0x24);
    EXPECT(word(fadt + 116 + 4, 8), LAYOUT_PORT_RESET);
    EXPECT(fadt[128], LAYOUT_RESET_VALUE);
    EXPECT(word(fadt + 244 + 4, 8), LAYOUT_PORT_SLEEP_CONTROL);
    EXPECT(word(fadt + 256 + 4, 8), LAYOUT_PORT_SLEEP_STATUS);
}

TEST(acpi_madt, "the MADT has a local APIC for each vCPU and one IOAPIC")
{
    for (unsigned vcpus = 1; vcpus <= 8; vcpus++) {
        CHECK(acpi_write(tables, sizeof tables, LAYOUT_ACPI,
                         &(struct acpi_machine){.vcpu_count = vcpus}, NULL));
        const uint8_t *madt = at(word(at(word(tables + 24, 8)) + 44, 8));
        const uint8_t *entry = madt + 44;
        for (unsigned n = 0; n < vcpus; n++, entry += 8) {
            EXPECT(word(entry, 2), 0x0800);
            EXPECT(entry[3], n);
            EXPECT(word(entry + 4, 4), 1);
        }
        EXPECT(word(entry, 2), 0x0c01);
        EXPECT(word(entry + 4, 4), 0xfec00000);
        EXPECT(word(madt + 4, 4), 44 + vcpus * 8 + 12);
    }
}

TEST(acpi_room, "with too little room nothing is written beyond it, and that is said")
{
    CHECK(acpi_write(tables, sizeof tables, LAYOUT_ACPI, &machine, NULL));
    for (size_t room = 0; room < 600; room++) {
        uint8_t *small = malloc(room ? room : 1);
        CHECK(!acpi_write(small, room, LAYOUT_ACPI, &machine, NULL));
        free(small);
    }
}

/* ---- the board pc -------------------------------------------------------------------------------------- */

static const struct acpi_machine pc = {
    .vcpu_count = 2, .uart = true, .pc = true, .floppy = true, .pm_base = 0x600, .pci_hole = 0xc0000000};

TEST(acpi_pc, "a pc's FADT names the PIIX4's blocks, its DSDT what there is of the machine")
{
    CHECK(acpi_write(tables, sizeof tables, LAYOUT_ACPI, &pc, NULL));
    const uint8_t *xsdt = table(word(tables + 24, 8), "XSDT");
    const uint8_t *fadt = table(word(xsdt + 36, 8), "FACP");
    EXPECT(word(fadt + 46, 2), 9);
    EXPECT(word(fadt + 56, 4), 0x600);
    EXPECT(word(fadt + 64, 4), 0x604);
    EXPECT(word(fadt + 76, 4), 0x608);
    EXPECT(word(fadt + 172 + 4, 8), 0x604);
    CHECK(!(word(fadt + 112, 4) & 1u << 20)); /* not hardware-reduced */
    dump("dsdt-pc", table(word(fadt + 40, 4), "DSDT"));
    dump("fadt-pc", fadt);
    dump("madt-pc", table(word(xsdt + 44, 8), "APIC"));
    dump("hpet-pc", table(word(xsdt + 52, 8), "HPET"));
}

TEST(acpi_pc_madt, "the timer's interrupt is on input 2 of the IOAPIC, the SCI and PCI's are level "
                   "and active high")
{
    CHECK(acpi_write(tables, sizeof tables, LAYOUT_ACPI, &pc, NULL));
    const uint8_t *madt = table(word(at(word(tables + 24, 8)) + 44, 8), "APIC");
    static const uint8_t wanted[][3] = {
        {0, 2, 0}, {5, 5, 0xd}, {9, 9, 0xd}, {10, 10, 0xd}, {11, 11, 0xd}};
    EXPECT(word(madt + 40, 4), 1); /* 8259s are there too */
    const uint8_t *entry = madt + 44 + 2 * 8 + 12;
    for (unsigned i = 0; i < 5; i++, entry += 10) {
        EXPECT(word(entry, 2), 0x0a02);
        EXPECT(entry[3], wanted[i][0]);
        EXPECT(word(entry + 4, 4), wanted[i][1]);
        EXPECT(word(entry + 8, 2), wanted[i][2]);
    }
    EXPECT(word(entry, 2), 0x0604);
    EXPECT(entry[5], 1); /* NMI: LINT1 */
}
