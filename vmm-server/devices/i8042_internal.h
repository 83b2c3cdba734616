/* Between i8042.c (the controller) and i8042_devices.c (keyboard and mouse). */
#ifndef VMM_DEVICES_I8042_INTERNAL_H
#define VMM_DEVICES_I8042_INTERNAL_H

#include "devices/i8042.h"

bool i8042_put(struct i8042_queue *queue, uint8_t byte);
/* Sets of scan codes: set 2 to set 1, as the controller does it. */
uint8_t i8042_translate(uint8_t code);
void keyboard_reset(struct i8042 *i8042);
void keyboard_write(struct i8042 *i8042, uint8_t value);
void mouse_reset(struct i8042 *i8042);
void mouse_write(struct i8042 *i8042, uint8_t value);
/* There may be something for the output buffer. */
void i8042_update(struct i8042 *i8042);

#endif
