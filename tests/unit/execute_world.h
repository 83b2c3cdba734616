/* A small machine for the instruction executor: RAM with page tables, a window of data and a page of code. */
#ifndef EXECUTE_WORLD_H
#define EXECUTE_WORLD_H

#include "cpu/execute.h"

#include <septum.h>

#define CODE_LINEAR   0x50000000ull
#define WINDOW_LINEAR 0x50010000ull
#define WINDOW_BYTES  8192u

extern struct execute_world world;
extern bool world_ram_is_device; /* the window is reached by memory_read and memory_write alone */
extern uint64_t world_event;
extern uint32_t world_changed;
extern const char *world_what;

#define WORLD_RAM_BYTES 0x80000u
extern uint8_t world_ram[WORLD_RAM_BYTES]; /* from guest-physical 0 */

/* User code of 2, 4 or 8 bytes in long mode, paging on; code and window are copied. */
void world_start(unsigned code_bytes, const void *code, const void *window);
uint64_t world_window_gpa(unsigned offset);
bool world_window_equals(const void *window);
enum execute_result world_execute(void);

/* Where the tables are, for tests that change them. */
#define WORLD_PML4 0x1000u
#define WORLD_PDPT 0x2000u
#define WORLD_PD   0x3000u
#define WORLD_PT   0x4000u

/* Ports and control registers, as the tests find them. */
extern uint8_t world_port_data[64];
extern unsigned world_port_count, world_port_limit;
extern bool world_refuse;

#endif
