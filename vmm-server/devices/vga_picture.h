/* A VGA's screen as a picture: a PNG file in memory. */
#ifndef VMM_DEVICES_VGA_PICTURE_H
#define VMM_DEVICES_VGA_PICTURE_H

#include "devices/vga.h"

#include <stddef.h>

/* Writes the screen as it is now to `to`; how many bytes it has. A screen that is too large for size_bytes loses every
 * second, or further, pixel and line; 0: not even so. `line`: room for VGA_LINE_PIXELS_MAX pixels. */
size_t vga_picture(struct vga *vga, uint32_t *line, uint8_t *to, size_t size_bytes);

#endif
