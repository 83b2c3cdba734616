/*
 * The IDE driver on a channel whose drives take their time: looking for drives, resets, and the other disks meanwhile.
 * links: block-server/disk.c block-server/ata.c block-server/probe.c lib/print.c
 */
#include "block_driver_machine.h"

/* The channel's ports are this test's. */
#define LIB_PORT_H
static uint8_t port_read8(uint16_t port);
static uint16_t port_read16(uint16_t port);
static void port_write8(uint16_t port, uint8_t value);
static void port_write32(uint16_t port, uint32_t value);

#include "block-server/ide.c"

enum { PORTS = 0x1f0, CONTROL = 0x3f6, MASTER = 0xc000, BUSY = 0x80, READY = 0x50, WANTS = 0x08 };
/* Two drives: what stands in each one's status until when, and what they were told. */
static struct {
    bool there;

    uint8_t status;
    uint64_t busy_until;   /* after a reset */
    uint64_t select_until; /* busy until then */
    unsigned commands, identifies;
    uint8_t last;
} drives[2];
static uint64_t reset_takes;
static uint8_t bus_status;
static bool bus_fixed; /* whatever is done, bus_status is read */
static unsigned selected, words_left, srsts;
static uint8_t control, master_command, master_status;
static uint16_t words[256];
static uint8_t status_now(void)
{
    if (bus_fixed)
        return bus_status;
    if (!drives[selected].there)
        return 0;
    bool busy = control & CONTROL_RESET || server.now < drives[selected].busy_until ||
                server.now < drives[selected].select_until;
    return busy ? BUSY : drives[selected].status;
}

static uint8_t port_read8(uint16_t port)
{
    switch (port) {
    case CONTROL:
    case PORTS + ATA_COMMAND: return status_now();
    case PORTS + ATA_FAIL: return 4;
    case MASTER + MASTER_STATUS: return master_status;
    default: unit_fail(__FILE__, __LINE__, "a port that is not the channel's is read");
    }
}

static uint16_t port_read16(uint16_t port)
{
    EXPECT(port, PORTS + ATA_DATA);
    CHECK(words_left > 0);
    if (--words_left == 0)
        drives[selected].status = READY;
    return words[255 - words_left];
}

static void port_write8(uint16_t port, uint8_t value)
{
    switch (port) {
    case CONTROL:
        if (value & CONTROL_RESET) {
            EXPECT(selected, 0);
            EXPECT(master_command & MASTER_START, 0);
            srsts++;
        } else if (control & CONTROL_RESET) {
            for (unsigned i = 0; i < 2; i++)
                drives[i].busy_until = server.now + reset_takes;
        }
        control = value;
        break;
    case PORTS + ATA_DEVICE: selected = value & DEVICE_SECOND ? 1 : 0; break;
    case PORTS + ATA_COMMAND:
        EXPECT(status_now() & (BUSY | WANTS), 0);
        if (!drives[selected].there)
            break;
        if (value == ATA_IDENTIFY) {
            drives[selected].identifies++;
            drives[selected].status = READY | WANTS;
            words_left = 256;
            break;
        }
        drives[selected].commands++;
        drives[selected].last = value;
        break;
    case MASTER + MASTER_COMMAND: master_command = value; break;
    case MASTER + MASTER_STATUS: master_status &= (uint8_t) ~(value & 6); break;
    default: CHECK(port > PORTS && port < PORTS + ATA_DEVICE);
    }
}

static void port_write32(uint16_t port, uint32_t value)
{
    EXPECT(port, MASTER + MASTER_TABLE);
    CHECK(value >= PHYSICAL && value < PHYSICAL + AREA);
}

static const struct device_grant grant = {.class_code = 0x010180,
                                          .bars = {{.port = PORTS, .size_bytes = 8},
                                                   {.port = CONTROL, .size_bytes = 1},
                                                   {0},
                                                   {0},
                                                   {.port = MASTER, .size_bytes = 16}}};

static void machine(bool first, bool second)
{
    begin_server();
    memset(drives, 0, sizeof drives);
    drives[0].there = first, drives[1].there = second;
    drives[0].status = drives[1].status = READY;
    reset_takes = 0, selected = 1, words_left = srsts = 0;
    control = master_command = master_status = bus_status = 0;
    bus_fixed = false;
    identity(words);
}

static void answer(struct disk *disk)
{
    master_status = MASTER_INTERRUPT;
    disk_poll(disk);
}

TEST(block_ide_finds,
     "drives of a channel are found in their order, after one reset, with no wait in place")
{
    machine(true, true);
    CHECK(ide_start(&server, &grant, &area) == NULL);
    EXPECT(server.disk_count, 0);
    pass(100);
    EXPECT(server.disk_count, 2);
    EXPECT(server.disks[0]->sectors, 0x1000);
    CHECK(strstr(server.disks[0]->name, "first master") &&
          strstr(server.disks[1]->name, "first slave"));
    EXPECT(srsts, 1);
    EXPECT(control, 0);
    CHECK(server.probes == NULL);
    machine(false, true);
    CHECK(ide_start(&server, &grant, &area) == NULL);
    pass(100);
    EXPECT(server.disk_count, 1);
    CHECK(strstr(server.disks[0]->name, "first slave"));
}

TEST(block_ide_slow_start, "a drive that spins up for 30 s is found then; it is looked at some "
                           "times a second, not all the time")
{
    machine(true, false);
    reset_takes = 30000 * MS;
    CHECK(ide_start(&server, &grant, &area) == NULL);
    unsigned looks = pass(29990);
    EXPECT(server.disk_count, 0);
    CHECK(looks > 100 && looks < 1000);
    pass(210);
    EXPECT(server.disk_count, 1);
    EXPECT(srsts, 1);
}

TEST(block_ide_absent, "a channel that is busy for good, floats, or has nobody ends without a disk")
{
    static const struct {
        uint8_t status;
        unsigned after_ms;
    } kinds[] = {{0xff, 10}, {0x00, 10}, {0x7f, 500}, {0x80, 31200}, {0xd8, 31200}};
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        machine(true, true);
        bus_fixed = true, bus_status = kinds[i].status;
        CHECK(ide_start(&server, &grant, &area) == NULL);
        pass(kinds[i].after_ms);
        CHECK(server.probes == NULL);
        EXPECT(server.disk_count, 0);
        EXPECT(drives[0].identifies + drives[1].identifies, 0);
    }
}

static void two_disks(void)
{
    machine(true, true);
    CHECK(ide_start(&server, &grant, &area) == NULL);
    pass(100);
    EXPECT(server.disk_count, 2);
}

TEST(block_ide_hangs, "a drive that hangs is reset; its command waits for it, is given again, and "
                      "its memory is kept till then")
{
    two_disks();
    ask(0, server.disks[0]);
    EXPECT(drives[0].commands, 1);
    EXPECT(drives[0].last, ATA_WRITE_DMA);
    EXPECT(master_command, MASTER_START);
    reset_takes = 20000 * MS;
    pass(10001);
    EXPECT(srsts, 2);
    EXPECT(master_command, 0);
    pass(18999);
    EXPECT(asked[0].dones, 0);
    EXPECT(server.disks[0]->in_flight, 1);
    CHECK(!disk_has_room(server.disks[0]));
    master_status = MASTER_INTERRUPT; /* of nobody: it ends nothing */
    disk_poll(server.disks[0]);
    disk_poll(server.disks[1]);
    EXPECT(asked[0].dones, 0);
    pass(1200);
    EXPECT(asked[0].lost, 1);
    EXPECT(drives[0].commands, 2);
    EXPECT(control, 0);
    answer(server.disks[0]);
    EXPECT(asked[0].result, BLOCK_OK);
    EXPECT(asked[0].dones, 2);
    EXPECT(server.disks[0]->in_flight, 0);
}

TEST(block_ide_neighbour, "the other drive of a channel that is reset takes a command meanwhile, "
                          "loses no time and has it done after it")
{
    two_disks();
    ask(0, server.disks[0]);
    ask(1, server.disks[1]);
    EXPECT(drives[1].commands, 0); /* they take turns */
    reset_takes = 15000 * MS;
    pass(24000);
    EXPECT(srsts, 2);
    EXPECT(asked[1].dones, 0);
    pass(2000);
    EXPECT(srsts, 2);
    EXPECT(drives[1].commands, 1);
    EXPECT(asked[1].lost, 0);
    EXPECT(asked[0].lost, 1);
    answer(server.disks[1]);
    EXPECT(asked[1].result, BLOCK_OK);
    EXPECT(drives[0].commands, 2);
    answer(server.disks[0]);
    EXPECT(asked[0].result, BLOCK_OK);
    EXPECT(asked[1].dones, 1);
}

TEST(block_ide_dies,
     "a drive that stays busy after its reset is dead: its command ends with an error, once")
{
    static const uint8_t kinds[] = {0x80, 0xff, 0xd8};
    for (unsigned i = 0; i < sizeof kinds; i++) {
        two_disks();
        ask(0, server.disks[0]);
        pass(10001);
        bus_fixed = true, bus_status = kinds[i];
        pass(31200);
        CHECK(server.disks[0]->dead);
        EXPECT(asked[0].dones, 1);
        EXPECT(asked[0].result, BLOCK_IO_ERROR);
        EXPECT(disk_submit(server.disks[0], &asked[0].command, NULL, 0, server.now), false);
    }
}

TEST(
    block_ide_not_ready,
    "a drive that is selected but busy gets its command when it is ready, without being waited for")
{
    two_disks();
    drives[1].select_until = server.now + 40 * MS;
    ask(1, server.disks[1]);
    EXPECT(drives[1].commands, 0);
    CHECK(!server.disks[1]->operations->waits(server.disks[1]));
    server.now += 41 * MS;
    disk_poll(server.disks[1]);
    EXPECT(drives[1].commands, 1);
    CHECK(server.disks[1]->operations->waits(server.disks[1]));
    answer(server.disks[1]);
    EXPECT(asked[1].result, BLOCK_OK);
    drives[0].select_until =
        UINT64_MAX; /* for good: nobody asks all the time, and its deadline ends it */
    ask(0, server.disks[0]);
    server.now += 101 * MS;
    CHECK(server.disks[0]->operations->waits(server.disks[0]));
    pass(50000);
    CHECK(server.disks[0]->dead);
    EXPECT(asked[0].result, BLOCK_IO_ERROR);
}

static bool never(struct probe *probe, uint64_t *look)
{
    *look = server.now + MS;
    return probe->problem != NULL;
}

TEST(block_probe_order,
     "disks are numbered in the order of their places, so a later one waits for an earlier one")
{
    static struct probe slow;
    machine(true, false);
    slow = (struct probe){.look = never, .grant = &grant};
    probe_add(&server, &slow);
    CHECK(ide_start(&server, &grant, &area) == NULL);
    pass(100);
    EXPECT(server.disk_count, 0);
    EXPECT(drives[0].identifies, 1); /* but it is looked for meanwhile */
    slow.problem = "it does not come";
    pass(10);
    EXPECT(server.disk_count, 1);
    CHECK(server.probes == NULL);
}
