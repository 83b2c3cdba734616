/* Volumes, networks and servers, and the partitions' disks and network cards. */
#include "parser.h"

#include "print.h"
#include "string.h"

static const struct {
    const char *name;
    enum plan_device device;
} servers[] = {{"console", PLAN_DEVICE_SERIAL},
               {"block", PLAN_DEVICE_DISKS},
               {"network", PLAN_DEVICE_NETWORKS}};
#define SERVER_KINDS (sizeof servers / sizeof *servers)

static void set_subject(struct parser *parser, const char *what, const char *name)
{
    print_buffer(parser->subject, sizeof parser->subject, "%s \"%s\": ", what, name);
}

/* ---- servers -------------------------------------------------------------------------------- */

bool services_is_server(const char *name)
{
    for (unsigned i = 0; i < SERVER_KINDS; i++)
        if (strcmp(servers[i].name, name) == 0)
            return true;
    return false;
}

struct plan_server *services_server(struct parser *parser, const char *name)
{
    struct plan *plan = parser->plan;
    for (unsigned i = 0; i < plan->server_count; i++)
        if (strcmp(plan->servers[i].name, name) == 0)
            return &plan->servers[i];
    struct plan_server *server = &plan->servers[plan->server_count++];
    print_buffer(server->name, sizeof server->name, "%s", name);
    parser_fill_defaults(parser, BLOCK_SERVER, server);
    for (unsigned i = 0; i < SERVER_KINDS; i++)
        if (strcmp(servers[i].name, name) == 0)
            server->device = servers[i].device;
    return server;
}

bool services_read_server(struct parser *parser, bool *failed)
{
    struct plan_place place = parser->statement, name_place = parser->token.place;
    char name[PLAN_NAME_MAX], line[PLAN_PATH_MAX + 16];
    if (!value_read_name(parser, name))
        return false;
    set_subject(parser, "server", name);
    if (!services_is_server(name)) {
        parser_complain(parser, &name_place,
                        "there is no such server. There are `console`, `block` and `network`.");
        return false;
    }
    struct plan_server *server = services_server(parser, name);
    if (server->place.line) {
        parser_print_line(parser, &server->place, &place, line, sizeof line);
        parser_complain(parser, &place, "it is described already, in %s. Take one away.", line);
        return false;
    }
    server->place = place;
    return parser_read_block(parser, BLOCK_SERVER, server, &place, failed);
}

/* ---- volumes and networks ------------------------------------------------------------------- */

/* The name behind `volume` or `network`, which no other has. `first` and the others lie `stride` apart and begin
 * with name and place. */
static bool read_new_name(struct parser *parser, const char *what, const void *first, size_t stride,
                          uint32_t count, uint32_t most, char *name)
{
    struct plan_place name_place = parser->token.place;
    char line[PLAN_PATH_MAX + 16];
    if (!value_read_name(parser, name))
        return false;
    set_subject(parser, what, name);
    for (uint32_t i = 0; i < count; i++) {
        const char *other = (const char *)first + i * stride;
        const struct plan_place *place = (const struct plan_place *)(other + PLAN_NAME_MAX);
        if (strcmp(other, name) != 0)
            continue;
        parser_print_line(parser, place, &name_place, line, sizeof line);
        parser_complain(parser, &name_place,
                        "there is a %s of this name already, in %s. Choose another name.", what,
                        line);
        return false;
    }
    if (count == most)
        parser_complain(parser, &name_place,
                        "this is one %s more than the %u that there can be. Take one away.", what,
                        most);
    return count < most;
}

bool services_read_volume(struct parser *parser, bool *failed)
{
    struct plan *plan = parser->plan;
    struct plan_place place = parser->statement;
    char name[PLAN_NAME_MAX];
    if (!read_new_name(parser, "volume", plan->volumes, sizeof *plan->volumes, plan->volume_count,
                       PLAN_VOLUMES_MAX, name))
        return false;
    struct plan_volume *volume = &plan->volumes[plan->volume_count++];
    parser_fill_defaults(parser, BLOCK_VOLUME, volume);
    memcpy(volume->name, name, sizeof name);
    volume->place = place;
    bool mistaken = false;
    bool good = parser_read_block(parser, BLOCK_VOLUME, volume, &place, &mistaken);
    if (mistaken)
        volume->disk = 0; /* what it lacks was perhaps meant */
    *failed |= mistaken;
    return good;
}

bool services_read_network(struct parser *parser, bool *failed)
{
    struct plan *plan = parser->plan;
    struct plan_place place = parser->statement;
    char name[PLAN_NAME_MAX];
    if (!read_new_name(parser, "network", plan->networks, sizeof *plan->networks,
                       plan->network_count, PLAN_NETWORKS_MAX, name))
        return false;
    struct plan_network *network = &plan->networks[plan->network_count++];
    parser_fill_defaults(parser, BLOCK_NETWORK, network);
    memcpy(network->name, name, sizeof name);
    network->place = place;
    return parser_read_block(parser, BLOCK_NETWORK, network, &place, failed);
}

/* ---- disks and cards of a partition --------------------------------------------------------- */

bool services_read_use(struct parser *parser, const struct schema_row *row, bool *failed)
{
    struct plan_partition *partition = parser->partition;
    struct plan_place place = parser->statement;
    bool is_disk = row->kind != VALUE_CARD;
    struct use use = {.is_disk = is_disk, .place = parser->token.place};
    if (parser->in_default) {
        parser_complain(parser, &place,
                        "`%s` can't stand in `default partition`. Write it in each partition.",
                        row->word);
        return false;
    }
    if (!parser_has_value(parser)) {
        parser_complain_missing(parser, "`%s` needs %s on its line. Write it as in `%s %s`.",
                                row->word, schema_forms[row->kind].name, row->word,
                                schema_forms[row->kind].example);
        return false;
    }
    if (!value_read_name(parser, use.name))
        return false;
    uint32_t *count = is_disk ? &partition->disk_count : &partition->card_count;
    if (*count == PLAN_CARDS_MAX) {
        parser_complain(parser, &place,
                        is_disk ? "this is one `%s` more than the %u disks, CD-ROMs and floppies "
                                  "that a %s can have. Take one away."
                                : "this is one `%s` more than the %u that a %s can have. Take one "
                                  "away.",
                        row->word, PLAN_CARDS_MAX, parser_kind(partition));
        return false;
    }
    use.partition = (uint32_t)(partition - parser->plan->partitions);
    use.number = (*count)++;
    void *object =
        is_disk ? (void *)&partition->disks[use.number] : (void *)&partition->cards[use.number];
    parser->uses[parser->use_count++] = use;
    parser_fill_defaults(parser, is_disk ? BLOCK_DISK : row->opens, object);
    if (is_disk)
        partition->disks[use.number].kind = row->kind == VALUE_CDROM    ? PLAN_DISK_CDROM
                                            : row->kind == VALUE_FLOPPY ? PLAN_DISK_FLOPPY
                                                                        : PLAN_DISK_HARD;
    return parser->token.kind != TOKEN_OPEN || !row->opens ||
           parser_read_block(parser, row->opens, object, &place, failed);
}

/* A locally administered address, always the same for the same names (FNV-1a). */
static uint64_t made_mac(const struct plan_partition *partition, const char *network,
                         uint32_t number)
{
    uint64_t hash = 0xcbf29ce484222325ull;
    const char *const parts[] = {partition->name, "/", network};
    for (unsigned i = 0; i < 3; i++)
        for (const char *c = parts[i]; *c; c++)
            hash = (hash ^ (uint8_t)*c) * 0x100000001b3ull;
    hash = (hash ^ number) * 0x100000001b3ull;
    return 0x020000000000ull | (hash >> 16 & 0xffffffffffull);
}

static const char *name_of(const struct parser *parser, bool is_disk, uint32_t i)
{
    return is_disk ? parser->plan->volumes[i].name : parser->plan->networks[i].name;
}

/* A task has no card of its own: it shares Septum's address. */
static bool check_sockets(struct parser *parser, const struct use *use,
                          const struct plan_network *network)
{
    if (network->host == PLAN_HOST_NONE)
        parser_complain(parser, &use->place,
                        "its address would be Septum's, which has none in network \"%s\". Add "
                        "there: host dhcp, or: host 10.0.0.1/24",
                        network->name);
    return network->host != PLAN_HOST_NONE;
}

/* Finds what a disk or card is of. */
static bool resolve(struct parser *parser, const struct use *use)
{
    struct plan_partition *partition = &parser->plan->partitions[use->partition];
    const char *names[PLAN_VOLUMES_MAX + 1] = {0};
    const char *what = use->is_disk ? "volume" : "network";
    uint32_t count = use->is_disk ? parser->plan->volume_count : parser->plan->network_count;
    set_subject(parser, parser_kind(partition), partition->name);
    for (uint32_t i = 0; i < count; i++) {
        names[i] = name_of(parser, use->is_disk, i);
        if (strcmp(names[i], use->name) != 0)
            continue;
        if (use->is_disk) {
            partition->disks[use->number].volume = i;
        } else {
            struct plan_card *card = &partition->cards[use->number];
            card->network = i;
            if (partition->boot == PLAN_BOOT_PROGRAM)
                return check_sockets(parser, use, &parser->plan->networks[i]);
            if (card->mac == 0)
                card->mac = made_mac(partition, use->name, use->number);
        }
        return true;
    }
    const char *near = nearest_word(use->name, names);
    if (near)
        parser_complain(parser, &use->place, "there is no %s `%s`. Did you mean `%s`?", what,
                        use->name, near);
    else
        parser_complain(parser, &use->place,
                        "there is no %s `%s`. Describe it in this file: %s %s { }", what, use->name,
                        what, use->name);
    return false;
}

/* ---- what must hold ------------------------------------------------------------------------- */

static void check_volume(struct parser *parser, const struct plan_volume *volume)
{
    const struct plan *plan = parser->plan;
    bool is_file = volume->file[0] != 0, is_disk = volume->disk != PLAN_DISK_NONE;
    const char *problem = NULL;
    set_subject(parser, "volume", volume->name);
    if (is_file && parser->reader->check_image)
        problem = parser->reader->check_image(parser->reader, volume->file, PARTITION_IMAGE_DISK);
    if (problem)
        parser_complain(parser, &volume->place, "file: %s", problem);
    else if (is_file == is_disk)
        parser_complain(parser, &volume->place,
                        is_file
                            ? "it has a `disk` and a `file`. Take one away."
                            : "nothing says where its bytes are. Add: disk 0, or: file \"IMAGE\"");
    else if (is_file && volume->part)
        parser_complain(parser, &volume->place,
                        "`part` counts the parts of a disk. Take it away, or the `file`.");
    else if (is_file && volume->access == PLAN_ACCESS_READ_WRITE)
        parser_complain(
            parser, &volume->place,
            "a file is loaded with Septum and can't be written to. Add: access private, "
            "or: access read-only");
    else if (is_disk && plan->machine_disk_count && volume->disk >= plan->machine_disk_count)
        parser_complain(
            parser, &volume->place,
            "disk %u is not there: the block `machine` has %u. Add: disk \"IMAGE\" there.",
            volume->disk, plan->machine_disk_count);
}

/* Two volumes with bytes in common, of which one can be written. */
static void check_overlap(struct parser *parser, const struct plan_volume *volume)
{
    for (const struct plan_volume *other = parser->plan->volumes; other < volume; other++) {
        char line[PLAN_PATH_MAX + 16];
        bool writes =
            volume->access == PLAN_ACCESS_READ_WRITE || other->access == PLAN_ACCESS_READ_WRITE;
        bool same = volume->disk != PLAN_DISK_NONE && volume->disk == other->disk &&
                    (volume->part == other->part || !volume->part || !other->part);
        if (!writes || !same)
            continue;
        set_subject(parser, "volume", volume->name);
        parser_print_line(parser, &other->place, &volume->place, line, sizeof line);
        parser_complain(
            parser, &volume->place,
            "it shares disk %u with volume \"%s\" (%s), and one of them is written. Give "
            "each a `part` of its own.",
            volume->disk, other->name, line);
        return;
    }
}

static void check_network(struct parser *parser, const struct plan_network *network)
{
    set_subject(parser, "network", network->name);
    if (network->http_port && network->host == PLAN_HOST_NONE)
        parser_complain(parser, &network->place,
                        "`http` needs an address. Add: host dhcp, or: host 10.0.0.1/24");
    else if (network->dhcp && network->host != PLAN_HOST_STATIC)
        parser_complain(parser, &network->place,
                        "`dhcp yes` needs an address of Septum's own. Add: host 10.0.0.1/24");
    else if (network->dhcp && network->uplink != PLAN_DISK_NONE)
        parser_complain(
            parser, &network->place,
            "it has an uplink, and who is there hands out addresses. Take `dhcp` away.");
    else if (network->vlan && network->uplink == PLAN_DISK_NONE)
        parser_complain(parser, &network->place,
                        "`vlan` is about the uplink, and it has none. Take `vlan` away.");
    else if (network->gateway && (network->host != PLAN_HOST_STATIC ||
                                  ((network->gateway ^ network->address) & network->mask)))
        parser_complain(
            parser, &network->place,
            "its gateway can't be reached: it is not in the network of `host`. Give one "
            "that is.");
    served_check(parser, network);
    for (const struct plan_network *other = parser->plan->networks; other < network; other++) {
        char line[PLAN_PATH_MAX + 16];
        if (network->uplink == PLAN_DISK_NONE || network->uplink != other->uplink ||
            network->vlan != other->vlan)
            continue;
        parser_print_line(parser, &other->place, &network->place, line, sizeof line);
        parser_complain(
            parser, &network->place,
            "it shares uplink %u with network \"%s\" (%s). Give each a `vlan` of its own, "
            "or make them one.",
            network->uplink, other->name, line);
        return;
    }
}

/* Two uses that can't be together: a volume that is written has one user, an address one card. */
static void check_pair(struct parser *parser, const struct use *use, const struct use *other)
{
    const struct plan *plan = parser->plan;
    const struct plan_partition *partition = &plan->partitions[use->partition];
    const struct plan_partition *owner = &plan->partitions[other->partition];
    char line[PLAN_PATH_MAX + 16];
    if (use->is_disk != other->is_disk || strcmp(use->name, other->name) != 0)
        return;
    set_subject(parser, parser_kind(partition), partition->name);
    parser_print_line(parser, &other->place, &use->place, line, sizeof line);
    if (!use->is_disk && partition->boot == PLAN_BOOT_PROGRAM) {
        if (partition == owner)
            parser_complain(parser, &use->place,
                            "it is in network \"%s\" already (%s). Take one away.", use->name,
                            line);
    } else if (use->is_disk) {
        if (plan->volumes[partition->disks[use->number].volume].access == PLAN_ACCESS_READ_WRITE)
            parser_complain(
                parser, &use->place,
                "volume \"%s\" is a disk of partition \"%s\" already (%s), and is written. "
                "Make it `access private` or `read-only`, or another.",
                use->name, owner->name, line);
    } else if (partition->cards[use->number].mac == owner->cards[other->number].mac) {
        parser_complain(
            parser, &use->place,
            "its address in network \"%s\" is that of partition \"%s\" too (%s). Give it "
            "another `mac`.",
            use->name, owner->name, line);
    }
}

/* What only a `pc` has; and it has one floppy drive. */
static void check_old_disk(struct parser *parser, const struct use *use)
{
    const struct plan_partition *partition = &parser->plan->partitions[use->partition];
    const struct plan_disk *disk = &partition->disks[use->number];
    const struct plan_volume *volume = &parser->plan->volumes[disk->volume];
    bool floppy = disk->kind == PLAN_DISK_FLOPPY;
    const char *problem = NULL;
    if (disk->kind == PLAN_DISK_HARD && disk->wiring == PLAN_WIRING_VIRTIO)
        return;
    if (floppy && volume->file[0] && parser->reader->check_image)
        problem = parser->reader->check_image(parser->reader, volume->file, PARTITION_IMAGE_FLOPPY);
    set_subject(parser, parser_kind(partition), partition->name);
    if (partition->board != PLAN_BOARD_PC)
        parser_complain(parser, &use->place, "the board `lean` has no %s. Add: board pc%s",
                        floppy ? "floppy drive" : "IDE controller",
                        disk->kind == PLAN_DISK_HARD ? ", or take `interface ide` away" : "");
    else if (problem)
        parser_complain(parser, &use->place, "%s", problem);
    for (uint32_t n = 0; floppy && n < use->number; n++)
        if (partition->disks[n].kind == PLAN_DISK_FLOPPY) {
            parser_complain(parser, &use->place,
                            "it has a floppy already, and one drive. Take one away.");
            return;
        }
}

/* Who would run it? Firmware of a `pc`. */
static void check_card(struct parser *parser, const struct use *use)
{
    const struct plan_partition *partition = &parser->plan->partitions[use->partition];
    if (partition->boot == PLAN_BOOT_PROGRAM || !partition->cards[use->number].rom[0] ||
        partition->board == PLAN_BOARD_PC)
        return;
    set_subject(parser, parser_kind(partition), partition->name);
    parser_complain(parser, &use->place,
                    "on the board `lean` cards have no `rom`. Add: board pc, or take it away.");
}

static void check_server_cpu(struct parser *parser, const struct plan_server *server, uint32_t cpus)
{
    set_subject(parser, "server", server->name);
    if (server->cpu >= cpus)
        parser_complain(parser, &server->place,
                        "CPU %u is not there: this machine has %u. Name another.", server->cpu,
                        cpus);
    for (unsigned i = 0; i < SERVER_KINDS; i++)
        if (strcmp(servers[i].name, server->name) == 0 && servers[i].device != server->device)
            parser_complain(parser, &server->place,
                            "this is not what it drives. Leave `device` out.");
}

void services_check(struct parser *parser, const struct partition_machine *machine)
{
    struct plan *plan = parser->plan;
    uint32_t cpus = machine->cpus ? machine->cpus : plan->cpus ? plan->cpus : 64;
    if (plan->volume_count)
        services_server(parser, "block");
    if (plan->network_count)
        services_server(parser, "network");
    for (uint32_t i = 0; i < plan->volume_count; i++) {
        check_volume(parser, &plan->volumes[i]);
        check_overlap(parser, &plan->volumes[i]);
    }
    for (uint32_t i = 0; i < plan->network_count; i++)
        check_network(parser, &plan->networks[i]);
    for (unsigned i = 0; i < parser->use_count; i++)
        if (resolve(parser, &parser->uses[i])) {
            if (parser->uses[i].is_disk)
                check_old_disk(parser, &parser->uses[i]);
            else
                check_card(parser, &parser->uses[i]);
            for (unsigned j = 0; j < i; j++)
                check_pair(parser, &parser->uses[i], &parser->uses[j]);
        }
    for (uint32_t i = 0; i < plan->server_count; i++)
        check_server_cpu(parser, &plan->servers[i], cpus);
}
