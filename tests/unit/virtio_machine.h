/* The machine around a virtio device, and a driver in the test. */
#ifndef VIRTIO_MACHINE_H
#define VIRTIO_MACHINE_H

#include "unit_test.h"

#include "devices/virtio_console.h"
#include "devices/virtio_random.h"

#include <stdbool.h>

/* ---- The machine around ---------------------------------------------------------------------- */

#define RAM_BASE  0x100000ull
#define RAM_BYTES 0x10000u

static uint8_t ram[RAM_BYTES] __attribute__((aligned(4096)));
static struct bus_range window;
static char text[4096], output[4096];
static size_t text_count, output_count, output_room;
static const char *input = "";
static bool high;

bool bus_add(struct bus *bus, const struct bus_range *range)
{
    (void)bus;
    window = *range;
    return true;
}

uint8_t *guest_memory_ram(const struct guest_memory *memory, gpa_t gpa, uint64_t size_bytes)
{
    (void)memory, (void)gpa, (void)size_bytes;
    return NULL; /* asked only where there are windows */
}

void *guest_memory_at(const struct guest_memory *memory, gpa_t gpa, uint64_t size_bytes, bool write)
{
    (void)memory, (void)write;
    if (gpa < RAM_BASE || gpa - RAM_BASE > RAM_BYTES || size_bytes > RAM_BYTES - (gpa - RAM_BASE))
        return NULL;
    return ram + (gpa - RAM_BASE);
}

struct guest_region guest_memory_usual(const struct guest_memory *memory)
{
    return memory->windows || memory->regions[0].read_only ? (struct guest_region){0}
                                                           : memory->regions[0];
}

static inline void log_write(struct sink *sink, const char *data, size_t count)
{
    (void)sink;
    CHECK(text_count + count < sizeof text);
    memcpy(text + text_count, data, count);
    text[text_count += count] = 0;
}

static inline void set_line(struct interrupt_line *line, bool to)
{
    (void)line;
    high = to;
}

static inline size_t far_write(struct character_backend *backend, const void *data,
                               size_t size_bytes)
{
    size_t count = size_bytes < output_room ? size_bytes : output_room;
    (void)backend;
    CHECK(output_count + count < sizeof output);
    memcpy(output + output_count, data, count);
    output[output_count += count] = 0;
    output_room -= count;
    return count;
}

static inline size_t far_read(struct character_backend *backend, void *data, size_t size_bytes)
{
    size_t count = strlen(input);
    (void)backend;
    count = count < size_bytes ? count : size_bytes;
    memcpy(data, input, count);
    input += count;
    return count;
}

static struct sink sink = {log_write};
static struct guest_memory memory;
static struct device_host host = {.memory = &memory, .log = &sink};
static struct character_backend backend = {far_write, far_read};
static struct interrupt_line line = {set_line};
static struct virtio_console console;
static struct virtio_random source;

static inline uint32_t get(uint32_t offset)
{
    uint64_t value = 0;
    CHECK(window.operations->read(window.device, offset, 4, &value));
    return (uint32_t)value;
}

static inline void set(uint32_t offset, uint32_t value)
{
    CHECK(window.operations->write(window.device, offset, 4, value));
}

/* ---- The driver ------------------------------------------------------------------------------ */

#ifndef SIZE
#define SIZE 8u /* of the queues; at most 64 */
#endif

enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };

struct descriptor {
    uint64_t address;
    uint32_t size_bytes;
    uint16_t flags, next;
};

/* Each queue has a page: descriptors at 0, available at 0x400, used at 0x800; data lies from 0x8000. */
struct rings {
    struct descriptor descriptors[64];
    struct {
        uint16_t flags, index, entries[SIZE], used_event;
        uint8_t pad[0x400 - 6 - SIZE * 2];
    } available;
    struct {
        uint16_t flags, index;
        struct {
            uint32_t head, written;
        } entries[SIZE];
        uint16_t available_event;
    } used;
};

static inline struct rings *rings(unsigned queue)
{
    return (struct rings *)(ram + queue * 4096);
}

static inline uint8_t *data(unsigned offset)
{
    return ram + 0x8000 + offset;
}

#define DATA (RAM_BASE + 0x8000)

static inline void set_queue(unsigned queue)
{
    set(0x30, queue);
    set(0x38, SIZE);
    set(0x80, RAM_BASE + queue * 4096);
    set(0x84, 0);
    set(0x90, RAM_BASE + queue * 4096 + 0x400);
    set(0x94, 0);
    set(0xa0, RAM_BASE + queue * 4096 + 0x800);
    set(0xa4, 0);
    set(0x44, 1);
}

static inline void negotiate(uint64_t features)
{
    set(0x70, 0);
    set(0x70, 1);
    set(0x70, 3);
    set(0x24, 0);
    set(0x20, (uint32_t)features);
    set(0x24, 1);
    set(0x20, (uint32_t)(features >> 32));
    set(0x70, 11);
}

#define VERSION_1   (1ull << 32)
#define WITH_EVENTS (1ull << 29)
#define WITH_TABLES (1ull << 28)

static inline void drive(uint64_t features, unsigned queues)
{
    memset(ram, 0, sizeof ram);
    negotiate(features | VERSION_1);
    EXPECT(get(0x70), 11);
    for (unsigned i = 0; i < queues; i++)
        set_queue(i);
    set(0x70, 15);
}

static inline void start_machine(void)
{
    text_count = output_count = 0;
    text[0] = output[0] = 0;
    output_room = sizeof output - 1;
    input = "";
    high = false;
}

static inline void start_console(uint64_t features)
{
    start_machine();
    virtio_console_init(&console, &host, &backend, &line);
    CHECK(virtio_mmio_attach(&console.device, NULL, 0xd0000000));
    drive(features, 2);
}

static inline void start_random(uint64_t features)
{
    static const uint8_t seed[CHACHA_KEY_BYTES] = {1, 2, 3};
    start_machine();
    virtio_random_init(&source, &host, seed, &line);
    CHECK(virtio_mmio_attach(&source.device, NULL, 0xd0000200));
    drive(features, 1);
}

static inline void describe(unsigned queue, unsigned index, uint64_t address, uint32_t size_bytes,
                            uint16_t flags, uint16_t next)
{
    rings(queue)->descriptors[index] = (struct descriptor){address, size_bytes, flags, next};
}

static inline void offer(unsigned queue, uint16_t head)
{
    struct rings *r = rings(queue);
    r->available.entries[r->available.index % SIZE] = head;
    r->available.index++;
}

static inline void ring(unsigned queue)
{
    set(0x50, queue);
}

enum { RECEIVE, TRANSMIT };

static inline bool failed(void)
{
    return get(0x70) & 64;
}

/* A random driver's half of the choices of 16: true if it did something to the queue, its memory or the status. */
static inline bool disturb(unsigned queue, unsigned index, uint64_t random)
{
    struct descriptor *descriptor = &rings(queue)->descriptors[index];
    switch (random & 15) {
    case 0: descriptor->address = unit_random(); break;
    case 1: descriptor->address = DATA + (random >> 32 & 0x7fff); break;
    case 2: descriptor->size_bytes = (uint32_t)(random >> 32 & 0xfff); break;
    case 3: descriptor->flags = random >> 32 & 7; break;
    case 4: descriptor->next = random >> 32 & 31; break;
    case 5: offer(queue, random >> 32 & 31); break;
    case 6: *data(random >> 32 & 0x7fff) = (uint8_t)(random >> 16); break;
    case 7: set(0x70, random >> 32 & 1 ? 0 : 15); break;
    default: return false;
    }
    return true;
}

#endif
