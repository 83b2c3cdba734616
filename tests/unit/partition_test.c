/*
 * The partition language: what files mean, and that no text whatever does harm. Messages word for word are in
 * tests/fixtures/partition-file.
 * links: lib/partition/parse.c lib/partition/values.c lib/partition/words.c lib/partition/check.c
 *        lib/partition/lexer.c lib/partition/schema.c lib/partition/served.c lib/partition/schema_print.c lib/partition/services.c lib/partition/addresses.c
 *        lib/partition/boot.c lib/partition/files.c lib/print.c
 */
#include "partition/lexer.h"
#include "partition/parse.h"
#include "partition/schema.h"
#include "unit_test.h"

struct file {
    const char *path, *text;
};

/* Files that there are, in exactly allocated memory, so that a byte read beyond one is noticed. */
struct disk {
    struct partition_reader reader;
    const struct file *files;
    char *copies[24];
    unsigned copy_count;
};

struct listener {
    struct partition_errors errors;
    char text[8192];
};

static struct plan plan;
static struct listener heard;

static bool disk_read(struct partition_reader *reader, const char *path, const char **text,
                      size_t *size_bytes)
{
    struct disk *disk = (struct disk *)reader;
    for (const struct file *file = disk->files; file->path; file++)
        if (strcmp(file->path, path) == 0) {
            *size_bytes = strlen(file->text);
            char *copy = malloc(*size_bytes ? *size_bytes : 1);
            memcpy(copy, file->text, *size_bytes);
            disk->copies[disk->copy_count++] = copy;
            *text = copy;
            return true;
        }
    return false;
}

static void hear(struct partition_errors *errors, const char *message)
{
    struct listener *listener = (struct listener *)errors;
    size_t used = strlen(listener->text);
    if (strlen(message) >= PARTITION_MESSAGE_MAX)
        abort();
    snprintf(listener->text + used, sizeof listener->text - used, "%s\n", message);
}

static bool parse_files(const struct file *files, const struct partition_machine *machine)
{
    struct disk disk = {.reader = {.read = disk_read}, .files = files};
    heard = (struct listener){.errors = {hear, 0}};
    bool good = partition_parse(&plan, files->path, &disk.reader, machine, &heard.errors);
    while (disk.copy_count)
        free(disk.copies[--disk.copy_count]);
    return good;
}

static bool parse(const char *text)
{
    const struct file files[] = {{"dir/a.conf", text}, {NULL, NULL}};
    const struct partition_machine machine = {0};
    return parse_files(files, &machine);
}

#define BOOT "boot linux { kernel k }"

TEST(partition_all_words, "each word of the language fills its field")
{
    CHECK(parse(
        "partition web {\n memory 1G\n vcpus 4\n cpus 0-2 5\n share 5ms per 20ms\n priority 7\n"
        " boot linux { kernel \"v m\" initrd /abs/i command-line \"a=\\\"b\\\" \\\\ c\" }\n"
        " console uart device random on power-off leave\n on reboot stop\n on panic restart\n"
        " on vmm-death restart 3\n on failure restart 1000\n unknown inject autostart no\n"
        " talk-to db\n}\npartition db { " BOOT " }\n"
        "server console { device serial priority 60 cpu 1 on death leave }\n"
        "machine { cpus 6 memory 4G }\n"));
    const struct plan_partition *web = &plan.partitions[0], *db = &plan.partitions[1];
    EXPECT(plan.partition_count, 2);
    CHECK(strcmp(web->name, "web") == 0 && strcmp(db->name, "db") == 0);
    EXPECT(web->memory_bytes, 1ull << 30);
    EXPECT(web->vcpu_count, 4);
    EXPECT(web->cpu_mask, 0x27);
    EXPECT(web->budget_us, 5000);
    EXPECT(web->period_us, 20000);
    EXPECT(web->priority, 7);
    EXPECT(web->boot, PLAN_BOOT_LINUX);
    CHECK(strcmp(web->kernel, "dir/v m") == 0);
    CHECK(strcmp(web->initrd, "/abs/i") == 0);
    CHECK(strcmp(web->command_line, "a=\"b\" \\ c") == 0);
    EXPECT(web->console, PLAN_CONSOLE_UART);
    EXPECT(web->random, 1);
    EXPECT(web->on[PLAN_ON_POWER_OFF].action, PLAN_ACTION_LEAVE);
    EXPECT(web->on[PLAN_ON_REBOOT].action, PLAN_ACTION_STOP);
    EXPECT(web->on[PLAN_ON_PANIC].action, PLAN_ACTION_RESTART);
    EXPECT(web->on[PLAN_ON_PANIC].restart_limit, 0);
    EXPECT(web->on[PLAN_ON_VMM_DEATH].restart_limit, 3);
    EXPECT(web->on[PLAN_ON_FAILURE].restart_limit, 1000);
    EXPECT(web->unknown, PLAN_UNKNOWN_INJECT);
    EXPECT(web->autostart, 0);
    EXPECT(web->may_talk_to, 2);
    EXPECT(db->may_talk_to, 1);
    EXPECT(db->place.line, 16);
    EXPECT(plan.servers[0].priority, 60);
    EXPECT(plan.servers[0].cpu, 1);
    EXPECT(plan.servers[0].on_death.action, PLAN_ACTION_LEAVE);
    EXPECT(plan.cpus, 6);
    EXPECT(plan.memory_bytes, 4ull << 30);
}

TEST(partition_boots,
     "each kind of boot has its words; what `default partition` says of another kind "
     "does not hold")
{
    CHECK(parse("default partition { boot linux { kernel k initrd i command-line \"c\" } }\n"
                "partition a { board pc test-device yes boot bios { order cdrom disk } }\n"
                "partition b { boot bios }\npartition c { boot rom { image r } }\n"
                "partition d { boot multiboot { kernel m module x \"y z\"\n module w\n } }\n"
                "partition e { boot multiboot2 }\n") == false);
    CHECK(strstr(heard.text, ":8:15: partition \"e\": `boot` needs a block"));
    CHECK(parse(
        "default partition { boot linux { kernel k initrd i command-line \"c\" entry 32-bit } }\n"
        "partition a { board pc test-device yes boot bios { order cdrom disk } }\n"
        "partition b { boot bios }\npartition c { boot rom { image r } }\n"
        "partition d { boot multiboot { module x \"y z\"\n module w\n } }\n"
        "partition e { board pc boot uefi { firmware f variables v } }\n"
        "partition f { boot pvh { } }\n"));
    const struct plan_partition *a = plan.partitions, *b = a + 1, *c = a + 2, *d = a + 3,
                                *e = a + 4;
    EXPECT(a->boot, PLAN_BOOT_BIOS);
    EXPECT(a->test_device, 1);
    CHECK(strcmp(a->boot_order, "dc") == 0 && !a->kernel[0] && !a->initrd[0]);
    CHECK(strcmp(b->boot_order, "cdan") == 0 && !b->command_line[0] && b->board == PLAN_BOARD_LEAN);
    CHECK(strcmp(c->kernel, "dir/r") == 0);
    EXPECT(d->module_count, 2);
    CHECK(strcmp(d->kernel, "dir/k") == 0 && strcmp(d->command_line, "c") == 0 && !d->initrd[0]);
    CHECK(strcmp(d->modules[0].file, "dir/x") == 0 && strcmp(d->modules[0].text, "y z") == 0);
    CHECK(strcmp(d->modules[1].file, "dir/w") == 0 && !d->modules[1].text[0]);
    CHECK(strcmp(e->firmware, "dir/f") == 0 && strcmp(e->variables, "dir/v") == 0);
    EXPECT(a[5].entry, PLAN_ENTRY_BEST);
    CHECK(strcmp(a[5].initrd, "dir/i") == 0);
}

TEST(partition_served, "each network has its own served files; the one to be booted is one of them")
{
    CHECK(parse("network a { host 10.0.0.1/24 dhcp yes http 80 serve \"k\" \"v m\"\n"
                " serve \"A-z_0.9\" /abs\n boot-file \"k\" }\n"
                "network b { host 10.0.1.1/24 http 8080 serve \"k\" k }\n"
                "partition p { " BOOT " }\n"));
    EXPECT(plan.served_count, 3);
    EXPECT(plan.served[0].network, 0);
    CHECK(strcmp(plan.served[0].name, "k") == 0 && strcmp(plan.served[0].file, "dir/v m") == 0);
    CHECK(strcmp(plan.served[1].name, "A-z_0.9") == 0 && strcmp(plan.served[1].file, "/abs") == 0);
    EXPECT(plan.served[1].place.line, 2);
    EXPECT(plan.served[2].network, 1);
    CHECK(strcmp(plan.networks[0].boot_file, "k") == 0 && !plan.networks[1].boot_file[0]);
}

TEST(partition_files, "the files of a partition are those that it names, and else what comes along")
{
    struct plan_file file;
    unsigned count = 0;
    CHECK(parse("partition a { board pc boot bios }\npartition b { boot bios { firmware f } }\n"
                "partition c { boot multiboot { kernel k module x \"y\"\n module w\n } }\n"));
    const struct plan_partition *a = plan.partitions, *b = a + 1, *c = a + 2;
    CHECK(plan_file(a, PLAN_FILE_FIRMWARE, &file) && file.shipped &&
          strcmp(file.path, "bios-256k.bin") == 0);
    CHECK(plan_file(a, PLAN_FILE_VIDEO, &file) && file.shipped &&
          strcmp(file.path, "vgabios-stdvga.bin") == 0);
    CHECK(plan_file(b, PLAN_FILE_FIRMWARE, &file) && !file.shipped &&
          strcmp(file.path, "dir/f") == 0);
    CHECK(!plan_file(b, PLAN_FILE_VIDEO, &file) && !plan_file(b, PLAN_FILE_KERNEL, &file));
    for (unsigned n = 0; n < PLAN_FILE_COUNT; n++)
        count += plan_file(c, n, &file);
    EXPECT(count, 3);
    CHECK(plan_file(c, PLAN_FILE_MODULE + 1, &file) && strcmp(file.path, "dir/w") == 0);
}

TEST(partition_old_disks, "disks, CD-ROMs and floppies are in the order of the file")
{
    CHECK(parse("volume a { disk 0 access private }\nvolume b { disk 1 access read-only }\n"
                "partition web { board pc " BOOT " disk a cdrom b\n"
                "disk a { interface ide requests 5 } floppy a }\n"));
    const struct plan_partition *web = &plan.partitions[0];
    const struct plan_disk expected[] = {
        {0, PLAN_DISK_HARD, PLAN_WIRING_VIRTIO, 0, 0},
        {1, PLAN_DISK_CDROM, PLAN_WIRING_VIRTIO, 0, 0},
        {0, PLAN_DISK_HARD, PLAN_WIRING_IDE, 5, 0},
        {0, PLAN_DISK_FLOPPY, PLAN_WIRING_VIRTIO, 0, 0},
    };
    EXPECT(web->disk_count, 4);
    CHECK(memcmp(web->disks, expected, sizeof expected) == 0);
}

TEST(partition_task, "a `task` is a partition without a guest: `default partition` is not about it")
{
    CHECK(parse("default partition { memory 64M vcpus 2 cpus 1 boot linux { kernel d } }\n"
                "network lan { host 10.0.0.1/24 }\nnetwork wan { uplink 0 host dhcp }\n"
                "task a { program \"x y\" network wan network lan }\n"
                "task b { program z arguments \"a b\" memory 3M cpu 2 share 1ms per 4ms priority 9 "
                "on end restart\n"
                " on death restart 4 on failure leave autostart no }\npartition c { }\n"));
    const struct plan_partition *a = plan.partitions, *b = a + 1, *c = a + 2;
    EXPECT(plan.partition_count, 3);
    EXPECT(a->boot, PLAN_BOOT_PROGRAM);
    CHECK(strcmp(a->kernel, "dir/x y") == 0);
    EXPECT(a->memory_bytes, 1 << 20);
    EXPECT(a->vcpu_count, 0);
    EXPECT(a->cpu_mask, 1);
    EXPECT(a->priority, 20);
    EXPECT(a->autostart, 1);
    EXPECT(a->on[PLAN_ON_VMM_DEATH].action, PLAN_ACTION_STOP);
    EXPECT(a->card_count, 2);
    EXPECT(a->cards[0].network, 1);
    EXPECT(a->cards[1].network, 0);
    CHECK(strcmp(b->command_line, "a b") == 0);
    EXPECT(b->memory_bytes, 3 << 20);
    EXPECT(b->cpu_mask, 4);
    EXPECT(b->cpu, 2);
    EXPECT(b->budget_us, 1000);
    EXPECT(b->period_us, 4000);
    EXPECT(b->priority, 9);
    EXPECT(b->autostart, 0);
    EXPECT(b->on[PLAN_ON_POWER_OFF].action, PLAN_ACTION_RESTART);
    EXPECT(b->on[PLAN_ON_VMM_DEATH].restart_limit, 4);
    EXPECT(b->on[PLAN_ON_FAILURE].action, PLAN_ACTION_LEAVE);
    EXPECT(c->boot, PLAN_BOOT_LINUX);
    EXPECT(c->vcpu_count, 2);
}

TEST(partition_defaults,
     "what is not said has the table's value, or that of the last `default partition` above")
{
    CHECK(parse("partition a { " BOOT " }\ndefault partition { memory 64M on panic restart 2 }\n"
                "default partition { vcpus 2 boot linux { kernel d command-line x } }\n") == false);
    CHECK(parse("partition a { " BOOT " }\ndefault partition { memory 64M on panic restart 2 }\n"
                "default partition { vcpus 2 boot linux { kernel d command-line \"x\" } }\n"
                "partition b { }\npartition c { memory 32M boot linux { initrd i } }\n"));
    const struct plan_partition *a = plan.partitions, *b = a + 1, *c = a + 2;
    EXPECT(a->memory_bytes, 128 << 20);
    EXPECT(a->vcpu_count, 1);
    EXPECT(a->cpu_mask, 1);
    EXPECT(a->budget_us, 0);
    EXPECT(a->priority, 20);
    EXPECT(a->console, PLAN_CONSOLE_VIRTIO);
    EXPECT(a->random, 0);
    EXPECT(a->unknown, PLAN_UNKNOWN_IGNORE);
    EXPECT(a->autostart, 1);
    EXPECT(a->on[PLAN_ON_REBOOT].action, PLAN_ACTION_RESTART);
    EXPECT(a->on[PLAN_ON_PANIC].action, PLAN_ACTION_STOP);
    EXPECT(b->memory_bytes, 64 << 20);
    EXPECT(b->vcpu_count, 2);
    EXPECT(b->on[PLAN_ON_PANIC].restart_limit, 2);
    CHECK(strcmp(b->kernel, "dir/d") == 0 && strcmp(b->command_line, "x") == 0);
    EXPECT(c->memory_bytes, 32 << 20);
    CHECK(strcmp(c->kernel, "dir/d") == 0 && strcmp(c->initrd, "dir/i") == 0);
    EXPECT(plan.server_count, 1);
    EXPECT(plan.servers[0].priority, 50);
    EXPECT(plan.servers[0].device, PLAN_DEVICE_SERIAL);
}

TEST(partition_includes,
     "paths begin in the folder of the file that names them; places name their file")
{
    const struct partition_machine machine = {0};
    const struct file files[] = {
        {"dir/a.conf", "include \"sub/b.conf\"\npartition a { " BOOT " }\n"},
        {"dir/sub/b.conf", "# shared\ninclude ../c.conf partition b { " BOOT " }\n"},
        {"dir/sub/../c.conf", "default partition { memory 16M }"},
        {NULL, NULL},
    };
    CHECK(parse_files(files, &machine));
    EXPECT(plan.file_count, 3);
    EXPECT(plan.partition_count, 2);
    CHECK(strcmp(plan.partitions[0].kernel, "dir/sub/k") == 0);
    CHECK(strcmp(plan.partitions[1].kernel, "dir/k") == 0);
    EXPECT(plan.partitions[0].place.file, 1);
    EXPECT(plan.partitions[0].place.line, 2);
    EXPECT(plan.partitions[1].memory_bytes, 16 << 20);
}

TEST(partition_machine_limits, "the machine's CPUs and memory are held against all partitions, "
                               "those of the file if none are given")
{
    const struct file files[] = {{"a.conf", "partition a { memory 96M " BOOT " cpus 1 }\n"
                                            "partition b { memory 96M " BOOT " }\n"
                                            "machine { cpus 2 memory 240M }"},
                                 {NULL, NULL}};
    struct partition_machine machine = {0};
    CHECK(parse_files(files, &machine));
    machine = (struct partition_machine){.cpus = 1, .memory_bytes = 192 << 20};
    CHECK(!parse_files(files, &machine));
    EXPECT(heard.errors.count, 1);
    CHECK(strstr(heard.text, "a.conf:1:50: partition \"a\": CPU 1 is not there"));
    machine = (struct partition_machine){.cpus = 2, .memory_bytes = (192 << 20) - 1};
    CHECK(!parse_files(files, &machine));
    CHECK(strstr(heard.text,
                 "a.conf:2:15: partition \"b\": memory 96M, but this machine has 95M left "
                 "after partition \"a\" (line 1)."));
}

TEST(partition_all_errors, "one mistake is one message, and none hides another")
{
    CHECK(!parse("partition web {\n memroy 128M\n vcpus\n share 5ms per\n"
                 " boot linux { kernel \"abc  }\n on rebot restart\n}\n"
                 "partition web { boot linx { } }\n"
                 "partition x {\n memory 128\n boot linux { kernl vm initrd 5 }\n memory 3M 5M\n "
                 "device { }\n"
                 "partition y { " BOOT " share 6ms per 10ms }\n"
                 "partition z { " BOOT " share 6ms per 10ms\n talk-to yy\n}\n} {\n"));
    const char *const expected[] = {
        ":2:2: partition \"web\": the word `memroy`",
        ":3:2: partition \"web\": `vcpus` needs",
        ":4:2: partition \"web\": `share` needs",
        ":5:22: partition \"web\": this text has no end",
        ":6:5: partition \"web\": `on rebot` is not known. Did you mean `on reboot`?",
        ":8:11: partition \"web\": there is a partition of this name already, in line 1",
        ":10:9: partition \"x\": 128 has no unit",
        ":11:15: partition \"x\": the word `kernl`",
        ":12:2: partition \"x\": `memory` is said twice",
        ":13:2: partition \"x\": `device` needs",
        ":9:1: partition \"x\": its block is not closed",
        ":18:1: there is no block",
        ":18:3: no block can stand here",
        ":16:10: partition \"z\": there is no partition `yy`",
        ":15:39: partition \"z\": it wants 60 % of CPU 0, of which 40 % is left"};
    EXPECT(heard.errors.count, sizeof expected / sizeof *expected);
    const char *at = heard.text;
    for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++) {
        at = strstr(at, expected[i]);
        if (!at)
            unit_fail(__FILE__, __LINE__, expected[i]);
    }
}

TEST(partition_shown_means_the_same,
     "each value of the table's defaults, printed and read again, is the same value")
{
    char text[4096] = "partition a {\n", value[1100];
    CHECK(parse("partition a { boot linux { kernel k } }"));
    const struct plan_partition first = plan.partitions[0];
    for (unsigned i = 0; i < schema_row_count; i++) {
        const struct schema_row *row = &schema_rows[i];
        if (row->block != BLOCK_PARTITION || row->kind == VALUE_NAMES || row->opens ||
            row->kind == VALUE_CDROM || row->kind == VALUE_FLOPPY)
            continue;
        schema_print(row, &first, value, sizeof value);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s %s %s\n", row->word,
                 row->second ? row->second : "", value);
    }
    strcat(text, BOOT "}\n");
    CHECK(parse(text));
    size_t from = offsetof(struct plan_partition, memory_bytes);
    CHECK(memcmp((const char *)plan.partitions + from, (const char *)&first + from,
                 sizeof first - from) == 0);
}

TEST(partition_schema_is_sound, "each row of the table has what its kind needs")
{
    for (unsigned i = 0; i < schema_row_count; i++) {
        const struct schema_row *row = &schema_rows[i];
        CHECK(row->word && row->sentence && row->block != BLOCK_NONE);
        CHECK((row->kind == VALUE_CHOICE) == (row->choices != NULL));
        CHECK(row->kind != VALUE_NUMBER || row->low < row->high);
        for (unsigned j = 0; j < i; j++)
            CHECK(schema_rows[j].block != row->block ||
                  strcmp(schema_rows[j].word, row->word) != 0 ||
                  (row->second && strcmp(schema_rows[j].second, row->second) != 0));
    }
}

/* Pieces of which random files are made, beside random bytes. */
static const char *const pieces[] = {
    "partition",
    "task",
    "program",
    "network",
    "web",
    "{",
    "}",
    "\n",
    " ",
    "default",
    "machine",
    "server",
    "console",
    "memory",
    "128M",
    "vcpus",
    "cpus",
    "0-1",
    "63",
    "share",
    "5ms",
    "per",
    "10ms",
    "boot",
    "linux",
    "kernel",
    "bios",
    "multiboot",
    "order",
    "disk",
    "module",
    "\"",
    "\\",
    "initrd",
    "command-line",
    "\"x y\"",
    "on",
    "reboot",
    "restart",
    "3",
    "talk-to",
    "db",
    "include",
    "b.conf",
    "a.conf",
    "#",
    "\t",
    "\x01",
    "\xff",
    "99999999999999999999",
    "18446744073709551615G",
    "-",
    "priority",
    "stop",
    "",
};

/* Changes, inserts or removes a few bytes or pieces. */
static void mutate(char *text, size_t size_bytes)
{
    for (unsigned n = 1 + unit_random() % 6; n; n--) {
        size_t length = strlen(text), at = length ? unit_random() % length : 0;
        const char *piece = pieces[unit_random() % (sizeof pieces / sizeof *pieces)];
        switch (unit_random() % 4) {
        case 0: text[at] = length ? (char)(1 + unit_random() % 255) : 0; break;
        case 1:
            memmove(text + at, text + at + (length - at) / 4, length - at - (length - at) / 4 + 1);
            break;
        case 2: text[at] = 0; break;
        default:
            if (length + strlen(piece) + 2 < size_bytes) {
                memmove(text + at + strlen(piece), text + at, length - at + 1);
                memcpy(text + at, piece, strlen(piece));
            }
        }
    }
}

TEST(partition_fuzz, "whatever a file holds, the parser ends; it fails with messages or gives a "
                     "plan within its bounds")
{
    static const char whole[] =
        "include \"b.conf\"\ndefault partition { memory 64M  boot linux { kernel vmlinuz } }\n"
        "partition web {\n memory 128M\n vcpus 2\n cpus 0-1\n share 5ms per 10ms # x\n priority "
        "20\n"
        " boot linux { kernel \"/v\" initrd \"x/i\" command-line \"console=hvc0 \\\"quiet\\\"\" }\n"
        " console virtio\n device random\n on reboot restart 3\n talk-to db\n}\npartition db { "
        "}\n"
        "server console { device serial  priority 50  cpu 0 }\nmachine { cpus 2  memory 512M }\n";
    static char first[2048], second[2048];
    const struct partition_machine machine = {0};
    unsigned good = 0;
    for (unsigned round = 0; round < 20000; round++) {
        strcpy(first, whole);
        strcpy(second, "default partition { vcpus 1 }\n");
        if (round % 4)
            mutate(round % 4 == 3 ? second : first, sizeof first);
        const struct file files[] = {{"a.conf", first}, {"b.conf", second}, {NULL, NULL}};
        bool parsed = parse_files(files, &machine);
        EXPECT(parsed, heard.errors.count == 0);
        CHECK(parsed || heard.text[0]);
        CHECK(plan.partition_count <= PLAN_PARTITIONS_MAX && plan.file_count <= PLAN_FILES_MAX);
        for (unsigned i = 0; i < plan.partition_count && parsed; i++) {
            const struct plan_partition *p = &plan.partitions[i];
            CHECK(p->name[0] && memchr(p->name, 0, sizeof p->name) &&
                  memchr(p->kernel, 0, PLAN_PATH_MAX));
            CHECK((p->vcpu_count >= 1) == (p->boot != PLAN_BOOT_PROGRAM));
            CHECK(p->vcpu_count <= PLAN_VCPUS_MAX && p->cpu_mask);
            CHECK(p->memory_bytes && p->memory_bytes % (1 << 20) == 0 &&
                  p->budget_us <= p->period_us);
            CHECK(p->may_talk_to >> plan.partition_count == 0);
        }
        good += parsed;
    }
    CHECK(good > 5000 && good < 20000);
}
