/*
 * Clients: their rings, whose turn it is, and the check of every request. A client that breaks the rules of the
 * channel is told of in the log and not served any more; a request that only asks for what can't be is answered.
 */
#include "server.h"

#include "string.h"

/* Turns are by bytes: so much a turn, and a request counts as so many bytes more than it moves. */
#define TURN_BYTES    (128u << 10)
#define REQUEST_BYTES 4096u
/* What one pass over a lane may start before root's messages and the disks are looked at again. */
#define PASS_REQUESTS 64u
#define PASS_COPIES   8u /* of requests that memory answers */
/* Who was idle may run ahead of its rate by so much. */
#define BURST_MS 100u

enum outcome { STARTED, EMPTY, TURN_OVER, LIMITED, FULL };

static uint32_t bit_of(const struct client *client)
{
    return 1u << client->number;
}

/* ---- attach and detach ------------------------------------------------------------------------------------------ */

static bool is_name(const char *name)
{
    size_t n = 0;
    while (n < TASK_NAME_MAX && name[n] > ' ' && name[n] < 0x7f)
        n++;
    return n > 0 && n < TASK_NAME_MAX && name[n] == 0;
}

/* Root's extents: from offset 0 on, without a hole. */
static bool take_extents(struct client *client, const struct service_attach *attach)
{
    if (attach->extents == 0 || attach->extents > SERVICE_EXTENTS_MAX)
        return false;
    client->extent_count = (unsigned)attach->extents;
    client->memory_bytes = 0;
    for (unsigned i = 0; i < client->extent_count; i++) {
        const struct service_extent *extent = &attach->extent[i];
        if (extent->offset != client->memory_bytes || extent->size_bytes == 0 ||
            extent->size_bytes > SERVICE_MEMORY_STRIDE - client->memory_bytes ||
            extent->physical + extent->size_bytes < extent->physical)
            return false;
        client->extents[i] = *extent;
        client->memory_bytes += extent->size_bytes;
    }
    return true;
}

static struct block_volume describe(const struct volume *volume)
{
    const struct disk *disk = volume->disk;
    enum plan_access access = volume->plan->access;
    struct block_volume about = {
        .sectors = volume->sectors,
        .logical_bytes = BLOCK_SECTOR_BYTES,
        .physical_bytes = disk ? disk->physical_bytes : (uint32_t)BLOCK_CHANGE_BYTES,
    };
    for (unsigned i = 0; i < sizeof about.serial && volume->plan->name[i]; i++)
        about.serial[i] = volume->plan->name[i];
    if (access == PLAN_ACCESS_READ_ONLY) {
        about.flags |= BLOCK_VOLUME_READ_ONLY;
    } else if (access == PLAN_ACCESS_PRIVATE) {
        about.flags |= BLOCK_VOLUME_ZEROES;
        about.zeroes_sectors_max = BLOCK_BYTES_MAX / BLOCK_SECTOR_BYTES;
    } else {
        about.discard_sectors_max = disk->discard_sectors_max;
        about.zeroes_sectors_max = disk->zeroes_sectors_max;
        about.flags |= (disk->flushes ? BLOCK_VOLUME_FLUSH : 0) |
                       (about.discard_sectors_max ? BLOCK_VOLUME_DISCARD : 0) |
                       (about.zeroes_sectors_max ? BLOCK_VOLUME_ZEROES : 0);
    }
    return about;
}

/* Nothing is taken from it any more. */
static void stop(struct client *client)
{
    client->server->served &= ~bit_of(client);
    client->server->limited &= ~bit_of(client);
    client->lane->ready &= ~bit_of(client);
}

static void leave(struct client *client, const char *why)
{
    if (!client->broken)
        server_log("%s: %s: its disk \"%s\" is not served any more\n", client->name, why,
                   client->volume->plan->name);
    client->broken = true;
    stop(client);
}

/* What is in the ring was meant for a predecessor. Entries are written whole, so a new one begins behind it. */
static void drop_old(struct client *client)
{
    uint8_t scratch[256];
    size_t left = ring_filled(&client->requests);
    while (left)
        left -=
            ring_read(&client->requests, scratch, left < sizeof scratch ? left : sizeof scratch);
}

static void join_channel(struct client *client)
{
    uint8_t *channel = client->channel;
    struct block_volume *shared = (struct block_volume *)(channel + BLOCK_VOLUME_OFFSET);
    struct block_volume about = client->about;
    uint32_t before = __atomic_load_n(&shared->generation, __ATOMIC_RELAXED);
    client->generation = before + 1 ? before + 1 : 1;
    ring_join_reader(&client->requests, channel + BLOCK_REQUESTS_OFFSET, BLOCK_REQUESTS_BYTES);
    ring_join_writer(&client->completions, channel + BLOCK_COMPLETIONS_OFFSET,
                     BLOCK_COMPLETIONS_BYTES);
    drop_old(client);
    memcpy((uint8_t *)shared + sizeof about.generation, (uint8_t *)&about + sizeof about.generation,
           sizeof about - sizeof about.generation);
    __atomic_store_n(&shared->generation, client->generation, __ATOMIC_RELEASE);
}

/* It is shown its volume, and served from now on. */
static void begin(struct client *client)
{
    struct server *server = client->server;
    struct disk *disk = client->volume->disk;
    unsigned lane = LANE_MEMORY;
    for (unsigned i = 0; i < server->disk_count; i++)
        if (server->disks[i] == disk)
            lane = i;
    client->about = describe(client->volume);
    client->lane = &server->lanes[lane];
    client->lane->disk = disk;
    server->served |= bit_of(client);
    client->lane->ready |= bit_of(client);
    join_channel(client);
    server_ring(client);
}

unsigned client_attach(struct server *server, const uint64_t w[4],
                       const struct service_attach *attach, void *channel, void *memory,
                       void *changes)
{
    if (w[0] >= SERVICE_CLIENTS_MAX || server->clients[w[0]].attached)
        return SERVICE_BAD_CLIENT;
    if (w[1] >= server->volume_count || server->volumes[w[1]].problem)
        return SERVICE_NO_SUCH;
    struct client *client = &server->clients[w[0]];
    struct volume *volume = &server->volumes[w[1]];
    struct request *staged = client->staged ? client->staged : server_allocate(sizeof *staged);
    *client = (struct client){
        .server = server,
        .number = (unsigned)w[0],
        .ring_bits = w[2],
        .volume = volume,
        .memory = memory,
        .staged = staged,
        .bytes_rate.per_second = attach->rate_bytes,
        .requests_rate.per_second = attach->rate_requests,
    };
    if (!staged)
        return SERVICE_NO_MEMORY;
    memcpy(client->name, attach->name, sizeof client->name);
    if (!is_name(client->name) || !take_extents(client, attach))
        return SERVICE_BAD_REQUEST;
    if (volume->plan->access == PLAN_ACCESS_PRIVATE &&
        !changes_join(&client->changes, changes, volume->plan->changes_bytes))
        return SERVICE_BAD_REQUEST;
    client->channel = channel;
    client->lane = &server->lanes[LANE_MEMORY];
    client->attached = true;
    if (volume->pending)
        server_log("%s waits for \"%s\", whose disk is not ready yet\n", client->name,
                   volume->plan->name);
    else
        begin(client);
    return SERVICE_OK;
}

void clients_begin(struct server *server, const struct volume *volume)
{
    for (unsigned i = 0; i < SERVICE_CLIENTS_MAX; i++) {
        struct client *client = &server->clients[i];
        if (client->attached && client->volume == volume && !(server->detaching >> i & 1))
            begin(client);
    }
}

unsigned client_detach(struct server *server, uint64_t number)
{
    if (number >= SERVICE_CLIENTS_MAX || !server->clients[number].attached ||
        server->detaching >> number & 1)
        return SERVICE_BAD_CLIENT;
    struct client *client = &server->clients[number];
    stop(client);
    server->detaching |= bit_of(client);
    return SERVICE_OK;
}

bool client_is_gone(struct server *server, unsigned *number)
{
    for (uint32_t left = server->detaching; left; left &= left - 1) {
        *number = (unsigned)__builtin_ctz(left);
        struct client *client = &server->clients[*number];
        if (client->in_flight)
            continue;
        server->detaching &= ~bit_of(client);
        server->to_ring &= ~bit_of(client);
        client->attached = false;
        return true;
    }
    return false;
}

/* ---- rates ------------------------------------------------------------------------------------------------------ */

/* When the next may pass: now, or later. */
static bool rate_allows(const struct rate *rate, const struct server *server)
{
    return rate->per_second == 0 || rate->paid <= server->now + BURST_MS * server->ticks_per_ms;
}

static void rate_pay(struct rate *rate, const struct server *server, uint64_t amount)
{
    if (rate->per_second == 0)
        return;
    if (rate->paid < server->now)
        rate->paid = server->now;
    /* At most 4 MiB times 2^41 ticks a second. */
    rate->paid += amount * (server->ticks_per_ms * 1000) / rate->per_second;
}

static bool limit(struct client *client)
{
    struct server *server = client->server;
    if (rate_allows(&client->bytes_rate, server) && rate_allows(&client->requests_rate, server))
        return false;
    uint64_t paid = client->bytes_rate.paid > client->requests_rate.paid
                        ? client->bytes_rate.paid
                        : client->requests_rate.paid;
    uint64_t resume = paid - BURST_MS * server->ticks_per_ms;
    if (!server->limited || resume < server->resume)
        server->resume = resume;
    server->limited |= bit_of(client);
    return true;
}

/* ---- requests ----------------------------------------------------------------------------------------------------- */

/* The segments of READ and WRITE: what they are in all, or 0 if one is not as it must be. */
static uint64_t sum_segments(const struct client *client, const struct request *request)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < request->segment_count; i++) {
        const struct block_segment *segment = &request->segments[i];
        if (segment->size_bytes == 0 || segment->size_bytes % BLOCK_SECTOR_BYTES ||
            segment->size_bytes > BLOCK_BYTES_MAX - total ||
            segment->offset > client->memory_bytes ||
            segment->size_bytes > client->memory_bytes - segment->offset)
            return 0;
        total += segment->size_bytes;
    }
    return total;
}

/* Everything that a request says, before anything of it is done. */
static unsigned check(const struct client *client, struct request *request,
                      const struct block_request *header)
{
    const struct volume *volume = client->volume;
    bool has_segments = header->operation == BLOCK_READ || header->operation == BLOCK_WRITE;
    if (header->operation < BLOCK_READ || header->operation > BLOCK_WRITE_ZEROES ||
        header->flags & ~(BLOCK_FUA | BLOCK_UNMAP) || (!has_segments && request->segment_count))
        return BLOCK_UNSUPPORTED;
    if (client->about.flags & BLOCK_VOLUME_READ_ONLY && header->operation != BLOCK_READ &&
        header->operation != BLOCK_FLUSH)
        return BLOCK_READ_ONLY;
    uint64_t sectors = header->sectors;
    if (has_segments) {
        sectors = sum_segments(client, request) / BLOCK_SECTOR_BYTES;
        if (sectors == 0)
            return BLOCK_OUT_OF_RANGE;
    } else if (header->operation == BLOCK_FLUSH) {
        sectors = 0;
    } else {
        bool discard = header->operation == BLOCK_DISCARD;
        if (!(client->about.flags & (discard ? BLOCK_VOLUME_DISCARD : BLOCK_VOLUME_ZEROES)))
            return BLOCK_UNSUPPORTED;
        if (sectors >
            (discard ? client->about.discard_sectors_max : client->about.zeroes_sectors_max))
            return BLOCK_OUT_OF_RANGE;
    }
    request->sectors = (uint32_t)sectors;
    request->sector = header->operation == BLOCK_FLUSH ? 0 : header->sector;
    return request->sector > volume->sectors || sectors > volume->sectors - request->sector
               ? BLOCK_OUT_OF_RANGE
               : BLOCK_OK;
}

static void write_completion(struct client *client, uint64_t id, unsigned status)
{
    const struct block_completion completion = {id, status, 0};
    if (status != BLOCK_OK)
        client->server->status->client[client->number].errors++;
    if (ring_write(&client->completions, &completion, sizeof completion) != sizeof completion)
        leave(client, "it has broken the ring of completions");
    client->server->to_ring |= bit_of(client);
}

/* Reads the next request from the ring, each word once. STARTED: there was one; if it is good it is staged, else it
 * has been answered. */
static enum outcome take(struct client *client)
{
    struct request *request = client->staged;
    struct block_request header;
    size_t filled = ring_filled(&client->requests);
    if (filled == 0) {
        if (client->requests.broken)
            leave(client, "it has broken the ring of requests");
        return EMPTY;
    }
    /* Room for the answers of all that is under way, so that none is ever lost. */
    size_t room = ring_room(&client->completions);
    if (client->completions.broken || room % sizeof(struct block_completion)) {
        leave(client, "it has broken the ring of completions");
        return EMPTY;
    }
    client->waits_for_room = room < (client->in_flight + 1) * sizeof(struct block_completion);
    if (client->waits_for_room)
        return EMPTY;
    if (ring_read(&client->requests, &header, sizeof header) != sizeof header ||
        header.segments > BLOCK_SEGMENTS_MAX ||
        ring_read(&client->requests, request->segments,
                  header.segments * sizeof *request->segments) !=
            header.segments * sizeof *request->segments) {
        leave(client, "it has written half a request, or one with too many segments");
        return EMPTY;
    }
    client->server->to_ring |= bit_of(client); /* it may wait for room in the ring of requests */
    if (header.generation != client->generation)
        return STARTED;
    request->client = client;
    request->id = header.id;
    request->operation = header.operation;
    request->flags = header.flags;
    request->segment_count = header.segments;
    unsigned status = check(client, request, &header);
    client->is_staged = status == BLOCK_OK;
    if (status != BLOCK_OK)
        write_completion(client, header.id, status);
    return STARTED;
}

static uint64_t bytes_of(const struct request *request)
{
    bool moves = request->operation == BLOCK_READ || request->operation == BLOCK_WRITE;
    return moves ? (uint64_t)request->sectors * BLOCK_SECTOR_BYTES : 0;
}

/* The next request of a client, if it is its turn. */
static enum outcome next(struct client *client)
{
    struct server *server = client->server;
    const struct disk *disk = client->lane->disk;
    if (!client->is_staged) {
        enum outcome outcome = take(client);
        if (outcome != STARTED || !client->is_staged)
            return outcome;
    }
    struct request *request = client->staged;
    uint64_t bytes = bytes_of(request);
    if (limit(client))
        return LIMITED;
    if (disk && !disk_has_room(disk))
        return FULL;
    if (client->credit < bytes + REQUEST_BYTES) {
        if (client->lane->ready & ~bit_of(client))
            return TURN_OVER;
        client->credit = bytes + REQUEST_BYTES; /* it is alone: every turn is its own */
    }
    client->credit -= bytes + REQUEST_BYTES;
    rate_pay(&client->bytes_rate, server, bytes);
    rate_pay(&client->requests_rate, server, 1);
    client->is_staged = false;
    client->in_flight++;
    if (disk) {
        client->staged = server->free;
        server->free = server->free->next_free;
    }
    request_start(request);
    return STARTED;
}

/* Whose turn it is: the next of those that are ready, round and round. */
static struct client *turn_of(struct server *server, struct lane *lane)
{
    uint32_t from_here = lane->ready >> lane->turn << lane->turn;
    lane->turn = (unsigned)__builtin_ctz(from_here ? from_here : lane->ready);
    return &server->clients[lane->turn];
}

/* True: it stopped only because others want to be looked at too. */
static bool lane_work(struct server *server, struct lane *lane)
{
    unsigned most = lane->disk ? PASS_REQUESTS : PASS_COPIES;
    for (unsigned i = 0; lane->ready && i < most; i++) {
        struct client *client = turn_of(server, lane);
        switch (next(client)) {
        case STARTED: continue;
        case FULL: return false;
        case TURN_OVER: client->credit += TURN_BYTES; break;
        case EMPTY:
            client->credit = 0;
            lane->ready &= ~bit_of(client);
            break;
        case LIMITED: lane->ready &= ~bit_of(client); break;
        }
        lane->turn++;
    }
    return lane->ready;
}

bool clients_work(struct server *server)
{
    bool more = false;
    if (server->limited && server->now >= server->resume) {
        for (unsigned i = 0; i < SERVICE_CLIENTS_MAX; i++)
            if (server->limited >> i & 1)
                client_rung(server, i);
        server->limited = 0;
    }
    for (unsigned i = 0; i < server->disk_count; i++)
        if (server->lanes[i].ready)
            more |= lane_work(server, &server->lanes[i]);
    if (server->lanes[LANE_MEMORY].ready)
        more |= lane_work(server, &server->lanes[LANE_MEMORY]);
    return more;
}

void client_rung(struct server *server, unsigned number)
{
    if (server->served >> number & 1)
        server->clients[number].lane->ready |= 1u << number;
}

/* ---- answers -------------------------------------------------------------------------------------------------------- */

static void count(const struct request *request, unsigned status)
{
    const struct client *client = request->client;
    struct block_client_status *counts = &client->server->status->client[client->number];
    if (status != BLOCK_OK)
        return;
    switch (request->operation) {
    case BLOCK_READ:
        counts->reads++;
        counts->read_bytes += bytes_of(request);
        break;
    case BLOCK_FLUSH: counts->flushes++; break;
    default: counts->writes++; counts->written_bytes += bytes_of(request);
    }
}

void client_complete(struct request *request, unsigned status)
{
    struct client *client = request->client;
    struct server *server = client->server;
    count(request, status);
    client->in_flight--;
    write_completion(client, request->id, status);
    if (client->waits_for_room)
        client_rung(server, client->number);
    if (request != client->staged) {
        request->next_free = server->free;
        server->free = request;
    }
}

void clients_ring(struct server *server)
{
    for (; server->to_ring; server->to_ring &= server->to_ring - 1) {
        struct client *client = &server->clients[__builtin_ctz(server->to_ring)];
        bool completions = ring_writer_must_ring(&client->completions);
        if (ring_reader_must_ring(&client->requests) || completions)
            server_ring(client);
    }
}

bool clients_wait(struct server *server)
{
    bool quiet = true;
    for (uint32_t left = server->served & ~server->limited; left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctz(left);
        struct client *client = &server->clients[i];
        if (client->lane->ready & bit_of(client))
            continue;
        /* Without room for answers it is looked at after each of them, and after the last when it rings. */
        bool waits = client->waits_for_room
                         ? client->in_flight > 0 || ring_writer_waits(&client->completions)
                         : ring_reader_waits(&client->requests);
        if (!waits) {
            client_rung(server, i);
            quiet = false;
        }
    }
    return quiet;
}
