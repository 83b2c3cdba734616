/* links: microvisor/boot/handover.c */
#include "unit_test.h"

#include <stdarg.h>

#include "boot/boot.h"
#include "x86/paging.h"

/* What the loader left in memory; physical addresses count from its beginning. */
static _Alignas(8) uint8_t left[512 << 10];
static jmp_buf stopped;
static char reason[256];
static unsigned ranges;
static uint64_t last_base, last_size;

void *window_map(paddr_t physical, uint64_t size_bytes, uint64_t cache)
{
    (void)cache;
    return physical <= sizeof(left) && size_bytes <= sizeof(left) - physical ? left + physical : NULL;
}

unsigned window_mark(void)
{
    return 0;
}

void window_release(unsigned mark)
{
    (void)mark;
}

void memory_add(paddr_t base, uint64_t size_bytes, enum boot_memory_type type)
{
    (void)type;
    ranges++;
    last_base = base;
    last_size = size_bytes;
}

_Noreturn void boot_stop(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    longjmp(stopped, 1);
}

#define INFO 4096u
#define MULTIBOOT2 0x36d76289u
#define PVH 0x336ec578u

static uint8_t *end;

static void tag(uint32_t type, const void *content, uint32_t size_bytes)
{
    const uint32_t head[2] = {type, size_bytes + 8};
    memcpy(end, head, 8);
    memcpy(end + 8, content, size_bytes);
    end += (8 + size_bytes + 7) & ~7u;
    const uint32_t total = (uint32_t)(end - (left + INFO));
    memcpy(left + INFO, &total, 4);
}

static void module(uint32_t start, uint32_t module_end)
{
    const uint32_t words[3] = {start, module_end, 0};
    tag(3, words, sizeof(words));
}

static void begin(void)
{
    memset(left, 0, sizeof(left));
    memset(&handover, 0, sizeof(handover));
    reason[0] = 0;
    ranges = 0;
    end = left + INFO + 8;
}

static void pvh(const uint64_t modules[][4], uint32_t count)
{
    begin();
    const uint32_t head[4] = {PVH, 1, 0, count};
    const uint64_t rest[5] = {16384, 0, 0, 32768, 0};
    memcpy(left + INFO, head, sizeof(head));
    memcpy(left + INFO + 16, rest, sizeof(rest));
    memcpy(left + 16384, modules, count * sizeof(*modules));
}

static bool read_it(uint32_t magic)
{
    if (setjmp(stopped))
        return false;
    handover_read(magic, INFO);
    return true;
}

TEST(handover_multiboot, "Multiboot2: command line, memory map and the first of several modules are taken")
{
    const struct {
        uint32_t entry_bytes, version;
        uint64_t base, size;
        uint32_t type, reserved;
    } map = {24, 0, 0x100000, 0x200000, 1, 0};
    begin();
    tag(1, "a pool=8M b=", 13);
    module(0x1000000, 0x1002000);
    tag(6, &map, sizeof(map));
    module(0x2000000, 0x2008000);
    CHECK(read_it(MULTIBOOT2));
    EXPECT(handover.module_base, 0x1000000);
    EXPECT(handover.module_size, 0x2000);
    EXPECT(ranges, 1);
    EXPECT(last_base, 0x100000);
    EXPECT(last_size, 0x200000);
    EXPECT(option_size("pool", 1), 8 << 20);
    CHECK(option_find("a") && option_find("b") && !option_find("poo") && !option_find("c"));
    CHECK(option_is("b", "") && option_is("pool", "8M") && !option_is("pool", "8"));
}

TEST(handover_pvh, "PVH: the first of several modules is taken")
{
    const uint64_t modules[2][4] = {{0x1000000, 0x2000}, {0x2000000, 0x8000}};
    pvh(modules, 2);
    CHECK(read_it(0));
    EXPECT(handover.module_base, 0x1000000);
    EXPECT(handover.module_size, 0x2000);
}

TEST(handover_module_backwards, "a module that ends before it begins is refused, however it is told")
{
    begin();
    module(0x1002000, 0x1000000);
    CHECK(!read_it(MULTIBOOT2) && strstr(reason, "ends before it begins"));
    const uint64_t modules[1][4] = {{0x1000000, UINT64_MAX - 0x2000}};
    pvh(modules, 1);
    CHECK(!read_it(0) && strstr(reason, "ends before it begins"));
}

TEST(handover_lying_sizes, "tags that reach beyond the information end it; what is too long is refused")
{
    begin();
    module(0x1000000, 0x1002000);
    const uint32_t too_long = 1u << 20;
    memcpy(left + INFO + 8 + 4, &too_long, 4);
    CHECK(read_it(MULTIBOOT2));
    EXPECT(handover.module_size, 0);
    memcpy(left + INFO, &too_long, 4);
    CHECK(!read_it(MULTIBOOT2) && strstr(reason, "1048576 bytes long"));
}
