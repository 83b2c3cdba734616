/*
 * virtio-console.
 *
 * State:    the chain that is being written out, as far as the far end has taken it, and the chain that waits for
 *           input.
 * Features: one port; the emergency write. A far end without room holds the guest's buffer until there is some.
 * Missing:  MULTIPORT, SIZE (the far end's terminal may be of any).
 * Spec:     OASIS VIRTIO 1.2, section 5.3.
 */
#include "devices/virtio_console.h"

#include "string.h"

enum { QUEUE_RECEIVE, QUEUE_TRANSMIT, QUEUES };

#define FEATURE_EMERGENCY_WRITE 2

/* 5.3.4: columns, rows, ports, then the emergency write. */
#define CONFIG_BYTES            12u
#define CONFIG_EMERGENCY_OFFSET 8u

static struct virtio_console *console_of(struct virtio_device *device)
{
    return (struct virtio_console *)device; /* its first member */
}

/* Sends what is left of the chain in hand; false: the far end is full. */
static bool send_held(struct virtio_console *console)
{
    const struct virtio_chain *chain = &console->output;
    while (console->output_segment < chain->readable) {
        const struct virtio_segment *segment = &chain->segments[console->output_segment];
        uint32_t left = segment->size_bytes - console->output_offset;
        size_t sent =
            console->backend->write(console->backend, segment->data + console->output_offset, left);
        if (sent < left) {
            console->output_offset += (uint32_t)sent;
            return false;
        }
        console->output_segment++;
        console->output_offset = 0;
    }
    return true;
}

static void transmit(struct virtio_console *console)
{
    struct virtio_queue *queue = &console->device.queues[QUEUE_TRANSMIT];
    while (console->output_held || virtio_queue_take(queue, &console->output)) {
        if (!console->output_held)
            console->output_segment = console->output_offset = 0;
        console->output_held = !send_held(console);
        if (console->output_held)
            break;
        virtio_queue_give(queue, console->output.head, 0);
    }
    virtio_queue_signal(queue);
}

/* What there is of input, into one chain. */
static uint32_t fill(struct virtio_console *console)
{
    const struct virtio_chain *chain = &console->input;
    uint32_t total = 0;
    for (unsigned i = 0; i < chain->writable; i++) {
        const struct virtio_segment *segment = &chain->segments[chain->readable + i];
        size_t count = console->backend->read(console->backend, segment->data, segment->size_bytes);
        total += (uint32_t)count;
        if (count < segment->size_bytes)
            break;
    }
    return total;
}

static void receive(struct virtio_console *console)
{
    struct virtio_queue *queue = &console->device.queues[QUEUE_RECEIVE];
    while (console->input_held || virtio_queue_take(queue, &console->input)) {
        uint32_t count = fill(console);
        /* A chain without room in it goes back empty: it would wait forever. */
        console->input_held = count == 0 && console->input.writable;
        if (console->input_held)
            break;
        virtio_queue_give(queue, console->input.head, count);
    }
    virtio_queue_signal(queue);
}

static void notify(struct virtio_device *device, unsigned queue)
{
    if (queue == QUEUE_RECEIVE)
        receive(console_of(device));
    else
        transmit(console_of(device));
}

static void reset(struct virtio_device *device)
{
    console_of(device)->output_held = console_of(device)->input_held = false;
}

static bool read_config(struct virtio_device *device, uint32_t offset, unsigned size_bytes,
                        uint64_t *value)
{
    (void)device;
    *value = 0;
    return offset < CONFIG_BYTES && size_bytes <= CONFIG_BYTES - offset;
}

/* 5.3.6.2.1: one character, before the driver runs or when it can't any more; lost if there is no room. */
static bool write_config(struct virtio_device *device, uint32_t offset, unsigned size_bytes,
                         uint64_t value)
{
    struct virtio_console *console = console_of(device);
    uint8_t character = (uint8_t)value;
    if (offset != CONFIG_EMERGENCY_OFFSET || size_bytes > 4)
        return false;
    console->backend->write(console->backend, &character, 1);
    return true;
}

void virtio_console_init(struct virtio_console *console, struct device_host *host,
                         struct character_backend *backend, struct interrupt_line *line)
{
    static const struct virtio_operations operations = {
        .device_id = 3,
        .features = 1ull << FEATURE_EMERGENCY_WRITE,
        .queue_count = QUEUES,
        .notify = notify,
        .reset = reset,
        .read_config = read_config,
        .write_config = write_config,
    };
    memset(console, 0, sizeof *console);
    virtio_init(&console->device, &operations, host, line, "virtio-console");
    console->backend = backend;
}

/* The transport's checks hold here too: before the driver is ready, or after it has failed, nothing moves. */
void virtio_console_input(struct virtio_console *console)
{
    virtio_notify(&console->device, QUEUE_RECEIVE);
}

void virtio_console_room(struct virtio_console *console)
{
    virtio_notify(&console->device, QUEUE_TRANSMIT);
}
