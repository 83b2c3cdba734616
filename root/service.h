/*
 * The servers that partitions share, block-server and net-server, and their clients: a client is one disk, or one
 * network card, of one partition, or a native task's sockets in one network. Its channel is made once and kept over the lives of both sides.
 *
 * Root gives a server the memory of a client's guest when the partition is built, and takes it back before anyone else
 * has that memory: the server says that no device reads or writes it any more. A server that does not say so is
 * stopped, and its devices are cut off and reset, which comes to the same; then it is started again.
 */
#ifndef ROOT_SERVICE_H
#define ROOT_SERVICE_H

#include "devices.h"
#include "protocol/block.h"
#include "protocol/service.h"
#include "root.h"

struct service_client {
    uint32_t object;       /* which volume or network */
    struct resident *task; /* its VMM's place; it has a task there while `live` */
    bool live;             /* the partition is there */
    bool mapped;           /* the server sees its memory */
    uint64_t physical;     /* the channel */
    uint64_t changes,
        changes_bytes;  /* of a private volume: physical memory that is kept (block.h) */
    uint64_t ring_bits; /* what rings the VMM */
    uint64_t flags;     /* SERVICE_SOCKETS */
    uint64_t parameter, rate_bytes, rate_requests;
};

struct service {
    const char *program;
    enum plan_device device;
    enum task_channel_kind kind;
    const struct plan_server *wanted; /* NULL: the file needs none */
    struct resident *task;            /* NULL: it does not run */
    const char *failure;              /* it has done what ends it; see supervise.c */
    cap_slot_t notification;
    struct server_channel log;
    struct device_set devices;
    struct service_client clients[SERVICE_CLIENTS_MAX];
    unsigned client_count;
    const volatile void
        *status; /* root's view of what it tells of itself; NULL while it does not run */
    uint64_t dma, dma_bytes; /* physical: what it has for its devices */
    uint32_t faults;         /* of its devices, in this life */
    uint64_t lives, started_at;
    bool answered; /* root's first request, in this life */
    bool waits;    /* for restart_at, to be started again */
    uint64_t restart_at;
    uint32_t restarts;
};
#define SERVICES 2u
extern struct service services[SERVICES];

/* Physical pages that the network server sees of root's (struct system_status); 0: none. */
extern uint64_t service_system_status;
#define SYSTEM_STATUS_PAGES 5u

/* Where the server sees the memory of a client's guest, and its changes. */
static inline uint64_t service_client_address(const struct service *service,
                                              const struct service_client *client)
{
    return SERVICE_MEMORY_BASE + (uint64_t)(client - service->clients) * SERVICE_MEMORY_STRIDE;
}

static inline uint64_t service_changes_address(const struct service *service,
                                               const struct service_client *client)
{
    return BLOCK_CHANGES_BASE + (uint64_t)(client - service->clients) * SERVICE_MEMORY_STRIDE;
}

/* Finds the devices and makes what outlives a server; then starts those that the file needs. After the partitions have
 * their places, before the first is started. */
void services_start(void);
/* Starts one, anew after its end, and gives it all clients that there are. */
void service_start(struct service *service);
/* Its devices reach memory no more. Before anything else that is done about its death. */
void service_cut_off(struct service *service);
/* Ends it; its clients wait for the next. */
void service_end(struct service *service);
/* Where its task is, or will be. */
struct resident *service_place(const struct service *service);
/* The one that this task is, or that has this name; NULL: none. */
struct service *service_of(const struct resident *task);
struct service *service_named(const char *name);
/* It drives a device that reaches all memory. */
bool service_is_trusted(const struct service *service);
/* "block-server, net-server": those that are. Empty: none. */
void services_trusted(char *text, size_t size_bytes);

/* A partition's channels to the servers, in the order of its disks, then its cards. */
void services_add_channels(struct resident *task);
/* The servers get its guest's memory. NULL, or why not. */
const char *services_attach(struct resident *task);
/* They have it no more, nor any device. */
void services_detach(struct resident *task);

/* ---- for the audit (service_audit.c) ----------------------------------------------------------------------------------- */

/* Has this server these bytes, at this address, of a client? */
bool service_has_memory(const struct resident *task, uint64_t first, uint64_t last,
                        uint64_t address);
/* Are these bytes a client's, that one of the tasks serves and the other is, or that both serve? */
bool service_shares(const struct resident *a, const struct resident *b, uint64_t first,
                    uint64_t last);
/* Has this server these bytes for its devices, or of a client whose memory it has? */
bool service_has_dma(const struct resident *task, uint64_t first, uint64_t last);
bool service_has_ports(const struct resident *task, uint64_t first, uint64_t last);
/* The n-th interrupt of this server; 0: there is none. */
cap_slot_t service_interrupt(const struct resident *task, unsigned n);
/* Is this the badge of a client of `from`, at the endpoint of `to`? */
bool service_may_call(const struct resident *from, const struct resident *to, uint64_t badge);
bool service_may_ring(const struct resident *from, const struct resident *to, uint64_t bits);

#endif
