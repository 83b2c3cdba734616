/* The table of all words, in two parts. The order is that in which `septum show` and the manual give them. */
#include "schema.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

const char *const schema_boots[] = {"none", "linux", "pvh",  "multiboot", "multiboot2",
                                    "bios", "rom",   "uefi", NULL};
static const char *const entries[] = {"best", "64-bit", "32-bit", "16-bit", NULL};
const char *const schema_orders[] = {"disk", "cdrom", "floppy", "network", NULL};
const char schema_order_letters[] = "cdan";
static const char *const boards[] = {"lean", "pc", NULL};
static const char *const consoles[] = {"none", "virtio", "uart", "vga", NULL};
static const char *const unknowns[] = {"ignore", "halt", "inject", NULL};
static const char *const rings[] = {"split", "packed", NULL};
static const char *const devices[] = {"none", "random", NULL};
static const char *const server_devices[] = {"none", "serial", "disks", "networks", NULL};
static const char *const accesses[] = {"read-write", "read-only", "private", NULL};
static const char *const interfaces[] = {"virtio", "ide", "ahci", NULL};
static const char *const wirings[] = {"virtio", "ide", NULL};
static const char *const machine_cards[] = {"virtio", "e1000", NULL};
static const char *const answers[] = {"no", "yes", NULL};
const char *const schema_actions[] = {"stop", "restart", "leave", NULL};

#define IN_PARTITION(field) offsetof(struct plan_partition, field)
#define IN_SERVER(field)    offsetof(struct plan_server, field)
#define IN_PLAN(field)      offsetof(struct plan, field)
#define IN_VOLUME(field)    offsetof(struct plan_volume, field)
#define IN_NETWORK(field)   offsetof(struct plan_network, field)
#define KERNELS                                                  \
    (SCHEMA_BOOT(PLAN_BOOT_LINUX) | SCHEMA_BOOT(PLAN_BOOT_PVH) | \
     SCHEMA_BOOT(PLAN_BOOT_MULTIBOOT) | SCHEMA_BOOT(PLAN_BOOT_MULTIBOOT2))
#define SHARE_CORE                                                                             \
    "It may run on one thread of a processor core while another partition runs on the core's " \
    "other thread, if that one says so too. Each can learn of the other's work by what they "  \
    "share: caches and execution units."
#define ON(event) (IN_PARTITION(on) + (event) * sizeof(struct plan_policy))

const struct schema_row schema_rows[] = {
#include "schema_guests.def"
#include "schema_services.def"
};
const unsigned schema_row_count = sizeof schema_rows / sizeof *schema_rows;
_Static_assert(sizeof schema_rows / sizeof *schema_rows <= SCHEMA_ROWS_MAX, "rows are counted");

const struct schema_form schema_forms[VALUE_COUNT] = {
    [VALUE_NONE] = {"nothing", "", ""},
    [VALUE_NUMBER] = {"a number", "1", "NUMBER"},
    [VALUE_SIZE] = {"a size", "128M", "SIZE"},
    [VALUE_CPUS] = {"CPUs", "0-1", "CPU or CPU-CPU, one or more"},
    [VALUE_SHARE] = {"a share of time", "5ms per 10ms", "TIME `per` TIME, or `none`"},
    [VALUE_CHOICE] = {"a word", "", ""},
    [VALUE_POLICY] = {"an action", "restart 3", "`stop`, `restart`, `restart` LIMIT or `leave`"},
    [VALUE_PATH] = {"a path", "\"vmlinuz\"", "PATH"},
    [VALUE_TEXT] = {"a text", "\"console=hvc0 quiet\"", "TEXT"},
    [VALUE_NAME] = {"a name", "web", "NAME"},
    [VALUE_NAMES] = {"the name of a partition", "db", "NAME, one or more"},
    [VALUE_INDEX] = {"a number", "0", "NUMBER, or `none`"},
    [VALUE_RATE] = {"a rate", "10M", "SIZE a second, or `none`"},
    [VALUE_MAC] = {"an Ethernet address", "02:00:00:00:00:01", "ADDRESS"},
    [VALUE_HOST] = {"an address", "10.0.0.1/24", "ADDRESS`/`BITS, `dhcp` or `none`"},
    [VALUE_IP] = {"an address", "10.0.0.1", "ADDRESS, or `none`"},
    [VALUE_DISK] = {"the name of a volume", "data", "NAME"},
    [VALUE_CDROM] = {"the name of a volume", "setup", "NAME"},
    [VALUE_FLOPPY] = {"the name of a volume", "boot", "NAME"},
    [VALUE_CARD] = {"the name of a network", "lan", "NAME"},
    [VALUE_FORWARD] = {"a port and an address", "8080 10.0.2.20:80", "PORT ADDRESS`:`PORT"},
    [VALUE_PATHS] = {"a path", "\"disk.img\"", "PATH"},
    [VALUE_MODULE] = {"a path", "\"module.bin\" \"text\"", "PATH TEXT"},
    [VALUE_ORDER] = {"what to boot from", "disk cdrom", "WORD, one or more"},
    [VALUE_SERVE] = {"a name and a path", "\"kernel\" \"vmlinuz\"", "NAME PATH"},
    [VALUE_SERVED] = {"the name of a file that it serves", "\"boot.ipxe\"", "NAME"},
};

const char *const schema_block_names[BLOCK_COUNT] = {
    [BLOCK_NONE] = "",           [BLOCK_FILE] = "the file", [BLOCK_PARTITION] = "partition",
    [BLOCK_BOOT] = "boot",       [BLOCK_SERVER] = "server", [BLOCK_MACHINE] = "machine",
    [BLOCK_DISK] = "disk",       [BLOCK_CARD] = "network",  [BLOCK_VOLUME] = "volume",
    [BLOCK_NETWORK] = "network", [BLOCK_TASK] = "task",
};
