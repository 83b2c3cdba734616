#define _GNU_SOURCE
#include "execute_native.h"
#include "execute_world.h"

#include <asm/ldt.h>
#include <assert.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

uint8_t *code;
struct native *native;

/* mov between register and [rip + member], both 64-bit. */
static uint8_t *emit_move(uint8_t *at, bool load, unsigned number, const void *member)
{
    int32_t displacement = (int32_t)((const uint8_t *)member - (at + 7));
    *at++ = (uint8_t)(0x48 | (number >> 3) << 2);
    *at++ = load ? 0x8b : 0x89;
    *at++ = (uint8_t)(0x05 | (number & 7) << 3);
    memcpy(at, &displacement, 4);
    return at + 4;
}

static uint8_t *emit(uint8_t *at, const char *bytes, size_t count)
{
    memcpy(at, bytes, count);
    return at + count;
}
#define EMIT(at, bytes) emit(at, bytes, sizeof bytes - 1)

/* The way in: save, flags, registers, far jump; and the way out. */
static void emit_trampoline(void)
{
    uint8_t *at = code;
    int32_t displacement;
    at = EMIT(at, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57"); /* push rbx rbp r12-r15 */
    at = emit_move(at, false, 4, &native->host_rsp);
    at = EMIT(at, "\xff\x35"); /* push flags_in */
    displacement = (int32_t)((uint8_t *)&native->flags_in - (at + 4));
    memcpy(at, &displacement, 4);
    at = EMIT(at + 4, "\x9d"); /* popf */
    for (unsigned i = 0; i < 16; i++)
        at = emit_move(at, true, i, &native->in[i]);
    at = EMIT(at, "\xff\x2d"); /* jmp far [to_code] */
    displacement = (int32_t)((uint8_t *)&native->to_code - (at + 4));
    memcpy(at, &displacement, 4);
    assert(at + 4 < code + INSTRUCTION);

    at = code + EXIT;
    for (unsigned i = 0; i < 16; i++)
        at = emit_move(at, false, i, &native->out[i]);
    at = emit_move(at, true, 4, &native->host_rsp);
    at = EMIT(at, "\x9c\x8f\x05"); /* pushf; pop flags_out */
    displacement = (int32_t)((uint8_t *)&native->flags_out - (at + 4));
    memcpy(at, &displacement, 4);
    at = EMIT(at + 4, "\xfc\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3"); /* cld, pops, ret */
    assert(at < (uint8_t *)native);
}

static bool set_ldt(unsigned number, uint64_t base, bool is_code, bool big)
{
    struct user_desc descriptor = {
        .entry_number = number,
        .base_addr = (unsigned)base,
        .limit = big ? 0xfffff : 0xffff,
        .limit_in_pages = big,
        .seg_32bit = big,
        .contents = is_code ? 2 : 0,
        .useable = 1,
    };
    return syscall(SYS_modify_ldt, 17, &descriptor, sizeof descriptor) == 0;
}

#define LDT(number) ((number) << 3 | 7)
enum { LDT_CODE32, LDT_DATA32, LDT_CODE16, LDT_DATA16 };

static uint8_t *map(uint64_t address, size_t size_bytes, int protection)
{
    void *at = mmap((void *)address, size_bytes, protection,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    return at == (void *)address ? at : NULL;
}

bool native_start(void)
{
    if (code)
        return true;
    code = map(CODE_LINEAR, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    if (!code || !map(WINDOW_LINEAR, WINDOW_BYTES, PROT_READ | PROT_WRITE))
        return false;
    native = (struct native *)(code + 0x800);
    emit_trampoline();
    return set_ldt(LDT_CODE32, 0, true, true) && set_ldt(LDT_DATA32, 0, false, true) &&
           set_ldt(LDT_CODE16, CODE_LINEAR, true, false) &&
           set_ldt(LDT_DATA16, WINDOW_LINEAR, false, false);
}

void native_way_out(unsigned mode, unsigned offset)
{
    uint8_t *at = code + offset;
    uint32_t target = CODE_LINEAR + EXIT;
    int32_t relative = (int32_t)(EXIT - (offset + 5));
    if (mode == 8) {
        *at++ = 0xe9;
        memcpy(at, &relative, 4);
        return;
    }
    if (mode == 2)
        *at++ = 0x66;
    *at++ = 0xea;
    memcpy(at, &target, 4);
    memcpy(at + 4, "\x33\x00", 2);
}

void native_run(unsigned mode)
{
    unsigned data = mode == 4 ? LDT(LDT_DATA32) : mode == 2 ? LDT(LDT_DATA16) : 0;
    native->to_code.offset = mode == 2 ? INSTRUCTION : CODE_LINEAR + INSTRUCTION;
    native->to_code.selector = mode == 8 ? 0x33 : mode == 4 ? LDT(LDT_CODE32) : LDT(LDT_CODE16);
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(data));
    ((void (*)(void))(uintptr_t)code)();
    __asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(0));
}
