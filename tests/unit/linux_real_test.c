/* links: vmm-server/boot/linux_real.c vmm-server/boot/linux_setup.c vmm-server/boot/linux_rom.S vmm-server/boot/loader.c vmm-server/guest_memory.c vmm-server/devices/fw_cfg.c vmm-server/bus.c lib/print.c */
#include "unit_test.h"

#include "boot/linux_real.h"
#include "layout.h"

#define KERNEL_BYTES 0x4000u
#define SETUP_BYTES  0x800u
#define LOW_BYTES    (64 * MIB)
#define PORT         0x510u

static uint8_t kernel[KERNEL_BYTES], initrd[0x3001], setup[0x10000];
static struct boot_files files;
static struct linux_real real;
static struct fw_cfg config;
static struct guest_memory memory;
static struct bus ports;
static char why[400];

static void set(unsigned offset, uint64_t value, unsigned size_bytes)
{
    memcpy(kernel + offset, &value, size_bytes);
}

static uint64_t get(unsigned offset, unsigned size_bytes)
{
    uint64_t value = 0;
    memcpy(&value, setup + offset, size_bytes);
    return value;
}

/* A header of this protocol; behind what it has are bytes that a loader must leave alone. */
static void begin(unsigned version, bool high)
{
    for (unsigned i = 0; i < sizeof kernel; i++)
        kernel[i] = (uint8_t)(i * 7 + 1);
    memset(kernel + 0x202, 0, 0x22);
    set(0x1f1, 3, 1);
    set(0x1f4, (KERNEL_BYTES - SETUP_BYTES) / 16, 4);
    set(0x1fe, 0xaa55, 2);
    set(0x201,
        version >= 0x20a   ? 0x62
        : version >= 0x202 ? 0x2a
        : version == 0x201 ? 0x26
                           : 0x22,
        1);
    set(0x202, 0x53726448, 4);
    set(0x206, version, 2);
    set(0x211, high, 1);
    if (version >= 0x203)
        set(0x22c, 0x7fffffff, 4);
    if (version >= 0x205)
        set(0x230, 0x200000, 4), set(0x234, 1, 1);
    if (version >= 0x206)
        set(0x236, 0, 2), set(0x238, 255, 4);
    if (version >= 0x208)
        set(0x248, 0x100, 4), set(0x24c, 0x1000, 4);
    if (version >= 0x20a)
        set(0x258, 0x1000000, 8), set(0x260, 0x800000, 4);
    memset(&real, 0, sizeof real);
    files = (struct boot_files){.kernel = {kernel, sizeof kernel, "k/zImage", NULL},
                                .initrd = {initrd, sizeof initrd, "k/initrd", NULL},
                                .command_line = "root=/dev/hda1 ro",
                                .memory_bytes = LOW_BYTES,
                                .has_bios = true};
}

static bool place(void)
{
    struct boot_complaint complaint = {why, sizeof why};
    why[0] = 0;
    return linux_real_place(&files, LOW_BYTES, &real, &complaint);
}

static void load(void)
{
    bool placed = place();
    if (!placed)
        printf("EVENT the message was: %s\n", why);
    CHECK(placed);
    fw_cfg_init(&config, &memory);
    memset(setup, 0xee, sizeof setup);
    CHECK(linux_real_add(&real, setup, &config));
}

static void expect_refused(const char *part)
{
    CHECK(!place());
    CHECK(strstr(why, part) != NULL);
}

static uint64_t item(unsigned key)
{
    uint64_t value = 0;
    ports = (struct bus){0};
    CHECK(fw_cfg_attach(&config, &ports));
    CHECK(bus_write(&ports, PORT, 2, key));
    for (unsigned i = 0; i < 4; i++) {
        uint64_t byte = 0;
        CHECK(bus_read(&ports, PORT + 1, 1, &byte));
        value |= byte << (8 * i);
    }
    return value;
}

TEST(real_zimage,
     "a zImage goes to 64 KiB, its setup code to 0x90000, the command line behind its heap")
{
    begin(0x200, false);
    load();
    EXPECT(item(FW_CFG_SETUP_ADDRESS), 0x90000);
    EXPECT(item(FW_CFG_SETUP_SIZE), SETUP_BYTES);
    EXPECT(item(FW_CFG_KERNEL_ADDRESS), 0x10000);
    EXPECT(item(FW_CFG_KERNEL_SIZE), KERNEL_BYTES - SETUP_BYTES);
    EXPECT(item(FW_CFG_COMMAND_ADDRESS), 0x99800);
    EXPECT(item(FW_CFG_COMMAND_SIZE), strlen(files.command_line) + 1);
    EXPECT(get(0x20, 2), 0xa33f);
    EXPECT(get(0x22, 2), 0x9800);
    EXPECT(get(0x210, 1), 0xff);
    EXPECT(get(0x211, 1), 0);
    EXPECT(get(0x212, 2), 0x9800 + strlen(files.command_line) + 1);
    EXPECT(get(0x21c, 4), sizeof initrd);
    EXPECT(get(0x218, 4), item(FW_CFG_INITRD_ADDRESS));
    CHECK(get(0x218, 4) + sizeof initrd <= LOW_BYTES - 0x40000);
    /* 2.00 has no field behind the ramdisk's: what stands there is code. */
    CHECK(memcmp(setup + 0x224, kernel + 0x224, SETUP_BYTES - 0x224) == 0);
}

TEST(real_heap,
     "from 2.01 on the setup is told of its heap, from 2.02 on where its command line is")
{
    begin(0x201, false);
    load();
    EXPECT(get(0x211, 1), 0x80);
    EXPECT(get(0x224, 2), 0x9800 - 0x200);
    EXPECT(get(0x20, 2), 0xa33f);
    CHECK(memcmp(setup + 0x228, kernel + 0x228, SETUP_BYTES - 0x228) == 0);
    begin(0x201, true);
    load();
    EXPECT(item(FW_CFG_SETUP_ADDRESS), 0x90000);
    EXPECT(item(FW_CFG_KERNEL_ADDRESS), 0x100000);
    begin(0x202, true);
    load();
    EXPECT(item(FW_CFG_SETUP_ADDRESS), 0x10000);
    EXPECT(get(0x224, 2), 0xe000 - 0x200);
    EXPECT(get(0x228, 4), 0x1e000);
    EXPECT(item(FW_CFG_COMMAND_ADDRESS), 0x1e000);
    CHECK(memcmp(setup + 0x20, kernel + 0x20, 4) == 0);
    begin(0x202, false);
    load();
    EXPECT(item(FW_CFG_SETUP_ADDRESS), 0x90000);
    EXPECT(get(0x228, 4), 0x99800);
}

TEST(real_new, "a kernel of today goes to 1 MiB, its initrd behind what it unpacks")
{
    begin(0x20f, true);
    files.entry = PLAN_ENTRY_16;
    load();
    EXPECT(item(FW_CFG_KERNEL_ADDRESS), 0x100000);
    CHECK(item(FW_CFG_INITRD_ADDRESS) >= 0x1800000);
    files.initrd.data = NULL;
    memset(&real, 0, sizeof real);
    load();
    EXPECT(item(FW_CFG_INITRD_SIZE), 0);
    EXPECT(get(0x218, 8), 0);
}

TEST(real_rom, "the ROM has the form that a BIOS looks for, and boots by its vector")
{
    begin(0x200, false);
    load();
    const uint8_t *rom = real.rom;
    uint8_t sum = 0;
    for (unsigned i = 0; i < sizeof real.rom; i++)
        sum = (uint8_t)(sum + rom[i]);
    EXPECT(sum, 0);
    EXPECT(rom[0] | rom[1] << 8, 0xaa55);
    EXPECT(rom[2] * 512u, sizeof real.rom);
    unsigned plug = rom[0x1a] | (unsigned)rom[0x1b] << 8;
    CHECK(plug + 32 <= sizeof real.rom && memcmp(rom + plug, "$PnP", 4) == 0);
    unsigned vector = rom[plug + 26] | (unsigned)rom[plug + 27] << 8;
    CHECK(vector > plug && vector < sizeof real.rom && rom[vector] == 0xfa);
}

TEST(real_which, "who is entered in real mode: what was made for it, or whose partition says so, "
                 "on a board with a BIOS")
{
    begin(0x200, true);
    CHECK(linux_is_real(&files));
    files.has_bios = false;
    CHECK(!linux_is_real(&files));
    begin(0x20f, true);
    CHECK(!linux_is_real(&files));
    files.entry = PLAN_ENTRY_16;
    CHECK(linux_is_real(&files));
    begin(0x204, false);
    CHECK(linux_is_real(&files));
    files.entry = PLAN_ENTRY_32;
    CHECK(!linux_is_real(&files));
    begin(0x200, true), files.kernel.size_bytes = 100;
    CHECK(!linux_is_real(&files));
}

TEST(real_refuses, "what does not fit is refused with the cure")
{
    begin(0x200, false), set(0x1f1, 255, 1), expect_refused("cut off");
    begin(0x200, false), set(0x1fe, 0, 2), expect_refused("give a bzImage");
    begin(0x20f, true), set(0x260, 0x7000000, 4), expect_refused("give it at least");
    begin(0x20f, true), set(0x258, 1ull << 40, 8), expect_refused("give it at least");
    begin(0x200, false), files.initrd.size_bytes = LOW_BYTES, expect_refused("give it at least");
    begin(0x200, false), files.initrd.size_bytes = 0, expect_refused("is empty");
    static uint8_t large[0x90000];
    memset(large, 0, sizeof large);
    begin(0x200, false), memcpy(large, kernel, sizeof kernel);
    files.kernel.data = large, files.kernel.size_bytes = sizeof large;
    expect_refused("too large for where it goes");
    large[0x1f1] = 100, files.kernel.size_bytes = 0x10000;
    expect_refused("too large for where it goes");
    static char line[300];
    memset(line, 'x', 256);
    begin(0x200, false), files.command_line = line, expect_refused("shorten it");
}

TEST(real_any_header,
     "whatever stands in the header, all lies in the guest's memory and in the setup code")
{
    unsigned loaded = 0;
    for (unsigned round = 0; round < 3000; round++) {
        begin(0x200 + unit_random() % 16, unit_random() % 2);
        for (unsigned n = unit_random() % 4; n; n--)
            kernel[0x1f1 + unit_random() % 0x78] = (uint8_t)unit_random();
        files.kernel.size_bytes = unit_random() % 4 ? sizeof kernel : unit_random() % sizeof kernel;
        if (!place()) {
            CHECK(why[0]);
            continue;
        }
        loaded++;
        memset(setup, 0xee, sizeof setup);
        fw_cfg_init(&config, &memory);
        CHECK(real.setup_code.size_bytes <= sizeof setup);
        CHECK(linux_real_add(&real, setup, &config));
        CHECK(real.setup_code.size_bytes == sizeof setup ||
              setup[real.setup_code.size_bytes] == 0xee);
        CHECK(real.command.address + real.command.size_bytes <= 0x9f000);
        CHECK(real.kernel.address + (uint64_t)real.kernel.size_bytes <= LOW_BYTES);
        CHECK(real.initrd.address + (uint64_t)real.initrd.size_bytes <= LOW_BYTES);
    }
    CHECK(loaded > 100);
}
