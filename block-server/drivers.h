/*
 * The drivers: each finds the disks of one device. None waits for it: what takes time (a channel or port that is
 * reset, a drive that spins up) is a probe, at which the server looks again and again beside its other work. Disks
 * get their numbers in the order of the probes, so those of a later one wait until the earlier ones have ended.
 */
#ifndef BLOCK_SERVER_DRIVERS_H
#define BLOCK_SERVER_DRIVERS_H

#include "dma.h"
#include "server.h"

#define PROBE_DISKS_MAX 2u

/* One place where disks may be. A driver's structure embeds it. */
struct probe {
    /* Goes on as far as that is possible now. True: it has ended; false: *look is when to call again. */
    bool (*look)(struct probe *probe, uint64_t *look);
    const struct device_grant *grant;
    /* When it has ended: what was found, and why not more (NULL: there is no more). */
    struct disk *disks[PROBE_DISKS_MAX];
    unsigned disk_count;
    const char *problem;
    /* Of probe.c. */
    bool ended;
    struct probe *next;
};

/* NULL, or why the device can't be driven. They add their probes. */
const char *virtio_blk_start(struct server *server, const struct device_grant *grant,
                             struct dma_area *area);

const char *ide_start(struct server *server, const struct device_grant *grant,
                      struct dma_area *area);
const char *ahci_start(struct server *server, const struct device_grant *grant,
                       struct dma_area *area);

/* ---- probe.c --------------------------------------------------------------------------------------------------- */

void probe_add(struct server *server, struct probe *probe);
/* For a driver: one more disk. */
void probe_found(struct probe *probe, struct disk *disk);
/* Looks at those whose time has come; *until becomes that of the next if it is earlier. */
void probes_look(struct server *server, uint64_t *until);
/* Takes the disks of the next probe in turn. False: it goes on, or there is none any more. */
bool probes_take(struct server *server);

#endif
