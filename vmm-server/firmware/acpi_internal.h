/* What the files that write ACPI tables share: firmware/acpi.c has the tables of `lean`, acpi_pc.c those of `pc`. */
#ifndef VMM_FIRMWARE_ACPI_INTERNAL_H
#define VMM_FIRMWARE_ACPI_INTERNAL_H

#include "firmware/acpi.h"
#include "firmware/aml.h"

#define APIC_ADDRESS 0xfee00000u
#define SPACE_MEMORY 0u
#define SPACE_IO     1u

/* Of any table (ACPI 6.5, 5.2.6). */
struct header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], table[8];
    uint32_t oem_revision;
    char creator[4];
    uint32_t creator_revision;
} __attribute__((packed));

struct rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
    uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

/* Generic address structure (5.2.3.2). */
struct generic_address {
    uint8_t space, bit_width, bit_offset, access_size;
    uint64_t address;
} __attribute__((packed));

/* The MADT and its entries (5.2.12). */
struct madt {
    struct header header;
    uint32_t local_apic, flags;
} __attribute__((packed));

struct madt_local_apic {
    uint8_t type, length, processor, id;
    uint32_t flags; /* 1: enabled */
} __attribute__((packed));

struct madt_ioapic {
    uint8_t type, length, id, reserved;
    uint32_t address, base;
} __attribute__((packed));

struct writer {
    uint8_t *data;
    size_t size_bytes, used;
    uint32_t address; /* of data, to the guest */
    struct acpi_links *links;
};

/* Room for a table; NULL: there is too little. */
void *acpi_take(struct writer *writer, size_t size_bytes);
/* Puts the address of a table into a field of another, of 4 or 8 bytes. */
void acpi_point(struct writer *writer, void *field, unsigned size_bytes, const void *table);
/* Fills in the header. */
void acpi_finish(struct writer *writer, struct header *header, const char *signature,
                 uint8_t revision, size_t length);
/* FADT, MADT, DSDT and what else a `pc` has; the tables that RSDT and XSDT name. How many; 0: too little room. */
unsigned acpi_write_pc(struct writer *writer, const struct acpi_machine *machine,
                       struct header *tables[ACPI_TABLES_MAX]);

#endif
