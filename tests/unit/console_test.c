/*
 * The console server's views of what its clients write, with the serial port replaced by a buffer.
 * links: console-server/terminal.c console-server/frames.c console-server/history.c
 *        console-server/mix.c lib/print.c
 */
#include "../../console-server/server.h"
#include "unit_test.h"

static struct server server;
static struct history histories[4];
static char line[1 << 16], typed[4][256];
static size_t line_length, typed_length[4];

size_t uart_room(const struct uart *uart)
{
    (void)uart;
    return UART_QUEUE_BYTES;
}

void uart_queue(struct uart *uart, const void *data, size_t size_bytes)
{
    (void)uart;
    if (line_length + size_bytes >= sizeof line)
        abort();
    memcpy(line + line_length, data, size_bytes);
    line[line_length += size_bytes] = 0;
}

void uart_send(struct uart *uart)
{
    (void)uart;
}

void client_input(struct server *to, unsigned number, const void *data, size_t size_bytes)
{
    CHECK(to == &server && number < 4);
    memcpy(typed[number] + typed_length[number], data, size_bytes);
    typed_length[number] += size_bytes;
}

bool client_is_system(const struct client *client)
{
    return client->kind == TASK_CHANNEL_LOG || strcmp(client->name, CONSOLE_SYSTEM) == 0;
}

static void add_client(unsigned number, uint32_t kind, const char *name)
{
    struct client *client = &server.clients[number];
    *client = (struct client){.attached = true, .kind = kind, .history = &histories[number]};
    strcpy(client->name, name);
    snprintf(client->prefix, sizeof client->prefix, kind == TASK_CHANNEL_LOG ? "%s: " : "%s| ",
             name);
    terminal_attached(&server, number);
}

/* Clients: 0 the monitor, 1 the guest web, 2 the guest db, 3 the log of web's VMM. */
static void start(void)
{
    memset(&server, 0, sizeof server);
    memset(histories, 0, sizeof histories);
    memset(typed, 0, sizeof typed);
    memset(typed_length, 0, sizeof typed_length);
    terminal_start(&server);
    add_client(0, TASK_CHANNEL_CONSOLE, CONSOLE_SYSTEM);
    add_client(1, TASK_CHANNEL_CONSOLE, "web");
    add_client(2, TASK_CHANNEL_CONSOLE, "db");
    add_client(3, TASK_CHANNEL_LOG, "web");
    line_length = 0;
    line[0] = 0;
}

static void says(unsigned number, const char *text)
{
    terminal_output(&server, number, text, strlen(text));
}

static void keys(const char *text)
{
    terminal_input(&server, (const uint8_t *)text, strlen(text));
}

static void expect_line(const char *expected, int at)
{
    if (strcmp(line, expected) != 0) {
        printf("the line has <%s>\n", line);
        unit_fail(__FILE__, at, expected);
    }
    line_length = 0;
    line[0] = 0;
}
#define EXPECT_LINE(expected) expect_line(expected, __LINE__)

TEST(console_merged_lines,
     "at the start all consoles are shown, line by line, each line with its name")
{
    start();
    says(1, "hello\r\n");
    says(2, "from db\nand more\n");
    says(3, "started\n");
    says(0, "ready\n");
    EXPECT_LINE("web| hello\r\ndb| from db\r\ndb| and more\r\nweb: started\r\nsystem| ready\r\n");
}

TEST(console_merged_unfinished,
     "a line that another console breaks into is ended, and goes on with its name")
{
    start();
    says(1, "web# ");
    says(1, "ls");
    says(2, "tick\n");
    says(1, "\nbin\n");
    EXPECT_LINE("web| web# ls\r\ndb| tick\r\nweb| \r\nweb| bin\r\n");
}

TEST(console_shows_one, "a chosen console is shown as it is, and no other")
{
    start();
    keys("\001"
         "2");
    line_length = 0;
    says(1, "hidden\n");
    says(2, "\033[1mraw\r\n");
    EXPECT_LINE("\033[1mraw\r\n");
}

TEST(console_hidden_is_kept, "what a console wrote while it was hidden is there when it is chosen")
{
    start();
    keys("\001"
         "2");
    says(1, "while away\r\n");
    line_length = 0;
    keys("\001"
         "1");
    CHECK(strstr(line, "while away") != NULL);
}

TEST(console_keys_go_to_focus,
     "keys go to the first guest at first, then to the chosen console; Ctrl-C is a key like others")
{
    start();
    keys("a\003");
    keys("\001"
         "2"
         "b");
    keys("\001"
         "0"
         "help\r");
    CHECK(memcmp(typed[1], "a\003", 3) == 0);
    CHECK(strcmp(typed[2], "b") == 0);
    CHECK(strcmp(typed[0], "help\r") == 0);
}

TEST(console_literal_prefix, "Ctrl-A twice, or Ctrl-A a, types one Ctrl-A")
{
    start();
    keys("\001\001x\001a");
    CHECK(strcmp(typed[1], "\001x\001") == 0);
}

TEST(console_next_goes_round,
     "Ctrl-A n goes through the guests' consoles to the system's and round again")
{
    start();
    static const unsigned order[] = {2, FOCUS_SYSTEM, 1, 2};
    for (unsigned i = 0; i < 4; i++) {
        keys("\001n");
        EXPECT(server.terminal.focus, order[i]);
    }
}

TEST(console_unknown_number, "a number that no console has changes nothing")
{
    start();
    keys("\001"
         "7"
         "x");
    CHECK(strcmp(typed[1], "x") == 0);
    CHECK(server.terminal.merged);
}

TEST(console_system_log,
     "the system console has the monitor's words as they are and logs with names")
{
    start();
    keys("\001"
         "0");
    line_length = 0;
    says(0, "septum> ");
    says(3, "guest rebooted\n");
    EXPECT_LINE("septum> \r\nweb: guest rebooted\r\n");
}

TEST(console_scrolls_back,
     "looking back shows older pages, holds new output back, and ends where it began")
{
    start();
    keys("\001"
         "1");
    for (int i = 0; i < 100; i++) {
        char text[32];
        snprintf(text, sizeof text, "line %d\r\n", i);
        says(1, text);
    }
    line_length = 0;
    keys("\001b");
    CHECK(strstr(line, "line 77\r\n") != NULL && strstr(line, "line 99") == NULL);
    line_length = 0;
    keys("b");
    CHECK(strstr(line, "line 40\r\n") != NULL && strstr(line, "line 77") == NULL);
    line_length = 0;
    says(1, "later\r\n");
    EXPECT(line_length, 0);
    keys("f");
    CHECK(strstr(line, "line 77\r\n") != NULL);
    keys("q");
    CHECK(strstr(line, "later") != NULL);
}

TEST(console_history_is_bounded, "a console that floods keeps its last 16 KiB and no more")
{
    start();
    keys("\001"
         "2");
    for (int i = 0; i < 10000; i++)
        says(1, "0123456789\n");
    EXPECT(histories[1].written, 110000);
    EXPECT(history_begin(&histories[1]), 110000 - HISTORY_BYTES);
    EXPECT(history_line_back(&histories[1], 110000, 1), 110000 - 22 + 11);
}

TEST(console_frames,
     "in frames each client's name is told once, and its bytes are its own whatever they are")
{
    start();
    frames_output(&server, 1, "db| x\xfe\xff", 7);
    frames_output(&server, 1, "y", 1);
    CHECK(line_length == 3 + 5 + 3 + 7 + 3 + 1);
    CHECK(memcmp(line,
                 "\xfe\xff\x05\x02\x02web\xfe\x02\x07"
                 "db| x\xfe\xff\xfe\x02\x01y",
                 line_length) == 0);
}

TEST(console_frame_input,
     "framed input reaches its client, in any pieces; an unknown client's is dropped")
{
    start();
    static const uint8_t input[] = "junk\xfe\x02\x03"
                                   "a\xff"
                                   "b\xfe\x63\x02zz\xfe\x03\x01"
                                   "cjunk";
    for (size_t i = 0; i < sizeof input - 1; i++)
        frames_input(&server, input + i, 1);
    CHECK(typed_length[1] == 3 && memcmp(typed[1],
                                         "a\xff"
                                         "b",
                                         3) == 0);
    CHECK(strcmp(typed[2], "c") == 0);
}

TEST(console_frame_input_taken, "each frame of input is answered when its last byte is there")
{
    start();
    frames_input(&server, (const uint8_t *)"\xfe\x02\x02q", 4);
    EXPECT(line_length, 0);
    frames_input(&server, (const uint8_t *)"r\xfe\x03\x01s", 5);
    EXPECT(line_length, 8);
    CHECK(memcmp(line, "\xfe\xfd\x01\x02\xfe\xfd\x01\x03", 8) == 0);
}

TEST(console_frame_input_lost,
     "whatever bytes of a frame the line loses, the next frame is taken, and to its own client")
{
    static const uint8_t frame[] = "\xfe\x02\x03hel", next[] = "\xfe\x03\x04next";
    for (unsigned lost = 1; lost < 1u << (sizeof frame - 1); lost++) {
        start();
        for (unsigned i = 0; i < sizeof frame - 1; i++)
            if (!(lost >> i & 1))
                frames_input(&server, frame + i, 1);
        size_t before = typed_length[2];
        frames_input(&server, next, sizeof next - 1);
        EXPECT(typed_length[2] - before, 4);
        CHECK(memcmp(typed[2] + before, "next", 4) == 0);
    }
}

TEST(console_mix_bound, "no writing makes more of a stream than MIX_LONGEST says")
{
    start();
    for (int round = 0; round < 2000; round++) {
        char text[128];
        size_t n = unit_random() % sizeof text;
        for (size_t i = 0; i < n; i++)
            text[i] = "\n\r a"[unit_random() % 4];
        line_length = 0;
        terminal_output(&server, 1 + unit_random() % 2, text, n);
        CHECK(line_length <= MIX_LONGEST(n, strlen("web| ")));
    }
}
