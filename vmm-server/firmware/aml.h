/*
 * Writes AML, the byte code of ACPI's tables (ACPI 6.5, chapter 20), into a buffer. A writer that runs out of
 * room becomes `full` and writes no more; the caller asks once, at the end.
 */
#ifndef VMM_FIRMWARE_AML_H
#define VMM_FIRMWARE_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
    uint8_t *data;
    size_t size_bytes, length;
    bool full;
};

void aml_byte(struct aml *aml, uint8_t byte);
void aml_bytes(struct aml *aml, const void *bytes, size_t size_bytes);
/* A name of four characters, after its NameOp. */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
/* An EISA identifier as PNP0501, packed as ACPI has it. */
void aml_eisa_id(struct aml *aml, const char *id);

/* Something with a length in front: aml_open returns what aml_close wants. Its length takes two bytes. */
size_t aml_open_scope(struct aml *aml, const char *path);
size_t aml_open_device(struct aml *aml, const char *name);
size_t aml_open_package(struct aml *aml, uint8_t elements);
void aml_close(struct aml *aml, size_t opened);

/* A _CRS: descriptors between begin and end. */
size_t aml_resources_begin(struct aml *aml);
void aml_resource_ports(struct aml *aml, uint16_t base, uint8_t count);
void aml_resource_memory(struct aml *aml, uint32_t base, uint32_t size_bytes);
/* Edge, active high, exclusive. */
void aml_resource_interrupt(struct aml *aml, uint32_t line);
void aml_resources_end(struct aml *aml, size_t begun);

#endif
