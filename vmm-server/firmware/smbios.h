/* A guest's SMBIOS tables: what the machine calls itself. */
#ifndef VMM_FIRMWARE_SMBIOS_H
#define VMM_FIRMWARE_SMBIOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SMBIOS_ANCHOR_BYTES 31u
#define SMBIOS_TABLES_BYTES 1024u

struct smbios_machine {
    const char *name; /* of the partition: the system's serial number and, digested, its UUID */
    unsigned vcpu_count;
    uint64_t memory_bytes; /* in all, of which so much is below 4 GiB: */
    uint64_t low_bytes;
};

struct smbios {
    uint8_t anchor[SMBIOS_ANCHOR_BYTES]; /* the entry point */
    uint8_t tables[SMBIOS_TABLES_BYTES];
    uint16_t used; /* of tables */
};

/* Fills it in; the guest will find the tables at `address` (0: its firmware puts them somewhere, and corrects the
 * anchor). False: there is too little room. */
bool smbios_fill(struct smbios *smbios, const struct smbios_machine *machine, uint32_t address);

#endif
