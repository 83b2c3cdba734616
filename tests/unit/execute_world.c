#include "execute_world.h"

#include <string.h>

struct execute_world world;
bool world_ram_is_device, world_refuse;
uint64_t world_event;
uint32_t world_changed;
const char *world_what;
uint8_t world_ram[WORLD_RAM_BYTES] __attribute__((aligned(4096)));
uint8_t world_port_data[64];
unsigned world_port_count, world_port_limit;

static struct vcpu_state state;

#define CODE_GPA 0x20000u
/* On purpose in another order than in linear addresses. */
static const uint32_t window_gpa[] = {0x12000, 0x10000};

uint64_t world_window_gpa(unsigned offset)
{
    return window_gpa[offset / 4096] + offset % 4096;
}

static bool memory_read(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t *value)
{
    (void)w;
    *value = 0;
    if (gpa > WORLD_RAM_BYTES - size)
        return false;
    memcpy(value, world_ram + gpa, size);
    return true;
}

static bool memory_write(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t value)
{
    (void)w;
    if (gpa > WORLD_RAM_BYTES - size)
        return false;
    memcpy(world_ram + gpa, &value, size);
    return true;
}

static void *ram_at(struct execute_world *w, uint64_t gpa, unsigned size, bool write)
{
    (void)w, (void)write;
    if (gpa > WORLD_RAM_BYTES - size)
        return NULL;
    if (world_ram_is_device && gpa >= 0x10000 && gpa < 0x13000)
        return NULL;
    return world_ram + gpa;
}

static bool port_read(struct execute_world *w, uint16_t port, unsigned size, uint32_t *value)
{
    (void)w;
    if (port != 0x1f0 || world_port_count + size > world_port_limit)
        return false;
    *value = 0;
    memcpy(value, world_port_data + world_port_count, size);
    world_port_count += size;
    return true;
}

static bool port_write(struct execute_world *w, uint16_t port, unsigned size, uint32_t value)
{
    (void)w;
    if (port != 0x1f0 || world_port_count + size > world_port_limit)
        return false;
    memcpy(world_port_data + world_port_count, &value, size);
    world_port_count += size;
    return true;
}

static uint64_t *control(unsigned number)
{
    return number == 0   ? &state.cr0
           : number == 2 ? &state.cr2
           : number == 3 ? &state.cr3
           : number == 4 ? &state.cr4
                         : &state.cr8;
}

static bool control_read(struct execute_world *w, unsigned number, uint64_t *value)
{
    (void)w;
    *value = *control(number);
    return !world_refuse;
}

static bool control_write(struct execute_world *w, unsigned number, uint64_t value)
{
    (void)w;
    if (!world_refuse)
        *control(number) = value;
    return !world_refuse;
}

static void put(unsigned table, unsigned index, uint64_t entry)
{
    memcpy(world_ram + table + index * 8, &entry, 8);
}

static void set_segments(unsigned code_bytes)
{
    const uint32_t code =
        0x0fb | (code_bytes == 8 ? 1u << 13 : 0) | (code_bytes == 4 ? 1u << 14 : 0);
    for (unsigned i = 0; i < VCPU_SEGMENT_COUNT; i++)
        state.segment[i] = (struct vcpu_segment){.attributes = 0x40f3, .limit = 0xffffffff};
    state.segment[VCPU_CS].attributes = code;
    if (code_bytes != 2)
        return;
    state.segment[VCPU_CS].base = CODE_LINEAR;
    state.segment[VCPU_CS].limit = 0xffff;
    for (unsigned i = 0; i < 4; i += 3) { /* ES and DS */
        state.segment[i].base = WINDOW_LINEAR;
        state.segment[i].limit = 0xffff;
        state.segment[i].attributes = 0x00f3;
    }
}

void world_start(unsigned code_bytes, const void *code, const void *window)
{
    memset(&state, 0, sizeof state);
    memset(world_ram + WORLD_PML4, 0, 0x4000);
    world = (struct execute_world){&state,       memory_read,   memory_write,
                                   ram_at,       port_read,     port_write,
                                   control_read, control_write, .physical_bits = 40};
    state.cr0 = 0x80010033;
    state.cr3 = WORLD_PML4;
    state.cr4 = 0x20;
    state.efer = 0xd01;
    state.rflags = 0x202;
    set_segments(code_bytes);
    put(WORLD_PML4, 0, WORLD_PDPT | 7);
    put(WORLD_PDPT, 1, WORLD_PD | 7);
    put(WORLD_PD, 0x80, WORLD_PT | 7);
    put(WORLD_PT, 0, CODE_GPA | 5);
    put(WORLD_PT, 0x10, window_gpa[0] | 7);
    put(WORLD_PT, 0x11, window_gpa[1] | 7);
    memcpy(world_ram + CODE_GPA, code, 4096);
    for (unsigned i = 0; i < 2; i++)
        memcpy(world_ram + window_gpa[i], (const uint8_t *)window + i * 4096, 4096);
    world_ram_is_device = world_refuse = false;
    world_port_count = 0;
    world_port_limit = sizeof world_port_data;
}

bool world_window_equals(const void *window)
{
    return memcmp(world_ram + window_gpa[0], window, 4096) == 0 &&
           memcmp(world_ram + window_gpa[1], (const uint8_t *)window + 4096, 4096) == 0;
}

enum execute_result world_execute(void)
{
    return execute_instruction(&world, &world_event, &world_changed, &world_what);
}
