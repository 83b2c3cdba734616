/* virtio-console with one port. The model's contract is at the head of virtio_console.c. */
#ifndef VMM_DEVICES_VIRTIO_CONSOLE_H
#define VMM_DEVICES_VIRTIO_CONSOLE_H

#include "devices/character.h"
#include "devices/virtio.h"

struct virtio_console {
    struct virtio_device device;
    struct character_backend *backend;
    struct virtio_chain output; /* written in part: the backend is full */
    bool output_held;
    unsigned output_segment;
    uint32_t output_offset;
    struct virtio_chain input; /* taken before there was something to put in */
    bool input_held;
};

void virtio_console_init(struct virtio_console *console, struct device_host *host,
                         struct character_backend *backend, struct interrupt_line *line);
/* The backend has input, or room again. */
void virtio_console_input(struct virtio_console *console);
void virtio_console_room(struct virtio_console *console);

#endif
