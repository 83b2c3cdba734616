/* links: vmm-server/boot/linux.c vmm-server/boot/linux_setup.c vmm-server/boot/loader.c vmm-server/guest_memory.c lib/print.c */
#include "unit_test.h"

#include "boot/loader.h"
#include "layout.h"

#define KERNEL_BYTES 0x4000u
#define LOW_BYTES    (64 * MIB)

static uint8_t kernel[KERNEL_BYTES], initrd[0x3001], *low;
static struct guest_memory memory;
static struct boot_files files;
static struct boot_entry entry;
static char why[400];

static void set(unsigned offset, uint64_t value, unsigned size_bytes)
{
    memcpy(kernel + offset, &value, size_bytes);
}

static uint64_t get(uint64_t address, unsigned size_bytes)
{
    uint64_t value = 0;
    memcpy(&value, low + address, size_bytes);
    return value;
}

/* A header as Debian's kernels have it: 1 + 3 sectors of set-up, the rest is the kernel. */
static void begin(void)
{
    if (!low)
        low = malloc(LOW_BYTES);
    memset(low, 0, 2 * MIB);
    memset(kernel, 0, sizeof kernel);
    for (unsigned i = 0x800; i < sizeof kernel; i++)
        kernel[i] = (uint8_t)(i * 7);
    memset(initrd, 0x5a, sizeof initrd);
    set(0x1f1, 3, 1);
    set(0x1f4, (KERNEL_BYTES - 0x800) / 16, 4);
    set(0x1fe, 0xaa55, 2);
    set(0x201, 0x6a, 1);
    set(0x202, 0x53726448, 4);
    set(0x206, 0x20f, 2);
    set(0x211, 1, 1);
    set(0x22c, 0x7fffffff, 4);
    set(0x230, 0x200000, 4);
    set(0x234, 1, 1);
    set(0x236, 3, 2);
    set(0x238, 255, 4);
    set(0x248, 0x100, 4);
    set(0x24c, 0x1000, 4);
    set(0x258, 0x1000000, 8);
    set(0x260, 0x800000, 4);
    memory = (struct guest_memory){.regions = {{0, LOW_BYTES, low, false}}, .count = 1};
    files = (struct boot_files){.kernel = {kernel, sizeof kernel, "k/bzImage", NULL},
                                .initrd = {initrd, sizeof initrd, "k/initrd", NULL},
                                .command_line = "console=hvc0",
                                .memory_bytes = LOW_BYTES};
}

static bool load(void)
{
    struct boot_complaint complaint = {why, sizeof why};
    why[0] = 0;
    return linux_load(&memory, &files, &entry, &complaint);
}

static void expect_refused(const char *part)
{
    CHECK(!load());
    if (!strstr(why, part)) {
        printf("EVENT the message was: %s\n", why);
        CHECK(!"the message says something else");
    }
}

TEST(linux_loads,
     "kernel, initrd, command line and boot_params are where the boot protocol wants them")
{
    begin();
    CHECK(load());
    EXPECT(entry.rip, 0x1000200);
    CHECK(memcmp(low + 0x1000000, kernel + 0x800, KERNEL_BYTES - 0x800) == 0);
    uint64_t params = entry.rsi, place = get(params + 0x218, 4);
    EXPECT(get(params + 0x21c, 4), sizeof initrd);
    EXPECT(place & 0xfff, 0);
    CHECK(place + sizeof initrd <= LOW_BYTES && place + sizeof initrd + 4096 > LOW_BYTES);
    CHECK(memcmp(low + place, initrd, sizeof initrd) == 0);
    EXPECT(get(params + 0x210, 1), 0xff);
    EXPECT(get(params + 0x202, 4), 0x53726448);
    EXPECT(get(params + 0x70, 8), LAYOUT_ACPI);
    CHECK(strcmp((char *)low + get(params + 0x228, 4), "console=hvc0") == 0);
    EXPECT(get(entry.page_tables, 8) & ~0xfffull, entry.page_tables + 0x1000);
    EXPECT(get(entry.gdt + 0x10, 8), 0x00af9b000000ffff);
}

TEST(linux_e820, "the memory map names all RAM and nothing else, in order, without overlaps")
{
    begin();
    memory.regions[1].base = 4 * GIB;
    memory.regions[1].size_bytes = GIB;
    memory.count = 2;
    CHECK(load());
    uint64_t params = entry.rsi, end = 0, ram = 0;
    unsigned count = (unsigned)get(params + 0x1e8, 1);
    EXPECT(count, 4);
    for (unsigned i = 0; i < count; i++) {
        uint64_t base = get(params + 0x2d0 + i * 20, 8), size = get(params + 0x2d8 + i * 20, 8);
        CHECK(base >= end && size > 0);
        end = base + size;
        ram += get(params + 0x2e0 + i * 20, 4) == 1 ? size : 0;
    }
    EXPECT(end, 5 * GIB);
    EXPECT(ram, LOW_BYTES + GIB - (MIB - LAYOUT_BASE_END));
}

TEST(linux_moves, "a kernel that does not fit where it wants to be goes lower, if it can be moved")
{
    begin();
    set(0x258, LOW_BYTES - MIB, 8);
    CHECK(load());
    EXPECT(entry.rip, 0x200200);
    set(0x234, 0, 1);
    expect_refused("too little for its kernel");
}

TEST(linux_no_initrd, "without an initrd the kernel is told of none")
{
    begin();
    files.initrd.data = NULL;
    CHECK(load());
    EXPECT(get(entry.rsi + 0x218, 8), 0);
}

TEST(linux_32_bit,
     "a kernel without a 64-bit entry, or one that is to be entered so, begins in 32-bit mode "
     "at its first byte")
{
    begin(), set(0x236, 0, 2);
    CHECK(load());
    EXPECT(entry.mode, BOOT_PROTECTED);
    EXPECT(entry.rip, 0x1000000);
    EXPECT(get(entry.gdt + 0x10, 8), 0x00cf9b000000ffff);
    begin(), files.entry = PLAN_ENTRY_32;
    CHECK(load());
    EXPECT(entry.mode, BOOT_PROTECTED);
    begin(), set(0x206, 0x20b, 2);
    CHECK(load());
    EXPECT(entry.mode, BOOT_PROTECTED);
    begin();
    CHECK(load());
    EXPECT(entry.mode, BOOT_LONG);
}

TEST(linux_old_protocols, "what an old protocol does not say has boot.rst's value")
{
    /* 2.03: no relocation, no payload, the kernel at 1 MiB; garbage where later fields are. */
    begin(), memset(kernel + 0x230, 0xee, 0x34), set(0x206, 0x203, 2), set(0x1f4, 0xffff, 4);
    CHECK(load());
    EXPECT(entry.mode, BOOT_PROTECTED);
    EXPECT(entry.rip, 0x100000);
    CHECK(memcmp(low + 0x100000, kernel + 0x800, KERNEL_BYTES - 0x800) == 0);
    CHECK(strcmp((char *)low + get(entry.rsi + 0x228, 4), "console=hvc0") == 0);
    EXPECT(get(entry.rsi + 0x1e0, 4), (LOW_BYTES - MIB) / 1024);
    EXPECT(get(entry.rsi + 2, 2), (LOW_BYTES - MIB) / 1024);
    static char line[300];
    memset(line, 'x', 256);
    files.command_line = line;
    expect_refused("shorten it");
    /* 2.00: the kernel looks at 0x90000, and for the command line behind that. */
    begin(), set(0x206, 0x200, 2), set(0x22c, 0, 4), set(0x201, 0x22, 1);
    CHECK(load());
    EXPECT(entry.rsi, 0x90000);
    EXPECT(get(0x90020, 2), 0xa33f);
    CHECK(strcmp((char *)low + 0x90000 + get(0x90022, 2), "console=hvc0") == 0);
    uint64_t place = get(0x90218, 4);
    CHECK(place + sizeof initrd <= LOW_BYTES && place > LOW_BYTES - 8 * 4096);
    /* 2.02: an initrd ends at 0x37ffffff at the latest; there is less memory here. */
    begin(), set(0x206, 0x202, 2), set(0x22c, 0, 4);
    CHECK(load());
    EXPECT(entry.rsi, LAYOUT_BOOT_PARAMS);
    CHECK(get(entry.rsi + 0x218, 4) != 0);
}

TEST(linux_refuses,
     "a wrong, damaged or cut file, and too little memory, are refused with the cure")
{
    begin(), set(0x1fe, 0, 2), expect_refused("give a bzImage");
    begin(), set(0x202, 0, 4), expect_refused("give a bzImage");
    begin(), files.kernel.size_bytes = 0, expect_refused("empty or cut off");
    begin(), files.kernel.data = NULL, expect_refused("empty or cut off");
    begin(), files.entry = PLAN_ENTRY_64, set(0x206, 0x20b, 2), expect_refused("no 64-bit entry");
    begin(), files.entry = PLAN_ENTRY_64, set(0x236, 2, 2), expect_refused("no 64-bit entry");
    begin(), set(0x206, 0x1ff, 2), expect_refused("give a bzImage");
    begin(), set(0x211, 0, 1),
        expect_refused("in real mode, with a BIOS: give its partition `board pc`");
    begin(), files.entry = PLAN_ENTRY_16, expect_refused("in real mode, with a BIOS");
    begin(), files.kernel.size_bytes -= 64, expect_refused("cut off");
    begin(), files.kernel.size_bytes = 0x700, expect_refused("cut off");
    begin(), set(0x24c, 0x10000, 4), expect_refused("cut off");
    begin(), set(0x230, 0x300000, 4), expect_refused("damaged");
    begin(), set(0x260, 16, 4), expect_refused("damaged");
    begin(), set(0x201, 0, 1), expect_refused("damaged");
    begin(), set(0x260, 0x7fffffff, 4), expect_refused("give it at least");
    begin(), files.initrd.size_bytes = 0, expect_refused("is empty");
    begin(), files.initrd.size_bytes = LOW_BYTES, expect_refused("give it at least");
    begin(), set(0x238, 5, 4), expect_refused("shorten it");
}

TEST(linux_any_header,
     "whatever stands in the header, nothing is touched outside the guest's memory")
{
    unsigned loaded = 0;
    for (unsigned round = 0; round < 3000; round++) {
        begin();
        for (unsigned n = unit_random() % 4 + 1; n; n--)
            kernel[0x1f1 + unit_random() % 0x78] = (uint8_t)unit_random();
        files.kernel.size_bytes = unit_random() % 4 ? sizeof kernel : unit_random() % sizeof kernel;
        if (load()) {
            loaded++;
            CHECK(entry.rip >= LAYOUT_KERNEL && entry.rip < LOW_BYTES);
        } else {
            CHECK(why[0]);
        }
    }
    CHECK(loaded > 100);
}
