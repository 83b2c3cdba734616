/* What the tests of the executor's faults share: one instruction in a small machine, and the event it ends in. */
#ifndef EXECUTE_FAULTS_H
#define EXECUTE_FAULTS_H

#include "unit_test.h"

#include "execute_world.h"

static uint8_t code[4096], window[WINDOW_BYTES];

#define AT 0x100u /* offset of the instruction in its page */

static inline void start(unsigned mode, const char *bytes, size_t count)
{
    memset(code, 0x90, sizeof code);
    memcpy(code + AT, bytes, count);
    for (unsigned i = 0; i < WINDOW_BYTES; i++)
        window[i] = (uint8_t)(i * 7 + i / 256);
    world_start(mode, code, window);
    world.state->rip = (mode == 2 ? 0 : CODE_LINEAR) + AT;
}
#define START(mode, bytes) start(mode, bytes, sizeof bytes - 1)

static inline uint64_t entry(unsigned table, unsigned index)
{
    uint64_t value;
    memcpy(&value, world_ram + table + index * 8, 8);
    return value;
}

static inline void set_entry(unsigned table, unsigned index, uint64_t value)
{
    memcpy(world_ram + table + index * 8, &value, 8);
}

static inline void kernel_mode(void)
{
    world.state->segment[VCPU_SS].attributes &= ~0x60u;
    world.state->segment[VCPU_CS].attributes &= ~0x60u;
}

#define PAGE_FAULT(error) \
    (VCPU_EVENT(14, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR | (uint64_t)(error) << 32)
#define PROTECTION (VCPU_EVENT(13, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR)
#define STACK      (VCPU_EVENT(12, VCPU_EVENT_EXCEPTION) | VCPU_EVENT_HAS_ERROR)
#define UNDEFINED  VCPU_EVENT(6, VCPU_EVENT_EXCEPTION)

static inline void expect_fault(uint64_t event)
{
    uint64_t rip = world.state->rip;
    EXPECT(world_execute(), EXECUTE_FAULT);
    EXPECT(world_event, event);
    EXPECT(world.state->rip, rip);
}

#define LOAD  "\x8b\x07" /* mov eax, [rdi] */
#define STORE "\x89\x07"

#endif
