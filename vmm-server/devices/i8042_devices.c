/* The keyboard and the mouse behind the keyboard controller. The model's contract is at the head of i8042.c. */
#include "devices/i8042_internal.h"

#include "string.h"

#define ACKNOWLEDGE      0xfa
#define RESEND           0xfe
#define TEST_PASSED      0xaa
#define BREAK            0xf0
#define EXTENDED         0xe0
#define SET_1            1
#define SET_2            2
#define BREAK_BIT        0x80
#define TYPED_ROOM       16u /* of a queue: the rest is for answers to commands */
#define KEY_BYTES        6u  /* pressing and releasing one key */
#define RATE_DEFAULT     0x2b
#define MOUSE_RATE       100
#define MOUSE_RESOLUTION 2 /* 4 counts a millimetre */

enum keyboard_command {
    KEYBOARD_LEDS = 0xed,
    KEYBOARD_ECHO = 0xee,
    KEYBOARD_SCAN_SET = 0xf0,
    KEYBOARD_IDENTIFY = 0xf2,
    KEYBOARD_RATE = 0xf3,
    KEYBOARD_ON = 0xf4,
    KEYBOARD_OFF = 0xf5,
    KEYBOARD_DEFAULTS = 0xf6,
    KEYBOARD_ALL_KEYS = 0xf7, /* to 0xfa: kinds of all keys, which only set 3 has */
    KEYBOARD_RESEND = 0xfe,
    KEYBOARD_RESET = 0xff,
};

enum mouse_command {
    MOUSE_SCALE_1 = 0xe6,
    MOUSE_SCALE_2 = 0xe7,
    MOUSE_RESOLUTION_SET = 0xe8,
    MOUSE_STATUS = 0xe9,
    MOUSE_STREAM = 0xea,
    MOUSE_READ = 0xeb,
    MOUSE_UNWRAP = 0xec,
    MOUSE_WRAP = 0xee,
    MOUSE_REMOTE = 0xf0,
    MOUSE_IDENTIFY = 0xf2,
    MOUSE_RATE_SET = 0xf3,
    MOUSE_ON = 0xf4,
    MOUSE_OFF = 0xf5,
    MOUSE_DEFAULTS = 0xf6,
    MOUSE_RESEND = 0xfe,
    MOUSE_RESET = 0xff,
};

/* Set 2 to set 1, as the controller's memory has it (PS/2 reference, "Scan Code Translation"). */
static const uint8_t translation[0x85] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29,
    0x59, 0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11,
    0x03, 0x5b, 0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14,
    0x13, 0x06, 0x5d, 0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24,
    0x16, 0x08, 0x09, 0x5f, 0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35,
    0x26, 0x27, 0x19, 0x0c, 0x61, 0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36,
    0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, 0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c,
    0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, 0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
    0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, 0x80, 0x81, 0x82, 0x41, 0x54,
};

uint8_t i8042_translate(uint8_t code)
{
    return code < sizeof translation ? translation[code] : code;
}

/* ---- keyboard ---------------------------------------------------------------------------------------------- */

/* The other way round: what a keyboard sends by set 2 for a key of set 1. 0: there is no such key. */
static uint8_t set_2_of(uint8_t number)
{
    for (unsigned code = 1; code < sizeof translation; code++)
        if (translation[code] == number)
            return (uint8_t)code;
    return 0;
}

static void keyboard_send(struct i8042 *i8042, uint8_t byte)
{
    if (i8042_put(&i8042->keyboard.queue, byte))
        i8042->keyboard.last = byte;
}

static void keyboard_defaults(struct i8042 *i8042)
{
    i8042->keyboard.command = 0;
    i8042->keyboard.scan_set = SET_2;
    i8042->keyboard.leds = 0;
    i8042->keyboard.rate = RATE_DEFAULT;
    i8042->keyboard.queue.count = 0;
}

void keyboard_reset(struct i8042 *i8042)
{
    keyboard_defaults(i8042);
    i8042->keyboard.enabled = true;
}

/* The byte that a command was waiting for. */
static void keyboard_argument(struct i8042 *i8042, uint8_t value)
{
    uint8_t command = i8042->keyboard.command;
    i8042->keyboard.command = 0;
    switch (command) {
    case KEYBOARD_LEDS: i8042->keyboard.leds = value & 7; break;
    case KEYBOARD_RATE: i8042->keyboard.rate = value & 0x7f; break;
    case KEYBOARD_SCAN_SET:
        if (value > SET_2) {
            keyboard_send(i8042, RESEND);
            return;
        }
        keyboard_send(i8042, ACKNOWLEDGE);
        if (value == 0)
            keyboard_send(i8042, i8042->keyboard.scan_set);
        else
            i8042->keyboard.scan_set = value;
        return;
    }
    keyboard_send(i8042, ACKNOWLEDGE);
}

static void keyboard_command(struct i8042 *i8042, uint8_t command)
{
    switch (command) {
    case KEYBOARD_ECHO: keyboard_send(i8042, KEYBOARD_ECHO); return;
    case KEYBOARD_RESEND: keyboard_send(i8042, i8042->keyboard.last); return;
    case KEYBOARD_LEDS:
    case KEYBOARD_SCAN_SET:
    case KEYBOARD_RATE: i8042->keyboard.command = command; break;
    case KEYBOARD_IDENTIFY:
        keyboard_send(i8042, ACKNOWLEDGE);
        keyboard_send(i8042, 0xab);
        keyboard_send(i8042, 0x83);
        return;
    case KEYBOARD_ON:
        i8042->keyboard.enabled = true;
        i8042->keyboard.queue.count = 0;
        break;
    case KEYBOARD_OFF:
    case KEYBOARD_DEFAULTS:
        keyboard_defaults(i8042);
        i8042->keyboard.enabled = command == KEYBOARD_DEFAULTS;
        break;
    case KEYBOARD_ALL_KEYS ... KEYBOARD_ALL_KEYS + 3: break;
    case KEYBOARD_RESET:
        keyboard_reset(i8042);
        keyboard_send(i8042, ACKNOWLEDGE);
        keyboard_send(i8042, TEST_PASSED);
        return;
    default: keyboard_send(i8042, RESEND); return;
    }
    keyboard_send(i8042, ACKNOWLEDGE);
}

/* Every byte from 0xed on is a command, also where an argument is waited for. */
void keyboard_write(struct i8042 *i8042, uint8_t value)
{
    if (i8042->keyboard.command && value < KEYBOARD_LEDS) {
        keyboard_argument(i8042, value);
        return;
    }
    i8042->keyboard.command = 0;
    keyboard_command(i8042, value);
}

unsigned i8042_room(const struct i8042 *i8042)
{
    unsigned count = i8042->keyboard.queue.count;
    return count < TYPED_ROOM ? (TYPED_ROOM - count + KEY_BYTES - 1) / KEY_BYTES : 0;
}

bool i8042_key(struct i8042 *i8042, uint8_t number, bool extended, bool down)
{
    bool set_1 = i8042->keyboard.scan_set == SET_1;
    uint8_t code = set_1 ? number : set_2_of(number);
    if (!i8042->keyboard.enabled || code == 0 ||
        i8042->keyboard.queue.count > I8042_QUEUE - KEY_BYTES)
        return false;
    if (extended)
        keyboard_send(i8042, EXTENDED);
    if (!down && !set_1)
        keyboard_send(i8042, BREAK);
    keyboard_send(i8042, !down && set_1 ? code | BREAK_BIT : code);
    i8042_update(i8042);
    return true;
}

/* ---- mouse ---------------------------------------------------------------------------------------------------- */

static void mouse_send(struct i8042 *i8042, uint8_t byte)
{
    if (i8042_put(&i8042->mouse.queue, byte))
        i8042->mouse.last = byte;
}

static void mouse_defaults(struct i8042 *i8042)
{
    i8042->mouse.command = 0;
    i8042->mouse.rate = MOUSE_RATE;
    i8042->mouse.resolution = MOUSE_RESOLUTION;
    i8042->mouse.enabled = i8042->mouse.remote = i8042->mouse.scales = false;
    i8042->mouse.queue.count = 0;
}

void mouse_reset(struct i8042 *i8042)
{
    mouse_defaults(i8042);
    i8042->mouse.wraps = false;
    i8042->mouse.id = 0;
    memset(i8042->mouse.rates, 0, sizeof i8042->mouse.rates);
}

/* Three rates in a row ask for a wheel, or a wheel and five buttons (Microsoft, "IntelliMouse"). */
static void mouse_set_rate(struct i8042 *i8042, uint8_t rate)
{
    static const uint8_t wheel[3] = {200, 100, 80}, buttons[3] = {200, 200, 80};
    uint8_t *rates = i8042->mouse.rates;
    i8042->mouse.rate = rate;
    memmove(rates, rates + 1, 2);
    rates[2] = rate;
    if (memcmp(rates, wheel, sizeof wheel) == 0)
        i8042->mouse.id = 3;
    else if (memcmp(rates, buttons, sizeof buttons) == 0 && i8042->mouse.id == 3)
        i8042->mouse.id = 4;
}

static void mouse_send_status(struct i8042 *i8042)
{
    mouse_send(i8042, (uint8_t)(i8042->mouse.remote << 6 | i8042->mouse.enabled << 5 |
                                i8042->mouse.scales << 4));
    mouse_send(i8042, i8042->mouse.resolution);
    mouse_send(i8042, i8042->mouse.rate);
}

/* It lies still, and no button is down. */
static void mouse_send_packet(struct i8042 *i8042)
{
    mouse_send(i8042, 0x08);
    for (unsigned i = 1; i < (i8042->mouse.id ? 4u : 3u); i++)
        mouse_send(i8042, 0);
}

static void mouse_command(struct i8042 *i8042, uint8_t command)
{
    i8042->mouse.queue.count = 0; /* a command ends what was being sent */
    mouse_send(i8042, command == MOUSE_RESEND ? i8042->mouse.last : ACKNOWLEDGE);
    switch (command) {
    case MOUSE_SCALE_1:
    case MOUSE_SCALE_2: i8042->mouse.scales = command == MOUSE_SCALE_2; break;
    case MOUSE_RESOLUTION_SET:
    case MOUSE_RATE_SET: i8042->mouse.command = command; break;
    case MOUSE_STATUS: mouse_send_status(i8042); break;
    case MOUSE_STREAM:
    case MOUSE_REMOTE: i8042->mouse.remote = command == MOUSE_REMOTE; break;
    case MOUSE_READ: mouse_send_packet(i8042); break;
    case MOUSE_UNWRAP:
    case MOUSE_WRAP: i8042->mouse.wraps = command == MOUSE_WRAP; break;
    case MOUSE_IDENTIFY: mouse_send(i8042, i8042->mouse.id); break;
    case MOUSE_ON:
    case MOUSE_OFF: i8042->mouse.enabled = command == MOUSE_ON; break;
    case MOUSE_DEFAULTS:
        mouse_defaults(i8042);
        mouse_send(i8042, ACKNOWLEDGE);
        break;
    case MOUSE_RESET:
        mouse_reset(i8042);
        mouse_send(i8042, ACKNOWLEDGE);
        mouse_send(i8042, TEST_PASSED);
        mouse_send(i8042, 0);
        break;
    case MOUSE_RESEND: break;
    default: i8042->mouse.queue.count = 0; mouse_send(i8042, RESEND);
    }
}

void mouse_write(struct i8042 *i8042, uint8_t value)
{
    uint8_t command = i8042->mouse.command;
    if (i8042->mouse.wraps && value != MOUSE_UNWRAP && value != MOUSE_RESET) {
        mouse_send(i8042, value);
        return;
    }
    i8042->mouse.command = 0;
    if (!command) {
        mouse_command(i8042, value);
        return;
    }
    if (command == MOUSE_RATE_SET)
        mouse_set_rate(i8042, value);
    else
        i8042->mouse.resolution = value & 3;
    mouse_send(i8042, ACKNOWLEDGE);
}
