/*
 * AHCI controllers: each port with a drive is a disk.
 *
 * State:    for each port a command list, received FIS and one command table, in DMA memory; one command in flight; how far its
 *           reset is. Nothing is waited for in place.
 * Features: 48-bit and 28-bit DMA commands, flush, scatter lists, addresses above 4 GiB where the controller has them, reset of
 *           a port.
 * Missing:  native command queuing, several commands in flight, port multipliers, ATAPI, hot plugging, FUA commands (a flush
 *           follows instead).
 * Spec:     Serial ATA AHCI 1.3.1, 3 (registers), 4 (structures), 10.1 (start), 10.4 (reset).
 */
#include "ata.h"
#include "drivers.h"
#include "mmio.h"

#include "print.h"
#include "string.h"
#include "syscall.h"

/* Of the controller. */
enum { HOST_CAPABILITIES = 0x00, HOST_CONTROL = 0x04, HOST_INTERRUPTS = 0x08, HOST_PORTS = 0x0c };
enum { CONTROL_INTERRUPTS = 1u << 1, CONTROL_AHCI = 1u << 31, CAPABILITY_64_BIT = 1u << 31 };
/* Of a port. */
enum {
    PORT_BASE = 0x100,
    PORT_STRIDE = 0x80,
    PORT_LIST = 0x00,
    PORT_RECEIVED = 0x08,
    PORT_INTERRUPTS = 0x10,
    PORT_INTERRUPTS_ON = 0x14,
    PORT_COMMAND = 0x18,
    PORT_TASK_FILE = 0x20,
    PORT_SIGNATURE = 0x24,
    PORT_LINK = 0x28,
    PORT_LINK_CONTROL = 0x2c,
    PORT_LINK_ERRORS = 0x30,
    PORT_ISSUE = 0x38
};
enum {
    COMMAND_START = 1 << 0,
    COMMAND_SPIN_UP = 1 << 1,
    COMMAND_POWER = 1 << 2,
    COMMAND_RECEIVE = 1 << 4,
    COMMAND_RECEIVES = 1 << 14,
    COMMAND_RUNS = 1 << 15
};
/* Interrupts: a FIS of registers, of PIO set-up, of set device bits came; and all kinds of failure (3.3.5). */
enum { INTERRUPT_DONE = 0x0b };
#define INTERRUPT_FAILED 0x7d800010u
#define SIGNATURE_DISK   0x00000101u
#define LINK_UP          3u

#define PORTS_MAX        32u
#define LINK_MS          100u /* after a reset of the link */
#define FIND_MS          20u  /* 10 are enough for a link, 10.1.2 */
#define IDENTIFY_MS      3000u
#define STOP_MS          500u /* 10.1.2 */
#define HOLD_MS          2u   /* of COMRESET, 1 at least: 10.4.2 */
#define BOUNCE_BYTES     16384u
#define REGION_BYTES     (4u << 20)
#define ERRORS_LOGGED    8u
#define FIS_TO_DEVICE    0x27u
#define FIS_COMMAND      0x80u
#define FIS_WORDS        5u
#define DEVICE_LBA       0x40u

/* Command header (4.2.2). */
struct header {
    uint16_t flags; /* words of the FIS, HEADER_WRITE */
    uint16_t regions;
    uint32_t moved_bytes;
    uint64_t table;
    uint32_t reserved[4];
};
enum { HEADER_WRITE = 1 << 6 };

/* Physical region descriptor (4.2.3.3). */
struct region {
    uint64_t physical;
    uint32_t reserved;
    uint32_t last_byte; /* size - 1, odd */
};

struct port_memory {
    struct header headers[32];
    uint8_t received[256];
    uint8_t pad[768];
    struct {
        uint8_t fis[64], atapi[16], reserved[48];
        struct region regions[DISK_PIECES_MAX];
    } table;
    uint8_t pad2[1920];
};
_Static_assert(offsetof(struct port_memory, received) == 1024 &&
                   offsetof(struct port_memory, table) == 2048 &&
                   sizeof(struct port_memory) == 6144,
               "aligned as 3.3.1, 3.3.3 and 4.2.2 want it");

enum port_state {
    PORT_READY,
    PORT_STOPS_LIST,
    PORT_STOPS_RECEIVING,
    PORT_HOLDS,  /* COMRESET is sent */
    PORT_LINKS,  /* until the link is up */
    PORT_RESETS, /* until the drive is not busy any more */
    PORT_GONE,
};
enum port_probe { PROBE_LINKS, PROBE_RESETS, PROBE_IDENTIFIES };

struct port {
    struct probe probe;
    struct dma_area *area; /* while it is looked for a drive, as the next */
    enum port_probe step;
    struct disk disk;
    struct server *server;
    enum port_state state;
    struct ata_wait wait;
    volatile uint8_t *host, *registers;
    unsigned number;
    bool lba48;
    unsigned errors;
    struct disk_command *command;
    struct port_memory *memory;
    uint64_t physical;
};

static struct port *of(struct disk *disk)
{
    return (struct port *)((uint8_t *)disk - offsetof(struct port, disk));
}

/* ---- registers ------------------------------------------------------------------------------------------------- */

static void change(const struct port *port, uint32_t clear, uint32_t set)
{
    mmio_put(port->registers, PORT_COMMAND,
             (mmio_get(port->registers, PORT_COMMAND) & ~clear) | set);
}

static bool link_is_up(const struct port *port)
{
    return (mmio_get(port->registers, PORT_LINK) & 15) == LINK_UP;
}

/* ---- reset ------------------------------------------------------------------------------------------------------ */

static void wait_for(struct port *port, unsigned limit_ms)
{
    ata_wait_begin(&port->wait, port->server->now, port->server->ticks_per_ms, limit_ms);
}

static void go_on(struct port *port, enum port_state state, unsigned limit_ms)
{
    port->state = state;
    wait_for(port, limit_ms);
}

/* 10.4.2: the link is made anew, for which the port must stand still (10.3.2: the list first, then what is received); the
 * drive forgets its commands. */
static void begin_reset(struct port *port)
{
    port->command = NULL;
    change(port, COMMAND_START, 0);
    go_on(port, PORT_STOPS_LIST, STOP_MS);
}

static void send_comreset(struct port *port)
{
    mmio_put(port->registers, PORT_LINK_CONTROL,
             (mmio_get(port->registers, PORT_LINK_CONTROL) & ~15u) | 1);
    go_on(port, PORT_HOLDS, HOLD_MS);
    port->wait.next = port->wait.end;
}

static void receive(struct port *port)
{
    uint64_t received = port->physical + offsetof(struct port_memory, received);
    mmio_put(port->registers, PORT_LINK_ERRORS, UINT32_MAX);
    mmio_put(port->registers, PORT_LIST, (uint32_t)port->physical);
    mmio_put(port->registers, PORT_LIST + 4, (uint32_t)(port->physical >> 32));
    mmio_put(port->registers, PORT_RECEIVED, (uint32_t)received);
    mmio_put(port->registers, PORT_RECEIVED + 4, (uint32_t)(received >> 32));
    change(port, 0, COMMAND_RECEIVE | COMMAND_SPIN_UP | COMMAND_POWER);
}

/* Is what the state waits for there? */
static bool is_there(const struct port *port)
{
    switch (port->state) {
    case PORT_STOPS_LIST: return !(mmio_get(port->registers, PORT_COMMAND) & COMMAND_RUNS);
    case PORT_STOPS_RECEIVING: return !(mmio_get(port->registers, PORT_COMMAND) & COMMAND_RECEIVES);
    case PORT_LINKS: return link_is_up(port);
    case PORT_RESETS:
        return !(mmio_get(port->registers, PORT_TASK_FILE) & (ATA_BUSY | ATA_REQUEST));
    default: return true; /* time alone */
    }
}

/* A port that does not stand still is reset all the same. */
static void next_state(struct port *port)
{
    switch (port->state) {
    case PORT_STOPS_LIST:
        change(port, COMMAND_RECEIVE, 0);
        go_on(port, PORT_STOPS_RECEIVING, STOP_MS);
        break;
    case PORT_STOPS_RECEIVING: send_comreset(port); break;
    case PORT_HOLDS:
        mmio_put(port->registers, PORT_LINK_CONTROL,
                 mmio_get(port->registers, PORT_LINK_CONTROL) & ~15u);
        go_on(port, PORT_LINKS, LINK_MS);
        break;
    case PORT_LINKS:
        receive(port);
        go_on(port, PORT_RESETS, ATA_RESET_MS);
        break;
    default:
        mmio_put(port->registers, PORT_INTERRUPTS, UINT32_MAX);
        change(port, 0, COMMAND_START);
        port->state = PORT_READY;
    }
}

/* As struct disk_operations.resume. */
static enum disk_progress go_on_with_reset(struct port *port, uint64_t *next)
{
    while (port->state != PORT_READY && port->state != PORT_GONE) {
        bool stops = port->state == PORT_STOPS_LIST || port->state == PORT_STOPS_RECEIVING;
        *next = port->wait.next;
        if (port->server->now < *next)
            return DISK_WAITS;
        if (is_there(port))
            next_state(port);
        else if (ata_wait_goes_on(&port->wait, port->server->now, port->server->ticks_per_ms))
            continue;
        else if (stops)
            next_state(port);
        else
            port->state = PORT_GONE;
    }
    return port->state == PORT_READY ? DISK_READY : DISK_GONE;
}

/* ---- commands --------------------------------------------------------------------------------------------------- */

/* The one command table: a register FIS to the device (Serial ATA 3.0, 10.3.4) and the regions. */
static void issue(struct port *port, uint8_t code, uint8_t device, uint64_t sector,
                  uint32_t sectors, bool writes, const struct dma_piece *pieces, unsigned count)
{
    struct port_memory *memory = port->memory;
    uint8_t *fis = memory->table.fis;
    memset(fis, 0, sizeof memory->table.fis);
    fis[0] = FIS_TO_DEVICE, fis[1] = FIS_COMMAND, fis[2] = code, fis[7] = device;
    for (unsigned i = 0; i < 3; i++) {
        fis[4 + i] = (uint8_t)(sector >> 8 * i);
        fis[8 + i] = port->lba48 ? (uint8_t)(sector >> (24 + 8 * i)) : 0;
    }
    fis[12] = (uint8_t)sectors, fis[13] = port->lba48 ? (uint8_t)(sectors >> 8) : 0;
    for (unsigned i = 0; i < count; i++)
        memory->table.regions[i] =
            (struct region){.physical = pieces[i].physical, .last_byte = pieces[i].size_bytes - 1};
    memory->headers[0] = (struct header){
        .flags = (uint16_t)(FIS_WORDS | (writes ? HEADER_WRITE : 0)),
        .regions = (uint16_t)count,
        .table = port->physical + offsetof(struct port_memory, table),
    };
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    mmio_put(port->registers, PORT_ISSUE, 1);
}

static bool submit(struct disk *disk, struct disk_command *command, const struct dma_piece *pieces,
                   unsigned count)
{
    struct port *port = of(disk);
    if (port->command || count > DISK_PIECES_MAX)
        return false;
    port->command = command;
    bool moves = command->operation != BLOCK_FLUSH;
    uint8_t high = port->lba48 || !moves ? 0 : command->sector >> 24 & 15;
    issue(port, ata_command_of(command, port->lba48), DEVICE_LBA | high,
          moves ? command->sector : 0, moves ? command->sectors : 0,
          command->operation == BLOCK_WRITE, pieces, count);
    return true;
}

static void kick(struct disk *disk)
{
    (void)disk;
}

/* Before the status is looked at: what comes afterwards interrupts again. Failures of a command are left for `poll`. */
static void interrupt(struct disk *disk)
{
    struct port *port = of(disk);
    uint32_t kept = port->command ? INTERRUPT_FAILED : 0;
    mmio_put(port->registers, PORT_INTERRUPTS, mmio_get(port->registers, PORT_INTERRUPTS) & ~kept);
    mmio_put(port->host, HOST_INTERRUPTS, 1u << port->number);
    if (disk->resetting && port->state != PORT_HOLDS)
        port->wait.next = port->server->now; /* perhaps what is waited for */
}

static void poll(struct disk *disk)
{
    struct port *port = of(disk);
    struct disk_command *command = port->command;
    uint32_t failed = mmio_get(port->registers, PORT_INTERRUPTS) & INTERRUPT_FAILED;
    if (!command || (!failed && mmio_get(port->registers, PORT_ISSUE) & 1))
        return;
    uint32_t task_file = mmio_get(port->registers, PORT_TASK_FILE);
    uint64_t bytes =
        command->operation == BLOCK_FLUSH ? 0 : (uint64_t)command->sectors * BLOCK_SECTOR_BYTES;
    bool good = !failed && !(task_file & (ATA_ERROR | ATA_FAULT)) &&
                __atomic_load_n(&port->memory->headers[0].moved_bytes, __ATOMIC_ACQUIRE) == bytes;
    if (!good) {
        if (port->errors++ < ERRORS_LOGGED)
            server_log("%s: error at sector %lu: status %02x, error %02x, interrupts %08x%s\n",
                       disk->name, command->sector, task_file & 0xff, task_file >> 8 & 0xff, failed,
                       port->errors == ERRORS_LOGGED ? "; further ones are not told" : "");
        disk_fail(command); /* the port stands still until it is started again (6.2.2) */
        return;
    }
    port->command = NULL;
    disk_finish(command, BLOCK_OK);
}

static bool waits(struct disk *disk)
{
    (void)disk;
    return true;
}

static void reset(struct disk *disk)
{
    struct port *port = of(disk);
    begin_reset(port);
    mmio_put(port->registers, PORT_INTERRUPTS, UINT32_MAX);
    mmio_put(port->host, HOST_INTERRUPTS, 1u << port->number);
}

static enum disk_progress resume(struct disk *disk, uint64_t *next)
{
    struct port *port = of(disk);
    enum disk_progress progress = go_on_with_reset(port, next);
    if (progress != DISK_WAITS)
        mmio_put(port->host, HOST_INTERRUPTS, 1u << port->number);
    return progress;
}

static const struct disk_operations operations = {submit, kick,  interrupt, poll,
                                                  waits,  reset, resume};

/* ---- what is there ------------------------------------------------------------------------------------------------ */

/* There is a drive: it gets memory and is reset. NULL, or why not. */
static const char *begin_drive(struct port *port)
{
    struct disk *disk = &port->disk;
    port->memory = dma_take(port->area, sizeof *port->memory, 2048, &port->physical);
    disk->bounce = dma_take(port->area, BOUNCE_BYTES, 4096, &disk->bounce_physical);
    if (!port->memory || !disk->bounce)
        return "there is too little memory for its commands";
    disk->bounce_bytes = BOUNCE_BYTES;
    port->step = PROBE_RESETS;
    begin_reset(port);
    return NULL;
}

/* IDENTIFY DEVICE into the bounce buffer, without interrupts. */
static void identify(struct port *port)
{
    const struct dma_piece piece = {port->disk.bounce_physical,
                                    ATA_IDENTIFY_WORDS * sizeof(uint16_t), 0};
    issue(port, ATA_IDENTIFY, 0, 0, 0, false, &piece, 1);
    port->step = PROBE_IDENTIFIES;
    wait_for(port, IDENTIFY_MS);
}

/* What IDENTIFY DEVICE has brought makes a disk. NULL, or why not. */
static const char *make_disk(struct port *port)
{
    const struct device_grant *grant = port->probe.grant;
    struct disk *disk = &port->disk;
    uint16_t words[ATA_IDENTIFY_WORDS];
    if (mmio_get(port->registers, PORT_TASK_FILE) & (ATA_ERROR | ATA_FAULT))
        return "a drive does not say what it is";
    memcpy(words, disk->bounce, sizeof words);
    const char *problem = ata_identify(disk, words, &port->lba48);
    if (problem)
        return problem;
    mmio_put(port->registers, PORT_INTERRUPTS, UINT32_MAX);
    mmio_put(port->registers, PORT_INTERRUPTS_ON, INTERRUPT_DONE | INTERRUPT_FAILED);
    disk->operations = &operations;
    disk->interrupts = TASK_BIT_INTERRUPT(grant->interrupt_number);
    disk->depth = 1;
    disk->pieces_max = DISK_PIECES_MAX;
    disk->piece_bytes_max = REGION_BYTES;
    disk->piece_alignment = 2;
    disk->physical_end =
        mmio_get(port->host, HOST_CAPABILITIES) & CAPABILITY_64_BIT ? 0 : 1ull << 32;
    print_buffer(disk->name, sizeof disk->name, "ahci %02x:%02x.%u port %u", grant->location >> 8,
                 grant->location >> 3 & 31, grant->location & 7, port->number);
    probe_found(&port->probe, disk);
    return NULL;
}

/* It has ended; problem: why there is no disk, or NULL. */
static bool end_probe(struct port *port, const char *problem)
{
    port->probe.problem = problem;
    mmio_put(port->host, HOST_INTERRUPTS, 1u << port->number);
    return true;
}

/* Looks at what has been waited for since the last time. True: it has come or the time is over; *there tells which. */
static bool looked(struct port *port, bool there_now, bool *there, uint64_t *next)
{
    *there = there_now;
    if (there_now || !ata_wait_goes_on(&port->wait, port->server->now, port->server->ticks_per_ms))
        return true;
    *next = port->wait.next;
    return false;
}

/* As struct probe.look: the link, the reset, IDENTIFY. */
static bool look_for_drive(struct probe *probe, uint64_t *next)
{
    struct port *port = (struct port *)probe;
    bool there;
    *next = port->wait.next;
    if (port->server->now < *next)
        return false;
    if (port->step == PROBE_LINKS) {
        if (!looked(port, link_is_up(port), &there, next))
            return false;
        const char *problem = there ? begin_drive(port) : NULL;
        if (!there || problem)
            return end_probe(port, problem);
    }
    if (port->step == PROBE_RESETS) {
        enum disk_progress progress = go_on_with_reset(port, next);
        if (progress == DISK_WAITS)
            return false;
        if (progress == DISK_GONE)
            return end_probe(port, "a drive does not answer");
        if (mmio_get(port->registers, PORT_SIGNATURE) != SIGNATURE_DISK)
            return end_probe(port, NULL); /* a CD drive */
        identify(port);
    }
    bool failed = mmio_get(port->registers, PORT_INTERRUPTS) & INTERRUPT_FAILED;
    if (!looked(port, failed || !(mmio_get(port->registers, PORT_ISSUE) & 1), &there, next))
        return false;
    return end_probe(port, there && !failed ? make_disk(port) : "a drive does not say what it is");
}

/* Root has reset the controller, after which links are made anew. False: there is no memory for it. */
static bool start_port(struct server *server, const struct device_grant *grant,
                       struct dma_area *area, unsigned number)
{
    volatile uint8_t *host = (volatile uint8_t *)grant->bars[5].address;
    struct port *port = server_allocate(sizeof *port);
    if (!port)
        return false;
    *port = (struct port){
        .probe = {.look = look_for_drive, .grant = grant},
        .area = area,
        .server = server,
        .host = host,
        .registers = host + PORT_BASE + (uint64_t)number * PORT_STRIDE,
        .number = number,
    };
    mmio_put(port->registers, PORT_INTERRUPTS_ON, 0);
    change(port, 0, COMMAND_SPIN_UP | COMMAND_POWER);
    wait_for(port, FIND_MS);
    probe_add(server, &port->probe);
    return true;
}

const char *ahci_start(struct server *server, const struct device_grant *grant,
                       struct dma_area *area)
{
    const struct device_bar *bar = &grant->bars[5];
    volatile uint8_t *host = (volatile uint8_t *)bar->address;
    if (bar->port || !host || bar->size_bytes < PORT_BASE + PORT_STRIDE)
        return "it has no registers";
    mmio_put(host, HOST_CONTROL, mmio_get(host, HOST_CONTROL) | CONTROL_AHCI);
    uint32_t ports = mmio_get(host, HOST_PORTS);
    for (unsigned n = 0; n < PORTS_MAX; n++)
        if (ports >> n & 1 && PORT_BASE + (n + 1ull) * PORT_STRIDE <= bar->size_bytes &&
            !start_port(server, grant, area, n))
            return "there is too little memory for its driver";
    mmio_put(host, HOST_INTERRUPTS, UINT32_MAX);
    mmio_put(host, HOST_CONTROL, mmio_get(host, HOST_CONTROL) | CONTROL_INTERRUPTS);
    return NULL;
}
