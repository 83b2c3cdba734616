/*
 * ELF kernels: where they go, PVH's note and start info, multiboot of both versions.
 * links: vmm-server/boot/elf.c vmm-server/boot/loader.c vmm-server/boot/pvh.c vmm-server/boot/multiboot.c
 *        vmm-server/boot/multiboot2.c vmm-server/boot/multiboot_image.c vmm-server/guest_memory.c lib/print.c
 */
#include "unit_test.h"

#include "boot/loader.h"
#include "layout.h"

#define FILE_BYTES 0x3000u
#define LOW_BYTES  (64 * MIB)

static uint8_t *file, *low, module[2][0x1801];
static struct guest_memory memory;
static struct boot_files files;
static struct boot_entry entry;
static char why[400];

static void set(uint64_t offset, uint64_t value, unsigned size_bytes)
{
    memcpy(file + offset, &value, size_bytes);
}

static uint64_t get(uint64_t address, unsigned size_bytes)
{
    uint64_t value = 0;
    memcpy(&value, low + address, size_bytes);
    return value;
}

static const char *text(uint64_t address)
{
    return (const char *)low + address;
}

/* A kernel of one segment: 0x1800 bytes of the file from 0x1000 on, at 2 MiB, linked to 3 GiB above that; it begins 0x40 in. */
static void begin(bool wide)
{
    if (!low) {
        low = malloc(LOW_BYTES);
        file = malloc(FILE_BYTES); /* exactly, so that a byte read beyond it is noticed */
    }
    memset(low, 0, 8 * MIB);
    memset(low + LOW_BYTES - 8 * MIB, 0, 8 * MIB);
    for (unsigned i = 0; i < FILE_BYTES; i++)
        file[i] = i < 0x1000 ? 0 : (uint8_t)(i * 7);
    memcpy(file, "\177ELF", 4);
    set(4, wide ? 2 : 1, 1), set(5, 1, 1), set(16, 2, 2), set(18, wide ? 62 : 3, 2);
    set(24, 0xc0200040, wide ? 8 : 4);
    set(wide ? 32 : 28, 0x100, wide ? 8 : 4);
    set(wide ? 54 : 42, wide ? 56 : 32, 2);
    set(wide ? 56 : 44, 2, 2);
    const uint64_t load[] = {0x1000, 0xc0200000, 0x200000, 0x1800, 0x4000};
    const uint64_t note[] = {0x2900, 0, 0, 20, 20};
    for (unsigned i = 0; i < 5; i++) {
        set(0x100 + (wide ? 8 + 8 * i : 4 + 4 * i), load[i], wide ? 8 : 4);
        set((wide ? 0x138 : 0x120) + (wide ? 8 + 8 * i : 4 + 4 * i), note[i], wide ? 8 : 4);
    }
    set(0x100, 1, 4), set(wide ? 0x138 : 0x120, 4, 4);
    set(0x2900, 4, 4), set(0x2904, 4, 4), set(0x2908, 18, 4), set(0x290c, 0x006e6558, 4);
    set(0x2910, 0x200080, 4);
    memset(module[0], 0x5a, sizeof module[0]);
    memset(module[1], 0xa5, sizeof module[1]);
    memory = (struct guest_memory){.regions = {{0, LOW_BYTES, low, false}}, .count = 1};
    files = (struct boot_files){
        .kernel = {file, FILE_BYTES, "k", NULL},
        .modules = {{module[0], sizeof module[0], "m0", "first one"}, {module[1], 5, "m1", ""}},
        .module_count = 2,
        .command_line = "a b=c",
        .memory_bytes = LOW_BYTES,
    };
}

/* Multiboot: words from 0x1400 on; the sum of the first three is made 0. */
static void head(unsigned count, const uint32_t *words)
{
    for (unsigned i = 0; i < count; i++)
        set(0x1400 + 4 * i, words[i], 4);
    set(0x1408, (uint32_t) - (words[0] + words[1]), 4);
}

static void begin_multiboot(bool wide, uint32_t flags)
{
    const uint32_t words[] = {0x1badb002, flags, 0};
    begin(wide);
    head(3, words);
}

/* A header of version 2 with these tags behind it, and an end. */
static void begin_multiboot2(bool wide, unsigned count, const uint32_t *tags)
{
    begin(wide);
    uint32_t size_bytes = 16 + count * 4 + 8;
    set(0x1400, 0xe85250d6, 4), set(0x1404, 0, 4), set(0x1408, size_bytes, 4);
    set(0x140c, (uint32_t) - (0xe85250d6 + size_bytes), 4);
    for (unsigned i = 0; i < count; i++)
        set(0x1410 + 4 * i, tags[i], 4);
    set(0x1410 + 4 * count, 0, 4), set(0x1414 + 4 * count, 8, 4);
}

static bool load(boot_loader *loader)
{
    struct boot_complaint complaint = {why, sizeof why};
    why[0] = 0;
    return loader(&memory, &files, &entry, &complaint);
}

static void expect_refused(boot_loader *loader, const char *part)
{
    CHECK(!load(loader));
    if (!strstr(why, part)) {
        printf("EVENT the message was: %s\n", why);
        CHECK(!"the message says something else");
    }
}

static void expect_placed(uint64_t address)
{
    CHECK(memcmp(low + address, file + 0x1000, 0x1800) == 0);
    EXPECT(get(address + 0x1800, 8), 0);
}

TEST(pvh_loads, "an ELF kernel, 32-bit or 64-bit, is entered at its note's address, and told all")
{
    for (unsigned wide = 0; wide < 2; wide++) {
        begin(wide);
        files.initrd = (struct boot_file){module[1], sizeof module[1], "i", NULL};
        memory.regions[1].base = 4 * GIB;
        memory.regions[1].size_bytes = GIB;
        memory.count = 2;
        memset(low + 0x201800, 0xff, 0x2800);
        CHECK(load(pvh_load));
        expect_placed(0x200000);
        EXPECT(entry.rip, 0x200080);
        EXPECT(entry.mode, BOOT_PROTECTED);
        uint64_t info = entry.rbx, list = get(info + 16, 8), map = get(info + 40, 8);
        EXPECT(get(info, 4), 0x336ec578);
        EXPECT(get(info + 4, 4), 1);
        EXPECT(get(info + 12, 4), 3);
        CHECK(strcmp(text(get(info + 24, 8)), "a b=c") == 0);
        EXPECT(get(info + 32, 8), LAYOUT_ACPI);
        CHECK(memcmp(low + get(list, 8), module[1], sizeof module[1]) == 0);
        EXPECT(get(list + 8, 8), sizeof module[1]);
        EXPECT(get(list + 16, 8), 0);
        CHECK(memcmp(low + get(list + 32, 8), module[0], sizeof module[0]) == 0);
        CHECK(strcmp(text(get(list + 48, 8)), "first one") == 0);
        EXPECT(get(list + 72, 8), 5);
        EXPECT(get(info + 48, 4), 4);
        EXPECT(get(map, 8), 0);
        EXPECT(get(map + 72, 8), 4 * GIB);
        EXPECT(get(map + 80, 8), GIB);
        EXPECT(get(map + 88, 4), 1);
    }
}

TEST(multiboot_loads,
     "the information is that of section 3.3, in low memory, and the modules are behind the "
     "kernel")
{
    for (unsigned wide = 0; wide < 2; wide++) {
        begin_multiboot(wide, 3);
        CHECK(load(multiboot_load));
        expect_placed(0x200000);
        EXPECT(entry.rip, 0x200040); /* of the virtual entry, the physical address */
        EXPECT(entry.rax, 0x2badb002);
        uint64_t info = entry.rbx, list = get(info + 24, 4), map = get(info + 48, 4);
        CHECK(info < LAYOUT_BASE_END);
        EXPECT(get(info, 4), 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9);
        EXPECT(get(info + 4, 4), 640);
        EXPECT(get(info + 8, 4), (LOW_BYTES - MIB) / 1024);
        CHECK(strcmp(text(get(info + 16, 4)), "a b=c") == 0);
        CHECK(strcmp(text(get(info + 64, 4)), "Septum") == 0);
        EXPECT(get(info + 20, 4), 2);
        EXPECT(get(list, 4) & 0xfff, 0);
        CHECK(get(list, 4) >= 0x204000);
        EXPECT(get(list + 4, 4) - get(list, 4), sizeof module[0]);
        CHECK(memcmp(low + get(list, 4), module[0], sizeof module[0]) == 0);
        CHECK(strcmp(text(get(list + 8, 4)), "first one") == 0);
        CHECK(memcmp(low + get(list + 16, 4), module[1], 5) == 0);
        EXPECT(get(info + 44, 4), 3 * 24);
        EXPECT(get(map, 4), 20);
        EXPECT(get(map + 48 + 4, 8), MIB);
        EXPECT(get(map + 48 + 12, 8), LOW_BYTES - MIB);
        EXPECT(get(map + 48 + 20, 4), 1);
    }
}

TEST(multiboot_addresses,
     "an image says in its header where it goes; what does not go together is refused")
{
    uint32_t words[] = {0x1badb002, 1 << 16 | 3, 0,        0x300400,
                        0x300000,   0x301000,    0x301800, 0x300010};
    begin(false), file[0] = 0, head(8, words);
    memset(low + 0x300000, 0xff, 0x3000);
    CHECK(load(multiboot_load));
    EXPECT(entry.rip, 0x300010);
    CHECK(memcmp(low + 0x300000, file + 0x1000, 0x1000) == 0);
    EXPECT(get(0x301000, 8), 0);
    EXPECT(get(0x3017f8, 8), 0);
    EXPECT(get(0x301800, 1), 0xff);
    words[5] = words[6] = 0; /* all of the file */
    begin(false), head(8, words);
    CHECK(load(multiboot_load));
    CHECK(memcmp(low + 0x300000, file + 0x1000, FILE_BYTES - 0x1000) == 0);
    words[4] = 0x300800, begin(false), head(8, words);
    expect_refused(multiboot_load, "makes no sense"); /* the header is before the image */
    words[4] = 0x200000, begin(false), head(8, words);
    expect_refused(multiboot_load, "makes no sense"); /* and begins before the file */
    words[4] = 0x300000, words[5] = 0x310000, begin(false), head(8, words);
    expect_refused(multiboot_load, "makes no sense"); /* longer than the file */
    words[5] = 0x301000, words[6] = 0xfffff000, begin(false), head(8, words);
    expect_refused(multiboot_load, "give it more");
}

/* The content of the tag of a kind; 0: there is none. */
static uint64_t tag(uint64_t info, uint32_t kind, unsigned skip)
{
    for (uint64_t at = info + 8; at < info + get(info, 4); at += (get(at + 4, 4) + 7) & ~7ull)
        if (get(at, 4) == kind && skip-- == 0)
            return at + 8;
    return 0;
}

TEST(multiboot2_loads, "the information is in tags, each at a multiple of 8, the last of kind 0")
{
    static const uint32_t tags[] = {1, 20, 3, 6, 15, 0};
    for (unsigned wide = 0; wide < 2; wide++) {
        begin_multiboot2(wide, 6, tags);
        memcpy(low + LAYOUT_ACPI, "RSD PTR x", 9);
        CHECK(load(multiboot2_load));
        expect_placed(0x200000);
        EXPECT(entry.rip, 0x200040);
        EXPECT(entry.rax, 0x36d76289);
        uint64_t info = entry.rbx;
        EXPECT(info & 7, 0);
        CHECK(strcmp(text(tag(info, 1, 0)), "a b=c") == 0);
        CHECK(strcmp(text(tag(info, 2, 0)), "Septum") == 0);
        uint64_t first = tag(info, 3, 0), second = tag(info, 3, 1), map = tag(info, 6, 0);
        CHECK(memcmp(low + get(first, 4), module[0], sizeof module[0]) == 0);
        EXPECT(get(first + 4, 4) - get(first, 4), sizeof module[0]);
        CHECK(strcmp(text(first + 8), "first one") == 0);
        CHECK(memcmp(low + get(second, 4), module[1], 5) == 0 && !*text(second + 8));
        EXPECT(get(map - 4, 4), 16 + 3 * 24);
        EXPECT(get(map, 4), 24);
        EXPECT(get(map + 8 + 48, 8), MIB);
        EXPECT(get(map + 8 + 56, 8), LOW_BYTES - MIB);
        CHECK(memcmp(text(tag(info, 15, 0)), "RSD PTR x", 9) == 0);
        EXPECT(tag(info, 21, 0), 0);
        EXPECT(tag(info, 0, 0), info + get(info, 4));
    }
}

TEST(multiboot2_tags,
     "addresses, entry and place are obeyed; what must be and is not there is refused")
{
    static const uint32_t addresses[] = {2,        24, 0x300400, 0x300000, 0x301000,
                                         0x302000, 3,  12,       0x300020, 0};
    begin_multiboot2(false, 10, addresses);
    CHECK(load(multiboot2_load));
    EXPECT(entry.rip, 0x300020);
    CHECK(memcmp(low + 0x300000, file + 0x1000, 0x1000) == 0);
    uint32_t place[] = {10, 24, 0x400000, 0x7fffff, 0x100000, 0};
    begin_multiboot2(false, 6, place); /* where it wants to be is not in the range: it moves */
    CHECK(load(multiboot2_load));
    expect_placed(0x400000);
    EXPECT(entry.rip, 0x400040);
    EXPECT(get(tag(entry.rbx, 21, 0), 4), 0x400000);
    place[5] = 2, begin_multiboot2(false, 6, place);
    CHECK(load(multiboot2_load));
    expect_placed(0x700000);
    EXPECT(get(0x413, 2), 640);
    place[3] = UINT32_MAX,
    begin_multiboot2(false, 6, place); /* its modules are where there is room */
    CHECK(load(multiboot2_load));
    CHECK(get(tag(entry.rbx, 21, 0), 4) + 0x100000 >= LOW_BYTES);
    EXPECT(get(tag(entry.rbx, 3, 0), 4), MIB);
    place[3] = 0x7fffff;
    place[2] = 0x100000, place[5] = 1, begin_multiboot2(false, 6, place); /* down */
    CHECK(load(multiboot2_load));
    expect_placed(0x100000);
    EXPECT(entry.rip, 0x100040);
    place[4] = 3, begin_multiboot2(false, 6, place);
    expect_refused(multiboot2_load, "makes no sense");
    place[4] = 0x1000, place[2] = 0x7fe000, begin_multiboot2(false, 6, place);
    expect_refused(multiboot2_load, "no such memory");
    static const uint32_t unknown[] = {77, 8}, unknown_optional[] = {77 | 1 << 16, 8};
    static const uint32_t wants_vbe[] = {1, 12, 7, 0}, huge[] = {1, 0x7fffffff};
    begin_multiboot2(false, 2, unknown), expect_refused(multiboot2_load, "tag 77");
    begin_multiboot2(false, 2, unknown_optional);
    CHECK(load(multiboot2_load));
    begin_multiboot2(false, 4, wants_vbe), expect_refused(multiboot2_load, "tag 1");
    begin_multiboot2(false, 2, huge), expect_refused(multiboot2_load, "damaged");
}

TEST(elf_refuses, "wrong, damaged and cut files, and too little memory, are refused with the cure")
{
    begin(true), files.kernel.data = NULL, expect_refused(pvh_load, "is no ELF file");
    begin(true), files.kernel.size_bytes = 40, expect_refused(pvh_load, "is no ELF file");
    begin(true), set(5, 2, 1), expect_refused(pvh_load, "is no ELF file");
    begin(true), set(18, 40, 2), expect_refused(pvh_load, "is no ELF file");
    begin(true), set(56, 3000, 2), expect_refused(pvh_load, "cut off or damaged");
    begin(true), set(32, FILE_BYTES - 8, 8), expect_refused(pvh_load, "cut off or damaged");
    begin(true), set(0x108, UINT64_MAX - 8, 8), expect_refused(pvh_load, "cut off or damaged");
    begin(true), set(0x120, 0x10000, 8), expect_refused(pvh_load, "cut off or damaged");
    begin(true), set(0x128, 0x10, 8), expect_refused(pvh_load, "cut off or damaged");
    begin(true), set(0x118, UINT64_MAX - 8, 8), expect_refused(pvh_load, "cut off or damaged");
    begin(true), set(0x118, LOW_BYTES - 0x1000, 8), expect_refused(pvh_load, "give it more");
    begin(true), set(0x128, LOW_BYTES, 8), expect_refused(pvh_load, "give it more");
    begin(true), set(0x100, 6, 4), expect_refused(pvh_load, "nothing to load");
    begin(true), set(0x2908, 17, 4), expect_refused(pvh_load, "no PVH note");
    begin(true), files.modules[0].size_bytes = LOW_BYTES, expect_refused(pvh_load, "at least");
    begin(true), files.modules[1].size_bytes = 0, expect_refused(pvh_load, "is empty");
    begin(true), expect_refused(multiboot_load, "no multiboot header");
    begin(true), expect_refused(multiboot2_load, "no multiboot2 header");
    begin_multiboot(true, 8), expect_refused(multiboot_load, "does not have");
    begin_multiboot(true, 3), set(0x1408, 0, 4), expect_refused(multiboot_load, "no multiboot");
}

TEST(elf_any_header,
     "whatever stands in the headers, nothing is touched outside the file and the memory")
{
    static boot_loader *const loaders[] = {pvh_load, multiboot_load, multiboot2_load};
    static const uint32_t tags[] = {10, 24, 0x100000, 0x7fffff, 0x1000, 1, 1, 16, 3, 6};
    unsigned loaded = 0;
    for (unsigned round = 0; round < 3000; round++) {
        unsigned kind = round % 3, wide = round / 3 % 2;
        if (kind == 1)
            begin_multiboot(wide, 3);
        else
            begin_multiboot2(wide, 10, tags);
        for (unsigned n = unit_random() % 4 + 1; n; n--) {
            unsigned where = unit_random() % 3;
            unsigned at = where == 0   ? unit_random() % 64
                          : where == 1 ? 0x100 + unit_random() % 0x70
                                       : 0x1410 + unit_random() % 0x30;
            file[at] = (uint8_t)unit_random();
        }
        if (unit_random() % 8 == 0)
            files.kernel.size_bytes = unit_random() % FILE_BYTES;
        if (load(loaders[kind]))
            loaded++;
        else
            CHECK(why[0]);
    }
    CHECK(loaded > 300);
}
