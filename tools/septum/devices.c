/* The disks and network cards of the emulated machine, and what of its network this PC can reach. */
#include "septum.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ports below this are the host's root's: a status page at 80 is found at 8080. */
#define PORTS_FOR_ALL 1024u
#define PORTS_SHIFT   8000u
#define PORTS_TRIED   50u

unsigned devices_cards(const struct plan *plan)
{
    unsigned cards = 0;
    for (unsigned i = 0; i < plan->network_count; i++)
        if (plan->networks[i].uplink != PLAN_DISK_NONE && plan->networks[i].uplink >= cards)
            cards = plan->networks[i].uplink + 1;
    return cards;
}

static void choose_ports(const struct plan *plan);

void devices_check(const struct plan *plan, bool bochs)
{
    struct stat status;
    for (unsigned i = 0; i < plan->volume_count; i++)
        if (plan->volumes[i].disk != PLAN_DISK_NONE &&
            plan->volumes[i].disk >= plan->machine_disk_count)
            give_up(
                "volume \"%s\" is on disk %u, and the emulator has %u. Add to the file: machine { "
                "disk \"IMAGE\" }",
                plan->volumes[i].name, plan->volumes[i].disk, plan->machine_disk_count);
    for (unsigned i = 0; i < plan->machine_disk_count; i++) {
        const char *path = plan->machine_disks[i];
        if (stat(path, &status) != 0)
            give_up("disk %u, %s, can't be read: %s. Make it with `truncate -s 64M %s`%s.", i, path,
                    strerror(errno), path,
                    strstr(path, "build/guests/") ? ", or by `make guests`" : "");
        if (S_ISREG(status.st_mode) && (status.st_size == 0 || status.st_size % 512))
            give_up("disk %u, %s, is no disk image: its size is no whole number of sectors of 512 "
                    "bytes.",
                    i, path);
    }
    if (bochs && devices_cards(plan) > 1)
        give_up("Bochs has one network card, and the file names uplink %u. Run it in QEMU.",
                devices_cards(plan) - 1);
    choose_ports(plan);
    if (bochs && plan->machine_disk_count > 3)
        give_up("Bochs has three disks beside its CD drive, and the file names %u. Run it in QEMU.",
                plan->machine_disk_count);
}

/* A path as a value of QEMU's options: a comma is doubled. */
static char *escaped(const char *path)
{
    char *text = allocate(2 * strlen(path) + 1), *end = text;
    for (; *path; path++) {
        if (*path == ',')
            *end++ = ',';
        *end++ = *path;
    }
    *end = 0;
    return text;
}

/* QEMU's virtio devices go around the IOMMU if they are not told otherwise. */
static const char *behind(bool iommu)
{
    return iommu ? ",iommu_platform=on" : "";
}

static void add_disks(const struct plan *plan, bool iommu, struct command *command)
{
    if (plan->machine_disk_count && plan->machine_disk_interface == PLAN_DISKS_AHCI) {
        command_add(command, "-device");
        command_add(command, "ahci,id=ahci");
    }
    for (unsigned i = 0; i < plan->machine_disk_count; i++) {
        char *path = escaped(plan->machine_disks[i]);
        bool ide = plan->machine_disk_interface == PLAN_DISKS_IDE;
        command_add(command, "-drive");
        command_add(command, "if=%s,id=disk%u,format=raw,file=%s", ide ? "ide" : "none", i, path);
        free(path);
        if (ide)
            continue;
        command_add(command, "-device");
        if (plan->machine_disk_interface == PLAN_DISKS_AHCI)
            command_add(command, "ide-hd,drive=disk%u,bus=ahci.%u", i, i);
        else
            command_add(command, "virtio-blk-pci,drive=disk%u,disable-legacy=on%s", i,
                        behind(iommu));
    }
}

/* Where the status pages of the plan's networks are found on this PC. */
static uint32_t page_ports[PLAN_NETWORKS_MAX];

static bool is_free(uint32_t port)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    if (door < 0)
        return true; /* then the emulator says what is wrong */
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    bool good = bind(door, (const struct sockaddr *)&address, sizeof address) == 0;
    close(door);
    return good;
}

static bool is_forwarded(const struct plan *plan, uint32_t port)
{
    for (unsigned i = 0; i < plan->machine_forward_count; i++)
        if (plan->machine_forwards[i].host_port == port)
            return true;
    for (unsigned i = 0; i < plan->network_count; i++)
        if (page_ports[i] == port)
            return true;
    return false;
}

/* The ports that the file names must be free; a status page moves to the next that is. */
static void choose_ports(const struct plan *plan)
{
    for (unsigned i = 0; i < plan->machine_forward_count; i++)
        if (!is_free(plan->machine_forwards[i].host_port))
            give_up("port %u of this PC, which the file forwards, is taken. End the program that "
                    "has it, "
                    "or name another port behind `forward`.",
                    plan->machine_forwards[i].host_port);
    for (unsigned i = 0; i < plan->network_count; i++) {
        uint32_t port = plan->networks[i].http_port;
        port = port < PORTS_FOR_ALL ? port + PORTS_SHIFT : port;
        for (unsigned tries = 0; tries < PORTS_TRIED && port < 65535; tries++) {
            if (is_free(port) && !is_forwarded(plan, port))
                break;
            port++;
        }
        page_ports[i] = port;
    }
}

/* Calls `each` for each port of this PC that leads to the first uplink. */
static void for_forwards(const struct plan *plan,
                         void (*each)(void *argument, const struct plan_forward *forward,
                                      bool page),
                         void *argument)
{
    for (unsigned i = 0; i < plan->network_count; i++) {
        const struct plan_network *network = &plan->networks[i];
        const struct plan_forward page = {page_ports[i], network->http_port, network->address};
        if (network->uplink == 0 && network->http_port)
            each(argument, &page, true);
    }
    for (unsigned i = 0; i < plan->machine_forward_count; i++)
        each(argument, &plan->machine_forwards[i], false);
}

/* "ADDRESS:PORT", without the address if it is whatever was given to the machine. */
static void print_target(const struct plan_forward *forward, char *text, size_t size_bytes)
{
    uint32_t ip = forward->address;
    if (ip)
        snprintf(text, size_bytes, "%u.%u.%u.%u:%u", ip >> 24, ip >> 16 & 0xff, ip >> 8 & 0xff,
                 ip & 0xff, forward->port);
    else
        snprintf(text, size_bytes, ":%u", forward->port);
}

static void append_forward(void *argument, const struct plan_forward *forward, bool page)
{
    char target[40], *text = argument;
    (void)page;
    print_target(forward, target, sizeof target);
    sprintf(text + strlen(text), ",hostfwd=tcp:127.0.0.1:%u-%s", forward->host_port, target);
}

void devices_qemu(const struct plan *plan, bool iommu, struct command *command)
{
    static const char *const cards[] = {"virtio-net-pci,disable-legacy=on", "e1000"};
    char forwards[64 * (PLAN_FORWARDS_MAX + PLAN_NETWORKS_MAX)] = "";
    add_disks(plan, iommu, command);
    for_forwards(plan, append_forward, forwards);
    for (unsigned i = 0; i < devices_cards(plan); i++) {
        command_add(command, "-netdev");
        command_add(command, "user,id=net%u%s", i, i == 0 ? forwards : "");
        command_add(command, "-device");
        command_add(command, "%s%s,netdev=net%u,mac=52:54:00:5e:00:%02x", cards[plan->machine_card],
                    plan->machine_card == PLAN_CARD_VIRTIO ? behind(iommu) : "", i, i + 1);
    }
}

static void write_forward(void *argument, const struct plan_forward *forward, bool page)
{
    char target[40], first[40];
    (void)page;
    print_target(forward, target, sizeof target);
    snprintf(first, sizeof first, "10.0.2.15:%u", forward->port);
    fprintf(argument, "hostfwd = tcp:127.0.0.1:%u-%s\n", forward->host_port,
            forward->address ? target : first);
}

void devices_bochs(const struct plan *plan, const char *folder, FILE *file)
{
    static const char *const places[] = {"ata1-master", "ata1-slave", "ata0-slave"};
    char *path;
    if (plan->machine_disk_count)
        fputs("ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15\n", file);
    for (unsigned i = 0; i < plan->machine_disk_count; i++) {
        char *disk = realpath(plan->machine_disks[i], NULL);
        if (!disk)
            give_up("disk %u, %s, can't be found: %s", i, plan->machine_disks[i], strerror(errno));
        fprintf(file, "%s: type=disk, path=\"%s\", mode=flat\n", places[i], disk);
        free(disk);
    }
    if (!devices_cards(plan))
        return;
    fprintf(file, "e1000: enabled=1, mac=52:54:00:5e:00:01, ethmod=slirp, script=slirp.conf\n");
    if (asprintf(&path, "%s/slirp.conf", folder) < 0)
        abort();
    FILE *script = fopen(path, "we");
    if (!script)
        give_up("%s can't be written: %s", path, strerror(errno));
    fputs("# slirp config\n", script);
    for_forwards(plan, write_forward, script);
    fclose(script);
    free(path);
}

static void tell_forward(void *argument, const struct plan_forward *forward, bool page)
{
    char target[40];
    (void)argument;
    print_target(forward, target, sizeof target);
    if (page)
        tell("status page: http://127.0.0.1:%u/", forward->host_port);
    else
        tell("127.0.0.1:%u leads to %s", forward->host_port, target);
}

void devices_tell(const struct plan *plan)
{
    for_forwards(plan, tell_forward, NULL);
}
