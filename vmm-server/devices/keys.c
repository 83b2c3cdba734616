/*
 * A terminal's characters as keys of a PC's keyboard, US layout.
 *
 * State:    an escape sequence that has begun.
 * Features: all of ASCII with Shift and Ctrl; Escape and a character as Alt; arrows, Home, End, Insert, Delete, Page Up and
 *           Down, F1 to F12 as xterm, VT220 and the Linux console send them.
 * Missing:  keys held down, other layouts, keys of the number block, modifiers within escape sequences.
 * Spec:     IBM PC keyboard, scan code set 1; ECMA-48 (CSI); xterm's and the VT220's function keys.
 */
#include "devices/keys.h"

#define ESCAPE     0x1b
#define KEY_ESCAPE 0x01u
#define KEY_CTRL   0x1du
#define KEY_SHIFT  0x2au
#define KEY_ALT    0x38u

/* Make codes from 1 on: without Shift and with it. 0: no character's. */
static const char plain_keys[] =
    "\x1b"
    "1234567890-=\b\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0\0\0 ";
static const char shift_keys[] =
    "\0!@#$%^&*()_+\0\0QWERTYUIOP{}\0\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0\0\0";

static void press(struct keys *keys, uint16_t code)
{
    keys->event(keys, code, true);
    keys->event(keys, code, false);
}

static void press_with(struct keys *keys, uint16_t modifier, uint16_t code)
{
    keys->event(keys, modifier, true);
    press(keys, code);
    keys->event(keys, modifier, false);
}

/* The make code of a character on a table's keys; 0: none. */
static uint16_t find(const char *table, unsigned count, char character)
{
    for (unsigned i = 0; i < count; i++)
        if (table[i] == character)
            return (uint16_t)(i + 1);
    return 0;
}

/* Ctrl and a letter, or one of [ \\ ]; the codes behind them are on no plain key. */
static void type_control(struct keys *keys, char character)
{
    char key = (char)(character + (character <= 26 ? 'a' - 1 : '@'));
    uint16_t code = find(plain_keys, sizeof plain_keys - 1, key);
    if (code)
        press_with(keys, KEY_CTRL, code);
}

static void type(struct keys *keys, char character)
{
    if (character == '\n')
        character = '\r';
    if (character == 0x7f)
        character = '\b';
    if (character == 0)
        return;
    uint16_t code = find(plain_keys, sizeof plain_keys - 1, character);
    uint16_t shifted = code ? 0 : find(shift_keys, sizeof shift_keys - 1, character);
    if (code)
        press(keys, code);
    else if (shifted)
        press_with(keys, KEY_SHIFT, shifted);
    else if (character > 0 && character < ' ')
        type_control(keys, character);
}

/* Escape sequences without their ESC. */
static const struct {
    char text[5];
    uint16_t code;
} sequences[] = {
    {"[A", KEY_EXTENDED | 0x48},
    {"[B", KEY_EXTENDED | 0x50},
    {"[C", KEY_EXTENDED | 0x4d},
    {"[D", KEY_EXTENDED | 0x4b},
    {"OA", KEY_EXTENDED | 0x48},
    {"OB", KEY_EXTENDED | 0x50},
    {"OC", KEY_EXTENDED | 0x4d},
    {"OD", KEY_EXTENDED | 0x4b},
    {"[H", KEY_EXTENDED | 0x47},
    {"[F", KEY_EXTENDED | 0x4f},
    {"OH", KEY_EXTENDED | 0x47},
    {"OF", KEY_EXTENDED | 0x4f},
    {"[1~", KEY_EXTENDED | 0x47},
    {"[2~", KEY_EXTENDED | 0x52},
    {"[3~", KEY_EXTENDED | 0x53},
    {"[4~", KEY_EXTENDED | 0x4f},
    {"[5~", KEY_EXTENDED | 0x49},
    {"[6~", KEY_EXTENDED | 0x51},
    {"OP", 0x3b},
    {"OQ", 0x3c},
    {"OR", 0x3d},
    {"OS", 0x3e},
    {"[11~", 0x3b},
    {"[12~", 0x3c},
    {"[13~", 0x3d},
    {"[14~", 0x3e},
    {"[[A", 0x3b},
    {"[[B", 0x3c},
    {"[[C", 0x3d},
    {"[[D", 0x3e},
    {"[[E", 0x3f},
    {"[15~", 0x3f},
    {"[17~", 0x40},
    {"[18~", 0x41},
    {"[19~", 0x42},
    {"[20~", 0x43},
    {"[21~", 0x44},
    {"[23~", 0x57},
    {"[24~", 0x58},
};
#define SEQUENCES (sizeof sequences / sizeof *sequences)

enum match { NO_MATCH, BEGINS, IS };

static enum match compare(const char *known, const char *typed, unsigned length)
{
    unsigned i = 0;
    while (i < length && known[i] == typed[i])
        i++;
    if (i < length)
        return NO_MATCH;
    return known[i] ? BEGINS : IS;
}

/* The sequence is longer by one. What is none is dropped when it ends (ECMA-48: a final character). */
static void continue_sequence(struct keys *keys)
{
    char last = keys->sequence[keys->length - 1];
    for (unsigned i = 0; i < SEQUENCES; i++)
        switch (compare(sequences[i].text, keys->sequence + 1, keys->length - 1)) {
        case IS:
            press(keys, sequences[i].code);
            keys->length = 0;
            return;
        case BEGINS:
            if (keys->length < KEYS_SEQUENCE_MAX)
                return;
            break;
        case NO_MATCH: break;
        }
    if (keys->length == 2) { /* no sequence: a character with Alt */
        keys->length = 0;
        keys->event(keys, KEY_ALT, true);
        type(keys, last);
        keys->event(keys, KEY_ALT, false);
    } else if ((last >= '@' && last <= '~') || keys->length == KEYS_SEQUENCE_MAX) {
        keys->length = 0;
    }
}

void keys_input(struct keys *keys, char character)
{
    if (keys->length == 1 && character == ESCAPE) {
        press(keys, KEY_ESCAPE);
        return;
    }
    if (keys->length || character == ESCAPE) {
        keys->sequence[keys->length++] = character;
        if (keys->length > 1)
            continue_sequence(keys);
        return;
    }
    type(keys, character);
}

void keys_settle(struct keys *keys)
{
    if (keys->length == 1)
        press(keys, KEY_ESCAPE);
    else if (keys->length == 2) { /* Alt and a bracket, or Alt and O */
        keys->event(keys, KEY_ALT, true);
        type(keys, keys->sequence[1]);
        keys->event(keys, KEY_ALT, false);
    }
    keys->length = 0;
}
