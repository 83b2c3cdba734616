/* A NOR flash that firmware keeps its variables in. The contract is at the head of flash.c. */
#ifndef VMM_DEVICES_FLASH_H
#define VMM_DEVICES_FLASH_H

#include "device.h"

#define FLASH_BLOCK_BYTES 4096u

struct flash {
    struct device_host *host;
    gpa_t base;
    uint64_t size_bytes;
    uint8_t *data;
    uint8_t command; /* whose second cycle is awaited, or what reads give */
    uint8_t status;
    bool mapped; /* the guest reads `data` without an exit */
    uint32_t
        buffer_left; /* of a buffered write: bytes that are still to come, and its confirmation */
    bool buffer_counted;
};

/* data: whole blocks, of this task; what the guest finds at base. */
void flash_init(struct flash *flash, struct device_host *host, gpa_t base, uint8_t *data,
                uint64_t size_bytes);
bool flash_attach(struct flash *flash);
/* As power-on: reads give the data. What is programmed stays. */
void flash_reset(struct flash *flash);

#endif
