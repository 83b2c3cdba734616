/*
 * What a partition file says, defaults filled in: the result of the one parser, used by the host
 * tool (`septum check`, `show`, `run`, `iso`), by root, and as part of what a VMM is told. Plain
 * data without pointers, so that it can be handed over as it is.
 */
#ifndef LIB_PARTITION_PLAN_H
#define LIB_PARTITION_PLAN_H

#include <stdint.h>

#define PLAN_NAME_MAX         24u /* with the terminating zero; lower-case letters, digits, - */
#define PLAN_PATH_MAX         256u
#define PLAN_COMMAND_LINE_MAX 1024u
#define PLAN_PARTITIONS_MAX   16u
#define PLAN_VCPUS_MAX        8u
#define PLAN_VOLUMES_MAX      12u
#define PLAN_NETWORKS_MAX     8u
#define PLAN_CARDS_MAX        4u /* disks, and network cards, of one partition */
#define PLAN_MODULES_MAX      8u /* of a multiboot or PVH kernel */
#define PLAN_MODULE_TEXT_MAX  256u
#define PLAN_SERVED_MAX       16u /* files that networks serve, in all */
#define PLAN_SERVED_NAME_MAX  48u /* with the terminating zero */

/* PROGRAM: no guest, but a native program: a `task` of the file. Of its fields here `kernel` is the program, command_line its arguments, memory_bytes
 * its heap, and the events are POWER_OFF (it has ended), VMM_DEATH and FAILURE; it has no vCPUs and no disks. */
enum plan_boot {
    PLAN_BOOT_NONE,
    PLAN_BOOT_LINUX,      /* a bzImage, by the best entry that it has */
    PLAN_BOOT_PVH,        /* an ELF file with a PVH note */
    PLAN_BOOT_MULTIBOOT,  /* an ELF file or image with a multiboot header */
    PLAN_BOOT_MULTIBOOT2, /* the same of version 2 */
    PLAN_BOOT_BIOS,       /* from a disk, by SeaBIOS */
    PLAN_BOOT_ROM, /* an image that ends below 4 GiB, entered as the processor comes out of reset */
    PLAN_BOOT_UEFI, /* from a disk, by OVMF */
    PLAN_BOOT_PROGRAM
};
/* By which door a Linux kernel is entered. */
enum plan_entry { PLAN_ENTRY_BEST, PLAN_ENTRY_64, PLAN_ENTRY_32, PLAN_ENTRY_16 };
/* LEAN: no legacy device at all. PC: i440FX and PIIX3, as old systems expect them. */
enum plan_board { PLAN_BOARD_LEAN, PLAN_BOARD_PC };
/* VGA: the screen and the keyboard of a `pc`. */
enum plan_rings { PLAN_RINGS_SPLIT, PLAN_RINGS_PACKED };
enum plan_console { PLAN_CONSOLE_NONE, PLAN_CONSOLE_VIRTIO, PLAN_CONSOLE_UART, PLAN_CONSOLE_VGA };
enum plan_action { PLAN_ACTION_STOP, PLAN_ACTION_RESTART, PLAN_ACTION_LEAVE };
enum plan_unknown { PLAN_UNKNOWN_IGNORE, PLAN_UNKNOWN_HALT, PLAN_UNKNOWN_INJECT };
enum plan_event {
    PLAN_ON_POWER_OFF,
    PLAN_ON_REBOOT,
    PLAN_ON_PANIC,
    PLAN_ON_VMM_DEATH,
    PLAN_ON_FAILURE, /* it could not be started */
    PLAN_EVENT_COUNT
};

struct plan_policy {
    uint32_t action;        /* enum plan_action */
    uint32_t restart_limit; /* PLAN_ACTION_RESTART: so often, then it stops; 0: no limit */
};

struct plan_place {
    uint32_t file; /* index into plan.files */
    uint32_t line, column;
};

enum plan_access { PLAN_ACCESS_READ_WRITE, PLAN_ACCESS_READ_ONLY, PLAN_ACCESS_PRIVATE };
#define PLAN_DISK_NONE    UINT32_MAX
#define PLAN_FLOPPY_BYTES 1474560u /* of 1.44 MB; one of 720 KB has half */

/* What a partition can have as a disk. */
struct plan_volume {
    char name[PLAN_NAME_MAX];
    struct plan_place place;
    uint32_t disk; /* the machine's n-th disk, or PLAN_DISK_NONE: an image file in the bundle */
    uint32_t part; /* of the disk, as its GPT or MBR numbers them; 0: all of it */
    uint32_t
        access; /* enum plan_access; private: each partition has a copy of its own: what it changes is
                   kept in memory */
    uint32_t reserved;
    uint64_t changes_bytes; /* private: at most so much may be changed */
    char file[PLAN_PATH_MAX];
};

/* An Ethernet network: a switch of its own. */
struct plan_network {
    char name[PLAN_NAME_MAX];
    struct plan_place place;
    uint32_t uplink;        /* the machine's n-th network card is a port of it, or PLAN_DISK_NONE */
    uint32_t vlan;          /* 802.1Q tag on the uplink; 0: none */
    uint32_t dhcp;          /* 1: Septum hands out addresses in it, and forwards DNS */
    uint32_t host;          /* enum plan_host: has Septum itself an address in it? */
    uint32_t address, mask; /* PLAN_HOST_STATIC: IPv4, host byte order */
    uint32_t gateway;
    uint32_t http_port;      /* where the status page is served in it; 0: nowhere */
    uint32_t broadcast_rate; /* broadcast and multicast frames a second of each port; 0: no limit */
    uint32_t reserved;
    /* Which of its served files DHCP tells to firmware that boots from the network; empty: none. */
    char boot_file[PLAN_SERVED_NAME_MAX];
};
enum plan_host { PLAN_HOST_NONE, PLAN_HOST_STATIC, PLAN_HOST_DHCP };

/* A file that Septum's web server gives in one network, as /files/NAME. */
struct plan_served {
    uint32_t network; /* index of plan.networks */
    struct plan_place place;
    char name[PLAN_SERVED_NAME_MAX]; /* letters, digits, `.`, `-` and `_` */
    char file[PLAN_PATH_MAX];        /* as the other paths are */
};

/* A partition's virtual disk, and its virtual network card. */
enum plan_disk_kind { PLAN_DISK_HARD, PLAN_DISK_CDROM, PLAN_DISK_FLOPPY };
enum plan_disk_wiring {
    PLAN_WIRING_VIRTIO,
    PLAN_WIRING_IDE
}; /* of a hard disk; a CD-ROM is IDE's, a floppy its controller's */
struct plan_disk {
    uint32_t volume;        /* index of plan.volumes */
    uint32_t kind;          /* enum plan_disk_kind */
    uint32_t wiring;        /* enum plan_disk_wiring */
    uint32_t rate_requests; /* a second; 0: no limit */
    uint64_t rate_bytes;    /* the same */
};
struct plan_card {
    uint32_t network; /* index of plan.networks */
    uint32_t reserved;
    uint64_t
        mac; /* low 48 bits, first octet highest; locally administered, made of the names unless said */
    uint64_t rate_bytes;
    char rom[PLAN_PATH_MAX]; /* of a `pc`: its expansion ROM, as the other paths are; empty: none */
};

/* A file that is handed to a kernel beside itself, with a text. */
struct plan_module {
    char file[PLAN_PATH_MAX];
    char text[PLAN_MODULE_TEXT_MAX];
};

#define PLAN_CPUS_MAX 64u

struct plan_partition {
    char name[PLAN_NAME_MAX];
    struct plan_place place;
    uint64_t memory_bytes; /* whole MiB */
    uint32_t vcpu_count;
    uint32_t priority;             /* 1 to 40: root and the servers are above */
    uint64_t cpu_mask;             /* vCPU n runs on the (n modulo count)th CPU of the mask */
    uint32_t share_core;           /* 1: others may run on the other threads of its cores */
    uint32_t budget_us, period_us; /* share of each CPU of the mask; budget 0: no limit */
    uint32_t boot;                 /* enum plan_boot */
    uint32_t entry;                /* PLAN_BOOT_LINUX: enum plan_entry */
    uint32_t board;                /* enum plan_board */
    uint32_t test_device;          /* 1: the debug-exit port of a `pc` */
    uint32_t module_count;
    uint32_t console;   /* enum plan_console */
    uint32_t random;    /* 1: a virtio-rng device */
    uint32_t rings;     /* enum plan_rings */
    uint32_t unknown;   /* enum plan_unknown */
    uint32_t autostart; /* 1: started at boot */
    uint32_t cpu;       /* a task's: the one of cpu_mask */
    uint32_t disk_count, card_count;
    struct plan_disk disks[PLAN_CARDS_MAX];
    struct plan_card cards[PLAN_CARDS_MAX];
    struct plan_policy on[PLAN_EVENT_COUNT];
    uint64_t may_talk_to; /* bit n: partition n of the plan; symmetric */
    /* Paths, from the folder in which the partition file was opened; members of the bundle: "file/" +
     * this. */
    char kernel[PLAN_PATH_MAX]; /* PLAN_BOOT_ROM: the image */
    char initrd[PLAN_PATH_MAX]; /* empty: none */
    char command_line[PLAN_COMMAND_LINE_MAX];
    struct plan_module modules[PLAN_MODULES_MAX];
    char firmware[PLAN_PATH_MAX];  /* PLAN_BOOT_BIOS, PLAN_BOOT_UEFI; empty: Septum's own */
    char variables[PLAN_PATH_MAX]; /* PLAN_BOOT_UEFI: what they are at the start; the same */
    /* PLAN_BOOT_BIOS: what is tried, in this order: `c` hard disk, `d` CD-ROM, `a` floppy, `n` network. */
    char boot_order[8];
};

struct plan_server {
    char name[PLAN_NAME_MAX];
    struct plan_place place;
    uint32_t priority; /* 41 to 60 */
    uint32_t cpu;
    uint32_t device; /* enum plan_device: what it drives */
    uint32_t reserved;
    struct plan_policy on_death;
};

enum plan_device {
    PLAN_DEVICE_NONE,
    PLAN_DEVICE_SERIAL,
    PLAN_DEVICE_DISKS,    /* all disks that a driver is there for */
    PLAN_DEVICE_NETWORKS, /* all network cards */
};
enum plan_disk_interface { PLAN_DISKS_VIRTIO, PLAN_DISKS_IDE, PLAN_DISKS_AHCI };
enum plan_machine_card { PLAN_CARD_VIRTIO, PLAN_CARD_E1000 };
#define PLAN_SERVERS_MAX  8u
#define PLAN_FORWARDS_MAX 8u

/* A TCP port of the host that leads to an address behind the emulator's network card. */
struct plan_forward {
    uint32_t host_port, port;
    uint32_t address; /* IPv4, host byte order; 0: the first that the emulator hands out */
};
#define PLAN_FILES_MAX 16u

struct plan {
    struct plan_partition partitions[PLAN_PARTITIONS_MAX];
    struct plan_server
        servers[PLAN_SERVERS_MAX]; /* `console` always; `block`, `network` if wanted */
    struct plan_volume volumes[PLAN_VOLUMES_MAX];
    struct plan_network networks[PLAN_NETWORKS_MAX];
    struct plan_served served[PLAN_SERVED_MAX];
    uint32_t partition_count, server_count, volume_count, network_count;
    uint32_t served_count, reserved;
    uint32_t machine_disk_count;     /* images that `septum run` gives its emulator as disks */
    uint32_t machine_disk_interface; /* enum plan_disk_interface */
    uint32_t machine_card; /* enum plan_machine_card: the kind of network cards that it gives it */
    uint32_t machine_forward_count;
    struct plan_forward machine_forwards[PLAN_FORWARDS_MAX];
    char machine_disks[PLAN_CARDS_MAX][PLAN_PATH_MAX];
    uint32_t threads; /* what the file expects of the machine: CPUs of a core, */
    uint32_t cpus;    /* CPUs, and */
    uint32_t file_count;
    uint64_t memory_bytes;                     /* memory; 0: not said */
    char files[PLAN_FILES_MAX][PLAN_PATH_MAX]; /* the partition file and what it includes */
};

#endif
