/* Runs one instruction on the host's processor, in 64, 32 or 16-bit code, from and to a state in memory. */
#ifndef EXECUTE_NATIVE_H
#define EXECUTE_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#define INSTRUCTION 0x600u /* in the code page */
#define LANDING     0x680u /* the target of calls and jumps */
#define EXIT        0x700u /* the way out, in 64-bit code */

struct native {
    uint64_t in[16], out[16];
    uint64_t flags_in, flags_out, host_rsp, spare;
    struct {
        uint32_t offset;
        uint16_t selector, pad;
    } to_code;
    uint8_t stack[256];
};

extern uint8_t *code; /* the code page, at CODE_LINEAR */
extern struct native *native;

/* Maps code and window, once. False: this host has no such segments. */
bool native_start(void);
/* Back to 64-bit code, from an offset of the code page; mode: bytes of a word of the code, 8, 4 or 2. */
void native_way_out(unsigned mode, unsigned offset);
/* Runs what stands at INSTRUCTION until a way out. */
void native_run(unsigned mode);

#endif
