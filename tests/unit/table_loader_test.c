/* links: vmm-server/firmware/table_loader.c vmm-server/firmware/acpi.c vmm-server/firmware/acpi_pc.c vmm-server/firmware/aml.c vmm-server/devices/fw_cfg.c vmm-server/bus.c vmm-server/guest_memory.c */
/* A loader as firmware has one (SeaBIOS, src/fw/romfile_loader.c) carries out the script; then the tables must stand. */
#include "bytes.h"
#include "unit_test.h"

#include "firmware/table_loader.h"
#include "layout.h"

#define RSDP_AT   0xf5a00u
#define TABLES_AT 0x7fe0040u

static struct table_loader loader;
static struct fw_cfg config;
static struct guest_memory memory;
static uint8_t rsdp[ACPI_RSDP_BYTES], tables[TABLE_LOADER_TABLES_BYTES];
static uint32_t used;

static const struct fw_cfg_item *file(const char *name)
{
    for (unsigned i = 0; i < config.count; i++)
        if (strcmp(config.items[i].name, name) == 0)
            return &config.items[i];
    return NULL;
}

static uint8_t *loaded(const char *name, uint32_t offset, uint32_t size_bytes)
{
    bool is_rsdp = strcmp(name, "etc/acpi/rsdp") == 0;
    CHECK(is_rsdp || strcmp(name, "etc/acpi/tables") == 0);
    CHECK((uint64_t)offset + size_bytes <= (is_rsdp ? sizeof rsdp : used));
    return (is_rsdp ? rsdp : tables) + offset;
}

static void add_pointer(const uint8_t *entry)
{
    unsigned size_bytes = entry[120];
    CHECK(size_bytes == 4 || size_bytes == 8);
    uint8_t *at = loaded((const char *)entry + 4, (uint32_t)word(entry + 116, 4), size_bytes);
    CHECK(strcmp((const char *)entry + 60, "etc/acpi/tables") == 0);
    uint64_t value = word(at, size_bytes) + TABLES_AT;
    memcpy(at, &value, size_bytes);
}

static void add_sum(const uint8_t *entry, bool anew)
{
    const char *name = (const char *)entry + 4;
    uint8_t *at = loaded(name, (uint32_t)word(entry + 60, 4), 1);
    uint32_t length = (uint32_t)word(entry + 68, 4);
    const uint8_t *from = loaded(name, (uint32_t)word(entry + 64, 4), length);
    EXPECT(*at, 0); /* edk2 relies on it */
    *at = (uint8_t)((anew ? 0 : *at) - sum(from, length));
}

/* What firmware does with the files. */
static void follow(bool anew)
{
    const struct fw_cfg_item *script = file("etc/table-loader");
    const struct fw_cfg_item *image = file("etc/acpi/tables");
    CHECK(script && image && file("etc/acpi/rsdp"));
    EXPECT(script->size_bytes % 128, 0);
    used = image->size_bytes;
    memcpy(tables, image->data, used);
    memcpy(rsdp, file("etc/acpi/rsdp")->data, sizeof rsdp);
    unsigned allocated = 0;
    for (uint32_t at = 0; at < script->size_bytes; at += 128) {
        const uint8_t *entry = (const uint8_t *)script->data + at;
        switch (word(entry, 4)) {
        case 1:
            EXPECT(at / 128, allocated); /* before all links */
            EXPECT(entry[64], strcmp((const char *)entry + 4, "etc/acpi/rsdp") ? 1 : 2);
            allocated++;
            break;
        case 2: add_pointer(entry); break;
        case 3: add_sum(entry, anew); break;
        default: CHECK(!"a command that firmware knows");
        }
    }
    EXPECT(allocated, 2);
}

static void load(const struct acpi_machine *machine, bool anew)
{
    fw_cfg_init(&config, &memory);
    CHECK(table_loader_add(&loader, machine, &config));
    follow(anew);
}

static const uint8_t *table(uint64_t address, const char *signature)
{
    CHECK(address >= TABLES_AT && address - TABLES_AT < used);
    const uint8_t *found = tables + (address - TABLES_AT);
    CHECK(memcmp(found, signature, 4) == 0);
    CHECK(word(found + 4, 4) <= used - (address - TABLES_AT));
    return found;
}

static const uint8_t *summed(uint64_t address, const char *signature)
{
    const uint8_t *found = table(address, signature);
    EXPECT(sum(found, word(found + 4, 4)), 0);
    return found;
}

TEST(table_loader_lean,
     "after the script RSDP, XSDT, FADT, MADT and DSDT of `lean` stand where the firmware put them")
{
    for (unsigned anew = 0; anew < 2; anew++) {
        load(&(struct acpi_machine){.vcpu_count = 2, .virtio_count = 3, .uart = true}, anew);
        EXPECT(sum(rsdp, 20), 0);
        EXPECT(sum(rsdp, 36), 0);
        const uint8_t *xsdt = summed(word(rsdp + 24, 8), "XSDT");
        const uint8_t *fadt = summed(word(xsdt + 36, 8), "FACP");
        summed(word(xsdt + 44, 8), "APIC");
        EXPECT(word(fadt + 40, 4), word(fadt + 140, 8));
        summed(word(fadt + 40, 4), "DSDT");
    }
}

TEST(table_loader_pc, "and those of `pc`, by RSDT and XSDT, with a FACS at a multiple of 64")
{
    load(
        &(struct acpi_machine){
            .vcpu_count = 8, .pc = true, .pm_base = 0xb000, .pci_hole = 0x80000000},
        false);
    EXPECT(sum(rsdp, 20), 0);
    EXPECT(sum(rsdp, 36), 0);
    const uint8_t *xsdt = summed(word(rsdp + 24, 8), "XSDT");
    const uint8_t *rsdt = summed(word(rsdp + 16, 4), "RSDT");
    EXPECT(word(xsdt + 4, 4), 36 + 3 * 8);
    EXPECT(word(rsdt + 4, 4), 36 + 3 * 4);
    for (unsigned i = 0; i < 3; i++)
        EXPECT(word(xsdt + 36 + 8 * i, 8), word(rsdt + 36 + 4 * i, 4));
    const uint8_t *fadt = summed(word(xsdt + 36, 8), "FACP");
    summed(word(xsdt + 44, 8), "APIC");
    summed(word(xsdt + 52, 8), "HPET");
    summed(word(fadt + 40, 4), "DSDT");
    EXPECT(word(fadt + 36, 4) % 64, 0);
    table(word(fadt + 36, 4), "FACS");
}

TEST(table_loader_power, "firmware that has moved the power management registers reads tables that "
                         "name their new place, and all sums hold")
{
    load(
        &(struct acpi_machine){
            .vcpu_count = 1, .pc = true, .pm_base = 0x600, .pci_hole = 0x80000000},
        false);
    table_loader_move_power(&loader, 0xe400);
    follow(false);
    EXPECT(sum(rsdp, 36), 0);
    const uint8_t *fadt = summed(word(summed(word(rsdp + 24, 8), "XSDT") + 36, 8), "FACP");
    EXPECT(word(fadt + 56, 4), 0xe400);
    EXPECT(word(fadt + 64, 4), 0xe404);
    EXPECT(word(fadt + 76, 4), 0xe408);
    EXPECT(word(fadt + 148 + 4, 8), 0xe400);
    EXPECT(word(fadt + 208 + 4, 8), 0xe408);
    summed(word(fadt + 40, 4), "DSDT");
}

TEST(table_loader_room, "the largest machine's script has room for all links")
{
    load(&(struct acpi_machine){.vcpu_count = 8, .virtio_count = 10, .uart = true}, false);
    CHECK(loader.count <= TABLE_LOADER_ENTRIES_MAX);
    struct fw_cfg full;
    fw_cfg_init(&full, &memory);
    for (unsigned n = 0; fw_cfg_add_number(&full, (char[]){'a', (char)('0' + n), 0}, 0, 1); n++)
        continue;
    CHECK(!table_loader_add(&loader, &(struct acpi_machine){.vcpu_count = 1}, &full));
}
