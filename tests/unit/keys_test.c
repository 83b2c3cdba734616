/* links: vmm-server/devices/keys.c lib/print.c */
#include "unit_test.h"

#include "devices/keys.h"

static char events[512];

/* "+1e" is a key down, "-1e" up. */
static void event(struct keys *keys, uint16_t code, bool down)
{
    size_t used = strlen(events);
    (void)keys;
    CHECK(code);
    snprintf(events + used, sizeof events - used, "%s%c%x", used ? " " : "", down ? '+' : '-',
             code);
}

static struct keys keys;

static void begin(void)
{
    keys = (struct keys){.event = event};
    events[0] = 0;
}

static void type_all(const char *words)
{
    events[0] = 0;
    for (; *words; words++)
        keys_input(&keys, *words);
}

static void expect(const char *typed, const char *expected)
{
    begin();
    type_all(typed);
    if (strcmp(events, expected) != 0)
        printf("events: %s\n", events);
    CHECK(strcmp(events, expected) == 0);
    EXPECT(keys.length, 0);
}

TEST(keys_plain, "letters, digits and signs are the keys of a US keyboard")
{
    expect("a", "+1e -1e");
    expect("z1", "+2c -2c +2 -2");
    expect("/\\", "+35 -35 +2b -2b");
    expect(" ", "+39 -39");
    expect("\r", "+1c -1c");
    expect("\n", "+1c -1c");
    expect("\t", "+f -f");
    expect("\x7f", "+e -e");
    expect("\b", "+e -e");
}

TEST(keys_shifted, "capitals and the signs above the digits come with Shift")
{
    expect("A", "+2a +1e -1e -2a");
    expect("!~", "+2a +2 -2 -2a +2a +29 -29 -2a");
    expect("?|", "+2a +35 -35 -2a +2a +2b -2b -2a");
}

TEST(keys_control, "control characters come with Ctrl")
{
    expect("\x03", "+1d +2e -2e -1d");
    expect("\x1c", "+1d +2b -2b -1d");
    expect("\x1f", "");
}

TEST(keys_all_of_ascii, "each printable character is a key")
{
    for (char c = ' '; c < 0x7f; c++) {
        const char typed[] = {c, 0};
        begin();
        type_all(typed);
        CHECK(events[0]);
    }
    expect("\xc3\xa4", "");
}

TEST(keys_sequences, "arrows and function keys come as escape sequences")
{
    expect("\x1b[A", "+e048 -e048");
    expect("\x1bOB", "+e050 -e050");
    expect("\x1b[5~", "+e049 -e049");
    expect("\x1b[3~", "+e053 -e053");
    expect("\x1bOP", "+3b -3b");
    expect("\x1b[15~", "+3f -3f");
    expect("\x1b[24~", "+58 -58");
    expect("\x1b[[E", "+3f -3f");
    expect("\x1b[1;5Ca", "+1e -1e"); /* not known: all of it is dropped */
    expect("\x1b[99999999~b", "+a -a +a -a +2a +29 -29 -2a +30 -30");
}

TEST(keys_alt, "Escape and a character is Alt, Escape alone the Escape key when nothing follows")
{
    expect("\x1bx", "+38 +2d -2d -38");
    begin();
    type_all("\x1b");
    CHECK(events[0] == 0);
    keys_settle(&keys);
    CHECK(strcmp(events, "+1 -1") == 0);
    begin();
    type_all("\x1b\x1b[A");
    CHECK(strcmp(events, "+1 -1 +e048 -e048") == 0);
    begin();
    type_all("\x1bO");
    keys_settle(&keys);
    CHECK(strcmp(events, "+38 +2a +18 -18 -2a -38") == 0);
    keys_settle(&keys);
    EXPECT(keys.length, 0);
}
