/*
 * The ACPI tables of a `pc` (ACPI 2.0 and later, for systems of the time before 64 bits too): a PIIX4's power management
 * blocks, 8259s beside the IOAPIC, HPET. The DSDT is compiled before (dsdt_pc.asl).
 */
#include "firmware/acpi_internal.h"
#include "firmware/dsdt_pc.h"
#include "layout.h"

#include "devices/ioapic.h"
#include "string.h"

/* The blocks of a PIIX4, from its base on. */
#define PM_EVENT     0u
#define PM_CONTROL   4u
#define PM_TIMER     8u
#define SCI          9u
#define HPET_ADDRESS 0xfed00000u
/* Intel's vendor number, 64-bit counter, legacy replacement, 3 comparators: HPET 1.0a, 2.3.4 and 3.2.4. */
#define HPET_ID      0x8086a201u
#define HPET_MINIMUM 100u

/* 5.2.9, as of ACPI 2.0. */
struct fadt {
    struct header header;
    uint32_t facs, dsdt;
    uint8_t model, profile;
    uint16_t sci;
    uint32_t smi_command;
    uint8_t acpi_enable, acpi_disable, s4bios, pstate;
    uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer, gpe0, gpe1;
    uint8_t event_bytes, control_bytes, pm2_bytes, timer_bytes, gpe0_bytes, gpe1_bytes, gpe1_base,
        cst;
    uint16_t c2_latency, c3_latency, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t boot_architecture;
    uint8_t reserved;
    uint32_t flags;
    struct generic_address reset;
    uint8_t reset_value, reserved2[3];
    uint64_t x_facs, x_dsdt;
    struct generic_address x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control,
        x_pm2_control, x_pm_timer, x_gpe0, x_gpe1;
} __attribute__((packed));
_Static_assert(offsetof(struct fadt, flags) == 112, "5.2.9: Flags");
_Static_assert(sizeof(struct fadt) == 244, "the FADT of ACPI 2.0");

/* IAPC_BOOT_ARCH: LEGACY_DEVICES, 8042. */
#define BOOT_LEGACY 3u
/* Flags: WBINVD, PROC_C1, SLP_BUTTON (there is none of the fixed kind), RTC_S4, TMR_VAL_EXT, RESET_REG_SUP. The power
 * button is of the fixed kind. */
#define FADT_FLAGS    (1u << 0 | 1u << 2 | 1u << 5 | 1u << 7 | 1u << 8 | 1u << 10)
#define LATENCY_NONE  0xfffu /* C2 and C3 are not there */
#define CENTURY       0x32u
#define FADT_REVISION 3u

#define FACS_BYTES    64u
#define FACS_VERSION  1u

#define MADT_PC_AT 1u /* flags: there are 8259s too */

struct madt_override {
    uint8_t type, length, bus, source;
    uint32_t line;
    uint16_t flags; /* 0: as the bus has it; 0xd: active high, level */
} __attribute__((packed));

struct madt_nmi {
    uint8_t type, length, processor;
    uint16_t flags;
    uint8_t input; /* LINT1 */
} __attribute__((packed));

enum { MADT_LOCAL_APIC, MADT_IOAPIC, MADT_OVERRIDE, MADT_LOCAL_NMI = 4 };

#define LEVEL_HIGH     0xdu
#define ALL_PROCESSORS 0xffu

static const struct madt_override overrides[] = {
    {MADT_OVERRIDE, sizeof(struct madt_override), 0, 0, 2, 0},
    {MADT_OVERRIDE, sizeof(struct madt_override), 0, 5, 5, LEVEL_HIGH},
    {MADT_OVERRIDE, sizeof(struct madt_override), 0, SCI, SCI, LEVEL_HIGH},
    {MADT_OVERRIDE, sizeof(struct madt_override), 0, 10, 10, LEVEL_HIGH},
    {MADT_OVERRIDE, sizeof(struct madt_override), 0, 11, 11, LEVEL_HIGH},
};

/* HPET 1.0a, 3.2.4. */
struct hpet {
    struct header header;
    uint32_t id;
    struct generic_address address;
    uint8_t number;
    uint16_t minimum_ticks;
    uint8_t protection;
} __attribute__((packed));

static struct generic_address port(uint16_t address, uint8_t bytes)
{
    return (struct generic_address){SPACE_IO, (uint8_t)(8 * bytes), 0, 0, address};
}

/* ---- DSDT ------------------------------------------------------------------------------------------------ */

/* Changes the constant of a Name of four bytes: NameOp, its name, DWordPrefix, the number (20.2.5.1). False: it is not
 * there. */
static bool set_constant(uint8_t *aml, size_t size_bytes, const char *name, uint32_t value)
{
    uint8_t pattern[6] = {0x08, 0, 0, 0, 0, 0x0c};
    memcpy(pattern + 1, name, 4);
    for (size_t at = 0; at + sizeof pattern + sizeof value <= size_bytes; at++) {
        if (memcmp(aml + at, pattern, sizeof pattern) != 0)
            continue;
        memcpy(aml + at + sizeof pattern, &value, sizeof value);
        return true;
    }
    return false;
}

static struct header *write_dsdt(struct writer *writer, const struct acpi_machine *machine)
{
    size_t length = sizeof(struct header) + sizeof dsdt_pc;
    struct header *header = acpi_take(writer, length);
    if (!header)
        return NULL;
    uint8_t *aml = (uint8_t *)(header + 1);
    memcpy(aml, dsdt_pc, sizeof dsdt_pc);
    if (!set_constant(aml, sizeof dsdt_pc, "PMIN", machine->pci_hole) ||
        !set_constant(aml, sizeof dsdt_pc, "PLEN", (uint32_t)IOAPIC_ADDRESS - machine->pci_hole) ||
        !set_constant(aml, sizeof dsdt_pc, "HAVE",
                      0x80000000u | machine->uart | machine->second_uart << 1 |
                          machine->floppy << 2))
        return NULL;
    acpi_finish(writer, header, "DSDT", 2, length);
    return header;
}

/* ---- the others -------------------------------------------------------------------------------------------- */

/* 5.2.10: 64 bytes at a multiple of 64. No sum. */
static void *write_facs(struct writer *writer)
{
    uint8_t *facs = acpi_take(writer, 2 * FACS_BYTES);
    if (!facs)
        return NULL;
    facs += -(size_t)(facs - writer->data) & (FACS_BYTES - 1);
    const uint32_t length = FACS_BYTES;
    memcpy(facs, "FACS", 4);
    memcpy(facs + 4, &length, sizeof length);
    facs[32] = FACS_VERSION;
    return facs;
}

static struct header *write_fadt(struct writer *writer, uint16_t base, const void *facs,
                                 const void *dsdt)
{
    struct fadt *fadt = acpi_take(writer, sizeof *fadt);
    if (!fadt)
        return NULL;
    fadt->sci = SCI;
    fadt->pm1a_event = base + PM_EVENT;
    fadt->pm1a_control = base + PM_CONTROL;
    fadt->pm_timer = base + PM_TIMER;
    fadt->event_bytes = fadt->timer_bytes = 4;
    fadt->control_bytes = 2;
    fadt->c2_latency = fadt->c3_latency = LATENCY_NONE;
    fadt->century = CENTURY;
    fadt->boot_architecture = BOOT_LEGACY;
    fadt->flags = FADT_FLAGS;
    fadt->reset = port(LAYOUT_PORT_RESET, 1);
    fadt->reset_value = LAYOUT_RESET_VALUE;
    fadt->x_pm1a_event = port((uint16_t)(base + PM_EVENT), 4);
    fadt->x_pm1a_control = port((uint16_t)(base + PM_CONTROL), 2);
    fadt->x_pm_timer = port((uint16_t)(base + PM_TIMER), 4);
    /* One form of each pointer: systems that know both complain where both are set. */
    acpi_point(writer, (uint8_t *)fadt + offsetof(struct fadt, facs), 4, facs);
    acpi_point(writer, (uint8_t *)fadt + offsetof(struct fadt, dsdt), 4, dsdt);
    acpi_finish(writer, &fadt->header, "FACP", FADT_REVISION, sizeof *fadt);
    return &fadt->header;
}

static struct header *write_madt(struct writer *writer, unsigned vcpu_count)
{
    size_t length = sizeof(struct madt) + vcpu_count * sizeof(struct madt_local_apic) +
                    sizeof(struct madt_ioapic) + sizeof overrides + sizeof(struct madt_nmi);
    struct madt *madt = acpi_take(writer, length);
    if (!madt)
        return NULL;
    madt->local_apic = APIC_ADDRESS;
    madt->flags = MADT_PC_AT;
    struct madt_local_apic *apic = (struct madt_local_apic *)(madt + 1);
    for (unsigned n = 0; n < vcpu_count; n++)
        *apic++ =
            (struct madt_local_apic){MADT_LOCAL_APIC, sizeof *apic, (uint8_t)n, (uint8_t)n, 1};
    struct madt_ioapic *ioapic = (struct madt_ioapic *)apic;
    *ioapic = (struct madt_ioapic){MADT_IOAPIC, sizeof *ioapic, 0, 0, (uint32_t)IOAPIC_ADDRESS, 0};
    memcpy(ioapic + 1, overrides, sizeof overrides);
    struct madt_nmi *nmi = (struct madt_nmi *)((uint8_t *)(ioapic + 1) + sizeof overrides);
    *nmi = (struct madt_nmi){MADT_LOCAL_NMI, sizeof *nmi, ALL_PROCESSORS, 0, 1};
    acpi_finish(writer, &madt->header, "APIC", 1, length);
    return &madt->header;
}

static struct header *write_hpet(struct writer *writer)
{
    struct hpet *hpet = acpi_take(writer, sizeof *hpet);
    if (!hpet)
        return NULL;
    hpet->id = HPET_ID;
    hpet->address = (struct generic_address){SPACE_MEMORY, 0, 0, 0, HPET_ADDRESS};
    hpet->minimum_ticks = HPET_MINIMUM;
    acpi_finish(writer, &hpet->header, "HPET", 1, sizeof *hpet);
    return &hpet->header;
}

unsigned acpi_write_pc(struct writer *writer, const struct acpi_machine *machine,
                       struct header *tables[ACPI_TABLES_MAX])
{
    struct header *dsdt = write_dsdt(writer, machine);
    void *facs = dsdt ? write_facs(writer) : NULL;
    tables[0] = facs ? write_fadt(writer, machine->pm_base, facs, dsdt) : NULL;
    tables[1] = tables[0] ? write_madt(writer, machine->vcpu_count) : NULL;
    tables[2] = tables[1] ? write_hpet(writer) : NULL;
    return tables[2] ? 3 : 0;
}
