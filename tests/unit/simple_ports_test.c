/* links: vmm-server/devices/debug_ports.c vmm-server/devices/parallel.c vmm-server/devices/line_log.c
 * vmm-server/bus.c lib/print.c */
#include "unit_test.h"

#include "chip_machine.h"

#include "devices/debug_ports.h"
#include "devices/parallel.h"

static char said[1024];
static struct debug_ports debug;
static struct parallel parallel;
static struct test_line line;
static unsigned exits;
static uint32_t exit_value;

static void say(struct sink *sink, const char *text, size_t size_bytes)
{
    (void)sink;
    CHECK(strlen(said) + size_bytes < sizeof said);
    strncat(said, text, size_bytes);
}

static struct sink log_sink = {say};

static void exited(struct debug_ports *from, uint32_t value)
{
    CHECK(from == &debug);
    exits++;
    exit_value = value;
}

static void begin(bool test_device)
{
    machine_start();
    said[0] = 0;
    exits = 0;
    line = new_line();
    debug_ports_init(&debug, &log_sink, NULL);
    debug.exited = exited;
    CHECK(debug_ports_attach(&debug, &ports, test_device));
    parallel_init(&parallel, &line.line, &log_sink);
    CHECK(parallel_attach(&parallel, &ports, 0x378));
}

TEST(debug_console,
     "what is written goes into the log by lines, and a read tells that the port is there")
{
    begin(false);
    EXPECT(in(0x402), 0xe9);
    EXPECT(in(0xe9), 0xe9);
    for (const char *text = "hello"; *text; text++)
        out(0x402, (uint8_t)*text);
    EXPECT(strlen(said), 0);
    out(0xe9, 'x');
    out(0x402, '\r'), out(0x402, '\n');
    CHECK(strcmp(said, "firmware: hello\n") == 0);
    out(0xe9, 0x1b), out(0xe9, '\n');
    CHECK(strcmp(said, "firmware: hello\ndebug console: x.\n") == 0);
}

TEST(debug_console_strings, "a repeated string is taken at once, and a long line is cut")
{
    char text[300];
    begin(false);
    memset(text, 'a', sizeof text);
    EXPECT(bus_write_string(&ports, 0x402, 1, text, sizeof text), sizeof text);
    EXPECT(strlen(said), 2 * (strlen("firmware: ") + LINE_LOG_BYTES - 1 + 1));
}

TEST(debug_exit, "the debug-exit port is there only if the partition has it, and tells its value")
{
    begin(false);
    CHECK(!bus_write(&ports, 0xf4, 1, 1));
    begin(true);
    CHECK(bus_write(&ports, 0xf4, 4, 0x12345678));
    EXPECT(exits, 1);
    EXPECT(exit_value, 0x12345678);
    CHECK(bus_write(&ports, 0x501, 1, 3));
    EXPECT(exits, 2);
}

TEST(parallel_prints, "a byte is printed at the strobe's begin, once; the printer is ready")
{
    begin(false);
    EXPECT(in(0x379) & 0xf8, 0xd8);
    out(0x378, 0xa5);
    EXPECT(in(0x378), 0xa5);
    for (const char *text = "ok\n"; *text; text++) {
        out(0x378, (uint8_t)*text);
        out(0x37a, 0x0d), out(0x37a, 0x0d), out(0x37a, 0x0c);
    }
    CHECK(strcmp(said, "printer: ok\n") == 0);
    EXPECT(in(0x37a), 0xcc);
    EXPECT(line.rises, 0);
}

TEST(parallel_interrupts, "with its interrupt enabled each byte is acknowledged by an edge")
{
    begin(false);
    for (unsigned i = 1; i <= 3; i++) {
        out(0x37a, 0x1d), out(0x37a, 0x1c);
        EXPECT(line.rises, i);
    }
}
