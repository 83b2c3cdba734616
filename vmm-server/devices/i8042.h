/* Keyboard controller, keyboard and PS/2 mouse. The model's contract is at the head of i8042.c. */
#ifndef VMM_DEVICES_I8042_H
#define VMM_DEVICES_I8042_H

#include "device.h"

#define I8042_QUEUE 32u

struct i8042_queue {
    uint8_t bytes[I8042_QUEUE];
    unsigned head, count;
};

struct i8042 {
    struct interrupt_line *keyboard_line, *mouse_line; /* IRQ 1 and 12 */
    /* The A20 gate and the reset line of the output port. */
    void (*a20)(struct i8042 *i8042, bool on);
    void (*reset)(struct i8042 *i8042);
    void *machine;
    uint8_t ram[32]; /* byte 0: the command byte */
    uint8_t command; /* that waits for its byte; 0: none */
    uint8_t output;  /* the buffer that port 0x60 reads */
    uint8_t source;  /* enum i8042_source of what is in it */
    uint8_t output_port;
    bool last_was_command;
    bool breaks;                /* the keyboard's last byte was a break prefix */
    struct i8042_queue answers; /* of the controller itself */
    struct {
        struct i8042_queue queue;
        uint8_t command, scan_set, leds, rate, last;
        bool enabled;
    } keyboard;
    struct {
        struct i8042_queue queue;
        uint8_t command, rate, resolution, id, last;
        uint8_t rates[3]; /* the last that were set: some mean another protocol */
        bool enabled, wraps, remote, scales;
    } mouse;
};

void i8042_init(struct i8042 *i8042, struct interrupt_line *keyboard_line,
                struct interrupt_line *mouse_line, void *machine);
void i8042_reset(struct i8042 *i8042);
bool i8042_attach(struct i8042 *i8042, struct bus *ports);
/* A key goes down or up. Its number is that of scan code set 1; extended: behind 0xe0. False: the keyboard's memory is
 * full, or its scanning is off. */
bool i8042_key(struct i8042 *i8042, uint8_t number, bool extended, bool down);
/* How many more keys can be pressed and released now. */
unsigned i8042_room(const struct i8042 *i8042);
/* The A20 gate was set elsewhere (port 0x92): the output port shows it. */
void i8042_show_a20(struct i8042 *i8042, bool on);
void i8042_dump(const struct i8042 *i8042, struct sink *sink);

#endif
