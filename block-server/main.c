/* The block server: shares the machine's disks out among guests. */
#include "drivers.h"
#include "message.h"
#include "print.h"
#include "serve.h"
#include "server.h"
#include "slots.h"
#include "string.h"
#include "task.h"
#include "virtio_driver.h"

#define CLIENT_BITS ((1ull << SERVICE_CLIENTS_MAX) - 1)
/* Message-signalled interrupts need no answer, but the kernel wants a sign of life every 64 (docs/kernel.md). */
#define MESSAGES_UNTIL_ACK 32u
#define INTERRUPTS_MAX     8u
#define ROUNDS             4u  /* of work before messages are looked for again */
#define WINDOW_SECTORS     32u /* a GPT has 32 of entries */
/*
 * So long root's first request waits for disks that the volumes need, so that a volume which is not there is refused.
 * Clients of a disk that takes longer wait for it without root.
 */
#define START_MS   2000u
#define CLASS_IDE  0x0101u /* base class and subclass (PCI Code and ID Assignment) */
#define CLASS_AHCI 0x0106u

static struct server server;
static struct serve serve;
static bool serving;        /* root's requests are answered, */
static uint64_t serve_from; /* at the latest from then on */
static struct dma_area area;
static struct {
    bool needs_ack; /* each time: it is a line (legacy IDE has two) */
    unsigned since_ack;
} interrupts[INTERRUPTS_MAX];
/* What the server itself has read last, in DMA memory. */
static struct {
    uint8_t *memory;
    uint64_t physical;
    const struct disk *disk;
    uint64_t first;
    uint32_t sectors;
} window;

/* ---- for the other files -------------------------------------------------------------------------------------- */

void server_log(const char *format, ...)
{
    char text[256];
    va_list list;
    va_start(list, format);
    print_buffer_list(text, sizeof text, format, list);
    va_end(list);
    task_print("%s", text);
}

void server_ring(const struct client *client)
{
    notification_signal(SERVICE_SLOT_CLIENT + client->number, client->ring_bits);
}

void *server_allocate(size_t size_bytes)
{
    return task_allocate(size_bytes, 64);
}

/* ---- interrupts ------------------------------------------------------------------------------------------------ */

static void look_at_disks(uint64_t bits)
{
    for (unsigned i = 0; i < server.disk_count; i++) {
        struct disk *disk = server.disks[i];
        if (!(disk->interrupts & bits))
            continue;
        disk->operations->interrupt(disk);
        disk_poll(disk);
    }
    for (uint64_t left = bits / TASK_BIT_INTERRUPT(0) % (1u << INTERRUPTS_MAX); left;
         left &= left - 1) {
        unsigned n = (unsigned)__builtin_ctzll(left);
        if (!interrupts[n].needs_ack && ++interrupts[n].since_ack < MESSAGES_UNTIL_ACK)
            continue;
        interrupts[n].since_ack = 0;
        sys_control(TASK_SLOT_INTERRUPT + n, CONTROL_INTERRUPT_ACK, 0, 0, 0, 0);
    }
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static const char *start_device(const struct device_grant *grant)
{
    if (grant->vendor == VIRTIO_VENDOR)
        return virtio_blk_start(&server, grant, &area);
    if (grant->class_code >> 8 == CLASS_IDE)
        return ide_start(&server, grant, &area);
    if (grant->class_code >> 8 == CLASS_AHCI)
        return ahci_start(&server, grant, &area);
    return "there is no driver for it";
}

static void start_devices(const struct block_start *start)
{
    area.memory = start->memory;
    window.memory =
        dma_take(&area, WINDOW_SECTORS * BLOCK_SECTOR_BYTES, BLOCK_SECTOR_BYTES, &window.physical);
    for (unsigned i = 0; i < start->device_count && i < DEVICES_MAX; i++) {
        const struct device_grant *grant = &start->devices[i];
        uint32_t n = grant->interrupt_number;
        for (unsigned line = n; grant->interrupt == DEVICE_INTERRUPT_LINE && line < n + 2; line++)
            if (line < INTERRUPTS_MAX)
                interrupts[line].needs_ack = true;
        const char *problem = window.memory ? start_device(grant) : "there is no memory for DMA";
        if (problem)
            server_log("device %04x:%04x at %02x:%02x.%u: %s\n", grant->vendor, grant->device,
                       grant->location >> 8, grant->location >> 3 & 31, grant->location & 7,
                       problem);
    }
}

/* ---- requests of root ---------------------------------------------------------------------------------------------- */

/* What came with SERVICE_ATTACH goes back. */
static void drop(uint64_t n)
{
    sys_unmap(0, SPACE_HOST | UNMAP_SELF, SERVICE_CHANNEL_BASE + n * SERVICE_CHANNEL_BYTES,
              SERVICE_CHANNEL_BYTES / SEPTUM_PAGE_SIZE);
    sys_unmap(0, SPACE_CAPABILITY | UNMAP_SELF, SERVICE_SLOT_CLIENT + n, 1);
}

static unsigned attach(const struct message *message)
{
    /* The buffer is the kernel's to fill again at the next ipc: a copy. */
    static struct service_attach words;
    const uint64_t least = 4 + offsetof(struct service_attach, extent) / 8;
    uint64_t n = message->w[0], count = TAG_WORDS(message->tag);
    memcpy(&words, &thread_buffer()->words[4], sizeof words);
    if (count < least || words.extents > SERVICE_EXTENTS_MAX ||
        count < least + words.extents * sizeof(struct service_extent) / 8)
        return SERVICE_BAD_REQUEST;
    unsigned error = client_attach(&server, message->w, &words,
                                   (void *)(SERVICE_CHANNEL_BASE + n * SERVICE_CHANNEL_BYTES),
                                   (void *)(SERVICE_MEMORY_BASE + n * SERVICE_MEMORY_STRIDE),
                                   (void *)(BLOCK_CHANGES_BASE + n * SERVICE_MEMORY_STRIDE));
    if (error != SERVICE_OK && error != SERVICE_BAD_CLIENT)
        drop(n);
    return error;
}

/* True: it is to be answered with *error now. */
static bool request(const struct message *message, unsigned *error)
{
    uint64_t n = message->w[0];
    switch (TAG_LABEL(message->tag)) {
    case SERVICE_ATTACH: *error = attach(message); return true;
    case SERVICE_DETACH:
        *error = client_detach(&server, n);
        if (*error != SERVICE_OK)
            return true;
        /* If the reply can't be kept, who asked is not waiting: there is nobody to answer. */
        sys_control(0, CONTROL_THREAD_SAVE_REPLY, SLOT_REPLY + n, 0, 0, 0);
        return false;
    default: *error = SERVICE_BAD_REQUEST; return true;
    }
}

static void let_go(void)
{
    unsigned n;
    while (client_is_gone(&server, &n)) {
        drop(n);
        message_send(SLOT_REPLY + n, TAG(SERVICE_OK, 0, 0), NULL, DEADLINE_POLL);
    }
}

/* ---- the loop -------------------------------------------------------------------------------------------------------- */

/* Does what can be done now; false: there is more. *until: until when there is nothing to do unless someone rings. */
static bool work_once(uint64_t *until)
{
    server.now = ticks();
    bool more = clients_work(&server);
    for (unsigned i = 0; i < server.disk_count; i++)
        if (!server.disks[i]->resetting)
            server.disks[i]->operations->kick(server.disks[i]);
    for (unsigned i = 0; i < server.disk_count; i++) {
        struct disk *disk = server.disks[i];
        uint64_t look = disk_watch(disk, server.now, server.ticks_per_ms);
        *until = look < *until ? look : *until;
        if (!disk->dead && !disk->resetting && !disk->operations->waits(disk)) {
            disk_poll(disk);
            more = true;
        }
    }
    probes_look(&server, until);
    if (server.limited && server.resume < *until)
        *until = server.resume;
    clients_ring(&server);
    let_go();
    return !more && clients_wait(&server);
}

/* Until when to wait. A disk is often done before anybody has anything else to say. */
static uint64_t work(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t until = UINT64_MAX;
        if (work_once(&until))
            return until == UINT64_MAX ? DEADLINE_NEVER : until;
    }
    return DEADLINE_POLL;
}

/* Root's requests are answered from now on. */
static void begin_serving(void)
{
    serve_begin(&serve, request);
    serving = true;
}

/* Waits for what comes next, and does it. */
static void turn(void)
{
    uint64_t bits, until = work();
    if (serving) {
        bits = serve_wait(&serve, until);
    } else {
        struct message message =
            message_wait(TASK_SLOT_NOTIFICATION, until < serve_from ? until : serve_from);
        bits = message.status == STATUS_OK ? message.w[0] : 0;
    }
    server.now = ticks();
    if (!serving && server.now >= serve_from)
        begin_serving();
    for (uint64_t rung = bits & CLIENT_BITS; rung; rung &= rung - 1)
        client_rung(&server, (unsigned)__builtin_ctzll(rung));
    if (bits & ~CLIENT_BITS)
        look_at_disks(bits);
}

/* ---- reading tables of a disk that has been found ------------------------------------------------------------------- */

struct own_read {
    struct disk_command command;
    bool done;
    unsigned status;
};

static void own_done(struct disk_command *command, unsigned status)
{
    struct own_read *own = (struct own_read *)command;
    own->done = true;
    own->status = status;
}

/* From the disk into the window. Meanwhile the other disks are served. */
static bool fill_window(struct disk *disk, uint64_t sector, uint32_t sectors)
{
    const struct dma_piece piece = {window.physical, sectors * BLOCK_SECTOR_BYTES, 0};
    struct own_read own = {
        .command = {
            .operation = BLOCK_READ, .sector = sector, .sectors = sectors, .done = own_done}};
    window.sectors = 0;
    if (!disk_submit(disk, &own.command, &piece, 1, server.now))
        return false;
    disk->operations->kick(disk);
    while (!own.done)
        turn();
    if (own.status != BLOCK_OK)
        return false;
    window.disk = disk;
    window.first = sector;
    window.sectors = sectors;
    return true;
}

/* Tables are read by sectors that follow each other: a window of them at once, or if that fails the one alone. */
static bool read_sector(struct disk *disk, uint64_t sector, void *data)
{
    uint64_t left = disk->sectors - sector;
    uint32_t most = left < WINDOW_SECTORS ? (uint32_t)left : WINDOW_SECTORS;
    bool there =
        window.disk == disk && sector >= window.first && sector - window.first < window.sectors;
    if (!there && !fill_window(disk, sector, most) && !fill_window(disk, sector, 1))
        return false;
    memcpy(data, window.memory + (sector - window.first) * BLOCK_SECTOR_BYTES, BLOCK_SECTOR_BYTES);
    return true;
}

/* ---- */

/* Disks that have been found get their numbers, and their volumes begin. */
static void take_disks(void)
{
    unsigned before = server.disk_count;
    while (probes_take(&server)) {
        for (; before < server.disk_count; before++)
            volumes_of_disk(&server, before, read_sector);
        if (!server.probes)
            volumes_end(&server);
    }
}

void program_start(const void *argument)
{
    task_init(argument);
    const struct block_start *start = (const struct block_start *)task->role;
    server.status = (struct block_server_status *)start->status_address;
    server.ticks_per_ms = task->tsc_khz;
    server.now = ticks();
    serve_from = server.now + START_MS * server.ticks_per_ms;
    volumes_begin(&server, start);
    start_devices(start);
    if (!server.probes)
        volumes_end(&server);
    for (;;) {
        take_disks();
        if (!serving && !volumes_pending(&server))
            begin_serving();
        turn();
    }
}
