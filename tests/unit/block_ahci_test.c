/*
 * The AHCI driver on ports whose drives take their time: looking for drives, resets, errors, and the other ports meanwhile.
 * links: block-server/disk.c block-server/ata.c block-server/probe.c lib/print.c
 */
#include "block_driver_machine.h"

/* The controller's registers are this test's. */
#define BLOCK_SERVER_MMIO_H
static uint32_t mmio_get(const volatile uint8_t *registers, unsigned offset);
static void mmio_put(volatile uint8_t *registers, unsigned offset, uint32_t value);

#include "block-server/ahci.c"

enum { PORTS = 2, BUSY = 0x80, READY = 0x50, BAR = PORT_BASE + PORTS * PORT_STRIDE };

static _Alignas(4096) uint8_t bar[BAR];
static struct model {
    bool there, stuck; /* it does not stop when it is told to */
    uint64_t takes;    /* from COMRESET until the drive is not busy any more */
    uint64_t ready_at;
    unsigned comresets, identifies, commands;
    bool answers; /* commands, at once */
    bool held;    /* COMRESET is sent */
} models[PORTS];

static uint32_t *at(unsigned n, unsigned offset)
{
    return (uint32_t *)(bar + PORT_BASE + n * PORT_STRIDE + offset);
}

static uint32_t mmio_get(const volatile uint8_t *registers, unsigned offset)
{
    CHECK(registers >= bar && registers + offset + 4 <= bar + sizeof bar);
    return *(const volatile uint32_t *)(registers + offset);
}

/* Interrupts are cleared by writing them. */
static void mmio_put(volatile uint8_t *registers, unsigned offset, uint32_t value)
{
    CHECK(registers >= bar && registers + offset + 4 <= bar + sizeof bar);
    uint32_t *at = (uint32_t *)(bar + (registers - bar) + offset);
    bool clears = registers == bar ? offset == HOST_INTERRUPTS : offset == PORT_INTERRUPTS;
    *at = clears ? *at & ~value : value;
}

/* The controller moves data and status as it does by itself. */
static void done(unsigned n, uint32_t bytes)
{
    struct header *header = (struct header *)(memory + (*at(n, PORT_LIST) - PHYSICAL));
    header->moved_bytes = bytes;
    *at(n, PORT_ISSUE) = 0;
}

static void port_goes_on(unsigned n)
{
    struct model *model = &models[n];
    uint32_t *command = at(n, PORT_COMMAND), link = *at(n, PORT_LINK_CONTROL) & 15;
    if (*command & COMMAND_START)
        *command |= COMMAND_RUNS;
    else if (!model->stuck)
        *command &= ~(uint32_t)COMMAND_RUNS;
    if (*command & COMMAND_RECEIVE)
        *command |= COMMAND_RECEIVES;
    else if (!model->stuck)
        *command &= ~(uint32_t)COMMAND_RECEIVES;
    if (link == 1 && !model->held) {
        model->comresets++;
        EXPECT(*command & (COMMAND_START | COMMAND_RECEIVE), 0);
        model->ready_at = server.now + model->takes;
        *at(n, PORT_ISSUE) = 0;
        *at(n, PORT_INTERRUPTS) = 0;
    }
    model->held = link == 1;
    *at(n, PORT_LINK) = model->there && !model->held ? LINK_UP : 0;
    if (!model->there)
        return;
    if (*at(n, PORT_TASK_FILE) != 0xff)
        *at(n, PORT_TASK_FILE) = server.now < model->ready_at ? BUSY : READY;
    if (!(*command & COMMAND_START) || !(*at(n, PORT_ISSUE) & 1))
        return;
    struct port_memory *area_of = (struct port_memory *)(memory + (*at(n, PORT_LIST) - PHYSICAL));
    if (area_of->table.fis[2] == ATA_IDENTIFY) {
        model->identifies++;
        identity((uint16_t *)(memory + (area_of->table.regions[0].physical - PHYSICAL)));
        done(n, 512);
    } else if (model->answers) {
        model->commands++;
        done(n, 512);
    }
}

static void controller(void)
{
    for (unsigned n = 0; n < PORTS; n++)
        port_goes_on(n);
}

static const struct device_grant grant = {
    .class_code = 0x010601, .bars = {[5] = {.address = (uint64_t)bar, .size_bytes = sizeof bar}}};

static void machine(bool first, bool second)
{
    begin_server();
    memset(bar, 0, sizeof bar);
    memset(models, 0, sizeof models);
    models[0].there = first, models[1].there = second;
    for (unsigned n = 0; n < PORTS; n++) {
        models[n].answers = true;
        *at(n, PORT_SIGNATURE) = SIGNATURE_DISK;
    }
    *(uint32_t *)(bar + HOST_PORTS) = (1u << PORTS) - 1;
    device = controller;
}

static void two_disks(void)
{
    machine(true, true);
    CHECK(ahci_start(&server, &grant, &area) == NULL);
    pass(200);
    EXPECT(server.disk_count, 2);
}

static void answer(struct disk *disk)
{
    controller();
    disk->operations->interrupt(disk);
    disk_poll(disk);
}

TEST(block_ahci_finds,
     "ports with drives are disks, in their order; one without a drive ends without")
{
    two_disks();
    CHECK(strstr(server.disks[0]->name, "port 0") && strstr(server.disks[1]->name, "port 1"));
    EXPECT(server.disks[1]->sectors, 0x1000);
    EXPECT(models[0].comresets, 1);
    machine(false, true);
    CHECK(ahci_start(&server, &grant, &area) == NULL);
    pass(200);
    EXPECT(server.disk_count, 1);
    CHECK(strstr(server.disks[0]->name, "port 1") && server.probes == NULL);
}

TEST(block_ahci_slow_start, "a drive that spins up for 30 s is found then; the ports behind it "
                            "have been made ready meanwhile")
{
    machine(true, true);
    models[0].takes = 30000 * MS;
    CHECK(ahci_start(&server, &grant, &area) == NULL);
    unsigned looks = pass(29900);
    EXPECT(server.disk_count, 0);
    EXPECT(models[1].identifies, 1);
    CHECK(looks > 100 && looks < 1500);
    pass(500);
    EXPECT(server.disk_count, 2);
}

TEST(block_ahci_hostile, "a drive that is busy for good, or a port that does not stop, ends in "
                         "time and harms no other port")
{
    machine(true, true);
    models[0].takes = 1000000 * MS;
    CHECK(ahci_start(&server, &grant, &area) == NULL);
    pass(31500);
    EXPECT(server.disk_count, 1);
    CHECK(strstr(server.disks[0]->name, "port 1") && server.probes == NULL);

    machine(true, true);
    *at(0, PORT_TASK_FILE) = 0xff;
    *at(1, PORT_COMMAND) = COMMAND_RUNS | COMMAND_RECEIVES;
    models[1].stuck = true;
    CHECK(ahci_start(&server, &grant, &area) == NULL);
    pass(1500);
    EXPECT(models[1].identifies, 1); /* it was reset all the same */
    pass(30000);
    EXPECT(server.disk_count, 1);
}

TEST(block_ahci_neighbour, "while a port that hangs is reset for long, the other port's commands "
                           "go on; then its own command is given again")
{
    two_disks();
    models[0].answers = false;
    models[0].takes = 20000 * MS;
    ask(0, server.disks[0]);
    pass(10010);
    EXPECT(models[0].comresets, 2);
    for (unsigned i = 0; i < 100; i++) {
        ask(1, server.disks[1]);
        answer(server.disks[1]);
        EXPECT(asked[1].result, BLOCK_OK);
        EXPECT(asked[1].dones, 1);
        pass(100);
        EXPECT(asked[0].dones, 0);
        EXPECT(server.disks[0]->in_flight, 1);
    }
    models[0].answers = true;
    pass(10300);
    EXPECT(asked[0].lost, 1);
    answer(server.disks[0]);
    EXPECT(asked[0].result, BLOCK_OK);
    EXPECT(models[0].commands, 1);
    EXPECT(models[1].comresets, 1);
}

TEST(block_ahci_interrupt,
     "an interrupt has the port looked at at once, not when its time has come")
{
    two_disks();
    models[0].answers = false;
    models[0].takes = 20000 * MS;
    ask(0, server.disks[0]);
    pass(20000);
    models[0].ready_at = server.now;
    server.now += 1;
    controller();
    CHECK(look_around() > server.now);
    EXPECT(asked[0].lost, 0);
    server.disks[0]->operations->interrupt(server.disks[0]);
    look_around();
    EXPECT(asked[0].lost, 1);
}

TEST(block_ahci_error, "a command that fails is answered when the port is ready again, with an "
                       "error, and is not given again")
{
    two_disks();
    models[0].answers = false;
    models[0].takes = 3000 * MS;
    ask(0, server.disks[0]);
    *at(0, PORT_INTERRUPTS) = 1u << 30;
    disk_poll(server.disks[0]);
    CHECK(server.disks[0]->resetting);
    pass(2900);
    EXPECT(asked[0].dones, 0);
    pass(300);
    EXPECT(asked[0].dones, 1);
    EXPECT(asked[0].result, BLOCK_IO_ERROR);
    EXPECT(models[0].comresets, 2);
    models[0].answers = true;
    ask(0, server.disks[0]);
    answer(server.disks[0]);
    EXPECT(asked[0].result, BLOCK_OK);
}

TEST(block_ahci_dies,
     "a drive that is gone after its reset is dead: its command ends with an error, once")
{
    two_disks();
    models[0].answers = false;
    ask(0, server.disks[0]);
    models[0].there = false;
    pass(10500);
    CHECK(server.disks[0]->dead);
    EXPECT(asked[0].dones, 1);
    EXPECT(asked[0].result, BLOCK_IO_ERROR);
    EXPECT(disk_submit(server.disks[0], &asked[0].command, NULL, 0, server.now), false);
}
