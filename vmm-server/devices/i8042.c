/*
 * 8042 keyboard controller with keyboard and PS/2 mouse.
 *
 * State:    the controller's 32 bytes of memory, its output port and output buffer; of keyboard and mouse a queue each
 *           and what their commands set.
 * Features: both ports with their interrupts, translation of scan codes, self tests, loop-back of bytes as from
 *           keyboard or mouse, A20 gate and reset by the output port and by pulses; the keyboard with scan code sets
 *           1 and 2; the mouse with its protocols of three and four bytes (i8042_devices.c).
 * Missing:  scan code set 3, typematic repeat (it is the sender's), a mouse that moves, password and firmware
 *           commands, parity and time-out errors, inhibition by the input buffer: a byte is there at once.
 * Spec:     IBM Personal System/2 Hardware Interface Technical Reference, October 1990: Keyboard and Auxiliary Device
 *           Controller, types 1 and 2; Keyboards; Mouse. Intel 8042 (UPI-42AH), October 1990.
 */
#include "devices/i8042.h"
#include "devices/i8042_internal.h"

#define PORT_DATA   0x60u
#define PORT_STATUS 0x64u

enum i8042_source { SOURCE_NONE, SOURCE_CONTROLLER, SOURCE_KEYBOARD, SOURCE_MOUSE };

enum {
    STATUS_OUTPUT = 0x01,
    STATUS_SYSTEM = 0x04,
    STATUS_COMMAND = 0x08,
    STATUS_UNLOCKED = 0x10,
    STATUS_MOUSE = 0x20,
};

enum {
    CONFIG_KEYBOARD_IRQ = 0x01,
    CONFIG_MOUSE_IRQ = 0x02,
    CONFIG_SYSTEM = 0x04,
    CONFIG_KEYBOARD_OFF = 0x10,
    CONFIG_MOUSE_OFF = 0x20,
    CONFIG_TRANSLATE = 0x40,
    CONFIG_WRITABLE = 0x77,
};

/* The output port. */
enum {
    PORT_NO_RESET = 0x01,
    PORT_A20 = 0x02,
    PORT_KEYBOARD_FULL = 0x10,
    PORT_MOUSE_FULL = 0x20,
    PORT_KEPT = 0xcf,
};

enum {
    COMMAND_READ = 0x20, /* to 0x3f: a byte of memory */
    COMMAND_WRITE = 0x60,
    COMMAND_MOUSE_OFF = 0xa7,
    COMMAND_MOUSE_ON = 0xa8,
    COMMAND_MOUSE_TEST = 0xa9,
    COMMAND_SELF_TEST = 0xaa,
    COMMAND_KEYBOARD_TEST = 0xab,
    COMMAND_KEYBOARD_OFF = 0xad,
    COMMAND_KEYBOARD_ON = 0xae,
    COMMAND_READ_INPUT = 0xc0,
    COMMAND_READ_OUTPUT = 0xd0,
    COMMAND_WRITE_OUTPUT = 0xd1,
    COMMAND_AS_KEYBOARD = 0xd2,
    COMMAND_AS_MOUSE = 0xd3,
    COMMAND_TO_MOUSE = 0xd4,
    COMMAND_A20_OFF = 0xdd,
    COMMAND_A20_ON = 0xdf,
    COMMAND_TEST_INPUTS = 0xe0,
    COMMAND_PULSE = 0xf0, /* to 0xff: bits that are 0 go low for 6 us */
};

#define SELF_TEST_PASSED 0x55
#define LINE_TEST_PASSED 0x00
#define INPUT_PORT       0xb0 /* not locked, colour display, no manufacturing jumper */
#define BREAK            0xf0
#define BREAK_BIT        0x80

/* ---- the output buffer ----------------------------------------------------------------------------------- */

bool i8042_put(struct i8042_queue *queue, uint8_t byte)
{
    if (queue->count == I8042_QUEUE)
        return false;
    queue->bytes[(queue->head + queue->count++) % I8042_QUEUE] = byte;
    return true;
}

static uint8_t take(struct i8042_queue *queue)
{
    uint8_t byte = queue->bytes[queue->head];
    queue->head = (queue->head + 1) % I8042_QUEUE;
    queue->count--;
    return byte;
}

static void lines(struct i8042 *i8042)
{
    bool mouse = i8042->source == SOURCE_MOUSE;
    bool full = i8042->source != SOURCE_NONE;
    i8042->keyboard_line->set(i8042->keyboard_line,
                              full && !mouse && i8042->ram[0] & CONFIG_KEYBOARD_IRQ);
    i8042->mouse_line->set(i8042->mouse_line, mouse && i8042->ram[0] & CONFIG_MOUSE_IRQ);
}

static void fill(struct i8042 *i8042, uint8_t byte, enum i8042_source source)
{
    i8042->output = byte;
    i8042->source = (uint8_t)source;
}

/* A byte of the keyboard, perhaps translated: then a break prefix does not come through. */
static void fill_from_keyboard(struct i8042 *i8042)
{
    uint8_t byte = take(&i8042->keyboard.queue);
    bool translates = (i8042->ram[0] & CONFIG_TRANSLATE) != 0, breaks = i8042->breaks;
    i8042->breaks = translates && byte == BREAK;
    if (i8042->breaks)
        return;
    if (translates)
        byte = (uint8_t)(i8042_translate(byte) | (breaks ? BREAK_BIT : 0));
    fill(i8042, byte, SOURCE_KEYBOARD);
}

void i8042_update(struct i8042 *i8042)
{
    while (i8042->source == SOURCE_NONE) {
        if (i8042->answers.count)
            fill(i8042, take(&i8042->answers), SOURCE_CONTROLLER);
        else if (i8042->keyboard.queue.count && !(i8042->ram[0] & CONFIG_KEYBOARD_OFF))
            fill_from_keyboard(i8042);
        else if (i8042->mouse.queue.count && !(i8042->ram[0] & CONFIG_MOUSE_OFF))
            fill(i8042, take(&i8042->mouse.queue), SOURCE_MOUSE);
        else
            break;
    }
    lines(i8042);
}

/* ---- commands ------------------------------------------------------------------------------------------------ */

static void set_output_port(struct i8042 *i8042, uint8_t value)
{
    i8042->output_port = value & PORT_KEPT;
    i8042->a20(i8042, (value & PORT_A20) != 0);
    if (!(value & PORT_NO_RESET))
        i8042->reset(i8042);
}

static uint8_t output_port(const struct i8042 *i8042)
{
    uint8_t full = i8042->source == SOURCE_NONE    ? 0
                   : i8042->source == SOURCE_MOUSE ? PORT_MOUSE_FULL
                                                   : PORT_KEYBOARD_FULL;
    return i8042->output_port | full;
}

static void answer(struct i8042 *i8042, uint8_t byte)
{
    i8042_put(&i8042->answers, byte);
}

static void write_command(struct i8042 *i8042, uint8_t command)
{
    uint8_t *config = &i8042->ram[0];
    i8042->command = 0;
    switch (command) {
    case COMMAND_READ ... COMMAND_READ + 0x1f:
        answer(i8042, i8042->ram[command - COMMAND_READ]);
        break;
    case COMMAND_WRITE ... COMMAND_WRITE + 0x1f:
    case COMMAND_WRITE_OUTPUT:
    case COMMAND_AS_KEYBOARD:
    case COMMAND_AS_MOUSE:
    case COMMAND_TO_MOUSE: i8042->command = command; break;
    case COMMAND_MOUSE_OFF: *config |= CONFIG_MOUSE_OFF; break;
    case COMMAND_MOUSE_ON: *config &= (uint8_t)~CONFIG_MOUSE_OFF; break;
    case COMMAND_SELF_TEST:
        *config |= CONFIG_SYSTEM;
        answer(i8042, SELF_TEST_PASSED);
        break;
    case COMMAND_MOUSE_TEST:
    case COMMAND_KEYBOARD_TEST: answer(i8042, LINE_TEST_PASSED); break;
    case COMMAND_KEYBOARD_OFF: *config |= CONFIG_KEYBOARD_OFF; break;
    case COMMAND_KEYBOARD_ON: *config &= (uint8_t)~CONFIG_KEYBOARD_OFF; break;
    case COMMAND_READ_INPUT: answer(i8042, INPUT_PORT); break;
    case COMMAND_READ_OUTPUT: answer(i8042, output_port(i8042)); break;
    case COMMAND_A20_OFF: set_output_port(i8042, i8042->output_port & (uint8_t)~PORT_A20); break;
    case COMMAND_A20_ON: set_output_port(i8042, i8042->output_port | PORT_A20); break;
    case COMMAND_TEST_INPUTS: answer(i8042, 0); break;
    case COMMAND_PULSE ... COMMAND_PULSE + 0xf:
        if (!(command & PORT_NO_RESET))
            i8042->reset(i8042);
        break;
    }
}

static void write_data(struct i8042 *i8042, uint8_t value)
{
    uint8_t command = i8042->command;
    i8042->command = 0;
    switch (command) {
    case COMMAND_WRITE: i8042->ram[0] = value & CONFIG_WRITABLE; break;
    case COMMAND_WRITE + 1 ... COMMAND_WRITE + 0x1f:
        i8042->ram[command - COMMAND_WRITE] = value;
        break;
    case COMMAND_WRITE_OUTPUT: set_output_port(i8042, value); break;
    /* What is in the buffer is written over, as by the real chip. */
    case COMMAND_AS_KEYBOARD: fill(i8042, value, SOURCE_KEYBOARD); break;
    case COMMAND_AS_MOUSE: fill(i8042, value, SOURCE_MOUSE); break;
    case COMMAND_TO_MOUSE:
        i8042->ram[0] &= (uint8_t)~CONFIG_MOUSE_OFF;
        mouse_write(i8042, value);
        break;
    default: /* it goes to the keyboard, which that turns on */
        i8042->ram[0] &= (uint8_t)~CONFIG_KEYBOARD_OFF;
        keyboard_write(i8042, value);
    }
}

/* ---- ports ------------------------------------------------------------------------------------------------------ */

static uint8_t status(const struct i8042 *i8042)
{
    return (uint8_t)(STATUS_UNLOCKED | (i8042->source != SOURCE_NONE ? STATUS_OUTPUT : 0) |
                     (i8042->source == SOURCE_MOUSE ? STATUS_MOUSE : 0) |
                     (i8042->ram[0] & CONFIG_SYSTEM ? STATUS_SYSTEM : 0) |
                     (i8042->last_was_command ? STATUS_COMMAND : 0));
}

static bool data_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    struct i8042 *i8042 = device;
    (void)offset;
    *value = i8042->output; /* an empty buffer shows its last byte again */
    i8042->source = SOURCE_NONE;
    lines(i8042); /* low before it is high again: the line has edges */
    i8042_update(i8042);
    return size_bytes == 1;
}

static bool data_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct i8042 *i8042 = device;
    (void)offset;
    if (size_bytes != 1)
        return false;
    i8042->last_was_command = false;
    write_data(i8042, (uint8_t)value);
    i8042_update(i8042);
    return true;
}

static bool status_read(void *device, uint64_t offset, unsigned size_bytes, uint64_t *value)
{
    (void)offset;
    *value = status(device);
    return size_bytes == 1;
}

static bool command_write(void *device, uint64_t offset, unsigned size_bytes, uint64_t value)
{
    struct i8042 *i8042 = device;
    (void)offset;
    if (size_bytes != 1)
        return false;
    i8042->last_was_command = true;
    write_command(i8042, (uint8_t)value);
    i8042_update(i8042);
    return true;
}

/* ---- the machine's side ------------------------------------------------------------------------------------------- */

void i8042_init(struct i8042 *i8042, struct interrupt_line *keyboard_line,
                struct interrupt_line *mouse_line, void *machine)
{
    *i8042 = (struct i8042){
        .keyboard_line = keyboard_line, .mouse_line = mouse_line, .machine = machine};
    i8042_reset(i8042);
}

/* As firmware expects to find it: both interrupts off, translation on, A20 open. */
void i8042_reset(struct i8042 *i8042)
{
    i8042->ram[0] = CONFIG_TRANSLATE | CONFIG_KEYBOARD_OFF | CONFIG_MOUSE_OFF;
    i8042->command = i8042->output = 0;
    i8042->source = SOURCE_NONE;
    i8042->output_port = PORT_NO_RESET | PORT_A20 | 0xc0;
    i8042->last_was_command = i8042->breaks = false;
    i8042->answers.count = 0;
    keyboard_reset(i8042);
    mouse_reset(i8042);
    i8042_update(i8042);
}

bool i8042_attach(struct i8042 *i8042, struct bus *ports)
{
    static const struct bus_operations data = {.read = data_read, .write = data_write};
    static const struct bus_operations command = {.read = status_read, .write = command_write};
    return bus_add(ports, &(struct bus_range){PORT_DATA, 1, &data, i8042, "keyboard data"}) &&
           bus_add(ports,
                   &(struct bus_range){PORT_STATUS, 1, &command, i8042, "keyboard controller"});
}

void i8042_show_a20(struct i8042 *i8042, bool on)
{
    i8042->output_port =
        (uint8_t)(on ? i8042->output_port | PORT_A20 : i8042->output_port & ~PORT_A20);
}

void i8042_dump(const struct i8042 *i8042, struct sink *sink)
{
    print(sink, "  keyboard controller config %x status %x, waiting: keyboard %u mouse %u\n",
          i8042->ram[0], status(i8042), i8042->keyboard.queue.count, i8042->mouse.queue.count);
}
