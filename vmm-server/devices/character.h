/* The far end of a console device: where its characters go and come from. */
#ifndef VMM_DEVICES_CHARACTER_H
#define VMM_DEVICES_CHARACTER_H

#include <stdbool.h>
#include <stddef.h>

struct character_backend {
    /* Takes what fits and says how much; the device is told by its x_room function when there is more. */
    size_t (*write)(struct character_backend *backend, const void *data, size_t size_bytes);
    /* What came in, at most size_bytes; the device is told by its x_input function when there is some. */
    size_t (*read)(struct character_backend *backend, void *data, size_t size_bytes);
};

#endif
